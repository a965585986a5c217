//! What an application holds: the store, its tables, read and write handles, waiting writes.
//!
//! It joins engine and lock manager: the engine knows commits and snapshots and locks nothing, the
//! lock manager knows granules and stores nothing. Here stand the rules that need both: what a
//! handle locks before it reads or writes (`write.rs`, `structure.rs`), when a lock may be let go
//! (after publication), and what waits while a backup holds the store. Typed keys and values are
//! encoded here; below are bytes.
//!
//! It deliberately makes no backups: `store.backup()` is written in the room of that name.

mod background;
pub(crate) mod backup_state;
mod builder;
mod bytes;
mod chunks;
mod describe;
mod dyn_table;
mod events;
mod gate;
mod inner;
mod job;
mod json;
mod key;
pub(crate) mod papers;
mod participant;
mod range;
mod read;
mod read_ticket;
mod readable;
mod running;
mod span;
mod stats;
mod structure;
mod submit;
mod table;
mod table_def;
mod ticket;
mod transact;
mod unfinished;
mod value;
mod write;
mod write_table;
mod writes;

#[cfg(test)]
mod tests;

pub use background::Background;
pub(crate) use backup_state::{ArchiveRef, BackupState, LogGap, RestoredTo};
pub use builder::StoreBuilder;
pub use bytes::Bytes;
pub use describe::TableDescription;
pub(crate) use describe::check_name as check_table_name;
pub use dyn_table::{DynRange, DynRecord, DynTable, DynWriteTable};
pub use events::StoreEvent;
pub(crate) use inner::Inner;
pub use inner::MAX_VALUE_BYTES;
pub use job::Job;
pub use key::{AsKey, AsPrefix, Key, KeyBuf, KeyReader, KeyType};
pub(crate) use papers::{ATTACHMENTS, CATALOGUE_FILE, RESTORED_FROM, SETTINGS};
pub use papers::{
    AttachmentPaper, BackupHeader, BackupKind, BackupResults, BackupStatus, LogHeader, LogTable,
    ParentPaper, ParticipantPaper, SegmentPaper, TablePaper, TimelinePaper, TogetherPaper,
};
pub(crate) use participant::Registered;
pub use participant::{
    HoldUntil, Participant, ParticipantLimits, ParticipantTerms, Participation, RestoredCommit,
};
pub use range::Range;
pub use read::ReadHandle;
pub use read_ticket::ReadTicket;
pub use readable::{LiveTable, ReadTable, Readable};
pub(crate) use running::{Act, Stopping};
pub use stats::StoreStats;
pub use structure::StructureHandle;
pub use submit::{Rejected, SubmitTicket};
pub use table::Table;
pub use table_def::TableDef;
pub use ticket::{CancelOutcome, WaitError, WriteTicket};
pub use unfinished::UnfinishedBackup;
pub use value::{Guard, StrGuard, Value, ValueType};
pub use write::WriteHandle;
pub use write_table::WriteTable;

use crate::Result;
use crate::engine::Lsn;
use crate::lock::{Age, Hold, LockReport, PendingWrite, Purpose, StoreMode, WriteRequest};
use crossbeam_channel::Receiver;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use transact::Terms;

/// A store: tables of records in a folder that this process owns while it is open.
///
/// It is cheap to clone, `Send` and `Sync`; all clones are one store. Handles own what they need,
/// so they may outlive it: the store is closed when [`close`](Store::close) is called, or when the
/// last clone and the last write handle are gone.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

impl Store {
    /// Opens the store in the folder `path`, which must be there, with the default options.
    ///
    /// # Errors
    /// Those of [`StoreBuilder::open`].
    pub fn open(path: impl AsRef<Path>) -> Result<Store> {
        Store::builder(path).open()
    }

    /// Opens the store in the folder `path` to be read only, with the default options. Nothing is
    /// written there; see [`StoreBuilder::read_only`] for what such a store can do.
    ///
    /// # Errors
    /// Those of [`StoreBuilder::read_only`].
    pub fn open_read_only(path: impl AsRef<Path>) -> Result<Store> {
        Store::builder(path).read_only(true).open()
    }

    /// Whether it was opened to be read only.
    pub fn is_read_only(&self) -> bool {
        self.inner.engine.is_read_only()
    }

