//! Write handles: transactions.
//!
//! Invariants (strict two-phase locking): a record that the handle read is locked (S, or U by
//! `get_for_update`) until the handle ends, whether or not the record exists; a table that it
//! scanned is locked (S); what it wrote blindly is locked (X) at commit, in key order, so that
//! blind writers never deadlock among themselves. A read gives the handle's own write, else the
//! newest *published* version at a time when the lock is held. Locks are released only after
//! publication: the owner is dropped after the commit line has returned.
//!
//! Opening a table takes IX on it and then looks at the catalogue again, so a table cannot be
//! dropped or renamed under a write handle: whoever wants to do that waits for the handle's end.
//!
//! A handle that was the victim of a deadlock is spent: every further call, and `commit`, gives the
//! same error. It deliberately does not retry; [`Store::transact`](crate::Store::transact) does.

use super::Store;
use super::chunks::Chunks;
use super::describe::{TableDescription, check_name, check_types, of_record};
use super::dyn_table::DynWriteTable;
use super::inner::Inner;
use super::job::Label;
use super::key::{Key, KeyType};
use super::span::Limits;
use super::table_def::TableDef;
use super::value::{Guard, Value, ValueType};
use super::write_table::WriteTable;
use super::writes::{WriteSet, Writes};
use crate::engine::Snapshot;
use crate::engine::{CommitInfo, Durability, TableId};
use crate::lock::{Age, Granule, Mode, Owner};
use crate::{Error, ErrorKind, Result};
use std::cell::RefCell;
use std::fmt;
use std::sync::Arc;

/// A write transaction. Dropping it without [`commit`](WriteHandle::commit) leaves no trace.
///
/// It is `Send`, owns what it needs and may outlive the [`Store`](crate::Store) value. Any number
/// of them run side by side; each keeps a backup that excludes writers waiting until its end.
///
/// # Locks
/// IX on the data from its grant to its end; IX on each table that it opens; see
/// [`WriteTable`] for records.
#[must_use = "a write handle that is dropped without commit() has no effect"]
pub struct WriteHandle {
    state: RefCell<State>,
    store: Arc<Inner>,
    /// The job whose commits are counted.
    job: Option<Arc<Label>>,
    /// All locks of the handle. Declared last: it goes last.
    owner: Owner,
}

#[derive(Default)]
struct State {
    writes: WriteSet,
    /// The tables that were opened, whose locks are held.
    opened: Vec<TableDescription>,
    durability: Durability,
    /// Why the handle is spent.
    spent: Option<Error>,
}

impl WriteHandle {
    pub(crate) fn new(store: Arc<Inner>, owner: Owner, job: Option<Arc<Label>>) -> WriteHandle {
        let state = State { durability: store.settings.durability, ..State::default() };
        WriteHandle { state: RefCell::new(state), store, job, owner }
    }

    /// The store that it writes to.
    pub(crate) fn store(&self) -> Store {
        Store::of(&self.store)
    }

    /// How the commit of this handle is acknowledged, instead of as the store was opened with.
    pub fn set_durability(&self, durability: Durability) {
        self.state.borrow_mut().durability = durability;
    }

    /// The table `def`, for reading and writing. One that is not there yet is made, as part of this
    /// transaction.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] where the table has keys or values of another type;
    /// [`ErrorKind::Deadlock`] or [`ErrorKind::Timeout`] from the locks.
    ///
    /// # Locks
    /// IX on the table. Where it is made: IX on the structure and X on its name first, so this
    /// waits while a backup holds the structure; use
    /// [`Store::begin_structure`](crate::Store::begin_structure) at the start of a program to have
    /// its tables ready.
    pub fn table<K, V>(&self, def: TableDef<K, V>) -> Result<WriteTable<'_, K, V>>
    where
        K: Key + ?Sized,
        V: Value + ?Sized,
    {
        let (key, value) = (K::key_type(), V::TYPE);
        if let Some(open) = self.opened(def.name())?
            && open.key_type == key
            && open.value_type == value
        {
            return Ok(WriteTable::new(self, open.id));
        }
        match self.open_table(def.name(), Some((&key, value)))? {
            Some(open) => Ok(WriteTable::new(self, open.id)),
            None => self.make_table(def.name(), key, value).map(|id| WriteTable::new(self, id)),
        }
    }

