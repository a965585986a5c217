//! The rows: each makes a store of its own and writes what it measured.

use crate::bench::{Latencies, disk_bytes, on_threads, peak_memory, scratch, timed};
use crate::data::{Data, Dice, Record};
use crate::peers::{self, Peer, Stillpoint};
use serde::{Deserialize, Serialize};
use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use stillpoint::{Access, Archive, Compression, Durability, TableDef};
use tempfile::TempDir;

type Row = fn(&Data);

/// In the order of the document.
pub const ROWS: &[(&str, Row)] = &[
    ("load", |data| load(data, 1)),
    ("load-3x", |data| load(data, 3)),
    ("load-10x", |data| load(data, 10)),
    ("relaxed", relaxed),
    ("durable", durable),
    ("get", get),
    ("scan", scan),
    ("typed", typed),
    ("backup", backup),
    ("checkpoint", checkpoint),
    ("open", open),
    ("attachments", attachments),
];

fn write(what: &str, unit: &str, value: f64) {
    println!("{what}\t{unit}\t{value}");
}

fn write_time(what: &str, work: impl FnOnce()) {
    write(what, "time", timed(work).1);
}

/// A loaded store with nothing left to do in the background, in a folder of its own.
fn loaded(data: &Data) -> (TempDir, Stillpoint) {
    let dir = scratch();
    let stillpoint = Stillpoint::open(dir.path());
    peers::load(&stillpoint, data, 0);
    stillpoint.settle();
    (dir, stillpoint)
}

/// All records in random order until synced; then the size after a close.
fn load(data: &Data, times: u64) {
    let (dir, data) = (scratch(), Data { records: data.records * times, ..*data });
    let what = format!("load of {} records", data.records);
    let ((seconds, stats), peak) = peak_memory(|| {
        let stillpoint = Stillpoint::open(dir.path());
        let ((), seconds) = timed(|| peers::load(&stillpoint, &data, 0));
        let stats = stillpoint.store.stats().engine;
        stillpoint.store.close().unwrap();
        (seconds, stats)
    });
    write(&format!("{what}, until synced"), "per second", data.records as f64 / seconds);
    let waits = stats.waits_for_room_micros as f64 / 1e6;
    write(&format!("{what}: waits for memory"), "time", waits);
    write(&format!("{what}: checkpoints"), "count", stats.checkpoints as f64);
    write(&format!("{what}: peak anonymous memory"), "bytes", peak as f64);
    write(&format!("{what}: disk, closed"), "bytes", disk_bytes(dir.path()) as f64);
}

/// Commits of one record chosen at random: half as many as there are records, by 1 and 2 threads.
fn relaxed(data: &Data) {
    let (_dir, stillpoint) = loaded(data);
    for threads in [1, 2] {
        let count = data.records / 2 / threads as u64;
        let work = |thread| data.some_records(count, &mut Dice::new(100 + thread));
        let work: Vec<Vec<Record>> = (0..threads as u64).map(work).collect();
        let before = stillpoint.store.stats().engine.checkpoints;
        let (all, _) = on_threads(threads, |thread| {
            let next = Cell::new(0);
            Latencies::until(
                || next.get() == work[thread].len(),
                || {
                    stillpoint.commit(&work[thread][next.get()..][..1], false);
                    next.set(next.get() + 1);
                },
            )
        });
        let (all, what) = (Latencies::joined(all), format!("relaxed commits, {threads} thr"));
        write(&what, "per second", all.rate());
        write(&format!("{what}: median"), "time", all.at(0.5));
        let checkpoints = stillpoint.store.stats().engine.checkpoints - before;
        write(&format!("{what}: checkpoints"), "count", checkpoints as f64);
        stillpoint.settle();
    }
}

/// Synced commits of one record, with 32 threads beside a checkpoint of a tenth of the records.
fn durable(data: &Data) {
    let (_dir, stillpoint) = loaded(data);
    for threads in [1, 8, 32] {
        let work = |thread| data.some_records(20_000, &mut Dice::new(100 + thread));
        let work: Vec<Vec<Record>> = (0..threads as u64).map(work).collect();
        let mut what = format!("durable commits, {threads} thr");
        if threads == 32 {
            stillpoint.commit(&data.some_records(data.records / 10, &mut Dice::new(7)), true);
            what.push_str(", a checkpoint meanwhile");
        }
        let all = std::thread::scope(|scope| {
            if threads == 32 {
                scope.spawn(|| {
                    std::thread::sleep(Duration::from_millis(300));
                    stillpoint.settle();
                });
            }
            let (all, _) = on_threads(threads, |thread| {
                let mut next = work[thread].chunks(1).cycle();
                let commit = || stillpoint.commit(next.next().expect("a cycle"), true);
                Latencies::of(Duration::from_millis(1500), commit)
            });
            Latencies::joined(all)
        });
        write(&what, "per second", all.rate());
        write(&format!("{what}: 99.9 of 100 within"), "time", all.at(0.999));
        write(&format!("{what}: the longest"), "time", all.longest());
    }
}

