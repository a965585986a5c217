//! Full backups and restores, against copying the same bytes and syncing the copy.

use crate::bench::{Bench, copy_and_sync, cores, disk_bytes, scratch, timed};
use crate::data::{Data, Packing};
use crate::peers::{self, PEERS, Peer, Stillpoint};
use crate::table::{Series, Table, interleaved, megabytes, ratio, time};
use std::fs::File;
use std::path::{Path, PathBuf};
use stillpoint::{Access, Archive, BackupReport, Compression};

fn back_up(stillpoint: &Stillpoint, to: &Path, pack: Compression, verify: bool) -> BackupReport {
    let backup = stillpoint.store.backup(to).access(Access::Live).compression(pack);
    backup.verify(verify).run().unwrap()
}

fn data_file(stillpoint: &Stillpoint) -> PathBuf {
    stillpoint.dir().join("store.data")
}

/// Full backups of an idle store: ours with None against a copy, ours with Fast against zstd, and
/// the rivals' own ways.
pub fn backup(bench: &Bench) -> Vec<Table> {
    vec![unpacked(bench), packed(bench)]
}

fn unpacked(bench: &Bench) -> Table {
    let (dir, data) = (scratch(), bench.data());
    let rivals = peers::loaded_rivals(dir.path(), &data);
    let own = scratch();
    let stillpoint = Stillpoint::open(own.path());
    peers::load(&stillpoint, &data, 0);
    stillpoint.settle();
    let series = interleaved(bench.rounds, rivals.len() + 3, |i| {
        let to = scratch();
        let measured = match i {
            0 => timed(|| drop(back_up(&stillpoint, to.path(), Compression::None, true))),
            1 => timed(|| drop(back_up(&stillpoint, to.path(), Compression::None, false))),
            2 => timed(|| copy_and_sync(&data_file(&stillpoint), &to.path().join("copy"))),
            i => timed(|| rivals[i - 3].backup(to.path())),
        };
        measured.1
    });
    let report = back_up(&stillpoint, scratch().path(), Compression::None, true);
    let mut table = Table::new(
        format!("Full backup, None, {} records", data.records),
        &["", "time", "bytes of the source", "speed against cp + fsync", "goal"],
    );
    let bytes = megabytes(report.source_bytes as f64);
    let goals = [">= 0.8 x", "-", "-"];
    let ours = ["stillpoint, verified", "stillpoint, not verified", "cp + fsync of store.data"];
    for ((what, series_of), goal) in ours.iter().zip(&series).zip(goals) {
        push(&mut table, what, series_of, &bytes, &series[2], goal);
    }
    for (i, (name, _)) in PEERS[1..].iter().enumerate() {
        let what = format!("{name}, its own way, not verified");
        let bytes = megabytes(disk_bytes(rivals[i].dir()) as f64);
        push(&mut table, &what, &series[i + 3], &bytes, &series[2], "-");
    }
    table.note("Idle store, page cache warm. LMDB: mdb_env_copy; SQLite: its backup API in one step; redb and fjall: row by row, they have no other; all synced at the end.");
    table
}

fn push(table: &mut Table, what: &str, of: &Series, bytes: &str, cp: &Series, goal: &str) {
    let speed = cp.over(of).show(ratio);
    table.row([what, &of.show(time), bytes, &speed, goal].map(str::to_owned));
}

fn packed(bench: &Bench) -> Table {
    let (dir, data) = (scratch(), Data { packing: Packing::ThreeToOne, ..bench.data() });
    let stillpoint = Stillpoint::open(dir.path());
    peers::load(&stillpoint, &data, 0);
    stillpoint.settle();
    let mut packed_to = 0;
    let series = interleaved(bench.rounds, 3, |i| {
        let to = scratch();
        match i {
            0 => timed(|| drop(back_up(&stillpoint, to.path(), Compression::Fast, true))).1,
            1 => timed(|| drop(back_up(&stillpoint, to.path(), Compression::Fast, false))).1,
            _ => {
                let copy = to.path().join("copy.zst");
                let ((), seconds) = timed(|| zstd_alone(&data_file(&stillpoint), &copy));
                packed_to = std::fs::metadata(&copy).unwrap().len();
                seconds
            }
        }
    });
    let report = back_up(&stillpoint, scratch().path(), Compression::Fast, true);
    let mut table = Table::new(
        format!("Full backup, Fast, {} records that pack", data.records),
        &["", "time", "bytes", "speed against zstd alone", "goal"],
    );
    let source = report.source_bytes as f64;
    let bytes = |packed: u64| format!("{} of {}", megabytes(packed as f64), megabytes(source));
    let rows = [
        ("stillpoint, verified", report.archive_bytes, ">= 0.8 x"),
        ("stillpoint, not verified", report.archive_bytes, "-"),
        ("zstd level 1 on all cores, synced", packed_to, "-"),
    ];
    for ((what, packed, goal), of) in rows.into_iter().zip(&series) {
        let speed = series[2].over(of).show(ratio);
        table.row([what, &of.show(time), &bytes(packed), &speed, goal].map(str::to_owned));
    }
    table
}

/// The data file through the zstd library on all cores, level 1, with a checksum, synced.
fn zstd_alone(from: &Path, to: &Path) {
    let mut encoder = zstd::Encoder::new(File::create(to).unwrap(), 1).unwrap();
    encoder.multithread(cores() as u32).unwrap();
    encoder.include_checksum(true).unwrap();
    std::io::copy(&mut File::open(from).unwrap(), &mut encoder).unwrap();
    encoder.finish().unwrap().sync_all().unwrap();
}

/// An archive restored into a new folder, against a copy of what it holds.
pub fn restore(bench: &Bench) -> Vec<Table> {
    let (dir, data) = (scratch(), bench.data());
    let stillpoint = Stillpoint::open(dir.path());
    peers::load(&stillpoint, &data, 0);
    stillpoint.settle();
    let to = scratch();
    let mut table = Table::new(
        format!("Restore, {} records", data.records),
        &["", "time", "bytes restored", "cp + fsync of them", "ratio", "goal"],
    );
    for (name, pack) in [("None", Compression::None), ("Fast", Compression::Fast)] {
        let report = back_up(&stillpoint, to.path(), pack, false);
        let series = interleaved(bench.rounds, 2, |i| {
            let out = scratch();
            let restored = out.path().join("restored");
            match i {
                0 => timed(|| {
                    let archive = Archive::open(&report.archive).unwrap();
                    archive.restore(&restored).run().unwrap();
                }),
                _ => timed(|| copy_and_sync(&data_file(&stillpoint), &restored)),
            }
            .1
        });
        table.row([
            format!("archive of {name}"),
            series[0].show(time),
            megabytes(report.source_bytes as f64),
            series[1].show(time),
            series[1].over(&series[0]).show(ratio),
            ">= 0.7 x".to_owned(),
        ]);
    }
    table.note("Ratio of speeds. A restore checks every frame and syncs what it wrote; the archive is in the page cache, as the file is that is copied.");
    vec![table]
}
