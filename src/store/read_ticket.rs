//! A read that waits while a backup freezes reads, as a thing that a program can hold.

use super::inner::Inner;
use super::read::ReadHandle;
use crate::Result;
use crate::lock::{BackupProgressInfo, ReadTurn};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

/// A read handle that is asked for. It is also a `Future` of the [`ReadHandle`], and needs no runtime.
///
/// A later backup that freezes reads keeps the operations of the handle waiting again.
#[must_use = "a ticket does nothing until it is waited for or polled"]
pub struct ReadTicket {
    store: Arc<Inner>,
    turn: ReadTurn,
}

impl ReadTicket {
    pub(crate) fn new(store: Arc<Inner>) -> ReadTicket {
        let turn = store.locks.request_read();
        ReadTicket { store, turn }
    }

    /// The backup that it waits for, and how far that is. `None` when reads go on. Never waits for a
    /// lock.
    pub fn waits_for(&self) -> Option<BackupProgressInfo> {
        self.turn.waits_for()
    }

    /// Waits until reads go on, whatever the store's
    /// [`read_timeout`](crate::StoreBuilder::read_timeout).
    ///
    /// # Errors
    /// [`ErrorKind::BackupInProgress`](crate::ErrorKind::BackupInProgress), code 2005, from inside a
    /// callback of the backup; [`ErrorKind::Closed`](crate::ErrorKind::Closed).
    pub fn wait(self) -> Result<ReadHandle> {
        self.turn.wait(None)?;
        self.handle()
    }

    /// Waits until reads go on, for `limit` at most: `None` when it has passed. The ticket can be waited
    /// for again.
    ///
    /// # Errors
    /// As [`ReadTicket::wait`].
    pub fn wait_timeout(&self, limit: Duration) -> Result<Option<ReadHandle>> {
        match self.turn.wait(Some(limit))? {
            true => self.handle().map(Some),
            false => Ok(None),
        }
    }

    fn handle(&self) -> Result<ReadHandle> {
        self.store.check_open()?;
        Ok(ReadHandle::new(self.store.engine.snapshot()?, self.store.gates.mine().clone()))
    }
}

impl Future for ReadTicket {
    type Output = Result<ReadHandle>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<ReadHandle>> {
        match self.turn.poll(context) {
            Poll::Ready(end) => Poll::Ready(end.and_then(|()| self.handle())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl fmt::Debug for ReadTicket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadTicket").field("waits_for", &self.waits_for()).finish()
    }
}
