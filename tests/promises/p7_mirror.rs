//! P7, elsewhere: a mirror is at a commit of its source, whatever comes when and breaks where.

use std::path::{Path, PathBuf};

use stillpoint::disk::{Call, Disk, Fault, FaultPlan, SimDisk, Survival};
use stillpoint::{ErrorKind, FollowEvent, Follower, IntegrateOptions, LogFile, Mode, Stage, Store};

use crate::scene::{
    STORE, Scene, Still, TO, all, aside, end, get, open, put, read_file, until, write_file,
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

/// As long as another writes there nothing is cleared away, and what is left must not be in the way.
#[test]
fn a_shipment_that_failed_beside_anothers_backup_is_made_up_for_at_once() {
    let (scene, twin) = pair();
    put(&scene.store, 1, "new").unwrap();
    let (backup, still) = Still::at(Stage::Copy, twin.backup(SHIP));
    let running = backup.start().unwrap();
    still.reached();
    for call in [Call::Write, Call::Sync, Call::Rename] {
        scene.sim.fail(FaultPlan::once(call, "inventory[0001-0001].log", Fault::FULL));
        let full = scene.store.new_log_file(SHIP).unwrap_err();
        assert_eq!(full.kind(), ErrorKind::StorageFull, "{full}");
        assert!(!scene.sim.has_faults());
    }
    assert!(scene.store.new_log_file(SHIP).unwrap().is_some());
    still.go_on();
    running.wait().unwrap();
    assert_eq!(names(&scene.sim, SHIP), ["inventory[0001-0001].log", "mirror[0001].tar.zst"]);
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
