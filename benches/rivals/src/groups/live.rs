//! What a backup does to those who work beside it: the pin, the writer, the three accesses.

use crate::bench::{Bench, Latencies, on_threads, scratch};
use crate::data::{Data, Dice, Record};
use crate::peers::{self, Peer, Stillpoint};
use crate::table::{Series, Table, interleaved, megabytes, per_second, ratio, time};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use stillpoint::{Access, BackupReport, Compression};

fn store(dir: &Path, data: &Data) -> Stillpoint {
    let stillpoint = Stillpoint::open(dir);
    peers::load(&stillpoint, data, 0);
    stillpoint.settle();
    stillpoint
}

/// Commits of one record, over and over.
struct Writer<'s> {
    stillpoint: &'s Stillpoint,
    work: Vec<Vec<Record>>,
}

impl<'s> Writer<'s> {
    fn new(stillpoint: &'s Stillpoint, data: &Data) -> Writer<'s> {
        let mut dice = Dice::new(5);
        let work = (0..20_000).map(|_| data.some_records(1, &mut dice)).collect();
        Writer { stillpoint, work }
    }

    fn until(&self, done: impl FnMut() -> bool) -> Latencies {
        let mut next = self.work.iter().cycle();
        Latencies::until(done, || {
            self.stillpoint.commit(next.next().expect("a cycle never ends"), false);
        })
    }
}

/// One backup into a folder of its own, unverified or not, with one worker.
fn back_up(stillpoint: &Stillpoint, access: Access, verify: bool) -> BackupReport {
    let to = scratch();
    let backup = stillpoint.store.backup(to.path()).access(access).workers(1);
    backup.compression(Compression::None).verify(verify).run().unwrap()
}

/// How long the commit line stands still for the pin of a `Live` backup, with and without a writer.
pub fn pin(bench: &Bench) -> Vec<Table> {
    let (dir, data) = (scratch(), bench.data());
    let stillpoint = store(dir.path(), &data);
    let writer = Writer::new(&stillpoint, &data);
    let mut table = Table::new(
        format!("Pin of a Live backup, {} records", data.records),
        &["", "backups", "median", "longest", "goal"],
    );
    let backups = if bench.quick { 3 } else { 15 };
    for beside in [false, true] {
        let done = AtomicBool::new(false);
        let pins = std::thread::scope(|scope| {
            if beside {
                scope.spawn(|| writer.until(|| done.load(Ordering::Relaxed)));
            }
            let pin = || back_up(&stillpoint, Access::Live, false).pin.as_secs_f64();
            let pins: Vec<f64> = (0..backups).map(|_| pin()).collect();
            done.store(true, Ordering::Relaxed);
            pins
        });
        let longest = pins.iter().copied().fold(0.0, f64::max);
        table.row([
            if beside { "one writer beside it" } else { "nobody beside it" }.to_owned(),
            backups.to_string(),
            time(Series(pins).median()),
            time(longest),
            "<= 100 us".to_owned(),
        ]);
    }
    vec![table]
}

/// A writer of relaxed commits of one record, alone, and beside `Live` backups, one after another.
pub fn live(bench: &Bench) -> Vec<Table> {
    let (dir, data) = (scratch(), bench.data());
    let stillpoint = store(dir.path(), &data);
    let writer = Writer::new(&stillpoint, &data);
    let phase = if bench.quick { Duration::from_secs(1) } else { Duration::from_secs(4) };
    let mut tail = [Series::default(), Series::default()];
    let mut backups = 0;
    let series = interleaved(bench.rounds, 2, |beside| {
        let done = AtomicBool::new(false);
        let latencies = std::thread::scope(|scope| {
            if beside == 1 {
                scope.spawn(|| {
                    while !done.load(Ordering::Relaxed) {
                        back_up(&stillpoint, Access::Live, true);
                        backups += 1;
                    }
                });
            }
            let start = std::time::Instant::now();
            let (mut all, _) = on_threads(1, |_| writer.until(|| start.elapsed() > phase));
            done.store(true, Ordering::Relaxed);
            all.remove(0)
        });
        tail[beside].0.push(latencies.at(0.999));
        latencies.rate()
    });
    let mut table = Table::new(
        format!("A writer beside Live backups, {} records", data.records),
        &["", "alone", "beside backups", "ratio", "goal"],
    );
    for (what, [alone, with], show, goal) in [
        ("commits", [&series[0], &series[1]], per_second as fn(f64) -> String, ">= 0.8 x"),
        ("p99.9 of a commit", [&tail[0], &tail[1]], time, "<= 2 x"),
    ] {
        let cells = [alone.show(show), with.show(show), with.over(alone).show(ratio)];
        table.row([what].map(str::to_owned).into_iter().chain(cells).chain([goal.to_owned()]));
    }
    table.note(format!(
        "Relaxed commits of one record by one pinned thread; {backups} verified backups, None, one worker each, without a pause between them."
    ));
    vec![table]
}

/// One backup in each access, with a writer and a reader beside it.
pub fn access(bench: &Bench) -> Vec<Table> {
    let (dir, data) = (scratch(), bench.data());
    let stillpoint = store(dir.path(), &data);
    let writer = Writer::new(&stillpoint, &data);
    let keys = data.some_keys(1000, 3);
    let mut table = Table::new(
        format!(
            "A backup in each access, a writer and a reader beside it, {} records",
            data.records
        ),
        &[
            "access",
            "backup",
            "bytes",
            "hold",
            "writers' longest wait",
            "longest commit",
            "commits meanwhile",
            "longest read of 1000",
            "reads meanwhile",
        ],
    );
    for access in [Access::Live, Access::ReadOnly, Access::Frozen] {
        let done = AtomicBool::new(false);
        let is_done = || done.load(Ordering::Relaxed);
        let (report, writes, reads) = std::thread::scope(|scope| {
            let writes = scope.spawn(|| writer.until(is_done));
            let reads = scope.spawn(|| {
                Latencies::until(is_done, || assert!(stillpoint.read_in_snapshot(&keys) > 0))
            });
            let report = back_up(&stillpoint, access, true);
            done.store(true, Ordering::Relaxed);
            (report, writes.join().unwrap(), reads.join().unwrap())
        });
        table.row([
            format!("{access:?}"),
            time(report.duration.as_secs_f64()),
            megabytes(report.archive_bytes as f64),
            time(report.hold.as_secs_f64()),
            time(report.longest_wait.as_secs_f64()),
            time(writes.longest()),
            per_second(writes.rate()),
            time(reads.longest()),
            per_second(reads.rate() * keys.len() as f64),
        ]);
    }
    table.note("Verified, None, one worker; three threads on the machine's cores, unpinned. The backup's time includes the checkpoint that it begins with; the hold ends before the archive is verified.");
    vec![table]
}
