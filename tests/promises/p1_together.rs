//! Promise 1 for several stores: their archives are of one instant. Whatever an application did in one
//! store after something in another is not saved without the other.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, Ordering};
use std::time::Duration;

use crossbeam_channel::Receiver;
use stillpoint::disk::{Call, Disk, RealDisk, SimDisk};
use stillpoint::{
    Access, Archive, BackupBuilder, BackupReport, ErrorKind, Participant, Participation, Result,
    Stage, Store, Together, backup_together,
};

use crate::scene::{ITEMS, aside, end, until};

const TO: &str = "/backups";

/// Two stores on one disk, the first the one with the smaller id.
struct Pair {
    sim: Arc<SimDisk>,
    stores: Vec<Store>,
}

fn pair() -> Pair {
    let sim = SimDisk::new(5);
    sim.create_dir(Path::new(TO)).unwrap();
    let mut stores: Vec<Store> = ["/orders", "/stock"]
        .into_iter()
        .map(|dir| Store::builder(dir).disk(sim.clone()).segment_size(1 << 20).create().unwrap())
        .collect();
    for store in &stores {
        count_to(store, 0);
    }
    let id = |store: &Store| store.backup(TO).access(Access::Live).run().unwrap().store_id;
    stores.sort_by_key(id);
    Pair { sim, stores }
}

impl Pair {
    fn backups(&self, access: Access) -> Vec<BackupBuilder> {
        self.stores.iter().map(|store| store.backup(TO).access(access)).collect()
    }

    fn saved(&self, report: &BackupReport) -> u64 {
        saved(self.sim.clone(), report)
    }

    fn archives(&self) -> Vec<PathBuf> {
        self.sim.list(Path::new(TO)).unwrap()
    }
}

fn count_to(store: &Store, count: u64) {
    let write = store.begin_write().unwrap();
    write.table(ITEMS).unwrap().put(&0, &count.to_string()).unwrap();
    write.commit().unwrap();
}

/// The count that an archive holds.
fn saved(disk: Arc<dyn Disk>, report: &BackupReport) -> u64 {
    let archive = Archive::open_on(disk, &report.archive).unwrap();
    let read = archive.read().unwrap();
    read.table(ITEMS).unwrap().get(&0).unwrap().unwrap().parse().unwrap()
}

/// Counts in all stores, one after the other, until it is told to end.
fn counting(stores: &[Store], stop: &Arc<AtomicBool>) -> Receiver<u64> {
    let (stores, stop) = (stores.to_vec(), stop.clone());
    aside(move || {
        let mut count = 0;
        while !stop.load(Ordering::SeqCst) {
            count += 1;
            stores.iter().for_each(|store| count_to(store, count));
        }
        count
    })
}

fn check_one_instant(saved: &[u64]) {
    for (ahead, behind) in saved.iter().zip(&saved[1..]) {
        assert!(behind <= ahead, "one store is ahead of what came before: {saved:?}");
        assert!(*ahead <= behind + 1, "not one instant: {saved:?}");
    }
}

#[test]
fn no_archive_is_ahead_of_what_the_application_did_before_in_another_store() {
    for reverse in [false, true] {
        let mut pair = pair();
        // The order of the application has nothing to do with that of the ids.
        if reverse {
            pair.stores.reverse();
        }
        let stop = Arc::new(AtomicBool::new(false));
        let writer = counting(&pair.stores, &stop);
        let mut seen = Vec::new();
        for round in 0..12 {
            let access = if round % 3 == 2 { Access::ReadOnly } else { Access::Live };
            let reports = backup_together(pair.backups(access)).unwrap();
            let reports: Vec<_> = reports.into_iter().map(Result::unwrap).collect();
            let counts: Vec<_> = reports.iter().map(|report| pair.saved(report)).collect();
            check_one_instant(&counts);
            seen.push(counts[0]);
            let group = reports[0].together.clone().unwrap();
            assert_eq!(reports[1].together.as_ref(), Some(&group));
            assert!(group.stores.contains(&reports[0].store_id) && group.stores.len() == 2);
            let archive = Archive::open_on(pair.sim.clone(), &reports[0].archive).unwrap();
            assert_eq!(archive.results().together.as_ref(), Some(&group));
            assert!(reports.iter().all(|report| report.pin > Duration::ZERO));
        }
        stop.store(true, Ordering::SeqCst);
        assert!(end(&writer) >= *seen.last().unwrap());
        assert!(seen.first() < seen.last(), "the application went on meanwhile: {seen:?}");
    }
}

