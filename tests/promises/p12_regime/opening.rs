//! A damaged store is restored when it is opened, if the settings say so, and nothing is lost by it.

use super::*;
use stillpoint::disk::OpenMode;
use stillpoint::regime::{Operation, OperationKind, OperationStatus, Origin};
use stillpoint::{LogFile, WriteHandle};

#[test]
fn a_damaged_store_is_restored_by_itself_and_the_damaged_one_is_kept() {
    let shop = shop(&AUTOMATIC);
    write_file(&shop.sim, Path::new("/note"), b"attached");
    shop.regime.backup().attachment("/note").run().unwrap();
    shop.put(2);
    shop.regime.backup().run().unwrap();
    shop.put(3);
    let was = all(shop.regime.store());
    let sim = shop.closed();
    ruin(&sim);
    let damaged = read_file(&sim, &Path::new(DIR).join("store.data"));
    let shop = Shop::open(sim);
    assert_eq!(all(shop.regime.store()), was, "with the logs behind the last backup");
    let info = shop.regime.restore_info().unwrap();
    assert_eq!((info.status.code, info.commits_integrated), (0, 1));
    let aside = info.aside.unwrap();
    assert_eq!(read_file(&shop.sim, &aside.join("store.data")), damaged, "untouched");
    use RegimeEvent::Restored;
    assert!(matches!(shop.heard()[..], [Restored { .. }]));
    assert!(shop.journal().contains("\tautomatic-restore\t"));
    shop.put(4);
    shop.regime.backup().run().unwrap();
    let shop = shop.again();
    assert_eq!(shop.regime.restore_info().unwrap().started, info.started, "it is remembered");
}

#[test]
fn a_damaged_archive_is_passed_over_and_only_data_comes_back() {
    let shop = shop(&AUTOMATIC);
    write_file(&shop.sim, Path::new("/note"), b"attached");
    shop.regime.backup().attachment("/note").run().unwrap();
    shop.put(2);
    let newest = shop.regime.backup().run().unwrap().archive;
    let sim = shop.closed();
    sim.corrupt(&newest, sim.metadata(&newest).unwrap().len / 2, 1).unwrap();
    ruin(&sim);
    let shop = Shop::open(sim);
    let first = Path::new(TO).join("shop[0001].tar.zst");
    assert_eq!(shop.regime.restore_info().unwrap().archive, Some(first));
    assert!(shop.sim.metadata(&Path::new(DIR).join("attachments")).is_err());
}

#[test]
fn what_goes_with_a_restored_store_may_be_of_any_length() {
    let shop = shop(&AUTOMATIC);
    shop.regime.backup().run().unwrap();
    let sim = shop.closed();
    let long = Path::new(DIR).join("Logs/of somebody else");
    let file = sim.open(&long, OpenMode::CreateNew).unwrap();
    file.write_at(b"its end", 65 << 20).unwrap();
    ruin(&sim);
    let shop = Shop::open(sim);
    assert!(shop.regime.restore_info().unwrap().aside.is_some());
    assert_eq!(shop.sim.metadata(&long).unwrap().len, (65 << 20) + 7);
}

#[test]
fn without_the_setting_a_damaged_store_stays_as_it_is() {
    let shop = shop(&[]);
    shop.regime.backup().run().unwrap();
    let sim = shop.closed();
    ruin(&sim);
    let error = builder(&sim).open().unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Unsupported), "{error:?}");
    assert!(sim.metadata(&Path::new(DIR).join("store.data")).is_ok());
}

#[test]
fn where_automatic_restart_is_off_the_restored_store_waits_for_a_second_opening() {
    let shop = shop(&with(&AUTOMATIC, &[("Advanced/AutomaticRestart", "False")]));
    shop.regime.backup().run().unwrap();
    let sim = shop.closed();
    ruin(&sim);
    let error = builder(&sim).open().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Cancelled);
    let shop = Shop::open(sim);
    assert_eq!(shop.regime.restore_info().unwrap().status.code, 0);
    assert_eq!(all(shop.regime.store()).len(), 1);
}

#[test]
fn without_a_backup_nothing_of_a_damaged_store_is_moved() {
    let sim = shop(&AUTOMATIC).closed();
    ruin(&sim);
    let before = sim.list(Path::new("/")).unwrap();
    builder(&sim).open().unwrap_err();
    assert_eq!(sim.list(Path::new("/")).unwrap(), before);
}

