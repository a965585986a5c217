//! P7: a restored store opens, verifies, and knows which history it belongs to.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use stillpoint::disk::{Disk, SimDisk};
use stillpoint::{
    Access, Contents, Error, ErrorKind, Mode, Store, code, verify_store, verify_store_with,
};

use crate::scene::{ITEMS, Scene, TO, all, files, open, put, records, write_file};

#[test]
fn a_restored_store_opens_verifies_and_goes_on_along_a_timeline_of_its_own() {
    let scene = Scene::new(Mode::Server, 500);
    let before = all(&scene.store);
    let saved = scene.store.backup(TO).run().unwrap();
    put(&scene.store, 1, "later, in the original").unwrap();
    let restored = scene.archive(&saved.archive).restore("/copy").run().unwrap();
    assert_eq!((restored.lsn, restored.dir.as_path()), (saved.lsn, Path::new("/copy")));
    let copy = scene.open("/copy").unwrap();
    assert_eq!(all(&copy), before);
    let check = copy.verify().unwrap();
    assert_eq!((check.records, check.lsn), (500, saved.lsn));
    let write = copy.begin_write().unwrap();
    write.table(ITEMS).unwrap().put(&1, &"later, in the copy".into()).unwrap();
    assert_eq!(write.commit().unwrap().lsn, saved.lsn + 1);
    // The same numbers on both sides of the fork, and they cannot be mistaken for one another.
    let ours = copy.backup(TO).access(Access::Live).run().unwrap();
    let theirs = scene.store.backup(TO).access(Access::Live).run().unwrap();
    assert_eq!((ours.lsn, ours.store_id), (theirs.lsn, theirs.store_id));
    assert_eq!(theirs.timeline, saved.timeline);
    assert_ne!(ours.timeline.id, saved.timeline.id);
    assert_eq!((ours.timeline.parent, ours.timeline.fork), (saved.timeline.id, saved.lsn));
    // It stays on it.
    copy.close().unwrap();
    let copy = scene.open("/copy").unwrap();
    put(&copy, 2, "after reopening").unwrap();
    let again = copy.backup(TO).run().unwrap();
    assert_eq!(again.timeline, ours.timeline);
}

#[test]
fn every_restore_of_an_archive_goes_its_own_way() {
    let scene = Scene::new(Mode::Server, 20);
    let saved = scene.store.backup(TO).run().unwrap();
    let archive = scene.archive(&saved.archive);
    let timeline = |dir: &str| {
        archive.restore(dir).run().unwrap();
        let copy = scene.open(dir).unwrap();
        put(&copy, 1, dir).unwrap();
        copy.backup(TO).run().unwrap().timeline
    };
    let (one, two) = (timeline("/one"), timeline("/two"));
    assert_ne!(one.id, two.id);
    assert_eq!((one.parent, one.fork), (two.parent, two.fork));
}

#[test]
fn a_target_that_is_there_is_refused_and_nothing_is_changed() {
    let scene = Scene::new(Mode::Server, 50);
    let saved = scene.store.backup(TO).run().unwrap();
    let archive = scene.archive(&saved.archive);
    scene.sim.create_dir(Path::new("/full")).unwrap();
    write_file(&scene.sim, Path::new("/full/letter.txt"), b"mine");
    write_file(&scene.sim, Path::new("/file"), b"mine");
    scene.sim.symlink(Path::new("/nowhere"), Path::new("/link")).unwrap();
    let before = files(&scene.sim, "/full");
    for target in ["/full", "/file", "/link", "/inventory"] {
        let error = archive.restore(target).run().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Exists, "{target}: {error}");
        assert_eq!(error.path(), Some(Path::new(target)));
        assert!(error.advice().is_some());
    }
    assert_eq!(files(&scene.sim, "/full"), before);
    let error = archive.restore("/no/such/folder").run().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    put(&scene.store, 1, "goes on").unwrap();
}

#[test]
fn of_two_restores_to_one_place_the_second_is_refused_while_the_first_is_under_way() {
    let scene = Scene::new(Mode::Server, 500);
    let before = all(&scene.store);
    let saved = scene.store.backup(TO).run().unwrap();
    let archive = scene.archive(&saved.archive);
    let mut refused = None;
    let first = archive.restore("/copy").on_progress(|_| {
        refused.get_or_insert_with(|| archive.restore("/copy").run().unwrap_err());
        ControlFlow::Continue(())
    });
    first.run().unwrap();
    let refused = refused.unwrap();
    assert_eq!(
        (refused.kind(), refused.path()),
        (ErrorKind::InUse, Some(Path::new("/copy.stillpoint-restoring")))
    );
    assert_eq!(all(&scene.open("/copy").unwrap()), before);
    assert!(scene.sim.metadata(Path::new("/copy.stillpoint-restoring")).is_err());
}

