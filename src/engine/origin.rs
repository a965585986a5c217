//! Where a store comes from: its ancestry when it is opened and while it runs, and the store as it was
//! before its first commit.

use std::path::Path;
use std::sync::Arc;

use super::look::Located;
use super::tree::{DataFile, DataParams, Meta};
use super::{
    ANCESTRY_FILE, Ancestry, AncestryFile, DATA_FILE, Engine, History, Known, LOG_DIR, log,
    log_folder,
};
use crate::disk::Disk;
use crate::error::{Error, ErrorKind, Result};

/// What the ancestry file holds, where it can be read, and the ancestry of the checkpoint with this
/// meta. The file may tell of more. Where it is lost, or older than the checkpoint, the headers of the
/// log's segments may make it whole: the meta's digest proves it.
///
/// # Errors
/// `Corrupt` where the ancestry cannot be had; those of the disk.
pub(super) fn ancestry(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    meta: &Meta,
) -> Result<(Option<Ancestry>, Ancestry)> {
    let (stored, problem) = match AncestryFile::load(&**disk, dir) {
        Ok(stored) => (Some(stored), None),
        Err(error) if matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::NotFound) => {
            (None, Some(error))
        }
        Err(error) => return Err(error),
    };
    let (tip, digest) = (meta.timeline, meta.ancestry_digest);
    let of = |known: &Known| Ancestry::proven(stored.as_ref(), tip, digest, known);
    if let Some(ancestry) = of(&Known::default()) {
        return Ok((stored, ancestry));
    }
    let segments = log::list_segments(&**disk, &dir.join(LOG_DIR))?;
    let known = segments.iter().filter_map(|segment| segment.sound()).map(|h| h.timeline);
    if let Some(ancestry) = of(&known.collect()) {
        return Ok((stored, ancestry));
    }
    let path = dir.join(ANCESTRY_FILE);
    let why = "the file does not tell of the history that the data file is of";
    let error = Error::corrupt(&path, why).hint(
        "Unpack the entry `ancestry` of the store's newest archive into its folder (`tar -xf ARCHIVE \
         ancestry`), or restore the store.",
    );
    Err(problem.into_iter().fold(error, Error::because))
}

/// Makes the store `of` as it was before its first commit, in the folder `dir`, which is there and is
/// the caller's.
pub(crate) fn make_unborn(disk: &Arc<dyn Disk>, dir: &Path, of: &Located) -> Result<History> {
    let ancestry = of.history.ancestry.birth();
    log_folder::make(disk, dir, None)?;
    AncestryFile::write(&**disk, dir, &ancestry)?;
    let params = DataParams {
        page_size: of.page_size,
        store_id: of.store,
        timeline: ancestry.tip(),
        ancestry_digest: ancestry.digest(),
        foreign: true,
    };
    DataFile::create(&**disk, &dir.join(DATA_FILE), params)?;
    disk.sync_dir(dir).map_err(|e| Error::io("sync the store's folder", dir, e))?;
    Ok(History::new(ancestry, 0))
}

impl Engine {
    /// All commits through the newest one, as a history.
    pub(crate) fn history(&self) -> History {
        self.core.leader.lock().history()
    }

    /// The ancestry of a commit of this store on the timeline `id`.
    ///
    /// # Errors
    /// `Invalid` where the store did not come through that timeline.
    pub(crate) fn ancestry_through(&self, id: u128) -> Result<Ancestry> {
        self.core.leader.lock().ancestry.through(id).ok_or_else(|| {
            let why = "the timeline is not of the store's history";
            Error::new(ErrorKind::Invalid, why).at(&self.core.dir)
        })
    }
}
