//! The books of a store: its journal, and the history in the destination.
//!
//! Everything that the regime does and finds goes through here, so that each act stands in the
//! journal in one way only. What is deleted by retention is put down too. What somebody does by hand
//! where no regime may be open is put down by `by_hand`.
//!
//! It decides nothing, and an error to write is the caller's to tell: no backup fails for its books.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;

use super::drill::DrillReport;
use super::history::{History, Operation, OperationKind, OperationStatus, StoreAccount};
use super::journal::{About, Journal, JournalEvent, JournalItem, Origin};
use super::plan::Plan;
use super::restored::Restored;
use super::retention::{Deletion, RetentionRule};
use super::run::Order;
use super::state::LastBackup;
use crate::backup::BackupReport;
use crate::disk::Disk;
use crate::engine::StoreId;
use crate::error::{Error, Result, code};

/// What there is to write into.
pub(crate) struct Books {
    disk: Arc<dyn Disk>,
    store: StoreId,
    journal: Journal,
}

impl Books {
    pub(super) fn new(disk: Arc<dyn Disk>, store: StoreId, journal: Journal) -> Books {
        Books { disk, store, journal }
    }

    /// Takes over what the settings say of the journal.
    pub(super) fn configure(&mut self, plan: &Plan) {
        self.journal.configure(plan.verbose, plan.zone.clone());
    }

    /// Before each attempt: a journal that has become long is ended, and the next one begun.
    pub(super) fn attempted(&mut self, order: &Order) -> Result<()> {
        let rotated = self.journal.before_backup();
        let written = match order.second {
            true => {
                let note = JournalItem::note(JournalEvent::Retry, "the second attempt");
                self.journal.append(&of(order, note))
            }
            false => Ok(()),
        };
        rotated.and(written)
    }

    /// The preflight has passed.
    pub(super) fn began(&mut self, order: &Order, number: u32) -> Result<()> {
        let mut start = of(order, JournalItem::new(JournalEvent::Backup, About::Start));
        start.number = Some(number);
        start.path = Some(order.plan.destination.clone());
        if order.plan.apart {
            start.message = "a copy by itself: the log is left to the next backup into the \
                             destination of the settings"
                .to_owned();
        }
        self.journal.append(&start)
    }

    pub(super) fn done(&mut self, order: &Order, report: &BackupReport) -> Result<()> {
        let numbered = |mut item: JournalItem| {
            item.number = Some(report.number);
            of(order, item)
        };
        let mut items = Vec::new();
        let mut archive = numbered(JournalItem::new(JournalEvent::Backup, About::Archive));
        archive.path = Some(report.archive.clone());
        archive.bytes = Some(report.archive_bytes);
        archive.contents = order.plan.contents_text();
        archive.message = format!("LSN {}, {}", report.lsn, checked(report.verified));
        items.push(archive);
        if let Some(log) = &report.log_archive {
            let mut item = numbered(JournalItem::new(JournalEvent::Backup, About::Archive));
            item.path = Some(log.path.clone());
            item.bytes = Some(log.bytes);
            item.contents = "log".to_owned();
            item.message = format!("LSN {} to {}", log.after + 1, log.last);
            items.push(item);
        }
        for file in &report.files {
            let kind = About::Item(kind_of(&file.path).to_owned());
            let mut item = numbered(JournalItem::new(JournalEvent::Backup, kind));
            item.path = Some(PathBuf::from(&file.path));
            item.bytes = Some(file.bytes);
            if file.changed_while_read {
                item.message = "changed while it was read".to_owned();
            }
            items.push(item);
        }
        for problem in &report.problems {
            let note = numbered(JournalItem::new(JournalEvent::Backup, About::Note));
            items.push(note.with_error(problem));
        }
        let mut end = numbered(JournalItem::new(JournalEvent::Backup, About::End));
        end.path = Some(report.archive.clone());
        end.started = Some(report.started);
        end.ended = i64::try_from(report.duration.as_micros())
            .ok()
            .map(|took| report.started.saturating_add(took));
        end.code = report.problems.first().map_or(0, Error::code);
        items.push(end);
        self.journal.append_all(&items)
    }

