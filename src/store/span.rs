//! A walk over the records of one table in a snapshot, from both ends.
//!
//! Invariants: each cursor stands on the record that it yielded last, so the ends have met exactly
//! when the keys under the two cursors meet, and no key is copied. A cursor is made when its end is
//! first asked. Every step looks at the gate first.

use super::gate::Gate;
use super::key::after_prefix;
use super::value::Guard;
use crate::Result;
use crate::engine::MergeCursor;
use crate::engine::Snapshot;
use crate::engine::{TableId, TableInfo};
use std::ops::Bound;

/// From where to where, in encoded keys.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    pub(crate) low: Bound<Vec<u8>>,
    pub(crate) high: Bound<Vec<u8>>,
}

impl Limits {
    /// The whole table.
    pub(crate) const ALL: Limits = Limits { low: Bound::Unbounded, high: Bound::Unbounded };

    /// All keys that begin with `prefix`.
    pub(crate) fn prefix(prefix: &[u8]) -> Limits {
        Limits {
            low: Bound::Included(prefix.to_vec()),
            high: after_prefix(prefix).map_or(Bound::Unbounded, Bound::Excluded),
        }
    }

    pub(crate) fn above_low(&self, key: &[u8]) -> bool {
        match &self.low {
            Bound::Included(low) => key >= low.as_slice(),
            Bound::Excluded(low) => key > low.as_slice(),
            Bound::Unbounded => true,
        }
    }

    pub(crate) fn below_high(&self, key: &[u8]) -> bool {
        match &self.high {
            Bound::Included(high) => key <= high.as_slice(),
            Bound::Excluded(high) => key < high.as_slice(),
            Bound::Unbounded => true,
        }
    }
}

/// Stands on the first record that `limits` let in from below.
pub(crate) fn seek_low(cursor: &mut MergeCursor<'_>, limits: &Limits) -> Result<()> {
    match &limits.low {
        Bound::Unbounded => cursor.first()?,
        Bound::Included(key) | Bound::Excluded(key) => cursor.seek_ge(key)?,
    }
    if cursor.key().is_some_and(|key| !limits.above_low(key)) {
        cursor.next()?;
    }
    Ok(())
}

/// Stands on the last record that `limits` let in from above.
pub(crate) fn seek_high(cursor: &mut MergeCursor<'_>, limits: &Limits) -> Result<()> {
    match &limits.high {
        Bound::Unbounded => cursor.last()?,
        Bound::Included(key) | Bound::Excluded(key) => cursor.seek_le(key)?,
    }
    if cursor.key().is_some_and(|key| !limits.below_high(key)) {
        cursor.prev()?;
    }
    Ok(())
}

/// The walk itself.
pub(crate) struct Span<'s> {
    gate: &'s Gate,
    snapshot: &'s Snapshot,
    /// `None` for a table that is not there: an empty walk.
    table: Option<TableId>,
    limits: Limits,
    front: Option<MergeCursor<'s>>,
    back: Option<MergeCursor<'s>>,
}

impl<'s> Span<'s> {
    pub(crate) fn new(
        gate: &'s Gate,
        snapshot: &'s Snapshot,
        table: Option<TableId>,
        limits: Limits,
    ) -> Span<'s> {
        Span { gate, snapshot, table, limits, front: None, back: None }
    }

    /// The table, where it is there.
    pub(crate) fn info(&self) -> Option<&TableInfo> {
        self.snapshot.catalogue().by_id(self.table?).map(|info| &**info)
    }

    /// The key that the front, or the back, stands on.
    pub(crate) fn key(&self, front: bool) -> Option<&[u8]> {
        let cursor = if front { &self.front } else { &self.back };
        cursor.as_ref()?.key()
    }

    /// Moves the front on, and gives the cursor that stands on its record.
    pub(crate) fn forward(&mut self) -> Result<Option<&MergeCursor<'s>>> {
        let Some(table) = self.table else { return Ok(None) };
        self.gate.pass()?;
        match &mut self.front {
            Some(cursor) => cursor.next()?,
            None => {
                let mut cursor = self.snapshot.cursor(table);
                seek_low(&mut cursor, &self.limits)?;
                self.front = Some(cursor);
            }
        }
        let back = self.back.as_ref().and_then(|cursor| cursor.key());
        let front = self.front.as_ref().filter(|cursor| {
            cursor.key().is_some_and(|key| {
                self.limits.below_high(key) && back.is_none_or(|back| key < back)
            })
        });
        if front.is_none() {
            self.table = None;
        }
        Ok(front)
    }

    /// Moves the back on, and gives the cursor that stands on its record.
    pub(crate) fn backward(&mut self) -> Result<Option<&MergeCursor<'s>>> {
        let Some(table) = self.table else { return Ok(None) };
        self.gate.pass()?;
        match &mut self.back {
            Some(cursor) => cursor.prev()?,
            None => {
                let mut cursor = self.snapshot.cursor(table);
                seek_high(&mut cursor, &self.limits)?;
                self.back = Some(cursor);
            }
        }
        let front = self.front.as_ref().and_then(|cursor| cursor.key());
        let back = self.back.as_ref().filter(|cursor| {
            cursor.key().is_some_and(|key| {
                self.limits.above_low(key) && front.is_none_or(|front| key > front)
            })
        });
        if back.is_none() {
            self.table = None;
        }
        Ok(back)
    }
}

/// The value under a cursor that stands on a record. It borrows from the snapshot and not from the
/// cursor, so it lasts while the walk goes on, without a copy.
pub(crate) fn value_of<'s>(cursor: &MergeCursor<'s>) -> Result<Guard<'s>> {
    let value = cursor.value()?.expect("a cursor that has a key has a value");
    Ok(Guard::new(value))
}