    /// Makes an empty store in the folder `path`, with the default options.
    ///
    /// # Errors
    /// Those of [`StoreBuilder::create`].
    pub fn create(path: impl AsRef<Path>) -> Result<Store> {
        Store::builder(path).create()
    }

    /// Opens the store in the folder `path` if there is one, else makes it, with the default
    /// options.
    ///
    /// # Errors
    /// Those of [`StoreBuilder::open_or_create`].
    pub fn open_or_create(path: impl AsRef<Path>) -> Result<Store> {
        Store::builder(path).open_or_create()
    }

    /// Options for the store in the folder `path`.
    pub fn builder(path: impl AsRef<Path>) -> StoreBuilder {
        StoreBuilder::new(path.as_ref())
    }

    /// A consistent view of the newest commit.
    ///
    /// # Errors
    /// [`ErrorKind::Closed`](crate::ErrorKind::Closed); what waiting for a backup gives.
    ///
    /// # Locks
    /// None. Waits while a backup freezes reads, as each operation of the handle does.
    pub fn begin_read(&self) -> Result<ReadHandle> {
        self.inner.check_open()?;
        let gate = self.inner.gates.mine();
        gate.pass()?;
        Ok(ReadHandle::new(self.inner.engine.snapshot()?, gate.clone()))
    }

    /// Asks for a read handle and gives a ticket for it at once: something to await, or to wait for with
    /// a limit, while a backup freezes reads. See also
    /// [`read_timeout`](crate::StoreBuilder::read_timeout).
    ///
    /// # Errors
    /// [`ErrorKind::Closed`](crate::ErrorKind::Closed).
    pub fn request_read(&self) -> Result<ReadTicket> {
        self.inner.check_open()?;
        Ok(ReadTicket::new(self.inner.clone()))
    }

    /// A write transaction. Waits its turn while a backup holds the data.
    ///
    /// # Errors
    /// Those of [`Store::request_write`] and [`WriteTicket::wait`].
    ///
    /// # Locks
    /// IX on the data until the handle ends.
    pub fn begin_write(&self) -> Result<WriteHandle> {
        self.begin_as(Terms::default(), None)
    }

    /// Asks for a write transaction and gives a ticket for it at once: something to look at, to
    /// wait for with a limit, to await, to cancel.
    ///
    /// # Errors
    /// [`ErrorKind::Busy`](crate::ErrorKind::Busy) when too many wait already;
    /// [`ErrorKind::Closed`](crate::ErrorKind::Closed).
    pub fn request_write(&self) -> Result<WriteTicket> {
        self.request_as(Terms::default(), None)
    }

    /// The store as one job of the application uses it; `name` stands beside each of its waiting
    /// writes.
    pub fn job(&self, name: impl Into<String>) -> Job {
        Job::new(self.clone(), name.into())
    }

    /// A transaction on the structure: making, renaming, dropping tables.
    ///
    /// # Errors
    /// Those of [`Store::request_write`] and [`WriteTicket::wait`].
    ///
    /// # Locks
    /// IX on the structure until the handle ends. Waits while a backup holds the structure.
    pub fn begin_structure(&self) -> Result<StructureHandle> {
        self.inner.check_writable()?;
        let owner = self.inner.locks.structure_owner(Purpose::Structure, None)?;
        Ok(StructureHandle::new(self.inner.clone(), owner))
    }

    pub(crate) fn of(inner: &Arc<Inner>) -> Store {
        Store { inner: inner.clone() }
    }

    pub(crate) fn inner(&self) -> &Arc<Inner> {
        &self.inner
    }

    pub(crate) fn begin_as(&self, terms: Terms<'_>, age: Option<Age>) -> Result<WriteHandle> {
        if self.inner.events.anybody() {
            return self.request_as(terms, age)?.wait();
        }
        self.inner.check_writable()?;
        let owner = self.inner.locks.begin_write(request(terms, age))?;
        Ok(WriteHandle::new(self.inner.clone(), owner, terms.job.cloned()))
    }

    pub(crate) fn request_as(&self, terms: Terms<'_>, age: Option<Age>) -> Result<WriteTicket> {
        self.inner.check_writable()?;
        let place = self.inner.locks.request_write(request(terms, age))?;
        Ok(WriteTicket::new(place, self.inner.clone(), terms.job.cloned()))
    }

    /// All writes that wait, in order of arrival. Never waits.
    pub fn pending_writes(&self) -> Vec<PendingWrite> {
        self.inner.locks.pending_writes()
    }

