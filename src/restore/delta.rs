//! A restore into the folder of an older copy of the store: what is right there already is kept.
//!
//! Every page of the archive is compared with the one at its place, byte by byte, and only those that
//! differ are written. So it saves writing, which wears a disk and takes most of the time, and not
//! the reading of the archive.
//!
//! Invariants: the archives are verified, the logs read, everything but the pages unpacked, and the old
//! log and attachments moved out of the way, before the first page changes; until then any failure
//! leaves the old store. From then until all pages are right, durable and checked, and the logs are
//! applied, the folder holds no store, whatever happens, and running the restore again finishes it
//! (`engine/replacement`). A log on another disk stays there.

mod compared;
mod discarded;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use compared::Compared;
pub use discarded::DiscardedCommits;
use discarded::discarded;

use super::archive::{Archive, damage};
use super::builder::Tell;
use super::chain::Chain;
use super::job::Job;
use super::point::{Roll, Rolled};
use super::pour::{bytes_to_unpack, pour};
use super::target::{Target, check_free_space, check_pages};
use crate::archive::{HEADER_NAME, MANIFEST_NAME, Progress};
use crate::disk::atomic::remove_tree;
use crate::disk::{Disk, File, OpenMode};
use crate::engine::replacement::{self, KeepAs, Replacement};
use crate::engine::tree::store_of;
use crate::engine::{DATA_FILE, Engine, History, LOG_DIR, lock_dir};
use crate::error::{Error, ErrorKind, Result};

/// The folder, within the store's, of what is set aside.
const BEFORE: &str = "before-restore";

/// What a delta restore did.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Done {
    pub(super) files: usize,
    pub(super) bytes: u64,
    pub(super) kept: u64,
    pub(super) discarded: Option<DiscardedCommits>,
}

/// The folder of the older copy.
pub(super) struct Folder<'d> {
    disk: &'d Arc<dyn Disk>,
    data: PathBuf,
    /// Whether an interrupted restore left it without a store.
    interrupted: bool,
}

