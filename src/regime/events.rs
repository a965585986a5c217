//! What the regime does by itself, told to whoever listens.
//!
//! Telling never waits: a listener that falls behind by more than the backlog loses the newest
//! events. What happened before anybody listened (a missed run, an automatic restore) is kept for the
//! first who does. The journal has them all.

use std::path::PathBuf;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use jiff::Timestamp;
use parking_lot::Mutex;
use serde::{Serialize, Serializer};

use super::journal::Origin;
use crate::error::Error;

fn micros<S: Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_i64(time.as_microsecond())
}

fn micros_if_any<S: Serializer>(
    time: &Option<Timestamp>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    time.map(|time| time.as_microsecond()).serialize(serializer)
}

/// How many events a listener may be behind.
const BACKLOG: usize = 1024;

/// Something that the regime did or found. Serialised, `event` names it, and times are microseconds since
/// the Unix epoch.
#[non_exhaustive]
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum RegimeEvent {
    /// A backup ended well, or partly.
    BackupDone {
        /// Who asked for it.
        origin: Origin,
        /// Its number.
        number: u32,
        /// The archive.
        archive: PathBuf,
        /// Whether something is missing (2001).
        partial: bool,
    },
    /// An attempt to back up failed.
    BackupFailed {
        /// Who asked for it.
        origin: Origin,
        /// Why.
        error: Error,
        /// When it will be tried again, if it will.
        #[serde(serialize_with = "micros_if_any")]
        again: Option<Timestamp>,
    },
    /// A person has to know: the second attempt failed too, or the store is damaged.
    Alert {
        /// What happened last.
        error: Error,
    },
    /// Too many attempts failed: nothing runs by itself until a manual backup succeeds or the store
    /// is opened anew (1401).
    Suspended {
        /// The error 1401, with what happened last as its cause.
        error: Error,
    },
    /// A run of the schedule was put off to the next date, since no record changed.
    Postponed {
        /// When it was due.
        #[serde(serialize_with = "micros")]
        due: Timestamp,
    },
    /// A run of the schedule fell into another backup and was left out.
    Skipped {
        /// When it was due.
        #[serde(serialize_with = "micros")]
        due: Timestamp,
    },
    /// A run of the schedule was missed, since the store was not open (2008).
    Missed {
        /// When it was due.
        #[serde(serialize_with = "micros")]
        due: Timestamp,
    },
    /// The settings were changed, and are in force.
    SettingsChanged,
    /// The settings were changed to something that cannot be used; those before stay in force.
    SettingsRefused {
        /// What is wrong with them.
        error: Error,
    },
    /// Something beside the backup itself did not succeed: the journal, the history, a deletion.
    Trouble {
        /// What.
        error: Error,
    },
    /// The store was damaged and was restored by itself.
    Restored {
        /// The archive.
        archive: PathBuf,
        /// Where the damaged store was put.
        aside: PathBuf,
    },
    /// A restore drill ended.
    DrillEnded {
        /// What it found wrong, if anything.
        error: Option<Error>,
    },
}

/// Where events are told.
#[derive(Default)]
pub(crate) struct Events {
    listeners: Mutex<Listeners>,
}

#[derive(Default)]
struct Listeners {
    channels: Vec<Sender<RegimeEvent>>,
    /// What was told before anybody listened.
    early: Option<Vec<RegimeEvent>>,
    anybody: bool,
}

impl Events {
    pub(crate) fn subscribe(&self) -> Receiver<RegimeEvent> {
        let (sender, receiver) = bounded(BACKLOG);
        let mut listeners = self.listeners.lock();
        listeners.anybody = true;
        for event in listeners.early.take().into_iter().flatten() {
            // The channel is new, and has room for all of them.
            let _room = sender.try_send(event);
        }
        listeners.channels.push(sender);
        receiver
    }

    pub(crate) fn tell(&self, event: RegimeEvent) {
        let mut listeners = self.listeners.lock();
        if !listeners.anybody {
            let early = listeners.early.get_or_insert_default();
            if early.len() < BACKLOG {
                early.push(event);
            }
            return;
        }
        let gone = |sender: &Sender<RegimeEvent>| {
            matches!(sender.try_send(event.clone()), Err(TrySendError::Disconnected(_)))
        };
        listeners.channels.retain(|sender| !gone(sender));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_told_before_anybody_listened_is_kept_for_the_first_who_does() {
        let events = Events::default();
        events.tell(RegimeEvent::SettingsChanged);
        let first = events.subscribe();
        assert!(matches!(first.try_recv(), Ok(RegimeEvent::SettingsChanged)));
        assert!(events.subscribe().try_recv().is_err(), "and for nobody else");
        events.tell(RegimeEvent::SettingsChanged);
        assert!(first.try_recv().is_ok());
    }
}
