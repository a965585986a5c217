//! Checks of stores where nothing can be written, and where the lock can be made.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use super::*;
use crate::disk::{
    Access, Call, Fault, FaultPlan, File, FileId, FileLock, Metadata, OpenMode, SimDisk,
};
use crate::error::ErrorKind;
use crate::store::TableDef;

const DIR: &str = "/shop";

/// A medium that is mounted read-only.
struct ReadOnly(Arc<SimDisk>);

fn refused<T>() -> io::Result<T> {
    Err(io::ErrorKind::ReadOnlyFilesystem.into())
}

impl Disk for ReadOnly {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        match mode {
            OpenMode::Read | OpenMode::ReadNoLink => self.0.open(path, mode),
            OpenMode::Write | OpenMode::CreateNew => refused(),
        }
    }

    fn create_dir(&self, _: &Path) -> io::Result<()> {
        refused()
    }

    fn remove_file(&self, _: &Path) -> io::Result<()> {
        refused()
    }

    fn remove_dir(&self, _: &Path) -> io::Result<()> {
        refused()
    }

    fn rename(&self, _: &Path, _: &Path) -> io::Result<()> {
        refused()
    }

    fn rename_new(&self, _: &Path, _: &Path) -> io::Result<()> {
        refused()
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.0.sync_dir(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        self.0.list(path)
    }

    fn metadata(&self, path: &Path) -> io::Result<Metadata> {
        self.0.metadata(path)
    }

    fn canonical(&self, path: &Path) -> io::Result<PathBuf> {
        self.0.canonical(path)
    }

    fn read_link(&self, path: &Path) -> io::Result<PathBuf> {
        self.0.read_link(path)
    }

    fn symlink(&self, _: &Path, _: &Path) -> io::Result<()> {
        refused()
    }

    fn set_attributes(&self, _: &Path, _: u32, _: i64) -> io::Result<()> {
        refused()
    }

    fn create(&self, _: &Path, _: Access) -> io::Result<Arc<dyn File>> {
        refused()
    }

    fn create_dir_as(&self, _: &Path, _: Access) -> io::Result<()> {
        refused()
    }

    fn identity(&self, path: &Path) -> io::Result<FileId> {
        self.0.identity(path)
    }

    fn set_mode(&self, _: &Path, _: u32) -> io::Result<()> {
        refused()
    }

    fn set_owner(&self, _: &Path, _: Option<u32>, _: Option<u32>) -> io::Result<()> {
        refused()
    }

    fn handle(&self) -> Arc<dyn Disk> {
        Arc::new(ReadOnly(self.0.clone()))
    }

    fn anchor(&self, _: &Path, _: Option<Access>) -> io::Result<()> {
        Ok(())
    }

    fn displaced(&self) -> Option<PathBuf> {
        None
    }

    fn lock(&self, _: &Path, _: &str) -> io::Result<Box<dyn FileLock>> {
        refused()
    }

    fn free_space(&self, path: &Path) -> io::Result<u64> {
        self.0.free_space(path)
    }

    fn now(&self) -> i64 {
        self.0.now()
    }

    fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }

    fn random(&self, buffer: &mut [u8]) {
        self.0.random(buffer);
    }
}

/// A store that is open, with records in its pages and others in its log alone.
fn store(sim: &Arc<SimDisk>) -> Store {
    let store = Store::builder(DIR).disk(sim.clone()).create().unwrap();
    let numbers = TableDef::<u64, u64>::new("numbers");
    store.transact(|write| write.table(numbers)?.put(&1, &1)).unwrap();
    store.checkpoint().unwrap();
    store.transact(|write| write.table(numbers)?.put(&2, &2)).unwrap();
    store
}

fn check(disk: Arc<dyn Disk>) -> Result<StoreCheck> {
    super::check(&disk, Path::new(DIR), &mut |_| ControlFlow::Continue(()))
}

#[test]
fn a_store_where_nothing_can_be_written_is_checked_without_a_lock_and_that_is_said() {
    let sim = SimDisk::new(1);
    let open = store(&sim);
    let killed = sim.image();
    open.close().unwrap();
    drop(open);
    for medium in [killed, sim] {
        let locked = check(medium.clone()).unwrap();
        assert!(!locked.unlocked, "the lock can be made here");
        let found = check(Arc::new(ReadOnly(medium.clone()))).unwrap();
        assert_eq!((found.unlocked, found.lsn, found.records), (true, locked.lsn, locked.records));
        // A flipped bit is found there as anywhere.
        let data = Path::new(DIR).join(DATA_FILE);
        for page in 2..found.pages {
            medium.corrupt(&data, page * found.page_size + 9, 1).unwrap();
        }
        let damaged = check(Arc::new(ReadOnly(medium))).unwrap_err();
        assert_eq!(damaged.kind(), ErrorKind::Corrupt, "{damaged}");
    }
}

#[test]
fn a_lock_that_fails_for_another_reason_is_not_done_without() {
    let sim = SimDisk::new(1);
    let open = store(&sim);
    assert_eq!(check(sim.clone()).unwrap_err().kind(), ErrorKind::InUse);
    open.close().unwrap();
    drop(open);
    sim.fail(FaultPlan::once(Call::Lock, DIR, Fault::IO));
    assert_eq!(check(sim.clone()).unwrap_err().kind(), ErrorKind::Io);
    sim.fail(FaultPlan::once(Call::Lock, DIR, Fault::DENIED));
    assert!(check(sim).unwrap().unlocked);
}
