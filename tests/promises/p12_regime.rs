//! The regime keeps its word: backups come when they are due, failures are met as the settings say,
//! a damaged store is restored by itself, and what was saved is proven to be restorable.
//!
//! Time is simulated: the tests move the disk's clock to the next moment when something is due and
//! tick. Settings are files, as a person writes them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, unbounded};
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use parking_lot::Mutex;
use stillpoint::disk::{Call, Disk, Fault, FaultPlan, SimDisk, Survival};
use stillpoint::regime::{Regime, RegimeBuilder, RegimeEvent};
use stillpoint::{Archive, BackupKind, ErrorKind, Store, TableDef, code};
#[cfg(feature = "encryption")]
use stillpoint::{Keys, Recipients};

use crate::scene::{ITEMS, TO, all, put, read_file, until, write_file};

const DIR: &str = "/shop";
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// The text of a settings file: `DESTINATION` and what is given, by the path below `Settings`.
fn settings(values: &[(&str, &str)]) -> String {
    #[derive(Default)]
    struct Node(BTreeMap<String, Node>, String);
    fn write(node: &Node, out: &mut String) {
        for (name, child) in &node.0 {
            *out += &format!("<{name}>{}", child.1);
            write(child, out);
            *out += &format!("</{name}>");
        }
    }
    let mut root = Node::default();
    for (path, value) in [("General/DestinationFolder", TO)].iter().chain(values) {
        let node = path
            .split('/')
            .fold(&mut root, |node, part| node.0.entry(part.to_owned()).or_default());
        node.1 = (*value).to_owned();
    }
    let mut inside = String::new();
    write(&root, &mut inside);
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Preferences4D \
         xmlns=\"http://www.4d.com/namespace/reserved/2004/backup\"><Backup><Settings>{inside}\
         </Settings></Backup></Preferences4D>"
    )
}

const DAILY: [(&str, &str); 4] = [
    ("Scheduler/Frequency", "Daily"),
    ("Scheduler/Daily/Every", "1"),
    ("Scheduler/Daily/Hour", "0000-00-00T02:30:00"),
    ("Stillpoint/TimeZone", "UTC"),
];
const RETRY: (&str, &str) = ("Advanced/BackupFailure/TryToBackupAfter", "0000-00-00T00:05:00");
const RETRY_LATER: (&str, &str) =
    ("Advanced/BackupFailure/TryBackupAtTheNextScheduledDate", "False");

fn with<'a>(base: &[(&'a str, &'a str)], more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    base.iter().chain(more).copied().collect()
}

struct Shop {
    sim: Arc<SimDisk>,
    regime: Regime,
    events: Receiver<RegimeEvent>,
    /// What the shutdown hook was told.
    ends: Receiver<i32>,
}

fn builder(sim: &Arc<SimDisk>) -> RegimeBuilder {
    let store = Store::builder(DIR).disk(sim.clone()).segment_size(1 << 16);
    Regime::builder(store).without_thread()
}

fn write_settings(sim: &SimDisk, values: &[(&str, &str)]) {
    let folder = Path::new(DIR).join("Settings");
    let _there = sim.create_dir(&folder);
    write_file(sim, &folder.join("Backup.4DSettings"), settings(values).as_bytes());
}

/// A store with a record and `values` for its settings, at the beginning of 2026.
fn shop(values: &[(&str, &str)]) -> Shop {
    let sim = SimDisk::new(12);
    sim.set_now("2026-01-01T00:00:00Z".parse::<Timestamp>().unwrap().as_microsecond());
    sim.create_dir(Path::new(TO)).unwrap();
    let store = Store::builder(DIR).disk(sim.clone()).segment_size(1 << 16).create().unwrap();
    put(&store, 1, "one").unwrap();
    store.close().unwrap();
    drop(store);
    write_settings(&sim, values);
    Shop::open(sim)
}

impl Shop {
    fn open(sim: Arc<SimDisk>) -> Shop {
        Shop::open_with(sim, |builder| builder)
    }

    fn open_with(sim: Arc<SimDisk>, more: impl FnOnce(RegimeBuilder) -> RegimeBuilder) -> Shop {
        let (told, ends) = unbounded();
        let builder = builder(&sim).on_shutdown(move |code| {
            let _listening = told.send(code);
        });
        let regime = more(builder).open().unwrap();
        let events = regime.events();
        Shop { sim, regime, events, ends }
    }

