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
