//! What can go wrong, and what to do then.
//!
//! One type for the whole library. An [`Error`] says *kind* (what the caller should do), *code* (the
//! documented number, stable across releases), *path* (which file), *cause* (the error underneath)
//! and *hint* (what a person can do about it). Nothing is thrown away on the way up. Displaying an
//! error says what happened and where; the causes are its [`source`](std::error::Error::source)s, each
//! of which says its own part only. [`Error::report`] says all of it.
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
    /// The store takes no writes: it was opened to be read only, its folder cannot be written, or it
    /// latched itself after a failed write or sync (then close it and open it again).
    ReadOnly,
    /// The commit may or may not be durable: its sync failed or its leader died. Reopen and look.
    OutcomeUnknown,
    /// The store was closed.
    Closed,
    /// A stored value is not of the type that it is read as: the type was changed. The disk is well.
    Unreadable,
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
    /// The store was opened to be read only, or its folder cannot be written.
    pub const READ_ONLY: i32 = 2013;
    /// The folder of an open store was moved, removed or replaced: the store takes no more writes.
    pub const STORE_MOVED: i32 = 2020;
    /// The process ended while a backup was made.
    pub const INTERRUPTED: i32 = 2030;
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
    /// A full disk, and a file as long as the system lets this process write, become
    /// [`ErrorKind::StorageFull`], what is not there [`ErrorKind::NotFound`],
    /// and data that a file below found damaged (an archive read in place) [`ErrorKind::Corrupt`];
    /// all else is [`ErrorKind::Io`].
    pub fn io(doing: impl Into<String>, path: impl AsRef<Path>, cause: std::io::Error) -> Error {
        let kind = match cause.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
                ErrorKind::StorageFull
            }
            // Of the system's, and not of a reader that expected less.
            std::io::ErrorKind::FileTooLarge if cause.raw_os_error().is_some() => {
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

    /// The same error in other words.
    pub(crate) fn with_message(self, message: impl Into<String>) -> Error {
        self.change(|inner| inner.message = message.into())
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

    /// All that it says, for a person: what happened and its number, then a line each for the path, the
    /// causes from the outside in, and the advice, that of the causes too.
    ///
    /// Each part is one line. Control characters, which names and files from outside may hold, are
    /// escaped, so that no terminal obeys them.
    pub fn report(&self) -> String {
        let mut text = format!("{} [{}]", plain(&self.0.message), self.0.code);
        if let Some(path) = &self.0.path {
            text.push_str(&format!("\npath:  {}", plain(&path.display().to_string())));
        }
        for cause in self.causes() {
            text.push_str(&format!("\ncause: {}", plain(&cause.to_string())));
        }
        for hint in self.hints() {
            text.push_str(&format!("\nhint:  {}", plain(hint)));
        }
        text
    }

    /// What happened and its causes, in one line.
    pub fn summary(&self) -> String {
        let causes = self.causes().map(ToString::to_string);
        std::iter::once(self.to_string()).chain(causes).collect::<Vec<_>>().join(": ")
    }

    /// What caused it, from the outside in.
    pub fn causes(&self) -> impl Iterator<Item = &(dyn std::error::Error + 'static)> {
        std::iter::successors(std::error::Error::source(self), |cause| cause.source())
    }

    /// The advice of the error and of its causes, each once.
    fn hints(&self) -> Vec<&str> {
        let causes = self.causes().filter_map(|cause| cause.downcast_ref::<Error>());
        let mut hints = Vec::new();
        for hint in self.advice().into_iter().chain(causes.filter_map(Error::advice)) {
            if !hints.contains(&hint) {
                hints.push(hint);
            }
        }
        hints
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

/// The text on one line, without characters that a terminal obeys.
fn plain(text: &str) -> String {
    let marks = ['\u{200e}'..='\u{200f}', '\u{2028}'..='\u{202e}', '\u{2066}'..='\u{2069}'];
    let turns = |c: char| marks.iter().any(|range| range.contains(&c));
    text.chars().fold(String::with_capacity(text.len()), |mut plain, c| {
        match c {
            '\n' | '\r' | '\t' => plain.push(' '),
            c if c.is_control() || turns(c) => plain.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => plain.push(c),
        }
        plain
    })
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.message)?;
        if let Some(path) = &self.0.path {
            write!(f, " (in \"{}\")", path.display())?;
        }
        write!(f, " [{}]", self.0.code)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.0.kind, self.report())
    }
}

impl serde::Serialize for Error {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct;
        let mut fields = serializer.serialize_struct("Error", 7)?;
        fields.serialize_field("kind", &format!("{:?}", self.0.kind))?;
        fields.serialize_field("code", &self.0.code)?;
        fields.serialize_field("message", &self.0.message)?;
        let path = self.0.path.as_ref().map(|path| path.display().to_string());
        fields.serialize_field("path", &path)?;
        let causes: Vec<String> = self.causes().map(ToString::to_string).collect();
        fields.serialize_field("causes", &causes)?;
        let hints = self.hints();
        fields.serialize_field("hint", &(!hints.is_empty()).then(|| hints.join(" ")))?;
        fields.serialize_field("retryable", &self.is_retryable())?;
        fields.end()
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_deref().map(|cause| cause as _)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nested() -> Error {
        let io = std::io::Error::from(std::io::ErrorKind::PermissionDenied);
        let inner = Error::io("open the archive", "/backups/a", io).hint("Ask its owner.");
        let middle = Error::new(ErrorKind::BackupFailed, "the copy failed").because(inner);
        Error::new(ErrorKind::BackupFailed, "3 attempts failed")
            .with_code(code::TOO_MANY_ATTEMPTS)
            .hint("Make one by hand.")
            .because(middle)
    }

    #[test]
    fn displaying_an_error_says_its_own_part_and_each_source_its_own() {
        let error = nested();
        assert_eq!(error.to_string(), "3 attempts failed [1401]");
        let parts: Vec<String> = error.causes().map(ToString::to_string).collect();
        let place = "cannot open the archive (in \"/backups/a\") [2117]";
        assert_eq!(parts, ["the copy failed [2102]", place, "permission denied"]);
        for part in parts.iter().chain([&error.to_string()]) {
            assert_eq!(error.summary().matches(part.as_str()).count(), 1, "{part}");
        }
        assert_eq!(error.summary().lines().count(), 1);
    }

    #[test]
    fn a_report_says_everything_once() {
        let lines = [
            "3 attempts failed [1401]",
            "cause: the copy failed [2102]",
            "cause: cannot open the archive (in \"/backups/a\") [2117]",
            "cause: permission denied",
            "hint:  Make one by hand.",
            "hint:  Ask its owner.",
        ];
        assert_eq!(nested().report(), lines.join("\n"));
        let at = nested().at("/shop");
        assert_eq!(at.report().lines().nth(1), Some("path:  /shop"));
        assert!(format!("{at:?}").ends_with(&at.report()));
    }

    #[test]
    fn an_error_is_serialised_with_all_its_parts() {
        let json = serde_json::to_value(nested()).unwrap();
        assert_eq!((&json["kind"], &json["code"]), (&"BackupFailed".into(), &1401.into()));
        assert_eq!(json["causes"].as_array().unwrap().len(), 3);
        assert_eq!(json["hint"], "Make one by hand. Ask its owner.");
    }
}