    /// The table `name`, whatever its types, or `None` where there is none.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] where its encodings are not known here; those of the locks.
    ///
    /// # Locks
    /// IX on the table.
    pub fn dyn_table(&self, name: &str) -> Result<Option<DynWriteTable<'_>>> {
        let open = match self.opened(name)? {
            Some(open) => Some(open),
            None => self.open_table(name, None)?,
        };
        Ok(open.map(|description| DynWriteTable::new(self, description)))
    }

    /// All tables as this handle sees them, by name. No lock is taken for it.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] where the encodings of one are not known here.
    pub fn tables(&self) -> Result<Vec<TableDescription>> {
        self.state.borrow().writes.tables_over(&self.store.engine.catalogue())
    }

    /// Makes everything that this handle wrote visible and durable, as one.
    ///
    /// # Errors
    /// [`ErrorKind::Deadlock`] where the handle was a victim: nothing happened, run it again.
    /// [`ErrorKind::StorageFull`]: nothing happened, it may succeed later.
    /// [`ErrorKind::OutcomeUnknown`] where the sync failed: reopen the store and look.
    /// [`ErrorKind::ReadOnly`], [`ErrorKind::Closed`]: nothing happened.
    ///
    /// # Durability
    /// As set for the handle or the store: [`Durability::Immediate`] returns when the commit
    /// survives a power loss.
    ///
    /// # Locks
    /// X on each record written, in key order. All locks are released once the commit is visible.
    pub fn commit(self) -> Result<CommitInfo> {
        self.commit_telling(&mut || {})
    }

    /// The same; calls `in_line` when all locks are held and no later commit can come first.
    pub(crate) fn commit_telling(self, in_line: &mut dyn FnMut()) -> Result<CommitInfo> {
        let state = self.state.into_inner();
        if let Some(spent) = state.spent {
            return Err(spent);
        }
        self.owner.lock_all_sorted(state.writes.records())?;
        let info =
            self.store.commit_telling(state.writes.into_batch(), state.durability, in_line)?;
        drop(self.owner);
        if let Some(job) = &self.job {
            job.count_commit();
        }
        Ok(info)
    }

    /// Ends the transaction without a trace. Dropping it does the same.
    pub fn abort(self) {
        drop(self);
    }

    /// What the next try of the same transaction is asked for with, so that it keeps its place
    /// among those that a deadlock chooses from.
    pub(crate) fn age(&self) -> Age {
        self.owner.age()
    }

    /// Whether the handle was the victim of a deadlock.
    pub(crate) fn is_victim(&self) -> bool {
        let state = self.state.borrow();
        state.spent.as_ref().is_some_and(|spent| spent.kind() == ErrorKind::Deadlock)
    }

    /// Passes on what a lock was answered with, and remembers being a victim.
    fn locked(&self, result: Result<()>) -> Result<()> {
        result.inspect_err(|error| {
            if error.kind() == ErrorKind::Deadlock {
                self.state.borrow_mut().spent = Some(error.clone());
            }
        })
    }

    fn opened(&self, name: &str) -> Result<Option<TableDescription>> {
        let state = self.state.borrow();
        match &state.spent {
            Some(spent) => Err(spent.clone()),
            None => Ok(state.opened.iter().find(|open| open.name == name).cloned()),
        }
    }

    /// Locks the table `name` and sees that it still bears that name; `None` where there is none.
    fn open_table(
        &self,
        name: &str,
        types: Option<(&KeyType, ValueType)>,
    ) -> Result<Option<TableDescription>> {
        loop {
            let catalogue = self.store.engine.catalogue();
            let own = self.state.borrow().writes.defined(name).cloned();
            let Some(info) = own.as_ref().or(catalogue.by_name(name).map(|info| &**info)) else {
                return Ok(None);
            };
            if let Some((key, value)) = types {
                check_types(info, key, value)?;
            }
            if own.is_none() {
                self.locked(self.owner.lock_table(info.id, Mode::IX))?;
                let now = self.store.engine.catalogue();
                if now.by_id(info.id).is_none_or(|now| now.name != name) {
                    continue;
                }
            }
            let description = TableDescription::of(info)?;
            self.state.borrow_mut().opened.push(description.clone());
            return Ok(Some(description));
        }
    }

    fn make_table(&self, name: &str, key: KeyType, value: ValueType) -> Result<TableId> {
        check_name(name)?;
        self.locked(self.owner.lock(Granule::Structure, Mode::IX))?;
        self.locked(self.owner.lock(Granule::Name(name.into()), Mode::X))?;
        // Another may have made it while this handle waited for the name.
        if let Some(open) = self.open_table(name, Some((&key, value)))? {
            return Ok(open.id);
        }
        let id = self.store.engine.new_table_id();
        let description =
            TableDescription { name: name.to_owned(), key_type: key, value_type: value, id };
        let mut state = self.state.borrow_mut();
        state.writes.define(description.to_info());
        state.opened.push(description);
        Ok(id)
    }

    /// The stored value of a record as this handle sees it, under a lock of `mode` on the record.
    pub(crate) fn get_locked<'w>(
        &'w self,
        table: TableId,
        key: &[u8],
        mode: Mode,
    ) -> Result<Option<Guard<'w>>> {
        {
            let state = self.state.borrow();
            if let Some(spent) = &state.spent {
                return Err(spent.clone());
            }
            if mode == Mode::S
                && let Some(own) = state.writes.get(table, key)
            {
                return Ok(own.as_ref().map(|payload| payload.guard()));
            }
        }
        self.locked(self.owner.lock_record(table, key, mode))?;
        if let Some(own) = self.state.borrow().writes.get(table, key) {
            return Ok(own.as_ref().map(|payload| payload.guard()));
        }
        let newest = self.store.engine.snapshot()?;
        Ok(newest.get(table, key)?.map(Guard::detached))
    }

    /// Names the record that an error of reading a value is about.
    pub(crate) fn of_record(&self, error: Error, table: TableId, key: &[u8]) -> Error {
        let catalogue = self.store.engine.catalogue();
        of_record(error, catalogue.by_id(table).map(|info| &**info), key)
    }

    /// A walk over a table as this handle sees it, under S on the table.
    pub(crate) fn scan(&self, table: TableId, limits: Limits) -> Result<Chunks<'_>> {
        let (newest, writes) = self.whole_table(table)?;
        Ok(Chunks::new(newest, writes, table, limits))
    }

    /// How many records the table has as this handle sees it, under S on the table.
    pub(crate) fn count(&self, table: TableId) -> Result<u64> {
        let (newest, writes) = self.whole_table(table)?;
        let mut count = newest.len(table)?;
        for (key, value) in writes.iter() {
            match (newest.get(table, key)?.is_some(), value.is_some()) {
                (true, false) => count -= 1,
                (false, true) => count += 1,
                _ => {}
            }
        }
        Ok(count)
    }

    /// The newest commit and the handle's own writes, under S on the table.
    fn whole_table(&self, table: TableId) -> Result<(Snapshot, Arc<Writes>)> {
        if let Some(spent) = &self.state.borrow().spent {
            return Err(spent.clone());
        }
        self.locked(self.owner.lock_table(table, Mode::S))?;
        let writes = self.state.borrow().writes.of_table(table);
        Ok((self.store.engine.snapshot()?, writes))
    }

    /// Writes, without a lock until commit.
    pub(crate) fn put_raw(&self, table: TableId, key: &[u8], value: Vec<u8>) -> Result<()> {
        self.store.check_sizes(key, value.len())?;
        self.write(table, key, Some(value))
    }

    /// Removes, without a lock until commit.
    pub(crate) fn delete_raw(&self, table: TableId, key: &[u8]) -> Result<()> {
        self.store.check_sizes(key, 0)?;
        self.write(table, key, None)
    }

    fn write(&self, table: TableId, key: &[u8], value: Option<Vec<u8>>) -> Result<()> {
        let mut state = self.state.borrow_mut();
        if let Some(spent) = &state.spent {
            return Err(spent.clone());
        }
        state.writes.put(table, key, value.map(Into::into));
        Ok(())
    }
}

impl fmt::Debug for WriteHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WriteHandle").finish_non_exhaustive()
    }
}
