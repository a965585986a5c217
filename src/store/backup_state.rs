//! What a store remembers of its backups: `backup-state.json` in its folder.
//!
//! The file says from which commit on the log is kept (that of the last successful backup of data,
//! or, before the first, that where keeping it began), which archives were made from this very data
//! file (only they can be parents of an incremental backup, which goes by physical pages), which
//! commits the log no longer has because of its cap, and to which commit the store was restored. It
//! is never part of an archive: a restored store begins with a state of its own.
//!
//! Invariants: the file is replaced as a whole, after what it tells of is durable and before
//! anything is removed that it no longer asks for; so after a crash it asks for too much of the log
//! at worst. A file that cannot be understood asks for everything.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::papers::TimelinePaper;
use super::unfinished::UnfinishedBackup;
use crate::disk::Disk;
use crate::disk::atomic::{read_whole, write_atomically};
use crate::engine::{KeptLog, Lsn, StoreFolder, Timeline};
use crate::{Error, ErrorKind, Result};

/// Name of the file.
pub(crate) const BACKUP_STATE: &str = "backup-state.json";
/// What the file is written as.
const FORMAT: u32 = 1;
/// How many archives are remembered as possible parents, and how many gaps.
const REMEMBERED: usize = 100;
/// The file is never longer than this.
const MAX_BYTES: u64 = 4 << 20;

/// An archive of this store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ArchiveRef {
    /// Name of the set that it belongs to.
    pub(crate) set: String,
    /// Its number in the set.
    pub(crate) number: u32,
    /// Where it was written to.
    #[serde(with = "super::papers::exact_path")]
    pub(crate) archive: PathBuf,
    /// The digest in its seal, in hexadecimal digits.
    pub(crate) seal: String,
    /// The commit that it equals.
    pub(crate) lsn: Lsn,
    /// The timeline of that commit.
    pub(crate) timeline: TimelinePaper,
    /// Number of the checkpoint whose pages it holds.
    pub(crate) checkpoint: u64,
    /// When it was begun, in microseconds since the Unix epoch.
    pub(crate) time: i64,
}

/// Commits that the log had and that its cap took before they were in any log archive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LogGap {
    /// The commits after this one are gone.
    pub(crate) after: Lsn,
    /// The last one that is gone.
    pub(crate) last: Lsn,
    /// When they went, in microseconds since the Unix epoch.
    pub(crate) time: i64,
}

/// The commit that a store was brought to out of archives and logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RestoredTo {
    pub(crate) lsn: Lsn,
    pub(crate) timeline: TimelinePaper,
}

/// The file as it stands.
#[derive(Serialize, Deserialize)]
struct Stored<S> {
    format: u32,
    #[serde(flatten)]
    state: S,
}

/// What the file says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BackupState {
    /// The last successful backup of data: the log is kept from its commit on. `None` before the
    /// first.
    #[serde(default)]
    pub(crate) base: Option<ArchiveRef>,
    /// Before the first such backup: the log is kept from this commit on, where it is kept at all.
    #[serde(default)]
    pub(crate) kept_from: Option<Lsn>,
    /// The archives that were made from, or restored into, this data file; oldest first.
    #[serde(default)]
    pub(crate) parents: Vec<ArchiveRef>,
    /// What the cap took, oldest first.
    #[serde(default)]
    pub(crate) gaps: Vec<LogGap>,
    /// Where restore, rollback and integration left the store. Its next commit of its own begins a new
    /// timeline; what lies on this one beyond the commit is a future that somebody chose to leave.
    #[serde(default)]
    pub(crate) restored_to: Option<RestoredTo>,
    /// The participants that were told of that commit.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) notified: Vec<String>,
    /// The backup that runs in the process that has the store open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) running: Option<UnfinishedBackup>,
    /// The last backup whose process ended before it did, until that was reported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) unfinished: Option<UnfinishedBackup>,
}

