//! Rolling an automatically restored store forward: the logs beyond its archive.
//!
//! They are the log archives in the destination and the damaged store's own segments, as far as they
//! can be read; those of the store's own history, oldest first. The key `AutomaticLogIntegration`
//! governs this and nothing else; recovery after a crash is no integration.
//!
//! Invariant: strict integration stops at the first log that does not fit, and what was applied until
//! then is a true prefix of the history; the restore stands, and its status says where it stopped.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::coverage::Lineage;
use super::plan::Plan;
use super::state::{RestoreInfo, Status};
use crate::archive::{ArchiveKind, Keys, list_archives};
use crate::disk::Disk;
use crate::engine::{LOG_DIR, Lsn};
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
fn read(disk: &Arc<dyn Disk>, path: &Path, keys: &Keys) -> Vec<LogSegment> {
    LogFile::open_on_with(disk.clone(), path, keys).map(|log| log.segments()).unwrap_or_default()
}

/// Integrates what lies beyond the archive into the store restored at `to`, as far as the settings
/// want it, and notes in `info` how far that came.
///
/// # Errors
/// Where the restored store cannot be opened or closed: then it is no restored store.
pub(super) fn roll_forward(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    (plan, keys): (&Plan, &Keys),
    to: &Path,
    lineage: &Lineage,
    info: &mut RestoreInfo,
) -> Result<()> {
    let store = Store::builder(to).disk(disk.clone()).open()?;
    let ahead = ahead(disk, dir, (plan, keys), lineage, &store)?;
    if !plan.automatic.integration {
        if let Some(last) = ahead.iter().map(|log| log.until).max() {
            info.status.text = format!(
                "restored to LSN {}; logs go on to LSN {last} and were not integrated, since \
                 AutomaticLogIntegration is off",
                store.lsn()
            );
        }
        return store.close();
    }
    for log in ahead {
        if log.until <= store.lsn() {
            continue;
        }
        let strictness = match plan.automatic.strict {
            true => Strictness::Strict,
            false => Strictness::AutoRepair,
        };
        let before = store.lsn();
        let to = RestorePoint::Lsn(log.until);
        let options =
            IntegrateOptions { strictness, to, keys: keys.clone(), ..IntegrateOptions::default() };
        let integrated = store.integrate(&[&log.path], options);
        info.commits_integrated += store.lsn() - before;
        if let Err(error) = integrated {
            info.status = Status::of(Some(&error));
            break;
        }
    }
    store.close()
}

/// The logs that go on from where `store` is, in their order.
fn ahead(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    (plan, keys): (&Plan, &Keys),
    lineage: &Lineage,
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
            let end = lineage.end(segment.timeline.id)?.min(segment.last);
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
