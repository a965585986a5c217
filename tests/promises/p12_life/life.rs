//! One life: the store, the disk it lies on, and what the tests know of it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use crossbeam_channel::Receiver;
use stillpoint::disk::{Disk, SimDisk, Survival};
use stillpoint::regime::{Regime, RegimeBuilder, RegimeEvent};
use stillpoint::{Archive, Durability, Lsn, Result, Store};

use crate::scene::{ITEMS, TO, all, write_file};
use crate::support::random::Random;
use crate::support::settings::settings;

pub(super) const DIR: &str = "/shop";
/// Where the backups go; the store turns from one to the other.
pub(super) const DESTINATIONS: [&str; 2] = [TO, "/second"];
/// Beginning of 2026, in microseconds.
const BEGINNING: i64 = 1_767_225_600_000_000;

pub(super) type Records = BTreeMap<u64, String>;

/// A commit that was made once, in whatever history; no two are the same.
pub(super) struct Commit {
    pub(super) lsn: Lsn,
    pub(super) records: Records,
}

/// What the settings say that the tests go by.
#[derive(Clone)]
pub(super) struct Rules {
    pub(super) to: &'static str,
    pub(super) keep: u32,
    pub(super) full_every: u32,
    pub(super) erase_before: bool,
    pub(super) only_if_changed: bool,
    pub(super) frequency: &'static str,
}

pub(super) struct Life {
    seed: u64,
    pub(super) random: Random,
    pub(super) sim: Arc<SimDisk>,
    regime: Option<Regime>,
    events: Option<Receiver<RegimeEvent>>,
    segment: u64,
    pub(super) rules: Rules,
    /// The store's present history.
    pub(super) way: BTreeMap<Lsn, Rc<Commit>>,
    /// Commits up to this one survive a power cut.
    pub(super) durable: Lsn,
    /// Each archive that lies in the destination, or did, with the commit that it is.
    pub(super) saved: BTreeMap<PathBuf, Rc<Commit>>,
    /// The archives that were there and are not any more.
    pub(super) gone: BTreeMap<PathBuf, Rc<Commit>>,
    /// Archives of the regime's own, made since the store last began its log anew.
    pub(super) own: BTreeSet<PathBuf>,
    /// Since when nothing is missing: the first such backup, unless somebody took something away.
    pub(super) unbroken_from: Option<Lsn>,
    /// Somebody took something out of the destination.
    pub(super) robbed: bool,
    /// Somebody changed a history, or put another one in its place.
    pub(super) tampered: bool,
    /// A history as it was at some time.
    pub(super) older_history: Option<Vec<u8>>,
    /// How often.
    pub(super) robberies: u64,
    /// How often it was built anew out of an archive.
    pub(super) rebuilt: u64,
    /// It died in the middle of something, perhaps of deleting a set.
    pub(super) died: bool,
    /// What happened, for whoever has to find out why it fails.
    pub(super) tale: Vec<String>,
}

impl Drop for Life {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("STILLPOINT_LIVES=1 STILLPOINT_SEED={}", self.seed);
            self.tale.iter().for_each(|line| eprintln!("  {line}"));
        }
    }
}

impl Life {
    pub(super) fn begin(seed: u64) -> Life {
        let mut random = Random::new(seed);
        let sim = SimDisk::new(random.next());
        sim.set_now(BEGINNING);
        for folder in [DESTINATIONS[0], DESTINATIONS[1], "/away"] {
            sim.create_dir(Path::new(folder)).unwrap();
        }
        for (decoy, content) in super::promises::DECOYS {
            write_file(&sim, Path::new(decoy), content);
        }
        sim.sync_dir(Path::new("/")).unwrap();
        let segment = [4 << 10, 16 << 10, 64 << 10][random.below(3) as usize];
        let rules = Rules {
            to: TO,
            keep: 1 + random.below(4) as u32,
            full_every: 1 + random.below(4) as u32,
            erase_before: random.below(4) == 0,
            only_if_changed: random.below(4) == 0,
            frequency: ["Never", "Daily", "Hourly"][random.below(3) as usize],
        };
        let nothing = Rc::new(Commit { lsn: 0, records: Records::new() });
        let mut life = Life {
            seed,
            random,
            sim,
            regime: None,
            events: None,
            segment,
            rules,
            way: BTreeMap::from([(0, nothing)]),
            durable: 0,
            saved: BTreeMap::new(),
            gone: BTreeMap::new(),
            own: BTreeSet::new(),
            unbroken_from: None,
            robbed: false,
            tampered: false,
            older_history: None,
            robberies: 0,
            rebuilt: 0,
            died: false,
            tale: Vec::new(),
        };
        let store = life.store_builder(&life.sim).create().unwrap();
        store.close().unwrap();
        drop(store);
        life.write_settings();
        life.open();
        life.commit(4, Durability::Immediate);
        life
    }

