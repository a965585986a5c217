//! P2: the queue of writes that wait behind a backup: seen, in order, cancelled, never overtaken.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use stillpoint::{CancelOutcome, ErrorKind, Mode, Stage, TableDef, TicketState, WaitError};

use crate::scene::{self, ITEMS, Scene, Still, TO, aside, end, put, until};

const NEW: TableDef<u64, String> = TableDef::new("made during the backup");

/// A backup that stands still in its copy, with writes held.
fn held(scene: &Scene) -> (stillpoint::BackupHandle, Still) {
    let (backup, still) = Still::copying(&scene.sim, scene.store.backup(TO));
    let backup = backup.start().unwrap();
    still.reached();
    (backup, still)
}

#[test]
fn a_waiting_write_says_where_it_stands_since_when_and_what_for() {
    let scene = Scene::new(Mode::Server, 500);
    let store = &scene.store;
    let job = store.job("nightly import");
    for key in 0..2 {
        job.transact(|write| write.table(ITEMS)?.put(&key, &"import".into())).unwrap();
    }
    let (backup, still) = held(&scene);
    let first = store.request_write().unwrap();
    scene.sim.advance(Duration::from_secs(2));
    let second = job.request_write().unwrap();
    let third = store.request_write().unwrap();
    assert_eq!([&first, &second, &third].map(|t| t.position()), [Some(0), Some(1), Some(2)]);
    let behind = first.waits_for().unwrap();
    assert_eq!(Some(behind.number), backup.number());
    assert!(behind.per_cent > 0.0 && behind.per_cent <= 100.0, "{behind:?}");
    assert!(first.waited() >= Duration::from_secs(2) && second.waited() < first.waited());
    let pending = store.pending_writes();
    let ids: Vec<_> = pending.iter().map(|write| write.id).collect();
    assert_eq!(ids, [first.id(), second.id(), third.id()]);
    assert!(ids.iter().all(|id| *id < 1 << 32), "a browser keeps such a number exactly: {ids:?}");
    assert!(pending.iter().all(|write| write.behind_backup && !write.granted));
    assert!(pending.windows(2).all(|two| two[0].since <= two[1].since));
    assert_eq!(pending[1].job.as_deref(), Some("nightly import"));
    assert_eq!((pending[0].commits_done, pending[1].commits_done), (0, 2));
    assert_eq!(backup.progress().writers_waiting, 3);
    drop(second);
    assert_eq!(third.position(), Some(1), "who leaves gives the place to the next");
    still.go_on();
    backup.wait().unwrap();
    for ticket in [first, third] {
        assert_eq!((ticket.position(), ticket.waits_for()), (None, None));
        ticket.wait().unwrap().commit().unwrap();
    }
}

/// Notes that it was woken.
struct Bell(u64, Arc<Mutex<Vec<u64>>>);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.1.lock().unwrap().push(self.0);
    }
}

#[test]
fn waiting_writes_are_granted_in_order_of_arrival_when_the_backup_releases() {
    let scene = Scene::new(Mode::Server, 500);
    let (backup, still) = held(&scene);
    let rung = Arc::new(Mutex::new(Vec::new()));
    let mut tickets: Vec<_> = (0..20).map(|_| scene.store.request_write().unwrap()).collect();
    // Polled backwards, so that the order of waiting is not the order of asking by accident.
    for ticket in tickets.iter_mut().rev() {
        let waker = Waker::from(Arc::new(Bell(ticket.id(), rung.clone())));
        let polled = Pin::new(ticket).poll(&mut Context::from_waker(&waker));
        assert!(matches!(polled, Poll::Pending));
    }
    let cancelled = tickets.remove(5);
    assert!(matches!(cancelled.cancel(), CancelOutcome::Cancelled));
    still.go_on();
    backup.wait().unwrap();
    let ids: Vec<_> = tickets.iter().map(|ticket| ticket.id()).collect();
    assert_eq!(*rung.lock().unwrap(), ids);
    for ticket in tickets {
        ticket.wait().unwrap().commit().unwrap();
    }
}

#[test]
fn submitted_transactions_start_in_order_after_the_backup() {
    let scene = Scene::with(500, |builder| builder.submit_threads(1));
    let (backup, still) = held(&scene);
    let started = Arc::new(Mutex::new(Vec::new()));
    let tickets: Vec<_> = (0..30)
        .map(|n| {
            let started = started.clone();
            let work = move |write: &stillpoint::WriteHandle| {
                started.lock().unwrap().push(n);
                write.table(ITEMS)?.put(&n, &"submitted".into())
            };
            scene.store.submit(work).unwrap()
        })
        .collect();
    assert_eq!(scene.store.pending_writes().len(), 30);
    assert!(started.lock().unwrap().is_empty(), "nothing begins while the backup holds");
    still.go_on();
    backup.wait().unwrap();
    tickets.into_iter().for_each(|ticket| ticket.wait().unwrap());
    assert_eq!(*started.lock().unwrap(), (0..30).collect::<Vec<_>>());
}

