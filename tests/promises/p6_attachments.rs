//! Promise 6 for attachments: what is saved is the application's own tree, and what could not be saved
//! is said. Trouble with an attachment is never the store's.

use std::ffi::OsStr;
use std::fs;
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use stillpoint::disk::{Call, Disk, Fault, FaultPlan, Survival};
use stillpoint::{Access, Archive, BackupReport, BackupStatus, ErrorKind, Mode, Stage, Store};

use crate::scene::{Scene, TO, all, read_file, write_file};

/// A folder with two files and a folder.
fn web(scene: &Scene, dir: &str) {
    let dir = Path::new(dir);
    scene.sim.create_dir(dir).unwrap();
    scene.sim.create_dir(&dir.join("css")).unwrap();
    write_file(&scene.sim, &dir.join("index.html"), b"<html>");
    write_file(&scene.sim, &dir.join("css/a.css"), &[b'a'; 700_000]);
}

fn restored(scene: &Scene, report: &BackupReport) -> PathBuf {
    let archive = scene.archive(&report.archive);
    archive.verify().unwrap();
    let dir = PathBuf::from(format!("/copy{}", report.number));
    archive.restore(&dir).run().unwrap();
    let copy = scene.open(dir.to_str().unwrap()).unwrap();
    assert_eq!(all(&copy), all(&scene.store));
    dir.join("attachments")
}

#[test]
fn relative_paths_count_from_beside_the_store_and_every_file_tells_where_it_was() {
    let scene = Scene::new(Mode::Server, 10);
    web(&scene, "/web");
    let report = scene.store.backup(TO).attachment("./web/").run().unwrap();
    assert_eq!(report.status, BackupStatus::Complete, "{:?}", report.problems);
    let source = |path: &str| {
        let file = report.files.iter().find(|file| file.path == path).unwrap();
        file.source.clone()
    };
    assert_eq!(source("attachments/web/css/a.css"), Some("/web/css/a.css".into()));
    assert_eq!(source("attachments/web"), Some("/web".into()));
    assert!(source("store.data").unwrap().starts_with("/inventory"));
    assert_eq!(source("header.json"), None);
    let into = restored(&scene, &report);
    assert_eq!(read_file(&scene.sim, &into.join("web/index.html")), b"<html>");
    assert_eq!(read_file(&scene.sim, &into.join("web/css/a.css")).len(), 700_000);
}

#[test]
fn attachments_of_one_name_get_names_of_their_own_and_the_manifest_maps_them() {
    let scene = Scene::new(Mode::Server, 10);
    for (dir, text) in [("/a", "one"), ("/b", "two"), ("/c", "three")] {
        scene.sim.create_dir(Path::new(dir)).unwrap();
        write_file(&scene.sim, &Path::new(dir).join("notes"), text.as_bytes());
    }
    write_file(&scene.sim, Path::new("/notes~2"), b"four");
    let backup = scene.store.backup(TO).attachment("/a/notes").attachment("/notes~2");
    let backup = backup.attachment("/b/notes").attachment("/c/notes").attachment("/a/notes");
    let report = backup.run().unwrap();
    let into = restored(&scene, &report);
    let papers = scene.archive(&report.archive).results().attachments.clone();
    assert_eq!(papers.len(), 4, "what is listed twice is saved once: {papers:?}");
    for (source, text) in [("/a/notes", "one"), ("/b/notes", "two"), ("/c/notes", "three")] {
        let paper = papers.iter().find(|paper| paper.source == Path::new(source)).unwrap();
        let name = paper.name.strip_prefix("attachments").unwrap();
        assert_eq!(read_file(&scene.sim, &into.join(name)), text.as_bytes(), "{papers:?}");
    }
    assert_eq!(read_file(&scene.sim, &into.join("notes~2")), b"four");
}

