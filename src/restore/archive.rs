//! An archive, and what can be done with it.

use std::fmt;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::builder::RestoreBuilder;
use super::chain::{Chain, ChainCheck, ChainLink, Link};
use crate::archive::{
    self, ArchiveFile, ArchiveRepair, Entry, EntryKind, Keys, Progress, Promise, ReadRepair,
    RepairCounts, Verified,
};
use crate::destination::{Catalogue, StoredArchive};
use crate::disk::{Disk, RealDisk};
use crate::engine::{ANCESTRY_FILE, Ancestry, History, Snapshot};
use crate::error::{Error, ErrorKind, Result, code};
use crate::store::papers::{BackupHeader, BackupResults};
use crate::store::{ATTACHMENTS, ReadHandle};

/// An archive that a backup wrote, opened read-only.
///
/// Opening reads its ends and its papers, not its content: damage elsewhere shows when it is read,
/// and [`verify`](Archive::verify) reads all.
#[derive(Clone)]
pub struct Archive {
    disk: Arc<dyn Disk>,
    file: Arc<ArchiveFile>,
    /// What opened it opens those that it goes on from.
    keys: Keys,
    header: BackupHeader,
    results: BackupResults,
    /// Where to look for what it goes on from, besides its folder.
    parents: Vec<PathBuf>,
    /// What else lies in its folder, where somebody has looked already.
    catalogue: Option<Arc<Catalogue>>,
    /// What parity repaired while it, and what it goes on from, were read.
    repairs: Arc<RepairCounts>,
}

impl Archive {
    /// Opens the archive at `path`.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] (1410); [`ErrorKind::Unsupported`] for what is no archive;
    /// [`ErrorKind::Corrupt`] (1411) for one that is cut short or damaged where it was looked at.
    pub fn open(path: impl AsRef<Path>) -> Result<Archive> {
        Archive::open_with(path, &Keys::none())
    }

    /// Opens the archive at `path`, which `keys` may open where it is encrypted. It may be in segments:
    /// its first one, or the name that it would have in one piece, will do.
    ///
    /// # Errors
    /// As [`Archive::open`]; 2011 when none of `keys` opens it.
    pub fn open_with(path: impl AsRef<Path>, keys: &Keys) -> Result<Archive> {
        Archive::open_on_with(RealDisk::new(), path, keys)
    }

    /// The same on another disk, for tests of an application on a simulated one.
    ///
    /// # Errors
    /// As [`Archive::open`].
    pub fn open_on(disk: Arc<dyn Disk>, path: impl AsRef<Path>) -> Result<Archive> {
        Archive::open_on_with(disk, path, &Keys::none())
    }

    /// The same with keys.
    ///
    /// # Errors
    /// As [`Archive::open_with`].
    pub fn open_on_with(
        disk: Arc<dyn Disk>,
        path: impl AsRef<Path>,
        keys: &Keys,
    ) -> Result<Archive> {
        let file = ArchiveFile::open(&*disk, path.as_ref(), keys).map_err(numbered)?;
        Archive::of_file(disk, file, keys)
    }

    /// Opens an archive of `catalogue`, which also has what it goes on from.
    pub(crate) fn of_catalogue(
        disk: &Arc<dyn Disk>,
        catalogue: &Arc<Catalogue>,
        stored: &StoredArchive,
    ) -> Result<Archive> {
        let file = stored.open().map_err(numbered)?;
        let archive = Archive::of_file(disk.clone(), file, catalogue.keys())?;
        Ok(Archive { catalogue: Some(catalogue.clone()), ..archive })
    }

    fn of_file(disk: Arc<dyn Disk>, file: Arc<ArchiveFile>, keys: &Keys) -> Result<Archive> {
        let header = Archive::header_of(&file)?;
        let results = serde_json::from_value(file.manifest().results.clone());
        let results = results.map_err(|cause| not_ours(&file, cause))?;
        let keys = keys.clone();
        let (parents, catalogue) = (Vec::new(), None);
        let repairs = Arc::new(RepairCounts::default());
        repairs.add(&file);
        Ok(Archive { disk, file, keys, header, results, parents, catalogue, repairs })
    }

