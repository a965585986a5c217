//! The words and numbers with which the lock manager says no.

use super::mode::Mode;
use super::status::Whose;
use crate::error::{Error, ErrorKind, code};
use std::time::Duration;

pub(crate) fn from_callback() -> Error {
    Error::new(ErrorKind::BackupInProgress, "called from a callback of the store's own backup")
        .with_code(code::FROM_CALLBACK)
        .hint("It would wait for the backup, which waits for the callback. Do it afterwards.")
}

pub(crate) fn own_transaction(whose: Whose) -> Error {
    let message = match whose {
        Whose::Own => "this thread has a write handle open that would be waited for",
        Whose::Waiting => {
            "the thread that waits for this has a write handle open that is in its way"
        }
    };
    Error::new(ErrorKind::Invalid, message)
        .with_code(code::OWN_TRANSACTION)
        .hint("End the write handle of that thread first.")
}

pub(crate) fn own_hold(whose: Whose) -> Error {
    let message = match whose {
        Whose::Own => "this thread itself holds the writes that it would wait for",
        Whose::Waiting => "the thread that waits for this holds the writes that are in its way",
    };
    Error::new(ErrorKind::Invalid, message)
        .with_code(code::OWN_TRANSACTION)
        .hint("Release the hold of that thread first.")
}

/// `name` is what the refused request was for.
pub(crate) fn own_lock(name: &str, mode: Mode, whose: Whose) -> Error {
    let holder = match whose {
        Whose::Own => "another handle of this thread",
        Whose::Waiting => "a handle of the thread that waits for this transaction",
    };
    Error::new(ErrorKind::Invalid, format!("{mode} on {name} would wait for {holder}"))
        .with_code(code::OWN_TRANSACTION)
        .hint("Do both in one handle, or end the other handle first.")
}

pub(crate) fn inside_submitted() -> Error {
    let message = "a submitted transaction waits for one that starts after it has ended";
    Error::new(ErrorKind::Invalid, message)
        .with_code(code::OWN_TRANSACTION)
        .hint("Do it in the same transaction, or wait for the ticket outside of it.")
}

pub(crate) fn backup_in_progress() -> Error {
    Error::new(ErrorKind::BackupInProgress, "cancelled: a backup of the store is in progress")
        .with_code(code::BACKUP_IN_PROGRESS)
        .hint("What was not begun is not performed; what was committed stays.")
}

pub(crate) fn cancelled() -> Error {
    Error::new(ErrorKind::Cancelled, "the waiting write was cancelled")
}

pub(crate) fn ticket_timeout() -> Error {
    Error::new(ErrorKind::Timeout, "the write was not granted within its own time limit")
}

pub(crate) fn read_timeout(limit: Duration, who: &str) -> Error {
    let message = format!("{who} froze reads for longer than the read timeout, {limit:?}");
    Error::new(ErrorKind::Timeout, message).hint("Try again when it has let reads go on.")
}

/// `who` says whom the request waited for.
pub(crate) fn lock_timeout(name: &str, mode: Mode, who: &str) -> Error {
    let message = format!("{mode} on {name} was not granted in time: it waited for {who}");
    Error::new(ErrorKind::Timeout, message)
}

pub(crate) fn deadlock(name: &str, mode: Mode) -> Error {
    let message = format!("{mode} on {name} would wait for itself through other handles");
    Error::new(ErrorKind::Deadlock, message).hint("Drop the handle and run the transaction again.")
}

pub(crate) fn queue_full(limit: usize) -> Error {
    Error::new(ErrorKind::Busy, format!("{limit} writes are waiting already"))
}

pub(crate) fn closed() -> Error {
    Error::new(ErrorKind::Closed, "the store is closed")
}

pub(crate) fn second_backup() -> Error {
    Error::new(ErrorKind::BackupInProgress, "a backup of this store is already running")
        .with_code(code::SECOND_BACKUP)
}

pub(crate) fn integration_running() -> Error {
    Error::new(ErrorKind::Busy, "logs are being integrated into this store")
        .with_code(code::INTEGRATION_RUNNING)
        .hint("Try again when the integration is over.")
}

pub(crate) fn stopped() -> Error {
    Error::new(ErrorKind::Stopped, "stopped while waiting for open write handles")
        .with_code(code::STOPPED)
}

pub(crate) fn transaction_timeout(backup: bool, who: &str) -> Error {
    let message = format!("open handles did not end in time: {who}");
    if backup {
        Error::new(ErrorKind::BackupFailed, message).with_code(code::TRANSACTION_TIMEOUT)
    } else {
        Error::new(ErrorKind::Timeout, message)
    }
}

pub(crate) fn hold_expired(why: &str) -> Error {
    Error::new(ErrorKind::BackupFailed, format!("the hold was broken: {why}"))
        .with_code(code::HOLD_EXPIRED)
}

pub(crate) fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Invalid, message)
}
