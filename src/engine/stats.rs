//! Counters of an engine: cheap to keep, never waited for.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::Lsn;

/// What an engine has done since it was opened, and what it holds.
#[non_exhaustive]
#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct EngineStats {
    /// The newest published commit.
    pub visible_lsn: Lsn,
    /// Every commit up to here is synced in the log.
    pub durable_lsn: Lsn,
    /// The commit that the newest checkpoint holds.
    pub checkpoint_lsn: Lsn,
    /// Number of the newest checkpoint.
    pub checkpoint: u64,
    /// Commits since opening.
    pub commits: u64,
    /// Groups that they were appended in.
    pub groups: u64,
    /// Checkpoints written since opening.
    pub checkpoints: u64,
    /// Time spent in them, in microseconds.
    pub checkpoint_micros: u64,
    /// Times that a writer waited because memory was full.
    pub waits_for_room: u64,
    /// Time that writers waited so, in microseconds.
    pub waits_for_room_micros: u64,
    /// Bytes of committed records in the active delta.
    pub active_delta_bytes: u64,
    /// Bytes of it from which on it becomes a checkpoint: they grow with the data, up to a third of the
    /// memory budget.
    pub delta_cap_bytes: u64,
    /// Deltas that are not yet in the tree.
    pub deltas: u64,
    /// Bytes of committed records in all of them.
    pub delta_bytes: u64,
    /// The most that these were since the store was opened, recovery included.
    pub peak_delta_bytes: u64,
    /// How many there may be: [`StoreBuilder::memory_budget`](crate::StoreBuilder::memory_budget), or this
    /// store's part of what the stores of the process share.
    pub memory_budget_bytes: u64,
    /// Bytes of the data file.
    pub data_file_bytes: u64,
    /// Bytes of free pages in it.
    pub free_bytes: u64,
    /// Checkpoints that are kept readable: metas, snapshots, backups.
    pub pinned_checkpoints: u64,
    /// The log is kept for archives from the commit after this one; `None` where it is not kept.
    pub log_kept_from: Option<Lsn>,
    /// Bytes of the log that is kept for archives.
    pub log_kept_bytes: u64,
    /// How many there may be, where that is bounded.
    pub log_cap_bytes: Option<u64>,
    /// Whether writes are refused with 1274 until a backup of data has succeeded.
    pub log_refuses: bool,
    /// Why the store is read-only, where it is.
    pub latched: Option<String>,
}

#[derive(Default)]
pub(super) struct Counters {
    commits: AtomicU64,
    groups: AtomicU64,
    checkpoints: AtomicU64,
    checkpoint_micros: AtomicU64,
    waits_for_room: AtomicU64,
    waits_for_room_micros: AtomicU64,
    peak_delta_bytes: AtomicU64,
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

impl Counters {
    /// Counters of a store whose deltas held so much while its log was read.
    pub(super) fn starting(peak_delta_bytes: usize) -> Counters {
        let counters = Counters::default();
        counters.holds(peak_delta_bytes);
        counters
    }

    /// The deltas hold so many bytes now.
    pub(super) fn holds(&self, bytes: usize) {
        let bytes = bytes as u64;
        // Asked after each group: the load is cheaper than the exchange, which is rarely needed.
        if bytes > self.peak_delta_bytes.load(Ordering::Relaxed) {
            self.peak_delta_bytes.fetch_max(bytes, Ordering::Relaxed);
        }
    }

    pub(super) fn group(&self, commits: usize) {
        self.commits.fetch_add(commits as u64, Ordering::Relaxed);
        self.groups.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn checkpoint(&self, took: Duration) {
        self.checkpoints.fetch_add(1, Ordering::Relaxed);
        self.checkpoint_micros.fetch_add(micros(took), Ordering::Relaxed);
    }

    pub(super) fn waited_for_room(&self, waited: Duration) {
        self.waits_for_room.fetch_add(1, Ordering::Relaxed);
        self.waits_for_room_micros.fetch_add(micros(waited), Ordering::Relaxed);
    }

    pub(super) fn fill(&self, stats: &mut EngineStats) {
        stats.commits = self.commits.load(Ordering::Relaxed);
        stats.groups = self.groups.load(Ordering::Relaxed);
        stats.checkpoints = self.checkpoints.load(Ordering::Relaxed);
        stats.checkpoint_micros = self.checkpoint_micros.load(Ordering::Relaxed);
        stats.peak_delta_bytes = self.peak_delta_bytes.load(Ordering::Relaxed);
        stats.waits_for_room = self.waits_for_room.load(Ordering::Relaxed);
        stats.waits_for_room_micros = self.waits_for_room_micros.load(Ordering::Relaxed);
    }
}
