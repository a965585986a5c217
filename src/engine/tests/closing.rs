//! What a full disk at a pin and a closing engine leave to those who still have it.

use super::*;

#[test]
fn a_full_disk_at_the_end_of_a_segment_fails_the_pin_and_latches_nothing() {
    let sim = SimDisk::new(1);
    let engine = create(&sim);
    let items = define(&engine, "items");
    engine.commit(put(items, "a", b"1"), Durability::Immediate).unwrap();
    // Whoever makes checkpoints and prepares segments writes elsewhere, or is done.
    let active = Path::new(DIR).join(LOG_DIR).join("0000000000000001.log");
    sim.fail(FaultPlan::always(Call::Write, active.to_str().unwrap(), Fault::FULL));
    let full = engine.pin().err().expect("there is no room for the trailer");
    assert_eq!(full.kind(), ErrorKind::StorageFull, "{full:?}");
    assert!(engine.latched().is_none());
    sim.heal();
    engine.commit(put(items, "b", b"2"), Durability::Immediate).unwrap();
    assert_eq!(engine.pin().unwrap().lsn(), engine.visible_lsn());
    engine.close().unwrap();
    drop(engine);
    let engine = open(&sim).unwrap();
    assert_eq!(contents(&engine.snapshot().unwrap(), items).len(), 2);
}

/// Nobody keeps the folder for a snapshot of a closed engine: another one may write its pages.
#[test]
fn a_closed_engine_gives_no_snapshots() {
    let sim = SimDisk::new(1);
    let engine = create(&sim);
    let before = engine.snapshot().unwrap();
    engine.close().unwrap();
    assert_eq!(engine.snapshot().err().unwrap().kind(), ErrorKind::Closed);
    drop(before);
    open(&sim).unwrap();
}

/// The pin of a backup keeps the folder, however soon the store is closed behind it.
#[test]
fn a_pin_that_was_given_while_the_engine_closed_keeps_the_folder() {
    for round in 0..200 {
        let sim = SimDisk::new(round);
        let engine = create(&sim);
        let items = define(&engine, "items");
        engine.commit(put(items, "a", b"1"), Durability::Immediate).unwrap();
        let pin = std::thread::scope(|scope| {
            let pinning = scope.spawn(|| engine.pin());
            engine.close().unwrap();
            pinning.join().unwrap()
        });
        match pin {
            Ok(_pin) => assert_eq!(open(&sim).err().unwrap().kind(), ErrorKind::InUse),
            Err(error) => assert_eq!(error.kind(), ErrorKind::Closed),
        }
    }
}

/// Bytes of the segments.
fn log_bytes(sim: &SimDisk) -> u64 {
    let log = Path::new(DIR).join(LOG_DIR);
    let names = sim.list(&log).unwrap_or_default();
    let names = names.iter().filter(|name| super::super::log::is_segment_name(name));
    names.map(|name| sim.metadata(&log.join(name)).unwrap().len).sum()
}

/// A closed store whose log of one segment is longer than what is left where it is.
fn with_a_long_log(sim: &Arc<SimDisk>, keep: Option<Lsn>) -> (Engine, TableId) {
    create(sim).close().unwrap();
    let disk: Arc<dyn Disk> = sim.clone();
    let options = EngineOptions {
        memory_budget: Some(1 << 30),
        segment_bytes: 8 << 20,
        keep_log: keep.map(|from| crate::engine::KeptLog { from, backed_up: true }),
        ..small()
    };
    let engine = Engine::open(disk, Path::new(DIR), options).unwrap();
    let items = define(&engine, "items");
    for i in 0..40 {
        engine.commit(put(items, &format!("{i:02}"), &[i; 60_000]), Durability::Eventual).unwrap();
    }
    (engine, items)
}

#[test]
fn a_closed_store_keeps_no_log_that_its_tree_has_and_no_archive_needs() {
    let sim = SimDisk::new(1);
    let (engine, items) = with_a_long_log(&sim, None);
    let position = engine.position();
    engine.close().unwrap();
    assert!(log_bytes(&sim) < 1000, "{} bytes of log", log_bytes(&sim));
    let sim = sim.reboot(Survival::Nothing);
    for round in 1..4 {
        let engine = open(&sim).unwrap();
        assert_eq!(contents(&engine.snapshot().unwrap(), items).len(), 39 + round);
        assert_eq!((engine.position().lsn, engine.position().timeline), {
            let since = round as u64 - 1;
            (position.lsn + since, position.timeline)
        });
        engine.commit(put(items, &format!("x{round}"), b"!"), Durability::Immediate).unwrap();
        engine.close().unwrap();
    }
    let log = Path::new(DIR).join(LOG_DIR);
    for name in sim.list(&log).unwrap() {
        sim.remove_file(&log.join(name)).unwrap();
    }
    let missing = open(&sim).err().expect("a store that has committed is not without a log");
    assert_eq!(missing.code(), crate::error::code::LOG_UNAVAILABLE);
}

#[test]
fn a_log_that_an_archive_needs_stays_when_the_store_is_closed() {
    let sim = SimDisk::new(1);
    let (engine, _) = with_a_long_log(&sim, Some(0));
    engine.close().unwrap();
    assert!(log_bytes(&sim) > 2 << 20);
}

#[test]
fn a_crash_at_any_call_of_a_close_that_removes_the_log_loses_nothing() {
    let sim = SimDisk::new(1);
    let (engine, items) = with_a_long_log(&sim, None);
    engine.checkpoint().unwrap();
    engine.commit(put(items, "last", b"!"), Durability::Immediate).unwrap();
    sim.crash_now();
    drop(engine);
    let sim = sim.reboot(Survival::Everything);
    for call in 1.. {
        let crashing = sim.image();
        let engine = open(&crashing).unwrap();
        engine.checkpoint().unwrap();
        crashing.crash_at(crashing.calls() + call);
        let over = engine.close().is_ok() && !crashing.crashed();
        drop(engine);
        for survival in [Survival::Nothing, Survival::Random(call)] {
            let again = open(&crashing.reboot(survival));
            let again = again.unwrap_or_else(|error| panic!("call {call}, {survival:?}: {error}"));
            assert_eq!(contents(&again.snapshot().unwrap(), items).len(), 41, "call {call}");
            assert_eq!(again.visible_lsn(), 42, "call {call}");
        }
        if over {
            return;
        }
    }
}
