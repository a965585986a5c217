//! `stillpoint restore-info`: what the last restore of a store did.
//!
//! It reads files alone: the store may be open elsewhere. Automatic restores stand in the store's own
//! state, those by hand in the history of its destination.

use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};
use stillpoint::disk::RealDisk;
use stillpoint::regime::{History, Operation, OperationKind, Origin, Outline, RestoreInfo as Info};
use stillpoint::{Error, ErrorKind};

use super::exit::Outcome;
use super::show::{Output, human, plain};

/// Tell what the last restores of a store did: the last automatic one, and the last by hand.
#[derive(Debug, Args)]
pub(crate) struct RestoreInfo {
    /// The folder of the store.
    dir: PathBuf,
}

impl RestoreInfo {
    pub(crate) fn run(&self, output: Output) -> Outcome {
        let disk = RealDisk::new();
        let automatic = Info::of(&*disk, &self.dir)?;
        let outline = Outline::of(&*disk, &self.dir)?;
        let operations = History::list(&*disk, &outline.destination, &outline.set);
        let operations = operations.or_else(none_where_there_is_none)?;
        let by_hand = operations.iter().rev().find(|operation| {
            operation.operation == OperationKind::Restore
                && operation.origin != Some(Origin::Automatic)
        });
        let object = json!({
            "automatic": automatic.as_ref().map(object),
            "by_hand": by_hand,
        });
        let mut text: Vec<String> = automatic.iter().map(line).collect();
        text.extend(by_hand.map(line_by_hand));
        if text.is_empty() {
            text.push("this store was never restored".to_owned());
        }
        output.result(&object, text.join("\n"))
    }
}

fn none_where_there_is_none(error: Error) -> Result<Vec<Operation>, Error> {
    match error.kind() {
        ErrorKind::NotFound => Ok(Vec::new()),
        _ => Err(error),
    }
}

fn object(info: &Info) -> Value {
    json!({
        "started": info.started,
        "archive": info.archive,
        "aside": info.aside,
        "commits_integrated": info.commits_integrated,
        "repaired": info.repaired,
        "code": info.status.code,
        "status": info.status.text,
    })
}

fn line(info: &Info) -> String {
    let archive = match &info.archive {
        Some(archive) => plain::path(archive),
        None => "no archive".to_owned(),
    };
    let mut text = format!(
        "automatic restore at {} from {archive}\n  {} of the log integrated, {} repaired: {}",
        human::time(info.started),
        human::counted(info.commits_integrated, "commit"),
        human::counted(info.repaired, "operation"),
        info.status.text,
    );
    if let Some(aside) = &info.aside {
        text.push_str(&format!("\n  the damaged store is kept as {}", plain::path(aside)));
    }
    text
}

fn line_by_hand(operation: &Operation) -> String {
    let archive = operation.backup_path.as_deref().map(plain::path);
    let lsn = operation.lsn.map(|lsn| format!(", LSN {}", human::count(lsn)));
    let error = match operation.code {
        0 => String::new(),
        _ => format!("\n  failed: {}", operation.error),
    };
    format!(
        "restore by hand at {} from {}{}{error}",
        human::time(operation.started),
        archive.unwrap_or_else(|| "no archive".to_owned()),
        lsn.unwrap_or_default(),
    )
}
