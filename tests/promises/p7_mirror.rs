//! P7, elsewhere: a mirror is at a commit of its source, whatever comes when and breaks where; and a
//! store can go back along its own history.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use stillpoint::disk::{Call, Disk, Fault, FaultPlan, SimDisk, Survival};
use stillpoint::{
    ErrorKind, FollowEvent, Follower, IntegrateOptions, LogFile, Mode, RestorePoint, Rollback,
    Store,
};

use crate::scene::{
    STORE, Scene, TO, all, aside, end, files, get, open, put, read_file, until, write_file,
};

const SHIP: &str = "/ship";

fn names(sim: &SimDisk, folder: &str) -> Vec<String> {
    let names = sim.list(Path::new(folder)).unwrap();
    names.iter().map(|name| name.file_name().unwrap().to_string_lossy().into_owned()).collect()
}

/// A source with one backup, its mirror at that commit, and a folder between them.
fn pair() -> (Scene, Store) {
    let scene = Scene::new(Mode::Server, 20);
    scene.sim.create_dir(Path::new(SHIP)).unwrap();
    scene.sim.sync_dir(Path::new("/")).unwrap();
    let first = scene.store.backup(TO).run().unwrap().archive;
    scene.archive(&first).restore("/mirror").run().unwrap();
    let mirror = scene.open("/mirror").unwrap();
    (scene, mirror)
}

fn integrated(events: &[FollowEvent]) -> u64 {
    let commits = events.iter().map(|event| match event {
        FollowEvent::Integrated(report) => report.commits,
        _ => 0,
    });
    commits.sum()
}

#[test]
fn a_mirror_follows_what_is_shipped_and_serves_reads() {
    let (scene, mirror) = pair();
    let mut follower = Follower::new(mirror.clone(), SHIP);
    assert!(follower.step().unwrap().is_empty());
    assert_eq!(scene.store.new_log_file(SHIP).unwrap(), None, "nothing was committed");
    for round in 0..3 {
        let reader = mirror.begin_read().unwrap();
        put(&scene.store, round, "new").unwrap();
        put(&scene.store, 100 + round, "new").unwrap();
        let shipped = scene.store.new_log_file(SHIP).unwrap().unwrap();
        let name = format!("inventory[0001-{:04}].log", round + 1);
        assert_eq!(shipped, Path::new(SHIP).join(name));
        assert_eq!(scene.store.new_log_file(SHIP).unwrap(), None);
        assert_eq!(integrated(&follower.step().unwrap()), 2);
        assert_eq!(all(&mirror), all(&scene.store));
        assert_eq!(reader.lsn() + 2, mirror.lsn());
    }
    assert!(follower.step().unwrap().is_empty(), "it has everything");
    // What was shipped is in the set's next log archive all the same.
    scene.store.backup(TO).run().unwrap();
    let log = LogFile::open_on(scene.sim.clone(), "/backups/inventory[0001].log.zst").unwrap();
    assert_eq!(log.bounds(), Some((1, 7)));
}

#[test]
fn files_that_come_out_of_order_or_half_are_waited_for() {
    let (scene, mirror) = pair();
    let mut shipped = Vec::new();
    for round in 0..3 {
        put(&scene.store, round, "new").unwrap();
        shipped.push(scene.store.new_log_file(SHIP).unwrap().unwrap());
    }
    scene.sim.create_dir(Path::new("/arrived")).unwrap();
    let arrive = |path: &PathBuf, share: usize| {
        let bytes = read_file(&scene.sim, path);
        let to = Path::new("/arrived").join(path.file_name().unwrap());
        write_file(&scene.sim, &to, &bytes[..bytes.len() * share / 4]);
    };
    let mut follower = Follower::new(mirror.clone(), "/arrived");
    arrive(&shipped[2], 4);
    let events = follower.step().unwrap();
    assert!(matches!(&events[..], [FollowEvent::Waiting(gap)] if gap.code() == 2010));
    assert!(follower.step().unwrap().is_empty(), "told once");
    arrive(&shipped[0], 3);
    assert_eq!(integrated(&follower.step().unwrap()), 0);
    arrive(&shipped[0], 4);
    assert_eq!(integrated(&follower.step().unwrap()), 1);
    arrive(&shipped[1], 4);
    assert_eq!(integrated(&follower.step().unwrap()), 2);
    assert_eq!(all(&mirror), all(&scene.store));
}

