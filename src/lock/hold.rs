//! The hold: the time during which a backup, or the application itself, keeps others waiting.
//!
//! A hold is a *lease*. Its [`HoldToken`] releases it once, from any thread; a token of a hold that
//! has ended does nothing, because every hold has its own number. The lease has a limit, and is
//! renewed by progress: without progress for the stall limit it is broken whatever the limit says.
//! Whoever waits looks at the lease while waiting, so no thread of the holder has to be alive.

use super::core::Core;
use super::granule::Granule;
use super::mode::Mode;
use super::refuse;
use super::table::OwnerId;
use super::waited::WaitedBy;
use crate::error::Result;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

/// Who keeps others waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
pub enum HoldKind {
    /// A backup. There is one at a time.
    Backup,
    /// The application, for its own reasons.
    Application,
}

/// What becomes of the work behind a hold when the lease ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AtLimit {
    /// The others go on, and so does the backup, from the snapshot that it has pinned.
    ContinueLive,
    /// The others go on, and the backup fails.
    Abort,
}

/// Why a lease ended by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Expiry {
    /// It lasted as long as it was allowed to.
    Limit,
    /// There was no progress for the stall limit.
    Stalled,
}

/// Where a hold stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HoldState {
    /// Others wait.
    Held,
    /// It was released.
    Released,
    /// The lease ended by itself; nobody waits for it any more.
    Expired {
        /// Why.
        why: Expiry,
        /// What its owner chose for this case.
        then: AtLimit,
    },
}

/// A flag that stops a hold that is still waiting. Clones are the same flag.
#[derive(Clone, Debug, Default)]
pub struct StopToken(Arc<AtomicBool>);

impl StopToken {
    /// A token that is not set.
    pub fn new() -> StopToken {
        StopToken::default()
    }

