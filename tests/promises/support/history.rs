//! History as the tests know it: what the store held after each commit.

use std::collections::BTreeMap;

use stillpoint::Lsn;
use stillpoint::disk::Survival;

pub(crate) type Records = BTreeMap<u64, Vec<u8>>;
/// Tables and their records. A table without records is there too.
pub(crate) type State = BTreeMap<&'static str, Records>;

/// One thing that a commit does.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    Make(&'static str),
    Drop(&'static str),
    Put(&'static str, u64, Vec<u8>),
    Delete(&'static str, u64),
}

pub(crate) fn apply(state: &mut State, change: &Change) {
    match change {
        Change::Make(table) => {
            state.entry(table).or_default();
        }
        Change::Drop(table) => {
            state.remove(table);
        }
        Change::Put(table, key, value) => {
            state.entry(table).or_default().insert(*key, value.clone());
        }
        Change::Delete(table, key) => {
            state.entry(table).or_default().remove(key);
        }
    }
}

/// The history of one writer: every state that the store may be found in, and which of them surely
/// are not lost.
#[derive(Clone)]
pub(crate) struct History {
    /// The state after each commit, from the empty store on. The last may be of a commit that was
    /// asked for and never acknowledged.
    states: Vec<(Lsn, State)>,
    /// Survives a power cut.
    durable: Lsn,
    /// Survives the end of the process.
    written: Lsn,
}

impl History {
    pub(crate) fn new() -> History {
        History { states: vec![(0, State::new())], durable: 0, written: 0 }
    }

    pub(crate) fn last(&self) -> &State {
        &self.states.last().expect("there is always the empty store").1
    }

    pub(crate) fn last_lsn(&self) -> Lsn {
        self.states.last().expect("there is always the empty store").0
    }

    pub(crate) fn at(&self, lsn: Lsn) -> &State {
        let found = self.states.iter().find(|(at, _)| *at == lsn);
        &found.unwrap_or_else(|| panic!("there was no commit {lsn}")).1
    }

    /// Notes a commit that is about to be asked for.
    pub(crate) fn ask(&mut self, changes: &[Change]) {
        let mut next = self.last().clone();
        changes.iter().for_each(|change| apply(&mut next, change));
        self.states.push((self.last_lsn() + 1, next));
    }

    /// Notes that the commit asked for last was acknowledged.
    pub(crate) fn acknowledge(&mut self, lsn: Lsn, durable: bool) {
        assert_eq!(lsn, self.last_lsn(), "the number of the commit");
        self.written = lsn;
        if durable {
            self.durable = lsn;
        }
    }

    /// Everything acknowledged has been made durable.
    pub(crate) fn all_durable(&mut self) {
        self.durable = self.written;
    }

    /// Notes a crash.
    pub(crate) fn crash(&mut self, survival: Survival) {
        if survival != Survival::Everything {
            self.written = self.durable;
        }
    }

    /// After a crash the store must be at one of the commits, and none may be missing that surely
    /// survived. Being found makes nothing durable: the next power cut may take it.
    pub(crate) fn settle(&mut self, lsn: Lsn, found: &State) {
        assert!(lsn >= self.written, "commit {} was acknowledged, found {lsn}", self.written);
        assert!(lsn <= self.last_lsn(), "commit {lsn} was never made");
        assert!(self.at(lsn) == found, "the store is not as commit {lsn} left it");
        self.states.truncate(self.states.iter().take_while(|(at, _)| *at <= lsn).count());
        self.written = lsn;
    }
}
