//! Changing the structure: making, renaming and dropping tables.
//!
//! Invariants: the name that a change is about is locked, so two handles never make one name; the
//! table that is renamed or dropped is locked, so no write handle that has it open is alive and
//! none opens it before the change is published. All changes of a handle become visible in one
//! commit.

use super::describe::{TableDescription, check_name};
use super::inner::Inner;
use super::key::{Key, KeyType};
use super::table_def::TableDef;
use super::value::{Value, ValueType};
use super::writes::WriteSet;
use crate::engine::TableInfo;
use crate::engine::{CommitInfo, Durability};
use crate::lock::{Granule, Mode, Owner};
use crate::{Error, ErrorKind, Result};
use std::cell::RefCell;
use std::fmt;
use std::sync::Arc;

/// A transaction on the structure. Dropping it without [`commit`](StructureHandle::commit) leaves
/// no trace.
///
/// Making a table touches no records, so it goes on during a backup of data only. Renaming and
/// dropping do, so they wait for write handles that have the table open, and for a backup that
/// holds the data.
///
/// # Locks
/// IX on the structure from its grant to its end; X on each name that it changes; X on each table
/// that it renames or drops.
#[must_use = "a structure handle that is dropped without commit() has no effect"]
pub struct StructureHandle {
    changes: RefCell<WriteSet>,
    store: Arc<Inner>,
    /// All locks of the handle. Declared last: it goes last.
    owner: Owner,
}

impl StructureHandle {
    pub(crate) fn new(store: Arc<Inner>, owner: Owner) -> StructureHandle {
        StructureHandle { changes: RefCell::default(), store, owner }
    }

    /// Makes the table `def`.
    ///
    /// # Errors
    /// [`ErrorKind::Exists`] where the name is taken; [`ErrorKind::Invalid`], [`ErrorKind::Limit`]
    /// where it can be no name; [`ErrorKind::Deadlock`], [`ErrorKind::Timeout`] from the locks.
    pub fn create<K, V>(&self, def: TableDef<K, V>) -> Result<()>
    where
        K: Key + ?Sized,
        V: Value + ?Sized,
    {
        self.create_table(def.name(), K::key_type(), V::TYPE)
    }

    /// Makes a table whose types are known only when the program runs.
    ///
    /// # Errors
    /// Those of [`StructureHandle::create`].
    pub fn create_table(&self, name: &str, key_type: KeyType, value_type: ValueType) -> Result<()> {
        check_name(name)?;
        self.lock_name(name)?;
        if self.find(name).is_some() {
            return Err(taken(name));
        }
        let id = self.store.engine.new_table_id();
        let description = TableDescription { name: name.to_owned(), key_type, value_type, id };
        self.changes.borrow_mut().define(description.to_info());
        Ok(())
    }

    /// Gives the table `from` the name `to`. Its records stay.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] where there is no such table, [`ErrorKind::Exists`] where the new
    /// name is taken; those of [`StructureHandle::create`].
    pub fn rename(&self, from: &str, to: &str) -> Result<()> {
        check_name(to)?;
        // In one order, so that two handles that exchange names do not deadlock.
        self.lock_name(from.min(to))?;
        self.lock_name(from.max(to))?;
        let mut info = self.find(from).ok_or_else(|| missing(from))?;
        if self.find(to).is_some() {
            return Err(taken(to));
        }
        self.owner.lock_table(info.id, Mode::X)?;
        info.name = to.to_owned();
        self.changes.borrow_mut().define(info);
        Ok(())
    }

    /// Drops the table `name` and all its records. Read handles that were opened before keep seeing
    /// it.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] where there is no such table; [`ErrorKind::Deadlock`],
    /// [`ErrorKind::Timeout`] from the locks.
    pub fn drop_table(&self, name: &str) -> Result<()> {
        self.lock_name(name)?;
        let info = self.find(name).ok_or_else(|| missing(name))?;
        self.owner.lock_table(info.id, Mode::X)?;
        self.changes.borrow_mut().drop_table(info.id);
        Ok(())
    }

    /// All tables as this handle sees them, by name. Another handle may be changing those that this
    /// one has not locked.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] where the encodings of one are not known here.
    pub fn tables(&self) -> Result<Vec<TableDescription>> {
        self.changes.borrow().tables_over(&self.store.engine.catalogue())
    }

    /// Makes all changes visible and durable, as one.
    ///
    /// # Errors
    /// Those of [`WriteHandle::commit`](crate::WriteHandle::commit).
    ///
    /// # Durability
    /// [`Durability::Immediate`].
    pub fn commit(self) -> Result<CommitInfo> {
        let batch = self.changes.into_inner().into_batch();
        let info = self.store.commit(batch, Durability::Immediate)?;
        drop(self.owner);
        Ok(info)
    }

    fn lock_name(&self, name: &str) -> Result<()> {
        self.owner.lock(Granule::Name(name.into()), Mode::X)
    }

    /// The table `name` as this handle sees it; the name must be locked.
    fn find(&self, name: &str) -> Option<TableInfo> {
        let changes = self.changes.borrow();
        if let Some(own) = changes.defined(name) {
            return Some(own.clone());
        }
        let catalogue = self.store.engine.catalogue();
        let info = catalogue.by_name(name)?;
        changes.structure_of(info.id).is_none().then(|| TableInfo::clone(info))
    }
}

fn taken(name: &str) -> Error {
    Error::new(ErrorKind::Exists, format!("there is a table \"{name}\" already"))
}

fn missing(name: &str) -> Error {
    Error::new(ErrorKind::NotFound, format!("there is no table \"{name}\""))
}

impl fmt::Debug for StructureHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StructureHandle").finish_non_exhaustive()
    }
}
