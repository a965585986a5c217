//! Opening a store with its regime: a damaged one is restored by itself where the settings say so.
//!
//! What recovery after a crash does is not done here and is not a matter of settings: it is always
//! done, by every opening. This is about a store that cannot be opened because bytes on its disk
//! are damaged or gone. The newest archive of its own history that verifies is restored in a
//! working folder; the logs that follow are integrated where the settings say so; then the restored
//! store replaces the damaged one (`engine/replacement`), which is kept under another name, for
//! good. Its own history is what it stood in: a future that it had left by a restore to an earlier
//! point is none of it.
//!
//! Invariants: nothing of the damaged store's data is deleted or changed (that the restore was tried
//! stands in its books and its state); only its data is brought back, not its attachments, and its
//! settings, its journal and what the regime remembers are copied over; after a crash at any moment the
//! next opening finds the damaged store or the restored one.

use std::path::Path;
use std::sync::Arc;

use super::books::Books;
use super::journal::Journal;
use super::plan::Plan;
use super::restored::{Restored, Source};
use super::rolling;
use super::state::{RestoreInfo, STATE_FILE, State, Status, timestamp};
use crate::archive::Keys;
use crate::destination::{Catalogue, StoredArchive, StoredBackup};
use crate::disk::Disk;
use crate::disk::atomic::remove_tree;
use crate::engine::replacement::{self, KeepAs, Replacement, Scope};
use crate::engine::tree::is_of_other_format;
use crate::engine::{Ancestry, AncestryFile, DATA_FILE, History, Known, LOG_DIR, Lsn};
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

/// Ends a replacement of the store that was interrupted, before anything else in its folder is read. An
/// interrupted delta restore is left for the opening to find.
pub(super) fn end_what_was_begun(disk: &Arc<dyn Disk>, dir: &Path) -> Result<()> {
    match replacement::interrupted_delta(&**disk, dir)? {
        Some(_) => Ok(()),
        None => replacement::settle(disk, dir),
    }
}

/// Opens the store, or restores it by itself where it is damaged and the settings say so. Where a
/// restore was tried and failed, that is the cause of the error, and the state in the folder says
/// so. Where it may not restore, it only says what would.
pub(super) fn open(
    builder: &StoreBuilder,
    plan: &Plan,
    keys: &Keys,
    may_restore: bool,
    attachments: bool,
) -> Opened {
    let (disk, dir) = (builder.disk_ref(), builder.path());
    let damage = match builder.clone().open() {
        Err(error) if is_damage(&**disk, dir, &error) => error,
        opened => return Opened::simply(opened),
    };
    if !plan.automatic.restore
        && damage.kind() == ErrorKind::NotFound
        && is_half_restored(&**disk, dir)
    {
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
        attachments: 0,
        attachments_restored: false,
        status: Status::good(),
    });
    restored.info.attachments_restored = attachments;
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
        ErrorKind::NotFound if is_half_restored(disk, dir) => true,
        ErrorKind::NotFound => !there(DATA_FILE) && there(STATE_FILE) && there(LOG_DIR),
        _ => false,
    }
}

/// Whether a delta restore was interrupted.
fn is_half_restored(disk: &dyn Disk, dir: &Path) -> bool {
    replacement::interrupted_delta(disk, dir).is_ok_and(|interrupted| interrupted.is_some())
}

fn restore(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    (plan, keys): (&Plan, &Keys),
    restored: &mut Restored,
) -> Result<()> {
    // Nobody else may restore or open it meanwhile.
    let lock = crate::engine::lock_dir(disk, dir)?;
    replacement::give_up_delta(&**disk, dir, &lock)?;
    let replacement = Replacement::begin(dir, &lock)?;
    let built = build(disk, dir, (plan, keys), &replacement.new_store(), restored);
    built.inspect_err(|_| replacement.cancel())?;
    let zone = plan.zone.clone();
    let when = timestamp(restored.info.started).to_zoned(zone).strftime("%Y-%m-%d %H%M%S");
    let keep =
        KeepAs { within: format!("damaged {when}"), beside: Some(format!(" (damaged {when})")) };
    let aside = replacement.put_in_place(Scope::Everything, &keep)?;
    restored.moved(dir, aside);
    drop(lock);
    Ok(())
}

/// Makes a store of the newest archive that is whole in the folder `to`, and brings it forward.
fn build(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    (plan, keys): (&Plan, &Keys),
    to: &Path,
    restored: &mut Restored,
) -> Result<()> {
    let found = Arc::new(Catalogue::of_folder(disk, &plan.destination, keys)?);
    let (candidates, history) = candidates(disk, dir, &found, &plan.set)?;
    let mut last_error = None;
    for (stored, backup) in candidates {
        let archive = Archive::of_catalogue(disk, &found, stored);
        let attachments = restored.info.attachments_restored;
        let made = archive.and_then(|archive| {
            restore_one(disk, dir, &archive, to, attachments).map(|held| (archive, held))
        });
        match made {
            Ok((archive, held)) => {
                restored.info.attachments = held;
                restored.info.attachments_restored &= held > 0;
                restored.read_repairs = archive.read_repairs();
                restored.info.archive = Some(stored.path().to_path_buf());
                restored.source = Some(source(backup));
                return match &history {
                    Some(history) => {
                        rolling::roll_forward(disk, dir, (plan, &found), to, history, restored)
                    }
                    None => Ok(()),
                };
            }
            Err(error) => {
                remove_tree(&**disk, to)
                    .map_err(|e| Error::io("remove a failed restore", to, e))?;
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

/// Restores one archive and what goes with it into the folder `to`. Gives how many attachments it holds.
fn restore_one(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    archive: &Archive,
    to: &Path,
    attachments: bool,
) -> Result<usize> {
    match archive.verify_chain() {
        // Every frame is checked when it is restored, and parity may repair what is damaged.
        Err(error) if error.kind() == ErrorKind::Corrupt && archive.promise().is_some() => {}
        verified => verified.map(drop)?,
    }
    archive.restore(to).attachments(attachments).settings(false).run()?;
    carry(&**disk, dir, to)?;
    Ok(archive.attachments())
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
