//! A store that cannot be written is read and backed up, and no call ever writes to it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use stillpoint::disk::{Call, Disk, Fault, FaultPlan, SimDisk, Survival};
use stillpoint::regime::Regime;
use stillpoint::{
    Archive, BackupReport, Compact, Durability, Error, ErrorKind, IntegrateOptions, Store,
    StoreBuilder, code,
};

use crate::scene::{ITEMS, STORE, Scene, TO, all, files, get, put, records};

fn builder(sim: &Arc<SimDisk>) -> StoreBuilder {
    Store::builder(STORE).disk(sim.clone()).read_only(true)
}

fn open(sim: &Arc<SimDisk>) -> Store {
    builder(sim).open().unwrap()
}

/// A store with a checkpoint, and commits beyond it in its log.
fn scene() -> Scene {
    let scene = Scene::with(200, |builder| builder);
    scene.store.checkpoint().unwrap();
    for key in 0..50 {
        put(&scene.store, key * 3, &format!("later {key}")).unwrap();
    }
    scene
}

type Records = Vec<(u64, String)>;

/// That store on a read-only medium, as a killed process left it, and what is in it.
fn killed() -> (Arc<SimDisk>, Records) {
    let scene = scene();
    let then = all(&scene.store);
    let sim = scene.sim.reboot(Survival::Everything);
    sim.read_only_medium(STORE).unwrap();
    (sim, then)
}

/// The same, closed in order: no commit is in the log alone.
fn closed() -> (Arc<SimDisk>, Records) {
    let scene = scene();
    let then = all(&scene.store);
    scene.store.close().unwrap();
    let sim = scene.sim.image();
    sim.read_only_medium(STORE).unwrap();
    (sim, then)
}

/// Runs `work` and sees that it changes nothing in the store, and does not even try.
fn untouched<T>(sim: &Arc<SimDisk>, work: impl FnOnce() -> T) -> T {
    let before = files(sim, STORE);
    let result = work();
    assert!(files(sim, STORE) == before, "the store's folder changed");
    assert_eq!(sim.refused_writes(), [], "nothing was even tried");
    result
}

#[test]
fn every_inquiry_sees_the_newest_commit_and_no_call_writes() {
    for (sim, then) in [killed(), closed()] {
        untouched(&sim, || {
            let store = open(&sim);
            assert!(store.is_read_only());
            assert!(all(&store) == then);
            assert_eq!(get(&store, 3).unwrap(), "later 1");
            let read = store.begin_read().unwrap();
            assert_eq!(read.table(ITEMS).unwrap().len().unwrap(), then.len() as u64);
            assert_eq!(store.verify().unwrap().lsn, store.lsn());
            assert!(store.stats().engine.latched.unwrap().contains("read only"));
            store.log().unwrap().check().unwrap();
            store.export_log(Vec::new()).unwrap();
            let regime = Regime::builder(builder(&sim)).open().unwrap();
            assert_eq!(regime.coverage().unwrap().lsn, store.lsn());
            regime.close().unwrap();
            store.close().unwrap();
            assert_eq!(store.begin_read().unwrap_err().kind(), ErrorKind::Closed);
            assert!(records(&read) == then, "what was open stays readable");
        });
    }
}