/// Somebody restored an archive by hand, and called it as people do.
#[test]
fn an_automatic_restore_leaves_stores_beside_it_alone() {
    let shop = shop(&AUTOMATIC);
    let report = shop.regime.backup().run().unwrap();
    let archive = Archive::open_on(shop.sim.clone(), &report.archive).unwrap();
    for name in ["/shop.restored", "/shop.drill"] {
        archive.restore(name).run().unwrap();
    }
    shop.regime.drill().unwrap();
    let sim = shop.closed();
    ruin(&sim);
    let shop = Shop::open(sim);
    for name in ["/shop.restored", "/shop.drill"] {
        let beside = Store::builder(name).disk(shop.sim.clone()).open().unwrap();
        assert_eq!(all(&beside), all(shop.regime.store()));
    }
}

/// It is whole, and the version that wrote it opens it.
#[test]
fn a_data_file_of_another_version_is_no_damage() {
    let shop = shop(&AUTOMATIC);
    shop.regime.backup().run().unwrap();
    let sim = shop.closed();
    let path = Path::new(DIR).join("store.data");
    let mut bytes = read_file(&sim, &path);
    let page = u32::from_le_bytes(bytes[12..16].try_into().unwrap()) as usize;
    for slot in [0, page] {
        let meta = &mut bytes[slot..slot + page];
        meta[8..12].copy_from_slice(&u32::MAX.to_le_bytes());
        let sum = crc32c::crc32c(&meta[..page - 4]);
        meta[page - 4..].copy_from_slice(&sum.to_le_bytes());
    }
    write_file(&sim, &path, &bytes);
    assert_eq!(builder(&sim).open().unwrap_err().kind(), ErrorKind::Unsupported);
    assert_eq!(read_file(&sim, &path), bytes);
}

#[test]
fn an_automatic_restore_that_dies_at_any_call_is_ended_by_a_later_opening() {
    let shop = shop(&AUTOMATIC);
    shop.regime.backup().run().unwrap();
    let was = all(shop.regime.store());
    let sim = shop.closed();
    ruin(&sim);
    let whole = sim.image();
    let before = whole.calls();
    drop(builder(&whole).open().unwrap());
    let calls = whole.calls() - before;
    for call in (1..=calls).step_by(3) {
        let sim = sim.image();
        sim.crash_at(call);
        let _died = builder(&sim).open();
        let sim = sim.reboot(Survival::Random(call));
        let regime = builder(&sim).open().unwrap_or_else(|e| panic!("call {call}: {e}"));
        assert_eq!(all(regime.store()), was, "call {call}");
    }
}

#[test]
fn without_automatic_integration_the_restored_store_stays_at_its_archive_and_says_so() {
    let shop = shop(&with(&AUTOMATIC, &[("Advanced/AutomaticLogIntegration", "False")]));
    shop.regime.backup().run().unwrap();
    shop.put(2);
    let sim = shop.closed();
    ruin(&sim);
    let shop = Shop::open(sim);
    let info = shop.regime.restore_info().unwrap();
    assert_eq!((all(shop.regime.store()).len(), info.commits_integrated), (1, 0));
    assert!(info.status.text.contains("AutomaticLogIntegration"), "{}", info.status.text);
    assert!(shop.journal().contains("go on to LSN 2"), "{}", shop.journal());
}

#[test]
fn strict_integration_stops_at_a_damaged_log_with_a_true_prefix() {
    let shop = shop(&AUTOMATIC);
    shop.regime.backup().run().unwrap();
    shop.sim.create_dir(Path::new("/shipped")).unwrap();
    for key in 2..5 {
        shop.put(key);
        shop.regime.store().new_log_file("/shipped").unwrap();
    }
    let sim = shop.closed();
    let segments: Vec<PathBuf> = sim.list(&Path::new(DIR).join("log")).unwrap();
    let middle = Path::new(DIR).join("log").join(&segments[segments.len() - 3]);
    for offset in (128..sim.metadata(&middle).unwrap().len).step_by(16) {
        sim.corrupt(&middle, offset, 5).unwrap();
    }
    ruin(&sim);
    let shop = Shop::open(sim);
    let info = shop.regime.restore_info().unwrap();
    let found = all(shop.regime.store());
    assert_eq!(found.len() as u64, 1 + info.commits_integrated, "{info:?}");
    assert!(found.len() < 4 && info.status.code != 0, "{info:?}");
}

