//! P5 call by call: a scripted life of a store, cut off at every single call to the disk.
//!
//! After each cut the store opens, verifies, and holds every acknowledged commit; an archive that has
//! its name is whole and an unfinished one does not have it; a restored store is there whole or not at
//! all. Then life goes on, and a second cut, often within the recovery from the first, must bring
//! nothing back that the first had taken (review C1).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use parking_lot::Mutex;
use stillpoint::archive::ArchiveFile;
use stillpoint::disk::{Call, Disk, Fault, FaultPlan, OpenMode, SimDisk, Survival};
use stillpoint::{Access, Archive, Durability, ErrorKind, Lsn, Result, TableDef};

use crate::scene::active_segment;
use crate::support::driven::Driven;
use crate::support::history::{Change, State};
use crate::support::random::{Random, seed};
use crate::support::read::{Def, state_of};

const ITEMS: &str = "items";
const BRIEF: &str = "brief";
const TABLES: [Def; 2] = [TableDef::new(ITEMS), TableDef::new(BRIEF)];
const TO: &str = "/backups";
const COPY: &str = "/copy";

/// A life of a store, and what it was told.
struct Life {
    driven: Driven,
    values: Random,
    created: bool,
    /// Archives that were reported, and their commits.
    archives: Vec<(PathBuf, Lsn)>,
    /// The commit that a restore reported.
    restored: Option<Lsn>,
}

/// The disk before everything: a destination, and an attachment with a link in it.
fn ground() -> std::sync::Arc<SimDisk> {
    let sim = SimDisk::new(5);
    for dir in [TO, "/web"] {
        sim.create_dir(Path::new(dir)).unwrap();
    }
    let file = sim.open(Path::new("/web/index.html"), OpenMode::CreateNew).unwrap();
    file.write_at(b"<h1>hello</h1>", 0).unwrap();
    file.sync().unwrap();
    for link in ["start", "home", "welcome", "begin", "main", "first"] {
        sim.symlink(Path::new("index.html"), &Path::new("/web").join(link)).unwrap();
    }
    for dir in ["/", "/web"] {
        sim.sync_dir(Path::new(dir)).unwrap();
    }
    sim
}

impl Life {
    fn new(sim: std::sync::Arc<SimDisk>) -> Life {
        let (driven, values) = (Driven::new(sim, "/store", &TABLES), Random::new(1));
        Life { driven, values, created: false, archives: Vec::new(), restored: None }
    }

    fn run(&mut self) -> Result<()> {
        self.driven.create()?;
        self.created = true;
        self.commits(3, ITEMS)?;
        self.commits(2, BRIEF)?;
        self.driven.store().checkpoint()?;
        self.driven.history.all_durable();
        self.driven.commit(&[Change::Drop(BRIEF)], Durability::Immediate)?;
        // More than a segment of the log.
        self.commits(12, ITEMS)?;
        self.back_up(Access::Live)?;
        self.driven.close()?;
        self.driven.open()?;
        self.commits(3, ITEMS)?;
        self.back_up(Access::Frozen)?;
        self.restore()?;
        self.commits(2, ITEMS)?;
        self.driven.close()
    }

    /// Transactions of some records each, every third of them `Eventual`.
    fn commits(&mut self, count: u64, table: &'static str) -> Result<()> {
        for i in 0..count {
            let mut changes = vec![Change::Make(table)];
            for _ in 0..3 {
                let key = self.values.below(40);
                let len = self.values.below(1000) as usize;
                changes.push(Change::Put(table, key, self.values.bytes(len)));
            }
            changes.push(Change::Delete(table, self.values.below(40)));
            let durability = if i % 3 == 1 { Durability::Eventual } else { Durability::Immediate };
            self.driven.commit(&changes, durability)?;
        }
        Ok(())
    }

    fn back_up(&mut self, access: Access) -> Result<()> {
        let backup = self.driven.store().backup(TO).access(access).workers(1).attachment("/web");
        let report = backup.run()?;
        assert_eq!(report.lsn, self.driven.history.last_lsn());
        self.archives.push((report.archive, report.lsn));
        // Its checkpoint is durable.
        self.driven.history.all_durable();
        Ok(())
    }

    fn restore(&mut self) -> Result<()> {
        let (path, lsn) = self.archives.last().expect("a backup was made");
        let archive = Archive::open_on(self.driven.disk(), path)?;
        archive.restore(COPY).workers(1).run()?;
        self.restored = Some(*lsn);
        Ok(())
    }

    /// The same life after the power came back.
    fn rebooted(&self, survival: Survival, seed: u64) -> Life {
        Life {
            driven: self.driven.fork(survival),
            // Other values than those that may come back.
            values: Random::new(seed),
            created: self.created,
            archives: self.archives.clone(),
            restored: self.restored,
        }
    }

    /// Opens the store, or makes it where the crash came before it was made.
    fn recover(&mut self) -> Result<()> {
        match self.driven.recover() {
            Err(error) if !self.created && error.kind() == ErrorKind::NotFound => {
                self.driven.history.settle(0, &State::new());
                self.driven.create()?;
                self.created = true;
                Ok(())
            }
            recovered => recovered,
        }
    }

