//! Rolling a store forward through logs, to a point that was chosen.
//!
//! The way is planned before anything is done: a gap, a foreign log or a point that the logs do not
//! reach is an error while nothing has changed. Then commits are applied strictly in order of their
//! LSNs, group by group, so that whatever ends the work leaves a true prefix of the history.

use std::ops::ControlFlow;
use std::path::Path;

use super::builder::Tell;
use super::log_file::{Course, LogFile, Segment, check_admitted, check_chain, known};
use crate::archive::{Progress, ReadRepair};
use crate::disk::Disk;
use crate::engine::{
    Engine, EngineOptions, ForeignGroup, History, KeptLog, Known, Lsn, StoreId, Timeline,
};
use crate::error::{Error, ErrorKind, Result, code};
use crate::store::{BackupState, RestoredTo};

/// How far a store is brought forward.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum RestorePoint {
    /// Through the last commit that there is.
    #[default]
    Newest,
    /// Through this commit.
    Lsn(Lsn),
    /// Through the last commit whose time is not later than this, in microseconds since the Unix
    /// epoch.
    Time(i64),
    /// Through the commit before this one: without an operation that was a mistake.
    Before(Lsn),
}

impl RestorePoint {
    /// The last commit that may count.
    pub(crate) fn last(self) -> Lsn {
        match self {
            RestorePoint::Newest | RestorePoint::Time(_) => Lsn::MAX,
            RestorePoint::Lsn(lsn) => lsn,
            RestorePoint::Before(lsn) => lsn.saturating_sub(1),
        }
    }

    /// Whether a commit of this time may count.
    pub(crate) fn allows(self, time: i64) -> bool {
        !matches!(self, RestorePoint::Time(until) if time > until)
    }
}

/// Where the logs to be applied come from.
#[derive(Default)]
pub(crate) struct Logs {
    /// Named one by one: each must belong to the history.
    pub(crate) named: Vec<LogFile>,
    /// What else lies at hand: of these what belongs to it is taken.
    pub(crate) at_hand: Vec<LogFile>,
    /// Only what is of this history is taken, where there are several.
    pub(crate) along: Option<History>,
    /// What lies at hand and cannot be read. It is an error only where it may be needed.
    pub(crate) unread: Vec<Error>,
}

impl Logs {
    fn segments(&self) -> impl Iterator<Item = &Segment> {
        self.named.iter().chain(&self.at_hand).flat_map(|log| log.parts())
    }

    /// The timelines that they tell of.
    pub(crate) fn known(&self) -> Known {
        known(self.segments(), self.along.as_ref())
    }

    /// Bytes of all of them.
    pub(crate) fn bytes(&self) -> u64 {
        self.segments().map(Segment::bytes).sum()
    }

    /// What parity repaired while they were read.
    pub(crate) fn read_repairs(&self) -> impl Iterator<Item = ReadRepair> + '_ {
        self.named.iter().chain(&self.at_hand).flat_map(LogFile::read_repairs)
    }

    /// Whether they or the store at `start` go on until `point`, whatever lies between.
    pub(crate) fn lead_to(&self, start: &Start, point: RestorePoint) -> bool {
        match point {
            RestorePoint::Newest => true,
            RestorePoint::Time(until) => {
                let known = self.segments().map(Segment::last_time).max();
                let known = known.unwrap_or(i64::MIN).max(start.time).max(start.complete_until);
                until <= known.saturating_add(SHOWN_LATER)
            }
            RestorePoint::Lsn(_) | RestorePoint::Before(_) => {
                let last = self.segments().map(Segment::last).max().unwrap_or(0);
                last.max(start.history.last) >= point.last()
            }
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.segments().next().is_none()
    }
}

/// Where a store is before it is rolled forward.
#[derive(Clone, Debug)]
pub(crate) struct Start {
    pub(crate) store: StoreId,
    /// Its commits.
    pub(crate) history: History,
    /// The time of the last one.
    pub(crate) time: i64,
    /// No later commit is as old as this, in microseconds since the Unix epoch.
    pub(crate) complete_until: i64,
}

/// The way to a point.
pub(crate) struct Roll<'l> {
    pub(crate) course: Course<'l>,
    point: RestorePoint,
    /// The commit that it begins with.
    from: Lsn,
    /// No commit after that is as old as this, in microseconds since the Unix epoch.
    complete_until: i64,
}

/// Times are shown in milliseconds, rounded up: a point of so much later means the same commit.
const SHOWN_LATER: i64 = 999;

