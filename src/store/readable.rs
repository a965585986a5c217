//! One way to read a live store, a read handle, a write handle and an opened archive.
//!
//! [`Readable`] is where tables come from, [`ReadTable`] what they can do. A function that takes
//! `&impl Readable` runs on all of them.

use super::Store;
use super::describe::TableDescription;
use super::key::{AsKey, AsPrefix, Key};
use super::range::Range;
use super::read::ReadHandle;
use super::table::Table;
use super::table_def::TableDef;
use super::value::{Guard, Value};
use super::write::WriteHandle;
use super::write_table::WriteTable;
use crate::Result;
use std::fmt;
use std::marker::PhantomData;
use std::ops::RangeBounds;

/// Something that has tables to read.
///
/// ```no_run
/// use stillpoint::{Readable, ReadTable, Result, TableDef};
///
/// const STOCK: TableDef<str, u64> = TableDef::new("stock");
///
/// /// Works on a store, on handles and on archives alike.
/// fn total(source: &impl Readable) -> Result<u64> {
///     source.open_table(STOCK)?.iter()?.map(|record| Ok(record?.1)).sum()
/// }
/// ```
pub trait Readable {
    /// A table of this source.
    type Table<'a, K: Key + ?Sized + 'a, V: Value + ?Sized + 'a>: ReadTable<K, V>
    where
        Self: 'a;

    /// The table `def`. Where there is none it reads as empty.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) where the table has keys or values of
    /// another type; what opening a table gives otherwise.
    fn open_table<'a, K, V>(&'a self, def: TableDef<K, V>) -> Result<Self::Table<'a, K, V>>
    where
        K: Key + ?Sized + 'a,
        V: Value + ?Sized + 'a;

    /// All tables, by name.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) where the encodings of one are not
    /// known here.
    fn list_tables(&self) -> Result<Vec<TableDescription>>;
}

/// A table to read.
pub trait ReadTable<K: Key + ?Sized, V: Value + ?Sized> {
    /// The stored bytes of the value of `key`.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`](crate::ErrorKind::Corrupt) for damage; what waiting for a backup or a
    /// lock gives.
    fn get_raw<Q: AsKey<K> + ?Sized>(&self, key: &Q) -> Result<Option<Guard<'_>>>;

    /// The value of `key`.
    ///
    /// # Errors
    /// Those of [`ReadTable::get_raw`].
    fn get<Q: AsKey<K> + ?Sized>(&self, key: &Q) -> Result<Option<V::View<'_>>> {
        self.get_raw(key)?.map(V::view).transpose()
    }

    /// Whether there is a record of `key`.
    ///
    /// # Errors
    /// Those of [`ReadTable::get_raw`].
    fn contains<Q: AsKey<K> + ?Sized>(&self, key: &Q) -> Result<bool> {
        self.get_raw(key).map(|stored| stored.is_some())
    }

    /// All records in key order.
    ///
    /// # Errors
    /// Those of [`ReadTable::get_raw`].
    fn iter(&self) -> Result<Range<'_, K, V>>;

    /// The records with keys in `range`.
    ///
    /// # Errors
    /// Those of [`ReadTable::get_raw`].
    fn range<Q: AsKey<K>>(&self, range: impl RangeBounds<Q>) -> Result<Range<'_, K, V>>;

    /// The records whose keys begin with `prefix`.
    ///
    /// # Errors
    /// Those of [`ReadTable::get_raw`].
    fn prefix<P: AsPrefix<K> + ?Sized>(&self, prefix: &P) -> Result<Range<'_, K, V>>;

    /// The record with the least key.
    ///
    /// # Errors
    /// Those of [`ReadTable::get_raw`].
    fn first(&self) -> Result<Option<(K::Owned, V::View<'_>)>> {
        self.iter()?.next().transpose()
    }

    /// The record with the greatest key.
    ///
    /// # Errors
    /// Those of [`ReadTable::get_raw`].
    fn last(&self) -> Result<Option<(K::Owned, V::View<'_>)>> {
        self.iter()?.next_back().transpose()
    }

    /// How many records there are.
    ///
    /// # Errors
    /// Those of [`ReadTable::get_raw`].
    fn len(&self) -> Result<u64>;

    /// Whether there are none.
    ///
    /// # Errors
    /// Those of [`ReadTable::get_raw`].
    fn is_empty(&self) -> Result<bool>;
}

