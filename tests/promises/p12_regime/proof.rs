//! What was saved is proven to be restorable: drills, coverage, increments, encryption.

use super::*;
use std::ops::ControlFlow;

#[test]
fn a_drill_proves_the_newest_backup_and_leaves_nothing_behind() {
    let shop = shop(&[]);
    assert_eq!(shop.regime.drill().unwrap_err().code(), code::ARCHIVE_MISSING);
    shop.put(2);
    let report = shop.regime.backup().run().unwrap();
    let names = shop.sim.list(Path::new("/")).unwrap();
    let drill = shop.regime.drill().unwrap();
    assert_eq!((drill.lsn, drill.records, drill.tables), (report.lsn, 2, 1));
    assert_eq!(shop.sim.list(Path::new("/")).unwrap(), names);
    assert_eq!(shop.regime.coverage().unwrap().last_drill.unwrap().status.code, 0);
    let len = shop.sim.metadata(&report.archive).unwrap().len;
    shop.sim.corrupt(&report.archive, len / 2, 1).unwrap();
    assert_eq!(shop.regime.drill().unwrap_err().code(), code::CHECK);
    assert_eq!(shop.sim.list(Path::new("/")).unwrap(), names);
    let last = shop.regime.coverage().unwrap().last_drill.unwrap();
    assert_eq!(last.status.code, code::CHECK);
    assert_eq!(shop.journal().matches("\tdrill\t").count(), 3);
}

