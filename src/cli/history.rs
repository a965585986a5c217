//! `stillpoint history`: the backups, restores and integrations of a store, from the file in its
//! destination.
//!
//! It reads files alone: the store may be open elsewhere, damaged, or gone but for its settings.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};
use stillpoint::disk::RealDisk;
use stillpoint::regime::{
    History as Book, Operation, OperationKind, OperationStatus, Origin, Outline, RetentionPlan,
    RetentionRule,
};
use stillpoint::{Error, ErrorKind};

use super::backup::AccessName;
use super::exit::Outcome;
use super::show::table::{Align, Table};
use super::show::{Output, human, plain};
use super::stores;

/// List the backups of a store, and what else was done with them.
#[derive(Debug, Args)]
pub(crate) struct History {
    /// The folder of the store.
    dir: PathBuf,
    /// Tell which old archives the next backup will delete, and delete nothing.
    #[arg(long)]
    dry_run: bool,
    /// The folder that the backups went to by `backup --to`, where it is not that of the settings.
    #[arg(long = "in", value_name = "FOLDER")]
    folder: Option<PathBuf>,
}

impl History {
    pub(crate) fn run(&self, output: Output) -> Outcome {
        stores::require(&self.dir)?;
        let disk = RealDisk::new();
        let mut outline = Outline::of(&*disk, &self.dir)?;
        if let Some(folder) = &self.folder {
            outline.destination.clone_from(folder);
        }
        if self.dry_run {
            return self.deletions(output, &outline);
        }
        let operations = Book::list(&*disk, &outline.destination, &outline.set)?;
        let object = json!({
            "path": outline.destination.join(stillpoint::regime::HISTORY_FILE).display().to_string(),
            "set": outline.set,
            "operations": operations,
        });
        output.result(&object, as_table(&operations))
    }

    /// What retention would do, with room for a set if it comes before the backup.
    fn deletions(&self, output: Output, outline: &Outline) -> Outcome {
        let plan = match outline.keep {
            Some(keep) => {
                // Not by the history: people edit that, and it may list several stores.
                let store = outline.store.ok_or_else(|| self.unknown_store())?;
                let room = u32::from(outline.erase_before);
                let rule = RetentionRule { keep, room };
                let book = Book::at(RealDisk::new(), &outline.destination, &outline.set, store);
                book.with_store(&self.dir).plan(&rule)?
            }
            None => RetentionPlan::default(),
        };
        let told: Vec<Value> = plan
            .deletions
            .iter()
            .map(|d| json!({"path": d.path.display().to_string(), "bytes": d.bytes()}))
            .collect();
        let alone: Vec<Value> = plan
            .left_alone
            .iter()
            .map(|(path, why)| json!({"path": path.display().to_string(), "reason": why}))
            .collect();
        let mut text: String = plan
            .deletions
            .iter()
            .map(|d| {
                format!("would delete {} ({})\n", plain::path(&d.path), human::bytes(d.bytes()))
            })
            .collect();
        for (path, why) in &plan.left_alone {
            text.push_str(&format!("left alone: {}: {why}\n", plain::path(path)));
        }
        if text.is_empty() {
            text.push_str("nothing would be deleted");
        }
        output.result(&json!({"deletions": told, "left_alone": alone}), text)
    }
}

impl History {
    fn unknown_store(&self) -> Error {
        Error::new(
            ErrorKind::NotFound,
            "nothing says which store this is: its data file cannot be read",
        )
        .at(&self.dir)
        .hint("Only the next backup of this store deletes archives. Restore the store first.")
    }
}

fn as_table(operations: &[Operation]) -> String {
    if operations.is_empty() {
        return "nothing was backed up yet".to_owned();
    }
    let mut table = Table::new([
        ("number", Align::Right),
        ("what", Align::Left),
        ("begun", Align::Left),
        ("took", Align::Right),
        ("status", Align::Left),
        ("access", Align::Left),
        ("longest wait", Align::Right),
        ("LSN", Align::Right),
        ("files", Align::Right),
        ("size", Align::Right),
        ("archive", Align::Left),
    ]);
    for operation in operations {
        let size: u64 = operation.backup_files.iter().map(|file| file.bytes).sum();
        let path = operation.backup_path.as_ref().or(operation.log_path.as_ref());
        let kept = !operation.backup_files.is_empty();
        let wait = Duration::from_micros(operation.longest_wait_micros);
        table.row([
            operation.backup_number.map_or(String::new(), |number| number.to_string()),
            kind(operation),
            human::time(operation.started),
            human::duration(Duration::from_micros(operation.duration_micros)),
            status(operation),
            operation.access.map_or(String::new(), |access| AccessName::of(access).to_owned()),
            operation.access.map_or(String::new(), |_| human::duration(wait)),
            operation.lsn.map_or(String::new(), human::count),
            if kept { human::count(operation.saved_files.len() as u64) } else { String::new() },
            if kept { human::bytes(size) } else { String::new() },
            path.map_or(String::new(), |path| path.display().to_string()),
        ]);
    }
    table.render()
}

fn kind(operation: &Operation) -> String {
    let name = match &operation.operation {
        OperationKind::Backup => "backup",
        OperationKind::IncrementalBackup => "incremental",
        OperationKind::Restore => "restore",
        OperationKind::Integration => "integration",
        OperationKind::Compaction => "compaction",
        OperationKind::Repair => "repair",
        OperationKind::Other(name) => name,
        _ => "",
    };
    match operation.origin {
        Some(Origin::Automatic) => format!("automatic {name}"),
        _ => name.to_owned(),
    }
}

fn status(operation: &Operation) -> String {
    match operation.status {
        OperationStatus::Complete => "complete".to_owned(),
        OperationStatus::Partial => format!("PARTIAL [{}]", operation.code),
        OperationStatus::Failed => format!("FAILED [{}]", operation.code),
    }
}
