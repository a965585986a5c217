//! P7, back in time: a store goes back to any commit of its own history, and whatever breaks, it is
//! there afterwards: as it was, or at that commit.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use stillpoint::disk::{Call, Disk, Fault, FaultPlan, SimDisk, Survival};
use stillpoint::{ErrorKind, Mode, RestorePoint, Rollback};

use crate::scene::{STORE, Scene, TO, files, get, open, put, read_file, write_file};

fn rollback(sim: &Arc<SimDisk>, point: RestorePoint) -> Rollback {
    Rollback::new(STORE, point).archives(TO).disk(sim.clone())
}

/// A closed store at LSN 7 with backups at 1 and 4, its settings beside.
fn to_roll_back() -> Scene {
    let scene = Scene::new(Mode::Server, 20);
    scene.store.backup(TO).run().unwrap();
    for key in 0..3 {
        put(&scene.store, key, "first").unwrap();
    }
    scene.store.backup(TO).run().unwrap();
    for key in 0..3 {
        put(&scene.store, key, "second").unwrap();
    }
    scene.store.close().unwrap();
    let settings = Path::new(STORE).join("Settings");
    scene.sim.create_dir(&settings).unwrap();
    write_file(&scene.sim, &settings.join("Backup.4DSettings"), b"<mine/>");
    scene
}

#[test]
fn a_store_goes_back_to_any_commit_and_is_never_lost() {
    for lsn in 1..7u64 {
        let scene = to_roll_back();
        let report = rollback(&scene.sim, RestorePoint::Lsn(lsn)).run().unwrap();
        assert_eq!(report.restored.lsn, lsn);
        let expected = if lsn < 4 { "inventory[0001].tar.zst" } else { "inventory[0002].tar.zst" };
        assert_eq!(report.archive, Some(Path::new(TO).join(expected)));
        let store = scene.open(STORE).unwrap();
        let value = |key: u64| match key {
            _ if lsn > key + 4 => "second".to_owned(),
            _ if lsn > key + 1 => "first".to_owned(),
            _ => format!("item {key}"),
        };
        for key in 0..3 {
            assert_eq!(get(&store, key), Some(value(key)), "LSN {lsn}, key {key}");
        }
        let settings = Path::new(STORE).join("Settings/Backup.4DSettings");
        assert_eq!(read_file(&scene.sim, &settings), b"<mine/>");
        // The store of before is whole, and a rollback of the rollback goes along the new history.
        let old = open(&scene.sim, report.old.to_str().unwrap()).unwrap();
        assert_eq!((old.lsn(), get(&old, 2).as_deref()), (7, Some("second")));
        store.backup(TO).run().unwrap();
        put(&store, 5, "another history").unwrap();
        put(&store, 6, "another history").unwrap();
        store.close().unwrap();
        drop(store);
        let again = rollback(&scene.sim, RestorePoint::Lsn(lsn + 1)).run().unwrap();
        assert_eq!(again.restored.lsn, lsn + 1);
        let store = scene.open(STORE).unwrap();
        assert_eq!(get(&store, 5).as_deref(), Some("another history"), "LSN {lsn}");
        assert_ne!(get(&store, 6).as_deref(), Some("another history"));
    }
}

/// Between a look at the store and a lock that is taken after it somebody else could write, or roll back.
#[test]
fn a_rollback_finds_out_where_the_store_is_under_the_lock_that_it_keeps() {
    let scene = to_roll_back();
    // A second lock of this folder would be the end of it.
    let own = format!("{STORE}/lock");
    scene.sim.fail(FaultPlan::once(Call::Lock, own, Fault::IO).skip(1));
    assert_eq!(rollback(&scene.sim, RestorePoint::Lsn(5)).run().unwrap().restored.lsn, 5);
    scene.sim.heal();
    // And it keeps it: nobody opens the store as long as the new one is made.
    let sim = scene.sim.clone();
    let in_use = move |_| match open(&sim, STORE) {
        Err(error) if error.kind() == ErrorKind::InUse => ControlFlow::Continue(()),
        other => panic!("{other:?}"),
    };
    rollback(&scene.sim, RestorePoint::Lsn(3)).on_progress(in_use).run().unwrap();
}

#[test]
fn a_rollback_needs_none_of_the_logs_that_do_not_lead_to_its_point() {
    let scene = to_roll_back();
    let log = Path::new(TO).join("inventory[0001].log.zst");
    let len = scene.sim.metadata(&log).unwrap().len;
    scene.sim.corrupt(&log, len / 2, 3).unwrap();
    scene.sim.corrupt(&log, len - 2, 3).unwrap();
    // It holds commits 2 to 4: from the second archive on it is not needed, before that it is.
    let report = rollback(&scene.sim.image(), RestorePoint::Lsn(5)).run().unwrap();
    assert_eq!(report.restored.lsn, 5);
    let error = rollback(&scene.sim, RestorePoint::Lsn(3)).run().unwrap_err();
    assert!(error.summary().contains("inventory[0001].log.zst"), "{error:?}");
    assert_eq!(scene.open(STORE).unwrap().lsn(), 7);
}

