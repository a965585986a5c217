//! The engine's delta beside a skip list: what holds the newest commits in memory.

use crate::bench::{Bench, on_threads, timed};
use crate::data::{Dice, Record};
use crate::engine::Change;
use crate::engine::delta::{Delta, DeltaChange, DeltaWriter};
use crate::table::{Series, Table, interleaved, megabytes, per_second, ratio};
use crossbeam_skiplist::SkipMap;
use std::cmp::Reverse;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

const TABLE: u32 = 1;
/// Readers read at this LSN, the newest.
const NEWEST: u64 = u64::MAX;
/// How many records are sorted before they are inserted, as a commit of a load is.
const BATCH: usize = 10_000;

/// Versions of records, ordered by table, key and LSN, newest first.
trait Versions: Send + Sync {
    fn insert(&self, key: &[u8], lsn: u64, value: &[u8]);
    /// Reads all keys; returns how many bytes of values were found.
    fn read(&self, keys: &[Vec<u8>]) -> usize;
    /// Walks over all records; returns how many bytes of values there are.
    fn walk(&self) -> usize;
}

/// Ours has one writer, which is the leader of the commit line in the engine.
struct Ours {
    delta: Arc<Delta>,
    writer: Mutex<DeltaWriter>,
}

impl Versions for Ours {
    fn insert(&self, key: &[u8], lsn: u64, value: &[u8]) {
        self.writer.lock().unwrap().insert(TABLE, key, lsn, DeltaChange::Put(value));
    }

    fn read(&self, keys: &[Vec<u8>]) -> usize {
        let get =
            |key: &Vec<u8>| self.delta.get_hashed(Delta::hash(TABLE, key), TABLE, key, NEWEST);
        keys.iter().filter_map(|key| get(key).map(len_of)).sum()
    }

    fn walk(&self) -> usize {
        let (mut cursor, mut bytes) = (self.delta.cursor(NEWEST), 0);
        let mut there = cursor.seek_ge(TABLE, &[]);
        while there {
            bytes += cursor.current().map_or(0, |(_, _, _, change)| len_of(change));
            there = cursor.next();
        }
        bytes
    }
}

