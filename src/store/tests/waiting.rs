//! Writes that wait: tickets, submitted transactions, who sees them and who ends them.

use super::{COUNTS, get, put, store, until};
use crate::lock::{Access, BackupProgressInfo, Contents, Hold, HoldRequest, TicketState};
use crate::{
    CancelOutcome, ErrorKind, Mode, Result, Store, StoreEvent, WaitError, WriteHandle, code,
};
use parking_lot::Mutex;
use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Barrier};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;

const LONG: Duration = Duration::from_secs(3600);

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}

/// A hold of another thread, for its own thread is not let wait for it.
fn held_by_another(store: &Store) -> Hold {
    let store = store.clone();
    thread::spawn(move || store.hold_writes(LONG).unwrap()).join().unwrap()
}

#[test]
fn a_write_waits_for_a_hold_and_is_seen_waiting() {
    let store = store();
    put(&store, "a", 1);
    let events = store.events();
    let hold = held_by_another(&store);
    assert!(store.locked());
    let job = store.job("import");
    let ticket = job.request_write().unwrap();
    assert_eq!((ticket.state(), ticket.position()), (TicketState::Waiting, Some(0)));
    assert!(ticket.waits_for().is_none());
    let pending = store.pending_writes();
    assert_eq!((pending.len(), pending[0].id), (1, ticket.id()));
    assert_eq!((pending[0].job.as_deref(), pending[0].commits_done), (Some("import"), 0));
    assert_eq!(store.stats().pending_writes, 1);
    let ticket = match ticket.wait_timeout(Duration::ZERO) {
        Err(WaitError::StillWaiting(ticket)) => ticket,
        other => panic!("{other:?}"),
    };
    assert_eq!(get(&store, "a"), Some(1), "reads go on");
    drop(hold);
    let write = ticket.wait().unwrap();
    write.table(COUNTS).unwrap().put("a", &2).unwrap();
    write.commit().unwrap();
    assert_eq!((job.commits(), get(&store, "a"), store.locked()), (1, Some(2), false));
    let told: Vec<_> = events.try_iter().collect();
    assert!(matches!(&told[0], StoreEvent::WriteQueued { job: Some(job), .. } if job == "import"));
    assert!(matches!(&told[1], StoreEvent::WriteGranted { .. }), "{told:?}");
}

#[test]
fn a_ticket_is_cancelled_by_its_holder_by_dropping_and_from_outside() {
    let store = store();
    let events = store.events();
    let hold = store.hold_writes(LONG).unwrap();
    let cancelled = store.request_write().unwrap();
    assert!(matches!(cancelled.cancel(), CancelOutcome::Cancelled));
    drop(store.request_write().unwrap());
    let outside = store.request_write().unwrap();
    assert_eq!(store.pending_writes().len(), 1);
    assert!(store.cancel_pending(outside.id()));
    assert!(!store.cancel_pending(outside.id()));
    assert_eq!(outside.wait().unwrap_err().kind(), ErrorKind::Cancelled);
    assert!(store.pending_writes().is_empty());
    drop(hold);
    put(&store, "a", 1);
    let granted = store.request_write().unwrap();
    match granted.cancel() {
        CancelOutcome::AlreadyGranted(write) => drop(write),
        CancelOutcome::Cancelled => panic!("nothing was in its way"),
    }
    let ends = events.try_iter().filter(|e| matches!(e, StoreEvent::WriteCancelled { .. }));
    assert_eq!(ends.count(), 2);
}

#[test]
fn a_ticket_is_a_future() {
    let store = store();
    block_on(store.request_write().unwrap()).unwrap().commit().unwrap();
    let hold = store.hold_writes(LONG).unwrap();
    let waits = store.request_write().unwrap();
    let waiter = thread::spawn(move || {
        let write = block_on(waits)?;
        write.table(COUNTS)?.put("a", &1)?;
        write.commit()
    });
    drop(hold);
    waiter.join().unwrap().unwrap();
    assert_eq!(get(&store, "a"), Some(1));
}

#[test]
fn a_full_queue_refuses_more() {
    let disk = crate::disk::SimDisk::new(1);
    let store = super::builder(&disk).queue_limit(2).create().unwrap();
    let hold = store.hold_writes(LONG).unwrap();
    let tickets = [store.request_write().unwrap(), store.request_write().unwrap()];
    assert_eq!(store.request_write().unwrap_err().kind(), ErrorKind::Busy);
    let rejected = store.submit(|_| Ok(7)).unwrap_err();
    assert_eq!(rejected.error.kind(), ErrorKind::Busy);
    assert!(rejected.work.is_some());
    drop((tickets, hold));
    store.begin_write().unwrap().commit().unwrap();
}

/// A transaction that notes when it starts and appends to a record.
fn noting(
    n: u64,
    started: &Arc<Mutex<Vec<u64>>>,
) -> impl FnMut(&WriteHandle) -> Result<u64> + Send + use<> {
    let started = started.clone();
    move |write| {
        started.lock().push(n);
        write.table(COUNTS)?.put(&n.to_string(), &n)?;
        Ok(n)
    }
}