/// What a drill is made of, each step of it: also the restored store is compared step by step.
#[test]
fn a_drill_can_be_stopped_at_every_step_and_leaves_nothing_behind() {
    let shop = shop(&[]);
    shop.regime.backup().run().unwrap();
    shop.put(2);
    shop.regime.backup().incremental(true).run().unwrap();
    let names = shop.sim.list(Path::new("/")).unwrap();
    let restored = Path::new("/shop.stillpoint-drill/store.data");
    let (mut steps, mut comparing) = (0, 0);
    shop.regime
        .drill_with(|_| {
            steps += 1;
            comparing += u32::from(shop.sim.metadata(restored).is_ok());
            ControlFlow::Continue(())
        })
        .unwrap();
    // The check of the restored pages, and a table here and there.
    assert!(comparing > 2, "{comparing} of {steps}");
    for last in 1..=steps {
        let mut step = 0;
        let stopped = shop.regime.drill_with(|_| {
            step += 1;
            if step == last { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        assert_eq!(stopped.unwrap_err().code(), code::STOPPED, "step {last} of {steps}");
        assert_eq!(shop.sim.list(Path::new("/")).unwrap(), names, "step {last} of {steps}");
    }
    assert_eq!(shop.regime.coverage().unwrap().last_drill.unwrap().status.code, code::STOPPED);
}

#[test]
fn closing_the_regime_ends_a_drill_at_its_next_step() {
    let shop = shop(&[]);
    shop.regime.backup().run().unwrap();
    let Shop { sim, regime, .. } = shop;
    let mut steps = 0;
    let stopped = regime.drill_with(|_| {
        steps += 1;
        regime.close().unwrap();
        ControlFlow::Continue(())
    });
    assert_eq!((stopped.unwrap_err().code(), steps), (code::STOPPED, 1));
    assert!(sim.metadata(Path::new("/shop.stillpoint-drill")).is_err());
}

/// Between any two archives, for each may lie on a slow disk.
#[test]
fn the_account_can_be_stopped_before_each_archive() {
    let shop = shop(&[("Advanced/SetNumber/Value", "9")]);
    for key in 2..4 {
        shop.regime.backup().run().unwrap();
        shop.put(key);
    }
    let mut steps = 0;
    let all = shop.regime.coverage_with(|_| {
        steps += 1;
        ControlFlow::Continue(())
    });
    assert_eq!((all.unwrap().archives, steps), (2, 5), "three files, and two archives' chains");
    for last in 1..=steps {
        let mut step = 0;
        let stopped = shop.regime.coverage_with(|_| {
            step += 1;
            if step == last { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        assert_eq!(stopped.unwrap_err().code(), code::STOPPED, "step {last}");
    }
}

#[test]
fn the_account_says_what_can_be_restored_and_what_is_missing() {
    let shop = shop(&[("Advanced/SetNumber/Value", "9")]);
    let empty = shop.regime.coverage().unwrap();
    assert_eq!((empty.oldest, empty.newest, empty.commits_at_risk()), (None, None, 1));
    for key in 2..5 {
        shop.regime.backup().run().unwrap();
        shop.put(key);
    }
    let found = shop.regime.coverage().unwrap();
    assert_eq!((found.archives, found.log_archives), (3, 2));
    assert_eq!(found.oldest.unwrap().lsn, 1);
    assert_eq!((found.newest.unwrap().lsn, found.newest_archived.unwrap().lsn), (4, 3));
    assert_eq!((found.commits_at_risk(), found.gaps.len()), (1, 0));
    assert!(found.space.enough() && found.space.last_set_bytes > 0);
    shop.put(5);
    shop.regime.backup().run().unwrap();
    for gone in ["shop[0002].tar.zst", "shop[0001].log.zst"] {
        shop.sim.remove_file(&Path::new(TO).join(gone)).unwrap();
    }
    let found = shop.regime.coverage().unwrap();
    assert_eq!(found.gaps.len(), 1, "{found:?}");
    assert_eq!((found.gaps[0].after, found.gaps[0].before), (1, 3));
}

/// Where the store's log begins is known also when nothing of it is closed.
#[test]
fn a_gap_before_a_log_of_which_nothing_is_closed_is_told() {
    let shop = shop(&[("Advanced/SetNumber/Value", "9")]);
    shop.regime.backup().run().unwrap();
    for key in 2..5 {
        shop.put(key);
    }
    let log = shop.regime.backup().run().unwrap().log_archive.unwrap();
    shop.put(5);
    // A checkpoint passes what is closed, and it goes.
    shop.regime.store().checkpoint().unwrap();
    shop.sim.remove_file(&log.path).unwrap();
    let found = shop.regime.coverage().unwrap();
    assert_eq!(found.gaps.len(), 1, "{found:?}");
    assert_eq!((found.gaps[0].after, found.gaps[0].before), (1, 4));
    assert_eq!((found.newest.unwrap().lsn, found.commits_at_risk()), (5, 1));
}

#[test]
fn a_destination_behind_a_link_is_the_same_one() {
    let behind = [
        ("General/DestinationFolder", "/link"),
        ("Stillpoint/FullEvery", "3"),
        ("Advanced/BackupIfDataChange", "True"),
    ];
    let sim = shop(&with(&DAILY, &behind)).closed();
    sim.symlink(Path::new(TO), Path::new("/link")).unwrap();
    let shop = Shop::open(sim);
    shop.at("2026-01-01T02:30:00Z");
    shop.heard();
    shop.at("2026-01-02T02:30:00Z");
    assert!(matches!(shop.heard()[..], [RegimeEvent::Postponed { .. }]), "nothing was changed");
    shop.put(2);
    let report = shop.regime.backup().run().unwrap();
    assert!(report.parent.is_some(), "one of three is full");
}

#[test]
fn drills_at_the_same_time_do_not_disturb_each_other() {
    let shop = shop(&[]);
    shop.regime.backup().run().unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..5 {
                    shop.regime.drill().unwrap();
                }
            });
        }
    });
}

#[test]
fn of_so_many_backups_one_is_full_and_each_of_them_restores() {
    let shop = shop(&[("Stillpoint/FullEvery", "3"), ("Advanced/SetNumber/Value", "9")]);
    let mut kinds = Vec::new();
    for key in 2..9 {
        shop.put(key);
        let report = shop.regime.backup().run().unwrap();
        let archive = Archive::open_on(shop.sim.clone(), &report.archive).unwrap();
        kinds.push(archive.header().kind == BackupKind::Full);
        assert_eq!(shop.regime.drill().unwrap().lsn, report.lsn, "the newest one, whole or not");
    }
    assert_eq!(kinds, [true, false, false, true, false, false, true]);
    let full = shop.regime.backup().incremental(false).run().unwrap();
    let archive = Archive::open_on(shop.sim.clone(), &full.archive).unwrap();
    assert_eq!(archive.header().kind, BackupKind::Full, "who asks for a full one gets it");
    let found = shop.regime.coverage().unwrap();
    assert_eq!((found.archives, found.unusable.len()), (8, 0));
}

#[test]
fn an_incremental_backup_makes_no_set_and_erases_none_before_it() {
    let shop = shop(&[
        ("Stillpoint/FullEvery", "2"),
        ("Advanced/SetNumber/Value", "2"),
        ("Advanced/EraseOldBackupBefore", "True"),
    ]);
    let mut sets = Vec::new();
    for key in 2..8 {
        shop.put(key);
        shop.regime.backup().run().unwrap();
        sets.push(shop.archives().len());
    }
    assert_eq!(sets, [1, 1, 2, 2, 2, 2], "full archives, one for each set");
}

/// A backup beside the regime's goes elsewhere; what goes on from it could not be restored from here.
#[test]
fn an_incremental_backup_goes_on_from_the_last_one_in_its_own_destination() {
    let shop = shop(&[("Stillpoint/FullEvery", "3")]);
    let first = shop.regime.backup().run().unwrap();
    shop.put(2);
    shop.sim.create_dir(Path::new("/usb")).unwrap();
    shop.regime.store().backup("/usb").log_archive(false).run().unwrap();
    shop.put(3);
    let second = shop.regime.backup().run().unwrap();
    assert_eq!(second.parent.unwrap().seal, first.seal);
    assert_eq!(shop.regime.drill().unwrap().lsn, second.lsn);
}

#[test]
fn drills_come_by_the_schedule_and_what_they_find_is_told() {
    let shop = shop(&[
        ("Stillpoint/Drill/Every", "1"),
        ("Stillpoint/Drill/Hour", "0000-00-00T04:00:00"),
        ("Stillpoint/TimeZone", "UTC"),
    ]);
    let report = shop.regime.backup().run().unwrap();
    shop.heard();
    assert_eq!(shop.regime.tick().unwrap().to_string(), "2026-01-01T04:00:00Z");
    shop.at("2026-01-01T04:00:00Z");
    assert!(matches!(shop.heard()[..], [RegimeEvent::DrillEnded { error: None }]));
    let len = shop.sim.metadata(&report.archive).unwrap().len;
    shop.sim.corrupt(&report.archive, len / 2, 1).unwrap();
    shop.at("2026-01-02T04:00:00Z");
    let heard = shop.heard();
    let [RegimeEvent::DrillEnded { error: Some(error) }] = &heard[..] else { panic!("{heard:?}") };
    assert_eq!(error.code(), code::CHECK);
}

#[cfg(feature = "encryption")]
#[test]
fn encrypted_archives_are_drilled_counted_and_restored_by_those_who_have_the_key() {
    use age::secrecy::ExposeSecret;
    let identity = age::x25519::Identity::generate();
    let (public, private) = (identity.to_public().to_string(), identity.to_string());
    let keyed = |builder: RegimeBuilder| {
        let keys = Keys::none().with_identities(private.expose_secret()).unwrap();
        builder.encrypt(Recipients::public_keys([public.as_str()]).unwrap()).keys(keys)
    };
    let sim = shop(&AUTOMATIC).closed();
    let shop = Shop::open_with(sim, keyed);
    shop.regime.backup().run().unwrap();
    shop.put(2);
    shop.regime.backup().run().unwrap();
    shop.put(3);
    assert_eq!(shop.regime.drill().unwrap().records, 2);
    assert_eq!(shop.regime.coverage().unwrap().unusable.len(), 0);
    let was = all(shop.regime.store());
    let shop = Shop::open(shop.closed());
    let without = shop.regime.coverage().unwrap();
    assert_eq!((without.archives, without.unusable.len()), (0, 3));
    assert!(without.unusable.iter().all(|error| error.code() == code::KEY));
    let sim = shop.closed();
    ruin(&sim);
    builder(&sim).open().unwrap_err();
    let shop = Shop::open_with(sim, keyed);
    assert_eq!(all(shop.regime.store()), was);
    assert!(!shop.journal().contains(private.expose_secret()));
}
