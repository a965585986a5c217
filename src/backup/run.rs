//! The stages of a backup, one after another, on its own thread.
//!
//! Every early end goes through one place: the hold is dropped, the unfinished file is removed, the
//! shutdown hook gets the code, the handle gets the error. A panic (a hook's, or our own) is an early
//! end like any other.

use std::cell::OnceCell;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::attachments::Attachments;
use super::builder::{BackupBuilder, ShutdownHook};
use super::copier::{Copied, Copier, Instant};
use super::crew::Crew;
use super::handle::{Shared, closed_or};
use super::locate::locate;
use super::log_archive::{LogArchive, LogPart, LogPlan, log_gap};
use super::preflight::Place;
use super::progress::Stage;
use super::report::BackupReport;
use super::teller::Teller;
use super::together::Seat;
use crate::archive::{Finished, WrittenFile, name_files};
use crate::engine::tree::Checkpoint;
use crate::engine::{Pin, Scratch};
use crate::error::{Error, ErrorKind, Result, code};
use crate::lock::{BackupTurn, Hold, LockManager};
use crate::store::{Act, ArchiveRef, StoreEvent};

/// How long to wait for the pin's checkpoint before looking at Stop again.
const PATIENCE: Duration = Duration::from_millis(20);

/// A backup that is to be run, with all that was claimed for it.
pub(super) struct Job {
    pub(super) backup: BackupBuilder,
    pub(super) seat: Option<Seat>,
    pub(super) turn: BackupTurn,
    /// The store is not closed before it ends.
    pub(super) act: Act,
    /// Left outside, so that it is told also where there is no thread to run on.
    pub(super) shutdown: Arc<Mutex<Option<ShutdownHook>>>,
}

/// Runs the backup to its end, whatever that is.
pub(super) fn run(job: Job, shared: &Arc<Shared>) {
    let Job { backup, seat, turn, act, shutdown } = job;
    let inner = backup.inner.clone();
    let (destination, access) = (backup.destination.clone(), backup.options.access);
    inner.events.tell(|| StoreEvent::BackupBegan { destination, access });
    // Outside, since what a panic leaves in the destination is removed too.
    let place = OnceCell::new();
    let result = catch_unwind(AssertUnwindSafe(|| go(backup, seat, &place, shared)))
        .unwrap_or_else(|panic| Err(panicked(panic.as_ref())))
        .map_err(|error| closed_or(shared, error));
    shared.crew.lock().clear();
    if let (Err(_), Some(place)) = (&result, place.get()) {
        place.discard(inner.engine.disk());
    }
    // Whoever is told of the end finds nothing of it in the destination but archives.
    drop(place);
    // Where this cannot be written, the next opening finds an archive of it, or that it failed.
    let _kept = inner.state.backup_ended(result.is_ok());
    shared.cell.enter(Stage::Done, 0, shared.now());
    let code = match &result {
        Ok(report) => report.problems.first().map_or(0, Error::code),
        Err(error) => error.code(),
    };
    let shutdown = shutdown.lock().take();
    tell_shutdown(shutdown, code, &inner.locks);
    let (number, error) = (shared.number(), result.as_ref().err().cloned());
    inner.events.tell(|| StoreEvent::BackupEnded { number, error });
    drop(turn);
    // Who waits for the end may close the store next, and must find nobody else holding it.
    drop(inner);
    shared.outcome.tell(result);
    // Last: whoever closes the store waits for this, and must find the end told.
    drop(act);
}

