//! One cursor over deltas and tree.
//!
//! Every source is a cursor of its own in key order; the merge stands on the least key (going
//! forward) or the greatest (going back) of all, and among equals the newest source speaks. A
//! tombstone hides what lies under it.
//!
//! Invariants: sources are ordered newest first; all of them stand on the same side of the merged
//! position, so turning round means seeking anew. Deltas without entries at creation are left out:
//! what enters them later has a higher LSN than the snapshot's.

use super::delta::{Delta, DeltaCursor};
use super::tree::{Checkpoint, TreeCursor};
use super::{Change, Lsn, TableId};
use crate::error::Result;

#[derive(Clone, Copy, PartialEq)]
enum Direction {
    Forward,
    Backward,
}

/// A cursor over the records of one table at one LSN.
pub(crate) struct MergeCursor<'s> {
    deltas: Vec<DeltaSource<'s>>,
    tree: Option<TreeCursor<'s>>,
    table: TableId,
    direction: Direction,
    current: Option<Current<'s>>,
    /// Whether tombstones are shown (for whoever counts or merges changes) or skipped.
    tombstones: bool,
}

struct DeltaSource<'s> {
    cursor: DeltaCursor<'s>,
    table: TableId,
}

/// Where the merge stands: an entry of a delta, or the record under the tree's cursor.
#[derive(Clone, Copy)]
enum Current<'s> {
    Delta(&'s [u8], Change<'s>),
    Tree,
}

impl<'s> DeltaSource<'s> {
    /// The entry under the cursor while it is within the table.
    fn entry(&self) -> Option<(&'s [u8], Change<'s>)> {
        let (table, key, _, change) = self.cursor.current()?;
        (table == self.table).then_some((key, change))
    }
}

