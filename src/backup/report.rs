//! What a backup did.

use std::path::PathBuf;
use std::time::Duration;

use crate::engine::{Lsn, StoreId, Timeline};
use crate::error::Error;
use crate::lock::Access;
use crate::store::papers::exact_path_if_any;
use crate::store::{BackupStatus, HoldUntil, ParentPaper, TogetherPaper};

/// One file in an archive.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct SavedFile {
    /// Its path within the archive.
    pub path: String,
    /// Where it was when it was saved; none for what the backup itself wrote.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "exact_path_if_any")]
    pub source: Option<PathBuf>,
    /// Its length in bytes.
    pub bytes: u64,
    /// Whether an attachment changed while it was copied.
    pub changed_while_read: bool,
}

/// The log archive that a backup wrote beside its archive.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct LogArchiveReport {
    /// The file by which it is opened.
    pub path: PathBuf,
    /// It holds the commits after this one.
    pub after: Lsn,
    /// Its last commit.
    pub last: Lsn,
    /// All its files: one, or its segments, and its parity.
    pub files: Vec<PathBuf>,
    /// Length in bytes, without the parity.
    pub bytes: u64,
    /// How many log segments are in it.
    pub segments: usize,
    /// The digest in its seal, in hexadecimal.
    pub seal: String,
    /// That of the archive that the log follows, where the store still knew that.
    pub follows: Option<String>,
}

/// What a successful backup did.
#[non_exhaustive]
#[derive(Clone, Debug, serde::Serialize)]
pub struct BackupReport {
    /// Number of the backup in its destination.
    pub number: u32,
    /// The archive.
    pub archive: PathBuf,
    /// The store that was saved.
    #[serde(serialize_with = "crate::engine::id_in_hex")]
    pub store_id: StoreId,
    /// The timeline of the commit that was saved.
    pub timeline: Timeline,
    /// The commit that the archive equals.
    pub lsn: Lsn,
    /// The checkpoint that was copied.
    pub checkpoint: u64,
    /// The digest in the archive's seal, in hexadecimal.
    pub seal: String,
    /// The archive that this one goes on from, where it is incremental.
    pub parent: Option<ParentPaper>,
    /// Why newer archives could not be that, one error each.
    pub passed_over: Vec<Error>,
    /// Pages of the data file in the archive.
    pub pages_copied: u64,
    /// Pages of the data file that were read: those copied, and those on the way to them.
    pub pages_read: u64,
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
    /// Bytes of the archive, without its parity.
    pub archive_bytes: u64,
    /// All files of the archive: one, or its segments, and its parity.
    pub archive_files: Vec<PathBuf>,
    /// Whether the archive was read back from the medium and found whole.
    pub verified: bool,
    /// Every file in the archive.
    pub files: Vec<SavedFile>,
    /// The log since the last backup of data, where there was one and something was committed since.
    pub log_archive: Option<LogArchiveReport>,
    /// What of the attachments was left out on purpose: the destination of the backup.
    pub skipped: Vec<PathBuf>,
    /// What stood still with the store.
    pub participants: Vec<ParticipantReport>,
    /// The group of stores that were saved at one instant, where there was one.
    pub together: Option<TogetherPaper>,
    /// What is missing of a partial backup, one error each; then what went wrong around it that the
    /// archive does not suffer from, such as a participant whose `thaw` failed.
    pub problems: Vec<Error>,
}

/// What a participant did in a backup.
#[non_exhaustive]
#[derive(Clone, Debug, serde::Serialize)]
pub struct ParticipantReport {
    /// Its name.
    pub name: String,
    /// Until when it was to be held.
    pub hold: HoldUntil,
    /// How long its `prepare` took.
    pub prepare: Duration,
    /// How long its `freeze` took.
    pub freeze: Duration,
    /// How long it stood still: from the end of its `freeze` to its `thaw`.
    pub frozen: Duration,
    /// How long its `thaw` took.
    pub thaw: Duration,
    /// What went wrong.
    pub error: Option<Error>,
}
