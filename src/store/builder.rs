//! How a store is opened or made.

use super::RestoredTo;
use super::Store;
use super::background::Background;
use super::inner::{Around, Inner, Settings};
use super::papers;
use crate::disk::atomic::with_name;
use crate::disk::{Disk, RealDisk, this_process};
use crate::engine::tree::max_key_len;
use crate::engine::{
    Durability, Engine, EngineOptions, KeptLog, LogCap, LogCapPolicy, replacement,
};
use crate::lock::StoreMode;
use crate::{Error, ErrorKind, Result};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Options of a store; see [`Store::builder`].
#[must_use = "a builder does nothing until open(), create() or open_or_create()"]
#[derive(Clone)]
pub struct StoreBuilder {
    path: PathBuf,
    disk: Arc<dyn Disk>,
    engine: EngineOptions,
    settings: Settings,
}

impl StoreBuilder {
    pub(crate) fn new(path: &Path) -> StoreBuilder {
        StoreBuilder {
            path: path.to_path_buf(),
            disk: RealDisk::new(),
            engine: EngineOptions::default(),
            settings: Settings::default(),
        }
    }

    /// How the application uses the store; it sets what a backup lets others do meanwhile. By
    /// default [`Server`](StoreMode::Server): reads go on, writes wait.
    pub fn mode(mut self, mode: StoreMode) -> Self {
        self.settings.mode = mode;
        self
    }

    /// How commits are acknowledged unless a handle says otherwise. By default
    /// [`Immediate`](Durability::Immediate).
    pub fn durability(mut self, durability: Durability) -> Self {
        self.settings.durability = durability;
        self
    }

    /// Bytes of a page of a store that is made: a power of two. By default 4096. A store that
    /// exists keeps its own.
    pub fn page_size(mut self, bytes: u32) -> Self {
        self.engine.page_size = bytes;
        self
    }

    /// The longest encoded key of a store that is made with these options.
    pub fn max_key_bytes(&self) -> usize {
        max_key_len(self.engine.page_size as usize)
    }

    /// The most bytes that a log segment has. By default 64 MiB. The first one since an opening has
    /// 1 MiB, each later one twice as much as the one before, up to this.
    pub fn segment_size(mut self, bytes: u64) -> Self {
        self.engine.segment_bytes = bytes;
        self
    }

    /// Bounds the log that is kept since the last backup of data, and says what happens at the bound.
    /// Without this it grows until a backup archives it. Segments are then at most a quarter of it
    /// long, or 64 KiB.
    pub fn log_cap(mut self, bytes: u64, policy: LogCapPolicy) -> Self {
        self.engine.log_cap = Some(LogCap { bytes, policy });
        self
    }

    /// The bound of the kept log that was asked for.
    pub(crate) fn log_cap_asked(&self) -> Option<LogCap> {
        self.engine.log_cap
    }

    /// Takes `cap` for the bound of the kept log.
    pub(crate) fn with_log_cap(mut self, cap: Option<LogCap>) -> Self {
        self.engine.log_cap = cap;
        self
    }

    /// Keeps the log of a store that is made in the folder `path`, best on another disk: a symbolic
    /// link `log` in the store's folder leads there. It must hold no log yet. A store that exists
    /// keeps its own place, unless its log is lost and given up.
    pub fn log_folder(mut self, path: impl AsRef<Path>) -> Self {
        self.engine.log_folder = Some(path.as_ref().to_path_buf());
        self
    }

    /// Opens a store whose log is missing (1274) at its checkpoint: what was committed later is lost.
    /// It can be read at once; writes are refused with 1274 until a backup of the data has succeeded,
    /// and the commits after that are a new branch of its history. Where the log was on another disk,
    /// the link to it goes: the new one lies in the store's folder, or where
    /// [`log_folder`](StoreBuilder::log_folder) says. A log that is there is not given up.
    pub fn accept_lost_log(mut self) -> Self {
        self.engine.accept_lost_log = true;
        self
    }

    /// Bytes of committed records that the store may keep in memory until they are in pages of the
    /// data file. They are kept in deltas of at most a third of it: one that takes commits, one
    /// that becomes pages meanwhile, and one more while a backup begins. Within that a delta grows
    /// with the data, since a larger one rewrites fewer pages. A write that finds no room waits.
    /// Recovery keeps to it too.
    ///
    /// By default the stores of the process share a quarter of the memory that it may use (that of the
    /// machine, or of its control group if that is less), but no more than 768 MiB; each has an equal
    /// part, at least 12 MiB. On a disk that does not tell of memory it is 192 MiB.
    pub fn memory_budget(mut self, bytes: usize) -> Self {
        self.engine.memory_budget = Some(bytes);
        self
    }

