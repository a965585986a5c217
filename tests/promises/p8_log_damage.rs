//! P8: damage of the kept log. `verify` finds it wherever it is, a backup says how to go on, and what it
//! says works: no more is lost than what cannot be read.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use stillpoint::disk::{Disk, SimDisk};
use stillpoint::regime::{Coverage, Regime};
use stillpoint::{Archive, Error, ErrorKind, LogFile, Lsn, RestorePoint, Store, code};

use crate::scene::{ITEMS, STORE, Scene, TO, files, read_file, write_file};
use crate::support::settings::settings;

/// Where the first group of a segment begins, behind the header.
const FIRST_GROUP: u64 = 128;

fn open(sim: &Arc<SimDisk>) -> Store {
    let small = Store::builder(STORE).disk(sim.clone()).segment_size(16 << 10);
    small.memory_budget(48 << 10).open().unwrap()
}

fn write(store: &Store, commits: u64) {
    for _ in 0..commits {
        let key = store.lsn();
        store.transact(|write| write.table(ITEMS)?.put(&key, &format!("{key:0300}"))).unwrap();
    }
}

/// A closed store with one archive, at the given commit, and several segments of log behind it.
fn ground() -> (Arc<SimDisk>, Lsn) {
    let scene = Scene::with(10, |builder| builder.segment_size(16 << 10).memory_budget(48 << 10));
    let first = scene.store.backup(TO).workers(1).run().unwrap();
    write(&scene.store, 150);
    scene.store.close().unwrap();
    (scene.sim, first.lsn)
}

fn segments(sim: &Arc<SimDisk>) -> Vec<PathBuf> {
    let log = Path::new(STORE).join("log");
    // Not the reserve, which holds room and no commits.
    let names = sim.list(&log).unwrap().into_iter();
    names.filter(|name| name.extension().is_some()).map(|name| log.join(name)).collect()
}

fn spoil(sim: &Arc<SimDisk>, path: &Path, at: u64) {
    sim.corrupt(path, at, 3).unwrap();
    sim.corrupt(path, at + 1, 5).unwrap();
}

/// A whole check of the closed store, as `stillpoint verify` makes it.
fn verify(sim: &Arc<SimDisk>) -> stillpoint::Result<stillpoint::StoreCheck> {
    stillpoint::verify_store_on(sim.clone(), STORE)
}

fn state_at(sim: &Arc<SimDisk>, archive: &Path, lsn: Lsn, to: &str) -> stillpoint::Result<Lsn> {
    let archive = Archive::open_on(sim.clone(), archive)?;
    let report = archive.restore(to).logs_in(TO).to(RestorePoint::Lsn(lsn)).run()?;
    Ok(report.lsn)
}

#[test]
fn damage_at_any_place_of_any_kept_segment_is_found() {
    let (sim, _) = ground();
    assert!(verify(&sim).unwrap().log_segments > 3);
    for path in segments(&sim) {
        let len = read_file(&sim, &path).iter().rposition(|byte| *byte != 0).unwrap() as u64;
        for at in [70, 230, len / 2, len - 200] {
            let sim = sim.image();
            spoil(&sim, &path, at);
            let error = verify(&sim).expect_err("it is damaged");
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{} at {at}: {error}", path.display());
            // A header that is lost shows at the end of the segment before it.
            let log = Path::new(STORE).join("log");
            assert!(error.path().is_some_and(|at| at.starts_with(log)), "{error}");
        }
    }
}

#[test]
fn a_kept_segment_that_is_missing_is_found() {
    let (sim, _) = ground();
    for path in segments(&sim).into_iter().rev().skip(1) {
        let sim = sim.image();
        sim.remove_file(&path).unwrap();
        let error = verify(&sim).expect_err("one is missing");
        assert!(error.kind() == ErrorKind::Corrupt && error.advice().is_some(), "{error}");
    }
}

#[test]
fn following_the_hint_of_a_damaged_segment_saves_all_that_can_be_read_wherever_it_is() {
    let (ground, first) = ground();
    let archive = Path::new(TO).join("inventory[0001].tar.zst");
    let all = segments(&ground);
    for path in &all {
        for at in [FIRST_GROUP + 70, 6000] {
            let sim = ground.image();
            if read_file(&sim, path).len() < 7000 {
                continue;
            }
            spoil(&sim, path, at);
            let store = open(&sim);
            let refused = store.backup(TO).workers(1).run().expect_err("the log is damaged");
            assert_eq!((refused.kind(), refused.code()), (ErrorKind::Corrupt, 1408), "{refused}");
            let advice = refused.advice().unwrap();
            assert!(advice.contains("accept_log_damage()"), "{advice}");
            let report = store.backup(TO).workers(1).accept_log_damage().run().unwrap();
            let codes: Vec<i32> = report.problems.iter().map(Error::code).collect();
            assert_eq!(codes, [code::LOG_GAP], "{path:?} at {at}");
            assert_only_the_gap_is_lost(&sim, &archive, (first, report.lsn));
            // It is over with that: the next one is an ordinary one, and nothing is damaged any more.
            write(&store, 5);
            assert!(store.backup(TO).workers(1).run().unwrap().problems.is_empty());
            store.close().unwrap();
            verify(&sim).unwrap();
        }
    }
}

