//! Which segments belong to the history, judged by their headers alone.
//!
//! Every header names the segment before it. From the newest sound header the chain leads back to the
//! segment in which the first commit after the checkpoint stands. What the chain does not touch was
//! discarded by an earlier recovery, or never used, and is dead. Where a header on the way is not
//! sound, the chain is sought again below it; whether what is above it counts as damage is
//! decided where reading ends.

use std::path::Path;

use super::format::SegmentHeader;
use super::reader::unsupported;
use super::recovery::{RecoveryBase, divergent};
use super::segment::{Header, SegmentInfo};
use crate::engine::{Ancestry, Lsn};
use crate::{Error, Result};

/// Places in `segments` of those to be read, in order; empty where there is no sound header.
///
/// # Errors
/// `Foreign`, `Unsupported`, and `Corrupt` where a segment that is needed is not in the folder.
pub(super) fn live_chain(segments: &[SegmentInfo], base: &RecoveryBase) -> Result<Vec<usize>> {
    for segment in segments {
        check_header(segment, base)?;
    }
    let sound = |segment: &SegmentInfo| {
        segment.sound().is_some_and(|header| !was_left(header, &base.ancestry))
    };
    let mut upto = segments.len();
    'below: loop {
        let Some(mut at) = segments[..upto].iter().rposition(sound) else { return Ok(Vec::new()) };
        let mut chain = vec![at];
        while let Some(header) = segments[at].sound().filter(|h| h.base > base.checkpoint_lsn) {
            at = before(segments, at, header, base)?;
            if segments[at].sound().is_none() {
                upto = at;
                continue 'below;
            }
            chain.push(at);
        }
        chain.reverse();
        return Ok(chain);
    }
}

/// Whether a segment cannot be of the history of a data file with the ancestry `ours`, although both
/// come from the same one. The data file's timeline may have no segment of its own so far: what was
/// appended to an older timeline behind its fork was left, and so was what forked off at the same place
/// and came to nothing. Should such a segment hold durable commits all the same, the judgement of the
/// end sees it.
pub(super) fn was_left(header: &SegmentHeader, ours: &Ancestry) -> bool {
    let (theirs, tip) = (header.timeline, ours.tip());
    let sibling = theirs.parent == tip.parent && theirs.fork == tip.fork && theirs.id != tip.id;
    let behind_fork = ours.end_of(theirs.id).is_some_and(|end| header.base > end);
    (sibling && tip.parent != 0) || behind_fork
}

fn check_header(segment: &SegmentInfo, base: &RecoveryBase) -> Result<()> {
    match &segment.header {
        Header::Foreign(version) => Err(unsupported(&segment.path, *version)),
        Header::Sound(header, _) if header.store_id != base.store_id => {
            Err(divergent(&segment.path, "the log segment belongs to another store"))
        }
        Header::Sound(header, _) if header.number != segment.number => {
            let why = format!("the log segment is number {} by its header", header.number);
            Err(Error::corrupt(&segment.path, why).hint("Give it back its name."))
        }
        _ => Ok(()),
    }
}

/// The place of the segment that the one `at` follows.
fn before(
    segments: &[SegmentInfo],
    at: usize,
    header: &SegmentHeader,
    base: &RecoveryBase,
) -> Result<usize> {
    let missing = |what: String| {
        Error::corrupt(&segments[at].path, what)
            .hint("Put the missing segments back, or restore the last backup.")
    };
    let from = base.checkpoint_lsn + 1;
    let Some(prev) = header.prev else {
        let first = header.base + 1;
        return Err(missing(format!("the log begins with LSN {first}, LSN {from} is needed")));
    };
    segments[..at].iter().rposition(|segment| segment.number == prev.number).ok_or_else(|| {
        let number = prev.number;
        missing(format!("log segment {number}, which this one follows, is missing"))
    })
}

/// How the timeline of a segment is related to the history read so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kinship {
    /// It is the same.
    Same,
    /// It forks off exactly here.
    Child(Ancestry),
    /// The data file's history left it, after this LSN.
    Ancestor(Lsn),
}

/// A stretch of history on one timeline, made here or elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Era {
    /// The ancestry of its commits.
    pub(crate) ancestry: Ancestry,
    /// It holds the commits after this one.
    pub(crate) after: Lsn,
    /// The timeline is another store's: a commit of our own begins a new one.
    pub(crate) foreign: bool,
}

/// The era of the commit at `lsn`, in `eras` that begin with that of the checkpoint.
pub(crate) fn era_at(eras: &[Era], lsn: Lsn) -> &Era {
    eras[1..].iter().rev().find(|era| lsn > era.after).unwrap_or(&eras[0])
}

/// The eras that the history read so far went through.
pub(super) struct Eras {
    /// That of the checkpoint, and each that followed the one before it. Never empty.
    eras: Vec<Era>,
    checkpoint_lsn: Lsn,
}

impl Eras {
    pub(super) fn new(base: &RecoveryBase) -> Eras {
        let first = Era { ancestry: base.ancestry.clone(), after: 0, foreign: base.foreign };
        Eras { eras: vec![first], checkpoint_lsn: base.checkpoint_lsn }
    }

    pub(super) fn into_eras(self) -> Vec<Era> {
        self.eras
    }

    fn last(&self) -> &Era {
        &self.eras[self.eras.len() - 1]
    }

    /// # Errors
    /// `Foreign` where the segment's timeline neither is, nor continues, nor precedes this one, or its
    /// ancestry is another than it would be then.
    pub(super) fn kinship(&self, header: &SegmentHeader, path: &Path) -> Result<Kinship> {
        let (ours, theirs) = (&self.last().ancestry, header.timeline);
        match ours.follow(theirs, header.ancestry_digest, header.base) {
            Some(next) if next == *ours => return Ok(Kinship::Same),
            Some(next) if header.base >= self.checkpoint_lsn => return Ok(Kinship::Child(next)),
            _ => {}
        }
        if let (Some(before), Some(end)) = (ours.through(theirs.id), ours.end_of(theirs.id))
            && before.digest() == header.ancestry_digest
            && header.base <= end
            && end <= self.checkpoint_lsn
        {
            return Ok(Kinship::Ancestor(end));
        }
        Err(divergent(path, "the log segment belongs to a divergent history of this store"))
    }

    /// A group of a segment of this kinship was read, which holds commits after the checkpoint and
    /// after `after`.
    pub(super) fn accept(&mut self, kinship: &Kinship, header: &SegmentHeader, after: Lsn) {
        let last = self.last();
        let era = match kinship {
            Kinship::Child(ancestry) => {
                Era { ancestry: ancestry.clone(), after, foreign: header.applied }
            }
            // Whoever commits on his own begins a timeline of his own: on the same one, what was
            // foreign stays foreign.
            Kinship::Same => Era { after, foreign: last.foreign || header.applied, ..last.clone() },
            Kinship::Ancestor(_) => return,
        };
        if (&era.ancestry, era.foreign) != (&last.ancestry, last.foreign) {
            self.eras.push(era);
        }
    }
}