impl BackupState {
    /// Reads the file of the store in `dir`; one that is missing says nothing.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] where it is no such file, [`ErrorKind::Unsupported`] where another
    /// version wrote it; those of the disk.
    pub(crate) fn load(disk: &dyn Disk, dir: &Path) -> Result<BackupState> {
        let path = dir.join(BACKUP_STATE);
        let bytes = match read_whole(disk, &path, MAX_BYTES) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(BackupState::default()),
            Err(e) if e.kind() == std::io::ErrorKind::FileTooLarge => {
                return Err(Error::corrupt(&path, e.to_string()));
            }
            Err(e) => return Err(Error::io("read what the store knows of its backups", &path, e)),
        };
        let stored: Stored<BackupState> = serde_json::from_slice(&bytes).map_err(|cause| {
            Error::corrupt(&path, "this is not what a store remembers of its backups")
                .because(cause)
                .hint("Make a backup: it writes the file anew.")
        })?;
        match stored.format {
            FORMAT => Ok(stored.state),
            other => {
                let message =
                    format!("the file has format {other}, and this version knows {FORMAT}");
                Err(Error::new(ErrorKind::Unsupported, message).at(&path))
            }
        }
    }

    /// Writes the file of the store in `dir`.
    ///
    /// # Durability
    /// When it returns, the new content survives a power loss; before that the old or the new one.
    pub(crate) fn save(&self, disk: &dyn Disk, dir: &Path) -> Result<()> {
        let path = dir.join(BACKUP_STATE);
        let mut json = serde_json::to_vec_pretty(&Stored { format: FORMAT, state: self }).map_err(
            |cause| {
                Error::new(ErrorKind::Invalid, "what the store knows of its backups is no JSON")
                    .at(&path)
                    .because(cause)
            },
        )?;
        json.push(b'\n');
        write_atomically(disk, &path, &json)
            .map_err(|e| Error::io("write what the store knows of its backups", &path, e))
    }

    /// The commits on the store's one way that the file tells of: those of its archives, also of copies
    /// that archived no log, and that which it was brought to.
    pub(crate) fn places(&self) -> impl Iterator<Item = (Timeline, Lsn)> {
        let archives = self.base.iter().chain(&self.parents);
        let archives = archives.map(|archive| (archive.timeline, archive.lsn));
        let all = archives.chain(self.restored_to.map(|to| (to.timeline, to.lsn)));
        all.map(|(timeline, lsn)| (timeline.into(), lsn))
    }

    /// The archives that it tells of.
    pub(crate) fn made(&self) -> Vec<ArchiveRef> {
        self.parents.iter().chain(&self.base).cloned().collect()
    }

    /// From where on the log is kept; `None` where it is not.
    pub(crate) fn kept_log(&self) -> Option<KeptLog> {
        let base = self.base.as_ref().map(|base| base.lsn);
        let from = self.gaps.iter().fold(base.or(self.kept_from)?, |from, gap| {
            // What the cap took need not be kept.
            if gap.after <= from { from.max(gap.last) } else { from }
        });
        Some(KeptLog { from, backed_up: base.is_some() })
    }

    /// Remembers an archive whose pages are those of this data file.
    pub(crate) fn add_parent(&mut self, parent: ArchiveRef) {
        self.parents.retain(|known| known.seal != parent.seal);
        self.parents.push(parent);
        while self.parents.len() > REMEMBERED {
            // However many copies are made elsewhere, the last regular archive can be gone on from.
            let is_base =
                |known: &ArchiveRef| self.base.as_ref().is_some_and(|base| base.seal == known.seal);
            let oldest = self.parents.iter().position(|known| !is_base(known));
            self.parents.remove(oldest.unwrap_or(0));
        }
    }

    /// The backup that runs has ended.
    pub(crate) fn end_backup(&mut self, succeeded: bool) {
        self.running = None;
        if succeeded {
            self.unfinished = None;
        }
    }

    /// Whether all of `gap` is known to be gone.
    pub(crate) fn knows_gap(&self, gap: &LogGap) -> bool {
        self.gaps.iter().any(|known| known.after <= gap.after && gap.last <= known.last)
    }

    /// Remembers what the cap takes; what continues the newest gap becomes part of it.
    pub(crate) fn add_gap(&mut self, gap: LogGap) {
        match self.gaps.last_mut() {
            Some(newest) if newest.last == gap.after => {
                (newest.last, newest.time) = (gap.last, gap.time);
            }
            _ => self.gaps.push(gap),
        }
        let surplus = self.gaps.len().saturating_sub(REMEMBERED);
        self.gaps.drain(..surplus);
    }
}

