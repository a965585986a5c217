//! The engine as a whole, on the simulated disk.

mod apply;
mod budget;
mod checkpoints;
mod closing;
mod faults;
mod full;
mod model;
mod races;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::disk::{Call, Disk, Fault, FaultPlan, SimDisk, Survival};
use crate::error::{ErrorKind, Result};

const DIR: &str = "/store";

fn small() -> EngineOptions {
    EngineOptions {
        memory_budget: Some(24 << 10),
        segment_bytes: 16 << 10,
        ..EngineOptions::default()
    }
}

fn open(sim: &Arc<SimDisk>) -> Result<Engine> {
    let disk: Arc<dyn Disk> = sim.clone();
    Engine::open(disk, Path::new(DIR), small())
}

fn create(sim: &Arc<SimDisk>) -> Engine {
    let disk: Arc<dyn Disk> = sim.clone();
    Engine::create(disk, Path::new(DIR), small()).unwrap()
}

fn table(id: TableId, name: &str) -> TableInfo {
    let (key_encoding, value_encoding) = ("bytes".into(), "bytes".into());
    TableInfo { id, name: name.into(), key_encoding, value_encoding }
}

fn define(engine: &Engine, name: &str) -> TableId {
    let id = engine.new_table_id();
    let mut batch = Batch::default();
    batch.define(&table(id, name));
    engine.commit(batch, Durability::Immediate).unwrap();
    id
}

fn put(table: TableId, key: &str, value: &[u8]) -> Batch {
    let mut batch = Batch::default();
    batch.push(table, key.as_bytes().into(), Some(value.to_vec().into()));
    batch
}

/// Every record of a table, read forwards and backwards and one by one.
fn contents(snapshot: &Snapshot, table: TableId) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut cursor = snapshot.cursor(table);
    cursor.first().unwrap();
    while let Some(key) = cursor.key().map(<[u8]>::to_vec) {
        let value = cursor.value().unwrap().unwrap().to_vec();
        assert_eq!(snapshot.get(table, &key).unwrap().as_deref(), Some(&value[..]));
        found.insert(key, value);
        cursor.next().unwrap();
    }
    let mut backwards = Vec::new();
    cursor.last().unwrap();
    while let Some(key) = cursor.key().map(<[u8]>::to_vec) {
        backwards.push(key);
        cursor.prev().unwrap();
    }
    backwards.reverse();
    assert_eq!(backwards, found.keys().cloned().collect::<Vec<_>>());
    assert_eq!(snapshot.len(table).unwrap(), found.len() as u64);
    found
}

#[test]
fn a_commit_is_seen_by_later_snapshots_only_and_survives_reopening() {
    let sim = SimDisk::new(1);
    let engine = create(&sim);
    let items = define(&engine, "items");
    let before = engine.snapshot().unwrap();
    let info = engine.commit(put(items, "a", b"1"), Durability::Immediate).unwrap();
    assert_eq!(info.lsn, 2);
    assert_eq!(before.get(items, b"a").unwrap().as_deref(), None);
    assert_eq!(engine.snapshot().unwrap().get(items, b"a").unwrap().as_deref(), Some(&b"1"[..]));
    engine.close().unwrap();
    let again = engine.commit(put(items, "b", b"2"), Durability::Immediate).unwrap_err();
    assert_eq!(again.kind(), ErrorKind::Closed);
    assert_eq!(before.get(items, b"a").unwrap().as_deref(), None);
    drop(before);
    let engine = open(&sim).unwrap();
    assert_eq!(engine.snapshot().unwrap().get(items, b"a").unwrap().as_deref(), Some(&b"1"[..]));
    assert_eq!(engine.snapshot().unwrap().catalogue().by_name("items").unwrap().id, items);
    assert_eq!(engine.visible_lsn(), 2);
}

#[test]
fn a_second_opening_is_refused_and_says_who_has_the_store() {
    let sim = SimDisk::new(1);
    let engine = create(&sim);
    let error = open(&sim).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::InUse);
    assert!(error.message().contains(&std::process::id().to_string()), "{error}");
    drop(engine);
    open(&sim).unwrap();
}

