//! The regime keeps its word: backups come when they are due, failures are met as the settings say,
//! a damaged store is restored by itself, and what was saved is proven to be restorable.
//!
//! Time is simulated: the tests move the disk's clock to the next moment when something is due and
//! tick. Settings are files, as a person writes them.

mod by_hand;
mod closing;
mod destinations;
mod elsewhere;
mod failures;
mod interrupted;
mod opening;
mod order;
mod participants;
mod proof;
mod reported;
mod restored;
mod schedule;
mod year;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use crossbeam_channel::{Receiver, unbounded};
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use parking_lot::Mutex;
use stillpoint::disk::{Call, Disk, Fault, FaultPlan, SimDisk, Survival};
use stillpoint::regime::{History, Regime, RegimeBuilder, RegimeEvent};
use stillpoint::{Archive, BackupKind, ErrorKind, Stage, Store, TableDef, code};
#[cfg(feature = "encryption")]
use stillpoint::{Keys, Recipients};

use crate::scene::{ITEMS, TO, all, put, read_file, spoil, until, write_file};
use crate::support::settings::settings;

const DIR: &str = "/shop";
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

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
        names.into_iter().filter(|name| is_archive(name)).collect()
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

fn is_archive(name: &Path) -> bool {
    name.to_string_lossy().ends_with("].tar.zst")
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

/// Makes the data file unreadable.
fn ruin(sim: &SimDisk) {
    spoil(sim, &Path::new(DIR).join("store.data"));
}

const AUTOMATIC: [(&str, &str); 1] = [("Advanced/AutomaticRestore", "True")];