    /// Repairs the archive or log archive at `path`, which is not encrypted, by the parity beside it.
    /// See [`repair_with`](crate::archive::repair_with) for what it does and how it is safe.
    ///
    /// # Durability
    /// What was repaired is durable, and was read back, when it returns.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] (1410) without archive or parity; [`ErrorKind::Corrupt`] (1411) for
    /// damage beyond repair, and for parity that is not the archive's; 2011 for one that is encrypted.
    /// Nothing is changed then.
    pub fn repair(
        path: impl AsRef<Path>,
        progress: impl FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<ArchiveRepair> {
        Archive::repair_with(path, &Keys::none(), progress)
    }

    /// The same for an archive that `keys` may open where it is encrypted.
    ///
    /// # Errors
    /// As [`Archive::repair`]; 2011 when none of `keys` opens it.
    pub fn repair_with(
        path: impl AsRef<Path>,
        keys: &Keys,
        mut progress: impl FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<ArchiveRepair> {
        archive::repair_with(&*RealDisk::new(), path.as_ref(), keys, &mut progress)
            .map_err(numbered)
    }

    /// What its parity repairs for certain; `None` where it has none that is of use.
    pub fn promise(&self) -> Option<Promise> {
        self.file.promise()
    }

    /// Whether it is encrypted.
    pub fn is_encrypted(&self) -> bool {
        self.file.is_encrypted()
    }

    /// Says where an archive lies that this incremental one goes on from, directly or not. Those in
    /// the same folder are found without.
    #[must_use]
    pub fn with_parent(mut self, path: impl AsRef<Path>) -> Archive {
        self.parents.push(path.as_ref().to_path_buf());
        self
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// Its length in bytes, all segments together, without its parity.
    pub fn bytes(&self) -> u64 {
        self.file.stored_bytes()
    }

    /// What was known when the commit was pinned.
    pub fn header(&self) -> &BackupHeader {
        &self.header
    }

    /// What was known at the end of the backup.
    pub fn results(&self) -> &BackupResults {
        &self.results
    }

    /// Paths and lengths of the files in it.
    pub fn files(&self) -> impl Iterator<Item = (String, u64)> {
        self.file.entries().iter().map(|entry| {
            (entry.meta.path.as_path().to_string_lossy().into_owned(), entry.meta.size)
        })
    }

    /// Reads and checks every byte.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] (1411) with the place of the first damage.
    pub fn verify(&self) -> Result<Verified> {
        self.verify_with(|_| ControlFlow::Continue(()))
    }

    /// The same, telling `progress`, which may stop it (1406).
    ///
    /// # Errors
    /// As [`Archive::verify`].
    pub fn verify_with(
        &self,
        mut progress: impl FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<Verified> {
        self.file.verify(0, &mut progress).map_err(numbered)
    }

    /// The archives that this one takes to be restored or read: itself, and, where it is
    /// incremental, what it goes on from, down to a full one. The full one comes last.
    ///
    /// # Errors
    /// 2009: [`ErrorKind::NotFound`] names the link that is missing, [`ErrorKind::Foreign`] one that
    /// does not belong; [`ErrorKind::Invalid`] for an archive of the structure alone.
    pub fn chain(&self) -> Result<Vec<ChainLink>> {
        Ok(Chain::of(self)?.links().iter().map(Link::told).collect())
    }

    /// Verifies every archive of the chain, and every page that they make together.
    ///
    /// # Errors
    /// Those of [`Archive::chain`] and [`Archive::verify`].
    pub fn verify_chain(&self) -> Result<ChainCheck> {
        self.verify_chain_with(|_| ControlFlow::Continue(()))
    }

    /// The same, telling `progress` of the bytes of the archives, which may stop it (1406).
    ///
    /// # Errors
    /// As [`Archive::verify_chain`].
    pub fn verify_chain_with(
        &self,
        mut progress: impl FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<ChainCheck> {
        Chain::of(self)?.verify(&mut progress).map_err(numbered)
    }

    /// The store in it, read in place: nothing is unpacked but the pages that are read. An
    /// incremental archive is read together with those that it goes on from.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] for an archive of the structure alone; [`ErrorKind::Corrupt`]; those of
    /// [`Archive::chain`].
    pub fn read(&self) -> Result<ReadHandle> {
        let checkpoint = Chain::of(self)?.checkpoint()?;
        Ok(ReadHandle::unguarded(Snapshot::of_checkpoint(checkpoint)?))
    }

    /// How many files of the application it holds.
    pub(crate) fn attachments(&self) -> usize {
        let is_attachment = |entry: &&Entry| {
            entry.meta.kind == EntryKind::File && entry.meta.path.as_path().starts_with(ATTACHMENTS)
        };
        self.file.entries().iter().filter(is_attachment).count()
    }

    /// All commits that led to the one that it equals.
    ///
    /// # Errors
    /// `Corrupt` (1411) where its entry of them is missing, damaged or of another commit.
    pub(crate) fn history(&self) -> Result<History> {
        let wrong = |why: &str| {
            let message = format!("its entry \"{ANCESTRY_FILE}\" cannot be used: {why}");
            Error::corrupt(self.path(), message).with_code(code::CHECK)
        };
        let entry = self.file.find(ANCESTRY_FILE).ok_or_else(|| wrong("it is missing"))?;
        let bytes = self.file.read_entry(entry, Ancestry::MAX_BYTES).map_err(damage)?;
        let ancestry = Ancestry::decode(&bytes).map_err(wrong)?;
        if ancestry.tip() != self.header.timeline.into() {
            return Err(wrong("it is not that of the archive's commit"));
        }
        Ok(History::new(ancestry, self.header.lsn))
    }

    /// A restore into the folder `dir`, which must not be there.
    pub fn restore(&self, dir: impl AsRef<Path>) -> RestoreBuilder<'_> {
        RestoreBuilder::new(self, dir.as_ref())
    }

    pub(super) fn disk(&self) -> &Arc<dyn Disk> {
        &self.disk
    }

    pub(super) fn file(&self) -> &Arc<ArchiveFile> {
        &self.file
    }

    pub(super) fn keys(&self) -> &Keys {
        &self.keys
    }

    pub(super) fn catalogue(&self) -> Option<&Arc<Catalogue>> {
        self.catalogue.as_ref()
    }

    pub(super) fn given_parents(&self) -> &[PathBuf] {
        &self.parents
    }

    /// Opens another archive as this one was opened.
    pub(super) fn open_beside(&self, path: &Path) -> Result<Arc<ArchiveFile>> {
        let file = ArchiveFile::open(&*self.disk, path, &self.keys).map_err(numbered)?;
        Ok(self.counted(file))
    }

    /// The same file, whose damage this archive reports from now on.
    pub(super) fn counted(&self, file: Arc<ArchiveFile>) -> Arc<ArchiveFile> {
        self.repairs.add(&file);
        file
    }

    /// The damage that was met so far and that parity repaired while this archive, and what it goes on
    /// from, were read. On the medium it is still there: [`repair`](Archive::repair) repairs it.
    pub fn read_repairs(&self) -> Vec<ReadRepair> {
        self.repairs.report()
    }

    /// What a backup wrote into the header of `file`.
    pub(super) fn header_of(file: &ArchiveFile) -> Result<BackupHeader> {
        serde_json::from_value(file.header().app.clone()).map_err(|cause| not_ours(file, cause))
    }
}

impl fmt::Debug for Archive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Archive")
            .field("path", &self.path())
            .field("lsn", &self.header.lsn)
            .finish_non_exhaustive()
    }
}

fn not_ours(file: &ArchiveFile, cause: serde_json::Error) -> Error {
    Error::new(ErrorKind::Unsupported, "the archive was not written by a backup of a store")
        .at(file.path())
        .because(cause)
}

/// Damage and absence of an archive have numbers of their own.
pub(super) fn numbered(error: Error) -> Error {
    match error.kind() {
        ErrorKind::NotFound if error.code() != code::PARENT => {
            error.with_code(code::ARCHIVE_MISSING).or_hint("Check the path of the archive.")
        }
        _ => damage(error),
    }
}

/// The same where the archive was opened long since: what is not there is something else then.
pub(super) fn damage(error: Error) -> Error {
    match error.kind() {
        ErrorKind::Corrupt => error.with_code(code::CHECK),
        _ => error,
    }
}
