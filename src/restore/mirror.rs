//! A mirror: a second store that is fed with the log of the first.
//!
//! The source ends its log segment whenever it likes ([`Store::new_log_file`]) and leaves a copy in a
//! folder; whoever carries the copies is no business of ours. The mirror integrates what has come
//! ([`Follower`]) and serves reads meanwhile. It stays on its source's timeline until it commits on its
//! own, and its own log is a copy of that history, so that it can be the source of another mirror.
//!
//! Invariants: a file in the folder is whole when it has its name. What was shipped is found out from
//! the files that are there, by timeline and LSN, never by their numbers.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::integrate::{IntegrateOptions, IntegrationReport, apply, exclusively, here};
use super::log_file::{LogFile, Segment, check_admitted, is_log};
use super::point::{Logs, RestorePoint, Roll};
use crate::archive::{Claim, Keys, remove_unfinished};
use crate::destination::{Folder, Object, Storage};
use crate::disk::atomic::sync_names;
use crate::disk::{Disk, OpenMode};
use crate::engine::{ClosedSegment, History, Lsn, StoreId};
use crate::error::{Error, ErrorKind, Result, code};
use crate::store::Store;

/// What the name of a shipped segment ends with.
const ENDING: &str = ".log";
/// Bytes that are copied at once.
const PIECE: usize = 256 << 10;

impl Store {
    /// Ends the log segment and leaves copies of what the folder does not hold yet in it, as
    /// `Name[N-M].log`: N is the number of the last backup, M counts. Returns the newest of them;
    /// `None` where nothing was committed since the last one.
    ///
    /// The segments stay in the store's own log: the next log archive holds them too. Where a backup
    /// came between two calls, the log archive that it wrote belongs into the folder as well.
    ///
    /// # Durability
    /// When it returns, the copies survive a power loss, and so do all commits in them here.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] (1403) before the first backup of data, since no log is kept until
    /// then; [`ErrorKind::Invalid`] (2010) where commits after what the folder holds are in log
    /// archives only; those of the folder's disk.
    pub fn new_log_file(&self, folder: impl AsRef<Path>) -> Result<Option<PathBuf>> {
        let (inner, folder) = (self.inner(), folder.as_ref());
        inner.check_writable()?;
        let engine = &inner.engine;
        let Some(base) = inner.backup_state().base else {
            let why = "the store keeps no log before its first backup";
            let error = Error::new(ErrorKind::NotFound, why).with_code(code::NO_LOG);
            return Err(error.at(engine.dir()).hint("Make a backup; a mirror begins with it."));
        };
        engine.end_segment()?;
        let _kept = engine.hold_log();
        let closed = engine.closed_segments()?;
        let target = Folder::new(engine.disk(), folder).of(engine.folder().access()?);
        let there = shipped(engine.disk(), folder, &target.list()?)?;
        let rest = unshipped(&closed, &there, base.lsn, &engine.history())?;
        sync_names(&**engine.disk(), folder)
            .map_err(|e| Error::io("sync the folders above", folder, e))?;
        // Another process may have a store of this identity, and ship into this folder too.
        let claim = Claim::new(engine.disk(), folder, engine.store_id())?;
        remove_unfinished(engine.disk(), folder, engine.store_id(), Some(&claim))?;
        let mut newest = None;
        let mut number = next_number(&target.list()?, &base.set, base.number);
        for segment in rest {
            if !claim.is_in_place() {
                let message = "the folder of the mirror was moved, removed or replaced";
                return Err(Error::new(ErrorKind::NotFound, message).at(folder));
            }
            let name = format!("{}[{:04}-{number:04}]{ENDING}", base.set, base.number);
            ship(engine.disk(), segment, &target, &name, engine.store_id())?;
            newest = Some(folder.join(name));
            number = number.saturating_add(1);
        }
        Ok(newest)
    }
}

/// What the folder holds already. An archive of which there is no key here tells nothing.
fn shipped(disk: &Arc<dyn Disk>, folder: &Path, there: &[Object]) -> Result<Vec<LogFile>> {
    let paths = there.iter().map(|object| folder.join(&object.name)).filter(|path| is_log(path));
    let opened = paths.map(|path| LogFile::open_on(disk.clone(), path));
    let known = opened.filter(|log| !log.as_ref().is_err_and(|error| error.code() == code::KEY));
    known.collect()
}

