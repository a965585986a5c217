//! An owner: what a write or structure handle holds from its grant to its end.
//!
//! All locks of an owner are given back together when it is dropped, on whatever thread that is.
//! The handle drops it after its commit was published, and not before: that is what makes the next
//! holder read what was committed. An owner takes the intents above a granule by itself.

use super::gate::thread_number;
use super::granule::{Granule, Id};
use super::manager::Shared;
use super::mode::Mode;
use super::refuse;
use super::shards::Try;
use super::status::Threads;
use super::table::{Age, OwnerId};
use super::waited::WaitedBy;
use crate::error::Result;
use std::cell::{Cell, RefCell};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What an owner comes for: the root that it holds from its grant to its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// To write records: IX on the data.
    #[default]
    Data,
    /// To change the structure: IX on it.
    Structure,
    /// To look at the structure: IS on it.
    LookAtStructure,
}

impl Purpose {
    pub(crate) fn root(self) -> (Id, Mode) {
        match self {
            Purpose::Data => (Id::Data, Mode::IX),
            Purpose::Structure => (Id::Structure, Mode::IX),
            Purpose::LookAtStructure => (Id::Structure, Mode::IS),
        }
    }
}

/// What is told of an owner that is in no slot, or has a name.
pub(crate) struct OwnerInfo {
    pub(crate) purpose: Purpose,
    pub(crate) job: Option<String>,
    pub(crate) commits_done: u64,
    /// The thread that used it last.
    pub(crate) thread: AtomicU64,
    /// Who waits for its end.
    pub(crate) waited_by: Option<WaitedBy>,
}

/// What an owner remembers of its locks, so as to ask for each once and to give all back.
#[derive(Default)]
struct Held {
    data: bool,
    structure: Option<Mode>,
    names: bool,
    tables: Vec<(u32, Mode)>,
    records: Vec<u64>,
}

/// See the module's own words. Drop it to give back all its locks.
#[must_use = "dropping it gives its locks back"]
pub struct Owner {
    pub(crate) core: Shared,
    pub(crate) id: OwnerId,
    pub(crate) in_slot: bool,
    info: Option<Arc<OwnerInfo>>,
    age: Cell<Option<Age>>,
    thread: Cell<u64>,
    held: RefCell<Held>,
}

impl Owner {
    /// An owner that came in through a slot of the gate.
    #[inline]
    pub(crate) fn in_slot(core: Shared, id: OwnerId, thread: u64, age: Option<Age>) -> Owner {
        let held = Held { data: true, ..Held::default() };
        Owner {
            core,
            id,
            in_slot: true,
            info: None,
            age: Cell::new(age),
            thread: Cell::new(thread),
            held: RefCell::new(held),
        }
    }

    /// An owner that came of a ticket; its root is in the table.
    pub(crate) fn central(core: Shared, id: OwnerId, info: Arc<OwnerInfo>, age: Age) -> Owner {
        let held = match info.purpose {
            Purpose::Data => Held { data: true, ..Held::default() },
            Purpose::Structure => Held { structure: Some(Mode::IX), ..Held::default() },
            Purpose::LookAtStructure => Held { structure: Some(Mode::IS), ..Held::default() },
        };
        let thread = thread_number();
        info.thread.store(thread, Ordering::Relaxed);
        Owner {
            core,
            id,
            in_slot: false,
            info: Some(info),
            age: Cell::new(Some(age)),
            thread: Cell::new(thread),
            held: RefCell::new(held),
        }
    }

    pub(crate) fn name(&mut self, info: Arc<OwnerInfo>) {
        self.core.lock().owners.insert(self.id, info.clone());
        self.info = Some(info);
    }

    /// Its number, as in [`LockReport`](super::LockReport).
    pub fn id(&self) -> OwnerId {
        self.id
    }

    /// When it first had to be told from others. Give it to the next try of the same transaction, so
    /// that it is not the youngest for ever.
    pub fn age(&self) -> Age {
        let age = self.age.get().unwrap_or_else(|| self.core.new_age());
        self.age.set(Some(age));
        age
    }

    /// Locks `granule`, waiting if need be. What is held already is joined with `mode`.
    ///
    /// # Errors
    /// `Deadlock` (drop the owner, try again with its age), `Timeout` past the record timeout,
    /// `Closed`, `BackupInProgress` from inside a callback of a backup, `Invalid` for a mode that the
    /// granule does not have: on roots an owner takes IS and IX only, on records S, U and X.
    pub fn lock(&self, granule: Granule, mode: Mode) -> Result<()> {
        match granule {
            Granule::Record(table, key) => self.lock_record(table, &key, mode),
            Granule::Table(table) => self.lock_table(table, mode),
            Granule::Data if mode.is_intent() => self.lock_data(),
            Granule::Structure if mode.is_intent() => self.lock_structure(mode),
            Granule::Structure | Granule::Data => {
                Err(refuse::invalid(format!("{mode} on {granule} is for holds")))
            }
            Granule::Name(name) => {
                self.lock_structure(mode.intent_above())?;
                self.held.borrow_mut().names = true;
                self.lock_slow(&Id::Name(name.clone()), mode, &|| Granule::Name(name.clone()))?;
                Ok(())
            }
        }
    }

