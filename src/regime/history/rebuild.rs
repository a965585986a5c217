//! Listing archives from what they say themselves, where the history does not have them.
//!
//! Only archives of this store under their own names: one that was renamed, or copied here from
//! another store, says another number or store in its header, and is left out. So is one that cannot
//! be read, by damage or since its key is not at hand: nothing is listed that is only guessed.

use jiff::tz::TimeZone;

use super::operation::{Operation, OperationKind, OperationStatus, parts};
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
            let made = read_backup(disk, stored, backup)?;
            let at = operations.partition_point(|o| o.started <= made.started);
            operations.insert(at, made);
            added += 1;
        }
    }
    for (stored, log) in logs {
        added += usize::from(attach(disk, stored, log, operations)?);
    }
    Ok(added)
}

/// Lists a log archive with the backup that wrote it, the first that holds its last commit; where
/// there is none, with the one that it follows.
fn attach(
    disk: &dyn Disk,
    stored: &StoredArchive,
    log: &StoredLog,
    operations: &mut [Operation],
) -> Result<bool> {
    let header = &log.header;
    let holds = |o: &Operation| {
        o.timeline.is_some_and(|timeline| timeline.id == header.timeline.id)
            && o.lsn.is_some_and(|lsn| lsn >= header.last)
    };
    let free = |o: &Operation| o.log_path.is_none() && o.has_archive();
    let places = || (0..operations.len()).filter(|at| free(&operations[*at]));
    let writer = places()
        .filter(|at| holds(&operations[*at]))
        .min_by_key(|at| (operations[*at].lsn, operations[*at].started));
    let follows = places().find(|at| operations[*at].backup_number == Some(header.number));
    let Some(at) = writer.or(follows) else { return Ok(false) };
    operations[at].log_path = Some(stored.path().to_path_buf());
    operations[at].log_files = parts(disk, &stored.files())?;
    operations[at].log_seal = Some(log.seal.clone());
    Ok(true)
}

/// What a backup says of itself.
fn read_backup(
    disk: &dyn Disk,
    stored: &StoredArchive,
    StoredBackup { seal, header, results, .. }: &StoredBackup,
) -> Result<Operation> {
    let kind = match header.kind {
        BackupKind::Full => OperationKind::Backup,
        BackupKind::Incremental => OperationKind::IncrementalBackup,
    };
    let mut made = Operation::new(kind, header.store_id, header.started, &TimeZone::system());
    made.backup_number = Some(header.number);
    made.status = OperationStatus::from(results.status);
    if made.status == OperationStatus::Partial {
        made.code = code::ATTACHMENT_MISSING;
        made.error = results.problems.join("; ");
    }
    made.access = Some(header.access);
    made.longest_wait_micros = results.longest_wait_micros;
    made.timeline = Some(header.timeline);
    made.lsn = Some(header.lsn);
    made.data = header.data;
    made.seal = Some(seal.clone());
    made.parent = header.parent.as_ref().map(|parent| parent.seal.clone());
    let looked = disk.metadata(stored.path());
    let looked = looked.map_err(|e| Error::io("look at", stored.path(), e))?;
    let took = looked.modified.saturating_sub(header.started);
    made.duration_micros = u64::try_from(took).unwrap_or(0);
    made.backup_path = Some(stored.path().to_path_buf());
    made.backup_files = parts(disk, &stored.files())?;
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
