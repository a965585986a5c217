//! The threads that run submitted transactions, whatever these are.
//!
//! Invariant: one runner at a time, the one that has the turn, waits for the submission at the head,
//! claims it, hands the turn on and runs it; so they start in the order in which they stand in line.
//! There are runners only while there is work, and for a moment after.

use crate::{Error, ErrorKind, Result};
use parking_lot::{Condvar, Mutex};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// How long a runner without work stays.
const LINGER: Duration = Duration::from_millis(200);

/// A submitted transaction, whatever its types.
pub(super) trait Submission: Send + Sync {
    /// Waits for its grant. `None` where there is nothing (more) to run.
    fn claim(self: Arc<Self>) -> Option<Box<dyn FnOnce() + Send>>;
}

/// The queue of submissions and the threads that run them.
pub(crate) struct Runners {
    most: usize,
    pub(super) queue: Mutex<Queue>,
    more: Condvar,
    /// Held by the runner that waits for the head of the queue.
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
    pub(crate) fn new(most: usize) -> Arc<Runners> {
        let (queue, more, turn) = Default::default();
        Arc::new(Runners { most, queue, more, turn })
    }

    fn serve(self: Arc<Runners>) {
        loop {
            let turn = self.turn.lock();
            let Some(next) = self.next() else { return };
            let Some(run) = next.claim() else { continue };
            drop(turn);
            self.leave_the_head();
            run();
            self.queue.lock().free += 1;
        }
    }

    /// Sees that another runner stands at the head while this one runs what it took from there.
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
