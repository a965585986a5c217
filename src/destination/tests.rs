//! Numbers, contradictions and searches among archives that a test writes.

use std::path::Path;
use std::sync::Arc;

use serde_json::json;

use super::*;
use crate::archive::{ArchiveOptions, ArchiveWriter, Keys};
use crate::disk::{Disk, OpenMode, SimDisk};
use crate::error::{ErrorKind, code};

const TO: &str = "/to";

fn ground() -> Arc<SimDisk> {
    let sim = SimDisk::new(1);
    sim.create_dir(Path::new(TO)).unwrap();
    sim
}

/// Writes an archive whose header says `set` and `number`, and that it follows `parent`.
fn archive(sim: &SimDisk, file: &str, (set, number): (&str, u32), parent: Option<&str>) {
    let line = json!({ "id": "1", "parent": "0", "fork": 0 });
    let mut header = json!({
        "program": "test", "number": number, "set": set, "store_id": "7", "timeline": line,
        "lsn": number, "commit_time": 0, "started": 0, "access": "live", "structure": true,
        "data": true, "page_size": 4096, "kind": "full", "checkpoint": number, "source_bytes": 0,
        "tables": [],
    });
    if let Some(seal) = parent {
        header["kind"] = json!("incremental");
        header["parent"] = json!({
            "seal": seal, "set": set, "number": number - 1, "timeline": line, "lsn": number - 1,
            "checkpoint": number - 1,
        });
    }
    let results = json!({
        "status": "complete", "pin_micros": 0, "hold_micros": 0, "longest_wait_micros": 0,
        "went_live": false, "changed_while_read": [], "problems": [],
    });
    let (path, options) = (Path::new(TO).join(file), ArchiveOptions::default());
    let writer = ArchiveWriter::create(sim, &path, &options, header).unwrap();
    writer.finish(|_| Ok(results)).unwrap();
}

fn junk(sim: &SimDisk, file: &str) {
    let made = sim.open(&Path::new(TO).join(file), OpenMode::CreateNew).unwrap();
    made.write_at(b"no archive", 0).unwrap();
}

fn look(sim: &Arc<SimDisk>) -> Catalogue {
    let disk: Arc<dyn Disk> = sim.clone();
    Catalogue::of_folder(&disk, Path::new(TO), &Keys::none()).unwrap()
}

fn next(sim: &Arc<SimDisk>, known: &[u32]) -> u32 {
    look(sim).next_number("s", known.iter().copied()).unwrap().number
}

#[test]
fn numbers_come_from_archives_and_junk_is_passed_over_and_told() {
    let sim = ground();
    assert_eq!(next(&sim, &[]), 1);
    archive(&sim, "s[0002].tar.zst", ("s", 2), None);
    archive(&sim, "s[0009].tar.zst", ("s", 2), None);
    for name in ["s[4294967295].tar.zst", "s[0700].tar.zst", "s[0003].tar.zst"] {
        junk(&sim, name);
    }
    let found = look(&sim).next_number("s", []).unwrap();
    assert_eq!(found.number, 4, "3 is taken, and vouched for by nothing");
    let told: Vec<_> = found.passed_over.iter().filter_map(|e| e.path()?.to_str()).collect();
    let names = ["s[4294967295].tar.zst", "s[0700].tar.zst", "s[0009].tar.zst", "s[0003].tar.zst"];
    assert_eq!(told, names.map(|name| format!("{TO}/{name}")));
    junk(&sim, "s[0020].parity");
    junk(&sim, "s[4294967295].parity");
    junk(&sim, "s[4294967294-0001].log");
    assert_eq!(next(&sim, &[]), 21, "what has no header counts within a bound");
    assert_eq!(next(&sim, &[40, u32::MAX]), 41, "and so does a history that people edit");
    assert_eq!(look(&sim).next_number("other", []).unwrap().number, 1);
}

