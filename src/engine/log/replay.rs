//! Reading the live segments one after another, and applying what is sound.
//!
//! Invariants: commits are applied in order, each once, without a gap, and only from groups that are
//! sound as a whole; reading stops at the first place where that cannot go on. What the stop means is
//! judged in [`super::recovery`].

use std::collections::VecDeque;
use std::path::{Path, PathBuf};

use super::chain::{Eras, Kinship};
use super::format::{Malformed, SEGMENT_HEADER, SegmentEnd};
use super::group::LogOp;
use super::reader::{Group, SegmentReader, Step};
use super::recovery::{Recovered, RecoveryBase, TailCut, divergent};
use super::segment::SegmentInfo;
use super::sync::Unproven;
use crate::disk::Disk;
use crate::engine::Lsn;
use crate::{Error, Result};

/// How the readable part of the log ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EndKind {
    /// There is no segment with a sound header.
    NoSegment,
    /// With a trailer.
    Trailer,
    /// With a place where no sound group follows.
    Stop,
    /// Where the data file's timeline left the log's.
    Fork,
}

/// Where reading ended.
pub(super) struct Place {
    pub(super) kind: EndKind,
    /// Number and file of the segment, 0 where there is none.
    pub(super) number: u64,
    pub(super) path: Option<PathBuf>,
    pub(super) salt: Option<u64>,
    pub(super) at: u64,
    pub(super) why: Option<Malformed>,
}

/// Applies what is read, and remembers how far it came.
pub(super) struct Replay<'a> {
    disk: &'a dyn Disk,
    base: &'a RecoveryBase,
    apply: &'a mut dyn FnMut(Lsn, i64, &LogOp<'_>) -> Result<()>,
    eras: Eras,
    pub(super) last_lsn: Lsn,
    last_time: i64,
    end: Option<SegmentEnd>,
    durable: Lsn,
    /// What was read and is not known to be durable, oldest first.
    unproven: VecDeque<Stretch>,
    /// Number of the first segment that was read.
    first_read: Option<u64>,
}

/// Groups that stand together, each [`STRETCH`] bytes or one group long.
struct Stretch {
    part: Unproven,
    last_lsn: Lsn,
}

/// How finely the unproven part of the log is told from the rest.
const STRETCH: u64 = 1 << 20;

