//! What the regime remembers from one opening of the store to the next: `regime-state.json`.
//!
//! It lies in the store's folder and is written with every act that it tells of, atomically. It is
//! no authority on archives: those speak for themselves. Lost or damaged, it costs what is known of the
//! last backup, restore, check and drill, makes no run of the schedule count as missed, and lets an
//! automatic restore guess by the archives whose store this was: where they are of several, it is
//! refused. A damaged one is told and then treated as lost. It is never part of an archive, but goes
//! with a store that is restored by itself or rolled back.

use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::journal::Origin;
use super::schedule::SET_BACK;
use crate::disk::Disk;
use crate::disk::atomic::{read_whole, write_atomically};
use crate::engine::StoreId;
use crate::error::{Error, ErrorKind, Result};

/// The file in the store's folder.
pub(crate) const STATE_FILE: &str = "regime-state.json";
/// The file is a few hundred bytes; what is longer is none.
const MAX_BYTES: u64 = 1 << 20;

/// How an act ended, as it is remembered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// 0, or the code of what went wrong.
    pub code: i32,
    /// The same in words.
    pub text: String,
}

impl Status {
    /// All went well.
    pub(crate) fn good() -> Status {
        Status { code: 0, text: "no error".to_owned() }
    }

    /// The status that `error` stands for.
    pub(crate) fn of(error: Option<&Error>) -> Status {
        error
            .map_or_else(Status::good, |error| Status { code: error.code(), text: error.summary() })
    }
}

/// What is known of the last backup, whoever asked for it and however it ended.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastBackup {
    /// When it began, in microseconds since the Unix epoch.
    pub started: i64,
    /// How long it took, in microseconds.
    pub duration_micros: u64,
    /// Its number; `None` where it did not come so far.
    pub number: Option<u32>,
    /// Its archive, where there is one.
    pub archive: Option<PathBuf>,
    /// How it ended.
    pub status: Status,
}

impl LastBackup {
    /// When it began.
    pub fn started(&self) -> Timestamp {
        timestamp(self.started)
    }

    /// How long it took.
    pub fn duration(&self) -> Duration {
        Duration::from_micros(self.duration_micros)
    }
}

/// A backup that is being made, or was when the process ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RunningBackup {
    /// When it began, in microseconds since the Unix epoch.
    pub(crate) started: i64,
    pub(crate) number: u32,
    pub(crate) origin: Origin,
    pub(crate) destination: PathBuf,
    pub(crate) set: String,
    /// Whether it was begun since the store was opened: then its end is still to be recorded.
    #[serde(skip)]
    pub(crate) is_own: bool,
}

/// What is known of the last automatic restore. Restores that a person made are not counted.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestoreInfo {
    /// When it began, in microseconds since the Unix epoch.
    pub started: i64,
    /// The archive that the store came out of, where one was found.
    pub archive: Option<PathBuf>,
    /// Where the damaged store was put.
    pub aside: Option<PathBuf>,
    /// How many commits of logs were integrated after it.
    pub commits_integrated: u64,
    /// How many operations of them auto-repair dealt with; the journal has each.
    #[serde(default)]
    pub repaired: u64,
    /// Files of the application that the archive holds.
    #[serde(default)]
    pub attachments: usize,
    /// Whether they were brought back, into the folder `attachments` of the store.
    #[serde(default)]
    pub attachments_restored: bool,
    /// How it ended; where it stands though logs did not fit, what did not.
    pub status: Status,
}

impl RestoreInfo {
    /// Reads what the store in the folder `dir` remembers, which may be open: `None` where it was never
    /// restored automatically.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] where there is no such folder; [`ErrorKind::Corrupt`] where the file is
    /// damaged; those of the disk.
    pub fn of(disk: &dyn Disk, dir: &Path) -> Result<Option<RestoreInfo>> {
        disk.metadata(dir).map_err(|e| Error::io("find the store", dir, e))?;
        Ok(State::load(disk, dir)?.last_restore)
    }

    /// When it began.
    pub fn started(&self) -> Timestamp {
        timestamp(self.started)
    }
}

/// An archive that was looked at, and what was found.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checked {
    /// When, in microseconds since the Unix epoch.
    pub time: i64,
    /// The archive.
    pub archive: PathBuf,
    /// How it ended.
    pub status: Status,
}

impl Checked {
    /// When.
    pub fn time(&self) -> Timestamp {
        timestamp(self.time)
    }
}

