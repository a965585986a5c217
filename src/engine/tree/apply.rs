//! Bringing a sorted batch of changes into a tree, copy on write.
//!
//! One pass from left to right over the old tree: subtrees that no change falls into are taken over
//! by their pointer and not read; leaves with changes are merged with them into the [`Builder`] of the
//! leaf level, whose pages go to the builder above, and so on up to a new root. Memory is a few pages
//! a level, whatever the size of the tree and of the batch.
//!
//! Before a subtree is taken over, the builders below it are emptied into pages. Where that would
//! leave a page poorly filled, the subtree is opened instead and its entries flow in: so siblings
//! merge, and deletes give space back. A page that is opened is freed.

use super::build::{Builder, Cut};
use super::page::{LEAF_ENTRY, LeafValue, MAX_LEVEL, Node, inline_limit, max_key_len};
use super::pointer::{Pointer, RUN_LEN, RunRef, TableRoot};
use super::source::{Mapped, PageSource};
use super::writer::PageWriter;
use crate::engine::{Change, TableId};
use crate::error::{Error, ErrorKind, Result};

/// Changes in the order of table and key, one for each key: the newest. Those of the catalogue
/// (table 0) come first by themselves.
pub(crate) trait ChangeSource {
    /// The change it stands on; `None` after the last.
    fn current(&self) -> Option<(TableId, &[u8], Change<'_>)>;
    /// Goes to the next.
    fn advance(&mut self) -> Result<()>;
}

/// Applies to the tree at `root` the changes of `table` that `changes` stands on, up to the first of
/// another table. Returns the new root.
pub(crate) fn apply(
    base: &Mapped,
    root: TableRoot,
    table: TableId,
    changes: &mut dyn ChangeSource,
    writer: &mut PageWriter<'_>,
) -> Result<TableRoot> {
    let mut pass = Pass { base, table, changes, writer, levels: Vec::new(), records: root.records };
    if pass.next_key().is_none() {
        return Ok(root);
    }
    if root.level > MAX_LEVEL {
        return Err(base.corrupt(root.root.page, "its tree is deeper than any can be"));
    }
    if root.root.is_null() {
        pass.merge_leaf(None, &[], None)?;
    } else {
        pass.subtree(&root.root, root.level, &[], None)?;
    }
    pass.finish()
}

/// Whether the keys of a page lie in `[low, high)`, so that they follow those of the pages before it.
/// `None` where the page changed after it was checked.
fn is_within(node: &Node<'_>, level: u8, low: &[u8], high: Option<&[u8]>) -> Option<bool> {
    let last = node.count() - 1;
    let (first, last) = match level {
        0 => (node.leaf_key(0)?, node.leaf_key(last)?),
        // The first separator is the bound from above, and is not stored.
        _ if last == 0 => return Some(true),
        _ => (node.separator(1)?, node.separator(last)?),
    };
    let above_low = if level == 0 { first >= low } else { first > low };
    Some(above_low && high.is_none_or(|high| last < high))
}

struct Pass<'a, 'f> {
    base: &'a Mapped,
    table: TableId,
    changes: &'a mut dyn ChangeSource,
    writer: &'a mut PageWriter<'f>,
    /// The builder of each level, the leaves' first.
    levels: Vec<Builder>,
    records: u64,
}

impl Pass<'_, '_> {
    /// The key of the change that is next, while it is one of this table.
    fn next_key(&self) -> Option<&[u8]> {
        match self.changes.current() {
            Some((table, key, _)) if table == self.table => Some(key),
            _ => None,
        }
    }

    fn changes_below(&self, high: Option<&[u8]>) -> bool {
        match (self.next_key(), high) {
            (Some(key), Some(high)) => key < high,
            (Some(_), None) => true,
            (None, _) => false,
        }
    }

    /// The old subtree under `pointer`, whose keys lie in `[low, high)`.
    fn subtree(
        &mut self,
        pointer: &Pointer,
        level: u8,
        low: &[u8],
        high: Option<&[u8]>,
    ) -> Result<()> {
        if !self.changes_below(high) && self.close_below(level)? {
            return self.push_child(usize::from(level) + 1, low, *pointer);
        }
        let base = self.base;
        let page = base.get(pointer, level)?;
        let node = Node::new(page, level)
            .ok_or_else(|| base.corrupt(pointer.page, "it is not of the level its parent says"))?;
        if !is_within(&node, level, low, high).unwrap_or(false) {
            return Err(
                base.corrupt(pointer.page, "its keys lie outside of the bounds of its parent")
            );
        }
        self.writer.free(pointer.page, 1, pointer.birth);
        if level == 0 {
            return self.merge_leaf(Some((pointer.page, node)), low, high);
        }
        let damaged = || base.corrupt(pointer.page, "it changed after it was checked");
        for index in 0..node.count() {
            let child = node.child(index).ok_or_else(damaged)?;
            let child_low = match index {
                0 => low,
                _ => node.separator(index).ok_or_else(damaged)?,
            };
            let child_high = match index + 1 {
                next if next == node.count() => high,
                next => Some(node.separator(next).ok_or_else(damaged)?),
            };
            self.subtree(&child, level - 1, child_low, child_high)?;
        }
        Ok(())
    }

