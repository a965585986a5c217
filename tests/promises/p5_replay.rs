//! P5: a stepped store on a simulated disk replays. The same seed and the same calls give the same run:
//! every result, every byte on the disk, and the number of every disk call.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use stillpoint::disk::{Call, Disk, SimDisk, Survival};
use stillpoint::regime::Regime;
use stillpoint::{
    Access, Archive, Background, Durability, ErrorKind, Result, Store, StoreBuilder, TableDef,
};

use crate::scene::{files, read_file};
use crate::support::random::Random;

const RECORDS: TableDef<u64, Vec<u8>> = TableDef::new("records");
const NOTES: TableDef<str, String> = TableDef::new("notes");
const SHOP: &str = "/data/shop";
const TO: &str = "/data/backups";

/// All that can be seen of a life.
#[derive(Debug, PartialEq)]
struct Seen {
    results: Vec<String>,
    calls: u64,
    crash: Option<(Call, PathBuf)>,
    files: BTreeMap<PathBuf, Option<Vec<u8>>>,
}

fn builder(sim: &Arc<SimDisk>) -> StoreBuilder {
    Store::builder(SHOP)
        .disk(sim.clone())
        .segment_size(1 << 16)
        .memory_budget(3 << 15)
        .background(Background::Stepped)
}

/// One life of a store with its regime, as `seed` has it; the disk crashes at the call `crash`.
fn live(seed: u64, crash: Option<u64>) -> Seen {
    let sim = SimDisk::new(seed);
    sim.create_dir(Path::new("/data")).unwrap();
    sim.create_dir(Path::new(TO)).unwrap();
    if let Some(call) = crash {
        sim.crash_at(call);
    }
    let mut results = Vec::new();
    let ended = acts(seed, &sim, &mut results);
    results.push(told(ended.map(|()| "the end")));
    let (calls, crash) = (sim.calls(), sim.crash_site());
    let sim = if sim.crashed() { sim.reboot(Survival::Random(seed)) } else { sim };
    if sim.metadata(Path::new(SHOP)).is_ok() {
        let store = builder(&sim).open();
        results.push(told(store.and_then(|store| {
            let lsn = store.lsn();
            store.close().map(|()| lsn)
        })));
    }
    Seen { results, calls, crash, files: files(&sim, "/") }
}

fn told<T: std::fmt::Debug>(result: Result<T>) -> String {
    match result {
        Ok(value) => format!("{value:?}"),
        Err(error) => format!("{:?} {}", error.kind(), error.report()),
    }
}

fn acts(seed: u64, sim: &Arc<SimDisk>, results: &mut Vec<String>) -> Result<()> {
    let mut random = Random::new(seed);
    let regime = Regime::builder(builder(sim)).open_or_create()?;
    let store = regime.store().clone();
    let mut tickets = Vec::new();
    for round in 0..60 {
        sim.advance(Duration::from_millis(random.below(900)));
        match random.below(12) {
            0..4 => results.push(told(commit(&store, &mut random, round))),
            4 | 5 => {
                let key = random.below(50);
                let submitted = store.submit(move |write| {
                    let records = write.table(RECORDS)?;
                    let len = records.get_for_update(&key)?.map_or(0, |value| value.len());
                    records.put(&key, &vec![round as u8; len + 1])?;
                    Ok(len)
                });
                tickets.push(submitted.map_err(|rejected| rejected.error)?);
            }
            6 => {
                if let Some(ticket) = tickets.pop() {
                    results.push(told(ticket.wait().map_err(|rejected| rejected.error)));
                }
            }
            7 | 8 => results.push(told(store.step())),
            9 => results.push(told(store.checkpoint())),
            10 => back_up(&regime, sim, &mut random, results),
            _ => results.push(format!("{:?} {:?}", regime.tick().is_some(), store.stats().engine)),
        }
    }
    while store.step()? {}
    for ticket in tickets {
        results.push(told(ticket.wait().map_err(|rejected| rejected.error)));
    }
    regime.close()
}

fn commit(store: &Store, random: &mut Random, round: u64) -> Result<u64> {
    let write = store.begin_write()?;
    if random.below(2) == 0 {
        write.set_durability(Durability::Eventual);
    }
    for _ in 0..random.below(12) {
        let len = random.below(3000) as usize;
        write.table(RECORDS)?.put(&random.below(200), &vec![round as u8; len])?;
    }
    write.table(NOTES)?.put(&format!("round {}", random.below(20)), &round.to_string())?;
    write.commit().map(|info| info.lsn)
}

