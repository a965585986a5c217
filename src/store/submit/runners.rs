//! The threads that run submitted transactions, whatever these are.
//!
//! Invariant: one runner at a time, the one that has the turn, waits for the submission at the head,
//! claims it and runs it. It hands the turn on when the transaction has all its locks and stands in the
//! commit line, or has ended without. So submitted transactions are performed in the order in which
//! they were submitted, as though one thread ran them all, and those that wait for a sync still share
//! it. There are runners only while there is work, and for a moment after.

use crate::store::background::Background;
use crate::{Error, ErrorKind, Result};
use parking_lot::{Condvar, Mutex};
use std::cell::Cell;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// How long a runner without work stays.
const LINGER: Duration = Duration::from_millis(200);

/// A submitted transaction, whatever its types.
pub(super) trait Submission: Send + Sync {
    /// The number of its ticket.
    fn id(&self) -> u64;

    /// Whether [`claim`](Submission::claim) would not wait.
    fn is_ready(&self) -> bool;

    /// Waits for its grant. `None` where there is nothing (more) to run.
    fn claim(self: Arc<Self>) -> Option<Run>;
}

/// A transaction that is to be run. It calls what it is given when the next one may begin.
pub(super) type Run = Box<dyn FnOnce(&mut dyn FnMut())>;

thread_local!(static PERFORMED: Cell<(usize, u64)> = const { Cell::new((0, 0)) });

/// What the calling thread performs right now: which runners' work, and the number of its ticket.
struct Performing;

impl Performing {
    fn begin(runners: &Runners, id: u64) -> Performing {
        PERFORMED.set((runners.address(), id));
        Performing
    }
}

impl Drop for Performing {
    fn drop(&mut self) {
        PERFORMED.set((0, 0));
    }
}

/// The queue of submissions and the threads that run them.
pub(crate) struct Runners {
    /// How many threads there may be; none where nothing runs by itself.
    most: usize,
    pub(super) queue: Mutex<Queue>,
    more: Condvar,
    /// Held by the runner that waits for, or runs, the head of the queue.
    turn: Mutex<()>,
}

#[derive(Default)]
pub(super) struct Queue {
    pub(super) waiting: VecDeque<Arc<dyn Submission>>,
    threads: usize,
    /// Threads that run nothing: at the head, waiting for the turn, or about to end.
    free: usize,
}

impl Runners {
    pub(crate) fn new(most: usize, background: Background) -> Arc<Runners> {
        let most = if background == Background::Stepped { 0 } else { most.max(1) };
        let (queue, more, turn) = Default::default();
        Arc::new(Runners { most, queue, more, turn })
    }

    fn serve(self: Arc<Runners>) {
        loop {
            let mut turn = Some(self.turn.lock());
            let Some(next) = self.next() else { return };
            let id = next.id();
            let Some(run) = next.claim() else { continue };
            let mut performing = Some(Performing::begin(&self, id));
            run(&mut || {
                performing = None;
                if turn.take().is_some() {
                    self.leave_the_head();
                }
            });
            debug_assert!(turn.is_none(), "every transaction hands the turn on");
            self.queue.lock().free += 1;
        }
    }

    /// Runs the transaction at the head of the queue on the calling thread, where there are no others.
    /// Returns whether there was one that could run.
    pub(crate) fn step(&self) -> bool {
        if self.most > 0 {
            return false;
        }
        let Some(turn) = self.turn.try_lock() else { return false };
        let next = {
            let mut queue = self.queue.lock();
            match queue.waiting.front() {
                Some(next) if next.is_ready() => queue.waiting.pop_front(),
                _ => None,
            }
        };
        let Some(next) = next else { return false };
        let id = next.id();
        if let Some(run) = next.claim() {
            let (mut turn, mut performing) = (Some(turn), Some(Performing::begin(self, id)));
            run(&mut || {
                performing = None;
                turn = None;
            });
        }
        true
    }

    fn address(&self) -> usize {
        std::ptr::from_ref(self) as usize
    }

    /// The number of the submission of these runners that the calling thread performs, if it does.
    pub(super) fn performed_here(&self) -> Option<u64> {
        let (runners, id) = PERFORMED.get();
        (runners == self.address()).then_some(id)
    }

    /// Sees that another runner stands at the head while this one ends what it took from there.
    fn leave_the_head(self: &Arc<Runners>) {
        let mut queue = self.queue.lock();
        queue.free -= 1;
        if !queue.waiting.is_empty() {
            self.summon(&mut queue).expect("there is a runner already: this one");
        }
    }

    /// The head of the queue; `None` when there has been none for a while, and the caller has to
    /// end.
    fn next(&self) -> Option<Arc<dyn Submission>> {
        let mut queue = self.queue.lock();
        if queue.waiting.is_empty() {
            self.more.wait_for(&mut queue, LINGER);
        }
        let next = queue.waiting.pop_front();
        if next.is_none() {
            queue.threads -= 1;
            queue.free -= 1;
        }
        next
    }

    /// Sees that there is a runner for what was put into `queue`.
    pub(super) fn summon(self: &Arc<Runners>, queue: &mut Queue) -> Result<()> {
        self.more.notify_one();
        if self.most == 0 {
            return Ok(());
        }
        if queue.free > 0 || queue.threads >= self.most {
            return Ok(());
        }
        let runners = self.clone();
        let name = "stillpoint-submit".to_owned();
        match std::thread::Builder::new().name(name).spawn(move || runners.serve()) {
            Ok(_) => {
                queue.threads += 1;
                queue.free += 1;
                Ok(())
            }
            // The others will come to it.
            Err(_) if queue.threads > 0 => Ok(()),
            Err(cause) => {
                Err(Error::new(ErrorKind::Io, "cannot start a thread for submitted work")
                    .because(cause))
            }
        }
    }
}
