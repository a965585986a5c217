//! What can go wrong, and what to do then.
//!
//! One type for the whole library. An [`Error`] says *kind* (what the caller should do), *code* (the
//! documented number, stable across releases), *path* (which file), *cause* (the error underneath)
//! and *hint* (what a person can do about it). Nothing is thrown away on the way up.
//!
//! This module knows no other room; every other room may use it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The result of every fallible operation of this library.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What the caller should do about an [`Error`].
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// A backup keeps the operation waiting, and the wait was cancelled or refused. Try again later.
    BackupInProgress,
    /// The backup was stopped by its user.
    Stopped,
    /// The backup could not be made.
    BackupFailed,
    /// A hook of the application refused the backup, with a code of its own.
    Refused,
    /// The handle was chosen to break a cycle of waits. Run the transaction again.
    Deadlock,
    /// A wait reached its limit.
    Timeout,
    /// A wait was cancelled for a reason other than a backup.
    Cancelled,
    /// A bounded queue is full, or the system is short of file handles. Slow down and try again.
    Busy,
    /// The store is used by another process or another handle of this one.
    InUse,
    /// What was named is not there.
    NotFound,
    /// What was to be created is there already.
    Exists,
    /// The call itself is wrong: fix the caller.
    Invalid,
    /// Something is larger than its stated bound.
    Limit,
    /// There is no room on the disk. The store is unharmed and goes on when there is room.
    StorageFull,
    /// Bytes on the disk are not what was written. The error names the file and the place.
    Corrupt,
    /// The file was written by another format version, or is no file of this library.
    Unsupported,
    /// The archive or log belongs to another store or to a divergent history.
    Foreign,
    /// The operating system reported an error.
    Io,
    /// The store latched itself read-only after a failed write or sync. Close it and open it again.
    ReadOnly,
    /// The commit may or may not be durable: its sync failed or its leader died. Reopen and look.
    OutcomeUnknown,
    /// The store was closed.
    Closed,
}

/// Numbers of errors, as documented. Those below 0 and from 1274 to 1421 are the seeds' own.
pub mod code {
    /// A waiting write was cancelled because a backup is in progress.
    pub const BACKUP_IN_PROGRESS: i32 = -9976;
    /// The log cannot be written, or has reached its bound: writes are refused until a backup.
    pub const LOG_UNAVAILABLE: i32 = 1274;
    /// A number of attempts failed; automatic backups are suspended.
    pub const TOO_MANY_ATTEMPTS: i32 = 1401;
    /// The store keeps no log.
    pub const NO_LOG: i32 = 1403;
    /// A write transaction is open in the thread that asks for the backup.
    pub const OWN_TRANSACTION: i32 = 1404;
    /// The open write transactions of others did not end in time.
    pub const TRANSACTION_TIMEOUT: i32 = 1405;
    /// The backup was stopped by the user.
    pub const STOPPED: i32 = 1406;
    /// The destination folder is not usable.
    pub const DESTINATION: i32 = 1407;
    /// The backup failed while copying the log.
    pub const LOG_COPY: i32 = 1408;
    /// The backup failed while copying.
    pub const COPY: i32 = 1409;
    /// The archive to check was not found.
    pub const ARCHIVE_MISSING: i32 = 1410;
    /// The check of the archive failed.
    pub const CHECK: i32 = 1411;
    /// The log archive to check was not found.
    pub const LOG_ARCHIVE_MISSING: i32 = 1412;
    /// The check of the log archive failed.
    pub const LOG_CHECK: i32 = 1413;
    /// The log is in a critical state, and no backup can be made.
    pub const LOG_CRITICAL: i32 = 1415;
    /// A log belongs to another store or to a divergent history.
    pub const FOREIGN_LOG: i32 = 1416;
    /// An integration of logs is running, and the backup cannot start.
    pub const INTEGRATION_RUNNING: i32 = 1417;
    /// Logs cannot be integrated while somebody holds records of the store.
    pub const RECORDS_LOCKED: i32 = 1420;

    // From here on the numbers are this library's own, one for each kind.
    /// An attachment was not found; the backup is partial.
    pub const ATTACHMENT_MISSING: i32 = 2001;
    /// A page or file of the source is damaged; the backup was given up.
    pub const SOURCE_CORRUPT: i32 = 2002;
    /// The hold of a backup was broken: its limit passed, or no progress was made.
    pub const HOLD_EXPIRED: i32 = 2003;
    /// A backup of this store is already running.
    pub const SECOND_BACKUP: i32 = 2004;
    /// The operation was called from inside a callback of the store's own backup.
    pub const FROM_CALLBACK: i32 = 2005;
    /// A startup hook or participant failed in an unforeseen way (panic).
    pub const HOOK: i32 = 2006;
    /// A value in the settings is wrong.
    pub const SETTINGS: i32 = 2007;
    /// The run of a schedule was missed: the store was not open when it was due.
    pub const MISSED_RUN: i32 = 2008;
    /// The parent of an incremental backup is missing, foreign or divergent.
    pub const PARENT: i32 = 2009;
    /// Logs do not follow each other without a gap.
    pub const LOG_GAP: i32 = 2010;
    /// An archive is encrypted, and none of the keys at hand opens it.
    pub const KEY: i32 = 2011;
    /// A participant of the backup failed, or did not answer within its limit.
    pub const PARTICIPANT: i32 = 2012;
    /// The default number of a kind that has no finer one: `GENERAL + ordinal`.
    pub const GENERAL: i32 = 2100;
}