    pub(super) fn failed(
        &mut self,
        order: &Order,
        number: Option<u32>,
        error: &Error,
    ) -> Result<()> {
        let (event, about) = match error.code() {
            code::MISSED_RUN => (JournalEvent::Missed, About::Note),
            _ if error.kind() == crate::ErrorKind::Refused => (JournalEvent::Refused, About::Note),
            _ => (JournalEvent::Backup, About::End),
        };
        let mut items = Vec::new();
        let mut item = of(order, JournalItem::new(event, about)).with_error(error);
        item.number = number;
        items.push(item);
        if error.code() == code::TOO_MANY_ATTEMPTS {
            items.push(JournalItem::new(JournalEvent::Suspended, About::Note).with_error(error));
        }
        self.journal.append_all(&items)
    }

    /// The failure policy asks for somebody's attention.
    pub(super) fn alert(&mut self, error: &Error) -> Result<()> {
        self.journal.append(&JournalItem::new(JournalEvent::Alert, About::Note).with_error(error))
    }

    /// A backup that was not even tried.
    pub(super) fn refused(&mut self, order: &Order, error: &Error) -> Result<()> {
        let event = match error.code() {
            code::SECOND_BACKUP if order.origin == Origin::Scheduled => JournalEvent::Skipped,
            _ => JournalEvent::Refused,
        };
        self.journal.append(&of(order, JournalItem::new(event, About::Note)).with_error(error))
    }

    pub(super) fn postponed(&mut self, order: &Order) -> Result<()> {
        let message = "no record was changed since the last backup";
        self.journal.append(&of(order, JournalItem::note(JournalEvent::Postponed, message)))
    }

    pub(super) fn skipped(&mut self, due: Timestamp) -> Result<()> {
        let message = "due while another backup was made, or while the machine slept";
        let mut item = JournalItem::note(JournalEvent::Skipped, message);
        item.origin = Some(Origin::Scheduled);
        item.scheduled = Some(due.as_microsecond());
        self.journal.append(&item)
    }

    pub(super) fn resumed(&mut self) -> Result<()> {
        let message = "automatic backups go on: a backup succeeded";
        self.journal.append(&JournalItem::note(JournalEvent::Suspended, message))
    }

    /// Something about the log of the store.
    pub(super) fn log(&mut self, message: String) -> Result<()> {
        let mut item = JournalItem::note(JournalEvent::Log, message);
        item.origin = Some(Origin::Automatic);
        self.journal.append(&item)
    }

    pub(super) fn settings(&mut self, path: &Path, refused: Option<&Error>) -> Result<()> {
        let mut item = JournalItem::note(JournalEvent::Settings, "changed, and in force");
        item.path = Some(path.to_path_buf());
        self.journal.append(&match refused {
            Some(error) => item.with_error(error),
            None => item,
        })
    }

    /// An automatic restore, in journal and history.
    pub(super) fn restored(&mut self, plan: &Plan, restored: &Restored) -> Result<()> {
        let told = self.journal.append_all(&restored.lines());
        if self.store == 0 {
            // A damaged store that no longer says which it is has no history to be put into.
            return told;
        }
        let history = self.history(plan);
        for operation in restored.operations(self.store, &plan.zone) {
            let recorded = history.record(operation, plan.keep);
            self.pass_on(&history)?;
            recorded?;
        }
        told
    }

    pub(super) fn drilled(&mut self, archive: &Path, result: &Result<DrillReport>) -> Result<()> {
        let mut item = JournalItem::new(JournalEvent::Drill, About::End);
        item.path = Some(archive.to_path_buf());
        self.journal.append(&match result {
            Ok(report) => {
                item.number = Some(report.number);
                item.bytes = Some(report.bytes);
                item.message = format!(
                    "restored and compared: LSN {}, {} tables, {} records",
                    report.lsn, report.tables, report.records
                );
                item
            }
            Err(error) => item.with_error(error),
        })
    }

