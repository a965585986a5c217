//! What a command prints: text for a person or, with `--json`, objects for a program.
//!
//! Results go to the standard output and nothing else does; progress and errors go to the standard
//! error. Every write is checked: a full disk behind a redirection is an error, a reader that has
//! gone ends the command quietly. Text for a person goes through [`plain`], so that nothing from
//! outside is obeyed by a terminal; what a program reads is exact.

pub(crate) mod damage;
pub(crate) mod human;
pub(crate) mod plain;
pub(crate) mod table;
pub(crate) mod thermometer;

use std::io::{BufWriter, StdoutLock, Write};

use serde_json::Value;

use super::exit::{Failure, Outcome};

/// Where results go, and in which form.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    /// Whether a program reads it.
    pub(crate) json: bool,
}

impl Output {
    /// Prints one result: `object` for a program, `text` for a person.
    pub(crate) fn result(self, object: &Value, text: impl AsRef<str>) -> Outcome {
        let mut out = self.stream();
        match self.json {
            true => out.line(&object.to_string())?,
            false => out.lines(text.as_ref().trim_end_matches('\n'))?,
        }
        out.end()
    }

    /// The standard output for results that come one after another, buffered.
    pub(crate) fn stream(self) -> Stream {
        Stream { out: BufWriter::new(std::io::stdout().lock()), json: self.json }
    }
}

/// The standard output, held for one command. What is not flushed by [`Stream::end`] may be lost.
pub(crate) struct Stream {
    out: BufWriter<StdoutLock<'static>>,
    json: bool,
}

impl Stream {
    /// Writes `line` and a line feed.
    pub(crate) fn line(&mut self, line: &str) -> Outcome {
        match self.json {
            true => self.exact(line)?,
            false => self.exact(&plain::line(line))?,
        }
        self.exact("\n")
    }

    /// Writes lines for a person, and a line feed.
    pub(crate) fn lines(&mut self, text: &str) -> Outcome {
        self.exact(&plain::lines(text))?;
        self.exact("\n")
    }

    fn exact(&mut self, text: &str) -> Outcome {
        self.out.write_all(text.as_bytes()).map_err(Failure::output)
    }

    /// Flushes; the end of the results.
    pub(crate) fn end(mut self) -> Outcome {
        self.out.flush().map_err(Failure::output)
    }
}
