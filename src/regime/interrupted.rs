//! A backup whose process ended while it was made: killed, out of memory, a power cut.
//!
//! Nobody was left to report it. So two files name the backup that runs, until its end is recorded: the
//! state of the regime for one that a regime makes, and `backup-state.json` for any. The next regime that
//! opens the store reports that the backup failed (2030), in journal, history and as the last backup; who
//! opens it without one, as an application that makes its backups itself, calls [`report_interrupted`]. An
//! archive that had its name already is whole: then only its record is missing, which the journal says.
//!
//! For a backup without a regime no history is begun in a destination that has none.

use std::sync::Arc;

use super::core::{Core, Hooks, Rules, Secrets};
use super::events::RegimeEvent;
use super::history::History;
use super::journal::Origin;
use super::plan::Plan;
use super::run::Order;
use super::settings::Settings;
use super::state::{LastBackup, RunningBackup, Status};
use crate::archive::{ArchiveKind, list_archives};
use crate::disk::atomic::absolute;
use crate::error::{Error, ErrorKind, Result, code};
use crate::store::{Store, UnfinishedBackup};

/// Reports the backup of `store` whose process ended while it was made, if there is one: in the journal
/// of the store, in the history of the destination where there is one, and as the last backup of the
/// regime. [`RegimeBuilder::open`](super::RegimeBuilder::open) does so by itself; this is for who opens
/// a store without a regime and finds
/// [`StoreStats::unfinished_backup`](crate::StoreStats::unfinished_backup).
///
/// A store that was opened to be read only is left to whoever opens it for writing next.
///
/// # Errors
/// Where the settings cannot be read; the first that journal, history or state met. What was written by
/// then stays.
pub fn report_interrupted(store: &Store) -> Result<()> {
    let inner = store.inner();
    if store.is_read_only() || inner.backup_state().unfinished.is_none() {
        return Ok(());
    }
    let dir = absolute(&**inner.engine.disk(), inner.engine.dir());
    let (settings, file) = Settings::load(&**inner.engine.disk(), &dir)?;
    let secrets = Secrets::default();
    let plan = Plan::of(&settings, &dir, &secrets)?;
    let rules = Rules { settings, file, plan, own_cap: None };
    let core = Core::new(store.clone(), &dir, Hooks::default(), secrets, rules);
    core.report_interrupted();
    let trouble = core.events.subscribe().try_iter().find_map(|event| match event {
        RegimeEvent::Trouble { error } => Some(error),
        _ => None,
    });
    trouble.map_or(Ok(()), Err)
}

impl RunningBackup {
    fn of(unfinished: UnfinishedBackup) -> RunningBackup {
        RunningBackup {
            started: unfinished.started,
            number: unfinished.number,
            origin: Origin::Command,
            destination: unfinished.destination,
            set: unfinished.set,
            is_own: false,
        }
    }

    fn is_same(&self, other: &RunningBackup) -> bool {
        let of = |one: &RunningBackup| (one.number, one.set.clone(), one.destination.clone());
        of(self) == of(other)
    }
}

impl Core {
    /// Remembers, durably, that the backup `number` runs for `order` from now on.
    pub(super) fn remember_running(&self, order: &Order, number: u32) {
        let running = RunningBackup {
            started: self.disk.now(),
            number,
            origin: order.origin,
            // As the store remembers it.
            destination: (self.disk.canonical(&order.plan.destination))
                .unwrap_or_else(|_| order.plan.destination.clone()),
            set: order.plan.set.clone(),
            is_own: true,
        };
        self.remember(|state| state.running = Some(running));
    }

    /// Reports the backup that ran when the process that had the store open ended.
    pub(super) fn report_interrupted(&self) {
        if self.store.is_read_only() {
            // Whoever opens it for writing next does.
            return;
        }
        let ours = self.desk.lock().state.running.clone().filter(|running| !running.is_own);
        let state = &self.store.inner().state;
        let other = state.get().unfinished.map(RunningBackup::of);
        let is_known = |other: &RunningBackup| ours.as_ref().is_some_and(|one| one.is_same(other));
        ours.iter().for_each(|running| self.report_end_of(running, true));
        if let Some(running) = other.as_ref().filter(|other| !is_known(other)) {
            self.report_end_of(running, self.has_history(running));
        }
        if other.is_some() {
            state.unfinished_was_reported().unwrap_or_else(|error| self.trouble(error));
        }
    }

    fn report_end_of(&self, running: &RunningBackup, in_history: bool) {
        if self.has_archive(running) {
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
        if in_history {
            self.record(&order, &last, None);
        }
        self.events.tell(RegimeEvent::BackupFailed { origin: running.origin, error, again: None });
    }

    fn has_archive(&self, running: &RunningBackup) -> bool {
        let listed = list_archives(&*self.disk, &running.destination, Some(&running.set));
        listed.unwrap_or_default().iter().any(|listed| {
            listed.name.number() == running.number && listed.name.kind() != ArchiveKind::Log
        })
    }

    /// Whether there is a history in its destination, be it a damaged one.
    fn has_history(&self, running: &RunningBackup) -> bool {
        let store = self.store.inner().engine.store_id();
        let history =
            History::at(self.disk.clone(), &running.destination, &running.set, store).path();
        self.disk.metadata(&history).is_ok()
    }
}