/// What was applied so far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Rolled {
    pub(crate) commits: u64,
    pub(crate) operations: u64,
    /// Bytes of keys and values.
    pub(crate) bytes: u64,
    /// The last commit that the store has now.
    pub(crate) lsn: Lsn,
    /// Its timeline, once all was applied.
    pub(crate) timeline: Option<Timeline>,
}

impl<'l> Roll<'l> {
    /// Plans the way from `start` to `point` through `logs`.
    ///
    /// # Errors
    /// `Invalid` where the point lies before the start; `Invalid` (2010) where commits are missing;
    /// `Foreign` (1416) where a named log does not belong to the history, or two histories go on.
    pub(crate) fn plan(logs: &'l Logs, start: &Start, point: RestorePoint) -> Result<Roll<'l>> {
        check_not_before(start, point)?;
        let known = logs.known();
        for segment in logs.named.iter().flat_map(|log| log.parts()) {
            check_admitted(segment, start.store, &start.history, &known)?;
        }
        let roll = Roll::as_far_as_possible(logs, start, point)?;
        let reached = check_reached(&roll.course, point);
        match logs.unread.first() {
            // What was not read may be what is missing.
            Some(unread) if reached.is_err() || !goes_past(&roll.course, point) => {
                return Err(unread.clone());
            }
            _ => reached?,
        }
        Ok(roll)
    }

    fn new(course: Course<'l>, start: &Start, point: RestorePoint) -> Roll<'l> {
        let complete_until = start.time.max(start.complete_until);
        Roll { course, point, from: start.history.last, complete_until }
    }

    /// The same where what is missing is no error: the way ends there.
    ///
    /// # Errors
    /// `Foreign` (1416) where two histories go on from one commit.
    pub(crate) fn as_far_as_possible(
        logs: &'l Logs,
        start: &Start,
        point: RestorePoint,
    ) -> Result<Roll<'l>> {
        let (segments, along) = (logs.segments(), logs.along.as_ref());
        let course = Course::plan(segments, start.store, &start.history, point.last(), along)?;
        Ok(Roll::new(course, start, point))
    }

    /// Applies it to `engine`, which is at the start, and tells `step` after each group.
    ///
    /// # Durability
    /// What was applied is durable when it returns without an error.
    ///
    /// # Errors
    /// Damage of a log (1413); those of commits and of `step`. What was applied is a prefix then.
    pub(crate) fn run(
        &self,
        engine: &Engine,
        step: &mut dyn FnMut(&Rolled) -> Result<()>,
    ) -> Result<Rolled> {
        let mut rolled = Rolled { lsn: engine.visible_lsn(), ..Rolled::default() };
        self.each(&mut |foreign| {
            rolled.commits += foreign.commits.len() as u64;
            for (_, batch) in &foreign.commits {
                rolled.operations += batch.ops().len() as u64;
                rolled.bytes += batch.bytes() as u64;
            }
            rolled.lsn = engine.apply(foreign)?.lsn;
            step(&rolled)
        })?;
        engine.sync()?;
        rolled.timeline = Some(engine.position().timeline);
        Ok(rolled)
    }

    /// Applies it to the store of a restore in `dir`, which `open` opens, closes that, and lets it
    /// remember where it is.
    ///
    /// # Errors
    /// As [`Roll::run`]; `Stopped` (1406) when `tell` says so.
    pub(super) fn forward(
        &self,
        disk: &dyn Disk,
        dir: &Path,
        total: u64,
        tell: &mut Tell<'_>,
        open: impl FnOnce(EngineOptions) -> Result<Engine>,
    ) -> Result<Rolled> {
        // No more room is taken ahead than the logs may need.
        let segment_bytes = total.clamp(1 << 20, 64 << 20);
        // What is applied stands in the store's own log: it goes on from the archive.
        let kept = BackupState::load(disk, dir)?.kept_from;
        let keep_log = kept.map(|from| KeptLog { from, backed_up: false });
        let engine = open(EngineOptions { segment_bytes, keep_log, ..EngineOptions::default() })?;
        let rolled = self.run(&engine, &mut |rolled| {
            let progress = Progress { done: rolled.bytes.min(total), total };
            match tell(progress) {
                ControlFlow::Continue(()) => Ok(()),
                ControlFlow::Break(()) => {
                    Err(Error::new(ErrorKind::Stopped, "the restore was stopped")
                        .with_code(code::STOPPED)
                        .at(dir))
                }
            }
        })?;
        let end = engine.position();
        engine.close()?;
        let mut state = BackupState::load(disk, dir)?;
        state.restored_to = Some(RestoredTo { lsn: end.lsn, timeline: end.timeline.into() });
        state.save(disk, dir)?;
        Ok(rolled)
    }

    /// The last commit that it leads to. The logs are read for that: a time may lie anywhere in them.
    ///
    /// # Errors
    /// Damage of a log (1413).
    pub(crate) fn end(&self) -> Result<Lsn> {
        let mut last = self.from;
        self.each(&mut |foreign| {
            last = foreign.last_lsn();
            Ok(())
        })?;
        Ok(last)
    }

    /// Whether the logs go on until the point. Those of a time may end before it.
    pub(crate) fn reaches_point(&self) -> bool {
        let RestorePoint::Time(until) = self.point else { return true };
        let last = self.course.last_time().unwrap_or(self.complete_until);
        let known = last.max(self.complete_until).saturating_add(SHOWN_LATER);
        until <= known || goes_past(&self.course, self.point)
    }

    /// Reads all that would be applied, for whoever can do nothing else any more once it has begun. Gives
    /// the last commit of it, with its timeline.
    ///
    /// # Errors
    /// Damage of a log (1413).
    pub(crate) fn check(&self) -> Result<Option<(Timeline, Lsn)>> {
        let mut end = None;
        self.each(&mut |group| {
            end = Some((group.timeline, group.last_lsn()));
            Ok(())
        })?;
        Ok(end)
    }

    /// Hands out the groups on the way, in order.
    fn each(&self, take: &mut dyn FnMut(ForeignGroup) -> Result<()>) -> Result<()> {
        let mut before: Option<(&Segment, u32)> = None;
        for leg in &self.course.legs {
            if !self.point.allows(leg.segment.header().base_time) {
                break;
            }
            if let Some((segment, chain)) = before {
                check_chain(segment, chain, leg.segment)?;
            }
            let chain = leg.segment.read(&mut |group, contexts| {
                if !self.point.allows(group.head.time) || group.head.first_lsn > leg.upto {
                    return Ok(ControlFlow::Break(()));
                }
                if let Some(foreign) = leg.segment.foreign(group, contexts, leg.after, leg.upto)? {
                    take(foreign)?;
                }
                // What is behind the point may be damaged: it is not needed.
                let next = group.head.first_lsn + u64::from(group.head.commits);
                match next > leg.upto && leg.upto < leg.segment.last() {
                    true => Ok(ControlFlow::Break(())),
                    false => Ok(ControlFlow::Continue(())),
                }
            })?;
            before = (leg.upto == leg.segment.last()).then_some((leg.segment, chain));
        }
        Ok(())
    }
}

fn check_not_before(start: &Start, point: RestorePoint) -> Result<()> {
    let (lsn, time) = (start.history.last, start.time);
    let refuse = |what: String| {
        let error = Error::new(ErrorKind::Invalid, what);
        Err(error.hint("Begin with an older archive: history is only rolled forward."))
    };
    if point.last() < lsn {
        let last = point.last();
        return refuse(format!("the point, LSN {last}, lies before LSN {lsn}, the first there is"));
    }
    if !point.allows(time) && lsn > 0 {
        return refuse(format!("the point lies before the time of LSN {lsn}, the first there is"));
    }
    Ok(())
}

/// Whether no log that goes on from the way could lead further towards the point.
fn goes_past(course: &Course<'_>, point: RestorePoint) -> bool {
    match point {
        RestorePoint::Newest => false,
        RestorePoint::Time(_) => course.last_time().is_some_and(|last| !point.allows(last)),
        RestorePoint::Lsn(_) | RestorePoint::Before(_) => course.end.last >= point.last(),
    }
}

/// Sees that the way leads to the point, as far as that can be known before the logs are read.
fn check_reached(course: &Course<'_>, point: RestorePoint) -> Result<()> {
    let (end, gap) = (course.end.last, course.gap());
    match point {
        RestorePoint::Newest => gap.map_or(Ok(()), Err),
        // Past the point nothing is needed.
        RestorePoint::Time(_) if goes_past(course, point) => Ok(()),
        RestorePoint::Time(_) => gap.map_or(Ok(()), Err),
        RestorePoint::Lsn(_) | RestorePoint::Before(_) if end >= point.last() => Ok(()),
        RestorePoint::Lsn(_) | RestorePoint::Before(_) => Err(gap.unwrap_or_else(|| {
            let last = point.last();
            let why = format!("LSN {last} cannot be reached: the logs end with LSN {end}");
            let error = Error::new(ErrorKind::Invalid, why).with_code(code::LOG_GAP);
            error.hint("Name the log archives or segments that hold the later commits, too.")
        })),
    }
}
