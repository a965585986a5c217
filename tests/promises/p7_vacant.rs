//! P7 where the folder for the restored store is there and empty: it keeps what it is, and whatever is in
//! it before the end is no store.

use std::path::Path;
use std::sync::Arc;

use stillpoint::disk::{Disk, SimDisk, Survival};
use stillpoint::{Archive, ErrorKind, Store};

use crate::scene::{all, files, open, put, write_file};

const DIR: &str = "/volume";

/// A disk with an archive of a store of `records` records and their attachment, and an empty folder.
fn scene(records: u64) -> (Arc<SimDisk>, Archive) {
    let sim = SimDisk::new(3);
    for folder in ["/b", DIR, "/files"] {
        sim.create_dir(Path::new(folder)).unwrap();
    }
    write_file(&sim, Path::new("/files/a.txt"), b"attached");
    let store = Store::builder("/shop").disk(sim.clone()).segment_size(4096).create().unwrap();
    (0..records).for_each(|key| put(&store, key, "saved").unwrap());
    let saved = store.backup("/b").attachment("/files").run().unwrap();
    store.close().unwrap();
    let archive = Archive::open_on(sim.clone(), &saved.archive).unwrap();
    (sim, archive)
}

fn names(sim: &SimDisk, dir: &str) -> Vec<String> {
    let names = sim.list(Path::new(dir)).unwrap();
    names.iter().map(|name| name.to_string_lossy().into_owned()).collect()
}

fn is_whole(sim: &Arc<SimDisk>, records: usize) {
    let store = open(sim, DIR).unwrap();
    assert_eq!(all(&store).len(), records);
    put(&store, 1_000, "it goes on").unwrap();
    store.close().unwrap();
}

#[test]
fn an_empty_folder_is_filled_and_stays_the_folder_that_it_was() {
    let (sim, archive) = scene(20);
    sim.set_mode(Path::new(DIR), 0o750).unwrap();
    sim.set_owner(Path::new(DIR), Some(7), Some(8)).unwrap();
    let before = sim.metadata(Path::new(DIR)).unwrap();
    let report = archive.restore(DIR).run().unwrap();
    assert_eq!(report.dir, Path::new(DIR));
    let after = sim.metadata(Path::new(DIR)).unwrap();
    assert_eq!((after.id, after.mode, after.uid), (before.id, 0o750, 7));
    is_whole(&sim, 20);
    assert!(!names(&sim, DIR).iter().any(|name| name.starts_with('.')), "nothing of it is left");
}

#[test]
fn the_root_of_a_fresh_volume_and_a_link_to_a_folder_are_filled_too() {
    let (sim, archive) = scene(5);
    sim.create_dir(&Path::new(DIR).join("lost+found")).unwrap();
    sim.symlink(Path::new("volume"), Path::new("/link")).unwrap();
    archive.restore("/link").run().unwrap();
    is_whole(&sim, 5);
    assert!(names(&sim, DIR).contains(&"lost+found".to_owned()));
    let store = open(&sim, "/link").unwrap();
    assert_eq!(all(&store).len(), 6);
}

#[test]
fn whatever_else_is_in_the_folder_makes_it_somebody_elses() {
    for name in ["note.txt", ".hidden", "log", "attachments"] {
        let (sim, archive) = scene(5);
        write_file(&sim, &Path::new(DIR).join(name), b"mine");
        let before = files(&sim, DIR);
        let refused = archive.restore(DIR).run().expect_err("it is not empty");
        assert_eq!(refused.kind(), ErrorKind::Exists, "{name}");
        assert_eq!(files(&sim, DIR), before);
    }
    let (_, archive) = scene(5);
    let refused = archive.restore("/b").run().expect_err("archives lie there");
    assert_eq!(refused.kind(), ErrorKind::Exists);
}

#[test]
fn a_crash_at_any_call_leaves_no_store_or_the_whole_one_and_the_next_restore_goes_through() {
    let (fresh, archive) = scene(3);
    let path = archive.path().to_path_buf();
    drop(archive);
    let begin = fresh.image();
    Archive::open_on(begin.clone(), &path).unwrap().restore(DIR).run().unwrap();
    let calls = begin.calls();
    assert!(calls > 50);
    for call in 1..=calls {
        let sim = fresh.image();
        sim.crash_at(call);
        let done = Archive::open_on(sim.clone(), &path).and_then(|a| a.restore(DIR).run());
        let all_kinds = [Survival::Nothing, Survival::Everything, Survival::Random(call)];
        let survival = all_kinds[call as usize % 3];
        let after = sim.reboot(survival);
        match open(&after, DIR) {
            Ok(store) => assert_eq!(all(&store).len(), 3, "call {call}, {survival:?}"),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::NotFound, "call {call}: {error}");
                assert!(done.is_err(), "call {call}, {survival:?}: it was told to be there");
                let again = Archive::open_on(after.clone(), &path).unwrap();
                let again = again.restore(DIR).run();
                again.unwrap_or_else(|e| panic!("call {call}, {survival:?}: {e:?}"));
                is_whole(&after, 3);
            }
        }
    }
}
