//! The startup hook comes first: it may mount the destination, and a refusal leaves everything as it is.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

use stillpoint::disk::Disk;
use stillpoint::{Access, ErrorKind, Mode, Stage, Store, backup_together};

use super::listen;
use crate::scene::{Scene, Still, TO, put};

const MOUNT: &str = "/mount";

#[test]
fn a_startup_hook_may_make_the_destination() {
    let scene = Scene::new(Mode::Server, 10);
    let disk = scene.sim.clone();
    let backup = scene.store.backup(MOUNT).on_startup(move |start| {
        assert_eq!((&*start.destination, start.access), (Path::new(MOUNT), Access::ReadOnly));
        disk.create_dir(&start.destination).unwrap();
        Ok(())
    });
    let report = backup.run().unwrap();
    assert_eq!(report.number, 1);
    scene.archive(report.archive).verify().unwrap();
}

#[test]
fn the_number_is_known_after_the_preflight_and_progress_has_it_too() {
    let scene = Scene::new(Mode::Server, 10);
    let (backup, still) = Still::at(Stage::StartupHook, scene.store.backup(TO));
    let backup = backup.start().unwrap();
    assert_eq!(still.reached().number, None);
    assert_eq!(backup.number(), None);
    still.go_on();
    let another = scene.store.backup(TO);
    let report = backup.wait().unwrap();
    assert_eq!(report.number, 1);
    let (backup, still) = Still::at(Stage::Copy, another);
    let backup = backup.start().unwrap();
    assert_eq!(still.reached().number, Some(2));
    assert_eq!(backup.number(), Some(2));
    still.go_on();
    backup.wait().unwrap();
}

#[test]
fn a_refusal_is_never_0() {
    let scene = Scene::new(Mode::Server, 10);
    let told = Arc::new(AtomicI32::new(77));
    for (refusal, code) in [(0, 2103), (-7, -7)] {
        let heard = told.clone();
        let backup = scene.store.backup(TO).on_startup(move |_| Err(refusal));
        let error =
            backup.on_shutdown(move |code| heard.store(code, Ordering::SeqCst)).run().unwrap_err();
        assert_eq!((error.kind(), error.code()), (ErrorKind::Refused, code), "{error}");
        assert_eq!(told.load(Ordering::SeqCst), code);
        assert!(scene.destination().is_empty());
    }
}

/// The hooks of a group run before any preflight of their own backup, and what one refuses fails all.
#[test]
fn in_a_group_each_startup_hook_comes_before_its_preflight() {
    let scene = Scene::new(Mode::Server, 10);
    let other = Store::builder("/other").disk(scene.sim.clone()).create().unwrap();
    put(&other, 1, "one").unwrap();
    let disk = scene.sim.clone();
    let mounting = other.backup(MOUNT).on_startup(move |start| {
        disk.create_dir(&start.destination).unwrap();
        Ok(())
    });
    for end in backup_together([scene.store.backup(TO), mounting]).unwrap() {
        scene.archive(end.unwrap().archive).verify().unwrap();
    }
    let (missing, heard) = listen(scene.store.backup("/nowhere"));
    let (refused, also_heard) = listen(other.backup(MOUNT));
    let ends = backup_together([missing, refused]).unwrap();
    for end in ends {
        assert_eq!(end.unwrap_err().code(), 1407);
    }
    heard.check(1, &[1407]);
    assert_eq!(*also_heard.ends.lock(), [1407]);
}
