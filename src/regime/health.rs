//! The account of what is covered: what can be restored, what cannot, and whether there is room.
//!
//! It looks at what lies in the destination and at the store's own log, never at the history: an
//! archive that is there counts, one that is only written down does not. It opens each archive and
//! reads its header; that its content is whole is what `verify` and the drill are for. The log that is
//! kept is read whole (`own_log.rs`).

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;

use super::core::Core;
use super::coverage::{Base, Gap, Piece, Point, cut, reach};
use super::plan::Plan;
use super::state::{Checked, LastBackup};
use crate::archive::{Progress, stopped};
use crate::destination::{Catalogue, StoredArchive};
use crate::disk::atomic::{is_same_folder, parent};
use crate::engine::{Lsn, StoreId};
use crate::error::{Error, ErrorKind, Result, code};
use crate::restore::Archive;
use crate::store::LogHeader;

/// How many times the last set has to fit into the free space: the next one while the oldest is still
/// there, and as much again for growth and for what is being written.
const ROOM: f64 = 2.5;

/// What is covered by backups, and what is not.
#[non_exhaustive]
#[derive(Clone, Debug, serde::Serialize)]
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
    /// Archives of this store's history.
    pub archives: usize,
    /// Log archives of it.
    pub log_archives: usize,
    /// Archives of branches that the store has left.
    pub left_branches: usize,
    /// Files that have the name of an archive of this set and cannot be used, and damaged segments of the
    /// store's own log, each with the reason.
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

impl Core {
    /// The newest backup of data on the way of the store.
    pub(super) fn newest_archive(&self, plan: &Plan) -> Result<Archive> {
        let found = Arc::new(self.look(plan, &mut |_| ControlFlow::Continue(()))?);
        let inner = self.store.inner();
        let history = inner.engine.history();
        let newest = found
            .backups(&plan.set, inner.engine.store_id())
            .filter(|(_, one)| one.header.data)
            .filter(|(_, one)| history.holds(one.header.timeline.id, one.header.lsn))
            .max_by_key(|(_, one)| (one.header.lsn, one.header.started));
        // A drill of an older one than the store's last would prove what nobody asked.
        let above = newest.map_or(0, |(_, one)| one.header.number);
        if let Some(error) = self.unreadable_of_ours(plan, &found, above) {
            return Err(error);
        }
        let (stored, _) = newest.ok_or_else(|| {
            Error::new(ErrorKind::NotFound, "there is no backup of this store")
                .with_code(code::ARCHIVE_MISSING)
                .at(&plan.destination)
                .hint("Make one first. One that went elsewhere, by --to, is found once that folder is the \
                       DestinationFolder of the settings.")
        })?;
        Archive::of_catalogue(&self.disk, &found, stored)
    }

    /// Why an archive that cannot be read and has a number above `above` cannot, where the store
    /// remembers that it made it. Other files of such a name are none of its archives.
    fn unreadable_of_ours(&self, plan: &Plan, found: &Catalogue, above: u32) -> Option<Error> {
        let state = self.store.inner().backup_state();
        let made = |stored: &StoredArchive| {
            state.parents.iter().any(|known| {
                known.archive.file_name() == stored.path().file_name()
                    && is_same_folder(&*self.disk, parent(&known.archive), &plan.destination)
            })
        };
        found
            .of_set(&plan.set)
            .filter(|stored| !stored.is_log() && stored.name().number() > above)
            .filter(|stored| made(stored))
            .find_map(|stored| stored.problem().cloned())
    }

    /// What lies in the destination, each archive of the set read.
    fn look(&self, plan: &Plan, tell: Tell<'_>) -> Result<Catalogue> {
        // A folder of ours that no backup has made yet is an empty one.
        if plan.default_destination && self.disk.metadata(&plan.destination).is_err() {
            return Ok(Catalogue::empty(&self.disk, &plan.destination));
        }
        let found = Catalogue::of_folder(&self.disk, &plan.destination, &self.secrets.keys)?;
        let all = found.of_set(&plan.set).count();
        for (stored, done) in found.of_set(&plan.set).zip(0..) {
            ask(tell, done, all, plan)?;
            stored.read();
        }
        Ok(found)
    }

    /// The account.
    pub(super) fn coverage(&self, tell: Tell<'_>) -> Result<super::health::Coverage> {
        let plan = self.plan();
        let found = self.look(&plan, &mut *tell)?;
        let engine = &self.store.inner().engine;
        let (history, id) = (engine.history(), engine.store_id());
        let logs: Vec<&LogHeader> = found.logs(&plan.set, id).map(|(_, log)| &log.header).collect();
        let archived = pieces_of(&logs);
        let all = found.of_set(&plan.set).count();
        let bases = bases_of(&found, &plan.set, id, &mut || ask(tell, all, all, &plan))?;
        let mut pieces = archived.clone();
        let own = self.own_log(history.last, &mut || ask(tell, all, all, &plan))?;
        pieces.extend(own.pieces);
        let (safe, with_log) =
            (reach(&history, &bases, &archived), reach(&history, &bases, &pieces));
        let archives = || found.backups(&plan.set, id);
        let on_way =
            archives().filter(|(_, one)| history.holds(one.header.timeline.id, one.header.lsn));
        let ours = on_way.count();
        let leads_on = |log: &&&LogHeader| {
            pieces_of(&[**log]).iter().any(|piece| cut(&history, piece).is_some())
        };
        let state = self.desk.lock().state.clone();
        Ok(Coverage {
            lsn: history.last,
            oldest: with_log.oldest,
            newest: with_log.newest,
            newest_archived: safe.newest,
            gaps: with_log.gaps,
            archives: ours,
            log_archives: logs.iter().filter(leads_on).count(),
            left_branches: archives().count() - ours,
            unusable: found.problems(&plan.set).cloned().chain(own.damage).collect(),
            last_backup: state.last_backup,
            last_verified: state.last_verified,
            last_drill: state.last_drill,
            space: self.space(&plan, &found),
            destination: plan.destination.clone(),
        })
    }

    fn space(&self, plan: &Plan, found: &Catalogue) -> SpaceForecast {
        let last_set_bytes = found.last_set_bytes(&plan.set);
        let missing = plan.default_destination && self.disk.metadata(&plan.destination).is_err();
        let room = if missing { parent(&self.dir) } else { &*plan.destination };
        SpaceForecast {
            last_set_bytes,
            wanted_bytes: (last_set_bytes as f64 * ROOM) as u64,
            free_bytes: self.disk.free_space(room).unwrap_or(0),
        }
    }
}

/// The archives that can be restored from what lies there: an incremental one needs its parents.
fn bases_of(
    found: &Catalogue,
    set: &str,
    store: StoreId,
    go_on: &mut dyn FnMut() -> Result<()>,
) -> Result<Vec<Base>> {
    let mut bases = Vec::new();
    for (stored, backup) in found.backups(set, store).filter(|(_, one)| one.header.data) {
        go_on()?;
        if found.chain(stored).is_ok() {
            let header = &backup.header;
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

fn pieces_of(logs: &[&LogHeader]) -> Vec<Piece> {
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
