//! A store with its regime: what an application opens that wants its backups to go by themselves.

use std::fmt;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crossbeam_channel::Receiver;
use jiff::Timestamp;
use parking_lot::Mutex;

use super::backup::RegimeBackup;
use super::core::{Core, Hooks, Rules, Secrets};
use super::drill::DrillReport;
use super::events::RegimeEvent;
use super::health::Coverage;
use super::keeper::{self, Keeper};
use super::opening;
use super::plan::Plan;
use super::reload::log_cap;
use super::restored::Restored;
use super::settings::Settings;
use super::state::{LastBackup, RestoreInfo};
use crate::archive::{Keys, Progress, Recipients};
use crate::backup::BackupStart;
use crate::disk::atomic::absolute;
use crate::error::{Error, ErrorKind, Result};
use crate::store::{Participant, Registered, Store, StoreBuilder};

/// An open store whose backups, second attempts, retention, journal and drills go by its settings.
///
/// It owns a clone of the [`Store`] and one thread, which sleeps until something is due. Dropping it
/// ends the thread, and a scheduled backup that it is making (1406); the store itself stays open as
/// long as anybody has it.
///
/// ```
/// use stillpoint::regime::Regime;
/// use stillpoint::{Store, TableDef};
///
/// const VISITS: TableDef<str, u64> = TableDef::new("visits");
///
/// # fn main() -> stillpoint::Result<()> {
/// # let folder = tempfile::tempdir().unwrap();
/// # let dir = folder.path().join("shop");
/// let regime = Regime::builder(Store::builder(&dir))
///     .on_startup(|start| if start.destination.starts_with("/mnt") { Err(-4) } else { Ok(()) })
///     .on_shutdown(|code| if code != 0 { eprintln!("the backup ended with {code}") })
///     .open_or_create()?;
/// regime.store().transact(|write| write.table(VISITS)?.put("front page", &1))?;
///
/// let report = regime.backup().run()?; // destination and all else as the settings say
/// assert_eq!(regime.last_backup().unwrap().status.code, 0);
/// let drill = regime.drill()?; // restored into scratch, compared, removed
/// assert_eq!(drill.lsn, report.lsn);
/// regime.close()?;
/// # Ok(()) }
/// ```
pub struct Regime {
    core: Arc<Core>,
    keeper: Option<Mutex<Keeper>>,
}

/// How a store is opened with its regime; see [`Regime::builder`].
#[must_use = "a builder does nothing until open() or open_or_create()"]
pub struct RegimeBuilder {
    store: StoreBuilder,
    hooks: Hooks,
    secrets: Secrets,
    participants: Vec<Registered>,
    attachments: bool,
    thread: bool,
    catch_up: bool,
}

impl RegimeBuilder {
    /// Asked before each attempt to back up, whoever began it; an error is the code that refuses it.
    ///
    /// # Locks
    /// Called outside all locks, on the thread of the backup. A backup that is started from it is
    /// refused (2005).
    pub fn on_startup(
        mut self,
        hook: impl Fn(&BackupStart) -> Result<(), i32> + Send + Sync + 'static,
    ) -> Self {
        self.hooks.startup = Some(Arc::new(hook));
        self
    }

    /// Told how each attempt ended, after everything else: 0, or the top-level code. The journal has
    /// the rest.
    ///
    /// # Locks
    /// As [`on_startup`](RegimeBuilder::on_startup).
    pub fn on_shutdown(mut self, hook: impl Fn(i32) + Send + Sync + 'static) -> Self {
        self.hooks.shutdown = Some(Arc::new(hook));
        self
    }

    /// Lets `participant` take part in every backup of the store from the first one on: also in one
    /// that is due at once, which [`Store::register_participant`] may come too late for. From the
    /// opening on it is registered as though by that.
    pub fn participant(
        mut self,
        name: impl Into<String>,
        participant: impl Participant + 'static,
    ) -> Self {
        self.participants.push(Registered::new(name, participant));
        self
    }

    /// What opens the archives, where they are encrypted: for drills, automatic restores, incremental
    /// backups, and the account of what is covered. Keys are never in the settings.
    pub fn keys(mut self, keys: Keys) -> Self {
        self.secrets.keys = self.secrets.keys.and(keys);
        self
    }

    /// Encrypts every archive for these. Their passphrase, if it is one, opens the archives too.
    pub fn encrypt(mut self, recipients: Recipients) -> Self {
        self.secrets.keys = self.secrets.keys.and(recipients.keys());
        self.secrets.recipients = Some(recipients);
        self
    }

    /// Lets an automatic restore bring the attachments of the archive back too, into the folder
    /// `attachments` of the store. By default those of the application stay as they are, and event and
    /// journal say how many the archive holds.
    pub fn restore_attachments(mut self, attachments: bool) -> Self {
        self.attachments = attachments;
        self
    }

    /// Starts no thread: nothing is done unless [`Regime::tick`] is called. A
    /// [stepped](crate::Background::Stepped) store has none anyway.
    pub fn without_thread(mut self) -> Self {
        self.thread = false;
        self
    }

