//! Deleting what was planned, and telling of it.

use std::path::Path;

use super::plan::{Deletion, RetentionPlan};
use crate::archive::{ArchiveFile, Keys};
use crate::disk::Disk;
use crate::engine::StoreId;
use crate::error::{Error, ErrorKind, Result, code};
use crate::regime::history::{Operation, archive_name};
use crate::regime::journal::{About, JournalEvent, JournalItem};
use crate::store::{BackupHeader, LogHeader};

/// Takes out of the plan what does not say of itself that it is what the history lists; a line for
/// each that is left alone.
pub(crate) fn check(
    plan: &mut RetentionPlan,
    disk: &dyn Disk,
    store: StoreId,
    keys: &Keys,
) -> Vec<JournalItem> {
    let mut lines = Vec::new();
    for (path, reason) in &plan.left_alone {
        lines.push(left_alone(path, reason));
    }
    let mut refused = Vec::new();
    plan.deletions.retain(|deletion| match says_so(deletion, disk, store, keys) {
        Ok(()) => true,
        Err(error) => {
            lines.push(left_alone(&deletion.path, "").with_error(&error));
            refused.push((deletion.path.clone(), error.to_string()));
            false
        }
    });
    plan.left_alone.extend(refused);
    lines
}

/// Whether the archive is of this store, and has the number and the seal that are listed.
fn says_so(deletion: &Deletion, disk: &dyn Disk, store: StoreId, keys: &Keys) -> Result<()> {
    if deletion.begun {
        return Ok(());
    }
    let file = match ArchiveFile::open(disk, &deletion.path, keys) {
        Ok(file) => file,
        // Nobody may be there to give a key. Place, name and length agree with the history.
        Err(error) if is_encrypted(deletion) && error.code() == code::KEY => return Ok(()),
        Err(error) => return Err(error),
    };
    let app = file.header().app.clone();
    let said = match deletion.log {
        true => serde_json::from_value::<LogHeader>(app).map(|h| (h.store_id, h.number)),
        false => serde_json::from_value::<BackupHeader>(app).map(|h| (h.store_id, h.number)),
    };
    let other_seal = deletion.seal.as_ref().is_some_and(|seal| *seal != file.seal().to_string());
    match said {
        Ok(said) if said == (store, deletion.number) && !other_seal => Ok(()),
        _ => {
            let message = "it is not the archive that the history lists under its name";
            Err(Error::new(ErrorKind::Foreign, message).at(&deletion.path))
        }
    }
}

fn is_encrypted(deletion: &Deletion) -> bool {
    archive_name(&deletion.path).is_some_and(|name| name.is_encrypted())
}

/// Notes in the history what is about to be deleted.
pub(crate) fn mark(plan: &RetentionPlan, operations: &mut [Operation]) {
    for deletion in &plan.deletions {
        for operation in operations.iter_mut() {
            match deletion.log {
                true if operation.made_log(&deletion.path) => {
                    operation.deleting_log = true;
                }
                false if operation.made(&deletion.path) => {
                    operation.deleting = true;
                }
                _ => {}
            }
        }
    }
}

/// Deletes what is planned, takes it out of the history, and says what it did. What cannot be
/// deleted stays listed, and is tried again next time.
pub(crate) fn delete(
    plan: &RetentionPlan,
    disk: &dyn Disk,
    folder: &Path,
    operations: &mut Vec<Operation>,
) -> Vec<JournalItem> {
    let mut lines = Vec::new();
    for deletion in &plan.deletions {
        let mut line = JournalItem::new(JournalEvent::Deletion, About::Archive);
        line.number = Some(deletion.number);
        line.path = Some(deletion.path.clone());
        line.bytes = Some(deletion.bytes());
        line.contents = if deletion.log { "log".to_owned() } else { String::new() };
        lines.push(match remove(deletion, disk) {
            Ok(()) => {
                forget(deletion, operations);
                line
            }
            Err(error) => line.with_error(&error),
        });
    }
    if let Err(e) = disk.sync_dir(folder) {
        let error = Error::io("sync the destination", folder, e);
        lines.push(JournalItem::note(JournalEvent::Deletion, "").with_error(&error));
    }
    lines
}

/// From the end: the seal goes before the rest, which is no archive without it.
fn remove(deletion: &Deletion, disk: &dyn Disk) -> Result<()> {
    for file in deletion.files.iter().rev() {
        match disk.remove_file(&file.path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::io("delete an old archive", &file.path, e));
            }
            _ => {}
        }
    }
    Ok(())
}

/// An operation whose archive is deleted is told of no more, unless its log archive is still there:
/// then that alone is.
fn forget(deletion: &Deletion, operations: &mut Vec<Operation>) {
    for operation in operations.iter_mut() {
        if deletion.log && operation.made_log(&deletion.path) {
            operation.log_path = None;
            operation.log_files.clear();
            operation.deleting_log = false;
        }
        if !deletion.log && operation.made(&deletion.path) {
            operation.backup_path = None;
            operation.backup_files.clear();
            operation.deleting = false;
        }
    }
    let gone = |o: &Operation| {
        o.is_backup() && o.seal.is_some() && o.backup_path.is_none() && o.log_path.is_none()
    };
    operations.retain(|operation| !gone(operation));
}

fn left_alone(path: &Path, reason: &str) -> JournalItem {
    let message = match reason {
        "" => String::new(),
        reason => format!("left alone: {reason}"),
    };
    let mut line = JournalItem::new(JournalEvent::Deletion, About::Archive);
    line.path = Some(path.to_path_buf());
    line.message = message;
    line
}
