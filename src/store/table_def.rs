//! What a program says about a table: its name, the types of its keys and values.

use super::key::{Key, KeyType};
use super::value::{Value, ValueType};
use std::fmt;
use std::marker::PhantomData;

/// Definition of a table, normally a constant.
///
/// ```
/// use stillpoint::TableDef;
///
/// const STOCK: TableDef<str, u64> = TableDef::new("stock");
/// const PRICES: TableDef<(String, u32), f64> = TableDef::new("prices");
/// ```
///
/// The name is any text of 1 to 255 bytes. The types decide the encodings that the catalogue
/// records: opening a table with others is an error that names both. `str` and `String` are the
/// same as keys, and so are `[u8]`, `Vec<u8>` and [`Bytes`](crate::Bytes).
pub struct TableDef<K: ?Sized, V: ?Sized> {
    name: &'static str,
    types: PhantomData<fn(&K, &V)>,
}

impl<K: ?Sized, V: ?Sized> TableDef<K, V> {
    /// The table `name` with keys of type `K` and values of type `V`.
    pub const fn new(name: &'static str) -> TableDef<K, V> {
        TableDef { name, types: PhantomData }
    }

    /// The name of the table.
    pub const fn name(&self) -> &'static str {
        self.name
    }
}

impl<K: Key + ?Sized, V: Value + ?Sized> TableDef<K, V> {
    /// The encoding of its keys.
    pub fn key_type(&self) -> KeyType {
        K::key_type()
    }

    /// The encoding of its values.
    pub fn value_type(&self) -> ValueType {
        V::TYPE
    }
}

impl<K: ?Sized, V: ?Sized> Clone for TableDef<K, V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K: ?Sized, V: ?Sized> Copy for TableDef<K, V> {}

impl<K: ?Sized, V: ?Sized> fmt::Debug for TableDef<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TableDef({:?})", self.name)
    }
}
