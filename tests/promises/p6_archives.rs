//! P6: an archive that is listed as complete is complete and verified; an unfinished one is never
//! taken for one; a partial one says so; damage anywhere is reported.

use std::path::Path;

use stillpoint::archive::list_archives;
use stillpoint::disk::{Disk, OpenMode, SimDisk};
use stillpoint::{
    Access, Archive, BackupStatus, Compression, Error, ErrorKind, Mode, Stage, Store,
};

use crate::scene::{ITEMS, Scene, Still, TO, all, open, records, write_file};

/// A small archive of a real store, on its disk.
fn small_archive(compression: Compression) -> (Scene, std::path::PathBuf) {
    let scene = Scene::new(Mode::Server, 40);
    write_file(&scene.sim, Path::new("/note.txt"), b"an attachment");
    let backup = scene.store.backup(TO).attachment("/note.txt").compression(compression);
    let report = backup.run().unwrap();
    (scene, report.archive)
}

fn check(scene: &Scene, path: &Path) -> Result<(), Error> {
    Archive::open_on(scene.sim.clone(), path)?.verify().map(drop)
}

#[track_caller]
fn assert_reported(result: Result<(), Error>, what: &str) {
    let error = result.expect_err(what);
    assert!(matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Unsupported), "{what}: {error}");
    assert!(error.path().is_some(), "{what}: {error}");
    if error.kind() == ErrorKind::Corrupt {
        assert_eq!(error.code(), 1411, "{what}: {error}");
    }
}

/// All bits, of all bytes: nothing is sampled.
#[test]
fn every_bit_of_an_archive_that_is_flipped_is_reported() {
    let (scene, path) = small_archive(Compression::Compact);
    let len = scene.archive(&path).bytes();
    for offset in 0..len {
        for bit in 0..8 {
            scene.sim.corrupt(&path, offset, bit).unwrap();
            assert_reported(check(&scene, &path), &format!("bit {bit} of byte {offset} of {len}"));
            scene.sim.corrupt(&path, offset, bit).unwrap();
        }
    }
    check(&scene, &path).unwrap();
}

#[test]
fn every_length_that_an_archive_is_cut_to_is_reported() {
    for compression in [Compression::None, Compression::Compact] {
        let (scene, path) = small_archive(compression);
        let len = scene.archive(&path).bytes();
        let file = scene.sim.open(&path, OpenMode::Write).unwrap();
        let step = if compression == Compression::None { 7 } else { 1 };
        for cut in (0..len).rev().step_by(step) {
            file.set_len(cut).unwrap();
            assert_reported(check(&scene, &path), &format!("cut to {cut} of {len}"));
        }
    }
}

#[test]
fn what_is_added_to_an_archive_is_reported() {
    let (scene, path) = small_archive(Compression::Fast);
    let len = scene.archive(&path).bytes();
    let file = scene.sim.open(&path, OpenMode::Write).unwrap();
    file.write_at(&[0], len).unwrap();
    assert_reported(check(&scene, &path), "a byte more");
    file.set_len(len).unwrap();
    check(&scene, &path).unwrap();
}

#[test]
fn an_unfinished_archive_has_no_name_of_one_and_is_not_listed() {
    let scene = Scene::new(Mode::Server, 300);
    for stage in [Stage::Copy, Stage::Verify, Stage::Seal] {
        let (backup, still) = Still::at(stage, scene.store.backup(TO));
        let backup = backup.start().unwrap();
        still.reached();
        let named = list_archives(&*scene.sim, Path::new(TO), None).unwrap();
        assert!(named.is_empty(), "{stage:?}: {named:?}");
        for name in scene.destination() {
            assert!(name.to_string_lossy().ends_with(".partial"), "{stage:?}: {name:?}");
        }
        backup.stop();
        still.go_on();
        backup.wait().unwrap_err();
    }
    scene.store.backup(TO).run().unwrap();
    assert_eq!(list_archives(&*scene.sim, Path::new(TO), None).unwrap().len(), 1);
}

