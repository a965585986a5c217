//! The stages of a backup, one after another, on its own thread.
//!
//! Every early end goes through one place: the hold is dropped, the unfinished file is removed, the
//! shutdown hook gets the code, the handle gets the error. A panic (a hook's, or our own) is an early
//! end like any other.

use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::attachments::Attachments;
use super::builder::{BackupBuilder, BackupStart, ProgressHook};
use super::copier::{Copied, Copier};
use super::handle::{Shared, stopped};
use super::log_archive::{LogArchive, LogPart, LogPlan, log_gap};
use super::preflight::Place;
use super::progress::Stage;
use super::report::BackupReport;
use crate::archive::verify_medium;
use crate::engine::Pin;
use crate::engine::tree::Checkpoint;
use crate::error::{Error, ErrorKind, Result, code};
use crate::lock::{Access, BackupProgressInfo, BackupTurn, Hold, HoldRequest, HoldState, roots};
use crate::store::{ArchiveRef, BackupStatus, StoreEvent};

/// How long to wait for the pin's checkpoint before looking at Stop again.
const PATIENCE: Duration = Duration::from_millis(20);
/// How often the application hears of progress at most.
const TELL_EVERY: Duration = Duration::from_millis(50);

/// Runs the backup to its end, whatever that is.
pub(super) fn run(mut backup: BackupBuilder, place: Place, shared: &Arc<Shared>, turn: BackupTurn) {
    let shutdown = backup.shutdown.take();
    let inner = backup.inner.clone();
    let (number, access) = (shared.number, backup.options.access);
    inner.events.tell(|| StoreEvent::BackupBegan { number, access });
    let result = catch_unwind(AssertUnwindSafe(|| Run::new(backup, &place, shared).go()))
        .unwrap_or_else(|panic| Err(panicked(panic.as_ref())));
    if result.is_err() {
        // What cannot be removed now is recognised by its name, and removed by the next run.
        let _left_over = inner.engine.disk().remove_file(&place.partial);
    }
    shared.cell.enter(Stage::Done, 0, shared.now());
    if let Some(hook) = shutdown {
        let code = match &result {
            Ok(report) => report.problems.first().map_or(0, Error::code),
            Err(error) => error.code(),
        };
        let _scope = inner.locks.callback_scope();
        // The backup is over: a panic in here changes nothing any more.
        let _panic = catch_unwind(AssertUnwindSafe(|| hook(code)));
    }
    let error = result.as_ref().err().cloned();
    inner.events.tell(|| StoreEvent::BackupEnded { number, error });
    drop(turn);
    // Who waits for the end may close the store next, and must find nobody else holding it.
    drop(inner);
    shared.finish(result);
}

fn panicked(panic: &(dyn std::any::Any + Send)) -> Error {
    let text = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_default();
    Error::new(ErrorKind::BackupFailed, format!("the backup panicked: {text}"))
        .with_code(code::HOOK)
        .hint("If a hook of yours panicked, mend it; others were let go at once.")
}

struct Run<'r> {
    backup: BackupBuilder,
    place: &'r Place,
    shared: &'r Arc<Shared>,
    teller: Teller<'r>,
    started: i64,
}

/// What is known of the hold once it has ended, or so far.
#[derive(Clone, Copy, Default)]
pub(super) struct Held {
    pub(super) time: Duration,
    pub(super) longest_wait: Duration,
    pub(super) went_live: bool,
}