impl<'a> Replay<'a> {
    pub(super) fn new(
        disk: &'a dyn Disk,
        base: &'a RecoveryBase,
        apply: &'a mut dyn FnMut(Lsn, i64, &LogOp<'_>) -> Result<()>,
    ) -> Replay<'a> {
        Replay {
            disk,
            base,
            apply,
            eras: Eras::new(base),
            last_lsn: base.checkpoint_lsn,
            last_time: base.checkpoint_time,
            end: None,
            durable: base.durable_hint,
            unproven: VecDeque::new(),
            first_read: None,
        }
    }

    /// The first LSN that the log does not have: `x` of the table.
    pub(super) fn next_lsn(&self) -> Lsn {
        self.end.map_or(self.last_lsn, |end| end.lsn) + 1
    }

    /// Reads the `live` ones of `segments`, until the first place that ends the log.
    pub(super) fn segments(&mut self, segments: &[SegmentInfo], live: &[usize]) -> Result<Place> {
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
        let kinship = self.eras.kinship(&header, &segment.path)?;
        if self.end.is_none() {
            self.first_read = Some(segment.number);
            self.end = header.prev.or(Some(SegmentEnd { number: 0, chain: 0, lsn: header.base }));
        }
        self.last_time = self.last_time.max(header.base_time);
        let fork = match kinship {
            Kinship::Ancestor(fork) => fork,
            Kinship::Same | Kinship::Child(_) => Lsn::MAX,
        };
        if stated.is_none() && kinship == Kinship::Same && self.is_held(&mut reader)? {
            let (path, salt) = (Some(segment.path.clone()), Some(header.salt));
            let (kind, number) = (EndKind::Trailer, segment.number);
            return Ok((Place { kind, number, path, salt, at: segment.len, why: None }, false));
        }
        let limit = stated.map_or(fork, |end| end.lsn.min(fork));
        let (kind, why) = loop {
            let read = reader.next_lsn() - 1;
            if stated.is_some_and(|end| end.lsn == read) {
                break (EndKind::Trailer, None);
            }
            if read == fork {
                break (EndKind::Fork, None);
            }
            let at = reader.at();
            match reader.next()? {
                Step::Group(group) if group.head.last_lsn() > limit => {
                    let why = "this log segment goes on where the history leaves it";
                    return Err(divergent(&segment.path, why));
                }
                Step::Group(group) => {
                    if group.head.last_lsn() > self.base.checkpoint_lsn {
                        let after = group.head.first_lsn - 1;
                        self.eras.accept(&kinship, &header, after.max(self.base.checkpoint_lsn));
                    }
                    self.group(&group, header.number, at, &segment.path)?;
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

    /// Whether the newest segment ends cleanly with the commit of the checkpoint: the tree has all that
    /// is in it, and reading up to 64 MiB at every opening would tell nothing.
    fn is_held(&mut self, reader: &mut SegmentReader) -> Result<bool> {
        let lsn = self.base.checkpoint_lsn;
        let (number, base) = (reader.header().number, reader.header().base);
        let Some(trailer) = reader.clean_end(lsn)?.filter(|_| base < lsn) else { return Ok(false) };
        self.last_time = self.last_time.max(trailer.time);
        self.durable = self.durable.max(trailer.synced_through);
        self.end = Some(SegmentEnd { number, chain: trailer.prev_chain, lsn });
        Ok(true)
    }

    fn group(&mut self, group: &Group<'_>, number: u64, at: u64, path: &Path) -> Result<()> {
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
        self.remember(number, at, at + u64::from(head.total), lsn);
        Ok(())
    }

    /// The group at `at..to` is not known to be durable; older ones may be by now.
    fn remember(&mut self, number: u64, at: u64, to: u64, last_lsn: Lsn) {
        while self.unproven.front().is_some_and(|front| front.last_lsn <= self.durable) {
            self.unproven.pop_front();
        }
        if last_lsn <= self.durable {
            return;
        }
        match self.unproven.back_mut() {
            Some(back) if back.part.number == number && to - back.part.from <= STRETCH => {
                (back.part.to, back.last_lsn) = (to, last_lsn);
            }
            _ => {
                // The first group of a segment proves its header.
                let from = if at == SEGMENT_HEADER as u64 { 0 } else { at };
                let part = Unproven { number, from, to };
                self.unproven.push_back(Stretch { part, last_lsn });
            }
        }
    }

    /// What is not known to be durable: whole segments that were too old to be read, and the parts
    /// of those that were.
    fn unproven(&self, segments: &[SegmentInfo]) -> Vec<Unproven> {
        let read_from = self.first_read.unwrap_or(u64::MAX);
        let old = segments.iter().filter(|segment| {
            segment.number < read_from
                && segment.live
                && segment.last_lsn.is_some_and(|last| last > self.durable)
        });
        let mut parts: Vec<_> =
            old.map(|old| Unproven { number: old.number, from: 0, to: old.len }).collect();
        for stretch in self.unproven.iter().filter(|stretch| stretch.last_lsn > self.durable) {
            match parts.last_mut() {
                Some(last) if last.number == stretch.part.number => last.to = stretch.part.to,
                _ => parts.push(stretch.part),
            }
        }
        parts
    }

    pub(super) fn found(self, tail_cut: Option<TailCut>, segments: &[SegmentInfo]) -> Recovered {
        // A log that ends before the checkpoint cannot be continued: the commits between are in the
        // tree only. The next segment begins anew.
        let end = self.end.filter(|end| end.number != 0 && end.lsn == self.last_lsn);
        let unproven = self.unproven(segments);
        Recovered {
            last_lsn: self.last_lsn,
            last_time: self.last_time,
            end,
            tail_cut,
            eras: self.eras.into_eras(),
            durable_lsn: self.durable.min(self.last_lsn),
            unproven,
        }
    }
}