impl<'d> Folder<'d> {
    /// Sees that there is a copy of the archive's store in `dir`, or what an interrupted delta restore
    /// made of one. Changes nothing.
    ///
    /// # Errors
    /// `NotFound` where there is none, `Foreign` where it is another store's.
    pub(super) fn look(archive: &'d Archive, dir: &Path) -> Result<Folder<'d>> {
        let disk = archive.disk();
        let (store, data, interrupted) = match replacement::interrupted_delta(&**disk, dir)? {
            Some((store, data)) => (store, data, true),
            None => {
                replacement::refuse_unfinished(&**disk, dir)?;
                let data = dir.join(DATA_FILE);
                if disk.metadata(&data).is_err() {
                    let message = "there is no copy of the store whose pages could be kept";
                    let missing = Error::new(ErrorKind::NotFound, message).at(dir);
                    return Err(missing.hint("Restore into a new folder, without delta."));
                }
                (Some(store_of(&**disk, &data)?), data, false)
            }
        };
        if store != Some(archive.header().store_id) {
            let message = "the folder holds another store than the archive";
            return Err(Error::new(ErrorKind::Foreign, message).at(dir));
        }
        Ok(Folder { disk, data, interrupted })
    }

    /// Bytes that the restore needs: what the file grows by, and all attachments.
    fn bytes_needed(&self, job: &Job<'_>) -> Result<u64> {
        let found = self.disk.metadata(&self.data);
        let there = found.map_err(|e| Error::io("look at", &self.data, e))?.len;
        Ok(job.data_bytes().saturating_sub(there) + job.entry_bytes())
    }

    /// Opens the data file and makes it long enough; what is behind its pages means nothing to a store.
    fn make_room(&self, job: &Job<'_>) -> Result<Arc<dyn File>> {
        let failed = |e| Error::io("make room in the data file", &self.data, e);
        let file = self.disk.open(&self.data, OpenMode::Write).map_err(failed)?;
        let (len, wanted) = (file.len().map_err(failed)?, job.data_bytes());
        if wanted > len {
            file.allocate(len, wanted - len).map_err(failed)?;
        }
        Ok(file)
    }
}

/// Bytes that the restore would need, where it can begin, and the commits that it would throw away.
pub(super) fn plan(
    job: &Job<'_>,
    dir: &Path,
    roll: Option<&Roll<'_>>,
) -> Result<(u64, Option<DiscardedCommits>)> {
    let folder = Folder::look(job.archive, dir)?;
    let gone = match folder.interrupted {
        true => None,
        false => discarded(folder.disk, dir, None, &end_of(job, roll)?)?,
    };
    Ok((folder.bytes_needed(job)?, gone))
}

/// The commits that the store has after the restore. Reads the logs.
fn end_of(job: &Job<'_>, roll: Option<&Roll<'_>>) -> Result<History> {
    let archived = job.archive.history()?;
    let Some(roll) = roll else { return Ok(archived) };
    let Some((timeline, last)) = roll.check()? else { return Ok(archived) };
    let ancestry = roll.course.end.ancestry.through(timeline.id);
    Ok(History::new(ancestry.unwrap_or(archived.ancestry), last))
}

/// Brings the folder to the archive's commit, and from there through `logs`, of which there are that
/// many bytes. Commits that the store there has beyond that go only where `discard` says so.
pub(super) fn run(
    job: &Job<'_>,
    dir: &Path,
    logs: Option<(&Roll<'_>, u64)>,
    discard: bool,
    workers: usize,
    tell: &mut Tell<'_>,
) -> Result<(Done, Rolled)> {
    let (archive, disk) = (job.archive, job.archive.disk());
    let chain = job.check_whole().map_err(damage)?;
    if replacement::interrupted_delta(&**disk, dir)?.is_none() {
        replacement::settle(disk, dir)?;
    }
    Folder::look(archive, dir).map_err(damage)?;
    let end = end_of(job, logs.map(|(roll, _)| roll))?;
    // Nobody has the store open, and nobody opens it meanwhile.
    let lock = lock_dir(disk, dir)?;
    let mut replacement = Replacement::begin_delta(dir, &lock)?;
    let gone = match replacement.is_rewriting() {
        true => None,
        false => discarded(disk, dir, Some(&lock), &end)?,
    };
    if let Some(gone) = gone.filter(|_| !discard) {
        replacement.cancel();
        return Err(gone.refusal(dir));
    }
    let log_bytes = logs.map_or(0, |(_, bytes)| bytes);
    let prepared = prepare(job, dir, chain, &replacement, log_bytes, workers, tell);
    let (file, files) = prepared.map_err(damage).inspect_err(|_| replacement.cancel())?;
    let keep = KeepAs { within: BEFORE.to_owned(), beside: None };
    let old_papers = [HEADER_NAME, MANIFEST_NAME];
    replacement.take_over(archive.header().store_id, &old_papers, &keep)?;
    let new = replacement.new_store();
    let finish = || {
        let (bytes, kept) = rewrite(job, &new, chain, file, workers, tell).map_err(damage)?;
        make_log(&**disk, &new, &replacement)?;
        let rolled = match logs {
            Some((roll, bytes)) => {
                let own = lock_dir(disk, &new)?;
                let open = |options| Engine::open_held(disk.clone(), &new, options, own);
                roll.forward(&**disk, &new, bytes, tell, open)?
            }
            None => Rolled { lsn: archive.header().lsn, ..Rolled::default() },
        };
        let done = Done { files: files.0 + 1, bytes: files.1 + bytes, kept, discarded: gone };
        Ok((done, rolled))
    };
    let done = finish().map_err(unfinished)?;
    replacement.end_delta().map_err(unfinished)?;
    Ok(done)
}

/// An error that leaves no store.
fn unfinished(error: Error) -> Error {
    error.hint("Run the restore again: until it is finished there is no store there.")
}

/// Verifies the archives, makes the data file long enough, and unpacks all but the pages beside it, so
/// that as little as possible can fail later. Gives the data file, and how many files of how many bytes
/// were unpacked.
fn prepare(
    job: &Job<'_>,
    dir: &Path,
    chain: &Chain,
    replacement: &Replacement,
    log_bytes: u64,
    workers: usize,
    tell: &mut Tell<'_>,
) -> Result<(Arc<dyn File>, (usize, u64))> {
    let (archive, disk) = (job.archive, job.archive.disk());
    let folder = Folder::look(archive, dir)?;
    check_free_space(disk, dir, folder.bytes_needed(job)? + log_bytes)?;
    let total = job.entry_bytes() + bytes_to_unpack(chain, &chain.pieces()?)?;
    for link in chain.links() {
        link.file.verify(workers, &mut |_| tell(Progress { done: 0, total }))?;
    }
    let file = folder.make_room(job)?;
    let new = replacement.new_store();
    clear(&**disk, &new, folder.interrupted)?;
    let mut target = Target::within(disk, dir, &new);
    archive.file().extract(|entry| job.takes(entry), workers, &mut target, &mut |progress| {
        tell(Progress { done: progress.done, total })
    })?;
    if let Some(to) = job.restored_to() {
        target.remember(to, job.as_parent())?;
    }
    Ok((file, target.settle()?))
}

/// Makes the folder of the new store, empty but for a data file that was taken over.
fn clear(disk: &dyn Disk, new: &Path, interrupted: bool) -> Result<()> {
    if !interrupted {
        return disk.create_dir(new).map_err(|e| Error::io("create the folder", new, e));
    }
    for name in disk.list(new).map_err(|e| Error::io("list", new, e))? {
        if name.as_os_str() != DATA_FILE {
            let path = new.join(name);
            remove_tree(disk, &path).map_err(|e| Error::io("remove", &path, e))?;
        }
    }
    Ok(())
}

/// Makes the pages right. Gives the bytes that were written, and those that were right.
fn rewrite(
    job: &Job<'_>,
    new: &Path,
    chain: &Chain,
    file: Arc<dyn File>,
    workers: usize,
    tell: &mut Tell<'_>,
) -> Result<(u64, u64)> {
    let (disk, pieces) = (job.archive.disk(), chain.pieces()?);
    let (entries, pages) = (job.entry_bytes(), bytes_to_unpack(chain, &pieces)?);
    let total = entries + pages;
    let path = new.join(DATA_FILE);
    let mut sink = Compared::new(file, path.clone(), chain.page_size());
    pour(chain, &pieces, workers, &mut sink, &mut |progress| {
        tell(Progress { done: entries + progress.done, total })
    })?;
    sink.clear_between(&pieces, chain)?;
    let written = sink.end(job.data_bytes())?;
    let mut poured = |_, _| tell(Progress { done: total, total });
    check_pages(&**disk, &path, job.archive.header(), &mut poured)?;
    Ok((written, job.data_bytes() - written))
}

/// Makes an empty log for the new store, or a link to where the log of the store keeps its place.
fn make_log(disk: &dyn Disk, new: &Path, replacement: &Replacement) -> Result<()> {
    let log = new.join(LOG_DIR);
    if !replacement.link_log()? {
        disk.create_dir(&log).map_err(|e| Error::io("create the log folder", &log, e))?;
        disk.sync_dir(&log).map_err(|e| Error::io("sync the log folder", &log, e))?;
    }
    disk.sync_dir(new).map_err(|e| Error::io("sync the folder", new, e))
}
