//! How an engine is opened, and how a commit is acknowledged.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::folder::StoreFolder;
use super::log_guard::{KeptLog, LOG_BEFORE_BACKUP, LogCap, OnLogDrop};
use crate::error::Result;

/// When a commit is acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Durability {
    /// After its log records are synced: it survives a power loss.
    #[default]
    Immediate,
    /// After its log records were written to the operating system: it survives the death of the
    /// process at once, and a power loss once the background sync has passed it (within
    /// [`StoreBuilder::eventual_sync`](crate::StoreBuilder::eventual_sync)). What a power loss takes
    /// is always a suffix of history.
    Eventual,
}

/// What is called with the folder and the number of its newest checkpoint.
type Opened = dyn Fn(&Arc<StoreFolder>, u64) -> Result<()> + Send + Sync;

/// See [`EngineOptions::on_open`].
#[derive(Clone)]
pub(crate) struct OnOpen(pub(crate) Arc<Opened>);

impl fmt::Debug for OnOpen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OnOpen")
    }
}

/// Sizes and bounds of an engine.
#[derive(Clone, Debug)]
pub(crate) struct EngineOptions {
    /// Bytes of a page of the data file; chosen when the store is created, then fixed.
    pub(crate) page_size: u32,
    /// Bytes of a log segment.
    pub(crate) segment_bytes: u64,
    /// Bytes of committed records that are kept in memory; see `budget.rs`. `None` for a part of what
    /// the stores of the process share.
    pub(crate) memory_budget: Option<usize>,
    /// Bound of the time between the acknowledgement of an `Eventual` commit and its sync.
    pub(crate) eventual_sync: Duration,
    /// From where on the log is kept, whatever the checkpoints hold; `None` keeps what the checkpoints
    /// lack.
    pub(crate) keep_log: Option<KeptLog>,
    /// How long the kept log may be before the first backup.
    pub(crate) log_before_backup: u64,
    /// How much of the log may be kept at first, where that is bounded.
    pub(crate) log_cap: Option<LogCap>,
    /// Told what the cap is about to take.
    pub(crate) on_log_drop: Option<OnLogDrop>,
    /// Told the number of the newest checkpoint when the folder is this process's and before
    /// another one is written; an error ends the opening.
    pub(crate) on_open: Option<OnOpen>,
    /// Where the log of a store that is made lies; `None` for a folder within the store.
    pub(crate) log_folder: Option<PathBuf>,
    /// A log that is missing is given up: the store opens at its checkpoint.
    pub(crate) accept_lost_log: bool,
    /// Nothing is written, nothing runs in the background, and every write is refused.
    pub(crate) read_only: bool,
    /// There are no threads: background work is done by [`Engine::step`](super::Engine::step), and by
    /// whoever needs its result.
    pub(crate) stepped: bool,
    /// Who writes, for the log: process, user, host. Written once a segment.
    pub(crate) context: BTreeMap<String, String>,
}

impl Default for EngineOptions {
    fn default() -> EngineOptions {
        EngineOptions {
            page_size: 4096,
            segment_bytes: 64 << 20,
            memory_budget: None,
            eventual_sync: Duration::from_millis(200),
            keep_log: None,
            log_before_backup: LOG_BEFORE_BACKUP,
            log_cap: None,
            on_log_drop: None,
            on_open: None,
            log_folder: None,
            accept_lost_log: false,
            read_only: false,
            stepped: false,
            context: BTreeMap::new(),
        }
    }
}
