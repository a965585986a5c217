//! The check of a whole store: every page of its data file, every group of its log.
//!
//! It takes the store's lock, reads with `read_at`, and writes nothing else. Where the lock cannot be made
//! because nothing can be written there, it does without, and says so. A store that is open
//! elsewhere in this process is checked at its newest checkpoint by `Store::verify` instead.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use crate::archive::Progress;
use crate::disk::{Disk, RealDisk};
use crate::engine::tree::{TreeReport, verify_data_file};
use crate::engine::{DATA_FILE, Lsn, survey};
use crate::error::Result;
use crate::store::Store;

/// What a check has read.
#[non_exhaustive]
#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct StoreCheck {
    /// The newest commit, in tree or log.
    pub lsn: Lsn,
    /// The commit of the checkpoint whose pages were read.
    pub checkpoint_lsn: Lsn,
    /// Tables in it.
    pub tables: u64,
    /// Records in it.
    pub records: u64,
    /// Number of that checkpoint.
    pub checkpoint: u64,
    /// Bytes of a page.
    pub page_size: u64,
    /// Pages of the file up to the last one that the checkpoint reaches.
    pub pages: u64,
    /// Pages that it reaches.
    pub live_pages: u64,
    /// Pages that are free: what is in them does not matter, and was not read.
    pub free_pages: u64,
    /// Whether nobody was kept from the store meanwhile, since its folder cannot be written: a read-only
    /// medium, or no permission. If somebody had it open, what was told may be of a store that changed.
    pub unlocked: bool,
}

/// Checks the store in the folder `dir`, which nobody may have open. On a read-only medium, or without
/// permission to write there, nobody can be kept out meanwhile: [`StoreCheck::unlocked`] says so.
///
/// # Errors
/// The first damage, with file and place; what opening the store gives.
pub fn verify_store(dir: impl AsRef<Path>) -> Result<StoreCheck> {
    verify_store_with(dir, |_| ControlFlow::Continue(()))
}

/// The same, telling `progress` of the bytes of the data file (of those that are free it reads none),
/// which may stop it (1406).
///
/// # Errors
/// As [`verify_store`].
pub fn verify_store_with(
    dir: impl AsRef<Path>,
    mut progress: impl FnMut(Progress) -> ControlFlow<()>,
) -> Result<StoreCheck> {
    let disk: Arc<dyn Disk> = RealDisk::new();
    verify_store_on(&disk, dir.as_ref(), &mut progress)
}

/// The same on any disk.
pub(crate) fn verify_store_on(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    tell: &mut dyn FnMut(Progress) -> ControlFlow<()>,
) -> Result<StoreCheck> {
    let surveyed = survey(disk, dir)?;
    let path = dir.join(DATA_FILE);
    let page = surveyed.checkpoint.meta().page_size as u64;
    let report = verify_data_file(&**disk, &path, &mut |read, pages| {
        tell(Progress { done: read * page, total: pages * page })
    })?;
    let unlocked = surveyed.lock.is_none();
    Ok(StoreCheck { unlocked, ..StoreCheck::of(surveyed.lsn, &report.into_result(&path)?) })
}

impl Store {
    /// Reads and checks every page of the newest checkpoint, while the store is in use.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`](crate::ErrorKind::Corrupt) with the first damage.
    pub fn verify(&self) -> Result<StoreCheck> {
        self.inner().check_open()?;
        let engine = &self.inner().engine;
        let snapshot = engine.snapshot()?;
        let path = engine.dir().join(DATA_FILE);
        let report = snapshot.checkpoint().verify()?.into_result(&path)?;
        Ok(StoreCheck::of(snapshot.lsn(), &report))
    }
}

impl StoreCheck {
    fn of(lsn: Lsn, report: &TreeReport) -> StoreCheck {
        StoreCheck {
            lsn,
            checkpoint_lsn: report.lsn,
            tables: report.tables.len() as u64,
            records: report.tables.iter().map(|(_, records)| records).sum(),
            checkpoint: report.checkpoint,
            page_size: report.page_size as u64,
            pages: report.page_count,
            live_pages: report.live_pages,
            free_pages: report.dead.iter().map(|run| run.end - run.start).sum(),
            unlocked: false,
        }
    }
}

#[cfg(test)]
mod tests;
