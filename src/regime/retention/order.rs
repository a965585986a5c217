//! Which archive is older: by the place of its commit as the store's own history sees it
//! ([`History::age`]), then by the time of the start. The clock may have been wrong, and numbers may have
//! been reset.
//!
//! Where the history of the store is not at hand, that of the archive that was begun last stands for it.

use crate::engine::{Age as Seen, Ancestry, History, Known, Lsn, Timeline};
use crate::regime::history::Operation;

/// The place of an archive among all; the greater the newer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Age {
    /// The place of its commit.
    seen: Option<Seen>,
    started: i64,
    number: u32,
}

impl Age {
    /// Whether its commit is that of `other` or a later one. Two archives of one commit are equally old.
    pub(super) fn covers(&self, other: &Age) -> bool {
        other.seen.is_some() && self.seen >= other.seen
    }
}

/// The age of each of `operations`, as `history` sees it.
pub(super) fn ages(operations: &[Operation], history: Option<&History>) -> Vec<Age> {
    let known: Known = operations.iter().filter_map(timeline).collect();
    let saved = operations.iter().filter(|o| o.has_archive() && o.data).filter_map(place);
    let saved: Vec<(Timeline, Lsn)> = saved.collect();
    let presumed = history.cloned().or_else(|| presumed(operations, &known));
    let age = |operation: &Operation| {
        let seen = presumed.as_ref().zip(place(operation));
        let seen =
            seen.map(|(history, (timeline, lsn))| history.age(timeline, lsn, &saved, &known));
        let number = operation.backup_number.unwrap_or(0);
        Age { seen, started: operation.started, number }
    };
    operations.iter().map(age).collect()
}

/// The history of the archive that was begun last.
fn presumed(operations: &[Operation], known: &Known) -> Option<History> {
    let placed = operations.iter().filter(|o| place(o).is_some());
    let newest = placed.max_by_key(|o| o.started)?;
    Some(History::new(Ancestry::presumed(timeline(newest)?, known), Lsn::MAX))
}

fn timeline(operation: &Operation) -> Option<Timeline> {
    operation.timeline.map(Timeline::from)
}

/// The commit that an operation is of, with its timeline.
fn place(operation: &Operation) -> Option<(Timeline, Lsn)> {
    Some((timeline(operation)?, operation.lsn?))
}
