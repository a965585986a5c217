//! What handles side by side may and may not do to one another.

use super::{COUNTS, get, put, store, until, waiting_for_locks};
use crate::disk::SimDisk;
use crate::{Error, ErrorKind, WriteHandle};
use parking_lot::Mutex;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Barrier};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;

const ROUNDS: u64 = 150;

#[test]
fn a_counter_under_two_threads_loses_nothing() {
    let store = store();
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for _ in 0..ROUNDS {
                    let added = store.transact(|write| {
                        let counts = write.table(COUNTS)?;
                        let count = counts.get("n")?.unwrap_or(0);
                        counts.put("n", &(count + 1))
                    });
                    added.unwrap();
                }
            });
        }
    });
    assert_eq!(get(&store, "n"), Some(2 * ROUNDS));
}

#[test]
fn read_then_write_with_get_for_update_never_deadlocks() {
    let store = store();
    put(&store, "n", 0);
    let runs = AtomicU64::new(0);
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                for _ in 0..ROUNDS {
                    let added = store.transact(|write| {
                        runs.fetch_add(1, Ordering::Relaxed);
                        let counts = write.table(COUNTS)?;
                        let count = counts.get_for_update("n")?.unwrap_or(0);
                        counts.put("n", &(count + 1))
                    });
                    added.unwrap();
                }
            });
        }
    });
    assert_eq!(get(&store, "n"), Some(3 * ROUNDS));
    assert_eq!(runs.into_inner(), 3 * ROUNDS, "no transaction ran twice");
}

#[test]
fn blind_writers_of_the_same_records_never_deadlock() {
    let store = store();
    thread::scope(|scope| {
        for thread in 0..3_u64 {
            let store = &store;
            scope.spawn(move || {
                for round in 0..ROUNDS / 3 {
                    let write = store.begin_write().unwrap();
                    let counts = write.table(COUNTS).unwrap();
                    for n in 0..10 {
                        // Each thread in an order of its own.
                        let key = (n * (2 * thread + 1) + round) % 10;
                        counts.put(&key.to_string(), &thread).unwrap();
                    }
                    write.commit().unwrap();
                }
            });
        }
    });
    let read = store.begin_read().unwrap();
    let last: Vec<_> = read.table(COUNTS).unwrap().iter().unwrap().map(|r| r.unwrap().1).collect();
    assert_eq!(last.len(), 10);
    assert!(last.iter().all(|value| *value == last[0]), "the last commit wrote all: {last:?}");
}

#[test]
fn a_scan_keeps_what_it_did_not_find_from_appearing() {
    let store = store();
    put(&store, "other", 1);
    let barrier = Barrier::new(2);
    thread::scope(|scope| {
        for me in ["a", "b"] {
            let (store, barrier) = (&store, &barrier);
            scope.spawn(move || {
                barrier.wait();
                store
                    .transact(|write| {
                        let counts = write.table(COUNTS)?;
                        // Only who finds nobody else may come in.
                        if counts.len()? == 1 {
                            counts.put(me, &1)?;
                        }
                        Ok(())
                    })
                    .unwrap();
            });
        }
    });
    assert_eq!(store.begin_read().unwrap().table(COUNTS).unwrap().len().unwrap(), 2);
}

#[test]
fn an_insert_waits_for_the_end_of_a_scan() {
    let store = store();
    put(&store, "a", 1);
    let scan = store.begin_write().unwrap();
    assert_eq!(scan.table(COUNTS).unwrap().iter().unwrap().count(), 1);
    let other = store.clone();
    let writer = thread::spawn(move || put(&other, "b", 2));
    until(|| waiting_for_locks(&store) == 1);
    assert_eq!(scan.table(COUNTS).unwrap().iter().unwrap().count(), 1);
    assert_eq!(get(&store, "b"), None);
    scan.commit().unwrap();
    writer.join().unwrap();
    assert_eq!(get(&store, "b"), Some(2));
}

#[test]
fn a_get_of_what_is_not_there_keeps_it_from_appearing() {
    let store = store();
    put(&store, "a", 1);
    let reader = store.begin_write().unwrap();
    assert!(!reader.table(COUNTS).unwrap().contains("b").unwrap());
    let other = store.clone();
    let writer = thread::spawn(move || put(&other, "b", 2));
    until(|| waiting_for_locks(&store) == 1);
    assert_eq!(reader.table(COUNTS).unwrap().get("b").unwrap(), None);
    drop(reader);
    writer.join().unwrap();
    assert_eq!(get(&store, "b"), Some(2));
}

