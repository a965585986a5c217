//! Writing in bulk: a load, sustained overwrites, and what it all takes up on the disk.

use crate::bench::{Bench, disk_bytes, scratch, timed};
use crate::data::{Data, Dice, Packing};
use crate::peers::{self, PEERS, Peer};
use crate::table::{Series, Table, interleaved, megabytes, per_second, ratio};
use std::time::{Duration, Instant};

/// All records in random order, in transactions of 10,000, then one sync; and until nothing is left
/// to do in the background.
pub fn load(bench: &Bench) -> Vec<Table> {
    let data = bench.data();
    let mut settled = vec![Series::default(); PEERS.len()];
    let series = interleaved(bench.few_rounds(), PEERS.len(), |i| {
        let dir = scratch();
        let peer = PEERS[i].1(dir.path());
        let ((), loaded) = timed(|| peers::load(&*peer, &data, 0));
        let ((), more) = timed(|| peer.settle());
        settled[i].0.push(data.records as f64 / (loaded + more));
        data.records as f64 / loaded
    });
    let ((), making) = timed(|| (0..data.records).for_each(|i| drop(data.record(i, 0))));
    let mut table = peers::table(format!("Load of {} records in random order", data.records));
    for (what, series) in [("until synced", &series), ("until merged", &settled)] {
        push(&mut table, what, series, if what == "until synced" { "> 1 x" } else { "stated" });
    }
    table.note(format!(
        "Records a second. Ratio: to the best rival. Making the records is in it, for each: {making:.2} s."
    ));
    vec![table]
}

/// Records chosen at random, written anew for a while, 100 to a relaxed commit, and then one sync.
pub fn overwrites(bench: &Bench) -> Vec<Table> {
    let (dir, data) = (scratch(), bench.data());
    let peers = peers::loaded(dir.path(), &data);
    let title = format!("Sustained random overwrites of {} records", data.records);
    let mut table = peers::table(title);
    let phase = Duration::from_secs(if bench.quick { 1 } else { 15 });
    let mut amplified = vec![Series::default(); peers.len()];
    let mut dice = Dice::new(11);
    let series = interleaved(bench.few_rounds(), peers.len(), |i| {
        let (before, start, mut written) = (bytes_written(), Instant::now(), 0);
        while start.elapsed() < phase {
            peers[i].commit(&data.some_records(100, &mut dice), false);
            written += 100;
        }
        peers[i].settle();
        let seconds = start.elapsed().as_secs_f64();
        let logical = written * (data.value_len as u64 + 20);
        amplified[i].0.push((bytes_written() - before) as f64 / logical as f64);
        written as f64 / seconds
    });
    push(&mut table, "records, until merged", &series, "> 1 x");
    let mut cells = vec!["bytes written / bytes of records".to_owned()];
    cells.extend(amplified.iter().map(|series| series.show(ratio)));
    cells.extend(["".to_owned(), "stated".to_owned()]);
    table.row(cells);
    table.note(format!(
        "Each for {} s at a time, 100 records to a commit. Ratio: to the best rival. Bytes written: what the kernel counts for the process.",
        phase.as_secs()
    ));
    vec![table]
}

fn push(table: &mut Table, what: &str, series: &[Series], goal: &str) {
    let best = series[1..].iter().max_by(|a, b| a.median().total_cmp(&b.median()));
    let mut cells = vec![what.to_owned()];
    cells.extend(series.iter().map(|series| series.show(per_second)));
    cells.push(series[0].over(best.expect("there are rivals")).show(ratio));
    cells.push(goal.to_owned());
    table.row(cells);
}

/// Bytes that this process has caused to be written to the disk.
fn bytes_written() -> u64 {
    let text = std::fs::read_to_string("/proc/self/io").unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("write_bytes: "));
    line.and_then(|bytes| bytes.parse().ok()).expect("the kernel counts bytes written")
}

/// What the files take up, against the bytes of keys and values.
pub fn space(bench: &Bench) -> Vec<Table> {
    let data = bench.data();
    let mut table = Table::new(
        format!("Space, {} records ({} of keys and values)", data.records, logical(&data)),
        &["", "after load", "of it log", "ratio", "goal", "after 3 overwrites", "ratio", "goal"],
    );
    for (i, (name, open)) in PEERS.iter().enumerate() {
        let dir = scratch();
        let peer = open(dir.path());
        peers::load(&*peer, &data, 0);
        peer.settle();
        let (first, log) = (disk_bytes(peer.dir()), log_bytes(&*peer, i));
        (1..4).for_each(|version| peers::load(&*peer, &data, version));
        peer.settle();
        let (last, last_log) = (disk_bytes(peer.dir()), log_bytes(&*peer, i));
        let over = |bytes: u64| ratio(bytes as f64 / data.logical_bytes() as f64);
        let goals = if i == 0 { ["<= 1.3 x", "<= 2 x"] } else { ["-", "-"] };
        table.row([
            (*name).to_owned(),
            megabytes(first as f64),
            megabytes(log as f64),
            over(first - log),
            goals[0].to_owned(),
            megabytes(last as f64),
            over(last - last_log),
            goals[1].to_owned(),
        ]);
    }
    table.note("Blocks on the disk while the store is open, after it merged what it had. Ratio: to keys and values, the log apart.");
    vec![table]
}

fn logical(data: &Data) -> String {
    assert!(data.packing == Packing::Random, "space is measured with data that does not pack");
    megabytes(data.logical_bytes() as f64)
}

/// Bytes of the log: ours has a folder, SQLite's is a file beside; the others have none.
fn log_bytes(peer: &dyn Peer, i: usize) -> u64 {
    use std::os::unix::fs::MetadataExt;
    match PEERS[i].0 {
        "stillpoint" => disk_bytes(&peer.dir().join("log")),
        "sqlite" => {
            std::fs::metadata(peer.dir().join("data-wal")).map_or(0, |wal| wal.blocks() * 512)
        }
        _ => 0,
    }
}
