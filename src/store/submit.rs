//! Whole transactions that wait in the queue, instead of threads that do.
//!
//! Invariants: a submitted transaction starts only when each one submitted before it has ended, or has
//! all its locks and its place in the commit line, so the order of submission is the order of effect;
//! a closure that was not performed comes back, in the ticket's cancellation or in [`Rejected`]; a
//! closure that panics ends itself and nobody else; nobody waits for a transaction that waits for him.
//!
//! Each transaction waits on a write ticket of its own, which was asked for in the order of
//! submission. Who takes them up is the business of `runners`.

mod runners;

use super::Store;
use super::job::Label;
use super::ticket::WriteTicket;
use super::transact::Terms;
use super::write::WriteHandle;
use crate::lock::{TicketState, WaitedBy, refuse};
use crate::{Error, ErrorKind, Result};
use parking_lot::{Condvar, Mutex};
use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

pub(crate) use runners::Runners;
use runners::{Run, Submission};

/// How soon whoever waits for a transaction looks again whether he is in its way.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// A transaction that was not performed, with the reason and the closure.
#[non_exhaustive]
pub struct Rejected<F> {
    /// Why.
    pub error: Error,
    /// The closure, to be submitted again. `None` where it panicked, and where it waits for itself.
    pub work: Option<F>,
}

impl<F> fmt::Debug for Rejected<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rejected").field("error", &self.error).finish_non_exhaustive()
    }
}

impl<F> fmt::Display for Rejected<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the transaction was not performed")
    }
}

impl<F> std::error::Error for Rejected<F> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}

impl<F> From<Rejected<F>> for Error {
    fn from(rejected: Rejected<F>) -> Error {
        rejected.error
    }
}

/// A transaction that was submitted. Dropping this lets it run; [`cancel`](SubmitTicket::cancel)
/// stops it.
///
/// As a future it needs no runtime; it resolves when the transaction has ended. Polled from inside a
/// callback of the backup that it waits for, it is rejected with 2005 and the closure, as by
/// [`wait`](SubmitTicket::wait).
pub struct SubmitTicket<F, T> {
    id: u64,
    store: Store,
    slot: Arc<Slot<F, T>>,
}

/// What runner and ticket share.
struct Slot<F, T> {
    id: u64,
    state: Mutex<State<F, T>>,
    ended: Condvar,
    waker: Mutex<Option<Waker>>,
    job: Option<Arc<Label>>,
    waited_by: WaitedBy,
}

enum State<F, T> {
    /// In the queue.
    Queued(WriteTicket, F),
    /// A runner waits for its grant, or runs it.
    Taken,
    /// It ended, and nobody has asked yet.
    Ended(Result<T, Rejected<F>>),
    /// The end was handed out.
    Spent,
}

impl<F, T> SubmitTicket<F, T>
where
    F: FnMut(&WriteHandle) -> Result<T> + Send + 'static,
    T: Send + 'static,
{
    /// Its number, as in [`PendingWrite`](crate::lock::PendingWrite) and for
    /// [`Store::cancel_pending`].
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Waits until the transaction has ended, and gives what the closure returned.
    ///
    /// # Errors
    /// [`Rejected`] with the closure: where its wait was cancelled, where the closure returned an
    /// error, where the commit failed; where this thread would wait for itself: from inside a
    /// callback of the backup (2005), or while it holds what the transaction waits for, or runs a
    /// transaction that was submitted before (1404).
    pub fn wait(self) -> Result<T, Rejected<F>> {
        let slot = self.slot.clone();
        let _mark = slot.waited_by.this_thread();
        loop {
            // Where nothing runs by itself, whoever waits runs what comes before.
            while !self.has_ended() && self.store.inner().runners.step() {}
            if let Some(end) = self.end_within(LOOK_AGAIN, || self.own_wait().is_some()) {
                return end;
            }
            let Some(error) = self.own_wait() else { continue };
            if let Some(work) = self.take_back() {
                return Err(Rejected { error, work: Some(work) });
            }
            if self.is_performed_here() {
                return Err(Rejected { error, work: None });
            }
            // It has begun after all.
        }
    }

    /// The end, where it comes within `limit`; looks only once where `at_once` says so.
    fn end_within(
        &self,
        limit: Duration,
        at_once: impl FnOnce() -> bool,
    ) -> Option<Result<T, Rejected<F>>> {
        let take = |state: &mut State<F, T>| match std::mem::replace(state, State::Spent) {
            State::Ended(end) => Some(end),
            other => {
                *state = other;
                None
            }
        };
        if let Some(end) = take(&mut self.slot.state.lock()) {
            return Some(end);
        }
        if at_once() {
            return None;
        }
        let mut state = self.slot.state.lock();
        if let Some(end) = take(&mut state) {
            return Some(end);
        }
        self.slot.ended.wait_for(&mut state, limit);
        take(&mut state)
    }

    /// Takes the transaction out of the queue and gives its closure back.
    ///
    /// # Errors
    /// The ticket itself where the transaction has begun or ended: what was begun is not undone.
    pub fn cancel(self) -> Result<F, SubmitTicket<F, T>> {
        self.take_back().ok_or(self)
    }
}

