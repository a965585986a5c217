//! The account of what is covered: what can be restored, what cannot, and whether there is room.
//!
//! It looks at what lies in the destination and at the store's own log, never at the history: an
//! archive that is there counts, one that is only written down does not. It opens each archive and
//! reads its header; that its content is whole is what `verify` and the drill are for.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use super::core::Core;
use super::coverage::{Base, Gap, Piece, Point, cut, reach};
use super::plan::Plan;
use super::state::{Checked, LastBackup};
use crate::archive::{
    ArchiveFile, ArchiveKind, ArchiveName, Listed, Progress, list_archives, stopped,
};
use crate::engine::Lsn;
use crate::error::{Error, ErrorKind, Result, code};
use crate::restore::Archive;
use crate::store::LogHeader;

/// How many times the last set has to fit into the free space: the next one while the oldest is still
/// there, and as much again for growth and for what is being written.
const ROOM: f64 = 2.5;

/// What is covered by backups, and what is not.
#[non_exhaustive]
#[derive(Clone, Debug)]
pub struct Coverage {
    /// Where the archives lie.
    pub destination: PathBuf,
    /// The newest commit of the store.
    pub lsn: Lsn,
    /// The oldest commit that can be restored.
    pub oldest: Option<Point>,
    /// The newest commit that can be restored from the archives and the store's own log.
    pub newest: Option<Point>,
    /// The newest commit that can be restored when the store is lost with its log.
    pub newest_archived: Option<Point>,
    /// What lies between and cannot be restored.
    pub gaps: Vec<Gap>,
    /// The store was restored or rolled back, and there was no backup of it since: it keeps no log, and
    /// what is committed after this commit is a gap until the next backup. `None` where it is not so.
    pub unprotected_after: Option<Lsn>,
    /// Archives of this store's history.
    pub archives: usize,
    /// Log archives of it.
    pub log_archives: usize,
    /// Archives of branches that the store has left.
    pub left_branches: usize,
    /// Files that have the name of an archive of this set and cannot be used, each with the reason.
    pub unusable: Vec<Error>,
    /// The last backup, however it ended.
    pub last_backup: Option<LastBackup>,
    /// The last archive that was read back or restored, and found whole.
    pub last_verified: Option<Checked>,
    /// The last restore drill, however it ended.
    pub last_drill: Option<Checked>,
    /// Whether there is room for more.
    pub space: SpaceForecast,
}

impl Coverage {
    /// How many commits are lost when the store is lost with its log.
    pub fn commits_at_risk(&self) -> u64 {
        self.lsn - self.newest_archived.map_or(0, |point| point.lsn.min(self.lsn))
    }
}

/// Whether there is room for the next backup. The rule: two and a half times the last set.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct SpaceForecast {
    /// Bytes of the last set: archive, its segments, and the log archive before it.
    pub last_set_bytes: u64,
    /// Bytes that ought to be free.
    pub wanted_bytes: u64,
    /// Bytes that are free in the destination.
    pub free_bytes: u64,
}

impl SpaceForecast {
    /// Whether there is as much as ought to be.
    pub fn enough(&self) -> bool {
        self.free_bytes >= self.wanted_bytes
    }

    /// How many more sets like the last one fit, if none is deleted.
    pub fn sets_left(&self) -> Option<u64> {
        self.free_bytes.checked_div(self.last_set_bytes)
    }
}

type Tell<'t> = &'t mut dyn FnMut(Progress) -> ControlFlow<()>;

/// What lies in the destination.
struct Found {
    archives: Vec<Archive>,
    logs: Vec<LogHeader>,
    unusable: Vec<Error>,
}

