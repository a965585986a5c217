//! One entry of the history.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use crate::archive::ArchiveName;
use crate::backup::{BackupReport, SavedFile};
use crate::disk::Disk;
use crate::engine::{Lsn, StoreId};
use crate::error::{Error, Result};
use crate::lock::Access;
use crate::regime::journal::Origin;
use crate::store::papers::{exact_path, exact_path_if_any, hex};
use crate::store::{BackupStatus, TimelinePaper};

/// What was done.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OperationKind {
    /// A backup of the whole.
    Backup,
    /// An incremental backup.
    IncrementalBackup,
    /// A restore.
    Restore,
    /// Logs were integrated.
    Integration,
    /// A compaction.
    Compaction,
    /// A repair into a new store.
    Repair,
    /// What this version does not know, by its name. It is kept and shown, and is no backup.
    #[serde(untagged)]
    Other(String),
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OperationStatus {
    /// Well.
    Complete,
    /// Without some attachment; of an integration: not without mending what did not fit.
    Partial,
    /// Not at all.
    Failed,
}

/// A file of an archive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArchivePart {
    /// Where it was put.
    #[serde(with = "exact_path")]
    pub path: PathBuf,
    /// Its length in bytes.
    pub bytes: u64,
}

/// What is known of one backup, restore or integration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Operation {
    /// What was done.
    pub operation: OperationKind,
    /// Number of the backup that was made or restored.
    #[serde(default)]
    pub backup_number: Option<u32>,
    /// Who began it.
    #[serde(default)]
    pub origin: Option<Origin>,
    /// When it began, in microseconds since the Unix epoch.
    pub started: i64,
    /// The same as a local date, for people.
    #[serde(default)]
    pub date: String,
    /// The same as a local time with its offset, for people.
    #[serde(default)]
    pub time: String,
    /// How long it took, in microseconds.
    #[serde(default)]
    pub duration_micros: u64,
    /// How it ended.
    pub status: OperationStatus,
    /// 0, or the number of the error.
    #[serde(default)]
    pub code: i32,
    /// The error in full.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub error: String,
    /// What others were allowed meanwhile.
    #[serde(default, with = "access_if_any", skip_serializing_if = "Option::is_none")]
    pub access: Option<Access>,
    /// The longest that anybody waited, in microseconds.
    #[serde(default)]
    pub longest_wait_micros: u64,
    /// The store.
    #[serde(with = "hex")]
    pub store_id: StoreId,
    /// The timeline of the commit.
    #[serde(default)]
    pub timeline: Option<TimelinePaper>,
    /// The commit that the archive equals, or that the restored store ends at.
    #[serde(default)]
    pub lsn: Option<Lsn>,
    /// Whether records are in the archive.
    #[serde(default)]
    pub data: bool,
    /// The digest in the archive's seal, in hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seal: Option<String>,
    /// That of the archive that an incremental one goes on from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
    /// The archive that was made or restored: its file, or the first of its segments.
    #[serde(default, with = "exact_path_if_any")]
    pub backup_path: Option<PathBuf>,
    /// All files of the archive that was made, segments and parity included.
    #[serde(default)]
    pub backup_files: Vec<ArchivePart>,
    /// The log archive that was written beside it, or the first log that was integrated.
    #[serde(default, with = "exact_path_if_any")]
    pub log_path: Option<PathBuf>,
    /// All files of the log archive, or all logs that were integrated.
    #[serde(default)]
    pub log_files: Vec<ArchivePart>,
    /// The digest in the log archive's seal, in hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_seal: Option<String>,
    /// That of the archive that the log follows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_follows: Option<String>,
    /// Every file in the archive, with the place that it was read from.
    #[serde(default)]
    pub saved_files: Vec<SavedFile>,
    /// Whether saved files were left out, since the history had become too long.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub files_omitted: bool,
    /// Whether this was listed from the archive itself, not by who made it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub rebuilt: bool,
    /// Whether the archive was there though the history, which goes further, did not list it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub brought_in: bool,
    /// Whether its archive is being deleted: what is left of it is no archive any more.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub deleting: bool,
    /// The same for its log archive.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub deleting_log: bool,
    /// What other versions wrote.
    #[serde(flatten)]
    pub other: serde_json::Map<String, serde_json::Value>,
}

impl Operation {
    /// An operation on the store `store` that began at `started` (microseconds since the Unix
    /// epoch), told in local time of `zone`; it ended well, and the rest is empty.
    pub fn new(
        operation: OperationKind,
        store: StoreId,
        started: i64,
        zone: &TimeZone,
    ) -> Operation {
        let local = Timestamp::from_microsecond(started).ok().map(|at| at.to_zoned(zone.clone()));
        let told = |format: &str| {
            local.as_ref().map_or(String::new(), |local| local.strftime(format).to_string())
        };
        Operation {
            operation,
            backup_number: None,
            origin: None,
            started,
            date: told("%Y-%m-%d"),
            time: told("%H:%M:%S%:z"),
            duration_micros: 0,
            status: OperationStatus::Complete,
            code: 0,
            error: String::new(),
            access: None,
            longest_wait_micros: 0,
            store_id: store,
            timeline: None,
            lsn: None,
            data: false,
            seal: None,
            parent: None,
            backup_path: None,
            backup_files: Vec::new(),
            log_path: None,
            log_files: Vec::new(),
            log_seal: None,
            log_follows: None,
            saved_files: Vec::new(),
            files_omitted: false,
            rebuilt: false,
            brought_in: false,
            deleting: false,
            deleting_log: false,
            other: serde_json::Map::new(),
        }
    }

