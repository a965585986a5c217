//! The gate and the locks of records, against what others lock with.

use crate::bench::{Bench, on_threads};
use crate::data::Dice;
use crate::table::{Table, interleaved, per_second, ratio};
use parking_lot::RwLock;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;
use stillpoint::lock::{LockManager, LockOptions, Mode, WriteRequest};

const THREADS: [usize; 2] = [1, 2];

fn manager() -> Arc<LockManager> {
    let start = Instant::now();
    LockManager::new(LockOptions::new(Arc::new(move || start.elapsed())))
}

/// Operations a second of all threads together.
fn rate(threads: usize, count: u64, work: impl Fn(u64) + Sync) -> f64 {
    let (_, seconds) = on_threads(threads, |_| (0..count).for_each(&work));
    (count * threads as u64) as f64 / seconds
}

/// What a read and a write pass on their way in, while no backup is there.
pub fn gate(bench: &Bench) -> Vec<Table> {
    let (locks, rival) = (manager(), RwLock::new(0_u64));
    let count = if bench.quick { 1_000_000 } else { 20_000_000 };
    let mut table = Table::new(
        "The gate while it is open",
        &["", "stillpoint", "parking_lot RwLock read", "ratio", "goal"],
    );
    for threads in THREADS {
        let series = interleaved(bench.rounds, 4, |i| match i {
            0 => rate(threads, count, |_| locks.check_read().expect("the gate is open")),
            1 => rate(threads, count, |_| {
                black_box(*black_box(&rival).read());
            }),
            2 => rate(threads, count, |_| {
                drop(black_box(locks.try_enter().expect("the gate is open")));
            }),
            _ => rate(threads, count / 4, |_| {
                drop(black_box(locks.begin_write(WriteRequest::default()).unwrap()));
            }),
        });
        for (what, i, goal) in [
            ("read check", 0, ">= 20 x"),
            ("write entry and exit", 2, ">= 2 x"),
            ("an owner, begun and ended", 3, "-"),
        ] {
            table.row([
                format!("{what}, {threads} thr"),
                series[i].show(per_second),
                series[1].show(per_second),
                series[i].over(&series[1]).show(ratio),
                goal.to_owned(),
            ]);
        }
    }
    vec![table]
}

const KEYS: u64 = 1_000_000;

/// A lock on one of a million records, taken and released; half of them shared, half exclusive.
pub fn record_locks(bench: &Bench) -> Vec<Table> {
    let locks = manager();
    let dash: dashmap::DashMap<u64, u64> = (0..KEYS).map(|key| (key, key)).collect();
    let scc: scc::HashMap<u64, u64> = scc::HashMap::new();
    for key in 0..KEYS {
        scc.insert_sync(key, key).expect("each key is inserted once");
    }
    let mut table = Table::new(
        "Record locks, 1 M keys, 50:50 shared and exclusive",
        &["", "stillpoint", "dashmap", "scc", "ratio to the better", "goal"],
    );
    let count = if bench.quick { 200_000 } else { 4_000_000 };
    for threads in THREADS {
        let series = interleaved(bench.rounds, 4, |i| {
            let seconds = match i {
                0 => on_threads(threads, |seed| one_owner_each(&locks, count, seed)).1,
                1 => on_threads(threads, |seed| an_owner_for_many(&locks, count, seed)).1,
                2 => on_threads(threads, |seed| in_dashmap(&dash, count, seed)).1,
                _ => on_threads(threads, |seed| in_scc(&scc, count, seed)).1,
            };
            (count * threads as u64) as f64 / seconds
        });
        let better = if series[2].median() > series[3].median() { 2 } else { 3 };
        for (what, i) in [("an owner for each lock", 0), ("an owner for 100 locks", 1)] {
            table.row([
                format!("{what}, {threads} thr"),
                series[i].show(per_second),
                series[2].show(per_second),
                series[3].show(per_second),
                series[i].over(&series[better]).show(ratio),
                "> 1 x".to_owned(),
            ]);
        }
    }
    table.note("Stillpoint's are locks of transactions: with intents above, kept until the owner ends, seen by the search for deadlocks. The maps' are guards of one entry.");
    vec![table]
}

fn mode(dice: u64) -> Mode {
    if dice.is_multiple_of(2) { Mode::S } else { Mode::X }
}

fn one_owner_each(locks: &Arc<LockManager>, count: u64, seed: usize) {
    let mut dice = Dice::new(seed as u64);
    for _ in 0..count {
        let owner = locks.begin_write(WriteRequest::default()).unwrap();
        let key = dice.below(KEYS).to_be_bytes();
        owner.lock_record(1, &key, mode(dice.next())).unwrap();
    }
}

/// Each thread keeps to records of its own parity, so that owners of many locks do not deadlock.
fn an_owner_for_many(locks: &Arc<LockManager>, count: u64, seed: usize) {
    let mut dice = Dice::new(seed as u64);
    for _ in 0..count / 100 {
        let owner = locks.begin_write(WriteRequest::default()).unwrap();
        for _ in 0..100 {
            let key = (dice.below(KEYS / 2) * 2 + seed as u64).to_be_bytes();
            owner.lock_record(1, &key, mode(dice.next())).unwrap();
        }
    }
}

fn in_dashmap(map: &dashmap::DashMap<u64, u64>, count: u64, seed: usize) {
    let mut dice = Dice::new(seed as u64);
    for _ in 0..count {
        let key = dice.below(KEYS);
        if mode(dice.next()) == Mode::S {
            black_box(*map.get(&key).expect("every key is there"));
        } else {
            *map.get_mut(&key).expect("every key is there") += 1;
        }
    }
}

fn in_scc(map: &scc::HashMap<u64, u64>, count: u64, seed: usize) {
    let mut dice = Dice::new(seed as u64);
    for _ in 0..count {
        let key = dice.below(KEYS);
        if mode(dice.next()) == Mode::S {
            map.read_sync(&key, |_, value| black_box(*value)).expect("every key is there");
        } else {
            *map.get_sync(&key).expect("every key is there").get_mut() += 1;
        }
    }
}
