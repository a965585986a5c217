//! What somebody does to a store with a restore, a rollback, an integration, a compaction or a repair, for
//! its journal and history.
//!
//! Those acts know no books: they stand below the regime, and a restore may be of a store that is not
//! there yet. Whoever carries one out for a person (the command line, a console, an application) puts
//! it down with a [`ByHand`], in the journal of the store that it was done to, and in the history of the
//! destination that its settings name.
//!
//! It writes nothing where there is no store, as after a restore that failed; nothing into the journal of
//! a store that was in the way or in use, whose journal has a writer of its own; and into no history that
//! does not tell of this store's archives already: a copy that somebody looks into once leaves no list
//! there, and neither folder nor file is made for it.

mod rewritten;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;

use super::core::Secrets;
use super::history::{ArchivePart, History, Operation, OperationKind, OperationStatus};
use super::journal::{About, Journal, JournalEvent, JournalItem, Origin};
use super::plan::Plan;
use super::restored::{read_repair_lines, repair_lines};
use super::rolling::micros;
use super::settings::Settings;
use super::state::State;
use crate::archive::ReadRepair;
use crate::disk::atomic::absolute;
use crate::disk::{Disk, EntryKind};
use crate::engine::DATA_FILE;
use crate::engine::tree::store_of;
use crate::error::{Error, ErrorKind, Result};
use crate::restore::{IntegrationReport, RestoreReport, RollbackReport};

/// One act that is to be put into the books of a store; begun before the act, ended with its result.
///
/// ```
/// use stillpoint::disk::RealDisk;
/// use stillpoint::regime::{ByHand, JournalReader, Origin};
/// use stillpoint::{IntegrateOptions, Store};
///
/// # fn main() -> stillpoint::Result<()> {
/// # let folder = tempfile::tempdir().unwrap();
/// # let dir = folder.path().join("shop");
/// let store = Store::create(&dir)?;
/// let act = ByHand::begin(RealDisk::new(), &dir, Origin::Command);
/// let result = store.integrate(&[dir.join("log")], IntegrateOptions::default());
/// act.integrated(&[dir.join("log")], result.as_ref())?;
/// # Ok(()) }
/// ```
#[must_use = "the act stands in no book before it is ended"]
pub struct ByHand {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    origin: Origin,
    started: i64,
    began: Duration,
}

impl ByHand {
    /// An act that begins now, on the store in `dir`, whether that is there already or not.
    pub fn begin(disk: Arc<dyn Disk>, dir: &Path, origin: Origin) -> ByHand {
        let (started, began) = (disk.now(), disk.elapsed());
        let dir = absolute(&*disk, dir);
        ByHand { disk, dir, origin, started, began }
    }

    /// It was a restore out of `archive`.
    ///
    /// # Errors
    /// Where journal or history cannot be written. The act stays done, and the journal, where it can be
    /// written, tells of a history that cannot.
    pub fn restored(&self, archive: &Path, result: Result<&RestoreReport, &Error>) -> Result<()> {
        if result.is_err_and(was_refused) {
            return Ok(());
        }
        let archive = Some(archive);
        let mut lines = vec![self.restore_line(archive, result)];
        lines.extend(result.iter().flat_map(|report| self.damage_lines(&report.read_repairs)));
        self.put_down(lines, History::record, |told| self.restore(told, archive, result))
    }

    /// It was a backup for which the store could not even be opened.
    ///
    /// # Errors
    /// As [`ByHand::restored`].
    pub fn backup_failed(&self, error: &Error) -> Result<()> {
        if was_refused(error) {
            return Ok(());
        }
        let line = self.item(JournalEvent::Backup).with_error(error);
        self.put_down(vec![line], History::record, |told| {
            Operation { operation: OperationKind::Backup, ..told }.failed(error)
        })
    }

    /// It was a rollback.
    ///
    /// # Errors
    /// As [`ByHand::restored`].
    pub fn rolled_back(&self, result: Result<&RollbackReport, &Error>) -> Result<()> {
        match result {
            Ok(report) => {
                let (archive, restored) = (report.archive.as_deref(), Ok(&report.restored));
                let mut line = self.restore_line(archive, restored);
                line.message +=
                    &format!("; the store as it was is \"{}\"", self.whole(&report.old).display());
                let mut lines = vec![line];
                lines.extend(self.damage_lines(&report.restored.read_repairs));
                self.put_down(lines, History::record, |told| self.restore(told, archive, restored))
            }
            Err(error) if was_refused(error) => Ok(()),
            Err(error) => {
                let mut line = self.item(JournalEvent::Restore).with_error(error);
                line.message = format!("rollback: {}", line.message);
                self.put_down(vec![line], History::record, |told| told.failed(error))
            }
        }
    }