    /// Merges an old leaf with the changes below `high`.
    fn merge_leaf(
        &mut self,
        old: Option<(u64, Node<'_>)>,
        low: &[u8],
        high: Option<&[u8]>,
    ) -> Result<()> {
        if self.level(0).is_empty() {
            self.level(0).set_low(low);
        }
        if let Some((page, node)) = old {
            for index in 0..node.count() {
                self.merge_entry(page, &node, index)?;
            }
        }
        while self.changes_below(high) {
            self.put_change()?;
        }
        Ok(())
    }

    /// Takes over an old entry, after the changes before it, unless a change replaces it.
    fn merge_entry(&mut self, page: u64, node: &Node<'_>, index: usize) -> Result<()> {
        let base = self.base;
        let damaged = || base.corrupt(page, "it changed after it was checked");
        let key = node.leaf_key(index).ok_or_else(damaged)?;
        while let Some(next) = self.next_key() {
            match next.cmp(key) {
                std::cmp::Ordering::Greater => break,
                std::cmp::Ordering::Less => self.put_change()?,
                std::cmp::Ordering::Equal => {
                    if let LeafValue::Run(run) = node.leaf_value(index).ok_or_else(damaged)? {
                        self.writer.free_run(&run)?;
                    }
                    self.records = self.records.saturating_sub(1);
                    return self.put_change();
                }
            }
        }
        let cell = node.leaf_cell(index).ok_or_else(damaged)?;
        self.level(0).push_cell(cell);
        self.give_off(0)
    }

    /// Takes the change that is next, for a key that no old entry has (any more).
    fn put_change(&mut self) -> Result<()> {
        if let Some((_, key, Change::Put(value))) = self.changes.current() {
            let size = self.writer.page_size();
            if key.len() > max_key_len(size) {
                return Err(Error::new(
                    ErrorKind::Limit,
                    format!("a key has {} bytes; {} is the most", key.len(), max_key_len(size)),
                ));
            }
            let inline = LEAF_ENTRY + key.len() + value.len() <= inline_limit(size)
                || value.len() <= RUN_LEN;
            let builder = &mut self.levels[0];
            if inline {
                builder.push_record(key, value, false);
            } else {
                let run: RunRef = self.writer.add_run(value)?;
                builder.push_record(key, &run.encode(), true);
            }
            self.records = self.records.saturating_add(1);
        }
        self.changes.advance()?;
        self.give_off(0)
    }

    fn level(&mut self, level: usize) -> &mut Builder {
        while self.levels.len() <= level {
            let next = self.levels.len() as u8;
            self.levels.push(Builder::new(next, self.writer.page_size()));
        }
        &mut self.levels[level]
    }

    fn push_child(&mut self, level: usize, low: &[u8], child: Pointer) -> Result<()> {
        self.level(level).push_child(low, child);
        self.give_off(level)
    }

    /// Makes full pages of what a level has too much of.
    fn give_off(&mut self, level: usize) -> Result<()> {
        while self.levels[level].overflows() {
            self.make_page(level, Cut::Full)?;
        }
        Ok(())
    }

    fn make_page(&mut self, level: usize, cut: Cut) -> Result<()> {
        let builder = &mut self.levels[level];
        let mut low = Vec::new();
        let pointer = self.writer.add_page(self.table, |out| {
            let (bound, runs) = builder.fill(cut, out);
            low = bound;
            runs
        })?;
        self.push_child(level + 1, &low, pointer)
    }

    /// Empties the builders up to `level` into pages, so that a subtree of that level can follow.
    /// `false` where a page would be poorly filled: then the subtree must be opened.
    fn close_below(&mut self, level: u8) -> Result<bool> {
        for level in 0..=usize::from(level) {
            if !self.level(level).fills_pages() {
                return Ok(false);
            }
            while !self.levels[level].is_empty() {
                self.make_page(level, Cut::Even)?;
            }
        }
        Ok(true)
    }

    /// Makes pages of all that is left, up to the root. The right edge is packed full.
    fn finish(mut self) -> Result<TableRoot> {
        let mut level = 0;
        let mut only: Option<Pointer> = None;
        loop {
            let above_is_empty =
                self.levels.get(level + 1..).is_none_or(|rest| rest.iter().all(Builder::is_empty));
            if let Some(root) = self.levels[level].only_child().filter(|_| above_is_empty) {
                only = Some(root);
                break;
            }
            if self.levels[level].is_empty() && above_is_empty {
                break;
            }
            while !self.levels[level].is_empty() {
                self.make_page(level, Cut::Full)?;
            }
            level += 1;
        }
        Ok(match only {
            Some(root) => TableRoot { root, level: level as u8 - 1, records: self.records },
            None => TableRoot { records: 0, ..TableRoot::EMPTY },
        })
    }
}