impl<'r> Run<'r> {
    fn new(mut backup: BackupBuilder, place: &'r Place, shared: &'r Arc<Shared>) -> Run<'r> {
        let hook = backup.progress.take();
        let teller = Teller { shared, hook: Mutex::new((hook, Duration::ZERO)) };
        let started = backup.inner.engine.disk().now();
        Run { backup, place, shared, teller, started }
    }

    fn go(mut self) -> Result<BackupReport> {
        self.ask_startup_hook()?;
        let held_from = self.shared.now();
        let hold = self.quiesce()?;
        let (checkpoint, pin) = self.pin(hold.as_ref())?;
        let copied = self.copy(&checkpoint, pin.took(), hold, held_from)?;
        self.verify(&copied)?;
        let mut log = self.archive_log(&checkpoint)?;
        self.seal(log.archive.as_mut())?;
        let problems = self.record(&checkpoint, &copied, log.plan.take());
        let mut report = self.report(&checkpoint, pin.took(), copied, log);
        report.problems.extend(problems);
        Ok(report)
    }

    fn enter(&self, stage: Stage, total: u64) -> Result<()> {
        self.shared.cell.enter(stage, total, self.shared.now());
        self.shared.check_stop()?;
        self.teller.tell(&self.backup, true)?;
        // Stop may have been pressed while the application was told.
        self.shared.check_stop()
    }

    /// Stage 2.
    fn ask_startup_hook(&mut self) -> Result<()> {
        self.enter(Stage::StartupHook, 0)?;
        let Some(hook) = self.backup.startup.take() else { return Ok(()) };
        let start = BackupStart {
            number: self.place.number(),
            archive: self.place.archive.clone(),
            access: self.backup.options.access,
        };
        let _scope = self.backup.inner.locks.callback_scope();
        hook(&start).map_err(|code| {
            let message = format!("the startup hook refused the backup with {code}");
            Error::new(ErrorKind::Refused, message).with_code(code)
        })
    }

    /// Stage 3: the locks of the access table; none for `Live`.
    fn quiesce(&self) -> Result<Option<Hold>> {
        let options = &self.backup.options;
        let wanted = roots(options.contents, options.access);
        if wanted.is_empty() {
            return Ok(None);
        }
        self.enter(Stage::Quiesce, 0)?;
        let hold = self.backup.inner.locks.hold(HoldRequest {
            transaction_timeout: options.transaction_timeout,
            limit: options.hold_limit,
            at_limit: options.at_limit,
            stall_limit: options.stall_limit,
            stop: self.shared.stop.clone(),
            ..HoldRequest::backup(wanted, self.shared.number)
        })?;
        *self.shared.hold.lock() = Some(hold.token());
        // Stop may have come between the grant and the line above.
        self.shared.check_stop()?;
        Ok(Some(hold))
    }

    /// Stage 4: one instant in the commit line, then its checkpoint, which only the backup waits for.
    fn pin(&self, hold: Option<&Hold>) -> Result<(Arc<Checkpoint>, Pin)> {
        self.enter(Stage::Pin, 0)?;
        let pin = self.backup.inner.engine.pin()?;
        loop {
            if let Some(checkpoint) = pin.checkpoint(PATIENCE)? {
                debug_assert_eq!(checkpoint.lsn(), pin.lsn());
                return Ok((checkpoint, pin));
            }
            self.shared.check_stop()?;
            hold.map_or(Ok(()), Hold::check)?;
        }
    }

    /// Stages 5 and 6: everything is read and handed to the archive, then the others go on.
    fn copy(
        &self,
        checkpoint: &Arc<Checkpoint>,
        pin: Duration,
        hold: Option<Hold>,
        held_from: Duration,
    ) -> Result<Copied> {
        let engine = &self.backup.inner.engine;
        let attachments = Attachments::plan(engine.disk(), &self.backup.options.attachments);
        let mut copier =
            Copier::begin(&self.backup, self.place, checkpoint, attachments, self.started)?;
        self.enter(Stage::Copy, copier.bytes_total())?;
        let mut step = |bytes: u64, written: u64| {
            self.shared.cell.add(bytes);
            self.shared.check_stop()?;
            if let Some(hold) = &hold {
                hold.check()?;
                hold.progress(written);
            }
            self.teller.tell(&self.backup, false)
        };
        copier.copy_store(&mut step)?;
        let attachments_hold = self.hold_for_attachments(copier.has_attachments())?;
        copier.copy_attachments(&mut step)?;
        drop(attachments_hold);
        // The last step may have been the one that took too long.
        hold.as_ref().map_or(Ok(()), Hold::check)?;
        let held = self.release(hold, held_from);
        copier.finish(held, pin)
    }

    /// Stage 6. A later failure is the backup's alone.
    fn release(&self, hold: Option<Hold>, held_from: Duration) -> Held {
        *self.shared.hold.lock() = None;
        let Some(hold) = hold else { return Held::default() };
        let went_live = matches!(hold.state(), HoldState::Expired { .. });
        let longest_wait = hold.longest_wait();
        hold.release();
        let number = self.shared.number;
        self.backup.inner.events.tell(|| StoreEvent::BackupReleased { number });
        Held { time: self.shared.now().saturating_sub(held_from), longest_wait, went_live }
    }

    fn hold_for_attachments(&self, any: bool) -> Result<Option<Hold>> {
        let options = &self.backup.options;
        let limit = options.hold_for_attachments.filter(|_| any && options.access == Access::Live);
        let Some(limit) = limit else { return Ok(None) };
        let wanted = roots(options.contents, Access::ReadOnly);
        let request = HoldRequest {
            transaction_timeout: options.transaction_timeout,
            limit: Some(limit),
            stop: self.shared.stop.clone(),
            ..HoldRequest::backup(wanted, self.shared.number)
        };
        self.backup.inner.locks.hold(request).map(Some)
    }

    /// Stage 7: what is on the medium, read anew.
    fn verify(&self, copied: &Copied) -> Result<()> {
        if !self.backup.options.verify {
            return Ok(());
        }
        self.enter(Stage::Verify, copied.archive_bytes)?;
        self.read_back(&self.place.partial, code::ARCHIVE_MISSING, code::CHECK)
    }

    /// Reads the file at `path` from the medium; `missing` and `bad` number what can be wrong.
    fn read_back(&self, path: &Path, missing: i32, bad: i32) -> Result<()> {
        let mut stop = Ok(());
        let mut tell = |progress: crate::archive::Progress| {
            self.shared.cell.set(progress.done);
            stop = self.shared.check_stop().and_then(|()| self.teller.tell(&self.backup, false));
            if stop.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        };
        let disk = self.backup.inner.engine.disk();
        let verified = verify_medium(&**disk, path, self.backup.options.workers, &mut tell);
        stop?;
        verified.map(drop).map_err(|error| {
            let number = if error.kind() == ErrorKind::NotFound { missing } else { bad };
            let message = "the archive was read back and is not what was written";
            Error::new(ErrorKind::BackupFailed, message)
                .with_code(number)
                .at(path)
                .because(error)
                .hint("Suspect the destination's medium; the store itself was read without error.")
        })
    }

    /// The log since the last backup of data, written and read back. Nobody is held any more.
    fn archive_log(&self, checkpoint: &Checkpoint) -> Result<LogPart> {
        let options = &self.backup.options;
        if !(options.contents.data && options.log_archive) {
            return Ok(LogPart::default());
        }
        let Some(plan) = LogPlan::new(&self.backup, checkpoint.lsn())? else {
            return Ok(LogPart::default());
        };
        self.enter(Stage::Log, plan.bytes())?;
        let mut step = |bytes: u64, _written: u64| {
            self.shared.cell.add(bytes);
            self.shared.check_stop()?;
            self.teller.tell(&self.backup, false)
        };
        let archive = plan.write(&self.backup, self.place, checkpoint, &mut step)?;
        if let Some(archive) = &archive {
            self.enter(Stage::Log, archive.report.bytes)?;
            self.read_back(&archive.partial, code::LOG_ARCHIVE_MISSING, code::LOG_CHECK)?;
        }
        Ok(LogPart { archive, plan: Some(plan) })
    }

    /// Stage 8: the names, without replacing anything, and the folder's sync. The log archive comes
    /// first: an archive that is there leaves no gap behind it.
    fn seal(&self, log: Option<&mut LogArchive>) -> Result<()> {
        self.enter(Stage::Seal, 0)?;
        let (disk, folder) = (self.backup.inner.engine.disk(), &self.place.folder);
        log.map_or(Ok(()), |log| log.name(folder))?;
        let (from, to) = (&self.place.partial, &self.place.archive);
        disk.rename_new(from, to).map_err(|e| failed(Error::io("name the archive", to, e)))?;
        disk.sync_dir(folder).map_err(|e| failed(Error::io("sync the destination", folder, e)))
    }

    /// Stage 9: from now on the log is kept from this backup on. The archives are durable whatever
    /// goes wrong here; the log is then kept for longer, and the report says so.
    fn record(&self, checkpoint: &Checkpoint, copied: &Copied, log: Option<LogPlan>) -> Vec<Error> {
        let (options, inner) = (&self.backup.options, &self.backup.inner);
        if !options.contents.data {
            return Vec::new();
        }
        let made = ArchiveRef {
            set: self.place.name.set().to_owned(),
            number: self.place.number(),
            archive: self.place.archive.clone(),
            seal: copied.seal.to_string(),
            lsn: checkpoint.lsn(),
            timeline: checkpoint.timeline().into(),
            checkpoint: checkpoint.number(),
            time: self.started,
        };
        let gap = log.as_ref().and_then(|plan| plan.gap.clone());
        let mut problems = Vec::new();
        let recorded = inner.update_backup_state(|state| {
            if let Some(gap) = gap.filter(|gap| !state.knows_gap(gap)) {
                problems.push(log_gap(&gap));
                state.add_gap(gap);
            }
            state.add_parent(made.clone());
            if options.log_archive {
                state.base = Some(made);
            }
        });
        problems.extend(recorded.err());
        // With the plan goes its hold on the segments.
        drop(log);
        inner.engine.trim_log();
        problems
    }

    fn report(
        &self,
        checkpoint: &Checkpoint,
        pin: Duration,
        copied: Copied,
        log: LogPart,
    ) -> BackupReport {
        let status = match copied.problems.is_empty() {
            true => BackupStatus::Complete,
            false => BackupStatus::Partial,
        };
        BackupReport {
            number: self.shared.number,
            archive: self.place.archive.clone(),
            store_id: self.backup.inner.engine.store_id(),
            timeline: checkpoint.timeline(),
            lsn: checkpoint.lsn(),
            status,
            access: self.backup.options.access,
            started: self.started,
            duration: self.shared.now().saturating_sub(self.shared.began),
            pin,
            hold: copied.held.time,
            longest_wait: copied.held.longest_wait,
            went_live: copied.held.went_live,
            source_bytes: copied.source_bytes,
            archive_bytes: copied.archive_bytes,
            verified: self.backup.options.verify,
            files: copied.files,
            log_archive: log.archive.map(|log| log.report.clone()),
            problems: copied.problems,
        }
    }
}

