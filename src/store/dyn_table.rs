//! Tables without their Rust types, as the catalogue describes them: for the command line, the
//! console, exports, and programs that do not know the types they meet.
//!
//! Keys are given as text or as JSON (see [`KeyType`](crate::KeyType)), values as JSON or as the
//! stored bytes. Whatever is written here can be read through a typed [`Table`](crate::Table), and
//! the other way round.

use super::describe::{TableDescription, of_record};
use super::read::ReadHandle;
use super::span::{Limits, Span, value_of};
use super::value::Guard;
use super::write::WriteHandle;
use crate::Result;
use serde_json::Value as Json;
use std::fmt;

/// A table of any types in a [`ReadHandle`].
#[derive(Clone)]
pub struct DynTable<'h> {
    handle: &'h ReadHandle,
    description: TableDescription,
}

impl<'h> DynTable<'h> {
    pub(crate) fn new(handle: &'h ReadHandle, description: TableDescription) -> DynTable<'h> {
        DynTable { handle, description }
    }

    /// Name and types.
    pub fn description(&self) -> &TableDescription {
        &self.description
    }

    /// The stored bytes of the value under the encoded key `key` (see
    /// [`KeyType::encode_text`](crate::KeyType::encode_text)).
    ///
    /// # Errors
    /// Those of [`Table::get_raw`](crate::Table::get_raw).
    pub fn get_raw(&self, key: &[u8]) -> Result<Option<Guard<'h>>> {
        self.handle.gate().pass()?;
        Ok(self.handle.snapshot().get(self.description.id, key)?.map(Guard::new))
    }

    /// The value of the key typed as `key`, as JSON.
    ///
    /// # Errors
    /// Those of [`DynTable::get_raw`]; [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) where the
    /// text is no key of this table.
    pub fn get(&self, key: &str) -> Result<Option<Json>> {
        let key = self.description.key_type.encode_text(key)?;
        let stored = self.get_raw(&key)?;
        let json = stored.map(|stored| self.description.value_type.decode_json(&stored));
        let info = || self.description.to_info();
        json.transpose().map_err(|error| of_record(error, Some(&info()), &key))
    }

    /// All records in key order; `.rev()` gives them the other way.
    ///
    /// # Errors
    /// What waiting for a backup gives; each step has its own.
    pub fn iter(&self) -> Result<DynRange<'h>> {
        self.walk(Limits::ALL)
    }

    /// The records from the encoded key `low` on, and before the encoded key `high`.
    ///
    /// # Errors
    /// Those of [`DynTable::iter`].
    pub fn range_raw(&self, low: Option<&[u8]>, high: Option<&[u8]>) -> Result<DynRange<'h>> {
        use std::ops::Bound::{Excluded, Included, Unbounded};
        self.walk(Limits {
            low: low.map_or(Unbounded, |key| Included(key.to_vec())),
            high: high.map_or(Unbounded, |key| Excluded(key.to_vec())),
        })
    }

    /// How many records there are.
    ///
    /// # Errors
    /// Those of [`Table::len`](crate::Table::len).
    pub fn len(&self) -> Result<u64> {
        self.handle.gate().pass()?;
        self.handle.snapshot().len(self.description.id)
    }

    /// Whether there are none.
    ///
    /// # Errors
    /// Those of [`Table::is_empty`](crate::Table::is_empty).
    pub fn is_empty(&self) -> Result<bool> {
        Ok(self.iter()?.span.forward()?.is_none())
    }

    fn walk(&self, limits: Limits) -> Result<DynRange<'h>> {
        self.handle.gate().pass()?;
        let (gate, snapshot) = (self.handle.gate(), self.handle.snapshot());
        Ok(DynRange {
            span: Box::new(Span::new(gate, snapshot, Some(self.description.id), limits)),
            description: self.description.clone(),
        })
    }
}

impl fmt::Debug for DynTable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("DynTable").field(&self.description).finish()
    }
}

/// An iterator over the records of a [`DynTable`], from both ends.
pub struct DynRange<'h> {
    span: Box<Span<'h>>,
    description: TableDescription,
}

/// A record as it is stored, and how it reads.
#[derive(Debug)]
pub struct DynRecord<'h> {
    /// The encoded key.
    pub key: Box<[u8]>,
    /// The stored bytes of the value.
    pub value: Guard<'h>,
    description: TableDescription,
}

