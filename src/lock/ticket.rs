//! Waiting writes as things: a ticket is a place in the queue that can be looked at, waited for,
//! awaited, and given back.
//!
//! Its state is one word, changed by compare-and-swap only:
//! `Waiting -> Granted -> Claimed`, `Waiting -> Cancelled`, and `Granted -> Waiting` when a hold
//! arrives before anybody has taken the grant up. Whoever wins the swap does what belongs to it, so a
//! grant and a cancellation at the same moment leave neither a lost lock nor one that nobody holds.

use super::core::Locked;
use super::granule::Id;
use super::manager::Shared;
use super::mode::Mode;
use super::owner::{Owner, OwnerInfo};
use super::refuse;
use super::report::BackupProgressInfo;
use super::table::{Age, OwnerId};
use crate::error::{Error, Result};
use parking_lot::{Condvar, Mutex};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// Where a ticket stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
pub enum TicketState {
    /// In the queue.
    Waiting,
    /// Its turn has come, and nobody has taken it up yet.
    Granted,
    /// An owner came of it.
    Claimed,
    /// It was withdrawn or refused.
    Cancelled,
}

const WAITING: u8 = 0;
const GRANTED: u8 = 1;
const CLAIMED: u8 = 2;
const CANCELLED: u8 = 3;

/// What the ticket and the manager share.
pub(crate) struct Ticket {
    pub(crate) owner: OwnerId,
    pub(crate) info: Arc<OwnerInfo>,
    pub(crate) age: Age,
    pub(crate) since: Duration,
    pub(crate) deadline: Option<Duration>,
    pub(crate) wake: Arc<Condvar>,
    pub(crate) waker: Mutex<Option<Waker>>,
    word: AtomicU8,
    error: Mutex<Option<Error>>,
}

impl Ticket {
    pub(crate) fn new(
        owner: OwnerId,
        info: Arc<OwnerInfo>,
        age: Age,
        since: Duration,
        timeout: Option<Duration>,
    ) -> Ticket {
        Ticket {
            owner,
            info,
            age,
            since,
            deadline: timeout.map(|timeout| since.saturating_add(timeout)),
            wake: Arc::default(),
            waker: Mutex::new(None),
            word: AtomicU8::new(WAITING),
            error: Mutex::new(None),
        }
    }

    pub(crate) fn wants(&self) -> Vec<(Id, Mode)> {
        vec![self.info.purpose.root()]
    }

    fn swap(&self, from: u8, to: u8) -> bool {
        self.word.compare_exchange(from, to, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }

    /// Waiting -> Granted.
    pub(crate) fn grant(&self) -> bool {
        self.swap(WAITING, GRANTED)
    }

    /// Granted -> Waiting.
    pub(crate) fn revoke(&self) -> bool {
        self.swap(GRANTED, WAITING)
    }

    /// Granted -> Claimed.
    fn claim(&self) -> bool {
        self.swap(GRANTED, CLAIMED)
    }

    /// Waiting -> Cancelled, by whoever has the ticket.
    fn cancel(&self) -> bool {
        self.swap(WAITING, CANCELLED)
    }

    /// Waiting -> Cancelled, from outside, with the reason for whoever waits.
    pub(crate) fn refuse(&self, error: Error) -> bool {
        let mut reason = self.error.lock();
        let done = self.swap(WAITING, CANCELLED);
        if done {
            *reason = Some(error);
        }
        done
    }

    pub(crate) fn state(&self) -> TicketState {
        match self.word.load(Ordering::SeqCst) {
            WAITING => TicketState::Waiting,
            GRANTED => TicketState::Granted,
            CLAIMED => TicketState::Claimed,
            _ => TicketState::Cancelled,
        }
    }

    fn reason(&self) -> Error {
        self.error.lock().clone().unwrap_or_else(refuse::cancelled)
    }
}

/// What became of a cancellation.
#[must_use = "a grant that came first is in here"]
#[derive(Debug)]
pub enum CancelOutcome {
    /// Nothing was begun.
    Cancelled,
    /// The grant came first; drop the owner to give it back.
    AlreadyGranted(Owner),
}

/// Why a wait with a limit gave no owner.
#[derive(Debug)]
pub enum WaitError {
    /// The limit has passed. The ticket keeps its place.
    StillWaiting(WriteTicket),
    /// The ticket was refused.
    Failed(Error),
}

/// A place in the queue of writes. Dropping it gives the place back, or the grant.
///
/// As a future it needs no runtime; it resolves when the write is granted or refused.
#[must_use = "dropping a ticket gives its place up"]
pub struct WriteTicket {
    core: Shared,
    ticket: Arc<Ticket>,
    /// Whether the owner or the error was handed out.
    spent: bool,
}

impl WriteTicket {
    pub(crate) fn new(core: Shared, ticket: Arc<Ticket>) -> WriteTicket {
        WriteTicket { core, ticket, spent: false }
    }

    /// Its number, as in [`PendingWrite`](super::PendingWrite) and for
    /// [`cancel_pending`](super::LockManager::cancel_pending).
    pub fn id(&self) -> u64 {
        self.ticket.owner.raw()
    }

