//! The delta: committed records in memory that are not yet in the tree.
//!
//! Ordered by table, key and LSN. One writer, the leader of the commit line, inserts; any number of
//! readers look in without locks and without waiting. Readers pass the LSN they read at and see of
//! each record the newest version that is not younger.
//!
//! Invariants:
//! - What the writer inserted before it published an LSN is found whole by every reader that has
//!   seen that LSN published (with Acquire). What it inserts later has a higher LSN and disturbs
//!   nobody.
//! - Nothing is taken out and nothing is freed before the delta drops. Values of 16 KiB or more are
//!   held once, as `Arc<[u8]>`, and given back exactly once, then.
//! - An empty delta owns no memory of its own, so that making one costs next to nothing.
//!
//! It does not know what is published, when it is full, or what a tree is: those who use it do.

mod arena;
mod cursor;
mod filter;
mod node;
mod record;
mod writer;

#[cfg(test)]
mod tests;

pub(crate) use cursor::DeltaCursor;
pub(crate) use writer::DeltaWriter;

use super::{Change, Lsn, TableId};
use arena::{Arena, ChildLink};
use filter::Filter;
use node::{Inner, Leaf, Probe, leaf_for};
use record::SharedValues;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A change as it is handed to a delta.
pub(crate) enum DeltaChange<'a> {
    /// The record has this value. The bytes are copied.
    Put(&'a [u8]),
    /// The record has this value, which the delta holds as it is.
    Shared(Arc<[u8]>),
    /// The record is no more.
    Delete,
}

/// What readers see of a delta.
pub(crate) struct Delta {
    root: ChildLink<Leaf, Inner>,
    filter: Filter,
    versions: AtomicUsize,
    // Before the arena, in which it has its chain: fields drop in the order of their declaration.
    shared: SharedValues,
    arena: Arc<Arena>,
}

impl Delta {
    /// An empty delta and its one writer.
    pub(crate) fn new() -> (Arc<Delta>, DeltaWriter) {
        let (arena, arena_writer) = Arena::new();
        let delta = Arc::new(Delta {
            root: ChildLink::none(),
            filter: Filter::new(),
            versions: AtomicUsize::new(0),
            shared: SharedValues::new(),
            arena,
        });
        let writer = DeltaWriter::new(Arc::clone(&delta), arena_writer);
        (delta, writer)
    }

    /// Hash of a record's name, for [`get_hashed`](Delta::get_hashed). The same for all deltas.
    #[inline]
    pub(crate) fn hash(table: TableId, key: &[u8]) -> u64 {
        filter::hash(table, key)
    }

    /// The newest change of a record that is not younger than `at`, if the delta has one.
    #[inline]
    #[cfg(test)]
    pub(crate) fn get(&self, table: TableId, key: &[u8], at: Lsn) -> Option<Change<'_>> {
        self.get_hashed(Delta::hash(table, key), table, key, at)
    }

    /// As [`get`](Delta::get), with the hash computed by the caller: once for several deltas.
    #[inline]
    pub(crate) fn get_hashed(
        &self,
        hash: u64,
        table: TableId,
        key: &[u8],
        at: Lsn,
    ) -> Option<Change<'_>> {
        if self.filter.may_have(hash) { self.find(table, key, at) } else { None }
    }

    fn find(&self, table: TableId, key: &[u8], at: Lsn) -> Option<Change<'_>> {
        let probe = Probe::at(table, key);
        let leaf = leaf_for(self.root.get()?, &probe);
        let order = leaf.order();
        let (place, exact) = leaf.search(order, &probe);
        if !exact {
            return None;
        }
        Some(leaf.record(order, place).visible(at)?.change())
    }

    /// A cursor that sees what is not younger than `at`.
    pub(crate) fn cursor(&self, at: Lsn) -> DeltaCursor<'_> {
        DeltaCursor::new(self, at)
    }

    /// Memory held, in bytes: chunks, shared values, filter and the delta itself.
    pub(crate) fn bytes(&self) -> usize {
        size_of::<Delta>() + self.arena.bytes() + self.shared.bytes() + self.filter.bytes()
    }

    /// Number of versions inserted.
    pub(crate) fn len(&self) -> usize {
        self.versions.load(Ordering::Relaxed)
    }
}