    fn again(self) -> Shop {
        let sim = self.closed();
        Shop::open(sim)
    }

    fn closed(self) -> Arc<SimDisk> {
        self.regime.close().unwrap();
        self.sim
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_microsecond(self.sim.now()).unwrap()
    }

    /// Moves the clock to `to`, if that is still to come, and ticks.
    fn go(&self, to: Timestamp) -> Option<Timestamp> {
        let wait = to.duration_since(self.now());
        if let Ok(wait) = Duration::try_from(wait) {
            self.sim.advance(wait);
        }
        self.regime.tick()
    }

    fn after(&self, wait: Duration) {
        self.sim.advance(wait);
        self.regime.tick();
    }

    fn at(&self, time: &str) -> Option<Timestamp> {
        self.go(time.parse().unwrap())
    }

    fn heard(&self) -> Vec<RegimeEvent> {
        self.events.try_iter().collect()
    }

    fn told(&self) -> Vec<i32> {
        self.ends.try_iter().collect()
    }

    fn put(&self, key: u64) {
        put(self.regime.store(), key, "more").unwrap();
    }

    fn archives(&self) -> Vec<PathBuf> {
        let names = self.sim.list(Path::new(TO)).unwrap();
        let is_archive = |name: &PathBuf| name.to_string_lossy().ends_with("].tar.zst");
        names.into_iter().filter(is_archive).collect()
    }

    fn status(&self) -> i32 {
        self.regime.last_backup().unwrap().status.code
    }

    fn journal(&self) -> String {
        let path = Path::new(DIR).join("Logs/Backup Journal[001].txt");
        String::from_utf8(read_file(&self.sim, &path)).unwrap()
    }

    fn writes_fail(&self) {
        self.sim.fail(FaultPlan::always(Call::Write, TO, Fault::FULL));
    }
}

fn failures(events: &[RegimeEvent]) -> Vec<(i32, bool)> {
    let failure = |event: &RegimeEvent| match event {
        RegimeEvent::BackupFailed { error, again, .. } => Some((error.code(), again.is_some())),
        _ => None,
    };
    events.iter().filter_map(failure).collect()
}

fn alerts(events: &[RegimeEvent]) -> usize {
    events.iter().filter(|event| matches!(event, RegimeEvent::Alert { .. })).count()
}

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

#[test]
fn a_full_disk_gets_a_second_attempt_then_an_alert_and_the_next_date_is_kept() {
    let shop = shop(&with(&DAILY, &[RETRY, RETRY_LATER]));
    shop.writes_fail();
    shop.at("2026-01-01T02:30:00Z");
    let first = shop.heard();
    assert_eq!(failures(&first), [(code::DESTINATION, true)]);
    assert_eq!(alerts(&first), 0);
    let again = shop.regime.next_attempt().unwrap();
    assert_eq!(again.duration_since(shop.now()).as_mins(), 4, "five minutes from the failure");
    shop.after(Duration::from_secs(299));
    assert!(shop.heard().is_empty(), "not before its time");
    shop.after(Duration::from_secs(2));
    let second = shop.heard();
    assert_eq!((failures(&second), alerts(&second)), (vec![(code::DESTINATION, false)], 1));
    shop.after(HOUR);
    assert!(shop.heard().is_empty(), "no third attempt");
    assert_eq!(shop.told(), [code::DESTINATION, code::DESTINATION]);
    assert_eq!(shop.status(), code::DESTINATION);
    shop.sim.heal();
    shop.at("2026-01-02T02:30:00Z");
    assert_eq!((shop.told(), shop.status()), (vec![0], 0));
    assert_eq!(shop.archives().len(), 1);
}

#[test]
fn where_the_settings_say_so_a_failed_backup_waits_for_the_next_date() {
    let next_date = ("Advanced/BackupFailure/TryBackupAtTheNextScheduledDate", "True");
    let shop = shop(&with(&DAILY, &[RETRY, next_date]));
    shop.writes_fail();
    shop.at("2026-01-01T02:30:00Z");
    shop.after(HOUR);
    assert_eq!(failures(&shop.heard()), [(code::DESTINATION, false)]);
    shop.at("2026-01-02T02:30:00Z");
    let second = shop.heard();
    assert_eq!((failures(&second).len(), alerts(&second)), (1, 1));
}

