//! What a backup copies: every page that one checkpoint reaches, each with the checksum that its
//! parent knows.
//!
//! The plan is made by a walk over the inner pages (and those leaves that refer to big values), read
//! with `read_at`. Then pages can be read in file order, checked against the plan; dead ones are
//! zeros. It takes about four bytes of memory per page.
//!
//! A plan of changes leaves out what an earlier checkpoint of the same file reaches too. A page is
//! never older than what lies below it, so a pointer whose birth is not after that checkpoint ends
//! the walk: what did not change is not read. An earlier copy with these pages laid over it is the
//! copy of this checkpoint, but for dead pages, of which the free list knows.
//!
//! The plan keeps the checkpoint pinned. The copy is a data file of its own: its metas name this
//! checkpoint only and say that it comes from an archive.

use std::sync::Arc;

use super::checkpoint::{Checkpoint, Source};
use super::free::{FIRST_PAGE, PageSet};
use super::meta::Meta;
use super::page::{LeafValue, MAX_LEVEL, Node, u32_at};
use super::pointer::{Pointer, RunRef, TableRoot};
use super::source::{PageSource, Reader};
use super::space::ListRef;
use crate::error::{Error, ErrorKind, Result};

/// Pages under one checksum, within a run.
struct Part {
    first: u64,
    pages: u64,
    crc: u32,
}

/// The live pages of one checkpoint, to be copied in file order.
pub(crate) struct CopyPlan {
    /// Keeps every page that is copied.
    _checkpoint: Arc<Checkpoint>,
    reader: Reader,
    metas: Vec<u8>,
    live: PageSet,
    /// CRC of each page that is under a checksum of its own; the others are in `parts` or dead.
    crcs: Vec<u32>,
    single: PageSet,
    parts: Vec<Part>,
    /// Only what was born after this checkpoint is copied.
    since: Option<u64>,
}

impl Checkpoint {
    /// Bytes of a reader's own over the same file, without a map.
    pub(super) fn reader(&self) -> Reader {
        let (file, path) = match &self.source {
            Source::Mapped(source) => (source.file.file().clone(), source.file.path()),
            Source::Reader(source) => (source.file().clone(), source.path()),
        };
        Reader::new(file, path.to_path_buf(), self.meta.page_size, self.meta.page_count)
    }

    /// Both meta pages for a copy of this checkpoint.
    pub(crate) fn archive_meta(&self) -> Vec<u8> {
        let page = Meta { from_archive: true, foreign: false, ..self.meta.clone() }.encode();
        [page.as_slice(), page.as_slice()].concat()
    }

    /// Walks the checkpoint's inner pages and plans the copy of it.
    ///
    /// # Errors
    /// `Corrupt` where a page of the walk is damaged, `Io` where it cannot be read.
    pub(crate) fn copy_plan(self: &Arc<Self>) -> Result<CopyPlan> {
        self.plan(None)
    }

    /// The same for what was born after checkpoint `since` of this very file. Reads the inner pages
    /// on the way to it, and no others.
    ///
    /// # Errors
    /// As [`Checkpoint::copy_plan`].
    pub(crate) fn copy_plan_since(self: &Arc<Self>, since: u64) -> Result<CopyPlan> {
        self.plan(Some(since))
    }

    /// The pages below its end that it does not reach.
    ///
    /// # Errors
    /// `Corrupt` where its free list is damaged, `Io` where it cannot be read.
    pub(crate) fn dead_pages(&self) -> Result<PageSet> {
        let list = self.reader().read_free_list(ListRef::of(&self.meta))?;
        let mut dead = PageSet::default();
        for entry in list.entries {
            dead.insert(entry.first, entry.len);
        }
        Ok(dead)
    }

    fn plan(self: &Arc<Self>, since: Option<u64>) -> Result<CopyPlan> {
        let mut plan = CopyPlan {
            _checkpoint: self.clone(),
            reader: self.reader(),
            metas: self.archive_meta(),
            live: PageSet::default(),
            crcs: vec![0; self.meta.page_count as usize],
            single: PageSet::default(),
            parts: Vec::new(),
            since,
        };
        plan.add_tree(&self.meta.catalogue)?;
        for table in &self.tables {
            plan.add_tree(&table.root)?;
        }
        let meta = &self.meta;
        if !plan.is_old(meta.free_list_birth) {
            let list = plan.reader.read_free_list(ListRef::of(meta))?;
            for (page, crc) in list.pages {
                plan.add_page(page, crc)?;
            }
        }
        plan.parts.sort_unstable_by_key(|part| part.first);
        Ok(plan)
    }
}

impl CopyPlan {
    /// Bytes of a page.
    pub(crate) fn page_size(&self) -> usize {
        self.reader.page_size()
    }

    /// Pages of the copy, metas and dead ones included.
    pub(crate) fn page_count(&self) -> u64 {
        self.reader.end()
    }

    /// What is copied, as first pages and numbers of pages, ascending: all of the file, or the metas
    /// and what changed.
    pub(crate) fn extents(&self) -> Vec<(u64, u64)> {
        let end = self.page_count();
        if self.since.is_none() {
            return vec![(0, end)];
        }
        let mut extents = vec![(0, FIRST_PAGE)];
        for (first, len) in self.live.extents(end) {
            match extents.last_mut() {
                Some((at, before)) if *at + *before == first => *before += len,
                _ => extents.push((first, len)),
            }
        }
        extents
    }

