//! Several commit lines at one instant.
//!
//! Each store of a group has a seat. Its seal (see `line.rs`) stands in its own commit line, and when
//! it leads there it waits until the lines of all the others are held too: that is the instant. Then
//! each seals what is before its line and lets go.
//!
//! Invariants:
//! 1. A line is held only by the thread that leads it, and for [`Rendezvous::limit`] at most, counted by
//!    its own clock: nobody else has to be alive for it to be let go.
//! 2. The lines are taken in the order of the seats, so two groups never wait for each other.
//! 3. The instant comes for all or for none. Whoever cannot come fails it for all.
//!
//! Why that is one instant: whatever was committed in one store after a commit in another was
//! acknowledged is in the archive of the first only if it stood before that line was held, and then the
//! other commit stood before too.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex, MutexGuard};

use crate::error::{Error, ErrorKind, Result, code};

/// How soon somebody who waits looks at clock and Stop again.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// Where the stores of a group meet.
pub(crate) struct Rendezvous {
    seats: usize,
    limit: Duration,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// How many lines are held: those of the first seats.
    holding: usize,
    over: Option<Result<()>>,
}

impl Rendezvous {
    /// For `seats` stores. No line is held for longer than `limit` before the instant.
    pub(crate) fn new(seats: usize, limit: Duration) -> Arc<Rendezvous> {
        Arc::new(Rendezvous { seats, limit, state: Mutex::default(), changed: Condvar::new() })
    }

    /// Lets everybody go because of `cause`; after the instant it does nothing.
    pub(crate) fn fail(&self, cause: &Error) {
        let mut state = self.state.lock();
        if state.over.is_none() {
            state.over = Some(Err(cause.clone()));
            self.changed.notify_all();
        }
    }

    /// Waits until the lines of all seats before `seat` are held, so that this one may be.
    ///
    /// # Errors
    /// What failed the meeting; an error of `check`, which is asked again and again.
    pub(crate) fn turn(&self, seat: usize, check: &mut dyn FnMut() -> Result<()>) -> Result<()> {
        let mut state = self.state.lock();
        while state.over.is_none() && state.holding < seat {
            self.changed.wait_for(&mut state, LOOK_AGAIN);
            MutexGuard::unlocked(&mut state, &mut *check)?;
        }
        state.over.clone().unwrap_or(Ok(()))
    }

    /// Holds the line that the caller leads until the instant.
    pub(super) fn hold(&self, now: impl Fn() -> Duration) -> Result<()> {
        let until = now().saturating_add(self.limit);
        let mut state = self.state.lock();
        state.holding += 1;
        if state.holding == self.seats && state.over.is_none() {
            state.over = Some(Ok(()));
        }
        self.changed.notify_all();
        loop {
            if let Some(over) = &state.over {
                return over.clone();
            }
            if now() >= until {
                state.over = Some(Err(too_late(self.limit)));
                self.changed.notify_all();
                continue;
            }
            self.changed.wait_for(&mut state, LOOK_AGAIN);
        }
    }
}

fn too_late(limit: Duration) -> Error {
    let message = format!("the commit lines of all stores could not be held within {limit:?}");
    Error::new(ErrorKind::Timeout, message)
        .with_code(code::TRANSACTION_TIMEOUT)
        .hint("A disk under one of the stores may be slow. Everybody was let go at once.")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};

    #[test]
    fn the_instant_comes_when_the_last_line_is_held_and_in_the_order_of_seats() {
        let meeting = Rendezvous::new(3, Duration::from_secs(60));
        let order = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            for seat in [2, 0, 1] {
                let (meeting, order) = (&meeting, &order);
                scope.spawn(move || {
                    meeting.turn(seat, &mut || Ok(())).unwrap();
                    order.lock().push(seat);
                    meeting.hold(|| Duration::ZERO).unwrap();
                    assert_eq!(order.lock().len(), 3);
                });
            }
        });
        assert_eq!(*order.lock(), [0, 1, 2]);
    }

    #[test]
    fn a_line_is_let_go_at_the_limit_though_nobody_else_is_alive() {
        let meeting = Rendezvous::new(2, Duration::from_secs(1));
        let clock = AtomicU64::new(0);
        let now = || Duration::from_millis(clock.fetch_add(400, Ordering::SeqCst));
        let error = meeting.hold(now).unwrap_err();
        assert_eq!((error.kind(), error.code()), (ErrorKind::Timeout, 1405));
        let late = meeting.turn(1, &mut || Ok(())).unwrap_err();
        assert_eq!(late.code(), 1405);
    }

    #[test]
    fn who_fails_lets_all_go_and_nobody_can_fail_it_after_the_instant() {
        let meeting = Rendezvous::new(2, Duration::from_secs(60));
        std::thread::scope(|scope| {
            let held = scope.spawn(|| meeting.hold(|| Duration::ZERO));
            meeting.turn(1, &mut || Ok(())).unwrap();
            meeting.fail(&Error::new(ErrorKind::Stopped, "stopped"));
            assert_eq!(held.join().unwrap().unwrap_err().kind(), ErrorKind::Stopped);
        });
        let meeting = Rendezvous::new(1, Duration::ZERO);
        meeting.hold(|| Duration::ZERO).unwrap();
        meeting.fail(&Error::new(ErrorKind::Stopped, "stopped"));
        meeting.turn(0, &mut || Ok(())).unwrap();
    }
}
