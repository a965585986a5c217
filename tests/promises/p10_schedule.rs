//! P10: a year of schedule, slot by slot, against a walk through every minute of the year.
//!
//! The walk shares nothing with the library: it has its own calendar, and its own list of the
//! changes of the clock of 2026 in each zone. A local minute that matches is due when the clock shows
//! it for the first time; one that the clock leaves out is due as much later as the clock jumps.

use std::collections::BTreeSet;

use jiff::Timestamp;
use jiff::civil::{Time, time};
use jiff::tz::TimeZone;
use stillpoint::regime::{Schedule, next_after, slots_between};

use crate::support::random::{Random, seed};

/// Minutes since the Unix epoch at 2026-01-01T00:00Z, and how many the year has.
const YEAR: i64 = 20_454 * 24 * 60;
const MINUTES: i64 = 365 * 24 * 60;

/// A zone: its offset at the start of the year and its changes, in minutes.
struct Zone {
    name: &'static str,
    offset: i64,
    changes: &'static [(i64, i64)],
}

/// Minutes of the year at `hour` UTC of the day numbered `day` from 0.
const fn at(day: i64, hour: i64, minute: i64) -> i64 {
    YEAR + (day * 24 + hour) * 60 + minute
}

const ZONES: [Zone; 5] = [
    // 29 March and 25 October, at 01:00 UTC.
    Zone {
        name: "Europe/Berlin",
        offset: 60,
        changes: &[(at(87, 1, 0), 120), (at(297, 1, 0), 60)],
    },
    // 8 March at 07:00 UTC, 1 November at 06:00 UTC.
    Zone {
        name: "America/New_York",
        offset: -300,
        changes: &[(at(66, 7, 0), -240), (at(304, 6, 0), -300)],
    },
    // Half an hour. 4 April at 15:00 UTC, 3 October at 15:30 UTC.
    Zone {
        name: "Australia/Lord_Howe",
        offset: 660,
        changes: &[(at(93, 15, 0), 630), (at(275, 15, 30), 660)],
    },
    // At midnight. 5 April at 03:00 UTC, 6 September at 04:00 UTC.
    Zone {
        name: "America/Santiago",
        offset: -180,
        changes: &[(at(94, 3, 0), -240), (at(248, 4, 0), -180)],
    },
    Zone { name: "Asia/Kolkata", offset: 330, changes: &[] },
];

/// Days since 2001-01-01 as year, month and day, by counting.
struct Calendar {
    days: Vec<(i64, i64, i64)>,
}

impl Calendar {
    fn new() -> Calendar {
        let mut days = Vec::new();
        for year in 2001..2030 {
            for month in 1..=12 {
                for day in 1..=length(year, month) {
                    days.push((year, month, day));
                }
            }
        }
        Calendar { days }
    }

    /// Whether a local minute since the Unix epoch is one of `schedule`.
    fn matches(&self, schedule: &Schedule, minute: i64) -> bool {
        let (since_1970, of_day) = (minute.div_euclid(1440), minute.rem_euclid(1440));
        // 2001-01-01, a Monday, was day 11,323.
        let day = since_1970 - 11_323;
        let is = |time: &Time| i64::from(time.hour()) * 60 + i64::from(time.minute()) == of_day;
        match schedule {
            Schedule::Never => false,
            Schedule::Hourly { every, from } => {
                let from = i64::from(from.hour()) * 60 + i64::from(from.minute());
                (of_day + 1440 - from) % 1440 % (i64::from(*every) * 60) == 0
            }
            Schedule::Daily { every, at } => is(at) && day % i64::from(*every) == 0,
            Schedule::Weekly { every, days } => {
                let time = &days[usize::try_from(day % 7).unwrap()];
                time.as_ref().is_some_and(is) && day / 7 % i64::from(*every) == 0
            }
            Schedule::Monthly { every, day: wanted, at } => {
                if !is(at) {
                    return false;
                }
                let (year, month, of_month) = self.days[usize::try_from(day).unwrap()];
                let number = (year - 2001) * 12 + month - 1;
                let wanted = i64::from(*wanted).min(length(year, month));
                of_month == wanted && number % i64::from(*every) == 0
            }
        }
    }
}

