//! One backup as the regime makes it, whoever asked for it.
//!
//! The way is always the same: the startup hook, the preflight, what `EraseOldBackupBefore`
//! deletes, the backup itself, then the books (history, journal, last-backup information),
//! retention, and what the failure policy says; last the shutdown hook, which is told 0 or the
//! top-level code. An attempt that could not even begin goes the same way, so that nothing fails in
//! silence.
//!
//! Invariants: hooks run for every attempt, outside all locks, and a backup started from inside one
//! is refused (2005) and leaves no trace; trouble with the books never turns a backup that is there
//! into one that failed.

use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::core::{Core, Retry};
use super::events::RegimeEvent;
use super::journal::Origin;
use super::plan::Plan;
use super::policy::{Attempt, Ending, Verdict};
use super::state::{Checked, LastBackup, Status, timestamp};
use crate::backup::{BackupHandle, BackupReport, Located, Preparation, Progress, check_folder};
use crate::engine::DirLock;
use crate::error::{Error, ErrorKind, Result, code};
use crate::store::Act;

/// Told how far the backup is; may stop it.
pub(super) type ProgressHook = Box<dyn FnMut(&Progress) -> ControlFlow<()> + Send>;

/// What is to be done, and for whom.
#[derive(Clone)]
pub(crate) struct Order {
    pub(crate) plan: Arc<Plan>,
    pub(crate) origin: Origin,
    /// Whether it is the second attempt after a failure.
    pub(crate) second: bool,
    /// When the schedule wanted it, in microseconds since the Unix epoch.
    pub(crate) due: Option<i64>,
}

/// An attempt that is under way.
pub(crate) struct Begun {
    order: Order,
    /// When it began, by the clock and by the monotonic one.
    started: i64,
    began: Duration,
    /// What knows its number; `None` where it could not begin.
    backup: Option<BackupHandle>,
    /// The store may be closed meanwhile; nobody opens it, and writes its books, before these are.
    _folder: Option<DirLock>,
    /// Whoever closes the store waits for the books.
    act: Option<Act>,
}

/// Begins the backup on a thread of its own.
///
/// # Errors
/// Why it could not begin; the books have it already, and the shutdown hook was told.
pub(crate) fn begin(
    core: &Arc<Core>,
    order: Order,
    progress: Option<ProgressHook>,
) -> Result<(Begun, BackupHandle)> {
    // A mistake of the caller's that touches nothing and is nobody else's business.
    core.store.inner().check_open()?;
    let turn = core.store.inner().locks.claim_backup();
    if let Err(error) = turn.map(drop) {
        if error.code() == code::SECOND_BACKUP {
            core.books(|books| books.refused(&order, &error));
            if let (Origin::Scheduled, Some(due)) = (order.origin, order.due) {
                core.events.tell(RegimeEvent::Skipped { due: timestamp(due) });
            }
        }
        if matches!(error.code(), code::SECOND_BACKUP | code::FROM_CALLBACK) {
            return Err(error);
        }
        let begun = Begun::now(core, order);
        return Err(begun.failed(core, error));
    }
    let mut begun = Begun::now(core, order);
    core.books(|books| books.attempted(&begun.order));
    match start(core, &begun.order, progress) {
        Ok(handle) => {
            begun.backup = Some(handle.another());
            Ok((begun, handle))
        }
        Err(error) => Err(begun.failed(core, error)),
    }
}

fn start(core: &Arc<Core>, order: &Order, progress: Option<ProgressHook>) -> Result<BackupHandle> {
    let preparation = Prepared { core: core.clone(), order: order.clone() };
    let mut backup = order.plan.builder(&core.store).prepared_by(preparation);
    if let Some(hook) = core.hooks.startup.clone() {
        backup = backup.on_startup(move |start| hook(start));
    }
    if let Some(hook) = progress {
        backup = backup.on_progress(hook);
    }
    backup.start()
}

/// What the settings mean for a backup, once its startup hook has been asked.
struct Prepared {
    core: Arc<Core>,
    order: Order,
}

impl Prepared {
    /// For how many new sets retention makes room: an incremental backup goes into the newest one.
    fn room(incremental: bool) -> u32 {
        u32::from(!incremental)
    }
}

impl Preparation for Prepared {
    fn locate(&mut self) -> Result<Located> {
        let (core, plan) = (&self.core, &self.order.plan);
        plan.make_destination(&*core.disk)?;
        // Before the history is written there: nothing is left where no archive can go.
        check_folder(&*core.disk, &plan.destination, core.store.inner().engine.dir())?;
        let number_from = core.next_number(plan)?;
        let incremental = core.is_incremental(plan);
        let will_free = match plan.erase_before {
            true => core.will_retire(plan, Prepared::room(incremental)),
            false => 0,
        };
        Ok(Located { number_from, incremental, will_free })
    }

    fn clear(&mut self, number: u32) {
        let (core, plan) = (&self.core, &self.order.plan);
        core.report_interrupted();
        core.remember_running(&self.order, number);
        core.books(|books| books.began(&self.order, number));
        if plan.erase_before {
            let room = Prepared::room(core.is_incremental(plan));
            core.retire(plan, room, None).unwrap_or_else(|error| core.trouble(error));
        }
    }
}

impl Begun {
    fn now(core: &Core, order: Order) -> Begun {
        let folder = core.store.inner().engine.keep_folder();
        let act = core.store.inner().running.enter(|_| {}).ok();
        let (started, began) = (core.disk.now(), core.disk.elapsed());
        Begun { order, started, began, backup: None, _folder: folder, act }
    }

