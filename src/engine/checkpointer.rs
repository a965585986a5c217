//! The background writer: turns sealed deltas into checkpoints, oldest first.
//!
//! Invariants:
//! 1. The log is durable up to a checkpoint's LSN before its meta page is written. So a checkpoint
//!    never holds what the log could still lose, and archived logs have no holes.
//! 2. A checkpoint is published (readers see it instead of the sealed delta) only after its meta is
//!    durable.
//! 3. Log segments go only when the checkpoint that holds their commits is durable in both metas.
//! 4. A full disk stops nothing but this thread's progress: it tries again, readers go on, writers
//!    are refused once the active delta is full. Any other failure latches the store.

use std::sync::Arc;
use std::time::Duration;

use super::core::{Core, Sealed};
use super::delta::{Delta, DeltaCursor};
use super::pin::PinSlot;
use super::tree::{ChangeSource, Checkpoint, CheckpointParams};
use super::view::View;
use super::{CATALOGUE, Change, Lsn, TableId};
use crate::error::{Error, ErrorKind, Result};

/// How long to wait before a full disk is tried again.
const RETRY_FULL: Duration = Duration::from_millis(200);

pub(super) fn run(core: &Arc<Core>) {
    let _guard = PanicGuard(core);
    while let Some((sealed, slot)) = next(core) {
        match write(core, &sealed) {
            Ok(checkpoint) => done(core, &slot, checkpoint),
            Err(error) if error.kind() == ErrorKind::StorageFull => {
                if !pause(core, error) {
                    return;
                }
            }
            Err(error) => return give_up(core, error),
        }
    }
}

/// The oldest sealed delta; waits for one. `None` when the engine stops and nothing is left.
fn next(core: &Core) -> Option<(Sealed, Arc<PinSlot>)> {
    let mut pending = core.pending.lock();
    loop {
        if let Some(front) = pending.sealed.front() {
            return Some(front.clone());
        }
        if pending.stop {
            return None;
        }
        core.pending_changed.wait(&mut pending);
    }
}

fn write(core: &Core, sealed: &Sealed) -> Result<Arc<Checkpoint>> {
    core.sync_log_through(sealed.lsn)?;
    let base = core.views.current().0.checkpoint.clone();
    let start = core.disk.elapsed();
    let params = CheckpointParams {
        lsn: sealed.lsn,
        time: sealed.time,
        timeline: core.timeline_at(sealed.lsn),
        durable_log_lsn: core.upkeep.durable_lsn(),
    };
    let mut changes = DeltaChanges::new(&sealed.delta, sealed.lsn);
    let checkpoint = core.data.checkpoint(&base, &mut changes, params)?;
    core.counters.checkpoint(core.disk.elapsed().saturating_sub(start));
    core.views.replace(None, |view| {
        let deltas = view.deltas.iter().filter(|d| !Arc::ptr_eq(d, &sealed.delta)).cloned();
        View { checkpoint: checkpoint.clone(), deltas: deltas.collect(), ..view.clone() }
    });
    core.upkeep.remove_before(sealed.lsn)?;
    Ok(checkpoint)
}

fn done(core: &Core, slot: &PinSlot, checkpoint: Arc<Checkpoint>) {
    let mut pending = core.pending.lock();
    pending.sealed.pop_front();
    pending.full = None;
    core.pending_changed.notify_all();
    drop(pending);
    slot.fill(Ok(checkpoint));
}

/// Waits for room. `false` when the engine stops: the log has everything.
fn pause(core: &Core, full: Error) -> bool {
    let mut pending = core.pending.lock();
    pending.full = Some(full);
    core.pending_changed.notify_all();
    if !pending.stop {
        core.pending_changed.wait_for(&mut pending, RETRY_FULL);
    }
    !pending.stop
}

fn give_up(core: &Core, error: Error) {
    core.latch(error.clone());
    let mut pending = core.pending.lock();
    pending.gave_up = Some(error.clone());
    for (_, slot) in pending.sealed.drain(..) {
        slot.fill(Err(error.clone()));
    }
    core.pending_changed.notify_all();
}

/// Whoever waits for a checkpoint must not wait for a thread that is no more.
struct PanicGuard<'c>(&'c Core);

impl Drop for PanicGuard<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let error = Error::new(ErrorKind::Io, "the writer of checkpoints panicked");
            give_up(self.0, error.at(&self.0.dir));
        }
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
