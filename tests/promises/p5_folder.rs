//! P5 where the folder of an open store is moved, replaced or shared: nothing is done in a folder that was
//! not locked, nothing more is acknowledged, and what was acknowledged is where it was written.

mod processes;

use std::path::Path;
use std::sync::Arc;

use stillpoint::code;
use stillpoint::disk::{Disk, OpenMode, SimDisk, Survival};
use stillpoint::{Error, ErrorKind, Stage, Store, StoreBuilder};

use crate::scene::{STORE, Still, all, files, get, open, put};

const MOVED: &str = "/moved";

fn builder(sim: &Arc<SimDisk>, dir: &str) -> StoreBuilder {
    // Small, so that a few commits need the next segment and the next checkpoint.
    Store::builder(dir).disk(sim.clone()).segment_size(4096).memory_budget(48 << 10)
}

/// A store on a disk of its own, with `records` records.
fn store(records: u64) -> (Arc<SimDisk>, Store) {
    let sim = SimDisk::new(5);
    sim.create_dir(Path::new("/other")).unwrap();
    let store = builder(&sim, STORE).create().unwrap();
    (0..records).for_each(|key| put(&store, key, "acknowledged").unwrap());
    (sim, store)
}

fn count(store: &Store) -> usize {
    all(store).len()
}

fn rename(sim: &SimDisk, from: &str, to: &str) {
    sim.rename(Path::new(from), Path::new(to)).unwrap();
    sim.sync_dir(Path::new("/")).unwrap();
}

fn is_moved(error: &Error) -> bool {
    error.code() == code::STORE_MOVED
}

/// Everything that writes, and more commits than a segment holds, is refused.
fn refuses_everything(store: &Store) {
    for key in 1000..1200 {
        let error = put(store, key, "no more").expect_err("its folder is another's");
        assert_eq!((error.kind(), error.code()), (ErrorKind::ReadOnly, code::STORE_MOVED));
    }
    assert!(is_moved(&store.checkpoint().expect_err("it is latched")));
    store.backup("/other").run().expect_err("what it would hold is in doubt");
}

#[test]
fn a_store_whose_folder_was_replaced_touches_nothing_there_and_acknowledges_nothing_more() {
    for records in [1, 7, 40] {
        let (sim, ours) = store(records);
        rename(&sim, STORE, MOVED);
        let theirs = builder(&sim, STORE).create().unwrap();
        (0..30).for_each(|key| put(&theirs, key, "theirs").unwrap());
        theirs.close().unwrap();
        let before = files(&sim, STORE);
        refuses_everything(&ours);
        assert!(get(&ours, 0).is_some(), "it can be read");
        assert!(is_moved(&ours.close().expect_err("it was latched")));
        assert_eq!(files(&sim, STORE), before, "with {records} records");
        let after = sim.reboot(Survival::Nothing);
        let theirs = open(&after, STORE).unwrap();
        assert_eq!((count(&theirs), get(&theirs, 3)), (30, Some("theirs".to_owned())));
        let ours = open(&after, MOVED).unwrap();
        (0..records).for_each(|key| assert_eq!(get(&ours, key).as_deref(), Some("acknowledged")));
    }
}

#[test]
fn both_stores_write_on_and_keep_what_they_acknowledged() {
    let (sim, ours) = store(3);
    ours.backup("/other").run().unwrap();
    (3..6).for_each(|key| put(&ours, key, "acknowledged").unwrap());
    rename(&sim, STORE, MOVED);
    let archive = sim.list(Path::new("/other")).unwrap();
    let archive = archive.iter().find(|name| name.to_string_lossy().ends_with(".tar.zst")).unwrap();
    let archive = stillpoint::Archive::open_on(sim.clone(), Path::new("/other").join(archive));
    archive.unwrap().restore(STORE).run().unwrap();
    let theirs = builder(&sim, STORE).open().unwrap();
    for key in 100..160 {
        put(&theirs, key, "theirs").unwrap();
        put(&ours, key, "ours").expect_err("it is not where it was opened");
    }
    let after = sim.reboot(Survival::Nothing);
    let theirs = open(&after, STORE).unwrap();
    assert_eq!(count(&theirs), 3 + 60);
    let ours = open(&after, MOVED).unwrap();
    (0..6).for_each(|key| assert_eq!(get(&ours, key).as_deref(), Some("acknowledged")));
}

#[test]
fn a_store_whose_folder_is_gone_makes_no_other() {
    let (sim, store) = store(5);
    rename(&sim, STORE, MOVED);
    refuses_everything(&store);
    drop(store);
    assert!(sim.metadata(Path::new(STORE)).is_err());
    assert_eq!(count(&open(&sim, MOVED).unwrap()), 5);
}

