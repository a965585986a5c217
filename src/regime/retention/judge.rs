//! Which archives retention may delete at all: those of which three witnesses say the same.
//!
//! The witnesses are the history, the name and the header. An archive whose header no key opens has its
//! length and, where the store's own state is known, that in place of the header. What the history
//! does not list, what it lists from the archive itself and nobody else knows of, and what any witness
//! contradicts, stays.
//!
//! What an archive is (its commit, its parent, whether it is complete) is taken from the archive, never
//! from the history.

use std::path::{Path, PathBuf};

use jiff::tz::TimeZone;

use super::plan::Deletion;
use crate::destination::{Catalogue, StoredArchive, StoredLog};
use crate::disk::Disk;
use crate::disk::atomic::{is_same_folder, parent};
use crate::engine::{Lsn, StoreId};
use crate::error::{Error, ErrorKind, code};
use crate::regime::history::{ArchivePart, Operation, OperationKind, archive_name, facts, parts};
use crate::store::{ArchiveRef, TimelinePaper};

/// A backup of the store that lies in the destination.
pub(crate) struct Candidate {
    /// What it is: of its own header, or of the history where no key opens it.
    pub(crate) facts: Operation,
    /// Why it stays, whatever its age.
    pub(crate) stays: Option<Error>,
    /// Whether the backup that runs has written it.
    pub(crate) spared: bool,
}

/// A log archive of the store that lies in the destination.
pub(crate) struct LogCandidate {
    pub(crate) number: u32,
    pub(crate) path: PathBuf,
    pub(crate) files: Vec<ArchivePart>,
    /// The seal of the archive that it follows.
    pub(crate) follows: Option<String>,
    /// The timeline of its last commit.
    pub(crate) timeline: Option<TimelinePaper>,
    /// It holds the commits after this one; 0 where no key opens it.
    pub(crate) after: Lsn,
    pub(crate) last: Lsn,
    /// Why it stays, whatever its age.
    pub(crate) stays: Option<Error>,
    /// Whether the backup that runs has written it.
    pub(crate) spared: bool,
}

/// What lies in the destination, judged.
#[derive(Default)]
pub(crate) struct Judged {
    pub(crate) backups: Vec<Candidate>,
    pub(crate) logs: Vec<LogCandidate>,
    /// What is left of archives whose deletion was begun.
    pub(crate) remains: Vec<Deletion>,
    /// Seals of archives that lie elsewhere, as far as anybody knows: moved away, or made there.
    pub(crate) elsewhere: Vec<String>,
}

/// Who says what an archive is.
pub(crate) struct Witnesses<'w> {
    pub(crate) disk: &'w dyn Disk,
    pub(crate) found: &'w Catalogue,
    pub(crate) set: &'w str,
    pub(crate) store: StoreId,
    /// The history of the set, of all stores in it.
    pub(crate) operations: &'w [Operation],
    /// The archives that the store itself remembers to have made; `None` where nobody asked it.
    pub(crate) made: Option<&'w [ArchiveRef]>,
    /// What the backup that runs has written.
    pub(crate) spared: &'w [PathBuf],
}

impl LogCandidate {
    /// Its last commit as the history would list it, so that its age can be told.
    pub(super) fn as_operation(&self) -> Operation {
        let mut end = Operation::new(OperationKind::Backup, 0, i64::MAX, &TimeZone::UTC);
        (end.timeline, end.lsn) = (self.timeline, Some(self.last));
        end
    }
}