#[test]
fn every_write_is_refused_at_once_with_2013() {
    let (sim, then) = killed();
    untouched(&sim, || {
        let store = open(&sim);
        let errors = [
            store.begin_write().err(),
            store.request_write().err(),
            store.begin_structure().err(),
            store.transact(|write| write.table(ITEMS)?.put(&1, &String::new())).err(),
            store.sync().err(),
            store.checkpoint().err(),
            store.integrate(&[Path::new(TO)], IntegrateOptions::default()).err(),
            store.new_log_file(TO).err(),
        ];
        for (number, error) in errors.into_iter().enumerate() {
            refused(&error.unwrap_or_else(|| panic!("write {number} was taken")));
        }
        assert!(all(&store) == then);
        store.close().unwrap();
    });
    // Whoever wants to write there is told how to read.
    let writer = Store::builder(STORE).disk(sim.clone()).open().unwrap_err();
    refused(&writer);
    assert!(writer.advice().unwrap().contains("open_read_only"), "{writer}");
    let made = Store::builder("/new").disk(sim.clone()).read_only(true);
    assert_eq!(made.clone().create().unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(made.open_or_create().unwrap_err().kind(), ErrorKind::NotFound);
}

fn refused(error: &Error) {
    assert_eq!((error.kind(), error.code()), (ErrorKind::ReadOnly, code::READ_ONLY), "{error}");
    assert!(error.advice().is_some());
}

/// Sees that the archive of `report` is whole and holds what `then` says.
fn holds(sim: &Arc<SimDisk>, report: &BackupReport, then: &Records) {
    let archive = Archive::open_on(sim.clone(), &report.archive).unwrap();
    archive.verify().unwrap();
    let copy = format!("/copy {}", report.number);
    archive.restore(&copy).run().unwrap();
    let copy = Store::builder(&copy).disk(sim.clone()).open().unwrap();
    assert_eq!(copy.lsn(), report.lsn);
    assert!(all(&copy) == *then);
    // The copy is a store of its own right.
    put(&copy, 1, "written").unwrap();
    copy.close().unwrap();
}

#[test]
fn a_backup_holds_the_newest_commit_and_leaves_nothing_but_archives() {
    for (sim, then) in [killed(), closed()] {
        let first = untouched(&sim, || {
            let store = open(&sim);
            let report = store.backup(TO).run().unwrap();
            assert_eq!((report.lsn, report.number), (store.lsn(), 1));
            assert!(report.log_archive.is_none() && report.problems.is_empty(), "{report:?}");
            let incremental = store.backup(TO).incremental().run().unwrap_err();
            refused(&incremental);
            report
        });
        assert_eq!(sim.list(Path::new(TO)).unwrap().len(), 1, "{:?}", sim.list(Path::new(TO)));
        holds(&sim, &first, &then);
        // By the settings, into the history of the destination; the journal would be in the store.
        let second = untouched(&sim, || {
            let regime = Regime::builder(builder(&sim)).open().unwrap();
            let report = regime.backup().to(TO).run().unwrap();
            regime.close().unwrap();
            report
        });
        assert_eq!(second.number, 2);
        holds(&sim, &second, &then);
    }
}

/// The simulated clock goes on with each look at it, so many records take long.
#[test]
fn pages_that_take_long_to_write_are_progress_and_break_no_hold() {
    let scene = Scene::with(20_000, |builder| builder);
    let then = all(&scene.store);
    let sim = scene.sim.reboot(Survival::Everything);
    sim.read_only_medium(STORE).unwrap();
    let store = open(&sim);
    let began = sim.elapsed();
    let limit = Duration::from_millis(10);
    let report = store.backup(TO).stall_limit(limit).run().unwrap();
    assert!(sim.elapsed() - began > limit, "longer than the limit");
    assert!(!report.went_live, "the hold was kept");
    assert!(report.hold > limit, "and that for long: {:?}", report.hold);
    holds(&sim, &report, &then);
}

#[test]
fn a_backup_that_finds_no_room_for_the_pages_leaves_nothing() {
    let (sim, then) = killed();
    let faults =
        [(Call::Create, Fault::FULL), (Call::Allocate, Fault::FULL), (Call::Sync, Fault::IO)];
    for (call, fault) in faults {
        sim.fail(FaultPlan::always(call, ".pages.", fault));
        let store = open(&sim);
        let error = untouched(&sim, || store.backup(TO).run());
        assert!(error.is_err(), "{call:?}: the pages were written");
        sim.heal();
        assert_eq!(sim.list(Path::new(TO)).unwrap(), [] as [&Path; 0]);
        assert!(all(&store) == then);
    }
}

#[test]
fn a_log_that_takes_more_memory_than_allowed_is_refused_with_what_to_do() {
    let (sim, then) = killed();
    untouched(&sim, || {
        let error = builder(&sim).memory_budget(300).open().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Limit, "{error}");
        assert!(error.advice().unwrap().contains("memory_budget"), "{error:?}");
        assert!(all(&builder(&sim).memory_budget(1 << 20).open().unwrap()) == then);
    });
}

