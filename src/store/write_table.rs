//! A table as a write handle sees it.

use super::key::{self, AsKey, AsPrefix, Key};
use super::range::{Range, limits_of};
use super::span::Limits;
use super::value::{Guard, Value};
use super::write::WriteHandle;
use crate::engine::TableId;
use crate::lock::Mode;
use crate::{Error, ErrorKind, Result};
use std::fmt;
use std::marker::PhantomData;
use std::ops::RangeBounds;

/// A table in a [`WriteHandle`]: reads see the handle's own writes over the newest commit. Any
/// number may be open in one handle.
///
/// An iterator sees the handle's writes as they were when it began; writing while it runs is
/// allowed, and copies the table's write set once.
///
/// # Locks
/// `put` and `delete` lock nothing until commit (X, in key order). `get` and `contains` take S on
/// the record, whether or not it exists; `get_for_update` U; `insert` X. Iteration, `first`, `last`
/// and `len` take S on the table: no other handle adds, changes or removes a record of it until
/// this one ends. A read followed by a write of the same record should be `get_for_update`: two
/// handles that both `get` and then both write deadlock, and one of them is refused.
pub struct WriteTable<'w, K: ?Sized, V: ?Sized> {
    handle: &'w WriteHandle,
    id: TableId,
    types: PhantomData<fn(&K, &V)>,
}

impl<'w, K: Key + ?Sized, V: Value + ?Sized> WriteTable<'w, K, V> {
    pub(crate) fn new(handle: &'w WriteHandle, id: TableId) -> WriteTable<'w, K, V> {
        WriteTable { handle, id, types: PhantomData }
    }

    /// Writes `value` under `key`, whether or not there is one already.
    ///
    /// # Errors
    /// [`ErrorKind::Limit`] where key or value are too long; [`ErrorKind::Invalid`] where serde
    /// cannot write the value, or could not read it back; [`ErrorKind::Deadlock`] where the handle is spent.
    pub fn put<Q: AsKey<K> + ?Sized>(&self, key: &Q, value: &V) -> Result<()> {
        let value = value.encode_value()?.into_owned();
        self.handle.put_raw(self.id, &key::encode::<K>(key), value)
    }

    /// Writes `value` under `key`, where there is none.
    ///
    /// # Errors
    /// [`ErrorKind::Exists`] where there is one; those of [`WriteTable::put`] and of the locks.
    pub fn insert<Q: AsKey<K> + ?Sized>(&self, key: &Q, value: &V) -> Result<()> {
        let key = key::encode::<K>(key);
        let value = value.encode_value()?.into_owned();
        if self.handle.get_locked(self.id, &key, Mode::X)?.is_some() {
            let key = K::key_type().decode_text(&key)?;
            return Err(Error::new(ErrorKind::Exists, format!("there is a record of key {key}")));
        }
        self.handle.put_raw(self.id, &key, value)
    }

    /// Removes the record of `key`, if there is one.
    ///
    /// # Errors
    /// [`ErrorKind::Limit`] where the key is too long; [`ErrorKind::Deadlock`] where the handle is
    /// spent.
    pub fn delete<Q: AsKey<K> + ?Sized>(&self, key: &Q) -> Result<()> {
        self.handle.delete_raw(self.id, &key::encode::<K>(key))
    }

    /// The stored bytes of the value of `key`.
    ///
    /// # Errors
    /// [`ErrorKind::Deadlock`], [`ErrorKind::Timeout`] from the lock; [`ErrorKind::Corrupt`].
    pub fn get_raw<Q: AsKey<K> + ?Sized>(&self, key: &Q) -> Result<Option<Guard<'w>>> {
        self.handle.get_locked(self.id, &key::encode::<K>(key), Mode::S)
    }

