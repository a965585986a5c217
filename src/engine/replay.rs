//! Rebuilding the deltas from the log, within the memory budget.
//!
//! The log is read once to judge it: where it ends, and whether that is damage. While that goes on the
//! deltas are filled, as long as the budget has room. A log that holds more than that is read a second
//! time, from where the first reading stopped filling: by then it is known to be sound to its end, and
//! it was made durable, so full deltas become checkpoints as in ordinary operation.
//!
//! Invariants: the first reading writes nothing. The second one begins after the log is judged and
//! synced, so each checkpoint that it makes is one that the running store could have made: a crash
//! anywhere leaves a store whose next opening reads the same log from a later checkpoint, to the same
//! end. A delta ends between two commits.

use std::path::Path;
use std::sync::Arc;

use super::catalogue::Catalogue;
use super::checkpointer::{checkpoint_of, unless_later};
use super::core::Sealed;
use super::delta::{Delta, DeltaChange, DeltaWriter};
use super::log::{self, Era, LogOp, Recovered, RecoveryBase, Upkeep, era_at};
use super::snapshot::catalogue_of;
use super::tree::{Checkpoint, DataFile};
use super::{AncestryFile, CATALOGUE, Change, Lsn, TableId};
use crate::disk::Disk;
use crate::error::{Error, ErrorKind, Result};

/// Deltas filled from the log.
pub(super) struct Replay {
    /// Bytes from which on a delta is full.
    delta_bytes: usize,
    /// How many full ones may be held beside the active one.
    most_sealed: usize,
    pub(super) catalogue: Catalogue,
    /// The full ones, each with its last commit and the time of it, oldest first.
    sealed: Vec<(Arc<Delta>, Lsn, i64)>,
    pub(super) active: Arc<Delta>,
    pub(super) writer: DeltaWriter,
    /// The last commit that is in a delta, and its time.
    last: (Lsn, i64),
    pub(super) highest_table: TableId,
    /// The log holds more than the deltas may.
    pub(super) overflowed: bool,
    /// The most bytes that the deltas held together.
    pub(super) peak_bytes: usize,
}

impl Replay {
    /// An empty replay over `checkpoint`.
    pub(super) fn new(
        delta_bytes: usize,
        most_sealed: usize,
        checkpoint: &Checkpoint,
    ) -> Result<Replay> {
        let catalogue = catalogue_of(checkpoint)?;
        let highest_table = catalogue.highest_id();
        let (active, writer) = Delta::new();
        let last = (checkpoint.lsn(), checkpoint.meta().time);
        Ok(Replay {
            delta_bytes,
            most_sealed,
            catalogue,
            sealed: Vec::new(),
            active,
            writer,
            last,
            highest_table,
            overflowed: false,
            peak_bytes: 0,
        })
    }

    /// Reads the log in `dir` to its end and judges it; fills the deltas as far as there is room.
    pub(super) fn fill(
        &mut self,
        disk: &dyn Disk,
        dir: &Path,
        base: &RecoveryBase,
    ) -> Result<Recovered> {
        log::recover(disk, dir, base, &mut |lsn, time, op| {
            if self.overflowed || (self.is_at_bound(lsn) && self.sealed.len() >= self.most_sealed) {
                self.overflowed = true;
                return Ok(());
            }
            self.apply(lsn, time, op)
        })
    }

    /// Reads what [`Replay::fill`] had no room for. Full deltas become checkpoints of `data`; returns
    /// the newest one.
    ///
    /// The log must be durable through its end, which `found` tells.
    pub(super) fn fill_rest(
        &mut self,
        disk: &dyn Disk,
        dir: &Path,
        base: &RecoveryBase,
        judged: &Judged<'_>,
        mut newest: Arc<Checkpoint>,
    ) -> Result<Arc<Checkpoint>> {
        let era = era_at(judged.eras, self.last.0);
        let base = RecoveryBase {
            ancestry: era.ancestry.clone(),
            checkpoint_lsn: self.last.0,
            checkpoint_time: self.last.1,
            foreign: era.foreign,
            ..base.clone()
        };
        self.overflowed = false;
        let again = log::recover(disk, dir, &base, &mut |lsn, time, op| {
            if self.is_at_bound(lsn) && self.sealed.len() >= self.most_sealed {
                newest = self.write_oldest(judged, &newest)?;
            }
            self.apply(lsn, time, op)
        })?;
        if again.last_lsn != judged.last_lsn {
            let (was, is) = (judged.last_lsn, again.last_lsn);
            let why = format!("the log ended with LSN {was}, and ends with {is} when read again");
            return Err(Error::corrupt(dir, why).hint("See to the disk of the log."));
        }
        Ok(newest)
    }

