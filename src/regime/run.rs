//! One backup as the regime makes it, whoever asked for it.
//!
//! The way is always the same: what can be told beforehand, the startup hook, the backup itself, then
//! the books (history, journal, last-backup information), retention, and what the failure policy
//! says; last the shutdown hook, which is told 0 or the top-level code. An attempt that could not
//! even begin goes the same way, so that nothing fails in silence.
//!
//! Invariants: hooks run for every attempt, outside all locks, and a backup started from inside one
//! is refused (2005) and leaves no trace; trouble with the books never turns a backup that is there
//! into one that failed.

use std::fmt;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::bounded;

use super::core::{Core, Retry};
use super::events::RegimeEvent;
use super::journal::Origin;
use super::plan::Plan;
use super::policy::{Attempt, Ending, Verdict};
use super::state::{Checked, LastBackup, Status, timestamp};
use crate::archive::{Compression, Level, Recipients};
use crate::backup::{BackupHandle, BackupReport, Outcome, Progress};
use crate::engine::DirLock;
use crate::error::{Error, ErrorKind, Result, code};
use crate::lock::{Access, AtLimit, Contents, roots};

/// Told how far the backup is; may stop it.
pub(super) type ProgressHook = Box<dyn FnMut(&Progress) -> ControlFlow<()> + Send>;

/// What is to be done, and for whom.
#[derive(Clone)]
pub(crate) struct Order {
    pub(crate) plan: Arc<Plan>,
    pub(crate) origin: Origin,
    /// Whether it is the second attempt after a failure.
    pub(crate) second: bool,
    /// When the schedule wanted it, in microseconds since the Unix epoch.
    pub(crate) due: Option<i64>,
}

/// An attempt that is under way.
pub(crate) struct Begun {
    order: Order,
    /// When it began, by the clock and by the monotonic one.
    started: i64,
    began: Duration,
    number: u32,
    /// The store may be closed meanwhile; nobody opens it, and writes its books, before these are.
    _folder: Option<DirLock>,
}

/// Begins the backup on a thread of its own.
///
/// # Errors
/// Why it could not begin; the books have it already, and the shutdown hook was told.
pub(crate) fn begin(
    core: &Arc<Core>,
    order: Order,
    progress: Option<ProgressHook>,
) -> Result<(Begun, BackupHandle)> {
    // A mistake of the caller's that touches nothing and is nobody else's business.
    core.store.inner().check_open()?;
    let turn = core.store.inner().locks.claim_backup();
    if let Err(error) = turn.map(drop) {
        if error.code() == code::SECOND_BACKUP {
            core.books(|books| books.refused(&order, &error));
            if let (Origin::Scheduled, Some(due)) = (order.origin, order.due) {
                core.events.tell(RegimeEvent::Skipped { due: timestamp(due) });
            }
        }
        if matches!(error.code(), code::SECOND_BACKUP | code::FROM_CALLBACK) {
            return Err(error);
        }
        let begun = Begun::now(core, order, 0);
        return Err(begun.failed(core, error));
    }
    let mut begun = Begun::now(core, order, 0);
    match start(core, &mut begun, progress) {
        Ok(handle) => Ok((begun, handle)),
        Err(error) => Err(begun.failed(core, error)),
    }
}

fn start(
    core: &Arc<Core>,
    begun: &mut Begun,
    progress: Option<ProgressHook>,
) -> Result<BackupHandle> {
    let plan = begun.order.plan.clone();
    let contents_roots = roots(plan.contents, plan.access_in(core.store.mode()));
    core.store.inner().locks.check_own_handles(&contents_roots)?;
    plan.make_destination(&*core.disk)?;
    begun.number = core.next_number(&plan)?;
    core.books(|books| books.rotate());
    let incremental = core.is_incremental(&plan);
    if plan.erase_before {
        // An incremental backup makes no set: it goes into the newest one.
        let retired = core.retire(&plan, u32::from(!incremental));
        retired.unwrap_or_else(|error| core.trouble(error));
    }
    core.books(|books| books.began(&begun.order, begun.number));
    let mut backup = plan.builder(&core.store).number_from(begun.number);
    if incremental {
        backup = backup.incremental_in_destination();
    }
    if let Some(hook) = core.hooks.startup.clone() {
        backup = backup.on_startup(move |start| hook(start));
    }
    if let Some(hook) = progress {
        backup = backup.on_progress(hook);
    }
    let handle = backup.start()?;
    begun.number = handle.number();
    Ok(handle)
}

