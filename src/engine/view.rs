//! What there is to read: the newest checkpoint, the deltas over it, the catalogue, the visible LSN.
//!
//! A [`View`] is immutable and changes only when a delta is sealed, a checkpoint is published or a
//! table is defined; the visible LSN moves with every group. A snapshot needs both, from one instant.
//!
//! Invariants:
//! 1. `epoch` is odd while a new view is being put into the slots, even otherwise; view and visible
//!    LSN read between two equal even epochs belong together.
//! 2. Every commit up to the visible LSN is in the view's checkpoint or in one of its deltas.
//! 3. Each slot has a reference count of its own, so that readers on different threads share no
//!    cache line that anybody writes. The pins of checkpoint and deltas are inside the view: they
//!    last exactly as long as the last snapshot that was taken from it.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crossbeam_utils::CachePadded;
use parking_lot::Mutex;

use super::Lsn;
use super::catalogue::Catalogue;
use super::delta::Delta;
use super::folder::DirLock;
use super::tree::Checkpoint;

const SLOTS: usize = 16;

/// Everything a snapshot reads from.
#[derive(Clone)]
pub(crate) struct View {
    pub(crate) checkpoint: Arc<Checkpoint>,
    /// Newest first: the active one, then the sealed ones.
    pub(crate) deltas: Vec<Arc<Delta>>,
    pub(crate) catalogue: Arc<Catalogue>,
    /// Keeps the store's folder as long as anybody reads from it. None in the newest view of a closed
    /// engine, and where there is no folder: in an archive.
    pub(crate) lock: Option<DirLock>,
}

pub(crate) struct Views {
    slots: [CachePadded<Mutex<Arc<View>>>; SLOTS],
    epoch: CachePadded<AtomicU64>,
    visible: CachePadded<AtomicU64>,
    /// Held by whoever replaces the view: the leader of the commit line or the checkpointer.
    replacing: Mutex<()>,
}

impl Views {
    pub(crate) fn new(view: View, visible: Lsn) -> Views {
        Views {
            slots: std::array::from_fn(|_| CachePadded::new(Mutex::new(Arc::new(view.clone())))),
            epoch: CachePadded::new(AtomicU64::new(0)),
            visible: CachePadded::new(AtomicU64::new(visible)),
            replacing: Mutex::new(()),
        }
    }

    /// The LSN of the newest published commit.
    pub(crate) fn visible(&self) -> Lsn {
        self.visible.load(Ordering::Acquire)
    }

    /// The current view and the visible LSN of the same instant.
    pub(crate) fn current(&self) -> (Arc<View>, Lsn) {
        let slot = &self.slots[slot_of_this_thread()];
        // Whoever is held up between the loads meets another epoch: a visible LSN or a view that was
        // put there after the first load brings along, by its Acquire or its mutex, the odd epoch
        // from before it was put there.
        loop {
            let before = self.epoch.load(Ordering::Acquire);
            if before.is_multiple_of(2) {
                let lsn = self.visible.load(Ordering::Acquire);
                let view = slot.lock().clone();
                if self.epoch.load(Ordering::Acquire) == before {
                    return (view, lsn);
                }
            }
            std::thread::yield_now();
        }
    }

    /// Publishes the commits up to `lsn`, which must be in the active delta already.
    pub(crate) fn publish(&self, lsn: Lsn) {
        self.visible.store(lsn, Ordering::Release);
    }

    /// Replaces the view by `change(current)`, and publishes `lsn` in the same instant where given.
    ///
    /// A few microseconds: one short lock per slot. Old views are dropped after the instant, since
    /// the drop of a delta may have much to free.
    pub(crate) fn replace(&self, lsn: Option<Lsn>, change: impl FnOnce(&View) -> View) {
        let replacing = self.replacing.lock();
        let next = change(&self.slots[0].lock());
        let mut old = Vec::with_capacity(SLOTS);
        self.epoch.fetch_add(1, Ordering::AcqRel);
        for slot in &self.slots {
            let view = Arc::new(next.clone());
            old.push(std::mem::replace(&mut *slot.lock(), view));
        }
        if let Some(lsn) = lsn {
            self.publish(lsn);
        }
        self.epoch.fetch_add(1, Ordering::AcqRel);
        drop(replacing);
        drop(old);
    }
}

fn slot_of_this_thread() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static SLOT: Cell<usize> = Cell::new(NEXT.fetch_add(1, Ordering::Relaxed) % SLOTS);
    }
    SLOT.with(Cell::get)
}
