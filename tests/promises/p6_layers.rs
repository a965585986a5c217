//! P6, below the frames: an archive in segments, encrypted, with parity, is an archive like any other.
//! Parity repairs what it promises, and damage beyond that is told; without the key nothing is read,
//! and nothing of the content shows.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use stillpoint::archive::{ArchiveFile, MIN_SEGMENT_BYTES, list_archives, repair, repair_with};
use stillpoint::disk::{Disk, OpenMode, SimDisk, Survival};
use stillpoint::{
    Archive, BackupBuilder, Compression, ErrorKind, Keys, Level, Mode, Recipients, Stage, Store,
};

use crate::scene::{ITEMS, STORE, Scene, Still, TO, all, files, open, put, records, write_file};

/// A pair of keys of age, made for these tests.
const IDENTITY: &str = "AGE-SECRET-KEY-10KWANPC9UVVS9FQ396CPF7V5U077C2J9A8MP5HFKXVJHYCG2EE7SATSH8N";
/// A file that does not pack, so that there are several segments.
const NOISE: &str = "/noise.bin";

fn noise(len: usize) -> Vec<u8> {
    let mut state = 9u64;
    let mut next = || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..len).map(|_| next()).collect()
}

fn scene() -> Scene {
    let scene = Scene::new(Mode::Server, 400);
    write_file(&scene.sim, Path::new(NOISE), &noise(600_000));
    scene
}

fn go_on(_: stillpoint::archive::Progress) -> std::ops::ControlFlow<()> {
    std::ops::ControlFlow::Continue(())
}

fn identity() -> (Recipients, Keys) {
    let public = IDENTITY.parse::<age::x25519::Identity>().expect("good").to_public().to_string();
    let keys = Keys::none().with_identities(IDENTITY).unwrap();
    (Recipients::public_keys([&*public]).unwrap(), keys)
}

/// A backup with every layer that there is.
fn layered(store: &Store) -> BackupBuilder {
    store
        .backup(TO)
        .attachment(NOISE)
        .segment_size(MIN_SEGMENT_BYTES)
        .redundancy(Level::High)
        .interlacing(Level::High)
        .encrypt(identity().0)
}

fn spoil(sim: &SimDisk, path: &Path, from: u64, len: u64) {
    let file = sim.open(path, OpenMode::Write).unwrap();
    let mut bytes = vec![0; len as usize];
    file.read_exact_at(&mut bytes, from).unwrap();
    bytes.iter_mut().for_each(|byte| *byte ^= 0x5A);
    file.write_at(&bytes, from).unwrap();
}

fn destination(sim: &Arc<SimDisk>) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
    files(sim, TO)
}

#[test]
fn with_every_layer_archives_and_logs_are_restored_as_ever() {
    let scene = scene();
    let keys = identity().1;
    let first = layered(&scene.store).run().unwrap();
    assert!(first.verified && first.archive.ends_with("inventory[0001-0001].tar.zst.age"));
    assert!(first.archive_files.len() > 8, "{:?}", first.archive_files);
    assert!(first.archive_files[0].ends_with("inventory[0001].parity"));
    assert!(first.archive_files.iter().all(|path| scene.sim.metadata(path).is_ok()));
    put(&scene.store, 5000, "later").unwrap();
    let second = layered(&scene.store).keys(keys.clone()).incremental().run().unwrap();
    let log = second.log_archive.unwrap();
    assert!(log.path.ends_with("inventory[0001-0001].log.zst.age"), "{:?}", log.path);
    assert!(log.files[0].ends_with("inventory[0001].log.parity"), "{:?}", log.files);
    for (path, lsn) in [(&first.archive, first.lsn), (&second.archive, second.lsn)] {
        let archive = Archive::open_on_with(scene.sim.clone(), path, &keys).unwrap();
        assert!(archive.is_encrypted());
        assert_eq!(archive.header().lsn, lsn);
        archive.verify().unwrap();
        assert_eq!(records(&archive.read().unwrap()).len(), 400 + usize::from(lsn > first.lsn));
    }
    let archive = Archive::open_on_with(scene.sim.clone(), &first.archive, &keys).unwrap();
    archive.restore("/copy").log(&log.path).run().unwrap();
    let copy = open(&scene.sim, "/copy").unwrap();
    assert_eq!(all(&copy), all(&scene.store), "through archive and log");
    let archive = Archive::open_on_with(scene.sim.clone(), &second.archive, &keys).unwrap();
    archive.restore("/chain").run().unwrap();
    assert_eq!(all(&open(&scene.sim, "/chain").unwrap()), all(&scene.store), "through the chain");
}

