//! Where the files of an archive are opened: on a disk, or in the storage behind a destination.

use crate::disk::{Disk, File, OpenMode};
use std::io;
use std::path::Path;
use std::sync::Arc;

/// Opens files for reading, by their paths.
pub(crate) trait OpenFiles {
    /// Opens the file at `path`; `NotFound` where there is none.
    fn open_file(&self, path: &Path) -> io::Result<Arc<dyn File>>;
}

impl<D: Disk + ?Sized> OpenFiles for D {
    fn open_file(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        self.open(path, OpenMode::Read)
    }
}