impl Begun {
    fn now(core: &Core, order: Order, number: u32) -> Begun {
        let folder = core.store.inner().engine.keep_folder();
        let (started, began) = (core.disk.now(), core.disk.elapsed());
        Begun { order, started, began, number, _folder: folder }
    }

    /// Puts down how the backup ended, and does what follows from it.
    pub(crate) fn ended(self, core: &Core, result: Result<BackupReport>) -> Result<BackupReport> {
        match result {
            Ok(report) => {
                self.done(core, &report);
                Ok(report)
            }
            Err(error) => Err(self.failed(core, error)),
        }
    }

    fn attempt(&self, ending: Ending) -> Attempt {
        Attempt { origin: self.order.origin, second: self.order.second, ending }
    }

    fn last_backup(&self, core: &Core, archive: Option<PathBuf>, status: Status) -> LastBackup {
        let took = core.disk.elapsed().saturating_sub(self.began);
        LastBackup {
            started: self.started,
            duration_micros: u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
            number: (self.number > 0).then_some(self.number),
            archive,
            status,
        }
    }

    fn done(&self, core: &Core, report: &BackupReport) {
        let verdict = core.judge(self.attempt(Ending::Done), &self.order);
        let problem = report.problems.first();
        let status = Status::of(problem);
        let last = self.last_backup(core, Some(report.archive.clone()), status.clone());
        core.remember(|state| {
            state.last_backup = Some(last.clone());
            if report.verified {
                state.last_verified = Some(Checked {
                    time: report.started,
                    archive: report.archive.clone(),
                    status: Status::good(),
                });
            }
        });
        core.books(|books| books.done(&self.order, report));
        if verdict.resume {
            core.books(|books| books.resumed());
        }
        core.record(&self.order, &last, Some(report));
        if let Err(error) = core.retire(&self.order.plan, 0) {
            core.trouble(error);
        }
        core.events.tell(RegimeEvent::BackupDone {
            origin: self.order.origin,
            number: report.number,
            archive: report.archive.clone(),
            partial: problem.is_some(),
        });
        core.tell_shutdown_hook(status.code);
    }

    /// The error that the caller gets, and everybody else was told.
    fn failed(self, core: &Core, error: Error) -> Error {
        let verdict = core.judge(self.attempt(Ending::of(&error)), &self.order);
        let error = if verdict.suspend { suspended(core, error) } else { error };
        let last = self.last_backup(core, None, Status::of(Some(&error)));
        core.remember(|state| state.last_backup = Some(last.clone()));
        core.books(|books| books.failed(&self.order, last.number, &error));
        core.record(&self.order, &last, None);
        self.tell_failure(core, &error, verdict);
        core.tell_shutdown_hook(error.code());
        error
    }

    fn tell_failure(&self, core: &Core, error: &Error, verdict: Verdict) {
        let origin = self.order.origin;
        let again = verdict.again_after.map(|wait| {
            let micros = i64::try_from(wait.as_micros()).unwrap_or(i64::MAX);
            timestamp(core.disk.now().saturating_add(micros))
        });
        core.events.tell(RegimeEvent::BackupFailed { origin, error: error.clone(), again });
        if verdict.alert {
            core.events.tell(RegimeEvent::Alert { error: error.clone() });
        }
        if verdict.suspend {
            core.events.tell(RegimeEvent::Suspended { error: error.clone() });
        }
    }
}

/// The last of too many failures.
pub(super) fn suspended(core: &Core, cause: Error) -> Error {
    let failed = core.failed_in_a_row();
    Error::new(ErrorKind::BackupFailed, format!("{failed} attempts to back up failed in a row"))
        .with_code(code::TOO_MANY_ATTEMPTS)
        .because(cause)
        .hint("Nothing is backed up by itself until a backup by hand succeeds or the store is reopened.")
}

