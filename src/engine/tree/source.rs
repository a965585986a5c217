//! Where pages come from: the map, or positional reads.
//!
//! Walking a tree is written once, over [`PageSource`]. [`Mapped`] gives slices of the map and costs
//! a bit test for a page that was checked before; [`Reader`] reads and checks each page into memory,
//! for files that are not mapped (an archive in place) and for those who want an I/O error to be an
//! error (verify, the copier).
//!
//! Both give only pages that passed their parent's checksum and whose structure is sound.

use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use super::file::DataFile;
use super::free::FIRST_PAGE;
use super::page::check_page;
use super::pointer::{Pointer, RunRef};
use super::run::Shape;
use super::space::{FreeList, ListRef, read_list};
use crate::disk::File;
use crate::engine::value::Value;
use crate::error::{Error, Result};

/// A place from which checked pages can be had.
pub(crate) trait PageSource {
    /// Keeps the bytes of a page.
    type Page<'a>: Deref<Target = [u8]> + Clone
    where
        Self: 'a;

    /// The page that `pointer` names, which is at `level`.
    fn page<'a>(&'a self, pointer: &Pointer, level: u8) -> Result<Self::Page<'a>>;

    /// A big value.
    fn run<'a>(&'a self, run: &RunRef) -> Result<Value<'a>>;

    /// Bytes of a page, as a value that lasts as long as the source.
    fn value<'a>(&'a self, page: &Self::Page<'a>, begin: usize, end: usize) -> Value<'a>;

    /// The error for damage in `page`.
    fn corrupt(&self, page: u64, what: &str) -> Error;
}

/// The error for damage in `page` of the file at `path`.
#[cold]
pub(crate) fn corrupt_page(path: &Path, page: u64, what: &str) -> Error {
    Error::corrupt(path, format!("page {page} is damaged: {what}"))
        .hint("Restore the store from its last backup.")
}

/// The pages below `end`, through the map. Held only by a pinned checkpoint.
pub(crate) struct Mapped {
    pub(crate) file: Arc<DataFile>,
    pub(crate) end: u64,
}

impl Mapped {
    /// The page that `pointer` names.
    #[inline]
    pub(crate) fn get(&self, pointer: &Pointer, level: u8) -> Result<&[u8]> {
        let size = self.file.page_size();
        if pointer.page < self.end
            && let Some(bytes) = self.file.map().slice(pointer.page * size as u64, size)
            && self.file.checked().contains(pointer.page)
        {
            return Ok(bytes);
        }
        self.check(pointer, level)
    }

    #[cold]
    #[inline(never)]
    fn check(&self, pointer: &Pointer, level: u8) -> Result<&[u8]> {
        let size = self.file.page_size();
        if !(FIRST_PAGE..self.end).contains(&pointer.page) {
            return Err(self.corrupt(pointer.page, "it lies outside of the file"));
        }
        let Some(bytes) = self.file.map().slice(pointer.page * size as u64, size) else {
            return Err(self.corrupt(pointer.page, "the file ends before it"));
        };
        if crc32c::crc32c(bytes) != pointer.crc {
            return Err(self.corrupt(pointer.page, "it is not what its parent refers to"));
        }
        check_page(bytes, level).map_err(|what| self.corrupt(pointer.page, what))?;
        self.file.checked().insert(pointer.page);
        Ok(bytes)
    }

    /// A big value, checked when it is first read.
    pub(crate) fn get_run(&self, run: &RunRef) -> Result<&[u8]> {
        let size = self.file.page_size();
        let shape = Shape::of(run.len, size)
            .filter(|shape| run_fits(run, shape, self.end))
            .ok_or_else(|| self.corrupt(run.first, "a big value lies outside of the file"))?;
        let bytes =
            self.file
                .map()
                .slice(run.first * size as u64, shape.pages() as usize * size)
                .ok_or_else(|| self.corrupt(run.first, "the file ends before a big value does"))?;
        if !self.file.checked().contains(run.first) {
            shape.check(run, bytes).map_err(|what| self.corrupt(run.first, what))?;
            self.file.checked().insert(run.first);
        }
        let begin = shape.table_pages as usize * size;
        Ok(&bytes[begin..begin + run.len as usize])
    }
}

/// Whether all pages of a run lie between the metas and `end`.
pub(crate) fn run_fits(run: &RunRef, shape: &Shape, end: u64) -> bool {
    run.first >= FIRST_PAGE && run.first < end && shape.pages() <= end - run.first
}

impl PageSource for Mapped {
    type Page<'a> = &'a [u8];

    #[inline]
    fn page<'a>(&'a self, pointer: &Pointer, level: u8) -> Result<&'a [u8]> {
        self.get(pointer, level)
    }

    fn run<'a>(&'a self, run: &RunRef) -> Result<Value<'a>> {
        self.get_run(run).map(Value::Borrowed)
    }

    #[inline]
    fn value<'a>(&'a self, page: &&'a [u8], begin: usize, end: usize) -> Value<'a> {
        Value::Borrowed(&page[begin..end])
    }

    fn corrupt(&self, page: u64, what: &str) -> Error {
        corrupt_page(self.file.path(), page, what)
    }
}

