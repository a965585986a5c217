//! A store on a simulated disk, and the history that one writer makes with it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use stillpoint::disk::{Disk, SimDisk, Survival};
use stillpoint::{Archive, Durability, Result, Store, StoreBuilder};

use super::history::{Change, History, State};
use super::read::{Def, state_of};

pub(crate) struct Driven {
    pub(crate) sim: Arc<SimDisk>,
    pub(crate) dir: PathBuf,
    pub(crate) tables: &'static [Def],
    pub(crate) history: History,
    store: Option<Store>,
}

impl Driven {
    /// A store that is yet to be created.
    pub(crate) fn new(sim: Arc<SimDisk>, dir: &str, tables: &'static [Def]) -> Driven {
        let (dir, history) = (PathBuf::from(dir), History::new());
        Driven { sim, dir, tables, history, store: None }
    }

    pub(crate) fn disk(&self) -> Arc<dyn Disk> {
        self.sim.clone()
    }

    /// So small that a handful of commits fills the delta, and some more a log segment.
    pub(crate) fn builder(&self, dir: &Path) -> StoreBuilder {
        Store::builder(dir).disk(self.disk()).memory_budget(24 << 10).segment_size(16 << 10)
    }

    pub(crate) fn store(&self) -> &Store {
        self.store.as_ref().expect("the store is open")
    }

    pub(crate) fn create(&mut self) -> Result<()> {
        self.store = Some(self.builder(&self.dir).create()?);
        Ok(())
    }

    pub(crate) fn open(&mut self) -> Result<()> {
        self.store = Some(self.builder(&self.dir).open()?);
        Ok(())
    }

    /// Closes the store. Even an `Eventual` commit is durable then.
    pub(crate) fn close(&mut self) -> Result<()> {
        self.store.take().expect("the store is open").close()?;
        self.history.all_durable();
        Ok(())
    }

    fn def(&self, name: &str) -> Def {
        *self.tables.iter().find(|def| def.name() == name).expect("a table of this test")
    }

    /// Makes `changes` in one transaction. A table is dropped in a commit of its own.
    pub(crate) fn commit(&mut self, changes: &[Change], durability: Durability) -> Result<()> {
        if let [Change::Drop(name)] = changes {
            let structure = self.store().begin_structure()?;
            structure.drop_table(name)?;
            self.history.ask(changes);
            let info = structure.commit()?;
            self.history.acknowledge(info.lsn, true);
            return Ok(());
        }
        let write = self.store().begin_write()?;
        write.set_durability(durability);
        for change in changes {
            match change {
                Change::Make(table) => {
                    write.table(self.def(table))?;
                }
                Change::Put(table, key, value) => write.table(self.def(table))?.put(key, value)?,
                Change::Delete(table, key) => write.table(self.def(table))?.delete(key)?,
                Change::Drop(_) => unreachable!("a table is dropped in a commit of its own"),
            }
        }
        self.history.ask(changes);
        let info = write.commit()?;
        self.history.acknowledge(info.lsn, durability == Durability::Immediate);
        Ok(())
    }

    pub(crate) fn state(&self) -> State {
        state_of(&self.store().begin_read().unwrap(), self.tables)
    }

    /// The store is at the last commit, and as that left it.
    pub(crate) fn check(&self) {
        assert_eq!(self.store().lsn(), self.history.last_lsn());
        assert!(self.state() == *self.history.last(), "not as the last commit left it");
    }

    /// Crashes, if that has not happened yet, and starts anew with what survives; nothing is open.
    pub(crate) fn reboot(&mut self, survival: Survival) {
        self.sim.crash_now();
        self.store = None;
        self.sim = self.sim.reboot(survival);
        self.history.crash(survival);
    }

    /// Opens the store after a crash and sees what became of it.
    pub(crate) fn recover(&mut self) -> Result<()> {
        self.open()?;
        let (lsn, found) = (self.store().lsn(), self.state());
        self.history.settle(lsn, &found);
        self.store().verify()?;
        Ok(())
    }

    /// The same run, rebooted; the other goes on with its own disk.
    pub(crate) fn fork(&self, survival: Survival) -> Driven {
        let mut history = self.history.clone();
        history.crash(survival);
        let (dir, tables) = (self.dir.clone(), self.tables);
        Driven { sim: self.sim.reboot(survival), dir, tables, history, store: None }
    }

    /// The archive at `path`, which must be whole, and must equal history at its commit.
    pub(crate) fn check_archive(&self, path: &Path) -> Archive {
        let archive = Archive::open_on(self.disk(), path).unwrap();
        archive.verify().unwrap();
        let read = archive.read().unwrap();
        assert_eq!(archive.header().lsn, read.lsn());
        let found = state_of(&read, self.tables);
        assert!(
            found == *self.history.at(read.lsn()),
            "{} is not commit {}",
            path.display(),
            read.lsn()
        );
        archive
    }
}
