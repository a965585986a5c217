//! Integration: applying logs to a store that is open.
//!
//! Invariants: reads go on meanwhile and see whole commits in order; writes wait behind a hold;
//! backups and integrations exclude each other. Strict integration keeps LSN, time and timeline of
//! what it applies, and stops at the first thing that is not right: the store is then at a true
//! prefix of that history. Auto-repair goes on where strict integration would stop (`repair.rs`).
//!
//! This is not recovery: what a store needs after a crash is in its own log, and is read whenever it is
//! opened.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::log_file::LogFile;
use super::point::{Logs, RestorePoint, Roll, Start};
use super::repair::{Repair, Repairer};
use crate::archive::{Keys, ReadRepair, merged};
use crate::engine::{History, Lsn, Position, Timeline};
use crate::error::{Error, ErrorKind, Result, code};
use crate::lock::{Access, AtLimit, Contents, Hold, HoldKind, HoldRequest, roots};
use crate::store::{Inner, RestoredTo, Store};

/// What an integration does about a log that does not fit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Strictness {
    /// It stops there.
    #[default]
    Strict,
    /// It goes on: what cannot keep its LSN is applied as commits of the store's own, on a new
    /// timeline, and each operation of these is reported. For logs of which a part is lost.
    AutoRepair,
}

/// How logs are integrated.
#[derive(Clone, Debug)]
pub struct IntegrateOptions {
    /// What is done about a log that does not fit.
    pub strictness: Strictness,
    /// How far to go.
    pub to: RestorePoint,
    /// How long to wait for open write handles to end.
    pub transaction_timeout: Duration,
    /// What opens the logs, where they are encrypted.
    pub keys: Keys,
    /// Ends it early (1406) once it is true: what was applied by then is a prefix, and stays.
    pub stop: Option<Arc<AtomicBool>>,
}

impl Default for IntegrateOptions {
    fn default() -> IntegrateOptions {
        IntegrateOptions {
            strictness: Strictness::Strict,
            to: RestorePoint::Newest,
            transaction_timeout: Duration::from_secs(60),
            keys: Keys::none(),
            stop: None,
        }
    }
}

/// What an integration did.
#[non_exhaustive]
#[derive(Clone, Debug, serde::Serialize)]
pub struct IntegrationReport {
    /// The last commit of the store before.
    pub after: Lsn,
    /// Its last commit now.
    pub lsn: Lsn,
    /// The timeline that it is on now.
    pub timeline: Timeline,
    /// Whether the logs go on until the point. They may end before a time, and with auto-repair before an
    /// LSN: what was committed between is not in them.
    pub reached_point: bool,
    /// Commits that were applied with their own LSNs.
    pub commits: u64,
    /// Operations in them.
    pub operations: u64,
    /// Operations that auto-repair dealt with, whatever it did about them.
    pub repaired: u64,
    /// The first of them, at most [`IntegrationReport::MAX_REPAIRS`].
    pub repairs: Vec<Repair>,
    /// What auto-repair went past.
    pub problems: Vec<Error>,
    /// Log archives that are damaged, and that were read through their parity.
    pub read_repairs: Vec<ReadRepair>,
    /// How long it took.
    pub duration: Duration,
}

impl IntegrationReport {
    /// How many repaired operations a report lists one by one.
    pub const MAX_REPAIRS: usize = 10_000;
}

impl Store {
    /// Applies the logs at `paths` (segments, log archives, folders of them) to this store: those of
    /// its own history beyond what it has, or of the store that it mirrors. What it has already is
    /// passed over.
    ///
    /// # Locks
    /// Waits for open write handles, then writes wait until it returns. Reads go on.
    ///
    /// # Durability
    /// What was applied is durable when it returns.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] (2010) where commits are missing; [`ErrorKind::Foreign`] (1416);
    /// [`ErrorKind::NotFound`] (1412); [`ErrorKind::Corrupt`] (1413): the commits before the damage were
    /// applied, and the message says through which. [`ErrorKind::Timeout`] (1420) where write
    /// handles stay open; [`ErrorKind::BackupInProgress`] during a backup; [`ErrorKind::Busy`] (1417)
    /// during another integration.
    pub fn integrate<P: AsRef<Path>>(
        &self,
        paths: &[P],
        options: IntegrateOptions,
    ) -> Result<IntegrationReport> {
        self.integrate_logs(paths, options, None)
    }

    /// Auto-repair of a store of which it is known to which `history` the logs are to lead. What fits
    /// was applied before; only commits of the history beyond the store's are taken.
    pub(crate) fn integrate_along<P: AsRef<Path>>(
        &self,
        paths: &[P],
        options: IntegrateOptions,
        history: &History,
    ) -> Result<IntegrationReport> {
        self.integrate_logs(paths, options, Some(history))
    }

