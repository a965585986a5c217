//! What is done when its time has come: settings that changed, runs of the schedule, second attempts,
//! drills; and what was claimed by a clock that was wrong is given up.
//!
//! [`tick`] does all of it and gives the next moment when there is something to do; the keeper's
//! thread calls it and sleeps in between, and a test in simulated time calls it without a thread.
//!
//! Invariants: a run of the schedule is marked as attended to, durably, before it begins, so neither
//! a crash nor a clock that is set back makes it run twice; runs that fall due while another one is
//! made are left out and told, never made up for in a heap; one tick at a time.

use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::core::{Core, Retry};
use super::events::RegimeEvent;
use super::journal::Origin;
use super::plan::Plan;
use super::run::{Order, begin, suspended};
use super::schedule::{Schedule, next_after};
use super::state::{Attended, LastBackup, State, Status, timestamp};
use crate::error::{Error, ErrorKind, Result, code};

/// How long the keeper sleeps at most: then it looks whether the settings or the clock were changed.
const GLANCE: Duration = Duration::from_secs(2);
/// How many runs that fell due together are told one by one.
const TOLD: usize = 24;

/// The thread that ticks.
pub(super) struct Keeper {
    thread: Option<JoinHandle<()>>,
}

impl Keeper {
    pub(super) fn start(core: &Arc<Core>) -> Result<Keeper> {
        let theirs = core.clone();
        let thread = thread::Builder::new()
            .name("stillpoint-regime".into())
            .spawn(move || keep(&theirs))
            .map_err(|e| Error::io("start the thread of the regime", &core.dir, e))?;
        Ok(Keeper { thread: Some(thread) })
    }

    /// Waits for the thread's end. From within it (a hook that holds the last of the regime) there is
    /// nobody to wait for.
    pub(super) fn join(&mut self) {
        if let Some(thread) = self.thread.take()
            && thread.thread().id() != thread::current().id()
        {
            // It catches panics itself: there is nothing in its result.
            let _ended = thread.join();
        }
    }
}

fn keep(core: &Arc<Core>) {
    while !core.bell.closing() {
        let next = catch_unwind(AssertUnwindSafe(|| tick(core))).unwrap_or_else(|_| {
            let error = Error::new(ErrorKind::BackupFailed, "the keeper of the regime panicked");
            core.trouble(error.with_code(code::HOOK));
            None
        });
        let now = core.now();
        let sleep = next.map_or(GLANCE, |next| {
            Duration::try_from(next.duration_since(now)).unwrap_or_default().min(GLANCE)
        });
        core.bell.wait(sleep.max(Duration::from_millis(1)));
    }
}

/// Does what is due, and gives the next moment when something will be.
pub(super) fn tick(core: &Arc<Core>) -> Option<Timestamp> {
    // What falls due inside a hook is done after it: a backup would be refused there.
    let may_act = !core.store.inner().locks.is_in_callback();
    if let Some(_alone) = may_act.then(|| core.ticking.try_lock()).flatten() {
        let look = [look_at_settings, look_at_clock, look_at_log];
        for task in look.into_iter().chain([run_schedule, run_retry, run_drills]) {
            // Whoever closes waits for this one, and for no more.
            if !core.bell.closing() {
                task(core);
            }
        }
    }
    next_due(core)
}

/// When something will be due next, as far as is known now.
fn next_due(core: &Core) -> Option<Timestamp> {
    let now = core.now();
    let (retry, drill) = {
        let desk = core.desk.lock();
        let retry = desk.retry.as_ref().map(|retry| {
            let wait = retry.due.saturating_sub(core.disk.elapsed());
            now.checked_add(wait).unwrap_or(Timestamp::MAX)
        });
        let drill = next_of(&desk.plan.drills, &desk.state.drills, &desk.plan.zone, now);
        (retry, drill)
    };
    [next_backup(core), retry, drill].into_iter().flatten().min()
}

/// When the schedule wants the next backup; `None` where it wants none, or none is made.
pub(super) fn next_backup(core: &Core) -> Option<Timestamp> {
    let desk = core.desk.lock();
    if desk.policy.suspended() {
        return None;
    }
    next_of(&desk.plan.schedule, &desk.state.backups, &desk.plan.zone, core.now())
}

/// The first run after what was attended to: it may lie in the past, and is due then.
fn next_of(
    schedule: &Schedule,
    attended: &Attended,
    zone: &TimeZone,
    now: Timestamp,
) -> Option<Timestamp> {
    let until = timestamp(attended.until);
    next_after(schedule, Some(until), until.min(now), zone)
}

fn look_at_settings(core: &Arc<Core>) {
    let changed = core.desk.lock().file.changed(&*core.disk);
    if changed {
        core.reload();
    }
}

/// Tells the journal of commits that the log's bound took before any log archive had them.
fn look_at_log(core: &Arc<Core>) {
    let told = core.desk.lock().state.log_dropped;
    let gaps = core.store.inner().backup_state().gaps;
    let Some(gap) = gaps.last().filter(|gap| gap.time > told) else { return };
    let message = format!(
        "the log no longer has the commits from {} to {}: no log archive has them",
        gap.after + 1,
        gap.last
    );
    core.books(|books| books.log(message));
    core.remember(|state| state.log_dropped = gap.time);
}