fn unshipped<'c>(
    closed: &'c [ClosedSegment],
    there: &[LogFile],
    base: Lsn,
    history: &History,
) -> Result<Vec<&'c ClosedSegment>> {
    // Segments that another branch left there do not count.
    let ours = |part: &Segment| {
        let timeline = part.header().timeline.id;
        let last = part.last().min(history.end_of(timeline)?);
        (last > part.after()).then_some((timeline, part.after(), last))
    };
    let parts: Vec<(u128, Lsn, Lsn)> =
        there.iter().flat_map(LogFile::parts).filter_map(ours).collect();
    let is_there = |segment: &ClosedSegment| {
        parts.iter().any(|&(timeline, after, last)| {
            timeline == segment.timeline.id && after <= segment.after && last >= segment.last
        })
    };
    // A mirror begins with the last backup, or with what was shipped first.
    let floor = parts.iter().map(|(_, after, _)| *after).min().unwrap_or(base);
    let wanted = |segment: &&ClosedSegment| segment.last > floor && !is_there(segment);
    let rest: Vec<_> = closed.iter().filter(wanted).collect();
    let through = parts.iter().map(|(_, _, last)| *last).max();
    match (rest.first(), through) {
        (Some(first), Some(through)) if first.after > through => {
            let why = format!(
                "commits {} to {} are in log archives only, and not in the folder",
                through + 1,
                first.after
            );
            let error = Error::new(ErrorKind::Invalid, why).with_code(code::LOG_GAP);
            Err(error.at(&first.path).hint("Copy the log archives into the folder, too."))
        }
        _ => Ok(rest),
    }
}

/// One above the highest number that a shipped segment of backup `backup` has in the folder.
fn next_number(there: &[Object], set: &str, backup: u32) -> u32 {
    let begin = format!("{set}[{backup:04}-");
    let number = |object: &Object| {
        let rest = object.name.strip_prefix(&begin)?;
        rest.strip_suffix(ENDING)?.strip_suffix(']')?.parse::<u32>().ok()
    };
    there.iter().filter_map(number).max().unwrap_or(0).saturating_add(1)
}

/// Copies a closed segment, checked, through its end. The copy has a trailer in any case: by it the
/// other side sees that it is whole. Where it fails nothing unfinished is left that the next run would
/// find in its way: it may not clear that away as long as anybody else writes there.
fn ship(
    disk: &Arc<dyn Disk>,
    segment: &ClosedSegment,
    target: &dyn Storage,
    name: &str,
    store: StoreId,
) -> Result<()> {
    let (end, trailer) = segment.ending(&**disk)?;
    let from = disk
        .open(&segment.path, OpenMode::Read)
        .map_err(|e| Error::io("open a log segment", &segment.path, e))?;
    let path = target.location().join(name);
    let failed = |e| Error::io("write a copy of the log", &path, e);
    target.create(name, store, &mut |copy| {
        let mut piece = vec![0; PIECE];
        let mut at = 0;
        while at < end {
            let many = usize::try_from(end - at).unwrap_or(PIECE).min(PIECE);
            from.read_exact_at(&mut piece[..many], at)
                .map_err(|e| Error::io("read a log segment", &segment.path, e))?;
            copy.write_all(&piece[..many]).map_err(failed)?;
            at += many as u64;
        }
        copy.write_all(&trailer).map_err(failed)
    })
}

/// What a follower has to tell.
#[non_exhaustive]
#[derive(Clone, Debug, serde::Serialize)]
pub enum FollowEvent {
    /// New commits were applied.
    Integrated(IntegrationReport),
    /// There are later commits in the folder, and some before them are missing: they may come yet.
    Waiting(Error),
    /// A file of the folder could not be read: it may be on its way still.
    Unreadable(Error),
    /// Something is in the way, such as a backup, an open write handle or a full disk; told once, and
    /// tried again.
    Hindered(Error),
}

/// Keeps a store up to date with a folder into which segments and log archives of its source come.
pub struct Follower {
    store: Store,
    folder: PathBuf,
    transaction_timeout: Duration,
    keys: Keys,
    /// What was told, so that it is told once: files by their lengths, gaps by where they begin.
    unreadable: HashMap<PathBuf, u64>,
    waiting: Option<Lsn>,
}

