//! What a checkpoint says of the history that it ends, and what goes away because of it, when the
//! process or the power goes at any of its calls.

use std::path::Path;
use std::sync::Arc;

use super::*;

fn open_with(sim: &Arc<SimDisk>, delta: usize) -> Result<Engine> {
    let disk: Arc<dyn Disk> = sim.clone();
    Engine::open(disk, Path::new(DIR), EngineOptions { memory_budget: Some(3 * delta), ..small() })
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
        engine.keep_log(Some(crate::engine::KeptLog { from: 4, backed_up: true }));
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

/// Before the first backup nobody may be there to make one: the log does not fill the disk.
#[test]
fn a_log_that_is_kept_before_the_first_backup_is_bounded_and_what_goes_is_noted() {
    use crate::engine::{KeptLog, LogCap, LogCapPolicy, OnLogDrop};
    let bound = 64 << 10;
    for set in [None, Some(32 << 10)] {
        let sim = SimDisk::new(1);
        create(&sim).close().unwrap();
        let dropped: Arc<parking_lot::Mutex<Vec<(Lsn, Lsn)>>> = Arc::default();
        let noted = dropped.clone();
        let options = EngineOptions {
            segment_bytes: 8 << 10,
            keep_log: Some(KeptLog { from: 0, backed_up: false }),
            log_before_backup: bound,
            log_cap: set.map(|bytes| LogCap { bytes, policy: LogCapPolicy::Refuse }),
            on_log_drop: Some(OnLogDrop(Arc::new(move |after, last| {
                noted.lock().push((after, last));
                Ok(())
            }))),
            ..EngineOptions::default()
        };
        let engine = Engine::open(sim.clone(), Path::new("/store"), options).unwrap();
        let items = define(&engine, "items");
        for at in 0..300 {
            let key = format!("{}", at % 3);
            engine.commit(put(items, &key, &[7; 1000]), Durability::Immediate).unwrap();
            if at % 10 == 0 {
                engine.checkpoint().unwrap();
            }
        }
        engine.checkpoint().unwrap();
        let kept = engine.stats().log_kept_bytes;
        let most = set.unwrap_or(bound.max(engine.data().stats().file_bytes));
        assert!(kept <= most + (16 << 10), "{kept} of {most} bytes");
        let dropped = dropped.lock();
        assert!(!dropped.is_empty() && dropped[0].0 == 0, "{dropped:?}");
        assert!(dropped.windows(2).all(|two| two[0].1 == two[1].0), "{dropped:?}");
        assert_eq!(engine.log_kept_from(), dropped.last().map(|(_, last)| *last));
        // With a backup the cap that was set is the one that holds.
        engine.keep_log(Some(KeptLog { from: engine.position().lsn, backed_up: true }));
        let refused = (0..300)
            .find_map(|_| engine.commit(put(items, "k", &[7; 1000]), Durability::Immediate).err());
        assert_eq!(refused.is_some(), set.is_some(), "{refused:?}");
    }
}