    /// Locks the record of `table` at `key`, whether or not there is one, and the intent above it.
    ///
    /// # Errors
    /// As [`Owner::lock`].
    pub fn lock_record(&self, table: u32, key: &[u8], mode: Mode) -> Result<()> {
        if !matches!(mode, Mode::S | Mode::U | Mode::X) {
            return Err(refuse::invalid(format!("a record has no {mode}")));
        }
        let above = self.mode_on(table);
        if above.is_some_and(|held| !held.is_intent() && held.covers(mode)) {
            return Ok(());
        }
        let intent = mode.intent_above();
        if !above.is_some_and(|held| held.covers(intent)) {
            self.lock_table(table, intent)?;
        }
        self.touch();
        let hash = self.core.hash(table, key);
        let records = &self.core.records;
        let new = match records.lock(records.of(hash), hash, self.id, mode) {
            Try::New => true,
            Try::Held => false,
            Try::Central => {
                let name = || Granule::Record(table, key.into());
                self.lock_slow(&Id::Record(hash), mode, &name)?
            }
        };
        if new {
            self.held.borrow_mut().records.push(hash);
        }
        Ok(())
    }

    /// Locks a table and the data above it.
    ///
    /// # Errors
    /// As [`Owner::lock`].
    pub fn lock_table(&self, table: u32, mode: Mode) -> Result<()> {
        if mode == Mode::U {
            return Err(refuse::invalid("a table has no U"));
        }
        self.lock_data()?;
        let before = self.mode_on(table);
        if before.is_some_and(|held| held.covers(mode)) {
            return Ok(());
        }
        self.touch();
        let tables = &self.core.tables;
        let stripe = self.core.stripe(self.id);
        let target = before.map_or(mode, |held| held.join(mode));
        let fast = target.is_intent()
            && tables.lock(stripe, u64::from(table), self.id, target) != Try::Central;
        if !fast {
            self.lock_slow(&Id::Table(table), target, &|| Granule::Table(table))?;
        }
        let mut held = self.held.borrow_mut();
        match held.tables.iter_mut().find(|(of, _)| *of == table) {
            Some((_, mode)) => *mode = target,
            None => held.tables.push((table, target)),
        }
        Ok(())
    }

    /// Locks records exclusively, in the order given: that of table and key, so that owners which
    /// lock this way cannot wait for one another in a circle.
    ///
    /// # Errors
    /// As [`Owner::lock`]. What was locked before stays locked.
    pub fn lock_all_sorted<'k>(
        &self,
        records: impl IntoIterator<Item = (u32, &'k [u8])>,
    ) -> Result<()> {
        records.into_iter().try_for_each(|(table, key)| self.lock_record(table, key, Mode::X))
    }

    fn mode_on(&self, table: u32) -> Option<Mode> {
        let held = self.held.borrow();
        held.tables.iter().find(|(of, _)| *of == table).map(|(_, mode)| *mode)
    }

    fn lock_data(&self) -> Result<()> {
        if !self.held.borrow().data {
            self.lock_slow(&Id::Data, Mode::IX, &|| Granule::Data)?;
            self.held.borrow_mut().data = true;
        }
        Ok(())
    }

    fn lock_structure(&self, mode: Mode) -> Result<()> {
        let before = self.held.borrow().structure;
        if !before.is_some_and(|held| held.covers(mode)) {
            self.lock_slow(&Id::Structure, mode, &|| Granule::Structure)?;
            self.held.borrow_mut().structure = Some(mode);
        }
        Ok(())
    }

    /// The threads that can give nothing back while this owner waits: the one that uses it, and the one
    /// that waits for its end.
    pub(crate) fn threads(&self) -> Threads {
        let waiting = self.info.as_ref().and_then(|info| info.waited_by.as_ref()?.thread());
        Threads::of(waiting)
    }

    /// Notes that this thread uses the owner.
    pub(crate) fn touch(&self) {
        let thread = thread_number();
        if self.thread.replace(thread) != thread {
            if let Some(info) = &self.info {
                info.thread.store(thread, Ordering::Relaxed);
            }
            if self.in_slot {
                self.core.gate.touch(self.id, thread);
            }
        }
    }

    /// Gives back what is in the shards. Returns what has gone to the table meanwhile.
    fn release_fast(&mut self) -> Vec<Id> {
        let (core, held) = (&self.core, self.held.get_mut());
        let mut rest = Vec::new();
        for hash in held.records.drain(..) {
            if !core.records.release(core.records.of(hash), hash, self.id) {
                rest.push(Id::Record(hash));
            }
        }
        let stripe = core.stripe(self.id);
        for (table, _) in held.tables.drain(..) {
            if !core.tables.release(stripe, u64::from(table), self.id) {
                rest.push(Id::Table(table));
            }
        }
        rest
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        let rest = self.release_fast();
        let somebody_waits = self.in_slot && self.core.gate.leave(self.id);
        let held = self.held.get_mut();
        let in_table = !self.in_slot || held.structure.is_some() || held.names || !rest.is_empty();
        if !somebody_waits && !in_table && self.info.is_none() {
            return;
        }
        let mut central = self.core.lock();
        central.owners.remove(&self.id);
        let (_, effects) = central.table.release_all(self.id);
        central.finish(effects);
        for id in rest {
            // It may have come back to its shard before the mutex was ours.
            match &id {
                Id::Record(hash) => {
                    let records = &self.core.records;
                    records.release(records.of(*hash), *hash, self.id);
                }
                Id::Table(table) => {
                    self.core.tables.release(self.core.stripe(self.id), (*table).into(), self.id);
                }
                Id::Structure | Id::Data | Id::Name(_) => {}
            }
            central.settle(&id);
        }
        central.tick();
    }
}

impl fmt::Debug for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Owner").field("id", &self.id).finish_non_exhaustive()
    }
}