/// An error of this library. One word wide, cheap to clone.
#[derive(Clone)]
pub struct Error(Arc<Inner>);

#[derive(Clone)]
struct Inner {
    kind: ErrorKind,
    code: i32,
    message: String,
    path: Option<PathBuf>,
    hint: Option<String>,
    source: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// An error of `kind` that says `message`: lower case, no full stop, values in quotes.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Error {
        Error(Arc::new(Inner {
            kind,
            code: code::GENERAL + kind as i32,
            message: message.into(),
            path: None,
            hint: None,
            source: None,
        }))
    }

    /// An operating-system error met while `doing` something to `path`.
    ///
    /// A full disk becomes [`ErrorKind::StorageFull`], what is not there [`ErrorKind::NotFound`],
    /// and data that a file below found damaged (an archive read in place) [`ErrorKind::Corrupt`];
    /// all else is [`ErrorKind::Io`].
    pub fn io(doing: impl Into<String>, path: impl AsRef<Path>, cause: std::io::Error) -> Error {
        let kind = match cause.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
                ErrorKind::StorageFull
            }
            std::io::ErrorKind::NotFound => ErrorKind::NotFound,
            std::io::ErrorKind::InvalidData => ErrorKind::Corrupt,
            _ => ErrorKind::Io,
        };
        Error::new(kind, format!("cannot {}", doing.into())).at(path).because(cause)
    }

    /// Damage in `path`, at a place that `message` describes.
    pub fn corrupt(path: impl AsRef<Path>, message: impl Into<String>) -> Error {
        Error::new(ErrorKind::Corrupt, message).at(path)
    }

    fn change(mut self, change: impl FnOnce(&mut Inner)) -> Error {
        change(Arc::make_mut(&mut self.0));
        self
    }

    /// The same error with the documented number `code`.
    pub fn with_code(self, code: i32) -> Error {
        self.change(|inner| inner.code = code)
    }

    /// The same error with another kind; its default number follows, a chosen one stays.
    pub fn with_kind(self, kind: ErrorKind) -> Error {
        self.change(|inner| {
            if inner.code == code::GENERAL + inner.kind as i32 {
                inner.code = code::GENERAL + kind as i32;
            }
            inner.kind = kind;
        })
    }

    /// The same error, about the file at `path`.
    pub fn at(self, path: impl AsRef<Path>) -> Error {
        self.change(|inner| inner.path = Some(path.as_ref().to_path_buf()))
    }

    /// The same error with advice for a person: a whole sentence.
    pub fn hint(self, hint: impl Into<String>) -> Error {
        self.change(|inner| inner.hint = Some(hint.into()))
    }

    /// The same error, with this advice where it has none yet.
    pub(crate) fn or_hint(self, hint: &str) -> Error {
        self.change(|inner| {
            inner.hint.get_or_insert_with(|| hint.to_owned());
        })
    }

    /// The same error with what caused it.
    pub fn because(self, cause: impl std::error::Error + Send + Sync + 'static) -> Error {
        self.change(|inner| inner.source = Some(Arc::new(cause)))
    }

    /// What the caller should do about it.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The documented number.
    pub fn code(&self) -> i32 {
        self.0.code
    }

    /// What happened, without path, cause and hint.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The file it is about, where there is one.
    pub fn path(&self) -> Option<&Path> {
        self.0.path.as_deref()
    }

    /// Advice for a person, where there is some.
    pub fn advice(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }

    /// Whether the same call may succeed later without any change to it.
    pub fn is_retryable(&self) -> bool {
        use ErrorKind::*;
        matches!(
            self.0.kind,
            BackupInProgress | Deadlock | Timeout | Busy | StorageFull | InUse | Cancelled
        )
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.message)?;
        if let Some(path) = &self.0.path {
            write!(f, " (in \"{}\")", path.display())?;
        }
        if let Some(cause) = &self.0.source {
            write!(f, ": {cause}")?;
        }
        write!(f, " [{}]", self.0.code)?;
        if let Some(hint) = &self.0.hint {
            write!(f, "\nhint: {hint}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {self}", self.0.kind)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_deref().map(|cause| cause as _)
    }
}
