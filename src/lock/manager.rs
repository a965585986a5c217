//! The lock manager: what a store asks for turns, locks and holds.
//!
//! A thin shell around the gate, the shards and the lock table. It parks and wakes; what is granted
//! to whom is decided by [`LockTable`](super::LockTable) alone. It knows no store, no disk and no
//! clock of its own.

use super::access::{Access, Contents, StoreMode, roots};
use super::callback::{self, CallbackScope};
use super::core::{Core, Locked, WaitEnd, Waiter};
use super::gate::thread_number;
use super::granule::{Granule, Id};
use super::hold::{AtLimit, Hold, HoldKind, HoldRequest, HoldToken, Lease, StopToken};
use super::mode::Mode;
use super::owner::{Owner, OwnerInfo, Purpose};
use super::refuse;
use super::report::{BackupProgressInfo, LockReport, PendingWrite};
use super::table::{Age, Outcome, OwnerId, Request};
use super::ticket::{Ticket, TicketState, WriteTicket};
use crate::error::Result;
use crossbeam_utils::CachePadded;
use parking_lot::Condvar;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The core, through a count of references that few threads share.
pub(crate) type Shared = Arc<CachePadded<Arc<Core>>>;

/// How many separate counts of references there are.
const HANDLES: usize = 64;

/// How a manager behaves.
#[derive(Clone)]
pub struct LockOptions {
    /// How the store is opened.
    pub mode: StoreMode,
    /// How many writes may wait at once.
    pub queue_limit: usize,
    /// How long an owner waits for a table, a name or a record.
    pub record_timeout: Duration,
    /// How long [`LockManager::hold_writes`] waits for open handles.
    pub transaction_timeout: Duration,
    /// The seed of the hashes of records; random, so that nobody can choose keys that collide.
    pub seed: u64,
    /// The clock: time since any fixed moment, never going back. It is asked under the manager's
    /// mutex, so it must not use the manager.
    pub clock: Arc<dyn Fn() -> Duration + Send + Sync>,
}

impl LockOptions {
    /// The defaults, with this clock: a server store, 10,000 waiting writes, ten seconds for a
    /// record, a minute for open handles.
    pub fn new(clock: Arc<dyn Fn() -> Duration + Send + Sync>) -> LockOptions {
        LockOptions {
            mode: StoreMode::Server,
            queue_limit: 10_000,
            record_timeout: Duration::from_secs(10),
            transaction_timeout: Duration::from_secs(60),
            seed: 0,
            clock,
        }
    }
}

/// What a write asks for.
#[derive(Clone, Debug, Default)]
pub struct WriteRequest {
    /// What it comes for.
    pub purpose: Purpose,
    /// The job that it belongs to, for those who watch the queue.
    pub job: Option<String>,
    /// How many commits that job has done.
    pub commits_done: u64,
    /// How long it may wait in the queue, whoever watches it.
    pub timeout: Option<Duration>,
    /// The age of an earlier try of the same work.
    pub age: Option<Age>,
}

/// The one turn that a store has for backups, whatever their access. Ends when it is dropped.
#[must_use = "another backup may start when it is dropped"]
pub struct BackupTurn(Arc<Core>);

impl Drop for BackupTurn {
    fn drop(&mut self) {
        self.0.backup_claimed.store(false, Ordering::SeqCst);
    }
}

/// See the module's own words.
pub struct LockManager {
    core: Arc<Core>,
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

    /// What a read operation asks first: one load when nothing is frozen.
    ///
    /// # Locks
    /// Waits while a hold has the data exclusively.
    ///
    /// # Errors
    /// `BackupInProgress`, code 2005, from inside a callback of the backup; `Invalid`, code 1404, on
    /// the thread of the hold; `Closed` when the store is closed meanwhile.
    #[inline]
    pub fn check_read(&self) -> Result<()> {
        if self.core.gate.reads_open() { Ok(()) } else { self.wait_to_read() }
    }

