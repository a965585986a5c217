//! What runs on threads of its own and must have ended before a store counts as closed: backups.
//!
//! Invariants: whatever is entered here can be stopped from outside, and leaves when it has let go of
//! everything of the store's; nothing enters once it was stopped. The wait for their end is bounded: a
//! destination that hangs does not keep the application from ending.

use crate::{Error, ErrorKind, Result};
use parking_lot::{Condvar, Mutex};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// How long closing waits for what it has stopped.
const PATIENCE: Duration = Duration::from_secs(30);

/// Stops it; where told so, lets go of those whom it keeps waiting, too.
type Stop = Arc<dyn Fn(Stopping) + Send + Sync>;

/// The two steps of stopping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stopping {
    /// It is to end at its next step.
    Announced,
    /// It keeps nobody waiting any more.
    LetGo,
}

/// The backups that run on an open store.
#[derive(Default)]
pub(crate) struct Running {
    state: Mutex<State>,
    left: Condvar,
}

#[derive(Default)]
struct State {
    stopped: bool,
    entered: BTreeMap<u64, Stop>,
    next: u64,
}

/// Something that runs, until it is dropped.
pub(crate) struct Act {
    running: Arc<Running>,
    number: u64,
}

impl Running {
    /// Enters something that `stop` stops.
    ///
    /// # Errors
    /// [`ErrorKind::Closed`].
    pub(crate) fn enter(
        self: &Arc<Self>,
        stop: impl Fn(Stopping) + Send + Sync + 'static,
    ) -> Result<Act> {
        let mut state = self.state.lock();
        if state.stopped {
            return Err(Error::new(ErrorKind::Closed, "the store is closed"));
        }
        state.next += 1;
        let number = state.next;
        state.entered.insert(number, Arc::new(stop));
        Ok(Act { running: self.clone(), number })
    }

    /// Stops all of it, one step of it, and lets no more in. Does not wait.
    pub(crate) fn stop(&self, step: Stopping) {
        let mut state = self.state.lock();
        state.stopped = true;
        let stops: Vec<Stop> = state.entered.values().cloned().collect();
        // It may wake tasks of the application: not under a lock.
        drop(state);
        stops.iter().for_each(|stop| stop(step));
    }

    /// Waits until all of it has left.
    ///
    /// # Errors
    /// [`ErrorKind::Timeout`] after half a minute.
    pub(crate) fn wait(&self) -> Result<()> {
        let mut state = self.state.lock();
        let still_runs = |state: &mut State| !state.entered.is_empty();
        if self.left.wait_while_for(&mut state, still_runs, PATIENCE).timed_out() {
            let message = "a backup was stopped and has not ended within 30 seconds";
            return Err(Error::new(ErrorKind::Timeout, message).hint(
                "Its destination may hang. The store is closed, and its folder is in use until the \
                 backup ends.",
            ));
        }
        Ok(())
    }
}

impl Drop for Act {
    fn drop(&mut self) {
        let stop = self.running.state.lock().entered.remove(&self.number);
        self.running.left.notify_all();
        drop(stop);
    }
}