fn len_of(change: Change<'_>) -> usize {
    match change {
        Change::Put(value) => value.len(),
        Change::Delete => 0,
    }
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Name {
    table: u32,
    key: Vec<u8>,
    lsn: Reverse<u64>,
}

#[derive(Default)]
struct SkipList(SkipMap<Name, Box<[u8]>>);

impl Versions for SkipList {
    fn insert(&self, key: &[u8], lsn: u64, value: &[u8]) {
        let name = Name { table: TABLE, key: key.to_vec(), lsn: Reverse(lsn) };
        self.0.insert(name, value.into());
    }

    fn read(&self, keys: &[Vec<u8>]) -> usize {
        // One name serves all reads, so that they allocate nothing.
        let mut name = Name { table: TABLE, key: Vec::new(), lsn: Reverse(NEWEST) };
        let mut bytes = 0;
        for key in keys {
            name.key.clone_from(key);
            let found = self.0.lower_bound(std::ops::Bound::Included(&name));
            bytes += found.filter(|at| at.key().key == *key).map_or(0, |at| at.value().len());
        }
        bytes
    }

    fn walk(&self) -> usize {
        self.0.iter().map(|entry| entry.value().len()).sum()
    }
}

fn made(i: usize) -> Box<dyn Versions> {
    if i == 1 {
        return Box::new(SkipList::default());
    }
    let (delta, writer) = Delta::new();
    Box::new(Ours { delta, writer: Mutex::new(writer) })
}

fn fill(versions: &dyn Versions, records: &[Record]) {
    for (lsn, (key, value)) in records.iter().enumerate() {
        versions.insert(key, lsn as u64 + 1, value);
    }
}

/// Inserts, reads and walks, of half as many records as the run has: what a delta may hold.
pub fn delta(bench: &Bench) -> Vec<Table> {
    let data = bench.data();
    let count = data.records / 2;
    let records: Vec<Record> = (0..count).map(|i| data.record(i, 0)).collect();
    let mut batches = records.clone();
    batches.chunks_mut(BATCH).for_each(<[Record]>::sort);
    let title = format!("The delta beside a skip list, {count} records of 150 bytes");
    let mut table = Table::new(title, &["", "delta", "crossbeam-skiplist", "ratio", "goal"]);
    for (what, records) in [("inserts, sorted by batches", &batches), ("inserts", &records)] {
        let series = interleaved(bench.rounds, 2, |i| {
            let versions = made(i);
            let ((), seconds) = timed(|| fill(&*versions, records));
            count as f64 / seconds
        });
        push(&mut table, what, &series);
    }
    let both = [made(0), made(1)];
    both.iter().for_each(|versions| fill(&**versions, &records));
    let keys = |seed: u64| -> Vec<Vec<u8>> {
        let mut dice = Dice::new(seed);
        (0..count).map(|_| data.key(dice.below(count))).collect()
    };
    let keys = [keys(1), keys(2)];
    for threads in [1, 2] {
        let series = interleaved(bench.rounds, 2, |i| {
            let (found, seconds) = on_threads(threads, |thread| both[i].read(&keys[thread]));
            let all = count as usize * data.value_len;
            assert!(found.iter().all(|bytes| *bytes == all), "every key is there");
            (count * threads as u64) as f64 / seconds
        });
        push(&mut table, &format!("reads, {threads} thr"), &series);
    }
    let absent: Vec<Vec<u8>> = (count..2 * count).map(|i| data.key(i)).collect();
    let series = interleaved(bench.rounds, 2, |i| {
        let (found, seconds) = timed(|| both[i].read(&absent));
        assert_eq!(found, 0, "no key is there");
        count as f64 / seconds
    });
    push(&mut table, "reads of what is not there", &series);
    let series = interleaved(bench.rounds, 2, |i| {
        let (bytes, seconds) = timed(|| both[i].walk());
        assert_eq!(bytes, count as usize * data.value_len, "a walk sees every record");
        count as f64 / seconds
    });
    push(&mut table, "walk in order", &series);
    drop(both);
    let [written, read] = together(bench, &records, &keys[0]);
    push(&mut table, "inserts, a reader beside", &written);
    push(&mut table, "reads, a writer beside", &read);
    let bytes: usize = records.iter().map(|(key, value)| key.len() + value.len()).sum();
    table.note(format!(
        "{} of keys and values, in random order; one writer. Ours has a filter, which answers for most of \
         what is not there.",
        megabytes(bytes as f64)
    ));
    vec![table]
}

/// A writer that inserts all records, and a reader of whatever is there so far.
fn together(bench: &Bench, records: &[Record], keys: &[Vec<u8>]) -> [Vec<Series>; 2] {
    let mut read = vec![Series::default(); 2];
    let written = interleaved(bench.rounds, 2, |i| {
        let (versions, done, reads) = (made(i), AtomicBool::new(false), AtomicU64::new(0));
        let (_, seconds) = on_threads(2, |thread| {
            if thread == 0 {
                fill(&*versions, records);
                return done.store(true, Ordering::Relaxed);
            }
            let mut parts = keys.chunks(100).cycle();
            while !done.load(Ordering::Relaxed) {
                versions.read(parts.next().expect("a cycle never ends"));
                reads.fetch_add(100, Ordering::Relaxed);
            }
        });
        read[i].0.push(reads.into_inner() as f64 / seconds);
        records.len() as f64 / seconds
    });
    [written, read]
}

fn push(table: &mut Table, what: &str, series: &[Series]) {
    let mut cells = vec![what.to_owned()];
    cells.extend(series.iter().map(|series| series.show(per_second)));
    cells.extend([series[0].over(&series[1]).show(ratio), "> 1 x".to_owned()]);
    table.row(cells);
}