#[test]
fn opening_never_creates_and_creating_never_overwrites() {
    let sim = SimDisk::new(1);
    assert_eq!(open(&sim).err().unwrap().kind(), ErrorKind::NotFound);
    create(&sim).close().unwrap();
    let disk: Arc<dyn Disk> = sim.clone();
    let error = Engine::create(disk.clone(), Path::new(DIR), small()).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Exists);
    sim.create_dir(Path::new("/other")).unwrap();
    sim.open(Path::new("/other/mine.txt"), crate::disk::OpenMode::CreateNew).unwrap();
    let error = Engine::create(disk, Path::new("/other"), small()).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Exists);
}

#[test]
fn a_pin_holds_exactly_the_commits_before_it() {
    let sim = SimDisk::new(1);
    let engine = create(&sim);
    let items = define(&engine, "items");
    for i in 0..50 {
        engine.commit(put(items, &format!("{i:03}"), b"x"), Durability::Eventual).unwrap();
    }
    let pin = engine.pin().unwrap();
    for i in 50..200 {
        engine.commit(put(items, &format!("{i:03}"), &[7; 200]), Durability::Eventual).unwrap();
    }
    let checkpoint = loop {
        if let Some(checkpoint) = pin.checkpoint(Duration::from_secs(5)).unwrap() {
            break checkpoint;
        }
    };
    assert_eq!((pin.lsn(), checkpoint.lsn()), (51, 51));
    let pinned = Snapshot::of_checkpoint(checkpoint).unwrap();
    engine.checkpoint().unwrap();
    assert_eq!(contents(&pinned, items).len(), 50);
    assert_eq!(contents(&engine.snapshot().unwrap(), items).len(), 200);
    // With nothing new, a pin is the checkpoint that is there.
    let again = engine.pin().unwrap().checkpoint(Duration::from_secs(5)).unwrap().unwrap();
    assert_eq!(again.lsn(), engine.visible_lsn());
}

#[test]
fn a_dropped_table_takes_its_records_along_and_its_number_never_comes_back() {
    let sim = SimDisk::new(1);
    let engine = create(&sim);
    let old = define(&engine, "items");
    engine.commit(put(old, "a", b"1"), Durability::Immediate).unwrap();
    let before = engine.snapshot().unwrap();
    let mut batch = Batch::default();
    batch.drop_table(old);
    engine.commit(batch, Durability::Immediate).unwrap();
    assert!(engine.snapshot().unwrap().catalogue().by_name("items").is_none());
    assert!(before.catalogue().by_name("items").is_some());
    let short_lived = define(&engine, "short-lived");
    let mut batch = Batch::default();
    batch.drop_table(short_lived);
    engine.commit(batch, Durability::Immediate).unwrap();
    engine.close().unwrap();
    assert_eq!(before.get(old, b"a").unwrap().as_deref(), Some(&b"1"[..]));
    drop(before);
    let engine = open(&sim).unwrap();
    assert!(engine.new_table_id() > short_lived, "a number was used twice");
}

#[test]
fn a_full_disk_refuses_writes_and_goes_on_when_there_is_room() {
    let sim = SimDisk::new(1);
    let engine = create(&sim);
    let items = define(&engine, "items");
    sim.set_capacity(600 << 10);
    let mut stored = 0;
    let error = loop {
        let batch = put(items, &format!("{stored:06}"), &[stored as u8; 900]);
        match engine.commit(batch, Durability::Immediate) {
            Ok(_) => stored += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::StorageFull, "{error}");
    assert!(error.is_retryable() && engine.latched().is_none(), "{error}");
    assert_eq!(contents(&engine.snapshot().unwrap(), items).len(), stored);
    sim.set_capacity(u64::MAX);
    let last = loop {
        match engine.commit(put(items, "last", b"!"), Durability::Immediate) {
            Ok(info) => break info,
            Err(error) => assert_eq!(error.kind(), ErrorKind::StorageFull, "{error}"),
        }
        std::thread::yield_now();
    };
    assert!(last.lsn as usize > stored);
    engine.close().unwrap();
    assert_eq!(contents(&open(&sim).unwrap().snapshot().unwrap(), items).len(), stored + 1);
}

#[test]
fn a_failed_sync_latches_the_store_and_the_outcome_is_unknown() {
    let sim = SimDisk::new(1);
    let engine = create(&sim);
    let items = define(&engine, "items");
    engine.commit(put(items, "a", b"1"), Durability::Immediate).unwrap();
    // The segment that is written, not the one that is prepared beside it.
    sim.fail(FaultPlan::once(Call::Sync, "0001.log", Fault::IO));
    let error = engine.commit(put(items, "b", b"2"), Durability::Immediate).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OutcomeUnknown, "{error}");
    let error = engine.commit(put(items, "c", b"3"), Durability::Immediate).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ReadOnly, "{error}");
    assert_eq!(engine.snapshot().unwrap().get(items, b"a").unwrap().as_deref(), Some(&b"1"[..]));
}

