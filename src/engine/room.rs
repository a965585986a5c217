//! How much room the disk of the data file has, against what the deltas will need there.
//!
//! What was committed must become pages, and a checkpoint writes every page that it changes anew
//! before the old one is free. So on a disk that is running short a delta is sealed early, while its
//! pages still fit, and what would not fit any more is refused at its commit, not met in the middle
//! of a checkpoint, where it is too late.
//!
//! It is an estimate: others write to the disk too. It decides when to seal and what to refuse, never
//! whether something is done: a checkpoint that finds no room is tried again.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use super::delta::Delta;
use super::tree::DataFile;
use crate::disk::Disk;

/// Bytes that a record of a delta may make a checkpoint write, where it is alone in its page.
const PAGE: u64 = 4096;

pub(super) struct Room {
    /// Bytes that a checkpoint could use at the last look.
    free: AtomicU64,
}

impl Room {
    pub(super) fn new() -> Room {
        Room { free: AtomicU64::new(u64::MAX) }
    }

    /// Looks at the disk. Where it does not say, there is room.
    pub(super) fn look(&self, disk: &dyn Disk, dir: &Path, data: &DataFile) -> u64 {
        let free = disk.free_space(dir).unwrap_or(u64::MAX);
        let free = free.saturating_add(data.stats().free_bytes);
        self.free.store(free, Ordering::Relaxed);
        free
    }

    /// Bytes that were free at the last look.
    pub(super) fn free(&self) -> u64 {
        self.free.load(Ordering::Relaxed)
    }

    /// Bytes that `delta` may take, as pages and in the log, in a file with `data` bytes in use.
    pub(super) fn need(delta: &Delta, data: u64) -> u64 {
        let rewritten = (delta.len() as u64).saturating_mul(PAGE).min(data);
        (delta.bytes() as u64).saturating_mul(2).saturating_add(rewritten)
    }
}
