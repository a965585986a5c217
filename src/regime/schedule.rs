//! When automatic backups are due: every frequency, in local time, as pure functions.
//!
//! A schedule names *slots*, instants at which a backup is due. They follow from the schedule and
//! the time zone alone, from no state: the days, weeks and months of "every N" are counted from
//! fixed dates ([`Schedule`] says which), so that the same schedule gives the same slots after a
//! restart, a reinstallation, or a run that was missed.
//!
//! Invariants: each local time of a slot is one instant, also across changes of the clock. Where it
//! does not exist (the clock is put forward over it), it is as much later as the clock is put forward
//! (jiff's `Compatible` rule); where it comes twice (the clock is put back), the first one counts.
//! Two local times that become one instant are one slot.
//!
//! There is no thread here and no clock: whoever waits and runs gives the time.

mod calendar;
#[cfg(test)]
mod tests;

use jiff::civil::Time;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan};

use super::settings::{Frequency, Scheduler};

/// How far the clock may lie behind the last run without its slots coming again: no two time zones
/// are further apart, so that a zone set wrong and set right is within it.
pub(super) const SET_BACK: SignedDuration = SignedDuration::from_hours(26);

/// When automatic backups are due.
///
/// Numbers outside what is said here count as the nearest that is allowed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Schedule {
    /// Never.
    #[default]
    Never,
    /// Every `every` hours (1 to 24) from a time of day. The same times each day: a day's round ends
    /// with the last that is less than 24 hours after `from`, and the next begins at `from` again.
    /// Every 5 hours from 02:00 is 02:00, 07:00, 12:00, 17:00 and 22:00.
    Hourly {
        /// Hours from slot to slot.
        every: u32,
        /// The time that the round begins with.
        from: Time,
    },
    /// Every `every` days, counted from Monday, 1 January 2001.
    Daily {
        /// Days from slot to slot.
        every: u32,
        /// The time of day.
        at: Time,
    },
    /// On some days of every `every`th week. Weeks begin on Monday, counted from that of 1 January
    /// 2001.
    Weekly {
        /// Weeks from slot to slot.
        every: u32,
        /// The time of day for Monday to Sunday; none on a day without a backup.
        days: [Option<Time>; 7],
    },
    /// On one day of every `every`th month, counted from January 2001: every 3 months is January,
    /// April, July and October.
    Monthly {
        /// Months from slot to slot.
        every: u32,
        /// Day of the month (1 to 31); the last day of a month that has fewer.
        day: u8,
        /// The time of day.
        at: Time,
    },
}

impl From<&Scheduler> for Schedule {
    fn from(scheduler: &Scheduler) -> Schedule {
        let Scheduler { frequency, hourly, daily, weekly, monthly } = scheduler;
        match frequency {
            Frequency::Never => Schedule::Never,
            Frequency::Hourly => Schedule::Hourly { every: hourly.every, from: hourly.starting_at },
            Frequency::Daily => Schedule::Daily { every: daily.every, at: daily.hour },
            Frequency::Weekly => Schedule::Weekly {
                every: weekly.every,
                days: weekly.days.each_ref().map(|day| day.save.then_some(day.hour)),
            },
            Frequency::Monthly => Schedule::Monthly {
                every: monthly.every,
                day: u8::try_from(monthly.day).unwrap_or(u8::MAX),
                at: monthly.hour,
            },
        }
    }
}

/// The first slot that is to be run after `now`, given the slot that was run last.
///
/// A slot at or before `last_run` does not come again when the clock is set back. Where the clock is
/// more than 26 hours behind `last_run`, it was wrong when that run was noted, and its correction
/// counts: a backup too many is better than none for long.
pub fn next_after(
    schedule: &Schedule,
    last_run: Option<Timestamp>,
    now: Timestamp,
    zone: &TimeZone,
) -> Option<Timestamp> {
    let believed = last_run.filter(|last| last.duration_since(now) <= SET_BACK);
    first_after(schedule, believed.map_or(now, |last| last.max(now)), zone)
}

/// The slots after `after` up to and with `until`, in order: what was missed or overlapped between.
pub fn slots_between<'s>(
    schedule: &'s Schedule,
    after: Timestamp,
    until: Timestamp,
    zone: &'s TimeZone,
) -> Slots<'s> {
    Slots { schedule, zone, after, until }
}

/// The slots of a stretch of time.
#[derive(Clone, Debug)]
pub struct Slots<'s> {
    schedule: &'s Schedule,
    zone: &'s TimeZone,
    after: Timestamp,
    until: Timestamp,
}

impl Iterator for Slots<'_> {
    type Item = Timestamp;

    fn next(&mut self) -> Option<Timestamp> {
        let slot = first_after(self.schedule, self.after, self.zone)?;
        (slot <= self.until).then(|| {
            self.after = slot;
            slot
        })
    }
}

/// The first slot after `after`; none where the calendar ends.
fn first_after(schedule: &Schedule, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
    let today = zone.to_datetime(after).date();
    // The slots of a date may lie on a later one, where a zone leaves out hours or a whole day.
    let mut date = schedule.date_from(today.checked_sub(2.days()).unwrap_or(today));
    let mut best: Option<(Timestamp, jiff::civil::Date)> = None;
    while let Some(this) = date {
        if best.is_some_and(|(_, last)| this > last) {
            break;
        }
        for time in schedule.times_of(this) {
            let slot = zone.to_ambiguous_timestamp(this.to_datetime(time)).compatible();
            let Ok(slot) = slot else { continue };
            if slot > after && best.is_none_or(|(found, _)| slot < found) {
                let last = zone.to_datetime(slot).date();
                best = Some((slot, last.checked_add(2.days()).unwrap_or(last)));
            }
        }
        date = this.tomorrow().ok().and_then(|next| schedule.date_from(next));
    }
    best.map(|(slot, _)| slot)
}
