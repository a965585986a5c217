//! Opening a store with its regime: a damaged one is restored by itself where the settings say so.
//!
//! What recovery after a crash does is not done here and is not a matter of settings: it is always
//! done, by every opening. This is about a store that cannot be opened because bytes on its disk are
//! damaged or gone. The newest archive of its own history that verifies is restored beside it; the
//! logs that follow are integrated where the settings say so; then the damaged folder gets another
//! name, for good, and the restored one takes its place. Its own history is what it stood in: a future
//! that it had left by a restore to an earlier point is none of it.
//!
//! Invariants: nothing of the damaged store's data is deleted or changed (that the restore was tried
//! stands in its books and its state); only its data is brought back, not its attachments, and its
//! settings, its journal and what the regime remembers are copied over; a crash at any moment leaves
//! either the damaged store in its place, or the restored one, or neither and the restored one beside
//! it, whose way is then ended by the next opening.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::tz::TimeZone;

use super::books::Books;
use super::journal::Journal;
use super::plan::Plan;
use super::restored::{Restored, Source};
use super::rolling;
use super::state::{RestoreInfo, STATE_FILE, State, Status, timestamp};
use crate::archive::Keys;
use crate::destination::{Catalogue, StoredArchive, StoredBackup};
use crate::disk::Disk;
use crate::disk::atomic::{parent, remove_tree};
use crate::engine::tree::is_of_other_format;
use crate::engine::{
    Ancestry, AncestryFile, DATA_FILE, DATA_RESTORING, History, Known, LOG_DIR, Lsn,
};
use crate::error::{Error, ErrorKind, Result};
use crate::restore::{Archive, LogSegment, carry};
use crate::store::backup_state::BackupState;
use crate::store::{BackupKind, Store, StoreBuilder};

/// What came of an opening, and what it took.
pub(super) struct Opened {
    pub(super) store: Result<Store>,
    /// The restore that was tried, however it ended. It stands in no book yet.
    pub(super) restored: Option<Restored>,
}

impl Opened {
    pub(super) fn simply(store: Result<Store>) -> Opened {
        Opened { store, restored: None }
    }
}

/// Where a restored store waits to take its place. What is there is removed or used by the next
/// opening, so it has a name that nobody gives to a store of his own.
fn waiting(dir: &Path) -> PathBuf {
    beside(dir, ".stillpoint-restored")
}

fn beside(dir: &Path, ending: &str) -> PathBuf {
    let mut name = dir.file_name().unwrap_or_default().to_os_string();
    name.push(ending);
    dir.with_file_name(name)
}

/// Ends what a crash left half-done: a restored store whose place is free takes it.
pub(super) fn end_what_was_begun(disk: &dyn Disk, dir: &Path) -> Result<()> {
    let from = waiting(dir);
    let place_is_free = matches!(
        disk.metadata(dir), Err(e) if e.kind() == std::io::ErrorKind::NotFound
    );
    if place_is_free && disk.metadata(&from).is_ok() {
        take_place(disk, &from, dir)?;
    }
    Ok(())
}

fn take_place(disk: &dyn Disk, from: &Path, dir: &Path) -> Result<()> {
    disk.rename_new(from, dir)
        .and_then(|()| disk.sync_dir(parent(dir)))
        .map_err(|e| Error::io("give the restored store its place", dir, e))
}

/// Opens the store, or restores it by itself where it is damaged and the settings say so. Where a
/// restore was tried and failed, that is the cause of the error, and the state in the folder says so. Where it
/// may not restore, it only says what would.
pub(super) fn open(builder: &StoreBuilder, plan: &Plan, keys: &Keys, may_restore: bool) -> Opened {
    let (disk, dir) = (builder.disk_ref(), builder.path());
    let damage = match builder.clone().open() {
        Err(error) if is_damage(&**disk, dir, &error) => error,
        opened => return Opened::simply(opened),
    };
    if !plan.automatic.restore && disk.metadata(&dir.join(DATA_RESTORING)).is_ok() {
        // Somebody was at it, and the error says how to go on.
        return Opened::simply(Err(damage));
    }
    if !plan.automatic.restore {
        return Opened::simply(Err(damage.hint(
            "The store is damaged: restore it from its last backup. AutomaticRestore in the \
             settings lets that be done at opening.",
        )));
    }
    if !may_restore {
        return Opened::simply(Err(damage.hint(
            "The store is damaged. The application that opens it next restores it by itself \
             (AutomaticRestore); `stillpoint restore ARCHIVE NEWDIR` restores a copy now.",
        )));
    }
    let began = disk.elapsed();
    let mut restored = Restored::begin(RestoreInfo {
        started: disk.now(),
        archive: None,
        aside: None,
        commits_integrated: 0,
        repaired: 0,
        status: Status::good(),
    });
    let done = restore(disk, dir, (plan, keys), &mut restored);
    restored.took = rolling::micros(disk.elapsed().saturating_sub(began));
    let store = match done {
        Err(error) => {
            restored.info.status = Status::of(Some(&error));
            // The damage is the error to tell, whether this can be written or not.
            let _as_well = remember(&**disk, dir, &restored.info);
            Err(damage.because(error))
        }
        Ok(()) if plan.automatic.restart => builder.clone().open(),
        Ok(()) => remember(&**disk, dir, &restored.info).and(Err(Error::new(
            ErrorKind::Cancelled,
            "the store was damaged and has been restored",
        )
        .at(dir)
        .because(damage)
        .hint("AutomaticRestart is off: look at the restored store, then open it again."))),
    };
    Opened { store, restored: Some(restored) }
}

