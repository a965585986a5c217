//! The questions that are asked about two histories. `docs/recovery.md` has them as a table.

use std::collections::HashMap;

use super::{Ancestry, Timeline};
use crate::engine::Lsn;

/// All commits that led to one: the line of timelines, and the last commit on its tip.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct History {
    pub(crate) ancestry: Ancestry,
    /// The last commit. `Lsn::MAX` where everything on the tip is meant.
    pub(crate) last: Lsn,
}

impl History {
    pub(crate) fn new(ancestry: Ancestry, last: Lsn) -> History {
        History { ancestry, last }
    }

    /// The timeline of the last commit.
    pub(crate) fn tip(&self) -> Timeline {
        self.ancestry.tip()
    }

    /// The last commit of the timeline `id` that is in this history; `None` where none is.
    pub(crate) fn end_of(&self, id: u128) -> Option<Lsn> {
        self.ancestry.end_of(id).map(|end| end.min(self.last))
    }

    /// Is this commit in the history?
    pub(crate) fn holds(&self, timeline: u128, lsn: Lsn) -> bool {
        let begins = self.ancestry.fork_of(timeline).is_some_and(|fork| fork <= lsn);
        begins && self.end_of(timeline).is_some_and(|end| lsn <= end)
    }

    /// Where do the two histories part: the last commit that this one shares with the one that ends
    /// with commit `last` of the timeline `theirs`. `known` tells of the timelines before that; `None`
    /// where they do not lead back to this history.
    pub(crate) fn parting(&self, theirs: Timeline, last: Lsn, known: &Known) -> Option<Lsn> {
        let (mut at, mut last) = (theirs, last);
        // Damage may have made a circle.
        for _ in 0..=super::MAX_FORKS {
            if let Some(end) = self.end_of(at.id) {
                return Some(last.min(end));
            }
            last = last.min(at.fork);
            if let Some(end) = self.end_of(at.parent) {
                return Some(last.min(end));
            }
            at = known.get(at.parent)?;
        }
        None
    }

    /// May commits `after` to `last` of the timeline `theirs` be integrated: are all of them in this
    /// history, or do those that are not go on from its end? The error is the commit after which the
    /// two part. Where it is not known how they are related, they may: the way through the logs is
    /// planned commit by commit.
    pub(crate) fn admits(&self, theirs: Timeline, last: Lsn, known: &Known) -> Result<(), Lsn> {
        match self.parting(theirs, last, known) {
            Some(parting) if parting < last && parting < self.last => Err(parting),
            _ => Ok(()),
        }
    }

    /// Whether a later commit of the timeline `theirs` goes on from the end of this history. Where it
    /// is not known how the two are related, it may.
    pub(crate) fn leads_to(&self, theirs: Timeline, last: Lsn, known: &Known) -> bool {
        self.parting(theirs, last, known).is_none_or(|parting| parting >= self.last)
    }

    /// Which of two archives is newer for retention: the ages of their commits are compared. In this
    /// history that is the later commit. A commit of another history comes right before the last one
    /// of this history that was `saved` where the two part, or before that.
    pub(crate) fn age(
        &self,
        theirs: Timeline,
        lsn: Lsn,
        saved: &[(Timeline, Lsn)],
        known: &Known,
    ) -> Age {
        let parting = self.parting(theirs, lsn, known);
        if self.holds(theirs.id, lsn) {
            return Age { at: Some(lsn), own: true, parting, lsn };
        }
        let own = saved.iter().filter(|(timeline, lsn)| self.holds(timeline.id, *lsn));
        let last_before = |parting: Lsn| {
            own.map(|(_, lsn)| *lsn).filter(|lsn| *lsn <= parting).max().unwrap_or(0)
        };
        Age { at: parting.map(last_before), own: false, parting, lsn }
    }
}

/// The place of a commit among others, as a history sees them; the greater the newer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Age {
    /// The commit of the history that it counts with; `None` where it is not known how the two are
    /// related. This field is first, since the derived order goes by it.
    at: Option<Lsn>,
    own: bool,
    parting: Option<Lsn>,
    lsn: Lsn,
}

/// Timelines that are known, by their ids.
#[derive(Clone, Debug, Default)]
pub(crate) struct Known(HashMap<u128, Timeline>);

impl Known {
    pub(crate) fn get(&self, id: u128) -> Option<Timeline> {
        self.0.get(&id).copied()
    }

    pub(crate) fn add(&mut self, timeline: Timeline) {
        self.0.insert(timeline.id, timeline);
    }

    /// All of a line.
    pub(crate) fn add_line(&mut self, ancestry: &Ancestry) {
        self.0.extend(ancestry.timelines().map(|timeline| (timeline.id, timeline)));
    }
}

impl FromIterator<Timeline> for Known {
    fn from_iter<I: IntoIterator<Item = Timeline>>(timelines: I) -> Known {
        Known(timelines.into_iter().map(|timeline| (timeline.id, timeline)).collect())
    }
}