impl<'s> MergeCursor<'s> {
    pub(crate) fn new(
        checkpoint: &'s Checkpoint,
        deltas: impl Iterator<Item = &'s Delta>,
        table: TableId,
        lsn: Lsn,
    ) -> MergeCursor<'s> {
        let mut cursor = MergeCursor::changes(deltas, table, lsn);
        cursor.tombstones = false;
        cursor.tree = checkpoint.table(table).is_some().then(|| checkpoint.cursor(table));
        cursor
    }

    /// A cursor over what the deltas alone say of one table, tombstones included.
    pub(crate) fn changes(
        deltas: impl Iterator<Item = &'s Delta>,
        table: TableId,
        lsn: Lsn,
    ) -> MergeCursor<'s> {
        let deltas = deltas
            .filter(|delta| delta.len() > 0)
            .map(|delta| DeltaSource { cursor: delta.cursor(lsn), table })
            .collect();
        MergeCursor {
            deltas,
            tree: None,
            table,
            direction: Direction::Forward,
            current: None,
            tombstones: true,
        }
    }

    /// The key it stands on.
    pub(crate) fn key(&self) -> Option<&[u8]> {
        match self.current? {
            Current::Delta(key, _) => Some(key),
            Current::Tree => tree_key(self.tree.as_ref()),
        }
    }

    /// The value it stands on; it lasts when the cursor moves on.
    pub(crate) fn value(&self) -> Result<Option<super::value::Value<'s>>> {
        match self.current {
            Some(Current::Delta(_, Change::Put(bytes))) => {
                Ok(Some(super::value::Value::Borrowed(bytes)))
            }
            Some(Current::Tree) => match &self.tree {
                Some(tree) => tree.value().map(Some),
                None => Ok(None),
            },
            Some(Current::Delta(_, Change::Delete)) | None => Ok(None),
        }
    }

    /// The change it stands on (of a cursor over changes).
    pub(crate) fn change(&self) -> Option<(&'s [u8], Change<'s>)> {
        match self.current? {
            Current::Delta(key, change) => Some((key, change)),
            Current::Tree => None,
        }
    }

    /// Stands on the first record at or after `key`.
    pub(crate) fn seek_ge(&mut self, key: &[u8]) -> Result<()> {
        self.direction = Direction::Forward;
        for source in &mut self.deltas {
            source.cursor.seek_ge(self.table, key);
        }
        if let Some(tree) = &mut self.tree {
            tree.seek_ge(key)?;
        }
        self.settle()
    }

    /// Stands on the last record at or before `key`.
    pub(crate) fn seek_le(&mut self, key: &[u8]) -> Result<()> {
        self.direction = Direction::Backward;
        for source in &mut self.deltas {
            source.cursor.seek_le(self.table, key);
        }
        if let Some(tree) = &mut self.tree {
            tree.seek_le(key)?;
        }
        self.settle()
    }

    /// Stands on the first record.
    pub(crate) fn first(&mut self) -> Result<()> {
        self.direction = Direction::Forward;
        for source in &mut self.deltas {
            source.cursor.seek_ge(self.table, &[]);
        }
        if let Some(tree) = &mut self.tree {
            tree.first()?;
        }
        self.settle()
    }

    /// Stands on the last record.
    pub(crate) fn last(&mut self) -> Result<()> {
        self.direction = Direction::Backward;
        for source in &mut self.deltas {
            source.cursor.seek_last(self.table);
        }
        if let Some(tree) = &mut self.tree {
            tree.last()?;
        }
        self.settle()
    }

    /// Moves to the next record in ascending order. Does nothing past the end.
    pub(crate) fn next(&mut self) -> Result<()> {
        self.step(Direction::Forward)
    }

    /// Moves to the next record in descending order. Does nothing past the start.
    pub(crate) fn prev(&mut self) -> Result<()> {
        self.step(Direction::Backward)
    }

    fn step(&mut self, direction: Direction) -> Result<()> {
        if self.current.is_none() {
            return Ok(());
        }
        if self.deltas.is_empty() {
            // The common case of a merged store: the tree alone, which turns round by itself.
            self.direction = direction;
            if let Some(tree) = &mut self.tree {
                match direction {
                    Direction::Forward => tree.next()?,
                    Direction::Backward => tree.prev()?,
                };
                if !tree.is_on_record() {
                    self.current = None;
                }
            }
            return Ok(());
        }
        if self.direction != direction {
            let key = self.key().map(<[u8]>::to_vec).unwrap_or_default();
            match direction {
                Direction::Forward => self.seek_ge(&key)?,
                Direction::Backward => self.seek_le(&key)?,
            }
        }
        self.leave_current()?;
        self.settle()
    }

    /// Moves every source that stands on the current key past it.
    fn leave_current(&mut self) -> Result<()> {
        let Some(current) = self.current else { return Ok(()) };
        let forward = self.direction == Direction::Forward;
        let in_tree = match current {
            Current::Tree => true,
            Current::Delta(key, _) => tree_key(self.tree.as_ref()) == Some(key),
        };
        if let Current::Delta(key, _) = current {
            for source in &mut self.deltas {
                if source.entry().is_some_and(|(other, _)| other == key) {
                    if forward {
                        source.cursor.next();
                    } else {
                        source.cursor.prev();
                    }
                }
            }
        }
        if in_tree && let Some(tree) = &mut self.tree {
            if forward {
                tree.next()?
            } else {
                tree.prev()?
            };
        }
        Ok(())
    }

    /// Finds the key that comes first in the direction of travel, skipping tombstones.
    fn settle(&mut self) -> Result<()> {
        loop {
            let mut best: Option<(&'s [u8], Change<'s>)> = None;
            for source in &self.deltas {
                if let Some((key, change)) = source.entry()
                    && best.is_none_or(|(other, _)| self.comes_before(key, other))
                {
                    best = Some((key, change));
                }
            }
            let tree_key = tree_key(self.tree.as_ref());
            self.current = match (best, tree_key) {
                (Some((key, _)), Some(tree_key)) if self.comes_before(tree_key, key) => {
                    Some(Current::Tree)
                }
                (Some((key, change)), _) => Some(Current::Delta(key, change)),
                (None, Some(_)) => Some(Current::Tree),
                (None, None) => None,
            };
            match self.current {
                Some(Current::Delta(_, Change::Delete)) if !self.tombstones => {
                    self.leave_current()?;
                }
                _ => return Ok(()),
            }
        }
    }

    fn comes_before(&self, a: &[u8], b: &[u8]) -> bool {
        match self.direction {
            Direction::Forward => a < b,
            Direction::Backward => a > b,
        }
    }
}

/// The key that the tree's cursor stands on.
fn tree_key<'t>(tree: Option<&'t TreeCursor<'_>>) -> Option<&'t [u8]> {
    tree.filter(|tree| tree.is_on_record()).map(TreeCursor::key)
}
