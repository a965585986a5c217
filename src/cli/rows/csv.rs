//! CSV as RFC 4180 has it, read and written.
//!
//! The reader is strict about quotes, because a wrong one swallows rows without a word: a quoted cell
//! ends with its closing quote, after which a comma, the end of the row or the end of the file comes;
//! a file that ends within a quoted cell is cut. A quote within a cell that does not begin with one is
//! text. Rows end with LF, CRLF or CR; a line with nothing in it is no row.
//!
//! Invariants: what is written is read back as it was, byte for byte. A row takes at most
//! [`ROW_LIMIT`] bytes and has at most [`CELL_LIMIT`] cells, so a file cannot take all memory.

use std::io::{BufRead, Error, Write};

/// The longest row that is read: more than any value of a store may have.
const ROW_LIMIT: usize = 1 << 30;
/// The most cells of a row.
const CELL_LIMIT: usize = 1 << 20;

/// Why a row cannot be read.
#[derive(Debug)]
pub(super) enum Fault {
    /// The file cannot be read.
    Io(Error),
    /// The file is no CSV, in this line.
    Bad { line: u64, what: String, hint: &'static str },
}

impl From<Error> for Fault {
    fn from(cause: Error) -> Fault {
        Fault::Io(cause)
    }
}

/// A cell of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cell<'r> {
    pub(super) text: &'r str,
    /// Whether it stood in quotes.
    pub(super) quoted: bool,
}

/// Where the reader is in a row.
#[derive(Clone, Copy, PartialEq, Eq)]
enum At {
    /// Before the first byte of a cell.
    Start,
    /// In a cell without quotes.
    Plain,
    /// In a cell in quotes.
    Quoted,
    /// After a quote in a quoted cell: it ends, or the quote is doubled.
    Quote,
}

/// The rows of a CSV, one after another.
pub(super) struct Reader<R> {
    input: R,
    /// The line of the next byte, counted from 1.
    line: u64,
    /// Whether the last byte was a CR, which a LF may follow in the same end of a line.
    after_cr: bool,
    at: At,
    /// The line in which the row begins.
    row: u64,
    /// The line in which the quoted cell begins.
    opened: u64,
    bytes: Vec<u8>,
    /// For each cell: where it ends in `bytes`, and whether it is quoted.
    ends: Vec<(usize, bool)>,
}

impl<R: BufRead> Reader<R> {
    pub(super) fn new(input: R) -> Reader<R> {
        Reader {
            input,
            line: 1,
            after_cr: false,
            at: At::Start,
            row: 1,
            opened: 1,
            bytes: Vec::new(),
            ends: Vec::new(),
        }
    }

    /// Reads the next row; false at the end of the file.
    pub(super) fn read(&mut self) -> Result<bool, Fault> {
        self.bytes.clear();
        self.ends.clear();
        self.at = At::Start;
        loop {
            let buffer = self.input.fill_buf();
            let buffer = match buffer {
                Err(cause) if cause.kind() == std::io::ErrorKind::Interrupted => continue,
                buffer => buffer?,
            };
            if buffer.is_empty() {
                return self.end_of_file();
            }
            // The state is taken out of `self`, of which `buffer` is a part.
            let mut state = State {
                line: &mut self.line,
                after_cr: &mut self.after_cr,
                at: &mut self.at,
                row: &mut self.row,
                opened: &mut self.opened,
                bytes: &mut self.bytes,
                ends: &mut self.ends,
            };
            let mut used = 0;
            let mut ended = false;
            for byte in buffer {
                used += 1;
                if state.take(*byte)? {
                    ended = true;
                    break;
                }
            }
            self.input.consume(used);
            if ended {
                return Ok(true);
            }
        }
    }

    fn end_of_file(&mut self) -> Result<bool, Fault> {
        match self.at {
            At::Quoted => Err(Fault::Bad {
                line: self.opened,
                what: format!("the quote that opens cell {} is never closed", self.ends.len() + 1),
                hint: "The quote is one too many, or the file is cut: see that it is whole.",
            }),
            At::Start if self.ends.is_empty() => Ok(false),
            at => {
                self.ends.push((self.bytes.len(), at == At::Quote));
                self.at = At::Start;
                Ok(true)
            }
        }
    }

    /// The line in which the row begins.
    pub(super) fn row_line(&self) -> u64 {
        self.row
    }

