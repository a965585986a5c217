//! A write set on its way to the commit line.
//!
//! Invariants: operations are sorted by (table, key) and no key stands twice, so that log, delta and
//! checkpoint all see one order. Structure changes are operations on the catalogue, table 0, and
//! therefore come first.

use std::sync::Arc;

use super::catalogue::TableInfo;
use super::{CATALOGUE, TableId};

/// Values from this size on are held once, by reference count, and never copied.
pub(crate) const SHARED_VALUE_BYTES: usize = 16 * 1024;

/// A value to be written.
#[derive(Clone, Debug)]
pub(crate) enum Payload {
    /// Copied into log and delta.
    Small(Box<[u8]>),
    /// Held once by log, delta and reader alike.
    Shared(Arc<[u8]>),
}

impl Payload {
    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Payload::Small(bytes) => bytes,
            Payload::Shared(bytes) => bytes,
        }
    }
}

impl From<Vec<u8>> for Payload {
    fn from(bytes: Vec<u8>) -> Payload {
        if bytes.len() >= SHARED_VALUE_BYTES {
            Payload::Shared(bytes.into())
        } else {
            Payload::Small(bytes.into_boxed_slice())
        }
    }
}

/// One operation of a batch: the new value of a record, or `None` for its removal.
#[derive(Clone, Debug)]
pub(crate) struct Op {
    pub(crate) table: TableId,
    pub(crate) key: Box<[u8]>,
    pub(crate) value: Option<Payload>,
}

/// The operations of one commit.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    ops: Vec<Op>,
    bytes: usize,
}

impl Batch {
    /// An empty batch with room for `ops` operations.
    pub(crate) fn with_capacity(ops: usize) -> Batch {
        Batch { ops: Vec::with_capacity(ops), bytes: 0 }
    }

    /// Adds an operation. Operations must come in ascending (table, key) order.
    pub(crate) fn push(&mut self, table: TableId, key: Box<[u8]>, value: Option<Payload>) {
        debug_assert!(
            self.ops.last().is_none_or(|last| (last.table, &last.key) < (table, &key)),
            "operations of a batch are sorted and unique"
        );
        self.bytes += key.len() + value.as_ref().map_or(0, |v| v.bytes().len());
        self.ops.push(Op { table, key, value });
    }

    /// Defines a table anew, or under another name.
    pub(crate) fn define(&mut self, table: &TableInfo) {
        self.push(CATALOGUE, table.key(), Some(table.encode().into()));
    }

    /// Removes a table and all its records.
    pub(crate) fn drop_table(&mut self, table: TableId) {
        self.push(CATALOGUE, TableInfo::key_of(table), None);
    }

    pub(crate) fn ops(&self) -> &[Op] {
        &self.ops
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }

    /// Bytes of keys and values.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether it only removes: records, or tables with theirs.
    pub(crate) fn only_removes(&self) -> bool {
        self.ops.iter().all(|op| op.value.is_none())
    }

    /// Whether it changes the catalogue.
    pub(crate) fn changes_structure(&self) -> bool {
        self.ops.first().is_some_and(|op| op.table == CATALOGUE)
    }
}
