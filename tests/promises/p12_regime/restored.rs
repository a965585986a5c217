//! A store that was restored or rolled back keeps its log at once, and what lies there of the future that
//! it left is not counted.

use stillpoint::{LogFile, RestorePoint, Rollback};

use super::*;
use crate::scene::files;

/// A store with commits 1 to 4 and three backups, at 1, 3 and 4, rolled back to commit `lsn`.
fn rolled_back(values: &[(&str, &str)], lsn: u64) -> Shop {
    let shop = shop(&with(&[("Advanced/SetNumber/Value", "9")], values));
    shop.regime.backup().run().unwrap();
    shop.put(2);
    shop.put(3);
    shop.regime.backup().run().unwrap();
    shop.put(4);
    shop.regime.backup().run().unwrap();
    let sim = shop.closed();
    Rollback::new(DIR, RestorePoint::Lsn(lsn)).archives(TO).disk(sim.clone()).run().unwrap();
    Shop::open(sim)
}

fn lose_log(sim: &Arc<SimDisk>) {
    files(sim, &format!("{DIR}/log")).keys().for_each(|path| sim.remove_file(path).unwrap());
}

#[test]
fn a_store_that_was_rolled_back_is_covered_by_its_log_before_its_next_backup() {
    let shop = rolled_back(&DAILY, 2);
    assert_eq!(shop.regime.next_attempt(), None, "the next date will do");
    shop.put(5);
    shop.regime.store().checkpoint().unwrap();
    shop.put(6);
    let covered = |shop: &Shop| {
        let found = shop.regime.coverage().unwrap();
        assert!(found.gaps.is_empty(), "{found:?}");
        (found.oldest.unwrap().lsn, found.newest.unwrap().lsn, found.commits_at_risk())
    };
    assert_eq!(covered(&shop), (1, 4, 2));
    let shop = shop.again();
    assert_eq!(covered(&shop), (1, 4, 2));
    // The log since the archive that it came out of goes with its first backup.
    let log = shop.regime.backup().run().unwrap().log_archive.unwrap();
    assert_eq!((log.after, log.last), (1, 4));
    assert_eq!(covered(&shop), (1, 4, 0));
    shop.put(7);
    assert_eq!(covered(&shop), (1, 5, 1));
}

#[test]
fn a_store_that_was_restored_by_itself_is_covered_by_its_log_at_once() {
    let shop = shop(&with(&AUTOMATIC, &DAILY));
    shop.regime.backup().run().unwrap();
    shop.put(2);
    let sim = shop.closed();
    ruin(&sim);
    let shop = Shop::open(sim);
    shop.put(3);
    shop.regime.store().checkpoint().unwrap();
    shop.put(4);
    let found = shop.regime.coverage().unwrap();
    assert_eq!((found.lsn, found.newest.unwrap().lsn, found.gaps.len()), (4, 4, 0));
    let sim = shop.closed();
    ruin(&sim);
    assert_eq!(Shop::open(sim).regime.store().lsn(), 4);
}

/// With the log that tells of its timeline, and where that is lost too; before and after a backup, and
/// after a while.
#[test]
fn damage_after_a_rollback_brings_back_nothing_of_the_future_that_was_left() {
    let cases = [(false, false), (false, true), (true, false), (true, true)];
    for ((backed_up, loses_log), goes_on) in
        cases.into_iter().flat_map(|case| [(case, false), (case, true)])
    {
        let shop = rolled_back(&AUTOMATIC, 2);
        if backed_up {
            shop.regime.backup().run().unwrap();
        }
        if goes_on {
            shop.put(5);
        }
        let sim = shop.closed();
        ruin(&sim);
        if loses_log {
            files(&sim, &format!("{DIR}/log")).keys().for_each(|path| spoil(&sim, path));
        }
        let shop = Shop::open(sim);
        let info = shop.regime.restore_info().expect("it was restored");
        let kept = goes_on && !loses_log;
        assert_eq!(shop.regime.store().lsn(), 2 + u64::from(kept), "{info:?}");
    }
}

/// It archives no log and begins none; it is an archive of the store's own way all the same.
#[test]
fn a_copy_without_its_log_counts_for_a_store_that_was_rolled_back_and_lost_its_log() {
    let shop = rolled_back(&AUTOMATIC, 2);
    shop.put(5);
    shop.regime.store().backup(TO).name("shop").log_archive(false).run().unwrap();
    let sim = shop.closed();
    ruin(&sim);
    lose_log(&sim);
    let shop = Shop::open(sim);
    let info = shop.regime.restore_info().expect("it was restored");
    assert_eq!(shop.regime.store().lsn(), 3, "{info:?}");
}

#[test]
fn what_lies_there_of_the_future_that_a_rollback_left_is_not_counted() {
    let shop = rolled_back(&[], 2);
    let found = shop.regime.coverage().unwrap();
    assert_eq!((found.lsn, found.oldest.unwrap().lsn, found.newest.unwrap().lsn), (2, 1, 2));
    assert_eq!((found.newest_archived.unwrap().lsn, found.commits_at_risk()), (2, 0));
    assert_eq!((found.archives, found.log_archives, found.left_branches), (1, 1, 2));
    assert!(found.gaps.is_empty());
    // And no more when it goes on from there.
    shop.put(5);
    shop.regime.backup().run().unwrap();
    let found = shop.regime.coverage().unwrap();
    assert_eq!((found.archives, found.left_branches, found.newest.unwrap().lsn), (2, 2, 3));
}