/// A mirror and its source, or a store and its copy: by their unfinished files nobody can tell them apart.
#[test]
fn two_stores_of_one_identity_leave_each_others_unfinished_archives_alone() {
    let scene = Scene::new(Mode::Server, 300);
    let first = scene.store.backup(TO).run().unwrap();
    scene.archive(&first.archive).restore("/twin").run().unwrap();
    let twin = scene.open("/twin").unwrap();
    let (backup, still) = Still::at(Stage::Seal, scene.store.backup(TO));
    let running = backup.start().unwrap();
    still.reached();
    // One beside it under another name, one under the same, and one that fails.
    twin.backup(TO).run().unwrap();
    twin.backup(TO).name("inventory").run().unwrap();
    twin.backup(TO).name("inventory").on_startup(|_| Err(-4)).run().unwrap_err();
    still.go_on();
    let report = running.wait().unwrap();
    scene.archive(&report.archive).verify().unwrap();
    let names = scene.destination();
    assert!(names.iter().all(|name| !name.to_string_lossy().contains("partial")), "{names:?}");
    assert_eq!(list_archives(&*scene.sim, Path::new(TO), Some("inventory")).unwrap().len(), 3);
}

/// What a failed backup had to leave, since somebody else was there, goes with the next.
#[test]
fn what_is_left_beside_another_backup_goes_with_the_next() {
    let scene = Scene::new(Mode::Server, 300);
    let first = scene.store.backup(TO).run().unwrap();
    scene.archive(&first.archive).restore("/twin").run().unwrap();
    let twin = scene.open("/twin").unwrap();
    let (backup, still) = Still::at(Stage::Copy, scene.store.backup(TO));
    let running = backup.start().unwrap();
    still.reached();
    let (backup, others) = Still::at(Stage::Seal, twin.backup(TO));
    let stopped = backup.start().unwrap();
    others.reached();
    stopped.stop();
    others.go_on();
    stopped.wait().unwrap_err();
    still.go_on();
    running.wait().unwrap();
    let left = |scene: &Scene| {
        let names = scene.destination();
        names.iter().filter(|name| name.to_string_lossy().contains("partial")).count()
    };
    assert_eq!(left(&scene), 1, "{:?}", scene.destination());
    scene.store.backup(TO).run().unwrap();
    assert_eq!(left(&scene), 0);
}

#[test]
fn a_partial_archive_says_so_and_what_is_missing() {
    let scene = Scene::new(Mode::Server, 40);
    let report = scene.store.backup(TO).attachment("/gone.pdf").run().unwrap();
    assert_eq!(report.status, BackupStatus::Partial);
    assert_eq!((report.problems.len(), report.problems[0].code()), (1, 2001));
    let archive = scene.archive(&report.archive);
    assert_eq!(archive.results().status, BackupStatus::Partial);
    assert!(archive.results().problems[0].contains("/gone.pdf"), "{:?}", archive.results());
    archive.verify().unwrap();
    assert_eq!(records(&archive.read().unwrap()), all(&scene.store));
}

#[test]
fn rot_in_the_source_fails_the_backup_with_2002_and_names_the_page() {
    let scene = Scene::new(Mode::Server, 3000);
    scene.store.checkpoint().unwrap();
    let data = Path::new("/inventory/store.data");
    let pages = scene.sim.metadata(data).unwrap().len / 4096;
    let mut found = 0;
    for page in 2..pages {
        scene.sim.corrupt(data, page * 4096 + 100, 3).unwrap();
        match scene.store.backup(TO).run() {
            Err(error) => {
                let what = format!("page {page}: {}", error.report());
                assert_eq!((error.kind(), error.code()), (ErrorKind::Corrupt, 2002), "{what}");
                assert!(error.summary().contains("store.data"), "{what}");
                assert!(error.summary().contains(&format!("page {page}")), "{what}");
                assert!(error.advice().is_some(), "{what}");
                found += 1;
            }
            // A page that the checkpoint does not reach is not copied.
            Ok(report) => {
                let saved = scene.archive(&report.archive);
                saved.verify().unwrap();
                let whole = records(&saved.read().unwrap());
                assert_eq!(whole.len(), 3000, "page {page} was copied damaged");
                scene.sim.remove_file(&report.archive).unwrap();
            }
        }
        scene.sim.corrupt(data, page * 4096 + 100, 3).unwrap();
        assert!(scene.destination().is_empty(), "page {page}");
    }
    assert!(found > 10, "{found} of {pages} pages are live");
    scene.store.backup(TO).run().unwrap();
}