    /// How long an [`Eventual`](Durability::Eventual) commit may wait for its sync. By default 200
    /// ms.
    pub fn eventual_sync(mut self, within: Duration) -> Self {
        self.engine.eventual_sync = within;
        self
    }

    /// How many writes may wait at once; one more is refused with [`ErrorKind::Busy`]. By default
    /// 65,536.
    pub fn queue_limit(mut self, writes: usize) -> Self {
        self.settings.queue_limit = writes;
        self
    }

    /// How long a handle waits for a lock on a record or table. By default 10 s.
    pub fn lock_timeout(mut self, limit: Duration) -> Self {
        self.settings.lock_timeout = limit;
        self
    }

    /// How long a read operation waits while a backup freezes reads ([`Access::Frozen`]) before it is
    /// refused with [`ErrorKind::Timeout`]. By default it waits until reads go on.
    /// [`Store::request_read`] waits without blocking a thread.
    ///
    /// [`Access::Frozen`]: crate::Access::Frozen
    pub fn read_timeout(mut self, limit: Duration) -> Self {
        self.settings.read_timeout = Some(limit);
        self
    }

    /// Who does what a store does in the background. With [`Background::Stepped`] the same calls on a
    /// [`SimDisk`](crate::disk::SimDisk) of the same seed give the same run, disk call by disk call.
    pub fn background(mut self, background: Background) -> Self {
        self.engine.stepped = background == Background::Stepped;
        self.settings.background = background;
        self
    }

    /// How many transactions of [`Store::submit`] may wait for the end of their commits at once. By
    /// default 4. They are performed in the order of submission, whatever the number.
    pub fn submit_threads(mut self, threads: usize) -> Self {
        self.settings.submit_threads = threads.max(1);
        self
    }

    /// Says something of who writes, for the log: for example `("task", "nightly import")`.
    /// Process, user and host are in it by themselves, unless the store is stepped: a run is then
    /// the same in another process.
    pub fn context(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.engine.context.insert(name.into(), value.into());
        self
    }

    /// Opens the store to be read only: on a read-only medium, in a folder without permission to write,
    /// or a copy in a snapshot of another process's disk. By default it is opened for writing.
    ///
    /// Nothing is written to the store's folder: no lock file, log, checkpoint or state of backups.
    /// Reads and scans work, so do [`Store::verify`](crate::Store::verify), statistics, the log,
    /// and backups into another folder. Whatever writes is refused with [`ErrorKind::ReadOnly`]
    /// (2013), and so are a backup in a group, an incremental backup, and
    /// [`create`](StoreBuilder::create). A store whose log is lost, or whose replacement was
    /// interrupted, is refused and not changed.
    ///
    /// The commits that the log has beyond the last checkpoint are held in memory, within the
    /// [memory budget](StoreBuilder::memory_budget). Where they take more, the opening ends with
    /// [`ErrorKind::Limit`]: allow more, or copy the folder to where it can be written and open the
    /// copy.
    ///
    /// A backup archives no log, and the store does not remember it. Where the log has commits beyond
    /// the last checkpoint, it takes as much room in the destination, until it ends, as the records do.
    ///
    /// # Locks
    /// A shared lock of the store's lock file: others may read, [`ErrorKind::InUse`] is the answer where
    /// somebody has the store open for writing, and who wants to open it so gets it meanwhile. A folder
    /// without a lock file must be one that cannot be written (2013); nobody is kept out of it. See that
    /// nobody writes to it by another way, as another user or in another mount of it.
    pub fn read_only(mut self, read_only: bool) -> Self {
        self.engine.read_only = read_only;
        self
    }

    /// Whether it opens the store to be read only.
    pub(crate) fn is_read_only(&self) -> bool {
        self.engine.read_only
    }

    /// Keeps the store on `disk` instead of the real one: on a [`SimDisk`](crate::disk::SimDisk) an
    /// application can test what a crash at any moment leaves of its own data.
    pub fn disk(mut self, disk: Arc<dyn Disk>) -> Self {
        self.disk = disk;
        self
    }

