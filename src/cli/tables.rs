//! `stillpoint tables`: what tables a store has.

use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};
use stillpoint::{BackupHeader, ReadHandle};

use super::exit::Outcome;
use super::show::table::{Align, Table};
use super::show::{Output, human};
use super::stores;

/// List the tables of a store.
#[derive(Debug, Args)]
pub(crate) struct Tables {
    /// The folder of the store.
    #[arg(value_name = "DIR")]
    store: PathBuf,
}

impl Tables {
    pub(crate) fn run(&self, output: Output) -> Outcome {
        let read = stores::open(&self.store)?.begin_read()?;
        let tables = TableList::of(&read)?;
        output.result(&tables.as_json(), tables.as_text())
    }
}

/// The tables of a store at one commit, with how many records each has.
pub(crate) struct TableList(Vec<(String, String, String, u64)>);

impl TableList {
    pub(crate) fn of(read: &ReadHandle) -> Outcome<TableList> {
        let mut list = Vec::new();
        for table in read.tables()? {
            let records = stores::table(read, &table.name)?.len()?;
            let (keys, values) = (table.key_type.to_string(), table.value_type.to_string());
            list.push((table.name, keys, values, records));
        }
        Ok(TableList(list))
    }

    /// The tables that an archive says it contains, with the encodings that it names.
    pub(crate) fn of_archive(header: &BackupHeader) -> TableList {
        let tables = header.tables.iter().cloned();
        TableList(tables.map(|t| (t.name, t.key_encoding, t.value_encoding, t.records)).collect())
    }

    /// How many tables there are, and how many records in all.
    pub(crate) fn totals(&self) -> (u64, u64) {
        (self.0.len() as u64, self.0.iter().map(|table| table.3).sum())
    }

    pub(crate) fn as_json(&self) -> Value {
        let object = |(name, keys, values, records): &(String, String, String, u64)| json!({"name": name, "keys": keys, "values": values, "records": records});
        self.0.iter().map(object).collect()
    }

    pub(crate) fn as_text(&self) -> String {
        let columns = ["table", "keys", "values"].map(|name| (name, Align::Left));
        let mut text = Table::new(columns.into_iter().chain([("records", Align::Right)]));
        for (name, keys, values, records) in &self.0 {
            text.row([name, keys, values, &human::count(*records)]);
        }
        text.render()
    }
}