/// A damaged store with three commits behind its backup, of which the log has lost the second.
fn damaged_with_a_gap() -> Arc<SimDisk> {
    let shop = shop(&AUTOMATIC);
    shop.put(5);
    shop.regime.backup().run().unwrap();
    shop.sim.create_dir(Path::new("/shipped")).unwrap();
    for key in [2, 3] {
        shop.put(key);
        shop.regime.store().new_log_file("/shipped").unwrap();
    }
    let late = |write: &WriteHandle| {
        let items = write.table(ITEMS)?;
        items.put(&4, &"late".to_owned())?;
        items.put(&1, &"changed".to_owned())?;
        items.delete(&5).map(drop)
    };
    shop.regime.store().transact(late).unwrap();
    let sim = shop.closed();
    let log = LogFile::open_on(sim.clone(), Path::new(DIR).join("log")).unwrap();
    let lost = log.segments().into_iter().find(|s| (s.after, s.last) == (3, 4)).unwrap();
    sim.remove_file(&lost.path).unwrap();
    ruin(&sim);
    sim
}

fn auto_repairing(sim: &SimDisk) {
    let repair = ("Advanced/AutomaticLogIntegrationStrictness", "auto-repair");
    write_settings(sim, &with(&AUTOMATIC, &[repair]));
}

#[test]
fn strict_integration_refuses_what_lies_behind_a_gap_and_auto_repair_goes_on_and_tells_each_operation()
 {
    let sim = damaged_with_a_gap();
    let other = sim.image();
    let shop = Shop::open(sim);
    let keys: Vec<u64> = all(shop.regime.store()).into_iter().map(|(key, _)| key).collect();
    let info = shop.regime.restore_info().unwrap();
    assert_eq!((keys, info.commits_integrated, info.repaired), (vec![1, 2, 5], 1, 0));
    assert_eq!(info.status.code, code::LOG_GAP, "{info:?}");
    assert!(!shop.journal().contains("\trepair\t"));

    auto_repairing(&other);
    let shop = Shop::open(other);
    let found = all(shop.regime.store());
    let found: Vec<(u64, &str)> = found.iter().map(|(key, value)| (*key, &**value)).collect();
    assert_eq!(
        found,
        [(1, "changed"), (2, "more"), (4, "late")],
        "all but the commit that is lost"
    );
    let info = shop.regime.restore_info().unwrap();
    assert_eq!((info.commits_integrated, info.repaired), (2, 3));
    assert_eq!(info.status.code, code::LOG_GAP, "what is lost is not hidden: {info:?}");
    assert!(info.status.text.contains("dealt with 3 operations"), "{}", info.status.text);
    let journal = shop.journal();
    let lines: Vec<&str> = journal.lines().filter(|line| line.contains("\trepair\t")).collect();
    assert_eq!(lines.len(), 3, "{journal}");
    for told in [
        "LSN 5: put \"items\" 4: the record was added",
        "LSN 5: put \"items\" 1: the record was replaced",
        "LSN 5: delete \"items\" 5: the record was deleted",
    ] {
        assert!(lines.iter().any(|line| line.contains(told)), "{told} in {lines:?}");
    }
    // The store goes on from there: it is backed up, and that backup is proven.
    shop.put(6);
    shop.regime.backup().run().unwrap();
    assert_eq!(shop.regime.drill().unwrap().records, 4);
    let shop = shop.again();
    assert_eq!(shop.regime.restore_info().unwrap(), info, "it is remembered");
}

#[test]
fn where_all_fits_auto_repair_mends_nothing() {
    let shop = shop(&AUTOMATIC);
    auto_repairing(&shop.sim);
    shop.regime.backup().run().unwrap();
    shop.put(2);
    let (was, at) = (all(shop.regime.store()), shop.regime.store().lsn());
    let sim = shop.closed();
    ruin(&sim);
    let shop = Shop::open(sim);
    let info = shop.regime.restore_info().unwrap();
    assert_eq!((info.commits_integrated, info.repaired, info.status.code), (1, 0, 0), "{info:?}");
    assert_eq!((all(shop.regime.store()), shop.regime.store().lsn()), (was, at));
}

fn operations(sim: &SimDisk) -> Vec<Operation> {
    History::list(sim, Path::new(TO), "shop").unwrap()
}

