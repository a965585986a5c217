//! Keys and layers on the command line: option groups that several commands share.
//!
//! Keys are read from files only, never from an argument, which other users of the machine could see.

use std::io::Read;
use std::path::{Path, PathBuf};

use clap::Args;
use stillpoint::regime::RegimeBackup;
use stillpoint::{Archive, Error, ErrorKind, Keys, Level, Recipients, Result, code};

use super::size;

/// The longest file of keys that is read.
const MAX_FILE: u64 = 1 << 20;

/// What opens an encrypted archive.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct KeyArgs {
    /// A file with the passphrase of an encrypted archive: its first line. May be said repeatedly.
    #[arg(long, value_name = "FILE")]
    passphrase_file: Vec<PathBuf>,
    /// A file with private keys of age, as age-keygen writes it. May be said repeatedly.
    #[arg(long, value_name = "FILE")]
    identity: Vec<PathBuf>,
}

impl KeyArgs {
    /// The keys in the files.
    pub(crate) fn keys(&self) -> Result<Keys> {
        let mut keys = Keys::none();
        for path in &self.passphrase_file {
            keys = keys.with_passphrase(passphrase_in(path)?);
        }
        for path in &self.identity {
            keys = keys.with_identities(&read(path)?).map_err(|error| error.at(path))?;
        }
        Ok(keys)
    }
}

/// Where the archives lie that an incremental one goes on from.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct ChainArgs {
    /// An archive that an incremental one goes on from, where it is not in the same folder. May be
    /// said repeatedly.
    #[arg(long, value_name = "ARCHIVE")]
    parent: Vec<PathBuf>,
}

impl ChainArgs {
    /// The archive, which knows them then.
    pub(crate) fn apply(&self, archive: Archive) -> Archive {
        self.parent.iter().fold(archive, |archive, parent| archive.with_parent(parent))
    }
}

/// What lies below the frames of an archive that is written.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct LayerArgs {
    /// Cut the archive into segments of this length: bytes, or with K, M or G. `cat` joins them.
    #[arg(long, value_name = "SIZE", value_parser = size::parse)]
    segment_size: Option<u64>,
    /// Write parity beside the archive, which can repair it: none, low, medium or high.
    #[arg(long, value_name = "LEVEL")]
    redundancy: Option<Level>,
    /// How long a single stretch of damage the parity can repair: none, low, medium or high.
    #[arg(long, value_name = "LEVEL")]
    interlacing: Option<Level>,
    /// Encrypt the archive with the passphrase in this file: its first line.
    #[arg(long, value_name = "FILE", conflicts_with = "recipient")]
    passphrase_file: Option<PathBuf>,
    /// Encrypt the archive for this public key of age. May be said repeatedly.
    #[arg(long, value_name = "KEY")]
    recipient: Vec<String>,
}

impl LayerArgs {
    /// Who the archive is encrypted for, where that was said.
    pub(crate) fn recipients(&self) -> Result<Option<Recipients>> {
        match (&self.passphrase_file, self.recipient.is_empty()) {
            (Some(path), _) => Recipients::passphrase(passphrase_in(path)?).map(Some),
            (None, false) => {
                Recipients::public_keys(self.recipient.iter().map(String::as_str)).map(Some)
            }
            (None, true) => Ok(None),
        }
    }

    /// The backup with the layers that were said; what was not said stays as it is.
    pub(crate) fn apply(&self, mut backup: RegimeBackup) -> Result<RegimeBackup> {
        if let Some(bytes) = self.segment_size {
            backup = backup.segment_size(bytes);
        }
        if let Some(level) = self.redundancy {
            backup = backup.redundancy(level);
        }
        if let Some(level) = self.interlacing {
            backup = backup.interlacing(level);
        }
        if let Some(recipients) = self.recipients()? {
            backup = backup.encrypt(recipients);
        }
        Ok(backup)
    }
}

/// The first line of the file at `path`.
fn passphrase_in(path: &Path) -> Result<String> {
    let text = read(path)?;
    match text.lines().next() {
        Some(line) if !line.is_empty() => Ok(line.to_owned()),
        _ => Err(Error::new(ErrorKind::Invalid, "the file of the passphrase begins with no text")
            .with_code(code::KEY)
            .at(path)),
    }
}

fn read(path: &Path) -> Result<String> {
    let failed = |cause| Error::io("read the file of keys", path, cause);
    let mut text = String::new();
    // What is no file has no length, and may have no end.
    let file = std::fs::File::open(path).map_err(failed)?;
    file.take(MAX_FILE + 1).read_to_string(&mut text).map_err(failed)?;
    if text.len() as u64 > MAX_FILE {
        return Err(Error::new(ErrorKind::Limit, "the file is too long for one of keys").at(path));
    }
    Ok(text)
}
