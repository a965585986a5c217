//! The background writer: turns sealed deltas into checkpoints, oldest first.
//!
//! Invariants:
//! 1. The log is durable up to a checkpoint's LSN before its meta page is written. So a checkpoint
//!    never holds what the log could still lose, and archived logs have no holes.
//! 2. A checkpoint is published (readers see it instead of the sealed delta) only after its meta is
//!    durable.
//! 3. Log segments go only when the checkpoint that holds their commits is durable in both metas.
//! 4. A full disk stops nothing but this thread's progress: it tries again, readers go on, writers
//!    are refused once the active delta is full. A want of file handles while old segments are listed
//!    leaves them to the next checkpoint. Any other failure latches the store.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::core::{Core, Pending, Sealed, closed};
use super::delta::{Delta, DeltaCursor};
use super::log::passes;
use super::log_guard::unavailable;
use super::pin::PinSlot;
use super::tree::{ChangeSource, Checkpoint, CheckpointParams, DataFile};
use super::view::View;
use super::{CATALOGUE, Change, Lsn, TableId};
use crate::error::{Error, ErrorKind, Result};

/// How long to wait before a full disk is tried again.
const RETRY_FULL: Duration = Duration::from_millis(200);

/// What a background tidying lets the data file be, in per cent of what is in it: a store whose every
/// record is always overwritten then writes a fifth more.
const TIDY_WHEN_IDLE: u64 = 180;

enum Task {
    Write(Sealed, Arc<PinSlot>),
    /// Make the data file at most so many per cent of what is in it.
    Tidy(u64),
}

/// What became of a task.
enum Ended {
    Well,
    /// The disk is full: it is to be tried again.
    Full(Error),
    /// No checkpoint is made any more.
    GaveUp,
}

pub(super) fn run(core: &Arc<Core>) {
    let _guard = EndGuard(core);
    let mut is_tidy = true;
    while let Some(task) = next(core, is_tidy) {
        is_tidy = matches!(task, Task::Tidy(_));
        match perform(core, &task) {
            Ended::Well => {}
            Ended::Full(error) => {
                if !pause(core, error) {
                    return;
                }
            }
            Ended::GaveUp => return,
        }
    }
}

/// Does the next task on the calling thread, in a store without threads. Returns whether one was done: not
/// where there is none, nor where the disk is full.
pub(super) fn step(core: &Core) -> bool {
    let mut is_tidy = core.stepper.lock();
    let task = {
        let pending = core.pending.lock();
        if pending.gave_up.is_some() {
            return false;
        }
        due(&pending, *is_tidy)
    };
    let Some(task) = task else { return false };
    *is_tidy = matches!(task, Task::Tidy(_));
    match perform(core, &task) {
        Ended::Well => true,
        Ended::Full(error) => {
            tell_full(core, error);
            false
        }
        Ended::GaveUp => false,
    }
}

/// Ends a store without threads as the end of its thread would.
pub(super) fn end(core: &Core) {
    while step(core) {}
    leave(core, closed());
}

fn perform(core: &Core, task: &Task) -> Ended {
    let outcome = match task {
        Task::Write(sealed, slot) => write(core, sealed).map(|made| done(core, slot, made)),
        Task::Tidy(percent) => tidy(core, *percent),
    };
    let is_tidy = matches!(task, Task::Tidy(_));
    match outcome.map_err(|error| judged(core, error)) {
        Ok(()) => {}
        Err(error) if error.kind() != ErrorKind::StorageFull => {
            give_up(core, error);
            return Ended::GaveUp;
        }
        // Tidying needs a little room to make much; without it the file stays as it is.
        Err(_) if is_tidy => {}
        Err(_) if core.upkeep.spend_reserve() => {}
        Err(error) => return Ended::Full(error),
    }
    if let Task::Tidy(percent) = task {
        tidied(core, |wanted| wanted == *percent);
    }
    Ended::Well
}

/// A full disk that left a meta in doubt is more than a full disk: room alone does not mend it.
fn judged(core: &Core, error: Error) -> Error {
    match core.data.check_latch() {
        Err(latched) if error.kind() == ErrorKind::StorageFull => latched.because(error),
        _ => error,
    }
}

/// What is to be done next; waits for something. `None` when the engine stops and nothing is left.
fn next(core: &Core, is_tidy: bool) -> Option<Task> {
    let mut pending = core.pending.lock();
    loop {
        let due = due(&pending, is_tidy);
        if due.is_some() || pending.stop {
            return due;
        }
        core.pending_changed.wait(&mut pending);
    }
}

/// What is to be done now.
fn due(pending: &Pending, is_tidy: bool) -> Option<Task> {
    if let Some((sealed, slot)) = pending.sealed.front().cloned() {
        return Some(Task::Write(sealed, slot));
    }
    let idle = (!is_tidy && !pending.stop).then_some(TIDY_WHEN_IDLE);
    pending.tidy.or(idle).map(Task::Tidy)
}

/// Gives free room back to the disk: moves pages down where that pays, then cuts the file's end.
fn tidy(core: &Core, percent: u64) -> Result<()> {
    core.check_folder()?;
    // Moved pages are a new checkpoint of the same commit; the old one goes with its last reader.
    for _move_then_cut in 0..2 {
        let newest = core.views.current().0.checkpoint.clone();
        let Some(moved) = core.data.tidy(&newest, percent)? else { break };
        drop(newest);
        core.views.replace(None, |view| View { checkpoint: moved.clone(), ..view.clone() });
    }
    Ok(())
}