impl Witnesses<'_> {
    /// Judges everything of the store that lies in the destination.
    pub(crate) fn judge(&self) -> Judged {
        let (elsewhere, remains) = (self.elsewhere(), remains(self));
        let mut judged = Judged { elsewhere, remains, ..Judged::default() };
        for stored in self.found.of_set(self.set) {
            if judged.remains.iter().any(|begun| begun.path == stored.path()) {
                continue;
            }
            if stored.is_log() {
                judged.logs.extend(self.log(stored));
            } else {
                judged.backups.extend(self.backup(stored));
            }
        }
        judged
    }

    fn backup(&self, stored: &StoredArchive) -> Option<Candidate> {
        let claims: Vec<&Operation> =
            self.operations.iter().filter(|o| o.made(stored.path())).collect();
        if let Some(backup) = stored.backup() {
            if backup.header.store_id != self.store {
                return None;
            }
            let facts = facts(stored, backup);
            let stays = against(stored).or_else(|| self.contradicts(stored, &facts, &claims));
            return Some(Candidate { facts, stays, spared: self.is_spared(stored) });
        }
        let claim = claims.iter().find(|claim| claim.store_id == self.store)?;
        let problem = stored.problem()?;
        if problem.code() != code::KEY || claims.len() > 1 {
            // Nothing vouches for what the history says of it, so it has no place in the order.
            let facts = Operation { timeline: None, ..Operation::clone(claim) };
            return Some(Candidate { facts, stays: Some(problem.clone()), spared: false });
        }
        let stays = self.unread(stored, claim);
        let claim = Operation::clone(claim);
        Some(Candidate { facts: claim, stays, spared: self.is_spared(stored) })
    }

    /// Whether the backup that runs has written it.
    fn is_spared(&self, stored: &StoredArchive) -> bool {
        self.spared.iter().any(|path| path.file_name() == stored.path().file_name())
    }

    /// What the history says against an archive that can be read.
    fn contradicts(
        &self,
        stored: &StoredArchive,
        facts: &Operation,
        claims: &[&Operation],
    ) -> Option<Error> {
        let [claim] = claims else {
            return Some(refuse(stored, listed_by(claims.len())));
        };
        let same = (&claim.operation, claim.backup_number, claim.store_id, claim.started)
            == (&facts.operation, facts.backup_number, facts.store_id, facts.started)
            && (claim.timeline, claim.lsn, claim.data) == (facts.timeline, facts.lsn, facts.data)
            && (&claim.seal, &claim.parent) == (&facts.seal, &facts.parent)
            && same_files(&claim.backup_files, &facts.backup_files);
        if !same {
            return Some(refuse(
                stored,
                "the history says something else of it than it does itself",
            ));
        }
        let others = self.operations.iter().filter(|o| o.is_backup() && o.seal == facts.seal);
        if others.count() > 1 {
            return Some(refuse(stored, listed_by(2)));
        }
        let known = self.made.unwrap_or_default().iter().any(|made| self.is_made(made, stored));
        if claim.rebuilt && (claim.brought_in || !known) {
            let why = "the history has it from the archive itself: it may have been brought here";
            return Some(refuse(stored, why));
        }
        None
    }

    /// What is known against an archive that no key opens.
    fn unread(&self, stored: &StoredArchive, claim: &Operation) -> Option<Error> {
        let number = claim.backup_number == Some(stored.name().number());
        if !number || !same_files(&claim.backup_files, &parts(stored)) {
            return Some(refuse(stored, "the history says something else of it than its files do"));
        }
        let made = self.made?;
        let same = |made: &ArchiveRef| {
            self.is_at(made, stored)
                && (Some(made.lsn), Some(made.timeline), Some(&made.seal))
                    == (claim.lsn, claim.timeline, claim.seal.as_ref())
        };
        let why = "no key opens it, and the store does not remember it as the history lists it";
        (!made.iter().any(same)).then(|| refuse(stored, why))
    }

    fn log(&self, stored: &StoredArchive) -> Option<LogCandidate> {
        let claims: Vec<&Operation> =
            self.operations.iter().filter(|o| o.made_log(stored.path())).collect();
        let Some(log) = stored.log() else { return self.unread_log(stored, &claims) };
        if log.header.store_id != self.store {
            return None;
        }
        let stays = against(stored).or_else(|| self.contradicts_log(stored, log, &claims));
        Some(LogCandidate {
            spared: self.is_spared(stored),
            number: log.header.named,
            path: stored.path().to_path_buf(),
            files: parts(stored),
            follows: log.header.follows.clone(),
            timeline: Some(log.header.timeline),
            after: log.header.after,
            last: log.header.last,
            stays,
        })
    }

    fn contradicts_log(
        &self,
        stored: &StoredArchive,
        log: &StoredLog,
        claims: &[&Operation],
    ) -> Option<Error> {
        let [claim] = claims else { return Some(refuse(stored, listed_by(claims.len()))) };
        let same = claim.store_id == self.store
            && claim.log_seal.as_ref() == Some(&log.seal)
            && claim.log_follows == log.header.follows
            && same_files(&claim.log_files, &parts(stored));
        if !same {
            return Some(refuse(
                stored,
                "the history says something else of it than it does itself",
            ));
        }
        let why = "the history has it from the archive itself: it may have been brought here";
        let known = claim.backup_path.as_deref().and_then(|path| self.found.at(path));
        let known = known.is_some_and(|archive| {
            self.made.unwrap_or_default().iter().any(|made| self.is_made(made, archive))
        });
        (claim.rebuilt && (claim.brought_in || !known)).then(|| refuse(stored, why))
    }

    /// One that no key opens. It is as the backup that wrote it is listed: it ends there.
    fn unread_log(&self, stored: &StoredArchive, claims: &[&Operation]) -> Option<LogCandidate> {
        let [claim] = claims else { return None };
        let no_key = stored.problem().is_some_and(|error| error.code() == code::KEY);
        if claim.store_id != self.store || !no_key || claim.rebuilt {
            return None;
        }
        let writer = claim.backup_path.as_deref().and_then(|path| self.found.at(path));
        let unsure = match writer {
            Some(writer) => self.unread(writer, claim),
            None => self.made.map(|_| refuse(stored, "the backup that wrote it is not there")),
        };
        let why = "the history says something else of it than its files do";
        let other = !same_files(&claim.log_files, &parts(stored));
        Some(LogCandidate {
            spared: self.is_spared(stored),
            number: stored.name().number(),
            path: stored.path().to_path_buf(),
            files: parts(stored),
            follows: claim.log_follows.clone(),
            timeline: claim.timeline,
            after: 0,
            last: claim.lsn.unwrap_or(Lsn::MAX),
            stays: unsure.or_else(|| other.then(|| refuse(stored, why))),
        })
    }

    /// Whether the store remembers that it made this very archive at its place.
    fn is_made(&self, made: &ArchiveRef, stored: &StoredArchive) -> bool {
        self.is_at(made, stored) && Some(&*made.seal) == stored.seal()
    }

    fn is_at(&self, made: &ArchiveRef, stored: &StoredArchive) -> bool {
        made.archive.file_name() == stored.path().file_name() && self.is_here(&made.archive)
    }

    fn is_here(&self, path: &Path) -> bool {
        is_same_folder(self.disk, parent(path), self.found.location())
    }

    /// Seals of archives that the history or the store knows of and that do not lie here.
    fn elsewhere(&self) -> Vec<String> {
        let lies_here = |o: &&Operation| {
            let at = o.backup_path.as_deref().and_then(|path| self.found.at(path));
            let same = |stored: &StoredArchive| {
                stored.seal().is_none_or(|seal| Some(seal) == o.seal.as_deref())
            };
            at.is_some_and(same)
                || self
                    .found
                    .of_set(self.set)
                    .any(|one| one.seal().is_some() && one.seal() == o.seal.as_deref())
        };
        let moved = self.operations.iter().filter(|o| o.has_archive() && !o.deleting);
        let moved = moved.filter(|o| !lies_here(o)).filter_map(|o| o.seal.clone());
        // A folder that is not there may be a disk that is not.
        let may_exist = |path: &Path| {
            self.disk.metadata(path).is_ok() || self.disk.metadata(parent(path)).is_err()
        };
        let made = self.made.unwrap_or_default().iter();
        let made = made.filter(|made| !self.is_here(&made.archive) && may_exist(&made.archive));
        moved.chain(made.map(|made| made.seal.clone())).collect()
    }
}