    pub(super) fn write_settings(&self) {
        let folder = Path::new(DIR).join("Settings");
        let _there = self.sim.create_dir(&folder);
        let Rules { to, keep, full_every, erase_before, only_if_changed, frequency } = &self.rules;
        let truth = |is: &bool| if *is { "True" } else { "False" };
        let text = settings(&[
            ("General/DestinationFolder", to),
            ("Scheduler/Frequency", frequency),
            ("Scheduler/Daily/Every", "1"),
            ("Scheduler/Daily/Hour", "0000-00-00T02:30:00"),
            ("Scheduler/Hourly/Every", "6"),
            ("Scheduler/Hourly/StartingAt", "0000-00-00T01:00:00"),
            ("Advanced/AutomaticRestore", "True"),
            ("Advanced/SetNumber/Enable", "True"),
            ("Advanced/SetNumber/Value", &keep.to_string()),
            ("Advanced/EraseOldBackupBefore", truth(erase_before)),
            ("Advanced/BackupIfDataChange", truth(only_if_changed)),
            ("Stillpoint/FullEvery", &full_every.to_string()),
            ("Stillpoint/TimeZone", "UTC"),
        ]);
        write_file(&self.sim, &folder.join("Backup.4DSettings"), text.as_bytes());
        self.sim.sync_dir(Path::new(DIR)).unwrap();
    }

    pub(super) fn store_builder(&self, sim: &Arc<SimDisk>) -> stillpoint::StoreBuilder {
        Store::builder(DIR).disk(sim.clone()).memory_budget(24 << 10).segment_size(self.segment)
    }

    /// How the store is opened, here or on a copy of the disk.
    pub(super) fn builder(&self, sim: &Arc<SimDisk>) -> RegimeBuilder {
        Regime::builder(self.store_builder(sim)).without_thread()
    }

    pub(super) fn regime(&self) -> &Regime {
        self.regime.as_ref().expect("the store is open")
    }

    pub(super) fn store(&self) -> &Store {
        self.regime().store()
    }

    pub(super) fn tell(&mut self, what: impl Into<String>) {
        let at = self.regime.as_ref().map(|regime| regime.store().lsn());
        self.tale.push(format!("at {at:?}: {}", what.into()));
    }

    /// Opens the store, which must be where the model says.
    pub(super) fn open(&mut self) {
        let regime = self.builder(&self.sim).open().expect("the store opens");
        self.events = Some(regime.events());
        self.regime = Some(regime);
        self.absorb();
    }

    pub(super) fn close(&mut self) {
        self.regime().close().expect("it closes");
        self.forget();
        self.durable = self.last();
    }

    /// Lets go of a store whose disk has crashed or failed.
    pub(super) fn forget(&mut self) {
        if let Some(regime) = self.regime.take() {
            let _whatever = regime.close();
        }
        self.events = None;
    }

    pub(super) fn crash(&mut self, survival: Survival) {
        self.sim.crash_now();
        self.forget();
        self.sim = self.sim.reboot(survival);
    }

    /// What was heard of the regime since the last time.
    pub(super) fn heard(&self) -> Vec<RegimeEvent> {
        self.events.iter().flat_map(|events| events.try_iter()).collect()
    }

    pub(super) fn last(&self) -> Lsn {
        *self.way.last_key_value().expect("there is always the empty store").0
    }

    pub(super) fn newest(&self) -> &Rc<Commit> {
        &self.way[&self.last()]
    }

    /// Whether `commit` is of the present history.
    pub(super) fn is_on_way(&self, commit: &Rc<Commit>) -> bool {
        self.way.get(&commit.lsn).is_some_and(|there| Rc::ptr_eq(there, commit))
    }

