//! Which segments lead from one commit to another, and whether they do without a gap.
//!
//! Segments are matched by store, timeline and LSN, never by number or name: the segments of a store
//! and those of its mirror are the same history cut at other places. From a commit the history goes on
//! on its own timeline, or on one that forks off exactly there. Where both ways stand in the segments
//! at hand, nothing is guessed.

use std::collections::HashMap;

use super::segment::Segment;
use crate::engine::{Lsn, StoreId, Timeline, follows};
use crate::error::{Error, ErrorKind, Result, code};

/// A commit in a history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) timeline: Timeline,
    pub(crate) lsn: Lsn,
}

/// The history that is meant, where there are several.
#[derive(Clone, Debug)]
pub(crate) struct Along {
    /// The commit that it led to.
    pub(crate) to: Place,
    /// Timelines that it may have come through, besides those of the segments at hand.
    pub(crate) known: Vec<Timeline>,
}

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
    pub(crate) end: Place,
    /// The first segment that would go on after a gap.
    gap: Option<&'s Segment>,
    /// The only timelines that it may go along, each through its LSN; empty where any will do.
    along: HashMap<u128, Lsn>,
}

impl<'s> Course<'s> {
    /// The way from `start` through `upto`, or as far as `segments` lead. Segments of other stores are
    /// passed over, and those that are not of the history that led to `along`, where that is given.
    ///
    /// # Errors
    /// `Foreign` (1416) where two histories go on from one commit.
    pub(crate) fn plan(
        segments: impl Iterator<Item = &'s Segment>,
        store: StoreId,
        start: Place,
        upto: Lsn,
        along: Option<&Along>,
    ) -> Result<Course<'s>> {
        let ours = |segment: &&Segment| {
            segment.header().store_id == store && segment.last() > segment.after()
        };
        let segments: Vec<&Segment> = segments.filter(ours).collect();
        let known = along.map_or(&[][..], |along| &along.known);
        let branches = Branches::of(&segments, known);
        let along = along.map(|along| branches.past(along.to)).unwrap_or_default();
        let through = along.get(&start.timeline.id).copied();
        if !along.is_empty() && through.is_none_or(|through| through < start.lsn) {
            let why = format!("LSN {} there is of another history", start.lsn);
            return Err(Error::new(ErrorKind::Foreign, why).with_code(code::FOREIGN_LOG));
        }
        let mut course = Course { legs: Vec::new(), end: start, gap: None, along };
        while course.end.lsn < upto {
            let Some(next) = course.next(&segments, upto)? else { break };
            course.end = Place { timeline: next.segment.header().timeline, lsn: next.upto };
            course.legs.push(next);
        }
        let end = course.end;
        let beyond = segments.iter().filter(|segment| {
            segment.after() > end.lsn
                && course.last_of(segment) > segment.after()
                && branches.is_ahead(segment.header().timeline, end)
        });
        course.gap = beyond.min_by_key(|segment| segment.after()).copied();
        Ok(course)
    }

    /// The last commit of `segment` that may count.
    fn last_of(&self, segment: &Segment) -> Lsn {
        match self.along.get(&segment.header().timeline.id) {
            Some(&through) => segment.last().min(through),
            None if self.along.is_empty() => segment.last(),
            None => segment.after(),
        }
    }

    fn next(&self, segments: &[&'s Segment], upto: Lsn) -> Result<Option<Leg<'s>>> {
        let Place { timeline, lsn } = self.end;
        let goes_on = |segment: &&&'s Segment| {
            let header = segment.header();
            segment.after() <= lsn
                && self.last_of(segment) > lsn
                && follows(header.timeline, timeline, lsn)
        };
        let best = segments.iter().filter(goes_on).max_by_key(|segment| self.last_of(segment));
        let Some(&best) = best else { return Ok(None) };
        let on = best.header().timeline;
        let end = self.last_of(best).min(upto);
        // Somebody else's way from here, or one that leaves this segment before its end.
        let forks = segments.iter().find(|other| {
            let theirs = other.header().timeline;
            let here = theirs.id != on.id && goes_on(other);
            let leaves = theirs.parent == on.id && (lsn..end).contains(&theirs.fork);
            here || (leaves && self.last_of(other) > other.after())
        });
        match forks {
            Some(other) => Err(two_ways(best, other, other.header().timeline.fork)),
            None => Ok(Some(Leg { segment: best, after: lsn, upto: end })),
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
        let (first, last) = (self.end.lsn + 1, next.after());
        let why = format!("the log's commits {first} to {last} are missing");
        let error = Error::new(ErrorKind::Invalid, why).with_code(code::LOG_GAP);
        Some(error.at(next.path()).hint("Name the log archives or segments that hold them, too."))
    }
}

/// The timelines that are known, by their ids.
struct Branches(HashMap<u128, Timeline>);

impl Branches {
    fn of(segments: &[&Segment], known: &[Timeline]) -> Branches {
        let timelines = segments.iter().map(|segment| segment.header().timeline);
        Branches(
            timelines
                .chain(known.iter().copied())
                .map(|timeline| (timeline.id, timeline))
                .collect(),
        )
    }

    /// `timeline` and those that it came from, as far as they are known.
    fn line(&self, timeline: Timeline) -> Vec<Timeline> {
        let mut line = vec![timeline];
        // As long as there are timelines at most: damage may have made a circle.
        while line.len() <= self.0.len()
            && let Some(parent) = self.0.get(&line[line.len() - 1].parent)
        {
            line.push(*parent);
        }
        line
    }

    /// The timelines of the history that led to `place`, each with the last commit that it shares.
    fn past(&self, place: Place) -> HashMap<u128, Lsn> {
        let line = self.line(place.timeline);
        let mut past = HashMap::from([(place.timeline.id, place.lsn)]);
        for child in line.iter().filter(|child| child.parent != 0) {
            past.insert(child.parent, child.fork);
        }
        past
    }

    /// Whether a later commit of the timeline `theirs` may go on from `end`, and was not left by the
    /// history before it. Where nothing is known of how the two are related, it may.
    fn is_ahead(&self, theirs: Timeline, end: Place) -> bool {
        let past: Vec<u128> = self.line(end.timeline).iter().skip(1).map(|line| line.id).collect();
        let past = |id: u128| id != 0 && (id == end.timeline.parent || past.contains(&id));
        for timeline in self.line(theirs) {
            if timeline.id == end.timeline.id {
                return true;
            }
            if timeline.parent == end.timeline.id {
                return timeline.fork >= end.lsn;
            }
            if past(timeline.id) || past(timeline.parent) {
                return false;
            }
        }
        true
    }
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

/// Sees that a log that was named belongs to the store's history at `place`: it is of the same store,
/// and all of its commits are either there already or go on from there.
///
/// # Errors
/// `Foreign` (1416).
pub(crate) fn check_kin(segment: &Segment, store: StoreId, place: Place) -> Result<()> {
    let refuse = |why: String| {
        let error = Error::new(ErrorKind::Foreign, why).with_code(code::FOREIGN_LOG);
        Err(error.at(segment.path()))
    };
    let header = segment.header();
    if header.store_id != store {
        return refuse("the log belongs to another store".into());
    }
    let (theirs, ours) = (header.timeline, place.timeline);
    if theirs.id == ours.id || segment.last() <= segment.after() {
        return Ok(());
    }
    if theirs.id == ours.parent && segment.last() > ours.fork {
        let fork = ours.fork;
        return refuse(format!(
            "the log is of a divergent history: the store left it after LSN {fork}"
        ));
    }
    if theirs.parent == ours.id && theirs.fork < place.lsn {
        let fork = theirs.fork;
        return refuse(format!(
            "the log is of a divergent history, which forks off after LSN {fork}"
        ));
    }
    Ok(())
}
