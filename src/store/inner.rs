//! What all handles of one store share.
//!
//! It owns engine and lock manager; handles own it. So a handle may outlive every
//! [`Store`](super::Store) value, and the store is closed when the last of them goes, on whatever
//! thread that is: the engine's own threads hold no handle, so none of them ever waits for itself.

use super::background::Background;
use super::backup_state::{BackupState, LogGap, StateFile};
use super::describe::key_text;
use super::events::{Events, StoreEvent};
use super::gate::Gates;
use super::participant::Participants;
use super::running::{Running, Stopping};
use super::submit::Runners;
use crate::disk::Disk;
use crate::engine::Batch;
use crate::engine::tree::max_key_len;
use crate::engine::{CommitInfo, Durability, Engine, KeptLog, OnLogDrop, OnOpen};
use crate::lock::{Granule, LockManager, LockOptions, StoreMode};
use crate::{Error, ErrorKind, Result};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Values are at most this long, in bytes.
pub const MAX_VALUE_BYTES: usize = 256 << 20;

/// How a store was opened.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) mode: StoreMode,
    pub(crate) durability: Durability,
    pub(crate) queue_limit: usize,
    pub(crate) lock_timeout: Duration,
    pub(crate) read_timeout: Option<Duration>,
    pub(crate) submit_threads: usize,
    pub(crate) background: Background,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            mode: StoreMode::Server,
            durability: Durability::Immediate,
            queue_limit: 65_536,
            lock_timeout: Duration::from_secs(10),
            read_timeout: None,
            submit_threads: 4,
            background: Background::Threads,
        }
    }
}

/// What is there before the engine runs, because it is told from within.
#[derive(Clone)]
pub(crate) struct Around {
    pub(crate) state: Arc<StateFile>,
    pub(crate) events: Arc<Events>,
}

impl Around {
    pub(crate) fn new(disk: &Arc<dyn Disk>, dir: &Path) -> Around {
        let state = Arc::new(StateFile::open(disk.clone(), dir));
        Around { state, events: Arc::default() }
    }

    /// Forgets the archives that the data file, as it is found, does not go on from.
    pub(crate) fn on_open(&self) -> OnOpen {
        let state = self.state.clone();
        OnOpen(Arc::new(move |folder, newest| {
            // Another process may have had the store when the file was read first.
            state.read_again(folder);
            state.forget_after(newest)
        }))
    }

    /// Notes what the log's cap takes, and tells of it.
    pub(crate) fn on_log_drop(&self, disk: &Arc<dyn Disk>) -> OnLogDrop {
        let (around, disk) = (self.clone(), disk.clone());
        OnLogDrop(Arc::new(move |after, last| {
            let gap = LogGap { after, last, time: disk.now() };
            around.state.update(|state| state.add_gap(gap))?;
            around.events.tell(|| StoreEvent::LogDropped { after, last });
            Ok(())
        }))
    }
}

/// The store itself.
pub(crate) struct Inner {
    pub(crate) engine: Engine,
    pub(crate) locks: Arc<LockManager>,
    pub(crate) gates: Gates,
    pub(crate) events: Arc<Events>,
    pub(crate) runners: Arc<Runners>,
    pub(crate) settings: Settings,
    pub(crate) state: Arc<StateFile>,
    pub(crate) participants: Participants,
    /// What closing stops and waits for.
    pub(crate) running: Arc<Running>,
    disk: Arc<dyn Disk>,
    pub(crate) max_key_bytes: usize,
    closed: AtomicBool,
    /// Whether listeners were, or are about to be, told that the store was closed.
    told_closed: AtomicBool,
}

impl Inner {
    pub(crate) fn new(
        engine: Engine,
        disk: Arc<dyn Disk>,
        settings: Settings,
        around: Around,
    ) -> Arc<Inner> {
        let clock = disk.clone();
        let mut seed = [0; 8];
        disk.random(&mut seed);
        let locks = LockManager::new(LockOptions {
            mode: settings.mode,
            queue_limit: settings.queue_limit,
            record_timeout: settings.lock_timeout,
            read_timeout: settings.read_timeout,
            names: names(&engine),
            seed: u64::from_le_bytes(seed),
            ..LockOptions::new(Arc::new(move || clock.elapsed()))
        });
        Arc::new(Inner {
            gates: Gates::of(&locks),
            locks,
            events: around.events,
            runners: Runners::new(settings.submit_threads, settings.background),
            max_key_bytes: max_key_len(engine.data().page_size()),
            engine,
            settings,
            participants: Participants::default(),
            running: Arc::default(),
            state: around.state,
            disk,
            closed: AtomicBool::new(false),
            told_closed: AtomicBool::new(false),
        })
    }

    /// Whether nothing runs by itself.
    pub(crate) fn is_stepped(&self) -> bool {
        self.settings.background == Background::Stepped
    }