fn tidied(core: &Core, which: impl Fn(u64) -> bool) {
    let mut pending = core.pending.lock();
    pending.tidy = pending.tidy.filter(|wanted| !which(*wanted));
    core.pending_changed.notify_all();
}

fn write(core: &Core, sealed: &Sealed) -> Result<Arc<Checkpoint>> {
    core.sync_log_through(sealed.lsn)?;
    // Segments that were put into the log by hand may tell of timelines that the file does not have.
    core.ancestry_file.ensure(&sealed.ancestry)?;
    let base = core.views.current().0.checkpoint.clone();
    let start = core.disk.elapsed();
    let checkpoint = checkpoint_of(&core.data, &base, sealed, core.upkeep.durable_lsn())?;
    core.counters.checkpoint(core.disk.elapsed().saturating_sub(start));
    core.views.replace(None, |view| {
        let deltas = view.deltas.iter().filter(|d| !Arc::ptr_eq(d, &sealed.delta)).cloned();
        View { checkpoint: checkpoint.clone(), deltas: deltas.collect(), ..view.clone() }
    });
    core.budget.set_data_bytes(core.data.stats().used_bytes());
    core.durable_checkpoint.store(sealed.lsn, Ordering::Release);
    // Nothing of the log goes on the strength of a checkpoint in a folder that nobody finds.
    core.check_folder()?;
    unless_later(core.upkeep.remove_before(sealed.lsn).map(drop))?;
    unless_later(core.enforce_log_cap(sealed.lsn))?;
    core.room_changed();
    Ok(checkpoint)
}

/// Makes a checkpoint of `sealed` on top of `base`. The log must be durable through `durable`, and that
/// through the last commit of `sealed`.
pub(super) fn checkpoint_of(
    data: &DataFile,
    base: &Arc<Checkpoint>,
    sealed: &Sealed,
    durable: Lsn,
) -> Result<Arc<Checkpoint>> {
    let params = CheckpointParams {
        lsn: sealed.lsn,
        time: sealed.time,
        timeline: sealed.ancestry.tip(),
        ancestry_digest: sealed.ancestry.digest(),
        foreign: sealed.foreign,
        durable_log_lsn: durable,
    };
    let mut changes = DeltaChanges::new(&sealed.delta, sealed.lsn);
    data.checkpoint(base, &mut changes, params)
}

/// What of the log cannot be removed now, for a want that passes, is removed by the next checkpoint.
pub(super) fn unless_later(removed: Result<()>) -> Result<()> {
    match removed {
        Err(error) if passes(&error) => Ok(()),
        result => result.map_err(unavailable),
    }
}

fn done(core: &Core, slot: &PinSlot, checkpoint: Arc<Checkpoint>) {
    let mut pending = core.pending.lock();
    if let Some((sealed, _)) = pending.sealed.pop_front() {
        core.sealed_bytes.fetch_sub(sealed.delta.bytes(), Ordering::Relaxed);
    }
    pending.full = None;
    core.pending_changed.notify_all();
    drop(pending);
    slot.fill(Ok(checkpoint));
}

/// Waits for room. `false` when the engine stops: the log has everything.
fn pause(core: &Core, full: Error) -> bool {
    tell_full(core, full);
    let mut pending = core.pending.lock();
    if !pending.stop {
        core.pending_changed.wait_for(&mut pending, RETRY_FULL);
    }
    !pending.stop
}

fn tell_full(core: &Core, full: Error) {
    let mut pending = core.pending.lock();
    // A backup does not wait for room, and keep others waiting, for who knows how long.
    pending.sealed.iter().for_each(|(_, slot)| slot.fill(Err(full.clone())));
    pending.full = Some(full);
    core.pending_changed.notify_all();
}

fn give_up(core: &Core, error: Error) {
    core.latch(error.clone());
    leave(core, error);
}

/// From now on nobody makes checkpoints; whoever waits for one, or will, gets `error`. The first
/// one stays.
fn leave(core: &Core, error: Error) {
    let mut pending = core.pending.lock();
    let error = pending.gave_up.get_or_insert(error).clone();
    pending.tidy = None;
    for (_, slot) in pending.sealed.drain(..) {
        slot.fill(Err(error.clone()));
    }
    core.pending_changed.notify_all();
}

/// Whoever waits for this thread must not wait when it is no more.
struct EndGuard<'c>(&'c Core);

impl Drop for EndGuard<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let error = Error::new(ErrorKind::Io, "the writer of checkpoints panicked");
            give_up(self.0, error.at(&self.0.dir));
        }
        leave(self.0, closed());
    }
}

/// The newest version of each key of a delta, in order: what a checkpoint applies.
struct DeltaChanges<'d>(DeltaCursor<'d>);

impl<'d> DeltaChanges<'d> {
    fn new(delta: &'d Delta, at: Lsn) -> DeltaChanges<'d> {
        let mut cursor = delta.cursor(at);
        cursor.seek_ge(CATALOGUE, &[]);
        DeltaChanges(cursor)
    }
}

impl ChangeSource for DeltaChanges<'_> {
    fn current(&self) -> Option<(TableId, &[u8], Change<'_>)> {
        self.0.current().map(|(table, key, _, change)| (table, key, change))
    }

    fn advance(&mut self) -> Result<()> {
        self.0.next();
        Ok(())
    }
}