#[test]
fn an_archive_by_passphrase_opens_with_it_and_with_nothing_else() {
    let scene = Scene::new(Mode::Server, 40);
    let secret = "the still point of the turning world";
    let recipients = Recipients::passphrase(secret).unwrap();
    let report = scene.store.backup(TO).encrypt(recipients).run().unwrap();
    let before = destination(&scene.sim);
    let wrong = Keys::none().with_passphrase("the still point of the burning world");
    for keys in [Keys::none(), wrong] {
        let error = Archive::open_on_with(scene.sim.clone(), &report.archive, &keys).unwrap_err();
        assert_eq!(error.code(), 2011, "{error}");
        assert_eq!(error.path(), Some(&*report.archive));
        assert!(!format!("{error:?}").contains("world"), "{error:?}");
    }
    assert!(destination(&scene.sim) == before, "nothing is changed");
    let keys = Keys::none().with_passphrase(secret);
    let archive = Archive::open_on_with(scene.sim.clone(), &report.archive, &keys).unwrap();
    assert!(!format!("{archive:?} {report:?}").contains("turning"));
    archive.restore("/copy").run().unwrap();
    assert_eq!(all(&open(&scene.sim, "/copy").unwrap()), all(&scene.store));
}

#[test]
fn nothing_of_a_record_shows_in_an_encrypted_archive() {
    let scene = Scene::new(Mode::Server, 0);
    let write = scene.store.begin_write().unwrap();
    let noise = noise(40_000);
    for (key, piece) in noise.chunks(20).enumerate() {
        let text: String = piece.iter().map(|byte| char::from(b'a' + byte % 26)).collect();
        write.table(ITEMS).unwrap().put(&(key as u64), &format!("needle {text}")).unwrap();
    }
    write.commit().unwrap();
    // Not packed: in a plain archive the records stand as they are.
    let shows = |path: &Path| {
        let bytes = crate::scene::read_file(&scene.sim, path);
        bytes.windows(6).any(|window| window == b"needle")
            || bytes.windows(9).any(|window| window == b"inventory" || window == b"store.dat")
    };
    let plain = scene.store.backup(TO).compression(Compression::None).run().unwrap();
    assert!(shows(&plain.archive), "or this test proves nothing");
    put(&scene.store, 1, "needle in the log").unwrap();
    let report = layered(&scene.store).compression(Compression::None).run().unwrap();
    let log = report.log_archive.unwrap();
    for path in report.archive_files.iter().chain(&log.files) {
        assert!(!shows(path), "{}", path.display());
    }
}

#[test]
fn a_lost_segment_and_other_promised_damage_is_repaired_and_more_is_told() {
    let scene = scene();
    let keys = identity().1;
    let report = layered(&scene.store).run().unwrap();
    let whole = destination(&scene.sim);
    let open_it = || Archive::open_on_with(scene.sim.clone(), &report.archive, &keys);
    let promise = open_it().unwrap().promise().expect("it has parity");
    assert!(promise.anywhere >= 3 && promise.block_bytes == 65_536, "{promise:?}");
    assert!(promise.burst_bytes > MIN_SEGMENT_BYTES, "one segment is within it: {promise:?}");
    // A whole segment is gone, and a block of another one is bad.
    let segments = &report.archive_files[1..];
    scene.sim.remove_file(&segments[3]).unwrap();
    let archive = open_it().unwrap();
    archive.restore("/copy").run().unwrap();
    assert_eq!(all(&open(&scene.sim, "/copy").unwrap()), all(&scene.store), "read through it");
    let error = archive.verify().unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::Corrupt, 1411), "{error}");
    spoil(&scene.sim, &segments[5], 100, 10);
    let unproven = repair(&*scene.sim, &report.archive, &mut go_on).unwrap_err();
    assert_eq!(unproven.code(), 2011, "its seal takes the key: {unproven}");
    let repaired = repair_with(&*scene.sim, &report.archive, &keys, &mut go_on).unwrap();
    assert!(repaired.files.contains(&segments[3]) && repaired.files.contains(&segments[5]));
    assert!(destination(&scene.sim) == whole, "every byte is as it was");
    open_it().unwrap().verify().unwrap();
    // One block more than any stripe can bear: all of them.
    for segment in segments {
        spoil(&scene.sim, segment, 0, scene.sim.metadata(segment).unwrap().len);
    }
    let damaged = destination(&scene.sim);
    let error = repair_with(&*scene.sim, &report.archive, &keys, &mut go_on).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    assert!(destination(&scene.sim) == damaged, "nothing is changed");
    assert!(open_it().is_err());
}

