//! What a backup did.

use std::path::PathBuf;
use std::time::Duration;

use crate::engine::{Lsn, StoreId, Timeline};
use crate::error::Error;
use crate::lock::Access;
use crate::store::BackupStatus;

/// One file in an archive.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct SavedFile {
    /// Its path within the archive.
    pub path: String,
    /// Its length in bytes.
    pub bytes: u64,
    /// Whether an attachment changed while it was copied.
    pub changed_while_read: bool,
}

/// What a successful backup did.
#[non_exhaustive]
#[derive(Clone, Debug)]
pub struct BackupReport {
    /// Number of the backup in its destination.
    pub number: u32,
    /// The archive.
    pub archive: PathBuf,
    /// The store that was saved.
    pub store_id: StoreId,
    /// The timeline of the commit that was saved.
    pub timeline: Timeline,
    /// The commit that the archive equals.
    pub lsn: Lsn,
    /// Complete, or partial.
    pub status: BackupStatus,
    /// What others were allowed meanwhile.
    pub access: Access,
    /// Time of the start, in microseconds since the Unix epoch.
    pub started: i64,
    /// How long it took in all.
    pub duration: Duration,
    /// How long the commit line stood still for the pin.
    pub pin: Duration,
    /// How long writers (and readers, where frozen) were held; zero for `Live`.
    pub hold: Duration,
    /// The longest that one of them waited.
    pub longest_wait: Duration,
    /// Whether the hold reached its limit and the backup went on `Live`.
    pub went_live: bool,
    /// Bytes of the store and its attachments.
    pub source_bytes: u64,
    /// Bytes of the archive.
    pub archive_bytes: u64,
    /// Whether the archive was read back from the medium and found whole.
    pub verified: bool,
    /// Every file in the archive.
    pub files: Vec<SavedFile>,
    /// What is missing of a partial backup, one error each.
    pub problems: Vec<Error>,
}
