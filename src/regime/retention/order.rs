//! Which archive is older: by timeline, then by LSN.
//!
//! A timeline comes after the one that it left. Of two that neither left the other, the one whose
//! first archive was begun earlier comes first. The store's own, where it is known, comes last: what
//! it wrote just now is the newest, whatever else lies in the folder. Within a timeline the LSN says
//! it, and then the time of the start. The clock may have been wrong, and numbers may have been reset.
//!
//! A store that was rolled back stands on the timeline of the future that it left until it commits, and
//! is backed up there. So what was saved at the commit of its last backup comes after all else.

use std::collections::HashMap;

use crate::engine::Lsn;
use crate::regime::history::Operation;

/// The place of an archive among all; the greater the newer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Age {
    timeline: usize,
    lsn: Lsn,
    started: i64,
    number: u32,
}

impl Age {
    /// The commit alone: two archives of one commit are equally old.
    pub(super) fn commit(&self) -> (usize, Lsn) {
        (self.timeline, self.lsn)
    }
}

/// The age of each of `operations`.
pub(super) fn ages(
    operations: &[Operation],
    current: Option<u128>,
    at: Option<(u128, Lsn)>,
) -> Vec<Age> {
    let ranks = rank_timelines(operations, current);
    let saved = at.and_then(|at| last_saved(operations, at));
    let rank = |o: &Operation| match place(o) {
        place if place.is_some() && place == saved => usize::MAX,
        place => place.and_then(|(id, _)| ranks.get(&id).copied()).unwrap_or(0),
    };
    let age = |o: &Operation| Age {
        timeline: rank(o),
        lsn: o.lsn.unwrap_or(0),
        started: o.started,
        number: o.backup_number.unwrap_or(0),
    };
    operations.iter().map(age).collect()
}

/// The commit that an operation is of, with its timeline.
fn place(operation: &Operation) -> Option<(u128, Lsn)> {
    Some((operation.timeline?.id, operation.lsn?))
}

/// The last commit up to `at`, on the same timeline, of which there is an archive.
fn last_saved(operations: &[Operation], (timeline, lsn): (u128, Lsn)) -> Option<(u128, Lsn)> {
    let saved = operations.iter().filter(|o| o.has_archive() && o.data).filter_map(place);
    saved.filter(|(id, saved)| *id == timeline && *saved <= lsn).max()
}

/// Numbers the timelines from 1, each after its parent where that is known.
fn rank_timelines(operations: &[Operation], current: Option<u128>) -> HashMap<u128, usize> {
    // For each: its parent, and when its first archive was begun.
    let mut known: HashMap<u128, (u128, i64)> = HashMap::new();
    for operation in operations {
        let Some(timeline) = operation.timeline else { continue };
        let entry = known.entry(timeline.id).or_insert((timeline.parent, operation.started));
        entry.1 = entry.1.min(operation.started);
    }
    let mut ranks = HashMap::new();
    while !known.is_empty() {
        let ready = |(id, (parent, _)): &(&u128, &(u128, i64))| {
            !known.contains_key(parent) || parent == *id
        };
        let first = |(id, (_, started)): &(&u128, &(u128, i64))| (*started, **id);
        // Forged papers may go round in a circle: then any will do.
        let next = known.iter().filter(ready).min_by_key(first);
        let next = next.or_else(|| known.iter().min_by_key(first)).map(|(id, _)| *id);
        let Some(next) = next else { break };
        known.remove(&next);
        ranks.insert(next, ranks.len() + 1);
    }
    let last = ranks.len() + 1;
    if let Some(rank) = current.and_then(|current| ranks.get_mut(&current)) {
        *rank = last;
    }
    ranks
}
