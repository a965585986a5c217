//! What is known of the last backup: whether the next one goes on from it, and whether anything was
//! changed since.
//!
//! Invariant: where it is not known, the next backup is a full one, unless somebody asked for another,
//! and something was changed.

use std::ops::ControlFlow;
use std::path::Path;

use super::core::Core;
use super::plan::Plan;
use crate::disk::atomic::{is_same_folder, parent};
use crate::engine::Lsn;
use crate::restore::{Archive, LogAction, LogFile, LogOperation};

impl Core {
    /// Whether the next backup by `plan` is to be incremental. Where the settings leave it open, it is
    /// as long as there are fewer than they say since a full one, and the last is still there.
    pub(super) fn is_incremental(&self, plan: &Plan) -> bool {
        if let Some(asked) = plan.incremental {
            return asked;
        }
        if self.store.is_read_only() || plan.full_every <= 1 || !plan.contents.data {
            return false;
        }
        let Some(base) = self.store.inner().backup_state().base else { return false };
        if !self.lies_in(&base.archive, &plan.destination) {
            return false;
        }
        let last = Archive::open_on_with(self.disk.clone(), &base.archive, &plan.keys);
        let chain = last.and_then(|archive| archive.chain());
        chain.is_ok_and(|chain| chain.len() < plan.full_every as usize)
    }

    fn lies_in(&self, archive: &Path, folder: &Path) -> bool {
        is_same_folder(&*self.disk, parent(archive), folder)
    }

    /// Whether a record may have changed since the last backup of data into this destination.
    pub(super) fn data_changed(&self) -> bool {
        let state = self.store.inner().backup_state();
        let Some(base) = state.base else { return true };
        let still_there = self.lies_in(&base.archive, &self.plan().destination)
            && self.disk.metadata(&base.archive).is_ok();
        // What the cap of the log took may have been records.
        let unknown = state.gaps.iter().any(|gap| gap.last > base.lsn);
        if !still_there
            || unknown
            || base.timeline.id != self.store.inner().engine.position().timeline.id
        {
            return true;
        }
        base.lsn != self.store.lsn() && self.records_changed_after(base.lsn)
    }

    /// Whether the log has a record after commit `lsn`: changes of the structure are none. What
    /// cannot be read counts as changed.
    fn records_changed_after(&self, lsn: Lsn) -> bool {
        let mut changed = false;
        let read = LogFile::of_store(self.disk.clone(), &self.dir).and_then(|log| {
            log.commits(|commit| {
                // A table that is dropped takes its records along.
                let of_records =
                    |operation: &LogOperation| operation.action != LogAction::DefineTable;
                changed = commit.lsn > lsn && commit.operations.iter().any(of_records);
                Ok(match changed {
                    true => ControlFlow::Break(()),
                    false => ControlFlow::Continue(()),
                })
            })
        });
        changed || read.is_err()
    }
}
