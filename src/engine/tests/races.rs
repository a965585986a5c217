//! What several threads do to one engine at a time that is easily taken apart in the middle.

use std::sync::atomic::{AtomicBool, Ordering};

use super::*;

/// An engine that seals and syncs nothing by itself.
fn lazy() -> EngineOptions {
    let eventual_sync = Duration::from_secs(3600);
    EngineOptions { memory_budget: Some(48 << 20), eventual_sync, ..small() }
}

/// The same with a table.
fn roomy(sim: &Arc<SimDisk>) -> (Engine, TableId) {
    let engine = Engine::create(sim.clone(), Path::new(DIR), lazy()).unwrap();
    let items = define(&engine, "items");
    (engine, items)
}

fn until(mut condition: impl FnMut() -> bool) {
    while !condition() {
        std::thread::yield_now();
    }
}

#[test]
fn an_empty_commit_is_as_durable_as_the_place_that_it_tells() {
    let sim = SimDisk::new(1);
    let engine = roomy(&sim).0;
    engine.commit(put(9, "a", b"1"), Durability::Eventual).unwrap();
    // The process is killed: what is in the first segment is synced once more, and goes on elsewhere.
    let sim = sim.reboot(Survival::Everything);
    let engine = Engine::open(sim.clone(), Path::new(DIR), lazy()).unwrap();
    let hang = sim.hang("0000000000000001.log");
    std::thread::scope(|scope| {
        let empty = scope.spawn(|| engine.commit(Batch::default(), Durability::Immediate));
        until(|| !hang.caught().is_empty());
        let later = engine.commit(put(9, "b", b"2"), Durability::Eventual).unwrap();
        drop(hang);
        let told = empty.join().unwrap().unwrap();
        assert_eq!((told.lsn, later.lsn), (2, 3));
        assert!(told.time < later.time);
        assert!(engine.stats().durable_lsn >= told.lsn);
    });
}

#[test]
fn a_checkpoint_that_was_made_does_not_wait_for_room_that_a_later_one_lacks() {
    let sim = SimDisk::new(1);
    let (engine, items) = roomy(&sim);
    let hang = sim.hang(DATA_FILE);
    std::thread::scope(|scope| {
        let first = scope.spawn(|| engine.checkpoint());
        until(|| !hang.caught().is_empty());
        engine.commit(put(items, "b", &[7; 300 << 10]), Durability::Immediate).unwrap();
        let pin = engine.pin().unwrap();
        // The first of them allocates once: its few pages are less than what the file grows by.
        sim.fail(FaultPlan::always(Call::Allocate, DATA_FILE, Fault::FULL).skip(1));
        drop(hang);
        let full = loop {
            match pin.checkpoint(Duration::from_millis(1)) {
                Ok(None) => {}
                Ok(Some(_)) => panic!("there was room for the later one"),
                Err(error) => break error,
            }
        };
        assert_eq!(full.kind(), ErrorKind::StorageFull, "{full:?}");
        // Never reached where it does not wait.
        let late = std::time::Instant::now() + Duration::from_secs(60);
        until(|| first.is_finished() || std::time::Instant::now() > late);
        let waited = !first.is_finished();
        sim.heal();
        assert_eq!(first.join().unwrap().unwrap(), 1);
        assert!(!waited, "it waited for the room of the later one");
    });
    until(|| engine.checkpoint().is_ok_and(|lsn| lsn == 2));
}

#[test]
fn who_closes_second_waits_until_the_store_is_closed() {
    let sim = SimDisk::new(1);
    let (engine, _) = roomy(&sim);
    let hang = sim.hang(DATA_FILE);
    let released = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let first = scope.spawn(|| engine.close());
        until(|| !hang.caught().is_empty());
        let second = scope.spawn(|| {
            engine.close().unwrap();
            assert!(released.load(Ordering::SeqCst), "the first was still at it");
            drop(open(&sim).unwrap());
        });
        (0..1000).for_each(|_| std::thread::yield_now());
        released.store(true, Ordering::SeqCst);
        drop(hang);
        second.join().unwrap();
        first.join().unwrap().unwrap();
    });
}
