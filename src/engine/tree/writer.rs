//! Where the pages of a checkpoint go: allocation and large, coalesced writes.
//!
//! A [`PageWriter`] works on a copy of the file's space. When the checkpoint fails, it is dropped and
//! nothing has happened: the pages that it wrote were free, and still are.

use super::file::{DataFile, WriterState};
use super::free::{Extent, FIRST_PAGE, Space};
use super::meta::Meta;
use super::page::Stamp;
use super::pointer::{BIRTH_LIMIT, PAGE_LIMIT, Pointer, RunRef};
use super::run::{Shape, seal};
use super::source::{corrupt_page, run_fits};
use crate::engine::TableId;
use crate::error::{Error, ErrorKind, Result};

/// Bytes that are collected before they are written.
const BUFFER: usize = 1 << 20;
/// Bytes that are written before their write-back is started.
const WRITEBACK: u64 = 4 << 20;
/// Runs of at least this length are written straight from where they lie.
const DIRECT: usize = 256 << 10;

/// Allocates and writes the pages of one checkpoint.
pub(crate) struct PageWriter<'f> {
    file: &'f DataFile,
    number: u64,
    space: Space,
    freed: Vec<Extent>,
    allocated: u64,
    /// One past the highest page that the checkpoint before reaches.
    base_end: u64,
    /// Pages that wait to be written, one after the other from `first` on.
    buffer: Vec<u8>,
    first: u64,
    written: u64,
    taken: u64,
    /// What was written since write-back was last started: bytes, and the range that they lie in.
    unstarted: u64,
    span: (u64, u64),
}

