//! Operations of a log as a person reads them, one a line.

use std::borrow::Cow;

use serde_json::Value;
use stillpoint::{LogAction, LogCommit, LogOperation};

use super::select;
use crate::cli::point::shown;

/// One operation: commit, time, what was done to which record of which table, and by whom.
pub(super) fn line(commit: &LogCommit, operation: &LogOperation) -> String {
    let table = match &operation.description {
        Some(table) => Cow::from(&*table.name),
        None => Cow::from(format!("table {}", operation.table)),
    };
    let (time, word) = (shown(commit.time), word(operation.action));
    let mut text = format!("{:>8}  {time}  {word:<8}  {table}", commit.lsn);
    if operation.is_of_record() {
        text.push_str(&format!("  {}", as_typed(operation.key_json())));
    }
    if let Some(value) = operation.value_json() {
        text.push_str(&format!("  {value}"));
    }
    let who = |name| select::of(commit, name).filter(|who| !who.is_empty());
    match (who("user"), who("host")) {
        (Some(user), Some(host)) => text.push_str(&format!("  by {user}@{host}")),
        (Some(name), None) | (None, Some(name)) => text.push_str(&format!("  by {name}")),
        (None, None) => {}
    }
    if let Some(task) = who("task") {
        text.push_str(&format!(" ({task})"));
    }
    text
}

fn word(action: LogAction) -> &'static str {
    match action {
        LogAction::Create => "created",
        LogAction::Modify => "modified",
        LogAction::Put => "put",
        LogAction::Delete => "deleted",
        LogAction::DefineTable => "defined",
        LogAction::DropTable => "dropped",
    }
}

/// A key as it is typed: text without quotes.
fn as_typed(key: Value) -> String {
    match key {
        Value::String(text) => text,
        other => other.to_string(),
    }
}
