//! Deleting what was planned, and reporting it.

use std::path::Path;

use super::plan::{Deletion, RetentionPlan};
use crate::destination::{Catalogue, Storage};
use crate::error::{Error, Result};
use crate::regime::history::Operation;
use crate::regime::journal::{About, JournalEvent, JournalItem};

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
    found: &Catalogue,
    operations: &mut Vec<Operation>,
) -> Vec<JournalItem> {
    let mut lines = Vec::new();
    // An archive that is still there keeps what it depends on.
    let mut needed: Vec<&String> = Vec::new();
    for deletion in &plan.deletions {
        if deletion.seal.as_ref().is_some_and(|seal| needed.contains(&seal)) {
            needed.extend(&deletion.parent);
            continue;
        }
        let mut line = JournalItem::new(JournalEvent::Deletion, About::Archive);
        line.number = Some(deletion.number);
        line.path = Some(deletion.path.clone());
        line.bytes = Some(deletion.bytes());
        line.contents = if deletion.log { "log".to_owned() } else { String::new() };
        lines.push(match remove(deletion, found.storage()) {
            Ok(()) => {
                forget(deletion, operations);
                line
            }
            Err(error) => {
                needed.extend(&deletion.parent);
                line.with_error(&error)
            }
        });
    }
    lines
}

/// From the end: the seal goes before the rest, which is no archive without it.
fn remove(deletion: &Deletion, storage: &dyn Storage) -> Result<()> {
    let inside = deletion.files.iter().rev().filter_map(|file| {
        let name = file.path.file_name()?.to_str()?;
        (storage.location().join(name) == file.path).then_some(name)
    });
    storage.delete(&inside.collect::<Vec<_>>())
}

/// An operation whose archive is deleted is told of no more, unless its log archive is still there:
/// then that alone is.
fn forget(deletion: &Deletion, operations: &mut Vec<Operation>) {
    for operation in operations.iter_mut() {
        if deletion.log && operation.made_log(&deletion.path) {
            operation.log_path = None;
            operation.log_files.clear();
            (operation.log_seal, operation.log_follows) = (None, None);
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

/// What is too old and stays all the same.
pub(crate) fn left_alone(reason: &Error) -> JournalItem {
    let mut line = JournalItem::new(JournalEvent::Deletion, About::Archive).with_error(reason);
    line.path = reason.path().map(Path::to_path_buf);
    line
}
