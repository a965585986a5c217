//! What the lock manager tells about itself. None of it ever waits for a lock.

use super::granule::Granule;
use super::hold::HoldKind;
use super::mode::Mode;
use super::table::OwnerId;
use serde::Serialize;
use std::time::Duration;

/// How far the backup is that others wait for.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BackupProgressInfo {
    /// The number of the backup.
    pub number: u32,
    /// How much is done, 0 to 100.
    pub per_cent: f32,
    /// How long it will take from now, as far as can be told.
    pub remaining: Option<Duration>,
}

/// A write that waits for its turn, or was granted and not yet taken up.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PendingWrite {
    /// The number of its ticket.
    pub id: u64,
    /// How many tickets stand before it.
    pub position: usize,
    /// Whether it was granted and nobody has taken it up yet.
    pub granted: bool,
    /// When it was asked for, by the manager's clock.
    pub since: Duration,
    /// How long it has waited.
    pub waited: Duration,
    /// The job that it belongs to, if it was named.
    pub job: Option<String>,
    /// How many commits this job has done before: to cancel it now leaves the job half done.
    pub commits_done: u64,
    /// Whether a backup is what it waits for.
    pub behind_backup: bool,
}

/// What is locked, as far as it can be named.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum LockedThing {
    /// A granule with its name.
    Named(Granule),
    /// A record that nobody waits for; only the hash of its table and key is kept.
    RecordHash(u64),
}

/// A lock that an owner holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HeldLock {
    /// On what.
    pub on: LockedThing,
    /// What that is called: tables by their names, records by their keys.
    pub name: String,
    /// How.
    pub mode: Mode,
}

/// A lock that an owner waits for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WaitedLock {
    /// On what.
    pub on: LockedThing,
    /// What that is called: tables by their names, records by their keys.
    pub name: String,
    /// How.
    pub mode: Mode,
    /// Whom it waits for.
    pub blockers: Vec<OwnerId>,
    /// Since when, by the manager's clock.
    pub since: Duration,
}

/// One owner of locks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OwnerReport {
    /// Its number.
    pub id: OwnerId,
    /// Whether it is a backup or another hold.
    pub hold: Option<HoldKind>,
    /// The number of the thread that used it last, within this process.
    pub thread: Option<u64>,
    /// The job that it belongs to, if it was named.
    pub job: Option<String>,
    /// What it holds.
    pub held: Vec<HeldLock>,
    /// What it waits for. A request for several granules is granted all or nothing.
    pub waits: Vec<WaitedLock>,
}

/// Who holds what, and who waits for whom.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LockReport {
    /// All owners, by number.
    pub owners: Vec<OwnerReport>,
    /// How many reads wait for a frozen store.
    pub waiting_reads: usize,
}
