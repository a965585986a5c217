//! `stillpoint export`: a table as rows, in key order.
//!
//! All of it belongs to one commit. The records are read twice: once to find the columns, once to
//! write them. A file is written under another name and renamed when it is whole, so that a failed
//! or stopped export leaves nothing behind and an older file untouched.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;
use stillpoint::{DynTable, Error};

use super::exit::{Failure, Outcome};
use super::rows::{Columns, Format, Layout, RowWriter};
use super::show::{Output, human};
use super::stop::Stop;
use super::stores;

/// Records between two looks at the Stop button.
const STEP: u64 = 1_000;

/// Write a table as CSV or JSON lines, in the order of its keys.
///
/// The columns of a CSV are all fields that occur. Where no field says the key in every record, the
/// key gets a column of its own.
#[derive(Debug, Args)]
pub(crate) struct Export {
    /// The folder of the store.
    #[arg(value_name = "DIR")]
    store: PathBuf,
    /// The table.
    table: String,
    /// The format; if not given, as the name of FILE says, or CSV.
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// The file to write; if not given, the standard output.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// The column that the key is written to.
    #[arg(long, value_name = "COLUMN")]
    key: Option<String>,
}

impl Export {
    pub(crate) fn run(&self, output: Output, stop: &Stop) -> Outcome {
        let format = match (&self.output, self.format) {
            (None, asked) => asked.unwrap_or(Format::Csv),
            (Some(path), asked) => Format::of(path, asked)?,
        };
        let read = stores::open(&self.store)?.begin_read()?;
        let table = stores::table(&read, &self.table)?;
        let layout = self.layout(&table, stop)?;
        let Some(path) = &self.output else {
            let out = BufWriter::with_capacity(1 << 16, std::io::stdout().lock());
            return write_all(&table, out, format, layout, stop, &Failure::output).map(|_| ());
        };
        let records = write_file(path, |out| {
            let told = |cause| Error::io("write the file", path, cause).into();
            write_all(&table, out, format, layout, stop, &told)
        })?;
        output.result(
            &json!({"records": records, "file": path.display().to_string(), "lsn": read.lsn()}),
            format!("exported {} to {}", human::counted(records, "record"), path.display()),
        )
    }

    fn layout(&self, table: &DynTable<'_>, stop: &Stop) -> Outcome<Layout> {
        let mut columns = Columns::default();
        for (at, record) in (0..).zip(table.iter()?) {
            check(stop, at)?;
            let record = record?;
            columns.see(&record.key_json()?, &record.value_json()?);
        }
        columns.layout(self.key.as_deref())
    }
}

fn check(stop: &Stop, at: u64) -> Outcome {
    match at.is_multiple_of(STEP) {
        true => stop.check("No file was written."),
        false => Ok(()),
    }
}

/// Writes every record of `table` to `out`, and tells how many.
fn write_all<W: Write>(
    table: &DynTable<'_>,
    out: W,
    format: Format,
    layout: Layout,
    stop: &Stop,
    told: &dyn Fn(std::io::Error) -> Failure,
) -> Outcome<u64> {
    let mut writer = RowWriter::begin(out, format, layout).map_err(told)?;
    let mut records = 0;
    for record in table.iter()? {
        check(stop, records)?;
        let record = record?;
        writer.write(&record.key_json()?, record.value_json()?).map_err(told)?;
        records += 1;
    }
    writer.end().and_then(|mut out| out.flush()).map_err(told)?;
    Ok(records)
}

/// Lets `write` fill a new file that gets the name `path` when it is whole and synced.
fn write_file<T>(path: &Path, write: impl FnOnce(BufWriter<&File>) -> Outcome<T>) -> Outcome<T> {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(format!(".{}.part", std::process::id()));
    let part = path.with_file_name(name);
    let file =
        File::create_new(&part).map_err(|cause| Error::io("create the file", &part, cause))?;
    let written = write(BufWriter::with_capacity(1 << 16, &file)).and_then(|result| {
        file.sync_all().map_err(|cause| Error::io("sync the file", &part, cause))?;
        std::fs::rename(&part, path).map_err(|cause| Error::io("name the file", path, cause))?;
        Ok(result)
    });
    if written.is_err() {
        std::fs::remove_file(&part).map_err(|cause| Error::io("remove the part", &part, cause))?;
    }
    written
}