fn remember(disk: &dyn Disk, dir: &Path, info: &RestoreInfo) -> Result<()> {
    let mut state = State::load(disk, dir).unwrap_or_default();
    state.last_restore = Some(info.clone());
    state.save(disk, dir)
}

/// Puts an automatic restore down where the store is not opened after it.
pub(super) fn write_down(disk: &Arc<dyn Disk>, dir: &Path, plan: &Plan, restored: &Restored) {
    if disk.metadata(dir).is_err() {
        // The restored store could not take its place. A folder for the journal would take it.
        return;
    }
    let journal = Journal::open(disk.clone(), dir, plan.verbose, plan.zone.clone());
    let known = State::load(&**disk, dir).ok().and_then(|state| state.store_id());
    let id = restored.source.map(|source| source.store).or(known);
    let mut books = Books::new(disk.clone(), id.unwrap_or_default(), journal);
    if let Err(error) = books.restored(plan, restored) {
        // The opening has an error to tell already; there is nobody else to tell.
        let _in_vain = books.trouble(&error);
    }
}

/// Whether an error of opening means that the store is there and cannot be read.
fn is_damage(disk: &dyn Disk, dir: &Path, error: &Error) -> bool {
    let there = |name: &str| disk.metadata(&dir.join(name)).is_ok();
    match error.kind() {
        ErrorKind::Corrupt => true,
        // A data file whose first bytes are overwritten is none of this library's any more.
        // One of another version is whole, and to be opened by that.
        ErrorKind::Unsupported => error
            .path()
            .is_some_and(|path| path.ends_with(DATA_FILE) && !is_of_other_format(disk, path)),
        ErrorKind::NotFound => !there(DATA_FILE) && there(STATE_FILE) && there(LOG_DIR),
        _ => false,
    }
}

fn restore(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    (plan, keys): (&Plan, &Keys),
    restored: &mut Restored,
) -> Result<()> {
    // Nobody else may restore or open it meanwhile.
    let lock = crate::engine::lock_dir(disk, dir)?;
    let to = waiting(dir);
    remove_tree(&**disk, &to).map_err(|e| Error::io("remove an unfinished restore", &to, e))?;
    let found = Arc::new(Catalogue::of_folder(disk, &plan.destination, keys)?);
    let (candidates, history) = candidates(disk, dir, &found, &plan.set)?;
    let mut last_error = None;
    for (stored, backup) in candidates {
        let archive = Archive::of_catalogue(disk, &found, stored);
        match archive.and_then(|archive| restore_one(disk, dir, &archive, &to)) {
            Ok(()) => {
                restored.info.archive = Some(stored.path().to_path_buf());
                restored.source = Some(source(backup));
                if let Some(history) = &history {
                    rolling::roll_forward(disk, dir, (plan, &found), &to, history, restored)?;
                }
                let aside = set_aside(&**disk, dir, restored.info.started, &plan.zone)?;
                restored.moved(dir, aside);
                drop(lock);
                return take_place(&**disk, &to, dir);
            }
            Err(error) => {
                remove_tree(&**disk, &to)
                    .map_err(|e| Error::io("remove a failed restore", &to, e))?;
                last_error.get_or_insert(error);
            }
        }
    }
    Err(last_error.unwrap_or_else(|| {
        Error::new(ErrorKind::NotFound, "there is no backup to restore the store from")
            .at(&plan.destination)
    }))
}

fn source(backup: &StoredBackup) -> Source {
    let header = &backup.header;
    Source {
        store: header.store_id,
        number: header.number,
        lsn: header.lsn,
        timeline: header.timeline.into(),
    }
}

