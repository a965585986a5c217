//! The engine as a whole, on the simulated disk, against a model.

mod apply;
mod closing;
mod faults;
mod races;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::disk::{Call, Disk, Fault, FaultPlan, SimDisk, Survival};
use crate::error::{ErrorKind, Result};

const DIR: &str = "/store";

fn small() -> EngineOptions {
    EngineOptions { delta_bytes: 8 << 10, segment_bytes: 16 << 10, ..EngineOptions::default() }
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
    // From the start: the first checkpoint would make room for the second.
    sim.fail(FaultPlan::always(Call::Allocate, DATA_FILE, Fault::FULL));
    let items = define(&engine, "items");
    engine.commit(put(items, "a", &[1; 4000]), Durability::Immediate).unwrap();
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

#[derive(Clone, Debug)]
enum Step {
    Commit { changes: Vec<(u8, Option<u16>)>, durable: bool },
    Checkpoint,
    Reopen,
    Crash { survival: u64 },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let change = (any::<u8>(), prop::option::weighted(0.8, 0..2000u16));
    let step = prop_oneof![
        12 => (prop::collection::vec(change, 1..12), any::<bool>())
            .prop_map(|(changes, durable)| Step::Commit { changes, durable }),
        2 => Just(Step::Checkpoint),
        1 => Just(Step::Reopen),
        2 => any::<u64>().prop_map(|survival| Step::Crash { survival }),
    ];
    prop::collection::vec(step, 1..60)
}

type Model = BTreeMap<Vec<u8>, Vec<u8>>;

/// History as the model knows it: what the table held after each commit, and what is surely there.
struct History {
    states: Vec<(Lsn, Model)>,
    durable: Lsn,
}

impl History {
    fn last(&self) -> &Model {
        &self.states.last().unwrap().1
    }

    /// After a crash the store must be at one of the commits, not before the last durable one. What
    /// was found is not made durable by having been found: the next crash may take it.
    fn settle_on(&mut self, lsn: Lsn, found: &Model) {
        assert!(lsn >= self.durable, "commit {} was durable, found {lsn}", self.durable);
        let at = self.states.iter().position(|(l, _)| *l == lsn).expect("a commit that was made");
        assert_eq!(&self.states[at].1, found, "the store at commit {lsn}");
        self.states.truncate(at + 1);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn any_history_with_crashes_ends_at_one_of_its_commits(steps in steps(), seed in any::<u64>()) {
        let mut sim = SimDisk::new(seed);
        let mut engine = create(&sim);
        let items = define(&engine, "items");
        let mut history = History { states: vec![(1, Model::new())], durable: 1 };
        for step in steps {
            match step {
                Step::Commit { changes, durable } => {
                    let mut next = history.last().clone();
                    let changes: BTreeMap<u8, Option<u16>> = changes.into_iter().collect();
                    let mut batch = Batch::default();
                    for (key, value) in changes {
                        let value = value.map(|len| vec![key ^ len as u8; usize::from(len)]);
                        match &value {
                            Some(value) => next.insert(vec![key], value.clone()),
                            None => next.remove(&vec![key]),
                        };
                        batch.push(items, Box::new([key]), value.map(Into::into));
                    }
                    let durability =
                        if durable { Durability::Immediate } else { Durability::Eventual };
                    let lsn = engine.commit(batch, durability).unwrap().lsn;
                    history.states.push((lsn, next));
                    if durable {
                        history.durable = lsn;
                    }
                }
                Step::Checkpoint => {
                    history.durable = engine.checkpoint().unwrap();
                }
                Step::Reopen => {
                    engine.close().unwrap();
                    engine = open(&sim).unwrap();
                    history.durable = history.states.last().unwrap().0;
                }
                Step::Crash { survival } => {
                    sim.crash_now();
                    drop(engine);
                    let survival = match survival % 4 {
                        0 => Survival::Nothing,
                        1 => Survival::Everything,
                        _ => Survival::Random(survival),
                    };
                    sim = sim.reboot(survival);
                    engine = open(&sim).unwrap();
                    let found = contents(&engine.snapshot().unwrap(), items);
                    history.settle_on(engine.visible_lsn(), &found);
                }
            }
            prop_assert_eq!(&contents(&engine.snapshot().unwrap(), items), history.last());
        }
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

fn open_with(sim: &Arc<SimDisk>, delta_bytes: usize) -> Result<Engine> {
    let disk: Arc<dyn Disk> = sim.clone();
    Engine::open(disk, Path::new(DIR), EngineOptions { delta_bytes, ..small() })
}

/// Flips a bit in the last group of the log, which then looks like a torn tail.
fn tear_the_log(sim: &SimDisk) {
    let path = Path::new(DIR).join(LOG_DIR).join("0000000000000001.log");
    let bytes = crate::disk::atomic::read_whole(sim, &path, 1 << 20).unwrap();
    let last = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    sim.corrupt(&path, last as u64, 0).unwrap();
}

/// A replay may seal a delta that ends before the timeline of the last commit began. A checkpoint of
/// it that claimed that timeline made the next opening take the store's own log for a foreign one.
#[test]
fn a_checkpoint_made_from_a_replay_is_on_the_timeline_of_its_own_commit() {
    let sim = SimDisk::new(1);
    create(&sim).close().unwrap();
    let engine = open_with(&sim, 1 << 20).unwrap();
    let items = define(&engine, "items");
    for i in 0..40 {
        let key = format!("{i:03}");
        engine.commit(put(items, &key, &[i; 100]), Durability::Immediate).unwrap();
    }
    sim.crash_now();
    drop(engine);
    let sim = sim.reboot(Survival::Everything);
    tear_the_log(&sim);
    let engine = open_with(&sim, 1 << 20).unwrap();
    assert_eq!(engine.visible_lsn(), 40);
    engine.commit(put(items, "fork", b"!"), Durability::Immediate).unwrap();
    sim.crash_now();
    drop(engine);
    let sim = sim.reboot(Survival::Everything);
    for call in 1..150 {
        let sim = sim.image();
        sim.crash_at(call);
        if let Ok(engine) = open_with(&sim, 512) {
            while !sim.crashed() && engine.stats().deltas > 1 {
                std::thread::yield_now();
            }
            sim.crash_now();
        }
        let sim = sim.reboot(Survival::Everything);
        let engine = open_with(&sim, 512).unwrap_or_else(|e| panic!("call {call}: {e}"));
        assert_eq!(contents(&engine.snapshot().unwrap(), items).len(), 40, "call {call}");
    }
}

/// The newest meta may be one that a killed process wrote and did not sync. Log segments that were
/// removed because of it left a store that could not be opened after a power cut.
#[test]
fn a_checkpoint_that_was_not_seen_durable_lets_no_segment_go() {
    for call in 1..200 {
        let sim = SimDisk::new(call);
        create(&sim).close().unwrap();
        let engine = open_with(&sim, 1 << 20).unwrap();
        let items = define(&engine, "items");
        for i in 0..3 {
            engine.commit(put(items, &format!("{i}"), b"v"), Durability::Immediate).unwrap();
            engine.end_segment().unwrap();
        }
        sim.crash_at(call);
        let _crashed = engine.checkpoint();
        let over = !sim.crashed();
        sim.crash_now();
        drop(engine);
        // The process is killed, the next one opens the store as it stands in the cache, ...
        let sim = sim.reboot(Survival::Everything);
        let engine = open(&sim).unwrap();
        engine.keep_log_from(Some(4));
        engine.trim_log();
        sim.crash_now();
        drop(engine);
        // ... and then the power goes: a removed name may be gone, and what was written not be there.
        for seed in 0..16 {
            let sim = sim.reboot(Survival::Random(seed));
            let engine = open(&sim).unwrap_or_else(|error| panic!("call {call}: {error}"));
            assert_eq!(contents(&engine.snapshot().unwrap(), items).len(), 3, "call {call}");
        }
        if over {
            return;
        }
    }
    panic!("the checkpoint was never let through");
}