#[test]
fn submitted_transactions_start_in_the_order_in_which_they_were_submitted() {
    let store = store();
    put(&store, "a", 1);
    let events = store.events();
    let started = Arc::default();
    let hold = store.hold_writes(LONG).unwrap();
    let tickets: Vec<_> = (0..50).map(|n| store.submit(noting(n, &started)).unwrap()).collect();
    assert_eq!(store.pending_writes().len(), 50);
    let ids: Vec<_> = tickets.iter().map(|ticket| ticket.id()).collect();
    drop(hold);
    let values: Vec<_> = tickets.into_iter().map(|ticket| ticket.wait().unwrap()).collect();
    assert_eq!(values, (0..50).collect::<Vec<_>>());
    let granted = |event| match event {
        StoreEvent::WriteGranted { id, .. } => Some(id),
        _ => None,
    };
    assert_eq!(events.try_iter().filter_map(granted).collect::<Vec<_>>(), ids);
    assert_eq!(get(&store, "49"), Some(49));
}

#[test]
fn one_runner_starts_and_ends_in_the_order_of_submission() {
    let disk = crate::disk::SimDisk::new(1);
    let store = super::builder(&disk).submit_threads(1).create().unwrap();
    let started = Arc::default();
    let hold = store.hold_writes(LONG).unwrap();
    let tickets: Vec<_> = (0..50).map(|n| store.submit(noting(n, &started)).unwrap()).collect();
    drop(hold);
    for ticket in tickets {
        ticket.wait().unwrap();
    }
    assert_eq!(*started.lock(), (0..50).collect::<Vec<_>>());
}

#[test]
fn a_submitted_transaction_starts_when_those_before_it_have_run() {
    let store = store();
    put(&store, "a", 1);
    let (steps, enter) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Barrier::new(2)));
    let noted = |name: &'static str, hold: bool| {
        let (steps, enter) = (steps.clone(), enter.clone());
        move |_: &WriteHandle| {
            steps.lock().push((name, "begins"));
            if hold {
                enter.wait();
                // Time for the next one, which there must be no way to use.
                std::thread::sleep(Duration::from_millis(30));
            }
            steps.lock().push((name, "ends"));
            Ok(())
        }
    };
    let tickets = [store.submit(noted("a", true)), store.submit(noted("b", false))];
    enter.wait();
    tickets.into_iter().for_each(|ticket| ticket.unwrap().wait().unwrap());
    let expected = [("a", "begins"), ("a", "ends"), ("b", "begins"), ("b", "ends")];
    assert_eq!(*steps.lock(), expected);
}

#[test]
fn a_submitted_closure_that_was_not_performed_comes_back() {
    let store = store();
    put(&store, "a", 1);
    let hold = store.hold_writes(LONG).unwrap();
    let runs = Arc::new(AtomicU64::new(0));
    let work = || {
        let runs = runs.clone();
        move |write: &WriteHandle| {
            runs.fetch_add(1, Ordering::Relaxed);
            write.table(COUNTS)?.put("a", &2)
        }
    };
    let (head, middle, last) = (
        store.submit(work()).unwrap(),
        store.submit(work()).unwrap(),
        store.submit(work()).unwrap(),
    );
    let mut back = middle.cancel().expect("it waits");
    assert!(store.cancel_pending(head.id()));
    let rejected = head.wait().unwrap_err();
    assert_eq!(rejected.error.kind(), ErrorKind::Cancelled);
    assert!(rejected.work.is_some());
    let _again = last.cancel().expect("it waits");
    assert!(store.pending_writes().is_empty());
    drop(hold);
    assert_eq!(runs.load(Ordering::Relaxed), 0);
    store.transact(&mut back).unwrap();
    assert_eq!((runs.load(Ordering::Relaxed), get(&store, "a")), (1, Some(2)));
}

#[test]
fn a_submitted_closure_may_fail_or_panic_without_harm_to_others() {
    let store = store();
    put(&store, "a", 1);
    let fails = store.submit(|write| write.table(COUNTS)?.insert("a", &2)).unwrap();
    let panics = store.submit(|write| -> Result<()> {
        write.table(COUNTS)?.put("a", &3)?;
        std::panic::resume_unwind(Box::new("on purpose"));
    });
    let rejected = fails.wait().unwrap_err();
    assert_eq!(rejected.error.kind(), ErrorKind::Exists);
    assert!(rejected.work.is_some());
    let rejected = panics.unwrap().wait().unwrap_err();
    assert!(rejected.error.message().contains("panicked") && rejected.work.is_none());
    assert_eq!(get(&store, "a"), Some(1));
    let done = store.job("nightly").submit(|write| write.table(COUNTS)?.put("a", &4)).unwrap();
    block_on(done).unwrap();
    assert_eq!(get(&store, "a"), Some(4));
}

