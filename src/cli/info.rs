//! `stillpoint info`: what a store or an archive is.

use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};
use stillpoint::{Archive, BackupStatus};

use super::backup::AccessName;
use super::exit::Outcome;
use super::keys::KeyArgs;
use super::show::{Output, human, plain};
use super::stores;
use super::tables::TableList;

/// Tell what a store or an archive is and contains.
#[derive(Debug, Args)]
pub(crate) struct Info {
    /// The folder of a store, or an archive.
    #[arg(value_name = "DIR|ARCHIVE")]
    what: PathBuf,
    #[command(flatten)]
    keys: KeyArgs,
}

impl Info {
    pub(crate) fn run(&self, output: Output) -> Outcome {
        match self.what.is_dir() {
            true => self.store(output),
            false => self.archive(output),
        }
    }

    fn store(&self, output: Output) -> Outcome {
        let store = stores::open_to_look(&self.what)?;
        let read = store.begin_read()?;
        let list = TableList::of(&read)?;
        let (tables, records) = list.totals();
        let stats = store.stats().engine;
        let object = json!({
            "kind": "store",
            "path": store.path().display().to_string(),
            "read_only": store.is_read_only(),
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
        let read_only = match store.is_read_only() {
            true => "\n  read only: its folder cannot be written",
            false => "",
        };
        let text = format!(
            "store {}{read_only}\n  {} in {}\n  newest commit: LSN {}; newest checkpoint: number {}, \
             LSN {}\n  data file: {}, of which {} free\n\n{}",
            plain::path(store.path()),
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

    /// What the archive's papers say: nothing is unpacked for it.
    fn archive(&self, output: Output) -> Outcome {
        let archive = Archive::open_with(&self.what, &self.keys.keys()?)?;
        let (header, results) = (archive.header(), archive.results());
        let list = TableList::of_archive(header);
        let (tables, records) = list.totals();
        let files: Vec<Value> =
            archive.files().map(|(path, bytes)| json!({"path": path, "bytes": bytes})).collect();
        let object = json!({
            "kind": "archive",
            "path": archive.path().display().to_string(),
            "bytes": archive.bytes(),
            "tables": tables,
            "records": records,
            "header": header,
            "results": results,
            "files": files,
            "contents": list.as_json(),
        });
        let goes_on = header.parent.as_ref().map_or(String::new(), |parent| {
            format!("\n  incremental: it takes {}[{:04}] too", parent.set, parent.number)
        });
        let text = format!(
            "archive {}\n  backup {}, {}, made with access {}{goes_on}\n  the store at LSN {}: {} in \
             {}\n  {} packed to {}, in {}\n\n{}",
            plain::path(archive.path()),
            header.number,
            if results.status == BackupStatus::Complete { "complete" } else { "PARTIAL" },
            AccessName::of(header.access),
            human::count(header.lsn),
            human::counted(records, "record"),
            human::counted(tables, "table"),
            human::bytes(header.source_bytes),
            human::bytes(archive.bytes()),
            human::counted(files.len() as u64, "file"),
            list.as_text(),
        );
        output.result(&object, text)
    }
}