#[test]
fn an_application_with_handles_on_both_stores_is_no_deadlock() {
    // On the real disk, since the locks' patience is by the clock.
    let scratch = tempfile::tempdir().unwrap();
    let to = scratch.path().join("backups");
    std::fs::create_dir(&to).unwrap();
    let stores: Vec<Store> = ["orders", "stock"]
        .into_iter()
        .map(|name| {
            Store::builder(scratch.path().join(name)).segment_size(1 << 20).create().unwrap()
        })
        .collect();
    stores.iter().for_each(|store| count_to(store, 0));
    let stop = Arc::new(AtomicBool::new(false));
    let both = |first: &Store, second: &Store, key: u64| {
        let (first, second, stop) = (first.clone(), second.clone(), stop.clone());
        aside(move || {
            while !stop.load(Ordering::SeqCst) {
                let one = first.begin_write().unwrap();
                std::thread::sleep(Duration::from_millis(1));
                let other = second.begin_write().unwrap();
                one.table(ITEMS).unwrap().put(&key, &"x".to_owned()).unwrap();
                other.table(ITEMS).unwrap().put(&key, &"x".to_owned()).unwrap();
                one.commit().unwrap();
                other.commit().unwrap();
            }
        })
    };
    let writers = [both(&stores[0], &stores[1], 7), both(&stores[1], &stores[0], 8)];
    for access in [Access::ReadOnly, Access::Live, Access::Frozen] {
        let backups = stores.iter().map(|store| {
            store.backup(&to).access(access).transaction_timeout(Duration::from_secs(50))
        });
        for report in backup_together(backups).unwrap() {
            saved(RealDisk::new(), &report.unwrap());
        }
    }
    stop.store(true, Ordering::SeqCst);
    writers.iter().for_each(end);
}

#[test]
fn a_line_that_cannot_be_got_lets_the_other_go_at_its_limit() {
    let pair = pair();
    let [first, second] = &pair.stores[..] else { panic!("two stores") };
    // A backup ended the segment; with this the next one is there.
    count_to(second, 0);
    let hang = pair.sim.hang(format!("{}/log/", second.path().display()));
    let stuck = {
        let second = second.clone();
        aside(move || count_to(&second, 1))
    };
    // The commit leads the line of the second store: nothing else writes into a log.
    until("the commit is under way", || hang.caught().contains(&Call::Write));
    let group = Together::new(pair.backups(Access::Live)).line_limit(Duration::from_secs(1));
    let running = group.start().unwrap();
    until("the first comes to its pin", || running.backups()[0].progress().stage >= Stage::Pin);
    let waits = {
        let first = first.clone();
        aside(move || count_to(&first, 1))
    };
    // The first store is let go at the limit, and its backup ends, while the second still hangs.
    let (mut waited, tick) = (Duration::ZERO, Duration::from_millis(20));
    until("the first backup ends", || {
        pair.sim.advance(tick);
        waited += tick;
        running.backups()[0].is_finished()
    });
    assert!(waited >= Duration::from_secs(1), "{waited:?}");
    end(&waits);
    assert!(stuck.is_empty() && !running.backups()[1].is_finished());
    drop(hang);
    end(&stuck);
    for result in running.wait() {
        let error = result.unwrap_err();
        assert_eq!(error.code(), 1405, "{error}");
    }
    backup_together(pair.backups(Access::Live)).unwrap().into_iter().for_each(|r| drop(r.unwrap()));
}

