//! A walk over the records of one table as a write handle sees them: its own writes over the newest
//! published commit.
//!
//! The walk holds a snapshot of its own and the handle's writes as they were when it began (shared,
//! and copied only if the handle writes on meanwhile), so it never sees what is written during it.
//! Records come in portions that are copied out: a write handle gives out owned values only, and no
//! cursor has to live inside the iterator beside the snapshot that it borrows from. It looks at no
//! gate: while a write handle lives, no backup freezes reads.

use super::span::{Limits, seek_high, seek_low};
use super::value::Guard;
use super::writes::Writes;
use crate::Result;
use crate::engine::MergeCursor;
use crate::engine::Snapshot;
use crate::engine::{TableId, TableInfo};
use std::cmp::Ordering;
use std::collections::VecDeque;
use std::ops::Bound;
use std::sync::Arc;

/// A portion ends when it has so many records, or so many bytes of values.
const CHUNK_RECORDS: usize = 64;
const CHUNK_BYTES: usize = 64 * 1024;

type Record<'a> = (Box<[u8]>, Guard<'a>);

/// The walk itself.
pub(crate) struct Chunks<'a> {
    snapshot: Snapshot,
    writes: Arc<Writes>,
    table: TableId,
    /// What is neither given out nor in a portion yet.
    rest: Limits,
    front: VecDeque<Record<'a>>,
    back: VecDeque<Record<'a>>,
    /// Nothing is left between the portions.
    exhausted: bool,
}

impl<'a> Chunks<'a> {
    pub(crate) fn new(
        snapshot: Snapshot,
        writes: Arc<Writes>,
        table: TableId,
        limits: Limits,
    ) -> Chunks<'a> {
        let (front, back) = Default::default();
        Chunks { snapshot, writes, table, rest: limits, front, back, exhausted: false }
    }

    /// The table, where it was there before the handle.
    pub(crate) fn info(&self) -> Option<&TableInfo> {
        self.snapshot.catalogue().by_id(self.table).map(|info| &**info)
    }

    /// The next record from below.
    pub(crate) fn forward(&mut self) -> Result<Option<Record<'a>>> {
        if self.front.is_empty() && !self.exhausted {
            self.front = self.portion(true)?;
            if let Some((key, _)) = self.front.back() {
                self.rest.low = Bound::Excluded(key.to_vec());
            }
        }
        Ok(self.front.pop_front().or_else(|| self.back.pop_back()))
    }

    /// The next record from above.
    pub(crate) fn backward(&mut self) -> Result<Option<Record<'a>>> {
        if self.back.is_empty() && !self.exhausted {
            self.back = self.portion(false)?;
            if let Some((key, _)) = self.back.back() {
                self.rest.high = Bound::Excluded(key.to_vec());
            }
        }
        Ok(self.back.pop_front().or_else(|| self.front.pop_back()))
    }

    /// The next portion of the rest from one end, the outermost record first.
    fn portion(&mut self, forward: bool) -> Result<VecDeque<Record<'a>>> {
        let mut portion = VecDeque::new();
        let mut bytes = 0;
        let mut own = self.writes.within(&self.rest, forward).peekable();
        let mut stored = self.snapshot.cursor(self.table);
        if forward {
            seek_low(&mut stored, &self.rest)?;
        } else {
            seek_high(&mut stored, &self.rest)?;
        }
        while portion.len() < CHUNK_RECORDS && bytes < CHUNK_BYTES {
            let key = stored.key().filter(|key| {
                if forward { self.rest.below_high(key) } else { self.rest.above_low(key) }
            });
            let order = match (own.peek(), key) {
                (None, None) => {
                    self.exhausted = true;
                    break;
                }
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some((own, _)), Some(stored)) if forward => (***own).cmp(stored),
                (Some((own, _)), Some(stored)) => stored.cmp(own),
            };
            if order == Ordering::Greater {
                let key = key.expect("the greater of two is there").into();
                let value = stored.value()?.expect("a cursor that has a key has a value");
                portion.push_back((key, Guard::detached(value)));
            } else if let Some((key, Some(payload))) = own.next() {
                portion.push_back((key.clone(), payload.guard()));
            }
            bytes += portion.back().map_or(0, |(_, value)| value.len());
            if order != Ordering::Less {
                step(&mut stored, forward)?;
            }
        }
        Ok(portion)
    }
}

fn step(cursor: &mut MergeCursor<'_>, forward: bool) -> Result<()> {
    if forward { cursor.next() } else { cursor.prev() }
}
