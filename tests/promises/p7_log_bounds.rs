//! P7 and P5 where the log has no room, lies elsewhere, or is lost: writes are refused in the open
//! (1274), a backup makes good, and what is gone is told.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use stillpoint::disk::{Call, Disk, EntryKind, Fault, FaultPlan, SimDisk, Survival};
use stillpoint::{Archive, ErrorKind, LogCapPolicy, Mode, Result, Store, StoreBuilder, StoreEvent};

use crate::scene::{STORE, Scene, TO, active_segment, all, files, get, put};

const ELSEWHERE: &str = "/fast/log";
const CAP: u64 = 100 << 10;

fn small(builder: StoreBuilder) -> StoreBuilder {
    builder.segment_size(16 << 10).memory_budget(48 << 10)
}

fn one(store: &Store) -> Result<()> {
    put(store, store.lsn() % 50, &format!("{:0500}", store.lsn()))
}

fn write(store: &Store, commits: u64) {
    (0..commits).for_each(|_| one(store).unwrap());
}

fn capped(policy: LogCapPolicy) -> Scene {
    Scene::with(10, |builder| small(builder).log_cap(CAP, policy))
}

fn reopen(sim: &Arc<SimDisk>) -> StoreBuilder {
    small(Store::builder(STORE).disk(sim.clone()))
}

#[test]
fn a_log_at_its_cap_refuses_writes_until_a_backup_of_the_data() {
    let scene = capped(LogCapPolicy::Refuse);
    let store = &scene.store;
    // Without a backup nothing is kept for archives, and nothing is refused.
    write(store, 400);
    assert_eq!(store.stats().engine.log_kept_from, None);
    store.backup(TO).run().unwrap();
    let events = store.events();
    let mut written = 0;
    let refused = loop {
        match one(store) {
            Ok(()) => written += 1,
            Err(refused) => break refused,
        }
        assert!(written < 1000, "the cap is never reached");
    };
    assert!(written > 100, "{written} commits of about 600 bytes");
    assert_eq!((refused.kind(), refused.code()), (ErrorKind::StorageFull, 1274), "{refused}");
    assert!(refused.is_retryable() && refused.advice().is_some());
    assert!(events.try_iter().any(|event| matches!(event, StoreEvent::LogFull)));
    let stats = store.stats().engine;
    assert!(stats.log_refuses && stats.log_cap_bytes == Some(CAP));
    assert!((CAP..CAP + 2000).contains(&stats.log_kept_bytes), "{}", stats.log_kept_bytes);
    // Reading goes on, and a checkpoint makes no room: the log is there for the archives.
    let before = all(store);
    store.checkpoint().unwrap();
    assert_eq!(one(store).unwrap_err().code(), 1274);
    // Nor does a reopening.
    store.close().unwrap();
    let store = reopen(&scene.sim).log_cap(CAP, LogCapPolicy::Refuse).open().unwrap();
    assert_eq!(one(&store).unwrap_err().code(), 1274);
    // A backup that fails makes no room either.
    scene.sim.fail(FaultPlan::always(Call::Write, TO, Fault::IO));
    store.backup(TO).run().unwrap_err();
    scene.sim.heal();
    assert_eq!(one(&store).unwrap_err().code(), 1274);
    assert_eq!(all(&store), before);
    store.backup(TO).run().unwrap();
    assert!(!store.stats().engine.log_refuses);
    write(&store, 100);
}

#[test]
fn a_log_that_drops_keeps_its_cap_and_remembers_the_gap() {
    let scene = capped(LogCapPolicy::DropOldest);
    let store = &scene.store;
    let first = store.backup(TO).run().unwrap();
    let events = store.events();
    write(store, 1000);
    store.checkpoint().unwrap();
    let kept = store.stats().engine.log_kept_bytes;
    assert!(kept <= CAP, "{kept}");
    let dropped: Vec<(u64, u64)> = events
        .try_iter()
        .filter_map(|event| match event {
            StoreEvent::LogDropped { after, last } => Some((after, last)),
            _ => None,
        })
        .collect();
    assert!(dropped.len() > 2, "{dropped:?}");
    assert_eq!(dropped[0].0, first.lsn);
    assert!(dropped.windows(2).all(|pair| pair[0].1 == pair[1].0), "{dropped:?}");
    let gone = dropped.last().unwrap().1;
    // The gap is remembered, and not told as something new.
    store.close().unwrap();
    let store = reopen(&scene.sim).log_cap(CAP, LogCapPolicy::DropOldest).open().unwrap();
    assert_eq!(store.stats().engine.log_kept_from, Some(gone));
    let state = crate::scene::read_file(&scene.sim, &Path::new(STORE).join("backup-state.json"));
    let state: serde_json::Value = serde_json::from_slice(&state).unwrap();
    assert_eq!(state["gaps"][0]["after"], first.lsn);
    assert_eq!(state["gaps"][0]["last"], gone);
    assert_eq!(state["gaps"].as_array().unwrap().len(), 1);
    let second = store.backup(TO).run().unwrap();
    assert!(second.problems.is_empty(), "{:?}", second.problems);
    let log = second.log_archive.unwrap();
    assert_eq!((log.after, log.last), (gone, second.lsn));
    write(&store, 10);
    let third = store.backup(TO).run().unwrap().log_archive.unwrap();
    assert_eq!(third.after, second.lsn);
}

