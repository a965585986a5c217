//! What happens to a store, told to whoever listens.
//!
//! Invariants: telling never waits and never fails; a listener that falls behind loses the newest
//! events and is told how many. Nobody is called back: events go into channels, so no listener can
//! hold up the store.

use crate::engine::Lsn;
use crate::lock::Access;
use crate::{Error, ErrorKind, code};
use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use parking_lot::Mutex;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How many events a listener may be behind.
const BACKLOG: usize = 1024;

/// Something that happened to a store.
#[non_exhaustive]
#[derive(Clone, Debug)]
pub enum StoreEvent {
    /// A write was asked for and has to wait.
    WriteQueued {
        /// The number of its ticket.
        id: u64,
        /// The job that it belongs to, if it was named.
        job: Option<String>,
    },
    /// A write that waited was granted and taken up.
    WriteGranted {
        /// The number of its ticket.
        id: u64,
        /// How long it waited.
        waited: Duration,
    },
    /// A write that waited ended without a grant.
    WriteCancelled {
        /// The number of its ticket.
        id: u64,
        /// What it was told, where it waited for it.
        error: Option<Error>,
    },
    /// A backup began. Its number is known once its preflight has looked into the destination.
    BackupBegan {
        /// The folder that it goes to.
        destination: PathBuf,
        /// What others may do meanwhile.
        access: Access,
    },
    /// A backup no longer keeps anybody waiting.
    BackupReleased {
        /// Its number.
        number: u32,
    },
    /// A backup ended.
    BackupEnded {
        /// Its number; `None` where it ended before it had one.
        number: Option<u32>,
        /// Why it failed, if it did.
        error: Option<Error>,
    },
    /// A commit was refused because the disk is full. Commits go on when there is room.
    StorageFull,
    /// A commit was refused because the kept log has reached its cap. Commits go on after a backup of
    /// the data.
    LogFull,
    /// The kept log has reached its cap, and its oldest commits, which are in no log archive, go.
    LogDropped {
        /// The commits after this one are gone.
        after: Lsn,
        /// The last that is gone.
        last: Lsn,
    },
    /// The store latched itself read-only.
    Latched {
        /// Why.
        error: Error,
    },
    /// The store was closed.
    Closed,
    /// The listener was too slow for so many events.
    Missed(u64),
}

/// Where events are told.
#[derive(Default)]
pub(crate) struct Events {
    listeners: Mutex<Vec<Listener>>,
    /// Whether there are any, so that telling costs nothing without.
    any: AtomicBool,
    latch_told: AtomicBool,
}

struct Listener {
    channel: Sender<StoreEvent>,
    missed: u64,
}

impl Events {
    pub(crate) fn subscribe(&self) -> Receiver<StoreEvent> {
        let (channel, receiver) = bounded(BACKLOG);
        let mut listeners = self.listeners.lock();
        listeners.push(Listener { channel, missed: 0 });
        self.any.store(true, Ordering::Relaxed);
        receiver
    }

    /// Whether anybody listens.
    pub(crate) fn anybody(&self) -> bool {
        self.any.load(Ordering::Relaxed)
    }

    /// Tells everybody who listens. `event` is built only if somebody does.
    pub(crate) fn tell(&self, event: impl FnOnce() -> StoreEvent) {
        if !self.anybody() {
            return;
        }
        let mut listeners = self.listeners.lock();
        let event = event();
        listeners.retain_mut(|listener| listener.tell(&event));
        self.any.store(!listeners.is_empty(), Ordering::Relaxed);
    }

    /// Tells what an error of a commit says about the store; `latched` is why it takes no writes.
    pub(crate) fn tell_fault(&self, error: &Error, latched: Option<Error>) {
        if error.kind() == ErrorKind::StorageFull {
            self.tell(|| match error.code() {
                code::LOG_UNAVAILABLE => StoreEvent::LogFull,
                _ => StoreEvent::StorageFull,
            });
        }
        if let Some(error) = latched
            && !self.latch_told.swap(true, Ordering::Relaxed)
        {
            self.tell(|| StoreEvent::Latched { error });
        }
    }
}

impl Listener {
    /// Whether it still listens.
    fn tell(&mut self, event: &StoreEvent) -> bool {
        if self.missed > 0 {
            match self.channel.try_send(StoreEvent::Missed(self.missed)) {
                Ok(()) => self.missed = 0,
                Err(TrySendError::Full(_)) => {
                    self.missed += 1;
                    return true;
                }
                Err(TrySendError::Disconnected(_)) => return false,
            }
        }
        match self.channel.try_send(event.clone()) {
            Ok(()) => true,
            Err(TrySendError::Full(_)) => {
                self.missed += 1;
                true
            }
            Err(TrySendError::Disconnected(_)) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_listener_is_told_how_much_it_missed_and_holds_nobody_up() {
        let events = Events::default();
        let slow = events.subscribe();
        for id in 0..BACKLOG as u64 + 10 {
            events.tell(|| StoreEvent::WriteQueued { id, job: None });
        }
        let heard: Vec<_> = slow.try_iter().collect();
        assert_eq!(heard.len(), BACKLOG);
        events.tell(|| StoreEvent::Closed);
        assert!(matches!(slow.try_recv(), Ok(StoreEvent::Missed(10))));
        assert!(matches!(slow.try_recv(), Ok(StoreEvent::Closed)));
    }

    #[test]
    fn a_listener_that_left_is_forgotten() {
        let events = Events::default();
        drop(events.subscribe());
        events.tell(|| StoreEvent::Closed);
        assert!(events.listeners.lock().is_empty());
        events.tell(|| unreachable!("nobody listens"));
    }
}
