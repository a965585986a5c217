//! The lock manager: what a store asks for turns, locks and holds.
//!
//! A thin shell around the gate, the shards and the lock table. It parks and wakes; what is granted
//! to whom is decided by [`LockTable`](super::LockTable) alone. It knows no store, no disk and no
//! clock of its own.

use super::access::{Access, Contents, roots};
use super::callback::{self, CallbackScope};
use super::core::Core;
use super::gate::thread_number;
use super::granule::Granule;
use super::mode::Mode;
use super::options::{LockOptions, WriteRequest};
use super::owner::{Owner, OwnerInfo, Purpose};
use super::refuse;
use super::report::{BackupProgressInfo, LockReport, PendingWrite};
use super::table::OwnerId;
use super::ticket::{Ticket, TicketState, WriteTicket};
use crate::error::Result;
use crossbeam_utils::CachePadded;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The core, through a count of references that few threads share.
pub(crate) type Shared = Arc<CachePadded<Arc<Core>>>;

/// How many separate counts of references there are.
const HANDLES: usize = 64;

/// The one turn that a store has for backups, whatever their access. Ends when it is dropped.
#[must_use = "another backup may start when it is dropped"]
pub struct BackupTurn(Arc<Core>);

impl Drop for BackupTurn {
    fn drop(&mut self) {
        self.0.claimed.store(UNCLAIMED, Ordering::SeqCst);
    }
}

/// The same turn, for an integration of logs: it and backups exclude each other.
#[must_use = "a backup may start when it is dropped"]
pub struct IntegrationTurn(Arc<Core>);

impl Drop for IntegrationTurn {
    fn drop(&mut self) {
        self.0.claimed.store(UNCLAIMED, Ordering::SeqCst);
    }
}

const UNCLAIMED: u8 = 0;
const BACKUP: u8 = 1;
const INTEGRATION: u8 = 2;

/// See the module's own words.
pub struct LockManager {
    pub(crate) core: Arc<Core>,
    handles: Box<[Shared]>,
}

impl LockManager {
    /// A manager in which nothing is locked.
    pub fn new(options: LockOptions) -> Arc<LockManager> {
        let core = Arc::new(Core::new(options));
        let handle = |_| Arc::new(CachePadded::new(core.clone()));
        let handles = (0..HANDLES).map(handle).collect();
        Arc::new(LockManager { core, handles })
    }

    fn handle(&self, thread: u64) -> Shared {
        self.handles[thread as usize % HANDLES].clone()
    }

    /// Begins a write: at once when nothing is in its way, else in its turn.
    ///
    /// # Locks
    /// IX on the data (or what the purpose says) until the owner is dropped. Without a job and with
    /// an open gate it touches one padded word of its own and loads the gate.
    ///
    /// # Errors
    /// As [`LockManager::request_write`] and [`WriteTicket::wait`].
    pub fn begin_write(&self, request: WriteRequest) -> Result<Owner> {
        if request.purpose == Purpose::Data {
            let thread = thread_number();
            match self.core.gate.enter(thread) {
                Ok(id) => {
                    let mut owner = Owner::in_slot(self.handle(thread), id, thread, request.age);
                    if request.job.is_some() || request.waited_by.is_some() {
                        owner.name(self.info(&request, thread));
                    }
                    return Ok(owner);
                }
                Err(true) => self.core.left(),
                Err(false) => {}
            }
        }
        self.request_write(request)?.wait()
    }

