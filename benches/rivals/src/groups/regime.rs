//! The layers of an archive, incremental backups, and rolling a store forward through its log.

use crate::bench::{Bench, scratch, timed};
use crate::data::{Data, Dice, Packing};
use crate::peers::{self, Peer, Stillpoint};
use crate::table::{Series, Table, interleaved, megabytes, per_second, ratio, time};
use std::path::Path;
use stillpoint::{Access, Archive, BackupBuilder, BackupReport, Compression, Level, Recipients};

/// How much of the store changes between a full backup and an incremental one, in per cent.
const CHANGED: u64 = 1;

/// A recipient whose private key nobody needs here.
const PUBLIC_KEY: &str = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p";

/// One way to write an archive.
type Way = (&'static str, fn(BackupBuilder) -> BackupBuilder);

const WAYS: [Way; 8] = [
    ("Fast", |backup| backup),
    ("None", |backup| backup.compression(Compression::None)),
    ("Compact", |backup| backup.compression(Compression::Compact)),
    ("Fast, encrypted", |backup| backup.encrypt(somebody())),
    ("Fast, parity low", |backup| backup.redundancy(Level::Low)),
    ("Fast, parity high", |backup| backup.redundancy(Level::High)),
    ("Fast, segments of 16 MiB", |backup| backup.segment_size(16 << 20)),
    ("Fast, encrypted, parity low, segments", |backup| {
        backup.encrypt(somebody()).redundancy(Level::Low).segment_size(16 << 20)
    }),
];

fn somebody() -> Recipients {
    Recipients::public_keys([PUBLIC_KEY]).expect("a public key of age")
}

fn live(stillpoint: &Stillpoint, to: &Path) -> BackupBuilder {
    stillpoint.store.backup(to).access(Access::Live)
}

/// Every compression and layer, over the same store of records that pack.
pub fn layers(bench: &Bench) -> Vec<Table> {
    let (dir, data) = (scratch(), Data { packing: Packing::ThreeToOne, ..bench.data() });
    let stillpoint = Stillpoint::open(dir.path());
    peers::load(&stillpoint, &data, 0);
    stillpoint.settle();
    let mut sizes = [(0, 0); WAYS.len()];
    let series = interleaved(bench.few_rounds(), WAYS.len(), |i| {
        let to = scratch();
        let backup = WAYS[i].1(live(&stillpoint, to.path())).verify(false).log_archive(false);
        let (report, seconds) = timed(|| backup.run().unwrap());
        sizes[i] = (report.source_bytes, crate::bench::disk_bytes(to.path()));
        seconds
    });
    let mut table = Table::new(
        format!("Archives of {} records that pack, not verified", data.records),
        &["", "time", "source a second", "bytes, parity included", "speed against Fast"],
    );
    for (((way, _), of), (source, bytes)) in WAYS.iter().zip(&series).zip(sizes) {
        let rate = megabytes(source as f64 / of.median());
        let speed = series[0].over(of).show(ratio);
        table.row([*way, &of.show(time), &rate, &megabytes(bytes as f64), &speed]);
    }
    table.note("Encrypted for one X25519 key.");
    vec![table]
}

/// An incremental backup after some of the records changed, against a full one of the same commit.
pub fn incremental(bench: &Bench) -> Vec<Table> {
    let (dir, data) = (scratch(), bench.data());
    let stillpoint = Stillpoint::open(dir.path());
    peers::load(&stillpoint, &data, 0);
    stillpoint.settle();
    let changed = data.records * CHANGED / 100;
    let logical = data.logical_bytes() * CHANGED / 100;
    let to = scratch();
    let mut dice = Dice::new(1);
    let mut reports: [Option<BackupReport>; 2] = [None, None];
    let mut series = vec![Series::default(); 2];
    for _ in 0..bench.few_rounds() {
        let base = live(&stillpoint, to.path()).verify(false).run().unwrap();
        stillpoint.commit(&data.some_records(changed, &mut dice), true);
        let (report, seconds) =
            timed(|| live(&stillpoint, to.path()).incremental_from(&base.archive).run().unwrap());
        series[0].0.push(seconds);
        reports[0] = Some(report);
        let aside = scratch();
        let backup = live(&stillpoint, aside.path()).log_archive(false);
        let (report, seconds) = timed(|| backup.run().unwrap());
        series[1].0.push(seconds);
        reports[1] = Some(report);
    }
    let mut table = Table::new(
        format!("A backup after {CHANGED} % of {} records changed, verified", data.records),
        &[
            "",
            "time",
            "archive",
            "of the changed bytes",
            "log archive",
            "of the changed bytes",
            "pages copied",
            "pages read",
            "speed against full",
        ],
    );
    for ((what, of), report) in ["incremental", "full"].iter().zip(&series).zip(&reports) {
        let report = report.as_ref().expect("there was a round");
        let share = |bytes: u64| format!("{:.2} x", bytes as f64 / logical as f64);
        let log = report.log_archive.as_ref().map(|log| log.bytes);
        table.row([
            (*what).to_owned(),
            of.show(time),
            megabytes(report.archive_bytes as f64),
            share(report.archive_bytes),
            log.map_or("-".to_owned(), |bytes| megabytes(bytes as f64)),
            log.map_or("-".to_owned(), share),
            report.pages_copied.to_string(),
            report.pages_read.to_string(),
            series[1].over(of).show(ratio),
        ]);
    }
    table.note("The records that change are chosen at random, so nearly every one of them lies on a page of its own. Goal: log archive <= 1.1 x the changed bytes.");
    vec![table]
}

/// A restore that is rolled forward through the log, against the commits that wrote it.
pub fn roll_forward(bench: &Bench) -> Vec<Table> {
    let (dir, data) = (scratch(), Data { records: bench.records / 10, ..bench.data() });
    let stillpoint = Stillpoint::open(dir.path());
    peers::load(&stillpoint, &data, 0);
    stillpoint.settle();
    let to = scratch();
    let base = live(&stillpoint, to.path()).run().unwrap();
    let mut dice = Dice::new(2);
    let commits = bench.records;
    let (_, wrote) = timed(|| {
        for record in data.some_records(commits, &mut dice) {
            stillpoint.commit(&[record], false);
        }
        stillpoint.sync();
    });
    let next = live(&stillpoint, to.path()).run().unwrap();
    let log = next.log_archive.expect("commits lie between the two").path;
    let series = interleaved(bench.few_rounds(), 2, |i| {
        let out = scratch();
        let archive = Archive::open(&base.archive).unwrap();
        let restore = archive.restore(out.path().join("restored"));
        let restore = if i == 0 { restore.log(&log) } else { restore };
        timed(|| restore.run().unwrap()).1
    });
    let rolled: Vec<f64> = series[0]
        .0
        .iter()
        .zip(&series[1].0)
        .map(|(with, without)| commits as f64 / (with - without))
        .collect();
    let rolled = Series(rolled);
    let rate = commits as f64 / wrote;
    let mut table = Table::new(
        format!("Roll-forward through {commits} commits of one record"),
        &["", "operations a second", "against writing them"],
    );
    let speed = Series(rolled.0.iter().map(|one| one / rate).collect());
    table.row(["roll-forward in a restore", &rolled.show(per_second), &speed.show(ratio)]);
    table.row(["the relaxed commits that wrote them", &per_second(rate), "1.00 x"]);
    table.note(format!(
        "Without the log the restore of {} records takes {}.",
        data.records,
        series[1].show(time)
    ));
    vec![table]
}
