//! The data file in memory: read-only maps of it, and which of its pages were checked.
//!
//! Each map reserves more address space than the file needs, so that the file can grow under it. When it
//! outgrows the newest, a larger one is made beside it; the old ones stay, since slices may lie in
//! them. Address space is finite (128 TiB for the process, with most systems) and belongs to the
//! application: a store takes in the order of what its file is long, and leaves the rest alone.
//!
//! # Why this is sound
//!
//! [`Map::slice`] hands out `&[u8]` into a shared file map. For that, three things must hold.
//!
//! - *The bytes are there.* A slice ends at or before `valid`, the length that the file was seen or
//!   made to have, and `valid` is set only after `base` points to a map that reaches as far. The file is
//!   cut only above every page that a pinned checkpoint reaches, and slices are only made through a
//!   pinned checkpoint, so nothing is cut from under a slice.
//! - *They do not change.* A page that a pinned checkpoint reaches is never written (see `free.rs`),
//!   and the file belongs to one process, which holds its lock. A medium that rots under a page that
//!   was evicted and is read again is outside of what a map can promise; `docs/safety.md` says so.
//!   Nothing here relies on the *content*: every access within a page is bounded on its own.
//! - *They outlive the slice.* The slice borrows the `Map`, which unmaps all when it is dropped, and
//!   nothing before.

#![allow(unsafe_code)]

use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

use memmap2::MmapRaw;
use parking_lot::Mutex;

use crate::disk::File;
use crate::error::{Error, ErrorKind, Result};

/// The longest data file.
pub(crate) const MOST_BYTES: u64 = 8 << 40;
/// Address space of the first map, where the file is not longer than half of it.
const RESERVE: u64 = 64 << 30;
/// The least that is tried where address space is short.
const LEAST_RESERVE: u64 = 64 << 20;

/// A read-only map of a growing file.
pub(crate) struct Map {
    /// Where the newest map begins.
    base: AtomicPtr<u8>,
    valid: AtomicU64,
    /// The newest is the last.
    maps: Mutex<Vec<MmapRaw>>,
}

impl Map {
    /// Maps `file`, with room to grow.
    ///
    /// # Errors
    /// `Limit` where the file does not fit into the address space.
    pub(crate) fn new(file: &dyn File, path: &Path) -> Result<Map> {
        Map::reserving(file, path, RESERVE)
    }

    fn reserving(file: &dyn File, path: &Path, reserve: u64) -> Result<Map> {
        let len = file.len().map_err(|e| Error::io("measure the data file", path, e))?;
        let raw = map_at_least(file, path, len, reserve.max(len.saturating_mul(2)))?;
        Ok(Map {
            base: AtomicPtr::new(raw.as_mut_ptr()),
            valid: AtomicU64::new(len),
            maps: Mutex::new(vec![raw]),
        })
    }

    /// How long the file may become before it outgrows the newest map.
    pub(crate) fn reserved(&self) -> u64 {
        self.maps.lock().last().map_or(0, |raw| raw.len() as u64)
    }

    /// Sees that the file, at `path`, may become `len` bytes long.
    ///
    /// # Errors
    /// `Limit` where it cannot: nothing has changed then.
    pub(crate) fn reach(&self, file: &dyn File, path: &Path, len: u64) -> Result<()> {
        if len > MOST_BYTES {
            let message = format!("the data file cannot grow past {MOST_BYTES} bytes");
            return Err(Error::new(ErrorKind::Limit, message).at(path));
        }
        let mut maps = self.maps.lock();
        if maps.last().is_some_and(|raw| len <= raw.len() as u64) {
            return Ok(());
        }
        let raw = map_at_least(file, path, len, len.saturating_mul(2))?;
        self.base.store(raw.as_mut_ptr(), Ordering::Release);
        maps.push(raw);
        Ok(())
    }

    /// How long the file is known to be.
    pub(crate) fn valid(&self) -> u64 {
        self.valid.load(Ordering::Acquire)
    }

    /// Tells that the file has `len` bytes.
    pub(crate) fn set_valid(&self, len: u64) {
        self.valid.store(len.min(self.reserved()), Ordering::Release);
    }