#[test]
fn a_pin_whose_checkpoint_finds_no_room_does_not_wait_past_the_close() {
    let sim = SimDisk::new(1);
    let engine = create(&sim);
    // From the start: the first checkpoint would make room for the second. The first commit is the only
    // one, since a checkpoint that finds no room may come at once, and then records are refused.
    sim.fail(FaultPlan::always(Call::Allocate, DATA_FILE, Fault::FULL));
    define(&engine, "items");
    let pin = engine.pin().unwrap();
    assert_eq!(engine.close().unwrap_err().kind(), ErrorKind::StorageFull);
    assert_eq!(pin.checkpoint(Duration::ZERO).err().map(|e| e.kind()), Some(ErrorKind::Closed));
}

#[test]
fn a_pin_taken_while_the_checkpointer_gives_up_is_of_no_older_commit() {
    let sim = SimDisk::new(1);
    let engine = create(&sim);
    let hang = sim.hang(DATA_FILE);
    define(&engine, "items");
    let meeting = Rendezvous::new(2, Duration::from_secs(60));
    std::thread::scope(|scope| {
        let pin = scope.spawn(|| engine.pin_at(meeting.clone())?.checkpoint(Duration::MAX));
        // The line is held: the seal has seen that the store is not latched.
        meeting.turn(1, &mut || Ok(())).unwrap();
        sim.fail(FaultPlan::always(Call::Sync, DATA_FILE, Fault::IO).any_call());
        drop(hang);
        while engine.latched().is_none() {
            std::thread::yield_now();
        }
        std::thread::sleep(Duration::from_millis(20));
        meeting.hold(|| Duration::ZERO).unwrap();
        let checkpoint = pin.join().unwrap();
        assert!(checkpoint.is_err(), "{:?}", checkpoint.map(|c| c.map(|c| c.lsn())));
    });
}

#[test]
fn what_is_acknowledged_while_the_store_closes_is_there_afterwards() {
    for seed in 0..100 {
        let sim = SimDisk::new(seed);
        let engine = create(&sim);
        let items = define(&engine, "items");
        std::thread::scope(|scope| {
            let write = |writer: u8| {
                let mut acknowledged = 0;
                while let Ok(info) =
                    engine.commit(put(items, "a", &[writer]), Durability::Immediate)
                {
                    acknowledged = info.lsn;
                }
                acknowledged
            };
            let writers: Vec<_> = (0..4).map(|writer| scope.spawn(move || write(writer))).collect();
            while engine.visible_lsn() < 10 {
                std::thread::yield_now();
            }
            engine.close().unwrap();
            let after = open(&sim).unwrap().visible_lsn();
            for writer in writers {
                let acknowledged = writer.join().unwrap();
                assert!(acknowledged <= after, "{acknowledged} of {after}, seed {seed}");
            }
        });
    }
}

#[test]
fn a_store_is_not_opened_anew_while_a_snapshot_of_its_old_self_still_reads() {
    let sim = SimDisk::new(1);
    let engine = create(&sim);
    let items = define(&engine, "items");
    engine.commit(put(items, "a", b"1"), Durability::Immediate).unwrap();
    let snapshot = engine.snapshot().unwrap();
    engine.close().unwrap();
    assert_eq!(open(&sim).err().unwrap().kind(), ErrorKind::InUse);
    assert_eq!(snapshot.get(items, b"a").unwrap().as_deref(), Some(&b"1"[..]));
    drop(snapshot);
    open(&sim).unwrap();
}
