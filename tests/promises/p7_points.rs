//! P7, in time: archives and logs together bring back every commit, and no other.

mod integration;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use proptest::prelude::*;
use stillpoint::disk::{Disk, OpenMode, SimDisk, Survival};
use stillpoint::{
    Archive, Durability, Error, ErrorKind, IntegrateOptions, LogFile, Lsn, Mode, Repaired,
    RestorePoint, Store, Strictness,
};

use crate::scene::{ITEMS, STORE, Scene, TO, all, open, put, read_file, write_file};

/// What the store held after each commit.
type History = BTreeMap<Lsn, BTreeMap<u64, String>>;

fn now(store: &Store) -> BTreeMap<u64, String> {
    all(store).into_iter().collect()
}

fn log_archives(scene: &Scene) -> Vec<PathBuf> {
    let is_log = |path: &PathBuf| path.to_string_lossy().ends_with(".log.zst");
    scene.destination().into_iter().map(|name| Path::new(TO).join(name)).filter(is_log).collect()
}

fn code<T: std::fmt::Debug>(result: Result<T, Error>) -> (ErrorKind, i32) {
    let error = result.expect_err("refused");
    (error.kind(), error.code())
}

#[derive(Clone, Debug)]
enum Step {
    Put(u64, usize),
    /// Acknowledged before it is durable: a crash may take it.
    Eventual(u64),
    Delete(u64),
    Backup,
    Checkpoint,
    Reopen,
    Crash(u64),
    Move(i64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        12 => (0..30u64, 0..600usize).prop_map(|(key, len)| Step::Put(key, len)),
        3 => (0..30u64).prop_map(Step::Delete),
        3 => (0..30u64).prop_map(Step::Eventual),
        1 => Just(Step::Backup),
        1 => Just(Step::Checkpoint),
        1 => Just(Step::Reopen),
        1 => any::<u64>().prop_map(Step::Crash),
        3 => (-5_000_000..5_000_000i64).prop_map(Step::Move),
    ];
    proptest::collection::vec(step, 5..40)
}

struct Run {
    sim: Arc<SimDisk>,
    store: Store,
    segment: u64,
    history: History,
    times: BTreeMap<Lsn, i64>,
    first: PathBuf,
}

fn builder(sim: &Arc<SimDisk>, segment: u64) -> stillpoint::StoreBuilder {
    Store::builder(STORE).disk(sim.clone()).segment_size(segment)
}

impl Run {
    fn new(segment: u64, seed: u64) -> Run {
        let sim = SimDisk::new(seed);
        sim.create_dir(Path::new(TO)).unwrap();
        sim.sync_dir(Path::new("/")).unwrap();
        let store = builder(&sim, segment).create().unwrap();
        put(&store, 0, "first").unwrap();
        let first = store.backup(TO).run().unwrap().archive;
        let mut run =
            Run { sim, store, segment, history: History::new(), times: BTreeMap::new(), first };
        run.note(0);
        run
    }

    fn note(&mut self, time: i64) {
        self.history.insert(self.store.lsn(), now(&self.store));
        self.times.insert(self.store.lsn(), time);
    }

