//! The participants of one backup: who calls them, when, and what becomes of the answers.
//!
//! Each has a thread of its own for the length of the backup, which makes all its calls. So a call that
//! hangs holds up nothing but its own participant, and the rules of exactly-once are kept in one place,
//! by one thread (`actor.rs`), whatever happens to the backup: if the crew is dropped, also by a panic,
//! the threads see to the calls that are due.
//!
//! Invariants: `freeze` is called only where every `prepare` has succeeded, and the pin comes only where
//! every `freeze` has; nobody is called under a lock; nobody is waited for beyond the limit of the call,
//! by the store's clock.

use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};

use super::actor::{self, Answer, Order, Step, Times};
use super::report::ParticipantReport;
use crate::disk::Disk;
use crate::error::{Error, ErrorKind, Result, code};
use crate::lock::LockManager;
use crate::store::{HoldUntil, Registered};

/// How soon somebody who waits for an answer looks at clock and Stop again.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// What can be asked again and again while an answer is waited for; an error ends the wait.
pub(super) type Check<'c> = &'c dyn Fn() -> Result<()>;

pub(super) struct Crew {
    clock: Arc<dyn Disk>,
    members: Vec<Member>,
}

struct Member {
    registered: Registered,
    orders: Sender<Order>,
    answers: Receiver<Answer>,
    times: Arc<parking_lot::Mutex<Times>>,
    thawed: bool,
    error: Option<Error>,
}

/// What a participant that was not held as long as it asked for came to.
pub(super) struct Thawed {
    /// It was frozen until now, as it had asked for.
    pub(super) in_time: bool,
    pub(super) error: Option<Error>,
}

impl Crew {
    /// Nobody yet; limits count by `clock`.
    pub(super) fn new(clock: &Arc<dyn Disk>) -> Crew {
        Crew { clock: clock.clone(), members: Vec::new() }
    }

    /// Gives each of `all` its thread. Operations on the stores of `locks` from there are refused where
    /// they would wait.
    ///
    /// # Errors
    /// The system gives no thread. Those that were begun end, without a call.
    pub(super) fn muster(
        &mut self,
        all: &[Registered],
        locks: &[Arc<LockManager>],
        number: u32,
    ) -> Result<()> {
        for registered in all {
            let begun = actor::begin(registered, &self.clock, locks, number)?;
            self.members.push(Member {
                registered: registered.clone(),
                orders: begun.orders,
                answers: begun.answers,
                times: begun.times,
                thawed: false,
                error: None,
            });
        }
        Ok(())
    }

    /// What lets go of everybody at once, from any thread: for Stop.
    pub(super) fn lines(&self) -> Vec<Sender<Order>> {
        self.members.iter().map(|member| member.orders.clone()).collect()
    }

    /// Calls `prepare` of all, in order.
    pub(super) fn prepare(&mut self, check: Check<'_>) -> Result<()> {
        self.all(Step::Prepare, check)
    }

    /// Calls `freeze` of all, in order.
    pub(super) fn freeze(&mut self, check: Check<'_>) -> Result<()> {
        self.all(Step::Freeze, check)
    }

    fn all(&mut self, step: Step, check: Check<'_>) -> Result<()> {
        for member in &mut self.members {
            let called = member.call(&*self.clock, step, check);
            called.inspect_err(|error| member.error = Some(error.clone()))?;
        }
        Ok(())
    }

    /// Sees, right after the pin, that everybody was frozen at that instant.
    pub(super) fn check_frozen(&self) -> Result<()> {
        match self.members.iter().find(|member| member.times.lock().expired) {
            Some(late) => Err(late.thawed_early()),
            None => Ok(()),
        }
    }

    /// Calls `thaw` of those that were to be held until the pin, in the opposite order. What one of
    /// them did wrong is in its report, and does not stop the backup.
    pub(super) fn thaw_pinned(&mut self) -> Vec<Error> {
        let all = (0..self.members.len()).rev();
        let pinned: Vec<usize> = all
            .filter(|index| self.members[*index].registered.terms.hold == HoldUntil::Pin)
            .collect();
        pinned.into_iter().filter_map(|index| self.thaw(index).error).collect()
    }

