//! Backups of several stores at one instant.
//!
//! Each store has its backup, on a thread of its own, with its own destination, access and archive. They
//! wait for each other three times: until all are prepared, until all have their locks and their
//! participants stand still, and within the commit lines (`engine/rendezvous.rs`), which are held in the
//! order of store ids and for the pins only. From there each goes on by itself.
//!
//! Invariants: before the instant a backup that fails (or is stopped, or panics) fails all, and all let
//! go; after it nobody concerns the others. No store waits for locks of another with its own held for
//! long: where one cannot have its locks soon, all give theirs back and try again, until the
//! transaction timeout of one of them has passed. So an application that holds a handle of one store
//! while it waits for the other can finish.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex, MutexGuard};

use super::builder::BackupBuilder;
use super::handle::BackupHandle;
use super::locate::GroupArchives;
use super::report::BackupReport;
use super::start::Ready;
use crate::engine::Rendezvous;
use crate::error::{Error, ErrorKind, Result, code};
use crate::lock::{LockManager, WaitedBy};
use crate::store::TogetherPaper;

/// How soon somebody who waits looks at Stop again.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// Backs up several stores at one instant, and waits for the end of all; see [`Together`].
///
/// # Errors
/// Those of [`Together::start`]. How each backup ended stands in the place of its builder.
pub fn backup_together(
    backups: impl IntoIterator<Item = BackupBuilder>,
) -> Result<Vec<Result<BackupReport>>> {
    Ok(Together::new(backups).start()?.wait())
}

/// Backups of several stores that are to equal them at one instant: what an application committed in
/// one store after a commit in another was acknowledged is not in the archives without the other.
///
/// # Locks
/// Besides what each backup's access says: the commit lines of all stores are held at the same time,
/// for the pins only; commits wait so long. [`BackupReport::pin`] has the time for each store.
#[must_use = "the backups do nothing until they are started"]
pub struct Together {
    backups: Vec<BackupBuilder>,
    limit: Duration,
}

impl Together {
    /// A group of backups, of one store each.
    pub fn new(backups: impl IntoIterator<Item = BackupBuilder>) -> Together {
        Together { backups: backups.into_iter().collect(), limit: Duration::from_secs(1) }
    }

    /// How long a commit line may be held while those of the others are waited for: a second by default.
    /// Past it all let go, and the backups fail (1405).
    pub fn line_limit(mut self, limit: Duration) -> Together {
        self.limit = limit;
        self
    }

    /// Begins them all, or none.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] where a store is listed twice; those of [`BackupBuilder::start`] for any of
    /// them. Startup hooks and preflights run on the threads of the backups: what they refuse fails
    /// all, and each result says so. Two stores that would write the same archive fail there too.
    pub fn start(self) -> Result<TogetherHandle> {
        check_different(&self.backups)?;
        let order = order_of_stores(&self.backups);
        let mut ready: Vec<Ready> = Vec::with_capacity(self.backups.len());
        for backup in self.backups {
            match Ready::claim(backup) {
                Ok(next) => ready.push(next),
                Err(error) => {
                    let theirs = of_another(&error);
                    ready.into_iter().for_each(|other| other.give_up(&theirs));
                    return Err(error);
                }
            }
        }
        let meeting = Meeting::new(&ready, &order, self.limit);
        let mut handles = Vec::with_capacity(ready.len());
        for (index, next) in ready.into_iter().enumerate() {
            let place = order.iter().position(|at| *at == index).unwrap_or(index);
            match next.launch(Some(Seat { meeting: meeting.clone(), place })) {
                Ok(handle) => handles.push(handle),
                // The seat is gone with the backup, and those that run fail by that.
                Err(error) => return Err(error),
            }
        }
        Ok(TogetherHandle { handles })
    }
}

/// Running backups of a group. Dropping it lets them run on.
#[must_use = "the backups run on, but nobody learns how they ended"]
#[derive(Debug)]
pub struct TogetherHandle {
    handles: Vec<BackupHandle>,
}

impl TogetherHandle {
    /// Each of them, in the order in which they were given.
    pub fn backups(&self) -> &[BackupHandle] {
        &self.handles
    }

    /// Stops them all. Never waits.
    pub fn stop(&self) {
        self.handles.iter().for_each(BackupHandle::stop);
    }

    /// Waits for the end of all; how each ended, in the order in which they were given.
    pub fn wait(self) -> Vec<Result<BackupReport>> {
        let waited: Vec<_> = self.handles.iter().map(BackupHandle::waited_by).collect();
        // The first may wait for the others, so this thread is in the way of each from the start.
        let _marks: Vec<_> = waited.iter().map(WaitedBy::this_thread).collect();
        self.handles.iter().map(BackupHandle::outcome).collect()
    }
}