    /// Pages read from the file so far: those of the walk, and those that were copied.
    pub(crate) fn pages_read(&self) -> u64 {
        self.reader.pages_read()
    }

    fn is_old(&self, birth: u64) -> bool {
        self.since.is_some_and(|since| birth <= since)
    }

    /// Pages of the copy that are not zeros.
    #[cfg(test)]
    pub(crate) fn live_pages(&self) -> u64 {
        self.live.count() + FIRST_PAGE
    }

    fn add_page(&mut self, page: u64, crc: u32) -> Result<()> {
        self.add_live(page, 1)?;
        self.single.insert(page, 1);
        self.crcs[page as usize] = crc;
        Ok(())
    }

    fn add_live(&mut self, first: u64, pages: u64) -> Result<()> {
        let taken = self.live.next(first, first + pages, true);
        if let Some(page) = taken {
            return Err(self.reader.corrupt(page, "it is referred to twice"));
        }
        self.live.insert(first, pages);
        Ok(())
    }

    fn add_tree(&mut self, root: &TableRoot) -> Result<()> {
        if root.root.is_null() || self.is_old(root.root.birth) {
            return Ok(());
        }
        if root.level > MAX_LEVEL {
            return Err(self.reader.corrupt(root.root.page, "its tree is deeper than any can be"));
        }
        self.add_subtree(&root.root, root.level)
    }

    fn add_subtree(&mut self, pointer: &Pointer, level: u8) -> Result<()> {
        if !(FIRST_PAGE..self.page_count()).contains(&pointer.page) {
            return Err(self.reader.corrupt(pointer.page, "it lies outside of the file"));
        }
        self.add_page(pointer.page, pointer.crc)?;
        if level == 0 && !pointer.holds_runs {
            return Ok(());
        }
        let page = self.reader.read_page(pointer, level)?;
        let bad = || self.reader.corrupt(pointer.page, "it is not of the level its parent says");
        let node = Node::new(&page, level).ok_or_else(bad)?;
        for index in 0..node.count() {
            let bad = || self.reader.corrupt(pointer.page, "an entry lies outside of it");
            if level > 0 {
                let child = node.child(index).ok_or_else(bad)?;
                if !self.is_old(child.birth) {
                    self.add_subtree(&child, level - 1)?;
                }
            } else if let LeafValue::Run(run) = node.leaf_value(index).ok_or_else(bad)?
                && !self.is_old(run.birth)
            {
                self.add_run(&run)?;
            }
        }
        Ok(())
    }

    fn add_run(&mut self, run: &RunRef) -> Result<()> {
        let shape = self.reader.run_shape(run)?;
        self.add_live(run.first, shape.pages())?;
        if shape.table_pages == 0 {
            self.parts.push(Part { first: run.first, pages: shape.pages(), crc: run.crc });
            return Ok(());
        }
        let table = self.reader.read_part(run.first, shape.table_pages, run.crc)?;
        self.parts.push(Part { first: run.first, pages: shape.table_pages, crc: run.crc });
        for index in 0..shape.parts() {
            let part = shape.part(index);
            let crc = u32_at(&table, index as usize * 4);
            self.parts.push(Part { first: run.first + part.page, pages: part.pages, crc });
        }
        Ok(())
    }

    /// Fills `out` with the pages from `first` on, as they belong into the copy: metas first, live
    /// pages checked, dead ones zeros. `out` is a number of whole pages within the copy.
    ///
    /// # Errors
    /// `Corrupt` names the page that is not what its parent refers to; `Io` where it cannot be read.
    pub(crate) fn read(&self, first: u64, out: &mut [u8]) -> Result<()> {
        let size = self.page_size();
        let end = first + (out.len() / size) as u64;
        if !out.len().is_multiple_of(size) || end > self.page_count() {
            return Err(Error::new(ErrorKind::Invalid, "a read past the end of the copy"));
        }
        out.fill(0);
        let place = |page: u64| (page - first) as usize * size;
        for meta in first..end.min(FIRST_PAGE) {
            out[place(meta)..][..size].copy_from_slice(&self.metas[meta as usize * size..][..size]);
        }
        let mut at = first;
        while let Some(from) = self.live.next(at, end, true) {
            at = self.live.next(from, end, false).unwrap_or(end);
            self.reader.read_raw(from, &mut out[place(from)..place(at)])?;
        }
        let mut at = first;
        while let Some(page) = self.single.next(at, end, true) {
            if crc32c::crc32c(&out[place(page)..][..size]) != self.crcs[page as usize] {
                return Err(self.reader.corrupt(page, "it is not what its parent refers to"));
            }
            at = page + 1;
        }
        let from = self.parts.partition_point(|part| part.first + part.pages <= first);
        for part in self.parts[from..].iter().take_while(|part| part.first < end) {
            // A part that the range cuts is read whole; what was checked is what is handed out.
            let (begin, stop) = (part.first.max(first), (part.first + part.pages).min(end));
            let skipped = (begin - part.first) as usize * size;
            let bytes = &mut out[place(begin)..place(stop)];
            if bytes.len() == part.pages as usize * size {
                self.reader.check_part(part.first, bytes, part.crc)?;
            } else {
                let whole = self.reader.read_part(part.first, part.pages, part.crc)?;
                bytes.copy_from_slice(&whole[skipped..skipped + bytes.len()]);
            }
        }
        Ok(())
    }
}
