//! Which commits of a store's own history can be restored, and which cannot: the arithmetic.
//!
//! An archive gives one commit; pieces of the log that follow it without a gap carry on from there.
//! Everything goes by timeline and LSN, never by the number of a backup: after a reset of the
//! numbers, set 1 can be younger than set 6. Archives of a branch that the store has left count
//! apart: they can be restored, but they are not on its way.
//!
//! Pure: what there is, is gathered in `health.rs`.

use crate::engine::{History, Lsn, Timeline};

/// A commit that can be restored.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Point {
    /// The commit.
    pub lsn: Lsn,
    /// Its time, in microseconds since the Unix epoch, where it is known.
    pub time: Option<i64>,
}

/// Commits between two restorable points that cannot be restored.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Gap {
    /// The last restorable commit before it.
    pub after: Lsn,
    /// The first restorable commit behind it.
    pub before: Lsn,
}

/// An archive that can be restored by what is at hand.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Base {
    pub(crate) timeline: Timeline,
    pub(crate) lsn: Lsn,
    pub(crate) time: i64,
}

/// A piece of the log: the commits after `after`, up to `last`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Piece {
    pub(crate) timeline: Timeline,
    pub(crate) after: Lsn,
    pub(crate) last: Lsn,
    /// The time of the last commit, where it is known.
    pub(crate) last_time: Option<i64>,
}

/// What can be restored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reach {
    pub(crate) oldest: Option<Point>,
    pub(crate) newest: Option<Point>,
    pub(crate) gaps: Vec<Gap>,
}

/// What `bases` and `pieces` restore of `history`.
pub(crate) fn reach(history: &History, bases: &[Base], pieces: &[Piece]) -> Reach {
    let mut bases: Vec<Base> =
        bases.iter().filter(|base| history.holds(base.timeline.id, base.lsn)).copied().collect();
    bases.sort_by_key(|base| base.lsn);
    let mut pieces: Vec<Piece> = pieces.iter().filter_map(|piece| cut(history, piece)).collect();
    pieces.sort_by_key(|piece| (piece.after, piece.last));
    let mut reach = Reach::default();
    for base in bases {
        let end = follow(Point { lsn: base.lsn, time: Some(base.time) }, &pieces);
        match reach.newest {
            None => reach.oldest = Some(Point { lsn: base.lsn, time: Some(base.time) }),
            Some(newest) if base.lsn > newest.lsn + 1 => {
                reach.gaps.push(Gap { after: newest.lsn, before: base.lsn });
            }
            Some(_) => {}
        }
        if reach.newest.is_none_or(|newest| end.lsn >= newest.lsn) {
            reach.newest = Some(end);
        }
    }
    reach
}

/// What of `piece` lies on the way.
pub(crate) fn cut(history: &History, piece: &Piece) -> Option<Piece> {
    let end = history.end_of(piece.timeline.id)?;
    let last = piece.last.min(end);
    let last_time = piece.last_time.filter(|_| last == piece.last);
    (last > piece.after).then_some(Piece { last, last_time, ..*piece })
}

/// How far the pieces, which are sorted, carry on from `start` without a gap.
fn follow(start: Point, pieces: &[Piece]) -> Point {
    let mut at = start;
    for piece in pieces {
        if piece.after <= at.lsn && piece.last > at.lsn {
            at = Point { lsn: piece.last, time: piece.last_time };
        }
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Ancestry;

    const A: Timeline = Timeline { id: 1, parent: 0, fork: 0 };
    /// Left A after commit 50.
    const B: Timeline = Timeline { id: 2, parent: 1, fork: 50 };

    /// All of A, and all of B, which left it.
    fn of_a() -> History {
        History::new(Ancestry::first(A.id), Lsn::MAX)
    }

    fn of_b() -> History {
        History::new(Ancestry::first(A.id).extended(B.id, B.fork).unwrap(), Lsn::MAX)
    }

    fn base(timeline: Timeline, lsn: Lsn) -> Base {
        Base { timeline, lsn, time: lsn as i64 }
    }

    fn piece(timeline: Timeline, after: Lsn, last: Lsn) -> Piece {
        Piece { timeline, after, last, last_time: Some(last as i64) }
    }

    fn point(lsn: Lsn) -> Option<Point> {
        Some(Point { lsn, time: Some(lsn as i64) })
    }

    #[test]
    fn an_archive_and_the_logs_behind_it_reach_to_the_last_commit_without_a_gap() {
        let way = of_a();
        let found = reach(&way, &[base(A, 10), base(A, 30)], &[piece(A, 30, 44), piece(A, 10, 30)]);
        assert_eq!(found, Reach { oldest: point(10), newest: point(44), gaps: Vec::new() });
    }

    #[test]
    fn a_missing_log_is_a_gap_and_the_last_archive_before_a_log_is_no_help_behind_it() {
        let way = of_a();
        let found = reach(&way, &[base(A, 10), base(A, 30)], &[piece(A, 12, 20)]);
        assert_eq!(found.gaps, [Gap { after: 10, before: 30 }]);
        assert_eq!(found.newest, point(30));
        let found = reach(&way, &[base(A, 10), base(A, 30)], &[piece(A, 10, 20)]);
        assert_eq!(found.gaps, [Gap { after: 20, before: 30 }]);
    }

    #[test]
    fn nothing_is_missing_between_neighbours() {
        let way = of_a();
        assert!(reach(&way, &[base(A, 10), base(A, 11)], &[]).gaps.is_empty());
    }

    #[test]
    fn a_branch_that_was_left_does_not_count() {
        let way = of_b();
        let found = reach(
            &way,
            &[base(A, 10), base(A, 60), base(B, 70)],
            &[piece(A, 10, 60), piece(B, 50, 70)],
        );
        assert_eq!(found, Reach { oldest: point(10), newest: point(70), gaps: Vec::new() });
        let found = reach(&way, &[base(A, 60)], &[piece(A, 60, 80)]);
        assert_eq!(found, Reach::default(), "commit 60 of A is not on the way of B");
    }

    #[test]
    fn what_was_cut_from_a_left_branch_has_no_known_time() {
        let way = of_b();
        let found = reach(&way, &[base(A, 10)], &[piece(A, 10, 60)]);
        assert_eq!(found.newest, Some(Point { lsn: 50, time: None }));
    }

    #[test]
    fn what_lies_beyond_the_end_is_a_future_that_was_left() {
        let way = History { last: 20, ..of_a() };
        let all = [base(A, 10), base(A, 30)];
        let found = reach(&way, &all, &[piece(A, 10, 30), piece(A, 30, 44)]);
        let newest = Some(Point { lsn: 20, time: None });
        assert_eq!(found, Reach { oldest: point(10), newest, gaps: Vec::new() });
    }
}