/// Point reads, 1000 to a snapshot, by 1 and 2 threads.
fn get(data: &Data) {
    let (_dir, stillpoint) = loaded(data);
    let keys: Vec<_> = (0..2).map(|seed| data.some_keys(300_000, seed)).collect();
    for threads in [1, 2] {
        let read = |thread: usize| -> usize {
            keys[thread].chunks(1000).map(|keys| stillpoint.read_in_snapshot(keys)).sum()
        };
        let (found, seconds) = on_threads(threads, read);
        assert!(found.iter().all(|bytes| *bytes == 300_000 * data.value_len), "every key is there");
        let rate = 300_000.0 * threads as f64 / seconds;
        write(&format!("get in a snapshot, {threads} thr"), "per second", rate);
    }
}

/// Five walks over all records.
fn scan(data: &Data) {
    let (_dir, stillpoint) = loaded(data);
    let (seen, seconds) = timed(|| (0..5).map(|_| stillpoint.scan().0 as u64).sum::<u64>());
    assert_eq!(seen, 5 * data.records, "a scan sees every record");
    write("scan", "per second", seen as f64 / seconds);
}

/// A value of a serde type, of about 150 bytes.
#[derive(Serialize, Deserialize)]
struct Item {
    name: String,
    stock: u32,
    price: f64,
    tags: Vec<String>,
    note: Option<String>,
}

/// Relaxed puts of typed values, 100 to a commit.
fn typed(data: &Data) {
    const ITEMS: TableDef<u64, Item> = TableDef::new("items");
    let dir = scratch();
    let store = Stillpoint::open(dir.path()).store;
    let item = |i: u64| Item {
        name: format!("item number {i}"),
        stock: i as u32,
        price: i as f64 / 7.0,
        tags: vec!["red".into(), "round".into(), "heavy".into()],
        note: Some("a sentence of some length about what this item is good for".into()),
    };
    let items: Vec<Item> = (0..data.records / 5).map(item).collect();
    let ((), seconds) = timed(|| {
        for (number, items) in items.chunks(100).enumerate() {
            let write = store.begin_write().unwrap();
            let table = write.table(ITEMS).unwrap();
            for (i, item) in items.iter().enumerate() {
                table.put(&(number as u64 * 100 + i as u64), item).unwrap();
            }
            write.set_durability(Durability::Eventual);
            write.commit().unwrap();
        }
    });
    write("typed puts, 100 to a commit", "per second", items.len() as f64 / seconds);
}

/// Full `Live` backups of an idle store, not compressed.
fn backup(data: &Data) {
    let (_dir, stillpoint) = loaded(data);
    for (verify, what) in [(true, "verified"), (false, "not verified")] {
        let to = scratch();
        let backup = stillpoint.store.backup(to.path()).access(Access::Live);
        let backup = backup.compression(Compression::None).verify(verify);
        write_time(&format!("full backup, Live, None, {what}"), || drop(backup.run().unwrap()));
    }
}

/// A checkpoint of a tenth of the records, chosen at random.
fn checkpoint(data: &Data) {
    let (_dir, stillpoint) = loaded(data);
    stillpoint.commit(&data.some_records(data.records / 10, &mut Dice::new(7)), true);
    write_time("checkpoint of a tenth of the records", || stillpoint.settle());
}

/// Opening and one read: after a close, and after a process died that had written a fifth of the
/// records anew.
fn open(data: &Data) {
    let (dir, stillpoint) = loaded(data);
    stillpoint.store.close().unwrap();
    drop(stillpoint);
    let key = data.some_keys(1, 1);
    let open_and_read = || {
        let stillpoint = Stillpoint::open(dir.path());
        assert_eq!(stillpoint.read_in_snapshot(&key), data.value_len, "the record is there");
    };
    write_time("open after a clean close", open_and_read);
    let program = std::env::current_exe().unwrap();
    let mut dying = Command::new(program);
    dying.args([crate::DYING, &data.records.to_string()]).arg(dir.path());
    let status = dying.status().unwrap();
    assert!(status.code().is_none(), "it died of a signal, not with {status}");
    write_time("open after kill -9", open_and_read);
}

/// Writes a fifth of the records anew, one to a commit, syncs, and dies without closing.
pub fn write_and_die(data: &Data, dir: &Path) {
    let stillpoint = Stillpoint::open(dir);
    let records = data.some_records(data.records / 5, &mut Dice::new(3));
    records.chunks(1).for_each(|record| stillpoint.commit(record, false));
    stillpoint.sync();
    let this = rustix::process::getpid();
    rustix::process::kill_process(this, rustix::process::Signal::KILL).unwrap();
}

/// A backup with empty attachments, 20 to 1000 records, and its restore.
fn attachments(data: &Data) {
    let (dir, to) = (scratch(), scratch());
    let (files, restored) = (dir.path().join("files"), dir.path().join("restored"));
    let count = data.records / 50;
    std::fs::create_dir(&files).unwrap();
    for i in 0..count {
        std::fs::write(files.join(format!("{i}")), []).unwrap();
    }
    let stillpoint = Stillpoint::open(dir.path());
    let mut archive = PathBuf::new();
    let backup = stillpoint.store.backup(to.path()).attachment(&files);
    write_time(&format!("backup of {count} empty attachments"), || {
        archive = backup.run().unwrap().archive;
    });
    write_time(&format!("restore of {count} empty attachments"), || {
        Archive::open(&archive).unwrap().restore(&restored).run().unwrap();
    });
}