#[test]
fn a_destination_that_is_gone_is_told_before_anybody_waits_and_comes_back_at_the_second_attempt() {
    let shop = shop(&with(&DAILY, &[RETRY, RETRY_LATER]));
    shop.sim.rename(Path::new(TO), Path::new("/unmounted")).unwrap();
    shop.at("2026-01-01T02:30:00Z");
    assert_eq!(failures(&shop.heard()), [(code::DESTINATION, true)]);
    assert!(shop.sim.metadata(Path::new(TO)).is_err(), "a folder that was named is not made");
    shop.sim.rename(Path::new("/unmounted"), Path::new(TO)).unwrap();
    shop.after(Duration::from_secs(301));
    assert!(matches!(shop.heard()[..], [RegimeEvent::BackupDone { number: 1, .. }]));
}

#[test]
fn a_hook_that_refuses_is_not_asked_again_before_the_next_date() {
    let sim = shop(&with(&DAILY, &[RETRY, RETRY_LATER])).closed();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let numbers = asked.clone();
    let shop = Shop::open_with(sim, |builder| {
        builder.on_startup(move |start| {
            numbers.lock().push(start.number);
            if numbers.lock().len() == 1 { Err(-3) } else { Ok(()) }
        })
    });
    shop.at("2026-01-01T02:30:00Z");
    assert_eq!(failures(&shop.heard()), [(-3, false)]);
    shop.after(HOUR);
    shop.at("2026-01-02T02:30:00Z");
    assert_eq!(*asked.lock(), [1, 1], "hooks run for every attempt; a number that failed is free");
    assert_eq!(shop.told(), [-3, 0], "its own value comes through");
    assert!(shop.journal().contains("\trefused\t"));
}

#[test]
fn an_open_transaction_of_another_fails_the_backup_and_the_second_attempt_succeeds() {
    let at_once = ("Advanced/Transaction/WaitForEndOfTransaction", "False");
    let shop = shop(&with(&DAILY, &[RETRY, RETRY_LATER, at_once]));
    let open = shop.regime.store().begin_write().unwrap();
    let store = shop.regime.store().clone();
    open.table(ITEMS).unwrap().put(&7, &"open".to_owned()).unwrap();
    let sim = shop.sim.clone();
    std::thread::scope(|scope| {
        scope.spawn(|| shop.at("2026-01-01T02:30:00Z")).join().unwrap();
        assert_eq!(failures(&shop.heard()), [(code::TRANSACTION_TIMEOUT, true)]);
        open.commit().unwrap();
        scope.spawn(|| shop.after(Duration::from_secs(301))).join().unwrap();
    });
    assert_eq!(shop.status(), 0);
    let archive = shop.regime.last_backup().unwrap().archive.unwrap();
    let archive = Archive::open_on(sim, archive).unwrap();
    assert_eq!(crate::scene::records(&archive.read().unwrap()), all(&store));
}

#[test]
fn ones_own_open_transaction_is_refused_and_not_tried_again() {
    let shop = shop(&with(&DAILY, &[RETRY, RETRY_LATER]));
    let own = shop.regime.store().begin_write().unwrap();
    let error = shop.regime.backup().run().unwrap_err();
    assert_eq!(error.code(), code::OWN_TRANSACTION);
    assert_eq!(failures(&shop.heard()), [(code::OWN_TRANSACTION, false)]);
    drop(own);
}

fn gives_up_after(attempts: &str) -> Shop {
    shop(&with(
        &DAILY,
        &[
            RETRY,
            RETRY_LATER,
            ("Advanced/BackupFailure/AbortIfBackupFail", "True"),
            ("Advanced/BackupFailure/RetryCountBeforeAbort", attempts),
        ],
    ))
}

#[test]
fn after_so_many_attempts_backups_are_suspended_until_one_by_hand_succeeds() {
    let shop = gives_up_after("3");
    shop.writes_fail();
    shop.at("2026-01-01T02:30:00Z");
    shop.after(Duration::from_secs(301));
    assert!(!shop.regime.suspended());
    shop.at("2026-01-02T02:30:00Z");
    assert!(shop.regime.suspended());
    let codes: Vec<i32> = failures(&shop.heard()).iter().map(|(code, _)| *code).collect();
    assert_eq!(codes, [code::DESTINATION, code::DESTINATION, code::TOO_MANY_ATTEMPTS]);
    assert_eq!(shop.status(), code::TOO_MANY_ATTEMPTS);
    assert_eq!(shop.regime.next_backup(), None);
    shop.sim.heal();
    shop.at("2026-01-03T03:00:00Z");
    assert!(shop.archives().is_empty(), "nothing runs by itself");
    assert_eq!(shop.told().len(), 3);
    shop.regime.backup().by_hand().run().unwrap();
    assert!(!shop.regime.suspended());
    shop.at("2026-01-04T02:30:00Z");
    assert_eq!(shop.archives().len(), 2);
}

