//! How a command ends: its exit code, and the error that a person or a script reads.
//!
//! The codes are part of the command line's contract: `stillpoint help` prints the table below, and
//! each [`ErrorKind`] has exactly one. A failure is printed on the standard error, as lines for a
//! person or, with `--json`, as one object for a program; it never mixes with results.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use serde_json::json;
use stillpoint::{Error, ErrorKind, code};

/// The exit codes, as the long help shows them.
pub(crate) const TABLE: &str = "\
Exit codes:
   0  done
   1  failed: the error says what and why
   2  wrong use: the arguments, or the file that was given
   3  damage found: a store, log or archive is not what was written
   4  not there: the record, table, store or archive that was named
   5  done in part: a backup without an attachment, a repaired store without some records
   6  stopped: Ctrl-C or a polite signal; nothing half-done is left behind
  75  not now: the same command may succeed later (in use, waiting, no room)
 130  Ctrl-C a second time: ended at once";

/// How a command ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    Done = 0,
    Failed = 1,
    WrongUse = 2,
    Damage = 3,
    NotThere = 4,
    Partial = 5,
    Stopped = 6,
    NotNow = 75,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

/// Why a command did not do what it was asked to.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Something went wrong.
    Error(Error),
    /// Whoever read the output has gone (`stillpoint scan … | head`). Nobody is left to tell.
    ReaderGone,
    /// Something was made and lacks a part; its report was printed.
    Partial,
}

/// What a command returns.
pub(crate) type Outcome<T = ()> = Result<T, Failure>;

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure::Error(error)
    }
}

impl Failure {
    /// The arguments or the input are not right: `message`, and what to do then.
    pub(crate) fn wrong_use(message: impl Into<String>, hint: impl Into<String>) -> Failure {
        Failure::Error(Error::new(ErrorKind::Invalid, message).hint(hint))
    }

    /// The same failure, about the file at `path` unless it is about another.
    pub(crate) fn about(self, path: &Path) -> Failure {
        match self {
            Failure::Error(error) if error.path().is_none() => error.at(path).into(),
            other => other,
        }
    }

    /// The same failure, where what the command made could not be removed because of `left`.
    pub(crate) fn because_left(self, left: &std::io::Error) -> Failure {
        match self {
            Failure::Error(error) => {
                error.hint(format!("What was made could not be removed: {left}.")).into()
            }
            other => other,
        }
    }

    /// The command was stopped by its user; `left` says what state things are in now.
    pub(crate) fn stopped(left: impl Into<String>) -> Failure {
        let error = Error::new(ErrorKind::Stopped, "stopped by the user");
        Failure::Error(error.with_code(code::STOPPED).hint(left))
    }

    /// A failed write to the standard output.
    pub(crate) fn output(cause: std::io::Error) -> Failure {
        match cause.kind() {
            std::io::ErrorKind::BrokenPipe => Failure::ReaderGone,
            _ => Failure::Error(
                Error::new(ErrorKind::Io, "cannot write the result to the standard output")
                    .because(cause),
            ),
        }
    }

    /// The exit code that says what kind of failure it is.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Failure::ReaderGone => Exit::Done,
            Failure::Partial => Exit::Partial,
            Failure::Error(error) => exit_of(error),
        }
    }

    /// Prints it on the standard error. A standard error that is closed is no further failure.
    pub(crate) fn print(&self, json: bool) {
        let Failure::Error(error) = self else { return };
        let text = if json { as_json(error) } else { as_lines(error) };
        let _ = writeln!(std::io::stderr().lock(), "{text}");
    }
}

fn exit_of(error: &Error) -> Exit {
    match error.kind() {
        ErrorKind::Stopped => Exit::Stopped,
        ErrorKind::Invalid => Exit::WrongUse,
        ErrorKind::Corrupt => Exit::Damage,
        ErrorKind::NotFound => Exit::NotThere,
        _ if error.is_retryable() => Exit::NotNow,
        _ => Exit::Failed,
    }
}

fn as_lines(error: &Error) -> String {
    format!("error: {}", error.report())
}

fn as_json(error: &Error) -> String {
    json!({ "error": error }).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Error {
        Error::io(
            "open the store",
            "/there/is/none",
            std::io::Error::from(std::io::ErrorKind::PermissionDenied),
        )
        .hint("Ask its owner.")
    }

    #[test]
    fn an_error_is_printed_with_path_cause_and_hint() {
        let text = as_lines(&sample());
        let starts: Vec<&str> = text.lines().map(|line| &line[..6]).collect();
        assert_eq!(starts, ["error:", "path: ", "cause:", "hint: "]);
        let object: serde_json::Value = serde_json::from_str(&as_json(&sample())).unwrap();
        assert_eq!(object["error"]["kind"], "Io");
        assert_eq!(object["error"]["path"], "/there/is/none");
        assert_eq!(object["error"]["causes"][0], "permission denied");
        assert_eq!(object["error"]["hint"], "Ask its owner.");
    }

    #[test]
    fn nothing_in_an_error_is_obeyed_by_a_terminal() {
        let evil = "x\u{1b}[2J\ny";
        let cause = std::io::Error::other(evil);
        let error = Error::new(ErrorKind::Invalid, evil).at(evil).because(cause).hint(evil);
        let text = as_lines(&error);
        assert_eq!(text.lines().count(), 4, "{text}");
        assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "{text:?}");
        let object: serde_json::Value = serde_json::from_str(&as_json(&error)).unwrap();
        assert_eq!(object["error"]["message"], evil);
    }

    #[test]
    fn each_kind_of_failure_has_its_own_exit_code() {
        let exit = |kind| Failure::from(Error::new(kind, "x")).exit();
        assert_eq!(exit(ErrorKind::Io), Exit::Failed);
        assert_eq!(exit(ErrorKind::Invalid), Exit::WrongUse);
        assert_eq!(exit(ErrorKind::Corrupt), Exit::Damage);
        assert_eq!(exit(ErrorKind::NotFound), Exit::NotThere);
        assert_eq!(exit(ErrorKind::InUse), Exit::NotNow);
        assert_eq!(exit(ErrorKind::BackupInProgress), Exit::NotNow);
        assert_eq!(Failure::stopped("Nothing is left.").exit(), Exit::Stopped);
    }

    #[test]
    fn every_exit_code_stands_in_the_table_of_the_help() {
        use Exit::*;
        for exit in [Done, Failed, WrongUse, Damage, NotThere, Partial, Stopped, NotNow] {
            assert!(TABLE.lines().any(|line| line.starts_with(&format!("{:>4}  ", exit as u8))));
        }
    }

    #[test]
    fn a_reader_that_has_gone_is_no_failure() {
        let gone = Failure::output(std::io::Error::from(std::io::ErrorKind::BrokenPipe));
        assert_eq!(gone.exit(), Exit::Done);
    }
}