    /// How many cells the row has.
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// The cells of the row.
    pub(super) fn cells(&self) -> impl Iterator<Item = Result<Cell<'_>, Fault>> {
        let mut begin = 0;
        self.ends.iter().enumerate().map(move |(at, &(end, quoted))| {
            let bytes = &self.bytes[begin..end];
            begin = end;
            match std::str::from_utf8(bytes) {
                Ok(text) => Ok(Cell { text, quoted }),
                Err(_) => Err(Fault::Bad {
                    line: self.row,
                    what: format!("cell {} of the row is not UTF-8", at + 1),
                    hint: "Convert the file to UTF-8 first.",
                }),
            }
        })
    }
}

struct State<'r> {
    line: &'r mut u64,
    after_cr: &'r mut bool,
    at: &'r mut At,
    row: &'r mut u64,
    opened: &'r mut u64,
    bytes: &'r mut Vec<u8>,
    ends: &'r mut Vec<(usize, bool)>,
}

impl State<'_> {
    /// Takes one byte; true where the row ends with it.
    fn take(&mut self, byte: u8) -> Result<bool, Fault> {
        let is_second_half = byte == b'\n' && *self.after_cr;
        *self.after_cr = byte == b'\r';
        let here = *self.line;
        if matches!(byte, b'\n' | b'\r') && !is_second_half {
            *self.line += 1;
        }
        if *self.at == At::Start && self.ends.is_empty() {
            *self.row = here;
        }
        let ends = matches!(byte, b'\n' | b'\r');
        match (*self.at, byte) {
            // The rest of the end of the row before, or a line with nothing in it.
            (At::Start, _) if ends && self.ends.is_empty() => return Ok(false),
            (At::Start, b'"') => {
                (*self.at, *self.opened) = (At::Quoted, here);
            }
            (At::Quoted, b'"') => *self.at = At::Quote,
            (At::Quoted, _) => self.push(byte)?,
            (At::Quote, b'"') => {
                *self.at = At::Quoted;
                self.push(byte)?;
            }
            (At::Start | At::Plain | At::Quote, b',') => self.end_cell()?,
            (At::Start | At::Plain | At::Quote, _) if ends => {
                self.end_cell()?;
                return Ok(true);
            }
            (At::Quote, _) => return Err(self.stray(here)),
            (At::Start | At::Plain, _) => {
                *self.at = At::Plain;
                self.push(byte)?;
            }
        }
        Ok(false)
    }

    fn push(&mut self, byte: u8) -> Result<(), Fault> {
        if self.bytes.len() == ROW_LIMIT {
            let what = "the row is longer than 1 GiB".to_owned();
            let hint = "A quote that is one too many may join rows: look at the line.";
            return Err(Fault::Bad { line: *self.row, what, hint });
        }
        self.bytes.push(byte);
        Ok(())
    }

    fn end_cell(&mut self) -> Result<(), Fault> {
        if self.ends.len() == CELL_LIMIT {
            let what = format!("the row has more than {CELL_LIMIT} cells");
            return Err(Fault::Bad { line: *self.row, what, hint: "Look at the line." });
        }
        self.ends.push((self.bytes.len(), *self.at == At::Quote));
        *self.at = At::Start;
        Ok(())
    }

    fn stray(&self, here: u64) -> Fault {
        let cell = self.ends.len() + 1;
        let opened = *self.opened;
        let what = match opened == here {
            true => format!("text follows the quotes of cell {cell}"),
            false => {
                format!("text follows the quote that ends cell {cell}, begun in line {opened}")
            }
        };
        let hint = "A quote within a quoted cell is doubled; one that is not may join rows.";
        Fault::Bad { line: here, what, hint }
    }
}