#[test]
fn it_reads_what_an_opening_for_writing_would_find_whatever_a_crash_left() {
    for seed in 0..60 {
        let scene = scene();
        for key in 0..seed % 7 {
            let write = scene.store.begin_write().unwrap();
            write.set_durability(Durability::Eventual);
            write.table(ITEMS).unwrap().put(&key, &"unsynced".repeat(100)).unwrap();
            write.commit().unwrap();
        }
        let sim = scene.sim.reboot(Survival::Random(seed));
        let writer = Store::builder(STORE).disk(sim.image()).open().unwrap();
        sim.read_only_medium(STORE).unwrap();
        untouched(&sim, || {
            let store = open(&sim);
            assert_eq!(store.lsn(), writer.lsn(), "seed {seed}");
            assert!(all(&store) == all(&writer), "seed {seed}");
        });
    }
}

#[test]
fn readers_share_the_store_and_keep_writers_out_and_the_other_way_round() {
    let scene = scene();
    let sim = scene.sim.clone();
    let write = || Store::builder(STORE).disk(sim.clone()).open();
    assert_eq!(builder(&sim).open().unwrap_err().kind(), ErrorKind::InUse, "a writer has it");
    scene.store.close().unwrap();
    drop(scene);
    untouched(&sim, || {
        let (one, two) = (open(&sim), open(&sim));
        assert_eq!(write().unwrap_err().kind(), ErrorKind::InUse);
        one.close().unwrap();
        assert_eq!(write().unwrap_err().kind(), ErrorKind::InUse);
        let read = two.begin_read().unwrap();
        two.close().unwrap();
        assert_eq!(write().unwrap_err().kind(), ErrorKind::InUse, "somebody still reads");
        drop(read);
    });
    write().unwrap().close().unwrap();
}

#[test]
fn without_a_lock_file_only_a_store_that_cannot_be_written_is_read() {
    for is_medium in [true, false] {
        let scene = scene();
        let then = all(&scene.store);
        let sim = scene.sim.reboot(Survival::Everything);
        sim.remove_file(&Path::new(STORE).join("lock")).unwrap();
        untouched(&sim, || refused(&builder(&sim).open().unwrap_err()));
        match is_medium {
            true => sim.read_only_medium(STORE).unwrap(),
            false => sim.deny_names(STORE).unwrap(),
        }
        untouched(&sim, || assert!(all(&open(&sim)) == then));
    }
}

#[test]
fn a_store_whose_replacement_was_interrupted_is_refused_and_not_changed() {
    let scene = scene();
    let then = all(&scene.store);
    scene.store.close().unwrap();
    let ground = scene.sim.image();
    let count = ground.image();
    Compact::new(STORE).disk(count.clone()).run().unwrap();
    let (mut whole, mut refused) = (0, 0);
    for call in 1..=count.calls() {
        let sim = ground.image();
        sim.crash_at(call);
        // Where it is only the last look that fails, it may succeed.
        let _crashed = Compact::new(STORE).disk(sim.clone()).run();
        let sim = sim.reboot(Survival::Everything);
        sim.read_only_medium(STORE).unwrap();
        untouched(&sim, || match builder(&sim).open() {
            Ok(store) => {
                assert!(all(&store) == then, "call {call}");
                whole += 1;
            }
            Err(error) => {
                assert!(error.advice().is_some(), "call {call}: {error}");
                refused += 1;
            }
        });
    }
    assert!(whole > 0 && refused > 0, "{whole} whole, {refused} refused");
}

#[test]
fn a_lost_log_is_not_given_up() {
    let scene = scene();
    let sim = scene.sim.reboot(Survival::Everything);
    for path in sim.list(&Path::new(STORE).join("log")).unwrap() {
        sim.remove_file(&Path::new(STORE).join("log").join(path)).unwrap();
    }
    sim.read_only_medium(STORE).unwrap();
    untouched(&sim, || {
        let error = builder(&sim).accept_lost_log().open().unwrap_err();
        assert_eq!(error.code(), code::LOG_UNAVAILABLE, "{error}");
    });
}

#[test]
fn what_is_no_store_is_no_store() {
    let error = Store::open_read_only("/none such").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
}