/// A clock that was set back by far had been wrong: its claims on the future are given up.
fn look_at_clock(core: &Arc<Core>) {
    let (plan, now) = (core.plan(), core.disk.now());
    let go_on = |state: &mut State| {
        state.backups.go_on(plan.schedule_mark(), now);
        state.drills.go_on(plan.drills_mark(), now);
    };
    let before = core.desk.lock().state.clone();
    let mut after = before.clone();
    go_on(&mut after);
    if after != before {
        core.remember(go_on);
    }
}

fn run_retry(core: &Arc<Core>) {
    let due = {
        let mut desk = core.desk.lock();
        let is_due = |retry: &mut Retry| retry.due <= core.disk.elapsed();
        desk.retry.take_if(is_due)
    };
    if let Some(Retry { mut order, .. }) = due {
        let now = core.plan();
        order.plan = match order.origin {
            // It may have failed for the settings, and somebody has mended them since.
            Origin::Scheduled => now,
            _ => Arc::new(Plan::clone(&order.plan).keeping_as(&now)),
        };
        attempt(core, order);
    }
}

/// One attempt from its beginning to its end; books, events and hooks have told how it ended.
fn attempt(core: &Arc<Core>, order: Order) {
    if let Ok((begun, backup)) = begin(core, order, None) {
        core.set_stopper(Some(Box::new(backup.stopper())));
        if core.bell.closing() {
            backup.stop();
        }
        let _told = begun.ended(core, backup.wait());
        core.set_stopper(None);
    }
}

fn run_schedule(core: &Arc<Core>) {
    let plan = core.plan();
    let Some(due) = take_due(core, core.now()) else { return };
    let order = Order {
        plan: plan.clone(),
        origin: Origin::Scheduled,
        second: false,
        due: Some(due.as_microsecond()),
    };
    if core.desk.lock().policy.suspended() {
        let error = Error::new(ErrorKind::BackupFailed, "automatic backups are suspended")
            .with_code(code::TOO_MANY_ATTEMPTS);
        core.books(|books| books.refused(&order, &error));
    } else if plan.only_if_changed && !core.data_changed() {
        core.books(|books| books.postponed(&order));
        core.events.tell(RegimeEvent::Postponed { due });
    } else {
        attempt(core, order);
    }
    skip_what_fell_due(core);
}

/// Takes the first run that is due at `now`: from here on it was attended to.
fn take_due(core: &Core, now: Timestamp) -> Option<Timestamp> {
    let due = {
        let desk = core.desk.lock();
        next_of(&desk.plan.schedule, &desk.state.backups, &desk.plan.zone, now)
    };
    let due = due.filter(|due| *due <= now)?;
    core.remember(|state| state.backups.until = due.as_microsecond());
    Some(due)
}

/// Leaves out the runs that fell due while one was made, or while the machine slept.
fn skip_what_fell_due(core: &Core) {
    for _ in 0..TOLD {
        let Some(due) = take_due(core, core.now()) else { return };
        core.books(|books| books.skipped(due));
        core.events.tell(RegimeEvent::Skipped { due });
    }
    let now = core.disk.now();
    core.remember(|state| state.backups.until = now.max(state.backups.until));
}

fn run_drills(core: &Arc<Core>) {
    let now = core.now();
    let due = {
        let desk = core.desk.lock();
        next_of(&desk.plan.drills, &desk.state.drills, &desk.plan.zone, now)
    };
    if due.is_some_and(|due| due <= now) {
        core.remember(|state| state.drills.until = now.as_microsecond());
        // Books and events have told how it ended.
        let _told = core.drill(&mut |_| ControlFlow::Continue(()));
    }
}

/// Counts the runs that were missed while the store was not open as one failed backup.
pub(super) fn count_missed(core: &Arc<Core>) {
    let Some(due) = take_due(core, core.now()) else { return };
    let now = core.disk.now();
    core.remember(|state| state.backups.until = now);
    let plan = core.plan();
    let order = Order {
        plan: plan.clone(),
        origin: Origin::Scheduled,
        second: false,
        due: Some(due.as_microsecond()),
    };
    if plan.only_if_changed && !core.data_changed() {
        core.books(|books| books.postponed(&order));
        core.events.tell(RegimeEvent::Postponed { due });
        return;
    }
    let error = Error::new(ErrorKind::BackupFailed, format!("the backup due at {due} was missed"))
        .with_code(code::MISSED_RUN)
        .at(&core.dir)
        .hint("The store was not open then. The failure policy says when it is made up for.");
    let verdict = {
        let mut desk = core.desk.lock();
        let verdict = desk.policy.missed(&plan.rules);
        desk.retry = verdict.again_after.map(|wait| Retry {
            due: core.disk.elapsed().saturating_add(wait),
            order: Order { second: true, ..order.clone() },
        });
        verdict
    };
    let error = if verdict.suspend { suspended(core, error) } else { error };
    let last = LastBackup {
        started: due.as_microsecond(),
        duration_micros: 0,
        number: None,
        archive: None,
        status: Status::of(Some(&error)),
    };
    core.remember(|state| state.last_backup = Some(last.clone()));
    core.books(|books| books.failed(&order, None, &error));
    core.record(&order, &last, None);
    core.events.tell(RegimeEvent::Missed { due });
    core.warn(&error, verdict);
    core.tell_shutdown_hook(error.code());
}