impl Core {
    /// The newest backup of data on the way of the store.
    pub(super) fn newest_archive(&self, plan: &Plan) -> Result<Archive> {
        let found = self.look(plan, &mut |_| ControlFlow::Continue(()))?.0;
        let history = self.store.inner().engine.history();
        let Found { archives, unusable, .. } = found;
        let newest = archives
            .into_iter()
            .filter(|archive| archive.header().data)
            .filter(|archive| history.holds(archive.header().timeline.id, archive.header().lsn))
            .max_by_key(|archive| (archive.header().lsn, archive.header().started));
        // What cannot be opened says of itself nothing but its number. A drill of an older one would
        // prove what nobody asked.
        let above = newest.as_ref().map_or(0, |newest| newest.header().number);
        if let Some(error) = unusable.into_iter().find(|error| number_of(error) > above) {
            return Err(error);
        }
        newest.ok_or_else(|| {
            Error::new(ErrorKind::NotFound, "there is no backup of this store")
                .with_code(code::ARCHIVE_MISSING)
                .at(&plan.destination)
                .hint("Make one first. One that went elsewhere, by --to, is found once that folder is the \
                       DestinationFolder of the settings.")
        })
    }

    fn look(&self, plan: &Plan, tell: Tell<'_>) -> Result<(Found, Vec<Listed>)> {
        let mut found = Found { archives: Vec::new(), logs: Vec::new(), unusable: Vec::new() };
        // A folder of ours that no backup has made yet is an empty one.
        if plan.default_destination && self.disk.metadata(&plan.destination).is_err() {
            return Ok((found, Vec::new()));
        }
        let listed = list_archives(&*self.disk, &plan.destination, Some(&plan.set))?;
        let id = self.store.inner().engine.store_id();
        for (item, done) in listed.iter().zip(0..) {
            ask(tell, done, listed.len(), plan)?;
            if item.name.kind() == ArchiveKind::Log {
                match self.log_header(item.path()) {
                    Ok(header) if header.store_id == id => found.logs.push(header),
                    Ok(_) => {}
                    Err(error) => found.unusable.push(error),
                }
                continue;
            }
            match Archive::open_on_with(self.disk.clone(), item.path(), &self.secrets.keys) {
                Ok(archive) if archive.header().store_id == id => found.archives.push(archive),
                Ok(_) => {}
                Err(error) => found.unusable.push(error),
            }
        }
        Ok((found, listed))
    }

    fn log_header(&self, path: &Path) -> Result<LogHeader> {
        let file = ArchiveFile::open(&*self.disk, path, &self.secrets.keys)?;
        serde_json::from_value(file.header().app.clone())
            .map_err(|e| Error::corrupt(path, "this is no log archive of a store").because(e))
    }

    /// The account.
    pub(super) fn coverage(&self, tell: Tell<'_>) -> Result<super::health::Coverage> {
        let plan = self.plan();
        let (found, listed) = self.look(&plan, &mut *tell)?;
        let engine = &self.store.inner().engine;
        let history = engine.history();
        let archived = pieces_of(&found.logs);
        let bases =
            bases_of(&found.archives, &mut || ask(tell, listed.len(), listed.len(), &plan))?;
        let mut all = archived.clone();
        all.extend(self.own_log(history.last)?);
        let (safe, with_log) = (reach(&history, &bases, &archived), reach(&history, &bases, &all));
        let on_way =
            |archive: &&Archive| history.holds(archive.header().timeline.id, archive.header().lsn);
        let ours = found.archives.iter().filter(on_way).count();
        let leads_on = |log: &&LogHeader| {
            let pieces = pieces_of(std::slice::from_ref(*log));
            pieces.iter().any(|piece| cut(&history, piece).is_some())
        };
        let newest = with_log.newest.map_or(0, |point| point.lsn);
        let unprotected_after = self.is_unprotected().then_some(newest);
        let state = self.desk.lock().state.clone();
        Ok(Coverage {
            lsn: history.last,
            oldest: with_log.oldest,
            newest: with_log.newest,
            newest_archived: safe.newest,
            gaps: with_log.gaps,
            unprotected_after,
            archives: ours,
            log_archives: found.logs.iter().filter(leads_on).count(),
            left_branches: found.archives.len() - ours,
            unusable: found.unusable,
            last_backup: state.last_backup,
            last_verified: state.last_verified,
            last_drill: state.last_drill,
            space: self.space(&plan, &listed),
            destination: plan.destination.clone(),
        })
    }

