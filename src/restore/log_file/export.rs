//! The log of one store: found in its folder, with its tables by name, and written as JSON.

use std::io::Write;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use super::LogFile;
use super::find::LOOKS;
use super::tables::Tables;
use crate::disk::{Disk, OpenMode};
use crate::engine::replacement::refuse_unfinished;
use crate::engine::tree::open_read_only;
use crate::engine::{DATA_FILE, LOG_DIR, catalogue_of};
use crate::error::{Error, ErrorKind, Result, code};
use crate::store::Store;

impl LogFile {
    /// The log of the store in the folder `dir`, which may be in use. Tables that the log does not
    /// define itself have the names that they have in the newest checkpoint, as far as that can be
    /// read while its store goes on.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] (1403) where it has none, and where a replacement of the store was
    /// interrupted: the log may be another's then; as [`LogFile::open`].
    pub fn of_store(disk: Arc<dyn Disk>, dir: impl AsRef<Path>) -> Result<LogFile> {
        let dir = dir.as_ref();
        refuse_unfinished(&*disk, dir)?;
        let tables = known_tables(&*disk, &dir.join(DATA_FILE));
        let none = || {
            Error::new(ErrorKind::NotFound, "the store keeps no log")
                .with_code(code::NO_LOG)
                .at(dir)
        };
        match LogFile::open_on(disk, dir.join(LOG_DIR)) {
            Ok(log) if log.segments.is_empty() => Err(none()),
            Ok(log) => Ok(LogFile { tables, ..log }),
            Err(error) if error.kind() == ErrorKind::NotFound => Err(none().because(error)),
            Err(error) => Err(error),
        }
    }
}

/// The tables of the newest checkpoint; none where a store that is in use has just replaced it. Its
/// checksums tell.
fn known_tables(disk: &dyn Disk, path: &Path) -> Tables {
    let look = || {
        let file = disk.open(path, OpenMode::Read).ok()?;
        let checkpoint = open_read_only(file, path.to_path_buf()).ok()?;
        catalogue_of(&checkpoint).ok().map(|catalogue| Tables::of(&catalogue))
    };
    (0..LOOKS).find_map(|_| look()).unwrap_or_default()
}

impl Store {
    /// The log of this store as it is now, with the tables by their names of now. Writers go on.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] (1403) where nothing was committed yet; as [`LogFile::open`].
    pub fn log(&self) -> Result<LogFile> {
        self.inner().check_open()?;
        let engine = &self.inner().engine;
        let tables = Tables::of(&engine.catalogue());
        LogFile::of_store(engine.disk().clone(), engine.dir()).map(|log| LogFile { tables, ..log })
    }

    /// Writes every operation of the log as JSON: an array with an object a line, with the properties
    /// that [`LogCommit::to_json`](crate::LogCommit::to_json) has. Tells how many there are. Writers go
    /// on; what is committed meanwhile is left out.
    ///
    /// # Errors
    /// As [`Store::log`] and [`LogFile::commits`]; [`ErrorKind::Io`] where `out` takes no more.
    pub fn export_log(&self, mut out: impl Write) -> Result<u64> {
        let full = |cause: std::io::Error| {
            Error::new(ErrorKind::Io, "the log cannot be written where it was to go").because(cause)
        };
        let mut operations = 0u64;
        out.write_all(b"[").map_err(full)?;
        self.log()?.telling_creation(None)?.commits(|commit| {
            for object in commit.to_json() {
                let comma = if operations == 0 { "" } else { "," };
                write!(out, "{comma}\n{object}").map_err(full)?;
                operations += 1;
            }
            Ok(ControlFlow::Continue(()))
        })?;
        out.write_all(b"\n]\n").and_then(|()| out.flush()).map_err(full)?;
        Ok(operations)
    }
}
