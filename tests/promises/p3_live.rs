//! P3: with [`Access::Live`] nobody waits, whatever the age of open transactions and the speed of the
//! disks; the instant is a matter of the commit line, and its duration stands in the report.

use std::time::Duration;

use stillpoint::disk::Disk;
use stillpoint::{Access, Mode, Stage, TicketState};

use crate::scene::{ITEMS, Scene, Still, TO, all, aside, end, get, put, records, until};

#[test]
fn an_old_idle_write_handle_delays_nothing_and_what_it_wrote_is_not_in_the_archive() {
    let scene = Scene::new(Mode::Server, 200);
    let store = &scene.store;
    let own = store.begin_write().unwrap();
    own.table(ITEMS).unwrap().put(&1, &"uncommitted".into()).unwrap();
    let other = store.clone();
    let idle = end(&aside(move || {
        let idle = other.begin_write().unwrap();
        let table = idle.table(ITEMS).unwrap();
        assert!(table.get_for_update(&2).unwrap().is_some());
        table.put(&2, &"uncommitted".into()).unwrap();
        idle
    }));
    scene.sim.advance(Duration::from_secs(24 * 3600));
    let before = all(store);
    let report = store.backup(TO).access(Access::Live).run().unwrap();
    assert_eq!((report.hold, report.longest_wait, report.went_live), Default::default());
    assert_eq!(records(&scene.archive(&report.archive).read().unwrap()), before);
    own.commit().unwrap();
    idle.commit().unwrap();
    assert_eq!([get(store, 1), get(store, 2)], [Some("uncommitted".into()), get(store, 1)]);
}

#[test]
fn a_hanging_destination_delays_no_reader_and_no_writer() {
    for mode in [Mode::Server, Mode::SingleUser] {
        let scene = Scene::new(mode, 2000);
        let store = &scene.store;
        let before = all(store);
        let hang = scene.sim.hang(".tar.zst.");
        let backup = store.backup(TO).access(Access::Live).start().unwrap();
        until("the copy hangs", || !hang.caught().is_empty());
        let pinned_from = store.lsn();
        let old = store.begin_read().unwrap();
        for round in 0..20 {
            let ticket = store.request_write().unwrap();
            assert_eq!(ticket.state(), TicketState::Granted);
            let write = ticket.wait().unwrap();
            for key in 0..100 {
                write.table(ITEMS).unwrap().put(&key, &format!("round {round}")).unwrap();
            }
            write.commit().unwrap();
            assert!(!store.locked() && store.pending_writes().is_empty());
            assert_eq!(get(store, 1).unwrap(), format!("round {round}"));
        }
        let made = store.begin_structure().unwrap();
        made.rename("items", "goods").unwrap();
        made.rename("goods", "items").unwrap();
        made.commit().unwrap();
        store.checkpoint().unwrap();
        assert_eq!(records(&old).len(), before.len());
        // Hours at the destination are no time in the commit line.
        scene.sim.advance(Duration::from_secs(6 * 3600));
        assert!(!backup.is_finished());
        drop(hang);
        let report = backup.wait().unwrap();
        assert!(report.duration >= Duration::from_secs(6 * 3600));
        assert!(report.pin < Duration::from_secs(1), "{:?}", report.pin);
        assert_eq!((report.hold, report.longest_wait), Default::default());
        let archive = scene.archive(&report.archive);
        archive.verify().unwrap();
        assert_eq!(archive.header().lsn, report.lsn);
        if report.lsn == pinned_from {
            assert_eq!(records(&archive.read().unwrap()), before);
        }
    }
}

#[test]
fn the_duration_of_the_pin_is_measured_and_stands_in_report_and_archive() {
    for access in [Access::Live, Access::ReadOnly] {
        let scene = Scene::new(Mode::Server, 100);
        let report = scene.store.backup(TO).access(access).run().unwrap();
        assert!(report.pin > Duration::ZERO && report.pin < report.duration);
        let results = scene.archive(&report.archive).results().clone();
        assert_eq!(u128::from(results.pin_micros), report.pin.as_micros());
        assert_eq!(u128::from(results.hold_micros), report.hold.as_micros());
        assert_eq!(report.hold > Duration::ZERO, access != Access::Live);
    }
}

#[test]
fn only_the_backup_waits_for_the_checkpoint_of_its_pin() {
    let scene = Scene::new(Mode::Server, 2000);
    let store = &scene.store;
    let before = all(store);
    // The checkpoint cannot be written: the data file hangs, the log does not.
    let hang = scene.sim.hang("inventory/store.data");
    // Before anything is touched the backup looks at the data file's size, which does not wait.
    let other = store.clone();
    let starting = aside(move || other.backup(TO).access(Access::Live).start().unwrap());
    let backup = end(&starting);
    until("the backup pins", || backup.progress().stage == Stage::Pin);
    for key in 0..50 {
        put(store, key, "meanwhile").unwrap();
        assert_eq!(get(store, key).unwrap(), "meanwhile");
    }
    let stats = store.clone();
    assert!(!end(&aside(move || stats.stats())).locked, "figures never wait");
    assert!(!backup.is_finished());
    drop(hang);
    let report = backup.wait().unwrap();
    assert!(report.pin < Duration::from_secs(1));
    let saved = records(&scene.archive(&report.archive).read().unwrap());
    assert_eq!(saved.len(), before.len());
}

#[test]
fn stop_of_a_live_backup_leaves_no_file_and_no_pin() {
    let scene = Scene::new(Mode::Server, 500);
    let backup = scene.store.backup(TO).access(Access::Live);
    let (backup, still) = Still::copying(&scene.sim, backup);
    let backup = backup.start().unwrap();
    still.reached();
    let pinned = scene.store.stats().engine.pinned_checkpoints;
    backup.stop();
    still.go_on();
    assert_eq!(backup.wait().unwrap_err().code(), 1406);
    assert!(scene.sim.list(TO.as_ref()).unwrap().is_empty());
    for _ in 0..3 {
        put(&scene.store, 1, "on").unwrap();
        scene.store.checkpoint().unwrap();
    }
    assert!(scene.store.stats().engine.pinned_checkpoints <= pinned);
}
