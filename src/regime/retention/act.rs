//! Deleting what was planned, and telling of it.

use std::path::Path;

use super::plan::{Deletion, RetentionPlan};
use crate::destination::{Catalogue, Storage};
use crate::engine::StoreId;
use crate::error::{Error, ErrorKind, Result, code};
use crate::regime::history::Operation;
use crate::regime::journal::{About, JournalEvent, JournalItem};

/// Takes out of the plan what does not say of itself that it is what the history lists; a line for
/// each that is left alone.
pub(crate) fn check(
    plan: &mut RetentionPlan,
    found: &Catalogue,
    store: StoreId,
) -> Vec<JournalItem> {
    let mut lines = Vec::new();
    for (path, reason) in &plan.left_alone {
        lines.push(left_alone(path, reason));
    }
    let mut refused = Vec::new();
    plan.deletions.retain(|deletion| match says_so(deletion, found, store) {
        Ok(()) => true,
        Err(error) => {
            lines.push(left_alone(&deletion.path, "").with_error(&error));
            refused.push((deletion.path.clone(), error.summary()));
            false
        }
    });
    plan.left_alone.extend(refused);
    lines
}

/// Whether the archive is of this store, and has the name and the seal that are listed.
fn says_so(deletion: &Deletion, found: &Catalogue, store: StoreId) -> Result<()> {
    if deletion.begun {
        return Ok(());
    }
    let refuse = |why: &str| Err(Error::new(ErrorKind::Foreign, why).at(&deletion.path));
    let Some(stored) = found.at(&deletion.path) else {
        return refuse("it does not lie in the destination");
    };
    match stored.problem() {
        None => {}
        // Nobody may be there to give a key. Place, name and length agree with the history.
        Some(error) if stored.name().is_encrypted() && error.code() == code::KEY => return Ok(()),
        Some(error) => return Err(error.clone()),
    }
    if let Some(why) = stored.contradiction() {
        return refuse(&why);
    }
    let other_seal = deletion.seal.as_deref().is_some_and(|seal| Some(seal) != stored.seal());
    if stored.store() != Some(store) || other_seal {
        return refuse("it is not the archive that the history lists under its name");
    }
    Ok(())
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
    found: &Catalogue,
    operations: &mut Vec<Operation>,
) -> Vec<JournalItem> {
    let mut lines = Vec::new();
    for deletion in &plan.deletions {
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
            Err(error) => line.with_error(&error),
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
            operation.log_seal = None;
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
