//! A backup that runs: its progress, its Stop button, its result.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crossbeam_channel::Sender;
use parking_lot::Mutex;

use super::actor::Order;
use super::outcome::Outcome;
use super::progress::{Progress, ProgressCell};
use super::report::BackupReport;
use crate::disk::Disk;
use crate::error::{Error, ErrorKind, Result, code};
use crate::lock::{HoldToken, LockManager, StopToken, WaitedBy};
use crate::store::{Inner, Stopping};

/// What the thread of a backup and its handle share. It does not keep the store open.
pub(super) struct Shared {
    /// Known from the end of the preflight on.
    number: OnceLock<u32>,
    pub(super) began: Duration,
    pub(super) cell: ProgressCell,
    pub(super) stop: StopToken,
    /// The hold, while there is one: Stop lets go of it without waiting for the copier.
    pub(super) hold: Mutex<Option<HoldToken>>,
    /// The lines to the participants, while there are some: Stop lets go of them likewise.
    pub(super) crew: Mutex<Vec<Sender<Order>>>,
    /// Who waits for the end.
    pub(super) waited_by: WaitedBy,
    /// Whether it was stopped because the store is being closed.
    closing: AtomicBool,
    disk: Arc<dyn Disk>,
    locks: Arc<LockManager>,
    pub(super) outcome: Outcome,
}

impl Shared {
    pub(super) fn new(inner: &Inner) -> Arc<Shared> {
        let began = inner.now();
        Arc::new(Shared {
            number: OnceLock::new(),
            began,
            cell: ProgressCell::new(began),
            stop: StopToken::new(),
            hold: Mutex::new(None),
            crew: Mutex::new(Vec::new()),
            waited_by: WaitedBy::default(),
            closing: AtomicBool::new(false),
            disk: inner.engine.disk().clone(),
            locks: inner.locks.clone(),
            outcome: Outcome::default(),
        })
    }

    pub(super) fn number(&self) -> Option<u32> {
        self.number.get().copied()
    }

    pub(super) fn set_number(&self, number: u32) {
        let first = self.number.set(number);
        debug_assert!(first.is_ok(), "a backup has one preflight");
    }

    pub(super) fn now(&self) -> Duration {
        self.disk.elapsed()
    }

    pub(super) fn progress(&self) -> Progress {
        let waiting = self.locks.pending_writes().len();
        self.cell.at(self.number(), self.began, self.now(), waiting)
    }

    /// The error of a backup that was stopped, if it was.
    pub(super) fn check_stop(&self) -> Result<()> {
        match (self.stop.is_set(), self.closing.load(Ordering::SeqCst)) {
            (false, _) => Ok(()),
            (true, false) => Err(stopped()),
            (true, true) => Err(stopped_by_closing()),
        }
    }
}

/// What a backup ended with, where closing the store is what ended it.
pub(super) fn closed_or(shared: &Shared, error: Error) -> Error {
    let closing = shared.closing.load(Ordering::SeqCst);
    match error.kind() {
        ErrorKind::Stopped | ErrorKind::Closed if closing => stopped_by_closing(),
        _ => error,
    }
}

pub(super) fn stopped() -> Error {
    Error::new(ErrorKind::Stopped, "the backup was stopped by the user").with_code(code::STOPPED)
}

pub(super) fn stopped_by_closing() -> Error {
    let message = "the backup was stopped because the store was closed";
    Error::new(ErrorKind::Stopped, message).with_code(code::STOPPED)
}

/// A running backup. Dropping it lets the backup run on.
#[must_use = "the backup runs on, but nobody learns how it ended"]
pub struct BackupHandle {
    shared: Arc<Shared>,
}

impl BackupHandle {
    pub(super) fn new(shared: Arc<Shared>) -> BackupHandle {
        BackupHandle { shared }
    }

    /// A second handle on the same backup.
    pub(crate) fn another(&self) -> BackupHandle {
        BackupHandle { shared: self.shared.clone() }
    }

    /// Number of the backup. `None` until its preflight has looked into the destination, which comes
    /// after the startup hook.
    pub fn number(&self) -> Option<u32> {
        self.shared.number()
    }

    /// How far it is. Never waits.
    pub fn progress(&self) -> Progress {
        self.shared.progress()
    }

    /// The Stop button: others, and participants, go on at once; the copier ends at its next step,
    /// with code 1406, and leaves nothing behind. Never waits, works from any thread, does nothing
    /// after the end.
    pub fn stop(&self) {
        self.shared.stop.set();
        // Those who waited may be woken right here, by code of the application: not under a lock.
        let token = self.shared.hold.lock().clone();
        if let Some(token) = token {
            token.release();
        }
        for line in &*self.shared.crew.lock() {
            // A participant whose thread has ended is frozen no more.
            let _ended = line.send(Order::LetGo);
        }
    }

    /// What closing the store does to it.
    pub(super) fn closer(&self) -> impl Fn(Stopping) + Send + Sync + use<> {
        let other = self.another();
        move |step| {
            other.shared.closing.store(true, Ordering::SeqCst);
            match step {
                Stopping::Announced => other.shared.stop.set(),
                Stopping::LetGo => other.stop(),
            }
        }
    }

    /// Announces that the calling thread waits for the end.
    pub(crate) fn waited_by(&self) -> WaitedBy {
        self.shared.waited_by.clone()
    }

    /// Waits for the end on behalf of another thread.
    pub(crate) fn outcome(&self) -> Result<BackupReport> {
        self.shared.outcome.wait()
    }

    /// A Stop button that can be given to somebody else.
    pub fn stopper(&self) -> impl Fn() + Send + Sync + 'static {
        let other = self.another();
        move || other.stop()
    }

    /// Whether it has ended.
    pub fn is_finished(&self) -> bool {
        self.shared.outcome.is_there()
    }

    /// Waits for the end.
    ///
    /// # Errors
    /// Why there is no archive: stopped (1406), refused by the startup hook (its own code), open
    /// transactions (1405), the destination (1407), the copy (1409), the check (1411), a damaged
    /// source (2002), a broken hold (2003), a participant (2012, or 2006 where it panicked); a write
    /// handle or a hold of the thread that waits here (1404).
    pub fn wait(self) -> Result<BackupReport> {
        let _mark = self.shared.waited_by.this_thread();
        self.shared.outcome.wait()
    }
}

impl fmt::Debug for BackupHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BackupHandle")
            .field("number", &self.number())
            .field("stage", &self.progress().stage)
            .finish_non_exhaustive()
    }
}