#[test]
fn automatic_restores_and_integrations_are_in_the_history_and_change_nothing_else_in_it() {
    let shop = shop(&with(&AUTOMATIC, &[("Advanced/SetNumber/Value", "2")]));
    shop.regime.backup().run().unwrap();
    shop.put(2);
    let newest = shop.regime.backup().run().unwrap().archive;
    shop.put(3);
    let sim = shop.closed();
    ruin(&sim);
    let shop = Shop::open(sim);
    let listed = operations(&shop.sim);
    let kinds: Vec<&OperationKind> = listed.iter().map(|o| &o.operation).collect();
    use OperationKind::{Backup, Integration, Restore};
    assert_eq!(kinds, [&Backup, &Backup, &Restore, &Integration]);
    let (restore, integration) = (&listed[2], &listed[3]);
    for told in [restore, integration] {
        assert_eq!(
            (told.origin, told.status),
            (Some(Origin::Automatic), OperationStatus::Complete)
        );
        assert!(told.duration_micros > 0 && told.date.starts_with("2026-01-01"), "{told:?}");
    }
    assert_eq!((restore.backup_number, restore.backup_path.clone()), (Some(2), Some(newest)));
    assert_eq!((restore.lsn, integration.lsn), (Some(2), Some(3)));
    assert!(!integration.log_files.is_empty());
    for log in &integration.log_files {
        assert_eq!(shop.sim.metadata(&log.path).unwrap().len, log.bytes, "where it is now");
    }
    // Numbers and retention go on as though they were not there.
    for number in 3..6 {
        shop.put(10 + u64::from(number));
        assert_eq!(shop.regime.backup().run().unwrap().number, number);
        assert_eq!(shop.archives().len(), 2);
    }
    let listed = operations(&shop.sim);
    let backups: Vec<u32> = listed
        .iter()
        .filter(|o| o.operation == Backup && !o.backup_files.is_empty())
        .filter_map(|o| o.backup_number)
        .collect();
    assert_eq!(backups, [4, 5]);
    assert_eq!(listed.iter().filter(|o| o.origin == Some(Origin::Automatic)).count(), 2);
    let aside = shop.sim.list(Path::new(TO)).unwrap();
    assert!(aside.iter().all(|name| !name.to_string_lossy().contains("malformed")), "{aside:?}");
    assert_eq!(shop.regime.coverage().unwrap().gaps.len(), 0);
}

#[test]
fn a_restore_that_fails_or_is_not_followed_by_an_opening_is_written_down_too() {
    let shop = shop(&AUTOMATIC);
    let only = shop.regime.backup().run().unwrap().archive;
    let sim = shop.closed();
    ruin(&sim);
    let spared = sim.image();
    sim.corrupt(&only, sim.metadata(&only).unwrap().len / 2, 1).unwrap();
    builder(&sim).open().unwrap_err();
    let listed = operations(&sim);
    let last = listed.last().unwrap();
    assert_eq!((&last.operation, last.status), (&OperationKind::Restore, OperationStatus::Failed));
    assert!(last.code != 0 && !last.error.is_empty(), "{last:?}");
    let journal = Path::new(DIR).join("Logs/Backup Journal[001].txt");
    assert!(String::from_utf8(read_file(&sim, &journal)).unwrap().contains("automatic-restore"));

    write_settings(&spared, &with(&AUTOMATIC, &[("Advanced/AutomaticRestart", "False")]));
    assert_eq!(builder(&spared).open().unwrap_err().kind(), ErrorKind::Cancelled);
    let last = operations(&spared).pop().unwrap();
    let told = (&last.operation, last.status, last.backup_path);
    assert_eq!(told, (&OperationKind::Restore, OperationStatus::Complete, Some(only)));
    assert!(String::from_utf8(read_file(&spared, &journal)).unwrap().contains("automatic-restore"));
}

#[test]
fn an_automatic_restore_whose_files_cannot_be_moved_leaves_the_damaged_store_and_is_done_later() {
    let shop = shop(&AUTOMATIC);
    shop.regime.backup().run().unwrap();
    let was = all(shop.regime.store());
    let sim = shop.closed();
    ruin(&sim);
    let damaged = read_file(&sim, &Path::new(DIR).join("store.data"));
    let mut failed = 0;
    for renamed in 0..100 {
        let sim = sim.image();
        sim.fail(FaultPlan::once(Call::Rename, "/shop", Fault::IO).skip(renamed));
        let opened = builder(&sim).open();
        let through = sim.has_faults();
        sim.heal();
        if opened.is_err() {
            failed += 1;
            let data = read_file(&sim, &Path::new(DIR).join("store.data"));
            assert_eq!(data, damaged, "after {renamed} renames");
        }
        drop(opened);
        assert_eq!(all(Shop::open(sim).regime.store()), was, "after {renamed} renames");
        if through {
            assert!(failed > 5, "{failed}");
            return;
        }
    }
    panic!("a restore does not rename so often");
}
