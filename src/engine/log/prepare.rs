//! The next segment, made ready before it is needed.
//!
//! A ready segment is allocated, synced, and its name is durable: an append into it needs no more
//! than a write and a sync of its content, and meets no full disk. A background thread calls
//! [`Supply::prepare`]; where it did not come in time, the writer makes the segment itself.
//!
//! Segments begin small and grow, each twice as long as the one before, so that a small store takes
//! little room and a busy one seldom changes its segment. None takes more than a part of what is free.
//!
//! Invariants: segments are put to use in the order of their numbers. A failure leaves nothing
//! behind that matters (a blank segment means nothing to recovery) and latches nothing here: the next
//! call begins anew. A want that passes (of room, file handles, memory) is told apart from a medium
//! that fails, since the store goes on after it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;

use super::reserve::Reserve;
use super::segment::{met, passes, path_of};
use crate::disk::atomic::{parent, sync_names};
use crate::disk::{Disk, File, OpenMode};
use crate::{Error, Result};

/// Length of the first segment, where no other is asked for.
const FIRST_SEGMENT: u64 = 1 << 20;
/// A segment that is shorter than what is asked for, for want of room, is at least so long.
const LEAST_SEGMENT: u64 = 64 << 10;
/// What part of the free room a segment may take.
const PART_OF_FREE: u64 = 8;

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
    /// The most that a segment has, unless one group needs more.
    segment_bytes: AtomicU64,
    /// What the reserve says of itself, for those who must not wait for the shelf.
    lacks_reserve: AtomicBool,
    /// Held while a segment is made, so that numbers are used in order.
    shelf: Mutex<Shelf>,
}

struct Shelf {
    ready: Option<Blank>,
    next_number: u64,
    /// Length of the next segment, where `segment_bytes` and the free room allow it.
    next_bytes: u64,
    reserve: Reserve,
    /// The folder of the log is there.
    has_dir: bool,
    /// Its name is known to be durable.
    is_durable: bool,
}

impl Supply {
    /// A supply that numbers its segments from `next_number` on.
    pub(crate) fn new(
        disk: Arc<dyn Disk>,
        dir: PathBuf,
        segment_bytes: u64,
        next_number: u64,
    ) -> Supply {
        let reserve = Reserve::new(&dir);
        let next_bytes = FIRST_SEGMENT;
        let has_dir = disk.metadata(&dir).is_ok();
        let is_durable = false;
        let shelf = Shelf { ready: None, next_number, next_bytes, reserve, has_dir, is_durable };
        let shelf = Mutex::new(shelf);
        Supply {
            disk,
            dir,
            segment_bytes: AtomicU64::new(segment_bytes),
            lacks_reserve: AtomicBool::new(false),
            shelf,
        }
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
            shelf.ready = Some(self.make(&mut shelf, 0)?);
        }
        Ok(())
    }

    /// Makes the reserve where it is missing and there is room.
    pub(crate) fn keep_reserve(&self) {
        let mut shelf = self.shelf.lock();
        if shelf.has_dir && self.lacks_reserve() {
            self.keep(&mut shelf.reserve, self.free_space());
        }
    }

    fn keep(&self, reserve: &mut Reserve, free: u64) {
        reserve.keep(&*self.disk, free);
        self.lacks_reserve.store(reserve.is_missing(), Ordering::Release);
    }

    /// Gives the room of the reserve back to the disk; whether there was any.
    pub(crate) fn spend_reserve(&self) -> bool {
        let mut shelf = self.shelf.lock();
        self.lacks_reserve.store(true, Ordering::Release);
        shelf.reserve.spend(&*self.disk)
    }

    /// Whether there is no reserve: what needs room should not be taken.
    pub(crate) fn lacks_reserve(&self) -> bool {
        self.lacks_reserve.load(Ordering::Acquire)
    }

    fn free_space(&self) -> u64 {
        self.disk.free_space(&self.dir).unwrap_or(u64::MAX)
    }

    /// Whether a segment is ready.
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
            return self.make(&mut shelf, needed);
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

    /// Removes the segment that was made ready and is not needed any more. The reserve stays.
    pub(crate) fn discard(&self) -> Result<()> {
        let Some(blank) = self.shelf.lock().ready.take() else { return Ok(()) };
        let remove = self.disk.remove_file(&blank.path);
        remove.map_err(|e| Error::io("remove an unused log segment", &blank.path, e))
    }

    /// Makes a segment of the length that is due, or as much of it as there is room for; of `needed`
    /// bytes at least.
    fn make(&self, shelf: &mut Shelf, needed: u64) -> Result<Blank> {
        self.ensure_dir(shelf)?;
        let free = self.free_space();
        let most = self.segment_bytes();
        let least = LEAST_SEGMENT.min(most).max(needed);
        let due = shelf.next_bytes.min(most).min((free / PART_OF_FREE).next_multiple_of(4096));
        let mut capacity = due.max(least);
        let blank = loop {
            match self.make_of(shelf, capacity) {
                Err(error) if passes(&error) && capacity > least => {
                    capacity = (capacity / 2).max(least);
                }
                made => break made?,
            }
        };
        shelf.next_bytes = shelf.next_bytes.saturating_mul(2).min(most.max(FIRST_SEGMENT));
        self.keep(&mut shelf.reserve, free.saturating_sub(capacity));
        Ok(blank)
    }

    fn make_of(&self, shelf: &mut Shelf, capacity: u64) -> Result<Blank> {
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
        if shelf.is_durable {
            return Ok(());
        }
        // One that was there and is gone is no reason to make another: it held the log.
        if !shelf.has_dir {
            let made = self.disk.create_dir(&self.dir);
            made.map_err(|e| met("create the folder of the log", &self.dir, e))?;
            let kept = self.disk.anchor(&self.dir, None);
            kept.map_err(|e| met("open the folder of the log", &self.dir, e))?;
            shelf.has_dir = true;
        }
        // Also where the folder was there: a process may have been killed between giving a name (to
        // this folder, to the data file beside it, to the whole store, to a folder above it) and making
        // it durable.
        let store = parent(&self.dir);
        self.sync_dir(store)?;
        for dir in [store, self.dir.as_path()] {
            sync_names(&*self.disk, dir).map_err(|e| met("sync the folders above", dir, e))?;
        }
        shelf.is_durable = true;
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> Result<()> {
        self.disk.sync_dir(dir).map_err(|e| met("sync the folder of the log", dir, e))
    }
}