#[test]
fn after_so_many_attempts_backups_are_suspended_until_the_store_is_opened_anew() {
    let shop = gives_up_after("1");
    shop.writes_fail();
    shop.at("2026-01-01T02:30:00Z");
    assert!(shop.regime.suspended());
    shop.sim.heal();
    let shop = shop.again();
    assert!(!shop.regime.suspended());
    shop.at("2026-01-02T02:30:00Z");
    assert_eq!(shop.archives().len(), 1);
}

#[test]
fn a_run_that_was_missed_counts_as_a_failed_backup_and_is_made_up_for_after_the_wait() {
    let sim = shop(&with(&DAILY, &[RETRY, RETRY_LATER])).closed();
    sim.advance(3 * DAY);
    let shop = Shop::open(sim);
    assert_eq!(shop.status(), code::MISSED_RUN);
    assert!(matches!(shop.heard()[..], [RegimeEvent::Missed { .. }]), "three dates, one failure");
    assert!(shop.journal().contains("\tmissed\t"));
    shop.after(Duration::from_secs(301));
    assert!(matches!(shop.heard()[..], [RegimeEvent::BackupDone { .. }]));
    let shop = shop.again();
    assert_eq!(shop.status(), 0, "it is not missed a second time");
}

#[test]
fn a_schedule_that_is_new_has_missed_nothing() {
    let sim = shop(&[]).closed();
    sim.advance(3 * DAY);
    write_settings(&sim, &DAILY);
    let shop = Shop::open(sim);
    assert!(shop.regime.last_backup().is_none());
    assert!(shop.heard().is_empty());
}

#[test]
fn without_a_changed_record_a_run_is_postponed_and_no_error() {
    let shop = shop(&with(&DAILY, &[("Advanced/BackupIfDataChange", "True")]));
    shop.at("2026-01-01T02:30:00Z");
    assert_eq!(shop.archives().len(), 1);
    shop.heard();
    shop.at("2026-01-02T02:30:00Z");
    assert!(matches!(shop.heard()[..], [RegimeEvent::Postponed { .. }]));
    assert_eq!((shop.archives().len(), shop.status()), (1, 0));
    assert!(shop.journal().contains("\tpostponed\t"));
    const OTHER: TableDef<u64, String> = TableDef::new("other");
    let structure = shop.regime.store().begin_structure().unwrap();
    structure.create(OTHER).unwrap();
    structure.commit().unwrap();
    shop.at("2026-01-03T02:30:00Z");
    assert!(
        matches!(shop.heard()[..], [RegimeEvent::Postponed { .. }]),
        "the structure is no data"
    );
    shop.put(2);
    shop.at("2026-01-04T02:30:00Z");
    assert!(matches!(shop.heard()[..], [RegimeEvent::BackupDone { .. }]));
    shop.regime.backup().run().unwrap();
    assert_eq!(shop.archives().len(), 3, "who asks for a backup gets one");
}

#[test]
fn a_run_that_is_due_while_another_backup_is_made_is_left_out() {
    let shop = shop(&DAILY);
    let (go, wait) = unbounded::<()>();
    let (began, begins) = unbounded::<()>();
    let slow = shop.regime.backup().on_progress(move |_| {
        let _listening = began.send(());
        let _told = wait.recv();
        std::ops::ControlFlow::Continue(())
    });
    let running = slow.start().unwrap();
    begins.recv().unwrap();
    shop.at("2026-01-01T02:31:00Z");
    drop(go);
    running.wait().unwrap();
    assert_eq!(shop.archives().len(), 1);
    assert!(shop.journal().contains("\tskipped\t"), "{}", shop.journal());
    let heard = shop.heard();
    assert!(matches!(heard[..], [RegimeEvent::Skipped { .. }, RegimeEvent::BackupDone { .. }]));
    assert_eq!(shop.regime.next_attempt(), None, "it is no failure");
}