/// The trait is what the types can do by themselves.
macro_rules! read_table {
    () => {
        fn get_raw<Q: AsKey<K> + ?Sized>(&self, key: &Q) -> Result<Option<Guard<'_>>> {
            self.inherent().get_raw(key)
        }

        fn iter(&self) -> Result<Range<'_, K, V>> {
            self.inherent().iter()
        }

        fn range<Q: AsKey<K>>(&self, range: impl RangeBounds<Q>) -> Result<Range<'_, K, V>> {
            self.inherent().range(range)
        }

        fn prefix<P: AsPrefix<K> + ?Sized>(&self, prefix: &P) -> Result<Range<'_, K, V>> {
            self.inherent().prefix(prefix)
        }

        fn len(&self) -> Result<u64> {
            self.inherent().len()
        }

        fn is_empty(&self) -> Result<bool> {
            self.inherent().is_empty()
        }
    };
}

impl<'h, K: Key + ?Sized, V: Value + ?Sized> Table<'h, K, V> {
    fn inherent(&self) -> Table<'h, K, V> {
        *self
    }
}

impl<K: Key + ?Sized, V: Value + ?Sized> ReadTable<K, V> for Table<'_, K, V> {
    read_table!();
}

impl<'w, K: Key + ?Sized, V: Value + ?Sized> WriteTable<'w, K, V> {
    fn inherent(&self) -> WriteTable<'w, K, V> {
        *self
    }
}

impl<K: Key + ?Sized, V: Value + ?Sized> ReadTable<K, V> for WriteTable<'_, K, V> {
    read_table!();
}

/// A table of a live store: a view of the newest commit at the moment when it was opened.
pub struct LiveTable<K: ?Sized, V: ?Sized> {
    view: ReadHandle,
    id: Option<crate::engine::TableId>,
    types: PhantomData<fn(&K, &V)>,
}

impl<K: Key + ?Sized, V: Value + ?Sized> LiveTable<K, V> {
    fn inherent(&self) -> Table<'_, K, V> {
        Table::new(&self.view, self.id)
    }
}

impl<K: Key + ?Sized, V: Value + ?Sized> ReadTable<K, V> for LiveTable<K, V> {
    read_table!();
}

impl<K: ?Sized, V: ?Sized> fmt::Debug for LiveTable<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LiveTable").field("id", &self.id).field("view", &self.view).finish()
    }
}

impl Readable for ReadHandle {
    type Table<'a, K: Key + ?Sized + 'a, V: Value + ?Sized + 'a> = Table<'a, K, V>;

    fn open_table<'a, K, V>(&'a self, def: TableDef<K, V>) -> Result<Table<'a, K, V>>
    where
        K: Key + ?Sized + 'a,
        V: Value + ?Sized + 'a,
    {
        self.table(def)
    }

    fn list_tables(&self) -> Result<Vec<TableDescription>> {
        self.tables()
    }
}

impl Readable for Store {
    type Table<'a, K: Key + ?Sized + 'a, V: Value + ?Sized + 'a> = LiveTable<K, V>;

    fn open_table<'a, K, V>(&'a self, def: TableDef<K, V>) -> Result<LiveTable<K, V>>
    where
        K: Key + ?Sized + 'a,
        V: Value + ?Sized + 'a,
    {
        let view = self.begin_read()?;
        let id = view.table(def)?.id();
        Ok(LiveTable { view, id, types: PhantomData })
    }

    fn list_tables(&self) -> Result<Vec<TableDescription>> {
        self.begin_read()?.tables()
    }
}

/// In a write handle a table that is not there is made by opening it, as everywhere in a write
/// handle.
impl Readable for WriteHandle {
    type Table<'a, K: Key + ?Sized + 'a, V: Value + ?Sized + 'a> = WriteTable<'a, K, V>;

    fn open_table<'a, K, V>(&'a self, def: TableDef<K, V>) -> Result<WriteTable<'a, K, V>>
    where
        K: Key + ?Sized + 'a,
        V: Value + ?Sized + 'a,
    {
        self.table(def)
    }

    fn list_tables(&self) -> Result<Vec<TableDescription>> {
        self.tables()
    }
}
