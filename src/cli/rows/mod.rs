//! Records as rows of a file: CSV and JSON lines, read and written.
//!
//! One rule keeps both directions honest: **nothing is guessed**. A cell of a CSV file is text and
//! stays text (`007`, `1e5` and `TRUE` come out as they went in); a JSON value keeps its type;
//! fields keep their order. Only the key column is looked at, because its type decides the order of
//! the table: see [`key`].
//!
//! A file that ends in `.zst` is unpacked as it is read and packed as it is written.

mod columns;
mod csv;
pub(crate) mod json;
mod key;
mod read;
mod write;

use std::path::Path;

use clap::ValueEnum;
use serde_json::{Map, Value};

pub(crate) use columns::{Columns, Layout};
pub(crate) use key::{AskedKeys, KeyKind, KeyScout, as_text, key_cell};
pub(crate) use read::{Bytes, Rows, read_from};
pub(crate) use write::RowWriter;

use super::exit::{Failure, Outcome};

/// The form of a file of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Comma-separated values with a header line.
    Csv,
    /// One JSON object a line.
    Jsonl,
}

/// One row: named values in the order of the file.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Row {
    /// The line of the file on which it begins, counted from 1.
    pub(crate) line: u64,
    /// Its fields.
    pub(crate) fields: Map<String, Value>,
    /// The columns of a CSV whose cell is empty and in quotes: empty text, where a bare one may be
    /// nothing at all.
    pub(crate) quoted_empty: Vec<String>,
}

impl Row {
    /// A row without fields that begins on `line`.
    pub(crate) fn new(line: u64) -> Row {
        Row { line, fields: Map::new(), quoted_empty: Vec::new() }
    }
}

/// Whether the name of a file says that it is packed with zstd.
pub(crate) fn is_packed(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("zst"))
}

impl Format {
    /// The format asked for, or else the one that the ending of `path` says.
    pub(crate) fn of(path: &Path, asked: Option<Format>) -> Outcome<Format> {
        if let Some(format) = asked {
            return Ok(format);
        }
        let name = path.file_name().map(|name| name.to_string_lossy().to_ascii_lowercase());
        let name = name.unwrap_or_default();
        let ending =
            name.strip_suffix(".zst").unwrap_or(&name).rsplit_once('.').map(|parts| parts.1);
        match ending {
            Some("csv") => Ok(Format::Csv),
            Some("jsonl" | "ndjson") => Ok(Format::Jsonl),
            _ => Err(Failure::wrong_use(
                format!("the name \"{}\" does not say its format", path.display()),
                "Name it with --format csv or --format jsonl.",
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ending_says_the_format_unless_one_is_asked_for() {
        let of = |name: &str| Format::of(Path::new(name), None).ok();
        assert_eq!(of("a.csv"), Some(Format::Csv));
        assert_eq!(of("A.CSV.ZST"), Some(Format::Csv));
        assert_eq!(of("x/b.jsonl"), Some(Format::Jsonl));
        assert_eq!(of("b.ndjson.zst"), Some(Format::Jsonl));
        assert_eq!(of("csv"), None);
        assert_eq!(of("data.txt"), None);
        assert_eq!(Format::of(Path::new("a.csv"), Some(Format::Jsonl)).ok(), Some(Format::Jsonl));
    }
}
