//! A backup whose process ended while it was made, as the store remembers it.
//!
//! `backup-state.json` names the backup that runs, from before anything is locked or written for it until its
//! end. Whoever opens the store and finds one there knows that nobody reported its end. It stays remembered
//! until a regime has reported it, or a backup of the store succeeds.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::backup_state::StateFile;
use crate::Result;

/// A backup that was begun, and that did not end before its process did: killed, out of memory, a power
/// cut.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnfinishedBackup {
    /// When it began, in microseconds since the Unix epoch.
    pub started: i64,
    /// Its number in the set.
    pub number: u32,
    /// The folder that its archive was written to.
    #[serde(with = "super::papers::exact_path")]
    pub destination: PathBuf,
    /// The name of the set.
    pub set: String,
}

impl StateFile {
    /// Remembers that `backup` runs, unless the file is damaged.
    ///
    /// # Errors
    /// Those of the disk.
    pub(crate) fn backup_begins(&self, backup: UnfinishedBackup) -> Result<()> {
        if self.damage().is_some() {
            // The damage asks for the whole log until a backup has succeeded: the file stays as it is.
            return Ok(());
        }
        self.update(|state| state.running = Some(backup))
    }

    /// Forgets the backup that runs; where it succeeded, also one that was interrupted before it.
    ///
    /// # Errors
    /// Those of the disk.
    pub(crate) fn backup_ended(&self, succeeded: bool) -> Result<()> {
        let known = self.get();
        if known.running.is_none() && !(succeeded && known.unfinished.is_some()) {
            return Ok(());
        }
        self.update(|state| state.end_backup(succeeded))
    }

    /// Forgets the backup that was interrupted: it was reported.
    ///
    /// # Errors
    /// Those of the disk.
    pub(crate) fn unfinished_was_reported(&self) -> Result<()> {
        self.update(|state| state.unfinished = None)
    }
}
