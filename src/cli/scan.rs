//! `stillpoint scan`: records in key order, to look at.
//!
//! A person gets a table whose columns are the fields of the first [`HEAD`] records; a program gets
//! one object a line, as the records come, however many there are.

use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};
use stillpoint::{DynRange, DynTable};

use super::exit::Outcome;
use super::rows::as_text;
use super::show::Output;
use super::show::table::{Align, Table};
use super::stop::Stop;
use super::stores;

/// Records that a person's table is laid out for at a time.
const HEAD: usize = 1_000;
/// The widest cell of it.
const WIDEST: usize = 32;

/// Print records in the order of their keys.
#[derive(Debug, Args)]
pub(crate) struct Scan {
    /// The folder of the store.
    #[arg(value_name = "DIR")]
    store: PathBuf,
    /// The table.
    table: String,
    /// Begin at this key.
    #[arg(long, value_name = "KEY", allow_negative_numbers = true)]
    from: Option<String>,
    /// End with this key, included.
    #[arg(long, value_name = "KEY", allow_negative_numbers = true)]
    to: Option<String>,
    /// Print at most so many records.
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
}

impl Scan {
    pub(crate) fn run(&self, output: Output, stop: &Stop) -> Outcome {
        let read = stores::open_to_look(&self.store)?.begin_read()?;
        let table = stores::table(&read, &self.table)?;
        let mut records = self.records(&table)?;
        let mut left = self.limit.unwrap_or(u64::MAX);
        let mut out = output.stream();
        while left > 0 {
            let batch = left.min(HEAD as u64);
            let page = next_page(&mut records, batch)?;
            left -= page.len() as u64;
            match output.json {
                true => page.iter().try_for_each(|(_, key, value)| {
                    out.line(&json!({"key": key, "value": value}).to_string())
                })?,
                false if page.is_empty() => {}
                false => out.lines(as_table(&page).trim_end_matches('\n'))?,
            }
            if (page.len() as u64) < batch {
                break;
            }
            stop.check("What is printed is all that was read.")?;
        }
        out.end()
    }

    fn records<'h>(&self, table: &DynTable<'h>) -> Outcome<DynRange<'h>> {
        let keys = &table.description().key_type;
        let encode = |text: &Option<String>| text.as_ref().map(|key| keys.encode_text(key));
        let from = encode(&self.from).transpose()?.map(|key| key.to_vec());
        // The least bytes after a key are the key and a zero.
        let after = encode(&self.to).transpose()?.map(|key| [&key[..], &[0]].concat());
        Ok(table.range_raw(from.as_deref(), after.as_deref())?)
    }
}

/// A record: its key as text and as JSON, its value.
type Shown = (String, Value, Value);

fn next_page(records: &mut DynRange<'_>, limit: u64) -> Outcome<Vec<Shown>> {
    let mut page = Vec::new();
    while (page.len() as u64) < limit {
        let Some(record) = records.next().transpose()? else { break };
        page.push((record.key_text()?, record.key_json()?, record.value_json()?));
    }
    Ok(page)
}

fn as_table(page: &[Shown]) -> String {
    let mut names: Vec<&str> = Vec::new();
    for (_, _, value) in page {
        for name in value.as_object().into_iter().flat_map(|fields| fields.keys()) {
            if !names.contains(&name.as_str()) {
                names.push(name);
            }
        }
    }
    let plain = page.iter().any(|(_, _, value)| !value.is_object());
    let columns = ["KEY"].into_iter().chain(names.iter().copied()).chain(plain.then_some("VALUE"));
    let mut table = Table::new(columns.map(|name| (name, Align::Left))).cells_up_to(WIDEST);
    for (key, _, value) in page {
        let field = |name: &&str| value.get(*name).map(as_text).unwrap_or_default();
        let rest = if value.is_object() { String::new() } else { as_text(value) };
        table.row(
            [key.clone()].into_iter().chain(names.iter().map(field)).chain(plain.then_some(rest)),
        );
    }
    table.render()
}
