//! P1: a backup made beside concurrent writers equals the store at exactly one commit, and that commit
//! is not older than anything acknowledged before the backup was asked for.
//!
//! Writers run random transactions of several records over three tables, each transfer of which
//! conserves the total of a bank, and note what they were acknowledged for. History is put together
//! afterwards, from these notes alone, in the order of the commits' numbers.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use stillpoint::disk::{Disk, RealDisk, SimDisk};
use stillpoint::{
    Access, Archive, BackupReport, Compression, Durability, Lsn, ReadHandle, Store, StoreBuilder,
    TableDef,
};

use crate::support::history::{Change, State, apply};
use crate::support::random::{Random, seed};
use crate::support::read::{Def, state_of};

const BANK: Def = TableDef::new("bank");
const JOURNAL: Def = TableDef::new("journal");
const NOTES: Def = TableDef::new("notes");
const TABLES: [Def; 3] = [BANK, JOURNAL, NOTES];

const ACCOUNTS: u64 = 24;
const DEPOSIT: u64 = 1000;

type Commits = BTreeMap<Lsn, Vec<Change>>;

/// Where the stores of a test are, and how they are opened.
struct Place {
    disk: Arc<dyn Disk>,
    root: PathBuf,
}

impl Place {
    fn builder(&self, name: &str) -> StoreBuilder {
        Store::builder(self.root.join(name))
            .disk(self.disk.clone())
            .memory_budget(48 << 10)
            .segment_size(64 << 10)
    }

    fn backups(&self) -> PathBuf {
        self.root.join("backups")
    }

    /// A store with its tables and the first deposits, which are commit 1.
    fn create(&self) -> (Store, Commits) {
        self.disk.create_dir(&self.backups()).unwrap();
        let store = self.builder("store").create().unwrap();
        let mut changes: Vec<Change> = TABLES.iter().map(|t| Change::Make(t.name())).collect();
        let write = store.begin_write().unwrap();
        for table in TABLES {
            write.table(table).unwrap();
        }
        for account in 0..ACCOUNTS {
            let value = balance_of(DEPOSIT, &[]);
            write.table(BANK).unwrap().put(&account, &value).unwrap();
            changes.push(Change::Put("bank", account, value));
        }
        let lsn = write.commit().unwrap().lsn;
        (store, Commits::from([(lsn, changes)]))
    }
}

fn balance_of(balance: u64, padding: &[u8]) -> Vec<u8> {
    [&balance.to_le_bytes(), padding].concat()
}

fn balance_in(value: &[u8]) -> u64 {
    u64::from_le_bytes(value[..8].try_into().unwrap())
}

/// Moves money between two accounts and writes it down.
fn transfer(store: &Store, random: &mut Random) -> (Lsn, Vec<Change>) {
    let from = random.below(ACCOUNTS);
    let to = (from + 1 + random.below(ACCOUNTS - 1)) % ACCOUNTS;
    let (asked, entry, padding) = (random.below(50), random.next(), random.bytes(100));
    let padding = &padding[..random.below(100) as usize];
    // In one order, so that transfers do not deadlock.
    let write = store.begin_write().unwrap();
    let bank = write.table(BANK).unwrap();
    let held = |account: u64| balance_in(&bank.get_for_update(&account).unwrap().unwrap());
    let first = held(from.min(to));
    let second = held(from.max(to));
    let (had, has) = if from < to { (first, second) } else { (second, first) };
    let moved = asked.min(had);
    let changes = vec![
        Change::Put("bank", from, balance_of(had - moved, padding)),
        Change::Put("bank", to, balance_of(has + moved, padding)),
        Change::Put("journal", entry, random.bytes(random_len(entry))),
    ];
    for change in &changes {
        let Change::Put(table, key, value) = change else { unreachable!("only puts") };
        let table = TABLES.iter().find(|def| def.name() == *table).unwrap();
        write.table(*table).unwrap().put(key, value).unwrap();
    }
    (finish(write, random), changes)
}

