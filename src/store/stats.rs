//! Figures of a store.

use super::inner::Inner;
use super::unfinished::UnfinishedBackup;
use crate::engine::EngineStats;

/// What a store has done since it was opened, and what it holds.
#[non_exhaustive]
#[derive(Clone, Debug, serde::Serialize)]
pub struct StoreStats {
    /// Commits, log, memory, data file.
    pub engine: EngineStats,
    /// How many tables there are.
    pub tables: usize,
    /// How many writes wait.
    pub pending_writes: usize,
    /// Whether a backup or the application keeps writes waiting.
    pub locked: bool,
    /// Why what the store remembers of its backups cannot be read, where it cannot: the whole log is
    /// kept then, until a backup of the data writes the file anew.
    pub backup_state_damage: Option<String>,
    /// The last backup, where its process ended while it was made and nobody has reported that yet. A
    /// regime does when it opens the store.
    pub unfinished_backup: Option<UnfinishedBackup>,
}

impl StoreStats {
    pub(crate) fn of(store: &Inner) -> StoreStats {
        StoreStats {
            engine: store.engine.stats(),
            tables: store.engine.catalogue().iter().count(),
            pending_writes: store.locks.pending_writes().len(),
            locked: store.locks.locked(),
            backup_state_damage: store.state.damage().map(|error| error.summary()),
            unfinished_backup: store.backup_state().unfinished,
        }
    }
}