impl<'f> PageWriter<'f> {
    /// A writer for the checkpoint after `base` that takes pages from `space`.
    pub(crate) fn new(
        file: &'f DataFile,
        base: &Meta,
        space: Space,
        allocated: u64,
    ) -> Result<PageWriter<'f>> {
        let number = base.number + 1;
        if number >= BIRTH_LIMIT - 1 {
            let message = "the data file has had as many checkpoints as it can";
            return Err(Error::new(ErrorKind::Limit, message)
                .at(file.path())
                .hint("Back the store up, and restore it into a new folder."));
        }
        Ok(PageWriter {
            file,
            number,
            space,
            freed: Vec::new(),
            allocated,
            base_end: base.page_count,
            buffer: Vec::new(),
            first: 0,
            written: 0,
            taken: 0,
            unstarted: 0,
            span: (u64::MAX, 0),
        })
    }

    pub(crate) fn page_size(&self) -> usize {
        self.file.page_size()
    }

    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    pub(crate) fn space(&self) -> &Space {
        &self.space
    }

    pub(crate) fn freed(&self) -> &[Extent] {
        &self.freed
    }

    /// Whether a page was taken or freed.
    pub(crate) fn changed_space(&self) -> bool {
        self.taken > 0 || !self.freed.is_empty()
    }

    /// Frees pages that the checkpoint before reaches and this one does not.
    pub(crate) fn free(&mut self, first: u64, len: u64, birth: u64) {
        if let Some(last) = self.freed.last_mut()
            && last.first + last.len == first
            && last.birth == birth
        {
            last.len += len;
            return;
        }
        self.freed.push(Extent { first, len, birth });
    }

    /// Frees a page that was not read.
    pub(crate) fn free_unread(&mut self, pointer: &Pointer) -> Result<()> {
        if !(FIRST_PAGE..self.base_end).contains(&pointer.page) {
            let what = "it lies outside of the file";
            return Err(corrupt_page(self.file.path(), pointer.page, what));
        }
        self.free(pointer.page, 1, pointer.birth);
        Ok(())
    }

    /// Frees a big value.
    pub(crate) fn free_run(&mut self, run: &RunRef) -> Result<()> {
        let shape = Shape::of(run.len, self.page_size());
        let shape = shape.filter(|shape| run_fits(run, shape, self.base_end)).ok_or_else(|| {
            corrupt_page(self.file.path(), run.first, "a big value lies outside of the file")
        })?;
        self.free(run.first, shape.pages(), run.birth);
        Ok(())
    }

    fn reserve(&mut self, first: u64, pages: u64) -> Result<()> {
        if first + pages > PAGE_LIMIT {
            return Err(Error::new(ErrorKind::Limit, "the data file has too many pages"));
        }
        if first + pages > self.allocated {
            self.allocated = self.file.grow(self.allocated, first + pages)?;
        }
        self.taken += pages;
        for page in first..first + pages {
            self.file.checked().remove(page);
        }
        Ok(())
    }

    /// Takes a page, to be written later by [`PageWriter::put_page`].
    pub(crate) fn take_page(&mut self) -> Result<u64> {
        let page = self.space.take_page();
        self.reserve(page, 1)?;
        Ok(page)
    }

    /// Writes `page`, which `fill` makes out of zeros. Returns its CRC.
    pub(crate) fn put_page(&mut self, page: u64, fill: impl FnOnce(&mut [u8])) -> Result<u32> {
        let out = self.room(page, 1)?;
        fill(out);
        Ok(crc32c::crc32c(out))
    }

    /// Takes and writes a page of `table`. `fill` tells whether it holds runs.
    pub(crate) fn add_page(
        &mut self,
        table: TableId,
        fill: impl FnOnce(&mut [u8]) -> bool,
    ) -> Result<Pointer> {
        let page = self.take_page()?;
        let birth = self.number;
        let out = self.room(page, 1)?;
        let holds_runs = fill(out);
        Stamp { table, birth }.put(out);
        Ok(Pointer { page, birth, crc: crc32c::crc32c(out), holds_runs })
    }

    /// Whether a run of `pages` pages would lie below `limit`.
    pub(crate) fn run_fits_below(&mut self, pages: u64, limit: u64) -> bool {
        self.space.find_run(pages) + pages <= limit
    }

    /// Writes a big value into pages of its own.
    pub(crate) fn add_run(&mut self, value: &[u8]) -> Result<RunRef> {
        let shape = Shape::of(value.len() as u64, self.page_size())
            .ok_or_else(|| Error::new(ErrorKind::Limit, "a value is larger than a file can be"))?;
        let first = self.space.take_run(shape.pages());
        self.reserve(first, shape.pages())?;
        let (table, padding, crc) = seal(value, &shape);
        if value.len() >= DIRECT {
            self.flush()?;
            let offset = first * self.page_size() as u64;
            self.file.write("write a big value", |file| {
                file.write_parts_at(&[&table, value, &padding], offset)
            })?;
            self.wrote(offset, shape.pages() * self.page_size() as u64);
        } else {
            let out = self.room(first, shape.pages())?;
            out[..table.len()].copy_from_slice(&table);
            out[table.len()..][..value.len()].copy_from_slice(value);
        }
        Ok(RunRef { first, len: value.len() as u64, birth: self.number, crc })
    }

    /// Room in the buffer for `pages` pages from `first` on, all zeros.
    fn room(&mut self, first: u64, pages: u64) -> Result<&mut [u8]> {
        let size = self.page_size();
        let next = self.first + (self.buffer.len() / size) as u64;
        if first != next || self.buffer.len() + pages as usize * size > BUFFER {
            self.flush()?;
            self.first = first;
        }
        let begin = self.buffer.len();
        self.buffer.resize(begin + pages as usize * size, 0);
        Ok(&mut self.buffer[begin..])
    }

    /// Writes what is in the buffer.
    pub(crate) fn flush(&mut self) -> Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let offset = self.first * self.page_size() as u64;
        let buffer = &self.buffer;
        self.file.write("write pages of the data file", |file| file.write_at(buffer, offset))?;
        self.wrote(offset, self.buffer.len() as u64);
        self.buffer.clear();
        Ok(())
    }

    /// Counts what was written, and now and then lets the system begin with it: the sync at the end
    /// would otherwise have all of it to write at once, and keep the syncs of the log waiting.
    fn wrote(&mut self, offset: u64, len: u64) {
        self.written += len;
        self.unstarted += len;
        self.span = (self.span.0.min(offset), self.span.1.max(offset + len));
        if self.unstarted >= WRITEBACK {
            let (begin, end) = self.span;
            self.file.file().start_writeback(begin, end - begin);
            (self.unstarted, self.span) = (0, (u64::MAX, 0));
        }
    }

    /// Gives back the space as it is now, what was freed, and tells `state` what happened.
    pub(crate) fn finish(mut self, state: &mut WriterState) -> Result<(Space, Vec<Extent>)> {
        self.flush()?;
        state.allocated = self.allocated;
        state.stats.written_bytes += self.written;
        Ok((self.space, self.freed))
    }

    /// How long the file has become, also when the checkpoint fails.
    pub(crate) fn allocated(&self) -> u64 {
        self.allocated
    }
}
