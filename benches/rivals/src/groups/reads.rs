//! Point reads and the full scan, everything in the page cache.

use crate::bench::{Bench, on_threads, scratch, timed};
use crate::data::{Data, Dice};
use crate::peers::{self, LMDB, PEERS, Peer, Stillpoint};
use crate::table::{Series, Table, interleaved, per_second, ratio};

/// Reads that one snapshot serves.
const PER_SNAPSHOT: usize = 1000;

/// Point reads by one and two threads: from the tree alone, with half a delta above it, and with a
/// handle for each.
pub fn reads(bench: &Bench) -> Vec<Table> {
    let (dir, data) = (scratch(), bench.data());
    let peers = peers::loaded(dir.path(), &data);
    let mut table = peers::table(format!("Point reads, {} records", data.records));
    table.note("Ratio: to LMDB. 1000 reads to a snapshot but where a handle for each is said.");
    let in_snapshot = |peer: &dyn Peer, keys: &[Vec<u8>]| -> usize {
        keys.chunks(PER_SNAPSHOT).map(|keys| peer.read_in_snapshot(keys)).sum()
    };
    let each = |peer: &dyn Peer, keys: &[Vec<u8>]| peer.read_each(keys);
    for threads in [1, 2] {
        let what = format!("get, delta empty, {threads} thr");
        row(bench, &mut table, &peers, &data, threads, &what, ">= 1.2 x", in_snapshot);
        let what = format!("a handle per get, {threads} thr");
        row(bench, &mut table, &peers, &data, threads, &what, ">= 1.0 x", each);
    }
    drop(peers);
    let stillpoint = half_full(bench, dir.path(), &data);
    table.note(stillpoint.1);
    let mut peers: Vec<Box<dyn Peer>> = vec![Box::new(stillpoint.0)];
    peers.extend(PEERS[1..].iter().map(|(_, open)| open(dir.path())));
    for threads in [1, 2] {
        let what = format!("get, delta half full, {threads} thr");
        row(bench, &mut table, &peers, &data, threads, &what, ">= 1.0 x", in_snapshot);
    }
    vec![table]
}

/// Opens the loaded store and writes records anew until its delta is half full.
fn half_full(bench: &Bench, dir: &std::path::Path, data: &Data) -> (Stillpoint, String) {
    let stillpoint = Stillpoint::open(dir);
    let mut dice = Dice::new(7);
    let cap = stillpoint.store.stats().engine.delta_cap_bytes;
    let goal = (cap / 2).min(bench.records * 40);
    while stillpoint.store.stats().engine.active_delta_bytes < goal {
        stillpoint.commit(&data.some_records(100, &mut dice), false);
    }
    stillpoint.sync();
    let stats = stillpoint.store.stats().engine;
    let note = format!("Half full: {:.1} MB in the delta.", stats.active_delta_bytes as f64 / 1e6);
    (stillpoint, note)
}

#[expect(clippy::too_many_arguments, reason = "a row is described by all of these")]
fn row(
    bench: &Bench,
    table: &mut Table,
    peers: &[Box<dyn Peer>],
    data: &Data,
    threads: usize,
    what: &str,
    goal: &str,
    read: impl Fn(&dyn Peer, &[Vec<u8>]) -> usize + Sync,
) {
    let count = if bench.quick { 20_000 } else { 300_000 };
    let keys: Vec<_> = (0..threads as u64).map(|seed| data.some_keys(count, seed)).collect();
    let series = interleaved(bench.rounds, peers.len(), |i| {
        let work = |thread: usize| read(&*peers[i], &keys[thread]);
        let (found, seconds) = on_threads(threads, work);
        let expected = count as usize * data.value_len;
        assert!(found.iter().all(|bytes| *bytes == expected), "{what}: every key is there");
        (count * threads as u64) as f64 / seconds
    });
    push(table, what, &series, goal);
}

fn push(table: &mut Table, what: &str, series: &[Series], goal: &str) {
    let mut cells = vec![what.to_owned()];
    cells.extend(series.iter().map(|series| series.show(per_second)));
    cells.extend([series[0].over(&series[LMDB]).show(ratio), goal.to_owned()]);
    table.row(cells);
}

/// A walk over all records.
pub fn scan(bench: &Bench) -> Vec<Table> {
    let (dir, data) = (scratch(), bench.data());
    let peers = peers::loaded(dir.path(), &data);
    let mut table = peers::table(format!("Full scan, {} records", data.records));
    table.note("Records a second in key order, keys and values looked at. Ratio: to LMDB.");
    let series = interleaved(bench.rounds * 2, peers.len(), |i| {
        let ((records, _), seconds) = timed(|| peers[i].scan());
        assert_eq!(records as u64, data.records, "a scan sees every record");
        records as f64 / seconds
    });
    push(&mut table, "scan, 1 thr", &series, ">= 1.0 x");
    vec![table]
}
