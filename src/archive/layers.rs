//! What may lie below the frames of an archive: encryption, segments, parity; and the files that this
//! makes of it.
//!
//! The order is fixed: frames, seal and table -> age -> segments -> parity over the final bytes. So
//! `cat` joins segments, `age -d` opens what was joined, and parity mends without any key.

use super::keys::Recipients;
use super::level::Level;
use super::names::ArchiveName;
use crate::disk::Access;
use crate::error::{Error, ErrorKind, Result};
use std::path::PathBuf;

/// The smallest segment, in bytes.
pub const MIN_SEGMENT_BYTES: u64 = 64 << 10;
/// The most segments of an archive: each is an open file while the archive is read.
pub const MAX_SEGMENTS: u32 = 9999;

/// What lies below the frames of an archive.
#[derive(Clone, Debug, Default)]
pub struct Layers {
    /// Who can read it; `None` leaves it unencrypted.
    pub recipients: Option<Recipients>,
    /// The length of a segment in bytes, [`MIN_SEGMENT_BYTES`] at least; `None` keeps it in one file.
    pub segment_bytes: Option<u64>,
    /// How much damage can be repaired.
    pub redundancy: Level,
    /// How long a single stretch of damage may be; it counts only where there is redundancy.
    pub interlacing: Level,
}

impl Layers {
    /// Says what is wrong, if anything is.
    pub(crate) fn check(&self) -> Result<()> {
        match self.segment_bytes {
            Some(bytes) if bytes < MIN_SEGMENT_BYTES => {
                let message = format!(
                    "a segment of {bytes} bytes is too small: {MIN_SEGMENT_BYTES} at least"
                );
                Err(Error::new(ErrorKind::Invalid, message))
            }
            _ => Ok(()),
        }
    }

    /// About as many bytes as an archive of `bytes` bytes takes with its parity.
    pub(crate) fn with_parity(&self, bytes: u64) -> u64 {
        bytes + super::parity::parity_of(bytes, self.redundancy)
    }

    /// Whether the archive is one file and nothing else.
    pub fn is_plain(&self) -> bool {
        self.recipients.is_none() && self.segment_bytes.is_none() && self.redundancy == Level::None
    }
}

/// Where an archive is written, and what its files will be called.
#[derive(Clone, Debug)]
pub struct ArchivePlace {
    /// The folder.
    pub folder: PathBuf,
    /// The name of the whole; encryption and segments are added as the layers want it.
    pub name: ArchiveName,
    /// Who writes it: unfinished files carry this number.
    pub store: u128,
    /// Who may do what with its files, at most; `None` for what new files get.
    pub access: Option<Access>,
}

/// A file of an archive that is written and has yet to get its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrittenFile {
    /// Where it lies.
    pub partial: PathBuf,
    /// What it is to be called.
    pub path: PathBuf,
    /// Its length in bytes.
    pub bytes: u64,
}

impl ArchivePlace {
    /// The name of the whole archive with `layers`.
    pub fn whole(&self, layers: &Layers) -> ArchiveName {
        self.name.clone().encrypted(layers.recipients.is_some()).in_segment(None)
    }

    /// The file by which the finished archive with `layers` is opened.
    pub fn path(&self, layers: &Layers) -> PathBuf {
        let first = layers.segment_bytes.map(|_| 1);
        self.folder.join(self.whole(layers).in_segment(first).to_string())
    }

    /// The file called `name`, of which nothing is written yet.
    pub(crate) fn file(&self, name: &str) -> WrittenFile {
        WrittenFile {
            partial: self.folder.join(super::names::partial(name, self.store)),
            path: self.folder.join(name),
            bytes: 0,
        }
    }
}
