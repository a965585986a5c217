//! P7, from the first moment: the log is kept as soon as there is, or is to be, an archive that it
//! follows, and a rollback takes along what is in no log archive yet.

use std::path::Path;
use std::sync::Arc;

use stillpoint::disk::{Disk, SimDisk};
use stillpoint::regime::Regime;
use stillpoint::{Access, ErrorKind, IntegrateOptions, Mode, RestorePoint, Rollback, Store, code};

use crate::scene::{STORE, Scene, Still, TO, get, open, put, write_file};
use crate::support::settings::settings;

fn rollback(sim: &Arc<SimDisk>, lsn: u64) -> Rollback {
    Rollback::new(STORE, RestorePoint::Lsn(lsn)).archives(TO).disk(sim.clone())
}

fn name_a_destination(sim: &Arc<SimDisk>) {
    let folder = Path::new(STORE).join("Settings");
    sim.create_dir(&folder).unwrap();
    let text = settings(&[("General/DestinationFolder", TO)]);
    write_file(sim, &folder.join("Backup.4DSettings"), text.as_bytes());
}

fn regime(sim: &Arc<SimDisk>) -> Regime {
    let store = Store::builder(STORE).disk(sim.clone()).segment_size(1 << 20);
    Regime::builder(store).without_thread().open().unwrap()
}

/// The first backup of the store, which does `work` while pages are copied.
fn first_backup(scene: &Scene, work: impl FnOnce(&Store)) {
    let backup = scene.store.backup(TO).access(Access::Live);
    let (backup, still) = Still::copying(&scene.sim, backup);
    let backup = backup.start().unwrap();
    still.reached();
    work(&scene.store);
    still.go_on();
    backup.wait().unwrap();
}

/// Puts `values` from LSN `store.lsn()` on, each in a commit and with a checkpoint behind it.
fn write(store: &Store, values: std::ops::Range<u64>) {
    for value in values {
        put(store, value % 5, &format!("value {value}")).unwrap();
        store.checkpoint().unwrap();
    }
}

#[test]
fn what_is_committed_during_the_first_backup_can_be_restored() {
    let scene = Scene::new(Mode::Server, 5);
    first_backup(&scene, |store| write(store, 0..6));
    scene.store.close().unwrap();
    name_a_destination(&scene.sim);
    let coverage = regime(&scene.sim).coverage().unwrap();
    assert_eq!(coverage.oldest.unwrap().lsn, 1);
    assert_eq!(coverage.newest.unwrap().lsn, coverage.lsn);
    assert!(coverage.gaps.is_empty() && coverage.lsn == 7, "{coverage:?}");
}

#[test]
fn each_commit_of_the_first_backup_is_reached_by_a_rollback() {
    let scene = Scene::new(Mode::Server, 5);
    first_backup(&scene, |store| write(store, 0..4));
    write(&scene.store, 4..6);
    scene.store.close().unwrap();
    for lsn in 1..7 {
        let sim = scene.sim.image();
        assert_eq!(rollback(&sim, lsn).run().unwrap().restored.lsn, lsn);
    }
}

#[test]
fn a_store_that_was_restored_keeps_its_log_at_once_and_its_first_backup_archives_it() {
    let scene = Scene::new(Mode::Server, 5);
    let first = scene.store.backup(TO).run().unwrap().archive;
    write(&scene.store, 0..2);
    scene.archive(&first).restore("/copy").run().unwrap();
    let copy = scene.open("/copy").unwrap();
    write(&copy, 0..3);
    assert_eq!(copy.stats().engine.log_kept_from, Some(1));
    let copy = {
        copy.close().unwrap();
        scene.open("/copy").unwrap()
    };
    let made = copy.backup("/backups").name("copy").run().unwrap();
    let log = made.log_archive.expect("the log since the restore");
    assert_eq!((log.after, log.last), (1, 4));
    let archive = scene.archive(&first);
    let again = archive.restore("/again").log(&log.path);
    assert_eq!(again.to(RestorePoint::Lsn(3)).run().unwrap().lsn, 3);
}

