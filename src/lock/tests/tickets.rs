//! Tickets: every change of state, and the order of the queue.

use super::*;
use crate::error::code;
use std::pin::Pin;
use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;
use std::task::{Context, Poll, Wake, Waker};

/// Counts how often it was woken.
#[derive(Default)]
struct Bell(AtomicUsize);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

fn poll(ticket: &mut WriteTicket, bell: &Arc<Bell>) -> Poll<Result<Owner, Error>> {
    let waker = Waker::from(bell.clone());
    std::future::Future::poll(Pin::new(ticket), &mut Context::from_waker(&waker))
}

#[test]
fn a_ticket_is_granted_at_once_while_nothing_is_in_its_way() {
    let rig = Rig::new();
    let ticket = rig.ticket();
    assert_eq!(ticket.state(), TicketState::Granted);
    assert_eq!((ticket.position(), ticket.waits_for()), (None, None));
    drop(ticket.wait().unwrap());
    assert!(rig.is_idle());
}

#[test]
fn a_ticket_waits_behind_a_backup_and_says_so() {
    let rig = Rig::new();
    let hold = rig.hold(&[DATA_S]);
    let (first, second) = (rig.ticket(), rig.ticket());
    assert_eq!((first.position(), second.position()), (Some(0), Some(1)));
    assert_eq!(first.waits_for().unwrap().number, 7);
    let told = BackupProgressInfo { number: 7, per_cent: 40.0, remaining: None };
    rig.manager.set_progress(told.clone());
    assert_eq!(second.waits_for(), Some(told));
    rig.advance(Duration::from_secs(3));
    assert!(rig.manager.pending_writes().iter().all(|p| p.waited == Duration::from_secs(3)));
    drop(hold);
    assert_eq!([first.state(), second.state()], [TicketState::Granted; 2]);
}

#[test]
fn a_dropped_ticket_leaves_nothing_behind_in_any_state() {
    let rig = Rig::new();
    drop(rig.ticket()); // granted
    let hold = rig.hold(&[DATA_S]);
    drop(rig.ticket()); // waiting
    let refused = rig.ticket();
    assert!(rig.manager.cancel_pending(refused.id()));
    assert_eq!(refused.state(), TicketState::Cancelled);
    drop(refused);
    let later = rig.ticket();
    drop(hold);
    let owner = later.wait().unwrap(); // claimed
    drop(owner);
    assert!(rig.is_idle());
}

#[test]
fn a_cancelled_wait_has_the_number_of_the_seeds_only_when_a_backup_is_the_reason() {
    let rig = Rig::new();
    let hold = rig.hold(&[DATA_S]);
    let ticket = rig.ticket();
    assert!(rig.manager.cancel_pending(ticket.id()));
    assert!(!rig.manager.cancel_pending(ticket.id()));
    let why = kind_and_code(ticket.wait());
    assert_eq!(why, (ErrorKind::BackupInProgress, code::BACKUP_IN_PROGRESS));
    drop(hold);

    let manager = rig.manager.clone();
    let hold = std::thread::spawn(move || manager.hold_writes(Duration::from_secs(9)).unwrap());
    let hold = hold.join().unwrap();
    let ticket = rig.ticket();
    assert_eq!(ticket.waits_for(), None);
    assert!(rig.manager.cancel_pending(ticket.id()));
    assert_eq!(kind_and_code(ticket.wait()).0, ErrorKind::Cancelled);
    drop(hold);
}

#[test]
fn a_ticket_past_its_own_limit_fails_with_a_timeout_and_not_with_the_backups_number() {
    let rig = Rig::new();
    let _hold = rig.hold(&[DATA_S]);
    let request = WriteRequest { timeout: Some(Duration::from_secs(1)), ..WriteRequest::default() };
    let ticket = rig.manager.request_write(request).unwrap();
    rig.advance(Duration::from_millis(999));
    assert_eq!(ticket.state(), TicketState::Waiting);
    rig.advance(Duration::from_millis(1));
    assert_eq!(kind_and_code(ticket.wait()).0, ErrorKind::Timeout);
}

#[test]
fn wait_timeout_gives_the_ticket_back_in_its_place() {
    let rig = Rig::new();
    let hold = rig.hold(&[DATA_S]);
    let (ticket, _other) = (rig.ticket(), rig.ticket());
    let again = match ticket.wait_timeout(Duration::ZERO) {
        Err(WaitError::StillWaiting(ticket)) => ticket,
        other => panic!("{other:?}"),
    };
    assert_eq!(again.position(), Some(0));
    drop(hold);
    assert!(again.wait_timeout(Duration::ZERO).is_ok());
}