    fn number(&self) -> Option<u32> {
        self.backup.as_ref().and_then(BackupHandle::number)
    }

    /// What closing the store waits for, for a caller that reports the end after [`Begun::ended`].
    pub(crate) fn take_act(&mut self) -> Option<Act> {
        self.act.take()
    }

    /// Puts down how the backup ended, and does what follows from it.
    pub(crate) fn ended(self, core: &Core, result: Result<BackupReport>) -> Result<BackupReport> {
        match result {
            Ok(report) => {
                self.done(core, &report);
                Ok(report)
            }
            Err(error) => Err(self.failed(core, error)),
        }
    }

    fn attempt(&self, ending: Ending) -> Attempt {
        Attempt { origin: self.order.origin, second: self.order.second, ending }
    }

    fn last_backup(&self, core: &Core, archive: Option<PathBuf>, status: Status) -> LastBackup {
        let took = core.disk.elapsed().saturating_sub(self.began);
        LastBackup {
            started: self.started,
            duration_micros: u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
            number: self.number(),
            archive,
            status,
        }
    }

    fn done(&self, core: &Core, report: &BackupReport) {
        let verdict = core.judge(self.attempt(Ending::Done), &self.order);
        let problem = report.problems.first();
        let status = Status::of(problem);
        let last = self.last_backup(core, Some(report.archive.clone()), status.clone());
        core.remember(|state| {
            state.running = None;
            state.last_backup = Some(last.clone());
            if report.verified {
                state.last_verified = Some(Checked {
                    time: report.started,
                    archive: report.archive.clone(),
                    status: Status::good(),
                });
            }
        });
        core.books(|books| books.done(&self.order, report));
        if verdict.resume {
            core.books(|books| books.resumed());
        }
        core.record(&self.order, &last, Some(report));
        if let Err(error) = core.retire(&self.order.plan, 0, Some(report)) {
            core.trouble(error);
        }
        core.events.tell(RegimeEvent::BackupDone {
            origin: self.order.origin,
            number: report.number,
            archive: report.archive.clone(),
            partial: problem.is_some(),
        });
        core.tell_shutdown_hook(status.code);
    }

    /// The error that the caller gets, and everybody else was told.
    fn failed(self, core: &Core, error: Error) -> Error {
        let verdict = core.judge(self.attempt(Ending::of(&error)), &self.order);
        let error = if verdict.suspend { suspended(core, error) } else { error };
        let last = self.last_backup(core, None, Status::of(Some(&error)));
        core.remember(|state| {
            state.running = None;
            state.last_backup = Some(last.clone());
        });
        core.books(|books| books.failed(&self.order, last.number, &error));
        core.record(&self.order, &last, None);
        self.tell_failure(core, &error, verdict);
        core.tell_shutdown_hook(error.code());
        error
    }

    fn tell_failure(&self, core: &Core, error: &Error, verdict: Verdict) {
        let origin = self.order.origin;
        let again = verdict.again_after.map(|wait| {
            let micros = i64::try_from(wait.as_micros()).unwrap_or(i64::MAX);
            timestamp(core.disk.now().saturating_add(micros))
        });
        core.events.tell(RegimeEvent::BackupFailed { origin, error: error.clone(), again });
        core.warn(error, verdict);
    }
}

/// The last of too many failures.
pub(super) fn suspended(core: &Core, cause: Error) -> Error {
    let failed = core.failed_in_a_row();
    Error::new(ErrorKind::BackupFailed, format!("{failed} attempts to back up failed in a row"))
        .with_code(code::TOO_MANY_ATTEMPTS)
        .because(cause)
        .hint("Nothing is backed up by itself until a backup by hand succeeds or the store is reopened.")
}

impl Core {
    /// Asks the policy what follows from an attempt, and sees to the second one.
    pub(super) fn judge(&self, attempt: Attempt, order: &Order) -> Verdict {
        let mut desk = self.desk.lock();
        let mut verdict = desk.policy.ended(&order.plan.rules, attempt);
        let regular_waits = desk.retry.as_ref().is_some_and(|retry| !retry.order.plan.apart);
        match attempt.ending {
            Ending::Declined => {}
            // The destination of the settings gets the backup that it waits for, whatever becomes of a
            // copy elsewhere.
            _ if order.plan.apart && regular_waits => verdict.again_after = None,
            _ => {
                desk.retry = verdict.again_after.map(|wait| Retry {
                    due: self.disk.elapsed().saturating_add(wait),
                    order: Order { second: true, ..order.clone() },
                });
            }
        }
        drop(desk);
        self.bell.ring();
        verdict
    }

    /// Reports what the policy makes of the failure `error`: an alert, the end of automatic backups.
    pub(super) fn warn(&self, error: &Error, verdict: Verdict) {
        if verdict.alert {
            self.books(|books| books.alert(error));
            self.events.tell(RegimeEvent::Alert { error: error.clone() });
        }
        if verdict.suspend {
            self.events.tell(RegimeEvent::Suspended { error: error.clone() });
        }
    }

    pub(super) fn tell_shutdown_hook(&self, code: i32) {
        let Some(hook) = &self.hooks.shutdown else { return };
        let _scope = self.store.inner().locks.callback_scope();
        if catch_unwind(AssertUnwindSafe(|| hook(code))).is_err() {
            self.trouble(
                Error::new(ErrorKind::BackupFailed, "the shutdown hook panicked")
                    .with_code(code::HOOK),
            );
        }
    }
}