impl Core {
    /// Asks the policy what follows from an attempt, and sees to the second one.
    pub(super) fn judge(&self, attempt: Attempt, order: &Order) -> Verdict {
        let mut desk = self.desk.lock();
        let mut verdict = desk.policy.ended(&order.plan.rules, attempt);
        let regular_waits = desk.retry.as_ref().is_some_and(|retry| !retry.order.plan.apart);
        match attempt.ending {
            Ending::Declined => {}
            // The destination of the settings gets the backup that it waits for, whatever becomes of a
            // copy elsewhere.
            _ if order.plan.apart && regular_waits => verdict.again_after = None,
            _ => {
                desk.retry = verdict.again_after.map(|wait| Retry {
                    due: self.disk.elapsed().saturating_add(wait),
                    order: Order { second: true, ..order.clone() },
                });
            }
        }
        drop(desk);
        self.bell.ring();
        verdict
    }

    fn tell_shutdown_hook(&self, code: i32) {
        let Some(hook) = &self.hooks.shutdown else { return };
        let _scope = self.store.inner().locks.callback_scope();
        if catch_unwind(AssertUnwindSafe(|| hook(code))).is_err() {
            self.trouble(
                Error::new(ErrorKind::BackupFailed, "the shutdown hook panicked")
                    .with_code(code::HOOK),
            );
        }
    }
}

/// A backup with everything that the settings say as its defaults; see
/// [`Regime::backup`](super::Regime::backup).
#[must_use = "a backup does nothing until it is started"]
pub struct RegimeBackup {
    core: Arc<Core>,
    plan: Plan,
    /// The folder that was asked for instead of that of the settings.
    folder: Option<PathBuf>,
    origin: Origin,
    progress: Option<ProgressHook>,
}

impl RegimeBackup {
    pub(super) fn new(core: &Arc<Core>) -> RegimeBackup {
        let plan = Plan::clone(&core.desk.lock().plan);
        let (core, origin) = (core.clone(), Origin::Command);
        RegimeBackup { core, plan, folder: None, origin, progress: None }
    }

    /// Changes what the settings say, for this backup alone.
    fn with(mut self, change: impl FnOnce(&mut Plan)) -> Self {
        change(&mut self.plan);
        self
    }

    /// The folder for the archive instead of that of the settings; it must be there.
    ///
    /// Such a copy stands by itself, as one of [`log_archive(false)`](crate::BackupBuilder::log_archive)
    /// does: it archives no log and lets none go, so the next backup into the destination of the
    /// settings archives everything since the last one there, and goes on from that one where it is
    /// incremental. History and numbers are those of the folder. No older archive is deleted there:
    /// how many are kept is said of the destination of the settings. Where `folder` is that
    /// destination, however it is spelled, the backup is a regular one.
    pub fn to(mut self, folder: impl AsRef<Path>) -> Self {
        self.folder = Some(folder.as_ref().to_path_buf());
        self
    }

    /// What others may do meanwhile.
    pub fn access(self, access: Access) -> Self {
        self.with(|plan| plan.access = Some(access))
    }

    /// Structure, data, or both.
    pub fn contents(self, contents: Contents) -> Self {
        self.with(|plan| plan.contents = contents)
    }

    /// One more file or folder of the application's own.
    pub fn attachment(self, path: impl AsRef<Path>) -> Self {
        self.with(|plan| plan.attachments.push(path.as_ref().to_path_buf()))
    }

    /// Whether only what changed since the last archive of this store in the same folder is saved. Where
    /// there is none that can be gone on from, such a backup is refused (2009).
    pub fn incremental(self, incremental: bool) -> Self {
        self.with(|plan| plan.incremental = Some(incremental))
    }

    /// How hard the archive is packed.
    pub fn compression(self, compression: Compression) -> Self {
        self.with(|plan| plan.compression = compression)
    }

    /// Cuts the archive into segments of `bytes` bytes, which `cat` joins.
    pub fn segment_size(self, bytes: u64) -> Self {
        self.with(|plan| plan.layers.segment_bytes = Some(bytes))
    }

    /// How much damage parity beside the archive can repair.
    pub fn redundancy(self, level: Level) -> Self {
        self.with(|plan| plan.layers.redundancy = level)
    }

    /// How long a single stretch of damage the parity can repair.
    pub fn interlacing(self, level: Level) -> Self {
        self.with(|plan| plan.layers.interlacing = level)
    }

    /// Encrypts the archive and its log archive, in the age format.
    pub fn encrypt(self, recipients: Recipients) -> Self {
        self.with(|plan| plan.layers.recipients = Some(recipients))
    }

    /// Whether the archive is read back from the medium before it gets its name.
    pub fn verify(self, verify: bool) -> Self {
        self.with(|plan| plan.verify = verify)
    }

