//! The log of a store, read from outside: a segment, a log archive, or a folder of them.
//!
//! Reading takes no lock and changes nothing, so the log may be that of a store in use: what was whole
//! when it was opened is what is read. Every group is checked before its commits are shown.
//! [`LogFile::check`] reads all and sees that the parts follow each other.

mod course;
mod export;
mod find;
mod presence;
mod record;
mod segment;
mod tables;

use std::fmt;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub(crate) use course::{Course, Leg, check_admitted, known};
pub(crate) use find::is_log;
pub use record::{LogAction, LogCommit, LogOperation};
pub(crate) use segment::Segment;
pub(crate) use tables::Tables;

use crate::archive::{Keys, Progress, ReadRepair, merged};
use crate::disk::{Disk, EntryKind, RealDisk};
use crate::engine::{Lsn, StoreId, Timeline};
use crate::error::{Error, ErrorKind, Result, code};
use crate::store::ReadHandle;
use find::{file, folder};
use presence::Presence;

/// The log of a store, or a part of it, open for reading.
pub struct LogFile {
    path: PathBuf,
    /// By the commits that they begin after.
    segments: Vec<Segment>,
    tables: Tables,
    /// Whether creation is told from modification, and the state that the log begins with.
    creation: Option<Option<ReadHandle>>,
}

/// A segment of a log.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogSegment {
    /// Where it lies; within a log archive, its name below that of the archive.
    pub path: PathBuf,
    /// Its number in the log that it was written in.
    pub number: u64,
    /// The store.
    pub store_id: StoreId,
    /// The timeline of its commits.
    pub timeline: Timeline,
    /// Stands for the whole line of timelines that led to them.
    pub ancestry_digest: u64,
    /// It holds the commits after this one.
    pub after: Lsn,
    /// Its last commit.
    pub last: Lsn,
    /// The time of the commit before its first, in microseconds since the Unix epoch.
    pub after_time: i64,
    /// The time of its last commit.
    pub last_time: i64,
    /// Its length in bytes.
    pub bytes: u64,
    /// Whether nothing more will be written to it.
    pub closed: bool,
    /// Whether it lies in a log archive.
    pub archived: bool,
}

/// What a check of a log has read.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct LogCheck {
    /// Segments.
    pub segments: u64,
    /// Commits.
    pub commits: u64,
    /// Operations.
    pub operations: u64,
    /// Bytes of the segments.
    pub bytes: u64,
    /// The commit that the log begins after.
    pub after: Lsn,
    /// Its last commit.
    pub last: Lsn,
}

impl LogFile {
    /// Opens a segment (`.log`), a log archive (`.log.zst`), or a folder that holds such: that of
    /// the log of a store (`STORE/log`), which may be in use, or one that they were copied into.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] (1412); [`ErrorKind::Corrupt`] (1413); [`ErrorKind::Unsupported`] for
    /// what is no log.
    pub fn open(path: impl AsRef<Path>) -> Result<LogFile> {
        LogFile::open_with(path, &Keys::none())
    }

    /// The same with keys, which may open log archives that are encrypted.
    ///
    /// # Errors
    /// As [`LogFile::open`]; 2011 when none of `keys` opens a log archive.
    pub fn open_with(path: impl AsRef<Path>, keys: &Keys) -> Result<LogFile> {
        LogFile::open_on_with(RealDisk::new(), path, keys)
    }

    /// The same on another disk.
    ///
    /// # Errors
    /// As [`LogFile::open`].
    pub fn open_on(disk: Arc<dyn Disk>, path: impl AsRef<Path>) -> Result<LogFile> {
        LogFile::open_on_with(disk, path, &Keys::none())
    }

    /// The same with keys.
    ///
    /// # Errors
    /// As [`LogFile::open_with`].
    pub fn open_on_with(
        disk: Arc<dyn Disk>,
        path: impl AsRef<Path>,
        keys: &Keys,
    ) -> Result<LogFile> {
        let path = path.as_ref();
        // The log of a store may lie elsewhere, behind a link.
        let target = disk.canonical(path);
        let found = target.and_then(|target| disk.metadata(&target)).map(|found| found.kind);
        let segments = match found {
            Ok(EntryKind::Dir) => folder(&disk, path, keys, &mut Err)?,
            _ => file(&*disk, path, keys)?,
        };
        Ok(LogFile::of(path, segments))
    }

