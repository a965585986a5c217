//! Retention: which archives go, which stay whatever happens, and crashes.

use std::path::Path;

use stillpoint::disk::{Call, Disk, Fault, FaultPlan, SimDisk, Survival};
use stillpoint::regime::{History, JournalEvent, RetentionRule};
use stillpoint::{Access, Archive, BackupStatus};

use super::{SET, Shop, TO, archives, ground, read, write};

const KEEP: fn(u32) -> RetentionRule = |keep| RetentionRule { keep, room: 0 };

#[test]
fn the_oldest_sets_go_with_their_logs() {
    let sim = ground(1);
    let mut shop = Shop::create(&sim, "/store");
    for _ in 0..5 {
        shop.recorded(Some(3));
        shop.history().retire(&KEEP(3)).unwrap();
    }
    let left = ["shop[0003].log.zst", "shop[0003].tar.zst", "shop[0004].log.zst"];
    assert_eq!(archives(&sim), [&left[..], &["shop[0004].tar.zst", "shop[0005].tar.zst"]].concat());
    let listed = shop.history().read().unwrap();
    let numbers: Vec<_> = listed.iter().filter_map(|o| o.backup_number).collect();
    assert_eq!(numbers, [3, 4, 5], "as many as sets are kept");
    assert_eq!(listed[0].log_path, None, "that log archive went with set 2");
}

#[test]
fn a_plan_changes_nothing_and_is_what_is_done() {
    let sim = ground(2);
    let mut shop = Shop::create(&sim, "/store");
    for _ in 0..4 {
        shop.recorded(None);
    }
    let was = archives(&sim);
    let before = RetentionRule { room: 1, ..KEEP(3) };
    let plan = shop.history().plan(&before).unwrap();
    assert_eq!(archives(&sim), was);
    let planned: Vec<String> = plan
        .deletions
        .iter()
        .map(|d| d.path.file_name().unwrap().to_str().unwrap().to_owned())
        .collect();
    assert_eq!(planned.len(), 4, "two sets, each with its log, so that there is room for one");
    let lines = shop.history().retire(&before).unwrap();
    assert_eq!(lines.len(), 4);
    assert!(lines.iter().all(|line| line.event == JournalEvent::Deletion && line.code == 0));
    let left: Vec<String> = was.into_iter().filter(|name| !planned.contains(name)).collect();
    assert_eq!(archives(&sim), left);
}

#[test]
fn before_a_backup_the_only_archive_stays() {
    let sim = ground(3);
    let mut shop = Shop::create(&sim, "/store");
    shop.recorded(None);
    shop.history().retire(&RetentionRule { room: 1, ..KEEP(1) }).unwrap();
    assert_eq!(archives(&sim), ["shop[0001].tar.zst"]);
}

#[test]
fn what_was_moved_renamed_or_replaced_is_left_alone_and_does_not_count() {
    let sim = ground(4);
    let mut shop = Shop::create(&sim, "/store");
    let reports: Vec<_> = (0..6).map(|_| shop.recorded(None)).collect();
    let moved = Path::new(TO).join("shop[0001].tar.zst");
    sim.rename(&moved, Path::new("/backups/before the move.tar.zst")).unwrap();
    // In place of the second stands something as long as it, and of another store.
    let mut other = Shop::create(&sim, "/other");
    let foreign = other.back_up();
    let mut bytes = read(&sim, &foreign.archive);
    sim.remove_file(&foreign.archive).unwrap();
    bytes.resize(usize::try_from(reports[1].archive_bytes).unwrap(), 0);
    write(&sim, &reports[1].archive, &bytes);
    // The third was changed.
    let mut bytes = read(&sim, &reports[2].archive);
    bytes.push(0);
    write(&sim, &reports[2].archive, &bytes);
    let lines = shop.history().retire(&KEEP(1)).unwrap();
    let left = archives(&sim);
    for name in ["before the move.tar.zst", "shop[0002].tar.zst", "shop[0003].tar.zst"] {
        assert!(left.contains(&name.to_owned()), "{name}: {left:?}");
    }
    for name in ["shop[0004].tar.zst", "shop[0005].tar.zst"] {
        assert!(!left.contains(&name.to_owned()), "{name}: {left:?}");
    }
    assert!(lines.iter().any(|l| l.path.as_ref() == Some(&reports[1].archive) && l.code != 0));
    // Three of them are not at their place: the sets that count are those that can be restored.
    let mut shop = shop;
    shop.recorded(None);
    shop.history().retire(&KEEP(2)).unwrap();
    for number in [6, 7] {
        let path = format!("{TO}/shop[{number:04}].tar.zst");
        Archive::open_on(sim.clone(), path).unwrap().verify().unwrap();
    }
}

