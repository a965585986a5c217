//! What a backup is asked to do.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::handle::BackupHandle;
use super::locate::Preparation;
use super::progress::Progress;
use super::report::BackupReport;
use super::start::Ready;
use crate::archive::{Compression, Keys, Layers, Level, Recipients};
use crate::error::Result;
use crate::lock::{Access, AtLimit, Contents};
use crate::store::{Inner, Participant, Registered, Store};

/// Asked before a backup begins; an error's code refuses it.
pub(super) type StartupHook = Box<dyn FnOnce(&BackupStart) -> Result<(), i32> + Send>;
/// Told when a backup has ended: 0, or the code of what stopped it.
pub(super) type ShutdownHook = Box<dyn FnOnce(i32) + Send>;
/// Told how far the backup is; may stop it.
pub(super) type ProgressHook = Box<dyn FnMut(&Progress) -> ControlFlow<()> + Send>;

/// What a startup hook is told.
#[non_exhaustive]
#[derive(Clone, Debug)]
pub struct BackupStart {
    /// The folder that the archive will be written to. It need not be there yet: the preflight, which
    /// looks into it and chooses number and name, follows the hook.
    pub destination: PathBuf,
    /// What others are allowed meanwhile.
    pub access: Access,
}

/// The options of a backup; [`start`](BackupBuilder::start) or [`run`](BackupBuilder::run) it.
#[must_use = "a backup does nothing until it is started"]
pub struct BackupBuilder {
    pub(super) inner: Arc<Inner>,
    pub(super) destination: PathBuf,
    pub(super) options: Options,
    pub(super) startup: Option<StartupHook>,
    pub(super) shutdown: Option<ShutdownHook>,
    pub(super) progress: Option<ProgressHook>,
    pub(super) preparation: Option<Box<dyn Preparation>>,
    /// First those of the store, once the backup is started.
    pub(super) participants: Vec<Registered>,
}

#[derive(Clone)]
pub(super) struct Options {
    pub(super) access: Access,
    pub(super) contents: Contents,
    pub(super) attachments: Vec<PathBuf>,
    pub(super) hold_for_attachments: Option<Duration>,
    pub(super) compression: Compression,
    pub(super) workers: usize,
    pub(super) name: Option<String>,
    pub(super) transaction_timeout: Duration,
    pub(super) hold_limit: Option<Duration>,
    pub(super) at_limit: AtLimit,
    pub(super) stall_limit: Duration,
    pub(super) bytes_per_second: Option<u64>,
    pub(super) verify: bool,
    pub(super) layers: Layers,
    /// What opens the archives that are looked at before this one is written.
    pub(super) keys: Keys,
    pub(super) log_archive: bool,
    pub(super) accept_log_damage: bool,
    pub(super) base: Base,
    /// The smallest number that the backup may have.
    pub(super) number_from: u32,
}

/// What the archive goes on from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Base {
    /// Nothing: it is a full one.
    Nothing,
    /// The newest archive of this data file that can be used.
    Newest,
    /// The same among those in the destination.
    NewestThere,
    /// This archive.
    Archive(PathBuf),
}

impl Store {
    /// A backup of this store into the folder `destination`, which must be there and not lie within
    /// the store. It contains structure and data, and gives others the access that the store's mode
    /// sets: reads go on in a server store, everything waits in a single-user store.
    pub fn backup(&self, destination: impl AsRef<Path>) -> BackupBuilder {
        let inner = self.inner().clone();
        let options = Options {
            access: inner.settings.mode.default_access(),
            contents: Contents { structure: true, data: true },
            attachments: Vec::new(),
            hold_for_attachments: None,
            compression: Compression::Fast,
            workers: 0,
            name: None,
            transaction_timeout: Duration::from_secs(60),
            hold_limit: None,
            at_limit: AtLimit::ContinueLive,
            stall_limit: Duration::from_secs(60),
            bytes_per_second: None,
            verify: true,
            layers: Layers::default(),
            keys: Keys::none(),
            log_archive: true,
            accept_log_damage: false,
            base: Base::Nothing,
            number_from: 1,
        };
        BackupBuilder {
            inner,
            destination: destination.as_ref().to_path_buf(),
            options,
            startup: None,
            shutdown: None,
            progress: None,
            preparation: None,
            participants: Vec::new(),
        }
    }
}

