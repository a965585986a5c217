//! What the leader of the commit line owns: the end of the log, the writer of the active delta, and
//! the next LSN.
//!
//! Invariants: `next_lsn` moves only when a group is in the log; commit times never go back; the
//! delta is entered in LSN order and before publication; a seal leaves a fresh active delta, and the
//! sealed one goes to the checkpointer with the LSN that it ends at. A commit of another store keeps
//! its LSN, time and timeline; the first commit of the store's own after it begins a new timeline.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::apply::{ForeignEntry, ForeignGroup};
use super::batch::{Batch, Payload};
use super::core::{Core, Sealed, with_code_of};
use super::delta::{Delta, DeltaChange, DeltaWriter};
use super::line::{Outcome, outcome_unknown};
use super::log::{Appended, Log, LogCommit, LogOp, passes};
use super::log_guard::unavailable;
use super::open::random_id;
use super::options::Durability;
use super::pin::PinSlot;
use super::view::View;
use super::{Ancestry, CATALOGUE, Change, History, Lsn, Position, TableId};
use crate::error::{Error, ErrorKind, Result};

/// The context of every commit of this process, the first that is defined.
pub(super) const FIRST_CONTEXT: u32 = 0;

pub(super) struct Leader {
    pub(super) log: Log,
    pub(super) writer: DeltaWriter,
    pub(super) active: Arc<Delta>,
    pub(super) next_lsn: Lsn,
    pub(super) last_time: i64,
    /// The ancestry of the last commit.
    pub(super) ancestry: Ancestry,
    /// Whether a commit of the store's own begins a new one.
    pub(super) foreign: bool,
}

impl Leader {
    /// The newest commit and its place in history.
    pub(super) fn position(&self) -> Position {
        Position {
            lsn: self.next_lsn - 1,
            time: self.last_time,
            timeline: self.ancestry.tip(),
            foreign: self.foreign,
        }
    }

    /// All commits through the newest one.
    pub(super) fn history(&self) -> History {
        History::new(self.ancestry.clone(), self.next_lsn - 1)
    }

    /// Commits a group; returns the LSN of its first commit and the time of all.
    pub(super) fn commit(
        &mut self,
        core: &Core,
        commits: &[(&Batch, Durability)],
    ) -> Result<(Lsn, i64)> {
        let durable = commits.iter().any(|(_, wanted)| *wanted == Durability::Immediate);
        check_before(core, durable)?;
        let own = match self.foreign {
            true => Some(self.ancestry.extended(random_id(&core.disk), self.next_lsn - 1)?),
            false => None,
        };
        let ancestry = own.as_ref().unwrap_or(&self.ancestry);
        self.log.go_on(ancestry, false).map_err(|error| unwritten(core, error))?;
        let now = core.disk.now();
        let written = match self.log.append(commits, now) {
            // What makes room is let through on a full disk.
            Err(error)
                if error.kind() == ErrorKind::StorageFull
                    && commits.iter().all(|(batch, _)| batch.only_removes())
                    && self.log.spend_reserve() =>
            {
                self.log.append(commits, now)
            }
            written => written,
        };
        let written = written.map_err(|error| unwritten(core, error))?;
        if let Some(ancestry) = own {
            (self.ancestry, self.foreign) = (ancestry, false);
        }
        let batches: Vec<&Batch> = commits.iter().map(|(batch, _)| *batch).collect();
        self.written(core, written, &batches, durable)
    }

    /// Applies a group of another store's log, which must follow what is here.
    pub(super) fn apply(&mut self, core: &Core, group: &ForeignGroup) -> Result<(Lsn, i64)> {
        let ancestry = group.check_follows(&self.ancestry, self.next_lsn - 1, self.last_time)?;
        let durable = group.durability == Durability::Immediate;
        check_before(core, durable)?;
        self.log.go_on(&ancestry, true).map_err(|error| unwritten(core, error))?;
        let mut entries = Vec::with_capacity(group.commits.len());
        for (context, batch) in &group.commits {
            entries.push(ForeignEntry { context: self.log.context(context)?, batch });
        }
        let written = self.log.append(&entries, group.time);
        let written = written.map_err(|error| unwritten(core, error))?;
        (self.ancestry, self.foreign) = (ancestry, true);
        let batches: Vec<&Batch> = group.commits.iter().map(|(_, batch)| batch).collect();
        self.written(core, written, &batches, durable)
    }