#[test]
fn incremental_archives_go_with_their_set_and_never_without() {
    let sim = ground(5);
    let mut shop = Shop::create(&sim, "/store");
    shop.recorded(None);
    for _ in 0..2 {
        let report = shop.increment();
        assert!(report.parent.is_some());
        shop.record(&report, None);
    }
    shop.history().retire(&KEEP(1)).unwrap();
    assert_eq!(archives(&sim).iter().filter(|n| n.ends_with(".tar.zst")).count(), 3);
    shop.recorded(None);
    shop.history().retire(&KEEP(2)).unwrap();
    assert_eq!(archives(&sim).iter().filter(|n| n.ends_with(".tar.zst")).count(), 4);
    shop.history().retire(&KEEP(1)).unwrap();
    assert_eq!(archives(&sim), ["shop[0004].tar.zst"]);
}

#[test]
fn a_complete_archive_outlives_any_number_of_partial_ones() {
    let sim = ground(6);
    let mut shop = Shop::create(&sim, "/store");
    let good = shop.recorded(None);
    for _ in 0..4 {
        shop.commit();
        let backup = shop.store.backup(TO).name(SET).access(Access::Live).workers(1);
        let report = backup.attachment("/not/there").run().unwrap();
        assert_eq!(report.status, BackupStatus::Partial);
        shop.record(&report, None);
        shop.history().retire(&KEEP(2)).unwrap();
    }
    let left = archives(&sim);
    let full: Vec<_> = left.iter().filter(|name| name.ends_with(".tar.zst")).collect();
    assert_eq!(full, ["shop[0001].tar.zst", "shop[0004].tar.zst", "shop[0005].tar.zst"]);
    let logs = left.len() - full.len();
    assert_eq!(logs, 4, "the whole way from the complete one on can be rolled forward: {left:?}");
    shop.recorded(None);
    shop.history().retire(&KEEP(2)).unwrap();
    assert!(!archives(&sim).iter().any(|name| good.archive.ends_with(name)));
    assert_eq!(archives(&sim).len(), 3, "and then all that is behind goes: {:?}", archives(&sim));
}

#[test]
fn what_cannot_be_deleted_is_told_and_tried_again() {
    let sim = ground(7);
    let mut shop = Shop::create(&sim, "/store");
    for _ in 0..3 {
        shop.recorded(None);
    }
    sim.fail(FaultPlan::always(Call::Remove, "shop[0001].tar", Fault::DENIED));
    let lines = shop.history().retire(&KEEP(1)).unwrap();
    assert_eq!(lines.iter().filter(|line| line.code != 0).count(), 1);
    let still = "shop[0001].tar.zst".to_owned();
    assert_eq!(archives(&sim), [still, "shop[0003].tar.zst".to_owned()]);
    sim.heal();
    shop.history().retire(&KEEP(1)).unwrap();
    assert_eq!(archives(&sim), ["shop[0003].tar.zst"]);
    assert_eq!(shop.history().read().unwrap().len(), 1);
}