/// Appends its number to the list in record 0, and writes it blindly into record 1.
fn appending(n: u64) -> impl FnMut(&stillpoint::WriteHandle) -> stillpoint::Result<()> + Send {
    move |write| {
        let items = write.table(ITEMS)?;
        let mut list = items.get_for_update(&0)?.unwrap_or_default();
        list.push_str(&format!(" {n}"));
        items.put(&0, &list)?;
        // Those with an odd number are slower on their way to the commit.
        std::thread::sleep(Duration::from_micros(300 * (n % 2)));
        items.put(&1, &n.to_string())
    }
}

#[test]
fn submitted_transactions_are_performed_in_order_whatever_the_number_of_threads() {
    const MANY: u64 = 60;
    for threads in [1, 2, 4, 8] {
        let scene = Scene::with(500, |builder| builder.submit_threads(threads));
        let store = &scene.store;
        put(store, 0, "").unwrap();
        let (backup, still) = held(&scene);
        let tickets: Vec<_> = (0..MANY).map(|n| store.submit(appending(n)).unwrap()).collect();
        still.go_on();
        backup.wait().unwrap();
        tickets.into_iter().for_each(|ticket| ticket.wait().unwrap());
        let expected: String = (0..MANY).map(|n| format!(" {n}")).collect();
        assert_eq!(scene::get(store, 0), Some(expected), "{threads} threads");
        assert_eq!(scene::get(store, 1), Some((MANY - 1).to_string()), "{threads} threads");
    }
}

#[test]
fn many_threads_each_find_what_they_submitted_performed_in_their_order() {
    let scene = Scene::with(10, |builder| builder.submit_threads(4));
    let store = &scene.store;
    for round in 0..4 {
        std::thread::scope(|scope| {
            for thread in 0..4_u64 {
                scope.spawn(move || {
                    // Each thread has a record of its own, and all share one.
                    let submit = |n: u64| {
                        store.submit(move |write| {
                            let items = write.table(ITEMS)?;
                            items.put(&(100 + thread), &format!("{round} {n}"))?;
                            items.get_for_update(&7)?;
                            items.put(&7, &format!("{thread} {n}"))
                        })
                    };
                    let tickets: Vec<_> = (0..50).map(|n| submit(n).unwrap()).collect();
                    tickets.into_iter().for_each(|ticket| ticket.wait().unwrap());
                    let last = scene::get(store, 100 + thread);
                    assert_eq!(last, Some(format!("{round} 49")), "round {round}");
                });
            }
            if round % 2 == 1 {
                scope.spawn(|| store.backup(TO).run().unwrap());
            }
        });
    }
}

#[test]
fn a_wait_that_a_backup_is_the_reason_of_is_cancelled_with_9976() {
    let scene = Scene::new(Mode::Server, 500);
    let store = &scene.store;
    let before = scene::all(store);
    let (backup, still) = held(&scene);
    let ticket = store.request_write().unwrap();
    let submitted = store.submit(|write| write.table(ITEMS)?.put(&1, &"x".into())).unwrap();
    let other = store.clone();
    let blocked = aside(move || put(&other, 2, "x"));
    until("three writes wait", || store.pending_writes().len() == 3);
    for pending in store.pending_writes() {
        assert!(store.cancel_pending(pending.id));
        assert!(!store.cancel_pending(pending.id), "it is cancelled once");
    }
    let rejected = submitted.wait().unwrap_err();
    assert!(rejected.work.is_some(), "what was not begun comes back");
    for error in [ticket.wait().unwrap_err(), rejected.error, end(&blocked).unwrap_err()] {
        assert_eq!((error.kind(), error.code()), (ErrorKind::BackupInProgress, -9976));
        assert!(error.is_retryable() && error.advice().is_some());
    }
    assert!(store.pending_writes().is_empty());
    still.go_on();
    backup.wait().unwrap();
    assert_eq!(scene::all(store), before, "what was not begun is not performed");
}

#[test]
fn other_ends_of_a_wait_have_other_kinds() {
    let scene = Scene::with(500, |builder| builder.queue_limit(2));
    let store = scene.store.clone();
    let hold = aside({
        let store = store.clone();
        move || store.hold_writes(Duration::from_secs(3600)).unwrap()
    });
    let hold = end(&hold);
    let outside = store.request_write().unwrap();
    assert!(outside.waits_for().is_none(), "no backup is the reason");
    assert!(store.cancel_pending(outside.id()));
    assert_eq!(outside.wait().unwrap_err().kind(), ErrorKind::Cancelled);
    drop(hold);

    let (_backup, still) = held(&scene);
    let first = store.request_write().unwrap();
    // The limit of who waits: the ticket keeps its place.
    let first = match first.wait_timeout(Duration::ZERO) {
        Err(WaitError::StillWaiting(ticket)) => ticket,
        other => panic!("{other:?}"),
    };
    let second = store.request_write().unwrap();
    assert_eq!((first.position(), second.position()), (Some(0), Some(1)));
    let busy = store.request_write().unwrap_err();
    assert_eq!(busy.kind(), ErrorKind::Busy, "the queue is bounded");
    assert!(busy.is_retryable());
    let closing = aside({
        let store = store.clone();
        move || store.close()
    });
    for ticket in [first, second] {
        assert_eq!(ticket.wait().unwrap_err().kind(), ErrorKind::Closed);
    }
    still.go_on();
    end(&closing).unwrap();
}