    fn integrate_logs<P: AsRef<Path>>(
        &self,
        paths: &[P],
        options: IntegrateOptions,
        along: Option<&History>,
    ) -> Result<IntegrationReport> {
        let inner = self.inner();
        inner.check_writable()?;
        let disk = inner.engine.disk().clone();
        let repairing = options.strictness == Strictness::AutoRepair;
        let mut logs = Logs::default();
        let mut problems = Vec::new();
        for path in paths {
            match LogFile::open_on_with(disk.clone(), path, &options.keys) {
                Ok(log) => logs.named.push(log),
                Err(error) if repairing && error.kind() == ErrorKind::Corrupt => {
                    problems.push(error);
                }
                Err(error) => return Err(error),
            }
        }
        exclusively(inner, options.transaction_timeout, |hold, start, report| {
            report.problems = problems;
            report.reached_point = logs.lead_to(&start, options.to);
            let go_on = || match &options.stop {
                Some(stop) if stop.load(Ordering::Acquire) => Err(stopped(inner)),
                _ => hold.check(),
            };
            let done = match repairing {
                true => {
                    Repairer::new(inner, hold, start, options.to, along, &go_on).run(&logs, report)
                }
                false => Roll::plan(&logs, &start, options.to)
                    .and_then(|roll| apply(inner, hold, &roll, &go_on, report)),
            };
            report.read_repairs = merged(logs.read_repairs());
            done
        })
    }
}

/// Does `work` while writes wait and no backup runs, and reports.
pub(super) fn exclusively(
    inner: &Inner,
    transaction_timeout: Duration,
    work: impl FnOnce(&Hold, Start, &mut IntegrationReport) -> Result<()>,
) -> Result<IntegrationReport> {
    let began = inner.now();
    let _turn = inner.locks.claim_integration()?;
    let hold = hold(inner, transaction_timeout)?;
    // What is integrated is in no log archive of this store, and its own commits follow it.
    inner.begin_to_keep_log()?;
    let start = here(inner);
    let mut report = IntegrationReport {
        after: start.history.last,
        lsn: start.history.last,
        timeline: start.history.tip(),
        reached_point: true,
        commits: 0,
        operations: 0,
        repaired: 0,
        repairs: Vec::new(),
        problems: Vec::new(),
        read_repairs: Vec::new(),
        duration: Duration::ZERO,
    };
    let worked = work(&hold, start, &mut report);
    let position = inner.engine.position();
    (report.lsn, report.timeline) = (position.lsn, position.timeline);
    // Also where it was stopped or met damage: what was applied by then is there.
    worked.and(remember(inner, position))?;
    report.duration = inner.now().saturating_sub(began);
    Ok(report)
}

/// A restored store that was brought further, and has no commit of its own yet, remembers to where.
fn remember(inner: &Inner, position: Position) -> Result<()> {
    let now = RestoredTo { lsn: position.lsn, timeline: position.timeline.into() };
    let known = inner.backup_state().restored_to;
    if position.foreign && known.is_some_and(|known| known != now) {
        inner.update_backup_state(|state| {
            state.restored_to = Some(now);
            state.notified.clear();
        })?;
    }
    Ok(())
}

/// Where the store is now.
pub(super) fn here(inner: &Inner) -> Start {
    let (store, history) = (inner.engine.store_id(), inner.engine.history());
    let time = inner.engine.position().time;
    Start { store, history, time, complete_until: time }
}

fn stopped(inner: &Inner) -> Error {
    let error = Error::new(ErrorKind::Stopped, "the integration was stopped");
    error.with_code(code::STOPPED).at(inner.engine.dir())
}

/// Applies what was planned, as long as `go_on` lets it.
pub(super) fn apply(
    inner: &Inner,
    hold: &Hold,
    roll: &Roll<'_>,
    go_on: &dyn Fn() -> Result<()>,
    report: &mut IntegrationReport,
) -> Result<()> {
    let rolled = roll.run(&inner.engine, &mut |rolled| {
        hold.progress(rolled.bytes.max(1));
        go_on()
    });
    match rolled {
        Ok(rolled) => {
            (report.commits, report.operations) = (rolled.commits, rolled.operations);
            Ok(())
        }
        Err(error) => {
            // What was applied is a prefix, and as durable as what was applied before.
            let synced = inner.engine.sync();
            let lsn = inner.engine.visible_lsn();
            let why = format!("{}; commits through LSN {lsn} were applied", error.message());
            let mut told = Error::new(error.kind(), why).with_code(error.code());
            if let Some(path) = error.path() {
                told = told.at(path);
            }
            synced.and(Err(told.because(error)))
        }
    }
}

/// Writes wait, and reads go on, until the hold is dropped.
fn hold(inner: &Inner, transaction_timeout: Duration) -> Result<Hold> {
    let all = Contents { structure: true, data: true };
    let request = HoldRequest {
        kind: HoldKind::Application,
        at_limit: AtLimit::Abort,
        transaction_timeout,
        ..HoldRequest::backup(roots(all, Access::ReadOnly), 0)
    };
    inner.locks.hold(request).map_err(|error| match error.kind() {
        ErrorKind::Timeout => {
            let why = "logs cannot be integrated while write handles are open";
            let error = Error::new(ErrorKind::Timeout, why).because(error);
            error.with_code(code::RECORDS_LOCKED).hint("End them, and integrate again.")
        }
        _ => error,
    })
}