    /// Opens the store, which must be there.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] where there is none; [`ErrorKind::InUse`] where another process or
    /// another `Store` of this one has it open; [`ErrorKind::Corrupt`], [`ErrorKind::Unsupported`]
    /// for files that cannot be trusted or understood.
    pub fn open(self) -> Result<Store> {
        let this = self.named();
        let (disk, path, mut options) = this.prepared();
        if options.read_only {
            let around = Around::new(&disk, &path);
            let engine = Engine::open_to_read(&disk, &path, options)?;
            return Ok(this.running(engine, around));
        }
        replacement::settle(&disk, &path)?;
        let around = Around::new(&disk, &path);
        options.keep_log = around.state.kept_log();
        options.on_log_drop = Some(around.on_log_drop(&disk));
        options.on_open = Some(around.on_open());
        let engine = Engine::open(disk, &path, options)?;
        papers::set_aside(&**engine.disk(), &path)?;
        Ok(this.running(engine, around))
    }

    /// Makes an empty store and opens it. There must be nothing, or an empty folder.
    ///
    /// # Errors
    /// [`ErrorKind::Exists`] where there is something already; [`ErrorKind::Invalid`] for a page
    /// size that is not possible; those of [`StoreBuilder::open`].
    ///
    /// # Durability
    /// When it returns, the empty store survives a power loss. A crash before that leaves no store.
    pub fn create(self) -> Result<Store> {
        let this = self.named();
        let (disk, path, mut options) = this.prepared();
        if options.read_only {
            let message = "a store that is made cannot be opened to be read only";
            return Err(Error::new(ErrorKind::Invalid, message).at(path));
        }
        let around = Around::new(&disk, &path);
        options.on_log_drop = Some(around.on_log_drop(&disk));
        let engine = Engine::create(disk, &path, options)?;
        Ok(this.running(engine, around))
    }

    /// Opens the store if there is one, else makes it, unless it is to be [read
    /// only](StoreBuilder::read_only).
    ///
    /// # Errors
    /// Those of [`StoreBuilder::open`] and [`StoreBuilder::create`].
    pub fn open_or_create(self) -> Result<Store> {
        match self.clone().open() {
            Err(error) if error.kind() == ErrorKind::NotFound && !self.is_read_only() => {
                match self.clone().create() {
                    // Another made it between the two looks.
                    Err(error) if error.kind() == ErrorKind::Exists => self.open(),
                    created => created,
                }
            }
            opened => opened,
        }
    }

    /// The same, with a name where the folder was given by dots alone: archives are called by it, and
    /// what belongs to the store lies beside it.
    pub(crate) fn named(mut self) -> StoreBuilder {
        self.path = with_name(&*self.disk, self.path);
        self
    }

    /// Where the store is, or will be.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// What it lies on.
    pub(crate) fn disk_ref(&self) -> &Arc<dyn Disk> {
        &self.disk
    }

    fn prepared(&self) -> (Arc<dyn Disk>, PathBuf, EngineOptions) {
        let mut options = self.engine.clone();
        let by_itself = if options.stepped { Vec::new() } else { this_process().into() };
        for (name, value) in by_itself {
            options.context.entry(name.to_owned()).or_insert(value);
        }
        (self.disk.clone(), self.path.clone(), options)
    }

    fn running(self, engine: Engine, around: Around) -> Store {
        // Another process may have had the store when the file was read first.
        around.state.read_again(engine.folder());
        keep_log(&engine, &around);
        let disk = engine.disk().clone();
        Store { inner: Inner::new(engine, disk, self.settings, around) }
    }
}

/// Keeps the log as the state file says, and that of a restored store at once: its archive is what the
/// log follows, also where plain `tar` unpacked it.
fn keep_log(engine: &Engine, around: &Around) {
    let mut kept = around.state.kept_log();
    if kept.is_none()
        && let Some(from) = engine.restored_at()
    {
        kept = Some(KeptLog { from, backed_up: false });
        let timeline = engine.history().tip().into();
        // Where that cannot be written now, the next opening before the first checkpoint tries again.
        let _tried = around.state.update(|state| {
            state.kept_from = Some(from);
            state.restored_to = Some(RestoredTo { lsn: from, timeline });
        });
    }
    engine.keep_log(kept);
}

impl fmt::Debug for StoreBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreBuilder")
            .field("path", &self.path)
            .field("engine", &self.engine)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}