impl BackupBuilder {
    /// What others may do meanwhile.
    pub fn access(mut self, access: Access) -> Self {
        self.options.access = access;
        self
    }

    /// Structure, data, or both. An archive of the structure alone holds the tables' definitions and
    /// no records.
    pub fn contents(mut self, contents: Contents) -> Self {
        self.options.contents = contents;
        self
    }

    /// A file or folder of the application's own, to be saved with the store. May be said repeatedly.
    ///
    /// A relative path counts from the folder that the store's folder lies in. A folder is saved with
    /// its tree; a symbolic link as a link, if it points to a place within the archive. In the archive
    /// it lies in `attachments` under its last name; where two have the same one, the second is
    /// called `name~2` ([`BackupResults::attachments`](crate::BackupResults::attachments) has them
    /// all). The destination is left out where it lies within.
    pub fn attachment(mut self, path: impl AsRef<Path>) -> Self {
        self.options.attachments.push(path.as_ref().to_path_buf());
        self
    }

    /// With [`Access::Live`]: holds writes while the attachments are copied, for `limit` at most.
    /// Without this they are copied while work goes on.
    pub fn hold_for_attachments(mut self, limit: Duration) -> Self {
        self.options.hold_for_attachments = Some(limit);
        self
    }

    /// How hard the archive is packed.
    pub fn compression(mut self, compression: Compression) -> Self {
        self.options.compression = compression;
        self
    }

    /// Threads that pack; 0, the default, takes one for each processor.
    pub fn workers(mut self, workers: usize) -> Self {
        self.options.workers = workers;
        self
    }