    /// Stops whatever looks at this token, within some 20 ms. Never waits.
    pub fn set(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    /// Whether it was set.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

/// What to hold, how long to wait for it, and how long to keep it.
#[derive(Clone, Debug)]
pub struct HoldRequest {
    /// [`Granule::Structure`] and [`Granule::Data`] with their modes, granted all or nothing.
    pub roots: Vec<(Granule, Mode)>,
    /// Who asks.
    pub kind: HoldKind,
    /// How long to wait for open write handles.
    pub transaction_timeout: Duration,
    /// How long to keep it at most.
    pub limit: Option<Duration>,
    /// What becomes of the work when the lease ends by itself.
    pub at_limit: AtLimit,
    /// How long it may be without progress.
    pub stall_limit: Duration,
    /// The number of the backup, for those who wait.
    pub number: u32,
    /// Stops the wait for the hold.
    pub stop: StopToken,
    /// Who waits for the end of the work behind the hold.
    pub waited_by: WaitedBy,
}

impl HoldRequest {
    /// A backup's hold on `roots`: a minute for open handles, no limit, a minute without progress.
    pub fn backup(roots: Vec<(Granule, Mode)>, number: u32) -> HoldRequest {
        HoldRequest {
            roots,
            kind: HoldKind::Backup,
            transaction_timeout: Duration::from_secs(60),
            limit: None,
            at_limit: AtLimit::ContinueLive,
            stall_limit: Duration::from_secs(60),
            number,
            stop: StopToken::new(),
            waited_by: WaitedBy::default(),
        }
    }
}

/// What the manager and the holder share about one hold.
pub(crate) struct Lease {
    /// The owner in the lock table. Never used twice: the generation of the token.
    pub(crate) owner: OwnerId,
    pub(crate) kind: HoldKind,
    pub(crate) number: u32,
    /// The thread that asked for it.
    pub(crate) thread: u64,
    pub(crate) asked: Duration,
    at_limit: AtLimit,
    stall_limit: Duration,
    /// How often the application's thread holds it. Changed under the manager's mutex.
    pub(crate) depth: AtomicU32,
    state: AtomicU8,
    /// Microseconds of the manager's clock.
    ends: AtomicU64,
    progress: AtomicU64,
    longest_wait: AtomicU64,
}

const HELD: u8 = 0;
const RELEASED: u8 = 1;
const LIMIT: u8 = 2;
const STALLED: u8 = 3;

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

impl Lease {
    pub(crate) fn new(owner: OwnerId, request: &HoldRequest, thread: u64, now: Duration) -> Lease {
        Lease {
            owner,
            kind: request.kind,
            number: request.number,
            thread,
            asked: now,
            at_limit: request.at_limit,
            stall_limit: request.stall_limit,
            depth: AtomicU32::new(1),
            state: AtomicU8::new(HELD),
            ends: AtomicU64::new(request.limit.map_or(u64::MAX, micros)),
            progress: AtomicU64::new(0),
            longest_wait: AtomicU64::new(0),
        }
    }

    /// The hold is granted: its limit and its stall limit count from here.
    pub(crate) fn begin(&self, now: Duration) {
        let limit = self.ends.load(Ordering::SeqCst);
        self.ends.store(limit.saturating_add(micros(now)), Ordering::SeqCst);
        self.progress.store(micros(now), Ordering::SeqCst);
    }

    /// Lets the lease last at least until `end`.
    pub(crate) fn extend(&self, end: Duration) {
        self.ends.fetch_max(micros(end), Ordering::SeqCst);
    }

    fn renew(&self, now: Duration) {
        self.progress.fetch_max(micros(now), Ordering::SeqCst);
    }

    pub(crate) fn state(&self) -> HoldState {
        let then = self.at_limit;
        match self.state.load(Ordering::SeqCst) {
            HELD => HoldState::Held,
            RELEASED => HoldState::Released,
            LIMIT => HoldState::Expired { why: Expiry::Limit, then },
            _ => HoldState::Expired { why: Expiry::Stalled, then },
        }
    }

    /// Ends the lease; false if it had ended before.
    pub(crate) fn end(&self, why: Option<Expiry>) -> bool {
        let state = match why {
            None => RELEASED,
            Some(Expiry::Limit) => LIMIT,
            Some(Expiry::Stalled) => STALLED,
        };
        self.state.compare_exchange(HELD, state, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }

    /// When the lease ends by itself if nothing happens.
    pub(crate) fn deadline(&self) -> Duration {
        let stalled = self.progress.load(Ordering::SeqCst).saturating_add(micros(self.stall_limit));
        Duration::from_micros(stalled.min(self.ends.load(Ordering::SeqCst)))
    }

    /// Whether the lease has run out at `now`.
    pub(crate) fn expiry(&self, now: Duration) -> Option<Expiry> {
        if now < self.deadline() {
            return None;
        }
        let limit = self.ends.load(Ordering::SeqCst) <= micros(now);
        Some(if limit { Expiry::Limit } else { Expiry::Stalled })
    }

    /// Notes that another waited for this hold from `since` until `now`.
    pub(crate) fn note_wait(&self, since: Duration, now: Duration) {
        let wait = now.saturating_sub(since.max(self.asked));
        self.longest_wait.fetch_max(micros(wait), Ordering::SeqCst);
    }

    pub(crate) fn longest_wait(&self) -> Duration {
        Duration::from_micros(self.longest_wait.load(Ordering::SeqCst))
    }
}

/// Releases a hold, once, from any thread. Clones release the same hold.
#[derive(Clone)]
pub struct HoldToken {
    core: Arc<Core>,
    lease: Arc<Lease>,
}

impl HoldToken {
    pub(crate) fn new(core: Arc<Core>, lease: Arc<Lease>) -> HoldToken {
        HoldToken { core, lease }
    }

    /// Lets the others go on, however often the hold was entered. Returns whether this call did it;
    /// the token of a hold that has ended does nothing. Never waits.
    pub fn release(&self) -> bool {
        self.core.release_hold(&self.lease)
    }

    /// Renews the lease, if `bytes` is more than none. Never waits.
    pub fn progress(&self, bytes: u64) {
        if bytes > 0 {
            self.lease.renew(self.core.now());
        }
    }

    /// Where the hold stands. A lease that has run out is ended by this look at it. Never waits.
    pub fn state(&self) -> HoldState {
        if self.lease.expiry(self.core.now()).is_some() {
            // Looked at again under the mutex: it may have been entered anew, and so extended.
            self.core.lock().tick();
        }
        self.lease.state()
    }

    /// Whether the work behind the hold may go on.
    ///
    /// # Errors
    /// `BackupFailed`, code 2003, when the lease ended by itself and the choice was
    /// [`AtLimit::Abort`].
    pub fn check(&self) -> Result<()> {
        match self.state() {
            HoldState::Expired { why: Expiry::Limit, then: AtLimit::Abort } => {
                Err(refuse::hold_expired("its limit has passed"))
            }
            HoldState::Expired { why: Expiry::Stalled, then: AtLimit::Abort } => {
                Err(refuse::hold_expired("it made no progress"))
            }
            _ => Ok(()),
        }
    }

    /// The longest that anyone has waited for this hold so far. Never waits.
    pub fn longest_wait(&self) -> Duration {
        self.core.note_waits(&self.lease);
        self.lease.longest_wait()
    }
}

impl fmt::Debug for HoldToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HoldToken")
            .field("owner", &self.lease.owner)
            .field("kind", &self.lease.kind)
            .field("state", &self.lease.state())
            .finish()
    }
}

/// Keeps others waiting until it is dropped, released, or its lease ends.
#[must_use = "dropping it lets the others go on"]
#[derive(Debug)]
pub struct Hold {
    token: HoldToken,
}

impl Hold {
    pub(crate) fn new(token: HoldToken) -> Hold {
        Hold { token }
    }

    /// What releases this hold from another thread, and outlives it.
    pub fn token(&self) -> HoldToken {
        self.token.clone()
    }

    /// See [`HoldToken::progress`].
    pub fn progress(&self, bytes: u64) {
        self.token.progress(bytes);
    }

    /// See [`HoldToken::state`].
    pub fn state(&self) -> HoldState {
        self.token.state()
    }

    /// See [`HoldToken::check`].
    ///
    /// # Errors
    /// As there.
    pub fn check(&self) -> Result<()> {
        self.token.check()
    }

    /// See [`HoldToken::longest_wait`].
    pub fn longest_wait(&self) -> Duration {
        self.token.longest_wait()
    }

    /// Lets the others go on, unless the same thread holds it elsewhere too.
    pub fn release(self) {}
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.token.core.leave_hold(&self.token.lease);
    }
}
