//! The pin of a backup: one instant in the commit line, and the checkpoint that will hold it.
//!
//! The instant is short (a pointer swap and a short lock per reader slot); the checkpoint at it is
//! made afterwards by the checkpointer, and only the backup waits for it. Once filled, the slot
//! holds the checkpoint, and with it every page that the backup reads.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::Lsn;
use super::folder::DirLock;
use super::tree::Checkpoint;
use crate::error::Result;

/// Where the checkpointer leaves the checkpoint of one LSN for whoever waits for it.
#[derive(Default)]
pub(super) struct PinSlot {
    lsn: Lsn,
    filled: Mutex<Option<Result<Arc<Checkpoint>>>>,
    wake: Condvar,
}

impl PinSlot {
    pub(super) fn new(lsn: Lsn) -> Arc<PinSlot> {
        Arc::new(PinSlot { lsn, ..PinSlot::default() })
    }

    pub(super) fn is_filled(&self) -> bool {
        self.filled.lock().is_some()
    }

    pub(super) fn fill(&self, checkpoint: Result<Arc<Checkpoint>>) {
        *self.filled.lock() = Some(checkpoint);
        self.wake.notify_all();
    }
}

/// One commit, pinned for a backup.
pub(crate) struct Pin {
    slot: Arc<PinSlot>,
    took: Duration,
    /// Nobody else opens the store, and uses the pages again, while the backup reads.
    _lock: Option<DirLock>,
}

impl Pin {
    pub(super) fn new(slot: Arc<PinSlot>, took: Duration, lock: Option<DirLock>) -> Pin {
        Pin { slot, took, _lock: lock }
    }

    /// The commit that it pins: the last one before it in the line.
    pub(crate) fn lsn(&self) -> Lsn {
        self.slot.lsn
    }

    /// How long the commit line stood still for it.
    pub(crate) fn took(&self) -> Duration {
        self.took
    }

    /// The checkpoint at the pin, once it is durable; `None` if that takes longer than `patience`.
    pub(crate) fn checkpoint(&self, patience: Duration) -> Result<Option<Arc<Checkpoint>>> {
        let mut filled = self.slot.filled.lock();
        if filled.is_none() {
            self.slot.wake.wait_for(&mut filled, patience);
        }
        filled.clone().transpose()
    }
}
