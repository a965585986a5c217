//! The atomics that the gate is written over, as a trait, so that a model checker can put its own
//! in their place and drive the gate through every order of steps.

use std::sync::atomic::{AtomicU64, Ordering};

/// An atomic word of 64 bits.
pub(crate) trait Word: Default {
    fn load(&self, order: Ordering) -> u64;
    fn store(&self, value: u64, order: Ordering);
    fn compare_exchange(&self, current: u64, new: u64, order: Ordering) -> bool;
    fn fetch_or(&self, bits: u64, order: Ordering) -> u64;
    fn fetch_and(&self, bits: u64, order: Ordering) -> u64;
}

impl Word for AtomicU64 {
    #[inline]
    fn load(&self, order: Ordering) -> u64 {
        AtomicU64::load(self, order)
    }

    #[inline]
    fn store(&self, value: u64, order: Ordering) {
        AtomicU64::store(self, value, order);
    }

    #[inline]
    fn compare_exchange(&self, current: u64, new: u64, order: Ordering) -> bool {
        AtomicU64::compare_exchange(self, current, new, order, Ordering::Relaxed).is_ok()
    }

    fn fetch_or(&self, bits: u64, order: Ordering) -> u64 {
        AtomicU64::fetch_or(self, bits, order)
    }

    fn fetch_and(&self, bits: u64, order: Ordering) -> u64 {
        AtomicU64::fetch_and(self, bits, order)
    }
}
