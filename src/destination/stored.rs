//! One archive of a destination: its name, its files, and what it says of itself.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use super::storage::Storage;
use crate::archive::{ArchiveFile, ArchiveKind, ArchiveName, Files, Keys, Listed};
use crate::engine::{ANCESTRY_FILE, Ancestry, StoreId};
use crate::error::{Error, ErrorKind, Result, code};
use crate::store::{BackupHeader, BackupKind, BackupResults, LogHeader};

/// An archive that lies in a destination, by its name.
pub(crate) struct StoredArchive {
    storage: Arc<dyn Storage>,
    keys: Keys,
    listed: Listed,
    /// Its parity, where that is there.
    parity: Option<PathBuf>,
    /// All of its files with their lengths, the parity first.
    parts: Vec<(PathBuf, u64)>,
    /// What it says of itself; read when it is first asked for.
    described: OnceLock<Result<Described>>,
}

/// What an archive says of itself.
enum Described {
    Backup(Box<StoredBackup>),
    Log(Box<StoredLog>),
}

/// What an archive of a store says of itself.
pub(crate) struct StoredBackup {
    /// The digest in its seal, in hexadecimal digits.
    pub(crate) seal: String,
    pub(crate) header: BackupHeader,
    pub(crate) results: BackupResults,
    /// The line of timelines that led to its commit; `None` where that cannot be used.
    pub(crate) ancestry: Option<Ancestry>,
}

/// What an archive of a log says of itself.
pub(crate) struct StoredLog {
    /// The digest in its seal, in hexadecimal digits.
    pub(crate) seal: String,
    pub(crate) header: LogHeader,
}

impl StoredArchive {
    pub(super) fn new(
        storage: &Arc<dyn Storage>,
        keys: &Keys,
        listed: Listed,
        parity: Option<PathBuf>,
        parts: Vec<(PathBuf, u64)>,
    ) -> StoredArchive {
        let (storage, keys) = (storage.clone(), keys.clone());
        let described = OnceLock::new();
        StoredArchive { storage, keys, listed, parity, parts, described }
    }

    /// Its name; where it is in segments, that of the whole.
    pub(crate) fn name(&self) -> &ArchiveName {
        &self.listed.name
    }

    /// The file by which it is opened.
    pub(crate) fn path(&self) -> &Path {
        self.listed.path()
    }

    /// Length of its files in bytes, without the parity.
    pub(crate) fn bytes(&self) -> u64 {
        self.listed.bytes
    }

    /// All of its files with their lengths, the parity first.
    pub(crate) fn parts(&self) -> &[(PathBuf, u64)] {
        &self.parts
    }

    /// Length of all of its files in bytes.
    pub(crate) fn all_bytes(&self) -> u64 {
        self.parts.iter().map(|(_, bytes)| bytes).sum()
    }

    /// Whether its name is that of a log archive.
    pub(crate) fn is_log(&self) -> bool {
        self.name().kind() == ArchiveKind::Log
    }

    /// Opens it.
    ///
    /// # Errors
    /// As [`ArchiveFile::open`].
    pub(crate) fn open(&self) -> Result<Arc<ArchiveFile>> {
        let files = Files::listed(&self.listed, self.parity.clone());
        let opened = ArchiveFile::open_files(&*self.storage, &files, &self.keys);
        self.described.get_or_init(|| {
            let file = opened.clone().map_err(|error| self.numbered(error))?;
            self.describe(&file)
        });
        opened
    }

    /// Damage and absence of an archive have numbers of their own.
    fn numbered(&self, error: Error) -> Error {
        match (error.kind(), self.is_log()) {
            (ErrorKind::Corrupt, false) => error.with_code(code::CHECK),
            (ErrorKind::Corrupt, true) => error.with_code(code::LOG_CHECK),
            (ErrorKind::NotFound, false) => error.with_code(code::ARCHIVE_MISSING),
            (ErrorKind::NotFound, true) => error.with_code(code::LOG_ARCHIVE_MISSING),
            _ => error,
        }
    }

