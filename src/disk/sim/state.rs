//! What a simulated disk knows beside its medium, and the gate that every call passes.
//!
//! Invariants: one mutex guards all of it, so that each call is one step; a call counts once, before
//! it does anything; after a crash none passes. What a call does comes after the gate, and is not
//! known here.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex, MutexGuard};
use rustix::io::Errno;

use super::faults::{Call, FaultPlan};
use super::image::CHUNK;
use super::immovable::Immovable;
use super::medium::Medium;
use super::names::Ino;
use super::random::Random;
use crate::disk::{FileId, FileLock};

/// The clock of a new disk: 2024-01-01T00:00:00Z.
pub(super) const FIRST_TIME: i64 = 1_704_067_200_000_000;

/// The state, shared by the disk, its files and its guards.
pub(super) struct Shared {
    pub(super) state: Mutex<State>,
    /// A hang ended, or the disk crashed.
    pub(super) changed: Condvar,
}

pub(super) type Guard<'a> = MutexGuard<'a, State>;

/// A disk and all that was asked of it.
pub(super) struct State {
    pub(super) medium: Medium,
    pub(super) calls: u64,
    pub(super) crash_at: Option<u64>,
    pub(super) crashed: bool,
    pub(super) crash_site: Option<(Call, PathBuf)>,
    pub(super) capacity: Option<u64>,
    pub(super) now: i64,
    pub(super) elapsed: Duration,
    pub(super) random: Random,
    pub(super) faults: Vec<FaultPlan>,
    pub(super) hangs: Vec<Hang>,
    pub(super) next_hang: u64,
    pub(super) locked: BTreeSet<Ino>,
    /// How many shared locks there are of each lock file.
    pub(super) shared: BTreeMap<Ino, usize>,
    /// The calls that a read-only medium refused.
    pub(super) refused: Vec<(Call, PathBuf)>,
    pub(super) immovable: Immovable,
}

/// Why a call fails, and how many of its bytes take effect before.
pub(super) struct Trouble {
    pub(super) error: io::Error,
    pub(super) bytes: usize,
    pub(super) crash: bool,
}

/// Calls on paths that contain `part` wait.
pub(super) struct Hang {
    id: u64,
    part: String,
    caught: Vec<Call>,
}

/// Calls on the paths of a [`SimDisk::hang`](super::SimDisk::hang) wait while this lives.
#[must_use = "the hang ends when the guard is dropped"]
pub struct HangGuard {
    shared: Arc<Shared>,
    id: u64,
}

impl HangGuard {
    pub(super) fn new(shared: Arc<Shared>, part: String) -> HangGuard {
        let mut state = shared.state.lock();
        let id = state.next_hang;
        state.next_hang += 1;
        state.hangs.push(Hang { id, part, caught: Vec::new() });
        drop(state);
        HangGuard { shared, id }
    }

    /// The calls that came into this hang, oldest first.
    pub fn caught(&self) -> Vec<Call> {
        let state = self.shared.state.lock();
        let hang = state.hangs.iter().find(|hang| hang.id == self.id);
        hang.map(|hang| hang.caught.clone()).unwrap_or_default()
    }
}

impl Drop for HangGuard {
    fn drop(&mut self) {
        self.shared.state.lock().hangs.retain(|hang| hang.id != self.id);
        self.shared.changed.notify_all();
    }
}

/// Holds a lock file until it is dropped.
pub(super) struct LockGuard {
    pub(super) shared: Arc<Shared>,
    pub(super) ino: Ino,
    pub(super) is_shared: bool,
}

impl FileLock for LockGuard {
    fn id(&self) -> FileId {
        super::calls::id_of(self.ino)
    }
}

impl Drop for LockGuard {
    fn drop(&mut self) {
        let mut state = self.shared.state.lock();
        if !self.is_shared {
            state.locked.remove(&self.ino);
        } else if let Some(count) = state.shared.get_mut(&self.ino) {
            *count -= 1;
        }
    }
}

fn crash_error() -> io::Error {
    io::Error::other("simulated crash")
}