#[test]
fn settings_that_change_while_the_store_is_open_are_taken_up_and_broken_ones_are_not() {
    let shop = shop(&[]);
    assert_eq!(shop.regime.tick(), None, "no schedule");
    write_settings(&shop.sim, &DAILY);
    assert!(shop.regime.tick().is_some());
    assert!(matches!(shop.heard()[..], [RegimeEvent::SettingsChanged]));
    let due = shop.regime.next_backup().unwrap();
    write_settings(&shop.sim, &[("Scheduler/Frequency", "Sometimes")]);
    shop.regime.tick();
    shop.regime.tick();
    let heard = shop.heard();
    let [RegimeEvent::SettingsRefused { error }] = &heard[..] else { panic!("{heard:?}") };
    assert_eq!(error.code(), code::SETTINGS);
    assert_eq!(shop.regime.next_backup(), Some(due), "the last good ones stay in force");
    assert_eq!(shop.regime.settings_error().unwrap().code(), code::SETTINGS);
    assert_eq!(shop.journal().matches("\tsettings\t").count(), 2, "each told once");
    write_settings(&shop.sim, &[]);
    shop.regime.tick();
    assert!(shop.regime.settings_error().is_none());
    assert_eq!(shop.regime.next_backup(), None);
}

#[test]
fn wrong_settings_at_the_opening_are_an_error_that_names_the_file() {
    let sim = shop(&[]).closed();
    write_settings(&sim, &[("Scheduler/Frequency", "Sometimes")]);
    let error = builder(&sim).open().unwrap_err();
    assert_eq!(error.code(), code::SETTINGS);
    assert!(error.path().unwrap().ends_with("Settings/Backup.4DSettings"), "{error}");
}

#[test]
fn a_missing_attachment_makes_a_partial_backup_with_an_error_and_no_second_attempt() {
    let shop = shop(&[
        ("General/IncludesFiles/ItemsCount", "2"),
        ("General/IncludesFiles/Item1", "/there"),
        ("General/IncludesFiles/Item2", "/gone"),
        RETRY,
        RETRY_LATER,
    ]);
    write_file(&shop.sim, Path::new("/there"), b"saved");
    let report = shop.regime.backup().run().unwrap();
    assert_eq!(report.problems.len(), 1);
    assert_eq!((shop.status(), shop.told()), (code::ATTACHMENT_MISSING, vec![2001]));
    assert!(matches!(shop.heard()[..], [RegimeEvent::BackupDone { partial: true, .. }]));
    assert_eq!(shop.regime.next_attempt(), None);
    assert_eq!(shop.regime.coverage().unwrap().archives, 1, "it counts: the store is whole");
}

#[test]
fn a_backup_from_inside_a_hook_is_refused() {
    let sim = shop(&[]).closed();
    let inner: Arc<Mutex<Option<Arc<Regime>>>> = Arc::default();
    let codes = Arc::new(Mutex::new(Vec::new()));
    let (theirs, told, told_too) = (inner.clone(), codes.clone(), codes.clone());
    let also = inner.clone();
    let regime = builder(&sim)
        .on_startup(move |_| {
            let regime = theirs.lock().clone().unwrap();
            told.lock().push(regime.backup().run().unwrap_err().code());
            Ok(())
        })
        .on_shutdown(move |_| {
            let regime = also.lock().clone().unwrap();
            told_too.lock().push(regime.backup().run().unwrap_err().code());
        })
        .open()
        .unwrap();
    *inner.lock() = Some(Arc::new(regime));
    let regime = inner.lock().clone().unwrap();
    regime.backup().run().unwrap();
    assert_eq!(*codes.lock(), [code::FROM_CALLBACK; 2]);
    assert_eq!(regime.last_backup().unwrap().status.code, 0);
    inner.lock().take();
}

/// Makes the data file unreadable.
fn ruin(sim: &SimDisk) {
    let data = Path::new(DIR).join("store.data");
    let len = sim.metadata(&data).unwrap().len;
    for offset in (0..len).step_by(64) {
        sim.corrupt(&data, offset, 3).unwrap();
    }
}

const AUTOMATIC: [(&str, &str); 1] = [("Advanced/AutomaticRestore", "True")];

