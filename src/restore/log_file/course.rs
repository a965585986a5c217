//! Which segments lead from one commit to another, and whether they do without a gap.
//!
//! Segments are matched by store, timeline and LSN, never by number or name: the segments of a store
//! and those of its mirror are the same history cut at other places. Which commit follows which is
//! answered by [`History`]. Where both ways stand in the segments at hand, nothing is guessed.

use super::segment::Segment;
use crate::engine::{History, Known, Lsn, StoreId};
use crate::error::{Error, ErrorKind, Result, code};

/// Part of a segment.
#[derive(Clone, Copy)]
pub(crate) struct Leg<'s> {
    pub(crate) segment: &'s Segment,
    /// The commits after this one,
    pub(crate) after: Lsn,
    /// through this one.
    pub(crate) upto: Lsn,
}

/// The way from one commit to another.
pub(crate) struct Course<'s> {
    pub(crate) legs: Vec<Leg<'s>>,
    /// Where it ends.
    pub(crate) end: History,
    /// The first segment that would go on after a gap.
    gap: Option<&'s Segment>,
    /// The only history that it may go along, where it is given.
    along: Option<&'s History>,
}

impl<'s> Course<'s> {
    /// The way from the end of `start` through `upto`, or as far as `segments` lead. Segments of other
    /// stores are passed over, and those that are not of the history `along`, where that is given.
    ///
    /// # Errors
    /// `Foreign` (1416) where two histories go on from one commit, or `start` is not of `along`.
    pub(crate) fn plan(
        segments: impl Iterator<Item = &'s Segment>,
        store: StoreId,
        start: &History,
        upto: Lsn,
        along: Option<&'s History>,
    ) -> Result<Course<'s>> {
        let ours = |segment: &&Segment| {
            segment.header().store_id == store && segment.last() > segment.after()
        };
        let segments: Vec<&Segment> = segments.filter(ours).collect();
        if along.is_some_and(|along| !along.holds(start.tip().id, start.last)) {
            let why = format!("LSN {} there is of another history", start.last);
            return Err(Error::new(ErrorKind::Foreign, why).with_code(code::FOREIGN_LOG));
        }
        let mut course = Course { legs: Vec::new(), end: start.clone(), gap: None, along };
        while course.end.last < upto {
            let Some((next, end)) = course.next(&segments, upto)? else { break };
            course.end = end;
            course.legs.push(next);
        }
        let known = known(segments.iter().copied(), along);
        let beyond = segments.iter().filter(|segment| {
            segment.after() > course.end.last
                && course.last_of(segment) > segment.after()
                && course.end.leads_to(segment.header().timeline, segment.last(), &known)
        });
        course.gap = beyond.min_by_key(|segment| segment.after()).copied();
        Ok(course)
    }

    /// The last commit of `segment` that may count.
    fn last_of(&self, segment: &Segment) -> Lsn {
        let end = self.along.map(|along| along.end_of(segment.header().timeline.id));
        end.map_or(segment.last(), |end| end.unwrap_or(0).min(segment.last()))
    }

    /// The history of the commits of `segment` that go on from the end, where some do.
    fn goes_on(&self, segment: &Segment) -> Option<History> {
        let (header, lsn) = (segment.header(), self.end.last);
        if segment.after() > lsn || self.last_of(segment) <= lsn {
            return None;
        }
        let next = self.end.ancestry.follow(header.timeline, header.ancestry_digest, lsn)?;
        Some(History::new(next, self.last_of(segment)))
    }

    fn next(&self, segments: &[&'s Segment], upto: Lsn) -> Result<Option<(Leg<'s>, History)>> {
        let lsn = self.end.last;
        let leading = segments.iter().filter_map(|one| self.goes_on(one).map(|end| (*one, end)));
        let Some((best, mut end)) = leading.max_by_key(|(_, end)| end.last) else {
            return Ok(None);
        };
        end.last = end.last.min(upto);
        let on = best.header().timeline;
        // Somebody else's way from here, or one that leaves this segment before its end.
        let forks = segments.iter().find(|other| {
            let theirs = other.header().timeline;
            let here = theirs.id != on.id && self.goes_on(other).is_some();
            let leaves = theirs.parent == on.id && (lsn..end.last).contains(&theirs.fork);
            here || (leaves && self.last_of(other) > other.after())
        });
        match forks {
            Some(other) => Err(two_ways(best, other, other.header().timeline.fork)),
            None => Ok(Some((Leg { segment: best, after: lsn, upto: end.last }, end))),
        }
    }

    /// The time of the last commit of the way; `None` where it has none, or ends within a segment.
    pub(crate) fn last_time(&self) -> Option<i64> {
        let last = self.legs.last().filter(|leg| leg.upto == leg.segment.last())?;
        Some(last.segment.last_time())
    }

    /// The commits that are missing between the end of the way and the next segment there is.
    pub(crate) fn gap(&self) -> Option<Error> {
        let next = self.gap?;
        let (first, last) = (self.end.last + 1, next.after());
        let why = format!("the log's commits {first} to {last} are missing");
        let error = Error::new(ErrorKind::Invalid, why).with_code(code::LOG_GAP);
        Some(error.at(next.path()).hint("Name the log archives or segments that hold them, too."))
    }
}

/// The timelines that the segments, and a history, tell of.
pub(crate) fn known<'s>(
    segments: impl Iterator<Item = &'s Segment>,
    along: Option<&History>,
) -> Known {
    let mut known = Known::default();
    for segment in segments {
        known.add(segment.header().timeline);
        segment.ancestry().into_iter().for_each(|line| known.add_line(line));
    }
    along.into_iter().for_each(|along| known.add_line(&along.ancestry));
    known
}

fn two_ways(one: &Segment, other: &Segment, lsn: Lsn) -> Error {
    let why = format!(
        "two histories of the store go on from LSN {lsn}: that of {} and that of {}",
        one.path().display(),
        other.path().display()
    );
    let error = Error::new(ErrorKind::Foreign, why).with_code(code::FOREIGN_LOG);
    error.at(other.path()).hint("Name the log files of the one that is meant.")
}

/// Sees that a log that was named may be integrated into the store with this history.
///
/// # Errors
/// `Foreign` (1416).
pub(crate) fn check_admitted(
    segment: &Segment,
    store: StoreId,
    history: &History,
    known: &Known,
) -> Result<()> {
    let refuse = |why: String| {
        let error = Error::new(ErrorKind::Foreign, why).with_code(code::FOREIGN_LOG);
        Err(error.at(segment.path()))
    };
    if segment.header().store_id != store {
        return refuse("the log belongs to another store".into());
    }
    if segment.last() <= segment.after() {
        return Ok(());
    }
    match history.admits(segment.header().timeline, segment.last(), known) {
        Ok(()) => Ok(()),
        Err(parting) => refuse(format!(
            "the log is of a divergent history: it and the store's part after LSN {parting}"
        )),
    }
}