    /// Makes the oldest full delta a checkpoint.
    fn write_oldest(
        &mut self,
        judged: &Judged<'_>,
        newest: &Arc<Checkpoint>,
    ) -> Result<Arc<Checkpoint>> {
        let sealed = judged.sealed(self.sealed.remove(0));
        let durable = judged.upkeep.durable_lsn();
        judged.ancestry_file.ensure(&sealed.ancestry)?;
        let made = checkpoint_of(judged.data, newest, &sealed, durable)?;
        // Nothing needs its segments any more, and on a small disk the rest needs their room.
        unless_later(judged.upkeep.remove_before(sealed.lsn).map(drop))?;
        Ok(made)
    }

    /// The full deltas, as the store takes them over.
    pub(super) fn sealed(&mut self, judged: &Judged<'_>) -> Vec<Sealed> {
        self.sealed.drain(..).map(|delta| judged.sealed(delta)).collect()
    }

    /// Whether the active delta is full before the commit `lsn`.
    fn is_at_bound(&self, lsn: Lsn) -> bool {
        lsn > self.last.0 && self.active.bytes() >= self.delta_bytes
    }

    fn apply(&mut self, lsn: Lsn, time: i64, op: &LogOp<'_>) -> Result<()> {
        if self.is_at_bound(lsn) {
            self.note_peak();
            let (active, writer) = Delta::new();
            let delta = std::mem::replace(&mut self.active, active);
            self.writer = writer;
            self.sealed.push((delta, self.last.0, self.last.1));
        }
        self.last = (lsn, time);
        if op.table == CATALOGUE {
            self.catalogue.apply(op.key, op.change)?;
            let id = op.key.try_into().map(TableId::from_be_bytes).unwrap_or(0);
            self.highest_table = self.highest_table.max(id);
        }
        let change = match op.change {
            Change::Put(bytes) if bytes.len() >= super::batch::SHARED_VALUE_BYTES => {
                DeltaChange::Shared(bytes.into())
            }
            Change::Put(bytes) => DeltaChange::Put(bytes),
            Change::Delete => DeltaChange::Delete,
        };
        self.writer.insert(op.table, op.key, lsn, change);
        Ok(())
    }

    /// All deltas, newest first, as readers look through them.
    pub(super) fn deltas(&self) -> Vec<Arc<Delta>> {
        let sealed = self.sealed.iter().rev().map(|(delta, ..)| delta.clone());
        std::iter::once(self.active.clone()).chain(sealed).collect()
    }

    /// Notes how much is held now.
    pub(super) fn note_peak(&mut self) {
        let sealed: usize = self.sealed.iter().map(|(delta, ..)| delta.bytes()).sum();
        self.peak_bytes = self.peak_bytes.max(sealed + self.active.bytes());
    }
}

/// What the first reading of the log found, and what checkpoints are made with.
pub(super) struct Judged<'a> {
    pub(super) eras: &'a [Era],
    pub(super) last_lsn: Lsn,
    pub(super) data: &'a DataFile,
    pub(super) ancestry_file: &'a AncestryFile,
    pub(super) upkeep: &'a Upkeep,
}

impl Judged<'_> {
    fn sealed(&self, (delta, lsn, time): (Arc<Delta>, Lsn, i64)) -> Sealed {
        let Era { ancestry, foreign, .. } = era_at(self.eras, lsn).clone();
        Sealed { delta, lsn, time, ancestry, foreign }
    }
}

/// The error where a log holds more than may be in memory, and nothing may be written.
pub(super) fn too_long_to_read(dir: &Path, bytes: usize) -> Error {
    let message = format!("reading the log of the store takes more than {bytes} bytes of memory");
    Error::new(ErrorKind::Limit, message).at(dir).hint(
        "Open the store for writing once, or a copy of its folder where it cannot be written: that turns \
         the log into pages within its memory budget. Or allow more (StoreBuilder::memory_budget).",
    )
}
