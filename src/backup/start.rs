//! From the wish for a backup to its thread: what is told at once.
//!
//! Invariant: from the moment at which an attempt has the store's turn it is a backup, and however it
//! ends, its shutdown hook is told so once.

use std::sync::Arc;

use parking_lot::Mutex;

use super::builder::BackupBuilder;
use super::handle::{BackupHandle, Shared};
use super::run;
use super::together::Seat;
use crate::archive::INLINE;
use crate::disk::atomic::absolute;
use crate::error::{Error, ErrorKind, Result};
use crate::lock::{Access, BackupTurn, LockManager};

/// A backup that has its turn, and nothing else yet.
pub(super) struct Ready {
    pub(super) backup: BackupBuilder,
    turn: BackupTurn,
}

impl Ready {
    /// Gets the turn, and looks at what the caller did wrong.
    pub(super) fn claim(mut backup: BackupBuilder) -> Result<Ready> {
        backup.inner.check_own()?;
        let turn = backup.inner.locks.claim_backup()?;
        match look(&mut backup) {
            Ok(()) => Ok(Ready { backup, turn }),
            Err(error) => {
                end(backup, &error);
                Err(error)
            }
        }
    }

    /// The locks of its store.
    pub(super) fn locks(&self) -> &Arc<LockManager> {
        &self.backup.inner.locks
    }

    /// Begins the thread.
    pub(super) fn launch(self, seat: Option<Seat>) -> Result<BackupHandle> {
        let Ready { mut backup, turn } = self;
        let inline = backup.inner.is_stepped() && seat.is_none();
        if inline {
            backup.options.workers = INLINE;
            backup.options.bytes_per_second = None;
        }
        let shutdown = Arc::new(Mutex::new(backup.shutdown.take()));
        let (locks, kept) = (backup.inner.locks.clone(), shutdown.clone());
        let shared = Shared::new(&backup.inner);
        let handle = BackupHandle::new(shared.clone());
        let act = match backup.inner.running.enter(handle.closer()) {
            Ok(act) => act,
            Err(error) => {
                run::tell_shutdown(shutdown.lock().take(), error.code(), &locks);
                return Err(error);
            }
        };
        let dir = backup.destination.clone();
        let job = run::Job { backup, seat, turn, act, shutdown };
        if inline {
            run::run(job, &shared);
            return Ok(handle);
        }
        std::thread::Builder::new()
            .name("stillpoint-backup".into())
            .spawn(move || run::run(job, &shared))
            .map_err(|e| {
                let error = Error::io("start the thread of the backup", &dir, e);
                run::tell_shutdown(kept.lock().take(), error.code(), &locks);
                error
            })?;
        Ok(handle)
    }

    /// Ends it because of `error`, which came from elsewhere.
    pub(super) fn give_up(self, error: &Error) {
        end(self.backup, error);
    }
}

fn look(backup: &mut BackupBuilder) -> Result<()> {
    let options = &backup.options;
    let access = match options.hold_for_attachments {
        // Others are held after all, once the attachments are copied.
        Some(_) if !options.attachments.is_empty() && options.access == Access::Live => {
            Access::ReadOnly
        }
        _ => options.access,
    };
    backup.inner.locks.check_own_handles(&crate::lock::roots(options.contents, access))?;
    let mut all = backup.inner.participants.all();
    all.append(&mut backup.participants);
    for (index, one) in all.iter().enumerate() {
        if all[..index].iter().any(|other| other.name == one.name) {
            let message = format!("two participants are called \"{}\"", one.name);
            return Err(Error::new(ErrorKind::Invalid, message));
        }
    }
    backup.participants = all;
    backup.destination = absolute(&**backup.inner.engine.disk(), &backup.destination);
    Ok(())
}

fn end(mut backup: BackupBuilder, error: &Error) {
    run::tell_shutdown(backup.shutdown.take(), error.code(), &backup.inner.locks);
}
