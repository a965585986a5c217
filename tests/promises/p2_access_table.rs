//! P2: the access table, cell by cell, at the store; and the queue of writes that wait behind a
//! backup: seen, in order, cancelled, never overtaken.
//!
//! What waits in each cell is written here by hand, from the words of the README and not from the
//! table in the lock manager.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};
use stillpoint::{
    Access, CancelOutcome, Contents, ErrorKind, Mode, Stage, Store, StructureHandle, TableDef,
    TicketState, WaitError,
};

use crate::scene::{self, ITEMS, Scene, Still, TO, aside, end, get, put, until};

const STRUCTURE: Contents = Contents { structure: true, data: false };
const DATA: Contents = Contents { structure: false, data: true };
const BOTH: Contents = Contents { structure: true, data: true };

/// One cell: what is saved, how the store is opened, what is asked for, and what waits then.
struct Cell {
    contents: Contents,
    mode: Mode,
    asked: Option<Access>,
    structure_waits: bool,
    reads_wait: bool,
    writes_wait: bool,
}

#[rustfmt::skip]
fn cells() -> Vec<Cell> {
    use Access::{Frozen, Live, ReadOnly};
    use Mode::{Server, SingleUser};
    let cell = |contents, mode, asked, structure, reads, writes| Cell {
        contents, mode, asked,
        structure_waits: structure == "waits",
        reads_wait: reads == "wait",
        writes_wait: writes == "wait",
    };
    vec![
        //   contents   mode        asked for       structure  reads    writes
        cell(STRUCTURE, SingleUser, None,           "waits",   "go on", "go on"),
        cell(STRUCTURE, SingleUser, Some(Frozen),   "waits",   "go on", "go on"),
        cell(STRUCTURE, SingleUser, Some(ReadOnly), "waits",   "go on", "go on"),
        cell(STRUCTURE, SingleUser, Some(Live),     "goes on", "go on", "go on"),
        cell(STRUCTURE, Server,     None,           "waits",   "go on", "go on"),
        cell(STRUCTURE, Server,     Some(Frozen),   "waits",   "go on", "go on"),
        cell(STRUCTURE, Server,     Some(ReadOnly), "waits",   "go on", "go on"),
        cell(STRUCTURE, Server,     Some(Live),     "goes on", "go on", "go on"),
        cell(DATA,      SingleUser, None,           "waits",   "wait",  "wait"),
        cell(DATA,      SingleUser, Some(Frozen),   "waits",   "wait",  "wait"),
        cell(DATA,      SingleUser, Some(ReadOnly), "goes on", "go on", "wait"),
        cell(DATA,      SingleUser, Some(Live),     "goes on", "go on", "go on"),
        cell(DATA,      Server,     None,           "goes on", "go on", "wait"),
        cell(DATA,      Server,     Some(Frozen),   "waits",   "wait",  "wait"),
        cell(DATA,      Server,     Some(ReadOnly), "goes on", "go on", "wait"),
        cell(DATA,      Server,     Some(Live),     "goes on", "go on", "go on"),
        cell(BOTH,      SingleUser, None,           "waits",   "wait",  "wait"),
        cell(BOTH,      SingleUser, Some(Frozen),   "waits",   "wait",  "wait"),
        cell(BOTH,      SingleUser, Some(ReadOnly), "waits",   "go on", "wait"),
        cell(BOTH,      SingleUser, Some(Live),     "goes on", "go on", "go on"),
        cell(BOTH,      Server,     None,           "waits",   "go on", "wait"),
        cell(BOTH,      Server,     Some(Frozen),   "waits",   "wait",  "wait"),
        cell(BOTH,      Server,     Some(ReadOnly), "waits",   "go on", "wait"),
        cell(BOTH,      Server,     Some(Live),     "goes on", "go on", "go on"),
    ]
}

const NEW: TableDef<u64, String> = TableDef::new("made during the backup");

fn make_table(store: &Store) -> stillpoint::Result<()> {
    let structure: StructureHandle = store.begin_structure()?;
    structure.create(NEW)?;
    structure.commit().map(drop)
}

#[test]
fn every_cell_of_the_access_table_is_as_the_readme_says() {
    for cell in cells() {
        let name = format!("{:?} {:?} {:?}", cell.contents, cell.mode, cell.asked);
        play(&cell, &name);
    }
}