#[test]
fn trees_links_modes_times_and_names_that_are_no_text_are_kept() {
    let scratch = tempfile::tempdir().unwrap();
    let root = scratch.path().canonicalize().unwrap();
    let (store, to) = (Store::create(root.join("store")).unwrap(), root.join("backups"));
    fs::create_dir(&to).unwrap();
    let web = root.join("web");
    fs::create_dir_all(web.join("deep/er")).unwrap();
    let odd = web.join(OsStr::from_bytes(b"caf\xE9 \n\x01"));
    fs::write(&odd, b"odd").unwrap();
    fs::write(web.join("deep/er/run.sh"), b"#!/bin/sh\n").unwrap();
    symlink("deep/er/run.sh", web.join("run")).unwrap();
    symlink("nowhere", web.join("dangling")).unwrap();
    symlink(".", web.join("deep/circle")).unwrap();
    let old = SystemTime::UNIX_EPOCH + Duration::new(1_500_000_000, 123_456_000);
    for (path, mode) in [("deep/er/run.sh", 0o755), ("deep/er", 0o500), ("deep", 0o750)] {
        let path = web.join(path);
        let opened = fs::File::open(&path).unwrap();
        opened.set_modified(old).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }
    let report = store.backup(&to).attachment("web").run().unwrap();
    assert_eq!(report.status, BackupStatus::Complete, "{:?}", report.problems);
    assert!(report.files.iter().any(|file| file.source.as_ref() == Some(&odd)));
    let json = serde_json::to_string(&report.files).unwrap();
    let back: Vec<stillpoint::SavedFile> = serde_json::from_str(&json).unwrap();
    assert_eq!(back, report.files);
    Archive::open(&report.archive).unwrap().restore(root.join("copy")).run().unwrap();
    let copy = root.join("copy/attachments/web");
    assert_eq!(fs::read(copy.join(odd.file_name().unwrap())).unwrap(), b"odd");
    assert_eq!(fs::read_link(copy.join("run")).unwrap(), Path::new("deep/er/run.sh"));
    assert_eq!(fs::read_link(copy.join("dangling")).unwrap(), Path::new("nowhere"));
    assert_eq!(fs::read_link(copy.join("deep/circle")).unwrap(), Path::new("."));
    for (path, mode) in [("deep/er/run.sh", 0o755), ("deep/er", 0o500), ("deep", 0o750)] {
        let found = fs::metadata(copy.join(path)).unwrap();
        assert_eq!(found.permissions().mode() & 0o7777, mode, "{path}");
        assert_eq!(found.modified().unwrap(), old, "{path}");
    }
    // So that the scratch folder can be removed.
    for dir in [web.join("deep/er"), copy.join("deep/er")] {
        fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).unwrap();
    }
}

#[test]
fn a_link_that_leaves_the_archive_is_told_and_the_rest_is_saved() {
    let scene = Scene::new(Mode::Server, 10);
    web(&scene, "/web");
    for (name, target) in [("abs", "/etc/passwd"), ("up", "../../../../x"), ("good", "css/a.css")] {
        scene.sim.symlink(Path::new(target), &Path::new("/web").join(name)).unwrap();
    }
    let report = scene.store.backup(TO).attachment("/web").run().unwrap();
    assert_eq!((report.status, report.problems.len()), (BackupStatus::Partial, 2));
    assert!(report.problems.iter().all(|error| error.code() == 2001));
    let into = restored(&scene, &report);
    assert_eq!(scene.sim.read_link(&into.join("web/good")).unwrap(), Path::new("css/a.css"));
}

#[test]
fn whatever_call_on_an_attachment_fails_the_store_is_saved_and_the_trouble_is_told() {
    for call in [Call::Open, Call::Read, Call::List, Call::Look] {
        for skip in 0..6 {
            let scene = Scene::new(Mode::Server, 50);
            web(&scene, "/web");
            scene.sim.fail(FaultPlan::once(call, "/web", Fault::IO).skip(skip));
            let report = match scene.store.backup(TO).attachment("/web").run() {
                Ok(report) => report,
                Err(error) => panic!("{call:?} {skip}: {error}"),
            };
            let met = !scene.sim.has_faults();
            scene.sim.heal();
            // A look that only asks whether the file changed, or where a path leads, loses nothing.
            let told = report.status == BackupStatus::Partial
                || report.files.iter().any(|file| file.changed_while_read);
            assert!(told || !met || call == Call::Look, "{call:?} {skip}");
            assert!(!told || met, "{call:?} {skip}: {:?}", report.problems);
            if report.status == BackupStatus::Partial {
                assert!(report.problems.iter().all(|error| error.code() == 2001));
            }
            restored(&scene, &report);
        }
    }
}