/// How far a schedule was attended to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Attended {
    /// The schedule; under another one nothing that is past was missed.
    pub(crate) plan: String,
    /// Every run that was due up to this time was made, missed or left out.
    pub(crate) until: i64,
}

impl Attended {
    /// Goes on attending to `plan` at `now`. Under another plan than before, nothing that is past was
    /// missed; nor is anything that lies so far ahead that only a wrong clock can have claimed it.
    pub(crate) fn go_on(&mut self, plan: String, now: i64) {
        let claimed = timestamp(self.until).duration_since(timestamp(now)) > SET_BACK;
        if self.plan != plan || claimed {
            *self = Attended { plan, until: now };
        }
    }
}

/// The whole of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct State {
    /// The identity of the store, in hexadecimal digits: a store that is damaged can no longer say.
    pub(crate) store: String,
    pub(crate) backups: Attended,
    pub(crate) drills: Attended,
    /// The backup that runs; `None` once its end is recorded.
    pub(crate) running: Option<RunningBackup>,
    pub(crate) last_backup: Option<LastBackup>,
    pub(crate) last_restore: Option<RestoreInfo>,
    pub(crate) last_verified: Option<Checked>,
    pub(crate) last_drill: Option<Checked>,
    /// When the log last lost commits that the journal tells of.
    pub(crate) log_dropped: i64,
}

impl State {
    /// The store that the file belongs to, where it says so.
    pub(crate) fn store_id(&self) -> Option<StoreId> {
        StoreId::from_str_radix(&self.store, 16).ok().filter(|id| *id != 0)
    }

    /// Reads the file of the store in `dir`; one that is not there is an empty state.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] for what is no such file; those of the disk.
    pub(crate) fn load(disk: &dyn Disk, dir: &Path) -> Result<State> {
        let path = dir.join(STATE_FILE);
        let bytes = match read_whole(disk, &path, MAX_BYTES) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(State::default()),
            Err(e) => return Err(Error::io("read the state of the regime", &path, e)),
        };
        serde_json::from_slice(&bytes).map_err(|e| {
            Error::new(ErrorKind::Corrupt, "the state of the regime is damaged")
                .at(&path)
                .because(e)
                .hint("It is written anew; what it said of the last backup is lost.")
        })
    }

    /// Writes the file of the store in `dir`.
    ///
    /// # Errors
    /// Those of the disk.
    ///
    /// # Durability
    /// When it returns, the new state survives a power loss; a crash before leaves the old one.
    pub(crate) fn save(&self, disk: &dyn Disk, dir: &Path) -> Result<()> {
        let path = dir.join(STATE_FILE);
        let bytes = serde_json::to_vec_pretty(self).map_err(|e| {
            Error::new(ErrorKind::Invalid, "the state of the regime is no JSON").because(e)
        })?;
        write_atomically(disk, &path, &bytes)
            .map_err(|e| Error::io("write the state of the regime", &path, e))
    }
}

/// A time of the disk's clock.
pub(crate) fn timestamp(micros: i64) -> Timestamp {
    Timestamp::from_microsecond(micros).unwrap_or(match micros < 0 {
        true => Timestamp::MIN,
        false => Timestamp::MAX,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::{OpenMode, SimDisk};

    #[test]
    fn what_was_saved_is_loaded_and_nothing_is_an_empty_state() {
        let disk = SimDisk::new(1);
        let dir = Path::new("/");
        assert_eq!(State::load(&*disk, dir).unwrap(), State::default());
        let state = State {
            backups: Attended { plan: "daily".into(), until: 7 },
            last_verified: Some(Checked {
                time: 3,
                archive: "/b/s[0001].tar.zst".into(),
                status: Status::good(),
            }),
            ..State::default()
        };
        state.save(&*disk, dir).unwrap();
        assert_eq!(State::load(&*disk, dir).unwrap(), state);
    }

    #[test]
    fn a_damaged_file_is_an_error_that_names_it() {
        let disk = SimDisk::new(1);
        let path = Path::new("/").join(STATE_FILE);
        let file = disk.open(&path, OpenMode::CreateNew).unwrap();
        file.write_at(b"{\"backups\": 3", 0).unwrap();
        let error = State::load(&*disk, Path::new("/")).unwrap_err();
        assert_eq!((error.kind(), error.path()), (ErrorKind::Corrupt, Some(&*path)));
    }
}