impl<F, T> SubmitTicket<F, T> {
    /// Why a wait of the calling thread would be one for itself.
    fn own_wait(&self) -> Option<Error> {
        let inner = self.store.inner();
        if inner.runners.performed_here().is_some() {
            let is_before = matches!(*self.slot.state.lock(), State::Taken | State::Ended(_));
            if !is_before || self.is_performed_here() {
                return Some(refuse::inside_submitted());
            }
        }
        inner.locks.check_wait(self.id).err()
    }

    fn has_ended(&self) -> bool {
        matches!(*self.slot.state.lock(), State::Ended(_))
    }

    fn is_performed_here(&self) -> bool {
        self.store.inner().runners.performed_here() == Some(self.id)
    }

    /// The closure, where the transaction has not begun.
    fn take_back(&self) -> Option<F> {
        {
            let mut state = self.slot.state.lock();
            match std::mem::replace(&mut *state, State::Spent) {
                State::Queued(place, work) => {
                    drop(state);
                    drop(place.cancel());
                    return Some(work);
                }
                other => *state = other,
            }
        }
        if !self.store.cancel_pending(self.id) {
            return None;
        }
        // The runner at the head is told so now, and gives the closure up.
        let mut state = self.slot.state.lock();
        loop {
            match std::mem::replace(&mut *state, State::Spent) {
                State::Ended(Err(Rejected { work: Some(work), .. })) => return Some(work),
                other => *state = other,
            }
            self.slot.ended.wait(&mut state);
        }
    }

    fn poll_end(&self, context: &Context<'_>) -> Option<Result<T, Rejected<F>>> {
        // To copy or drop a waker is foreign code, so neither is done under a lock.
        let waker = context.waker().clone();
        let mut state = self.slot.state.lock();
        match std::mem::replace(&mut *state, State::Spent) {
            State::Ended(end) => Some(end),
            other => {
                *state = other;
                let former = self.slot.waker.lock().replace(waker);
                drop(state);
                drop(former);
                None
            }
        }
    }
}

impl<F, T> Future for SubmitTicket<F, T> {
    type Output = Result<T, Rejected<F>>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some(end) = self.poll_end(context) {
            return Poll::Ready(end);
        }
        // Whoever polls from inside a callback, or a transaction, waits for it there, or his executor
        // does.
        let inner = self.store.inner();
        let error = match inner.runners.performed_here() {
            Some(_) => self.own_wait(),
            None => inner.locks.check_poll(self.id).err(),
        };
        let Some(error) = error else { return Poll::Pending };
        match self.take_back() {
            Some(work) => Poll::Ready(Err(Rejected { error, work: Some(work) })),
            None if self.is_performed_here() => Poll::Ready(Err(Rejected { error, work: None })),
            // It has begun after all.
            None => Poll::Pending,
        }
    }
}

impl<F, T> fmt::Debug for SubmitTicket<F, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SubmitTicket").field("id", &self.id).finish_non_exhaustive()
    }
}

