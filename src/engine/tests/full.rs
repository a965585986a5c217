//! Small disks and full ones: what is taken, what is refused, and how a store gets out of it.

use super::*;

const SMALL_DISK: u64 = 60 << 20;

fn open_default(sim: &Arc<SimDisk>) -> Result<Engine> {
    let disk: Arc<dyn Disk> = sim.clone();
    Engine::open(disk, Path::new(DIR), EngineOptions::default())
}

fn key_of(n: u32) -> String {
    format!("{:08}", u64::from(n) * 7_919_993 % 100_000_007)
}

fn delete(table: TableId, keys: impl Iterator<Item = u32>) -> Batch {
    let mut keys: Vec<_> = keys.map(key_of).collect();
    keys.sort();
    let mut batch = Batch::default();
    keys.iter().for_each(|key| batch.push(table, key.as_bytes().into(), None));
    batch
}

/// Stores records until the disk takes no more; tells how many it took.
fn fill(engine: &Engine, table: TableId) -> u32 {
    for first in (0..).step_by(20) {
        let mut keys: Vec<_> = (first..first + 20).map(key_of).collect();
        keys.sort();
        let mut batch = Batch::default();
        for key in &keys {
            batch.push(table, key.as_bytes().into(), Some(vec![1; 1500].into()));
        }
        match engine.commit(batch, Durability::Eventual) {
            Ok(_) => {}
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::StorageFull, "{error}");
                assert!(error.advice().is_some(), "{error:?}");
                return first;
            }
        }
    }
    unreachable!("the disk is never full")
}

/// Commits a put again and again until there is room.
fn commit_soon(engine: &Engine, table: TableId) {
    soon(engine, || put(table, "again", b"!"));
}

/// Commits again and again until there is room.
fn soon(engine: &Engine, batch: impl Fn() -> Batch) {
    for _ in 0..600 {
        match engine.commit(batch(), Durability::Immediate) {
            Ok(_) => return,
            Err(error) => assert_eq!(error.kind(), ErrorKind::StorageFull, "{error}"),
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("commits are refused though there is room: {:?}", engine.stats());
}

#[test]
fn a_small_disk_fills_up_takes_deletes_and_then_takes_records_again() {
    let sim = SimDisk::new(1);
    sim.set_capacity(SMALL_DISK);
    let disk: Arc<dyn Disk> = sim.clone();
    let engine = Engine::create(disk, Path::new(DIR), EngineOptions::default()).unwrap();
    let items = define(&engine, "items");
    let stored = fill(&engine, items);
    assert!(u64::from(stored) * 1500 > SMALL_DISK / 4, "{stored} records fit");
    for first in (0..stored / 2).step_by(500) {
        let batch = || delete(items, first..(first + 500).min(stored / 2));
        match first {
            0 => drop(engine.commit(batch(), Durability::Immediate).unwrap()),
            // What the first took of the reserve comes back with a checkpoint in the background.
            _ => soon(&engine, batch),
        }
    }
    engine.checkpoint().unwrap();
    commit_soon(&engine, items);
    let left = (stored - stored / 2) as usize + 1;
    assert_eq!(engine.snapshot().unwrap().len(items).unwrap(), left as u64);
    engine.close().unwrap();
    let engine = open_default(&sim).unwrap();
    assert_eq!(engine.snapshot().unwrap().len(items).unwrap(), left as u64);
}

#[test]
fn a_store_on_a_disk_that_others_filled_takes_a_delete() {
    let sim = SimDisk::new(1);
    sim.set_capacity(SMALL_DISK);
    create(&sim).close().unwrap();
    let engine = open_default(&sim).unwrap();
    let items = define(&engine, "items");
    for n in 0..50 {
        engine.commit(put(items, &key_of(n), &[1; 1000]), Durability::Immediate).unwrap();
    }
    engine.close().unwrap();
    let other = Path::new("/other");
    let file = sim.open(other, crate::disk::OpenMode::CreateNew).unwrap();
    let free = sim.free_space(Path::new("/")).unwrap();
    file.allocate(0, free).unwrap();
    assert_eq!(sim.free_space(Path::new("/")).unwrap(), 0);
    let engine = open_default(&sim).unwrap();
    let refused = engine.commit(put(items, "more", b"!"), Durability::Immediate).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::StorageFull, "{refused}");
    engine.commit(delete(items, 0..20), Durability::Immediate).unwrap();
    engine.close().unwrap();
    let engine = open_default(&sim).unwrap();
    assert_eq!(engine.snapshot().unwrap().len(items).unwrap(), 30);
    sim.remove_file(other).unwrap();
    drop(file);
    commit_soon(&engine, items);
}

#[test]
fn a_commit_refused_for_want_of_room_says_what_to_do_wherever_it_was_met() {
    for place in [DATA_FILE, "log/"] {
        let sim = SimDisk::new(1);
        let engine = create(&sim);
        let items = define(&engine, "items");
        let full = FaultPlan::always(Call::Allocate, place, Fault::FULL);
        sim.fail(full);
        let refused = (0..10_000)
            .find_map(|n| {
                engine.commit(put(items, &key_of(n), &[1; 4000]), Durability::Eventual).err()
            })
            .expect("there is no room");
        assert_eq!(refused.kind(), ErrorKind::StorageFull, "{place}: {refused}");
        assert!(refused.advice().is_some(), "{place}: {refused:?}");
    }
}

#[test]
fn a_small_store_takes_little_room() {
    let sim = SimDisk::new(1);
    sim.set_capacity(1 << 40);
    let disk: Arc<dyn Disk> = sim.clone();
    let engine = Engine::create(disk, Path::new(DIR), EngineOptions::default()).unwrap();
    let before = sim.free_space(Path::new("/")).unwrap();
    define(&engine, "items");
    let taken = before - sim.free_space(Path::new("/")).unwrap();
    // A segment, the next one, and the reserve.
    assert!(taken <= (1 << 20) + (2 << 20) + (2 << 20) + (64 << 10), "{taken} bytes");
}