#[test]
fn cancel_gives_up_a_place_or_hands_out_the_grant_that_came_first() {
    let rig = Rig::new();
    let hold = rig.hold(&[DATA_S]);
    let (waits, granted) = (rig.ticket(), rig.ticket());
    assert!(matches!(waits.cancel(), CancelOutcome::Cancelled));
    drop(hold);
    let CancelOutcome::AlreadyGranted(owner) = granted.cancel() else { panic!("not granted") };
    owner.lock_record(1, b"k", Mode::X).unwrap();
    drop(owner);
    assert!(rig.is_idle());
}

#[test]
fn a_grant_and_a_cancellation_at_once_lose_no_lock_and_keep_none() {
    let rig = Rig::new();
    let (mut granted, mut cancelled) = (0, 0);
    for _ in 0..300 {
        let hold = rig.hold(&[DATA_S]);
        let (one, two) = (rig.ticket(), rig.ticket());
        std::thread::scope(|scope| {
            scope.spawn(|| hold.token().release());
            scope.spawn(move || drop(two));
            match one.cancel() {
                CancelOutcome::Cancelled => cancelled += 1,
                CancelOutcome::AlreadyGranted(_) => granted += 1,
            }
        });
        assert!(rig.is_idle());
    }
    assert_eq!(granted + cancelled, 300);
}

#[test]
fn a_future_is_woken_when_it_is_granted_and_when_it_is_refused() {
    let rig = Rig::new();
    let hold = rig.hold(&[DATA_S]);
    let (mut one, mut two) = (rig.ticket(), rig.ticket());
    let bells = [Arc::new(Bell::default()), Arc::new(Bell::default())];
    assert!(poll(&mut one, &bells[0]).is_pending());
    assert!(poll(&mut two, &bells[1]).is_pending());
    rig.manager.cancel_pending(two.id());
    assert_eq!(bells.each_ref().map(|b| b.0.load(Ordering::SeqCst)), [0, 1]);
    assert!(matches!(poll(&mut two, &bells[1]), Poll::Ready(Err(_))));
    drop(hold);
    assert_eq!(bells[0].0.load(Ordering::SeqCst), 1);
    let Poll::Ready(Ok(owner)) = poll(&mut one, &bells[0]) else { panic!("not granted") };
    drop(owner);
    assert!(matches!(poll(&mut one, &bells[0]), Poll::Ready(Err(_))), "it is used up");
    assert!(rig.is_idle());
}

#[test]
fn a_waker_may_use_the_manager() {
    struct Polls(Mutex<Option<WriteTicket>>, Mutex<Option<Owner>>);
    impl Wake for Polls {
        fn wake(self: Arc<Self>) {
            let mut ticket = self.0.lock().unwrap().take().unwrap();
            let Poll::Ready(Ok(owner)) = poll(&mut ticket, &Arc::default()) else {
                panic!("woken too early");
            };
            *self.1.lock().unwrap() = Some(owner);
        }
    }
    let rig = Rig::new();
    let hold = rig.hold(&[DATA_S]);
    let polls = Arc::new(Polls(Mutex::new(None), Mutex::new(None)));
    let waker = Waker::from(polls.clone());
    let mut ticket = rig.ticket();
    let context = &mut Context::from_waker(&waker);
    assert!(std::future::Future::poll(Pin::new(&mut ticket), context).is_pending());
    *polls.0.lock().unwrap() = Some(ticket);
    drop(hold);
    assert!(polls.1.lock().unwrap().take().is_some());
}

#[test]
fn a_forgotten_grant_is_taken_back_by_an_arriving_backup() {
    let rig = Rig::new();
    let mut idle: Vec<WriteTicket> = (0..3).map(|_| rig.ticket()).collect();
    let bell = Arc::new(Bell::default());
    assert!(idle.iter().all(|ticket| ticket.state() == TicketState::Granted));
    let hold = rig.hold(&[DATA_S]);
    assert!(idle.iter().all(|ticket| ticket.state() == TicketState::Waiting));
    assert!(poll(&mut idle[0], &bell).is_pending());
    let newcomer = rig.ticket();
    assert_eq!(newcomer.position(), Some(3), "what was taken back goes to the head");
    drop(hold);
    assert_eq!(bell.0.load(Ordering::SeqCst), 1);
    idle.into_iter().for_each(|ticket| drop(ticket.wait().unwrap()));
    drop(newcomer);
    assert!(rig.is_idle());
}

