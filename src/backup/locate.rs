//! Stages 1 and 2: the startup hook, the preflight, and what its owner does before the locks.
//!
//! The startup hook comes first, since it may mount the destination. Nothing is deleted before the
//! preflight has passed: a backup that is refused or cannot be written leaves every archive there.

use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;

use super::builder::{BackupBuilder, BackupStart, Base};
use super::handle::Shared;
use super::preflight::{self, Place};
use super::progress::Stage;
use super::teller::Teller;
use crate::error::{Error, ErrorKind, Result};

/// What the owner of a backup, the schedule and settings of a store, does before its locks.
pub(crate) trait Preparation: Send {
    /// After the startup hook, before the preflight: makes and reads the destination.
    fn locate(&mut self) -> Result<Located>;
    /// After the preflight. Nothing but the backup itself can fail from here on.
    fn clear(&mut self, number: u32);
}

/// What the destination means for the backup.
pub(crate) struct Located {
    /// The smallest number that the backup may have.
    pub(crate) number_from: u32,
    /// Whether it depends on the newest archive there.
    pub(crate) incremental: bool,
    /// Bytes that [`Preparation::clear`] will free there.
    pub(crate) will_free: u64,
}

/// The archives that the backups of a group will write.
pub(super) type GroupArchives = Arc<Mutex<Vec<PathBuf>>>;

/// Asks the startup hook, then finds the place of the archive.
///
/// # Errors
/// [`ErrorKind::Refused`] with the code of the hook; 1406; those of the preflight (1407 and others).
pub(super) fn locate(
    backup: &mut BackupBuilder,
    shared: &Arc<Shared>,
    teller: &Teller<'_>,
    group: Option<&GroupArchives>,
) -> Result<Place> {
    let enter = |backup: &BackupBuilder, stage| {
        shared.cell.enter(stage, 0, shared.now());
        shared.check_stop()?;
        teller.tell(backup, true)?;
        // Stop may have been pressed while the application was told.
        shared.check_stop()
    };
    enter(backup, Stage::StartupHook)?;
    ask_startup_hook(backup)?;
    enter(backup, Stage::Preflight)?;
    let mut preparation = backup.preparation.take();
    let mut will_free = 0;
    if let Some(preparation) = &mut preparation {
        let located = preparation.locate()?;
        will_free = located.will_free;
        backup.options.number_from = located.number_from;
        if located.incremental {
            backup.options.base = Base::NewestThere;
        }
    }
    let place = preflight::run(backup, will_free)?;
    if let Some(group) = group {
        let mut group = group.lock();
        if group.contains(&place.archive) {
            return Err(same_archive(&place));
        }
        group.push(place.archive.clone());
    }
    shared.set_number(place.number());
    if let Some(preparation) = &mut preparation {
        preparation.clear(place.number());
    }
    Ok(place)
}

fn ask_startup_hook(backup: &mut BackupBuilder) -> Result<()> {
    let Some(hook) = backup.startup.take() else { return Ok(()) };
    let start =
        BackupStart { destination: backup.destination.clone(), access: backup.options.access };
    let _scope = backup.inner.locks.callback_scope();
    hook(&start).map_err(|code| {
        let message = format!("the startup hook refused the backup with {code}");
        let error = Error::new(ErrorKind::Refused, message).at(&backup.destination);
        match code {
            // 0 means success everywhere else: the refusal keeps the general code of its kind.
            0 => error.hint("Return a code other than 0 from the hook, to tell refusals apart."),
            code => error.with_code(code),
        }
    })
}

fn same_archive(place: &Place) -> Error {
    Error::new(ErrorKind::Invalid, "two stores of the group would write the same archive")
        .at(&place.archive)
        .hint("Give one of them another name or another destination.")
}