    /// What lies at hand in the folder `path`. Of files that are damaged, or that none of `keys` opens,
    /// `passed` is told: whoever gets along without them need not care.
    pub(crate) fn at_hand(
        disk: &Arc<dyn Disk>,
        path: &Path,
        keys: &Keys,
        passed: &mut Vec<Error>,
    ) -> Result<LogFile> {
        let target = disk.canonical(path);
        match target.and_then(|target| disk.metadata(&target)).map(|found| found.kind) {
            Ok(EntryKind::Dir) => {}
            _ => return LogFile::open_on_with(disk.clone(), path, keys),
        }
        let mut pass = |error: Error| {
            let unread = matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Unsupported);
            if !unread && error.code() != code::KEY {
                return Err(error);
            }
            passed.push(error);
            Ok(())
        };
        Ok(LogFile::of(path, folder(disk, path, keys, &mut pass)?))
    }

    fn of(path: &Path, mut segments: Vec<Segment>) -> LogFile {
        segments.sort_by_key(|segment| (segment.after(), segment.last()));
        let mut tables = Tables::default();
        for segment in &segments {
            tables.add(segment.tables().iter().cloned());
        }
        LogFile { path: path.to_path_buf(), segments, tables, creation: None }
    }

    /// Lets [`LogFile::commits`] tell the creation of a record from its modification, as far as it is
    /// known: from what the log did before, and from `base`, the state that it begins with. That takes
    /// some hundred bytes for each record that the log writes, for the first two million.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] where `base` is not of the commit that the log begins after.
    pub fn telling_creation(mut self, base: Option<ReadHandle>) -> Result<LogFile> {
        if let (Some(base), Some((after, _))) = (&base, self.bounds()) {
            if base.lsn() != after {
                let lsn = base.lsn();
                let why =
                    format!("the log begins after LSN {after}, and the archive is of LSN {lsn}");
                return Err(Error::new(ErrorKind::Invalid, why).at(&self.path));
            }
            self.tables.add(Tables::of(base.snapshot().catalogue()).into_all());
        }
        self.creation = Some(base);
        Ok(self)
    }

    /// Shows names and values of tables as they stand in `read` where the log itself does not define
    /// them.
    pub fn with_tables_of(mut self, read: &ReadHandle) -> LogFile {
        self.tables = Tables::of(read.snapshot().catalogue());
        self
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The segments in it, in order.
    pub fn segments(&self) -> Vec<LogSegment> {
        self.segments.iter().map(describe).collect()
    }

    /// The damage of log archives that was met so far and that parity repaired while they were read. On
    /// the medium it is still there: [`Archive::repair`](crate::Archive::repair) repairs it.
    pub fn read_repairs(&self) -> Vec<ReadRepair> {
        merged(self.segments.iter().filter_map(Segment::read_repair))
    }

    pub(crate) fn parts(&self) -> &[Segment] {
        &self.segments
    }

    /// The commit that it begins after, and its last one; `None` where it holds none.
    pub fn bounds(&self) -> Option<(Lsn, Lsn)> {
        let holds = |segment: &&Segment| segment.last() > segment.after();
        let first = self.segments.iter().find(holds)?;
        let last = self.segments.iter().map(Segment::last).max()?;
        Some((first.after(), last))
    }

    /// Calls `visit` for each commit, in order, until it says to stop.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] (1413) for damage; [`ErrorKind::Invalid`] (2010) for a gap;
    /// [`ErrorKind::Foreign`] (1416) for segments of several histories; those of `visit`.
    pub fn commits(
        &self,
        mut visit: impl FnMut(LogCommit) -> Result<ControlFlow<()>>,
    ) -> Result<()> {
        let mut tables = self.tables.clone();
        let after = self.bounds().map_or(0, |bounds| bounds.0);
        let mut presence = self.creation.as_ref().map(|base| Presence::new(after, base.as_ref()));
        for leg in self.whole()?.legs {
            let mut flow = ControlFlow::Continue(());
            leg.segment.read(&mut |group, contexts| {
                let range = (leg.after, leg.upto);
                record::commits(
                    leg.segment,
                    group,
                    contexts,
                    &mut tables,
                    range,
                    &mut |mut commit, _| {
                        if let Some(presence) = &mut presence {
                            commit.operations.iter_mut().try_for_each(|op| presence.tell(op))?;
                        }
                        if flow.is_continue() {
                            flow = visit(commit)?;
                        }
                        Ok(())
                    },
                )?;
                Ok(flow)
            })?;
            if flow.is_break() {
                break;
            }
        }
        Ok(())
    }

    /// All of it, from its first commit to its last.
    fn whole(&self) -> Result<Course<'_>> {
        let first = self.segments.iter().find(|segment| segment.last() > segment.after());
        let Some(first) = first else {
            let why = "there is no commit in the log";
            return Err(Error::new(ErrorKind::NotFound, why).at(&self.path));
        };
        let (start, store) = (first.start(), first.header().store_id);
        let known = known(self.segments.iter(), None);
        for segment in &self.segments {
            check_admitted(segment, store, &start, &known)?;
        }
        let course = Course::plan(self.segments.iter(), store, &start, Lsn::MAX, None)?;
        course.gap().map_or(Ok(course), Err)
    }

    /// Reads and checks every byte: of log archives what their seals vouch for and their parity, of all
    /// segments every commit; and sees that the parts follow each other.
    ///
    /// # Errors
    /// Those of [`LogFile::check`], and damage that the parity of a log archive repairs.
    pub fn verify(&self) -> Result<LogCheck> {
        self.verify_with(|_| ControlFlow::Continue(()))
    }

    /// The same, telling `progress` of the bytes of each log archive, which may stop it (1406).
    ///
    /// # Errors
    /// As [`LogFile::verify`].
    pub fn verify_with(
        &self,
        mut progress: impl FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<LogCheck> {
        let mut seen: Vec<&Path> = Vec::new();
        for archive in self.segments.iter().filter_map(Segment::archive) {
            if !seen.contains(&archive.path()) {
                seen.push(archive.path());
                archive.verify(0, &mut progress).map_err(segment::numbered)?;
            }
        }
        self.check()
    }

    /// Reads and checks every commit, and sees that the parts follow each other.
    ///
    /// # Errors
    /// As [`LogFile::commits`]. The first that is found, with its file and place.
    pub fn check(&self) -> Result<LogCheck> {
        let course = self.whole()?;
        let mut check = LogCheck::default();
        let mut before: Option<(&Segment, u32)> = None;
        for segment in &self.segments {
            let chain = segment.read(&mut |group, _| {
                check.commits += u64::from(group.head.commits);
                segment::each_commit(group, |_, _, ops| {
                    check.operations += ops.len() as u64;
                    Ok(())
                })
                .map_err(|why| {
                    Error::corrupt(segment.path(), why.to_string()).with_code(code::LOG_CHECK)
                })?;
                Ok(ControlFlow::Continue(()))
            })?;
            if let Some((last, chain)) = before {
                check_chain(last, chain, segment)?;
            }
            before = Some((segment, chain));
            check.segments += 1;
            check.bytes += segment.bytes();
        }
        check.after = course.legs.first().map_or(0, |leg| leg.after);
        check.last = course.end.last;
        Ok(check)
    }
}

