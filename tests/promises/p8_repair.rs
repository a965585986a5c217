//! Repair: what a checksum vouches for comes back, also where the way to it is lost, and what does not is
//! in the report.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use serde_json::Value as Json;
use stillpoint::disk::{Disk, SimDisk, Survival};
use stillpoint::{ErrorKind, MissingRange, Mode, Store, StoreRepair, StoreRepairReport, TableDef};

use crate::scene::{ITEMS, STORE, Scene, TO, all, files, open, put, read_file, spoil};

const NOTES: TableDef<str, String> = TableDef::new("notes");
const NEW: &str = "/repaired";
const PAGE: u64 = 4096;

type Records = BTreeMap<u64, String>;

fn data() -> &'static Path {
    Path::new("/inventory/store.data")
}

/// A closed store whose records are all in pages, and those of the table `items`. Some pages are free.
fn scene(records: u64) -> (Arc<SimDisk>, Records) {
    let scene = Scene::new(Mode::Server, records);
    scene.store.checkpoint().unwrap();
    for key in (0..records).step_by(5) {
        put(&scene.store, key, &"longer ".repeat(30)).unwrap();
    }
    put(&scene.store, 3, &"in pages of its own ".repeat(1000)).unwrap();
    let write = scene.store.begin_write().unwrap();
    write.table(NOTES).unwrap().put("note", &"a note".to_owned()).unwrap();
    for key in 100..140 {
        write.table(ITEMS).unwrap().delete(&key).unwrap();
    }
    write.commit().unwrap();
    scene.store.checkpoint().unwrap();
    let expected = items(&scene.store);
    scene.store.close().unwrap();
    (scene.sim.reboot(Survival::Everything), expected)
}

fn repair(sim: &Arc<SimDisk>) -> StoreRepair {
    StoreRepair::new(STORE, NEW).disk(sim.clone())
}

fn repaired(sim: &Arc<SimDisk>) -> (StoreRepairReport, Store) {
    let report = repair(sim).run().unwrap();
    let store = open(sim, NEW).unwrap();
    store.verify().unwrap();
    (report, store)
}

fn items(store: &Store) -> Records {
    all(store).into_iter().collect()
}

fn note(store: &Store) -> Option<String> {
    store.begin_read().unwrap().table(NOTES).unwrap().get("note").unwrap()
}

/// A bound in hexadecimal digits, as keys compare.
fn digits(bound: &Json) -> String {
    match bound {
        Json::Number(number) => format!("{:016x}", number.as_u64().unwrap()),
        Json::String(text) => text.strip_prefix("0x").unwrap().to_owned(),
        other => panic!("{other}"),
    }
}

fn holds(range: &MissingRange, key: u64) -> bool {
    let key = format!("{key:016x}");
    range.from.as_ref().is_none_or(|from| digits(from) <= key)
        && range.to.as_ref().is_none_or(|to| key < digits(to))
}

#[test]
fn a_sound_store_is_repaired_without_a_loss_and_stays_as_it_is() {
    let (sim, mut expected) = scene(2000);
    let store = open(&sim, STORE).unwrap();
    // A commit that no page has.
    put(&store, 5, "of the log").unwrap();
    let lsn = store.lsn();
    expected.insert(5, "of the log".to_owned());
    let sim = sim.reboot(Survival::Everything);
    drop(store);
    let before = files(&sim, STORE);
    let (report, store) = repaired(&sim);
    assert!(report.is_complete(), "{report:?}");
    assert_eq!((report.log_commits, report.log_end, report.found_leaves), (1, Some(lsn), 0));
    assert_eq!(items(&store), expected);
    assert_eq!(note(&store).as_deref(), Some("a note"));
    let mut after = files(&sim, STORE);
    let lock = Path::new("/inventory/lock");
    after.insert(lock.to_path_buf(), before[lock].clone());
    assert!(after == before, "the damaged store is left as it is");
    put(&store, 1, "goes on").unwrap();
    store.backup(TO).name("repaired").run().unwrap();
    assert_eq!(repair(&sim).run().unwrap_err().kind(), ErrorKind::Exists);
}

