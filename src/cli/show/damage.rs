//! Archives that were read in spite of damage: named after the result of every command that reads one.

use serde_json::{Value, json};
use stillpoint::ReadRepair;

/// A line for each.
pub(crate) fn text(repairs: &[ReadRepair]) -> String {
    repairs.iter().map(|repair| format!("\n  damaged: {repair}")).collect()
}

/// The same for a program.
pub(crate) fn object(repairs: &[ReadRepair]) -> Value {
    let one = |repair: &ReadRepair| json!({ "archive": repair.archive.display().to_string(), "blocks": repair.blocks });
    repairs.iter().map(one).collect()
}