/// Gives an error of the copy its kind and number, and keeps it as the cause.
pub(super) fn failed(error: Error) -> Error {
    match error.kind() {
        ErrorKind::Stopped | ErrorKind::BackupFailed => error,
        ErrorKind::StorageFull => error.with_code(code::COPY),
        _ => Error::new(ErrorKind::BackupFailed, "the copy failed")
            .with_code(code::COPY)
            .because(error),
    }
}

/// Tells the application and the lock manager how far the backup is.
struct Teller<'r> {
    shared: &'r Arc<Shared>,
    /// The hook, and when it was called last.
    hook: Mutex<(Option<ProgressHook>, Duration)>,
}

impl Teller<'_> {
    fn tell(&self, backup: &BackupBuilder, always: bool) -> Result<()> {
        let now = self.shared.now();
        let mut hook = self.hook.lock();
        if !always && now.saturating_sub(hook.1) < TELL_EVERY {
            return Ok(());
        }
        hook.1 = now;
        let progress = self.shared.progress();
        backup.inner.locks.set_progress(BackupProgressInfo {
            number: progress.number,
            per_cent: progress.per_cent() as f32,
            remaining: progress.time_left,
        });
        let Some(hook) = &mut hook.0 else { return Ok(()) };
        let _scope = backup.inner.locks.callback_scope();
        match hook(&progress) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(stopped()),
        }
    }
}
