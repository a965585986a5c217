//! P2: what would wait for something that its own thread holds is refused at once, with 1404 and its
//! name. The clock stands still, so nothing here ends by a time limit.

use std::time::Duration;

use crossbeam_channel::bounded;
use stillpoint::{Access, Contents, Error, ErrorKind, Mode, Result, TableDef, WriteHandle};

use crate::scene::{ITEMS, Scene, TO, aside, end, put, until, write_file};

const OTHER: TableDef<str, u64> = TableDef::new("others");
const HOUR: Duration = Duration::from_secs(3600);

/// Runs `scene` on a thread of its own: it would stand there for ever where the promise is broken.
fn alone<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    end(&aside(work))
}

#[track_caller]
fn refused<T: std::fmt::Debug>(result: Result<T>) -> Error {
    let error = result.unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::Invalid, 1404), "{error}");
    assert!(error.advice().is_some(), "{error}");
    error
}

fn write_one(write: &WriteHandle) -> Result<()> {
    write.table(ITEMS)?.put(&1, &"written".into())
}

#[test]
fn a_backup_on_the_thread_that_holds_writes_is_refused_unless_it_needs_none() {
    alone(|| {
        let scene = Scene::new(Mode::Server, 50);
        let store = &scene.store;
        write_file(&scene.sim, "/photo".as_ref(), b"pixels");
        let hold = store.hold_writes(HOUR).unwrap();
        let data = Contents { structure: false, data: true };
        refused(store.backup(TO).run());
        refused(store.backup(TO).access(Access::Frozen).run());
        refused(store.backup(TO).access(Access::Frozen).contents(data).run());
        let copying = store.backup(TO).access(Access::Live).attachment("/photo");
        refused(copying.hold_for_attachments(HOUR).run());
        assert!(scene.destination().is_empty());
        // Two that only keep writes waiting go together, and `Live` asks for nothing.
        store.backup(TO).access(Access::ReadOnly).contents(data).run().unwrap();
        store.backup(TO).access(Access::Live).run().unwrap();
        drop(hold);
        store.backup(TO).run().unwrap();
    });
}

#[test]
fn writes_on_the_thread_that_holds_writes_are_refused() {
    alone(|| {
        let scene = Scene::new(Mode::Server, 5);
        let store = &scene.store;
        let hold = store.hold_writes(HOUR).unwrap();
        refused(store.begin_write());
        refused(store.transact(write_one));
        refused(store.begin_structure());
        let rejected = store.submit(write_one).unwrap().wait().unwrap_err();
        assert_eq!(rejected.error.code(), 1404);
        let mut work = rejected.work.expect("it was not begun");
        let again = store.hold_writes(HOUR).unwrap();
        assert_eq!(store.begin_read().unwrap().table(ITEMS).unwrap().len().unwrap(), 5);
        store.checkpoint().unwrap();
        drop((again, hold));
        store.transact(&mut work).unwrap();
    });
}

#[test]
fn a_record_that_another_handle_of_the_thread_holds_is_refused_by_its_name() {
    alone(|| {
        let scene = Scene::new(Mode::Server, 5);
        let store = &scene.store;
        store.transact(|write| write.table(OTHER)?.put("ann", &1)).unwrap();
        let inner = store.transact(|outer| {
            outer.table(ITEMS)?.get_for_update(&1)?;
            outer.table(OTHER)?.get("ann")?;
            Ok((
                store.transact(write_one).map(drop),
                store.transact(|write| write.table(ITEMS)?.get_for_update(&1)).map(drop),
                store.transact(|write| write.table(OTHER)?.put("ann", &2)).map(drop),
            ))
        });
        let (blind, update, other) = inner.unwrap();
        for error in [refused(blind), refused(update)] {
            let name = "record 1 of table \"items\"";
            assert!(error.message().contains(name), "{error}");
        }
        let error = refused(other);
        assert!(error.message().contains("record ann of table \"others\""), "{error}");
        // What does not get in the way goes on.
        store.transact(|_| store.transact(write_one)).unwrap();
    });
}

#[test]
fn a_table_or_a_name_that_another_handle_of_the_thread_holds_is_refused_by_its_name() {
    alone(|| {
        let scene = Scene::new(Mode::Server, 5);
        let store = &scene.store;
        let write = store.begin_write().unwrap();
        write_one(&write).unwrap();
        let structure = store.begin_structure().unwrap();
        let error = refused(structure.drop_table("items"));
        assert!(error.message().contains("table \"items\""), "{error}");
        let second = store.begin_structure().unwrap();
        structure.create(OTHER).unwrap();
        let error = refused(second.create(OTHER));
        assert!(error.message().contains("\"others\""), "{error}");
        drop((structure, second));
        write.commit().unwrap();
        let scanning = store.begin_write().unwrap();
        scanning.table(ITEMS).unwrap().len().unwrap();
        refused(store.transact(write_one));
        scanning.commit().unwrap();
    });
}

