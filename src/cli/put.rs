//! `stillpoint put`: one record, written.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::exit::Outcome;
use super::rows::json;
use super::show::Output;
use super::stores;

/// Write one record into a table that is there.
///
/// The record is durable when the command ends.
#[derive(Debug, Args)]
pub(crate) struct Put {
    /// The folder of the store.
    #[arg(value_name = "DIR")]
    store: PathBuf,
    /// The table.
    table: String,
    /// The key, as for `get`.
    #[arg(allow_negative_numbers = true)]
    key: String,
    /// The value, as JSON: '{"name": "Orly"}', 42, '"text"'.
    #[arg(value_name = "JSON", allow_negative_numbers = true)]
    value: String,
}

impl Put {
    pub(crate) fn run(&self, output: Output) -> Outcome {
        let value = json::parse(self.value.as_bytes()).map_err(|error| match error.advice() {
            Some(_) => error,
            None => error.hint("Text needs quotes of its own: '\"text\"'."),
        })?;
        let write = stores::open_to_write(&self.store)?.begin_write()?;
        let table = stores::table_to_write(&write, &self.table)?;
        let replaced = table.get(&self.key)?.is_some();
        table.put(&self.key, &value)?;
        let lsn = write.commit()?.lsn;
        let verb = if replaced { "replaced" } else { "added" };
        output.result(
            &json!({"key": self.key, "replaced": replaced, "lsn": lsn}),
            format!("{verb} {} in {} (LSN {lsn})", self.key, self.table),
        )
    }
}