#[test]
fn a_backup_between_two_shipments_needs_its_log_archive_in_the_folder() {
    let (scene, mirror) = pair();
    put(&scene.store, 1, "shipped").unwrap();
    scene.store.new_log_file(SHIP).unwrap().unwrap();
    put(&scene.store, 2, "archived only").unwrap();
    scene.store.backup(TO).run().unwrap();
    put(&scene.store, 3, "after the backup").unwrap();
    // The archived segment goes with the next checkpoint, as it is in the archive.
    scene.store.checkpoint().unwrap();
    let gap = scene.store.new_log_file(SHIP).unwrap_err();
    assert_eq!((gap.kind(), gap.code()), (ErrorKind::Invalid, 2010));
    let archive = "inventory[0001].log.zst";
    let bytes = read_file(&scene.sim, &Path::new(TO).join(archive));
    write_file(&scene.sim, &Path::new(SHIP).join(archive), &bytes);
    let shipped = scene.store.new_log_file(SHIP).unwrap().unwrap();
    assert_eq!(shipped, Path::new(SHIP).join("inventory[0002-0001].log"));
    Follower::new(mirror.clone(), SHIP).step().unwrap();
    assert_eq!(all(&mirror), all(&scene.store));
}

#[test]
fn a_store_without_a_backup_keeps_no_log_to_ship() {
    let scene = Scene::new(Mode::Server, 2);
    scene.sim.create_dir(Path::new(SHIP)).unwrap();
    let error = scene.store.new_log_file(SHIP).unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::NotFound, 1403));
}

#[test]
fn a_mirror_can_be_the_source_of_another_mirror() {
    let (scene, mirror) = pair();
    put(&scene.store, 1, "one").unwrap();
    scene.store.new_log_file(SHIP).unwrap();
    let mut follower = Follower::new(mirror.clone(), SHIP);
    follower.step().unwrap();
    // Backups are made on the mirror; the second mirror begins with one.
    scene.sim.create_dir(Path::new("/mirror-backups")).unwrap();
    scene.sim.create_dir(Path::new("/ship-2")).unwrap();
    let saved = mirror.backup("/mirror-backups").run().unwrap().archive;
    scene.archive(&saved).restore("/second").run().unwrap();
    let second = scene.open("/second").unwrap();
    put(&scene.store, 2, "two").unwrap();
    scene.store.new_log_file(SHIP).unwrap();
    follower.step().unwrap();
    mirror.new_log_file("/ship-2").unwrap().unwrap();
    Follower::new(second.clone(), "/ship-2").step().unwrap();
    assert_eq!(all(&second), all(&scene.store));
    // And it takes the first source's own segments as well: they are the same history.
    put(&scene.store, 3, "three").unwrap();
    let own = scene.store.new_log_file(SHIP).unwrap().unwrap();
    second.integrate(&[own], IntegrateOptions::default()).unwrap();
    assert_eq!(all(&second), all(&scene.store));
}

#[test]
fn two_stores_of_one_identity_ship_into_one_folder_and_leave_each_others_files_alone() {
    let (scene, twin) = pair();
    twin.backup(TO).run().unwrap();
    put(&scene.store, 1, "new").unwrap();
    put(&twin, 1, "other").unwrap();
    let hang = scene.sim.hang("inventory[0001-0001].log.");
    let source = scene.store.clone();
    let shipping = aside(move || source.new_log_file(SHIP));
    until("a copy is under way", || !hang.caught().is_empty());
    let shipped = end(&aside(move || twin.new_log_file(SHIP)));
    assert!(shipped.unwrap().is_some());
    drop(hang);
    assert!(end(&shipping).unwrap().is_some());
    assert_eq!(names(&scene.sim, SHIP), ["inventory[0001-0001].log", "mirror[0001-0001].log"]);
}

#[test]
fn a_promoted_mirror_takes_no_more_from_its_source() {
    let (scene, mirror) = pair();
    put(&scene.store, 1, "one").unwrap();
    scene.store.new_log_file(SHIP).unwrap();
    let mut follower = Follower::new(mirror.clone(), SHIP);
    follower.step().unwrap();
    put(&mirror, 50, "promoted").unwrap();
    put(&scene.store, 2, "two").unwrap();
    scene.store.new_log_file(SHIP).unwrap();
    let error = follower.step().unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::Foreign, 1416));
    assert_eq!(get(&mirror, 2).as_deref(), Some("item 2"));
}

