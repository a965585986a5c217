//! The data file in memory: one read-only map, and which of its pages were checked.
//!
//! # Why this is sound
//!
//! [`Map::slice`] hands out `&[u8]` into a shared file map. For that, three things must hold.
//!
//! - *The bytes are there.* A slice ends at or before `valid`, the length that the file was seen or
//!   made to have. The file is cut only above every page that a pinned checkpoint reaches, and slices
//!   are only made through a pinned checkpoint, so nothing is cut from under a slice.
//! - *They do not change.* A page that a pinned checkpoint reaches is never written (see `free.rs`),
//!   and the file belongs to one process, which holds its lock. A medium that rots under a page that
//!   was evicted and is read again is outside of what a map can promise; `docs/safety.md` says so.
//!   Nothing here relies on the *content*: every access within a page is bounded on its own.
//! - *They outlive the slice.* The slice borrows the `Map`, which unmaps when it is dropped.

#![allow(unsafe_code)]

use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use memmap2::MmapRaw;

use crate::disk::File;
use crate::error::{Error, ErrorKind, Result};

/// Address space reserved for the file, where there is that much.
const RESERVE: u64 = 8 << 40;
/// The least that is tried.
const LEAST_RESERVE: u64 = 64 << 20;

/// A read-only map of a growing file.
pub(crate) struct Map {
    raw: MmapRaw,
    valid: AtomicU64,
}

impl Map {
    /// Maps `file`, reserving as much address space as can be had.
    ///
    /// # Errors
    /// `Limit` where the file does not fit into the address space.
    pub(crate) fn new(file: &dyn File, path: &Path) -> Result<Map> {
        let len = file.len().map_err(|e| Error::io("measure the data file", path, e))?;
        let mut reserve = RESERVE;
        loop {
            match file.map(reserve) {
                Ok(raw) => return Ok(Map { raw, valid: AtomicU64::new(len) }),
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

    /// How long the file may become.
    pub(crate) fn reserved(&self) -> u64 {
        self.raw.len() as u64
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
        if end > self.valid.load(Ordering::Relaxed) {
            return None;
        }
        // SAFETY: the range lies within the file and, as `valid` is at most `reserved`, within the
        // map; it does not change and outlives the slice, as the head of this file explains.
        Some(unsafe { std::slice::from_raw_parts(self.raw.as_ptr().add(offset as usize), len) })
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

    /// Notes that `page` was checked.
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
