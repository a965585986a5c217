//! The settings of a store, saved with its data: a restored store is then backed up as it was.
//!
//! All files of the store's own `Settings` folder are saved, what a link there leads to as a file. They are
//! small, or they are no settings. What goes wrong with one of them makes the backup partial, as with an
//! attachment.

use std::path::Path;

use super::copier::Copier;
use super::run::failed;
use crate::archive::{EntryMeta, EntryPath};
use crate::disk::atomic::read_whole;
use crate::disk::{Disk, EntryKind, Metadata};
use crate::error::{Error, Result};
use crate::store::SETTINGS;

/// The longest file that is saved.
const MAX_BYTES: u64 = 4 << 20;
/// The most files that are saved.
const MAX_FILES: usize = 100;

impl Copier {
    /// Copies the settings in the store's folder `dir`, where there are any.
    pub(super) fn copy_settings(&mut self, dir: &Path) -> Result<()> {
        let folder = dir.join(SETTINGS);
        let names = match self.disk.list(&folder) {
            Ok(names) => names,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(e) => {
                self.attachments.missing(&folder, e);
                return Ok(());
            }
        };
        let mode = self.disk.metadata(&folder).map_or(0o755, |found| found.mode & 0o7777);
        let mut meta = EntryMeta::dir(SETTINGS, self.time);
        meta.mode = mode;
        self.writer.begin_entry(meta).map_err(failed)?;
        self.writer.end_entry().map_err(failed)?;
        for name in names.iter().take(MAX_FILES) {
            let path = folder.join(name);
            match file(&*self.disk, &path) {
                Ok(None) => {}
                Ok(Some((found, bytes))) => {
                    let entry = EntryPath::from(&*Path::new(SETTINGS).join(name));
                    let len = bytes.len() as u64;
                    let mut meta = EntryMeta::file(entry.clone(), len, found.modified);
                    meta.mode = found.mode & 0o7777;
                    self.writer.begin_entry(meta).map_err(failed)?;
                    self.writer.write(&bytes).map_err(failed)?;
                    self.writer.end_entry().map_err(failed)?;
                    self.sources.insert(entry, path);
                }
                Err(error) => {
                    let message = "a file of settings cannot be saved";
                    let error = Error::new(error.kind(), message).at(&path).because(error);
                    self.attachments.problem(error);
                }
            }
        }
        Ok(())
    }
}

/// The file at `path`, or that which a link there leads to; `None` for anything else.
fn file(disk: &dyn Disk, path: &Path) -> Result<Option<(Metadata, Vec<u8>)>> {
    let failed = |e| Error::io("read", path, e);
    let found = disk.canonical(path).and_then(|real| disk.metadata(&real)).map_err(failed)?;
    if found.kind != EntryKind::File {
        return Ok(None);
    }
    let bytes = read_whole(disk, path, MAX_BYTES).map_err(failed)?;
    Ok(Some((found, bytes)))
}