/// Tells the shutdown hook how the backup ended.
pub(super) fn tell_shutdown(hook: Option<ShutdownHook>, code: i32, locks: &LockManager) {
    if let Some(hook) = hook {
        let _scope = locks.callback_scope();
        // The backup is over: a panic in here changes nothing any more.
        let _panic = catch_unwind(AssertUnwindSafe(|| hook(code)));
    }
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

/// Stages 1 to 9. A group learns of a failure before the instant.
fn go(
    mut backup: BackupBuilder,
    seat: Option<Seat>,
    kept: &OnceCell<Place>,
    shared: &Arc<Shared>,
) -> Result<BackupReport> {
    let teller = Teller::new(shared, backup.progress.take());
    let group = seat.as_ref().map(Seat::archives);
    let place = locate(&mut backup, shared, &teller, group)
        .inspect_err(|error| seat.iter().for_each(|seat| seat.fail(error)))?;
    let run = Run::new(backup, kept.get_or_init(|| place), seat, teller, shared);
    // Should the process not live to its end, the next opening knows of it. A store that cannot be written
    // to is backed up all the same: it is then that a backup is wanted.
    let inner = &run.backup.inner;
    let _unknown =
        inner.state.backup_begins(run.place.unfinished(inner.engine.disk(), run.started));
    run.go()
}

pub(super) struct Run<'r> {
    pub(super) backup: BackupBuilder,
    pub(super) place: &'r Place,
    pub(super) shared: &'r Arc<Shared>,
    teller: Teller<'r>,
    started: i64,
    // Before the crew: whoever fails lets the others of the group go first.
    pub(super) seat: Option<Seat>,
    pub(super) crew: Crew,
    /// What participants did wrong though the backup goes on.
    troubles: Vec<Error>,
}

