//! What a backup says of the store that it saved: the application's part of header and manifest.
//!
//! Both stand as JSON in the archive. The header says what is known at the pin, the results what is
//! known at the end. Numbers of 128 bits are written as hexadecimal text, since JSON's numbers do not
//! hold them. Written by `backup/`, read by `restore/` and by whoever opens the archive with `tar`.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use std::path::{Path, PathBuf};

use super::describe::TableDescription;
use super::participant::HoldUntil;
use crate::disk::Disk;
use crate::engine::{Lsn, StoreId, TableInfo, Timeline};
use crate::error::{Error, Result};
use crate::lock::Access;

/// Where a restored store keeps the manifest of the archive that it came out of.
pub(crate) const RESTORED_FROM: &str = "restored-from.json";

/// The entry that stands for the store where only its structure is saved.
pub(crate) const CATALOGUE_FILE: &str = "catalogue.json";

/// The folder of the attachments, in an archive and in a restored store.
pub(crate) const ATTACHMENTS: &str = "attachments";

/// The folder of the settings, in a store and in an archive of its data.
pub(crate) const SETTINGS: &str = "Settings";

/// Moves the papers of an archive aside in a store that `tar` unpacked: from now on the store goes
/// its own way, and an old manifest must not be taken for a description of it.
pub(crate) fn set_aside(disk: &dyn Disk, dir: &Path) -> Result<()> {
    let (header, manifest) = (dir.join("header.json"), dir.join("manifest.json"));
    if disk.metadata(&manifest).is_ok() {
        let aside = dir.join(RESTORED_FROM);
        disk.rename(&manifest, &aside)
            .map_err(|e| Error::io("move the archive's manifest aside", &manifest, e))?;
        if disk.metadata(&header).is_ok() {
            disk.remove_file(&header)
                .map_err(|e| Error::io("remove the archive's header", &header, e))?;
        }
    }
    Ok(())
}

/// A timeline as the papers write it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimelinePaper {
    /// Its identity.
    #[serde(with = "hex")]
    pub id: u128,
    /// The timeline that it left, or 0.
    #[serde(with = "hex")]
    pub parent: u128,
    /// The last commit that it shares with its parent.
    pub fork: Lsn,
}

impl From<Timeline> for TimelinePaper {
    fn from(timeline: Timeline) -> TimelinePaper {
        TimelinePaper { id: timeline.id, parent: timeline.parent, fork: timeline.fork }
    }
}

impl From<TimelinePaper> for Timeline {
    fn from(paper: TimelinePaper) -> Timeline {
        Timeline { id: paper.id, parent: paper.parent, fork: paper.fork }
    }
}

/// A table as the header lists it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TablePaper {
    /// Its number.
    pub id: u32,
    /// Its name.
    pub name: String,
    /// How its keys are encoded.
    pub key_encoding: String,
    /// How its values are encoded.
    pub value_encoding: String,
    /// How many records it has in the archive.
    pub records: u64,
}

/// Whether everything that was asked for is in the archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BackupStatus {
    /// Everything is.
    Complete,
    /// The store is, but some attachment is not.
    Partial,
}

/// What a backup copied of the data file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BackupKind {
    /// All of it.
    #[default]
    Full,
    /// The pages that were born after another archive.
    Incremental,
}

/// The archive that an incremental one goes on from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParentPaper {
    /// The digest in its seal, in hexadecimal: its identity.
    pub seal: String,
    /// Name of its set.
    pub set: String,
    /// Its number in the set.
    pub number: u32,
    /// The timeline of its commit.
    pub timeline: TimelinePaper,
    /// The commit that it equals.
    pub lsn: Lsn,
    /// The checkpoint that it copied.
    pub checkpoint: u64,
}

/// What is known when the commit is pinned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupHeader {
    /// The program that wrote it, with its version.
    pub program: String,
    /// Number of the backup.
    pub number: u32,
    /// Name of the set that it was made in.
    pub set: String,
    /// The store.
    #[serde(with = "hex")]
    pub store_id: StoreId,
    /// The timeline of the commit.
    pub timeline: TimelinePaper,
    /// The commit that the archive equals.
    pub lsn: Lsn,
    /// Its time, in microseconds since the Unix epoch.
    pub commit_time: i64,
    /// The backup's start, in microseconds since the Unix epoch.
    pub started: i64,
    /// What others were allowed meanwhile.
    #[serde(with = "access_name")]
    pub access: Access,
    /// Whether the structure is in it.
    pub structure: bool,
    /// Whether the records are in it.
    pub data: bool,
    /// Bytes of a page of the data file.
    pub page_size: u32,
    /// Whether the archive holds the whole data file. It does where this is not said.
    #[serde(default)]
    pub kind: BackupKind,
    /// Number of the checkpoint that was copied; 0 in archives of before it was written down.
    #[serde(default)]
    pub checkpoint: u64,
    /// What an incremental archive goes on from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<ParentPaper>,
    /// Bytes of content to come.
    pub source_bytes: u64,
    /// Every table.
    pub tables: Vec<TablePaper>,
}