#[test]
fn a_store_listed_twice_and_two_archives_of_one_name_are_refused() {
    let pair = pair();
    let before = pair.archives();
    let one = &pair.stores[0];
    let error = backup_together([one.backup(TO), one.clone().backup(TO)]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    let told = Arc::new(AtomicI32::new(0));
    let heard = told.clone();
    let mut backups: Vec<_> =
        pair.stores.iter().map(|store| store.backup(TO).name("same")).collect();
    let first = backups.remove(0).on_shutdown(move |code| heard.store(code, Ordering::SeqCst));
    backups.insert(0, first);
    let ends = backup_together(backups).unwrap();
    let errors: Vec<_> = ends.into_iter().map(|end| end.unwrap_err()).collect();
    assert!(errors.iter().any(|error| error.kind() == ErrorKind::Invalid), "{errors:?}");
    assert_eq!(told.load(Ordering::SeqCst), errors[0].code());
    assert_eq!(pair.archives(), before);
    // All turns are given back.
    backup_together(pair.backups(Access::ReadOnly))
        .unwrap()
        .into_iter()
        .for_each(|r| drop(r.unwrap()));
    assert!(backup_together([]).unwrap().is_empty());
    backup_together([one.backup(TO)]).unwrap().remove(0).unwrap();
}

#[test]
fn who_fails_before_the_instant_fails_all_and_nobody_stays_held() {
    type Way = fn(BackupBuilder) -> BackupBuilder;
    let ways: [(i32, Way); 4] = [
        (-7, |backup| backup.on_startup(|_| Err(-7))),
        (2006, |backup| backup.on_startup(|_| panic!("a bug of the application's"))),
        (1406, |backup| {
            backup.on_progress(|progress| match progress.stage == Stage::Pin {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            })
        }),
        (2012, |backup| backup.participant("mine", Broken)),
    ];
    for (code, way) in ways {
        for access in [Access::Live, Access::ReadOnly] {
            for bad in [0, 1] {
                let pair = pair();
                let before = pair.archives();
                let told = Arc::new(AtomicI32::new(0));
                let mut backups = pair.backups(access);
                let failing = way(backups.remove(bad));
                backups.insert(bad, failing);
                let heard = told.clone();
                let other = backups.remove(1 - bad);
                let other = other.on_shutdown(move |code| heard.store(code, Ordering::SeqCst));
                backups.insert(1 - bad, other);
                let results = backup_together(backups).unwrap();
                for result in &results {
                    assert_eq!(result.as_ref().unwrap_err().code(), code, "{result:?}");
                }
                assert_eq!(told.load(Ordering::SeqCst), code);
                assert_eq!(pair.archives(), before);
                pair.stores.iter().for_each(|store| count_to(store, 9));
            }
        }
    }
}

/// A participant that cannot stand still.
struct Broken;

impl Participant for Broken {
    fn freeze(&mut self) -> Participation {
        Err("not now".into())
    }

    fn thaw(&mut self) -> Participation {
        Ok(())
    }
}

/// A participant that counts how often it stands still, and goes on.
struct Still {
    frozen: Arc<AtomicU32>,
    others: Vec<Store>,
}

impl Participant for Still {
    fn freeze(&mut self) -> Participation {
        for store in &self.others {
            // Any store of the group: its backup may hold it already.
            let refused = store.begin_write().err().map(|e| e.code());
            assert!(matches!(refused, None | Some(2005)), "{refused:?}");
        }
        self.frozen.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    fn thaw(&mut self) -> Participation {
        self.frozen.fetch_add(10, Ordering::SeqCst);
        Ok(())
    }
}

#[test]
fn participants_of_one_store_stand_still_for_the_instant_of_all() {
    let pair = pair();
    let frozen = Arc::new(AtomicU32::new(0));
    let still = Still { frozen: frozen.clone(), others: pair.stores.clone() };
    let mut backups = pair.backups(Access::ReadOnly);
    let with = backups.remove(1).participant("mine", still);
    backups.push(with);
    for result in backup_together(backups).unwrap() {
        result.unwrap();
    }
    assert_eq!(frozen.load(Ordering::SeqCst), 11);
}

#[test]
fn after_the_instant_each_backup_is_alone() {
    let pair = pair();
    let mut backups = pair.backups(Access::Live);
    let stopped = backups.remove(0).on_progress(|progress| match progress.stage == Stage::Verify {
        true => ControlFlow::Break(()),
        false => ControlFlow::Continue(()),
    });
    backups.insert(0, stopped);
    let mut results = backup_together(backups).unwrap();
    results.remove(1).unwrap();
    assert_eq!(results.remove(0).unwrap_err().code(), 1406);
}

#[test]
fn stop_of_the_group_ends_them_all() {
    let pair = pair();
    let before = pair.archives();
    let hang = pair.sim.hang(".tar.zst.");
    let running = Together::new(pair.backups(Access::ReadOnly)).start().unwrap();
    until("both copy", || hang.caught().len() >= 2);
    running.stop();
    // Writers go on before the hanging copy ends.
    until("writers go on", || pair.stores.iter().all(|store| !store.locked()));
    drop(hang);
    for result in running.wait() {
        assert_eq!(result.unwrap_err().code(), 1406);
    }
    assert_eq!(pair.archives(), before);
}