    /// Puts and deletes some records in one commit; the error is the store's.
    pub(super) fn try_commit(&mut self, changes: u64, durability: Durability) -> Result<()> {
        let mut records = self.newest().records.clone();
        let lsn = self.last() + 1;
        let write = self.store().begin_write()?;
        write.set_durability(durability);
        let mut asked = Vec::new();
        for _ in 0..changes {
            let (key, deletes) = (self.random.below(60), self.random.below(4) == 0);
            let len = self.random.below(400) as usize;
            asked.push((key, (!deletes).then(|| format!("{lsn} {}", "x".repeat(len)))));
        }
        let table = write.table(ITEMS)?;
        for (key, value) in asked {
            match value {
                Some(value) => {
                    table.put(&key, &value)?;
                    records.insert(key, value);
                }
                None => {
                    table.delete(&key)?;
                    records.remove(&key);
                }
            }
        }
        // From here on it may be there, whatever is said of it.
        self.way.insert(lsn, Rc::new(Commit { lsn, records }));
        let info = write.commit()?;
        assert_eq!(info.lsn, lsn, "the number of the commit");
        if durability == Durability::Immediate {
            self.durable = lsn;
        }
        Ok(())
    }

    pub(super) fn commit(&mut self, changes: u64, durability: Durability) {
        self.try_commit(changes, durability).expect("it commits");
    }

    /// After a crash: the store is at a commit of its history, and nothing durable is lost.
    pub(super) fn settle(&mut self) {
        let at = self.store().lsn();
        assert!(at >= self.durable, "commit {} was durable, found {at}", self.durable);
        self.is_at(at);
    }

    /// The store went to commit `lsn` of its history, and that is what it holds.
    pub(super) fn is_at(&mut self, lsn: Lsn) {
        assert_eq!(self.store().lsn(), lsn);
        let commit = self.way.get(&lsn).unwrap_or_else(|| panic!("there was no commit {lsn}"));
        assert!(records(self.store()) == commit.records, "not as commit {lsn} left it");
        self.way.split_off(&(lsn + 1));
        self.durable = self.durable.min(lsn);
    }

    /// The store was put back from archives: it keeps its log from the archive on.
    pub(super) fn begins_anew(&mut self, lsn: Lsn) {
        self.is_at(lsn);
        self.durable = lsn;
        self.own.clear();
        // Whatever is missing is before that commit: it could be restored, and the log goes on from it.
        self.unbroken_from = Some(self.unbroken_from.map_or(lsn, |from| from.min(lsn)));
    }

    /// Notes what lies in the destination and was not known: each is a commit of the present history.
    pub(super) fn absorb(&mut self) {
        let there = archives(&self.sim);
        let gone = self.saved.extract_if(.., |path, _| !there.contains(path));
        self.gone.extend(gone);
        self.own.retain(|path| there.contains(path));
        for path in there {
            if self.saved.contains_key(&path) {
                continue;
            }
            let archive = Archive::open_on(self.sim.clone(), &path).expect("it has its name");
            let lsn = archive.header().lsn;
            let commit = self.way.get(&lsn).expect("a backup is of a commit that was made").clone();
            self.saved.insert(path, commit);
        }
    }

    /// A backup into the destination was told to have succeeded: from here on the log is kept.
    pub(super) fn is_backed_up(&mut self, archive: &Path) {
        self.durable = self.last();
        self.own.insert(archive.to_path_buf());
        let lsn = self.last();
        self.unbroken_from.get_or_insert(lsn);
    }
}

/// What `store` holds; nothing where it has no table yet.
pub(super) fn records(store: &Store) -> Records {
    if store.lsn() == 0 { Records::new() } else { all(store).into_iter().collect() }
}

/// The archives of the store in all its destinations, by their names alone.
pub(super) fn archives(sim: &SimDisk) -> BTreeSet<PathBuf> {
    DESTINATIONS.iter().flat_map(|folder| archives_in(sim, folder)).collect()
}

/// Those in one of them.
pub(super) fn archives_in(sim: &SimDisk, folder: &str) -> BTreeSet<PathBuf> {
    let names = sim.list(Path::new(folder)).unwrap();
    let ours = |name: &PathBuf| {
        let name = name.to_string_lossy();
        name.starts_with("shop[") && name.ends_with(".tar.zst")
    };
    names.into_iter().filter(ours).map(|name| Path::new(folder).join(name)).collect()
}
