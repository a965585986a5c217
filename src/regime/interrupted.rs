//! A backup whose process ended while it was made: killed, out of memory, a power cut.
//!
//! Nobody was left to report it. So the state of the regime names the backup that runs, from before it
//! begins until its end is recorded; the next opening reports that it failed (2030), in journal, history and
//! as the last backup; where that opening only answers a question or does one thing, as those of the
//! command line, the next backup does. An archive that had its name already is whole: then
//! only its record is missing, which the journal says.

use std::sync::Arc;

use super::core::Core;
use super::events::RegimeEvent;
use super::run::Order;
use super::state::{LastBackup, RunningBackup, Status};
use crate::archive::{ArchiveKind, list_archives};
use crate::error::{Error, ErrorKind, code};

impl Core {
    /// Remembers, durably, that the backup `number` runs for `order` from now on.
    pub(super) fn remember_running(&self, order: &Order, number: u32) {
        let running = RunningBackup {
            started: self.disk.now(),
            number,
            origin: order.origin,
            destination: order.plan.destination.clone(),
            set: order.plan.set.clone(),
            is_own: true,
        };
        self.remember(|state| state.running = Some(running));
    }

    /// Reports a backup that ran when the process that had the store open ended.
    pub(super) fn report_interrupted(&self) {
        let running = self.desk.lock().state.running.clone().filter(|running| !running.is_own);
        let Some(running) = running else { return };
        if self.has_archive(&running) {
            self.remember(|state| state.running = None);
            let message = format!(
                "the process ended before backup {} was recorded; its archive is there",
                running.number
            );
            self.books(|books| books.note(message));
            return;
        }
        let mut plan = (*self.plan()).clone();
        plan.apart |= plan.destination != running.destination;
        (plan.destination, plan.set) = (running.destination.clone(), running.set.clone());
        let order =
            Order { plan: Arc::new(plan), origin: running.origin, second: false, due: None };
        let message = "the process ended while the backup was made; nothing of it is kept";
        let error = Error::new(ErrorKind::BackupFailed, message)
            .with_code(code::INTERRUPTED)
            .at(&running.destination)
            .hint("Make another backup. Its unfinished files are removed by that.");
        let last = LastBackup {
            started: running.started,
            duration_micros: 0,
            number: Some(running.number),
            archive: None,
            status: Status::of(Some(&error)),
        };
        self.remember(|state| {
            state.running = None;
            state.last_backup = Some(last.clone());
        });
        self.books(|books| books.failed(&order, last.number, &error));
        self.record(&order, &last, None);
        self.events.tell(RegimeEvent::BackupFailed { origin: running.origin, error, again: None });
    }

    fn has_archive(&self, running: &RunningBackup) -> bool {
        let listed = list_archives(&*self.disk, &running.destination, Some(&running.set));
        listed.unwrap_or_default().iter().any(|listed| {
            listed.name.number() == running.number && listed.name.kind() != ArchiveKind::Log
        })
    }
}