    fn check_archives(&self) {
        let names = self.driven.sim.list(Path::new(TO)).unwrap();
        let (sealed, others): (Vec<_>, Vec<_>) =
            names.into_iter().partition(|name| name.to_string_lossy().ends_with(".tar.zst"));
        let is_log = |name: &PathBuf| name.to_string_lossy().ends_with(".log.zst");
        let (logs, others): (Vec<_>, Vec<_>) = others.into_iter().partition(is_log);
        for name in logs {
            let sim = &self.driven.sim;
            let log =
                ArchiveFile::open(&**sim, &Path::new(TO).join(name), &stillpoint::Keys::none())
                    .unwrap();
            log.verify(1, &mut |_| std::ops::ControlFlow::Continue(())).unwrap();
        }
        for name in others {
            assert!(name.to_string_lossy().ends_with(".partial"), "{}", name.display());
        }
        let sealed: Vec<_> = sealed.iter().map(|name| Path::new(TO).join(name)).collect();
        for (path, _) in &self.archives {
            assert!(sealed.contains(path), "{} is gone", path.display());
        }
        for path in sealed {
            let archive = self.driven.check_archive(&path);
            let known = self.archives.iter().find(|(known, _)| *known == path);
            assert!(known.is_none_or(|(_, lsn)| *lsn == archive.header().lsn));
        }
    }

    /// The restored store is as its archive, or not there.
    fn check_copy(&self) {
        let copy = Path::new(COPY);
        if self.driven.sim.metadata(copy).is_err() {
            assert_eq!(self.restored, None, "a restored store is gone");
            return;
        }
        let store = self.driven.builder(copy).open().unwrap();
        store.verify().unwrap();
        let lsn = store.lsn();
        assert_eq!(lsn, self.archives.last().expect("it came from an archive").1);
        let found = state_of(&store.begin_read().unwrap(), &TABLES);
        assert!(found == *self.driven.history.at(lsn), "the restored store");
        let link = self.driven.sim.read_link(&copy.join("attachments/web/start")).unwrap();
        assert_eq!(link, Path::new("index.html"));
        store.close().unwrap();
    }

    /// Everything works again: more commits, a backup that clears away what lay about, a restore.
    fn check_that_life_goes_on(&mut self) {
        self.commits(2, ITEMS).unwrap();
        self.driven.check();
        self.back_up(Access::ReadOnly).unwrap();
        let names = self.driven.sim.list(Path::new(TO)).unwrap();
        let partial = names.iter().find(|name| name.to_string_lossy().ends_with(".partial"));
        assert_eq!(partial, None, "an unfinished archive was left lying");
        if self.driven.sim.metadata(Path::new(COPY)).is_err() {
            self.restore().unwrap();
            self.check_copy();
        }
        self.driven.close().unwrap();
    }
}

/// Says at which call it was, if the thread panics.
struct At(String);

impl Drop for At {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.0);
        }
    }
}

/// The second crash, at some call of recovery or of the commits after it.
fn crash_again(life: &Life, survival: Survival, random: &mut Random) {
    let mut again = life.rebooted(survival, random.next());
    again.driven.sim.crash_at(1 + random.below(90));
    let second = match random.below(3) {
        0 => Survival::Nothing,
        1 => Survival::Everything,
        _ => Survival::Random(random.next()),
    };
    let _at = At(format!("second crash: {second:?}"));
    let went_on = again.recover().and_then(|()| again.commits(4, ITEMS)).and_then(|()| {
        again.driven.store().checkpoint()?;
        again.driven.history.all_durable();
        again.commits(2, ITEMS)
    });
    assert!(went_on.is_ok() || again.driven.sim.crashed(), "{went_on:?}");
    again.driven.reboot(second);
    again.recover().unwrap();
    again.commits(1, ITEMS).unwrap();
    again.driven.check();
    again.driven.close().unwrap();
    again.driven.open().unwrap();
    again.driven.check();
}

/// Lives until `call`, dies there, and is looked at after each kind of crash. `None` when the life was
/// over before.
fn die_at(ground: &SimDisk, call: u64, random: &mut Random) -> Option<Call> {
    let sim = ground.image();
    sim.crash_at(call);
    let mut life = Life::new(sim.clone());
    let lived = life.run();
    let Some((kind, path)) = sim.crash_site() else {
        lived.unwrap();
        return None;
    };
    let survivals = [Survival::Nothing, Survival::Everything, Survival::Random(random.next())];
    for (i, survival) in (call..).zip(survivals) {
        let _at = At(format!("crash at call {call}, {kind:?} {}: {survival:?}", path.display()));
        let mut after = life.rebooted(survival, random.next());
        after.check_archives();
        after.check_copy();
        after.recover().unwrap();
        if i % 3 == 0 {
            after.check_that_life_goes_on();
        }
        crash_again(&life, survival, random);
    }
    Some(kind)
}