    /// It was an integration of the logs at `files`.
    ///
    /// # Errors
    /// As [`ByHand::restored`].
    pub fn integrated(
        &self,
        files: &[PathBuf],
        result: Result<&IntegrationReport, &Error>,
    ) -> Result<()> {
        let lines = self.integration_lines(files, result);
        self.put_down(lines, History::record, |told| self.integration(told, files, result))
    }

    /// It was one integration of many, each of what had come into `folder`. In the journal each has its
    /// line; the history has those that come one after the other as one operation.
    ///
    /// # Errors
    /// As [`ByHand::restored`].
    pub fn followed(&self, folder: &Path, report: &IntegrationReport) -> Result<()> {
        let files = [folder.to_path_buf()];
        let lines = self.integration_lines(&files, Ok(report));
        self.put_down(lines, History::record_next, |told| {
            self.integration(told, &files, Ok(report))
        })
    }

    fn integration_lines(
        &self,
        files: &[PathBuf],
        result: Result<&IntegrationReport, &Error>,
    ) -> Vec<JournalItem> {
        let mut item = self.item(JournalEvent::Integration);
        item.path = files.first().map(|path| self.whole(path));
        let report = match result {
            Ok(report) => report,
            Err(error) => return vec![item.with_error(error)],
        };
        item.message = format!(
            "{} commits of {} logs, {} operations repaired; LSN {} to {}",
            report.commits,
            files.len(),
            report.repaired,
            report.after,
            report.lsn
        );
        item.message += unless_reached(report.reached_point);
        let mut items = vec![item];
        for problem in &report.problems {
            items.push(self.item(JournalEvent::Integration).with_error(problem));
        }
        items.extend(self.damage_lines(&report.read_repairs));
        items.extend(repair_lines(&report.repairs, report.repaired, self.origin));
        items
    }

    fn damage_lines(&self, repairs: &[ReadRepair]) -> impl Iterator<Item = JournalItem> {
        read_repair_lines(repairs, self.origin)
    }

    fn restore_line(
        &self,
        archive: Option<&Path>,
        result: Result<&RestoreReport, &Error>,
    ) -> JournalItem {
        let mut item = self.item(JournalEvent::Restore);
        item.path = archive.map(|archive| self.whole(archive));
        match result {
            Err(error) => item.with_error(error),
            Ok(report) => {
                item.bytes = Some(report.bytes);
                item.message = match report.commits {
                    0 => format!("LSN {}", report.lsn),
                    commits if archive.is_none() => {
                        format!("LSN {}: {commits} commits of the log since creation", report.lsn)
                    }
                    commits => format!(
                        "LSN {}: the archive at LSN {}, and {commits} commits of logs",
                        report.lsn, report.archive_lsn
                    ),
                };
                item.message += unless_reached(report.reached_point);
                item
            }
        }
    }

    /// The same for the history.
    fn restore(
        &self,
        told: Operation,
        archive: Option<&Path>,
        result: Result<&RestoreReport, &Error>,
    ) -> Operation {
        let backup_path = archive.map(|archive| self.whole(archive));
        let told = Operation { backup_path, ..told };
        match result {
            Err(error) => told.failed(error),
            Ok(report) => Operation {
                backup_number: archive.map(|_| report.number),
                timeline: report.timeline.map(Into::into),
                lsn: report.timeline.map(|_| report.lsn),
                data: report.data,
                ..told
            },
        }
    }

