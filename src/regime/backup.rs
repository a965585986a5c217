//! A backup that somebody asks the regime for: what may be changed for it alone, and what runs.
//!
//! It says what is to be done; how it is done, and put down, is the same for all (`run.rs`).

use std::fmt;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::bounded;

use super::core::Core;
use super::journal::Origin;
use super::plan::Plan;
use super::run::{Begun, Order, ProgressHook, begin};
use crate::archive::{Compression, Level, Recipients};
use crate::backup::{BackupHandle, BackupReport, Outcome, Progress};
use crate::disk::atomic::absolute;
use crate::error::{Error, Result};
use crate::lock::{Access, AtLimit, Contents};

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
        // What is recorded of it holds for whoever works in another folder.
        self.folder = Some(absolute(&*self.core.disk, folder.as_ref()));
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

    /// Goes on where a segment of the kept log is damaged, as
    /// [`BackupBuilder::accept_log_damage`](crate::BackupBuilder::accept_log_damage).
    pub fn accept_log_damage(self) -> Self {
        self.with(|plan| plan.accept_log_damage = true)
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
        let plan = match self.core.store.is_read_only() {
            true => plan.by_itself(),
            false => plan,
        };
        Order { plan: Arc::new(plan), origin: self.origin, second: false, due: None }
    }

    /// Begins the backup on a thread of its own.
    ///
    /// # Errors
    /// A second backup (2004), a call from inside a hook (2005), a write handle of the calling thread
    /// (1404), which the journal has and the shutdown hook was told of. All else, also a destination
    /// that cannot be used (1407), comes from [`wait`](RegimeBackupHandle::wait).
    pub fn start(self) -> Result<RegimeBackupHandle> {
        let order = self.order();
        if self.core.store.inner().is_stepped() {
            let (begun, backup) = begin(&self.core, order, self.progress)?;
            let outcome = Arc::new(Outcome::default());
            outcome.tell(begun.ended(&self.core, backup.outcome()));
            return Ok(RegimeBackupHandle { backup, outcome });
        }
        // The thread first: a backup that has begun has somebody who puts down how it ended.
        let outcome = Arc::new(Outcome::default());
        let theirs = outcome.clone();
        let (hand_over, given) = bounded::<(Arc<Core>, Begun, BackupHandle)>(1);
        let dir = self.core.store.inner().engine.dir();
        std::thread::Builder::new()
            .name("stillpoint-regime-backup".into())
            .spawn(move || {
                // Where none has begun it has nothing of the store's in its hands.
                let Ok((core, mut begun, running)) = given.recv() else { return };
                let act = begun.take_act();
                let result = begun.ended(&core, running.outcome());
                drop(core);
                theirs.tell(result);
                // Last: whoever closes the store waits for this, and must find the end told.
                drop(act);
            })
            .map_err(|e| Error::io("start a thread for the books of a backup", dir, e))?;
        let (begun, backup) = begin(&self.core, order, self.progress)?;
        let given = hand_over.send((self.core, begun, backup.another()));
        debug_assert!(given.is_ok(), "the thread waits for it");
        Ok(RegimeBackupHandle { backup, outcome })
    }

    /// Makes the backup and waits for its end. A second attempt is not waited for: the error is
    /// that of the first, and [`RegimeEvent::BackupFailed`](super::RegimeEvent::BackupFailed) says
    /// when the second is due.
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
    /// Number of the backup; `None` until its preflight, which follows the startup hook, chose it.
    pub fn number(&self) -> Option<u32> {
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
        let waited = self.backup.waited_by();
        let _mark = waited.this_thread();
        self.outcome.wait()
    }
}

impl fmt::Debug for RegimeBackupHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.backup, f)
    }
}