    /// Bounds the speed of the copy, in bytes of the source a second.
    pub fn throttle(self, bytes_per_second: u64) -> Self {
        self.with(|plan| plan.throttle = Some(bytes_per_second))
    }

    /// How long to wait for the open write handles of others before giving up (1405).
    pub fn transaction_timeout(self, limit: Duration) -> Self {
        self.with(|plan| plan.transaction_timeout = limit)
    }

    /// How long others may be held at most, and what happens then.
    pub fn hold_limit(self, limit: Duration, then: AtLimit) -> Self {
        self.with(|plan| plan.hold_limit = Some((limit, then)))
    }

    /// Says that a person asked for it. A manual backup that succeeds ends a suspension; so does one
    /// by the application, which is what it is called without this.
    pub fn by_hand(mut self) -> Self {
        self.origin = Origin::Manual;
        self
    }

    /// Told how far the backup is, some times a second; `Break` is its Stop button.
    pub fn on_progress(
        mut self,
        hook: impl FnMut(&Progress) -> ControlFlow<()> + Send + 'static,
    ) -> Self {
        self.progress = Some(Box::new(hook));
        self
    }

    fn order(&self) -> Order {
        let plan = match &self.folder {
            Some(folder) => self.plan.clone().into_folder(&*self.core.disk, folder.clone()),
            None => self.plan.clone(),
        };
        Order { plan: Arc::new(plan), origin: self.origin, second: false, due: None }
    }

    /// Begins the backup on a thread of its own.
    ///
    /// # Errors
    /// What can be told before anything is touched: a second backup (2004), a call from inside a hook
    /// (2005), a write handle of the calling thread (1404), a destination that cannot be used (1407).
    /// All but the first two are in the journal, and the shutdown hook was told of them.
    pub fn start(self) -> Result<RegimeBackupHandle> {
        let order = self.order();
        // The thread first: a backup that has begun has somebody who puts down how it ended.
        let outcome = Arc::new(Outcome::default());
        let theirs = outcome.clone();
        let (hand_over, given) = bounded::<(Arc<Core>, Begun, BackupHandle)>(1);
        let dir = self.core.store.inner().engine.dir();
        std::thread::Builder::new()
            .name("stillpoint-regime-backup".into())
            .spawn(move || {
                // Where none has begun it has nothing of the store's in its hands.
                let Ok((core, begun, running)) = given.recv() else { return };
                let result = begun.ended(&core, running.wait());
                drop(core);
                theirs.tell(result);
            })
            .map_err(|e| Error::io("start a thread for the books of a backup", dir, e))?;
        let (begun, backup) = begin(&self.core, order, self.progress)?;
        let given = hand_over.send((self.core, begun, backup.another()));
        debug_assert!(given.is_ok(), "the thread waits for it");
        Ok(RegimeBackupHandle { backup, outcome })
    }

    /// Makes the backup and waits for its end. A second attempt is not waited for: the error is that
    /// of the first, and [`RegimeEvent::BackupFailed`] says when the second is due.
    ///
    /// # Errors
    /// Those of [`start`](RegimeBackup::start) and of [`BackupHandle::wait`].
    pub fn run(self) -> Result<BackupReport> {
        let order = self.order();
        let (begun, backup) = begin(&self.core, order, self.progress)?;
        begun.ended(&self.core, backup.wait())
    }
}

/// A backup of the regime that runs. Dropping it lets the backup run on.
#[must_use = "the backup runs on, but nobody learns how it ended"]
pub struct RegimeBackupHandle {
    backup: BackupHandle,
    outcome: Arc<Outcome>,
}

impl RegimeBackupHandle {
    /// Number of the backup.
    pub fn number(&self) -> u32 {
        self.backup.number()
    }

    /// How far it is. Never waits.
    pub fn progress(&self) -> Progress {
        self.backup.progress()
    }

    /// The Stop button, as [`BackupHandle::stop`].
    pub fn stop(&self) {
        self.backup.stop();
    }

    /// Whether it has ended, books and shutdown hook included.
    pub fn is_finished(&self) -> bool {
        self.outcome.is_there()
    }

    /// Waits for the end, books and shutdown hook included.
    ///
    /// # Errors
    /// Those of [`BackupHandle::wait`].
    pub fn wait(self) -> Result<BackupReport> {
        self.outcome.wait()
    }
}

impl fmt::Debug for RegimeBackupHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.backup, f)
    }
}
