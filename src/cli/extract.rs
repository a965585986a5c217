//! `stillpoint extract`: a table or a record out of an archive into a store.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;
use stillpoint::Archive;

use super::exit::Outcome;
use super::keys::{ChainArgs, KeyArgs};
use super::show::{Output, damage, human};
use super::stop::Stop;
use super::stores;

/// Copy a table, or one record, out of an archive into a store that is there.
///
/// Of an incremental archive, those that it goes on from lie in the same folder. A table arrives whole
/// or not at all. A record replaces the one that is there.
#[derive(Debug, Args)]
pub(crate) struct Extract {
    /// The archive.
    archive: PathBuf,
    /// The folder of the store.
    #[arg(value_name = "DIR")]
    store: PathBuf,
    /// The table in the archive.
    table: String,
    /// The record's key, as its table's type has it; without it, the whole table.
    #[arg(allow_hyphen_values = true)]
    key: Option<String>,
    /// The name of the table in the store, if it is to be another one.
    #[arg(long = "as", value_name = "NAME", conflicts_with = "key")]
    as_name: Option<String>,
    /// Replace a table of that name.
    #[arg(long, conflicts_with = "key")]
    replace: bool,
    #[command(flatten)]
    chain: ChainArgs,
    #[command(flatten)]
    keys: KeyArgs,
}

impl Extract {
    pub(crate) fn run(&self, output: Output, stop: &Stop) -> Outcome {
        let archive = Archive::open_with(&self.archive, &self.keys.keys()?)?;
        let archive = self.chain.apply(archive);
        let store = stores::open_to_write(&self.store)?;
        let table = &*self.table;
        stop.check("Nothing was copied.")?;
        if let Some(key) = &self.key {
            archive.copy_record(&store, table, key)?;
            store.close()?;
            let repairs = archive.read_repairs();
            let damaged = damage::object(&repairs);
            let object = json!({ "table": table, "key": key, "records": 1, "damaged": damaged });
            let text = format!("copied record {key} of \"{table}\"{}", damage::text(&repairs));
            return output.result(&object, text);
        }
        let as_name = self.as_name.as_deref().unwrap_or(table);
        let copy = archive.copy_table(&store, table, as_name).replace(self.replace);
        let records = copy.on_progress(|_| stop.flow()).run()?;
        store.close()?;
        let repairs = archive.read_repairs();
        let damaged = damage::object(&repairs);
        let object = json!({ "table": as_name, "records": records, "damaged": damaged });
        let (records, damaged) = (human::counted(records, "record"), damage::text(&repairs));
        let text = format!("copied table \"{table}\" as \"{as_name}\": {records}{damaged}");
        output.result(&object, text)
    }
}