#[test]
fn a_damaged_archive_restores_to_nothing() {
    let scene = Scene::new(Mode::Server, 3000);
    let saved = scene.store.backup(TO).run().unwrap();
    let archive = scene.archive(&saved.archive);
    let before = scene.sim.list(Path::new("/")).unwrap();
    for part in 1..8 {
        let at = archive.bytes() * part / 8;
        scene.sim.corrupt(&saved.archive, at, 5).unwrap();
        let error = archive.restore("/copy").run().unwrap_err();
        assert_eq!((error.kind(), error.code()), (ErrorKind::Corrupt, 1411), "{error}");
        assert_eq!(scene.sim.list(Path::new("/")).unwrap(), before, "byte {at}");
        scene.sim.corrupt(&saved.archive, at, 5).unwrap();
    }
    archive.restore("/copy").run().unwrap();
}

#[test]
fn an_archive_of_the_structure_alone_restores_to_its_tables() {
    let scene = Scene::new(Mode::Server, 20);
    let contents = Contents { structure: true, data: false };
    let saved = scene.store.backup(TO).contents(contents).run().unwrap();
    scene.archive(&saved.archive).restore("/copy").run().unwrap();
    let copy = scene.open("/copy").unwrap();
    assert_eq!(copy.begin_read().unwrap().tables().unwrap()[0].name, "items");
    assert!(all(&copy).is_empty());
}

fn has(tool: &str) -> bool {
    let there = Command::new(tool).arg("--version").output().is_ok_and(|o| o.status.success());
    if !there {
        println!("skipped: there is no {tool} on this machine");
    }
    there
}

