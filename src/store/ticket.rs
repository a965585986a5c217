//! Waiting writes as things that a program can hold.

use super::events::StoreEvent;
use super::inner::Inner;
use super::job::Label;
use super::write::WriteHandle;
use crate::lock::{self, BackupProgressInfo, Owner, TicketState};
use crate::{Error, Result};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

/// A place in the queue of writes. Dropping it gives the place back, or the grant.
///
/// It is also a `Future` of the [`WriteHandle`], and needs no runtime. What a handle does
/// afterwards may wait for locks and for the disk, so an asynchronous program runs it where
/// blocking is allowed.
#[must_use = "dropping a ticket gives its place up"]
pub struct WriteTicket {
    place: lock::WriteTicket,
    claim: Claim,
}

/// What makes a write handle of a grant.
#[derive(Clone)]
pub(crate) struct Claim {
    pub(crate) store: Arc<Inner>,
    pub(crate) job: Option<Arc<Label>>,
    /// Whether it had to wait at all, so that its end is worth telling.
    queued: bool,
    id: u64,
    since: Duration,
}

impl Claim {
    fn granted(self, owner: Owner) -> WriteHandle {
        if self.queued {
            let waited = self.store.now().saturating_sub(self.since);
            self.store.events.tell(|| StoreEvent::WriteGranted { id: self.id, waited });
        }
        WriteHandle::new(self.store, owner, self.job)
    }

    fn refused(&self, error: Option<Error>) {
        self.store.events.tell(|| StoreEvent::WriteCancelled { id: self.id, error });
    }

    fn end(self, end: Result<Owner>) -> Result<WriteHandle> {
        match end {
            Ok(owner) => Ok(self.granted(owner)),
            Err(error) => {
                self.refused(Some(error.clone()));
                Err(error)
            }
        }
    }
}

/// What became of a cancellation.
#[must_use = "a grant that came first is in here"]
#[expect(
    clippy::large_enum_variant,
    reason = "it is taken apart where it is made, and kept nowhere"
)]
#[derive(Debug)]
pub enum CancelOutcome {
    /// Nothing was begun.
    Cancelled,
    /// The grant came first: use the handle, or drop it to give it back.
    AlreadyGranted(WriteHandle),
}

/// Why a wait with a limit gave no handle.
#[derive(Debug)]
pub enum WaitError {
    /// The limit has passed. The ticket keeps its place.
    StillWaiting(WriteTicket),
    /// The ticket was refused.
    Failed(Error),
}

impl WriteTicket {
    pub(crate) fn new(
        place: lock::WriteTicket,
        store: Arc<Inner>,
        job: Option<Arc<Label>>,
    ) -> WriteTicket {
        let queued = place.state() == TicketState::Waiting;
        let (id, since) = (place.id(), place.waiting_since());
        if queued {
            let job = job.as_ref().map(|job| job.name().to_owned());
            store.events.tell(|| StoreEvent::WriteQueued { id, job });
        }
        WriteTicket { place, claim: Claim { store, job, queued, id, since } }
    }

    /// Its number, as in [`PendingWrite`](crate::lock::PendingWrite) and for
    /// [`Store::cancel_pending`](crate::Store::cancel_pending).
    pub fn id(&self) -> u64 {
        self.claim.id
    }

    /// Where it stands. Never waits.
    pub fn state(&self) -> TicketState {
        self.place.state()
    }

    /// How many writes wait before this one; `None` when it does not wait. Never waits for a lock.
    pub fn position(&self) -> Option<usize> {
        self.place.position()
    }

    /// How long ago it was asked for.
    pub fn waited(&self) -> Duration {
        self.claim.store.now().saturating_sub(self.claim.since)
    }

    /// The backup that it waits for, and how far that is. `None` when it waits for something else,
    /// or not at all. Never waits for a lock.
    pub fn waits_for(&self) -> Option<BackupProgressInfo> {
        self.place.waits_for()
    }

    /// Waits until it is granted.
    ///
    /// # Errors
    /// [`ErrorKind::BackupInProgress`](crate::ErrorKind::BackupInProgress), code -9976, when it was
    /// cancelled while a backup was the reason;
    /// [`ErrorKind::Cancelled`](crate::ErrorKind::Cancelled) when it was cancelled otherwise;
    /// [`ErrorKind::Closed`](crate::ErrorKind::Closed);
    /// [`ErrorKind::BackupInProgress`](crate::ErrorKind::BackupInProgress), code 2005, from inside
    /// a callback of the backup; [`ErrorKind::Invalid`](crate::ErrorKind::Invalid), code 1404, when
    /// what it waits for waits for a handle of the same thread.
    pub fn wait(self) -> Result<WriteHandle> {
        self.claim.end(self.place.wait())
    }

    /// Waits until it is granted, for `limit` at most.
    ///
    /// # Errors
    /// [`WaitError::StillWaiting`] with the ticket when the limit has passed; otherwise as
    /// [`WriteTicket::wait`].
    pub fn wait_timeout(self, limit: Duration) -> Result<WriteHandle, WaitError> {
        match self.place.wait_timeout(limit) {
            Err(lock::WaitError::StillWaiting(place)) => {
                Err(WaitError::StillWaiting(WriteTicket { place, claim: self.claim }))
            }
            Err(lock::WaitError::Failed(error)) => {
                self.claim.end(Err(error)).map_err(WaitError::Failed)
            }
            Ok(owner) => Ok(self.claim.granted(owner)),
        }
    }

    /// Gives the place up. What was not begun is not performed.
    pub fn cancel(self) -> CancelOutcome {
        match self.place.cancel() {
            lock::CancelOutcome::Cancelled => {
                self.claim.refused(None);
                CancelOutcome::Cancelled
            }
            lock::CancelOutcome::AlreadyGranted(owner) => {
                CancelOutcome::AlreadyGranted(self.claim.granted(owner))
            }
        }
    }
}

impl Future for WriteTicket {
    type Output = Result<WriteHandle>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<WriteHandle>> {
        let end = Pin::new(&mut self.place).poll(context);
        end.map(|end| self.claim.clone().end(end))
    }
}

impl fmt::Debug for WriteTicket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.place, f)
    }
}
