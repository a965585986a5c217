//! Recovery: reading the log after a restart, and deciding where it ends.
//!
//! Invariants:
//! - Recovery **writes nothing**, so that a crash during it, and any number of recoveries, change
//!   nothing.
//! - What is applied is a prefix of what was appended, without a gap, each commit once and in order.
//! - What was known to be durable is either applied or reported as damage; never dropped in silence.
//! - What was dropped once never comes back: the next segment's header states where the one before
//!   it ended, and nothing behind that place is looked at again.
//!
//! How the end of the log is judged stands in [`verdict`], a row per case; `docs/recovery.md` has a
//! paragraph per row. What it cannot see: rot in the very last groups, where neither a later group
//! nor the data file says that they were durable. They look like a tail.

use std::path::{Path, PathBuf};

use super::chain::{Era, live_chain, was_left};
use super::format::SegmentEnd;
use super::group::LogOp;
use super::reader::{Remains, look_at};
use super::replay::{EndKind, Place, Replay};
use super::segment::{SegmentInfo, list_segments};
use super::sync::Unproven;
use crate::disk::Disk;
use crate::engine::{Ancestry, Lsn, StoreId};
use crate::error::code;
use crate::{Error, ErrorKind, Result};

/// What the data file says about the log.
///
/// The log is made durable through `checkpoint_lsn` before the data file says so. Otherwise the
/// timeline of the checkpoint might stand nowhere in the log.
#[derive(Clone, Debug)]
pub(crate) struct RecoveryBase {
    /// The store.
    pub(crate) store_id: StoreId,
    /// The ancestry of the checkpoint.
    pub(crate) ancestry: Ancestry,
    /// Commits through this one are in the tree.
    pub(crate) checkpoint_lsn: Lsn,
    /// The time of that commit.
    pub(crate) checkpoint_time: i64,
    /// The log was durable through this LSN when the checkpoint was made ([`super::Log::durable_lsn`]).
    /// Where it is not 0 there must be a log; so it is 0 for a data file that comes from an archive.
    pub(crate) durable_hint: Lsn,
    /// The timeline of the checkpoint is another store's, or that of a history whose tail was lost.
    pub(crate) foreign: bool,
}

/// What recovery dropped because no commit in it was known to be durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TailCut {
    /// The first LSN that was dropped.
    pub(crate) first_lsn: Lsn,
    /// The highest LSN that a head found behind the cut speaks of; below `first_lsn` where there is
    /// none.
    pub(crate) last_lsn: Lsn,
    /// The segment, and the place in it, where the log was cut.
    pub(crate) path: PathBuf,
    /// Byte in that segment.
    pub(crate) at: u64,
}

/// What recovery found.
#[derive(Clone, Debug)]
pub(crate) struct Recovered {
    /// The last commit of the store, in the tree or in the log.
    pub(crate) last_lsn: Lsn,
    /// Its time.
    pub(crate) last_time: i64,
    /// What the next segment follows; `None` where the log begins anew.
    pub(crate) end: Option<SegmentEnd>,
    /// What was dropped. The caller mints a new timeline for what it commits next.
    pub(crate) tail_cut: Option<TailCut>,
    /// What is there, oldest first: the era of the checkpoint, then each that followed. The last one
    /// is that of the last commit.
    pub(crate) eras: Vec<Era>,
    /// Everything in the log through this LSN is known to be durable.
    pub(crate) durable_lsn: Lsn,
    /// What may be in the operating system's cache only. The next sync of the log covers it first.
    pub(crate) unproven: Vec<Unproven>,
}

impl Recovered {
    /// The ancestry of the last commit.
    #[cfg(test)]
    pub(crate) fn ancestry(&self) -> Ancestry {
        self.era().ancestry.clone()
    }

    /// The era of the last commit.
    pub(crate) fn era(&self) -> &Era {
        &self.eras[self.eras.len() - 1]
    }
}