    fn describe(&self, file: &ArchiveFile) -> Result<Described> {
        let (seal, app) = (file.seal().to_string(), file.header().app.clone());
        let strange = |what: &str, cause| {
            let error = Error::new(ErrorKind::Unsupported, format!("the archive is no {what}"));
            error.at(self.path()).because(cause)
        };
        if self.is_log() {
            let header = serde_json::from_value(app);
            let header = header.map_err(|cause| strange("log archive of a store", cause))?;
            return Ok(Described::Log(Box::new(StoredLog { seal, header })));
        }
        let header = serde_json::from_value(app);
        let header: BackupHeader = header.map_err(|cause| strange("backup of a store", cause))?;
        let results = serde_json::from_value(file.manifest().results.clone());
        let results = results.map_err(|cause| strange("backup of a store", cause))?;
        let tip = header.timeline.into();
        let ancestry = ancestry_of(file).filter(|ancestry| ancestry.tip() == tip);
        Ok(Described::Backup(Box::new(StoredBackup { seal, header, results, ancestry })))
    }

    /// Reads what it says of itself, so that nothing waits for that later.
    pub(crate) fn read(&self) {
        let _kept = self.described();
    }

    fn described(&self) -> Result<&Described, &Error> {
        if self.described.get().is_none() {
            // The error is kept with the description.
            let _opened = self.open();
        }
        let described = self.described.get_or_init(|| Err(self.never_read()));
        described.as_ref()
    }

    fn never_read(&self) -> Error {
        Error::new(ErrorKind::NotFound, "the archive was not read").at(self.path())
    }

    /// Why it cannot be read; `None` where it can.
    pub(crate) fn problem(&self) -> Option<&Error> {
        self.described().err()
    }

    /// What it says of itself where it is a backup that can be read.
    pub(crate) fn backup(&self) -> Option<&StoredBackup> {
        match self.described() {
            Ok(Described::Backup(backup)) => Some(backup),
            _ => None,
        }
    }

    /// The same for a log archive.
    pub(crate) fn log(&self) -> Option<&StoredLog> {
        match self.described() {
            Ok(Described::Log(log)) => Some(log),
            _ => None,
        }
    }

    /// The digest in its seal, where it can be read.
    pub(crate) fn seal(&self) -> Option<&str> {
        match self.described() {
            Ok(Described::Backup(backup)) => Some(&backup.seal),
            Ok(Described::Log(log)) => Some(&log.seal),
            Err(_) => None,
        }
    }

    /// What it says of itself where that has been read already.
    pub(super) fn seal_if_read(&self) -> Option<&str> {
        self.described.get().and_then(|_| self.seal())
    }

    /// The store that it is of, where it can be read.
    pub(crate) fn store(&self) -> Option<StoreId> {
        match self.described() {
            Ok(Described::Backup(backup)) => Some(backup.header.store_id),
            Ok(Described::Log(log)) => Some(log.header.store_id),
            Err(_) => None,
        }
    }

    /// What the header says against the name; `None` where they agree, or it cannot be read.
    pub(crate) fn contradiction(&self) -> Option<String> {
        let (set, number, kind) = match self.described() {
            Ok(Described::Backup(backup)) => {
                let kind = match backup.header.kind {
                    BackupKind::Full => ArchiveKind::Full,
                    BackupKind::Incremental => ArchiveKind::Incremental,
                };
                (&backup.header.set, backup.header.number, kind)
            }
            Ok(Described::Log(log)) => (&log.header.set, log.header.named, ArchiveKind::Log),
            Err(_) => return None,
        };
        let name = self.name();
        if (set.as_str(), number, kind) == (name.set(), name.number(), name.kind()) {
            return None;
        }
        let given = ArchiveName::new(set.clone(), number).map(|name| name.of_kind(kind));
        let given = given.map_or_else(|_| format!("{set:?} {number}"), |name| name.to_string());
        Some(format!("its header says that it was named {given}"))
    }

    /// Whether it can be read, and its header and its name say the same.
    pub(crate) fn is_as_named(&self) -> bool {
        self.problem().is_none() && self.contradiction().is_none()
    }
}

fn ancestry_of(file: &ArchiveFile) -> Option<Ancestry> {
    let entry = file.find(ANCESTRY_FILE)?;
    let bytes = file.read_entry(entry, Ancestry::MAX_BYTES).ok()?;
    Ancestry::decode(&bytes).ok()
}
