//! The commit line: where commits become one history.
//!
//! Whoever wants to commit puts an entry into the queue. The first of the queue leads: it takes what
//! stands behind it as one group, appends the group to the log, syncs once if any of it asks for it,
//! enters the records into the delta, publishes, appoints the next leader, and only then wakes the
//! acknowledged. A backup's pin and a checkpoint's seal are entries too: they run between two groups.
//!
//! Invariants:
//! 1. There is one leader at a time (`Queue::leading`), and only the leader or the holder of
//!    `Core::leader` touches log and delta writer.
//! 2. The order of the queue is the order of LSNs. The visible LSN is always a prefix of it: an
//!    `Eventual` commit in a group with an `Immediate` one waits for the sync.
//! 3. Nothing is published before it is in the log and, where asked, synced.
//! 4. A leader that panics latches the store and wakes everyone with *outcome unknown*: the commits
//!    of its group may or may not be in the log.
//!
//! It deliberately does not wait for company before a sync: while one group syncs, the next one
//! gathers by itself.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::Lsn;
use super::apply::ForeignGroup;
use super::batch::Batch;
use super::core::{Core, closed};
use super::leader::Leader;
use super::options::Durability;
use super::pin::PinSlot;
use super::rendezvous::Rendezvous;
use super::spin::Spin;
use crate::error::{Error, ErrorKind, Result};

/// Bytes of records after which a group takes no more commits, so that nobody waits for a giant.
const GROUP_BYTES: usize = 4 << 20;

/// What an entry asks for.
pub(super) enum Work {
    Commit {
        batch: Batch,
        durability: Durability,
    },
    /// Ends the active delta here; `roll` ends the log segment too. With a meeting the line is held
    /// until the lines of the other stores are.
    Seal {
        roll: bool,
        meeting: Option<Arc<Rendezvous>>,
    },
    /// Commits that another store made, with their LSNs.
    Apply(ForeignGroup),
    /// Ends the log segment here.
    Roll,
}

/// What became of an entry.
#[derive(Clone)]
pub(super) enum Outcome {
    Committed {
        lsn: Lsn,
        time: i64,
    },
    Sealed(Arc<PinSlot>, Duration),
    /// The log segment was ended after this commit.
    Rolled(Lsn),
}

pub(super) struct Entry {
    state: Mutex<EntryState>,
    wake: Condvar,
    /// The entry is done, or its owner is to lead: what a spinning owner looks at.
    called: AtomicBool,
}

enum EntryState {
    Queued(Work),
    /// The entry is first in the queue and its owner leads.
    Appointed(Work),
    /// A leader has taken it into its group.
    Taken,
    Done(Result<Outcome>),
}

#[derive(Default)]
pub(super) struct Queue {
    waiting: VecDeque<Arc<Entry>>,
    leading: bool,
    closed: bool,
}

impl Entry {
    fn new(work: Work) -> Arc<Entry> {
        let (state, wake) = (Mutex::new(EntryState::Queued(work)), Condvar::new());
        Arc::new(Entry { state, wake, called: AtomicBool::new(false) })
    }

    fn appoint(&self) {
        let mut state = self.state.lock();
        if let EntryState::Queued(work) = std::mem::replace(&mut *state, EntryState::Taken) {
            *state = EntryState::Appointed(work);
        }
        self.called.store(true, Ordering::Release);
        self.wake.notify_one();
    }

    fn take(&self) -> Option<Work> {
        match std::mem::replace(&mut *self.state.lock(), EntryState::Taken) {
            EntryState::Queued(work) | EntryState::Appointed(work) => Some(work),
            EntryState::Taken | EntryState::Done(_) => None,
        }
    }

    fn finish(&self, outcome: Result<Outcome>) {
        *self.state.lock() = EntryState::Done(outcome);
        self.called.store(true, Ordering::Release);
        self.wake.notify_one();
    }

    /// Waits until the entry is done (`Some`) or its owner is to lead (`None`).
    fn wait(&self, spin: &Spin) -> Option<Result<Outcome>> {
        spin.until(&self.called);
        let mut state = self.state.lock();
        loop {
            match &*state {
                EntryState::Done(outcome) => return Some(outcome.clone()),
                EntryState::Appointed(_) => return None,
                EntryState::Queued(_) | EntryState::Taken => self.wake.wait(&mut state),
            }
        }
    }
}

/// Puts `work` into the line and waits until it is done.
pub(super) fn run(core: &Core, work: Work) -> Result<Outcome> {
    enter(core, work, false, &mut || {})
}

/// The same; calls `in_line` once the work stands in the line, outside of all locks.
pub(super) fn run_telling(core: &Core, work: Work, in_line: &mut dyn FnMut()) -> Result<Outcome> {
    enter(core, work, false, in_line)
}

/// Lets no new entry in, and waits until those in the line are served: the last of them is a seal
/// of its own.
pub(super) fn close(core: &Core) -> Result<Outcome> {
    enter(core, Work::Seal { roll: false, meeting: None }, true, &mut || {})
}

fn enter(core: &Core, work: Work, last: bool, in_line: &mut dyn FnMut()) -> Result<Outcome> {
    let entry = Entry::new(work);
    let lead_at_once = {
        let mut queue = core.queue.lock();
        if queue.closed {
            return Err(closed());
        }
        queue.closed = last;
        queue.waiting.push_back(entry.clone());
        !std::mem::replace(&mut queue.leading, true)
    };
    in_line();
    if !lead_at_once && let Some(outcome) = entry.wait(&core.spin) {
        return outcome;
    }
    lead(core, &entry)
}

