//! Reading a file of rows.
//!
//! A reader goes forward only, holds one row, and names the line of anything that is not right.
//! What a row may take is bounded: by [`LINE_LIMIT`] for JSON lines, by [`csv`] for the rest.

use std::collections::HashSet;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::Value;
use stillpoint::{Error, ErrorKind};

use super::csv::{self, Fault};
use super::{Format, Row, is_packed, json};
use crate::cli::exit::{Failure, Outcome};

/// The longest line of JSON that is read: more than any value of a store may have.
const LINE_LIMIT: u64 = 1 << 30;

/// How many bytes of a file have been read; shared with whoever shows the progress.
#[derive(Clone, Debug, Default)]
pub(crate) struct Bytes(Arc<AtomicU64>);

impl Bytes {
    /// The bytes read until now, as they lie on the disk.
    pub(crate) fn read(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

struct Counted<R> {
    inner: R,
    bytes: Bytes,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.bytes.0.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

/// The rows of a file, in its order. After an error there are no more.
pub(crate) struct Rows {
    path: PathBuf,
    source: Source,
}

enum Source {
    Csv { reader: csv::Reader<Box<dyn BufRead>>, names: Vec<String> },
    Jsonl { reader: Box<dyn BufRead>, line: u64, text: Vec<u8> },
    Ended,
}

impl Rows {
    /// Opens the file at `path`; `bytes` counts what is read of it.
    pub(crate) fn open(path: &Path, format: Format, bytes: &Bytes) -> Outcome<Rows> {
        let kind = std::fs::metadata(path).map_err(|e| Error::io("look at the file", path, e))?;
        if !kind.is_file() {
            return Err(Error::new(
                ErrorKind::Invalid,
                "rows are read from a file, and this is none",
            )
            .at(path)
            .hint("It is read twice: save what comes from a pipe to a file first.")
            .into());
        }
        let file = File::open(path).map_err(|cause| Error::io("open the file", path, cause))?;
        let counted = Counted { inner: file, bytes: bytes.clone() };
        let reader: Box<dyn BufRead> = if is_packed(path) {
            let unpacked = zstd::Decoder::new(counted)
                .map_err(|cause| Error::io("unpack the file", path, cause))?;
            Box::new(BufReader::new(unpacked))
        } else {
            Box::new(BufReader::with_capacity(1 << 17, counted))
        };
        read_from(reader, path, format)
    }
}

/// The rows that `reader` brings; `path` is what errors call it.
pub(crate) fn read_from(
    mut reader: Box<dyn BufRead>,
    path: &Path,
    format: Format,
) -> Outcome<Rows> {
    skip_byte_order_mark(&mut reader, path)?;
    let source = match format {
        Format::Csv => {
            let mut reader = csv::Reader::new(reader);
            let told = |fault| csv_failure(path, fault);
            reader.read().map_err(told)?;
            let names: Result<Vec<String>, Fault> =
                reader.cells().map(|cell| cell.map(|cell| cell.text.to_owned())).collect();
            let names = names.map_err(told)?;
            check_names(path, reader.row_line(), &names)?;
            Source::Csv { reader, names }
        }
        Format::Jsonl => Source::Jsonl { reader, line: 0, text: Vec::new() },
    };
    Ok(Rows { path: path.to_path_buf(), source })
}

fn skip_byte_order_mark(reader: &mut dyn BufRead, path: &Path) -> Outcome {
    let start = reader.fill_buf().map_err(|cause| Error::io("read the file", path, cause))?;
    if start.starts_with(b"\xFF\xFE") || start.starts_with(b"\xFE\xFF") {
        return Err(bad(path, 1, "the file is UTF-16", "Convert the file to UTF-8 first."));
    }
    if start.starts_with(b"\xEF\xBB\xBF") {
        reader.consume(3);
    }
    Ok(())
}

fn check_names(path: &Path, line: u64, names: &[String]) -> Outcome {
    if names.is_empty() {
        return Err(bad(path, 1, "there is no header line", "The first line names the columns."));
    }
    let mut seen = HashSet::new();
    match names.iter().find(|name| !seen.insert(*name)) {
        None => Ok(()),
        Some(name) => Err(bad(
            path,
            line,
            &format!("the header names the column \"{name}\" twice"),
            "Give each column a name of its own.",
        )),
    }
}

impl Iterator for Rows {
    type Item = Outcome<Row>;

    fn next(&mut self) -> Option<Outcome<Row>> {
        let next = match &mut self.source {
            Source::Csv { reader, names } => next_csv(&self.path, reader, names),
            Source::Jsonl { reader, line, text } => next_jsonl(&self.path, reader, line, text),
            Source::Ended => None,
        };
        if !matches!(next, Some(Ok(_))) {
            self.source = Source::Ended;
        }
        next
    }
}

fn next_csv(
    path: &Path,
    reader: &mut csv::Reader<Box<dyn BufRead>>,
    names: &[String],
) -> Option<Outcome<Row>> {
    match reader.read() {
        Ok(false) => None,
        Ok(true) => Some(csv_row(path, reader, names)),
        Err(fault) => Some(Err(csv_failure(path, fault))),
    }
}

fn csv_row(path: &Path, reader: &csv::Reader<Box<dyn BufRead>>, names: &[String]) -> Outcome<Row> {
    let mut row = Row::new(reader.row_line());
    if reader.len() != names.len() {
        let what = format!("the row has {} cells and the header {}", reader.len(), names.len());
        let hint = "Every row has as many cells as the header; a comma inside a cell needs quotes.";
        return Err(bad(path, row.line, &what, hint));
    }
    for (name, cell) in names.iter().zip(reader.cells()) {
        let cell = cell.map_err(|fault| csv_failure(path, fault))?;
        if cell.quoted && cell.text.is_empty() {
            row.quoted_empty.push(name.clone());
        }
        row.fields.insert(name.clone(), Value::String(cell.text.to_owned()));
    }
    Ok(row)
}

fn csv_failure(path: &Path, fault: Fault) -> Failure {
    match fault {
        Fault::Io(cause) => Error::io("read the file", path, cause).into(),
        Fault::Bad { line, what, hint } => bad(path, line, &what, hint),
    }
}

fn next_jsonl(
    path: &Path,
    reader: &mut dyn BufRead,
    line: &mut u64,
    text: &mut Vec<u8>,
) -> Option<Outcome<Row>> {
    loop {
        text.clear();
        *line += 1;
        match reader.take(LINE_LIMIT).read_until(b'\n', text) {
            Ok(0) => return None,
            Ok(_) if text.iter().all(u8::is_ascii_whitespace) => {}
            Ok(read) if read as u64 == LINE_LIMIT => {
                return Some(Err(bad(path, *line, "the line is too long", "1 GiB is the limit.")));
            }
            Ok(_) => return Some(json_row(path, *line, text)),
            Err(cause) => return Some(Err(Error::io("read the file", path, cause).into())),
        }
    }
}

fn json_row(path: &Path, line: u64, text: &[u8]) -> Outcome<Row> {
    let message = format!("line {line} is not one JSON object");
    let refuse = |message: String| Error::new(ErrorKind::Invalid, message).at(path);
    match json::parse(text) {
        Ok(Value::Object(fields)) => Ok(Row { fields, ..Row::new(line) }),
        Ok(_) => Err(refuse(message).hint("JSON lines have one whole object on each line.").into()),
        // What has advice of its own is JSON, but none that can be kept.
        Err(error) => Err(match error.advice() {
            Some(advice) => refuse(format!("line {line}: {}", error.message())).hint(advice),
            None => refuse(message)
                .because(error)
                .hint("JSON lines have one whole object on each line."),
        }
        .into()),
    }
}

fn bad(path: &Path, line: u64, message: &str, hint: &str) -> Failure {
    Error::new(ErrorKind::Invalid, format!("line {line}: {message}")).at(path).hint(hint).into()
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use serde_json::{Map, json};

    use super::*;
    use crate::cli::exit::Exit;

    fn rows(text: impl Into<Vec<u8>>, format: Format) -> Result<Vec<Row>, String> {
        let reader = Box::new(Cursor::new(text.into()));
        let told = |failure| match failure {
            Failure::Error(error) => error.message().to_owned(),
            other => panic!("{other:?}"),
        };
        let rows = read_from(reader, Path::new("rows"), format).map_err(told)?;
        rows.collect::<Outcome<Vec<Row>>>().map_err(told)
    }

    fn object(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn csv_cells_stay_text_whatever_they_look_like() {
        let rows = rows("zip,n,t\n007,1e5,TRUE\n\"a,\"\"b\n\",,x\n", Format::Csv).unwrap();
        let first = object(json!({"zip": "007", "n": "1e5", "t": "TRUE"}));
        assert_eq!(rows[0], Row { fields: first, ..Row::new(2) });
        assert_eq!(rows[1].fields, object(json!({"zip": "a,\"b\n", "n": "", "t": "x"})));
        assert_eq!(rows.len(), 2);
    }

    #[test]
    fn json_values_keep_their_type_and_fields_their_order() {
        let text = "{\"z\":1,\"a\":[null,2.5],\"m\":\"007\"}\n\n  \n{\"k\":true}";
        let rows = rows(text, Format::Jsonl).unwrap();
        assert_eq!(rows[0].fields.keys().collect::<Vec<_>>(), ["z", "a", "m"]);
        assert_eq!(rows[0].fields["m"], json!("007"));
        assert_eq!(rows[1], Row { fields: object(json!({"k": true})), ..Row::new(4) });
    }

    #[test]
    fn a_byte_order_mark_is_no_part_of_the_first_name() {
        let rows = rows("\u{feff}id,x\n1,2\n", Format::Csv).unwrap();
        assert!(rows[0].fields.contains_key("id"));
    }

    #[test]
    fn what_is_not_right_is_told_with_its_line() {
        let told = |text: &[u8], format| rows(text, format).unwrap_err();
        assert_eq!(
            told(b"a,b\n1,2\n3\n", Format::Csv),
            "line 3: the row has 1 cells and the header 2"
        );
        assert_eq!(told(b"a,b\n1,\xff\n", Format::Csv), "line 2: cell 2 of the row is not UTF-8");
        assert_eq!(told(b"a,a\n", Format::Csv), "line 1: the header names the column \"a\" twice");
        assert_eq!(told(b"", Format::Csv), "line 1: there is no header line");
        assert_eq!(told(b"{}\n[1]\n", Format::Jsonl), "line 2 is not one JSON object");
        assert_eq!(told(b"{\"a\":1", Format::Jsonl), "line 1 is not one JSON object");
        assert_eq!(
            told(b"{\"a\":1}\n{\"a\":1,\"a\":2}\n", Format::Jsonl),
            "line 2: the name \"a\" stands twice in one object"
        );
        assert_eq!(told(b"\xff\xfei\0", Format::Csv), "line 1: the file is UTF-16");
        assert_eq!(
            told(b"a,b\n1,\"x\n", Format::Csv),
            "line 2: the quote that opens cell 2 is never closed"
        );
    }

    #[test]
    fn deep_json_is_refused_and_does_not_exhaust_the_stack() {
        let deep = format!("{{\"a\":{}", "[".repeat(1_000_000));
        let told = "line 1: the value nests deeper than 127 levels";
        assert_eq!(rows(deep, Format::Jsonl).unwrap_err(), told);
    }

    #[test]
    fn there_are_no_rows_after_an_error() {
        let text = Box::new(Cursor::new("nonsense\n{\"a\":1}\n"));
        let mut rows = read_from(text, Path::new("rows"), Format::Jsonl).unwrap();
        assert!(rows.next().unwrap().is_err());
        assert!(rows.next().is_none());
    }

    #[test]
    fn a_packed_file_is_unpacked_and_its_packed_bytes_are_counted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows.csv.zst");
        let packed = zstd::encode_all("id\n1\n2\n".as_bytes(), 3).unwrap();
        std::fs::write(&path, &packed).unwrap();
        let bytes = Bytes::default();
        let rows = Rows::open(&path, Format::Csv, &bytes).unwrap();
        assert_eq!(rows.map(|row| row.is_ok()).collect::<Vec<_>>(), [true, true]);
        assert_eq!(bytes.read(), packed.len() as u64);
    }

    #[test]
    fn a_missing_file_and_a_folder_are_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let exit =
            |path: &Path| Rows::open(path, Format::Csv, &Bytes::default()).err().unwrap().exit();
        assert_eq!(exit(&folder.path().join("none.csv")), Exit::NotThere);
        assert_eq!(exit(folder.path()), Exit::WrongUse);
    }
}