#[test]
fn what_the_cap_takes_is_noted_before_it_goes_whenever_a_crash_comes() {
    let ground = capped(LogCapPolicy::DropOldest);
    let first = ground.store.backup(TO).run().unwrap();
    write(&ground.store, 130);
    ground.store.close().unwrap();
    let life = |sim: &Arc<SimDisk>| -> Result<()> {
        let store = reopen(sim).log_cap(CAP, LogCapPolicy::DropOldest).open()?;
        (0..60).try_for_each(|_| one(&store))
    };
    let whole = ground.sim.image();
    life(&whole).unwrap();
    let mut gaps = 0;
    for call in (0..whole.calls()).step_by(3) {
        let sim = ground.sim.image();
        sim.crash_at(call);
        let _cut_off = life(&sim);
        let sim = sim.reboot(Survival::Random(call));
        let store = reopen(&sim).open().unwrap();
        let report = store.backup(TO).run().unwrap();
        // A gap that the backup has to tell is one that was not noted.
        assert!(report.problems.is_empty(), "call {call}: {:?}", report.problems);
        gaps += u32::from(report.log_archive.unwrap().after > first.lsn);
    }
    assert!(gaps > 5, "{gaps}");
}

#[test]
fn a_log_elsewhere_is_used_through_a_link_and_is_in_no_archive() {
    let scene = Scene::with(50, |builder| small(builder).log_folder(ELSEWHERE));
    let link = Path::new(STORE).join("log");
    assert_eq!(scene.sim.metadata(&link).unwrap().kind, EntryKind::Symlink);
    assert!(!scene.sim.list(Path::new(ELSEWHERE)).unwrap().is_empty());
    let report = scene.store.backup(TO).run().unwrap();
    write(&scene.store, 100);
    let before = all(&scene.store);
    // Killed and opened again, and closed and opened again.
    let sim = scene.sim.reboot(Survival::Nothing);
    let store = reopen(&sim).open().unwrap();
    assert_eq!(all(&store), before);
    store.close().unwrap();
    let store = reopen(&sim).open().unwrap();
    assert_eq!(all(&store), before);
    let second = store.backup(TO).run().unwrap();
    assert!(second.log_archive.is_some());
    // An open store makes segments ready whenever it likes.
    store.close().unwrap();
    // What is restored has its log within the store, and the other one is left alone.
    let log_before = files(&sim, ELSEWHERE);
    Archive::open_on(sim.clone(), &report.archive).unwrap().restore("/copy").run().unwrap();
    assert_eq!(sim.metadata(Path::new("/copy/log")).unwrap().kind, EntryKind::Dir);
    let copy = Store::builder("/copy").disk(sim.clone()).open().unwrap();
    put(&copy, 1, "the copy's own").unwrap();
    copy.close().unwrap();
    assert!(files(&sim, ELSEWHERE) == log_before);
    // A second store cannot have the same folder.
    let taken = Store::builder("/second").disk(sim.clone()).log_folder(ELSEWHERE).create();
    assert_eq!(taken.unwrap_err().kind(), ErrorKind::Exists);
}

#[test]
fn a_destination_in_the_folder_of_the_log_is_refused() {
    let scene = Scene::with(5, |builder| small(builder).log_folder(ELSEWHERE));
    let error = scene.store.backup(ELSEWHERE).run().unwrap_err();
    assert_eq!(error.code(), 1407, "{error}");
}

#[test]
fn a_log_that_fails_latches_the_store_with_its_number_and_no_backup_is_made_then() {
    for call in [Call::Write, Call::Sync] {
        let scene = Scene::with(10, |builder| small(builder).log_folder(ELSEWHERE));
        let events = scene.store.events();
        let segment = active_segment(&scene.sim, ELSEWHERE);
        scene.sim.fail(FaultPlan::always(call, segment, Fault::IO));
        let unknown = one(&scene.store).unwrap_err();
        assert_eq!(
            (unknown.kind(), unknown.code()),
            (ErrorKind::OutcomeUnknown, 1274),
            "{unknown}"
        );
        let refused = one(&scene.store).unwrap_err();
        assert_eq!((refused.kind(), refused.code()), (ErrorKind::ReadOnly, 1274), "{refused}");
        assert!(refused.advice().is_some());
        assert!(events.try_iter().any(|event| matches!(event, StoreEvent::Latched { .. })));
        assert_eq!(all(&scene.store).len(), 10, "reading goes on");
        let backup = scene.store.backup(TO).run().unwrap_err();
        assert_eq!((backup.kind(), backup.code()), (ErrorKind::BackupFailed, 1415), "{backup}");
        scene.sim.heal();
        scene.store.close().unwrap_err();
        let store = scene.open(STORE).unwrap();
        one(&store).unwrap();
        store.backup(TO).run().unwrap();
    }
}