#[test]
fn newcomers_do_not_overtake_a_backup_that_waits_and_owners_inside_may_finish() {
    let scene = Scene::new(Mode::Server, 10);
    let store = &scene.store;
    let other = store.clone();
    let inside = end(&aside(move || other.begin_write().unwrap()));
    let (backup, still) = Still::copying(&scene.sim, store.backup(TO));
    let backup = backup.start().unwrap();
    until("the backup waits for the open handle", || {
        store.locks().owners.iter().any(|owner| owner.hold.is_some() && !owner.waits.is_empty())
    });
    let newcomer = store.request_write().unwrap();
    assert_eq!(newcomer.state(), TicketState::Waiting, "it would go with the handle inside");
    assert_eq!(Some(newcomer.waits_for().unwrap().number), backup.number());
    assert_eq!(backup.progress().stage, Stage::Quiesce);
    // Who is inside takes what it still needs, also on the structure that the backup waits for.
    inside.table(NEW).unwrap().put(&1, &"finished".into()).unwrap();
    inside.commit().unwrap();
    still.reached();
    assert_eq!(newcomer.state(), TicketState::Waiting);
    still.go_on();
    let report = backup.wait().unwrap();
    newcomer.wait().unwrap().commit().unwrap();
    let saved = scene.archive(&report.archive).read().unwrap();
    assert_eq!(saved.table(NEW).unwrap().get(&1).unwrap().as_deref(), Some("finished"));
}

#[test]
fn a_grant_that_nobody_took_up_is_taken_back_by_a_backup() {
    let scene = Scene::new(Mode::Server, 500);
    let ticket = scene.store.request_write().unwrap();
    assert_eq!(ticket.state(), TicketState::Granted);
    let (backup, still) = held(&scene);
    assert_eq!(ticket.state(), TicketState::Waiting);
    still.go_on();
    backup.wait().unwrap();
    ticket.wait().unwrap().commit().unwrap();
}

#[test]
fn ones_own_open_handle_is_1404_and_that_of_another_1405() {
    let scene = Scene::new(Mode::Server, 10);
    let own = scene.store.begin_write().unwrap();
    let error = scene.store.backup(TO).run().unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::Invalid, 1404), "{error}");
    assert!(error.advice().is_some());
    own.table(ITEMS).unwrap().put(&1, &"mine".into()).unwrap();
    own.commit().unwrap();
    let other = scene.store.clone();
    let write = end(&aside(move || other.begin_write().unwrap()));
    let backup = scene.store.backup(TO).transaction_timeout(Duration::from_secs(5));
    let backup = backup.start().unwrap();
    until("the backup gives up", || {
        scene.sim.advance(Duration::from_secs(1));
        backup.is_finished()
    });
    let error = backup.wait().unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::BackupFailed, 1405), "{error}");
    assert!(scene.destination().is_empty());
    put(&scene.store, 2, "goes on").unwrap();
    write.commit().unwrap();
}

#[test]
fn pending_writes_statistics_and_reports_are_serialised() {
    let scene = Scene::new(Mode::Server, 500);
    let (backup, still) = held(&scene);
    let job = scene.store.job("nightly import");
    let ticket = job.request_write().unwrap();
    let pending = serde_json::to_value(scene.store.pending_writes()).unwrap();
    assert_eq!(pending[0]["id"], ticket.id());
    assert_eq!(
        (&pending[0]["job"], &pending[0]["behind_backup"]),
        (&"nightly import".into(), &true.into())
    );
    let progress = serde_json::to_value(backup.progress()).unwrap();
    assert_eq!(progress["number"], 1);
    let stats = serde_json::to_value(scene.store.stats()).unwrap();
    assert_eq!((&stats["pending_writes"], &stats["locked"]), (&1.into(), &true.into()));
    let locks = serde_json::to_value(scene.store.locks()).unwrap();
    assert!(!locks["owners"].as_array().unwrap().is_empty());
    drop(ticket);
    still.go_on();
    let report = backup.wait().unwrap();
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!((&json["number"], &json["lsn"]), (&1.into(), &report.lsn.into()));
    assert_eq!(json["store_id"], format!("{:032x}", report.store_id));
    let archive = scene.archive(&report.archive);
    let restored = archive.restore("/copy").run().unwrap();
    assert_eq!(serde_json::to_value(&restored).unwrap()["lsn"], report.lsn);
}
