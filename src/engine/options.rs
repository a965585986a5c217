//! How an engine is opened, and how a commit is acknowledged.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Lsn;

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

/// Sizes and bounds of an engine.
#[derive(Clone, Debug)]
pub(crate) struct EngineOptions {
    /// Bytes of a page of the data file; chosen when the store is created, then fixed.
    pub(crate) page_size: u32,
    /// Bytes of a log segment.
    pub(crate) segment_bytes: u64,
    /// Bytes of committed records kept in memory before they are turned into pages. At most twice
    /// as much is held (once more while a backup pins), then writers wait.
    pub(crate) delta_bytes: usize,
    /// Bound of the time between the acknowledgement of an `Eventual` commit and its sync.
    pub(crate) eventual_sync: Duration,
    /// The log is kept from this commit on, whatever the checkpoints hold; `None` keeps what the
    /// checkpoints lack.
    pub(crate) keep_log_from: Option<Lsn>,
    /// Who writes, for the log: process, user, host. Written once a segment.
    pub(crate) context: BTreeMap<String, String>,
}

impl Default for EngineOptions {
    fn default() -> EngineOptions {
        EngineOptions {
            page_size: 4096,
            segment_bytes: 64 << 20,
            delta_bytes: 64 << 20,
            eventual_sync: Duration::from_millis(200),
            keep_log_from: None,
            context: BTreeMap::new(),
        }
    }
}