/// The file of an open store.
pub(crate) struct StateFile {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    known: Mutex<Known>,
}

struct Known {
    state: BackupState,
    /// Why the file could not be read, until it is written anew.
    damage: Option<Error>,
    /// The store's folder, once it is locked.
    folder: Option<Arc<StoreFolder>>,
}

impl StateFile {
    /// The file of the store in `dir`, which need not be locked yet: [`StateFile::read_again`] under
    /// the lock, before anything is changed. One that cannot be read is no reason not to open the
    /// store: [`StateFile::damage`] tells of it.
    pub(crate) fn open(disk: Arc<dyn Disk>, dir: &Path) -> StateFile {
        let known = Known { state: BackupState::default(), damage: None, folder: None };
        let file = StateFile { disk, dir: dir.to_path_buf(), known: Mutex::new(known) };
        file.read(None);
        file
    }

    /// Reads the file again, in the folder that nobody else can change now.
    pub(crate) fn read_again(&self, folder: &Arc<StoreFolder>) {
        self.read(Some(folder.clone()));
    }

    fn read(&self, folder: Option<Arc<StoreFolder>>) {
        let mut known = self.known.lock();
        let disk = folder.as_ref().map_or(&self.disk, |folder| folder.disk());
        let (mut state, damage) = match BackupState::load(&**disk, &self.dir) {
            Ok(state) => (state, None),
            Err(error) => (BackupState::default(), Some(error)),
        };
        // Its process is gone, or the store were not ours to open.
        state.unfinished = state.running.take().or(state.unfinished);
        *known = Known { state, damage, folder };
    }

    /// What is known.
    pub(crate) fn get(&self) -> BackupState {
        self.known.lock().state.clone()
    }

    /// Why the file could not be read, where it could not and was not written anew since.
    pub(crate) fn damage(&self) -> Option<Error> {
        self.known.lock().damage.clone()
    }

    /// From where on the log is to be kept; `None` where it need not be.
    pub(crate) fn kept_log(&self) -> Option<KeptLog> {
        let known = self.known.lock();
        // Where it is not known what is needed, all is kept.
        let all = || known.damage.as_ref().map(|_| KeptLog { from: 0, backed_up: true });
        known.state.kept_log().or_else(all)
    }

    /// Forgets archives of checkpoints after `newest`, which the data file does not have: an older one
    /// was put in its place, or its newest meta was lost. Those numbers will be given again to pages
    /// that are not the ones in these archives.
    pub(crate) fn forget_after(&self, newest: u64) -> Result<()> {
        let is_ahead = |archive: &ArchiveRef| archive.checkpoint > newest;
        if !self.known.lock().state.parents.iter().any(is_ahead) {
            return Ok(());
        }
        self.update(|state| state.parents.retain(|archive| !is_ahead(archive)))
    }