fn play(cell: &Cell, name: &str) {
    let scene = Scene::new(cell.mode, 500);
    let store = &scene.store;
    let read_before = store.begin_read().unwrap();
    let (step, walk) = walk_that_began(store);
    let mut backup = store.backup(TO).contents(cell.contents);
    if let Some(access) = cell.asked {
        backup = backup.access(access);
    }
    let (backup, still) = Still::copying(&scene.sim, backup);
    let backup = backup.start().unwrap();
    still.reached();
    let holds = cell.structure_waits || cell.reads_wait || cell.writes_wait;
    assert_eq!(store.locked(), holds, "{name}: locked()");

    let other = store.clone();
    let reads = [
        aside(move || get(&other, 7)),
        aside(move || read_before.table(ITEMS).unwrap().get(&7).unwrap()),
        walk,
    ];
    step.send(()).unwrap();
    if cell.reads_wait {
        until(&format!("{name}: three reads wait"), || store.locks().waiting_reads == 3);
        assert!(reads.iter().all(|read| read.is_empty()), "{name}: a read went on");
    } else {
        reads.iter().for_each(|read| drop(end(read)));
    }

    let ticket = store.request_write().unwrap();
    let expected = if cell.writes_wait { TicketState::Waiting } else { TicketState::Granted };
    assert_eq!(ticket.state(), expected, "{name}: write");
    let write = aside(move || {
        let write = ticket.wait().unwrap();
        write.table(ITEMS).unwrap().put(&7, &"written meanwhile".into()).unwrap();
        write.commit().unwrap();
    });
    if !cell.writes_wait {
        end(&write);
    }

    let other = store.clone();
    let structure = aside(move || make_table(&other));
    if cell.structure_waits {
        let waiting = usize::from(cell.writes_wait) + 1;
        until(&format!("{name}: the structure waits"), || {
            store.pending_writes().iter().filter(|write| !write.granted).count() == waiting
        });
        assert!(structure.is_empty(), "{name}: the structure went on");
    } else {
        end(&structure).unwrap();
    }

    assert!(!backup.is_finished());
    still.go_on();
    let report = backup.wait().unwrap();
    if cell.writes_wait {
        end(&write);
    }
    if cell.structure_waits {
        end(&structure).unwrap();
    }
    if cell.reads_wait {
        reads.iter().for_each(|read| drop(end(read)));
    }
    assert_eq!(report.hold > Duration::ZERO, holds, "{name}: {report:?}");
    assert_eq!(report.longest_wait > Duration::ZERO, holds, "{name}: {report:?}");
    assert!(!report.went_live, "{name}");
    assert_eq!(get(store, 7).as_deref(), Some("written meanwhile"), "{name}");
    assert_eq!(store.begin_read().unwrap().tables().unwrap().len(), 2, "{name}");
    assert!(!store.locked() && store.pending_writes().is_empty(), "{name}");
    if cell.contents.data {
        // What came during the backup is not in it, whether it waited or went on.
        let saved = scene.archive(&report.archive).read().unwrap();
        assert_eq!(saved.table(ITEMS).unwrap().get(&7).unwrap().as_deref(), Some("item 7"));
        assert_eq!(saved.tables().unwrap().len(), 1, "{name}");
    }
}

/// A walk over the table that has made its first step; it makes the second when it is told to.
fn walk_that_began(store: &Store) -> (Sender<()>, Receiver<Option<String>>) {
    let (began, begins) = bounded(1);
    let (step, told) = bounded(1);
    let handle = store.begin_read().unwrap();
    let walk = aside(move || {
        let mut walk = handle.table(ITEMS).unwrap().iter().unwrap();
        walk.next().unwrap().unwrap();
        began.send(()).unwrap();
        told.recv().unwrap();
        walk.next().map(|record| record.unwrap().1)
    });
    end(&begins);
    (step, walk)
}

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
    assert_eq!(behind.number, backup.number());
    assert!(behind.per_cent > 0.0 && behind.per_cent <= 100.0, "{behind:?}");
    assert!(first.waited() >= Duration::from_secs(2) && second.waited() < first.waited());
    let pending = store.pending_writes();
    let ids: Vec<_> = pending.iter().map(|write| write.id).collect();
    assert_eq!(ids, [first.id(), second.id(), third.id()]);
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
    assert_eq!(newcomer.waits_for().unwrap().number, backup.number());
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
