//! Read handles: the store at one commit.
//!
//! Invariants: everything that one handle reads belongs to one commit, catalogue included; reading
//! waits for no writer. Under a `Frozen` backup each operation waits at the gate, also on a handle
//! that was opened before the backup began.

use super::describe::{TableDescription, check_types};
use super::dyn_table::DynTable;
use super::gate::Gate;
use super::key::Key;
use super::table::Table;
use super::table_def::TableDef;
use super::value::Value;
use crate::Result;
use crate::engine::Lsn;
use crate::engine::Snapshot;
use std::fmt;

/// A consistent view of a store, or of an archive, at one commit.
///
/// It is `Send` and `Sync`, cheap to clone, and owns what it needs: it may outlive the
/// [`Store`](crate::Store) that it came from. While it lives, the pages that it sees are kept: a
/// handle that is held for hours lets the data file grow, and one that outlives its store keeps the
/// folder from being opened again ([`InUse`](crate::ErrorKind::InUse)).
#[derive(Clone)]
pub struct ReadHandle {
    snapshot: Snapshot,
    gate: Gate,
}

impl ReadHandle {
    pub(crate) fn new(snapshot: Snapshot, gate: Gate) -> ReadHandle {
        ReadHandle { snapshot, gate }
    }

    /// A handle on what no store guards: the checkpoint of an archive or of a backup's pin.
    pub(crate) fn unguarded(snapshot: Snapshot) -> ReadHandle {
        ReadHandle { snapshot, gate: Gate::none() }
    }

    /// The last commit that it sees.
    pub fn lsn(&self) -> Lsn {
        self.snapshot.lsn()
    }

    /// The table `def`. One that is not there (yet) reads as empty.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) where the table has keys or values of
    /// another type; the message names both.
    pub fn table<K, V>(&self, def: TableDef<K, V>) -> Result<Table<'_, K, V>>
    where
        K: Key + ?Sized,
        V: Value + ?Sized,
    {
        let info = self.snapshot.catalogue().by_name(def.name());
        if let Some(info) = info {
            check_types(info, &K::key_type(), V::TYPE)?;
        }
        Ok(Table::new(self, info.map(|info| info.id)))
    }

    /// The table `name`, whatever its types, or `None` where there is none.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) where its encodings are not known
    /// here.
    pub fn dyn_table(&self, name: &str) -> Result<Option<DynTable<'_>>> {
        let info = self.snapshot.catalogue().by_name(name);
        info.map(|info| Ok(DynTable::new(self, TableDescription::of(info)?))).transpose()
    }

    /// All tables, by name.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) where the encodings of one are not
    /// known here.
    pub fn tables(&self) -> Result<Vec<TableDescription>> {
        let tables = self.snapshot.catalogue().iter().map(|info| TableDescription::of(info));
        let mut tables = tables.collect::<Result<Vec<_>>>()?;
        tables.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(tables)
    }

    pub(crate) fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    pub(crate) fn gate(&self) -> &Gate {
        &self.gate
    }
}

impl fmt::Debug for ReadHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadHandle").field("lsn", &self.lsn()).finish_non_exhaustive()
    }
}