#[test]
fn a_crash_at_any_call_of_shipping_or_following_loses_nothing() {
    let (scene, mirror) = pair();
    for round in 0..3 {
        put(&scene.store, round, "new").unwrap();
    }
    let expected = all(&scene.store);
    mirror.close().unwrap();
    scene.store.close().unwrap();
    drop(mirror);
    let mut shipped_whole = false;
    let mut call = 0;
    while !shipped_whole {
        call += 1;
        assert!(call < 300, "the shipment was never let through");
        let sim = scene.sim.image();
        let source = open(&sim, STORE).unwrap();
        put(&source, 77, "last").unwrap();
        sim.crash_at(call);
        let _crashed = source.new_log_file(SHIP);
        shipped_whole = !sim.crashed();
        sim.crash_now();
        let _crashed = source.close();
        let sim = sim.reboot(Survival::Random(call));
        let source = open(&sim, STORE).unwrap();
        source.new_log_file(SHIP).unwrap();
        assert!(names(&sim, SHIP).iter().all(|name| name.ends_with("].log")), "call {call}");
        let mirror = open(&sim, "/mirror").unwrap();
        Follower::new(mirror.clone(), SHIP).step().unwrap();
        assert_eq!(all(&mirror), all(&source), "call {call}");
        assert_eq!(all(&mirror).len(), expected.len() + 1);
    }
    let mut followed = false;
    let sim = scene.sim.image();
    open(&sim, STORE).unwrap().new_log_file(SHIP).unwrap();
    for call in 1..300 {
        let sim = sim.image();
        let mirror = open(&sim, "/mirror").unwrap();
        sim.crash_at(call);
        let _crashed = Follower::new(mirror.clone(), SHIP).step();
        followed = !sim.crashed();
        sim.crash_now();
        let _crashed = mirror.close();
        drop(mirror);
        let sim = sim.reboot(Survival::Random(call));
        let mirror = open(&sim, "/mirror").unwrap();
        Follower::new(mirror.clone(), SHIP).step().unwrap();
        assert_eq!(all(&mirror), expected, "call {call}");
        if followed {
            break;
        }
    }
    assert!(followed, "the follower was never let through");
}

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
        assert_eq!(report.archive, Path::new(TO).join(expected));
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
        // The log of this history is kept from its first backup on.
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
    let within = format!("{STORE}/");
    scene.sim.fail(FaultPlan::once(Call::Lock, within, Fault::IO).skip(1));
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
    assert!(error.to_string().contains("inventory[0001].log.zst"), "{error}");
    assert_eq!(scene.open(STORE).unwrap().lsn(), 7);
}

#[test]
fn a_rollback_begins_with_an_older_archive_where_the_newest_is_damaged() {
    let scene = to_roll_back();
    let newest = Path::new(TO).join("inventory[0002].tar.zst");
    let middle = scene.sim.metadata(&newest).unwrap().len / 2;
    scene.sim.corrupt(&newest, middle, 3).unwrap();
    let report = rollback(&scene.sim, RestorePoint::Lsn(5)).run().unwrap();
    assert_eq!(report.archive, Path::new(TO).join("inventory[0001].tar.zst"));
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
fn a_crash_at_any_call_of_a_rollback_leaves_the_store_or_the_next_run_puts_it_back() {
    let scene = to_roll_back();
    let mut finished = false;
    for call in (1..2000).step_by(3) {
        let sim = scene.sim.image();
        sim.crash_at(call);
        finished = rollback(&sim, RestorePoint::Lsn(5)).run().is_ok() && !sim.crashed();
        sim.crash_now();
        let sim = sim.reboot(Survival::Random(call));
        if sim.metadata(Path::new(STORE)).is_err() {
            rollback(&sim, RestorePoint::Lsn(5)).run().unwrap();
        }
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
fn a_crash_between_the_renames_puts_back_the_store_of_last_and_not_an_older_one() {
    let scene = to_roll_back();
    let aside = || rollback(&scene.sim, RestorePoint::Lsn(6)).run().unwrap().old;
    let go_on = |value| {
        let store = scene.open(STORE).unwrap();
        store.backup(TO).run().unwrap();
        put(&store, 5, value).unwrap();
        store.close().unwrap();
    };
    let oldest = aside();
    go_on("older");
    aside();
    go_on("newest");
    // Whoever tidies up begins with the oldest: its name may not be taken again.
    scene.sim.rename_new(&oldest, Path::new("/tidied")).unwrap();
    let newest = aside();
    assert_ne!(newest, oldest);
    // As a crash leaves it: the new store has not taken its place yet.
    scene.sim.rename(Path::new(STORE), Path::new("/inventory.rolling-back")).unwrap();
    let report = rollback(&scene.sim, RestorePoint::Lsn(6)).run().unwrap();
    assert_eq!(report.old, newest);
    let kept = open(&scene.sim, newest.to_str().unwrap()).unwrap();
    assert_eq!(get(&kept, 5).as_deref(), Some("newest"));
}