#[test]
fn closing_refuses_what_waits_and_gives_closures_back() {
    let store = store();
    let hold = store.hold_writes(LONG).unwrap();
    let ticket = store.request_write().unwrap();
    let submitted = store.submit(|_| Ok(1)).unwrap();
    store.close().unwrap();
    assert_eq!(ticket.wait().unwrap_err().kind(), ErrorKind::Closed);
    let rejected = submitted.wait().unwrap_err();
    assert_eq!((rejected.error.kind(), rejected.work.is_some()), (ErrorKind::Closed, true));
    drop(hold);
}

#[test]
fn a_hold_waits_for_open_handles_and_may_be_taken_again_by_its_thread() {
    let store = store();
    let write = store.begin_write().unwrap();
    let own = store.hold_writes(LONG).unwrap_err();
    assert_eq!(own.code(), code::OWN_TRANSACTION);
    let other = store.clone();
    let holder = thread::spawn(move || {
        let hold = other.hold_writes(LONG).unwrap();
        let again = other.hold_writes(LONG).unwrap();
        drop(hold);
        let held = other.locked();
        drop(again);
        (held, other.locked())
    });
    // The gate shuts behind the hold that waits.
    until(|| !store.locks().owners.iter().all(|owner| owner.hold.is_none()));
    write.table(COUNTS).unwrap().put("a", &1).unwrap();
    write.commit().unwrap();
    assert_eq!(holder.join().unwrap(), (true, false));
    assert_eq!(get(&store, "a"), Some(1));
}

/// What a backup of everything holds while it copies.
fn backup_holds(store: &Store, access: Option<Access>) -> Hold {
    let locks = store.inner().locks.clone();
    let roots = locks.roots(Contents { structure: true, data: true }, access);
    locks.hold(HoldRequest::backup(roots, 3)).unwrap()
}

#[test]
fn a_wait_that_is_cancelled_because_of_a_backup_has_the_documented_code() {
    let store = store();
    put(&store, "a", 1);
    let hold = backup_holds(&store, None);
    let progress = BackupProgressInfo { number: 3, per_cent: 40.0, remaining: None };
    store.inner().locks.set_progress(progress.clone());
    let ticket = store.request_write().unwrap();
    let submitted = store.submit(|_| Ok(())).unwrap();
    assert_eq!(ticket.waits_for(), Some(progress));
    assert!(store.pending_writes().iter().all(|pending| pending.behind_backup));
    for id in [ticket.id(), submitted.id()] {
        assert!(store.cancel_pending(id));
    }
    for error in [ticket.wait().unwrap_err(), submitted.wait().unwrap_err().error] {
        assert_eq!((error.kind(), error.code()), (ErrorKind::BackupInProgress, -9976));
        assert!(error.is_retryable());
    }
    assert_eq!(get(&store, "a"), Some(1), "a server store can be read meanwhile");
    drop(hold);
    put(&store, "a", 2);
}

#[test]
fn a_frozen_store_keeps_reads_waiting_also_on_handles_opened_before() {
    let disk = crate::disk::SimDisk::new(1);
    let store = super::builder(&disk).mode(Mode::SingleUser).create().unwrap();
    put(&store, "a", 1);
    put(&store, "b", 2);
    let read = store.begin_read().unwrap();
    let table = read.table(COUNTS).unwrap();
    let mut walk = table.iter().unwrap();
    assert_eq!(walk.next().unwrap().unwrap().1, 1);
    let hold = backup_holds(&store, None);
    // On the thread of the hold a read could only wait for itself.
    assert_eq!(table.get("a").unwrap_err().code(), code::OWN_TRANSACTION);
    thread::scope(|scope| {
        let reads = [
            scope.spawn(|| read.table(COUNTS).unwrap().get("a").unwrap().unwrap()),
            scope.spawn(move || walk.next().unwrap().unwrap().1 - 1),
            scope.spawn(|| get(&store, "a").unwrap()),
        ];
        until(|| store.locks().waiting_reads == 3);
        assert!(reads.iter().all(|read| !read.is_finished()));
        drop(hold);
        for read in reads {
            assert_eq!(read.join().unwrap(), 1);
        }
    });
}

#[test]
fn making_a_table_waits_only_for_a_backup_that_holds_the_structure() {
    let store = store();
    put(&store, "a", 1);
    let locks = store.inner().locks.clone();
    let data = locks.roots(Contents { structure: false, data: true }, None);
    let hold = locks.hold(HoldRequest::backup(data, 1)).unwrap();
    let structure = store.begin_structure().unwrap();
    structure.create(super::NAMES).unwrap();
    structure.commit().unwrap();
    drop(hold);
    let alone = locks.roots(Contents { structure: true, data: false }, None);
    let hold = locks.hold(HoldRequest::backup(alone, 2)).unwrap();
    // Records are written meanwhile; a new table is not made.
    put(&store, "a", 2);
    let other = store.clone();
    let maker = thread::spawn(move || {
        let structure = other.begin_structure()?;
        structure.drop_table("names")?;
        structure.commit()
    });
    until(|| !store.pending_writes().is_empty());
    assert_eq!(store.begin_read().unwrap().tables().unwrap().len(), 2);
    drop(hold);
    maker.join().unwrap().unwrap();
    assert_eq!(store.begin_read().unwrap().tables().unwrap().len(), 1);
}