/// Restores one archive and what goes with it into the folder beside the store.
fn restore_one(disk: &Arc<dyn Disk>, dir: &Path, archive: &Archive, to: &Path) -> Result<()> {
    archive.verify_chain()?;
    archive.restore(to).attachments(false).run()?;
    carry(&**disk, dir, to)
}

/// Gives the damaged store another name, which it keeps.
fn set_aside(disk: &dyn Disk, dir: &Path, now: i64, zone: &TimeZone) -> Result<PathBuf> {
    let when = timestamp(now).to_zoned(zone.clone()).strftime("%Y-%m-%d %H%M%S").to_string();
    for again in 0..100 {
        let ending = match again {
            0 => format!(" (damaged {when})"),
            _ => format!(" (damaged {when}, {again})"),
        };
        let aside = beside(dir, &ending);
        match disk.rename_new(dir, &aside) {
            Ok(()) => return Ok(aside),
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(e) => return Err(Error::io("set the damaged store aside", dir, e)),
        }
    }
    Err(Error::new(ErrorKind::Exists, "no name is left for the damaged store").at(dir))
}

/// An archive, and what it says of itself.
type Candidate<'c> = (&'c StoredArchive, &'c StoredBackup);

/// The archives that the store can be restored from, newest first: those of its own history.
fn candidates<'c>(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    catalogue: &'c Catalogue,
    set: &str,
) -> Result<(Vec<Candidate<'c>>, Option<History>)> {
    // One that cannot even be opened is no candidate.
    let read = catalogue.of_set(set).filter_map(|stored| Some((stored, stored.backup()?)));
    let mut found: Vec<Candidate<'c>> = read.filter(|(_, one)| one.header.data).collect();
    let known = State::load(&**disk, dir).ok().and_then(|state| state.store_id());
    if let Some(id) = known {
        found.retain(|(_, one)| one.header.store_id == id);
    } else if let Some(first) = found.first().map(|(_, one)| one.header.store_id)
        && found.iter().any(|(_, one)| one.header.store_id != first)
    {
        let message =
            "archives of several stores lie there, and this one no longer says which it is";
        return Err(Error::new(ErrorKind::Foreign, message)
            .at(catalogue.location())
            .hint("Restore by hand from the archive that you know to be right."));
    }
    let history = history(disk, dir, &found);
    found.retain(|(_, one)| {
        let (timeline, lsn) = (one.header.timeline.id, one.header.lsn);
        history.as_ref().is_some_and(|history| history.holds(timeline, lsn))
    });
    // At the same commit a whole archive needs no other; and of several the last is kept longest.
    found.sort_by_key(|(_, one)| {
        let header = &one.header;
        let whole = header.kind != BackupKind::Incremental;
        std::cmp::Reverse((header.lsn, whole, header.started))
    });
    Ok((found, history))
}

/// The history of the damaged store, as far as it is known to go. Its ancestry file tells; where that
/// is lost, its newest log segment with the ancestries of the archives, or else the archive that was
/// begun last.
fn history(disk: &Arc<dyn Disk>, dir: &Path, found: &[Candidate<'_>]) -> Option<History> {
    let stored = AncestryFile::load(&**disk, dir).ok();
    let own = rolling::own_segments(disk, dir);
    let newest_segment = own.iter().max_by_key(|segment| segment.number);
    let newest_archive = found.iter().max_by_key(|(_, one)| one.header.started);
    let by_segment = |segment: &LogSegment| {
        let mut known: Known = own.iter().map(|segment| segment.timeline).collect();
        let lines = found.iter().filter_map(|(_, one)| one.ancestry.as_ref());
        lines.for_each(|line| known.add_line(line));
        Ancestry::proven(stored.as_ref(), segment.timeline, segment.ancestry_digest, &known)
    };
    // A log that was put there by hand may go on from where the file ends.
    let beyond = newest_segment.filter(|segment| {
        stored.as_ref().is_none_or(|stored| stored.end_of(segment.timeline.id).is_none())
    });
    let ancestry = beyond
        .and_then(by_segment)
        .or(stored)
        .or_else(|| newest_archive.and_then(|(_, one)| one.ancestry.clone()))?;
    let state = BackupState::load(&**disk, dir).unwrap_or_default();
    let now = ancestry.tip();
    let last = match state.restored_to {
        // No commit of its own since: what lies beyond all that it ever had here was left.
        Some(to) if to.timeline.id == now.id => own
            .iter()
            .map(|segment| (segment.timeline, segment.last))
            .chain(state.places())
            .filter_map(|(timeline, last)| (timeline.id == now.id).then_some(last))
            .fold(to.lsn, Lsn::max),
        _ => Lsn::MAX,
    };
    Some(History::new(ancestry, last))
}
