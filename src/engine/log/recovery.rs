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

use super::chain::{Kinship, Lineage, live_chain};
use super::format::{Malformed, SegmentEnd};
use super::group::LogOp;
use super::reader::{Group, Remains, SegmentReader, Step, look_at};
use super::segment::{SegmentInfo, list_segments};
use crate::disk::Disk;
use crate::engine::{Lsn, StoreId, Timeline};
use crate::error::code;
use crate::{Error, ErrorKind, Result};

/// What the data file says about the log.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RecoveryBase {
    /// The store.
    pub(crate) store_id: StoreId,
    /// The timeline of the checkpoint.
    pub(crate) timeline: Timeline,
    /// Commits through this one are in the tree.
    pub(crate) checkpoint_lsn: Lsn,
    /// The time of that commit.
    pub(crate) checkpoint_time: i64,
    /// The log was durable through this LSN when the checkpoint was made ([`super::Log::durable_lsn`]).
    /// Where it is not 0 there must be a log; so it is 0 for a data file that comes from an archive.
    pub(crate) durable_hint: Lsn,
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
    /// The timeline of the last commit.
    pub(crate) timeline: Timeline,
    /// Everything in the log through this LSN is known to be durable.
    pub(crate) durable_lsn: Lsn,
    /// Segments with commits that may be in the operating system's cache only. The next sync of the
    /// log covers them first.
    pub(crate) unproven: Vec<u64>,
    /// Bytes of groups that were read.
    pub(crate) bytes: u64,
    /// All segments in the folder.
    pub(crate) segments: Vec<SegmentInfo>,
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
    base: RecoveryBase,
    apply: &mut dyn FnMut(Lsn, i64, &LogOp<'_>) -> Result<()>,
) -> Result<Recovered> {
    let segments = list_segments(disk, dir)?;
    let live = live_chain(&segments, &base)?;
    let mut replay = Replay::new(disk, &base, apply);
    let place = replay.segments(&segments, &live)?;
    let remains = remains_behind(disk, &segments, &base, &place)?;
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
        Verdict::End => Ok(replay.found(None, segments)),
        Verdict::Tail => {
            let cut = TailCut {
                first_lsn: replay.last_lsn + 1,
                last_lsn: remains.last_lsn,
                path: place.path.unwrap_or_else(|| dir.to_path_buf()),
                at: place.at,
            };
            Ok(replay.found(Some(cut), segments))
        }
        Verdict::Damage => Err(damaged(place, dir, next, known)),
        Verdict::Missing => Err(Error::corrupt(dir, "the log of the store is missing")
            .hint("Restore the last backup, or put the log's segments back.")),
        Verdict::Divergent => Err(divergent(
            place.path.as_deref().unwrap_or(dir),
            "the log has durable commits that the data file's history left out",
        )),
    }
}

/// How the readable part of the log ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum EndKind {
    /// There is no segment with a sound header.
    NoSegment,
    /// With a trailer.
    Trailer,
    /// With a place where no sound group follows.
    Stop,
    /// Where the data file's timeline left the log's.
    Fork,
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

/// Where reading ended.
struct Place {
    kind: EndKind,
    /// Number and file of the segment, 0 where there is none.
    number: u64,
    path: Option<PathBuf>,
    salt: Option<u64>,
    at: u64,
    why: Option<Malformed>,
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

/// The error for a log that is not of this history.
pub(super) fn divergent(path: &Path, why: &str) -> Error {
    Error::new(ErrorKind::Foreign, why).with_code(code::FOREIGN_LOG).at(path)
}

/// Applies what is read, and remembers how far it came.
struct Replay<'a> {
    disk: &'a dyn Disk,
    base: &'a RecoveryBase,
    apply: &'a mut dyn FnMut(Lsn, i64, &LogOp<'_>) -> Result<()>,
    lineage: Lineage,
    last_lsn: Lsn,
    last_time: i64,
    end: Option<SegmentEnd>,
    durable: Lsn,
    bytes: u64,
    /// Segments read, each with the last LSN in it.
    read: Vec<(u64, Lsn)>,
}