#[test]
fn levels_promise_more_the_higher_they_are() {
    let scene = scene();
    let promise = |redundancy, interlacing| {
        let backup = scene.store.backup(TO).attachment(NOISE).verify(false);
        let report = backup.redundancy(redundancy).interlacing(interlacing).run().unwrap();
        scene.archive(&report.archive).promise()
    };
    assert_eq!(promise(Level::None, Level::High), None, "interlacing alone is nothing");
    let shares: Vec<u64> = [Level::Low, Level::Medium, Level::High]
        .map(|level| promise(level, Level::None).expect("it has parity").anywhere)
        .to_vec();
    assert!(shares.is_sorted() && shares[0] >= 1 && shares[0] < shares[2], "{shares:?}");
}

#[test]
fn a_backup_that_is_stopped_or_died_leaves_nothing_of_any_layer() {
    let scene = scene();
    let (backup, still) = Still::at(Stage::Verify, layered(&scene.store));
    let handle = backup.start().unwrap();
    still.reached();
    assert!(scene.destination().len() > 8, "all files are written");
    handle.stop();
    still.go_on();
    assert_eq!(handle.wait().unwrap_err().kind(), ErrorKind::Stopped);
    assert_eq!(scene.destination(), Vec::<PathBuf>::new());
    // What a dead process leaves is removed by the next run.
    let first = layered(&scene.store).run().unwrap();
    let id = first.store_id;
    let names = [
        "inventory[0002-0002].tar.zst.age",
        "inventory[0002].parity",
        "inventory[0001].log.parity",
    ];
    for name in names {
        let path = PathBuf::from(format!("{TO}/{name}.{id:032x}.partial"));
        write_file(&scene.sim, &path, b"half");
    }
    let second = layered(&scene.store).run().unwrap();
    let left = scene.destination();
    assert!(left.iter().all(|name| !name.to_string_lossy().contains("partial")), "{left:?}");
    assert_eq!(left.len(), first.archive_files.len() + second.archive_files.len());
}

/// Killed at each call from the moment on that all is written and read back.
#[test]
fn a_backup_that_was_killed_between_two_renames_is_cleared_away_by_the_next() {
    let scene = Scene::new(Mode::Server, 40);
    write_file(&scene.sim, Path::new(NOISE), &noise(200_000));
    let segmented = |store: &Store| {
        let backup = store.backup(TO).attachment(NOISE).workers(1);
        backup.segment_size(MIN_SEGMENT_BYTES).redundancy(Level::Low)
    };
    scene.store.checkpoint().unwrap();
    scene.store.close().unwrap();
    let mut begun = 0;
    for calls in 1..=24 {
        let sim = scene.sim.image();
        let store = open(&sim, STORE).unwrap();
        let (backup, still) = Still::at(Stage::Seal, segmented(&store));
        let handle = backup.start().unwrap();
        still.reached();
        sim.crash_at(sim.calls() + calls);
        still.go_on();
        let finished = handle.wait();
        drop(store);
        let sim = sim.reboot(Survival::Everything);
        let names = sim.list(Path::new(TO)).unwrap();
        let partial = |name: &&PathBuf| {
            let name = name.to_string_lossy();
            name.ends_with(".partial") && !name.starts_with("writing-")
        };
        let left = names.iter().filter(partial).count();
        begun += usize::from(left > 0 && left < names.len() - 1);
        let store = open(&sim, STORE).unwrap();
        let next = segmented(&store).run().unwrap();
        let archives = list_archives(&*sim, Path::new(TO), None).unwrap();
        assert!(archives.len() <= 2, "{archives:?}");
        assert!(finished.is_err() || archives.len() == 2, "what was reported is there");
        for archive in &archives {
            let archive = ArchiveFile::open(&*sim, archive.path(), &Keys::none()).unwrap();
            archive.verify(1, &mut go_on).unwrap();
        }
        let names = sim.list(Path::new(TO)).unwrap();
        assert_eq!(names.iter().find(partial), None, "an unfinished file was left lying");
        assert_eq!(names.len(), archives.len() * next.archive_files.len(), "{names:?}");
        assert_eq!(next.archive.ends_with("inventory[0001-0001].tar.zst"), archives.len() == 1);
        store.close().unwrap();
    }
    assert!(begun > 0, "{begun} times some files had their names and some had not");
}

#[test]
fn segments_that_are_too_small_are_refused_before_anything_is_done() {
    let scene = Scene::new(Mode::Server, 4);
    let error = scene.store.backup(TO).segment_size(MIN_SEGMENT_BYTES - 1).run().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    assert_eq!(scene.destination(), Vec::<PathBuf>::new());
}
