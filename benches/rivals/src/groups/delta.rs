//! The engine's delta beside a skip list: what holds the newest commits in memory.

use crate::bench::{Bench, on_threads, timed};
use crate::data::{Dice, Record};
use crate::engine::Change;
use crate::engine::delta::{Delta, DeltaChange, DeltaWriter};
use crate::table::{Series, Table, interleaved, megabytes, per_second, ratio};
use crossbeam_skiplist::SkipMap;
use std::cmp::Reverse;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

const TABLE: u32 = 1;
/// Readers read at this LSN, the newest.
const NEWEST: u64 = u64::MAX;
/// How many records are sorted before they are inserted, as a commit of a load is.
const BATCH: usize = 10_000;

/// Versions of records, ordered by table, key and LSN, newest first.
trait Versions: Send + Sync {
    fn insert(&self, key: &[u8], lsn: u64, value: &[u8]);
    /// Reads all keys; returns how many bytes of values were found.
    fn read(&self, keys: &[&[u8]]) -> usize;
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

    fn read(&self, keys: &[&[u8]]) -> usize {
        let get = |key: &&[u8]| self.delta.get_hashed(Delta::hash(TABLE, key), TABLE, key, NEWEST);
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

    fn read(&self, keys: &[&[u8]]) -> usize {
        // One name serves all reads, so that they allocate nothing.
        let mut name = Name { table: TABLE, key: Vec::new(), lsn: Reverse(NEWEST) };
        let mut bytes = 0;
        for key in keys {
            name.key.clear();
            name.key.extend_from_slice(key);
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
    let keys = [
        some_keys(&records, count, &mut Dice::new(1)),
        some_keys(&records, count, &mut Dice::new(2)),
    ];
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
    let absent: Vec<&[u8]> = absent.iter().map(Vec::as_slice).collect();
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
    let [written, read] = together(bench, &records);
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

/// Keys of records chosen at random.
fn some_keys<'r>(records: &'r [Record], count: u64, dice: &mut Dice) -> Vec<&'r [u8]> {
    (0..count).map(|_| &*records[dice.below(records.len() as u64) as usize].0).collect()
}

/// A writer that inserts all records, and a reader of those that are there so far.
fn together(bench: &Bench, records: &[Record]) -> [Vec<Series>; 2] {
    let mut read = vec![Series::default(); 2];
    let written = interleaved(bench.rounds, 2, |i| {
        let (versions, there) = (made(i), AtomicUsize::new(0));
        let (rates, _) = on_threads(2, |thread| {
            let start = Instant::now();
            if thread == 0 {
                for (lsn, (key, value)) in records.iter().enumerate() {
                    versions.insert(key, lsn as u64 + 1, value);
                    there.store(lsn + 1, Ordering::Release);
                }
                return records.len() as f64 / start.elapsed().as_secs_f64();
            }
            let (mut dice, mut reads) = (Dice::new(3), 0);
            loop {
                let so_far = there.load(Ordering::Acquire);
                if so_far == records.len() {
                    return reads as f64 / start.elapsed().as_secs_f64();
                }
                if so_far > 0 {
                    let found = versions.read(&some_keys(&records[..so_far], 100, &mut dice));
                    assert_eq!(found, 100 * records[0].1.len(), "what was inserted is there");
                    reads += 100;
                }
            }
        });
        read[i].0.push(rates[1]);
        rates[0]
    });
    [written, read]
}

fn push(table: &mut Table, what: &str, series: &[Series]) {
    let mut cells = vec![what.to_owned()];
    cells.extend(series.iter().map(|series| series.show(per_second)));
    cells.extend([series[0].over(&series[1]).show(ratio), "> 1 x".to_owned()]);
    table.row(cells);
}