/// Every commit that the log archives hold is restored, and the others are those of one segment.
fn assert_only_the_gap_is_lost(sim: &Arc<SimDisk>, archive: &Path, (first, last): (Lsn, Lsn)) {
    let log = LogFile::open_on(sim.clone(), TO).unwrap();
    let mut held = first;
    let mut lost = 0;
    for segment in log.segments() {
        lost += segment.after.saturating_sub(held);
        held = held.max(segment.last);
        if lost == 0 {
            let to = format!("/copy {}", segment.last);
            assert_eq!(state_at(sim, archive, segment.last, &to).unwrap(), segment.last);
        }
    }
    lost += last - held;
    assert!((1..60).contains(&lost), "{lost} commits are lost");
}

#[test]
fn a_damaged_header_of_a_segment_loses_that_segment_only() {
    let (ground, first) = ground();
    let all = segments(&ground);
    let path = &all[all.len() / 2];
    spoil(&ground, path, 40);
    let error = verify(&ground).expect_err("it is damaged");
    assert_eq!(error.path(), Some(&**path), "{error}");
    let store = open(&ground);
    store.backup(TO).workers(1).run().expect_err("the log is damaged");
    let report = store.backup(TO).workers(1).accept_log_damage().run().unwrap();
    let archive = Path::new(TO).join("inventory[0001].tar.zst");
    assert_only_the_gap_is_lost(&ground, &archive, (first, report.lsn));
}

#[test]
fn a_refused_backup_leaves_store_and_destination_as_they_were() {
    let (sim, _) = ground();
    spoil(&sim, &segments(&sim)[1], 230);
    let before = files(&sim, TO);
    let store = open(&sim);
    store.backup(TO).workers(1).run().expect_err("the log is damaged");
    assert!(files(&sim, TO) == before);
    assert!(store.begin_read().unwrap().table(ITEMS).unwrap().len().unwrap() >= 150);
}

fn coverage(sim: &Arc<SimDisk>) -> Coverage {
    let small = Store::builder(STORE).disk(sim.clone()).segment_size(16 << 10);
    let regime = Regime::builder(small.memory_budget(48 << 10));
    let regime = regime.without_thread().without_catch_up().open().unwrap();
    regime.coverage().unwrap()
}

#[test]
fn coverage_claims_no_commit_that_damage_of_the_kept_log_makes_unreachable() {
    let (ground, first) = ground();
    let settings_folder = Path::new(STORE).join("Settings");
    ground.create_dir(&settings_folder).unwrap();
    let to = settings(&[("General/DestinationFolder", TO)]);
    write_file(&ground, &settings_folder.join("Backup.4DSettings"), to.as_bytes());
    let sound = coverage(&ground);
    assert!(sound.unusable.is_empty() && sound.newest.unwrap().lsn == sound.lsn, "{sound:?}");
    let archive = Path::new(TO).join("inventory[0001].tar.zst");
    let all = segments(&ground);
    let mut ends = Vec::new();
    for (number, path) in all.iter().enumerate() {
        let used = read_file(&ground, path).iter().rposition(|byte| *byte != 0).unwrap() as u64;
        for at in [40, FIRST_GROUP + 70, used / 2, used - 200] {
            // The newest one is what the opening recovers, and cuts.
            if number + 1 == all.len() || at > used {
                continue;
            }
            let sim = ground.image();
            spoil(&sim, path, at);
            let told = coverage(&sim);
            let newest = told.newest.unwrap().lsn;
            assert!((first..told.lsn).contains(&newest), "{path:?} at {at}: {told:?}");
            assert!(told.unusable.iter().any(|e| e.code() == code::LOG_CHECK), "{told:?}");
            // What is claimed can be had, from a copy of what lies there.
            let archive = Archive::open_on(sim.clone(), &archive).unwrap();
            let log = Path::new(STORE).join("log");
            let copy = format!("/copy {number} {at}");
            let restore = archive.restore(&copy).logs_in(&log).to(RestorePoint::Lsn(newest));
            assert_eq!(restore.run().unwrap().lsn, newest, "{path:?} at {at}");
            ends.push(newest);
        }
    }
    ends.sort_unstable();
    ends.dedup();
    assert!(ends.len() > 3, "damage at several places: {ends:?}");
}