impl<'r> Run<'r> {
    fn new(
        backup: BackupBuilder,
        place: &'r Place,
        seat: Option<Seat>,
        teller: Teller<'r>,
        shared: &'r Arc<Shared>,
    ) -> Run<'r> {
        let started = backup.inner.engine.disk().now();
        let crew = Crew::new(backup.inner.engine.disk());
        Run { backup, place, shared, teller, started, seat, crew, troubles: Vec::new() }
    }

    fn go(mut self) -> Result<BackupReport> {
        let result = self.stages();
        if let (Err(error), Some(seat)) = (&result, &self.seat) {
            seat.fail(error);
        }
        self.crew.end(result.is_ok());
        result
    }

    fn stages(&mut self) -> Result<BackupReport> {
        self.prepare()?;
        let held_from = self.shared.now();
        let hold = self.quiesce()?;
        let (checkpoint, pin) = self.pin(hold.as_ref())?;
        let copied = self.copy(&checkpoint, pin.took(), hold, held_from)?;
        self.verify(&copied)?;
        let mut log = self.archive_log(&checkpoint)?;
        self.seal(log.archive.as_ref(), &copied)?;
        let problems = self.record(&checkpoint, &copied, log.plan.take());
        let mut report = self.report(&checkpoint, pin.took(), copied, log);
        report.problems.extend(problems);
        Ok(report)
    }

    pub(super) fn enter(&self, stage: Stage, total: u64) -> Result<()> {
        self.shared.cell.enter(stage, total, self.shared.now());
        self.shared.check_stop()?;
        self.teller.tell(&self.backup, true)?;
        // Stop may have been pressed while the application was told.
        self.shared.check_stop()
    }

    /// Stage 4: one instant in the commit line, at which the participants stand still; then its
    /// checkpoint, which only the backup waits for.
    fn pin(&mut self, hold: Option<&Hold>) -> Result<(Arc<Checkpoint>, Pin)> {
        self.enter(Stage::Pin, 0)?;
        let shared = self.shared;
        let check = || {
            shared.check_stop()?;
            hold.map_or(Ok(()), Hold::check)
        };
        self.crew.freeze(&check)?;
        let options = &self.backup.options;
        if options.contents.data && options.log_archive {
            // What is committed while the first backup runs follows it. Where that cannot be noted,
            // it is kept all the same, and the note comes with that of the backup.
            let _noted_then = self.backup.inner.begin_to_keep_log();
        }
        let engine = &self.backup.inner.engine;
        let pin = match &self.seat {
            None if engine.is_read_only() => {
                let (folder, path) = (&self.place.folder, &self.place.scratch());
                let owner = self.place.access();
                let mut written = || {
                    // Each record is progress: there may be many.
                    hold.iter().for_each(|hold| hold.progress(1));
                    check()
                };
                engine.pin_to_read(&Scratch { folder, path, owner }, &mut written)?
            }
            None => engine.pin()?,
            Some(seat) => {
                seat.vote(true, &check)?;
                engine.pin_at(seat.turn(&check)?)?
            }
        };
        // Whoever was let go before the instant has made it worthless.
        self.crew.check_frozen()?;
        shared.check_stop()?;
        self.troubles = self.crew.thaw_pinned();
        loop {
            if let Some(checkpoint) = pin.checkpoint(PATIENCE)? {
                debug_assert_eq!(checkpoint.lsn(), pin.lsn());
                return Ok((checkpoint, pin));
            }
            check()?;
        }
    }

    /// Stages 5 and 6: everything is read and handed to the archive, then the others go on. What a
    /// participant is held for comes first.
    fn copy(
        &mut self,
        checkpoint: &Arc<Checkpoint>,
        pin: Duration,
        hold: Option<Hold>,
        held_from: Duration,
    ) -> Result<Copied> {
        let engine = &self.backup.inner.engine;
        let (listed, to) = (&self.place.listed, &self.place.folder);
        let attachments = Attachments::plan(engine.disk(), listed, to);
        let mut copier =
            Copier::begin(&self.backup, self.place, checkpoint, attachments, self.started)?;
        self.enter(Stage::Copy, copier.bytes_total())?;
        let held = hold.as_ref();
        let mut too_early = Vec::new();
        for index in self.crew.held_until_copied() {
            copier.copy_attachments(Some(index), &mut |b, w| self.moved(held, b, w))?;
            let thawed = self.crew.thaw(index);
            let kind = if thawed.in_time { &mut self.troubles } else { &mut too_early };
            kind.extend(thawed.error);
        }
        let dir = self.backup.inner.engine.dir();
        copier.copy_store(dir, &mut |b, w| self.moved(held, b, w))?;
        let for_attachments = self.hold_for_attachments(copier.has_attachments())?;
        let during = for_attachments.as_ref().map(|(hold, _)| hold).or(held);
        copier.copy_attachments(None, &mut |b, w| self.moved(during, b, w))?;
        // The last step may have been the one that took too long.
        during.map_or(Ok(()), Hold::check)?;
        let held = match for_attachments {
            Some((hold, since)) => self.release(Some(hold), since),
            None => self.release(hold, held_from),
        };
        let instant = Instant {
            pin,
            participants: self.crew.reports(),
            too_early,
            troubles: std::mem::take(&mut self.troubles),
            together: self.seat.as_ref().map(Seat::paper),
        };
        copier.finish(held, instant, &mut || self.moved(None, 0, 0))
    }

    /// Called after each piece: progress, Stop, and the lease of `hold`.
    fn moved(&self, hold: Option<&Hold>, bytes: u64, written: u64) -> Result<()> {
        self.shared.cell.add(bytes);
        self.check(hold)?;
        if let Some(hold) = hold {
            // What is read and packs well may not be written for long. Where the destination hangs,
            // reading ends too: there is room for a few frames only between the two.
            hold.progress(bytes + written);
        }
        self.teller.tell(&self.backup, false)
    }

    /// Stage 7: what is on the medium, read anew.
    fn verify(&self, copied: &Copied) -> Result<()> {
        if !self.backup.options.verify {
            return Ok(());
        }
        self.enter(Stage::Verify, copied.finished.bytes)?;
        self.read_back(&copied.finished, code::ARCHIVE_MISSING, code::CHECK)
    }

    /// Reads what was written from the medium; `missing` and `bad` number what can be wrong.
    fn read_back(&self, finished: &Finished, missing: i32, bad: i32) -> Result<()> {
        let mut stop = Ok(());
        let mut tell = |progress: crate::archive::Progress| {
            self.shared.cell.set(progress.done);
            stop = self.shared.check_stop().and_then(|()| self.teller.tell(&self.backup, false));
            if stop.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        };
        let disk = self.backup.inner.engine.disk();
        let verified = finished.verify(&**disk, self.backup.options.workers, &mut tell);
        stop?;
        verified.map(drop).map_err(|error| {
            let number = if error.kind() == ErrorKind::NotFound { missing } else { bad };
            let message = "the archive was read back and is not what was written";
            Error::new(ErrorKind::BackupFailed, message)
                .with_code(number)
                .at(error.path().unwrap_or(&self.place.archive))
                .because(error.clone())
                .hint("Suspect the destination's medium; the store itself was read without error.")
        })
    }

    /// The log since the last backup of data, written and read back. Nobody is held any more.
    fn archive_log(&self, checkpoint: &Checkpoint) -> Result<LogPart> {
        let options = &self.backup.options;
        let keeps_log = options.log_archive && !self.backup.inner.engine.is_read_only();
        if !(options.contents.data && keeps_log) {
            return Ok(LogPart::default());
        }
        let Some(mut plan) = LogPlan::new(&self.backup, checkpoint.lsn())? else {
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
            self.read_back(&archive.finished, code::LOG_ARCHIVE_MISSING, code::LOG_CHECK)?;
        }
        Ok(LogPart { archive, plan: Some(plan) })
    }

    /// Stage 8: the names, without replacing anything, and the folder's sync. The log archive comes
    /// first: an archive that is there leaves no gap behind it.
    fn seal(&self, log: Option<&LogArchive>, copied: &Copied) -> Result<()> {
        self.enter(Stage::Seal, 0)?;
        let disk = self.backup.inner.engine.disk();
        self.place.check()?;
        log.map_or(Ok(()), |log| log.name(&**disk))?;
        let place = self.place.of(self.place.name.clone());
        name_files(&**disk, &place, &copied.finished.files).map_err(failed)?;
        self.place.check()
    }

    /// Stage 9: from now on the log is kept from this backup on. The archives are durable whatever
    /// goes wrong here; the log is then kept for longer, and the report says so.
    fn record(&self, checkpoint: &Checkpoint, copied: &Copied, log: Option<LogPlan>) -> Vec<Error> {
        let (options, inner) = (&self.backup.options, &self.backup.inner);
        // A store that is only read remembers nothing.
        if !options.contents.data || inner.engine.is_read_only() {
            return Vec::new();
        }
        let made = ArchiveRef {
            set: self.place.name.set().to_owned(),
            number: self.place.number(),
            archive: self.place.lasting(inner.engine.disk()),
            seal: copied.finished.seal.to_string(),
            lsn: checkpoint.lsn(),
            timeline: checkpoint.timeline().into(),
            checkpoint: checkpoint.number(),
            time: self.started,
        };
        let gaps = log.as_ref().map(|plan| plan.gaps.clone()).unwrap_or_default();
        let mut problems = Vec::new();
        let recorded = inner.update_backup_state(|state| {
            for gap in gaps {
                if !state.knows_gap(&gap) {
                    problems.push(log_gap(&gap));
                    state.add_gap(gap);
                }
            }
            state.end_backup(true);
            state.add_parent(made.clone());
            if options.log_archive {
                state.base = Some(made);
                state.kept_from = None;
            }
        });
        problems.extend(recorded.err());
        inner.engine.backed_up();
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
        BackupReport {
            number: self.place.number(),
            archive: self.place.archive.clone(),
            store_id: self.backup.inner.engine.store_id(),
            timeline: checkpoint.timeline(),
            lsn: checkpoint.lsn(),
            checkpoint: checkpoint.number(),
            seal: copied.finished.seal.to_string(),
            parent: self.place.lineage.parent.clone(),
            passed_over: self.place.lineage.passed_over.clone(),
            pages_copied: copied.pages.copied,
            pages_read: copied.pages.read,
            status: copied.status,
            access: self.backup.options.access,
            started: self.started,
            duration: self.shared.now().saturating_sub(self.shared.began),
            pin,
            hold: copied.held.time,
            longest_wait: copied.held.longest_wait,
            went_live: copied.held.went_live,
            source_bytes: copied.source_bytes,
            archive_bytes: copied.finished.bytes,
            archive_files: paths(&copied.finished.files),
            verified: self.backup.options.verify,
            files: copied.files,
            log_archive: log.archive.map(|log| log.report.clone()),
            skipped: copied.skipped,
            participants: self.crew.reports(),
            together: self.seat.as_ref().map(Seat::paper),
            problems: copied.problems,
        }
    }
}

/// What finished files are called.
pub(super) fn paths(files: &[WrittenFile]) -> Vec<PathBuf> {
    files.iter().map(|file| file.path.clone()).collect()
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