#[test]
fn plain_tar_makes_a_store_that_opens_and_equals() {
    if !has("tar") || !has("zstd") {
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    let place = |name: &str| scratch.path().join(name);
    std::fs::create_dir(place("backups")).unwrap();
    let store = Store::create(place("inventory")).unwrap();
    let write = store.begin_write().unwrap();
    for key in 0..5000 {
        write.table(ITEMS).unwrap().put(&key, &format!("item {key}")).unwrap();
    }
    write.commit().unwrap();
    std::fs::write(place("note.txt"), "an attachment").unwrap();
    let report = store.backup(place("backups")).attachment(place("note.txt")).run().unwrap();
    std::fs::create_dir(place("by tar")).unwrap();
    let tar = Command::new("tar")
        .arg("--zstd")
        .arg("-xf")
        .arg(&report.archive)
        .arg("-C")
        .arg(place("by tar"))
        .output()
        .unwrap();
    assert!(tar.status.success(), "{}", String::from_utf8_lossy(&tar.stderr));
    let dir = place("by tar");
    assert!(dir.join("header.json").exists() && dir.join("manifest.json").exists());
    let check = verify_store(&dir).unwrap();
    assert_eq!((check.records, check.lsn), (5000, report.lsn));
    let mut steps = 0;
    let again = verify_store_with(&dir, |progress| {
        steps += 1;
        assert!(progress.done < progress.total);
        ControlFlow::Continue(())
    });
    assert_eq!(
        (again.unwrap().records, steps + 2),
        (5000, check.live_pages),
        "each page but the metas"
    );
    for last in [1, steps / 2, steps] {
        let mut step = 0;
        let stopped = verify_store_with(&dir, |_| {
            step += 1;
            if step == last { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        assert_eq!(stopped.unwrap_err().code(), code::STOPPED);
    }
    assert!(dir.join("manifest.json").exists(), "a check changes nothing");

    let copy = Store::open(&dir).unwrap();
    assert_eq!(all(&copy), all(&store));
    // The papers of the archive do not describe the store that goes on from here.
    assert!(!dir.join("header.json").exists() && !dir.join("manifest.json").exists());
    let kept = std::fs::read_to_string(dir.join("restored-from.json")).unwrap();
    assert!(kept.contains("store.data"), "{kept}");
    put(&copy, 1, "of the copy").unwrap();
    copy.close().unwrap();
    let copy = Store::open(&dir).unwrap();
    let again = copy.backup(place("backups")).name("copy").run().unwrap();
    assert_eq!(again.timeline.parent, report.timeline.id);
    assert_eq!(again.timeline.fork, report.lsn);
    let attached = dir.join("attachments").join("note.txt");
    assert_eq!(std::fs::read_to_string(attached).unwrap(), "an attachment");
}

/// Puts the log of one store in the place of another's; gives what was there.
fn exchange_log(sim: &Arc<SimDisk>, from: &str, to: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let log = |dir: &str| {
        let files = files(sim, &format!("{dir}/log")).into_iter();
        files.filter_map(|(path, bytes)| Some((path, bytes?))).collect::<Vec<_>>()
    };
    let (theirs, ours) = (log(from), log(to));
    for (path, _) in &ours {
        sim.remove_file(path).unwrap();
    }
    for (path, bytes) in theirs {
        let name = path.file_name().unwrap().to_owned();
        write_file(sim, &Path::new(to).join("log").join(name), &bytes);
    }
    ours
}

fn put_back(sim: &Arc<SimDisk>, dir: &str, ours: &[(PathBuf, Vec<u8>)]) {
    for (path, _) in files(sim, &format!("{dir}/log")) {
        sim.remove_file(&path).unwrap();
    }
    for (path, bytes) in ours {
        write_file(sim, path, bytes);
    }
}

#[track_caller]
fn assert_foreign(error: &Error) {
    assert_eq!((error.kind(), error.code()), (ErrorKind::Foreign, 1416), "{error}");
    assert!(error.path().is_some_and(|path| path.to_string_lossy().contains("/log")), "{error}");
}

#[test]
fn twins_do_not_take_each_others_logs_and_nothing_is_lost() {
    // With and without a checkpoint of what each did on its own.
    for checkpointed in [true, false] {
        let scene = Scene::new(Mode::Server, 20);
        let saved = scene.store.backup(TO).run().unwrap();
        let archive = scene.archive(&saved.archive);
        for twin in ["/one", "/two"] {
            archive.restore(twin).run().unwrap();
            let store = scene.open(twin).unwrap();
            for key in 0..5 {
                put(&store, key, twin).unwrap();
                if checkpointed && key == 2 {
                    store.checkpoint().unwrap();
                }
            }
        }
        // As a killed process leaves it: the last commits are in the log only.
        let sim = scene.sim.reboot(stillpoint::disk::Survival::Everything);
        let ours = exchange_log(&sim, "/two", "/one");
        match open(&sim, "/one") {
            Err(error) => assert_foreign(&error),
            // Before its first checkpoint the twin's data file is the archive's, and the log of the
            // other is a true continuation of it.
            Ok(store) => {
                assert!(!checkpointed, "a divergent log was taken");
                let found = records(&store.begin_read().unwrap());
                assert_eq!(found[..5].iter().filter(|(_, value)| value == "/two").count(), 5);
                drop(store);
            }
        }
        put_back(&sim, "/one", &ours);
        let store = open(&sim, "/one").unwrap();
        assert_eq!(all(&store)[..5].iter().filter(|(_, value)| value == "/one").count(), 5);
        store.verify().unwrap();
    }
}

#[test]
fn the_log_of_another_store_is_refused_with_1416_and_nothing_is_lost() {
    let scene = Scene::new(Mode::Server, 20);
    put(&scene.store, 1, "mine").unwrap();
    let other = Store::builder("/other").disk(scene.sim.clone()).create().unwrap();
    put(&other, 1, "theirs").unwrap();
    let sim = scene.sim.reboot(stillpoint::disk::Survival::Everything);
    let ours = exchange_log(&sim, "/other", "/inventory");
    let before = files(&sim, "/inventory/log");
    assert_foreign(&open(&sim, "/inventory").unwrap_err());
    assert_eq!(files(&sim, "/inventory/log"), before, "what was refused was not touched");
    put_back(&sim, "/inventory", &ours);
    let store = open(&sim, "/inventory").unwrap();
    assert_eq!(all(&store)[1].1, "mine");
}

#[test]
fn what_the_original_did_after_the_archive_is_not_taken_by_a_copy_that_went_its_own_way() {
    let scene = Scene::new(Mode::Server, 20);
    let saved = scene.store.backup(TO).run().unwrap();
    scene.archive(&saved.archive).restore("/copy").run().unwrap();
    for key in 0..5 {
        put(&scene.store, key, "original").unwrap();
    }
    let copy = scene.open("/copy").unwrap();
    put(&copy, 1, "copy").unwrap();
    copy.checkpoint().unwrap();
    put(&copy, 2, "copy").unwrap();
    let sim = scene.sim.reboot(stillpoint::disk::Survival::Everything);
    let ours = exchange_log(&sim, "/inventory", "/copy");
    assert_foreign(&open(&sim, "/copy").unwrap_err());
    put_back(&sim, "/copy", &ours);
    let copy = open(&sim, "/copy").unwrap();
    assert_eq!([&all(&copy)[1].1, &all(&copy)[2].1], ["copy", "copy"]);
}
