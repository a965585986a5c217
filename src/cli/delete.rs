//! `stillpoint delete`: one record, by its key.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::exit::Outcome;
use super::show::Output;
use super::stores;

/// Delete one record, which must be there.
///
/// The deletion is durable when the command ends.
#[derive(Debug, Args)]
pub(crate) struct Delete {
    /// The folder of the store.
    #[arg(value_name = "DIR")]
    store: PathBuf,
    /// The table.
    table: String,
    /// The key, as for `get`.
    #[arg(allow_negative_numbers = true)]
    key: String,
}

impl Delete {
    pub(crate) fn run(&self, output: Output) -> Outcome {
        let write = stores::open_to_write(&self.store)?.begin_write()?;
        let table = stores::table_to_write(&write, &self.table)?;
        if table.get(&self.key)?.is_none() {
            return Err(stores::no_record(&self.table, &self.key));
        }
        table.delete(&self.key)?;
        let lsn = write.commit()?.lsn;
        output.result(
            &json!({"key": self.key, "lsn": lsn}),
            format!("deleted {} from {} (LSN {lsn})", self.key, self.table),
        )
    }
}
