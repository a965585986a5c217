//! The memory budget: what the deltas hold while a store runs, and while its log is read.

use std::sync::Arc;

use super::super::look::{inspect, survey};
use super::*;

const BUDGET: usize = 6 << 20;
const RECORDS: u32 = 3000;
const VALUE: usize = 4000;

fn options(budget: usize) -> EngineOptions {
    EngineOptions { memory_budget: Some(budget), ..EngineOptions::default() }
}

fn open_within(sim: &Arc<SimDisk>, budget: usize) -> Result<Engine> {
    let disk: Arc<dyn Disk> = sim.clone();
    Engine::open(disk, Path::new(DIR), options(budget))
}

/// A store that was killed with `records` commits in its log and none in its tree.
fn killed(records: u32, value: usize) -> (Arc<SimDisk>, TableId) {
    let sim = SimDisk::new(1);
    let disk: Arc<dyn Disk> = sim.clone();
    let options = EngineOptions { segment_bytes: 256 << 10, ..options(1 << 30) };
    let engine = Engine::create(disk, Path::new(DIR), options).unwrap();
    let items = define(&engine, "items");
    for i in 0..records {
        let batch = put(items, &format!("{:06}", i * 7919 % 100_003), &vec![i as u8; value]);
        engine.commit(batch, Durability::Eventual).unwrap();
    }
    assert_eq!(engine.stats().checkpoint_lsn, 0);
    sim.crash_now();
    drop(engine);
    (sim.reboot(Survival::Everything), items)
}

#[test]
fn a_log_that_holds_more_than_the_budget_is_recovered_within_it() {
    let (sim, items) = killed(RECORDS, VALUE);
    let all = contents(&open_within(&sim.image(), 1 << 30).unwrap().snapshot().unwrap(), items);
    assert_eq!(all.len(), RECORDS as usize);
    let engine = open_within(&sim, BUDGET).unwrap();
    let stats = engine.stats();
    assert!(stats.peak_delta_bytes <= stats.memory_budget_bytes, "{stats:?}");
    assert!(
        stats.peak_delta_bytes > stats.memory_budget_bytes / 3,
        "it was made use of: {stats:?}"
    );
    assert!(stats.checkpoint_lsn > u64::from(RECORDS) / 2, "{stats:?}");
    assert_eq!(contents(&engine.snapshot().unwrap(), items), all);
    assert_eq!(engine.visible_lsn(), u64::from(RECORDS) + 1);
    engine.commit(put(items, "last", b"!"), Durability::Immediate).unwrap();
    engine.close().unwrap();
    let engine = open_within(&sim, BUDGET).unwrap();
    assert_eq!(contents(&engine.snapshot().unwrap(), items).len(), all.len() + 1);
}

#[test]
fn a_crash_at_any_call_of_a_recovery_beyond_the_budget_changes_nothing() {
    let (sim, items) = killed(600, 1500);
    let whole = open_within(&sim.image(), 1 << 30).unwrap();
    let (all, position) = (contents(&whole.snapshot().unwrap(), items), whole.position());
    let budget = 900 << 10;
    for call in 1.. {
        let crashing = sim.image();
        crashing.crash_at(call);
        let opened = open_within(&crashing, budget).is_ok();
        let survivals = [Survival::Everything, Survival::Nothing, Survival::Random(call)];
        let survival = survivals[call as usize % survivals.len()];
        let again = open_within(&crashing.reboot(survival), budget);
        let again = again.unwrap_or_else(|error| panic!("call {call}, {survival:?}: {error}"));
        // The kill left commits that no sync had covered; the power may take them.
        let found = contents(&again.snapshot().unwrap(), items);
        assert!(found.iter().all(|record| all.get(record.0) == Some(record.1)), "call {call}");
        if survival == Survival::Everything {
            assert_eq!((found.len(), again.position()), (all.len(), position), "call {call}");
        }
        if opened {
            assert!(again.stats().checkpoint > 2, "the recovery made checkpoints");
            return;
        }
    }
}

#[test]
fn who_only_looks_writes_nothing_and_is_refused_beyond_the_budget() {
    let (sim, items) = killed(RECORDS, VALUE);
    let disk: Arc<dyn Disk> = sim.clone();
    let dir = Path::new(DIR);
    sim.fail(FaultPlan::always(Call::Write, "", Fault::IO));
    sim.fail(FaultPlan::always(Call::Sync, "", Fault::IO));
    sim.fail(FaultPlan::always(Call::Remove, "", Fault::IO));
    let refused = inspect(&disk, dir, &options(BUDGET)).err().unwrap();
    assert_eq!(refused.kind(), ErrorKind::Limit, "{refused}");
    assert!(refused.advice().is_some());
    let whole = inspect(&disk, dir, &options(1 << 30)).unwrap();
    assert_eq!(contents(&whole, items).len(), RECORDS as usize);
    drop(whole);
    assert_eq!(survey(&disk, dir).unwrap().lsn, u64::from(RECORDS) + 1);
}

#[test]
fn a_running_store_keeps_to_the_budget() {
    let sim = SimDisk::new(1);
    create(&sim).close().unwrap();
    let engine = open_within(&sim, BUDGET).unwrap();
    let items = define(&engine, "items");
    for i in 0..RECORDS {
        let batch = put(items, &format!("{:06}", i * 7919 % 100_003), &vec![i as u8; VALUE]);
        engine.commit(batch, Durability::Eventual).unwrap();
    }
    let stats = engine.stats();
    assert_eq!(stats.memory_budget_bytes, BUDGET as u64);
    assert!(stats.peak_delta_bytes <= stats.memory_budget_bytes, "{stats:?}");
    assert!(stats.checkpoints > 1, "{stats:?}");
}