impl<'a> Replay<'a> {
    fn new(
        disk: &'a dyn Disk,
        base: &'a RecoveryBase,
        apply: &'a mut dyn FnMut(Lsn, i64, &LogOp<'_>) -> Result<()>,
    ) -> Replay<'a> {
        Replay {
            disk,
            base,
            apply,
            lineage: Lineage::new(base),
            last_lsn: base.checkpoint_lsn,
            last_time: base.checkpoint_time,
            end: None,
            durable: base.durable_hint,
            bytes: 0,
            read: Vec::new(),
        }
    }

    /// The first LSN that the log does not have: `x` of the table.
    fn next_lsn(&self) -> Lsn {
        self.end.map_or(self.last_lsn, |end| end.lsn) + 1
    }

    /// Reads the `live` ones of `segments`, until the first place that ends the log.
    fn segments(&mut self, segments: &[SegmentInfo], live: &[usize]) -> Result<Place> {
        let mut place =
            Place { kind: EndKind::NoSegment, number: 0, path: None, salt: None, at: 0, why: None };
        for (nth, &index) in live.iter().enumerate() {
            let next = live.get(nth + 1).and_then(|&next| segments[next].sound());
            let stated = next.and_then(|header| header.prev);
            let (ended, follows) = self.segment(&segments[index], stated)?;
            place = ended;
            if !follows {
                break;
            }
        }
        Ok(place)
    }

    /// Reads one segment, through `stated` where the next one says that it ends there. Returns where
    /// it ended, and whether the next one follows.
    fn segment(
        &mut self,
        segment: &SegmentInfo,
        stated: Option<SegmentEnd>,
    ) -> Result<(Place, bool)> {
        let mut reader = SegmentReader::open(self.disk, &segment.path)?;
        let header = *reader.header();
        let kinship = self.lineage.kinship(&header, &segment.path)?;
        if self.end.is_none() {
            self.end = header.prev.or(Some(SegmentEnd { number: 0, chain: 0, lsn: header.base }));
        }
        self.last_time = self.last_time.max(header.base_time);
        let fork = match kinship {
            Kinship::Ancestor(fork) => fork,
            Kinship::Same | Kinship::Child(_) => Lsn::MAX,
        };
        let limit = stated.map_or(fork, |end| end.lsn.min(fork));
        let (kind, why) = loop {
            let read = reader.next_lsn() - 1;
            if stated.is_some_and(|end| end.lsn == read) {
                break (EndKind::Trailer, None);
            }
            if read == fork {
                break (EndKind::Fork, None);
            }
            match reader.next()? {
                Step::Group(group) if group.head.last_lsn() > limit => {
                    let why = "this log segment goes on where the history leaves it";
                    return Err(divergent(&segment.path, why));
                }
                Step::Group(group) => {
                    self.lineage.accept(kinship);
                    self.group(&group, header.number, &segment.path)?;
                }
                Step::Trailer(head) => {
                    self.durable = self.durable.max(head.synced_through);
                    break (EndKind::Trailer, None);
                }
                Step::Bad(why) => break (EndKind::Stop, Some(why)),
            }
        };
        let follows = kind == EndKind::Trailer && stated.is_some();
        if follows && stated.is_some_and(|end| end.chain != reader.chain()) {
            let why = "the next log segment does not follow this one";
            return Err(divergent(&segment.path, why));
        }
        let (path, salt) = (Some(segment.path.clone()), Some(header.salt));
        let place = Place { kind, number: segment.number, path, salt, at: reader.at(), why };
        Ok((place, follows))
    }

    fn group(&mut self, group: &Group<'_>, number: u64, path: &Path) -> Result<()> {
        let (head, lsn) = (&group.head, group.head.last_lsn());
        if lsn > self.base.checkpoint_lsn {
            let (after, apply) = (self.base.checkpoint_lsn, &mut *self.apply);
            let malformed = |why: Malformed| Error::corrupt(path, why.to_string());
            let mut result = Ok(());
            let walked = group.body.for_each(|lsn, _, op| {
                if lsn > after {
                    result = apply(lsn, head.time, op);
                }
                if result.is_ok() { Ok(()) } else { Err(Malformed::Field) }
            });
            result?;
            walked.map_err(malformed)?;
            self.last_lsn = lsn;
        }
        self.last_time = self.last_time.max(head.time);
        self.durable = self.durable.max(head.synced_through);
        self.end = Some(SegmentEnd { number, chain: group.chain, lsn });
        self.bytes += u64::from(head.total);
        match self.read.last_mut() {
            Some((last, through)) if *last == number => *through = lsn,
            _ => self.read.push((number, lsn)),
        }
        Ok(())
    }

    /// Segments of the history, read or older, with commits later than what is known to be durable.
    fn unproven(&self, segments: &[SegmentInfo]) -> Vec<u64> {
        let newest = self.read.last().map_or(0, |&(number, _)| number);
        let through = |segment: &SegmentInfo| {
            let read = self.read.iter().find(|(number, _)| *number == segment.number);
            read.map(|&(_, lsn)| lsn).or(segment.last_lsn).unwrap_or(Lsn::MAX)
        };
        segments
            .iter()
            .filter(|segment| segment.number <= newest && segment.sound().is_some())
            .filter(|segment| through(segment) > self.durable)
            .map(|segment| segment.number)
            .collect()
    }

    fn found(self, tail_cut: Option<TailCut>, segments: Vec<SegmentInfo>) -> Recovered {
        // A log that ends before the checkpoint cannot be continued: the commits between are in the
        // tree only. The next segment begins anew.
        let end = self.end.filter(|end| end.number != 0 && end.lsn == self.last_lsn);
        let unproven = self.unproven(&segments);
        Recovered {
            last_lsn: self.last_lsn,
            last_time: self.last_time,
            end,
            tail_cut,
            timeline: self.lineage.timeline(),
            durable_lsn: self.durable.min(self.last_lsn),
            unproven,
            bytes: self.bytes,
            segments,
        }
    }
}
