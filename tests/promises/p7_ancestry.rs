//! P7, which history: a store carries the whole line of timelines that it came through, each archive
//! brings it along, and files that do not fit each other are refused.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use stillpoint::disk::{Disk, SimDisk};
use stillpoint::{
    ErrorKind, IntegrateOptions, Mode, RestorePoint, Rollback, Store, StoreBuilder, code,
};

use crate::scene::{STORE, Scene, TO, files, get, put, read_file, write_file};

const FILE: &str = "ancestry";

fn of(dir: &str) -> PathBuf {
    Path::new(dir).join(FILE)
}

fn builder(sim: &Arc<SimDisk>, dir: &str) -> StoreBuilder {
    Store::builder(dir).disk(sim.clone()).segment_size(1 << 20)
}

/// How many timelines the store in `dir` came through.
fn timelines(sim: &Arc<SimDisk>, dir: &str) -> u32 {
    let bytes = read_file(sim, &of(dir));
    u32::from_le_bytes(bytes[12..16].try_into().unwrap())
}

/// The store at `dir` goes back to LSN `lsn` and makes two commits on a timeline of its own.
fn back(sim: &Arc<SimDisk>, lsn: u64) {
    Rollback::new(STORE, RestorePoint::Lsn(lsn)).archives(TO).disk(sim.clone()).run().unwrap();
    let store = builder(sim, STORE).open().unwrap();
    for key in 0..2 {
        put(&store, key, &format!("after {lsn}")).unwrap();
    }
    store.close().unwrap();
}

/// A store with a backup at LSN 1 and commits to 6 that was rolled back to 5, 6 and 7 in a row, without
/// a backup between, and is at 9 on its fourth timeline.
fn restored_three_times() -> Scene {
    let scene = Scene::new(Mode::Server, 5);
    scene.store.backup(TO).run().unwrap();
    for key in 0..5 {
        put(&scene.store, key, "first").unwrap();
    }
    scene.store.close().unwrap();
    for lsn in 5..8 {
        back(&scene.sim, lsn);
    }
    scene
}

#[test]
fn three_restores_in_a_row_without_an_archive_between_leave_no_hole() {
    let scene = restored_three_times();
    let sim = &scene.sim;
    assert_eq!(timelines(sim, STORE), 4);
    let store = builder(sim, STORE).open().unwrap();
    let made = store.backup(TO).run().unwrap();
    assert_eq!(made.lsn, 9);
    store.close().unwrap();
    // By the archives and log archives alone, each commit of each of the four timelines.
    let first = scene.archive(Path::new(TO).join("inventory[0001].tar.zst"));
    for lsn in 1..=9u64 {
        let dir = format!("/copy {lsn}");
        let copy = first.restore(&dir).logs_in(TO).to(RestorePoint::Lsn(lsn)).run().unwrap();
        assert_eq!(copy.lsn, lsn);
        let copy = builder(sim, &dir).open().unwrap();
        let expected = match lsn {
            1 => "item 0",
            2..=5 => "first",
            6 => "after 5",
            7 => "after 6",
            _ => "after 7",
        };
        assert_eq!(get(&copy, 0).as_deref(), Some(expected), "LSN {lsn}");
    }
    // And with its own log: to a commit before all of them.
    let back = Rollback::new(STORE, RestorePoint::Lsn(3)).archives(TO).disk(sim.clone());
    assert_eq!(back.run().unwrap().restored.lsn, 3);
}

#[test]
fn an_archive_that_tar_unpacks_brings_the_ancestry_of_its_commit() {
    let scene = restored_three_times();
    let store = builder(&scene.sim, STORE).open().unwrap();
    let made = store.backup(TO).run().unwrap();
    put(&store, 1, "later").unwrap();
    store.close().unwrap();
    let entries: Vec<String> = scene.archive(&made.archive).files().map(|(name, _)| name).collect();
    assert!(entries.iter().any(|name| name == FILE), "{entries:?}");
    scene.archive(&made.archive).restore("/copy").run().unwrap();
    assert_eq!(
        read_file(&scene.sim, &of("/copy")),
        read_file(&scene.sim, &of(STORE)),
        "they are on one timeline"
    );
    // The copy takes the log of the store on, and leaves it with its own first commit.
    let copy = builder(&scene.sim, "/copy").open().unwrap();
    let log = [Path::new(STORE).join("log")];
    copy.integrate(&log, IntegrateOptions::default()).unwrap();
    assert_eq!((copy.lsn(), timelines(&scene.sim, "/copy")), (10, 4));
    put(&copy, 2, "own").unwrap();
    assert_eq!(timelines(&scene.sim, "/copy"), 5);
}