    /// Attends to nothing at the opening: a damaged store is not restored, whatever `AutomaticRestore`
    /// says, and a run of the schedule that was missed is not counted. For programs that look at a
    /// store, or do one thing with it.
    pub fn without_catch_up(mut self) -> Self {
        self.catch_up = false;
        self
    }

    /// Opens the store, which must be there, and attends to what is due: an automatic restore where
    /// it is damaged, a run of the schedule that was missed. A store that is opened to be
    /// [read only](StoreBuilder::read_only) is attended to by nobody: there is no thread, no journal and
    /// no state, and each backup is a copy that stands by itself, with the settings for all else.
    ///
    /// # Errors
    /// Those of [`StoreBuilder::open`]; [`ErrorKind::Exists`] for two participants of one name;
    /// wrong settings ([`ErrorKind::Invalid`], 2007): a store whose regime is not known is opened
    /// with [`Store::open`], if at all.
    pub fn open(self) -> Result<Regime> {
        self.start(false)
    }

    /// Opens the store if there is one, else makes it.
    ///
    /// # Errors
    /// Those of [`RegimeBuilder::open`] and [`StoreBuilder::create`].
    pub fn open_or_create(self) -> Result<Regime> {
        self.start(true)
    }

    fn start(mut self, create: bool) -> Result<Regime> {
        self.store = self.store.named();
        if self.store.is_read_only() {
            (self.thread, self.catch_up) = (false, false);
        }
        let disk = self.store.disk_ref().clone();
        // What journal, history and state say of paths is the same to every process.
        let dir = absolute(&*disk, self.store.path());
        if !self.store.is_read_only() {
            opening::end_what_was_begun(&disk, &dir)?;
        }
        if disk.metadata(&dir).is_err() {
            // Settings lie within, or beside, a store that is there.
            let store = self.store.clone();
            if create { store.create() } else { store.open() }?.close()?;
        }
        let (settings, file) = Settings::load(&*disk, &dir)?;
        let plan = Plan::of(&settings, &dir, &self.secrets)?;
        let own_cap = self.store.log_cap_asked();
        let builder = self.store.with_log_cap(log_cap(&settings, own_cap));
        let opening::Opened { store, restored } =
            opening::open(&builder, &plan, &self.secrets.keys, self.catch_up, self.attachments);
        let store = match store {
            Err(error) if create && restored.is_none() && error.kind() == ErrorKind::NotFound => {
                builder.open_or_create()?
            }
            Err(error) => {
                if let Some(restored) = &restored {
                    opening::write_down(&disk, &dir, &plan, restored);
                }
                return Err(error);
            }
            Ok(store) => store,
        };
        for participant in self.participants {
            store.inner().register_participant(participant)?;
        }
        let rules = Rules { settings, file, plan, own_cap };
        let core = Arc::new(Core::new(store, &dir, self.hooks, self.secrets, rules));
        match self.catch_up {
            true => core.begin(restored),
            false => core.desk.lock().state.store = store_name(&core.store),
        }
        core.report_interrupted();
        if self.catch_up {
            core.attend();
        }
        let keeper = match self.thread && !core.store.inner().is_stepped() {
            true => Some(Mutex::new(Keeper::start(&core)?)),
            false => None,
        };
        Ok(Regime { core, keeper })
    }
}

impl Regime {
    /// Opens the store in the folder `dir`, which must be there, with the default options.
    ///
    /// # Errors
    /// Those of [`RegimeBuilder::open`].
    pub fn open(dir: impl AsRef<Path>) -> Result<Regime> {
        Regime::builder(Store::builder(dir)).open()
    }

    /// Options for a store that `store` would open.
    pub fn builder(store: StoreBuilder) -> RegimeBuilder {
        let (hooks, secrets) = (Hooks::default(), Secrets::default());
        RegimeBuilder {
            store,
            hooks,
            secrets,
            participants: Vec::new(),
            attachments: false,
            thread: true,
            catch_up: true,
        }
    }

    /// The store.
    pub fn store(&self) -> &Store {
        &self.core.store
    }

    /// A backup with everything as the settings say it, and what is called on it instead. However it
    /// ends, it goes the way of every backup of the regime: hooks, history, journal, retention,
    /// failure policy.
    pub fn backup(&self) -> RegimeBackup {
        RegimeBackup::new(&self.core)
    }

    /// Does what is due now, as the thread does when it wakes, and gives the next moment when
    /// something will be due. For tests in simulated time, and for applications that have a timer of
    /// their own (see [`RegimeBuilder::without_thread`]). A backup that is due is made before it
    /// returns.
    pub fn tick(&self) -> Option<Timestamp> {
        if self.store().is_read_only() {
            return None;
        }
        keeper::tick(&self.core)
    }

    /// When the schedule wants the next backup; `None` where it wants none, or automatic backups are
    /// suspended.
    pub fn next_backup(&self) -> Option<Timestamp> {
        keeper::next_backup(&self.core)
    }

    /// When a failed backup is tried again, where one waits for that.
    pub fn next_attempt(&self) -> Option<Timestamp> {
        let due = self.core.desk.lock().retry.as_ref().map(|retry| retry.due)?;
        let wait = due.saturating_sub(self.core.disk.elapsed());
        Some(self.core.now().checked_add(wait).unwrap_or(Timestamp::MAX))
    }