#[test]
fn a_folder_that_came_back_is_the_one_that_was_locked() {
    let (sim, store) = store(5);
    rename(&sim, STORE, MOVED);
    rename(&sim, MOVED, STORE);
    put(&store, 6, "acknowledged").unwrap();
    store.close().unwrap();
    assert_eq!(count(&open(&sim, STORE).unwrap()), 6);
}

#[test]
fn a_link_to_the_store_that_leads_elsewhere_is_another_store() {
    let (sim, store) = store(5);
    store.close().unwrap();
    let link = Path::new("/current");
    sim.symlink(Path::new("inventory"), link).unwrap();
    let ours = builder(&sim, "/current").open().unwrap();
    put(&ours, 5, "acknowledged").unwrap();
    drop(builder(&sim, MOVED).create().unwrap());
    sim.remove_file(link).unwrap();
    sim.symlink(Path::new("moved"), link).unwrap();
    let before = files(&sim, MOVED);
    refuses_everything(&ours);
    drop(ours);
    assert_eq!(files(&sim, MOVED), before);
    assert_eq!(count(&open(&sim, STORE).unwrap()), 6);
}

#[test]
fn a_lock_file_that_was_removed_makes_two_owners_and_the_first_gives_way() {
    let (sim, ours) = store(5);
    sim.remove_file(&Path::new(STORE).join("lock")).unwrap();
    let theirs = builder(&sim, STORE).open().expect("there is no lock any more");
    put(&theirs, 7, "theirs").unwrap();
    theirs.close().unwrap();
    let before = files(&sim, STORE);
    refuses_everything(&ours);
    drop(ours);
    assert_eq!(files(&sim, STORE), before);
    let theirs = builder(&sim, STORE).open().unwrap();
    put(&theirs, 8, "theirs").unwrap();
    assert_eq!(count(&theirs), 5 + 2);
}

#[test]
fn a_log_folder_that_was_replaced_is_not_written_to() {
    let (sim, ours) = store(5);
    let log = format!("{STORE}/log");
    rename(&sim, &log, "/log-away");
    sim.create_dir(Path::new(&log)).unwrap();
    let note = Path::new(&log).join("note");
    sim.open(&note, OpenMode::CreateNew).unwrap();
    refuses_everything(&ours);
    drop(ours);
    assert_eq!(sim.list(Path::new(&log)).unwrap(), [Path::new("note")]);
    sim.remove_file(&note).unwrap();
    sim.remove_dir(Path::new(&log)).unwrap();
    rename(&sim, "/log-away", &log);
    assert_eq!(count(&open(&sim, STORE).unwrap()), 5);
}

#[test]
fn a_link_to_the_log_that_leads_elsewhere_is_another_log() {
    let sim = SimDisk::new(5);
    sim.create_dir(Path::new("/other")).unwrap();
    let ours = builder(&sim, STORE).log_folder("/logs").create().unwrap();
    (0..5).for_each(|key| put(&ours, key, "acknowledged").unwrap());
    rename(&sim, "/logs", "/logs-away");
    sim.create_dir(Path::new("/logs")).unwrap();
    refuses_everything(&ours);
    drop(ours);
    assert!(sim.list(Path::new("/logs")).unwrap().is_empty());
    sim.remove_dir(Path::new("/logs")).unwrap();
    rename(&sim, "/logs-away", "/logs");
    assert_eq!(count(&open(&sim, STORE).unwrap()), 5);
}

#[test]
fn a_destination_that_was_replaced_during_a_backup_gets_nothing_from_it() {
    for gone in [false, true] {
        let (sim, store) = store(5);
        let (backup, still) = Still::at(Stage::Seal, store.backup("/other"));
        let handle = backup.start().unwrap();
        still.reached();
        rename(&sim, "/other", MOVED);
        if !gone {
            sim.create_dir(Path::new("/other")).unwrap();
        }
        still.go_on();
        let error = handle.wait().expect_err("its destination is another folder");
        assert_eq!(error.kind(), ErrorKind::BackupFailed, "{error}");
        assert!(gone || sim.list(Path::new("/other")).unwrap().is_empty());
        put(&store, 5, "acknowledged").unwrap();
    }
}

#[test]
fn what_a_store_remembers_of_its_backups_is_written_where_it_was_opened() {
    let (sim, ours) = store(5);
    let backup = ours.backup("/other").start().unwrap();
    backup.wait().unwrap();
    rename(&sim, STORE, MOVED);
    drop(builder(&sim, STORE).create().unwrap());
    let before = files(&sim, STORE);
    let refused = ours.backup("/other").run().expect_err("its folder is another's");
    assert_eq!(files(&sim, STORE), before, "{refused}");
}