    /// Something about backups that is worth knowing.
    pub(super) fn note(&mut self, message: String) -> Result<()> {
        self.journal.append(&JournalItem::note(JournalEvent::Backup, message))
    }

    /// Something beside a backup that went wrong.
    pub(super) fn trouble(&mut self, error: &Error) -> Result<()> {
        self.journal.append(&JournalItem::new(JournalEvent::Backup, About::Note).with_error(error))
    }
}

/// The history in the destination, and what retention does to it.
impl Books {
    /// Puts an attempt into the history: the backup that `report` tells of, or one that failed. That
    /// has no number there: the next attempt gets it.
    pub(super) fn record(
        &mut self,
        order: &Order,
        last: &LastBackup,
        report: Option<&BackupReport>,
    ) -> Result<()> {
        let (plan, zone) = (&order.plan, &order.plan.zone);
        let mut operation = match report {
            Some(report) => Operation::backup(report, plan.contents.data, &*self.disk, zone)?,
            None => {
                let mut failed =
                    Operation::new(OperationKind::Backup, self.store, last.started, zone);
                failed.duration_micros = last.duration_micros;
                failed.status = OperationStatus::Failed;
                (failed.code, failed.error) = (last.status.code, last.status.text.clone());
                failed
            }
        };
        operation.origin = Some(order.origin);
        let history = self.history(plan);
        let recorded = history.record(operation, plan.keep);
        self.pass_on(&history)?;
        recorded
    }

    /// The number of the next backup there, and whether the journal could be told what was found.
    pub(super) fn next_number(&mut self, plan: &Plan) -> (Result<u32>, Result<()>) {
        let history = self.history(plan);
        let number = history.next_number();
        (number, self.pass_on(&history))
    }

    /// Deletes the sets that are too many by `rule`, and whether the journal could be told of it. `own`
    /// is what the store knows itself, `spared` what was just written.
    pub(super) fn retire(
        &mut self,
        plan: &Plan,
        rule: &RetentionRule,
        own: StoreAccount,
        spared: Vec<PathBuf>,
    ) -> (Result<()>, Result<()>) {
        let history = self.history(plan).with_account(own).sparing(spared);
        let lines = history.retire(rule);
        let told = self.pass_on(&history);
        match lines {
            Ok(lines) => (Ok(()), told.and(self.journal.append_all(&lines))),
            Err(error) => (Err(error), told),
        }
    }

    /// Bytes that [`Books::retire`] will free; 0 where that cannot be told.
    pub(super) fn will_retire(&self, plan: &Plan, rule: &RetentionRule, own: StoreAccount) -> u64 {
        let planned = self.history(plan).with_account(own).plan(rule).unwrap_or_default();
        planned.deletions.iter().map(Deletion::bytes).sum()
    }

    fn history(&self, plan: &Plan) -> History {
        let history = History::at(self.disk.clone(), &plan.destination, &plan.set, self.store);
        history.with_keys(plan.keys.clone())
    }

    /// Into the journal, what was found wrong with the history.
    fn pass_on(&self, history: &History) -> Result<()> {
        self.journal.append_all(&history.take_remarks())
    }
}

/// Says whose backup a line is about.
fn of(order: &Order, mut item: JournalItem) -> JournalItem {
    item.origin = Some(order.origin);
    item.scheduled = order.due;
    item
}

fn checked(verified: bool) -> &'static str {
    if verified { "verified" } else { "not verified" }
}

/// What kind of thing a file of an archive is.
fn kind_of(path: &str) -> &'static str {
    match path.split('/').next() {
        Some(crate::engine::DATA_FILE) => "data",
        Some("attachments") => "attachment",
        Some("Settings") => "settings",
        _ => "structure",
    }
}