    /// Those that are to be held until their files are copied, in the order in which that is done.
    pub(super) fn held_until_copied(&self) -> Vec<usize> {
        let all = (0..self.members.len()).rev();
        all.filter(|index| self.members[*index].registered.terms.hold == HoldUntil::Copied)
            .collect()
    }

    /// Calls `thaw` of one, unless it was called.
    pub(super) fn thaw(&mut self, index: usize) -> Thawed {
        let member = &mut self.members[index];
        if std::mem::replace(&mut member.thawed, true) {
            return Thawed { in_time: true, error: None };
        }
        let mut error = member.call(&*self.clock, Step::Thaw, &|| Ok(())).err();
        let in_time = !member.times.lock().expired;
        if !in_time {
            error = Some(member.thawed_early());
        }
        member.error.clone_from(&error);
        Thawed { in_time, error }
    }

    /// What each of them did, with its times.
    pub(super) fn reports(&self) -> Vec<ParticipantReport> {
        self.members.iter().map(Member::report).collect()
    }

    /// The backup has ended. If it failed, `abort` of all that were prepared is called, in the opposite
    /// order, each after its `thaw`.
    pub(super) fn end(&mut self, success: bool) {
        self.dismiss(if success { Order::Dismiss } else { Order::Abort });
    }

    fn dismiss(&mut self, order: Order) {
        for member in std::mem::take(&mut self.members).into_iter().rev() {
            let limits = &member.registered.terms.limits;
            let until = self.clock.elapsed() + limits.thaw + limits.abort;
            // A thread that has ended has made its calls.
            let _ended = member.orders.send(order);
            while self.clock.elapsed() < until {
                match member.answers.recv_timeout(LOOK_AGAIN) {
                    Err(RecvTimeoutError::Disconnected) => break,
                    Ok(_) | Err(RecvTimeoutError::Timeout) => {}
                }
            }
        }
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        self.dismiss(Order::Abort);
    }
}

impl Member {
    fn call(&self, clock: &dyn Disk, step: Step, check: Check<'_>) -> Result<()> {
        let limits = &self.registered.terms.limits;
        let limit = match step {
            Step::Prepare => limits.prepare,
            Step::Freeze => limits.freeze,
            Step::Thaw => limits.thaw,
        };
        let until = clock.elapsed() + limit;
        let _gone = self.orders.send(Order::Call(step));
        loop {
            match self.answers.recv_timeout(LOOK_AGAIN) {
                Ok(answer) if answer.step == step => return answer.result,
                // The answer to a call that was given up before.
                Ok(_) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(self.failed(&format!("ended before its `{step}`")));
                }
                Err(RecvTimeoutError::Timeout) => check()?,
            }
            if clock.elapsed() >= until {
                let message = format!("did not end its `{step}` within {limit:?}");
                return Err(self.failed(&message).hint(
                    "The thread of the call is left to end, and makes then what calls are due.",
                ));
            }
        }
    }

    fn failed(&self, what: &str) -> Error {
        failed(&self.registered.name, what)
    }

    fn thawed_early(&self) -> Error {
        let limit = self.registered.terms.limits.frozen;
        self.failed(&format!(
            "was frozen for {limit:?}, as long as it may be, and went on too early"
        ))
    }

    fn report(&self) -> ParticipantReport {
        let times = self.times.lock();
        ParticipantReport {
            name: self.registered.name.to_string(),
            hold: self.registered.terms.hold,
            prepare: times.prepare,
            freeze: times.freeze,
            frozen: times.frozen,
            thaw: times.thaw,
            error: self.error.clone(),
        }
    }
}

/// The error of a backup that a participant fails.
pub(super) fn failed(name: &str, what: &str) -> Error {
    let message = format!("the participant \"{name}\" {what}");
    Error::new(ErrorKind::BackupFailed, message).with_code(code::PARTICIPANT)
}
