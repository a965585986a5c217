//! What somebody does to a store with a restore, a rollback or an integration, for its journal.
//!
//! Those acts know no journal: they stand below the regime, and a restore may be of a store that is not
//! there yet. Whoever carries one out for a person (the command line, a console, an application) puts
//! it down with a [`ByHand`], in the journal of the store that it was done to.
//!
//! It writes nothing where there is no store, as after a restore that failed; nothing into the journal of
//! a store that was in the way or in use, whose journal has a writer of its own; and nothing into the
//! history: that tells of backups, and of what the library restored by itself.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;

use super::core::Secrets;
use super::journal::{About, Journal, JournalEvent, JournalItem, Origin};
use super::plan::Plan;
use super::restored::repair_lines;
use super::settings::Settings;
use crate::disk::Disk;
use crate::engine::DATA_FILE;
use crate::error::{Error, ErrorKind, Result};
use crate::restore::{IntegrationReport, RestoreReport, RollbackReport};

/// One act that is to be put into the journal of a store; begun before the act, ended with its result.
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
#[must_use = "the act stands in no journal before it is ended"]
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
        ByHand { disk, dir: dir.to_path_buf(), origin, started, began }
    }

    /// It was a restore out of `archive`.
    ///
    /// # Errors
    /// Where the journal cannot be written. The store is not touched by that.
    pub fn restored(&self, archive: &Path, result: Result<&RestoreReport, &Error>) -> Result<()> {
        if result.is_err_and(was_refused) {
            return Ok(());
        }
        self.put_down(vec![self.restore(archive, result)])
    }

    /// It was a rollback.
    ///
    /// # Errors
    /// As [`ByHand::restored`].
    pub fn rolled_back(&self, result: Result<&RollbackReport, &Error>) -> Result<()> {
        if result.is_err_and(was_refused) {
            return Ok(());
        }
        self.put_down(vec![match result {
            Ok(report) => {
                let mut item = self.restore(&report.archive, Ok(&report.restored));
                item.message += &format!("; the store as it was is \"{}\"", report.old.display());
                item
            }
            Err(error) => {
                let mut item = self.item(JournalEvent::Restore).with_error(error);
                item.message = format!("rollback: {}", item.message);
                item
            }
        }])
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
        let mut item = self.item(JournalEvent::Integration);
        item.path = files.first().cloned();
        let report = match result {
            Ok(report) => report,
            Err(error) => return self.put_down(vec![item.with_error(error)]),
        };
        item.message = format!(
            "{} commits of {} logs, {} operations mended; LSN {} to {}",
            report.commits,
            files.len(),
            report.repaired,
            report.after,
            report.lsn
        );
        let mut items = vec![item];
        for problem in &report.problems {
            items.push(self.item(JournalEvent::Integration).with_error(problem));
        }
        items.extend(repair_lines(&report.repairs, report.repaired, self.origin));
        self.put_down(items)
    }

    fn item(&self, event: JournalEvent) -> JournalItem {
        let took = self.disk.elapsed().saturating_sub(self.began);
        let mut item = JournalItem::new(event, About::Note);
        item.origin = Some(self.origin);
        item.started = Some(self.started);
        item.ended =
            i64::try_from(took.as_micros()).ok().map(|took| self.started.saturating_add(took));
        item
    }

    fn restore(&self, archive: &Path, result: Result<&RestoreReport, &Error>) -> JournalItem {
        let mut item = self.item(JournalEvent::Restore);
        item.path = Some(archive.to_path_buf());
        match result {
            Err(error) => item.with_error(error),
            Ok(report) => {
                item.bytes = Some(report.bytes);
                item.message = match report.commits {
                    0 => format!("LSN {}", report.lsn),
                    commits => format!(
                        "LSN {}: the archive at LSN {}, and {commits} commits of logs",
                        report.lsn, report.archive_lsn
                    ),
                };
                item
            }
        }
    }

    /// Where the settings cannot be read, the journal is verbose and in the system's zone.
    fn put_down(&self, items: Vec<JournalItem>) -> Result<()> {
        if self.disk.metadata(&self.dir.join(DATA_FILE)).is_err() {
            return Ok(());
        }
        let plan = Settings::load(&*self.disk, &self.dir)
            .and_then(|(settings, _)| Plan::of(&settings, &self.dir, &Secrets::default()));
        let (verbose, zone) = match plan {
            Ok(plan) => (plan.verbose, plan.zone),
            Err(_) => (true, TimeZone::system()),
        };
        Journal::open(self.disk.clone(), &self.dir, verbose, zone).append_all(&items)
    }
}

/// Whether the store that is there was not to be touched.
fn was_refused(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Exists | ErrorKind::InUse)
}
