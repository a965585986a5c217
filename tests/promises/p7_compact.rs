//! Compaction: the store has the same records at the same commit in a smaller file, whatever happens
//! meanwhile, and its archives and logs go on to be its own.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use stillpoint::disk::{Call, Disk, Fault, FaultPlan, SimDisk, Survival};
use stillpoint::{Archive, Compact, ErrorKind, Mode, RestorePoint, Rollback};

use crate::scene::{ITEMS, STORE, Scene, TO, all, get, open, put, read_file};

type Records = Vec<(u64, String)>;

/// A closed store most of whose pages are free, what it holds, and its last commit.
fn scene() -> (Arc<SimDisk>, Records, u64) {
    let scene = Scene::new(Mode::Server, 3000);
    scene.store.checkpoint().unwrap();
    scene.store.backup(TO).run().unwrap();
    let write = scene.store.begin_write().unwrap();
    for key in (0..3000).filter(|key| key % 10 != 0) {
        write.table(ITEMS).unwrap().delete(&key).unwrap();
    }
    write.commit().unwrap();
    put(&scene.store, 5, &"a big value ".repeat(20_000)).unwrap();
    scene.store.checkpoint().unwrap();
    put(&scene.store, 7, "in the log only").unwrap();
    let (records, lsn) = (all(&scene.store), scene.store.lsn());
    scene.store.close().unwrap();
    (scene.sim.reboot(Survival::Everything), records, lsn)
}

fn compact(sim: &Arc<SimDisk>) -> Compact {
    Compact::new(STORE).disk(sim.clone())
}

fn bytes(sim: &SimDisk) -> usize {
    read_file(sim, &Path::new(STORE).join("store.data")).len()
}

#[test]
fn a_compacted_store_is_smaller_and_otherwise_the_same() {
    let (sim, records, lsn) = scene();
    let report = compact(&sim).run().unwrap();
    assert_eq!((report.lsn, report.tables, report.records), (lsn, 1, records.len() as u64));
    assert_eq!(report.bytes_after, bytes(&sim) as u64);
    assert!(report.bytes_after < report.bytes_before, "{report:?}");
    assert_eq!(report.old, None);
    for left in ["set-aside", "replacement"] {
        assert!(sim.metadata(&Path::new(STORE).join(left)).is_err(), "{left}");
    }
    let store = open(&sim, STORE).unwrap();
    store.verify().unwrap();
    assert_eq!((store.lsn(), all(&store)), (lsn, records));
    put(&store, 8, "it goes on").unwrap();
    store.backup(TO).run().unwrap();
    store.close().unwrap();
    // Its history is the same: it goes back to a commit between the old archive and the compaction.
    let rollback = Rollback::new(STORE, RestorePoint::Lsn(lsn - 1)).archives(TO);
    rollback.disk(sim.clone()).run().unwrap();
    let store = open(&sim, STORE).unwrap();
    assert_eq!((store.lsn(), get(&store, 7)), (lsn - 1, None));
}

/// Incremental backups go by pages, and the pages of the compacted file are in no archive.
#[test]
fn no_incremental_backup_goes_on_from_an_archive_of_before_a_compaction() {
    let (sim, ..) = scene();
    compact(&sim).run().unwrap();
    let store = open(&sim, STORE).unwrap();
    put(&store, 9, "after it").unwrap();
    assert!(store.backup(TO).incremental().run().is_err());
    store.backup(TO).run().unwrap();
    put(&store, 10, "more").unwrap();
    let saved = store.backup(TO).incremental().run().unwrap();
    let archive = stillpoint::Archive::open_on(sim.clone(), &saved.archive).unwrap();
    archive.restore("/copy").run().unwrap();
    assert_eq!(all(&open(&sim, "/copy").unwrap()), all(&store));
}

#[test]
fn the_old_file_is_kept_where_that_is_asked_for() {
    let (sim, records, lsn) = scene();
    let report = compact(&sim).keep_old(true).run().unwrap();
    let old = report.old.unwrap();
    assert_eq!(old, Path::new("/inventory.before-compact"));
    assert!(sim.metadata(&old.join("store.data")).is_ok());
    let store = open(&sim, STORE).unwrap();
    assert_eq!((store.lsn(), all(&store)), (lsn, records));
}