#[test]
fn a_victim_of_a_deadlock_is_spent_and_transact_runs_it_again() {
    let store = store();
    put(&store, "a", 0);
    put(&store, "b", 0);
    let (barrier, runs) = (Barrier::new(2), AtomicU64::new(0));
    let cross = |first: &str, second: &str| {
        let mut tries = 0;
        store.transact(|write| {
            runs.fetch_add(1, Ordering::Relaxed);
            tries += 1;
            let counts = write.table(COUNTS)?;
            let one = counts.get_for_update(first)?.unwrap();
            if tries == 1 {
                barrier.wait();
            }
            match counts.get_for_update(second) {
                Ok(two) => {
                    counts.put(first, &(one + 1))?;
                    counts.put(second, &(two.unwrap() + 1))
                }
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Deadlock);
                    assert!(error.is_retryable());
                    // Whatever the closure makes of it, the handle is spent.
                    assert_eq!(counts.put("x", &1).unwrap_err().kind(), ErrorKind::Deadlock);
                    assert_eq!(counts.get("a").unwrap_err().kind(), ErrorKind::Deadlock);
                    Ok(())
                }
            }
        })
    };
    thread::scope(|scope| {
        scope.spawn(|| cross("a", "b").unwrap());
        scope.spawn(|| cross("b", "a").unwrap());
    });
    assert_eq!((get(&store, "a"), get(&store, "b"), get(&store, "x")), (Some(2), Some(2), None));
    assert_eq!(runs.into_inner(), 3, "one of the two ran twice");
}

#[test]
fn an_error_of_the_closure_is_returned_at_once_and_nothing_is_committed() {
    let store = store();
    let mut runs = 0;
    let result: Result<(), _> = store.transact(|write| {
        runs += 1;
        write.table(COUNTS)?.put("a", &1)?;
        Err(Error::new(ErrorKind::Deadlock, "made up by the application"))
    });
    assert_eq!(result.unwrap_err().message(), "made up by the application");
    assert_eq!((runs, get(&store, "a")), (1, None));
}

#[test]
fn a_lock_that_is_not_given_in_time_is_a_timeout_and_the_handle_lives_on() {
    use std::time::Duration;
    let disk = crate::disk::RealDisk::new();
    let folder = tempfile::tempdir().unwrap();
    let builder = crate::Store::builder(folder.path().join("s")).disk(disk);
    let store = builder.lock_timeout(Duration::from_millis(20)).create().unwrap();
    put(&store, "a", 1);
    let first = store.begin_write().unwrap();
    first.table(COUNTS).unwrap().get_for_update("a").unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let second = store.begin_write().unwrap();
            let counts = second.table(COUNTS).unwrap();
            assert_eq!(counts.get_for_update("a").unwrap_err().kind(), ErrorKind::Timeout);
            assert_eq!(counts.get("a").unwrap(), Some(1));
            counts.put("b", &2).unwrap();
            second.commit().unwrap();
        });
    });
    drop(first);
    assert_eq!(get(&store, "b"), Some(2));
}

/// The runner stands where it has told of the end, and has not yet let go of anything.
#[test]
fn a_store_is_closed_with_its_last_handle_when_what_was_submitted_has_ended() {
    struct Told {
        come: SyncSender<()>,
        go_on: Mutex<Receiver<()>>,
    }
    impl Wake for Told {
        fn wake(self: Arc<Self>) {
            self.come.send(()).unwrap();
            let _gone = self.go_on.lock().recv();
        }
    }
    let disk = SimDisk::new(1);
    let store = super::builder(&disk).create().unwrap();
    let (begin, begun) = sync_channel::<()>(0);
    let ((come, has_come), (go_on, goes_on)) = (sync_channel(0), sync_channel::<()>(0));
    let waker = Waker::from(Arc::new(Told { come, go_on: Mutex::new(goes_on) }));
    let mut context = Context::from_waker(&waker);
    let begun = Mutex::new(begun);
    let work = move |write: &WriteHandle| {
        begun.lock().recv().unwrap();
        write.table(COUNTS)?.put("a", &1)
    };
    let mut ticket = store.submit(work).unwrap();
    assert!(Pin::new(&mut ticket).poll(&mut context).is_pending());
    begin.send(()).unwrap();
    has_come.recv().unwrap();
    assert!(matches!(Pin::new(&mut ticket).poll(&mut context), Poll::Ready(Ok(()))));
    drop((ticket, store));
    let again = super::builder(&disk).open();
    drop(go_on);
    assert_eq!(get(&again.unwrap(), "a"), Some(1));
}
