//! The thread that makes all calls of one participant in one backup.
//!
//! It keeps the rules that the participant was promised: each `freeze` is followed by exactly one
//! `thaw`, each `prepare` of a backup that fails by exactly one `abort`, after the thaw. It depends on
//! nobody for that: it watches the limit of the frozen time by itself, and if the orders end without a
//! word (the thread of the backup is gone) that is an abort.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, unbounded};
use parking_lot::Mutex;

use super::crew::failed;
use crate::disk::Disk;
use crate::error::{Error, ErrorKind, Result, code};
use crate::lock::LockManager;
use crate::store::{Participant, Participation, Registered};

/// How soon the limit of the frozen time is looked at again.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// A call that is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Prepare,
    Freeze,
    Thaw,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Step::Prepare => "prepare",
            Step::Freeze => "freeze",
            Step::Thaw => "thaw",
        })
    }
}

/// What the thread is to do.
#[derive(Clone, Copy, Debug)]
pub(super) enum Order {
    /// Call, and answer.
    Call(Step),
    /// Thaw if frozen: the backup was stopped.
    LetGo,
    /// The backup failed.
    Abort,
    /// The backup succeeded.
    Dismiss,
}

/// What a call came to.
pub(super) struct Answer {
    pub(super) step: Step,
    pub(super) result: Result<()>,
}

/// How long the calls took, so far.
#[derive(Default)]
pub(super) struct Times {
    pub(super) prepare: Duration,
    pub(super) freeze: Duration,
    pub(super) frozen: Duration,
    pub(super) thaw: Duration,
    /// It was thawed at the limit of the frozen time.
    pub(super) expired: bool,
}

/// The ends of the lines to a thread.
pub(super) struct Begun {
    pub(super) orders: Sender<Order>,
    pub(super) answers: Receiver<Answer>,
    pub(super) times: Arc<Mutex<Times>>,
}

/// Begins the thread of `registered`.
pub(super) fn begin(
    registered: &Registered,
    clock: &Arc<dyn Disk>,
    locks: &[Arc<LockManager>],
    number: u32,
) -> Result<Begun> {
    let ((orders, taken), (tell, answers)) = (unbounded(), unbounded());
    let times = Arc::new(Mutex::new(Times::default()));
    let (registered, locks) = (registered.clone(), locks.to_vec());
    let (clock, noted) = (clock.clone(), times.clone());
    let run = move || {
        let _scopes: Vec<_> = locks.iter().map(|locks| locks.callback_scope()).collect();
        // Only a call of an earlier backup that never returned can have it.
        let Some(mut participant) = registered.participant.try_lock() else {
            let result = Err(failed(&registered.name, "has not ended a call of an earlier backup"));
            let _gone = tell.send(Answer { step: Step::Prepare, result });
            return;
        };
        let (name, limit) = (&*registered.name, registered.terms.limits.frozen);
        let participant = &mut **participant;
        Actor {
            participant,
            name,
            limit,
            number,
            orders: &taken,
            answers: &tell,
            clock: &*clock,
            times: &noted,
            prepared: false,
            frozen_since: None,
        }
        .run();
    };
    std::thread::Builder::new().name("stillpoint-participant".into()).spawn(run).map_err(
        |cause| {
            let message = "cannot start the thread of a participant";
            Error::new(ErrorKind::Io, message).because(cause)
        },
    )?;
    Ok(Begun { orders, answers, times })
}

struct Actor<'a> {
    participant: &'a mut dyn Participant,
    name: &'a str,
    limit: Duration,
    number: u32,
    orders: &'a Receiver<Order>,
    answers: &'a Sender<Answer>,
    clock: &'a dyn Disk,
    times: &'a Mutex<Times>,
    /// `prepare` was called.
    prepared: bool,
    /// `freeze` was called, and returned then; `thaw` was not yet.
    frozen_since: Option<Duration>,
}

impl Actor<'_> {
    fn run(mut self) {
        loop {
            match self.next() {
                Order::Call(step) => {
                    let result = self.step(step);
                    let _gone = self.answers.send(Answer { step, result });
                }
                Order::LetGo => drop(self.thaw()),
                Order::Dismiss => {
                    drop(self.thaw());
                    return;
                }
                Order::Abort => {
                    drop(self.thaw());
                    if self.prepared {
                        // The backup has failed already: a panic in here changes nothing any more.
                        let _panic = catch_unwind(AssertUnwindSafe(|| self.participant.abort()));
                    }
                    return;
                }
            }
        }
    }

    /// The next order. While frozen it watches the limit.
    fn next(&mut self) -> Order {
        loop {
            let Some(since) = self.frozen_since else {
                return self.orders.recv().unwrap_or(Order::Abort);
            };
            match self.orders.recv_timeout(LOOK_AGAIN) {
                Ok(order) => return order,
                Err(RecvTimeoutError::Disconnected) => return Order::Abort,
                Err(RecvTimeoutError::Timeout) => {}
            }
            if self.clock.elapsed().saturating_sub(since) >= self.limit {
                self.times.lock().expired = true;
                drop(self.thaw());
            }
        }
    }

    fn step(&mut self, step: Step) -> Result<()> {
        match step {
            Step::Prepare => {
                self.prepared = true;
                let number = self.number;
                let (result, took) = self.call(step, |one| one.prepare(number));
                self.times.lock().prepare = took;
                result
            }
            Step::Freeze => {
                let (result, took) = self.call(step, |one| one.freeze());
                self.times.lock().freeze = took;
                self.frozen_since = Some(self.clock.elapsed());
                result
            }
            Step::Thaw => self.thaw(),
        }
    }

    fn thaw(&mut self) -> Result<()> {
        let Some(since) = self.frozen_since.take() else { return Ok(()) };
        let frozen = self.clock.elapsed().saturating_sub(since);
        let (result, took) = self.call(Step::Thaw, |one| one.thaw());
        let mut times = self.times.lock();
        (times.frozen, times.thaw) = (frozen, took);
        result
    }

    fn call(
        &mut self,
        step: Step,
        call: impl FnOnce(&mut dyn Participant) -> Participation,
    ) -> (Result<()>, Duration) {
        let began = self.clock.elapsed();
        let answer = catch_unwind(AssertUnwindSafe(|| call(self.participant)));
        let took = self.clock.elapsed().saturating_sub(began);
        let result = match answer {
            Ok(Ok(())) => Ok(()),
            Ok(Err(cause)) => Err(failed(self.name, &format!("failed to {step}"))
                .because(std::io::Error::other(cause))),
            Err(_) => {
                Err(failed(self.name, &format!("panicked in its `{step}`")).with_code(code::HOOK))
            }
        };
        (result, took)
    }
}