#[test]
fn a_compacted_copy_leaves_the_store_as_it_is_and_goes_its_own_way() {
    let (sim, records, lsn) = scene();
    let report = compact(&sim).to("/small").run().unwrap();
    assert_eq!(report.dir, Path::new("/small"));
    let (store, copy) = (open(&sim, STORE).unwrap(), open(&sim, "/small").unwrap());
    copy.verify().unwrap();
    assert_eq!((copy.lsn(), all(&copy)), (lsn, records.clone()));
    assert_eq!((store.lsn(), all(&store)), (lsn, records));
    put(&copy, 1, "of the copy").unwrap();
    put(&store, 1, "of the store").unwrap();
    copy.close().unwrap();
    assert_eq!(get(&open(&sim, "/small").unwrap(), 1).as_deref(), Some("of the copy"));
    let error = compact(&sim).to("/small").run().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InUse, "{error}");
    store.close().unwrap();
    assert_eq!(compact(&sim).to("/small").run().unwrap_err().kind(), ErrorKind::Exists);
}

#[test]
fn a_compaction_that_is_stopped_leaves_the_store_as_it_is() {
    let (sim, records, _) = scene();
    let error = compact(&sim).on_progress(|_| ControlFlow::Break(())).run().unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::Stopped, 1406));
    assert!(sim.metadata(&Path::new(STORE).join("replacement")).is_err());
    assert_eq!(all(&open(&sim, STORE).unwrap()), records);
}

#[test]
fn a_crash_or_a_failure_at_any_call_of_a_compaction_loses_nothing() {
    let (start, records, lsn) = scene();
    for place in ["plain", "mount point", "lower layer"] {
        let start = start.image();
        match place {
            "mount point" => start.mount_point(STORE).unwrap(),
            "lower layer" => start.lower_layer(STORE).unwrap(),
            _ => {}
        }
        let whole = start.image();
        compact(&whole).run().unwrap();
        let calls = whole.calls();
        let moves = calls.saturating_sub(70)..=calls + 3;
        for call in (1..calls.saturating_sub(70)).step_by(23).chain(moves) {
            let sim = start.image();
            if call % 2 == 0 {
                sim.crash_at(call);
            } else {
                let any = FaultPlan::once(Call::Sync, "", Fault::IO).any_call();
                sim.fail(any.skip(call));
            }
            let _failed = compact(&sim).run();
            let sim = if call % 2 == 0 { sim.reboot(Survival::Random(call)) } else { sim.image() };
            let store = open(&sim, STORE).unwrap_or_else(|e| panic!("{place}, call {call}: {e}"));
            store.verify().unwrap();
            assert_eq!((store.lsn(), all(&store)), (lsn, records.clone()), "{place}, {call}");
        }
    }
}

#[test]
fn a_restored_store_that_was_not_written_to_since_is_compacted() {
    let (sim, ..) = scene();
    let archive = Archive::open_on(sim.clone(), "/backups/inventory[0001].tar.zst").unwrap();
    archive.restore("/copy").run().unwrap();
    let records = {
        let store = open(&sim, "/copy").unwrap();
        let records = all(&store);
        store.close().unwrap();
        records
    };
    // It has no log: there is nothing that it needs one for.
    for _ in 0..2 {
        let report = Compact::new("/copy").disk(sim.clone()).run().unwrap();
        assert_eq!(report.lsn, archive.header().lsn);
        let store = open(&sim, "/copy").unwrap();
        store.verify().unwrap();
        assert_eq!(all(&store), records);
        store.close().unwrap();
    }
    let store = open(&sim, "/copy").unwrap();
    put(&store, 8, "it goes on").unwrap();
    store.close().unwrap();
    let sim = sim.reboot(Survival::Nothing);
    assert_eq!(get(&open(&sim, "/copy").unwrap(), 8).as_deref(), Some("it goes on"));
}