    fn commit(&mut self, key: u64, value: Option<String>, durability: Durability) {
        let write = self.store.begin_write().unwrap();
        write.set_durability(durability);
        match value {
            Some(value) => write.table(ITEMS).unwrap().put(&key, &value).unwrap(),
            None => {
                write.table(ITEMS).unwrap().delete(&key).unwrap();
            }
        }
        let info = write.commit().unwrap();
        self.note(info.time);
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Put(key, len) => {
                let value = format!("{}{}", self.history.len(), "x".repeat(*len));
                self.commit(*key, Some(value), Durability::Immediate);
            }
            Step::Delete(key) => self.commit(*key, None, Durability::Immediate),
            Step::Eventual(key) => {
                let value = format!("eventually {}", self.history.len());
                self.commit(*key, Some(value), Durability::Eventual);
            }
            Step::Backup => {
                let _report = self.store.backup(TO).run().unwrap();
            }
            Step::Checkpoint => {
                let _lsn = self.store.checkpoint().unwrap();
            }
            Step::Reopen => {
                self.store.close().unwrap();
                self.store = builder(&self.sim, self.segment).open().unwrap();
            }
            Step::Crash(seed) => {
                self.sim.crash_now();
                let _crashed = self.store.close();
                self.sim = self.sim.reboot(Survival::Random(*seed));
                self.store = builder(&self.sim, self.segment).open().unwrap();
                // What was lost was never durable, and is no part of the history.
                let lost = self.store.lsn() + 1;
                self.history.split_off(&lost);
                self.times.split_off(&lost);
                assert_eq!(self.history.get(&self.store.lsn()), Some(&now(&self.store)));
            }
            Step::Move(micros) => self.sim.set_now(self.sim.now() + micros),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    /// The first archive, the log archives and the store's own segments bring back every commit since.
    #[test]
    fn every_commit_since_an_archive_can_be_restored(
        steps in steps(), segment in 4096..40_000u64, seed in any::<u64>()
    ) {
        let mut run = Run::new(segment, seed);
        for step in &steps {
            run.step(step);
        }
        let archive = stillpoint::Archive::open_on(run.sim.clone(), &run.first).unwrap();
        for (&lsn, expected) in &run.history {
            let dir = PathBuf::from(format!("/at-{lsn}"));
            let point = match lsn % 3 {
                0 => RestorePoint::Before(lsn + 1),
                _ => RestorePoint::Lsn(lsn),
            };
            // The store is in use, and its own segments are read all the same.
            let restored = archive
                .restore(&dir)
                .logs_in(TO)
                .logs_in(format!("{STORE}/log"))
                .to(point)
                .run()
                .unwrap();
            prop_assert_eq!(restored.lsn, lsn);
            let copy = open(&run.sim, dir.to_str().unwrap()).unwrap();
            prop_assert_eq!(&now(&copy), expected, "LSN {}", lsn);
            copy.close().unwrap();
        }
        // The same by time: the last commit that is not later.
        for &time in run.times.values().skip(1) {
            let expected = run.times.iter().filter(|(_, at)| **at <= time).map(|(lsn, _)| *lsn).max();
            let dir = PathBuf::from(format!("/time-{time}"));
            if run.sim.metadata(&dir).is_ok() {
                continue;
            }
            let restored = archive
                .restore(&dir)
                .logs_in(TO)
                .logs_in(format!("{STORE}/log"))
                .to(RestorePoint::Time(time))
                .run();
            if time < archive.header().commit_time {
                prop_assert!(restored.is_err());
            } else {
                prop_assert_eq!(Some(restored.unwrap().lsn), expected);
            }
        }
    }
}

/// A scene with a first backup, and three more with commits between them.
fn with_backups() -> (Scene, Vec<PathBuf>) {
    let scene = Scene::new(Mode::Server, 20);
    let mut archives = Vec::new();
    for round in 0..4u64 {
        archives.push(scene.store.backup(TO).run().unwrap().archive);
        for key in 0..3 {
            put(&scene.store, 100 + round * 10 + key, "later").unwrap();
        }
    }
    (scene, archives)
}

#[test]
fn a_missing_log_archive_is_a_gap_that_is_found_before_anything_is_written() {
    let (scene, archives) = with_backups();
    let logs = log_archives(&scene);
    assert_eq!(logs.len(), 3);
    let archive = scene.archive(&archives[0]);
    let gap = archive.restore("/copy").log(&logs[0]).log(&logs[2]).run();
    assert_eq!(code(gap), (ErrorKind::Invalid, 2010));
    let far = archive.restore("/copy").log(&logs[0]).to(RestorePoint::Lsn(9)).run();
    assert_eq!(code(far), (ErrorKind::Invalid, 2010));
    // Before the gap all is well.
    archive.restore("/early").log(&logs[0]).log(&logs[2]).to(RestorePoint::Lsn(4)).run().unwrap();
    // A point before the archive itself.
    let early = scene.archive(&archives[2]).restore("/copy").to(RestorePoint::Lsn(2)).run();
    assert_eq!(code(early).0, ErrorKind::Invalid);
    let missing = archive.restore("/copy").log("/backups/none[0001].log.zst").run();
    assert_eq!(code(missing), (ErrorKind::NotFound, 1412));
    assert!(scene.sim.metadata(Path::new("/copy")).is_err());
    assert!(scene.sim.metadata(Path::new("/copy.stillpoint-restoring")).is_err());
}

#[test]
fn a_plan_says_what_a_restore_would_do_and_writes_nothing() {
    let (scene, archives) = with_backups();
    // The store that it comes from is open, and changes its files at any time.
    let sim = scene.sim.image();
    let archive = Archive::open_on(sim.clone(), &archives[0]).unwrap();
    let before = crate::scene::files(&sim, "/");
    let plan = archive.restore("/copy").logs_in(TO).to(RestorePoint::Lsn(6)).plan().unwrap();
    assert_eq!((plan.archive_lsn, plan.lsn), (archive.header().lsn, 6));
    assert!(!plan.logs.is_empty() && plan.bytes_free > plan.bytes_needed);
    assert!(before == crate::scene::files(&sim, "/"), "a plan wrote something");
    assert_eq!(archive.restore("/copy").logs_in(TO).to(RestorePoint::Lsn(6)).run().unwrap().lsn, 6);
}

#[test]
fn a_damaged_log_archive_leaves_no_store() {
    let (scene, archives) = with_backups();
    let log = &log_archives(&scene)[0];
    let sound = read_file(&scene.sim, log);
    // Every 7th byte of the archive that holds content, one bit each.
    for at in (0..sound.len()).step_by(7) {
        let mut bytes = sound.clone();
        bytes[at] ^= 4;
        write_file(&scene.sim, log, &bytes);
        let restored = scene.archive(&archives[0]).restore("/copy").log(log).run();
        match restored {
            Err(error) => {
                assert!(scene.sim.metadata(Path::new("/copy")).is_err());
                assert!(
                    matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Unsupported),
                    "byte {at}: {error}"
                );
            }
            // What is not part of any content: the padding, the manifest, the seek table.
            Ok(report) => {
                assert_eq!(report.lsn, 4, "byte {at}");
                let copy = scene.open("/copy").unwrap();
                assert_eq!(now(&copy).len(), 23);
                drop(copy);
                stillpoint::disk::atomic::remove_tree(&*scene.sim, Path::new("/copy")).unwrap();
            }
        }
    }
}