    /// The store's own log: what is closed, and what is still written to. What is not kept is there until
    /// the next checkpoint, and counts for nothing.
    fn own_log(&self, newest: Lsn) -> Result<Vec<Piece>> {
        let engine = &self.store.inner().engine;
        let Some(kept) = engine.log_kept_from() else { return Ok(Vec::new()) };
        // Asked before the segments, so that one that is closed meanwhile is not left out.
        let position = engine.position();
        // What is written to begins behind what is closed, also where that is gone already, and behind
        // what is not kept, where nothing was closed since.
        let after = engine.log_closed_through();
        let mut pieces: Vec<Piece> = engine
            .closed_segments()?
            .into_iter()
            .filter(|segment| segment.last > kept)
            .map(|segment| Piece {
                timeline: segment.timeline,
                after: segment.after,
                last: segment.last,
                last_time: None,
            })
            .collect();
        let after = after.max(position.timeline.fork).max(kept);
        if position.lsn > after {
            let last_time = (newest == position.lsn).then_some(position.time);
            let last = position.lsn;
            pieces.push(Piece { timeline: position.timeline, after, last, last_time });
        }
        Ok(pieces)
    }

    fn space(&self, plan: &Plan, listed: &[Listed]) -> SpaceForecast {
        let newest = listed.iter().map(|item| item.name.number()).max();
        let of_last = |item: &&Listed| {
            let back = u32::from(item.name.kind() == ArchiveKind::Log);
            newest == item.name.number().checked_add(back)
        };
        let last_set_bytes = listed.iter().filter(of_last).map(|item| item.bytes).sum::<u64>();
        let room = if plan.default_destination && listed.is_empty() {
            crate::disk::atomic::parent(&self.dir)
        } else {
            &plan.destination
        };
        SpaceForecast {
            last_set_bytes,
            wanted_bytes: (last_set_bytes as f64 * ROOM) as u64,
            free_bytes: self.disk.free_space(room).unwrap_or(0),
        }
    }
}

/// The archives that can be restored from what lies there: an incremental one needs its parents.
fn bases_of(archives: &[Archive], go_on: &mut dyn FnMut() -> Result<()>) -> Result<Vec<Base>> {
    let mut bases = Vec::new();
    for archive in archives {
        go_on()?;
        let header = archive.header();
        if header.data && archive.chain().is_ok() {
            let (lsn, time) = (header.lsn, header.commit_time);
            bases.push(Base { timeline: header.timeline.into(), lsn, time });
        }
    }
    Ok(bases)
}

/// Tells that `done` of `all` archives were looked at.
fn ask(tell: Tell<'_>, done: usize, all: usize, plan: &Plan) -> Result<()> {
    match tell(Progress { done: done as u64, total: all as u64 }) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(stopped(&plan.destination)),
    }
}

fn pieces_of(logs: &[LogHeader]) -> Vec<Piece> {
    let piece = |header: &LogHeader, at: usize| {
        let segment = &header.segments[at];
        Piece {
            timeline: segment.timeline.into(),
            after: segment.after,
            last: segment.last,
            last_time: (segment.last == header.last).then_some(header.last_time),
        }
    };
    logs.iter()
        .flat_map(|header| (0..header.segments.len()).map(move |at| piece(header, at)))
        .collect()
}

/// The number of the backup whose archive the error is about; 0 where it is about something else.
fn number_of(error: &Error) -> u32 {
    let name = error.path().and_then(Path::file_name).and_then(|name| name.to_str());
    let name = name.and_then(ArchiveName::parse);
    name.filter(|name| name.kind() != ArchiveKind::Log).map_or(0, |name| name.number())
}