#[test]
fn a_file_that_cannot_be_read_to_its_end_keeps_its_length_and_the_others_are_whole() {
    let scene = Scene::new(Mode::Server, 10);
    web(&scene, "/web");
    write_file(&scene.sim, Path::new("/web/z"), b"after it");
    scene.sim.fail(FaultPlan::once(Call::Read, "a.css", Fault::IO).skip(1));
    let report = scene.store.backup(TO).attachment("/web").run().unwrap();
    assert_eq!(report.status, BackupStatus::Partial);
    assert_eq!(report.problems.len(), 1);
    assert_eq!(report.problems[0].path(), Some(Path::new("/web/css/a.css")));
    let into = restored(&scene, &report);
    let bytes = read_file(&scene.sim, &into.join("web/css/a.css"));
    assert_eq!(bytes.len(), 700_000);
    let read = bytes.iter().take_while(|byte| **byte == b'a').count();
    assert!(read > 0 && read < 700_000 && bytes[read..].iter().all(|byte| *byte == 0));
    assert_eq!(read_file(&scene.sim, &into.join("web/z")), b"after it");
}

#[test]
fn files_that_vanish_or_change_while_the_backup_runs_are_told() {
    let scene = Scene::new(Mode::Server, 2000);
    web(&scene, "/web");
    for name in ["gone", "longer", "shorter"] {
        write_file(&scene.sim, &Path::new("/web").join(name), &[1; 5000]);
    }
    let disk = scene.sim.clone();
    let mut once = true;
    let backup = scene.store.backup(TO).attachment("/web").on_progress(move |progress| {
        // The plan is made by now, and nothing of it is copied.
        if progress.stage == Stage::Copy && std::mem::take(&mut once) {
            disk.remove_file(Path::new("/web/gone")).unwrap();
            disk.advance(Duration::from_secs(1));
            write_file(&disk, Path::new("/web/longer"), &[2; 9000]);
            write_file(&disk, Path::new("/web/shorter"), &[2; 10]);
        }
        ControlFlow::Continue(())
    });
    let report = backup.run().unwrap();
    assert_eq!(report.status, BackupStatus::Partial);
    assert_eq!(report.problems[0].path(), Some(Path::new("/web/gone")));
    let changed: Vec<_> = report.files.iter().filter(|file| file.changed_while_read).collect();
    assert_eq!(changed.len(), 2, "{changed:?}");
    let results = scene.archive(&report.archive).results().clone();
    assert_eq!(results.changed_while_read.len(), 2);
    restored(&scene, &report);
}