#[test]
fn the_log_of_a_divergent_history_is_refused_wherever_it_is_offered() {
    let (scene, archives) = with_backups();
    let logs = log_archives(&scene);
    // Back to the second backup, and on from there along another history.
    let archive = scene.archive(&archives[1]);
    archive.restore("/copy").run().unwrap();
    let copy = scene.open("/copy").unwrap();
    put(&copy, 1, "another history").unwrap();
    let own = copy.lsn();
    let refused = copy.integrate(&[&logs[1]], IntegrateOptions::default());
    assert_eq!(code(refused), (ErrorKind::Foreign, 1416));
    assert_eq!(copy.lsn(), own);
    // Also the original does not take the copy's log.
    copy.close().unwrap();
    let segments = LogFile::open_on(scene.sim.clone(), "/copy/log").unwrap();
    let theirs = segments.segments()[0].path.clone();
    let refused = scene.store.integrate(&[&theirs], IntegrateOptions::default());
    assert_eq!(code(refused), (ErrorKind::Foreign, 1416));
    // Nor does a store that was never related.
    let other = Store::builder("/other").disk(scene.sim.clone()).create().unwrap();
    let refused = other.integrate(&[&logs[1]], IntegrateOptions::default());
    assert_eq!(code(refused), (ErrorKind::Foreign, 1416));
    // Where both ways lie at hand nothing is guessed; named, each can be gone.
    scene.sim.create_dir(Path::new("/both")).unwrap();
    for (from, to) in [(&theirs, "/both/theirs.log"), (&logs[1], "/both/x[0002].log.zst")] {
        write_file(&scene.sim, Path::new(to), &read_file(&scene.sim, from));
    }
    let guess = archive.restore("/guess").logs_in("/both").run();
    assert_eq!(code(guess), (ErrorKind::Foreign, 1416));
    archive.restore("/one").log("/both/theirs.log").run().unwrap();
    let one = scene.open("/one").unwrap();
    assert_eq!(crate::scene::get(&one, 1).as_deref(), Some("another history"));
}