fn check_different(backups: &[BackupBuilder]) -> Result<()> {
    for (index, backup) in backups.iter().enumerate() {
        let id = backup.inner.engine.store_id();
        if backups[..index].iter().any(|other| other.inner.engine.store_id() == id) {
            let message = "a store is listed twice among those to be backed up together";
            return Err(Error::new(ErrorKind::Invalid, message).at(backup.inner.engine.dir()));
        }
    }
    Ok(())
}

/// The indexes of the backups in the order of their stores' ids.
fn order_of_stores(backups: &[BackupBuilder]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..backups.len()).collect();
    order.sort_by_key(|index| backups[*index].inner.engine.store_id());
    order
}

/// What an error of one backup is for the others.
fn of_another(error: &Error) -> Error {
    Error::new(ErrorKind::BackupFailed, "another backup of the group failed before the instant")
        .with_code(error.code())
        .because(error.clone())
}

/// Where the backups of a group wait for each other.
struct Meeting {
    seats: usize,
    archives: GroupArchives,
    lines: Arc<Rendezvous>,
    locks: Vec<Arc<LockManager>>,
    paper: TogetherPaper,
    votes: Mutex<Votes>,
    changed: Condvar,
}

struct Votes {
    round: u64,
    cast: usize,
    all: bool,
    /// What the round before came to.
    outcome: bool,
    failed: Option<Error>,
}

impl Meeting {
    fn new(ready: &[Ready], order: &[usize], limit: Duration) -> Arc<Meeting> {
        let stores: Vec<_> =
            order.iter().map(|index| ready[*index].backup.inner.engine.store_id()).collect();
        let mut instant = [0; 16];
        if let Some(first) = ready.first() {
            first.backup.inner.engine.disk().random(&mut instant);
        }
        let votes = Votes { round: 0, cast: 0, all: true, outcome: false, failed: None };
        Arc::new(Meeting {
            seats: ready.len(),
            archives: GroupArchives::default(),
            lines: Rendezvous::new(ready.len(), limit),
            locks: ready.iter().map(|one| one.locks().clone()).collect(),
            paper: TogetherPaper { instant: u128::from_le_bytes(instant), stores },
            votes: Mutex::new(votes),
            changed: Condvar::new(),
        })
    }
}

/// The place of one backup in its group. Dropped before the instant, also by a panic, it fails all.
pub(super) struct Seat {
    meeting: Arc<Meeting>,
    place: usize,
}

impl Seat {
    /// The locks of all stores of the group.
    pub(super) fn locks(&self) -> &[Arc<LockManager>] {
        &self.meeting.locks
    }

    /// The archives that the backups of the group will write.
    pub(super) fn archives(&self) -> &GroupArchives {
        &self.meeting.archives
    }

    /// What the archive says of the group.
    pub(super) fn paper(&self) -> TogetherPaper {
        self.meeting.paper.clone()
    }

    /// Waits until all have said yes or no; whether all said yes.
    ///
    /// # Errors
    /// What failed the group; an error of `check`, which is asked again and again.
    pub(super) fn vote(&self, yes: bool, check: &dyn Fn() -> Result<()>) -> Result<bool> {
        let meeting = &self.meeting;
        let mut votes = meeting.votes.lock();
        if let Some(error) = &votes.failed {
            return Err(error.clone());
        }
        votes.all &= yes;
        votes.cast += 1;
        if votes.cast == meeting.seats {
            votes.outcome = std::mem::replace(&mut votes.all, true);
            votes.cast = 0;
            votes.round += 1;
            meeting.changed.notify_all();
            return Ok(votes.outcome);
        }
        let round = votes.round;
        while votes.round == round {
            if let Some(error) = &votes.failed {
                return Err(error.clone());
            }
            meeting.changed.wait_for(&mut votes, LOOK_AGAIN);
            MutexGuard::unlocked(&mut votes, check)?;
        }
        // The next round ends with a vote of the caller's own, so this is still of the one before.
        Ok(votes.outcome)
    }

    /// Waits until it is this store's turn to have its line held.
    ///
    /// # Errors
    /// As [`Seat::vote`].
    pub(super) fn turn(&self, check: &dyn Fn() -> Result<()>) -> Result<Arc<Rendezvous>> {
        self.meeting.lines.turn(self.place, &mut || check())?;
        Ok(self.meeting.lines.clone())
    }

    /// Fails the backups of all. After the instant it concerns nobody.
    pub(super) fn fail(&self, error: &Error) {
        let error = of_another(error);
        self.meeting.lines.fail(&error);
        self.meeting.votes.lock().failed.get_or_insert(error);
        self.meeting.changed.notify_all();
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let gone = Error::new(ErrorKind::BackupFailed, "a backup of the group ended by a panic");
        self.fail(&gone.with_code(code::HOOK));
    }
}