    /// The name of the archive, without its number; by default that of the store's folder.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.options.name = Some(name.into());
        self
    }

    /// How long to wait for the open write handles of others before giving up (1405). A minute by
    /// default.
    pub fn transaction_timeout(mut self, limit: Duration) -> Self {
        self.options.transaction_timeout = limit;
        self
    }

    /// How long others may be held at most, and what happens then. Without it a hold lasts as long as
    /// the copy makes progress.
    pub fn hold_limit(mut self, limit: Duration, then: AtLimit) -> Self {
        self.options.hold_limit = Some(limit);
        self.options.at_limit = then;
        self
    }

    /// How long a hold may go without a byte written before it is broken. A minute by default.
    pub fn stall_limit(mut self, limit: Duration) -> Self {
        self.options.stall_limit = limit;
        self
    }

    /// Bounds the speed of the copy, in bytes of the source a second.
    pub fn throttle(mut self, bytes_per_second: u64) -> Self {
        self.options.bytes_per_second = Some(bytes_per_second);
        self
    }

    /// Whether the archive is read back from the medium before it gets its name; it is by default. A
    /// log archive always is: it takes the place of the log.
    pub fn verify(mut self, verify: bool) -> Self {
        self.options.verify = verify;
        self
    }

    /// Whether a backup of data takes part in keeping the log; it does by default. The first one makes
    /// the store keep its log, each later one archives what was logged since as `Name[N].log.zst`, N
    /// being the number of the one before. Without it the backup stands by itself: it archives no
    /// log, and the next one that does begins where it would have begun without this one.
    pub fn log_archive(mut self, log_archive: bool) -> Self {
        self.options.log_archive = log_archive;
        self
    }

    /// Goes on where a segment of the kept log is damaged. Without it the backup is given up (1408).
    /// With it the log archive holds what can be read, and the commits that cannot be read are a gap
    /// (2010) of the report and of [`Coverage`](crate::Coverage). The archive itself is complete.
    pub fn accept_log_damage(mut self) -> Self {
        self.options.accept_log_damage = true;
        self
    }

    /// Saves only what changed since the newest archive that was made from, or restored into, this
    /// data file and is still there: only pages born after it are read and written. The attachments
    /// are copied whole. What was passed over in choosing it stands in the report.
    ///
    /// Restoring the archive takes the other one too, and the archives that that one goes on from.
    /// Where there is none that can be used, the backup is refused (2009).
    pub fn incremental(mut self) -> Self {
        self.options.base = Base::Newest;
        self
    }

    /// The same from the archive at `path`, and no other.
    pub fn incremental_from(mut self, path: impl AsRef<Path>) -> Self {
        self.options.base = Base::Archive(path.as_ref().to_path_buf());
        self
    }

    /// Cuts the archive into segments of `bytes` bytes (64 KiB at least), which `cat` joins.
    pub fn segment_size(mut self, bytes: u64) -> Self {
        self.options.layers.segment_bytes = Some(bytes);
        self
    }

    /// Writes parity beside the archive: how much damage of it can be repaired.
    pub fn redundancy(mut self, level: Level) -> Self {
        self.options.layers.redundancy = level;
        self
    }

    /// How long a single stretch of damage the parity can repair. It counts only with
    /// [`redundancy`](BackupBuilder::redundancy).
    pub fn interlacing(mut self, level: Level) -> Self {
        self.options.layers.interlacing = level;
        self
    }

    /// Encrypts the archive, in the age format. Its log archive too.
    pub fn encrypt(mut self, recipients: Recipients) -> Self {
        self.options.layers.recipients = Some(recipients);
        self
    }

    /// What opens earlier archives where they are encrypted: an incremental backup looks at those that
    /// it goes on from. The passphrase that this backup is encrypted with is tried anyway.
    pub fn keys(mut self, keys: Keys) -> Self {
        self.options.keys = keys;
        self
    }

    /// All that may open an earlier archive.
    pub(super) fn earlier_keys(&self) -> Keys {
        let own = self.options.layers.recipients.as_ref().map(Recipients::keys);
        self.options.keys.clone().and(own.unwrap_or_default())
    }

    /// What is done between the startup hook and the locks.
    pub(crate) fn prepared_by(mut self, preparation: impl Preparation + 'static) -> Self {
        self.preparation = Some(Box::new(preparation));
        self
    }

    /// Asked before the destination is looked into, so that the hook may mount it, and before anything
    /// is locked or deleted. An error refuses the backup, and its code is the backup's; 0, which means
    /// success elsewhere, counts as the general code of a refusal (2103).
    ///
    /// # Locks
    /// Called outside all locks, on the backup's thread. Starting a backup from it is refused.
    pub fn on_startup(
        mut self,
        hook: impl FnOnce(&BackupStart) -> Result<(), i32> + Send + 'static,
    ) -> Self {
        self.startup = Some(Box::new(hook));
        self
    }

    /// Told 0, or the code of what stopped the backup, after everything else: once for every backup
    /// that got the store's turn, also where it ends before its startup hook (1404). A start that
    /// is refused because a backup or an integration has the turn (2004, 1417), because it comes from
    /// inside a callback (2005), or because the store is closed, is no backup: only
    /// [`start`](BackupBuilder::start) tells.
    ///
    /// # Locks
    /// As [`on_startup`](BackupBuilder::on_startup).
    pub fn on_shutdown(mut self, hook: impl FnOnce(i32) + Send + 'static) -> Self {
        self.shutdown = Some(Box::new(hook));
        self
    }

    /// Told how far the backup is, some times a second; `Break` is its Stop button.
    ///
    /// # Locks
    /// Called on the backup's thread, outside internal locks, while others may be held: an operation
    /// on the same store that would wait for this backup is refused at once (2005).
    pub fn on_progress(
        mut self,
        hook: impl FnMut(&Progress) -> ControlFlow<()> + Send + 'static,
    ) -> Self {
        self.progress = Some(Box::new(hook));
        self
    }

    /// Something else of the application's that is to stand still at the same instant, for this backup;
    /// see [`Participant`], and [`Store::register_participant`] for all backups.
    pub fn participant(
        mut self,
        name: impl Into<String>,
        participant: impl Participant + 'static,
    ) -> Self {
        self.participants.push(Registered::new(name, participant));
        self
    }

    /// Begins the backup on a thread of its own.
    ///
    /// # Errors
    /// A second backup (2004), a write handle of the calling thread (1404), a store that is closed, two
    /// participants of one name. All else comes from [`BackupHandle::wait`].
    pub fn start(self) -> Result<BackupHandle> {
        Ready::claim(self)?.launch(None)
    }

    /// Makes the backup and waits for its end.
    ///
    /// # Errors
    /// Those of [`start`](BackupBuilder::start) and [`BackupHandle::wait`].
    pub fn run(self) -> Result<BackupReport> {
        self.start()?.wait()
    }
}