#[test]
fn waiting_writes_are_granted_in_order_of_arrival_and_newcomers_do_not_barge() {
    let rig = Rig::new();
    let hold = rig.hold(&[DATA_S]);
    let order = Arc::new(Mutex::new(Vec::new()));
    struct Note(usize, Arc<Mutex<Vec<usize>>>);
    impl Wake for Note {
        fn wake(self: Arc<Self>) {
            self.1.lock().unwrap().push(self.0);
        }
    }
    let mut tickets: Vec<WriteTicket> = (0..50).map(|_| rig.ticket()).collect();
    for (n, ticket) in tickets.iter_mut().enumerate() {
        let waker = Waker::from(Arc::new(Note(n, order.clone())));
        let context = &mut Context::from_waker(&waker);
        assert!(std::future::Future::poll(Pin::new(ticket), context).is_pending());
    }
    assert!(rig.manager.try_enter().is_none(), "the gate is closed to newcomers");
    drop(hold);
    assert_eq!(*order.lock().unwrap(), (0..50).collect::<Vec<_>>());
    assert!(tickets.iter().all(|ticket| ticket.state() == TicketState::Granted));
    drop(rig.begin());
}

#[test]
fn the_queue_is_bounded() {
    let rig = Rig::with(|options| options.queue_limit = 2);
    let hold = rig.hold(&[DATA_S]);
    let kept = [rig.ticket(), rig.ticket()];
    let refused = rig.manager.request_write(WriteRequest::default());
    assert_eq!(kind_and_code(refused).0, ErrorKind::Busy);
    assert_eq!(rig.manager.pending_writes().len(), 2);
    drop(hold);
    drop(kept);
    assert!(rig.is_idle());
}

#[test]
fn a_pending_write_tells_its_job_and_what_that_has_done() {
    let rig = Rig::new();
    let _hold = rig.hold(&[DATA_S]);
    let request =
        WriteRequest { job: Some("import".into()), commits_done: 3, ..WriteRequest::default() };
    let ticket = rig.manager.request_write(request).unwrap();
    let pending = &rig.manager.pending_writes()[0];
    assert_eq!((pending.id, pending.job.as_deref()), (ticket.id(), Some("import")));
    assert_eq!((pending.commits_done, pending.behind_backup), (3, true));
}

#[test]
fn closing_wakes_everybody_with_closed() {
    let rig = Rig::new();
    let hold = rig.hold(&[DATA_X]);
    let ticket = rig.ticket();
    std::thread::scope(|scope| {
        let write = scope.spawn(|| rig.manager.begin_write(WriteRequest::default()).map(drop));
        let read = scope.spawn(|| rig.manager.check_read());
        let manager = &rig.manager;
        let other = scope.spawn(|| {
            manager.hold_writes(Duration::from_secs(1)).map(drop) // S waits for X
        });
        rig.until(|report| report.waiting_reads == 1);
        rig.until_waiting(3);
        rig.manager.close();
        for result in [write.join(), read.join(), other.join()] {
            assert_eq!(kind_and_code(result.unwrap()).0, ErrorKind::Closed);
        }
    });
    assert_eq!(kind_and_code(ticket.wait()).0, ErrorKind::Closed);
    drop(hold);
    let late = rig.manager.begin_write(WriteRequest::default());
    assert_eq!(kind_and_code(late).0, ErrorKind::Closed);
}

#[test]
fn more_owners_than_slots_are_inside_together_and_a_backup_waits_for_all() {
    let rig = Rig::new();
    let mut owners: Vec<Owner> = (0..300).map(|_| rig.begin()).collect();
    std::thread::scope(|scope| {
        let hold = scope.spawn(|| rig.manager.hold(rig.backup(&[DATA_S])).unwrap().state());
        rig.until(|report| report.owners.iter().any(|owner| !owner.waits.is_empty()));
        while let Some(owner) = owners.pop() {
            assert!(!hold.is_finished());
            drop(owner);
        }
        assert_eq!(hold.join().unwrap(), HoldState::Held);
    });
    assert!(rig.is_idle());
}
