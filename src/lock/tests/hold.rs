//! Holds: the lease and both of its ends, the token, the wait for open handles, self-blocking.

use super::*;
use crate::error::code;
use std::sync::Mutex;

const MINUTE: Duration = Duration::from_secs(60);
const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_backup_waits_for_open_handles_and_then_holds() {
    let rig = Rig::new();
    let owner = rig.begin();
    std::thread::scope(|scope| {
        let hold = scope.spawn(|| rig.manager.hold(rig.backup(&[DATA_S])).unwrap());
        rig.until_waiting(1);
        assert!(!rig.manager.locked());
        assert!(rig.manager.try_enter().is_none(), "newcomers queue behind it");
        let late = rig.ticket();
        assert_eq!(late.state(), TicketState::Waiting);
        assert_eq!(late.waits_for().unwrap().number, 7);
        drop(owner);
        let hold = hold.join().unwrap();
        assert!(rig.manager.locked());
        drop(hold);
        assert_eq!(late.state(), TicketState::Granted);
    });
}

#[test]
fn a_backup_gives_up_when_handles_stay_open_past_the_transaction_timeout() {
    let rig = Rig::new();
    let job = WriteRequest { job: Some("nightly".into()), ..WriteRequest::default() };
    let owner = rig.manager.begin_write(job).unwrap();
    std::thread::scope(|scope| {
        let hold = scope.spawn(|| rig.manager.hold(rig.backup(&[DATA_S])));
        rig.until_waiting(1);
        let waiting = rig.ticket();
        rig.advance(MINUTE);
        let error = hold.join().unwrap().unwrap_err();
        assert_eq!((error.kind(), error.code()), (ErrorKind::BackupFailed, 1405));
        assert!(error.message().contains("nightly"), "{error}");
        assert_eq!(waiting.state(), TicketState::Granted, "the store thaws");
    });
    drop(owner);
    assert!(rig.is_idle());
}

#[test]
fn a_backup_that_may_not_wait_fails_at_once() {
    let rig = Rig::new();
    let owner = rig.begin();
    std::thread::scope(|scope| {
        let mut request = rig.backup(&[DATA_S]);
        request.transaction_timeout = Duration::ZERO;
        let failed = scope.spawn(|| rig.manager.hold(request)).join().unwrap();
        assert_eq!(kind_and_code(failed).1, code::TRANSACTION_TIMEOUT);
    });
    drop(owner);
    assert!(rig.is_idle());
}

#[test]
fn a_backup_that_waits_can_be_stopped() {
    let rig = Rig::new();
    let owner = rig.begin();
    let request = rig.backup(&[DATA_S]);
    let stop = request.stop.clone();
    std::thread::scope(|scope| {
        let hold = scope.spawn(|| rig.manager.hold(request));
        rig.until_waiting(1);
        stop.set();
        let stopped = kind_and_code(hold.join().unwrap());
        assert_eq!(stopped, (ErrorKind::Stopped, code::STOPPED));
    });
    drop(owner);
    assert!(rig.is_idle());
}

#[test]
fn a_second_backup_is_refused_with_its_own_number() {
    let rig = Rig::new();
    let owner = rig.begin();
    std::thread::scope(|scope| {
        let first = scope.spawn(|| rig.manager.hold(rig.backup(&[DATA_S])).unwrap());
        rig.until_waiting(1);
        let try_second = || kind_and_code(rig.manager.hold(rig.backup(&[DATA_S]))).1;
        let second = || scope.spawn(try_second).join().unwrap();
        assert_eq!(second(), code::SECOND_BACKUP, "while the first waits");
        drop(owner);
        let first = first.join().unwrap();
        assert_eq!(second(), code::SECOND_BACKUP, "while the first holds");
        drop(first);
    });
    let turn = rig.manager.claim_backup().unwrap();
    assert!(rig.manager.claim_backup().is_err());
    drop(turn);
    drop(rig.manager.claim_backup().unwrap());
}

#[test]
fn a_backup_and_an_integration_exclude_each_other() {
    let rig = Rig::new();
    let code_of = |error: crate::Error| (error.kind(), error.code(), error.is_retryable());
    let integration = rig.manager.claim_integration().unwrap();
    for error in [rig.manager.claim_backup().err(), rig.manager.claim_integration().err()] {
        let expected = (ErrorKind::Busy, code::INTEGRATION_RUNNING, true);
        assert_eq!(code_of(error.unwrap()), expected);
    }
    drop(integration);
    let backup = rig.manager.claim_backup().unwrap();
    let error = rig.manager.claim_integration().err().unwrap();
    assert_eq!(code_of(error).0, ErrorKind::BackupInProgress);
    drop(backup);
    drop(rig.manager.claim_integration().unwrap());
}

