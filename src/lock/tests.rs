//! The manager as its users see it, under a simulated clock. What is waited for is events (a queue
//! of a certain length, a thread that came back), never a time.

mod access;
mod deadlock;
mod hold;
mod locks;
mod tickets;

use super::*;
use crate::error::{Error, ErrorKind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

pub(crate) const DATA_S: (Granule, Mode) = (Granule::Data, Mode::S);
pub(crate) const DATA_X: (Granule, Mode) = (Granule::Data, Mode::X);

/// A manager with a clock that moves when it is told to.
#[derive(Clone)]
struct Rig {
    manager: Arc<LockManager>,
    micros: Arc<AtomicU64>,
}

impl Rig {
    fn new() -> Rig {
        Rig::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut LockOptions)) -> Rig {
        let micros = Arc::new(AtomicU64::new(1_000_000));
        let clock = micros.clone();
        let clock = Arc::new(move || Duration::from_micros(clock.load(Ordering::SeqCst)));
        let mut options = LockOptions::new(clock);
        change(&mut options);
        Rig { manager: LockManager::new(options), micros }
    }

    fn advance(&self, time: Duration) {
        self.micros.fetch_add(time.as_micros() as u64, Ordering::SeqCst);
        self.manager.poke();
    }

    fn begin(&self) -> Owner {
        self.manager.begin_write(WriteRequest::default()).unwrap()
    }

    fn ticket(&self) -> WriteTicket {
        self.manager.request_write(WriteRequest::default()).unwrap()
    }

    fn backup(&self, roots: &[(Granule, Mode)]) -> HoldRequest {
        HoldRequest::backup(roots.to_vec(), 7)
    }

    /// A hold of a backup, taken on a thread of its own: this one may do what a stranger may.
    fn hold(&self, roots: &[(Granule, Mode)]) -> Hold {
        self.hold_with(self.backup(roots))
    }

    fn hold_with(&self, request: HoldRequest) -> Hold {
        std::thread::scope(|scope| scope.spawn(|| self.manager.hold(request).unwrap()).join())
            .unwrap()
    }

    /// Waits until `seen` is true of the report.
    fn until(&self, seen: impl Fn(&LockReport) -> bool) {
        while !seen(&self.manager.locks()) {
            std::thread::yield_now();
        }
    }

    /// Waits until so many owners wait for something.
    fn until_waiting(&self, owners: usize) {
        self.until(|report| report.owners.iter().filter(|o| !o.waits.is_empty()).count() == owners);
    }

    fn is_idle(&self) -> bool {
        self.manager.locks() == LockReport::default() && self.manager.try_enter().is_some()
    }
}

fn kind_and_code<T: std::fmt::Debug>(result: Result<T, Error>) -> (ErrorKind, i32) {
    let error = result.unwrap_err();
    (error.kind(), error.code())
}
