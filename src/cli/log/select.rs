//! Which operations of a log are wanted: by table, key, time and user.

use clap::Args;
use stillpoint::{LogCommit, LogOperation};

use crate::cli::exit::Outcome;
use crate::cli::journal::since;

/// Which operations of a log are wanted; all that nothing is said against.
#[derive(Debug, Default, Args)]
pub(super) struct Select {
    /// Operations on this table only.
    #[arg(long)]
    table: Option<String>,
    /// Operations on the record with this key only, typed as for `get`.
    #[arg(long, requires = "table", allow_hyphen_values = true)]
    key: Option<String>,
    /// Commits from this time on: as for the point of a restore, or a span back from now (36h, 2d).
    #[arg(long, value_name = "TIME", value_parser = micros)]
    since: Option<i64>,
    /// Commits until this time.
    #[arg(long, value_name = "TIME", value_parser = micros)]
    until: Option<i64>,
    /// Commits of this user only, as the system names him.
    #[arg(long)]
    user: Option<String>,
}

fn micros(text: &str) -> Result<i64, String> {
    since(text).map(|time| time.as_microsecond())
}

impl Select {
    /// Whether this commit and all after it come too late.
    pub(super) fn is_past(&self, commit: &LogCommit) -> bool {
        self.until.is_some_and(|until| commit.time > until)
    }

    /// Whether the operations of this commit may be wanted.
    pub(super) fn wants_commit(&self, commit: &LogCommit) -> bool {
        self.since.is_none_or(|since| commit.time >= since)
            && self.user.as_deref().is_none_or(|user| of(commit, "user") == Some(user))
    }

    /// Whether this operation is wanted.
    ///
    /// # Errors
    /// Where the key is none of the table's.
    pub(super) fn wants(&self, operation: &LogOperation) -> Outcome<bool> {
        let description = operation.description.as_ref();
        if let Some(table) = &self.table
            && description.is_none_or(|known| known.name != *table)
        {
            return Ok(false);
        }
        match (&self.key, description) {
            (Some(key), Some(known)) if operation.is_of_record() => {
                Ok(*known.key_type.encode_text(key)? == *operation.key)
            }
            (Some(_), _) => Ok(false),
            (None, _) => Ok(true),
        }
    }
}

/// What the commit says of itself under `name`.
pub(super) fn of<'c>(commit: &'c LogCommit, name: &str) -> Option<&'c str> {
    commit.context.iter().find(|pair| pair.0 == name).map(|pair| &*pair.1)
}