#[test]
fn a_damaged_store_is_restored_by_itself_and_the_damaged_one_is_kept() {
    let shop = shop(&AUTOMATIC);
    write_file(&shop.sim, Path::new("/note"), b"attached");
    shop.regime.backup().attachment("/note").run().unwrap();
    shop.put(2);
    shop.regime.backup().run().unwrap();
    shop.put(3);
    let was = all(shop.regime.store());
    let sim = shop.closed();
    ruin(&sim);
    let damaged = read_file(&sim, &Path::new(DIR).join("store.data"));
    let shop = Shop::open(sim);
    assert_eq!(all(shop.regime.store()), was, "with the logs behind the last backup");
    let info = shop.regime.restore_info().unwrap();
    assert_eq!((info.status.code, info.commits_integrated), (0, 1));
    let aside = info.aside.unwrap();
    assert_eq!(read_file(&shop.sim, &aside.join("store.data")), damaged, "untouched");
    assert!(matches!(shop.heard()[..], [RegimeEvent::Restored { .. }]));
    assert!(shop.journal().contains("\tautomatic-restore\t"));
    shop.put(4);
    shop.regime.backup().run().unwrap();
    let shop = shop.again();
    assert_eq!(shop.regime.restore_info().unwrap().started, info.started, "it is remembered");
}

#[test]
fn a_damaged_archive_is_passed_over_and_only_data_comes_back() {
    let shop = shop(&AUTOMATIC);
    write_file(&shop.sim, Path::new("/note"), b"attached");
    shop.regime.backup().attachment("/note").run().unwrap();
    shop.put(2);
    let newest = shop.regime.backup().run().unwrap().archive;
    let sim = shop.closed();
    sim.corrupt(&newest, sim.metadata(&newest).unwrap().len / 2, 1).unwrap();
    ruin(&sim);
    let shop = Shop::open(sim);
    let first = Path::new(TO).join("shop[0001].tar.zst");
    assert_eq!(shop.regime.restore_info().unwrap().archive, Some(first));
    assert!(shop.sim.metadata(&Path::new(DIR).join("attachments")).is_err());
}

#[test]
fn without_the_setting_a_damaged_store_stays_as_it_is() {
    let shop = shop(&[]);
    shop.regime.backup().run().unwrap();
    let sim = shop.closed();
    ruin(&sim);
    let error = builder(&sim).open().unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Unsupported), "{error:?}");
    assert!(sim.metadata(&Path::new(DIR).join("store.data")).is_ok());
}

#[test]
fn where_automatic_restart_is_off_the_restored_store_waits_for_a_second_opening() {
    let shop = shop(&with(&AUTOMATIC, &[("Advanced/AutomaticRestart", "False")]));
    shop.regime.backup().run().unwrap();
    let sim = shop.closed();
    ruin(&sim);
    let error = builder(&sim).open().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Cancelled);
    let shop = Shop::open(sim);
    assert_eq!(shop.regime.restore_info().unwrap().status.code, 0);
    assert_eq!(all(shop.regime.store()).len(), 1);
}

#[test]
fn without_a_backup_nothing_of_a_damaged_store_is_moved() {
    let sim = shop(&AUTOMATIC).closed();
    ruin(&sim);
    let before = sim.list(Path::new("/")).unwrap();
    builder(&sim).open().unwrap_err();
    assert_eq!(sim.list(Path::new("/")).unwrap(), before);
}

#[test]
fn an_automatic_restore_that_dies_at_any_call_is_ended_by_a_later_opening() {
    let shop = shop(&AUTOMATIC);
    shop.regime.backup().run().unwrap();
    let was = all(shop.regime.store());
    let sim = shop.closed();
    ruin(&sim);
    let whole = sim.image();
    let before = whole.calls();
    drop(builder(&whole).open().unwrap());
    let calls = whole.calls() - before;
    for call in (1..=calls).step_by(3) {
        let sim = sim.image();
        sim.crash_at(call);
        let _died = builder(&sim).open();
        let sim = sim.reboot(Survival::Random(call));
        let regime = builder(&sim).open().unwrap_or_else(|e| panic!("call {call}: {e}"));
        assert_eq!(all(regime.store()), was, "call {call}");
    }
}