    /// Cancels a waiting write from outside; `false` where none of this number waits. Who waits
    /// gets [`ErrorKind::BackupInProgress`](crate::ErrorKind::BackupInProgress), code -9976, if a
    /// backup is what it waits for. Never waits.
    pub fn cancel_pending(&self, id: u64) -> bool {
        self.inner.locks.cancel_pending(id)
    }

    /// Who holds which locks, and who waits for whom. Never waits.
    pub fn locks(&self) -> LockReport {
        self.inner.locks.locks()
    }

    /// Waits for open write handles to end, then keeps writes waiting until the hold is dropped or
    /// `limit` has passed: for the application's own use, such as a snapshot of the disk. The
    /// thread that holds may hold again. Call [`Store::sync`] inside to have everything on the
    /// disk.
    ///
    /// # Errors
    /// [`ErrorKind::Timeout`](crate::ErrorKind::Timeout) when handles stay open too long;
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid), code 1404, when this thread has one open;
    /// [`ErrorKind::Closed`](crate::ErrorKind::Closed).
    pub fn hold_writes(&self, limit: Duration) -> Result<Hold> {
        self.inner.locks.hold_writes(limit)
    }

    /// Whether a backup or the application keeps writes waiting. Never waits.
    pub fn locked(&self) -> bool {
        self.inner.locks.locked()
    }

    /// What happens to the store from now on. A listener that falls behind by more than 1024 events
    /// loses the newest and is told how many.
    pub fn events(&self) -> Receiver<StoreEvent> {
        self.inner.events.subscribe()
    }

    /// The longest encoded key that this store takes.
    pub fn max_key_bytes(&self) -> usize {
        self.inner.max_key_bytes
    }

    /// The newest commit.
    pub fn lsn(&self) -> Lsn {
        self.inner.engine.visible_lsn()
    }

    /// Makes all commits so far durable, the `Eventual` ones too.
    ///
    /// # Errors
    /// [`ErrorKind::ReadOnly`](crate::ErrorKind::ReadOnly), [`ErrorKind::Io`](crate::ErrorKind::Io)
    /// where the disk fails; [`ErrorKind::Closed`](crate::ErrorKind::Closed).
    pub fn sync(&self) -> Result<()> {
        self.inner.check_writable()?;
        self.inner.engine.sync()
    }

    /// Turns everything committed so far into pages of the data file, now. It is done by itself in
    /// the background; this is for those who want the log short or the file complete.
    ///
    /// # Errors
    /// Those of [`Store::sync`]; [`ErrorKind::StorageFull`](crate::ErrorKind::StorageFull).
    pub fn checkpoint(&self) -> Result<Lsn> {
        self.inner.check_writable()?;
        self.inner.engine.checkpoint()
    }

    /// The folder of the store.
    pub fn path(&self) -> &Path {
        self.inner.engine.dir()
    }

    /// How the store was opened.
    pub fn mode(&self) -> StoreMode {
        self.inner.settings.mode
    }

    /// Figures. Never waits.
    pub fn stats(&self) -> StoreStats {
        StoreStats::of(&self.inner)
    }

    /// Closes the store, whatever clones and handles there are: waiting writes get
    /// [`ErrorKind::Closed`](crate::ErrorKind::Closed), so does every later call and the commit of
    /// handles that are still open. A backup that runs is stopped (1406), and its end is waited for,
    /// unless this is called from one of its callbacks. Read handles go on, and until the last of them
    /// goes nobody can open the store anew. Closing twice is closing once; the second call waits for
    /// the first.
    ///
    /// # Errors
    /// What the last checkpoint met; [`ErrorKind::Timeout`](crate::ErrorKind::Timeout) when a
    /// backup has not ended half a minute after it was stopped. The store is closed all the same,
    /// and what was acknowledged is in the log.
    pub fn close(&self) -> Result<()> {
        self.inner.close()
    }
}

fn request(terms: Terms<'_>, age: Option<Age>) -> WriteRequest {
    WriteRequest {
        job: terms.job.map(|job| job.name().to_owned()),
        commits_done: terms.job.map_or(0, |job| job.commits()),
        waited_by: terms.waited_by.cloned(),
        age,
        ..WriteRequest::default()
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("path", &self.path()).field("lsn", &self.lsn()).finish()
    }
}
