//! What the keeper's thread, the backups and the application's `Regime` share.
//!
//! Invariants: the desk (settings in force, policy, what is remembered) is held for moments and never
//! across a backup, a hook or a file; the books (journal and history) are written by one at a time.
//! Trouble with either is told as an event and in the journal, and stops nothing.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use parking_lot::{Condvar, Mutex, ReentrantMutex};

use super::books::Books;
use super::events::{Events, RegimeEvent};
use super::history::StoreAccount;
use super::journal::Journal;
use super::plan::Plan;
use super::policy::Policy;
use super::retention::RetentionRule;
use super::run::Order;
use super::settings::{Settings, SettingsFile};
use super::state::{LastBackup, State};
use crate::archive::{Keys, Recipients};
use crate::backup::{BackupReport, BackupStart, foreign, within_store};
use crate::disk::Disk;
use crate::engine::LogCap;
use crate::error::{Error, ErrorKind, Result, code};
use crate::store::Store;

/// Asked before each attempt; an error is the code that refuses it.
pub(super) type StartupHook = Arc<dyn Fn(&BackupStart) -> Result<(), i32> + Send + Sync>;
/// Told how each attempt ended: 0 or the top-level code.
pub(super) type ShutdownHook = Arc<dyn Fn(i32) + Send + Sync>;
/// The Stop button of the backup that runs.
pub(super) type Stopper = Box<dyn Fn() + Send + Sync>;

/// What the application says once, when it opens the store.
#[derive(Clone, Default)]
pub(super) struct Hooks {
    pub(super) startup: Option<StartupHook>,
    pub(super) shutdown: Option<ShutdownHook>,
}

/// Who reads the archives. Never in the settings, never in the books.
#[derive(Clone, Default)]
pub(crate) struct Secrets {
    /// What opens them.
    pub(super) keys: Keys,
    /// Whom they are encrypted for.
    pub(super) recipients: Option<Recipients>,
}

/// An attempt that waits for its time: a second one, or the first after a restore.
#[derive(Clone)]
pub(crate) struct Retry {
    /// By the monotonic clock: a wall clock that is set has no say in it.
    pub(super) due: Duration,
    pub(super) order: Order,
}

/// What is in force, and what is remembered.
pub(super) struct Desk {
    pub(super) file: SettingsFile,
    pub(super) settings: Arc<Settings>,
    pub(super) plan: Arc<Plan>,
    /// The bound of the kept log that the application gave the store, for settings that say none.
    pub(super) own_cap: Option<LogCap>,
    pub(super) policy: Policy,
    pub(super) state: State,
    pub(super) retry: Option<Retry>,
    /// Why the settings file as it is now is not in force.
    pub(super) refused: Option<Error>,
}

/// What is in force when a regime begins.
pub(super) struct Rules {
    pub(super) settings: Settings,
    pub(super) file: SettingsFile,
    pub(super) plan: Plan,
    pub(super) own_cap: Option<LogCap>,
}

/// Wakes the keeper, and tells it to end.
#[derive(Default)]
pub(super) struct Bell {
    state: Mutex<Ring>,
    rung: Condvar,
}

#[derive(Default)]
struct Ring {
    rung: bool,
    closing: bool,
}

impl Bell {
    /// Lets the keeper look again.
    pub(super) fn ring(&self) {
        self.state.lock().rung = true;
        self.rung.notify_all();
    }

    /// Lets the keeper end.
    pub(super) fn close(&self) {
        self.state.lock().closing = true;
        self.rung.notify_all();
    }

    pub(super) fn closing(&self) -> bool {
        self.state.lock().closing
    }

    /// Waits for the bell, for `most` at the longest.
    pub(super) fn wait(&self, most: Duration) {
        let mut state = self.state.lock();
        if !state.rung && !state.closing {
            self.rung.wait_for(&mut state, most);
        }
        state.rung = false;
    }
}

/// The regime of one open store.
pub(crate) struct Core {
    pub(super) store: Store,
    pub(super) disk: Arc<dyn Disk>,
    pub(super) dir: PathBuf,
    pub(super) hooks: Hooks,
    pub(super) secrets: Secrets,
    pub(super) events: Events,
    pub(super) desk: Mutex<Desk>,
    pub(super) bell: Bell,
    /// Held by whoever does what is due.
    pub(super) ticking: Mutex<()>,
    /// Held by the drill that is made.
    pub(super) drilling: ReentrantMutex<()>,
    pub(super) books: Mutex<Books>,
    stopper: Mutex<Option<Stopper>>,
}

impl Core {
    /// The regime of `store` in the folder `dir`, an absolute path. All that it writes goes into the
    /// folder that the store locked.
    pub(super) fn new(
        store: Store,
        dir: &Path,
        hooks: Hooks,
        secrets: Secrets,
        rules: Rules,
    ) -> Core {
        let Rules { settings, file, plan, own_cap } = rules;
        let engine = &store.inner().engine;
        let disk = engine.disk().clone();
        let events = Events::default();
        let state = State::load(&*disk, dir).unwrap_or_else(|error| {
            events.tell(RegimeEvent::Trouble { error });
            State::default()
        });
        let journal = Journal::open(disk.clone(), dir, plan.verbose, plan.zone.clone())
            .dropping(store.is_read_only());
        let books = Books::new(disk.clone(), engine.store_id(), journal);
        let (settings, plan) = (Arc::new(settings), Arc::new(plan));
        let (policy, retry, refused) = (Policy::default(), None, None);
        let desk = Desk { file, settings, plan, own_cap, policy, state, retry, refused };
        Core {
            disk,
            dir: engine.dir().to_path_buf(),
            store,
            hooks,
            secrets,
            events,
            desk: Mutex::new(desk),
            bell: Bell::default(),
            ticking: Mutex::new(()),
            drilling: ReentrantMutex::new(()),
            books: Mutex::new(books),
            stopper: Mutex::new(None),
        }
    }