/// Rewrites some notes, removes others, and now and then writes a large one.
fn edit(store: &Store, random: &mut Random) -> (Lsn, Vec<Change>) {
    let write = store.begin_write().unwrap();
    let notes = write.table(NOTES).unwrap();
    let mut changes = Vec::new();
    for _ in 0..1 + random.below(6) {
        let key = random.below(120);
        if random.below(3) == 0 {
            notes.delete(&key).unwrap();
            changes.push(Change::Delete("notes", key));
        } else {
            let value = random.next();
            let value = random.bytes(random_len(value));
            notes.put(&key, &value).unwrap();
            changes.push(Change::Put("notes", key, value));
        }
    }
    (finish(write, random), changes)
}

/// Mostly small, sometimes as long as a page, seldom several pages.
fn random_len(random: u64) -> usize {
    let most = match random % 32 {
        0 => 20_000,
        1..=4 => 4_000,
        _ => 200,
    };
    (random / 32 % most) as usize
}

fn finish(write: stillpoint::WriteHandle, random: &mut Random) -> Lsn {
    if random.below(2) == 0 {
        write.set_durability(Durability::Eventual);
    }
    write.commit().unwrap().lsn
}

/// What writers share with the test.
#[derive(Default)]
struct Run {
    stop: AtomicBool,
    /// The highest commit that was acknowledged to anybody.
    acknowledged: AtomicU64,
}

fn writer(store: &Store, run: &Run, seed: u64) -> Vec<(Lsn, Vec<Change>)> {
    let mut random = Random::new(seed);
    let mut done = Vec::new();
    while !run.stop.load(SeqCst) {
        let commit = match random.below(2) {
            0 => transfer(store, &mut random),
            _ => edit(store, &mut random),
        };
        run.acknowledged.fetch_max(commit.0, SeqCst);
        done.push(commit);
    }
    done
}

/// A backup, and the newest commit that had been acknowledged when it was asked for.
struct Taken {
    report: BackupReport,
    acknowledged: Lsn,
}

/// Runs writers, calls `backups` beside them, and gives back what all of them did.
fn history_with_backups(
    (store, mut commits): (Store, Commits),
    seed: u64,
    backups: impl FnOnce(&Store, &Run) -> Vec<Taken>,
) -> (Commits, Vec<Taken>) {
    let run = Run::default();
    let taken = std::thread::scope(|scope| {
        let (store, run) = (&store, &run);
        let threads = (1..=3).map(|i| scope.spawn(move || writer(store, run, seed ^ (i << 32))));
        let threads: Vec<_> = threads.collect();
        let taken = backups(store, run);
        run.stop.store(true, SeqCst);
        for thread in threads {
            for (lsn, changes) in thread.join().unwrap() {
                assert!(commits.insert(lsn, changes).is_none(), "two commits {lsn}");
            }
        }
        taken
    });
    let gapless = commits.keys().copied().eq(1..=commits.len() as Lsn);
    assert!(gapless, "numbers of commits have gaps");
    assert_eq!(store.lsn(), commits.len() as Lsn);
    store.close().unwrap();
    (commits, taken)
}