#[test]
fn a_drill_proves_the_newest_backup_and_leaves_nothing_behind() {
    let shop = shop(&[]);
    assert_eq!(shop.regime.drill().unwrap_err().code(), code::ARCHIVE_MISSING);
    shop.put(2);
    let report = shop.regime.backup().run().unwrap();
    let names = shop.sim.list(Path::new("/")).unwrap();
    let drill = shop.regime.drill().unwrap();
    assert_eq!((drill.lsn, drill.records, drill.tables), (report.lsn, 2, 1));
    assert_eq!(shop.sim.list(Path::new("/")).unwrap(), names);
    assert_eq!(shop.regime.coverage().unwrap().last_drill.unwrap().status.code, 0);
    let len = shop.sim.metadata(&report.archive).unwrap().len;
    shop.sim.corrupt(&report.archive, len / 2, 1).unwrap();
    assert_eq!(shop.regime.drill().unwrap_err().code(), code::CHECK);
    assert_eq!(shop.sim.list(Path::new("/")).unwrap(), names);
    let last = shop.regime.coverage().unwrap().last_drill.unwrap();
    assert_eq!(last.status.code, code::CHECK);
    assert_eq!(shop.journal().matches("\tdrill\t").count(), 3);
}

#[test]
fn the_account_says_what_can_be_restored_and_what_is_missing() {
    let shop = shop(&[("Advanced/SetNumber/Value", "9")]);
    let empty = shop.regime.coverage().unwrap();
    assert_eq!((empty.oldest, empty.newest, empty.commits_at_risk()), (None, None, 1));
    for key in 2..5 {
        shop.regime.backup().run().unwrap();
        shop.put(key);
    }
    let found = shop.regime.coverage().unwrap();
    assert_eq!((found.archives, found.log_archives), (3, 2));
    assert_eq!(found.oldest.unwrap().lsn, 1);
    assert_eq!((found.newest.unwrap().lsn, found.newest_archived.unwrap().lsn), (4, 3));
    assert_eq!((found.commits_at_risk(), found.gaps.len()), (1, 0));
    assert!(found.space.enough() && found.space.last_set_bytes > 0);
    shop.put(5);
    shop.regime.backup().run().unwrap();
    for gone in ["shop[0002].tar.zst", "shop[0001].log.zst"] {
        shop.sim.remove_file(&Path::new(TO).join(gone)).unwrap();
    }
    let found = shop.regime.coverage().unwrap();
    assert_eq!(found.gaps.len(), 1, "{found:?}");
    assert_eq!((found.gaps[0].after, found.gaps[0].before), (1, 3));
}

#[test]
fn the_thread_makes_the_backup_that_is_due_and_ends_with_the_regime() {
    let sim = shop(&DAILY).closed();
    let store = Store::builder(DIR).disk(sim.clone()).segment_size(1 << 16);
    let regime = Regime::builder(store).open().unwrap();
    let events = regime.events();
    sim.advance(3 * HOUR);
    let heard = events.recv_timeout(crate::scene::PATIENCE).unwrap();
    assert!(matches!(heard, RegimeEvent::BackupDone { number: 1, .. }), "{heard:?}");
    let store = regime.store().clone();
    drop(regime);
    put(&store, 9, "the store stays open").unwrap();
    until("the events end with the regime", || events.try_recv().is_err());
    store.close().unwrap();
}

#[test]
fn of_so_many_backups_one_is_full_and_each_of_them_restores() {
    let shop = shop(&[("Stillpoint/FullEvery", "3"), ("Advanced/SetNumber/Value", "9")]);
    let mut kinds = Vec::new();
    for key in 2..9 {
        shop.put(key);
        let report = shop.regime.backup().run().unwrap();
        let archive = Archive::open_on(shop.sim.clone(), &report.archive).unwrap();
        kinds.push(archive.header().kind == BackupKind::Full);
        assert_eq!(shop.regime.drill().unwrap().lsn, report.lsn, "the newest one, whole or not");
    }
    assert_eq!(kinds, [true, false, false, true, false, false, true]);
    let full = shop.regime.backup().incremental(false).run().unwrap();
    let archive = Archive::open_on(shop.sim.clone(), &full.archive).unwrap();
    assert_eq!(archive.header().kind, BackupKind::Full, "who asks for a full one gets it");
    let found = shop.regime.coverage().unwrap();
    assert_eq!((found.archives, found.unusable.len()), (8, 0));
}