#[test]
fn a_rollback_begins_with_an_older_archive_where_the_newest_is_damaged() {
    let scene = to_roll_back();
    let newest = Path::new(TO).join("inventory[0002].tar.zst");
    let middle = scene.sim.metadata(&newest).unwrap().len / 2;
    scene.sim.corrupt(&newest, middle, 3).unwrap();
    let report = rollback(&scene.sim, RestorePoint::Lsn(5)).run().unwrap();
    assert_eq!(report.archive, Some(Path::new(TO).join("inventory[0001].tar.zst")));
    assert_eq!(report.restored.lsn, 5);
}

#[test]
fn a_rollback_that_fails_at_any_call_leaves_the_store_or_has_done_its_work() {
    let scene = to_roll_back();
    for call in 0..5000 {
        let sim = scene.sim.image();
        sim.fail(FaultPlan::once(Call::Sync, "", Fault::IO).any_call().skip(call));
        let ended = rollback(&sim, RestorePoint::Lsn(5)).run();
        let through = sim.has_faults();
        sim.heal();
        let store = open(&sim, STORE).unwrap();
        assert_eq!(store.lsn(), if ended.is_ok() { 5 } else { 7 }, "call {call}: {ended:?}");
        if through {
            return;
        }
    }
    panic!("the rollback was never let through");
}

#[test]
fn a_rollback_that_is_stopped_leaves_the_store_as_it_is() {
    let scene = to_roll_back();
    let before = files(&scene.sim, "/");
    let stopped =
        rollback(&scene.sim, RestorePoint::Lsn(5)).on_progress(|_| ControlFlow::Break(()));
    let error = stopped.run().unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::Stopped, 1406));
    let names = |files: &BTreeMap<PathBuf, _>| files.keys().cloned().collect::<Vec<_>>();
    let lock = Path::new(STORE).join("lock");
    let mut after = files(&scene.sim, "/");
    after.remove(&lock);
    let mut before = before;
    before.remove(&lock);
    assert_eq!(names(&after), names(&before));
    assert_eq!(scene.open(STORE).unwrap().lsn(), 7);
}

#[test]
fn a_rollback_that_cannot_be_leaves_the_store_as_it_is() {
    let scene = to_roll_back();
    let refused = |point| {
        let error = rollback(&scene.sim, point).run().unwrap_err();
        (error.kind(), error.code())
    };
    assert_eq!(refused(RestorePoint::Newest).0, ErrorKind::Invalid);
    assert_eq!(refused(RestorePoint::Lsn(7)).0, ErrorKind::Invalid);
    assert_eq!(refused(RestorePoint::Before(1)), (ErrorKind::NotFound, 1410));
    let log = Path::new(TO).join("inventory[0001].log.zst");
    scene.sim.remove_file(&log).unwrap();
    assert_eq!(refused(RestorePoint::Lsn(3)), (ErrorKind::Invalid, 2010));
    let store = scene.open(STORE).unwrap();
    assert_eq!(store.lsn(), 7);
    assert_eq!(
        rollback(&scene.sim, RestorePoint::Lsn(3)).run().unwrap_err().kind(),
        ErrorKind::InUse
    );
}

#[test]
fn a_crash_at_any_call_of_a_rollback_leaves_a_store_that_opens() {
    let scene = to_roll_back();
    let mut finished = false;
    for call in (1..2000).step_by(3) {
        let sim = scene.sim.image();
        sim.crash_at(call);
        finished = rollback(&sim, RestorePoint::Lsn(5)).run().is_ok() && !sim.crashed();
        sim.crash_now();
        let sim = sim.reboot(Survival::Random(call));
        let store = open(&sim, STORE).unwrap();
        assert!([5, 7].contains(&store.lsn()), "call {call}: {}", store.lsn());
        let expected = if store.lsn() == 7 { "second" } else { "first" };
        assert_eq!(get(&store, 2).as_deref(), Some(expected), "call {call}");
        if finished {
            assert_eq!(store.lsn(), 5);
            break;
        }
    }
    assert!(finished, "the rollback was never let through");
}

#[test]
fn the_name_of_a_store_that_was_kept_and_removed_is_not_given_again() {
    let scene = to_roll_back();
    let aside = || rollback(&scene.sim, RestorePoint::Lsn(6)).run().unwrap().old;
    let go_on = |value| {
        let store = scene.open(STORE).unwrap();
        store.backup(TO).run().unwrap();
        put(&store, 5, value).unwrap();
        store.close().unwrap();
    };
    let oldest = aside();
    assert_eq!(oldest, Path::new("/inventory.before-rollback"));
    go_on("older");
    assert_eq!(aside(), Path::new("/inventory.before-rollback-2"));
    go_on("newest");
    // Whoever tidies up begins with the oldest.
    scene.sim.rename_new(&oldest, Path::new("/tidied")).unwrap();
    let newest = aside();
    assert_eq!(newest, Path::new("/inventory.before-rollback-3"));
    let kept = open(&scene.sim, newest.to_str().unwrap()).unwrap();
    assert_eq!(get(&kept, 5).as_deref(), Some("newest"));
}
