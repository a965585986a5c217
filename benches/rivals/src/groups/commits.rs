//! Commits of small transactions: durable, and relaxed.

use crate::bench::{Bench, Latencies, on_threads, scratch};
use crate::data::{Data, Dice, Record};
use crate::peers::{self, PEERS, Peer};
use crate::table::{Series, Table, interleaved, per_second, ratio, time};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

/// Transactions prepared for each thread; they are used over and over.
const PREPARED: u64 = 2000;

/// One record to a commit, synced before it returns, by 1, 8 and 32 threads.
pub fn durable(bench: &Bench) -> Vec<Table> {
    let (dir, data) = (scratch(), bench.data());
    let peers = peers::loaded(dir.path(), &data);
    let disk = Overwrites::new(dir.path());
    let title = format!("Durable commits of one record, into {} records", data.records);
    let mut head = vec!["", "overwrite + fdatasync"];
    head.extend(PEERS.iter().map(|(name, _)| *name));
    head.extend(["ratio", "goal"]);
    let mut table = Table::new(title, &head);
    let mut waits = Table::new(
        "Durable commits: how long one takes (stillpoint)",
        &["", "p50", "p99", "longest", "longest / p50", "goal", "longest overwrite + fdatasync"],
    );
    let mut alone = Series::default();
    for threads in [1, 8, 32] {
        let work = prepared(&data, threads, 1);
        let mut last = [const { Vec::new() }; 5];
        let series = interleaved(bench.rounds, peers.len() + 1, |i| {
            let all = match i {
                0 => on_threads(threads, |thread| disk.run(bench, thread)),
                i => on_threads(threads, |thread| {
                    commits(bench, &*peers[i - 1], &work[thread], true)
                }),
            };
            let all = Latencies::joined(all.0);
            if i == 0 {
                last[4].push(all.longest());
            }
            if i == 1 {
                let figures = [all.at(0.5), all.at(0.99), all.longest()];
                figures.iter().zip(&mut last).for_each(|(x, list)| list.push(*x));
                last[3].push(all.longest() / all.at(0.5));
            }
            all.rate()
        });
        if threads == 1 {
            alone = series[0].clone();
        }
        push(&mut table, threads, &series, &alone);
        let mut cells = vec![format!("{threads} thr")];
        cells.extend(last[..3].iter().map(|list| Series(list.clone()).show(time)));
        cells.push(Series(last[3].clone()).show(ratio));
        cells.push(if threads == 1 { "-" } else { "< 10 x" }.to_owned());
        cells.push(Series(last[4].clone()).show(time));
        waits.row(cells);
    }
    table.note("Baseline: 256 bytes written over a preallocated, synced file, then fdatasync, in each thread.");
    table.note("Ratio: 1 thread, to the baseline; 8 and 32 threads, to the ideal grouping: threads x the baseline's rate of 1 thread.");
    vec![table, waits]
}

fn push(table: &mut Table, threads: usize, series: &[Series], alone: &Series) {
    let ideal = Series(alone.0.iter().map(|rate| rate * threads as f64).collect());
    let mut cells = vec![format!("{threads} thr")];
    cells.extend(series.iter().map(|series| series.show(per_second)));
    cells.push(series[1].over(&ideal).show(ratio));
    cells.push(if threads == 1 { ">= 0.9 x" } else { ">= 0.25 x" }.to_owned());
    table.row(cells);
}

/// One and 100 records to a commit, synced some time later, by one thread.
pub fn relaxed(bench: &Bench) -> Vec<Table> {
    let (dir, data) = (scratch(), bench.data());
    let peers = peers::loaded(dir.path(), &data);
    let title = format!("Relaxed commits, 1 thread, into {} records", data.records);
    let mut table = peers::table(title);
    for per_commit in [1, 100] {
        let work = prepared(&data, 1, per_commit);
        let series = interleaved(bench.rounds, peers.len(), |i| {
            let run = |thread: usize| commits(bench, &*peers[i], &work[thread], false);
            let (all, _) = on_threads(1, run);
            all[0].rate() * per_commit as f64
        });
        let best = series[1..].iter().max_by(|a, b| a.median().total_cmp(&b.median()));
        let best = best.expect("there are rivals");
        let mut cells = vec![format!("{per_commit} per commit, records")];
        cells.extend(series.iter().map(|series| series.show(per_second)));
        cells.extend([series[0].over(best).show(ratio), "> 1 x".to_owned()]);
        table.row(cells);
    }
    table.note("Ratio: to the best rival. redb's relaxed commits do not survive the death of the process; the others' do.");
    vec![table]
}

/// Transactions for each thread.
fn prepared(data: &Data, threads: usize, per_commit: u64) -> Vec<Vec<Vec<Record>>> {
    let of_thread = |thread| {
        let mut dice = Dice::new(thread as u64 + 100);
        (0..PREPARED).map(|_| data.some_records(per_commit, &mut dice)).collect()
    };
    (0..threads).map(of_thread).collect()
}

fn commits(bench: &Bench, peer: &dyn Peer, work: &[Vec<Record>], durable: bool) -> Latencies {
    /// How many phases there have been.
    static PHASES: AtomicU64 = AtomicU64::new(0);
    let mut stamp = PHASES.fetch_add(1, Ordering::Relaxed) << 32;
    let (mut work, mut next) = (work.to_vec(), 0);
    Latencies::of(bench.phase, || {
        // SQLite writes and syncs nothing where a record is as it was: each value is a new one.
        let records = &mut work[next];
        records.iter_mut().for_each(|(_, value)| value[..8].copy_from_slice(&stamp.to_le_bytes()));
        peer.commit(records, durable);
        (stamp, next) = (stamp + 1, (next + 1) % PREPARED as usize);
    })
}

/// What the disk alone gives: the bytes of a commit over bytes that are there, and fdatasync.
struct Overwrites {
    files: Vec<File>,
}

impl Overwrites {
    const BYTES: usize = 256;
    const FILE: u64 = 16 << 20;

    fn new(dir: &Path) -> Overwrites {
        let file = |i| {
            let file = File::create(dir.join(format!("overwritten-{i}"))).unwrap();
            file.write_all_at(&vec![1; Self::FILE as usize], 0).unwrap();
            file.sync_all().unwrap();
            file
        };
        Overwrites { files: (0..32).map(file).collect() }
    }

    fn run(&self, bench: &Bench, thread: usize) -> Latencies {
        let (file, mut at) = (&self.files[thread], 0);
        Latencies::of(bench.phase, || {
            file.write_all_at(&[7; Self::BYTES], at).unwrap();
            file.sync_data().unwrap();
            at = (at + Self::BYTES as u64) % Self::FILE;
        })
    }
}
