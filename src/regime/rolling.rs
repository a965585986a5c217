//! Rolling an automatically restored store forward: the logs beyond its archive.
//!
//! They are the log archives in the destination and the damaged store's own segments, as far as they
//! can be read; those of the store's own history, oldest first. The key `AutomaticLogIntegration`
//! governs this and nothing else; recovery after a crash is no integration.
//!
//! Invariants: strict integration stops at the first log that does not fit, and what was applied until
//! then is a true prefix of the history; the restore stands, and its status says where it stopped.
//! Auto-repair first applies all that fits, then mends the rest in one go, so that no commit is applied
//! twice, and nothing of a branch that the store had left.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::history::ArchivePart;
use super::plan::Plan;
use super::restored::{Restored, Rolled};
use super::state::Status;
use crate::archive::{Keys, ReadRepair};
use crate::destination::Catalogue;
use crate::disk::Disk;
use crate::engine::{History, LOG_DIR, Lsn};
use crate::error::Result;
use crate::restore::{IntegrateOptions, LogFile, LogSegment, RestorePoint, Strictness};
use crate::store::Store;

/// A log beyond the archive: what it holds, and up to where it is of the store's history.
struct Ahead {
    path: PathBuf,
    after: Lsn,
    until: Lsn,
}

/// The segments that the store in `dir` has and that can be read.
pub(super) fn own_segments(disk: &Arc<dyn Disk>, dir: &Path) -> Vec<LogSegment> {
    segment_files(disk, dir).iter().flat_map(|path| read(disk, path)).collect()
}

fn segment_files(disk: &Arc<dyn Disk>, dir: &Path) -> Vec<PathBuf> {
    let folder = dir.join(LOG_DIR);
    let names = disk.list(&folder).unwrap_or_default();
    names.into_iter().map(|name| folder.join(name)).collect()
}

/// What a segment holds; nothing where it cannot be read.
fn read(disk: &Arc<dyn Disk>, path: &Path) -> Vec<LogSegment> {
    LogFile::open_on(disk.clone(), path).map(|log| log.segments()).unwrap_or_default()
}

/// Integrates what lies beyond the archive into the store restored at `to`, as far as the settings
/// want it, and notes in `restored` how far that came.
///
/// # Errors
/// Where the restored store cannot be opened or closed: then it is no restored store.
pub(super) fn roll_forward(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    (plan, found): (&Plan, &Catalogue),
    to: &Path,
    history: &History,
    restored: &mut Restored,
) -> Result<()> {
    let store = Store::builder(to).disk(disk.clone()).open()?;
    let keys = found.keys();
    let ahead = ahead(disk, dir, (plan, found), history, &store);
    let Some(last) = ahead.iter().map(|log| log.until).max() else { return store.close() };
    let info = &mut restored.info;
    if !plan.automatic.integration {
        info.status.text = format!(
            "restored to LSN {}; logs go on to LSN {last} and were not integrated, since \
             AutomaticLogIntegration is off",
            store.lsn()
        );
        return store.close();
    }
    let (from, began) = (store.lsn(), disk.elapsed());
    let mut rolled = Rolled { started: disk.now(), ..Rolled::default() };
    let repairs = &mut restored.read_repairs;
    as_they_are(&store, &ahead, (plan, keys), &mut rolled, repairs);
    let fits = !rolled.stopped;
    if !fits && !plan.automatic.strict {
        mend(&store, &ahead, keys, history, &mut rolled);
    }
    let position = store.inner().engine.position();
    rolled.end = Some((position.timeline, position.lsn));
    rolled.commits = position.lsn - from;
    rolled.took = micros(disk.elapsed().saturating_sub(began));
    rolled.logs = parts(&**disk, &ahead);
    (info.commits_integrated, info.repaired) = (rolled.commits, rolled.repaired);
    if !fits {
        info.status = Status::of(rolled.problems.first());
    }
    if rolled.mended {
        let told = format!("auto-repair went on and dealt with {} operations", rolled.repaired);
        info.status.text = format!("{told}, where strict would stop: {}", info.status.text);
    }
    restored.rolled = Some(rolled);
    store.close()
}

