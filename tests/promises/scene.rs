//! What the tests of the promises play in: a store on a simulated disk, a backup that stands still at
//! a stage until it is told to go on, and looks at files from outside.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};
use stillpoint::disk::{Disk, OpenMode, SimDisk};
use stillpoint::{
    Archive, BackupBuilder, Mode, Progress, ReadHandle, Result, Stage, Store, StoreBuilder,
    TableDef,
};

pub(crate) const ITEMS: TableDef<u64, String> = TableDef::new("items");
pub(crate) const STORE: &str = "/inventory";
pub(crate) const TO: &str = "/backups";
/// How long a test waits for what must come; it is never reached where the promise holds.
pub(crate) const PATIENCE: Duration = Duration::from_secs(180);

/// A store and the disk that it lies on, with a folder for its archives.
pub(crate) struct Scene {
    pub(crate) sim: Arc<SimDisk>,
    pub(crate) store: Store,
}

impl Scene {
    /// A store of `records` records.
    pub(crate) fn new(mode: Mode, records: u64) -> Scene {
        Scene::with(records, |builder| builder.mode(mode))
    }

    pub(crate) fn with(records: u64, options: impl FnOnce(StoreBuilder) -> StoreBuilder) -> Scene {
        let sim = SimDisk::new(11);
        sim.create_dir(Path::new(TO)).unwrap();
        let builder = Store::builder(STORE).disk(sim.clone()).segment_size(1 << 20);
        let store = options(builder).create().unwrap();
        let write = store.begin_write().unwrap();
        for key in 0..records {
            write.table(ITEMS).unwrap().put(&key, &format!("item {key}")).unwrap();
        }
        write.commit().unwrap();
        Scene { sim, store }
    }

    pub(crate) fn archive(&self, path: impl AsRef<Path>) -> Archive {
        Archive::open_on(self.sim.clone(), path).unwrap()
    }

    /// What lies in the destination.
    pub(crate) fn destination(&self) -> Vec<PathBuf> {
        self.sim.list(Path::new(TO)).unwrap()
    }

    pub(crate) fn open(&self, dir: &str) -> Result<Store> {
        open(&self.sim, dir)
    }
}

pub(crate) fn open(sim: &Arc<SimDisk>, dir: &str) -> Result<Store> {
    Store::builder(dir).disk(sim.clone()).segment_size(1 << 20).open()
}

/// All files and folders below `dir`, at one instant: the threads of an open store change some at any
/// time.
pub(crate) fn files(sim: &Arc<SimDisk>, dir: &str) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
    let sim = &sim.image();
    let mut found = BTreeMap::new();
    let mut folders = vec![PathBuf::from(dir)];
    while let Some(folder) = folders.pop() {
        for name in sim.list(&folder).unwrap() {
            let path = folder.join(name);
            let is_folder = sim.list(&path).is_ok();
            found.insert(path.clone(), (!is_folder).then(|| read_file(sim, &path)));
            folders.extend(is_folder.then_some(path));
        }
    }
    found
}

/// The segment in the folder `log` that is written into. A fault on it meets commits, and not the thread
/// that prepares the next one.
pub(crate) fn active_segment(sim: &Arc<SimDisk>, log: &str) -> String {
    let written = |(path, bytes): (PathBuf, Option<Vec<u8>>)| {
        bytes?.iter().any(|byte| *byte != 0).then(|| path.display().to_string())
    };
    files(sim, log).into_iter().filter_map(written).next_back().expect("something is written")
}

pub(crate) fn read_file(sim: &SimDisk, path: &Path) -> Vec<u8> {
    let file = sim.open(path, OpenMode::Read).unwrap();
    let mut bytes = vec![0; file.len().unwrap() as usize];
    file.read_exact_at(&mut bytes, 0).unwrap();
    bytes
}

/// Damages the file at `path` all over.
pub(crate) fn spoil(sim: &SimDisk, path: &Path) {
    let len = sim.metadata(path).unwrap().len;
    (0..len).step_by(64).for_each(|offset| sim.corrupt(path, offset, 3).unwrap());
}

pub(crate) fn write_file(sim: &SimDisk, path: &Path, bytes: &[u8]) {
    let _ = sim.remove_file(path);
    let file = sim.open(path, OpenMode::CreateNew).unwrap();
    file.write_at(bytes, 0).unwrap();
    file.sync().unwrap();
    sim.sync_dir(path.parent().unwrap()).unwrap();
}

pub(crate) fn put(store: &Store, key: u64, value: &str) -> Result<()> {
    let write = store.begin_write()?;
    write.table(ITEMS)?.put(&key, &value.to_owned())?;
    write.commit().map(drop)
}

pub(crate) fn get(store: &Store, key: u64) -> Option<String> {
    store.begin_read().unwrap().table(ITEMS).unwrap().get(&key).unwrap()
}

pub(crate) fn records(read: &ReadHandle) -> Vec<(u64, String)> {
    read.table(ITEMS).unwrap().iter().unwrap().map(Result::unwrap).collect()
}

pub(crate) fn all(store: &Store) -> Vec<(u64, String)> {
    records(&store.begin_read().unwrap())
}

/// Waits until `condition` holds, for what other threads do.
#[track_caller]
pub(crate) fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let began = std::time::Instant::now();
    while !condition() {
        assert!(began.elapsed() < PATIENCE, "never came: {what}");
        std::thread::sleep(Duration::from_micros(200));
    }
}

/// Runs `work` on a thread of its own, since it may have to wait for a backup.
pub(crate) fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Receiver<T> {
    let (done, end) = bounded(1);
    std::thread::spawn(move || done.send(work()));
    end
}

/// What `aside` came to.
#[track_caller]
pub(crate) fn end<T>(work: &Receiver<T>) -> T {
    work.recv_timeout(PATIENCE).expect("it went on")
}

/// A backup that stands still in a callback until it is told to go on. It goes on also when this is
/// dropped, so that a failing test ends.
pub(crate) struct Still {
    reached: Receiver<Progress>,
    go_on: Sender<()>,
}

impl Still {
    /// Lets `backup` stand still when it comes to `stage`.
    pub(crate) fn at(stage: Stage, backup: BackupBuilder) -> (BackupBuilder, Still) {
        Still::when(backup, move |progress| progress.stage == stage)
    }

    /// Lets `backup` stand still within its copy, with something copied.
    pub(crate) fn copying(sim: &Arc<SimDisk>, backup: BackupBuilder) -> (BackupBuilder, Still) {
        let clock = sim.clone();
        Still::when(backup, move |progress| {
            // Progress is told by time, so some has to pass.
            clock.advance(Duration::from_millis(60));
            progress.stage == Stage::Copy && progress.bytes_done > 0
        })
    }

    fn when(
        backup: BackupBuilder,
        mut here: impl FnMut(&Progress) -> bool + Send + 'static,
    ) -> (BackupBuilder, Still) {
        let (tell, reached) = bounded(1);
        let (go_on, wait) = bounded::<()>(0);
        let mut stood = false;
        let backup = backup.on_progress(move |progress| {
            if !stood && here(progress) {
                stood = true;
                let _gone = tell.send(progress.clone());
                let _go = wait.recv();
            }
            ControlFlow::Continue(())
        });
        (backup, Still { reached, go_on })
    }

    /// Waits until it stands still.
    #[track_caller]
    pub(crate) fn reached(&self) -> Progress {
        self.reached.recv_timeout(PATIENCE).expect("the backup comes to this stage")
    }

    pub(crate) fn go_on(self) {
        drop(self.go_on);
    }
}