/// What the header says against the name.
fn against(stored: &StoredArchive) -> Option<Error> {
    stored.contradiction().map(|why| refuse(stored, &why))
}

/// What is left of archives whose deletion was begun and came as far as their last file, which goes
/// first. One that is whole is an archive like any other, whatever the history says of it.
fn remains(witnesses: &Witnesses<'_>) -> Vec<Deletion> {
    let mut remains = Vec::new();
    for operation in witnesses.operations.iter().filter(|o| o.store_id == witnesses.store) {
        if operation.deleting && operation.has_archive() {
            remains.extend(begun(witnesses, operation, false));
        }
        if operation.deleting_log && operation.has_log() {
            remains.extend(begun(witnesses, operation, true));
        }
    }
    remains
}

fn begun(witnesses: &Witnesses<'_>, operation: &Operation, log: bool) -> Option<Deletion> {
    let (path, listed, seal) = match log {
        true => (&operation.log_path, &operation.log_files, &operation.log_seal),
        false => (&operation.backup_path, &operation.backup_files, &operation.seal),
    };
    let path = path.clone()?;
    let name = archive_name(&path).filter(|name| name.set() == witnesses.set)?;
    let looked = |part: &ArchivePart| witnesses.disk.metadata(&part.path).map(|found| found.len);
    let last = listed.last()?;
    if looked(last).is_ok() || !witnesses.is_here(&last.path) {
        return None;
    }
    // Only what is as it was, and belongs to the archive by its name.
    let stem = name.stem();
    let is_its = |part: &&ArchivePart| {
        let file = part.path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let own = file == name.parity()
            || archive_name(&part.path)
                .is_some_and(|other| other.stem() == stem && other.kind() == name.kind());
        own && witnesses.is_here(&part.path) && looked(part).is_ok_and(|bytes| bytes == part.bytes)
    };
    Some(Deletion {
        number: name.number(),
        log,
        files: listed.iter().filter(is_its).cloned().collect(),
        path,
        seal: seal.clone(),
        parent: None,
        begun: true,
    })
}

fn listed_by(many: usize) -> &'static str {
    match many {
        0 => "the history does not list it",
        _ => "the history lists it more than once",
    }
}

fn refuse(stored: &StoredArchive, why: &str) -> Error {
    Error::new(ErrorKind::Foreign, why).at(stored.path())
}

fn same_files(listed: &[ArchivePart], there: &[ArchivePart]) -> bool {
    listed.len() == there.len() && listed.iter().all(|part| there.contains(part))
}
