//! Which log archives go: those that nothing which stays can be brought forward by.
//!
//! A log archive goes when what it follows has gone, no archive that stays leads to it without a gap,
//! and something later covers it. What it follows is known by its seal. An archive that was moved, or
//! was made in another destination and may be there still, has not gone. Commits are compared by their
//! LSNs alone here, so that of several branches too much stays at worst.

use super::judge::{Candidate, LogCandidate};
use super::order::Age;
use super::plan::RetentionPlan;
use crate::engine::Lsn;

/// What is there, and what of it goes.
pub(super) struct Leaving<'l> {
    pub(super) plan: &'l RetentionPlan,
    pub(super) backups: &'l [Candidate],
    pub(super) logs: &'l [LogCandidate],
    /// Of the backups, then of the ends of the logs.
    pub(super) ages: &'l [Age],
}

impl Leaving<'_> {
    /// The log archives that go. `elsewhere` are the seals of archives that may lie in other places.
    pub(super) fn logs(&self, elsewhere: &[String]) -> Vec<usize> {
        (0..self.logs.len()).filter(|at| self.goes(*at, elsewhere)).collect()
    }

    fn goes(&self, at: usize, elsewhere: &[String]) -> bool {
        let log = &self.logs[at];
        if log.stays.is_some() || log.spared {
            return false;
        }
        let is_followed = |seal: Option<&String>| seal.is_some() && seal == log.follows.as_ref();
        let is_there = self.staying().any(|(_, one)| is_followed(one.facts.seal.as_ref()));
        if is_there || elsewhere.iter().any(|seal| is_followed(Some(seal))) {
            return false;
        }
        let has_gone =
            self.plan.deletions.iter().any(|one| !one.log && is_followed(one.seal.as_ref()));
        // Nobody knows what became of what it follows: it stays as long as what it leads to.
        let leads_to = |one: &Candidate| {
            one.facts.timeline.map(|t| t.id) == log.timeline.map(|t| t.id)
                && one.facts.lsn == Some(log.last)
        };
        (has_gone || !self.staying().any(|(_, one)| leads_to(one)))
            && self.is_covered(at)
            && !self.is_led_to(log)
    }

    /// The backups that stay.
    fn staying(&self) -> impl Iterator<Item = (usize, &Candidate)> {
        let goes = |one: &Candidate| {
            let deletions = self.plan.deletions.iter().filter(|deletion| !deletion.log);
            deletions
                .map(|deletion| Some(&deletion.path))
                .any(|p| p == one.facts.backup_path.as_ref())
        };
        self.backups.iter().enumerate().filter(move |(_, one)| !goes(one))
    }

    /// Whether a backup of data at its end or after it stays, on which the witnesses agree.
    fn is_covered(&self, at: usize) -> bool {
        let end = self.ages[self.backups.len() + at];
        self.staying()
            .any(|(at, one)| one.facts.data && one.stays.is_none() && self.ages[at].covers(&end))
    }

    /// Whether some backup that stays, and the logs that follow it, lead to `log` without a gap.
    fn is_led_to(&self, log: &LogCandidate) -> bool {
        let starts = self.staying().filter(|(_, one)| one.facts.data);
        let mut starts = starts.filter_map(|(_, one)| one.facts.lsn);
        starts.any(|lsn| lsn < log.last && self.reach(lsn) >= log.after)
    }

    /// The last commit that the logs lead to from `lsn` without a gap.
    fn reach(&self, lsn: Lsn) -> Lsn {
        let mut reach = lsn;
        // Each log leads on once at most.
        for _ in self.logs {
            let next = self.logs.iter().filter(|log| log.after <= reach).map(|log| log.last).max();
            match next {
                Some(next) if next > reach => reach = next,
                _ => break,
            }
        }
        reach
    }
}