    /// Time since a fixed moment, by the store's clock.
    pub(crate) fn now(&self) -> Duration {
        self.disk.elapsed()
    }

    /// What the store remembers of its backups.
    pub(crate) fn backup_state(&self) -> BackupState {
        self.state.get()
    }

    /// Changes that, durably; then the log is kept from the backup on that it names.
    pub(crate) fn update_backup_state(&self, change: impl FnOnce(&mut BackupState)) -> Result<()> {
        self.state.update(change)?;
        self.engine.keep_log(self.state.kept_log());
        Ok(())
    }

    /// Begins to keep the log, where it is not kept yet and the store is not only read: what it has
    /// of the commits before, too.
    ///
    /// # Errors
    /// Those of the state file; the log is kept all the same, until the store is closed.
    pub(crate) fn begin_to_keep_log(&self) -> Result<()> {
        if self.engine.log_kept_from().is_some() || self.engine.is_read_only() {
            return Ok(());
        }
        let from = self.engine.log_begins_after()?;
        self.engine.keep_log(Some(KeptLog { from, backed_up: false }));
        self.state.update(|state| state.kept_from = Some(from))
    }

    /// Sees that the store is open.
    pub(crate) fn check_open(&self) -> Result<()> {
        if self.closed.load(Ordering::Acquire) {
            return Err(Error::new(ErrorKind::Closed, "the store is closed"));
        }
        Ok(())
    }

    /// The same for what writes or waits, and that it is the process that opened it.
    pub(crate) fn check_own(&self) -> Result<()> {
        self.check_open()?;
        self.engine.folder().check_process()
    }

    /// The same for what writes, where the store takes writes at all.
    pub(crate) fn check_writable(&self) -> Result<()> {
        self.check_own()?;
        self.engine.folder().check_writable()
    }

    /// Sees that key and value are within their bounds.
    pub(crate) fn check_sizes(&self, key: &[u8], value: usize) -> Result<()> {
        if key.len() > self.max_key_bytes {
            let message =
                format!("a key takes {} bytes, and {} are allowed", key.len(), self.max_key_bytes);
            return Err(Error::new(ErrorKind::Limit, message)
                .hint("The bound is of encoded bytes; it is five sixteenths of a page."));
        }
        if value > MAX_VALUE_BYTES {
            let message = format!("a value takes {value} bytes, and {MAX_VALUE_BYTES} are allowed");
            return Err(Error::new(ErrorKind::Limit, message));
        }
        Ok(())
    }

    /// Commits, and tells listeners what a failure says about the store.
    pub(crate) fn commit(&self, batch: Batch, durability: Durability) -> Result<CommitInfo> {
        self.commit_telling(batch, durability, &mut || {})
    }

    /// The same; calls `in_line` as [`Engine::commit_telling`] does.
    pub(crate) fn commit_telling(
        &self,
        batch: Batch,
        durability: Durability,
        in_line: &mut dyn FnMut(),
    ) -> Result<CommitInfo> {
        self.engine.folder().check_process()?;
        self.engine.commit_telling(batch, durability, in_line).inspect_err(|error| {
            self.events.tell_fault(error, self.engine.latched());
        })
    }

    /// The beginning of [`Inner::close`], which waits for nothing: what waits and what comes is refused,
    /// and backups are stopped. They let go of their holds last, which grants nothing any more.
    pub(crate) fn refuse_all(&self) {
        let is_own = self.engine.folder().check_process().is_ok();
        if !is_own {
            return;
        }
        // First: whoever finds the store closed must find its backups stopped.
        self.running.stop(Stopping::Announced);
        if !self.closed.swap(true, Ordering::AcqRel) {
            self.locks.close();
            self.running.stop(Stopping::LetGo);
        }
    }

    pub(crate) fn close(&self) -> Result<()> {
        self.engine.folder().check_process()?;
        self.refuse_all();
        let is_first = !self.told_closed.swap(true, Ordering::AcqRel);
        // Whoever comes second waits here: what it was told of is done.
        let result = self.engine.close();
        // A callback of the backup would wait for its own end.
        let ended = match self.locks.is_in_callback() {
            true => Ok(()),
            false => self.running.wait(),
        };
        if is_first {
            self.events.tell(|| StoreEvent::Closed);
        }
        result.and(ended)
    }
}

/// What the lock manager calls tables and records.
fn names(engine: &Engine) -> Arc<dyn Fn(&Granule) -> String + Send + Sync> {
    let tables = engine.table_names();
    Arc::new(move |granule| match granule {
        Granule::Table(table) => match tables(*table) {
            Some(info) => format!("table \"{}\"", info.name),
            None => granule.to_string(),
        },
        Granule::Record(table, key) => {
            let Some(info) = tables(*table) else { return granule.to_string() };
            format!("record {} of table \"{}\"", key_text(&info, key), info.name)
        }
        Granule::Structure | Granule::Data | Granule::Name(_) => granule.to_string(),
    })
}