    /// The value of `key`.
    ///
    /// # Errors
    /// Those of [`WriteTable::get_raw`], and [`ErrorKind::Unreadable`] where the bytes are no value of
    /// this type.
    pub fn get<Q: AsKey<K> + ?Sized>(&self, key: &Q) -> Result<Option<V::View<'w>>> {
        let stored = self.get_raw(key)?.map(V::view).transpose();
        stored.map_err(|error| self.of_record(error, &key::encode::<K>(key)))
    }

    fn of_record(&self, error: Error, key: &[u8]) -> Error {
        self.handle.of_record(error, self.id, key)
    }

    /// The value of `key`, which this handle means to change: others may read the record meanwhile,
    /// but none that means to change it.
    ///
    /// # Errors
    /// Those of [`WriteTable::get`].
    pub fn get_for_update<Q: AsKey<K> + ?Sized>(&self, key: &Q) -> Result<Option<V::View<'w>>> {
        let stored = self.handle.get_locked(self.id, &key::encode::<K>(key), Mode::U)?;
        let value = stored.map(V::view).transpose();
        value.map_err(|error| self.of_record(error, &key::encode::<K>(key)))
    }

    /// Whether there is a record of `key`.
    ///
    /// # Errors
    /// Those of [`WriteTable::get_raw`].
    pub fn contains<Q: AsKey<K> + ?Sized>(&self, key: &Q) -> Result<bool> {
        self.get_raw(key).map(|stored| stored.is_some())
    }

    /// The record with the least key.
    ///
    /// # Errors
    /// Those of [`WriteTable::get`].
    pub fn first(&self) -> Result<Option<(K::Owned, V::View<'w>)>> {
        self.iter()?.next().transpose()
    }

    /// The record with the greatest key.
    ///
    /// # Errors
    /// Those of [`WriteTable::get`].
    pub fn last(&self) -> Result<Option<(K::Owned, V::View<'w>)>> {
        self.iter()?.next_back().transpose()
    }

    /// All records in key order; `.rev()` gives them the other way.
    ///
    /// # Errors
    /// [`ErrorKind::Deadlock`], [`ErrorKind::Timeout`] from the lock.
    pub fn iter(&self) -> Result<Range<'w, K, V>> {
        self.walk(Limits::ALL)
    }

    /// The records with keys in `range`, in key order; `.rev()` gives them the other way. A range
    /// that ends before it begins is empty.
    ///
    /// # Errors
    /// Those of [`WriteTable::iter`].
    pub fn range<Q: AsKey<K>>(&self, range: impl RangeBounds<Q>) -> Result<Range<'w, K, V>> {
        self.walk(limits_of::<K, Q>(&range))
    }

    /// The records whose keys begin with `prefix`.
    ///
    /// # Errors
    /// Those of [`WriteTable::iter`].
    pub fn prefix<P: AsPrefix<K> + ?Sized>(&self, prefix: &P) -> Result<Range<'w, K, V>> {
        self.walk(Limits::prefix(&key::encode_prefix::<K>(prefix)))
    }

    /// How many records there are.
    ///
    /// # Errors
    /// Those of [`WriteTable::iter`].
    pub fn len(&self) -> Result<u64> {
        self.handle.count(self.id)
    }

    /// Whether there are none.
    ///
    /// # Errors
    /// Those of [`WriteTable::iter`].
    pub fn is_empty(&self) -> Result<bool> {
        Ok(self.handle.scan(self.id, Limits::ALL)?.forward()?.is_none())
    }

    fn walk(&self, limits: Limits) -> Result<Range<'w, K, V>> {
        Ok(Range::in_chunks(self.handle.scan(self.id, limits)?))
    }
}

impl<K: ?Sized, V: ?Sized> Clone for WriteTable<'_, K, V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K: ?Sized, V: ?Sized> Copy for WriteTable<'_, K, V> {}

impl<K: ?Sized, V: ?Sized> fmt::Debug for WriteTable<'_, K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WriteTable").field("id", &self.id).finish()
    }
}