#[test]
fn the_last_number_of_all_ends_nothing() {
    let sim = ground();
    archive(&sim, "s[4294967295].tar.zst", ("s", u32::MAX), None);
    archive(&sim, "s[0001].tar.zst", ("s", 1), None);
    assert_eq!(next(&sim, &[]), 2, "the first that is free");
}

#[test]
fn a_name_that_the_header_contradicts_is_told() {
    let sim = ground();
    archive(&sim, "s[0001].tar.zst", ("s", 1), None);
    archive(&sim, "t[0001].tar.zst", ("s", 1), None);
    archive(&sim, "s[0002].inc.tar.zst", ("s", 2), None);
    let found = look(&sim);
    let good: Vec<String> = found
        .archives()
        .iter()
        .filter(|one| one.is_as_named())
        .map(|one| one.name().to_string())
        .collect();
    assert_eq!(good, ["s[0001].tar.zst"]);
    let why = found.at(&Path::new(TO).join("t[0001].tar.zst")).unwrap().contradiction().unwrap();
    assert!(why.contains("s[0001].tar.zst"), "{why}");
}

#[test]
fn a_chain_is_found_by_seals_whatever_the_names_are() {
    let sim = ground();
    archive(&sim, "moved[0077].tar.zst", ("s", 1), None);
    let seal = look(&sim).archives()[0].seal().unwrap().to_owned();
    archive(&sim, "s[0002].inc.tar.zst", ("s", 2), Some(&seal));
    junk(&sim, "s[0001].tar.zst");
    let found = look(&sim);
    let child = found.at(&Path::new(TO).join("s[0002].inc.tar.zst")).unwrap();
    let names: Vec<String> =
        found.chain(child).unwrap().iter().map(|one| one.name().to_string()).collect();
    assert_eq!(names, ["s[0002].inc.tar.zst", "moved[0077].tar.zst"]);
    sim.remove_file(&Path::new(TO).join("moved[0077].tar.zst")).unwrap();
    let found = look(&sim);
    let child = found.at(&Path::new(TO).join("s[0002].inc.tar.zst")).unwrap();
    let missing = found.chain(child).err().expect("its parent is not there");
    assert_eq!((missing.kind(), missing.code()), (ErrorKind::NotFound, code::PARENT));
}

#[test]
fn a_folder_creates_whole_objects_once_and_deletes_them_for_good() {
    let sim = ground();
    sim.sync_dir(Path::new("/")).unwrap();
    let disk: Arc<dyn Disk> = sim.clone();
    let folder = Folder::new(&disk, Path::new(TO));
    let content = |out: &mut dyn std::io::Write| {
        out.write_all(b"con").and_then(|()| out.write_all(b"tent")).expect("room");
        Ok(())
    };
    folder.create("a", 7, &mut { content }).unwrap();
    let taken = folder.create("a", 7, &mut { content }).unwrap_err();
    assert_eq!(taken.kind(), ErrorKind::Exists);
    let failed = folder.create("b", 7, &mut |_| Err(crate::Error::new(ErrorKind::Busy, "no")));
    assert_eq!(failed.unwrap_err().kind(), ErrorKind::Busy);
    let after = sim.reboot(crate::disk::Survival::Nothing);
    let disk: Arc<dyn Disk> = after.clone();
    let folder = Folder::new(&disk, Path::new(TO));
    let listed = folder.list().unwrap();
    assert_eq!(listed, [Object { name: "a".to_owned(), bytes: Some(7) }]);
    let mut read = [0; 7];
    folder.read("a").unwrap().read_exact_at(&mut read, 0).unwrap();
    assert_eq!(&read, b"content");
    folder.delete(&["a", "missing"]).unwrap();
    let disk: Arc<dyn Disk> = after.reboot(crate::disk::Survival::Nothing);
    assert!(Folder::new(&disk, Path::new(TO)).list().unwrap().is_empty());
}