    /// The last backup, whoever asked for it and however it ended; also one that was missed.
    pub fn last_backup(&self) -> Option<LastBackup> {
        self.core.desk.lock().state.last_backup.clone()
    }

    /// The last automatic restore.
    pub fn restore_info(&self) -> Option<RestoreInfo> {
        self.core.desk.lock().state.last_restore.clone()
    }

    /// Whether automatic backups are suspended (1401): too many attempts failed, and since then none
    /// succeeded.
    pub fn suspended(&self) -> bool {
        self.core.desk.lock().policy.suspended()
    }

    /// The settings in force.
    pub fn settings(&self) -> Arc<Settings> {
        self.core.desk.lock().settings.clone()
    }

    /// Why the settings file, as it is now, is not in force; `None` where it is.
    pub fn settings_error(&self) -> Option<Error> {
        self.core.desk.lock().refused.clone()
    }

    /// Where the archives go by the settings.
    pub fn destination(&self) -> PathBuf {
        self.core.plan().destination.clone()
    }

    /// What the regime does from now on. The first who asks hears of what was found at the opening.
    pub fn events(&self) -> Receiver<RegimeEvent> {
        self.core.events.subscribe()
    }

    /// What can be restored, what cannot, and whether there is room for more.
    ///
    /// # Errors
    /// When the destination cannot be read.
    pub fn coverage(&self) -> Result<Coverage> {
        self.coverage_with(|_| ControlFlow::Continue(()))
    }

    /// The same, telling `progress` how many archives it has looked at, of how many; it may stop it
    /// (1406).
    ///
    /// # Errors
    /// As [`Regime::coverage`].
    pub fn coverage_with(
        &self,
        mut progress: impl FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<Coverage> {
        self.core.coverage(&mut progress)
    }

    /// Proves the newest backup by restoring it into a scratch folder beside the store and comparing.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] (1410) where there is no backup; [`ErrorKind::Corrupt`] (1411) where it
    /// does not restore to what it says it is; those of the disk.
    pub fn drill(&self) -> Result<DrillReport> {
        self.drill_with(|_| ControlFlow::Continue(()))
    }

    /// The same, telling `progress` of the bytes of each step in turn, which may stop it (1406).
    ///
    /// # Errors
    /// As [`Regime::drill`].
    pub fn drill_with(
        &self,
        mut progress: impl FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<DrillReport> {
        self.core.drill(&mut progress)
    }

    /// Ends the regime's thread and closes the store. Every backup of the store that runs is stopped
    /// (1406), whoever asked for it, and so is a drill. When this returns their books are written, and
    /// the store can be opened again.
    ///
    /// # Errors
    /// Those of [`Store::close`].
    pub fn close(&self) -> Result<()> {
        self.core.bell.close();
        self.core.store.inner().refuse_all();
        self.end();
        self.core.store.close()
    }

    fn end(&self) {
        if self.core.store.inner().engine.folder().check_process().is_err() {
            // A fork has no copy of the thread to wait for.
            return;
        }
        self.core.bell.close();
        if let Some(keeper) = &self.keeper {
            self.core.stop_automatic_backup();
            // In a hook of the backup that the thread makes, it would wait for us. It ends after us.
            if !self.core.store.inner().locks.is_in_callback() {
                keeper.lock().join();
            }
        }
    }
}

impl Drop for Regime {
    fn drop(&mut self) {
        self.end();
    }
}

impl fmt::Debug for Regime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Regime")
            .field("store", &self.core.store)
            .field("next_backup", &self.next_backup().map(|next| next.to_string()))
            .finish_non_exhaustive()
    }
}

/// The identity of a store, as the state file has it.
fn store_name(store: &Store) -> String {
    format!("{:032x}", store.inner().engine.store_id())
}

impl Core {
    /// What is done once, when the store has been opened.
    fn begin(self: &Arc<Self>, restored: Option<Restored>) {
        let (plan, now) = (self.plan(), self.disk.now());
        let store = store_name(&self.store);
        let (backups, drills) = (plan.schedule_mark(), plan.drills_mark());
        let before = self.desk.lock().state.clone();
        let mut after = before.clone();
        after.store = store;
        after.backups.go_on(backups, now);
        after.drills.go_on(drills, now);
        if let Some(restored) = &restored {
            after.last_restore = Some(restored.info.clone());
        }
        if after != before {
            self.remember(|state| *state = after);
        }
        if let Some(restored) = restored {
            let written = self.books.lock().restored(&plan, &restored);
            if let Err(error) = written {
                self.trouble(error);
            }
            let info = restored.info;
            if let (Some(archive), Some(aside)) = (info.archive, info.aside) {
                self.events.tell(RegimeEvent::Restored { archive, aside });
            }
        }
    }

    /// Reports what the schedule missed, and keeps the log where the settings name a destination.
    fn attend(self: &Arc<Self>) {
        keeper::count_missed(self);
        self.keep_log_for(&self.plan());
    }
}