    /// The bytes `[offset, offset + len)`; `None` where the file does not have them all.
    ///
    /// The caller holds a pin on a checkpoint that reaches them.
    #[inline]
    pub(crate) fn slice(&self, offset: u64, len: usize) -> Option<&[u8]> {
        let end = offset.checked_add(len as u64)?;
        if end > self.valid.load(Ordering::Acquire) {
            return None;
        }
        let base = self.base.load(Ordering::Acquire);
        // SAFETY: the range lies within the file and, as `valid` is at most what the map at `base`
        // reserves, within that map; it does not change and outlives the slice, as the head of this
        // file explains.
        Some(unsafe { std::slice::from_raw_parts(base.add(offset as usize), len) })
    }
}

/// A map of `file` with `reserve` bytes of address space, or what can be had, and `len` at least.
fn map_at_least(file: &dyn File, path: &Path, len: u64, reserve: u64) -> Result<MmapRaw> {
    let mut reserve = reserve.min(MOST_BYTES).max(len);
    loop {
        match file.map(reserve) {
            Ok(raw) => return Ok(raw),
            Err(_) if reserve / 2 >= len.max(LEAST_RESERVE) => reserve /= 2,
            Err(cause) => {
                return Err(Error::new(ErrorKind::Limit, "cannot map the data file")
                    .at(path)
                    .because(cause)
                    .hint("Raise the limit on address space (ulimit -v)."));
            }
        }
    }
}

/// Pages of a chunk of [`Checked`].
const CHUNK_PAGES: u64 = 1 << 18;

/// Which pages were checked since they were last written: one bit each, allocated as the file is
/// read.
pub(crate) struct Checked {
    chunks: Box<[OnceLock<Box<[AtomicU64]>>]>,
}

impl Checked {
    /// Nothing checked, for a file of at most `pages` pages.
    pub(crate) fn new(pages: u64) -> Checked {
        Checked { chunks: (0..pages.div_ceil(CHUNK_PAGES)).map(|_| OnceLock::new()).collect() }
    }

    #[inline]
    fn word(&self, page: u64) -> Option<&AtomicU64> {
        let chunk = self.chunks.get((page / CHUNK_PAGES) as usize)?.get()?;
        chunk.get((page % CHUNK_PAGES / 64) as usize)
    }

    /// Whether `page` was checked.
    #[inline]
    pub(crate) fn contains(&self, page: u64) -> bool {
        self.word(page).is_some_and(|word| word.load(Ordering::Relaxed) >> (page % 64) & 1 != 0)
    }

    /// Notes that `page` was checked. Also a reader that was held up since says what is true: its pin
    /// keeps the page from being written, and goes after this.
    pub(crate) fn insert(&self, page: u64) {
        let Some(chunk) = self.chunks.get((page / CHUNK_PAGES) as usize) else { return };
        chunk.get_or_init(|| (0..CHUNK_PAGES / 64).map(|_| AtomicU64::new(0)).collect());
        if let Some(word) = self.word(page) {
            word.fetch_or(1 << (page % 64), Ordering::Relaxed);
        }
    }

    /// Notes that `page` is about to be written.
    pub(crate) fn remove(&self, page: u64) {
        if let Some(word) = self.word(page) {
            word.fetch_and(!(1 << (page % 64)), Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::{Disk, OpenMode, SimDisk};

    #[test]
    fn a_file_that_outgrows_its_map_gets_another_and_old_slices_stay() {
        let (disk, path) = (SimDisk::new(1), Path::new("/data"));
        let file = disk.open(path, OpenMode::CreateNew).expect("create");
        file.write_at(&[1; 4096], 0).expect("write");
        let map = Map::reserving(&*file, path, 8192).expect("map");
        let old = map.slice(0, 4096).expect("it is there");
        assert_eq!((map.reserved(), map.slice(4096, 1)), (8192, None));
        for pages in [2, 3, 40] {
            map.reach(&*file, path, pages * 4096).expect("there is address space");
            file.write_at(&[pages as u8; 4096], (pages - 1) * 4096).expect("write");
            assert_eq!(map.slice((pages - 1) * 4096, 4096), None, "nobody said that it is longer");
            map.set_valid(pages * 4096);
            assert_eq!(map.slice((pages - 1) * 4096, 4096), Some(&[pages as u8; 4096][..]));
            assert!(old.iter().all(|byte| *byte == 1));
        }
        assert_eq!(map.maps.lock().len(), 3, "each is twice as long as what it was made for");
        let error = map.reach(&*file, path, MOST_BYTES + 1).expect_err("too long");
        assert_eq!(error.kind(), ErrorKind::Limit);
        assert_eq!(map.valid(), 40 * 4096);
    }
}
