//! `stillpoint tables`: what tables a store has.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;
use serde_json::{Value, json};
use stillpoint::{BackupHeader, ReadHandle, TablePaper};

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
        let read = stores::open_to_look(&self.store)?.begin_read()?;
        let tables = TableList::of(&read)?;
        output.result(&tables.as_json(), tables.as_text())
    }
}

/// Tables at one commit.
pub(crate) struct TableList(Vec<Listed>);

/// A table, its types, and how many records it has.
#[derive(Serialize)]
struct Listed {
    name: String,
    keys: String,
    values: String,
    records: u64,
}

impl TableList {
    /// The tables that `read` sees.
    pub(crate) fn of(read: &ReadHandle) -> Outcome<TableList> {
        let mut list = Vec::new();
        for table in read.tables()? {
            list.push(Listed {
                records: stores::table(read, &table.name)?.len()?,
                keys: table.key_type.to_string(),
                values: table.value_type.to_string(),
                name: table.name,
            });
        }
        Ok(TableList(list))
    }

    /// The tables that an archive says it contains, with the encodings that it names.
    pub(crate) fn of_archive(header: &BackupHeader) -> TableList {
        let listed = |table: TablePaper| Listed {
            name: table.name,
            keys: table.key_encoding,
            values: table.value_encoding,
            records: table.records,
        };
        TableList(header.tables.iter().cloned().map(listed).collect())
    }

    /// How many tables there are, and how many records in all.
    pub(crate) fn totals(&self) -> (u64, u64) {
        (self.0.len() as u64, self.0.iter().map(|table| table.records).sum())
    }

    pub(crate) fn as_json(&self) -> Value {
        json!(self.0)
    }

    pub(crate) fn as_text(&self) -> String {
        let columns = ["table", "keys", "values"].map(|name| (name, Align::Left));
        let mut text = Table::new(columns.into_iter().chain([("records", Align::Right)]));
        for table in &self.0 {
            text.row([&table.name, &table.keys, &table.values, &human::count(table.records)]);
        }
        text.render()
    }
}
