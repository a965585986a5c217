//! Commits that another store made, on their way into this one.
//!
//! A group keeps its LSNs, its time and its timeline, and stands in this store's own log as one group
//! with the contexts that it was made in. Whether it follows what is here is judged once before
//! anything is planned and once more by the leader of the commit line, under its lock: nothing that
//! leaves a gap or another history is ever appended.

use std::sync::Arc;

use super::batch::Batch;
use super::leader::log_ops;
use super::log::{Context, LogCommit, LogOp};
use super::options::Durability;
use super::{Ancestry, Lsn, Timeline};
use crate::error::{Error, ErrorKind, Result, code};

/// Commits that stood in one group of another store's log.
#[derive(Debug)]
pub(crate) struct ForeignGroup {
    /// The timeline of all of them.
    pub(crate) timeline: Timeline,
    /// Digest of the ancestry that its log says it has.
    pub(crate) ancestry_digest: u64,
    /// LSN of the first.
    pub(crate) first_lsn: Lsn,
    /// The time of all of them.
    pub(crate) time: i64,
    /// Who made each, and what it does. Not empty.
    pub(crate) commits: Vec<(Arc<Context>, Batch)>,
    /// When the group is acknowledged here.
    pub(crate) durability: Durability,
}

impl ForeignGroup {
    pub(crate) fn last_lsn(&self) -> Lsn {
        self.first_lsn + self.commits.len().saturating_sub(1) as u64
    }

    /// Sees that the group comes right after the commit `lsn` with the ancestry `ours`, made at `time`.
    /// Gives the ancestry of the group.
    pub(super) fn check_follows(&self, ours: &Ancestry, lsn: Lsn, time: i64) -> Result<Ancestry> {
        let first = self.first_lsn;
        if first != lsn + 1 {
            let why = format!("the log goes on with LSN {first}, and LSN {} is next", lsn + 1);
            return Err(Error::new(ErrorKind::Invalid, why).with_code(code::LOG_GAP));
        }
        let ancestry = ours.follow(self.timeline, self.ancestry_digest, lsn);
        let ancestry = ancestry.ok_or_else(|| divergent(lsn))?;
        if self.time < time {
            let why = format!("the commit with LSN {first} is older than the one before it");
            return Err(Error::new(ErrorKind::Corrupt, why));
        }
        Ok(ancestry)
    }
}

fn divergent(lsn: Lsn) -> Error {
    let why = format!("the log is of another history than the store's after LSN {lsn}");
    Error::new(ErrorKind::Foreign, why).with_code(code::FOREIGN_LOG)
}

/// A commit of a group as the log takes it.
pub(super) struct ForeignEntry<'a> {
    pub(super) context: u32,
    pub(super) batch: &'a Batch,
}

impl LogCommit for ForeignEntry<'_> {
    fn context(&self) -> u32 {
        self.context
    }

    fn ops(&self) -> impl ExactSizeIterator<Item = LogOp<'_>> {
        log_ops(self.batch)
    }
}
