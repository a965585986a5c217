//! Named objects: what a destination keeps archives in.
//!
//! The trait has what object storage has as well: a flat list of names, reads by ranges, objects that
//! are created whole and once, deletion by name. Nothing is renamed, replaced or written in place. A
//! folder is the first implementation.
//!
//! Invariants: an object that has its name is complete and durable. What was created or deleted
//! survives a power loss when the call returns.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::archive::{OpenFiles, partial};
use crate::disk::{Access, Disk, EntryKind, File, OpenMode, create_like};
use crate::engine::StoreId;
use crate::error::{Error, ErrorKind, Result};

/// A name that was listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Object {
    /// Its name.
    pub(crate) name: String,
    /// Its length in bytes; `None` where the name stands for no file. It is taken all the same.
    pub(crate) bytes: Option<u64>,
}

/// Writes the content of an object that is being created.
pub(crate) type Content<'c> = dyn FnMut(&mut dyn Write) -> Result<()> + 'c;

/// What lies behind a destination.
pub(crate) trait Storage: Send + Sync {
    /// Where it is; the path of an object is this and its name.
    fn location(&self) -> &Path;

    /// Every name, sorted. One that is not UTF-8 is none of an archive and is left out.
    ///
    /// # Errors
    /// When it cannot be listed.
    fn list(&self) -> Result<Vec<Object>>;

    /// Opens an object for reading by ranges.
    ///
    /// # Errors
    /// `NotFound` where there is none; what the storage reports.
    fn read(&self, name: &str) -> io::Result<Arc<dyn File>>;

    /// Creates an object, complete or not at all. `writer` is the store that writes it.
    ///
    /// # Durability
    /// When it returns, the object survives a power loss.
    ///
    /// # Errors
    /// [`ErrorKind::Exists`] where the name is taken; what `content` or the storage reports.
    fn create(&self, name: &str, writer: StoreId, content: &mut Content<'_>) -> Result<()>;

    /// Deletes objects in this order; one that is not there is none too many.
    ///
    /// # Durability
    /// When it returns, none of them comes back.
    ///
    /// # Errors
    /// What the storage reports of the first that cannot be deleted; those after it are there.
    fn delete(&self, names: &[&str]) -> Result<()>;
}

impl OpenFiles for dyn Storage {
    fn open_file(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        let name = path.file_name().and_then(|name| name.to_str());
        self.read(name.ok_or(io::ErrorKind::NotFound)?)
    }
}

/// A folder of a disk.
pub(crate) struct Folder {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    access: Option<Access>,
}

impl Folder {
    pub(crate) fn new(disk: &Arc<dyn Disk>, path: &Path) -> Folder {
        Folder { disk: disk.clone(), path: path.to_path_buf(), access: None }
    }

    /// What is created in it from now on is made of something that has this access.
    pub(crate) fn of(self, access: Option<Access>) -> Folder {
        Folder { access, ..self }
    }

    fn sync(&self) -> Result<()> {
        self.disk.sync_dir(&self.path).map_err(|e| Error::io("sync the folder", &self.path, e))
    }
}

impl Storage for Folder {
    fn location(&self) -> &Path {
        &self.path
    }

    fn list(&self) -> Result<Vec<Object>> {
        let failed = |e| Error::io("list the folder of the archives", &self.path, e);
        let mut objects = Vec::new();
        for listed in self.disk.list(&self.path).map_err(failed)? {
            let Some(name) = listed.file_name().and_then(|name| name.to_str()) else { continue };
            let path = self.path.join(name);
            let bytes = match self.disk.metadata(&path) {
                Ok(found) => (found.kind == EntryKind::File).then_some(found.len),
                // It was deleted since its name was read.
                Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                Err(e) => return Err(Error::io("look at", &path, e)),
            };
            objects.push(Object { name: name.to_owned(), bytes });
        }
        Ok(objects)
    }

    fn read(&self, name: &str) -> io::Result<Arc<dyn File>> {
        self.disk.open(&self.path.join(name), OpenMode::Read)
    }

    fn create(&self, name: &str, writer: StoreId, content: &mut Content<'_>) -> Result<()> {
        let path = self.path.join(name);
        let unfinished = self.path.join(partial(name, writer));
        let file = create_like(&*self.disk, &unfinished, self.access);
        let file = file.map_err(|e| Error::io("create", &path, e))?;
        let mut append = Append { file: &*file, at: 0 };
        let written = content(&mut append)
            .and_then(|()| file.sync().map_err(|e| Error::io("sync", &path, e)))
            .and_then(|()| {
                self.disk.rename_new(&unfinished, &path).map_err(|e| match e.kind() {
                    io::ErrorKind::AlreadyExists => {
                        Error::io("name", &path, e).with_kind(ErrorKind::Exists)
                    }
                    _ => Error::io("name", &path, e),
                })
            });
        if let Err(error) = written {
            // What cannot be removed now is recognised by its name.
            let _left_over = self.disk.remove_file(&unfinished);
            return Err(error);
        }
        self.sync()
    }

    fn delete(&self, names: &[&str]) -> Result<()> {
        let mut result = Ok(());
        for name in names {
            let path = self.path.join(name);
            match self.disk.remove_file(&path) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => {
                    result = Err(Error::io("delete", &path, e));
                    break;
                }
                _ => {}
            }
        }
        result.and(self.sync())
    }
}

/// Writes to the end of a file.
struct Append<'f> {
    file: &'f dyn File,
    at: u64,
}

impl Write for Append<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write_at(bytes, self.at)?;
        self.at += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