impl<F, T> Submission for Slot<F, T>
where
    F: FnMut(&WriteHandle) -> Result<T> + Send + 'static,
    T: Send + 'static,
{
    fn id(&self) -> u64 {
        self.id
    }

    fn is_ready(&self) -> bool {
        match &*self.state.lock() {
            State::Queued(place, _) => place.state() != TicketState::Waiting,
            State::Taken | State::Ended(_) | State::Spent => true,
        }
    }

    fn claim(self: Arc<Self>) -> Option<Run> {
        let (place, mut work) = {
            let mut state = self.state.lock();
            match std::mem::replace(&mut *state, State::Taken) {
                State::Queued(place, work) => (place, work),
                other => {
                    *state = other;
                    return None;
                }
            }
        };
        match place.wait() {
            Err(error) => {
                self.end(Err(Rejected { error, work: Some(work) }));
                None
            }
            Ok(handle) => Some(Box::new(move |next_may_begin| {
                let store = handle.store();
                let terms = Terms { job: self.job.as_ref(), waited_by: Some(&self.waited_by) };
                let run = || store.run(handle, terms, &mut work, next_may_begin);
                let end = match catch_unwind(AssertUnwindSafe(run)) {
                    Ok(Ok(value)) => Ok(value),
                    Ok(Err(error)) => Err(Rejected { error, work: Some(work) }),
                    Err(_) => Err(Rejected { error: panicked(), work: None }),
                };
                // Whoever waits for the end may open the store anew next, and must find nobody else
                // holding it.
                drop(store);
                next_may_begin();
                self.end(end);
            })),
        }
    }
}

fn panicked() -> Error {
    Error::new(ErrorKind::Invalid, "the submitted closure panicked; nothing of it was committed")
}

impl<F, T> Slot<F, T> {
    fn end(&self, end: Result<T, Rejected<F>>) {
        *self.state.lock() = State::Ended(end);
        self.ended.notify_all();
        let waker = self.waker.lock().take();
        waker.into_iter().for_each(Waker::wake);
    }
}

impl Store {
    /// Queues a whole transaction: `work` runs on a thread of the store when its turn comes, and is
    /// committed when it returns `Ok`. Transactions are performed in the order in which they were
    /// submitted: each one runs when those before it have run, and sees what they wrote. Only the end of
    /// a commit, its sync, is waited for side by side (by up to
    /// [`submit_threads`](crate::StoreBuilder::submit_threads) at once). So a closure that takes long, or
    /// waits for a lock, keeps those behind it waiting; for work that has no order use
    /// [`Store::transact`] on threads of your own.
    ///
    /// When its handle was chosen to break a deadlock `work` runs again, so it must be able to run more
    /// than once. It may submit more, and must not wait for that (1404).
    ///
    /// # Errors
    /// [`Rejected`], with the closure: [`ErrorKind::Busy`] when the queue is full;
    /// [`ErrorKind::Closed`].
    pub fn submit<F, T>(&self, work: F) -> Result<SubmitTicket<F, T>, Rejected<F>>
    where
        F: FnMut(&WriteHandle) -> Result<T> + Send + 'static,
        T: Send + 'static,
    {
        self.submit_as(None, work)
    }

    pub(crate) fn submit_as<F, T>(
        &self,
        job: Option<Arc<Label>>,
        work: F,
    ) -> Result<SubmitTicket<F, T>, Rejected<F>>
    where
        F: FnMut(&WriteHandle) -> Result<T> + Send + 'static,
        T: Send + 'static,
    {
        let runners = &self.inner.runners;
        // Under the queue's mutex, so that tickets and submissions have one order.
        let mut queue = runners.queue.lock();
        let waited_by = WaitedBy::default();
        let terms = Terms { job: job.as_ref(), waited_by: Some(&waited_by) };
        let place = match self.request_as(terms, None) {
            Ok(place) => place,
            Err(error) => return Err(Rejected { error, work: Some(work) }),
        };
        let id = place.id();
        let slot = Arc::new(Slot {
            id,
            state: Mutex::new(State::Queued(place, work)),
            ended: Condvar::new(),
            waker: Mutex::new(None),
            job,
            waited_by,
        });
        queue.waiting.push_back(slot.clone());
        if let Err(error) = runners.summon(&mut queue) {
            queue.waiting.pop_back();
            drop(queue);
            let state = std::mem::replace(&mut *slot.state.lock(), State::Spent);
            let work = match state {
                State::Queued(_, work) => Some(work),
                State::Taken | State::Ended(_) | State::Spent => None,
            };
            return Err(Rejected { error, work });
        }
        Ok(SubmitTicket { id, store: self.clone(), slot })
    }
}