#[test]
fn what_cannot_be_read_in_a_folder_of_logs_is_an_error_only_where_it_may_be_needed() {
    let (scene, archives) = with_backups();
    let logs = log_archives(&scene);
    let last = &logs[2];
    let len = scene.sim.metadata(last).unwrap().len;
    scene.sim.corrupt(last, len - 2, 3).unwrap();
    let archive = scene.archive(&archives[1]);
    let to = |point| archive.restore("/copy").logs_in(TO).to(point).plan().map(|plan| plan.lsn);
    let (begin, next) = (archive.header().lsn, scene.archive(&archives[2]).header().lsn);
    for lsn in begin..=next {
        assert_eq!(to(RestorePoint::Lsn(lsn)).unwrap(), lsn);
    }
    // The newest commit, or one past what is left, may be in the one that is damaged.
    for point in [RestorePoint::Newest, RestorePoint::Lsn(next + 1), RestorePoint::Time(i64::MAX)] {
        let error = to(point).unwrap_err();
        assert_eq!((error.code(), error.path()), (1413, Some(&**last)), "{point:?}");
    }
    let named = archive.restore("/copy").log(last).to(RestorePoint::Lsn(begin)).plan();
    assert_eq!(code(named), (ErrorKind::Corrupt, 1413));
}

#[test]
fn a_log_is_read_from_outside_while_its_store_is_in_use() {
    let scene = Scene::new(Mode::Server, 2);
    scene.store.backup(TO).run().unwrap();
    put(&scene.store, 7, "seven").unwrap();
    let write = scene.store.begin_write().unwrap();
    write.table(ITEMS).unwrap().delete(&0).unwrap();
    write.commit().unwrap();
    let log = LogFile::of_store(scene.sim.clone(), STORE).unwrap();
    let log = log.with_tables_of(&scene.store.begin_read().unwrap());
    let mut objects = Vec::new();
    log.commits(|commit| {
        objects.extend(commit.to_json());
        Ok(std::ops::ControlFlow::Continue(()))
    })
    .unwrap();
    let last: Vec<_> = objects.iter().rev().take(2).collect();
    assert_eq!(last[1]["operationName"], "Put record");
    assert_eq!((&last[1]["tableName"], &last[1]["primaryKey"]), (&"items".into(), &7.into()));
    assert_eq!(last[1]["fields"], "seven");
    assert_eq!(
        (&last[0]["operationName"], &last[0]["primaryKey"]),
        (&"Delete record".into(), &0.into())
    );
    assert!(last[0]["extraData"]["process"].is_string());
    let check = log.check().unwrap();
    assert_eq!(check.last, scene.store.lsn());
    assert!(check.operations >= 2);
    // A store without a log, and a log with a hole.
    Store::builder("/empty").disk(scene.sim.clone()).create().unwrap().close().unwrap();
    assert_eq!(code(LogFile::of_store(scene.sim.clone(), "/empty")).1, 1403);
    let segment = log.segments()[0].path.clone();
    let mut bytes = read_file(&scene.sim, &segment);
    bytes[200] ^= 1;
    scene.sim.open(&segment, OpenMode::Write).unwrap().write_at(&bytes, 0).unwrap();
    let damaged = LogFile::of_store(scene.sim.clone(), STORE).and_then(|log| log.check());
    assert_eq!(code(damaged), (ErrorKind::Corrupt, 1413));
}