/// Pages that a [`Reader`] keeps.
const CACHED: usize = 256;

/// A page and the pointer that it was read by.
type Kept = (Pointer, Arc<[u8]>);

/// Pages read with `read_at`, each checked; the last few are kept.
pub(crate) struct Reader {
    file: Arc<dyn File>,
    path: PathBuf,
    page_size: usize,
    end: u64,
    cache: Mutex<Vec<Option<Kept>>>,
    pages_read: AtomicU64,
}

impl Reader {
    pub(crate) fn new(file: Arc<dyn File>, path: PathBuf, page_size: usize, end: u64) -> Reader {
        let cache = Mutex::new(vec![None; CACHED]);
        Reader { file, path, page_size, end, cache, pages_read: AtomicU64::new(0) }
    }

    pub(crate) fn page_size(&self) -> usize {
        self.page_size
    }

    pub(crate) fn file(&self) -> &Arc<dyn File> {
        &self.file
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// One past the last page that may be read.
    pub(crate) fn end(&self) -> u64 {
        self.end
    }

    /// Pages read from the file so far.
    pub(crate) fn pages_read(&self) -> u64 {
        self.pages_read.load(Ordering::Relaxed)
    }

    /// Reads whole pages from `first` on, without checking them.
    pub(crate) fn read_raw(&self, first: u64, out: &mut [u8]) -> Result<()> {
        self.pages_read.fetch_add((out.len() / self.page_size) as u64, Ordering::Relaxed);
        self.file.read_exact_at(out, first * self.page_size as u64).map_err(|e| {
            if e.kind() == std::io::ErrorKind::UnexpectedEof {
                return self.corrupt(first, "the file ends before it");
            }
            Error::io(format!("read page {first} of the data file"), &self.path, e)
        })
    }

    /// Reads and checks the page that `pointer` names, past the cache.
    pub(crate) fn read_page(&self, pointer: &Pointer, level: u8) -> Result<Arc<[u8]>> {
        if !(FIRST_PAGE..self.end).contains(&pointer.page) {
            return Err(self.corrupt(pointer.page, "it lies outside of the file"));
        }
        let mut page = vec![0; self.page_size];
        self.read_raw(pointer.page, &mut page)?;
        if crc32c::crc32c(&page) != pointer.crc {
            return Err(self.corrupt(pointer.page, "it is not what its parent refers to"));
        }
        check_page(&page, level).map_err(|what| self.corrupt(pointer.page, what))?;
        Ok(page.into())
    }

    /// Reads and checks pages of a run that are under one checksum.
    pub(crate) fn read_part(&self, first: u64, pages: u64, crc: u32) -> Result<Vec<u8>> {
        let mut bytes = vec![0; pages as usize * self.page_size];
        self.read_raw(first, &mut bytes)?;
        self.check_part(first, &bytes, crc)?;
        Ok(bytes)
    }

    /// Checks pages of a run that are under one checksum.
    pub(crate) fn check_part(&self, first: u64, bytes: &[u8], crc: u32) -> Result<()> {
        if crc32c::crc32c(bytes) != crc {
            return Err(self.corrupt(first, "a part of a big value is not what was written"));
        }
        Ok(())
    }

    /// Reads and checks a free list.
    pub(crate) fn read_free_list(&self, list: ListRef) -> Result<FreeList> {
        read_list(&*self.file, &self.path, self.page_size, list, self.end)
    }

    /// The shape of `run`, when it lies within the file.
    pub(crate) fn run_shape(&self, run: &RunRef) -> Result<Shape> {
        Shape::of(run.len, self.page_size)
            .filter(|shape| run_fits(run, shape, self.end))
            .ok_or_else(|| self.corrupt(run.first, "a big value lies outside of the file"))
    }
}

impl PageSource for Reader {
    type Page<'a> = Arc<[u8]>;

    fn page(&self, pointer: &Pointer, level: u8) -> Result<Arc<[u8]>> {
        let slot = (pointer.page % CACHED as u64) as usize;
        if let Some((held, page)) = &self.cache.lock()[slot]
            && held == pointer
        {
            return Ok(page.clone());
        }
        let page = self.read_page(pointer, level)?;
        self.cache.lock()[slot] = Some((*pointer, page.clone()));
        Ok(page)
    }

    fn run<'a>(&'a self, run: &RunRef) -> Result<Value<'a>> {
        let shape = self.run_shape(run)?;
        let mut bytes = vec![0; shape.pages() as usize * self.page_size];
        self.read_raw(run.first, &mut bytes)?;
        shape.check(run, &bytes).map_err(|what| self.corrupt(run.first, what))?;
        bytes.drain(..shape.table_pages as usize * self.page_size);
        bytes.truncate(run.len as usize);
        Ok(Value::Owned(bytes.into_boxed_slice()))
    }

    fn value<'a>(&'a self, page: &Arc<[u8]>, begin: usize, end: usize) -> Value<'a> {
        Value::Owned(page[begin..end].into())
    }

    fn corrupt(&self, page: u64, what: &str) -> Error {
        corrupt_page(&self.path, page, what)
    }
}