/// Lives and dies once at each call; counts the calls by their kind.
fn sweep(ground: &SimDisk, seed: u64, kinds: &Mutex<BTreeMap<String, u64>>) {
    let next = AtomicU64::new(1);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let call = next.fetch_add(1, SeqCst);
                    let mut random = Random::new(seed ^ call);
                    let Some(kind) = die_at(ground, call, &mut random) else { return };
                    *kinds.lock().entry(format!("{kind:?}")).or_default() += 1;
                }
            });
        }
    });
}

const KINDS: [&str; 15] = [
    "Allocate",
    "Create",
    "CreateDir",
    "List",
    "Lock",
    "Look",
    "Map",
    "Open",
    "Read",
    "Remove",
    "Rename",
    "Symlink",
    "Sync",
    "SyncDir",
    "Write",
];

/// The store has threads of its own, so the call of one number is not the same in each life: a call
/// that is made only once or twice may be passed over. Then all is done again, a few times at most.
#[test]
fn a_crash_at_any_call_to_the_disk_loses_nothing_and_invents_nothing() {
    let seed = seed("crash at every call");
    let ground = ground();
    let kinds = Mutex::new(BTreeMap::new());
    for again in 0..5 {
        sweep(&ground, seed.wrapping_add(again << 32), &kinds);
        if KINDS.iter().all(|kind| kinds.lock().contains_key(*kind)) {
            break;
        }
    }
    let kinds = kinds.into_inner();
    println!("crashed at: {kinds:?}");
    for kind in KINDS {
        assert!(kinds.contains_key(kind), "no crash at a call of the kind {kind}");
    }
}

/// A process may be killed when a folder has its name and the name is not yet durable. The next one
/// finds the store and works with it: what it commits durably must not go with that name.
#[test]
fn a_durable_commit_survives_in_a_store_whose_folder_was_made_by_a_killed_process() {
    let ground = ground();
    let mut killed = 0;
    for call in 1.. {
        let sim = ground.image();
        sim.crash_at(call);
        let made = Driven::new(sim.clone(), "/store", &TABLES).create();
        let _at = At(format!("killed at call {call} of the creation"));
        if !sim.crashed() {
            made.unwrap();
            break;
        }
        killed += 1;
        let after = Driven::new(sim.reboot(Survival::Everything), "/store", &TABLES);
        let store = after.builder(Path::new("/store")).open_or_create().unwrap();
        commit_and_lose_power(&after, store, 0);
    }
    assert!(killed > 5, "{killed} calls");
}

#[test]
fn a_durable_commit_survives_in_a_store_that_a_killed_process_restored() {
    let mut life = Life::new(ground());
    life.driven.create().unwrap();
    life.commits(3, ITEMS).unwrap();
    life.back_up(Access::Live).unwrap();
    life.driven.close().unwrap();
    let ground = life.driven.sim.reboot(Survival::Nothing);
    let mut found = 0;
    for call in 1.. {
        let sim = ground.image();
        sim.crash_at(call);
        life.driven.sim = sim.clone();
        let restored = life.restore();
        let _at = At(format!("killed at call {call} of the restore"));
        if !sim.crashed() {
            restored.unwrap();
            break;
        }
        let after = Driven::new(sim.reboot(Survival::Everything), COPY, &TABLES);
        if let Ok(store) = after.builder(Path::new(COPY)).open() {
            found += 1;
            commit_and_lose_power(&after, store, life.driven.history.last_lsn());
        }
    }
    assert!(found > 0, "the restore was never killed after it had given the name");
}

fn commit_and_lose_power(after: &Driven, store: stillpoint::Store, lsn: Lsn) {
    let write = store.begin_write().unwrap();
    write.table(TABLES[0]).unwrap().put(&99, b"durable").unwrap();
    assert_eq!(write.commit().unwrap().lsn, lsn + 1);
    let last = after.fork(Survival::Nothing);
    let store = last.builder(&after.dir).open().unwrap();
    assert_eq!(store.lsn(), lsn + 1);
    let found = store.begin_read().unwrap();
    assert_eq!(found.table(TABLES[0]).unwrap().get(&99).unwrap().as_deref(), Some(&b"durable"[..]));
}

/// Closing makes `Eventual` commits durable. Where a sync had failed before, nobody may believe that.
#[test]
fn closing_says_that_a_sync_had_failed_before() {
    let mut life = Life::new(ground());
    life.driven.create().unwrap();
    life.commits(1, ITEMS).unwrap();
    let log = life.driven.dir.join("log");
    let segment = active_segment(&life.driven.sim, log.to_str().unwrap());
    life.driven.sim.fail(FaultPlan::always(Call::Sync, segment, Fault::IO));
    let put = Change::Put(ITEMS, 1, b"not yet durable".to_vec());
    life.driven.commit(&[put], Durability::Eventual).unwrap();
    // By this call or by the store's own thread before it.
    life.driven.store().sync().unwrap_err();
    let error = life.driven.close().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ReadOnly, "{error}");
}