#[test]
fn a_hold_ends_at_its_limit_by_the_eyes_of_a_waiter() {
    for at_limit in [AtLimit::ContinueLive, AtLimit::Abort] {
        let rig = Rig::new();
        let limit = Some(5 * SECOND);
        let hold = rig.hold_with(HoldRequest { limit, at_limit, ..rig.backup(&[DATA_S]) });
        std::thread::scope(|scope| {
            let write = scope.spawn(|| rig.manager.begin_write(WriteRequest::default()).map(drop));
            rig.until_waiting(1);
            hold.progress(1);
            // The clock moves, and nobody is told: the waiter looks by itself.
            rig.micros.fetch_add(5_000_000, Ordering::SeqCst);
            write.join().unwrap().unwrap();
        });
        assert_eq!(hold.state(), HoldState::Expired { why: Expiry::Limit, then: at_limit });
        assert_eq!(hold.longest_wait(), 5 * SECOND);
        match at_limit {
            AtLimit::ContinueLive => hold.check().unwrap(),
            AtLimit::Abort => assert_eq!(kind_and_code(hold.check()).1, code::HOLD_EXPIRED),
        }
        drop(hold);
        assert!(rig.is_idle());
    }
}

#[test]
fn a_hold_without_progress_is_broken_and_one_with_progress_is_not() {
    let rig = Rig::new();
    let hold = rig.hold(&[DATA_X]);
    for _ in 0..5 {
        rig.advance(59 * SECOND);
        hold.progress(1);
        assert_eq!(hold.state(), HoldState::Held);
    }
    hold.progress(0);
    std::thread::scope(|scope| {
        let read = scope.spawn(|| rig.manager.check_read());
        rig.until(|report| report.waiting_reads == 1);
        rig.micros.fetch_add(60_000_000, Ordering::SeqCst);
        read.join().unwrap().unwrap();
    });
    let stalled = HoldState::Expired { why: Expiry::Stalled, then: AtLimit::ContinueLive };
    assert_eq!(hold.state(), stalled);
}

#[test]
fn a_token_releases_its_hold_from_any_thread_once_and_no_other_hold() {
    let rig = Rig::new();
    let first = rig.hold(&[DATA_S]);
    let token = first.token();
    let waiting = rig.ticket();
    assert!(std::thread::scope(|scope| scope.spawn(|| token.release()).join().unwrap()));
    assert_eq!(waiting.state(), TicketState::Granted);
    drop(waiting);
    let second = rig.hold(&[DATA_S]);
    assert!(!token.release(), "a stale token does nothing");
    assert_eq!(token.state(), HoldState::Released);
    drop(first);
    assert_eq!(second.state(), HoldState::Held);
    let waiting = rig.ticket();
    assert_eq!(waiting.state(), TicketState::Waiting);
    drop(second);
    drop(waiting);
    assert!(rig.is_idle());
}

#[test]
fn a_hold_whose_thread_panics_lets_the_others_go_on() {
    let rig = Rig::new();
    let manager = rig.manager.clone();
    let request = rig.backup(&[DATA_X]);
    let died = std::thread::spawn(move || {
        let _hold = manager.hold(request).unwrap();
        std::panic::resume_unwind(Box::new("the copier died"));
    });
    assert!(died.join().is_err());
    rig.manager.check_read().unwrap();
    assert!(rig.is_idle());
}

#[test]
fn a_hold_that_was_leaked_ends_by_its_lease() {
    let rig = Rig::new();
    std::mem::forget(rig.hold(&[DATA_X]));
    let waiting = rig.ticket();
    rig.advance(MINUTE);
    assert_eq!(waiting.state(), TicketState::Granted);
}

#[test]
fn nothing_in_a_callback_waits_for_its_own_backup() {
    let rig = Rig::new();
    let hold = rig.manager.hold(rig.backup(&[DATA_X])).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let scope = rig.manager.callback_scope();
            let nested = rig.manager.callback_scope();
            drop(nested);
            let own = (ErrorKind::BackupInProgress, code::FROM_CALLBACK);
            assert_eq!(kind_and_code(rig.manager.check_read()), own);
            assert_eq!(kind_and_code(rig.manager.begin_write(WriteRequest::default())), own);
            assert_eq!(kind_and_code(rig.manager.hold(rig.backup(&[DATA_S]))), own);
            assert_eq!(kind_and_code(rig.manager.hold_writes(SECOND)), own);
            assert!(rig.manager.claim_backup().is_err());
            // What never waits goes on.
            assert!(rig.manager.locked());
            assert!(rig.manager.pending_writes().is_empty());
            assert_eq!(rig.manager.locks().owners.len(), 1);
            // Another store is another matter.
            drop(Rig::new().begin());
            drop(scope);
        });
    });
    drop(hold);
    let scope = rig.manager.callback_scope();
    rig.manager.check_read().unwrap();
    drop(rig.begin());
    drop(scope);
    assert!(rig.is_idle());
}

