//! Moving pages from the end of the file into free room further down, so that the file can be cut.
//!
//! A checkpoint that rewrites most of a store needs room for a second copy, and afterwards one of the
//! two halves is free: the low one every other time. Cutting the end alone would leave the file at
//! twice its content. So, when the caller asks for it, pages past a limit are copied as they are, and
//! the inner pages above them are rewritten with the new page numbers. What records there are does not
//! change: it is a checkpoint of the same commit.

use super::act::{Built, rewrite_catalogue};
use super::checkpoint::{Checkpoint, TableEntry};
use super::free::{Extent, Space};
use super::page::{LeafValue, MAX_LEVEL, Node, Stamp};
use super::pointer::{Pointer, RunRef};
use super::run::Shape;
use super::source::{Mapped, PageSource, run_fits};
use super::writer::PageWriter;
use crate::engine::TableId;
use crate::error::Result;

/// The page that the file should end at so that it has at most `percent` of its live pages; `None`
/// where it has, or where there is no room below for what would have to move.
pub(super) fn limit(space: &Space, percent: u64) -> Option<u64> {
    let free = space.free_pages();
    let live = space.end().saturating_sub(free);
    // The inner pages on the way to what moves are rewritten too.
    let ways = live / 64 + 16;
    let limit = (live.saturating_mul(percent) / 100).saturating_add(ways);
    if space.end() <= limit.saturating_add(LEAST_GAIN) {
        return None;
    }
    let free_above = space.free_pages_from(limit);
    let moving = space.end() - limit - free_above;
    (moving + ways <= free - free_above).then_some(limit)
}

/// Pages that a move must at least give back.
const LEAST_GAIN: u64 = 64;

/// Rewrites the trees of `base` without the pages from `limit` on. `None` where nothing can move.
pub(super) fn relocate(
    base: &Checkpoint,
    mapped: &Mapped,
    limit: u64,
    old_list: &[Extent],
    writer: &mut PageWriter<'_>,
) -> Result<Option<Built>> {
    let mut pass = Relocation { mapped, limit, writer };
    let mut tables: Vec<TableEntry> = base.tables.clone();
    for table in &mut tables {
        if table.root.level > MAX_LEVEL {
            return Err(mapped.corrupt(table.root.root.page, "its tree is deeper than any can be"));
        }
        if !table.root.root.is_null()
            && let Some(root) = pass.subtree(&table.root.root, table.root.level)?
        {
            table.root.root = root;
        }
    }
    let catalogue = &base.meta.catalogue;
    if !pass.writer.changed_space()
        && !old_list.iter().any(|extent| extent.first >= limit)
        && (catalogue.root.is_null() || !pass.reaches(&catalogue.root, catalogue.level)?)
    {
        return Ok(None);
    }
    // The whole catalogue is written anew: it is small, and no page of it may stay behind.
    let all: Vec<TableId> = tables.iter().map(|table| table.id).collect();
    rewrite_catalogue(base, mapped, &all, tables, base.meta.next_table_id, writer).map(Some)
}

struct Relocation<'a, 'f> {
    mapped: &'a Mapped,
    limit: u64,
    writer: &'a mut PageWriter<'f>,
}

impl Relocation<'_, '_> {
    /// Whether a page of the subtree lies past the limit.
    fn reaches(&self, pointer: &Pointer, level: u8) -> Result<bool> {
        if pointer.page >= self.limit || level == 0 {
            return Ok(pointer.page >= self.limit);
        }
        let node = Node::new(self.mapped.get(pointer, level)?, level);
        let children = node.map_or(0, |node| node.count());
        for index in 0..children {
            if let Some(child) = node.and_then(|node| node.child(index))
                && self.reaches(&child, level - 1)?
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The new pointer to a subtree, or `None` where it stays as it is.
    fn subtree(&mut self, pointer: &Pointer, level: u8) -> Result<Option<Pointer>> {
        let moves = pointer.page >= self.limit;
        if level == 0 && !moves && !pointer.holds_runs {
            return Ok(None);
        }
        let mapped = self.mapped;
        let damaged = || mapped.corrupt(pointer.page, "it changed after it was checked");
        let page = mapped.get(pointer, level)?;
        let node = Node::new(page, level).ok_or_else(damaged)?;
        // Bytes to write over those of the old page, each with its place.
        let mut patches: Vec<(usize, Vec<u8>)> = Vec::new();
        for index in 0..node.count() {
            if level > 0 {
                let child = node.child(index).ok_or_else(damaged)?;
                if let Some(new) = self.subtree(&child, level - 1)? {
                    patches.push((node.child_place(index), new.encode().to_vec()));
                }
            } else if pointer.holds_runs
                && let LeafValue::Run(run) = node.leaf_value(index).ok_or_else(damaged)?
                && let Some(new) = self.run(&run)?
            {
                let place = node.place(index).ok_or_else(damaged)?;
                patches.push((usize::from(place.value), new.encode().to_vec()));
            }
        }
        if patches.is_empty() && !moves {
            return Ok(None);
        }
        self.writer.free(pointer.page, 1, pointer.birth);
        let table = Stamp::read(page).table;
        let new = self.writer.add_page(table, |out| {
            out.copy_from_slice(page);
            for (place, bytes) in &patches {
                out[*place..][..bytes.len()].copy_from_slice(bytes);
            }
            pointer.holds_runs
        })?;
        Ok(Some(new))
    }

    /// Moves a big value that reaches past the limit, where there is room for it below.
    fn run(&mut self, run: &RunRef) -> Result<Option<RunRef>> {
        let mapped = self.mapped;
        let shape = Shape::of(run.len, self.writer.page_size())
            .filter(|shape| run_fits(run, shape, mapped.end))
            .ok_or_else(|| mapped.corrupt(run.first, "a big value lies outside of the file"))?;
        if run.first + shape.pages() <= self.limit {
            return Ok(None);
        }
        if !self.writer.run_fits_below(shape.pages(), self.limit) {
            return Ok(None);
        }
        let moved = self.writer.add_run(mapped.get_run(run)?)?;
        self.writer.free_run(run)?;
        Ok(Some(moved))
    }
}