impl State {
    pub(super) fn new(medium: Medium, random: Random) -> State {
        State {
            medium,
            calls: 0,
            crash_at: None,
            crashed: false,
            crash_site: None,
            capacity: None,
            now: FIRST_TIME,
            elapsed: Duration::ZERO,
            random,
            faults: Vec::new(),
            hangs: Vec::new(),
            next_hang: 0,
            locked: BTreeSet::new(),
            shared: BTreeMap::new(),
            refused: Vec::new(),
            immovable: Immovable::default(),
        }
    }

    pub(super) fn advance(&mut self, by: Duration) {
        let micros = i64::try_from(by.as_micros()).unwrap_or(i64::MAX);
        self.now = self.now.saturating_add(micros);
        self.elapsed = self.elapsed.saturating_add(by);
    }

    /// Refuses a call that writes to `ino`, where that is on a read-only medium.
    pub(super) fn check_medium(&mut self, call: Call, ino: Ino) -> io::Result<()> {
        if !call.writes() || !self.immovable.is_frozen(&self.medium, ino) {
            return Ok(());
        }
        let path = self.medium.names.now().path(ino).unwrap_or_default();
        Err(self.refuse(call, path))
    }

    /// Notes that a read-only medium refused a call.
    pub(super) fn refuse(&mut self, call: Call, path: PathBuf) -> io::Error {
        self.refused.push((call, path));
        Errno::ROFS.into()
    }

    /// Whether somebody has a lock of the lock file.
    pub(super) fn is_locked(&self, ino: Ino) -> bool {
        self.locked.contains(&ino) || self.shared.get(&ino).is_some_and(|count| *count > 0)
    }

    /// Chunks that are free, on a disk with a capacity.
    pub(super) fn free_chunks(&self) -> Option<u64> {
        self.capacity.map(|bytes| (bytes / CHUNK).saturating_sub(self.medium.space()))
    }

    /// The first hang that a call on one of these paths waits in.
    fn hang_of(&mut self, texts: &[String]) -> Option<&mut Hang> {
        let is_in = |hang: &&mut Hang| texts.iter().any(|text| text.contains(&hang.part));
        self.hangs.iter_mut().find(is_in)
    }

    /// The texts that plans and hangs look into.
    fn texts(&self, paths: &[&Path], ino: Option<Ino>) -> Vec<String> {
        let named = ino.and_then(|ino| self.medium.names.now().path(ino));
        let whole = |path: &&Path| Path::new("/").join(path).to_string_lossy().into_owned();
        match named {
            Some(path) => vec![path.to_string_lossy().into_owned()],
            None => paths.iter().map(whole).collect(),
        }
    }
}

impl Shared {
    pub(super) fn new(state: State) -> Shared {
        Shared { state: Mutex::new(state), changed: Condvar::new() }
    }

    /// Begins a call of `bytes` bytes: counts it, waits where it hangs, and says what goes wrong.
    pub(super) fn enter(
        &self,
        call: Call,
        paths: &[&Path],
        ino: Option<Ino>,
        bytes: usize,
    ) -> io::Result<(Guard<'_>, Option<Trouble>)> {
        let mut state = self.state.lock();
        if state.crashed {
            return Err(crash_error());
        }
        state.calls += 1;
        state.advance(Duration::from_micros(1));
        if state.crash_at.is_some_and(|at| state.calls >= at) {
            state.crashed = true;
            self.changed.notify_all();
            let text = state.texts(paths, ino).swap_remove(0);
            state.crash_site = Some((call, PathBuf::from(text)));
            let bytes = state.random.below(bytes as u64 + 1) as usize;
            return Ok((state, Some(Trouble { error: crash_error(), bytes, crash: true })));
        }
        if state.hangs.is_empty() && state.faults.is_empty() {
            return Ok((state, None));
        }
        let texts = state.texts(paths, ino);
        let mut last = None;
        while let Some(hang) = state.hang_of(&texts) {
            if last.replace(hang.id) != Some(hang.id) {
                hang.caught.push(call);
            }
            self.changed.wait(&mut state);
            if state.crashed {
                return Err(crash_error());
            }
        }
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let fault = state.faults.iter_mut().find_map(|plan| plan.meet(call, &texts));
        state.faults.retain(|plan| !plan.is_spent());
        let trouble =
            fault.map(|fault| Trouble { error: fault.error(), bytes: fault.bytes(), crash: false });
        Ok((state, trouble))
    }
}