/// After a crash anywhere, what is listed and kept is whole, and the next run ends as one without.
#[test]
fn a_crash_while_deleting_is_made_good_by_the_next_run() {
    let sim = ground(8);
    let mut shop = Shop::create(&sim, "/store");
    for _ in 0..2 {
        shop.recorded(None);
        let report = shop.increment();
        shop.record(&report, None);
    }
    shop.recorded(None);
    let base = sim.image();
    let history =
        |sim: &std::sync::Arc<SimDisk>| History::at(sim.clone(), Path::new(TO), SET, shop.id);
    for survival in [Survival::Nothing, Survival::Everything] {
        for call in 1.. {
            let sim = base.image();
            sim.crash_at(call);
            let done = history(&sim).retire(&KEEP(1)).is_ok();
            let crashed = sim.crashed();
            assert!(done || crashed);
            let after = sim.reboot(survival);
            let kept = format!("{TO}/shop[0005].tar.zst");
            Archive::open_on(after.clone(), kept).unwrap().verify().unwrap();
            history(&after).retire(&KEEP(1)).unwrap();
            assert_eq!(archives(&after), ["shop[0005].tar.zst"], "call {call}");
            assert_eq!(history(&after).read().unwrap().len(), 1, "call {call}");
            if !crashed {
                assert!(call > 20, "there is something to crash");
                break;
            }
        }
    }
}

/// Layered as archives can be: nobody gives a key, and place, name and length decide.
#[cfg(feature = "encryption")]
#[test]
fn all_files_of_an_archive_go_segments_and_parity_and_encrypted_ones_included() {
    use stillpoint::archive::{Keys, Level, Recipients};
    let sim = ground(9);
    let mut shop = Shop::create(&sim, "/store");
    let mut layered = |secret: &str| {
        shop.commit();
        let backup = shop.store.backup(TO).name(SET).access(Access::Live).workers(1);
        let backup = backup.segment_size(64 << 10).redundancy(Level::Low);
        let report = backup.encrypt(Recipients::passphrase(secret).unwrap()).run().unwrap();
        shop.id = report.store_id;
        assert!(report.archive_files.len() > 1, "{:?}", report.archive_files);
        let was = shop.record(&report, None);
        assert_eq!(was.backup_files.len(), report.archive_files.len());
        report
    };
    let (first, second) = (layered("one"), layered("two"));
    let log = second.log_archive.clone().expect("there were commits");
    shop.history().retire(&KEEP(1)).unwrap();
    for gone in first.archive_files.iter().chain(&log.files) {
        assert!(sim.metadata(gone).is_err(), "{} is still there", gone.display());
    }
    for kept in &second.archive_files {
        assert!(sim.metadata(kept).is_ok(), "{} is gone", kept.display());
    }
    // A lost history finds it again with the key, and does not guess without.
    sim.remove_file(&shop.history().path()).unwrap();
    assert!(shop.history().read().unwrap().is_empty());
    let found = shop.history().with_keys(Keys::none().with_passphrase("two")).load().unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].seal, Some(second.seal));
    let files: Vec<_> = found[0].backup_files.iter().map(|part| part.path.clone()).collect();
    assert_eq!(files, second.archive_files);
}

/// Nobody has the key, so the archives cannot say whose they are; the history does.
#[cfg(feature = "encryption")]
#[test]
fn a_store_deletes_none_of_another_whose_archives_have_the_same_name() {
    use stillpoint::archive::Recipients;
    let sim = ground(10);
    let (mut one, mut other) = (Shop::create(&sim, "/store"), Shop::create(&sim, "/other"));
    let sealed = |shop: &mut Shop| {
        shop.commit();
        let backup = shop.store.backup(TO).name(SET).access(Access::Live).workers(1);
        let backup = backup.encrypt(Recipients::passphrase("secret").unwrap());
        let report = backup.run().unwrap();
        shop.id = report.store_id;
        shop.record(&report, None);
        report.archive
    };
    let theirs = [sealed(&mut other), sealed(&mut other)];
    let own = [sealed(&mut one), sealed(&mut one), sealed(&mut one)];
    one.history().retire(&KEEP(2)).unwrap();
    let is_there = |archive: &std::path::PathBuf| sim.metadata(archive).is_ok();
    assert_eq!(own.each_ref().map(is_there), [false, true, true]);
    assert_eq!(theirs.each_ref().map(is_there), [true, true]);
    other.history().retire(&KEEP(1)).unwrap();
    assert_eq!(theirs.each_ref().map(is_there), [false, true], "the newest of its own stays");
}