#[test]
fn drills_come_by_the_schedule_and_what_they_find_is_told() {
    let shop = shop(&[
        ("Stillpoint/Drill/Every", "1"),
        ("Stillpoint/Drill/Hour", "0000-00-00T04:00:00"),
        ("Stillpoint/TimeZone", "UTC"),
    ]);
    let report = shop.regime.backup().run().unwrap();
    shop.heard();
    assert_eq!(shop.regime.tick().unwrap().to_string(), "2026-01-01T04:00:00Z");
    shop.at("2026-01-01T04:00:00Z");
    assert!(matches!(shop.heard()[..], [RegimeEvent::DrillEnded { error: None }]));
    let len = shop.sim.metadata(&report.archive).unwrap().len;
    shop.sim.corrupt(&report.archive, len / 2, 1).unwrap();
    shop.at("2026-01-02T04:00:00Z");
    let heard = shop.heard();
    let [RegimeEvent::DrillEnded { error: Some(error) }] = &heard[..] else { panic!("{heard:?}") };
    assert_eq!(error.code(), code::CHECK);
}

#[test]
fn without_automatic_integration_the_restored_store_stays_at_its_archive_and_says_so() {
    let shop = shop(&with(&AUTOMATIC, &[("Advanced/AutomaticLogIntegration", "False")]));
    shop.regime.backup().run().unwrap();
    shop.put(2);
    let sim = shop.closed();
    ruin(&sim);
    let shop = Shop::open(sim);
    let info = shop.regime.restore_info().unwrap();
    assert_eq!((all(shop.regime.store()).len(), info.commits_integrated), (1, 0));
    assert!(info.status.text.contains("AutomaticLogIntegration"), "{}", info.status.text);
    assert!(shop.journal().contains("go on to LSN 2"), "{}", shop.journal());
}

#[test]
fn strict_integration_stops_at_a_damaged_log_with_a_true_prefix() {
    let shop = shop(&AUTOMATIC);
    shop.regime.backup().run().unwrap();
    shop.sim.create_dir(Path::new("/shipped")).unwrap();
    for key in 2..5 {
        shop.put(key);
        shop.regime.store().new_log_file("/shipped").unwrap();
    }
    let sim = shop.closed();
    let segments: Vec<PathBuf> = sim.list(&Path::new(DIR).join("log")).unwrap();
    let middle = Path::new(DIR).join("log").join(&segments[segments.len() - 3]);
    for offset in (128..sim.metadata(&middle).unwrap().len).step_by(16) {
        sim.corrupt(&middle, offset, 5).unwrap();
    }
    ruin(&sim);
    let shop = Shop::open(sim);
    let info = shop.regime.restore_info().unwrap();
    let found = all(shop.regime.store());
    assert_eq!(found.len() as u64, 1 + info.commits_integrated, "{info:?}");
    assert!(found.len() < 4 && info.status.code != 0, "{info:?}");
}

#[cfg(feature = "encryption")]
#[test]
fn encrypted_archives_are_drilled_counted_and_restored_by_those_who_have_the_key() {
    use age::secrecy::ExposeSecret;
    let identity = age::x25519::Identity::generate();
    let (public, private) = (identity.to_public().to_string(), identity.to_string());
    let keyed = |builder: RegimeBuilder| {
        let keys = Keys::none().with_identities(private.expose_secret()).unwrap();
        builder.encrypt(Recipients::public_keys([public.as_str()]).unwrap()).keys(keys)
    };
    let sim = shop(&AUTOMATIC).closed();
    let shop = Shop::open_with(sim, keyed);
    shop.regime.backup().run().unwrap();
    shop.put(2);
    shop.regime.backup().run().unwrap();
    shop.put(3);
    assert_eq!(shop.regime.drill().unwrap().records, 2);
    assert_eq!(shop.regime.coverage().unwrap().unusable.len(), 0);
    let was = all(shop.regime.store());
    let shop = Shop::open(shop.closed());
    let without = shop.regime.coverage().unwrap();
    assert_eq!((without.archives, without.unusable.len()), (0, 3));
    assert!(without.unusable.iter().all(|error| error.code() == code::KEY));
    let sim = shop.closed();
    ruin(&sim);
    builder(&sim).open().unwrap_err();
    let shop = Shop::open_with(sim, keyed);
    assert_eq!(all(shop.regime.store()), was);
    assert!(!shop.journal().contains(private.expose_secret()));
}