    /// Where it stands. Never waits.
    pub fn state(&self) -> TicketState {
        self.ticket.state()
    }

    /// How many tickets wait before this one; `None` when it does not wait. Never waits.
    pub fn position(&self) -> Option<usize> {
        let mut central = self.core.lock();
        central.tick();
        (self.state() == TicketState::Waiting).then(|| central.position(self.ticket.owner))
    }

    /// Since when it waits, by the manager's clock.
    pub fn waiting_since(&self) -> Duration {
        self.ticket.since
    }

    /// The backup that it waits for, and how far that is. `None` when it waits for something else,
    /// or not at all. Never waits.
    pub fn waits_for(&self) -> Option<BackupProgressInfo> {
        let mut central = self.core.lock();
        central.tick();
        central.backup_before(self.ticket.owner)
    }

    /// Waits until it is granted.
    ///
    /// # Errors
    /// `BackupInProgress`, code -9976, when it was cancelled while a backup was the reason;
    /// `Cancelled` when it was cancelled otherwise; `Timeout` past the request's own limit; `Closed`;
    /// `BackupInProgress`, code 2005, from inside a callback of the backup; `Invalid`, code 1404, when
    /// what it waits for waits for a handle of the same thread.
    pub fn wait(mut self) -> Result<Owner> {
        self.block(None).map(|owner| owner.expect("a wait without a limit ends with an owner"))
    }

    /// Waits until it is granted, for `limit` at most.
    ///
    /// # Errors
    /// [`WaitError::StillWaiting`] with the ticket when the limit has passed; otherwise as
    /// [`WriteTicket::wait`].
    pub fn wait_timeout(mut self, limit: Duration) -> Result<Owner, WaitError> {
        let until = self.core.now().saturating_add(limit);
        match self.block(Some(until)) {
            Ok(Some(owner)) => Ok(owner),
            Ok(None) => Err(WaitError::StillWaiting(self)),
            Err(error) => Err(WaitError::Failed(error)),
        }
    }

    /// Gives the place up.
    pub fn cancel(mut self) -> CancelOutcome {
        let core = self.core.clone();
        let mut central = core.lock();
        match self.take(&mut central) {
            Some(Ok(owner)) => {
                drop(central);
                CancelOutcome::AlreadyGranted(owner)
            }
            Some(Err(_)) => CancelOutcome::Cancelled,
            None => {
                self.spent = true;
                let cancelled = self.ticket.cancel();
                debug_assert!(cancelled, "under the mutex nobody else ends a wait");
                central.withdraw(&self.ticket);
                CancelOutcome::Cancelled
            }
        }
    }

    /// The owner or the error, once the ticket has come to an end.
    fn take(&mut self, central: &mut Locked<'_>) -> Option<Result<Owner>> {
        if self.spent {
            return Some(Err(refuse::invalid("the ticket was used up already")));
        }
        if self.ticket.claim() {
            self.spent = true;
            central.tickets.remove(&self.ticket.owner);
            let (core, ticket) = (self.core.clone(), &self.ticket);
            return Some(Ok(Owner::central(core, ticket.owner, ticket.info.clone(), ticket.age)));
        }
        if self.ticket.state() == TicketState::Cancelled {
            self.spent = true;
            return Some(Err(self.ticket.reason()));
        }
        None
    }

    fn block(&mut self, until: Option<Duration>) -> Result<Option<Owner>> {
        let core = self.core.clone();
        let mut central = core.lock();
        loop {
            central.tick();
            if let Some(end) = self.take(&mut central) {
                drop(central);
                return end.map(Some);
            }
            if let Some(error) = central.self_block(self.ticket.owner) {
                return Err(error);
            }
            if until.is_some_and(|until| core.now() >= until) {
                return Ok(None);
            }
            let until = central.next_end(until, self.ticket.deadline);
            let wake = self.ticket.wake.clone();
            central.park(&wake, until);
        }
    }
}

impl Future for WriteTicket {
    type Output = Result<Owner>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<Owner>> {
        let core = self.core.clone();
        // To copy or drop a waker is foreign code, so neither is done under the mutex.
        let waker = context.waker().clone();
        let mut central = core.lock();
        central.tick();
        if let Some(end) = self.take(&mut central) {
            drop(central);
            return Poll::Ready(end);
        }
        // Whoever polls from there waits for it, or his executor does.
        if let Some(error) = central.callback_block(self.ticket.owner) {
            return Poll::Ready(Err(error));
        }
        let former = self.ticket.waker.lock().replace(waker);
        drop(central);
        drop(former);
        Poll::Pending
    }
}

impl Drop for WriteTicket {
    fn drop(&mut self) {
        if self.spent {
            return;
        }
        let core = self.core.clone();
        let mut central = core.lock();
        if self.ticket.cancel() {
            central.withdraw(&self.ticket);
        } else if let Some(Ok(owner)) = self.take(&mut central) {
            drop(central);
            drop(owner);
        }
    }
}

impl fmt::Debug for WriteTicket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WriteTicket").field("id", &self.id()).field("state", &self.state()).finish()
    }
}