fn length(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// The minutes of the year at which `schedule` is due.
fn walk(calendar: &Calendar, schedule: &Schedule, zone: &Zone) -> BTreeSet<i64> {
    let mut due = BTreeSet::new();
    let mut offset = zone.offset;
    let mut shown = YEAR + offset - 1;
    for minute in YEAR..YEAR + MINUTES {
        if let Some((_, new)) = zone.changes.iter().find(|(when, _)| *when == minute) {
            // What the clock leaves out is due later by as much as it jumps.
            for left_out in minute + offset..minute + new {
                if calendar.matches(schedule, left_out) {
                    due.insert(left_out - offset);
                }
            }
            offset = *new;
        }
        let local = minute + offset;
        if local > shown {
            shown = local;
            if calendar.matches(schedule, local) {
                due.insert(minute);
            }
        }
    }
    due
}

fn schedules() -> Vec<Schedule> {
    let days = |pattern: &str| {
        let mut hour = 0;
        let mut day = pattern.chars().map(|c| {
            hour += 3;
            (c == 'x').then(|| time(hour % 24, 30, 0, 0))
        });
        [(); 7].map(|()| day.next().flatten())
    };
    let mut all = vec![
        Schedule::Never,
        // The hours at which the clocks of the zones change.
        Schedule::Weekly { every: 1, days: [Some(time(2, 15, 0, 0)); 7] },
        Schedule::Weekly { every: 1, days: days("x-x-x-x") },
        Schedule::Weekly { every: 2, days: days("-----xx") },
        Schedule::Weekly { every: 5, days: days("xx-----") },
        Schedule::Weekly { every: 1, days: [None; 7] },
    ];
    for every in [1, 2, 5, 7, 12, 24] {
        all.push(Schedule::Hourly { every, from: time(1, 45, 0, 0) });
        all.push(Schedule::Hourly { every, from: time(22, 0, 0, 0) });
    }
    for every in [1, 2, 3, 10, 400] {
        all.push(Schedule::Daily { every, at: time(2, 10, 0, 0) });
        all.push(Schedule::Daily { every, at: time(0, 0, 0, 0) });
        all.push(Schedule::Daily { every, at: time(1, 40, 0, 0) });
    }
    for every in [1, 2, 3, 12] {
        for day in [1, 28, 29, 30, 31] {
            all.push(Schedule::Monthly { every, day, at: time(23, 59, 0, 0) });
        }
    }
    // The very nights of the changes.
    for (day, at) in [(29, time(2, 30, 0, 0)), (25, time(2, 30, 0, 0)), (5, time(1, 45, 0, 0))] {
        all.push(Schedule::Monthly { every: 1, day, at });
    }
    all
}

fn stamp(minute: i64) -> Timestamp {
    Timestamp::from_second(minute * 60).unwrap()
}

fn minute_of(slot: Timestamp) -> i64 {
    assert_eq!(slot.as_microsecond() % 60_000_000, 0, "{slot}");
    slot.as_second() / 60
}

#[test]
fn a_year_of_slots_is_that_of_a_walk_through_every_minute() {
    let calendar = Calendar::new();
    for zone in &ZONES {
        let tz = TimeZone::get(zone.name).unwrap();
        for schedule in schedules() {
            let expected = walk(&calendar, &schedule, zone);
            let (from, until) = (stamp(YEAR - 1), stamp(YEAR + MINUTES - 1));
            let found: Vec<i64> =
                slots_between(&schedule, from, until, &tz).map(minute_of).collect();
            let expected: Vec<i64> = expected.into_iter().collect();
            let odd = found.iter().zip(&expected).position(|(found, due)| found != due);
            let odd = odd.map(|at| (found[at], expected[at]));
            assert_eq!(odd, None, "{} {schedule:?}", zone.name);
            assert_eq!(found.len(), expected.len(), "{} {schedule:?}", zone.name);
        }
    }
}

#[test]
fn a_restart_at_any_moment_changes_no_slot() {
    let calendar = Calendar::new();
    let mut random = Random::new(seed("a_restart_at_any_moment"));
    for zone in &ZONES {
        let tz = TimeZone::get(zone.name).unwrap();
        for schedule in schedules() {
            let expected = walk(&calendar, &schedule, zone);
            for _ in 0..40 {
                let now = YEAR + random.below(MINUTES as u64) as i64;
                let next = next_after(&schedule, None, stamp(now), &tz).map(minute_of);
                let next = next.filter(|next| *next < YEAR + MINUTES);
                let wanted = expected.range(now + 1..).next().copied();
                assert_eq!(next, wanted, "{} {schedule:?} after minute {now}", zone.name);
            }
        }
    }
}

/// A process that wakes up now and then on a machine whose clock is set back now and then.
#[test]
fn a_clock_set_back_and_forth_runs_each_slot_once() {
    let calendar = Calendar::new();
    let mut random = Random::new(seed("a_clock_set_back"));
    for zone in &ZONES {
        let tz = TimeZone::get(zone.name).unwrap();
        for every in [1, 6, 24] {
            let schedule = Schedule::Hourly { every, from: time(0, 30, 0, 0) };
            let expected = walk(&calendar, &schedule, zone);
            let (mut now, mut farthest, mut last) = (YEAR, YEAR, None);
            let mut ran = Vec::new();
            while farthest < YEAR + MINUTES {
                let next = next_after(&schedule, last, stamp(now), &tz).expect("it goes on");
                now += 1 + random.below(40) as i64;
                if now >= minute_of(next) {
                    // It woke up at the slot, and the work took a while.
                    ran.push(minute_of(next));
                    last = Some(next);
                    now = minute_of(next) + random.below(5) as i64;
                }
                farthest = farthest.max(now);
                if random.below(50) == 0 {
                    // At most 25 hours behind what it showed before.
                    now = (now - random.below(20 * 60) as i64).max(farthest - 25 * 60).max(YEAR);
                }
            }
            ran.retain(|slot| *slot < YEAR + MINUTES);
            let wanted: Vec<i64> = expected.range(YEAR + 1..=farthest).copied().collect();
            let odd = ran.iter().zip(&wanted).position(|(ran, wanted)| ran != wanted);
            assert_eq!(odd.map(|at| (ran[at], wanted[at])), None, "{} {every} h", zone.name);
            assert!(ran.len().abs_diff(wanted.len()) <= 1, "{} {every} h", zone.name);
        }
    }
}
