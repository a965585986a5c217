//! What reading through parity repaired in memory: on the medium it stays damaged until somebody repairs
//! it, so whoever reads has to report it.

use crate::archive::reader::ArchiveFile;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// An archive that is damaged on its medium and was read through its parity.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct ReadRepair {
    /// The archive.
    pub archive: PathBuf,
    /// How many of its blocks were damaged, among those that were read.
    pub blocks: u64,
}

impl std::fmt::Display for ReadRepair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (blocks, archive) = (self.blocks, self.archive.display());
        write!(
            f,
            "{blocks} damaged blocks of \"{archive}\" were read through its parity: run \
             `stillpoint verify --repair` on it"
        )
    }
}

/// How many blocks of one archive were repaired in memory so far.
#[derive(Debug)]
pub(crate) struct RepairCount {
    path: PathBuf,
    blocks: AtomicU64,
}

impl RepairCount {
    pub(super) fn new(path: &Path) -> Arc<RepairCount> {
        Arc::new(RepairCount { path: path.to_path_buf(), blocks: AtomicU64::new(0) })
    }

    pub(super) fn add(&self) {
        self.blocks.fetch_add(1, Ordering::Relaxed);
    }

    /// What is to be reported, if anything is.
    pub(crate) fn report(&self) -> Option<ReadRepair> {
        let blocks = self.blocks.load(Ordering::Relaxed);
        (blocks > 0).then(|| ReadRepair { archive: self.path.clone(), blocks })
    }
}

/// The counts of the archives that one act reads.
#[derive(Debug, Default)]
pub(crate) struct RepairCounts(Mutex<Vec<Arc<RepairCount>>>);

impl RepairCounts {
    pub(crate) fn add(&self, archive: &ArchiveFile) {
        self.0.lock().extend(archive.repairs());
    }

    pub(crate) fn report(&self) -> Vec<ReadRepair> {
        merged(self.0.lock().iter().filter_map(|count| count.report()))
    }
}

/// One report for each archive: one that was opened twice met the same damage twice.
pub(crate) fn merged(reports: impl IntoIterator<Item = ReadRepair>) -> Vec<ReadRepair> {
    let mut all: BTreeMap<PathBuf, u64> = BTreeMap::new();
    for report in reports {
        let blocks = all.entry(report.archive).or_default();
        *blocks = (*blocks).max(report.blocks);
    }
    all.into_iter().map(|(archive, blocks)| ReadRepair { archive, blocks }).collect()
}