/// Writes one row. Cells are quoted where they must be; the cells `quoted` are also where they are empty.
pub(super) fn write_row<'c>(
    out: &mut impl Write,
    cells: impl IntoIterator<Item = &'c str>,
    quoted: &[usize],
) -> std::io::Result<()> {
    for (at, cell) in cells.into_iter().enumerate() {
        if at > 0 {
            out.write_all(b",")?;
        }
        let special = |byte| matches!(byte, b',' | b'"' | b'\n' | b'\r');
        match cell.bytes().any(special) || (cell.is_empty() && quoted.contains(&at)) {
            true => write!(out, "\"{}\"", cell.replace('"', "\"\""))?,
            false => out.write_all(cell.as_bytes())?,
        }
    }
    out.write_all(b"\n")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Rows = Vec<(u64, Vec<(String, bool)>)>;

    /// All rows of `text`, read through a buffer of `size` bytes; or the line and what is wrong.
    fn rows(text: &[u8], size: usize) -> Result<Rows, (u64, String)> {
        let mut reader = Reader::new(std::io::BufReader::with_capacity(size, text));
        let mut rows = Vec::new();
        let told = |fault| match fault {
            Fault::Bad { line, what, .. } => (line, what),
            Fault::Io(cause) => panic!("memory can be read: {cause}"),
        };
        while reader.read().map_err(told)? {
            let cells: Result<_, _> =
                reader.cells().map(|c| c.map(|c| (c.text.to_owned(), c.quoted))).collect();
            rows.push((reader.row_line(), cells.map_err(told)?));
        }
        Ok(rows)
    }

    fn plain(text: &str) -> Vec<(u64, Vec<String>)> {
        let rows = rows(text.as_bytes(), 3).unwrap();
        rows.into_iter().map(|(n, cells)| (n, cells.into_iter().map(|c| c.0).collect())).collect()
    }

    fn row(line: u64, cells: &[&str]) -> (u64, Vec<String>) {
        (line, cells.iter().map(|cell| (*cell).to_owned()).collect())
    }

    #[test]
    fn rows_end_with_lf_crlf_or_cr_and_have_their_lines() {
        for end in ["\n", "\r\n", "\r"] {
            let text = format!("a,b{end}{end}1,\"x{end}y\"{end}2,{end}");
            let wanted =
                [row(1, &["a", "b"]), row(3, &["1", &format!("x{end}y")]), row(5, &["2", ""])];
            assert_eq!(plain(&text), wanted, "{end:?}");
            assert_eq!(plain(text.trim_end()), wanted, "{end:?}");
        }
    }

    #[test]
    fn a_quote_within_a_plain_cell_is_text() {
        assert_eq!(plain("5\" pipe,a\"b\"\n"), [row(1, &["5\" pipe", "a\"b\""])]);
        assert_eq!(plain("\"\"\"\",\"\"\n"), [row(1, &["\"", ""])]);
    }

    #[test]
    fn a_wrong_quote_is_told_with_its_line() {
        for (text, line, what) in [
            ("a\n\"x\"y\n", 2, "text follows the quotes of cell 1"),
            (
                "a,b\n1,\"x\n2,\"y\"\n",
                3,
                "text follows the quote that ends cell 2, begun in line 2",
            ),
            ("a\n\"x\" \n", 2, "text follows the quotes of cell 1"),
            ("a,b\n1,\"cut", 2, "the quote that opens cell 2 is never closed"),
            ("a\n\"x\n\n\n", 2, "the quote that opens cell 1 is never closed"),
            ("a\n1\n\"", 3, "the quote that opens cell 1 is never closed"),
            ("a\n\"x\"\"", 2, "the quote that opens cell 1 is never closed"),
        ] {
            for size in [1, 2, 64] {
                assert_eq!(rows(text.as_bytes(), size), Err((line, what.to_owned())), "{text:?}");
            }
        }
    }

    #[test]
    fn an_empty_cell_in_quotes_differs_from_one_without() {
        let read = rows(b"\"\",\n", 64).unwrap();
        assert_eq!(read, [(1, vec![(String::new(), true), (String::new(), false)])]);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(
            cells in prop::collection::vec(prop::collection::vec("[a,\"\r\n\u{feff}\0é]{0,4}", 2), 1..6),
            quoted in 0usize..2, size in 1usize..9,
        ) {
            let mut text = Vec::new();
            for row in &cells {
                write_row(&mut text, row.iter().map(String::as_str), &[quoted]).unwrap();
            }
            let read = rows(&text, size).unwrap();
            let read: Vec<Vec<String>> =
                read.into_iter().map(|(_, row)| row.into_iter().map(|cell| cell.0).collect()).collect();
            prop_assert_eq!(read, cells);
        }

        #[test]
        fn any_bytes_are_rows_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _rows_or_error = rows(&bytes, 5);
        }
    }
}
