//! `stillpoint export`: a table as rows, in key order.
//!
//! All of it belongs to one commit. The records are read twice: once to find the columns, once to
//! write them. A failed or stopped export leaves no file behind and an older one untouched
//! ([`output_file`]).

use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;
use stillpoint::{DynTable, Error};

use super::exit::{Failure, Outcome};
use super::output_file;
use super::rows::{self, Columns, Format, Layout, RowWriter};
use super::show::{Output, human, plain};
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
    /// The file to write, packed where its name ends in .zst; `-`, or nothing, for the standard
    /// output. A device or FIFO is written through, what a symbolic link points to is replaced, and a
    /// file keeps its mode and owner.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// The column that the key is written to.
    #[arg(long, value_name = "COLUMN")]
    key: Option<String>,
}

impl Export {
    pub(crate) fn run(&self, output: Output, stop: &Stop) -> Outcome {
        let file = self.output.as_deref().filter(|path| *path != Path::new("-"));
        let format = match (file, self.format) {
            (None, asked) => asked.unwrap_or(Format::Csv),
            (Some(path), asked) => Format::of(path, asked)?,
        };
        let read = stores::open_to_look(&self.store)?.begin_read()?;
        let table = stores::table(&read, &self.table)?;
        let Some(path) = file else {
            let layout = self.layout(&table, stop)?;
            let out = BufWriter::with_capacity(1 << 16, std::io::stdout().lock());
            return write_all(&table, out, format, layout, stop, &Failure::output).map(|_| ());
        };
        let failed = |cause| Failure::from(Error::io("write the file", path, cause));
        let records = output_file::write(path, |out| {
            let layout = self.layout(&table, stop)?;
            if !rows::is_packed(path) {
                return write_all(&table, out, format, layout, stop, &failed);
            }
            let mut packed = zstd::Encoder::new(out, 0).map_err(failed)?;
            packed.include_checksum(true).map_err(failed)?;
            let records = write_all(&table, &mut packed, format, layout, stop, &failed)?;
            packed.finish().map_err(failed)?;
            Ok(records)
        })?;
        output.result(
            &json!({"records": records, "file": path.display().to_string(), "lsn": read.lsn()}),
            format!("exported {} to {}", human::counted(records, "record"), plain::path(path)),
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
