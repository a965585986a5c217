//! Listing archives from what they say themselves, where the history does not have them.
//!
//! Only archives of this store under their own names: one that was renamed, or copied here from
//! another store, says another number or store in its header, and is left out. So is one that cannot
//! be read, by damage or since its key is not at hand: nothing is listed that is only guessed.

use std::path::Path;

use jiff::tz::TimeZone;

use super::operation::{Operation, OperationKind, OperationStatus, files_of};
use crate::archive::{ArchiveFile, ArchiveKind, Keys, Listed, MANIFEST_NAME, list_archives};
use crate::backup::SavedFile;
use crate::disk::Disk;
use crate::engine::StoreId;
use crate::error::{Error, Result, code};
use crate::store::{BackupHeader, BackupKind, BackupResults, LogHeader};

/// Adds the archives of `set` in `folder` that `operations` lacks, but for that of `coming`, which is
/// about to be listed; says how many those were.
pub(super) fn complete(
    disk: &dyn Disk,
    folder: &Path,
    set: &str,
    (store, keys): (StoreId, &Keys),
    operations: &mut Vec<Operation>,
    coming: Option<&Operation>,
) -> Result<usize> {
    let mut added = 0;
    let mut logs = Vec::new();
    for listed in list_archives(disk, folder, Some(set))? {
        let path = listed.path();
        if listed.name.kind() == ArchiveKind::Log {
            let known = |o: &Operation| o.made_log(path);
            if !operations.iter().chain(coming).any(known) {
                logs.extend(log_of(disk, &listed, store, keys).map(|header| (listed, header)));
            }
        } else {
            let known = |o: &Operation| o.made(path);
            if operations.iter().chain(coming).any(known) {
                continue;
            }
            let Some(found) = read_backup(disk, &listed, store, keys)? else { continue };
            let at = operations.partition_point(|o| o.started <= found.started);
            operations.insert(at, found);
            added += 1;
        }
    }
    for (log, header) in logs {
        added += usize::from(attach(disk, &log, &header, operations)?);
    }
    Ok(added)
}

/// Lists a log archive with the backup that wrote it, the first that holds its last commit; where
/// there is none, with the one that it follows.
fn attach(
    disk: &dyn Disk,
    log: &Listed,
    header: &LogHeader,
    operations: &mut [Operation],
) -> Result<bool> {
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
    operations[at].log_path = Some(log.path().to_path_buf());
    operations[at].log_files = files_of(disk, log)?;
    Ok(true)
}

fn log_of(disk: &dyn Disk, listed: &Listed, store: StoreId, keys: &Keys) -> Option<LogHeader> {
    let file = ArchiveFile::open(disk, listed.path(), keys).ok()?;
    let header: LogHeader = serde_json::from_value(file.header().app.clone()).ok()?;
    (header.store_id == store && header.number == listed.name.number()).then_some(header)
}

/// What a backup says of itself; `None` where it is not one of this store, or cannot be read.
fn read_backup(
    disk: &dyn Disk,
    listed: &Listed,
    store: StoreId,
    keys: &Keys,
) -> Result<Option<Operation>> {
    let Ok(file) = ArchiveFile::open(disk, listed.path(), keys) else { return Ok(None) };
    let header = serde_json::from_value::<BackupHeader>(file.header().app.clone());
    let results = serde_json::from_value::<BackupResults>(file.manifest().results.clone());
    let (Ok(header), Ok(results)) = (header, results) else { return Ok(None) };
    if header.store_id != store || header.number != listed.name.number() {
        return Ok(None);
    }
    let kind = match header.kind {
        BackupKind::Full => OperationKind::Backup,
        BackupKind::Incremental => OperationKind::IncrementalBackup,
    };
    let mut found = Operation::new(kind, store, header.started, &TimeZone::system());
    found.backup_number = Some(header.number);
    found.status = OperationStatus::from(results.status);
    if found.status == OperationStatus::Partial {
        found.code = code::ATTACHMENT_MISSING;
        found.error = results.problems.join("; ");
    }
    found.access = Some(header.access);
    found.longest_wait_micros = results.longest_wait_micros;
    found.timeline = Some(header.timeline);
    found.lsn = Some(header.lsn);
    found.data = header.data;
    found.seal = Some(file.seal().to_string());
    found.parent = header.parent.map(|parent| parent.seal);
    let looked =
        disk.metadata(listed.path()).map_err(|e| Error::io("look at", listed.path(), e))?;
    let took = looked.modified.saturating_sub(header.started);
    found.duration_micros = u64::try_from(took).unwrap_or(0);
    found.backup_path = Some(listed.path().to_path_buf());
    found.backup_files = files_of(disk, listed)?;
    found.saved_files = file
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
    found.rebuilt = true;
    Ok(Some(found))
}