    #[cold]
    fn wait_to_read(&self) -> Result<()> {
        let core = &self.core;
        let mut central = core.lock();
        let since = core.now();
        let number = central.new_owner().raw();
        central.readers.insert(number, since);
        let result = loop {
            central.tick();
            if core.gate.reads_open() {
                break Ok(());
            }
            if central.closed {
                break Err(refuse::closed());
            }
            if callback::is_inside(core.number) {
                break Err(refuse::from_callback());
            }
            if central.holds.iter().any(|lease| lease.thread == thread_number()) {
                break Err(refuse::own_hold());
            }
            let (wake, until) = (central.readers_wake.clone(), central.next_end(None, None));
            central.park(&wake, until);
        };
        central.readers.remove(&number);
        result
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
                    if request.job.is_some() {
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
    /// `BackupInProgress`, code 2004, when another has it; code 2005 from inside a callback.
    pub fn claim_backup(&self) -> Result<BackupTurn> {
        if callback::is_inside(self.core.number) {
            return Err(refuse::from_callback());
        }
        if self.core.backup_claimed.swap(true, Ordering::SeqCst) {
            return Err(refuse::second_backup());
        }
        Ok(BackupTurn(self.core.clone()))
    }

    /// Waits for open handles to end, and then keeps others waiting.
    ///
    /// # Locks
    /// The request's roots, all or nothing, in one entry of the queue. New writes queue behind it.
    ///
    /// # Errors
    /// For a backup `BackupFailed`, code 1405, for others `Timeout`, when handles stay open too long;
    /// `Invalid`, code 1404, when this thread has one open; `BackupInProgress`, code 2004, for a
    /// second backup, and 2005 from inside a callback; `Stopped`, code 1406; `Closed`.
    pub fn hold(&self, request: HoldRequest) -> Result<Hold> {
        let roots = wanted_roots(&request)?;
        let (core, thread) = (&self.core, thread_number());
        if callback::is_inside(core.number) {
            return Err(refuse::from_callback());
        }
        let mut central = core.lock();
        central.tick();
        if central.closed {
            return Err(refuse::closed());
        }
        let is_backup = |lease: &Arc<Lease>| lease.kind == HoldKind::Backup;
        if request.kind == HoldKind::Backup && central.all_holds().any(is_backup) {
            return Err(refuse::second_backup());
        }
        if roots.iter().any(|(id, _)| *id == Id::Data) {
            central.close_gate();
        }
        if central.is_blocked_by_thread(&roots, thread) {
            central.finish(Default::default());
            return Err(refuse::own_transaction());
        }
        let lease = Arc::new(Lease::new(central.new_owner(), &request, thread, core.now()));
        let wake = Arc::new(Condvar::new());
        central.pending_holds.push(lease.clone());
        let waiter = Waiter::Hold { end: None, lease: lease.clone() };
        central.waits.insert(lease.owner, (waiter, wake.clone()));
        self.ask_for_hold(&mut central, &lease, &roots);
        self.wait_for_hold(&mut central, &lease, &request, &wake)?;
        Ok(Hold::new(HoldToken::new(core.clone(), lease)))
    }

    /// Queues the hold, and takes back what was granted and not taken up.
    fn ask_for_hold(&self, central: &mut Locked<'_>, lease: &Lease, roots: &[(Id, Mode)]) {
        let (outcome, mut effects) = central.table.request(Request {
            owner: lease.owner,
            wants: roots.to_vec(),
            age: self.core.new_age(),
            hold: true,
            inside: false,
        });
        if outcome == Outcome::Granted {
            effects.granted.push(lease.owner);
        }
        central.finish(effects);
        let in_the_way = |ticket: &&Arc<Ticket>| {
            let (root, mode) = ticket.info.purpose.root();
            roots.iter().any(|(id, hold)| *id == root && !hold.goes_with(mode))
        };
        let granted = central.tickets.values().filter(in_the_way);
        let revoked: Vec<_> = granted.filter(|ticket| ticket.revoke()).cloned().collect();
        for ticket in &revoked {
            central.owners.remove(&ticket.owner);
            let (_, effects) = central.table.release_all(ticket.owner);
            central.finish(effects);
        }
        for ticket in &revoked {
            central.line_up(ticket);
        }
    }

    fn wait_for_hold(
        &self,
        central: &mut Locked<'_>,
        lease: &Lease,
        request: &HoldRequest,
        wake: &Condvar,
    ) -> Result<()> {
        let core = &self.core;
        let until = core.now().saturating_add(request.transaction_timeout);
        let error = loop {
            let end = match &central.waits[&lease.owner].0 {
                Waiter::Hold { end, .. } => *end,
                Waiter::Lock { .. } | Waiter::Ticket(_) => None,
            };
            match end {
                Some(WaitEnd::Granted) => {
                    central.waits.remove(&lease.owner);
                    return Ok(());
                }
                Some(WaitEnd::Closed | WaitEnd::Deadlock) => break refuse::closed(),
                None => {}
            }
            if request.stop.is_set() {
                break refuse::stopped();
            }
            if core.now() >= until {
                let who = central.describe_blockers(lease.owner);
                break refuse::transaction_timeout(lease.kind == HoldKind::Backup, &who);
            }
            let next = central.next_end(Some(until), None);
            central.park(wake, next);
            central.tick();
        };
        central.waits.remove(&lease.owner);
        central.pending_holds.retain(|pending| pending.owner != lease.owner);
        let effects = central.table.cancel(lease.owner);
        central.finish(effects);
        Err(error)
    }

    /// Keeps writes waiting for the application's own use, for `limit` at most. The thread that holds
    /// them may hold them again; writes go on when the last of its holds is dropped.
    ///
    /// # Errors
    /// As [`LockManager::hold`].
    pub fn hold_writes(&self, limit: Duration) -> Result<Hold> {
        let thread = thread_number();
        let mut central = self.core.lock();
        central.tick();
        let own = |l: &&Arc<Lease>| l.kind == HoldKind::Application && l.thread == thread;
        if let Some(lease) = central.holds.iter().find(own).cloned() {
            lease.depth.fetch_add(1, Ordering::SeqCst);
            lease.extend(self.core.now().saturating_add(limit));
            return Ok(Hold::new(HoldToken::new(self.core.clone(), lease)));
        }
        drop(central);
        self.hold(HoldRequest {
            roots: vec![(Granule::Structure, Mode::S), (Granule::Data, Mode::S)],
            kind: HoldKind::Application,
            transaction_timeout: self.core.options.transaction_timeout,
            limit: Some(limit),
            at_limit: AtLimit::Abort,
            stall_limit: Duration::MAX,
            number: 0,
            stop: StopToken::new(),
        })
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

fn wanted_roots(request: &HoldRequest) -> Result<Vec<(Id, Mode)>> {
    if request.roots.is_empty() {
        return Err(refuse::invalid(
            "a hold without roots holds nothing: a live backup takes none",
        ));
    }
    let mut roots: Vec<(Id, Mode)> = Vec::new();
    for (granule, mode) in &request.roots {
        let id = match granule {
            Granule::Structure => Id::Structure,
            Granule::Data => Id::Data,
            other => return Err(refuse::invalid(format!("a hold is on roots, not on {other}"))),
        };
        if !matches!(mode, Mode::S | Mode::X) || roots.iter().any(|(have, _)| *have == id) {
            return Err(refuse::invalid("a hold takes S or X, once on each root"));
        }
        roots.push((id, *mode));
    }
    Ok(roots)
}
