//! Listing archives from what they say themselves, where the history does not have them.
//!
//! Only archives of this store under their own names: one that was renamed, or copied here from
//! another store, says another number or store in its header, and is left out. So is one that cannot
//! be read, by damage or since its key is not at hand: nothing is listed that is only guessed.

use std::path::PathBuf;

use jiff::tz::TimeZone;

use super::operation::{ArchivePart, Operation, OperationKind, OperationStatus};
use crate::archive::MANIFEST_NAME;
use crate::backup::SavedFile;
use crate::destination::{Catalogue, StoredArchive, StoredBackup, StoredLog};
use crate::disk::Disk;
use crate::engine::StoreId;
use crate::error::{Error, Result, code};
use crate::store::BackupKind;

/// Adds the archives of `set` in `found` that `operations` lacks, but for that of `coming`, which is
/// about to be listed; says how many those were.
pub(super) fn complete(
    disk: &dyn Disk,
    found: &Catalogue,
    set: &str,
    store: StoreId,
    operations: &mut Vec<Operation>,
    coming: Option<&Operation>,
) -> Result<usize> {
    let mut added = 0;
    let mut logs = Vec::new();
    let own = operations.iter().filter(|o| o.has_archive() && !o.rebuilt && o.store_id == store);
    let newest = own.map(|o| o.started).max();
    for stored in found.of_set(set) {
        let path = stored.path();
        let known = |o: &Operation| if stored.is_log() { o.made_log(path) } else { o.made(path) };
        let listed = operations.iter().chain(coming).any(known);
        if listed || stored.store() != Some(store) || !stored.is_as_named() {
            continue;
        }
        if let Some(log) = stored.log() {
            logs.push((stored, log));
        } else if let Some(backup) = stored.backup() {
            let mut made = read_backup(disk, stored, backup)?;
            // A crash, or an older copy of the history, leaves out what is newer than all in it.
            made.brought_in = newest.is_some_and(|newest| newest > made.started);
            let at = operations.partition_point(|o| o.started <= made.started);
            operations.insert(at, made);
            added += 1;
        }
    }
    for (stored, log) in logs {
        added += usize::from(attach(stored, log, operations));
    }
    Ok(added)
}

/// Lists a log archive with the backup that wrote it, the first that holds its last commit; where
/// there is none, with the one that it follows.
fn attach(stored: &StoredArchive, log: &StoredLog, operations: &mut [Operation]) -> bool {
    let header = &log.header;
    let holds = |o: &Operation| {
        o.timeline.is_some_and(|timeline| timeline.id == header.timeline.id)
            && o.lsn.is_some_and(|lsn| lsn >= header.last)
    };
    // A backup that was put down itself said which log archive it wrote.
    let free = |o: &Operation| o.rebuilt && o.log_path.is_none() && o.has_archive();
    let places = || (0..operations.len()).filter(|at| free(&operations[*at]));
    let writer = places()
        .filter(|at| holds(&operations[*at]))
        .min_by_key(|at| (operations[*at].lsn, operations[*at].started));
    let follows = places().find(|at| operations[*at].backup_number == Some(header.number));
    let Some(at) = writer.or(follows) else { return false };
    operations[at].log_path = Some(stored.path().to_path_buf());
    operations[at].log_files = parts(stored);
    operations[at].log_seal = Some(log.seal.clone());
    operations[at].log_follows.clone_from(&log.header.follows);
    true
}

/// What a backup says of itself, with the files in it.
fn read_backup(
    disk: &dyn Disk,
    stored: &StoredArchive,
    backup: &StoredBackup,
) -> Result<Operation> {
    let mut made = facts(stored, backup);
    let looked = disk.metadata(stored.path());
    let looked = looked.map_err(|e| Error::io("look at", stored.path(), e))?;
    let took = looked.modified.saturating_sub(made.started);
    made.duration_micros = u64::try_from(took).unwrap_or(0);
    made.saved_files = stored
        .open()?
        .entries()
        .iter()
        .filter(|entry| entry.meta.path.as_bytes() != MANIFEST_NAME.as_bytes())
        .map(|entry| SavedFile {
            path: entry.meta.path.as_path().to_string_lossy().into_owned(),
            source: None,
            bytes: entry.meta.size,
            changed_while_read: false,
        })
        .collect();
    made.rebuilt = true;
    Ok(made)
}

/// What an archive is, by its own header and files.
pub(crate) fn facts(stored: &StoredArchive, backup: &StoredBackup) -> Operation {
    let StoredBackup { seal, header, results, .. } = backup;
    let kind = match header.kind {
        BackupKind::Full => OperationKind::Backup,
        BackupKind::Incremental => OperationKind::IncrementalBackup,
    };
    let mut facts = Operation::new(kind, header.store_id, header.started, &TimeZone::system());
    facts.backup_number = Some(header.number);
    facts.status = OperationStatus::from(results.status);
    if facts.status == OperationStatus::Partial {
        facts.code = code::ATTACHMENT_MISSING;
        facts.error = results.problems.join("; ");
    }
    facts.access = Some(header.access);
    facts.longest_wait_micros = results.longest_wait_micros;
    facts.timeline = Some(header.timeline);
    facts.lsn = Some(header.lsn);
    facts.data = header.data;
    facts.seal = Some(seal.clone());
    facts.parent = header.parent.as_ref().map(|parent| parent.seal.clone());
    facts.backup_path = Some(stored.path().to_path_buf());
    facts.backup_files = parts(stored);
    facts
}

/// The files of an archive with their lengths.
pub(crate) fn parts(stored: &StoredArchive) -> Vec<ArchivePart> {
    let part = |(path, bytes): &(PathBuf, u64)| ArchivePart { path: path.clone(), bytes: *bytes };
    stored.parts().iter().map(part).collect()
}
