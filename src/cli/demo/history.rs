//! The demo's own account of what was committed, and the comparison of a store with it.
//!
//! It shares nothing with the library: every writer of the demo says here what it committed and
//! which LSN it was given, and what a store must contain at an LSN is reckoned from that alone.
//! LSNs are dense, so a commit that is missing from the account is noticed, not overlooked.

use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Included};

use serde_json::Value;

/// The contents of a store: each record under its table and its key.
pub(crate) type State = BTreeMap<(String, String), Value>;

/// One record as a commit left it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Change {
    pub(crate) table: &'static str,
    pub(crate) key: String,
    /// `None`: the commit deleted the record.
    pub(crate) value: Option<Value>,
}

impl Change {
    /// A record that was written.
    pub(crate) fn put(table: &'static str, key: String, value: Value) -> Change {
        Change { table, key, value: Some(value) }
    }
}

/// Everything that was committed, by LSN.
#[derive(Debug)]
pub(crate) struct History {
    began: u64,
    first: State,
    commits: BTreeMap<u64, Vec<Change>>,
}

impl History {
    /// An account that begins with a store that contains `first` after the commit `lsn`.
    pub(crate) fn begin(lsn: u64, first: State) -> History {
        History { began: lsn, first, commits: BTreeMap::new() }
    }

    /// Takes note of a commit.
    pub(crate) fn record(&mut self, lsn: u64, changes: Vec<Change>) {
        self.commits.insert(lsn, changes);
    }

    /// The last commit that the account has heard of.
    pub(crate) fn last(&self) -> u64 {
        self.commits.last_key_value().map_or(self.began, |commit| *commit.0)
    }

    /// What a store must contain after the commit `lsn` and before the next.
    ///
    /// `Err` with a commit up to `lsn` that the account has not heard of.
    pub(crate) fn at(&self, lsn: u64) -> Result<State, u64> {
        if lsn < self.began {
            return Err(lsn);
        }
        let mut state = self.first.clone();
        let mut expected = self.began;
        for (&number, changes) in self.commits.range((Excluded(self.began), Included(lsn))) {
            expected += 1;
            if number != expected {
                return Err(expected);
            }
            for change in changes {
                let at = (change.table.to_owned(), change.key.clone());
                match &change.value {
                    Some(value) => state.insert(at, value.clone()),
                    None => state.remove(&at),
                };
            }
        }
        if expected == lsn { Ok(state) } else { Err(expected + 1) }
    }
}

/// How a store differs from what it must contain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Comparison {
    /// Records that are there and the same.
    pub(crate) same: u64,
    /// Records that are there with another value.
    pub(crate) different: u64,
    /// Records that must be there and are not.
    pub(crate) missing: u64,
    /// Records that are there and must not be.
    pub(crate) unexpected: u64,
}

impl Comparison {
    /// Compares every record of `found` with every record of `expected`.
    pub(crate) fn of(expected: &State, found: &State) -> Comparison {
        let mut result = Comparison::default();
        for (at, value) in expected {
            match found.get(at) {
                Some(there) if there == value => result.same += 1,
                Some(_) => result.different += 1,
                None => result.missing += 1,
            }
        }
        result.unexpected = found.len() as u64 - result.same - result.different;
        result
    }

    /// Whether the store contains exactly what it must.
    pub(crate) fn is_equal(&self) -> bool {
        self.differences() == 0
    }

    /// Records that are not as they must be.
    pub(crate) fn differences(&self) -> u64 {
        self.different + self.missing + self.unexpected
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn put(key: &str, value: i64) -> Change {
        Change::put("t", key.to_owned(), json!(value))
    }

    fn delete(key: &str) -> Change {
        Change { table: "t", key: key.to_owned(), value: None }
    }

    fn state(records: &[(&str, i64)]) -> State {
        records.iter().map(|(k, v)| (("t".to_owned(), (*k).to_owned()), json!(v))).collect()
    }

    fn sample() -> History {
        let mut history = History::begin(10, state(&[("a", 1)]));
        history.record(13, vec![delete("a"), put("c", 3)]);
        history.record(11, vec![put("b", 2)]);
        history.record(12, vec![put("b", 5)]);
        history
    }

    #[test]
    fn a_state_is_what_the_commits_up_to_it_left() {
        let history = sample();
        assert_eq!(history.at(10), Ok(state(&[("a", 1)])));
        assert_eq!(history.at(11), Ok(state(&[("a", 1), ("b", 2)])));
        assert_eq!(history.at(12), Ok(state(&[("a", 1), ("b", 5)])));
        assert_eq!(history.at(13), Ok(state(&[("b", 5), ("c", 3)])));
    }

    #[test]
    fn a_commit_that_nobody_told_of_is_noticed() {
        let mut history = sample();
        assert_eq!(history.at(14), Err(14));
        history.record(15, vec![]);
        assert_eq!(history.at(15), Err(14));
        assert_eq!(history.at(13).map(|state| state.len()), Ok(2));
        assert_eq!(history.at(9), Err(9), "before the account begins nothing is known");
    }

    #[test]
    fn every_kind_of_difference_is_counted() {
        let expected = state(&[("a", 1), ("b", 2), ("c", 3)]);
        let found = state(&[("a", 1), ("b", 7), ("d", 4)]);
        let comparison = Comparison::of(&expected, &found);
        let counted = Comparison { same: 1, different: 1, missing: 1, unexpected: 1 };
        assert_eq!(comparison, counted);
        assert!(!comparison.is_equal());
        assert!(Comparison::of(&expected, &expected).is_equal());
    }
}
