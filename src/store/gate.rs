//! What a read looks at before it reads.
//!
//! Under a `Frozen` backup every read operation waits, also on a handle that was opened before it.
//! The look is one load of a word that is hardly ever written. An archive has no gate.
//!
//! A read handle owns its way to the gate. The count of references behind it is one of several,
//! chosen by thread, so that handles opened and dropped on different cores do not pass one cache
//! line to and fro.

use crate::Result;
use crate::lock::LockManager;
use crossbeam_utils::CachePadded;
use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How many separate counts of references there are.
const COUNTS: usize = 16;

/// The gate of a store, or none.
#[derive(Clone)]
pub(crate) struct Gate(Option<Arc<CachePadded<Arc<LockManager>>>>);

impl Gate {
    /// No gate: what is read is nobody else's.
    pub(crate) fn none() -> Gate {
        Gate(None)
    }

    /// Returns when reads may go on.
    #[inline]
    pub(crate) fn pass(&self) -> Result<()> {
        match &self.0 {
            Some(locks) => locks.check_read(),
            None => Ok(()),
        }
    }
}

/// The gate of a store, once for each count of references.
pub(crate) struct Gates([Gate; COUNTS]);

impl Gates {
    /// The gate that `locks` opens and shuts.
    pub(crate) fn of(locks: &Arc<LockManager>) -> Gates {
        let gate = |_| Gate(Some(Arc::new(CachePadded::new(locks.clone()))));
        Gates(std::array::from_fn(gate))
    }

    /// The gate as the calling thread uses it.
    #[inline]
    pub(crate) fn mine(&self) -> &Gate {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        thread_local!(static MINE: Cell<usize> = Cell::new(
            NEXT.fetch_add(1, Ordering::Relaxed) % COUNTS
        ));
        &self.0[MINE.with(Cell::get)]
    }
}
