//! Slots that have a rule of their own. Whole years are tested from outside.

use super::*;
use jiff::civil::{DateTime, date, time};

fn zone(name: &str) -> TimeZone {
    TimeZone::get(name).expect("a bundled zone")
}

fn at(text: &str, zone: &TimeZone) -> Timestamp {
    text.parse::<DateTime>().unwrap().to_zoned(zone.clone()).unwrap().timestamp()
}

fn next(schedule: &Schedule, now: &str, zone: &TimeZone) -> String {
    let slot = next_after(schedule, None, at(now, zone), zone).expect("a slot");
    zone.to_datetime(slot).strftime("%F %H:%M").to_string()
}

#[test]
fn the_31st_is_the_last_day_of_a_shorter_month() {
    let utc = TimeZone::UTC;
    let monthly = Schedule::Monthly { every: 1, day: 31, at: time(3, 0, 0, 0) };
    let expected = ["2024-01-31", "2024-02-29", "2024-03-31", "2024-04-30"];
    let slots =
        slots_between(&monthly, at("2024-01-01T00:00", &utc), at("2024-05-01T00:00", &utc), &utc);
    let found: Vec<String> = slots.map(|slot| utc.to_datetime(slot).date().to_string()).collect();
    assert_eq!(found, expected);
}

#[test]
fn every_third_month_is_counted_from_january() {
    let monthly = Schedule::Monthly { every: 3, day: 15, at: time(0, 0, 0, 0) };
    assert_eq!(next(&monthly, "2026-01-15T00:00", &TimeZone::UTC), "2026-04-15 00:00");
    assert_eq!(next(&monthly, "2026-12-01T00:00", &TimeZone::UTC), "2027-01-15 00:00");
}

#[test]
fn a_round_of_hours_begins_anew_each_day() {
    let hourly = Schedule::Hourly { every: 5, from: time(2, 0, 0, 0) };
    let utc = TimeZone::UTC;
    let slots =
        slots_between(&hourly, at("2026-05-01T00:00", &utc), at("2026-05-02T02:00", &utc), &utc);
    let found: Vec<i8> = slots.map(|slot| utc.to_datetime(slot).hour()).collect();
    assert_eq!(found, [2, 7, 12, 17, 22, 2]);
}

#[test]
fn a_gap_moves_a_slot_and_a_fold_does_not_double_it() {
    let berlin = zone("Europe/Berlin");
    let daily = Schedule::Daily { every: 1, at: time(2, 30, 0, 0) };
    assert_eq!(next(&daily, "2026-03-29T00:00", &berlin), "2026-03-29 03:30");
    let first = next_after(&daily, None, at("2026-10-25T00:00", &berlin), &berlin).unwrap();
    assert_eq!(first, "2026-10-25T00:30:00Z".parse().unwrap(), "in summer time");
    let second = next_after(&daily, Some(first), first, &berlin).unwrap();
    assert_eq!(second, "2026-10-26T01:30:00Z".parse().unwrap());
}

#[test]
fn a_day_that_a_zone_left_out_gives_no_second_run() {
    // Samoa had no 30 December 2011.
    let apia = zone("Pacific/Apia");
    let daily = Schedule::Daily { every: 1, at: time(12, 0, 0, 0) };
    let slots =
        slots_between(&daily, at("2011-12-29T00:00", &apia), at("2012-01-01T00:00", &apia), &apia);
    let found: Vec<String> = slots.map(|slot| apia.to_datetime(slot).to_string()).collect();
    assert_eq!(found, ["2011-12-29T12:00:00", "2011-12-31T12:00:00"]);
}

#[test]
fn a_clock_set_back_runs_no_slot_twice_but_is_believed_in_the_end() {
    let utc = TimeZone::UTC;
    let hourly = Schedule::Hourly { every: 1, from: time(0, 0, 0, 0) };
    let run = at("2026-05-01T12:00", &utc);
    let back = at("2026-05-01T09:30", &utc);
    assert_eq!(next_after(&hourly, Some(run), back, &utc), Some(at("2026-05-01T13:00", &utc)));
    let far = at("2026-04-01T09:30", &utc);
    assert_eq!(next_after(&hourly, Some(run), far, &utc), Some(at("2026-04-01T10:00", &utc)));
}

#[test]
fn a_schedule_without_slots_and_the_end_of_the_calendar_give_none() {
    let utc = TimeZone::UTC;
    let none = Schedule::Weekly { every: 1, days: [None; 7] };
    for schedule in [Schedule::Never, none] {
        assert_eq!(next_after(&schedule, None, Timestamp::UNIX_EPOCH, &utc), None);
    }
    let at_noon = time(12, 0, 0, 0);
    for schedule in [
        Schedule::Hourly { every: 7, from: at_noon },
        Schedule::Daily { every: u32::MAX, at: at_noon },
        Schedule::Weekly { every: u32::MAX, days: [Some(at_noon); 7] },
        Schedule::Monthly { every: u32::MAX, day: 200, at: at_noon },
    ] {
        assert_eq!(next_after(&schedule, None, Timestamp::MAX, &utc), None, "{schedule:?}");
        assert_eq!(slots_between(&schedule, Timestamp::MIN, Timestamp::MIN, &utc).count(), 0);
        let _any = next_after(&schedule, None, Timestamp::UNIX_EPOCH, &utc);
    }
}

#[test]
fn numbers_out_of_range_count_as_the_nearest() {
    let zero = Schedule::Monthly { every: 0, day: 0, at: time(0, 0, 0, 0) };
    assert_eq!(next(&zero, "2026-05-02T00:00", &TimeZone::UTC), "2026-06-01 00:00");
    let zero = Schedule::Hourly { every: 0, from: time(0, 0, 0, 0) };
    assert_eq!(next(&zero, "2026-05-02T00:00", &TimeZone::UTC), "2026-05-02 01:00");
    assert!(date(2001, 1, 1).weekday() == jiff::civil::Weekday::Monday);
}

#[test]
fn the_settings_pick_the_block_of_their_frequency() {
    let mut scheduler = Scheduler::default();
    assert_eq!(Schedule::from(&scheduler), Schedule::Never);
    scheduler.weekly.days[6].save = true;
    scheduler.weekly.days[6].hour = time(4, 0, 0, 0);
    scheduler.frequency = Frequency::Weekly;
    let mut days = [None; 7];
    days[6] = Some(time(4, 0, 0, 0));
    assert_eq!(Schedule::from(&scheduler), Schedule::Weekly { every: 1, days });
    scheduler.frequency = Frequency::Hourly;
    let (every, from) = (scheduler.hourly.every, scheduler.hourly.starting_at);
    assert_eq!(Schedule::from(&scheduler), Schedule::Hourly { every, from });
    scheduler.monthly.day = 31;
    scheduler.frequency = Frequency::Monthly;
    assert!(matches!(Schedule::from(&scheduler), Schedule::Monthly { every: 1, day: 31, .. }));
}
