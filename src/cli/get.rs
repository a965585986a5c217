//! `stillpoint get`: one record, by its key.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::exit::Outcome;
use super::show::Output;
use super::stores;

/// Print the value of one record.
#[derive(Debug, Args)]
pub(crate) struct Get {
    /// The folder of the store.
    #[arg(value_name = "DIR")]
    store: PathBuf,
    /// The table.
    table: String,
    /// The key: a number, text, hexadecimal bytes, or JSON for a compound key.
    #[arg(allow_negative_numbers = true)]
    key: String,
}

impl Get {
    pub(crate) fn run(&self, output: Output) -> Outcome {
        let read = stores::open_to_look(&self.store)?.begin_read()?;
        let value = stores::table(&read, &self.table)?
            .get(&self.key)?
            .ok_or_else(|| stores::no_record(&self.table, &self.key))?;
        let text = value.to_string();
        output.result(&json!({"key": self.key, "value": value}), text)
    }
}
