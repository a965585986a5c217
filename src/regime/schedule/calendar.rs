//! The civil side of a schedule: on which dates it has slots, and at which times of day.
//!
//! No time zone and no instant: those are the business of the module above.

use jiff::civil::{Date, Time, date};
use jiff::{Span, ToSpan};

use super::Schedule;

/// A Monday, the first of a month and of a year: days, weeks and months are counted from it.
const EPOCH: Date = date(2001, 1, 1);
const DAY: u32 = 24 * 60 * 60;

impl Schedule {
    /// The first date at or after `from` that has slots.
    pub(super) fn date_from(&self, from: Date) -> Option<Date> {
        match self {
            Schedule::Never => None,
            Schedule::Hourly { .. } => Some(from),
            Schedule::Daily { every, .. } => {
                let wait = to_next(from.duration_since(EPOCH).as_hours() / 24, *every);
                from.checked_add(Span::new().try_days(wait).ok()?).ok()
            }
            Schedule::Weekly { every, days } => week_day_from(from, *every, days),
            Schedule::Monthly { every, day, .. } => month_day_from(from, *every, *day),
        }
    }

    /// The times of day of the slots of a date that has some, in order.
    pub(super) fn times_of(&self, date: Date) -> Vec<Time> {
        match self {
            Schedule::Never => Vec::new(),
            Schedule::Hourly { every, from } => times_of_round(*every, *from),
            Schedule::Daily { at, .. } | Schedule::Monthly { at, .. } => vec![*at],
            Schedule::Weekly { days, .. } => days[day_of_week(date)].into_iter().collect(),
        }
    }
}

/// How many units there are from the one numbered `number` to the next that is a multiple of
/// `every`.
fn to_next(number: i64, every: u32) -> i64 {
    (-number).rem_euclid(i64::from(every.max(1)))
}

/// 0 for Monday.
fn day_of_week(date: Date) -> usize {
    usize::from(date.weekday().to_monday_zero_offset().unsigned_abs())
}

fn week_day_from(from: Date, every: u32, days: &[Option<Time>; 7]) -> Option<Date> {
    let first = days.iter().position(Option::is_some)?;
    let today = day_of_week(from);
    let monday = from.checked_sub((today as i64).days()).ok()?;
    let week = monday.duration_since(EPOCH).as_hours() / (24 * 7);
    let wait = to_next(week, every);
    let (wait, day) = match (today..7).find(|day| days[*day].is_some()) {
        Some(day) if wait == 0 => (0, day),
        // The ticked days of this week are over.
        _ if wait == 0 => (i64::from(every.max(1)), first),
        _ => (wait, first),
    };
    let days = wait.checked_mul(7)?.checked_add(day as i64)?;
    monday.checked_add(Span::new().try_days(days).ok()?).ok()
}

fn month_day_from(from: Date, every: u32, day: u8) -> Option<Date> {
    let of_month = |first: Date| {
        let last = first.days_in_month();
        first.with().day(i8::try_from(day).unwrap_or(last).clamp(1, last)).build().ok()
    };
    let months = (i64::from(from.year()) - i64::from(EPOCH.year())) * 12;
    let number = months + i64::from(from.month()) - 1;
    let wait = to_next(number, every);
    let found =
        of_month(from.first_of_month().checked_add(Span::new().try_months(wait).ok()?).ok()?)?;
    if found >= from {
        return Some(found);
    }
    // It was earlier in this month.
    let next = found.first_of_month().checked_add(Span::new().try_months(every.max(1)).ok()?);
    of_month(next.ok()?)
}

fn times_of_round(every: u32, from: Time) -> Vec<Time> {
    let step = every.clamp(1, 24) * 60 * 60;
    let second = |n: i8| u32::from(n.unsigned_abs());
    let begin = (second(from.hour()) * 60 + second(from.minute())) * 60 + second(from.second());
    let mut seconds: Vec<u32> =
        (0..DAY).step_by(step as usize).map(|s| (begin + s) % DAY).collect();
    seconds.sort_unstable();
    let two = |n: u32| i8::try_from(n).unwrap_or(0);
    seconds
        .into_iter()
        .filter_map(|s| Time::new(two(s / 3600), two(s / 60 % 60), two(s % 60), 0).ok())
        .collect()
}
