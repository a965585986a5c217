//! What the demo says while it goes on. A program that reads its JSON hears nothing.

use crate::cli::show::plain;

/// Says things on the standard output, or keeps silent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Narrator {
    pub(crate) silent: bool,
}

impl Narrator {
    /// Says `line`. That nobody listens any more is no reason to end: the proof goes on.
    pub(crate) fn say(self, line: &str) {
        use std::io::Write;
        if !self.silent {
            let _ = writeln!(std::io::stdout().lock(), "{}", plain::lines(line));
        }
    }
}