impl BackupHeader {
    /// Sees that this archive, which is incremental, goes on from the one with the header `parent`.
    pub(crate) fn check_follows(&self, parent: &BackupHeader) -> Result<(), &'static str> {
        let Some(link) = &self.parent else {
            return Err("it is a full archive, and goes on from none");
        };
        let told = (link.lsn, link.timeline, link.checkpoint);
        let checkpoint = if parent.checkpoint == 0 { link.checkpoint } else { parent.checkpoint };
        if parent.store_id != self.store_id {
            Err("they are of different stores")
        } else if told != (parent.lsn, parent.timeline, checkpoint) {
            Err("it is not of the commit that was written down")
        } else if parent.lsn > self.lsn || link.checkpoint > self.checkpoint {
            Err("it is newer than what goes on from it")
        } else if parent.page_size != self.page_size || !parent.data {
            Err("it holds no data file, or one with another size of page")
        } else {
            Ok(())
        }
    }
}

/// What is known at the end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupResults {
    /// Whether everything that was asked for is in the archive.
    pub status: BackupStatus,
    /// How long the commit line stood still, in microseconds.
    pub pin_micros: u64,
    /// How long others were held, in microseconds.
    pub hold_micros: u64,
    /// The longest that one of them waited, in microseconds.
    pub longest_wait_micros: u64,
    /// Whether the hold ended before the copy did.
    pub went_live: bool,
    /// Attachments that changed while they were copied.
    pub changed_while_read: Vec<String>,
    /// What is missing of a partial backup, and what else went wrong.
    pub problems: Vec<String>,
    /// The files and folders that were asked for beside the store.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attachments: Vec<AttachmentPaper>,
    /// What of them was left out on purpose: the destination of the backup.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub skipped: Vec<String>,
    /// What else stood still at the instant.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub participants: Vec<ParticipantPaper>,
    /// The group of stores that were saved at one instant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub together: Option<TogetherPaper>,
}

/// A file or folder of the application's own, as it was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttachmentPaper {
    /// Its path in the archive.
    #[serde(with = "exact_path")]
    pub name: PathBuf,
    /// Where it lay.
    #[serde(with = "exact_path")]
    pub source: PathBuf,
}

/// A participant of a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParticipantPaper {
    /// Its name.
    pub name: String,
    /// Until when it was to be held.
    pub hold: HoldUntil,
    /// How long it was frozen, in microseconds.
    pub frozen_micros: u64,
    /// What went wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Stores that were saved at one instant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TogetherPaper {
    /// The same in all their archives, and in no other.
    #[serde(with = "hex")]
    pub instant: u128,
    /// All of them, in the order in which they were held.
    #[serde(with = "hex_list")]
    pub stores: Vec<StoreId>,
}

/// What a log archive says of itself in its header: its entries are the segments, in order, each
/// under its own name (`0000000000000007.log`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogHeader {
    /// The program that wrote it, with its version.
    pub program: String,
    /// Number of the backup that it follows; 0 where the store no longer knew.
    pub number: u32,
    /// The digest in the seal of the archive that it follows, where the store knew that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub follows: Option<String>,
    /// Name of the set that it was made in.
    pub set: String,
    /// The number in its name: that of the backup that it follows or, where that was taken, of the one
    /// that wrote it.
    pub named: u32,
    /// The store.
    #[serde(with = "hex")]
    pub store_id: StoreId,
    /// The timeline of its last commit.
    pub timeline: TimelinePaper,
    /// It holds the commits after this one.
    pub after: Lsn,
    /// Its last commit.
    pub last: Lsn,
    /// The time of the last commit, in microseconds since the Unix epoch.
    pub last_time: i64,
    /// When it was written, in microseconds since the Unix epoch.
    pub written: i64,
    /// The tables that the store had at the last commit: names and types for whoever reads the log
    /// without its store.
    pub tables: Vec<LogTable>,
    /// The segments.
    pub segments: Vec<SegmentPaper>,
}