/// Serves one group, whose first entry is `own`, and hands over.
fn lead(core: &Core, own: &Arc<Entry>) -> Result<Outcome> {
    let guard = LeaderGuard { core, group: take_group(core) };
    let outcomes = serve(core, &guard.group);
    let group = guard.disarm();
    appoint_next(core);
    let mut mine = Err(outcome_unknown());
    for ((entry, _), outcome) in group.iter().zip(outcomes) {
        if Arc::ptr_eq(entry, own) {
            mine = outcome;
        } else {
            entry.finish(outcome);
        }
    }
    mine
}

type Group = Vec<(Arc<Entry>, Work)>;

/// Takes the front of the queue: commits up to the bound, or one of anything else.
fn take_group(core: &Core) -> Group {
    let mut queue = core.queue.lock();
    let mut group: Group = Vec::with_capacity(queue.waiting.len().min(64));
    let mut bytes = 0;
    while bytes < GROUP_BYTES
        && let Some(entry) = queue.waiting.pop_front()
    {
        let Some(work) = entry.take() else { continue };
        if let Work::Commit { batch, .. } = &work {
            bytes += batch.bytes();
            group.push((entry, work));
        } else if group.is_empty() {
            group.push((entry, work));
            break;
        } else {
            *entry.state.lock() = EntryState::Queued(work);
            queue.waiting.push_front(entry);
            break;
        }
    }
    group
}

fn appoint_next(core: &Core) {
    let mut queue = core.queue.lock();
    match queue.waiting.front().cloned() {
        Some(next) => {
            // It stays first in the queue meanwhile: only a leader takes from there, and until it is
            // appointed there is none but this one.
            drop(queue);
            next.appoint();
        }
        None => queue.leading = false,
    }
}

fn serve(core: &Core, group: &Group) -> Vec<Result<Outcome>> {
    if let Some(latched) = core.latched() {
        return group.iter().map(|_| Err(latched.clone())).collect();
    }
    if let [(_, Work::Seal { roll, meeting })] = group.as_slice() {
        let start = core.disk.elapsed();
        // Whoever leads has the line to itself; those who only look at the leader's things go on.
        let met = meeting.as_ref().map_or(Ok(()), |m| m.hold(|| core.disk.elapsed()));
        return vec![met.and_then(|()| core.leader.lock().seal(core, *roll, start))];
    }
    let mut leader = core.leader.lock();
    match group.as_slice() {
        [(_, Work::Apply(foreign))] => {
            let applied = leader.apply(core, foreign);
            return vec![applied.map(|(lsn, time)| Outcome::Committed { lsn, time })];
        }
        [(_, Work::Roll)] => return vec![leader.roll(core)],
        _ => {}
    }
    let commits: Vec<(&Batch, Durability)> = group
        .iter()
        .filter_map(|(_, work)| match work {
            Work::Commit { batch, durability } => Some((batch, *durability)),
            Work::Seal { .. } | Work::Apply(_) | Work::Roll => None,
        })
        .collect();
    match leader.commit(core, &commits) {
        Ok((first, time)) => {
            (first..).take(commits.len()).map(|lsn| Ok(Outcome::Committed { lsn, time })).collect()
        }
        Err(error) if error.kind() == ErrorKind::StorageFull => {
            serve_removals(core, &mut leader, &commits, &error)
        }
        Err(error) => commits.iter().map(|_| Err(error.clone())).collect(),
    }
}

/// Commits those of a group that make room, after there was none for all of it.
fn serve_removals(
    core: &Core,
    leader: &mut Leader,
    commits: &[(&Batch, Durability)],
    full: &Error,
) -> Vec<Result<Outcome>> {
    let removes: Vec<_> =
        commits.iter().filter(|(batch, _)| batch.only_removes()).copied().collect();
    let mixed = !removes.is_empty() && removes.len() < commits.len();
    let mut outcome = if mixed { leader.commit(core, &removes) } else { Err(full.clone()) };
    let commits = commits.iter().map(|(batch, _)| match &mut outcome {
        Ok((lsn, time)) if batch.only_removes() => {
            *lsn += 1;
            Ok(Outcome::Committed { lsn: *lsn - 1, time: *time })
        }
        Err(error) if batch.only_removes() => Err(error.clone()),
        _ => Err(full.clone()),
    });
    commits.collect()
}

pub(super) fn outcome_unknown() -> Error {
    Error::new(ErrorKind::OutcomeUnknown, "the commit may or may not be durable")
        .hint("Close the store, open it again and look.")
}

/// Latches the store and wakes everyone if its leader unwinds.
struct LeaderGuard<'c> {
    core: &'c Core,
    group: Group,
}

impl LeaderGuard<'_> {
    fn disarm(mut self) -> Group {
        let group = std::mem::take(&mut self.group);
        std::mem::forget(self);
        group
    }
}

impl Drop for LeaderGuard<'_> {
    fn drop(&mut self) {
        self.core.latch(outcome_unknown());
        for (entry, _) in &self.group {
            entry.finish(Err(outcome_unknown()));
        }
        let mut queue = self.core.queue.lock();
        for entry in queue.waiting.drain(..) {
            entry.finish(Err(outcome_unknown()));
        }
        queue.leading = false;
    }
}