    /// An integration, for the history. Only files have a length there; a folder is named.
    fn integration(
        &self,
        told: Operation,
        files: &[PathBuf],
        result: Result<&IntegrationReport, &Error>,
    ) -> Operation {
        let paths: Vec<PathBuf> = files.iter().map(|path| self.whole(path)).collect();
        let part = |path: &PathBuf| {
            let found =
                self.disk.metadata(path).ok().filter(|found| found.kind == EntryKind::File)?;
            Some(ArchivePart { path: path.clone(), bytes: found.len })
        };
        let told = Operation {
            operation: OperationKind::Integration,
            log_path: paths.first().cloned(),
            log_files: paths.iter().filter_map(part).collect(),
            data: true,
            ..told
        };
        match result {
            Err(error) => told.failed(error),
            Ok(report) => {
                let (timeline, lsn) = (Some(report.timeline.into()), Some(report.lsn));
                let duration_micros = micros(report.duration);
                let told = Operation { timeline, lsn, duration_micros, ..told };
                match report.problems.first() {
                    None if report.repaired == 0 => told,
                    None => Operation { status: OperationStatus::Partial, ..told },
                    Some(problem) => {
                        Operation { status: OperationStatus::Partial, ..told.failed(problem) }
                    }
                }
            }
        }
    }

    /// The path that says the same to a process that works in another folder.
    fn whole(&self, path: &Path) -> PathBuf {
        self.disk.canonical(path).unwrap_or_else(|_| path.to_path_buf())
    }

    fn took(&self) -> Duration {
        self.disk.elapsed().saturating_sub(self.began)
    }

    fn item(&self, event: JournalEvent) -> JournalItem {
        let took = self.took();
        let mut item = JournalItem::new(event, About::Note);
        item.origin = Some(self.origin);
        item.started = Some(self.started);
        item.ended =
            i64::try_from(took.as_micros()).ok().map(|took| self.started.saturating_add(took));
        item
    }

    /// Writes the lines, and the operation into the history by `record`. Where the settings cannot be read,
    /// the journal is verbose and in the system's zone, and which history it would be is not known.
    fn put_down(
        &self,
        lines: Vec<JournalItem>,
        record: Record,
        fill: impl FnOnce(Operation) -> Operation,
    ) -> Result<()> {
        if self.disk.metadata(&self.dir.join(DATA_FILE)).is_err() {
            return Ok(());
        }
        let plan = Settings::load(&*self.disk, &self.dir)
            .and_then(|(settings, _)| Plan::of(&settings, &self.dir, &Secrets::default()));
        let (verbose, zone) = match &plan {
            Ok(plan) => (plan.verbose, plan.zone.clone()),
            Err(_) => (true, TimeZone::system()),
        };
        let journal = Journal::open(self.disk.clone(), &self.dir, verbose, zone);
        let told = journal.append_all(&lines);
        let Ok(plan) = plan else { return told };
        let (recorded, mut remarks) = self.record(&plan, record, fill);
        if let Err(error) = &recorded {
            let note = JournalItem::new(JournalEvent::History, About::Note);
            remarks.push(note.with_error(error));
        }
        told.and(recorded).and(journal.append_all(&remarks))
    }

    /// Puts the operation into the history, and gives what was found wrong with that.
    fn record(
        &self,
        plan: &Plan,
        record: Record,
        fill: impl FnOnce(Operation) -> Operation,
    ) -> (Result<()>, Vec<JournalItem>) {
        match History::list(&*self.disk, &plan.destination, &plan.set) {
            Ok(listed) if listed.is_empty() => return (Ok(()), Vec::new()),
            Err(error) if error.kind() == ErrorKind::NotFound => return (Ok(()), Vec::new()),
            // What is wrong with it is put right where it is written.
            _ => {}
        }
        // A damaged data file may not say it; what the store remembers of its backups does.
        let remembered = |error| {
            let state = State::load(&*self.disk, &self.dir).ok();
            state.and_then(|state| state.store_id()).ok_or(error)
        };
        let store = match store_of(&*self.disk, &self.dir.join(DATA_FILE)).or_else(remembered) {
            Ok(store) => store,
            Err(error) => return (Err(error), Vec::new()),
        };
        // A restore, unless `fill` says otherwise.
        let told = Operation {
            origin: Some(self.origin),
            duration_micros: micros(self.took()),
            ..Operation::new(OperationKind::Restore, store, self.started, &plan.zone)
        };
        let history = History::at(self.disk.clone(), &plan.destination, &plan.set, store);
        let recorded = record(&history, fill(told), plan.keep);
        (recorded, history.take_remarks())
    }
}

/// How an operation gets into the history.
type Record = fn(&History, Operation, Option<u32>) -> Result<()>;

/// What the journal says where the logs do not lead to the point that was asked for.
fn unless_reached(reached: bool) -> &'static str {
    if reached { "" } else { "; the logs end before the point" }
}

/// Whether the store that is there was not to be touched.
fn was_refused(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Exists | ErrorKind::InUse)
}