/// Lets the writers do something before the next backup.
fn wait_for_commits(run: &Run, more: u64) {
    let from = run.acknowledged.load(SeqCst);
    while run.acknowledged.load(SeqCst) < from + more {
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn back_up(
    store: &Store,
    run: &Run,
    to: &Path,
    options: impl FnOnce(stillpoint::BackupBuilder) -> stillpoint::BackupBuilder,
) -> Taken {
    wait_for_commits(run, 40);
    let acknowledged = run.acknowledged.load(SeqCst);
    let report = options(store.backup(to)).run().unwrap();
    Taken { report, acknowledged }
}

/// Each archive, read in place and restored, against the history.
fn check(place: &Place, commits: &Commits, taken: &[Taken]) {
    let mut state = State::new();
    let mut at = 0;
    for (i, Taken { report, acknowledged }) in taken.iter().enumerate() {
        let lsn = report.lsn;
        assert!(lsn >= *acknowledged, "commit {acknowledged} is missing of a backup at {lsn}");
        assert!(lsn >= at, "a later backup is older");
        while at < lsn {
            at += 1;
            commits[&at].iter().for_each(|change| apply(&mut state, change));
        }
        let total: u64 = state["bank"].values().map(|value| balance_in(value)).sum();
        assert_eq!(total, ACCOUNTS * DEPOSIT, "the bank at commit {lsn}");
        check_archive(place, report, &state, &format!("copy-{i}"));
    }
}

fn check_archive(place: &Place, report: &BackupReport, state: &State, copy: &str) {
    let what = format!("{:?} backup at commit {}", report.access, report.lsn);
    let archive = Archive::open_on(place.disk.clone(), &report.archive).unwrap();
    archive.verify().unwrap();
    assert_eq!(archive.header().lsn, report.lsn);
    let listed = archive.header().tables.iter();
    let listed: BTreeMap<&str, u64> = listed.map(|t| (t.name.as_str(), t.records)).collect();
    let counted = state.iter().map(|(name, records)| (*name, records.len() as u64)).collect();
    assert_eq!(listed, counted, "tables and counts of the {what}");
    equals(&archive.read().unwrap(), report.lsn, state, &format!("{what}, in place"));
    let restored = archive.restore(place.root.join(copy)).run().unwrap();
    assert_eq!(restored.lsn, report.lsn);
    let store = place.builder(copy).open().unwrap();
    store.verify().unwrap();
    equals(&store.begin_read().unwrap(), report.lsn, state, &format!("{what}, restored"));
    store.close().unwrap();
}

fn equals(read: &ReadHandle, lsn: Lsn, state: &State, what: &str) {
    assert_eq!(read.lsn(), lsn, "{what}");
    let found = state_of(read, &TABLES);
    for (table, records) in state {
        for (key, value) in records {
            assert!(found[table].get(key) == Some(value), "{what}: {table} {key}");
        }
    }
    assert!(found == *state, "{what}: there is more than there should be");
}

const ACCESSES: [Access; 3] = [Access::Live, Access::ReadOnly, Access::Frozen];

#[test]
fn backups_of_every_access_equal_one_commit_not_older_than_what_was_acknowledged() {
    let mut seeds = Random::new(seed("backups of every access"));
    for _ in 0..3 {
        let place = Place { disk: SimDisk::new(seeds.next()), root: PathBuf::from("/") };
        let to = place.backups();
        let made = place.create();
        let (commits, taken) = history_with_backups(made, seeds.next(), |store, run| {
            let compressions = [Compression::Fast, Compression::None, Compression::Compact];
            let all = ACCESSES.into_iter().zip(compressions).cycle().take(6);
            all.map(|(access, compression)| {
                back_up(store, run, &to, |backup| backup.access(access).compression(compression))
            })
            .collect()
        });
        check(&place, &commits, &taken);
    }
}

#[test]
fn backups_on_a_real_disk_equal_one_commit() {
    let folder = tempfile::tempdir().unwrap();
    let place = Place { disk: RealDisk::new(), root: folder.path().to_path_buf() };
    let to = place.backups();
    let made = place.create();
    let seed = seed("backups on a real disk");
    let (commits, taken) = history_with_backups(made, seed, |store, run| {
        ACCESSES.map(|access| back_up(store, run, &to, |backup| backup.access(access))).into()
    });
    check(&place, &commits, &taken);
}

/// The copier is so slow that the store is written over many times before it is done: every page that
/// it has yet to read must stay as it was, though checkpoints free and use pages all the while.
#[test]
fn a_slow_copy_under_full_load_outlives_many_checkpoints_and_the_reuse_of_pages() {
    let folder = tempfile::tempdir().unwrap();
    let place = Place { disk: RealDisk::new(), root: folder.path().to_path_buf() };
    let to = place.backups();
    let made = place.create();
    let seed = seed("a slow copy");
    let (commits, taken) = history_with_backups(made, seed, |store, run| {
        wait_for_commits(run, 200);
        let before = store.stats().engine;
        let size = before.data_file_bytes;
        let slow = |backup: stillpoint::BackupBuilder| {
            backup.access(Access::Live).workers(1).throttle(size / 2).verify(false)
        };
        let taken = vec![back_up(store, run, &to, slow), back_up(store, run, &to, slow)];
        let after = store.stats().engine;
        let checkpoints = after.checkpoints - before.checkpoints;
        assert!(checkpoints >= 20, "{checkpoints} checkpoints during the copy");
        // Each checkpoint writes a handful of pages at least; had none been used again, the file
        // would have grown by all of them.
        assert!(after.visible_lsn > taken[0].report.lsn + 100, "writers stood still");
        taken
    });
    check(&place, &commits, &taken);
}