    pub(super) fn now(&self) -> Timestamp {
        super::state::timestamp(self.disk.now())
    }

    pub(super) fn plan(&self) -> Arc<Plan> {
        self.desk.lock().plan.clone()
    }

    pub(super) fn failed_in_a_row(&self) -> u32 {
        self.desk.lock().policy.failed_in_a_row()
    }

    /// Something beside the backup went wrong.
    pub(super) fn trouble(&self, error: Error) {
        // What cannot be written into the journal either is told as an event all the same.
        let _second = self.books.lock().trouble(&error);
        self.events.tell(RegimeEvent::Trouble { error });
    }

    /// Writes into the journal.
    pub(super) fn books(&self, write: impl FnOnce(&mut Books) -> Result<()>) {
        let written = write(&mut self.books.lock());
        self.unless_told(written);
    }

    /// Changes what is remembered, durably unless the store is only read.
    pub(super) fn remember(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.desk.lock().state);
        if self.store.is_read_only() {
            return;
        }
        // One at a time, and each as it is by then: none is written over by an older one.
        let _books = self.books.lock();
        let state = self.desk.lock().state.clone();
        if let Err(error) = state.save(&*self.disk, &self.dir) {
            self.events.tell(RegimeEvent::Trouble { error });
        }
    }

    /// Puts an attempt into the history. The store's own folders are no destination and get none.
    pub(super) fn record(&self, order: &Order, last: &LastBackup, report: Option<&BackupReport>) {
        let dir = self.store.inner().engine.dir();
        if within_store(&*self.disk, &order.plan.destination, dir) {
            return;
        }
        let written = self.books.lock().record(order, last, report);
        match written {
            // The attempt failed because the destination is missing: that has been reported.
            Err(error) if report.is_none() && error.kind() == ErrorKind::NotFound => {}
            Err(error) => self.trouble(error),
            Ok(()) => {}
        }
    }

    /// The number of the next backup.
    ///
    /// # Errors
    /// 1407: who cannot read or write the history there cannot write an archive either.
    pub(super) fn next_number(&self, plan: &Plan) -> Result<u32> {
        let (number, told) = self.books.lock().next_number(plan);
        self.unless_told(told);
        number.map_err(|error| {
            let advice = match error.kind() {
                ErrorKind::NotFound => foreign::advice(&plan.destination, "DestinationFolder"),
                _ => None,
            };
            let advice = advice
                .unwrap_or_else(|| "Choose a folder that is there and can be written.".into());
            let error = match error.kind() {
                ErrorKind::StorageFull | ErrorKind::Busy => error,
                _ => error.with_kind(ErrorKind::BackupFailed),
            };
            error.with_code(code::DESTINATION).hint(advice)
        })
    }

    /// Deletes the sets that are too many, so that `room` more are not, and nothing of what `written`
    /// has just written.
    pub(super) fn retire(
        &self,
        plan: &Plan,
        room: u32,
        written: Option<&BackupReport>,
    ) -> Result<()> {
        let Some(rule) = Core::retention_rule(plan, room) else { return Ok(()) };
        let spared = written.map(|report| {
            let log = report.log_archive.iter().flat_map(|log| &log.files);
            report.archive_files.iter().chain(log).cloned().collect()
        });
        let (retired, told) =
            self.books.lock().retire(plan, &rule, self.own_account(), spared.unwrap_or_default());
        self.unless_told(told);
        retired
    }

    /// Bytes that [`Core::retire`] will free; 0 where that cannot be told.
    pub(super) fn will_retire(&self, plan: &Plan, room: u32) -> u64 {
        let Some(rule) = Core::retention_rule(plan, room) else { return 0 };
        self.books.lock().will_retire(plan, &rule, self.own_account())
    }

    /// What is kept by `plan`; `None` where everything is.
    fn retention_rule(plan: &Plan, room: u32) -> Option<RetentionRule> {
        let keep = plan.keep?.max(1);
        Some(RetentionRule { keep, room })
    }

    fn own_account(&self) -> StoreAccount {
        let inner = self.store.inner();
        StoreAccount { made: inner.backup_state().made(), history: inner.engine.history() }
    }

    /// A journal that cannot be written fails nothing.
    fn unless_told(&self, told: Result<()>) {
        if let Err(error) = told {
            self.events.tell(RegimeEvent::Trouble { error });
        }
    }

    pub(super) fn set_stopper(&self, stopper: Option<Stopper>) {
        *self.stopper.lock() = stopper;
    }

    /// Stops the backup that the keeper makes, if it makes one.
    pub(super) fn stop_automatic_backup(&self) {
        if let Some(stop) = &*self.stopper.lock() {
            stop();
        }
    }
}
