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
use crate::archive::{ArchiveKind, Keys, list_archives};
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
    segment_files(disk, dir).iter().flat_map(|path| read(disk, path, &Keys::none())).collect()
}

fn segment_files(disk: &Arc<dyn Disk>, dir: &Path) -> Vec<PathBuf> {
    let folder = dir.join(LOG_DIR);
    let names = disk.list(&folder).unwrap_or_default();
    names.into_iter().map(|name| folder.join(name)).collect()
}

/// What a log holds; nothing where it cannot be read.
pub(super) fn read(disk: &Arc<dyn Disk>, path: &Path, keys: &Keys) -> Vec<LogSegment> {
    LogFile::open_on_with(disk.clone(), path, keys).map(|log| log.segments()).unwrap_or_default()
}

/// Integrates what lies beyond the archive into the store restored at `to`, as far as the settings
/// want it, and notes in `restored` how far that came.
///
/// # Errors
/// Where the restored store cannot be opened or closed: then it is no restored store.
pub(super) fn roll_forward(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    (plan, keys): (&Plan, &Keys),
    to: &Path,
    history: &History,
    restored: &mut Restored,
) -> Result<()> {
    let store = Store::builder(to).disk(disk.clone()).open()?;
    let ahead = ahead(disk, dir, (plan, keys), history, &store)?;
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
    as_they_are(&store, &ahead, (plan, keys), &mut rolled);
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
fn as_they_are(store: &Store, ahead: &[Ahead], (plan, keys): (&Plan, &Keys), rolled: &mut Rolled) {
    for log in ahead {
        if log.until <= store.lsn() {
            continue;
        }
        let to = RestorePoint::Lsn(log.until);
        let options = IntegrateOptions { to, keys: keys.clone(), ..IntegrateOptions::default() };
        if let Err(error) = store.integrate(&[&log.path], options) {
            rolled.problems.push(error);
            if plan.automatic.strict {
                break;
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
    (plan, keys): (&Plan, &Keys),
    history: &History,
    store: &Store,
) -> Result<Vec<Ahead>> {
    let id = store.inner().engine.store_id();
    let mut files = segment_files(disk, dir);
    for listed in list_archives(&**disk, &plan.destination, Some(&plan.set))? {
        if listed.name.kind() == ArchiveKind::Log {
            files.push(listed.path().to_path_buf());
        }
    }
    let mut found: Vec<Ahead> = Vec::new();
    for path in files {
        let ours = |segment: &LogSegment| segment.store_id == id;
        let segments: Vec<LogSegment> = read(disk, &path, keys).into_iter().filter(ours).collect();
        let ends = segments.iter().filter_map(|segment| {
            let end = history.end_of(segment.timeline.id)?.min(segment.last);
            (end > segment.after).then_some((segment.after, end))
        });
        let (mut after, mut until) = (Lsn::MAX, 0);
        for (begin, end) in ends {
            (after, until) = (after.min(begin), until.max(end));
        }
        if until > store.lsn() {
            found.push(Ahead { path, after, until });
        }
    }
    found.sort_by_key(|log| (log.after, log.until));
    Ok(found)
}