    /// Changes what is known, durably; on an error it stays as it was.
    pub(crate) fn update(&self, change: impl FnOnce(&mut BackupState)) -> Result<()> {
        let mut known = self.known.lock();
        let Some(folder) = known.folder.clone() else {
            return Err(Error::new(ErrorKind::Busy, "the store is still being opened"));
        };
        folder.check_writable()?;
        let mut state = known.state.clone();
        change(&mut state);
        folder.check()?;
        state.save(&**folder.disk(), &self.dir)?;
        (known.state, known.damage) = (state, None);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::SimDisk;
    use crate::engine::{Timeline, lock_dir};

    fn archive(number: u32) -> ArchiveRef {
        ArchiveRef {
            set: "inventory".to_owned(),
            number,
            archive: PathBuf::from(format!("/backups/inventory[{number:04}].tar.zst")),
            seal: format!("{number:064x}"),
            lsn: u64::from(number) * 10,
            timeline: Timeline { id: u128::MAX, parent: 7, fork: 3 }.into(),
            checkpoint: 5,
            time: -1,
        }
    }

    fn gap(after: Lsn, last: Lsn) -> LogGap {
        LogGap { after, last, time: 0 }
    }

    #[test]
    fn what_was_written_is_read_back_and_what_is_not_ours_is_refused() {
        let disk = SimDisk::new(1);
        let dir = Path::new("/");
        assert_eq!(BackupState::load(&*disk, dir).expect("missing"), BackupState::default());
        let mut state = BackupState { base: Some(archive(4)), ..BackupState::default() };
        state.add_parent(archive(3));
        state.add_gap(gap(1, 2));
        state.save(&*disk, dir).expect("room");
        assert_eq!(BackupState::load(&*disk, dir).expect("sound"), state);
        let kinds = [
            (&b"[]"[..], ErrorKind::Corrupt),
            (b"{}", ErrorKind::Corrupt),
            (b"{\"format\": 1, \"base\": []}", ErrorKind::Corrupt),
            (b"{\"format\": 2}", ErrorKind::Unsupported),
        ];
        for (bytes, kind) in kinds {
            write_atomically(&*disk, &dir.join(BACKUP_STATE), bytes).expect("room");
            assert_eq!(BackupState::load(&*disk, dir).expect_err("bad").kind(), kind);
        }
    }

    #[test]
    fn what_is_remembered_is_bounded_and_gaps_that_meet_are_one() {
        let mut state = BackupState::default();
        for number in 1..=250 {
            state.add_parent(archive(number));
            state.add_gap(gap(u64::from(number) * 10, u64::from(number) * 10 + 1));
        }
        state.add_parent(archive(200));
        let numbers: Vec<u32> = state.parents.iter().map(|parent| parent.number).collect();
        let newest: Vec<u32> = (151..=250).filter(|number| *number != 200).chain([200]).collect();
        assert_eq!(numbers, newest);
        assert_eq!(state.gaps.len(), REMEMBERED);
        state.add_gap(gap(2501, 2600));
        assert_eq!(state.gaps.last(), Some(&gap(2500, 2600)));
        assert!(state.knows_gap(&gap(2510, 2600)) && !state.knows_gap(&gap(2500, 2601)));
    }

    #[test]
    fn the_log_is_kept_from_the_base_on_and_not_for_what_the_cap_took() {
        let disk = SimDisk::new(1);
        let file = StateFile::open(disk.clone(), Path::new("/"));
        let kept = || file.kept_log().map(|kept| (kept.from, kept.backed_up));
        assert_eq!(kept(), None);
        let early = file.update(|state| state.base = Some(archive(4)));
        assert_eq!(early.expect_err("not locked").kind(), ErrorKind::Busy);
        let lock = lock_dir(&(disk.clone() as Arc<dyn Disk>), Path::new("/")).expect("free");
        file.read_again(lock.folder());
        file.update(|state| state.kept_from = Some(7)).expect("room");
        assert_eq!(kept(), Some((7, false)));
        file.update(|state| state.base = Some(archive(4))).expect("room");
        assert_eq!(kept(), Some((40, true)));
        file.update(|state| state.add_gap(gap(40, 55))).expect("room");
        assert_eq!(kept(), Some((55, true)));
        // An error of the disk changes nothing, neither here nor there.
        disk.crash_now();
        file.update(|state| state.base = None).expect_err("no disk");
        assert_eq!(kept(), Some((55, true)));
    }
}
