//! A year of backups in simulated time, where the clocks change and where they do not.

use super::*;

/// A year of backups at 02:30 local time, which in Berlin is in the hour that spring leaves out: on
/// which dates they came, and at which local times.
fn a_year_in(zone: &str) -> BTreeMap<Date, Vec<String>> {
    let mut values = with(&DAILY[..3], &[("Advanced/SetNumber/Value", "2")]);
    values.push(("Stillpoint/TimeZone", zone));
    let shop = shop(&values);
    let zone = TimeZone::get(zone).unwrap();
    let end: Timestamp = "2027-01-01T00:00:00Z".parse().unwrap();
    let mut next = shop.regime.tick();
    let mut days: BTreeMap<Date, Vec<String>> = BTreeMap::new();
    let mut key = 2;
    while let Some(due) = next.filter(|due| *due < end) {
        shop.put(key);
        key += 1;
        next = shop.go(due);
        let done = shop.heard();
        assert!(matches!(done[..], [RegimeEvent::BackupDone { .. }]), "{due}: {done:?}");
        let local = due.to_zoned(zone.clone());
        days.entry(local.date()).or_default().push(local.strftime("%H:%M").to_string());
    }
    assert_eq!(shop.archives().len(), 2, "retention went along");
    assert_eq!(shop.regime.last_backup().unwrap().number, Some(days.len() as u32));
    let newest = shop.archives().pop().unwrap();
    let archive = Archive::open_on(shop.sim.clone(), Path::new(TO).join(newest)).unwrap();
    let saved = crate::scene::records(&archive.read().unwrap());
    assert_eq!(saved, all(shop.regime.store()));
    days
}

fn check_year(zone: &str, moved: &[&str]) {
    let days = a_year_in(zone);
    let count = days.len();
    assert!((365..=366).contains(&count), "{zone}: one backup a day, {count}");
    for (date, times) in days {
        let expected = if moved.contains(&date.to_string().as_str()) { "03:30" } else { "02:30" };
        assert_eq!(times, [expected], "{zone}, {date}");
    }
}

#[test]
fn a_year_of_backups_comes_once_a_day_where_the_north_has_summer_time() {
    check_year("Europe/Berlin", &["2026-03-29"]);
}

#[test]
fn a_year_of_backups_comes_once_a_day_where_the_south_has_summer_time() {
    check_year("Australia/Sydney", &["2026-10-04"]);
}

#[test]
fn a_year_of_backups_comes_once_a_day_where_the_clock_is_never_changed() {
    check_year("Asia/Kolkata", &[]);
}