    /// A backup that was made, of the data or of the structure alone.
    ///
    /// # Errors
    /// When a file of the archive cannot be looked at.
    pub fn backup(
        report: &BackupReport,
        data: bool,
        disk: &dyn Disk,
        zone: &TimeZone,
    ) -> Result<Operation> {
        let kind = match report.parent {
            Some(_) => OperationKind::IncrementalBackup,
            None => OperationKind::Backup,
        };
        let mut made = Operation::new(kind, report.store_id, report.started, zone);
        made.backup_number = Some(report.number);
        made.duration_micros = u64::try_from(report.duration.as_micros()).unwrap_or(u64::MAX);
        made.status = report.status.into();
        if let Some(problem) = report.problems.first() {
            (made.code, made.error) = (problem.code(), problem.report());
        }
        made.access = Some(report.access);
        let wait = report.longest_wait.as_micros();
        made.longest_wait_micros = u64::try_from(wait).unwrap_or(u64::MAX);
        made.timeline = Some(report.timeline.into());
        made.lsn = Some(report.lsn);
        made.data = data;
        made.seal = Some(report.seal.clone());
        made.parent = report.parent.as_ref().map(|parent| parent.seal.clone());
        // By the name of a file that stands there: the whole of one in segments does not.
        made.backup_path = opened_by(&report.archive_files);
        made.backup_files = parts(disk, &report.archive_files)?;
        if let Some(log) = &report.log_archive {
            made.log_path = opened_by(&log.files);
            made.log_files = parts(disk, &log.files)?;
            made.log_seal = Some(log.seal.clone());
            made.log_follows.clone_from(&log.follows);
        }
        made.saved_files.clone_from(&report.files);
        Ok(made)
    }

    /// The same operation, which failed.
    pub fn failed(mut self, error: &Error) -> Operation {
        self.status = OperationStatus::Failed;
        (self.code, self.error) = (error.code(), error.report());
        self
    }

    /// Goes on with `next`, where both are integrations of the same logs into the same store, by the same
    /// hand, that went well; otherwise nothing is changed, and the answer is no.
    pub(super) fn takes_in(&mut self, next: &Operation) -> bool {
        let same = [&*self, next].iter().all(|o| {
            o.operation == OperationKind::Integration && o.status == OperationStatus::Complete
        }) && (self.store_id, self.origin) == (next.store_id, next.origin)
            && (&self.log_path, &self.log_files) == (&next.log_path, &next.log_files);
        if same {
            self.duration_micros = self.duration_micros.saturating_add(next.duration_micros);
            (self.timeline, self.lsn) = (next.timeline, next.lsn);
        }
        same
    }

    /// Whether it is a backup. Only those own the files that they name: what was restored or integrated
    /// is told of, and belongs to the backup that made it.
    pub(crate) fn is_backup(&self) -> bool {
        matches!(self.operation, OperationKind::Backup | OperationKind::IncrementalBackup)
    }

    /// Whether it left an archive.
    pub(crate) fn has_archive(&self) -> bool {
        self.is_backup() && !self.backup_files.is_empty()
    }

    /// Whether it left a log archive.
    pub(crate) fn has_log(&self) -> bool {
        self.is_backup() && self.log_path.is_some()
    }

    /// Whether it made the archive at `path`.
    pub(crate) fn made(&self, path: &Path) -> bool {
        self.is_backup() && self.backup_path.as_deref() == Some(path)
    }

    /// The same for its log archive.
    pub(crate) fn made_log(&self, path: &Path) -> bool {
        self.is_backup() && self.log_path.as_deref() == Some(path)
    }
}

impl From<BackupStatus> for OperationStatus {
    fn from(status: BackupStatus) -> OperationStatus {
        match status {
            BackupStatus::Complete => OperationStatus::Complete,
            BackupStatus::Partial => OperationStatus::Partial,
        }
    }
}

/// What the name of the file at `path` says, where it is that of an archive.
pub(crate) fn archive_name(path: &Path) -> Option<ArchiveName> {
    ArchiveName::parse(path.file_name()?.to_str()?)
}

/// The file by which an archive is opened: its only one, or its first segment.
fn opened_by(files: &[PathBuf]) -> Option<PathBuf> {
    files.iter().find(|path| archive_name(path).is_some()).cloned()
}

fn parts(disk: &dyn Disk, files: &[PathBuf]) -> Result<Vec<ArchivePart>> {
    let look = |path: &PathBuf| {
        let found = disk.metadata(path).map_err(|e| Error::io("look at", path, e))?;
        Ok(ArchivePart { path: path.clone(), bytes: found.len })
    };
    files.iter().map(look).collect()
}

/// An access by its name, where there is one.
mod access_if_any {
    use super::*;
    use crate::store::papers::access_name;
    use serde::{Deserializer, Serializer};

    #[derive(Serialize, Deserialize)]
    struct Name(#[serde(with = "access_name")] Access);

    pub(super) fn serialize<S: Serializer>(
        access: &Option<Access>,
        out: S,
    ) -> Result<S::Ok, S::Error> {
        access.map(Name).serialize(out)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        input: D,
    ) -> Result<Option<Access>, D::Error> {
        Ok(Option::<Name>::deserialize(input)?.map(|name| name.0))
    }
}
