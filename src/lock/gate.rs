//! The gate: what a read looks at, and where a write registers while nothing is in its way.
//!
//! One read-mostly word says what is closed. A read loads it and publishes nothing, because a read
//! cannot harm a backup. A write takes a *slot*, a padded word that it alone writes until it leaves,
//! and then looks at the gate; whoever closes the gate first sets the bit and then looks at the
//! slots. Both sides are sequentially consistent, so at least one sees the other: no write is inside
//! that the closer did not see, and a write that sees a closed gate leaves again and queues.
//!
//! The slot belongs to the owner, not to the thread: an owner may be dropped anywhere. Its word is
//! the owner's number, so that the slots are also the list of who is inside, and counts the turns, so
//! that no number is used twice.
//!
//! Leaving is one release store and a look at the gate, without a full fence: it costs half of what
//! a counter would. The price is that a leaver whose store is still in its processor's buffer may
//! read the gate as it was before it closed, and wake nobody. Waiters therefore look at the slots
//! again by themselves (every 20 ms at the latest); safety never depends on the wake-up.

use super::sync::Word;
use super::table::OwnerId;
use crossbeam_utils::CachePadded;
use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};

/// How many writes can be inside at once without a mutex. More than that queue through the manager.
pub(crate) const SLOTS: usize = 128;
/// How many slots a write tries before it goes to the manager.
const PROBES: usize = 8;
/// The bit of a slot's word that says that somebody is inside. It makes the numbers of these owners
/// odd; all others are even.
const OCCUPIED: u64 = 1;
/// One turn in a slot's word, above the bit and the slot's number.
const TURN: u64 = 2 * SLOTS as u64;

/// Reads wait: a hold has the data exclusively.
const READS: u64 = 1;
/// Writes go to the manager.
const WRITES: u64 = 1 << 1;

#[derive(Default)]
struct Slot<W> {
    /// How many owners the slot has had, shifted by [`TURN`]; while one is inside, that owner's
    /// number, which is the same with the slot's number and [`OCCUPIED`].
    word: W,
    /// The thread that used the owner inside last. 0 from the leaving of one owner until the next has
    /// told: meanwhile nobody takes the next for one of the thread before.
    thread: W,
}

/// See the module's own words.
pub(crate) struct Gate<W: Word = AtomicU64> {
    word: CachePadded<W>,
    slots: Box<[CachePadded<Slot<W>>]>,
}

impl<W: Word> Gate<W> {
    pub(crate) fn new() -> Gate<W> {
        Gate::with_slots(SLOTS)
    }

    fn with_slots(slots: usize) -> Gate<W> {
        assert!(slots.is_power_of_two() && slots <= SLOTS, "slots are found by a mask");
        let slots = (0..slots).map(|_| CachePadded::new(Slot::default())).collect();
        Gate { word: CachePadded::new(W::default()), slots }
    }

    /// Whether reads may go on.
    #[inline]
    pub(crate) fn reads_open(&self) -> bool {
        self.word.load(Ordering::Acquire) & READS == 0
    }

    /// Whether writes may come in by themselves.
    #[inline]
    pub(crate) fn writes_open(&self) -> bool {
        self.word.load(Ordering::SeqCst) & WRITES == 0
    }

    /// Comes in, if the gate is open and a slot is free near that of `thread`.
    ///
    /// # Errors
    /// `Err(true)` when the caller was inside for a moment and must tell the waiters that it left.
    #[inline]
    pub(crate) fn enter(&self, thread: u64) -> Result<OwnerId, bool> {
        if !self.writes_open() {
            return Err(false);
        }
        // Whole powers of two: a division would cost as much as the swap.
        let mask = self.slots.len() - 1;
        for probe in 0..PROBES.min(self.slots.len()) {
            let index = (thread as usize).wrapping_add(probe) & mask;
            let slot = &self.slots[index];
            let free = slot.word.load(Ordering::Relaxed);
            if free & OCCUPIED != 0 {
                continue;
            }
            let owner = OwnerId::from_raw(free | (index as u64) << 1 | OCCUPIED);
            if !slot.word.compare_exchange(free, owner.raw(), Ordering::SeqCst) {
                continue;
            }
            slot.thread.store(thread, Ordering::Relaxed);
            if !self.writes_open() {
                return Err(self.leave(owner));
            }
            return Ok(owner);
        }
        Err(false)
    }

    /// Leaves. The one way out, for an owner that ends and for a newcomer that backs off.
    /// Returns whether somebody waits, who must then be told.
    #[inline]
    pub(crate) fn leave(&self, owner: OwnerId) -> bool {
        let free = (owner.raw() & !(TURN - 1)).wrapping_add(TURN);
        let slot = self.slot(owner);
        slot.thread.store(0, Ordering::Relaxed);
        slot.word.store(free, Ordering::Release);
        !self.writes_open()
    }

    fn slot(&self, owner: OwnerId) -> &Slot<W> {
        &self.slots[(owner.raw() >> 1) as usize & (SLOTS - 1)]
    }

    /// Notes that `thread` uses `owner`, which is inside.
    pub(crate) fn touch(&self, owner: OwnerId, thread: u64) {
        self.slot(owner).thread.store(thread, Ordering::Relaxed);
    }

    /// Whether `owner` is still inside.
    pub(crate) fn is_inside(&self, owner: OwnerId) -> bool {
        self.slot(owner).word.load(Ordering::SeqCst) == owner.raw()
    }

    /// The thread that used `owner` last, if it is inside.
    pub(crate) fn thread_of(&self, owner: OwnerId) -> Option<u64> {
        self.is_inside(owner).then(|| self.slot(owner).thread.load(Ordering::Relaxed))
    }

    /// Who is inside, each with the thread that used it last.
    pub(crate) fn inside(&self) -> impl Iterator<Item = (OwnerId, u64)> + '_ {
        self.slots.iter().filter_map(|slot| {
            let id = slot.word.load(Ordering::SeqCst);
            (id & OCCUPIED != 0)
                .then(|| (OwnerId::from_raw(id), slot.thread.load(Ordering::Relaxed)))
        })
    }

    /// Writes go to the manager from now on. The caller looks at [`Gate::inside`] next.
    pub(crate) fn close_writes(&self) {
        self.word.fetch_or(WRITES, Ordering::SeqCst);
    }

    /// Writes come in by themselves again.
    pub(crate) fn open_writes(&self) {
        self.word.fetch_and(!WRITES, Ordering::SeqCst);
    }

    /// Reads wait from now on, or no longer.
    pub(crate) fn freeze_reads(&self, frozen: bool) {
        if frozen {
            self.word.fetch_or(READS, Ordering::SeqCst);
        } else {
            self.word.fetch_and(!READS, Ordering::SeqCst);
        }
    }
}

/// A small number for the calling thread, never 0 and never used again in this process.
#[inline]
pub(crate) fn thread_number() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    thread_local!(static NUMBER: Cell<u64> = const { Cell::new(0) });
    NUMBER.with(|number| {
        if number.get() == 0 {
            number.set(NEXT.fetch_add(1, Ordering::Relaxed));
        }
        number.get()
    })
}

#[cfg(test)]
mod tests;