fn back_up(regime: &Regime, sim: &Arc<SimDisk>, random: &mut Random, results: &mut Vec<String>) {
    let backup = regime.backup().incremental(random.below(3) == 0);
    let backup = match random.below(3) {
        0 => backup.access(Access::Live),
        1 => backup.segment_size(1 << 16),
        _ => backup,
    };
    let report = backup.start().and_then(|backup| backup.wait());
    let archive = report.as_ref().ok().map(|report| report.archive.clone());
    results.push(told(report.map(|report| (report.lsn, report.archive_bytes, report.seal))));
    let Some(path) = archive.filter(|_| random.below(3) == 0) else { return };
    let copy = format!("/data/copy {}", results.len());
    let restored =
        Archive::open_on(sim.clone(), &path).and_then(|archive| archive.restore(&copy).run());
    results.push(told(restored.map(|report| (report.lsn, report.bytes))));
}

#[track_caller]
fn assert_same(seed: u64, first: &Seen, again: &Seen) {
    assert_eq!(first.results, again.results, "seed {seed}");
    assert_eq!((first.calls, &first.crash), (again.calls, &again.crash), "seed {seed}");
    let names: Vec<_> = first.files.keys().collect();
    assert_eq!(names, again.files.keys().collect::<Vec<_>>(), "seed {seed}");
    for (path, bytes) in &first.files {
        assert!(again.files[path] == *bytes, "seed {seed}: {} differs", path.display());
    }
}

#[test]
fn equal_lives_of_a_stepped_store_end_alike() {
    for seed in 0..6 {
        let first = live(seed, None);
        assert!(first.calls > 100 && first.results.len() > 30, "a life has something to it");
        for _ in 0..5 {
            assert_same(seed, &first, &live(seed, None));
        }
    }
    assert_ne!(live(1, None).files, live(2, None).files, "a seed makes a difference");
}

#[test]
fn equal_lives_that_end_in_a_crash_end_alike() {
    for seed in 20..23 {
        let calls = live(seed, None).calls;
        for part in 1..8 {
            let crash = Some(calls * part / 8);
            let first = live(seed, crash);
            assert_same(seed, &first, &live(seed, crash));
        }
    }
}

#[test]
fn nothing_runs_in_a_stepped_store_but_when_it_is_stepped() {
    let sim = SimDisk::new(5);
    sim.create_dir(Path::new("/data")).unwrap();
    let store = builder(&sim).create().unwrap();
    let write = store.begin_write().unwrap();
    write.set_durability(Durability::Eventual);
    write.table(NOTES).unwrap().put("a", &"b".into()).unwrap();
    let lsn = write.commit().unwrap().lsn;
    let ticket = store.submit(|write| write.table(NOTES)?.put("c", &"d".into())).unwrap();
    let (calls, before) = (sim.calls(), store.stats().engine);
    sim.advance(Duration::from_secs(3600));
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(sim.calls(), calls, "no disk call is made by itself");
    assert!(before.durable_lsn < lsn && store.stats().engine.durable_lsn < lsn);
    assert_eq!(store.lsn(), lsn, "the submitted one waits");
    while store.step().unwrap() {}
    assert_eq!(store.lsn(), lsn + 1);
    assert_eq!(store.stats().engine.durable_lsn, lsn + 1);
    ticket.wait().unwrap();
    store.close().unwrap();
    let error = builder(&sim).background(Background::Threads).open().unwrap().step().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.advice().is_some());
}

#[test]
fn a_stepped_store_makes_room_by_itself_where_a_commit_needs_it() {
    let sim = SimDisk::new(6);
    sim.create_dir(Path::new("/data")).unwrap();
    let store = builder(&sim).create().unwrap();
    for round in 0..100_u64 {
        let write = store.begin_write().unwrap();
        write.table(RECORDS).unwrap().put(&round, &vec![1; 4000]).unwrap();
        write.commit().unwrap();
    }
    assert!(store.stats().engine.checkpoint_lsn > 0);
    store.close().unwrap();
    let again = builder(&sim).open().unwrap();
    assert_eq!(again.begin_read().unwrap().table(RECORDS).unwrap().len().unwrap(), 100);
    assert!(!read_file(&sim, &Path::new(SHOP).join("store.data")).is_empty());
}