impl Follower {
    /// A follower of `folder` for `store`.
    pub fn new(store: Store, folder: impl Into<PathBuf>) -> Follower {
        Follower {
            store,
            folder: folder.into(),
            transaction_timeout: IntegrateOptions::default().transaction_timeout,
            keys: Keys::none(),
            unreadable: HashMap::new(),
            waiting: None,
        }
    }

    /// What opens log archives that are encrypted.
    pub fn keys(mut self, keys: Keys) -> Follower {
        self.keys = keys;
        self
    }

    /// The store that is kept up to date.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Looks into the folder once, and integrates what has come, in order.
    ///
    /// # Errors
    /// [`ErrorKind::Foreign`] (1416) where what has come is of another history than the store's, for
    /// example since the store was written to; those of [`Store::integrate`] but for gaps and files
    /// that cannot be read, which are told.
    pub fn step(&mut self) -> Result<Vec<FollowEvent>> {
        let mut events = Vec::new();
        let logs = self.look(&mut events)?;
        let inner = self.store.inner().clone();
        inner.check_writable()?;
        let start = here(&inner);
        let known = logs.known();
        for segment in logs.at_hand.iter().flat_map(|log| log.parts()) {
            if segment.header().store_id == start.store {
                check_admitted(segment, start.store, &start.history, &known)?;
            }
        }
        let roll = Roll::as_far_as_possible(&logs, &start, RestorePoint::Newest)?;
        if !roll.course.legs.is_empty() {
            let timeout = self.transaction_timeout;
            let report = exclusively(&inner, timeout, |hold, start, report| {
                let roll = Roll::as_far_as_possible(&logs, &start, RestorePoint::Newest)?;
                apply(&inner, hold, &roll, &|| hold.check(), report)
            })?;
            events.push(FollowEvent::Integrated(report));
        }
        let end = roll.course.end.last;
        match roll.course.gap() {
            Some(gap) if self.waiting != Some(end) => {
                self.waiting = Some(end);
                events.push(FollowEvent::Waiting(gap));
            }
            Some(_) => {}
            None => self.waiting = None,
        }
        Ok(events)
    }

    /// Looks every `interval` and calls `tell` for what there is to tell, until `go_on` says no.
    ///
    /// # Errors
    /// As [`Follower::step`]; where a backup, an open write handle or a full disk is in the way, it
    /// says so, waits and tries again.
    pub fn run(
        &mut self,
        interval: Duration,
        mut go_on: impl FnMut() -> bool,
        mut tell: impl FnMut(&FollowEvent),
    ) -> Result<()> {
        /// How long a look at whether to go on is put off at most.
        const NAP: Duration = Duration::from_millis(50);
        let mut hindered = None;
        while go_on() {
            match self.step() {
                Ok(events) => {
                    hindered = None;
                    events.iter().for_each(&mut tell);
                }
                Err(error) if error.is_retryable() => {
                    if hindered.replace(error.code()) != Some(error.code()) {
                        tell(&FollowEvent::Hindered(error));
                    }
                }
                Err(error) => return Err(error),
            }
            let mut left = interval;
            while !left.is_zero() && go_on() {
                let nap = left.min(NAP);
                std::thread::sleep(nap);
                left -= nap;
            }
        }
        Ok(())
    }

    fn look(&mut self, events: &mut Vec<FollowEvent>) -> Result<Logs> {
        let disk = self.store.inner().engine.disk().clone();
        let names = disk.list(&self.folder);
        let names = names.map_err(|e| Error::io("list the followed folder", &self.folder, e))?;
        let mut logs = Logs::default();
        for path in names.into_iter().map(|name| self.folder.join(name)).filter(|p| is_log(p)) {
            match LogFile::open_on_with(disk.clone(), &path, &self.keys) {
                // A copy that is on its way has no end yet.
                Ok(log) if log.parts().iter().all(Segment::closed) => logs.at_hand.push(log),
                Ok(_) => {}
                // It was there when the folder was listed.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => {
                    let len = disk.metadata(&path).map_or(0, |found| found.len);
                    if self.unreadable.insert(path, len) != Some(len) {
                        events.push(FollowEvent::Unreadable(error));
                    }
                }
            }
        }
        Ok(logs)
    }
}
