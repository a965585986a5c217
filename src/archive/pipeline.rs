//! Worker threads between one feeder and one collector, with the order kept.
//!
//! Invariants: at most `depth` jobs wait for a worker and as many results for the collector, so
//! memory is bounded by whoever owns the buffers; results come out in the order of the jobs,
//! whichever worker is quicker; a panic of a worker is an error in the place of its result; when
//! either end is dropped the workers stop, and dropping [`Workers`] waits for them.

use crate::error::{Error, ErrorKind, Result};
use crossbeam_channel::{Receiver, Sender, bounded};
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::{Builder, JoinHandle};

/// As a number of workers: none, the caller does all the work, disk calls included, in one order.
pub(crate) const INLINE: usize = usize::MAX;

/// How many workers to use where the caller does not say.
pub(crate) fn default_workers() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from).min(16)
}

/// How many frames are under way at once: enough that no thread starves while another one has lost
/// the processor for a moment, and a few mebibytes for each worker.
pub(crate) fn depth(workers: usize) -> usize {
    4 * workers + 4
}

/// The end at which jobs go in.
pub(crate) struct Feeder<J> {
    jobs: Sender<(u64, J)>,
    next: u64,
}

/// The end at which results come out, in order.
pub(crate) struct Collector<R> {
    results: Receiver<(u64, Result<R>)>,
    early: BTreeMap<u64, Result<R>>,
    next: u64,
}

/// The threads. To be dropped after both ends, or it waits for ever.
pub(crate) struct Workers(Vec<JoinHandle<()>>);

/// Starts `workers` threads, each with a function of its own from `make`.
///
/// # Errors
/// When a thread cannot be started, or `make` fails.
pub(crate) fn start<J, R, W>(
    workers: usize,
    depth: usize,
    mut make: impl FnMut() -> Result<W>,
) -> Result<(Feeder<J>, Collector<R>, Workers)>
where
    J: Send + 'static,
    R: Send + 'static,
    W: FnMut(J) -> Result<R> + Send + 'static,
{
    let (job_in, job_out) = bounded(depth);
    let (result_in, result_out) = bounded(depth);
    // The ends exist before the threads: if one cannot be started, the others end with the ends.
    let feeder = Feeder { jobs: job_in, next: 0 };
    let collector = Collector { results: result_out, early: BTreeMap::new(), next: 0 };
    let mut threads = Vec::with_capacity(workers);
    for _ in 0..workers.max(1) {
        let mut work = make()?;
        let (jobs, results) = (job_out.clone(), result_in.clone());
        let thread = Builder::new()
            .name("stillpoint-frames".to_string())
            .spawn(move || serve(&jobs, &results, &mut work))
            .map_err(|cause| {
                Error::new(ErrorKind::Io, "cannot start a thread for the frames").because(cause)
            })?;
        threads.push(thread);
    }
    Ok((feeder, collector, Workers(threads)))
}

fn serve<J, R>(
    jobs: &Receiver<(u64, J)>,
    results: &Sender<(u64, Result<R>)>,
    work: &mut impl FnMut(J) -> Result<R>,
) {
    while let Ok((number, job)) = jobs.recv() {
        let result = catch_unwind(AssertUnwindSafe(|| work(job))).unwrap_or_else(|_| {
            Err(Error::new(ErrorKind::BackupFailed, "a worker of the archive panicked"))
        });
        if results.send((number, result)).is_err() {
            return;
        }
    }
}

impl<J> Feeder<J> {
    /// Hands in the next job; waits while too many are waiting already.
    ///
    /// Gives the job back when no worker is left.
    pub(crate) fn send(&mut self, job: J) -> Result<(), J> {
        self.jobs.send((self.next, job)).map_err(|refused| refused.0.1)?;
        self.next += 1;
        Ok(())
    }
}

impl<R> Collector<R> {
    /// The result of the next job; `None` when the feeder is gone and all results were taken.
    pub(crate) fn next(&mut self) -> Option<Result<R>> {
        loop {
            if let Some(result) = self.early.remove(&self.next) {
                self.next += 1;
                return Some(result);
            }
            let (number, result) = self.results.recv().ok()?;
            self.early.insert(number, result);
        }
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        for thread in self.0.drain(..) {
            // Panics were caught inside: there is nothing to learn from the result.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn results_come_in_the_order_of_the_jobs() {
        let (mut feeder, mut collector, workers) = start(4, 8, || {
            Ok(|job: u64| {
                // The earlier a job the longer it takes.
                let work = std::hint::black_box((2000 - job) * 10);
                let sum: u64 = (0..work).sum();
                std::hint::black_box(sum);
                Ok(job)
            })
        })
        .expect("threads start");
        let taker = std::thread::spawn(move || {
            let mut taken = Vec::new();
            while let Some(result) = collector.next() {
                taken.push(result.expect("no job fails"));
            }
            taken
        });
        (0..2000u64).for_each(|job| feeder.send(job).expect("workers are there"));
        drop(feeder);
        assert_eq!(taker.join().expect("no panic"), (0..2000).collect::<Vec<_>>());
        drop(workers);
    }

    #[test]
    fn a_panic_of_a_worker_is_an_error_in_its_place() {
        let (mut feeder, mut collector, _workers) = start(2, 8, || {
            Ok(|job: u64| {
                assert!(job != 3, "this job is meant to panic");
                Ok(job)
            })
        })
        .expect("threads start");
        (0..6u64).for_each(|job| feeder.send(job).expect("workers are there"));
        drop(feeder);
        let mut outcome = Vec::new();
        while let Some(result) = collector.next() {
            outcome.push(result.ok());
        }
        assert_eq!(outcome, [Some(0), Some(1), Some(2), None, Some(4), Some(5)]);
    }

    #[test]
    fn the_threads_end_when_the_collector_is_dropped() {
        let alive = Arc::new(());
        let held = alive.clone();
        let (mut feeder, collector, workers) = start(3, 2, || {
            let held = held.clone();
            Ok(move |job: u64| {
                let _ = &held;
                Ok(job)
            })
        })
        .expect("threads start");
        drop(held);
        drop(collector);
        while feeder.send(1).is_ok() {}
        drop(feeder);
        drop(workers);
        assert_eq!(Arc::strong_count(&alive), 1, "a thread still runs");
    }
}
