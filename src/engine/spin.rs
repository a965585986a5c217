//! Waiting for one's turn in the commit line without being put to sleep.
//!
//! A group of commits that need no sync takes a few microseconds. To put the next in line to sleep and
//! wake it takes longer than that, so it looks at a flag for a while first. That pays only where
//! another core works on what is waited for, and not while that waits for the disk.
//!
//! Invariants: a wait is [`LOOKS`] looks long at most; no more threads spin at once than there are
//! other cores; nobody begins to spin, or goes on, during a sync. Nothing depends on it: who has looked
//! in vain sleeps until woken.

use std::num::NonZero;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// How often the flag is looked at: some ten microseconds.
const LOOKS: usize = 400;

pub(super) struct Spin {
    /// How many threads may spin.
    most: usize,
    spinning: AtomicUsize,
    /// Whoever leads waits for the disk.
    asleep: AtomicBool,
}

impl Spin {
    pub(super) fn new() -> Spin {
        let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
        Spin { most: cores - 1, spinning: AtomicUsize::new(0), asleep: AtomicBool::new(false) }
    }

    /// Returns when `called` is set, or when it pays no more to wait for that.
    pub(super) fn until(&self, called: &AtomicBool) {
        if self.spinning.fetch_add(1, Ordering::Relaxed) < self.most {
            for _ in 0..LOOKS {
                if called.load(Ordering::Acquire) || self.asleep.load(Ordering::Relaxed) {
                    break;
                }
                std::hint::spin_loop();
            }
        }
        self.spinning.fetch_sub(1, Ordering::Relaxed);
    }

    /// The leader waits for the disk while the value lives.
    pub(super) fn sleep(&self) -> Asleep<'_> {
        self.asleep.store(true, Ordering::Relaxed);
        Asleep(self)
    }
}

pub(super) struct Asleep<'s>(&'s Spin);

impl Drop for Asleep<'_> {
    fn drop(&mut self) {
        self.0.asleep.store(false, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spin_ends_when_called_when_nobody_works_and_by_itself() {
        let spin = Spin { most: 1, spinning: AtomicUsize::new(0), asleep: AtomicBool::new(false) };
        spin.until(&AtomicBool::new(true));
        spin.until(&AtomicBool::new(false));
        let asleep = spin.sleep();
        spin.until(&AtomicBool::new(false));
        drop(asleep);
        assert_eq!(spin.spinning.load(Ordering::Relaxed), 0);
        assert!(!spin.asleep.load(Ordering::Relaxed));
    }
}