impl DynRecord<'_> {
    /// The key as JSON.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`](crate::ErrorKind::Corrupt) where it is no key of its table.
    pub fn key_json(&self) -> Result<Json> {
        self.description.key_type.decode_json(&self.key)
    }

    /// The key as a person types it.
    ///
    /// # Errors
    /// Those of [`DynRecord::key_json`].
    pub fn key_text(&self) -> Result<String> {
        self.description.key_type.decode_text(&self.key)
    }

    /// The value as JSON.
    ///
    /// # Errors
    /// [`ErrorKind::Unreadable`](crate::ErrorKind::Unreadable) where it is no value of its table.
    pub fn value_json(&self) -> Result<Json> {
        let json = self.description.value_type.decode_json(&self.value);
        json.map_err(|error| of_record(error, Some(&self.description.to_info()), &self.key))
    }
}

impl<'h> DynRange<'h> {
    fn step(&mut self, forward: bool) -> Option<Result<DynRecord<'h>>> {
        let cursor = if forward { self.span.forward() } else { self.span.backward() };
        let record = cursor.and_then(|cursor| {
            let Some(cursor) = cursor else { return Ok(None) };
            let key = cursor.key().expect("a walk gives only cursors that stand on a record");
            let value = value_of(cursor)?;
            Ok(Some(DynRecord { key: key.into(), value, description: self.description.clone() }))
        });
        record.transpose()
    }
}

impl<'h> Iterator for DynRange<'h> {
    type Item = Result<DynRecord<'h>>;

    fn next(&mut self) -> Option<Self::Item> {
        self.step(true)
    }
}

impl DoubleEndedIterator for DynRange<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        self.step(false)
    }
}

impl fmt::Debug for DynRange<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("DynRange").field(&self.description).finish()
    }
}

/// A table of any types in a [`WriteHandle`].
#[derive(Clone)]
pub struct DynWriteTable<'w> {
    handle: &'w WriteHandle,
    description: TableDescription,
}

impl<'w> DynWriteTable<'w> {
    pub(crate) fn new(handle: &'w WriteHandle, description: TableDescription) -> Self {
        DynWriteTable { handle, description }
    }

    /// Name and types.
    pub fn description(&self) -> &TableDescription {
        &self.description
    }

    /// The value of the key typed as `key`, as JSON.
    ///
    /// # Errors
    /// Those of [`WriteTable::get`](crate::WriteTable::get);
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) where the text is no key of this table.
    pub fn get(&self, key: &str) -> Result<Option<Json>> {
        let key = self.description.key_type.encode_text(key)?;
        let stored = self.handle.get_locked(self.description.id, &key, crate::lock::Mode::S)?;
        stored.map(|stored| self.description.value_type.decode_json(&stored)).transpose()
    }

    /// The stored bytes of the value under the encoded key `key`.
    ///
    /// # Errors
    /// Those of [`WriteTable::get`](crate::WriteTable::get).
    pub fn get_raw(&self, key: &[u8]) -> Result<Option<Guard<'w>>> {
        self.handle.get_locked(self.description.id, key, crate::lock::Mode::S)
    }

    /// Writes the value `json` under the key typed as `key`.
    ///
    /// # Errors
    /// Those of [`DynWriteTable::put_raw`]; [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) where
    /// text or JSON are none of this table's types.
    pub fn put(&self, key: &str, json: &Json) -> Result<()> {
        let key = self.description.key_type.encode_text(key)?;
        self.put_raw(&key, self.description.value_type.encode_json(json)?)
    }

    /// Writes the stored bytes `value` under the encoded key `key`. Both must be of this table's
    /// types; that is not checked.
    ///
    /// # Errors
    /// Those of [`WriteTable::put`](crate::WriteTable::put).
    pub fn put_raw(&self, key: &[u8], value: Vec<u8>) -> Result<()> {
        self.handle.put_raw(self.description.id, key, value)
    }

    /// Removes the record of the key typed as `key`, if there is one.
    ///
    /// # Errors
    /// Those of [`WriteTable::delete`](crate::WriteTable::delete);
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) where the text is no key of this table.
    pub fn delete(&self, key: &str) -> Result<()> {
        let key = self.description.key_type.encode_text(key)?;
        self.handle.delete_raw(self.description.id, &key)
    }
}

impl fmt::Debug for DynWriteTable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("DynWriteTable").field(&self.description).finish()
    }
}
