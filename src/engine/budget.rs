//! How much memory the deltas of a store may hold.
//!
//! A store has a budget for all its deltas: the active one, the one that is becoming a checkpoint, and
//! one more that a backup's pin seals. So a delta may have a third of it. Within that it grows with
//! the data: a checkpoint of scattered changes rewrites most leaves of the tree, and the larger the
//! tree, the more changes must share that cost.
//!
//! Stores whose budget was not chosen share one for the process, in equal parts. It is derived from
//! the memory that the process may use. Where the disk does not know that, each of them has a fixed
//! one: a simulated store behaves the same on every machine.
//!
//! A delta is full from a third of the budget on. So what is held may exceed the budget by the last
//! step of each delta: a chunk of its arena (1 MiB), and the commits of one group (4 MiB, or one
//! commit). The deltas that open snapshots keep do not count.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Deltas that are held at once.
pub(super) const DELTAS: usize = 3;

/// What a delta may have whatever the size of the data, where the budget allows it.
const SMALL_DELTA: usize = 64 << 20;

/// A larger delta may have this part of the data.
const PART_OF_DATA: u64 = 4;

/// The budget of each store where the memory of the machine is not known.
const FIXED: usize = DELTAS * SMALL_DELTA;

/// What part of the memory that the process may use is shared by its stores.
const PART_OF_MEMORY: u64 = 4;

/// Bounds of what is shared, and the least part of it that a store gets.
const MOST_SHARED: usize = 768 << 20;
const LEAST: usize = 12 << 20;

/// Stores of this process that share.
static SHARING: AtomicUsize = AtomicUsize::new(0);

/// The bytes that the stores of a process share which may use `memory`.
fn shared(memory: u64) -> usize {
    let part = usize::try_from(memory / PART_OF_MEMORY).unwrap_or(usize::MAX);
    part.clamp(LEAST, MOST_SHARED)
}

/// The budget of one store.
pub(super) struct Budget {
    bytes: usize,
    shares: Option<Seat>,
    /// Bytes of the data file that are in use.
    data: AtomicU64,
}

/// A store's part of what is shared.
struct Seat(());

impl Seat {
    fn take() -> Seat {
        SHARING.fetch_add(1, Ordering::Relaxed);
        Seat(())
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        SHARING.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Budget {
    /// The budget that was `chosen`, or else a part of `memory`, what the process may use.
    pub(super) fn new(chosen: Option<usize>, memory: Option<u64>) -> Budget {
        let (bytes, shares) = match (chosen, memory) {
            (Some(bytes), _) => (bytes, None),
            (None, Some(memory)) => (shared(memory), Some(Seat::take())),
            (None, None) => (FIXED, None),
        };
        Budget { bytes, shares, data: AtomicU64::new(0) }
    }

    /// Bytes that all deltas together may hold.
    pub(super) fn bytes(&self) -> usize {
        match &self.shares {
            None => self.bytes,
            Some(_) => (self.bytes / SHARING.load(Ordering::Relaxed).max(1)).max(LEAST),
        }
    }

    /// Bytes of the active delta from which on it becomes a checkpoint.
    pub(super) fn delta_bytes(&self) -> usize {
        let most = self.bytes() / DELTAS;
        let part = self.data_bytes() / PART_OF_DATA;
        usize::try_from(part).unwrap_or(usize::MAX).clamp(SMALL_DELTA.min(most), most)
    }

    /// Bytes of the data file that are in use.
    pub(super) fn data_bytes(&self) -> u64 {
        self.data.load(Ordering::Relaxed)
    }

    /// The data file has so many bytes in use now.
    pub(super) fn set_data_bytes(&self, bytes: u64) {
        self.data.store(bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delta_grows_with_the_data_up_to_a_third_of_the_budget() {
        let budget = Budget::new(Some(600 << 20), Some(1 << 40));
        assert_eq!(budget.delta_bytes(), 64 << 20);
        budget.set_data_bytes(400 << 20);
        assert_eq!(budget.delta_bytes(), 100 << 20);
        budget.set_data_bytes(1 << 40);
        assert_eq!(budget.delta_bytes(), 200 << 20);
        let small = Budget::new(Some(30_000), None);
        small.set_data_bytes(1 << 40);
        assert_eq!((small.bytes(), small.delta_bytes()), (30_000, 10_000));
    }

    #[test]
    fn what_is_shared_is_a_quarter_of_the_memory_within_bounds() {
        assert_eq!(shared(1 << 30), 256 << 20);
        assert_eq!(shared(1 << 20), LEAST);
        assert_eq!(shared(u64::MAX), MOST_SHARED);
        assert_eq!(Budget::new(None, None).bytes(), FIXED);
    }

    /// Other tests open stores of their own meanwhile, so this one knows only of a bound.
    #[test]
    fn stores_whose_budget_was_not_chosen_share_one() {
        let alone = Budget::new(None, Some(1 << 30));
        let others: Vec<_> = (0..3).map(|_| Budget::new(None, Some(1 << 30))).collect();
        assert!(alone.bytes() <= 64 << 20, "a quarter of a quarter: {}", alone.bytes());
        assert!(alone.bytes() >= LEAST);
        assert!(others.iter().all(|other| other.bytes() <= 64 << 20));
        assert_eq!(Budget::new(Some(1 << 30), Some(1)).bytes(), 1 << 30, "it was chosen");
    }
}