/// A store with a log on a disk that is gone, and what it had at its last checkpoint.
fn lost(mode: Mode) -> (Arc<SimDisk>, Vec<(u64, String)>) {
    let scene = Scene::with(10, |builder| small(builder).mode(mode).log_folder(ELSEWHERE));
    scene.store.backup(TO).run().unwrap();
    write(&scene.store, 20);
    scene.store.checkpoint().unwrap();
    let at_checkpoint = all(&scene.store);
    // The delta is so small that one commit may fill it: no checkpoint of it comes in between.
    scene.sim.fail(FaultPlan::always(Call::Write, "store.data", Fault::FULL));
    write(&scene.store, 1);
    let sim = scene.sim.reboot(Survival::Everything);
    sim.heal();
    sim.rename(Path::new("/fast"), Path::new("/gone")).unwrap();
    (sim, at_checkpoint)
}

#[test]
fn a_lost_log_is_told_and_given_up_only_when_asked_for() {
    let (sim, at_checkpoint) = lost(Mode::Server);
    let names = sim.list(Path::new(STORE)).unwrap();
    let error = reopen(&sim).open().unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::Corrupt, 1274), "{error}");
    assert!(error.advice().unwrap().contains("accept_lost_log"));
    assert_eq!(sim.list(Path::new(STORE)).unwrap(), names, "nothing was changed");
    let store = reopen(&sim).accept_lost_log().open().unwrap();
    assert_eq!(all(&store), at_checkpoint);
    let refused = one(&store).unwrap_err();
    assert_eq!((refused.kind(), refused.code()), (ErrorKind::ReadOnly, 1274), "{refused}");
    assert!(store.stats().engine.log_refuses);
    // A backup of the structure is none of the data.
    let structure = stillpoint::Contents { structure: true, data: false };
    store.backup(TO).contents(structure).run().unwrap();
    assert_eq!(one(&store).unwrap_err().code(), 1274);
    let report = store.backup(TO).run().unwrap();
    let codes: Vec<i32> = report.problems.iter().map(stillpoint::Error::code).collect();
    assert_eq!(codes, [2010], "the lost commits are a gap");
    one(&store).unwrap();
    assert!(!store.stats().engine.log_refuses);
    store.close().unwrap();
    // The new log is within the store; what comes is on a timeline of its own.
    let store = reopen(&sim).open().unwrap();
    let next = store.backup(TO).run().unwrap();
    assert_ne!(next.timeline.id, report.timeline.id);
    assert_eq!((next.timeline.parent, next.timeline.fork), (report.timeline.id, report.lsn));
    store.close().unwrap();
    verify_on(&sim);
    // The old log comes back: nothing leads to it, and nothing of it does any harm.
    sim.rename(Path::new("/gone"), Path::new("/fast")).unwrap();
    assert!(get(&reopen(&sim).open().unwrap(), 1).is_some());
}

fn verify_on(sim: &Arc<SimDisk>) {
    let store = reopen(sim).open().unwrap();
    store.verify().unwrap();
    store.close().unwrap();
}

#[test]
fn a_lost_log_may_go_on_elsewhere() {
    let (sim, at_checkpoint) = lost(Mode::SingleUser);
    let store = reopen(&sim).accept_lost_log().log_folder("/other/log").open().unwrap();
    assert_eq!(all(&store), at_checkpoint);
    store.backup(TO).run().unwrap();
    one(&store).unwrap();
    assert!(!sim.list(Path::new("/other/log")).unwrap().is_empty());
}

#[test]
fn a_log_that_is_there_is_not_given_up() {
    let scene = Scene::with(10, small);
    write(&scene.store, 30);
    let before = all(&scene.store);
    let sim = scene.sim.reboot(Survival::Nothing);
    let store = reopen(&sim).accept_lost_log().open().unwrap();
    assert_eq!(all(&store), before);
    one(&store).unwrap();
}

#[test]
fn a_state_file_that_cannot_be_understood_drops_nothing() {
    for bad in [&b"{"[..], b"", b"[]", b"{\"base\": 7}", b"\xff\xfe"] {
        let scene = Scene::with(10, small);
        let first = scene.store.backup(TO).run().unwrap();
        write(&scene.store, 100);
        scene.store.close().unwrap();
        let state = Path::new(STORE).join("backup-state.json");
        let segments =
            |sim: &SimDisk| -> Vec<PathBuf> { sim.list(&Path::new(STORE).join("log")).unwrap() };
        let kept = segments(&scene.sim);
        crate::scene::write_file(&scene.sim, &state, bad);
        let store = reopen(&scene.sim).open().unwrap();
        assert!(store.stats().backup_state_damage.is_some());
        write(&store, 100);
        store.checkpoint().unwrap();
        let now = segments(&scene.sim);
        assert!(kept.iter().all(|segment| now.contains(segment)), "{kept:?} {now:?}");
        // The next backup writes it anew.
        let second = store.backup(TO).run().unwrap();
        let log = second.log_archive.unwrap();
        assert!(log.after <= first.lsn && log.last == second.lsn, "{log:?}");
        assert!(store.stats().backup_state_damage.is_none());
        write(&store, 10);
        assert!(store.backup(TO).run().unwrap().log_archive.is_some());
    }
}