#[test]
fn a_lost_ancestry_file_is_made_whole_where_the_rest_of_the_store_proves_it() {
    // A store that never left its history needs none.
    let scene = Scene::new(Mode::Server, 5);
    scene.store.close().unwrap();
    scene.sim.remove_file(&of(STORE)).unwrap();
    let store = builder(&scene.sim, STORE).open().unwrap();
    put(&store, 1, "on").unwrap();
    assert_eq!(timelines(&scene.sim, STORE), 1);
    store.close().unwrap();
    // One that did needs its log as far back as it goes; here that begins with the first restore.
    let scene = restored_three_times();
    let whole = read_file(&scene.sim, &of(STORE));
    for damage in [None, Some(&b"STILLANC"[..]), Some(b"")] {
        let sim = scene.sim.image();
        sim.remove_file(&of(STORE)).unwrap();
        damage.into_iter().for_each(|bytes| write_file(&sim, &of(STORE), bytes));
        let store = builder(&sim, STORE).open().unwrap();
        assert_eq!(store.lsn(), 9);
        put(&store, 1, "on").unwrap();
        assert_eq!(read_file(&sim, &of(STORE)), whole, "it is written again");
    }
}

#[test]
fn an_ancestry_that_cannot_be_had_is_an_error_that_an_archive_repairs() {
    let scene = restored_three_times();
    let store = builder(&scene.sim, STORE).open().unwrap();
    let made = store.backup(TO).run().unwrap();
    // The log goes, but for the segment that is written to.
    put(&store, 1, "later").unwrap();
    store.checkpoint().unwrap();
    store.close().unwrap();
    let sim = &scene.sim;
    let whole = read_file(sim, &of(STORE));
    sim.remove_file(&of(STORE)).unwrap();
    let error = builder(sim, STORE).open().unwrap_err();
    assert_eq!((error.kind(), error.path()), (ErrorKind::Corrupt, Some(&*of(STORE))), "{error:?}");
    assert!(error.advice().is_some_and(|advice| advice.contains("tar -xf")), "{error:?}");
    // That of another store does not do.
    let other = Scene::new(Mode::Server, 1);
    write_file(sim, &of(STORE), &read_file(&other.sim, &of(STORE)));
    assert_eq!(builder(sim, STORE).open().unwrap_err().kind(), ErrorKind::Corrupt);
    // Nor does that of a twin which left the history elsewhere; that of the archive does.
    let archive = scene.archive(&made.archive);
    archive.restore("/copy").run().unwrap();
    let copy = builder(sim, "/copy").open().unwrap();
    put(&copy, 1, "own").unwrap();
    assert_ne!(read_file(sim, &of("/copy")), whole);
    archive.restore("/other").run().unwrap();
    write_file(sim, &of(STORE), &read_file(sim, &of("/other")));
    let store = builder(sim, STORE).open().unwrap();
    assert_eq!((store.lsn(), read_file(sim, &of(STORE))), (10, whole));
}

#[test]
fn a_log_that_was_put_into_a_restored_store_leads_its_ancestry_on() {
    let scene = restored_three_times();
    let sim = &scene.sim;
    let store = builder(sim, STORE).open().unwrap();
    store.close().unwrap();
    scene.archive(Path::new(TO).join("inventory[0001].tar.zst")).restore("/copy").run().unwrap();
    assert_eq!(timelines(sim, "/copy"), 1);
    for (path, bytes) in files(sim, &format!("{STORE}/log")) {
        let to = Path::new("/copy/log").join(path.file_name().unwrap());
        write_file(sim, &to, &bytes.unwrap());
    }
    let copy = builder(sim, "/copy").open().unwrap();
    assert_eq!((copy.lsn(), get(&copy, 1).as_deref()), (9, Some("after 7")));
    // Before a checkpoint speaks of the new timelines the file has them.
    copy.checkpoint().unwrap();
    assert_eq!(timelines(sim, "/copy"), 4);
    copy.close().unwrap();
    assert_eq!(builder(sim, "/copy").open().unwrap().lsn(), 9);
}

#[test]
fn the_log_of_a_branch_is_refused_with_the_commit_where_the_two_part() {
    let scene = restored_three_times();
    let sim = &scene.sim;
    let old = Path::new("/inventory.before-rollback-2/log").to_path_buf();
    let store = builder(sim, STORE).open().unwrap();
    let error = store.integrate(&[&old], IntegrateOptions::default()).unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::Foreign, code::FOREIGN_LOG));
    assert!(error.to_string().contains("part after LSN 6"), "{error}");
}
