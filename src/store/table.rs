//! A table as a read handle sees it: typed keys and values over one snapshot.

use super::describe::of_record;
use super::key::{self, AsKey, AsPrefix, Key};
use super::range::{Range, limits_of};
use super::read::ReadHandle;
use super::span::{Limits, Span};
use super::value::{Guard, Value};
use crate::Result;
use crate::engine::TableId;
use std::fmt;
use std::marker::PhantomData;
use std::ops::RangeBounds;

/// A table in a [`ReadHandle`]. What it gives borrows from the handle, so it may itself be a
/// temporary.
///
/// Values of serde types are decoded; those of `[u8]` and `str` tables are views of the stored
/// bytes, without a copy where they lie in the map.
pub struct Table<'h, K: ?Sized, V: ?Sized> {
    handle: &'h ReadHandle,
    /// `None` while there is no such table.
    id: Option<TableId>,
    types: PhantomData<fn(&K, &V)>,
}

impl<'h, K: Key + ?Sized, V: Value + ?Sized> Table<'h, K, V> {
    pub(crate) fn new(handle: &'h ReadHandle, id: Option<TableId>) -> Table<'h, K, V> {
        Table { handle, id, types: PhantomData }
    }

    /// The stored bytes of the value of `key`.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`](crate::ErrorKind::Corrupt) where a page that it needs is damaged;
    /// what waiting for a backup gives.
    #[inline]
    pub fn get_raw<Q: AsKey<K> + ?Sized>(&self, key: &Q) -> Result<Option<Guard<'h>>> {
        self.handle.gate().pass()?;
        let Some(id) = self.id else { return Ok(None) };
        let stored = self.handle.snapshot().get(id, &key::encode::<K>(key))?;
        Ok(stored.map(Guard::new))
    }

    /// The value of `key`.
    ///
    /// # Errors
    /// Those of [`Table::get_raw`], and [`ErrorKind::Unreadable`](crate::ErrorKind::Unreadable) where
    /// the bytes are no value of this type.
    pub fn get<Q: AsKey<K> + ?Sized>(&self, key: &Q) -> Result<Option<V::View<'h>>> {
        let stored = self.get_raw(key)?.map(V::view).transpose();
        stored.map_err(|error| {
            let info = self.id.and_then(|id| self.handle.snapshot().catalogue().by_id(id));
            of_record(error, info.map(|info| &**info), &key::encode::<K>(key))
        })
    }

    /// Whether there is a record of `key`.
    ///
    /// # Errors
    /// Those of [`Table::get_raw`].
    pub fn contains<Q: AsKey<K> + ?Sized>(&self, key: &Q) -> Result<bool> {
        self.get_raw(key).map(|stored| stored.is_some())
    }

    /// The record with the least key.
    ///
    /// # Errors
    /// Those of [`Table::get`].
    pub fn first(&self) -> Result<Option<(K::Owned, V::View<'h>)>> {
        self.walk(Limits::ALL).next().transpose()
    }

    /// The record with the greatest key.
    ///
    /// # Errors
    /// Those of [`Table::get`].
    pub fn last(&self) -> Result<Option<(K::Owned, V::View<'h>)>> {
        self.walk(Limits::ALL).next_back().transpose()
    }

    /// All records in key order; `.rev()` gives them the other way.
    ///
    /// # Errors
    /// What waiting for a backup gives; each step has its own.
    pub fn iter(&self) -> Result<Range<'h, K, V>> {
        self.handle.gate().pass()?;
        Ok(self.walk(Limits::ALL))
    }

    /// The records with keys in `range`, in key order; `.rev()` gives them the other way. A range
    /// that ends before it begins is empty.
    ///
    /// # Errors
    /// Those of [`Table::iter`].
    pub fn range<Q: AsKey<K>>(&self, range: impl RangeBounds<Q>) -> Result<Range<'h, K, V>> {
        self.handle.gate().pass()?;
        Ok(self.walk(limits_of::<K, Q>(&range)))
    }

    /// The records whose keys begin with `prefix`.
    ///
    /// # Errors
    /// Those of [`Table::iter`].
    pub fn prefix<P: AsPrefix<K> + ?Sized>(&self, prefix: &P) -> Result<Range<'h, K, V>> {
        self.handle.gate().pass()?;
        Ok(self.walk(Limits::prefix(&key::encode_prefix::<K>(prefix))))
    }

    /// How many records there are. What is not yet in the tree is counted one by one.
    ///
    /// # Errors
    /// Those of [`Table::get_raw`].
    pub fn len(&self) -> Result<u64> {
        self.handle.gate().pass()?;
        self.id.map_or(Ok(0), |id| self.handle.snapshot().len(id))
    }

    /// Whether there are none.
    ///
    /// # Errors
    /// Those of [`Table::get_raw`].
    pub fn is_empty(&self) -> Result<bool> {
        let mut span = self.span(Limits::ALL);
        Ok(span.forward()?.is_none())
    }

    pub(crate) fn id(&self) -> Option<TableId> {
        self.id
    }

    fn span(&self, limits: Limits) -> Span<'h> {
        Span::new(self.handle.gate(), self.handle.snapshot(), self.id, limits)
    }

    fn walk(&self, limits: Limits) -> Range<'h, K, V> {
        Range::over(self.span(limits))
    }
}

impl<K: ?Sized, V: ?Sized> Clone for Table<'_, K, V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K: ?Sized, V: ?Sized> Copy for Table<'_, K, V> {}

impl<K: ?Sized, V: ?Sized> fmt::Debug for Table<'_, K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table").field("id", &self.id).field("lsn", &self.handle.lsn()).finish()
    }
}