/// A store beside others, all with the same name.
fn named_alike(sim: &std::sync::Arc<SimDisk>, folder: &str, value: &str) -> Store {
    sim.create_dir(Path::new(folder)).unwrap();
    let path = Path::new(folder).join("inventory");
    let store = Store::builder(path).disk(sim.clone()).create().unwrap();
    crate::scene::put(&store, 1, value).unwrap();
    store
}

#[test]
fn two_stores_of_one_name_share_a_destination_without_touching_each_others_archives() {
    let sim = SimDisk::new(5);
    sim.create_dir(Path::new(TO)).unwrap();
    let (a, b) = (named_alike(&sim, "/a", "of a"), named_alike(&sim, "/b", "of b"));
    let mut made = Vec::new();
    for (store, value) in [(&a, "of a"), (&b, "of b"), (&a, "of a")] {
        made.push((store.backup(TO).run().unwrap(), value));
    }
    assert_eq!(made.iter().map(|(r, _)| r.number).collect::<Vec<_>>(), [1, 2, 3]);
    for (report, value) in &made {
        let archive = Archive::open_on(sim.clone(), &report.archive).unwrap();
        archive.verify().unwrap();
        assert_eq!(archive.header().store_id, report.store_id);
        assert_eq!(records(&archive.read().unwrap()), [(1, (*value).to_owned())]);
    }
    // Both at once: nobody replaces the other's archive, whoever comes first.
    let (backup, still) = Still::at(Stage::Verify, a.backup(TO).access(Access::Live));
    let slow = backup.start().unwrap();
    still.reached();
    let fast = b.backup(TO).run().unwrap();
    still.go_on();
    let ended = slow.wait();
    let kept = Archive::open_on(sim.clone(), &fast.archive).unwrap();
    assert_eq!(kept.header().store_id, fast.store_id);
    kept.verify().unwrap();
    match ended {
        Ok(report) => assert_ne!(report.archive, fast.archive),
        Err(error) => assert_eq!(error.kind(), ErrorKind::BackupFailed, "{error}"),
    }
    let again = a.backup(TO).run().unwrap();
    assert!(again.number > fast.number);
}

#[test]
fn names_that_tar_would_misread_are_refused_and_never_made() {
    let scene = Scene::new(Mode::Server, 5);
    for bad in ["a:b", "a/b", "-x", ".x", "", "a\nb", "a\\b"] {
        let error = scene.store.backup(TO).name(bad).run().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{bad:?}: {error}");
        assert!(scene.destination().is_empty());
    }
    let report = scene.store.backup(TO).name("Lager 7").run().unwrap();
    assert_eq!(report.archive, Path::new(TO).join("Lager 7[0001].tar.zst"));
    // A store whose folder has such a name is saved under another.
    let store = Store::builder("/in:ventory").disk(scene.sim.clone()).create().unwrap();
    let report = store.backup(TO).run().unwrap();
    assert!(!report.archive.to_string_lossy().contains(':'), "{:?}", report.archive);
    drop(store);
    assert!(open(&scene.sim, "/in:ventory").unwrap().begin_read().unwrap().table(ITEMS).is_ok());
}