#[test]
fn a_wait_that_leads_back_to_the_own_thread_through_another_is_refused() {
    alone(|| {
        let scene = Scene::new(Mode::Server, 5);
        let store = &scene.store;
        let first = store.begin_write().unwrap();
        first.table(ITEMS).unwrap().get_for_update(&1).unwrap();
        let theirs = store.clone();
        let other = aside(move || {
            theirs.transact(|write| {
                write.table(ITEMS)?.get_for_update(&2)?;
                write.table(ITEMS)?.get_for_update(&1)
            })
        });
        until("the other waits for this thread", || {
            store.locks().owners.iter().any(|owner| !owner.waits.is_empty())
        });
        let error = refused(store.transact(|write| write.table(ITEMS)?.get_for_update(&2)));
        assert!(error.message().contains("record 2 of table \"items\""), "{error}");
        drop(first);
        end(&other).unwrap();
    });
}

#[test]
fn a_submitted_transaction_that_waits_for_a_later_one_is_refused_and_gets_it_back() {
    alone(|| {
        for threads in [1, 4] {
            let scene = Scene::with(5, |builder| builder.submit_threads(threads));
            let store = scene.store.clone();
            let outer = scene.store.submit(move |_| {
                let rejected = store.submit(write_one).unwrap().wait().unwrap_err();
                assert!(rejected.work.is_some(), "it was not begun");
                // Left alone, one that was submitted here is performed afterwards.
                drop(store.submit(write_one).unwrap());
                Ok(refused(Err::<(), _>(rejected.error)).code())
            });
            assert_eq!(outer.unwrap().wait().unwrap(), 1404);
            until("it is performed", || crate::scene::get(&scene.store, 1).unwrap() == "written");
        }
    });
}

#[test]
fn a_submitted_transaction_in_the_way_of_which_the_waiting_thread_is_comes_back() {
    alone(|| {
        let scene = Scene::new(Mode::Server, 5);
        let store = &scene.store;
        let write = store.begin_write().unwrap();
        write.table(ITEMS).unwrap().get_for_update(&1).unwrap();
        let rejected = store.submit(write_one).unwrap().wait().unwrap_err();
        let error = refused(Err::<(), _>(rejected.error));
        assert!(error.message().contains("record 1 of table \"items\""), "{error}");
        drop(write);
        store.transact(rejected.work.unwrap()).unwrap();
    });
}

#[test]
fn a_backup_that_waits_for_a_handle_of_the_thread_that_waits_for_it_fails_at_once() {
    alone(|| {
        let scene = Scene::new(Mode::Server, 5);
        let store = &scene.store;
        let (go_on, wait) = bounded::<()>(0);
        let backup = store.backup(TO).on_startup(move |_| {
            let _gone = wait.recv();
            Ok(())
        });
        let backup = backup.start().unwrap();
        // The backup has begun and holds nothing yet, so this is granted.
        let write = store.begin_write().unwrap();
        drop(go_on);
        refused(backup.wait());
        write.commit().unwrap();
        store.backup(TO).run().unwrap();
    });
}

#[test]
fn waits_for_others_name_the_table_the_key_and_the_job() {
    let scene = Scene::with(5, |builder| builder.lock_timeout(Duration::from_secs(5)));
    let (store, sim) = (&scene.store, &scene.sim);
    let job = store.job("nightly import");
    let theirs = alone(move || {
        let write = job.begin_write().unwrap();
        write.table(ITEMS).unwrap().get_for_update(&3).unwrap();
        write
    });
    let mine = store.clone();
    let waiting = aside(move || mine.transact(|write| write.table(ITEMS)?.get_for_update(&3)));
    until("it waits", || store.locks().owners.iter().any(|owner| !owner.waits.is_empty()));
    let report = store.locks();
    let waits = report.owners.iter().flat_map(|owner| &owner.waits).next().unwrap();
    assert_eq!(waits.name, "record 3 of table \"items\"");
    let held: Vec<_> = report.owners.iter().flat_map(|owner| &owner.held).collect();
    assert!(held.iter().any(|lock| lock.name == "table \"items\""), "{held:?}");
    let json = serde_json::to_value(&report).unwrap();
    assert!(json.to_string().contains("nightly import"), "{json}");
    sim.advance(Duration::from_secs(6));
    let error = end(&waiting).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    for part in ["record 3 of table \"items\"", "nightly import"] {
        assert!(error.message().contains(part), "{error}");
    }
    let backup = store.backup(TO).transaction_timeout(Duration::from_secs(5)).start().unwrap();
    until("the backup gives up", || {
        sim.advance(Duration::from_secs(1));
        backup.is_finished()
    });
    let error = backup.wait().unwrap_err();
    assert_eq!(error.code(), 1405);
    for part in ["table \"items\"", "nightly import"] {
        assert!(error.message().contains(part), "{error}");
    }
    drop(theirs);
    put(store, 3, "goes on").unwrap();
}