/// One flipped bit in each page of the file in turn.
#[test]
fn whichever_page_is_damaged_all_others_come_back_and_the_report_says_what_does_not() {
    let (start, expected) = scene(1500);
    // Without its log, which would bring back what the page held.
    for name in start.list(Path::new("/inventory/log")).unwrap() {
        start.remove_file(&Path::new("/inventory/log").join(name)).unwrap();
    }
    let pages = read_file(&start, data()).len() as u64 / PAGE;
    let (mut whole, mut partly, mut by_themselves) = (0, 0, 0);
    for page in 0..pages {
        let sim = start.image();
        sim.corrupt(data(), page * PAGE + 200, 3).unwrap();
        let (report, store) = repaired(&sim);
        if report.tables.iter().any(|table| table.definition_lost) {
            // The only page of the catalogue: the records are there, and nothing tells what they are.
            let records = report.tables.iter().map(|table| table.records).max();
            assert_eq!(records, Some(expected.len() as u64), "page {page}: {report:?}");
            assert!(!report.is_complete() && report.tables.len() == 2);
            partly += 1;
            continue;
        }
        let found = items(&store);
        for (key, value) in &found {
            assert_eq!(expected.get(key), Some(value), "page {page}: key {key} is as it was");
        }
        let table = report.tables.iter().find(|table| table.name == "items");
        let table = table.unwrap_or_else(|| panic!("page {page}: {report:?}"));
        let absent: Vec<u64> =
            expected.keys().filter(|key| !found.contains_key(key)).copied().collect();
        assert_eq!(table.records, found.len() as u64);
        assert_eq!(table.missing, Some(absent.len() as u64), "page {page}: {report:?}");
        for key in &absent {
            let told = table.missing_ranges.iter().any(|range| holds(range, *key))
                || table.lost_values.contains(&Json::from(*key));
            assert!(told, "page {page}: key {key} is missing, and nothing says so: {report:?}");
        }
        let complete = absent.is_empty() && note(&store).is_some();
        assert_eq!(report.is_complete(), complete, "page {page}: {report:?}");
        whole += u32::from(complete);
        partly += u32::from(!complete);
        by_themselves += u32::from(report.found_leaves > 1);
    }
    // Leaves are lost alone; above them nothing is.
    assert!(partly > 10 && whole > 3, "{whole} {partly}");
    assert!(by_themselves > 0, "an inner page was among them");
}

#[test]
fn without_metas_all_leaves_come_back_by_their_own_checksums() {
    let (sim, expected) = scene(1500);
    for place in (0..2 * PAGE).step_by(64) {
        sim.corrupt(data(), place, 1).unwrap();
    }
    assert!(open(&sim, STORE).is_err());
    let (report, store) = repaired(&sim);
    assert_eq!((report.checkpoint_lsn, report.is_complete()), (None, false));
    assert!(report.uncertain, "nothing tells pages in use from others: {report:?}");
    let found = items(&store);
    assert_eq!(expected.keys().find(|key| found.get(key) != expected.get(key)), None);
    assert_eq!(note(&store).as_deref(), Some("a note"));
}

#[test]
fn what_a_lost_page_held_comes_back_from_the_log_where_that_is_kept() {
    let scene = Scene::new(Mode::Server, 0);
    put(&scene.store, 1000, "makes the table").unwrap();
    scene.store.backup(TO).run().unwrap();
    for key in 0..400 {
        put(&scene.store, key, &format!("item {key} {}", "x".repeat(100))).unwrap();
    }
    let write = scene.store.begin_write().unwrap();
    for key in 0..50 {
        write.table(ITEMS).unwrap().delete(&key).unwrap();
    }
    write.commit().unwrap();
    scene.store.checkpoint().unwrap();
    let mut expected = items(&scene.store);
    scene.store.close().unwrap();
    let sim = scene.sim.reboot(Survival::Everything);
    // All leaves of the table; the catalogue is small and comes by itself.
    let bytes = read_file(&sim, data());
    let mut damaged = 0;
    for page in 2..bytes.len() as u64 / PAGE {
        let begin = (page * PAGE) as usize;
        if bytes[begin] == 1 && bytes[begin + 8..begin + 12] != [0; 4] {
            sim.corrupt(data(), page * PAGE + 100, 2).unwrap();
            damaged += 1;
        }
    }
    assert!(damaged > 5);
    let (report, store) = repaired(&sim);
    // The log is kept after this one.
    expected.remove(&1000);
    let mut found = items(&store);
    found.remove(&1000);
    assert_eq!(found, expected, "{report:?}");
    let table = report.tables.iter().find(|table| table.name == "items").unwrap();
    assert!(table.missing.is_some_and(|missing| missing <= 1), "{report:?}");
}

#[test]
fn a_file_of_which_nothing_is_left_is_an_error_and_leaves_nothing_behind() {
    let (sim, _) = scene(300);
    spoil(&sim, data());
    let error = repair(&sim).run().unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Unsupported), "{error}");
    let (sim, _) = scene(300);
    let stopped = repair(&sim).on_progress(|_| ControlFlow::Break(())).run().unwrap_err();
    assert_eq!((stopped.kind(), stopped.code()), (ErrorKind::Stopped, 1406));
    let names = sim.list(Path::new("/")).unwrap();
    assert!(names.iter().all(|name| !name.to_string_lossy().starts_with("repaired")), "{names:?}");
}