/// Where one segment says that it follows another one by number, it must name its closing checksum.
/// Applied segments are another store's history cut anew, whose numbers mean nothing here; and so may be
/// what stands before a new timeline.
pub(crate) fn check_chain(before: &Segment, chain: u32, segment: &Segment) -> Result<()> {
    let Some(prev) = segment.header().prev else { return Ok(()) };
    let follows = prev.number == before.header().number
        && prev.lsn == before.last()
        && segment.header().timeline.id == before.header().timeline.id
        && !segment.header().applied
        && !before.header().applied;
    if follows && prev.chain != chain {
        let why = format!("the segment does not follow {}", before.path().display());
        let error = Error::new(ErrorKind::Foreign, why).with_code(code::FOREIGN_LOG);
        return Err(error.at(segment.path()));
    }
    Ok(())
}

fn describe(segment: &Segment) -> LogSegment {
    let header = segment.header();
    LogSegment {
        path: segment.path().to_path_buf(),
        number: header.number,
        store_id: header.store_id,
        timeline: header.timeline,
        ancestry_digest: header.ancestry_digest,
        after: segment.after(),
        last: segment.last(),
        after_time: header.base_time,
        last_time: segment.last_time(),
        bytes: segment.bytes(),
        closed: segment.closed(),
        archived: segment.archived(),
    }
}

/// Shows each commit of one segment, with the tables as they were at its place, until `visit` ends it.
///
/// # Errors
/// `Corrupt` (1413) for damage; those of `visit`.
pub(crate) fn operations_of(
    segment: &Segment,
    tables: &mut Tables,
    visit: &mut dyn FnMut(LogCommit, &Tables) -> Result<ControlFlow<()>>,
) -> Result<()> {
    let mut flow = ControlFlow::Continue(());
    let read = segment.read(&mut |group, contexts| {
        let all = (segment.after(), segment.last());
        record::commits(segment, group, contexts, tables, all, &mut |commit, tables| {
            if flow.is_continue() {
                flow = visit(commit, tables)?;
            }
            Ok(())
        })?;
        Ok(flow)
    });
    read.map(drop)
}

impl fmt::Debug for LogFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogFile")
            .field("path", &self.path)
            .field("bounds", &self.bounds())
            .finish_non_exhaustive()
    }
}
