//! Dropping a table: all of its pages become free.
//!
//! The pointers of the inner pages say which pages those are, so a leaf is read only where it refers
//! to big values. This happens in the writing of a checkpoint, in nobody's way.

use super::page::{LeafValue, MAX_LEVEL, Node};
use super::pointer::{Pointer, TableRoot};
use super::source::{Mapped, PageSource};
use super::writer::PageWriter;
use crate::error::Result;

/// Frees all pages of a table. Leaves are read only where they refer to runs.
pub(super) fn free_table(
    mapped: &Mapped,
    table: &TableRoot,
    writer: &mut PageWriter<'_>,
) -> Result<()> {
    if table.root.is_null() {
        return Ok(());
    }
    if table.level > MAX_LEVEL {
        return Err(mapped.corrupt(table.root.page, "its tree is deeper than any can be"));
    }
    free_subtree(mapped, &table.root, table.level, writer)
}

fn free_subtree(
    mapped: &Mapped,
    pointer: &Pointer,
    level: u8,
    writer: &mut PageWriter<'_>,
) -> Result<()> {
    writer.free_unread(pointer)?;
    if level == 0 && !pointer.holds_runs {
        return Ok(());
    }
    let damaged = || mapped.corrupt(pointer.page, "it changed after it was checked");
    let node = Node::new(mapped.get(pointer, level)?, level).ok_or_else(damaged)?;
    for index in 0..node.count() {
        if level > 0 {
            let child = node.child(index).ok_or_else(damaged)?;
            free_subtree(mapped, &child, level - 1, writer)?;
        } else if let LeafValue::Run(run) = node.leaf_value(index).ok_or_else(damaged)? {
            writer.free_run(&run)?;
        }
    }
    Ok(())
}
