//! What the leader of the commit line owns: the end of the log, the writer of the active delta, and
//! the next LSN.
//!
//! Invariants: `next_lsn` moves only when a group is in the log; commit times never go back; the
//! delta is entered in LSN order and before publication; a seal leaves a fresh active delta, and the
//! sealed one goes to the checkpointer with the LSN that it ends at.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::batch::{Batch, Payload};
use super::core::{Core, Sealed};
use super::delta::{Delta, DeltaChange, DeltaWriter};
use super::line::{Outcome, outcome_unknown};
use super::log::{Log, LogCommit, LogOp};
use super::options::Durability;
use super::pin::PinSlot;
use super::view::View;
use super::{CATALOGUE, Change, Lsn};
use crate::error::{Error, ErrorKind, Result};

/// The context of every commit of this process, the first that is defined.
pub(super) const FIRST_CONTEXT: u32 = 0;

pub(super) struct Leader {
    pub(super) log: Log,
    pub(super) writer: DeltaWriter,
    pub(super) active: Arc<Delta>,
    pub(super) next_lsn: Lsn,
    pub(super) last_time: i64,
}

impl Leader {
    /// Commits a group; returns the LSN of its first commit and the time of all.
    pub(super) fn commit(
        &mut self,
        core: &Core,
        commits: &[(&Batch, Durability)],
    ) -> Result<(Lsn, i64)> {
        let written = self.log.append(commits, core.disk.now()).map_err(|error| {
            match error.kind() {
                // Nothing of the group counts, and there is nothing to mend.
                ErrorKind::StorageFull | ErrorKind::Limit => error,
                _ => core.latch_unknown(error),
            }
        })?;
        let (first, time) = (written.first_lsn, written.time);
        self.next_lsn = written.last_lsn + 1;
        self.last_time = time;
        if commits.iter().any(|(_, durability)| *durability == Durability::Immediate) {
            self.log.sync().map_err(|error| core.latch_unknown(error))?;
        }
        for (lsn, (batch, _)) in (first..).zip(commits) {
            self.enter(lsn, batch);
        }
        self.publish(core, commits).map_err(|error| core.latch_unknown(error))?;
        core.counters.group(commits.len());
        core.active_bytes.store(self.active.bytes(), Ordering::Relaxed);
        if self.active.bytes() >= core.options.delta_bytes && core.nothing_sealed() {
            self.seal_delta(core);
        }
        Ok((first, time))
    }

    fn enter(&mut self, lsn: Lsn, batch: &Batch) {
        for op in batch.ops() {
            let change = match &op.value {
                Some(Payload::Small(bytes)) => DeltaChange::Put(bytes),
                Some(Payload::Shared(bytes)) => DeltaChange::Shared(bytes.clone()),
                None => DeltaChange::Delete,
            };
            self.writer.insert(op.table, &op.key, lsn, change);
        }
    }

    fn publish(&mut self, core: &Core, commits: &[(&Batch, Durability)]) -> Result<()> {
        let visible = self.next_lsn - 1;
        if !commits.iter().any(|(batch, _)| batch.changes_structure()) {
            core.views.publish(visible);
            return Ok(());
        }
        let mut catalogue = (*core.views.current().0.catalogue).clone();
        for op in commits.iter().flat_map(|(batch, _)| batch.ops()) {
            if op.table == CATALOGUE {
                let change = match &op.value {
                    Some(value) => Change::Put(value.bytes()),
                    None => Change::Delete,
                };
                catalogue.apply(&op.key, change)?;
            }
        }
        let catalogue = Arc::new(catalogue);
        core.views.replace(Some(visible), |view| View { catalogue, ..view.clone() });
        Ok(())
    }

    /// Ends the active delta (and with `roll` the log segment): the instant of a backup's pin.
    pub(super) fn seal(&mut self, core: &Core, roll: bool) -> Result<Outcome> {
        let start = core.disk.elapsed();
        if roll {
            self.log.roll().map_err(|error| core.latch_unknown(error))?;
        }
        let slot = if self.active.len() > 0 {
            self.seal_delta(core)
        } else {
            core.slot_at_newest_seal(self.next_lsn - 1)
        };
        Ok(Outcome::Sealed(slot, core.disk.elapsed().saturating_sub(start)))
    }

    fn seal_delta(&mut self, core: &Core) -> Arc<PinSlot> {
        let (active, writer) = Delta::new();
        let sealed = std::mem::replace(&mut self.active, active.clone());
        self.writer = writer;
        core.views.replace(None, |view| {
            let mut deltas = Vec::with_capacity(view.deltas.len() + 1);
            deltas.push(active);
            deltas.extend(view.deltas.iter().cloned());
            View { deltas, ..view.clone() }
        });
        core.active_bytes.store(0, Ordering::Relaxed);
        core.push_sealed(Sealed { delta: sealed, lsn: self.next_lsn - 1, time: self.last_time })
    }
}

impl LogCommit for (&Batch, Durability) {
    fn context(&self) -> u32 {
        FIRST_CONTEXT
    }

    fn ops(&self) -> impl ExactSizeIterator<Item = LogOp<'_>> {
        self.0.ops().iter().map(|op| {
            let change = op.value.as_ref().map_or(Change::Delete, |v| Change::Put(v.bytes()));
            LogOp { table: op.table, key: &op.key, change }
        })
    }
}

impl Core {
    /// Latches the store because of `cause`, and says of the commit at hand what can be said.
    pub(super) fn latch_unknown(&self, cause: Error) -> Error {
        self.latch(cause.clone());
        outcome_unknown().because(cause)
    }
}