    /// Comes in as a write does, without an owner for further locks: the bare cost of the gate.
    /// `None` while the gate is closed.
    #[inline]
    pub fn try_enter(&self) -> Option<Entry<'_>> {
        match self.core.gate.enter(thread_number()) {
            Ok(id) => Some(Entry { core: &self.core, id }),
            Err(somebody_waits) => {
                if somebody_waits {
                    self.core.left();
                }
                None
            }
        }
    }

    fn info(&self, request: &WriteRequest, thread: u64) -> Arc<OwnerInfo> {
        Arc::new(OwnerInfo {
            purpose: request.purpose,
            job: request.job.clone(),
            commits_done: request.commits_done,
            thread: AtomicU64::new(thread),
            waited_by: request.waited_by.clone(),
        })
    }

    /// Asks for a write, and gives a ticket for it at once. A grant that nobody takes up is taken
    /// back when a hold arrives.
    ///
    /// # Errors
    /// `Busy` when the queue is full; `Closed`.
    pub fn request_write(&self, request: WriteRequest) -> Result<WriteTicket> {
        let core = &self.core;
        let mut central = core.lock();
        central.tick();
        if central.closed {
            return Err(refuse::closed());
        }
        let owner = central.new_owner();
        let age = request.age.unwrap_or_else(|| core.new_age());
        let info = self.info(&request, 0);
        let ticket = Arc::new(Ticket::new(owner, info, age, core.now(), request.timeout));
        central.tickets.insert(owner, ticket.clone());
        central.line_up(&ticket);
        let limit = core.options.queue_limit;
        if central.queued > limit && ticket.state() == TicketState::Waiting {
            central.refuse_ticket(&ticket, refuse::queue_full(limit));
            return Err(refuse::queue_full(limit));
        }
        Ok(WriteTicket::new(self.handle(thread_number()), ticket))
    }

    /// Begins to change the structure, or to look at it.
    ///
    /// # Errors
    /// As [`LockManager::begin_write`].
    pub fn structure_owner(&self, purpose: Purpose, timeout: Option<Duration>) -> Result<Owner> {
        self.begin_write(WriteRequest { purpose, timeout, ..WriteRequest::default() })
    }

    /// The locks that a backup of `contents` asks for, with the store's default access or another.
    pub fn roots(&self, contents: Contents, access: Option<Access>) -> Vec<(Granule, Mode)> {
        roots(contents, access.unwrap_or(self.core.options.mode.default_access()))
    }

    /// Claims the one turn for backups.
    ///
    /// # Errors
    /// `BackupInProgress`, code 2004, when another has it; `Busy`, code 1417, during an integration;
    /// code 2005 from inside a callback.
    pub fn claim_backup(&self) -> Result<BackupTurn> {
        self.claim(BACKUP)?;
        Ok(BackupTurn(self.core.clone()))
    }

    /// Claims the same turn for an integration of logs.
    ///
    /// # Errors
    /// As [`LockManager::claim_backup`].
    pub fn claim_integration(&self) -> Result<IntegrationTurn> {
        self.claim(INTEGRATION)?;
        Ok(IntegrationTurn(self.core.clone()))
    }

    fn claim(&self, turn: u8) -> Result<()> {
        if callback::is_inside(self.core.number) {
            return Err(refuse::from_callback());
        }
        let claimed = &self.core.claimed;
        match claimed.compare_exchange(UNCLAIMED, turn, Ordering::SeqCst, Ordering::SeqCst) {
            Ok(_) => Ok(()),
            Err(INTEGRATION) => Err(refuse::integration_running()),
            Err(_) => Err(refuse::second_backup()),
        }
    }

    /// Whether anybody holds writes: a backup or the application. Never waits.
    pub fn locked(&self) -> bool {
        let mut central = self.core.lock();
        central.tick();
        !central.holds.is_empty()
    }

    /// Marks the thread as inside a callback of this store's backup until the scope is dropped:
    /// whatever would wait for the backup is refused at once.
    pub fn callback_scope(&self) -> CallbackScope {
        CallbackScope::enter(self.core.number)
    }

    /// Tells those who wait how far the backup is. Never waits.
    pub fn set_progress(&self, progress: BackupProgressInfo) {
        self.core.lock().progress = Some(progress);
    }

    /// All writes that wait, or were granted and not taken up, in order of arrival. Never waits.
    pub fn pending_writes(&self) -> Vec<PendingWrite> {
        let mut central = self.core.lock();
        central.tick();
        central.pending_writes(self.core.now())
    }

    /// Cancels a waiting write from outside; false when there is none of this number that waits.
    /// Never waits.
    pub fn cancel_pending(&self, id: u64) -> bool {
        let mut central = self.core.lock();
        central.tick();
        let Some(ticket) = central.tickets.get(&OwnerId::from_raw(id)).cloned() else {
            return false;
        };
        let backup = central.backup_before(ticket.owner).is_some();
        let why = if backup { refuse::backup_in_progress() } else { refuse::cancelled() };
        central.refuse_ticket(&ticket, why)
    }

    /// Refuses a wait of the calling thread for the waiting write `id`, where that would be a wait for
    /// itself: for whoever lets another thread take the write up. Never waits.
    ///
    /// # Errors
    /// `BackupInProgress`, code 2005, from inside a callback of the backup that is in the way;
    /// `Invalid`, code 1404, on the thread of the hold or of an open handle that is.
    pub fn check_wait(&self, id: u64) -> Result<()> {
        let mut central = self.core.lock();
        central.tick();
        central.self_block(OwnerId::from_raw(id)).map_or(Ok(()), Err)
    }

    /// The same for whoever polls instead of waiting: only a callback can be all that is in the way,
    /// since a thread that polls may go on to end its hold or its handle. Never waits.
    ///
    /// # Errors
    /// `BackupInProgress`, code 2005, from inside a callback of the backup that is in the way.
    pub fn check_poll(&self, id: u64) -> Result<()> {
        let mut central = self.core.lock();
        central.tick();
        central.callback_block(OwnerId::from_raw(id)).map_or(Ok(()), Err)
    }

    /// Who holds what, and who waits for whom. Never waits.
    pub fn locks(&self) -> LockReport {
        let mut central = self.core.lock();
        central.tick();
        central.report()
    }

    /// Wakes everything that waits, so that it looks at the clock: for a clock that was moved.
    pub fn poke(&self) {
        self.core.lock().poke();
    }

    /// Refuses everything that waits and everything that comes, with `Closed`. Owners that are inside
    /// may finish.
    pub fn close(&self) {
        self.core.lock().close();
    }
}

/// A bare entry through the gate, see [`LockManager::try_enter`].
#[must_use = "dropping it leaves again"]
pub struct Entry<'a> {
    core: &'a Core,
    id: OwnerId,
}

impl Drop for Entry<'_> {
    #[inline]
    fn drop(&mut self) {
        if self.core.gate.leave(self.id) {
            self.core.left();
        }
    }
}