#[test]
fn a_store_that_integrated_a_log_keeps_it() {
    let scene = Scene::new(Mode::Server, 5);
    let first = scene.store.backup(TO).run().unwrap().archive;
    write(&scene.store, 0..4);
    scene.store.close().unwrap();
    scene.archive(&first).restore("/copy").run().unwrap();
    let copy = scene.open("/copy").unwrap();
    copy.integrate(&[Path::new(STORE).join("log")], IntegrateOptions::default()).unwrap();
    write(&copy, 4..6);
    let made = copy.backup(TO).name("copy").run().unwrap().log_archive.unwrap();
    assert_eq!((made.after, made.last), (1, 7));
}

#[test]
fn a_store_whose_settings_name_a_destination_keeps_its_log_from_then_on() {
    let sim = SimDisk::new(5);
    sim.create_dir(Path::new(TO)).unwrap();
    Store::builder(STORE).disk(sim.clone()).create().unwrap().close().unwrap();
    let plain = regime(&sim);
    assert_eq!(plain.store().stats().engine.log_kept_from, None);
    plain.close().unwrap();
    name_a_destination(&sim);
    let named = regime(&sim);
    assert_eq!(named.store().stats().engine.log_kept_from, Some(0));
    write(named.store(), 0..3);
    named.close().unwrap();
    // Also where it is opened without its regime.
    let store = open(&sim, STORE).unwrap();
    write(&store, 3..5);
    assert_eq!(store.stats().engine.log_kept_from, Some(0));
}

#[test]
fn a_rollback_leaves_every_commit_up_to_its_point_within_reach() {
    let scene = Scene::new(Mode::Server, 5);
    write(&scene.store, 0..9);
    scene.store.backup(TO).run().unwrap();
    write(&scene.store, 9..14);
    // A copy of a later commit lies there too; no log archive leads to it.
    scene.store.backup(TO).name("inventory").log_archive(false).run().unwrap();
    write(&scene.store, 14..19);
    scene.store.close().unwrap();
    let sim = &scene.sim;
    rollback(sim, 17).run().unwrap();
    let store = scene.open(STORE).unwrap();
    put(&store, 1, "another history").unwrap();
    store.backup(TO).run().unwrap();
    store.close().unwrap();
    name_a_destination(sim);
    let found = regime(sim).coverage().unwrap();
    assert!(found.gaps.is_empty(), "{found:?}");
    assert_eq!((found.oldest.unwrap().lsn, found.newest.unwrap().lsn), (10, 18));
    for lsn in 10..18 {
        let sim = sim.image();
        assert_eq!(rollback(&sim, lsn).run().unwrap().restored.lsn, lsn);
        let store = open(&sim, STORE).unwrap();
        let key = (lsn - 2) % 5;
        assert_eq!(get(&store, key), Some(format!("value {}", lsn - 2)), "LSN {lsn}");
    }
}

#[test]
fn a_store_without_a_backup_goes_back_by_its_log_since_it_was_created() {
    let sim = SimDisk::new(5);
    sim.create_dir(Path::new(TO)).unwrap();
    Store::builder(STORE).disk(sim.clone()).create().unwrap().close().unwrap();
    name_a_destination(&sim);
    let shop = regime(&sim);
    write(shop.store(), 0..8);
    shop.close().unwrap();
    let report = rollback(&sim, 5).run().unwrap();
    assert_eq!((report.archive, report.restored.lsn), (None, 5));
    let store = open(&sim, STORE).unwrap();
    assert_eq!(
        (get(&store, 4).as_deref(), get(&store, 0).as_deref()),
        (Some("value 4"), Some("value 0"))
    );
    // It is the same store on another way: a second time, and to its very first commit.
    put(&store, 2, "another history").unwrap();
    store.close().unwrap();
    assert_eq!(rollback(&sim, 1).run().unwrap().restored.lsn, 1);
    assert_eq!(open(&sim, STORE).unwrap().lsn(), 1);
}

#[test]
fn a_store_that_lacks_some_of_its_log_does_not_go_back_without_an_archive() {
    // Checkpoints take what is older than the newest segment.
    let scene = Scene::with(5, |builder| builder.segment_size(16 << 10));
    for value in 0..60 {
        put(&scene.store, 1, &"x".repeat(1000)).unwrap();
        if value % 5 == 0 {
            scene.store.checkpoint().unwrap();
        }
    }
    scene.store.close().unwrap();
    let error = rollback(&scene.sim, 5).run().unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::NotFound, code::ARCHIVE_MISSING));
    assert!(error.advice().is_some_and(|advice| advice.contains("created")), "{error:?}");
    assert_eq!(scene.open(STORE).unwrap().lsn(), 61);
}
