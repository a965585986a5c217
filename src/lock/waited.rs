//! Which thread waits for work that another thread does.
//!
//! A thread that waits for a submitted transaction, or for a backup, gives nothing back meanwhile. So
//! what it holds is as much in the way of that work as what the working thread holds itself, and a
//! wait for it is refused at once (code 1404). Only waits that are announced here are known.

use super::gate::thread_number;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The thread that waits for a piece of work, if any does. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct WaitedBy(Arc<AtomicU64>);

/// The calling thread waits until this is dropped.
#[must_use = "the wait ends when this is dropped"]
#[derive(Debug)]
pub struct WaitMark<'a>(&'a AtomicU64);

impl WaitedBy {
    /// Announces that the calling thread waits. Where several do, the last counts.
    pub fn this_thread(&self) -> WaitMark<'_> {
        self.0.store(thread_number(), Ordering::SeqCst);
        WaitMark(&self.0)
    }

    pub(crate) fn thread(&self) -> Option<u64> {
        Some(self.0.load(Ordering::SeqCst)).filter(|thread| *thread != 0)
    }
}

impl Drop for WaitMark<'_> {
    fn drop(&mut self) {
        self.0.store(0, Ordering::SeqCst);
    }
}