/// Applies the logs with their own LSNs. Strict stops at the first that does not fit; auto-repair goes
/// past it, since another may hold the same commits.
fn as_they_are(
    store: &Store,
    ahead: &[Ahead],
    (plan, keys): (&Plan, &Keys),
    rolled: &mut Rolled,
    repairs: &mut Vec<ReadRepair>,
) {
    for log in ahead {
        if log.until <= store.lsn() {
            continue;
        }
        let to = RestorePoint::Lsn(log.until);
        let options = IntegrateOptions { to, keys: keys.clone(), ..IntegrateOptions::default() };
        match store.integrate(&[&log.path], options) {
            Ok(report) => repairs.extend(report.read_repairs),
            Err(error) => {
                rolled.problems.push(error);
                if plan.automatic.strict {
                    break;
                }
            }
        }
    }
    rolled.stopped = ahead.iter().any(|log| log.until > store.lsn());
}

/// Applies what is left of the logs as far as that can be done: as commits of the store's own.
fn mend(store: &Store, ahead: &[Ahead], keys: &Keys, history: &History, rolled: &mut Rolled) {
    let left = ahead.iter().filter(|log| log.until > store.lsn());
    let paths: Vec<&Path> = left.map(|log| &*log.path).collect();
    let strictness = Strictness::AutoRepair;
    let options =
        IntegrateOptions { strictness, keys: keys.clone(), ..IntegrateOptions::default() };
    match store.integrate_along(&paths, options, history) {
        Ok(report) => {
            (rolled.stopped, rolled.mended) = (false, true);
            (rolled.repaired, rolled.repairs) = (report.repaired, report.repairs);
            rolled.problems.extend(report.problems);
        }
        Err(error) => rolled.problems.insert(0, error),
    }
}

/// The files of the logs; one that went meanwhile has no length.
fn parts(disk: &dyn Disk, ahead: &[Ahead]) -> Vec<ArchivePart> {
    let part = |log: &Ahead| ArchivePart {
        path: log.path.clone(),
        bytes: disk.metadata(&log.path).map_or(0, |found| found.len),
    };
    ahead.iter().map(part).collect()
}

/// A length of time as the books have it.
pub(super) fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// The logs that go on from where `store` is, in their order.
fn ahead(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    (plan, found): (&Plan, &Catalogue),
    history: &History,
    store: &Store,
) -> Vec<Ahead> {
    /// A segment: its timeline, and the commits that it holds.
    type Span = (u128, Lsn, Lsn);
    let id = store.inner().engine.store_id();
    let own = segment_files(disk, dir).into_iter().map(|path| {
        let segments = read(disk, &path).into_iter().filter(|segment| segment.store_id == id);
        let spans: Vec<Span> = segments.map(|one| (one.timeline.id, one.after, one.last)).collect();
        (path, spans)
    });
    let archived = found.logs(&plan.set, id).map(|(stored, log)| {
        let segments = log.header.segments.iter();
        let spans = segments.map(|one| (one.timeline.id, one.after, one.last)).collect();
        (stored.path().to_path_buf(), spans)
    });
    let mut ahead: Vec<Ahead> = Vec::new();
    for (path, spans) in own.chain(archived) {
        let ends = spans.into_iter().filter_map(|(timeline, after, last)| {
            let end = history.end_of(timeline)?.min(last);
            (end > after).then_some((after, end))
        });
        let (mut after, mut until) = (Lsn::MAX, 0);
        for (begin, end) in ends {
            (after, until) = (after.min(begin), until.max(end));
        }
        if until > store.lsn() {
            ahead.push(Ahead { path, after, until });
        }
    }
    ahead.sort_by_key(|log| (log.after, log.until));
    ahead
}