/// Nothing was closed in it, so it begins where it is kept from, and not where the timeline does.
#[test]
fn the_new_log_of_a_store_that_was_rolled_back_is_not_taken_for_an_old_one() {
    let shop = rolled_back(&[], 3);
    shop.regime.backup().run().unwrap();
    assert!(shop.regime.coverage().unwrap().gaps.is_empty(), "a log archive leads there");
    shop.sim.remove_file(&Path::new(TO).join("shop[0001].log.zst")).unwrap();
    let found = shop.regime.coverage().unwrap();
    assert_eq!((found.oldest.unwrap().lsn, found.newest.unwrap().lsn), (1, 3));
    assert_eq!((found.gaps[0].after, found.gaps[0].before), (1, 3), "nothing gives back 2 alone");
}

/// Sets of the future that was left have greater LSNs on the same timeline.
#[test]
fn the_first_backup_after_a_rollback_is_not_deleted_in_favour_of_the_future_that_was_left() {
    let sim = rolled_back(&[], 2).closed();
    write_settings(&sim, &[("Advanced/SetNumber/Value", "1")]);
    let shop = Shop::open(sim);
    let made = shop.regime.backup().run().unwrap().archive;
    assert_eq!(shop.archives(), [made.file_name().unwrap()]);
    assert_eq!(shop.regime.coverage().unwrap().newest.unwrap().lsn, 2);
    shop.put(5);
    shop.regime.backup().run().unwrap();
    assert_eq!(shop.archives().len(), 1);
}

/// Of a timeline between two restores no archive may ever have been made: the store tells of it.
#[test]
fn a_store_that_is_restored_twice_is_still_restored_from_what_was_saved_before() {
    let shop = rolled_back(&AUTOMATIC, 1);
    shop.put(5);
    let sim = shop.closed();
    ruin(&sim);
    let shop = Shop::open(sim);
    assert_eq!(shop.regime.store().lsn(), 2, "with its log");
    shop.put(6);
    let found = shop.regime.coverage().unwrap();
    assert_eq!((found.oldest.unwrap().lsn, found.archives, found.left_branches), (1, 1, 2));
    // Checkpoints take the log in which the first restore's timeline stands.
    for key in 7..10 {
        shop.regime.store().checkpoint().unwrap();
        shop.put(key);
    }
    assert_eq!(shop.regime.coverage().unwrap().oldest.unwrap().lsn, 1);
    let sim = shop.closed();
    for path in files(&sim, &format!("{DIR}/log")).into_keys() {
        let log = LogFile::open_on(sim.clone(), &path).map(|log| log.segments());
        if log.unwrap_or_default().iter().any(|segment| segment.last <= 2) {
            sim.remove_file(&path).unwrap();
        }
    }
    ruin(&sim);
    let shop = Shop::open(sim);
    assert_eq!(shop.regime.store().lsn(), 1);
    assert_eq!(shop.regime.restore_info().unwrap().status.code, code::LOG_GAP);
}

/// Of the timeline between two restores nothing is left but a log archive: that tells of it.
#[test]
fn a_store_is_restored_through_a_timeline_that_only_a_log_archive_tells_of() {
    let restored = |shop: Shop, loses_log: bool| {
        let sim = shop.closed();
        ruin(&sim);
        if loses_log {
            lose_log(&sim);
        }
        Shop::open(sim)
    };
    let shop = shop(&with(&[("Advanced/SetNumber/Value", "9")], &AUTOMATIC));
    shop.regime.backup().run().unwrap();
    let shop = restored(shop, false);
    shop.regime.backup().run().unwrap();
    shop.put(2);
    let third = shop.regime.backup().run().unwrap().archive;
    shop.sim.remove_file(&third).unwrap();
    let shop = restored(shop, true);
    assert_eq!(shop.regime.store().lsn(), 2, "with the log archive");
    shop.put(3);
    let shop = restored(shop, false);
    assert_eq!(shop.regime.store().lsn(), 3, "with its own log besides");
    // Checkpoints take what its log tells of older timelines.
    for key in 4..7 {
        shop.put(key);
        shop.regime.store().checkpoint().unwrap();
    }
    let found = shop.regime.coverage().unwrap();
    assert_eq!((found.archives, found.newest_archived.unwrap().lsn), (2, 2));
    assert_eq!(restored(shop, true).regime.store().lsn(), 2);
}

#[test]
fn a_rollback_goes_back_through_timelines_that_only_archives_tell_of() {
    let shop = rolled_back(&[], 1);
    shop.put(5);
    shop.put(6);
    shop.regime.backup().run().unwrap();
    shop.put(7);
    let sim = shop.closed();
    let back = |sim: &Arc<SimDisk>, lsn| {
        Rollback::new(DIR, RestorePoint::Lsn(lsn)).archives(TO).disk(sim.clone()).run().unwrap();
        Shop::open(sim.clone())
    };
    let shop = back(&sim, 3);
    shop.put(8);
    assert_eq!(shop.regime.coverage().unwrap().oldest.unwrap().lsn, 1);
    assert_eq!(back(&shop.closed(), 1).regime.store().lsn(), 1);
}