#[test]
fn a_link_that_takes_the_place_of_a_file_or_folder_is_not_followed() {
    let scene = Scene::new(Mode::Server, 10);
    web(&scene, "/web");
    web(&scene, "/private");
    write_file(&scene.sim, Path::new("/private/secret"), b"nobody asked for it");
    write_file(&scene.sim, Path::new("/private/css/a.css"), b"nor for this");
    for name in ["inside", "outside"] {
        write_file(&scene.sim, &Path::new("/web").join(name), b"a file");
    }
    let disk = scene.sim.clone();
    let mut once = true;
    let backup = scene.store.backup(TO).attachment("/web").on_progress(move |progress| {
        // The plan is made by now, and nothing of it is copied.
        if progress.stage == Stage::Copy && std::mem::take(&mut once) {
            disk.remove_file(Path::new("/web/inside")).unwrap();
            disk.symlink(Path::new("index.html"), Path::new("/web/inside")).unwrap();
            disk.remove_file(Path::new("/web/outside")).unwrap();
            disk.symlink(Path::new("/private/secret"), Path::new("/web/outside")).unwrap();
            disk.rename(Path::new("/web/css"), Path::new("/web/old")).unwrap();
            disk.symlink(Path::new("/private/css"), Path::new("/web/css")).unwrap();
        }
        ControlFlow::Continue(())
    });
    let report = backup.run().unwrap();
    // The one is saved as the link that it is by now, and two of them cannot be saved at all.
    let changed: Vec<_> = report.files.iter().filter(|file| file.changed_while_read).collect();
    assert_eq!(changed.len(), 1, "{changed:?}");
    assert_eq!(changed[0].source.as_deref(), Some(Path::new("/web/inside")));
    let problems: Vec<_> = report.problems.iter().filter_map(|error| error.path()).collect();
    assert_eq!(problems, [Path::new("/web/css/a.css"), Path::new("/web/outside")]);
    assert_eq!(report.status, BackupStatus::Partial);
    let into = restored(&scene, &report).join("web");
    assert_eq!(scene.sim.read_link(&into.join("inside")).unwrap(), Path::new("index.html"));
    assert!(scene.sim.list(&into.join("css")).unwrap().is_empty());
    assert!(scene.sim.metadata(&into.join("outside")).is_err());
}

#[test]
fn the_destination_within_an_attachment_is_left_out_and_archives_are_refused() {
    let scene = Scene::new(Mode::Server, 10);
    web(&scene, "/web");
    let to = "/web/backups";
    scene.sim.create_dir(Path::new(to)).unwrap();
    write_file(&scene.sim, &Path::new(to).join("readme"), b"mine");
    let first = scene.store.backup(to).attachment("/web").run().unwrap();
    let second = scene.store.backup(to).attachment("/web").run().unwrap();
    for report in [&first, &second] {
        assert_eq!(report.status, BackupStatus::Complete, "{:?}", report.problems);
        assert_eq!(report.skipped, [PathBuf::from(to)]);
        assert!(report.files.iter().all(|file| !file.path.contains("backups")));
        assert_eq!(scene.archive(&report.archive).results().skipped, [to]);
    }
    let archive = first.archive.to_str().unwrap();
    for refused in [to, archive, "/inventory", "/inventory/log", "/"] {
        let error = scene.store.backup(to).attachment(refused).run().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{refused}: {error}");
    }
    // Another file there is like any other.
    let report = scene.store.backup(to).attachment(format!("{to}/readme")).run().unwrap();
    assert_eq!(report.status, BackupStatus::Complete);
    // A link to the destination is saved as a link.
    scene.sim.symlink(Path::new("web/backups"), Path::new("/link")).unwrap();
    let error = scene.store.backup(to).attachment("/link").run().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
}

#[test]
fn a_tree_too_deep_or_a_path_too_long_makes_the_backup_partial_and_no_more() {
    let scene = Scene::new(Mode::Server, 10);
    let mut dir = PathBuf::from("/web");
    scene.sim.create_dir(&dir).unwrap();
    for _ in 0..300 {
        dir.push("d");
        scene.sim.create_dir(&dir).unwrap();
    }
    let mut long = PathBuf::from("/long");
    scene.sim.create_dir(&long).unwrap();
    for _ in 0..20 {
        long.push("x".repeat(250));
        scene.sim.create_dir(&long).unwrap();
    }
    let report = scene.store.backup(TO).attachment("/web").attachment("/long").run().unwrap();
    assert_eq!((report.status, report.problems.len()), (BackupStatus::Partial, 2));
    restored(&scene, &report);
}

#[test]
fn live_attachments_are_copied_without_a_hold_unless_one_is_asked_for() {
    let scene = Scene::new(Mode::Server, 10);
    web(&scene, "/web");
    let store = scene.store.clone();
    let clock = scene.sim.clone();
    let locked = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let seen = locked.clone();
    let backup = scene.store.backup(TO).access(Access::Live).attachment("/web");
    let backup = backup.on_progress(move |_| {
        clock.advance(Duration::from_millis(60));
        seen.fetch_or(store.locked(), std::sync::atomic::Ordering::SeqCst);
        ControlFlow::Continue(())
    });
    let report = backup.run().unwrap();
    assert!(!locked.load(std::sync::atomic::Ordering::SeqCst));
    assert_eq!((report.hold, report.longest_wait), (Duration::ZERO, Duration::ZERO));
}

