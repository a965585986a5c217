//! Reads that wait while a hold has the data exclusively.
//!
//! A read asks the gate first, which is one load. Only where that is closed does it come here. A read
//! that waits has no place in a queue: all go on together when the hold ends.

use super::callback;
use super::core::{Core, Locked};
use super::gate::thread_number;
use super::granule::Id;
use super::hold::HoldKind;
use super::manager::LockManager;
use super::mode::Mode;
use super::refuse;
use super::report::BackupProgressInfo;
use super::status::Whose;
use crate::error::Result;
use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

impl LockManager {
    /// What a read operation asks first: one load when nothing is frozen.
    ///
    /// # Locks
    /// Waits while a hold has the data exclusively, for the read timeout at most.
    ///
    /// # Errors
    /// `BackupInProgress`, code 2005, from inside a callback of the backup; `Invalid`, code 1404, on
    /// the thread of the hold; `Timeout` past the read timeout; `Closed` when the store is closed
    /// meanwhile.
    #[inline]
    pub fn check_read(&self) -> Result<()> {
        if self.core.gate.reads_open() { Ok(()) } else { self.wait_to_read() }
    }

    #[cold]
    fn wait_to_read(&self) -> Result<()> {
        let limit = self.core.options.read_timeout;
        match self.request_read().wait(limit)? {
            true => Ok(()),
            false => {
                Err(refuse::read_timeout(limit.unwrap_or_default(), &self.core.lock().freezer()))
            }
        }
    }

    /// A read that can wait, with a limit or as a future.
    pub fn request_read(&self) -> ReadTurn {
        let mut central = self.core.lock();
        let number = central.new_owner().raw();
        drop(central);
        ReadTurn { core: self.core.clone(), number }
    }
}

/// A read that waits, or could go on. It counts as waiting from its first wait or poll on.
pub struct ReadTurn {
    core: Arc<Core>,
    /// Its number among the reads that wait.
    number: u64,
}

impl ReadTurn {
    /// Waits until reads go on, for `limit` at most: false when that has passed.
    ///
    /// # Errors
    /// Those of [`LockManager::check_read`] but `Timeout`.
    pub fn wait(&self, limit: Option<Duration>) -> Result<bool> {
        let core = &self.core;
        let mut central = core.lock();
        let since = core.now();
        let until = limit.map(|limit| since.saturating_add(limit));
        central.readers.entry(self.number).or_insert(since);
        let result = loop {
            match central.look_to_read(true) {
                Err(error) => break Err(error),
                Ok(true) => break Ok(true),
                Ok(false) => {}
            }
            if until.is_some_and(|until| core.now() >= until) {
                break Ok(false);
            }
            let (wake, next) = (central.readers_wake.clone(), central.next_end(until, None));
            central.park(&wake, next);
        };
        central.forget_reader(self.number);
        result
    }

    /// The same without waiting; `context` is woken when reads go on.
    ///
    /// # Errors
    /// As [`ReadTurn::wait`]. A hold of the same thread is no error: whoever polls may go on to end it.
    pub fn poll(&self, context: &Context<'_>) -> Poll<Result<()>> {
        // To copy or drop a waker is foreign code, so neither is done under the mutex.
        let waker = context.waker().clone();
        let mut central = self.core.lock();
        let former = match central.look_to_read(false) {
            Ok(false) => {
                let since = self.core.now();
                central.readers.entry(self.number).or_insert(since);
                central.read_wakers.insert(self.number, waker)
            }
            end => {
                central.forget_reader(self.number);
                return Poll::Ready(end.map(drop));
            }
        };
        drop(central);
        drop(former);
        Poll::Pending
    }

    /// The backup that freezes reads, and how far it is. Never waits.
    pub fn waits_for(&self) -> Option<BackupProgressInfo> {
        let mut central = self.core.lock();
        central.tick();
        let frozen = !self.core.gate.reads_open();
        frozen.then(|| central.progress_of_backup()).flatten()
    }
}

impl Drop for ReadTurn {
    fn drop(&mut self) {
        let mut central = self.core.lock();
        central.readers.remove(&self.number);
        let waker = central.read_wakers.remove(&self.number);
        drop(central);
        drop(waker);
    }
}

impl fmt::Debug for ReadTurn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadTurn").field("number", &self.number).finish_non_exhaustive()
    }
}

impl Locked<'_> {
    /// Whether reads go on; why not, where the caller would wait for itself. `blocking` says that it
    /// would stand still.
    fn look_to_read(&mut self, blocking: bool) -> Result<bool> {
        self.tick();
        if self.core().gate.reads_open() {
            return Ok(true);
        }
        if self.closed {
            return Err(refuse::closed());
        }
        if callback::is_inside(self.core().number) {
            return Err(refuse::from_callback());
        }
        if blocking && self.holds.iter().any(|lease| lease.thread == thread_number()) {
            return Err(refuse::own_hold(Whose::Own));
        }
        Ok(false)
    }

    fn forget_reader(&mut self, number: u64) {
        self.readers.remove(&number);
        // A waker of a former poll may run once more: that is allowed, and no foreign code here.
        let waker = self.read_wakers.remove(&number);
        self.wakers.extend(waker);
    }

    /// Lets all futures of reads look again.
    pub(crate) fn wake_readers(&mut self) {
        let wakers = std::mem::take(&mut self.read_wakers);
        self.wakers.extend(wakers.into_values());
        self.readers_wake.notify_all();
    }

    /// Who has the data exclusively, in words.
    fn freezer(&self) -> String {
        let exclusive = |lease: &&std::sync::Arc<super::hold::Lease>| {
            self.table.mode_of(lease.owner, &Id::Data) == Some(Mode::X)
        };
        match self.holds.iter().find(exclusive) {
            Some(lease) if lease.kind == HoldKind::Backup => format!("backup {}", lease.number),
            _ => "a hold".to_owned(),
        }
    }
}