#[test]
fn the_thread_of_a_hold_is_not_left_waiting_for_itself() {
    let rig = Rig::new();
    let hold = rig.manager.hold(rig.backup(&[DATA_X])).unwrap();
    assert_eq!(kind_and_code(rig.manager.check_read()).1, code::OWN_TRANSACTION);
    let write = rig.manager.begin_write(WriteRequest::default());
    assert_eq!(kind_and_code(write).1, code::OWN_TRANSACTION);
    drop(hold);
    assert!(rig.is_idle());
}

#[test]
fn hold_writes_is_reentrant_and_ends_with_the_last_of_its_holds() {
    let rig = Rig::new();
    let outer = rig.manager.hold_writes(10 * SECOND).unwrap();
    let inner = rig.manager.hold_writes(20 * SECOND).unwrap();
    let waiting = rig.ticket();
    rig.manager.check_read().unwrap();
    drop(outer);
    assert!(rig.manager.locked());
    rig.advance(15 * SECOND);
    assert_eq!(inner.state(), HoldState::Held, "the later limit holds");
    assert_eq!(waiting.state(), TicketState::Waiting);
    inner.release();
    assert!(!rig.manager.locked());
    assert_eq!(waiting.state(), TicketState::Granted);
    drop(waiting);
    let late = rig.manager.hold_writes(SECOND).unwrap();
    rig.advance(SECOND);
    assert!(!rig.manager.locked());
    drop(late);
    assert!(rig.is_idle());
}

#[test]
fn a_server_backup_and_the_applications_hold_go_together() {
    let rig = Rig::new();
    let own = rig.manager.hold_writes(MINUTE).unwrap();
    let backup = rig.manager.hold(rig.backup(&[DATA_S])).unwrap();
    let waiting = rig.ticket();
    drop(own);
    assert_eq!(waiting.state(), TicketState::Waiting);
    drop(backup);
    assert_eq!(waiting.state(), TicketState::Granted);
}

#[test]
fn a_hold_asks_for_roots_in_s_or_x_and_nothing_else() {
    let rig = Rig::new();
    let table = (Granule::Table(1), Mode::S);
    for roots in [&[][..], &[table], &[(Granule::Data, Mode::IX)], &[DATA_S, DATA_X]] {
        assert_eq!(kind_and_code(rig.manager.hold(rig.backup(roots))).0, ErrorKind::Invalid);
    }
    assert!(rig.is_idle());
}

#[test]
fn the_longest_wait_counts_reads_writes_and_cancelled_ones() {
    let rig = Rig::new();
    let hold = rig.hold(&[DATA_S]);
    rig.advance(SECOND);
    let cancelled = rig.ticket();
    rig.advance(3 * SECOND);
    rig.manager.cancel_pending(cancelled.id());
    rig.advance(SECOND);
    let _waits = rig.ticket();
    rig.advance(SECOND);
    assert_eq!(hold.longest_wait(), 3 * SECOND);
    rig.advance(3 * SECOND);
    let token = hold.token();
    drop(hold);
    rig.advance(3 * SECOND);
    assert_eq!(token.longest_wait(), 4 * SECOND);
}

/// One thread finds that the lease has run out and is held up; the other came before it had, and
/// enters the hold again.
#[test]
fn a_hold_that_is_entered_anew_is_not_ended_by_a_look_from_before() {
    type Once = Option<Box<dyn FnOnce() + Send>>;
    let (micros, hook) = (Arc::new(AtomicU64::new(0)), Arc::new(Mutex::new(Once::None)));
    let (clock, called) = (micros.clone(), hook.clone());
    let clock = Arc::new(move || {
        let now = Duration::from_micros(clock.load(Ordering::SeqCst));
        let once = called.lock().unwrap().take();
        once.into_iter().for_each(|once| once());
        now
    });
    let manager = LockManager::new(LockOptions::new(clock));
    let hold = manager.hold_writes(10 * SECOND).unwrap();
    micros.store(9_999_999, Ordering::SeqCst);
    let (look, looks) = std::sync::mpsc::channel();
    let (saw, seen) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        let token = hold.token();
        let looking = scope.spawn(move || {
            looks.recv().unwrap();
            token.state()
        });
        // Called by this thread below, under the mutex: the other one goes on as far as it can.
        let next = hook.clone();
        *hook.lock().unwrap() = Some(Box::new(move || {
            micros.store(10_000_000, Ordering::SeqCst);
            *next.lock().unwrap() = Some(Box::new(move || saw.send(()).unwrap()));
            look.send(()).unwrap();
            seen.recv().unwrap();
            // Only so that the other one has gone on: the test is right without.
            std::thread::sleep(Duration::from_millis(20));
        }));
        let again = manager.hold_writes(10 * SECOND).unwrap();
        assert_eq!(looking.join().unwrap(), HoldState::Held);
        assert_eq!(again.state(), HoldState::Held);
        drop(again);
    });
    assert_eq!(hold.state(), HoldState::Held);
}
