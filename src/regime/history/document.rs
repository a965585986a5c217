//! The file of the history as a whole: an object with a list of operations for each set of archives.
//!
//! Only the list that is asked for is understood; the rest is kept as JSON.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::{Map, Value};

use super::HISTORY_FILE;
use super::operation::Operation;
use crate::disk::{Disk, atomic};
use crate::error::{Error, ErrorKind, Result};
use crate::json_budget::{self, Budget};

/// A longer file is none; ours leaves the lists of saved files out before it comes to that.
const MAX_BYTES: usize = 64 << 20;

/// The most values in it: each takes up to fifty bytes of memory, whatever the length of its text.
const MAX_VALUES: u64 = 2 << 20;

/// What was found at the place of the file.
pub(super) enum Found {
    Nothing,
    History(Document),
    /// Something else, and why it is none.
    Malformed(Error),
}

/// A history that was read, or an empty one.
#[derive(Default)]
pub(super) struct Document {
    lists: Map<String, Value>,
}

impl Found {
    /// The history, or an empty one and what is wrong with the file.
    pub(super) fn understood(self) -> (Document, Option<Error>) {
        match self {
            Found::Nothing => (Document::default(), None),
            Found::History(document) => (document, None),
            Found::Malformed(error) => (Document::default(), Some(error)),
        }
    }
}

impl Document {
    pub(super) fn read(disk: &dyn Disk, folder: &Path) -> Result<Found> {
        let path = folder.join(HISTORY_FILE);
        let malformed = |message: String| {
            Ok(Found::Malformed(Error::corrupt(&path, format!("this is no history: {message}"))))
        };
        let bytes = match atomic::read_whole(disk, &path, MAX_BYTES as u64) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Found::Nothing),
            Err(e) if e.kind() == std::io::ErrorKind::FileTooLarge => {
                return malformed(e.to_string());
            }
            Err(e) => return Err(Error::io("read the history of backups", &path, e)),
        };
        match json_budget::from_slice(&bytes, MAX_VALUES) {
            Ok(Value::Object(lists)) => Ok(Found::History(Document { lists })),
            Ok(_) => malformed("it is not an object".to_owned()),
            Err(e) => malformed(e.to_string()),
        }
    }

    /// The operations of `set`, or none and what is wrong with them.
    pub(super) fn operations(&self, set: &str) -> (Vec<Operation>, Option<Error>) {
        let Some(list) = self.lists.get(set) else { return (Vec::new(), None) };
        match Vec::deserialize(list) {
            Ok(operations) => (operations, None),
            Err(e) => {
                let message = format!("the list of \"{set}\" is none of operations");
                (Vec::new(), Some(Error::new(ErrorKind::Corrupt, message).because(e)))
            }
        }
    }

    /// Puts `operations` in place of those of `set`.
    pub(super) fn put(&mut self, set: &str, operations: &[Operation]) -> Result<()> {
        let list = serde_json::to_value(operations).map_err(no_json)?;
        self.lists.insert(set.to_owned(), list);
        Ok(())
    }

    /// Writes the file. A history that would be too long loses the lists of saved files, those of the
    /// newest operations last.
    pub(super) fn write(&mut self, disk: &dyn Disk, folder: &Path) -> Result<()> {
        let path = folder.join(HISTORY_FILE);
        let mut bytes = self.bytes()?;
        for spared in [1, 0] {
            if is_too_long(&bytes) {
                self.omit_files(spared);
                bytes = self.bytes()?;
            }
        }
        if is_too_long(&bytes) {
            let message = format!("the history of backups has become {} bytes long", bytes.len());
            return Err(Error::new(ErrorKind::Limit, message).at(&path));
        }
        atomic::write_atomically(disk, &path, &bytes)
            .map_err(|e| Error::io("write the history of backups", &path, e))
    }

    fn bytes(&self) -> Result<Vec<u8>> {
        let mut bytes = serde_json::to_vec_pretty(&self.lists).map_err(no_json)?;
        bytes.push(b'\n');
        Ok(bytes)
    }

    /// Leaves out the saved files of all but the `spared` newest operations of each list.
    fn omit_files(&mut self, spared: usize) {
        for list in self.lists.values_mut().filter_map(Value::as_array_mut) {
            let omitted = list.len().saturating_sub(spared);
            for operation in list[..omitted].iter_mut().filter_map(Value::as_object_mut) {
                if operation.remove("savedFiles").is_some() {
                    operation.insert("filesOmitted".to_owned(), Value::Bool(true));
                }
            }
        }
    }
}

/// Whether no reader would take it.
fn is_too_long(bytes: &[u8]) -> bool {
    bytes.len() > MAX_BYTES || Budget::new(MAX_VALUES).take(bytes).is_err()
}

fn no_json(cause: serde_json::Error) -> Error {
    Error::new(ErrorKind::Invalid, "the history of backups is no JSON").because(cause)
}

/// Renames a file that is no history to the first name that is free, and gives that.
pub(super) fn set_aside(disk: &dyn Disk, folder: &Path) -> Result<PathBuf> {
    let path = folder.join(HISTORY_FILE);
    for number in 1u32.. {
        let aside = folder.join(format!("backupHistory.malformed-{number}.json"));
        match disk.rename_new(&path, &aside) {
            Ok(()) => {
                return disk
                    .sync_dir(folder)
                    .map(|()| aside)
                    .map_err(|e| Error::io("sync the destination", folder, e));
            }
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(e) => return Err(Error::io("set aside the malformed history", &path, e)),
        }
    }
    Err(Error::new(ErrorKind::Limit, "no name is left to set the history aside").at(&path))
}