#[test]
fn many_small_attachments_are_restored_in_linear_time_and_are_durable() {
    let content = |n: usize| if n.is_multiple_of(2) { Vec::new() } else { vec![n as u8; 10] };
    let calls_for = |files: usize| {
        let scene = Scene::new(Mode::Server, 10);
        scene.sim.create_dir(Path::new("/many")).unwrap();
        for n in 0..files {
            write_file(&scene.sim, &PathBuf::from(format!("/many/{n:05}")), &content(n));
        }
        let report = scene.store.backup(TO).attachment("/many").run().unwrap();
        let before = scene.sim.calls();
        scene.archive(&report.archive).restore("/copy").run().unwrap();
        let calls = scene.sim.calls() - before;
        let after = scene.sim.reboot(Survival::Nothing);
        for n in 0..files {
            let path = PathBuf::from(format!("/copy/attachments/many/{n:05}"));
            assert_eq!(read_file(&after, &path), content(n), "{n} of {files}");
        }
        calls
    };
    let (few, more, most) = (calls_for(20), calls_for(420), calls_for(820));
    assert!(more - few < 400 * 12, "{} calls for 400 files", more - few);
    let (first, second) = (more - few, most - more);
    assert!(second.abs_diff(first) < 400, "{first} calls for 400 files, {second} for 400 more");
}

#[cfg(unix)]
#[test]
fn the_holes_of_an_attachment_are_holes_again_and_its_bytes_are_the_same() {
    use std::os::unix::fs::{FileExt, MetadataExt};
    const GIB: u64 = 1 << 30;
    let scratch = tempfile::tempdir().unwrap();
    let at = |name: &str| scratch.path().join(name);
    let sparse = std::fs::File::create(at("sparse")).unwrap();
    let data: [(u64, &[u8]); 4] =
        [(0, &[1; 5]), (70_000, &[2; 9000]), (GIB / 2 + 123, &[3; 40_000]), (GIB - 3, &[4; 2])];
    for (offset, bytes) in data {
        sparse.write_all_at(bytes, offset).unwrap();
    }
    sparse.set_len(GIB).unwrap();
    if sparse.metadata().unwrap().blocks() * 512 > GIB / 2 {
        eprintln!("skipped: the file system has no holes");
        return;
    }
    std::fs::write(at("zeros"), vec![0; 1 << 20]).unwrap();
    std::fs::create_dir(at("b")).unwrap();
    let store = Store::create(at("s")).unwrap();
    let report =
        store.backup(at("b")).attachment(at("sparse")).attachment(at("zeros")).run().unwrap();
    Archive::open(&report.archive).unwrap().restore(at("copy")).run().unwrap();
    let restored = std::fs::File::open(at("copy/attachments/sparse")).unwrap();
    let found = restored.metadata().unwrap();
    assert_eq!(found.len(), GIB);
    assert!(found.blocks() * 512 < 1 << 20, "{} bytes on the disk", found.blocks() * 512);
    for (offset, bytes) in data {
        let from = offset.saturating_sub(20_000);
        let mut read = vec![9; bytes.len() + 40_000];
        let len = restored.read_at(&mut read, from).unwrap();
        let mut expected = vec![9; read.len()];
        assert_eq!(sparse_read(&at("sparse"), &mut expected, from), len);
        assert!(read == expected, "around {offset}");
    }
    assert!(std::fs::read(at("copy/attachments/zeros")).unwrap() == vec![0; 1 << 20]);
}

#[cfg(unix)]
fn sparse_read(path: &Path, into: &mut [u8], from: u64) -> usize {
    use std::os::unix::fs::FileExt;
    std::fs::File::open(path).unwrap().read_at(into, from).unwrap()
}