    /// What was appended becomes durable where it is to be, and is published.
    fn written(
        &mut self,
        core: &Core,
        written: Appended,
        batches: &[&Batch],
        durable: bool,
    ) -> Result<(Lsn, i64)> {
        let (first, time) = (written.first_lsn, written.time);
        self.next_lsn = written.last_lsn + 1;
        self.last_time = time;
        if durable {
            let _asleep = core.spin.sleep();
            self.log.sync().map_err(|error| core.latch_unknown(unavailable(error)))?;
            core.check_folder().map_err(|error| core.latch_unknown(error))?;
        }
        for (lsn, batch) in (first..).zip(batches) {
            self.enter(lsn, batch);
        }
        self.publish(core, batches).map_err(|error| core.latch_unknown(error))?;
        core.counters.group(batches.len());
        core.active_bytes.store(self.active.bytes(), Ordering::Relaxed);
        core.counters.holds(core.delta_bytes());
        let full = core.is_full(&self.active) || core.log_wants_checkpoint();
        if full && core.nothing_sealed() {
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

    fn publish(&mut self, core: &Core, batches: &[&Batch]) -> Result<()> {
        let visible = self.next_lsn - 1;
        if !batches.iter().any(|batch| batch.changes_structure()) {
            core.views.publish(visible);
            return Ok(());
        }
        let mut catalogue = (*core.views.current().0.catalogue).clone();
        for op in batches.iter().flat_map(|batch| batch.ops()) {
            if op.table == CATALOGUE {
                let change = match &op.value {
                    Some(value) => Change::Put(value.bytes()),
                    None => Change::Delete,
                };
                catalogue.apply(&op.key, change)?;
                // Another store gave the number; it is never given again here either.
                if let Ok(id) = op.key[..].try_into().map(TableId::from_be_bytes) {
                    core.next_table_id.fetch_max(id.saturating_add(1), Ordering::AcqRel);
                }
            }
        }
        let catalogue = Arc::new(catalogue);
        core.views.replace(Some(visible), |view| View { catalogue, ..view.clone() });
        Ok(())
    }

    /// Ends the active delta (and with `roll` the log segment): the instant of a backup's pin. The
    /// line stands still since `start`.
    pub(super) fn seal(&mut self, core: &Core, roll: bool, start: Duration) -> Result<Outcome> {
        if roll {
            self.roll(core)?;
        }
        let slot = if self.active.len() > 0 {
            self.seal_delta(core)
        } else {
            core.slot_at_newest_seal(self.next_lsn - 1)
        };
        Ok(Outcome::Sealed(slot, core.disk.elapsed().saturating_sub(start)))
    }

    /// Ends the log segment.
    pub(super) fn roll(&mut self, core: &Core) -> Result<Outcome> {
        self.log.roll().map_err(|error| unwritten(core, error))?;
        Ok(Outcome::Rolled(self.next_lsn - 1))
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
        core.push_sealed(Sealed {
            delta: sealed,
            lsn: self.next_lsn - 1,
            time: self.last_time,
            ancestry: self.ancestry.clone(),
            foreign: self.foreign,
        })
    }
}

impl LogCommit for (&Batch, Durability) {
    fn context(&self) -> u32 {
        FIRST_CONTEXT
    }

    fn ops(&self) -> impl ExactSizeIterator<Item = LogOp<'_>> {
        log_ops(self.0)
    }
}

/// The operations of a batch as the log takes them.
pub(super) fn log_ops(batch: &Batch) -> impl ExactSizeIterator<Item = LogOp<'_>> {
    batch.ops().iter().map(|op| {
        let change = op.value.as_ref().map_or(Change::Delete, |v| Change::Put(v.bytes()));
        LogOp { table: op.table, key: &op.key, change }
    })
}

/// Sees that a group does not go into a log that another process has taken over. Where none of it is synced,
/// the look would cost more than the append: the background sync looks then.
fn check_before(core: &Core, durable: bool) -> Result<()> {
    if durable {
        core.check_folder().map_err(|error| core.latched().unwrap_or(error))?;
    }
    Ok(())
}

/// Judges an append that failed: where nothing of the group counts, there is nothing to mend.
fn unwritten(core: &Core, error: Error) -> Error {
    match error.kind() {
        ErrorKind::Limit => error,
        _ if passes(&error) => error,
        _ => core.latch_unknown(unavailable(error)),
    }
}

impl Core {
    /// Latches the store because of `cause`, and says of the commit at hand what can be said.
    pub(super) fn latch_unknown(&self, cause: Error) -> Error {
        self.latch(cause.clone());
        with_code_of(outcome_unknown(), &cause).because(cause)
    }
}
