//! The next segment, made ready before it is needed.
//!
//! A ready segment is allocated, synced, and its name is durable: an append into it needs no more
//! than a write and a sync of its content, and meets no full disk. A background thread calls
//! [`Supply::prepare`]; where it did not come in time, the writer makes the segment itself.
//!
//! Invariants: segments are put to use in the order of their numbers. A failure leaves nothing
//! behind that matters (a blank segment means nothing to recovery) and latches nothing here: the next
//! call begins anew. A want that passes (of room, file handles, memory) is told apart from a medium
//! that fails, since the store goes on after it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use super::segment::{met, path_of};
use crate::disk::atomic::{parent, sync_name};
use crate::disk::{Disk, File, OpenMode};
use crate::{Error, Result};

/// A segment without content, ready to be written.
pub(crate) struct Blank {
    pub(crate) number: u64,
    pub(crate) path: PathBuf,
    pub(crate) file: Arc<dyn File>,
    /// Bytes that have room on the disk.
    pub(crate) capacity: u64,
}

/// Where new segments come from.
pub(crate) struct Supply {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    segment_bytes: AtomicU64,
    /// Held while a segment is made, so that numbers are used in order.
    shelf: Mutex<Shelf>,
}

struct Shelf {
    ready: Option<Blank>,
    next_number: u64,
    /// The folder of the log is known to exist, durably.
    has_dir: bool,
}

impl Supply {
    /// A supply that numbers its segments from `next_number` on.
    pub(crate) fn new(
        disk: Arc<dyn Disk>,
        dir: PathBuf,
        segment_bytes: u64,
        next_number: u64,
    ) -> Supply {
        let shelf = Mutex::new(Shelf { ready: None, next_number, has_dir: false });
        Supply { disk, dir, segment_bytes: AtomicU64::new(segment_bytes), shelf }
    }

    /// Makes segments of another length from now on. The one that is ready stays as it is.
    pub(crate) fn set_segment_bytes(&self, bytes: u64) {
        self.segment_bytes.store(bytes, Ordering::Relaxed);
    }

    fn segment_bytes(&self) -> u64 {
        self.segment_bytes.load(Ordering::Relaxed)
    }

    /// Makes sure that a segment is ready.
    ///
    /// # Errors
    /// Where [`super::passes`] says so, for want of room, file handles or memory, a later call may
    /// succeed.
    pub(crate) fn prepare(&self) -> Result<()> {
        let mut shelf = self.shelf.lock();
        if shelf.ready.is_none() {
            shelf.ready = Some(self.make(&mut shelf, self.segment_bytes())?);
        }
        Ok(())
    }

    /// Whether a segment is ready.
    #[cfg(test)]
    pub(crate) fn is_ready(&self) -> bool {
        self.shelf.lock().ready.is_some()
    }

    /// A segment with room for at least `needed` bytes.
    ///
    /// # Errors
    /// As [`Supply::prepare`].
    pub(crate) fn take(&self, needed: u64) -> Result<Blank> {
        let mut shelf = self.shelf.lock();
        let Some(mut blank) = shelf.ready.take() else {
            return self.make(&mut shelf, needed.max(self.segment_bytes()));
        };
        if blank.capacity < needed {
            if let Err(e) = self.fill(&*blank.file, &blank.path, needed) {
                shelf.ready = Some(blank);
                return Err(e);
            }
            blank.capacity = needed;
        }
        Ok(blank)
    }

    /// Removes the segment that was made ready and is not needed any more.
    pub(crate) fn discard(&self) -> Result<()> {
        let Some(blank) = self.shelf.lock().ready.take() else { return Ok(()) };
        let remove = self.disk.remove_file(&blank.path);
        remove.map_err(|e| Error::io("remove an unused log segment", &blank.path, e))
    }

    fn make(&self, shelf: &mut Shelf, capacity: u64) -> Result<Blank> {
        self.ensure_dir(shelf)?;
        let number = shelf.next_number;
        let path = path_of(&self.dir, number);
        let file = self
            .disk
            .open(&path, OpenMode::CreateNew)
            .map_err(|e| met("create a log segment", &path, e))?;
        shelf.next_number += 1;
        let made = self.fill(&*file, &path, capacity).and_then(|()| self.sync_dir(&self.dir));
        if let Err(e) = made {
            // Only the room matters, and it comes back with the folder's next clean-up if this
            // removal fails too; the error to report is the first one.
            let _ = self.disk.remove_file(&path);
            return Err(e);
        }
        Ok(Blank { number, path, file, capacity })
    }

    fn fill(&self, file: &dyn File, path: &Path, capacity: u64) -> Result<()> {
        file.allocate(0, capacity).map_err(|e| met("allocate a log segment", path, e))?;
        file.sync().map_err(|e| met("sync a new log segment", path, e))
    }

    fn ensure_dir(&self, shelf: &mut Shelf) -> Result<()> {
        if shelf.has_dir {
            return Ok(());
        }
        match self.disk.create_dir(&self.dir) {
            Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => {
                return Err(met("create the folder of the log", &self.dir, e));
            }
            _ => {}
        }
        // Also where the folder was there: a process may have been killed between giving a name (to
        // this folder, to the data file beside it, to the whole store) and making it durable.
        let store = parent(&self.dir);
        self.sync_dir(store)?;
        sync_name(&*self.disk, store).map_err(|e| met("sync the folder of the store", store, e))?;
        shelf.has_dir = true;
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> Result<()> {
        self.disk.sync_dir(dir).map_err(|e| met("sync the folder of the log", dir, e))
    }
}