/// Reads the log in `dir` and calls `apply` for every operation of every commit after the checkpoint,
/// in order, with LSN and time. Reads each group wholly before the first operation of it is applied.
///
/// # Errors
/// [`ErrorKind::Corrupt`] for damage, with file and place; [`ErrorKind::Foreign`] for a log of another
/// store or of a divergent history; [`ErrorKind::Unsupported`] for another format; those of the disk
/// and of `apply`. What was applied before an error is a true prefix.
pub(crate) fn recover(
    disk: &dyn Disk,
    dir: &Path,
    base: &RecoveryBase,
    apply: &mut dyn FnMut(Lsn, i64, &LogOp<'_>) -> Result<()>,
) -> Result<Recovered> {
    let segments = list_segments(disk, dir)?;
    let live = live_chain(&segments, base)?;
    let mut replay = Replay::new(disk, base, apply);
    let place = replay.segments(&segments, &live)?;
    let remains = remains_behind(disk, &segments, base, &place)?;
    let next = replay.next_lsn();
    let ending = Ending {
        kind: place.kind,
        // The tree has what is older than the checkpoint: the hint alone does not make it damage.
        proven: base.durable_hint >= next.max(base.checkpoint_lsn + 1),
        witnessed: remains.synced_through >= next,
        written: remains.written,
        expected: base.durable_hint > 0,
    };
    let known = base.durable_hint.max(remains.synced_through);
    match verdict(ending) {
        Verdict::End => Ok(replay.found(None, &segments)),
        Verdict::Tail => {
            let cut = TailCut {
                first_lsn: replay.last_lsn + 1,
                last_lsn: remains.last_lsn,
                path: place.path.unwrap_or_else(|| dir.to_path_buf()),
                at: place.at,
            };
            Ok(replay.found(Some(cut), &segments))
        }
        Verdict::Damage => Err(damaged(place, dir, next, known)),
        Verdict::Missing => Err(missing(dir, &segments, base)),
        Verdict::Divergent => Err(divergent(
            place.path.as_deref().unwrap_or(dir),
            "the log has durable commits that the data file's history left out",
        )),
    }
}

/// All that the judgement rests on. `x` is the first LSN that could not be read.
#[derive(Clone, Copy, Debug)]
struct Ending {
    kind: EndKind,
    /// The data file says that a commit was durable in the log which is neither there nor in the tree.
    proven: bool,
    /// A sound head behind the end says that `x` was durable.
    witnessed: bool,
    /// Something other than zeros stands behind the end.
    written: bool,
    /// The data file says that there was a log.
    expected: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// All that was ever appended was read.
    End,
    /// What stands behind was never durable: dropped.
    Tail,
    /// Durable commits cannot be read.
    Damage,
    /// The whole log is gone.
    Missing,
    /// The log's history is not the data file's.
    Divergent,
}

/// The recovery table. `docs/recovery.md` has a paragraph per row, under the same letter.
#[rustfmt::skip]
fn verdict(ending: Ending) -> Verdict {
    use EndKind::{Fork, NoSegment, Stop, Trailer};
    let Ending { kind, proven, witnessed, written, expected } = ending;
    match (kind, proven, witnessed, written, expected) {
        //        kind       proven witnessed written expected
        /* A */ (NoSegment, _,     _,        _,      true ) => Verdict::Missing,
        /* B */ (NoSegment, _,     true,     _,      false) => Verdict::Damage,
        /* C */ (NoSegment, _,     false,    true,   false) => Verdict::Tail,
        /* D */ (NoSegment, _,     false,    false,  false) => Verdict::End,
        /* E */ (Fork,      true,  _,        _,      _    ) => Verdict::Damage,
        /* F */ (Fork,      false, true,     _,      _    ) => Verdict::Divergent,
        /* G */ (Fork,      false, false,    _,      _    ) => Verdict::End,
        /* H */ (Stop,      true,  _,        _,      _    ) => Verdict::Damage,
        /* I */ (Stop,      false, true,     _,      _    ) => Verdict::Damage,
        /* J */ (Stop,      false, false,    true,   _    ) => Verdict::Tail,
        /* K */ (Stop,      false, false,    false,  _    ) => Verdict::End,
        /* L */ (Trailer,   true,  _,        _,      _    ) => Verdict::Damage,
        /* M */ (Trailer,   false, true,     _,      _    ) => Verdict::Damage,
        /* N */ (Trailer,   false, false,    true,   _    ) => Verdict::Tail,
        /* O */ (Trailer,   false, false,    false,  _    ) => Verdict::End,
    }
}

/// What stands behind `place`: in its segment, and in every later one, whatever leads to it.
fn remains_behind(
    disk: &dyn Disk,
    segments: &[SegmentInfo],
    base: &RecoveryBase,
    place: &Place,
) -> Result<Remains> {
    let mut remains = Remains::default();
    if let Some(path) = &place.path
        && place.kind != EndKind::Trailer
    {
        remains = look_at(disk, path, place.at, base.store_id, place.salt)?;
    }
    for segment in segments.iter().filter(|segment| segment.number > place.number) {
        let salt = segment.sound().map(|header| header.salt);
        remains = remains.and(look_at(disk, &segment.path, 0, base.store_id, salt)?);
    }
    Ok(remains)
}

fn damaged(place: Place, dir: &Path, lsn: Lsn, known: Lsn) -> Error {
    let why = place.why.map_or_else(|| "it is missing".to_owned(), |why| why.to_string());
    let at = place.at;
    Error::corrupt(
        place.path.as_deref().unwrap_or(dir),
        format!(
            "the commit with LSN {lsn} cannot be read from the log at byte {at}: {why}; \
             commits through LSN {known} are known to have been durable"
        ),
    )
    .hint("Restore the last backup and integrate the log's segments up to this one.")
}

/// There was a log, and no segment of it is there. What is there instead tells who was mistaken.
fn missing(dir: &Path, segments: &[SegmentInfo], base: &RecoveryBase) -> Error {
    const HINT: &str = "Put the store's own log segments back, or restore the last backup.";
    const LOST: &str = "Put the store's own log segments back, restore the last backup, or open the \
        store at its checkpoint with accept_lost_log(): later commits are lost then.";
    let of_another_branch = |segment: &&SegmentInfo| {
        let header = segment.sound();
        header.is_some_and(|header| was_left(header, &base.ancestry))
    };
    match segments.iter().rfind(of_another_branch) {
        Some(other) => {
            let why =
                "the store's own log is missing, and this one is of another branch of its history";
            divergent(&other.path, why).hint(HINT)
        }
        None => Error::corrupt(dir, "the log of the store is missing")
            .with_code(code::LOG_UNAVAILABLE)
            .hint(LOST),
    }
}

/// The error for a log that is not of this history.
pub(super) fn divergent(path: &Path, why: &str) -> Error {
    Error::new(ErrorKind::Foreign, why).with_code(code::FOREIGN_LOG).at(path)
}
