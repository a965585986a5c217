//! The file `ancestry` in a store's folder.
//!
//! Invariant: before anything that speaks of a timeline is written into the store (a segment, a
//! checkpoint), the file has the line of that timeline and is durable. So after a crash the file may
//! tell of a timeline of which nothing else is there; it never lacks one. A segment is begun only when
//! the file has exactly the segment's line: what a crash left in it beyond that is taken back then.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::Ancestry;
use crate::disk::Disk;
use crate::disk::atomic::{read_whole, write_atomically};
use crate::error::{Error, Result};

/// Name of the file in a store, and of the entry in an archive.
pub(crate) const ANCESTRY_FILE: &str = "ancestry";

/// The file of an open store.
pub(crate) struct AncestryFile {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    /// What it holds, durably; `None` where it cannot be read.
    written: Mutex<Option<Ancestry>>,
}

impl AncestryFile {
    /// The file of the store in `dir`, which holds `written`.
    pub(crate) fn new(disk: Arc<dyn Disk>, dir: &Path, written: Option<Ancestry>) -> AncestryFile {
        AncestryFile { disk, dir: dir.to_path_buf(), written: Mutex::new(written) }
    }

    /// Reads the file of the store in `dir`.
    ///
    /// # Errors
    /// `NotFound`, `Corrupt`; those of the disk.
    pub(crate) fn load(disk: &dyn Disk, dir: &Path) -> Result<Ancestry> {
        let path = dir.join(ANCESTRY_FILE);
        let damaged = |why: &str| {
            Error::corrupt(&path, format!("the ancestry of the store cannot be used: {why}"))
        };
        let bytes = match read_whole(disk, &path, Ancestry::MAX_BYTES) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == std::io::ErrorKind::FileTooLarge => {
                return Err(damaged("it is too long"));
            }
            Err(e) => return Err(Error::io("read the ancestry of the store", &path, e)),
        };
        Ancestry::decode(&bytes).map_err(damaged)
    }

    /// Writes the file of the store in `dir`.
    ///
    /// # Durability
    /// Durable when it returns; before that the old content or the new one is there.
    pub(crate) fn write(disk: &dyn Disk, dir: &Path, ancestry: &Ancestry) -> Result<()> {
        let path = dir.join(ANCESTRY_FILE);
        write_atomically(disk, &path, &ancestry.encode())
            .map_err(|e| Error::io("write the ancestry of the store", &path, e))
    }

    /// Makes the file hold exactly `ancestry`: what is written next is on its tip.
    pub(crate) fn set(&self, ancestry: &Ancestry) -> Result<()> {
        self.write_unless(ancestry, |written| written == ancestry)
    }

    /// Makes the file hold `ancestry`, or a line that goes on from it.
    pub(crate) fn ensure(&self, ancestry: &Ancestry) -> Result<()> {
        self.write_unless(ancestry, |written| written.begins_with(ancestry))
    }

    fn write_unless(&self, ancestry: &Ancestry, good: impl Fn(&Ancestry) -> bool) -> Result<()> {
        let mut written = self.written.lock();
        if written.as_ref().is_some_and(good) {
            return Ok(());
        }
        // Until it has succeeded, it is not known what a power cut would leave.
        *written = None;
        AncestryFile::write(&*self.disk, &self.dir, ancestry)?;
        *written = Some(ancestry.clone());
        Ok(())
    }
}
