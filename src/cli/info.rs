//! `stillpoint info`: what a store or an archive is.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::exit::Outcome;
use super::show::{Output, human};
use super::stores;
use super::tables::TableList;

/// Tell what a store or an archive is and contains.
#[derive(Debug, Args)]
pub(crate) struct Info {
    /// The folder of a store, or an archive.
    #[arg(value_name = "DIR|ARCHIVE")]
    what: PathBuf,
}

impl Info {
    pub(crate) fn run(&self, output: Output) -> Outcome {
        let store = stores::open(&self.what)?;
        let read = store.begin_read()?;
        let list = TableList::of(&read)?;
        let (tables, records) = list.totals();
        let stats = store.stats().engine;
        let object = json!({
            "kind": "store",
            "path": store.path().display().to_string(),
            "lsn": read.lsn(),
            "durable_lsn": stats.durable_lsn,
            "checkpoint_lsn": stats.checkpoint_lsn,
            "checkpoint": stats.checkpoint,
            "tables": tables,
            "records": records,
            "data_file_bytes": stats.data_file_bytes,
            "free_bytes": stats.free_bytes,
            "contents": list.as_json(),
        });
        let text = format!(
            "store {}\n  {} in {}\n  newest commit: LSN {}; newest checkpoint: number {}, LSN {}\n  \
             data file: {}, of which {} free\n\n{}",
            store.path().display(),
            human::counted(records, "record"),
            human::counted(tables, "table"),
            human::count(read.lsn()),
            human::count(stats.checkpoint),
            human::count(stats.checkpoint_lsn),
            human::bytes(stats.data_file_bytes),
            human::bytes(stats.free_bytes),
            list.as_text(),
        );
        output.result(&object, text)
    }
}