/// A table as the header of a log archive lists it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogTable {
    /// Its number.
    pub id: u32,
    /// Its name.
    pub name: String,
    /// How its keys are encoded.
    pub key_encoding: String,
    /// How its values are encoded.
    pub value_encoding: String,
}

impl LogTable {
    pub(crate) fn of(info: &TableInfo) -> LogTable {
        LogTable {
            id: info.id,
            name: info.name.clone(),
            key_encoding: info.key_encoding.clone(),
            value_encoding: info.value_encoding.clone(),
        }
    }

    /// The table, where its encodings are known.
    pub(crate) fn description(&self) -> crate::Result<TableDescription> {
        TableDescription::of(&TableInfo {
            id: self.id,
            name: self.name.clone(),
            key_encoding: self.key_encoding.clone(),
            value_encoding: self.value_encoding.clone(),
        })
    }
}

/// A segment of the log as the header lists it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentPaper {
    /// Its number in the log of its store.
    pub number: u64,
    /// The timeline of its commits.
    pub timeline: TimelinePaper,
    /// It holds the commits after this one.
    pub after: Lsn,
    /// Its last commit.
    pub last: Lsn,
    /// Bytes of it in the archive: up to its end, without room that was allocated ahead.
    pub bytes: u64,
}

pub(crate) mod hex {
    use super::*;

    pub(crate) fn serialize<S: Serializer>(id: &u128, out: S) -> Result<S::Ok, S::Error> {
        out.collect_str(&format_args!("{id:032x}"))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(input: D) -> Result<u128, D::Error> {
        let text = String::deserialize(input)?;
        u128::from_str_radix(&text, 16).map_err(serde::de::Error::custom)
    }
}

mod hex_list {
    use super::*;

    #[derive(Serialize, Deserialize)]
    struct Hex(#[serde(with = "hex")] u128);

    pub(super) fn serialize<S: Serializer>(ids: &[u128], out: S) -> Result<S::Ok, S::Error> {
        out.collect_seq(ids.iter().map(|id| Hex(*id)))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(input: D) -> Result<Vec<u128>, D::Error> {
        Ok(Vec::<Hex>::deserialize(input)?.into_iter().map(|id| id.0).collect())
    }
}

/// A path in JSON: a string where it is UTF-8, else an array of its bytes.
pub(crate) mod exact_path {
    use super::*;
    use std::ffi::OsString;
    use std::os::unix::ffi::{OsStrExt, OsStringExt};

    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Stored {
        Text(PathBuf),
        Bytes(Vec<u8>),
    }

    pub(crate) fn serialize<S: Serializer>(path: &Path, out: S) -> Result<S::Ok, S::Error> {
        match path.to_str() {
            Some(text) => out.serialize_str(text),
            None => out.collect_seq(path.as_os_str().as_bytes()),
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(input: D) -> Result<PathBuf, D::Error> {
        Ok(match Stored::deserialize(input)? {
            Stored::Text(path) => path,
            Stored::Bytes(bytes) => PathBuf::from(OsString::from_vec(bytes)),
        })
    }
}

/// The same where there may be none.
pub(crate) mod exact_path_if_any {
    use super::*;

    #[derive(Serialize, Deserialize)]
    struct Exact(#[serde(with = "exact_path")] PathBuf);

    pub(crate) fn serialize<S: Serializer>(
        path: &Option<PathBuf>,
        out: S,
    ) -> Result<S::Ok, S::Error> {
        path.clone().map(Exact).serialize(out)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        input: D,
    ) -> Result<Option<PathBuf>, D::Error> {
        Ok(Option::<Exact>::deserialize(input)?.map(|exact| exact.0))
    }
}

pub(crate) mod access_name {
    use super::*;

    const NAMES: [(&str, Access); 3] =
        [("frozen", Access::Frozen), ("read-only", Access::ReadOnly), ("live", Access::Live)];

    pub(crate) fn serialize<S: Serializer>(access: &Access, out: S) -> Result<S::Ok, S::Error> {
        let name = NAMES.iter().find(|(_, a)| a == access).map_or("live", |(name, _)| name);
        out.serialize_str(name)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(input: D) -> Result<Access, D::Error> {
        let text = String::deserialize(input)?;
        let found = NAMES.iter().find(|(name, _)| *name == text).map(|(_, access)| *access);
        found.ok_or_else(|| serde::de::Error::custom("not frozen, read-only or live"))
    }
}
