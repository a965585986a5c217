//! P5 with a real process that is really killed: what it said was committed is there, in whole
//! transactions, and the archives that have their names are whole.
//!
//! The test starts its own binary again as the one that is killed; `child_that_is_killed` is what
//! runs there, and does nothing in an ordinary run of the tests.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use stillpoint::archive::ArchiveFile;
use stillpoint::disk::RealDisk;
use stillpoint::{Access, Archive, Durability, ReadHandle, Store, TableDef, verify_store};

use crate::support::random::{Random, seed};
use crate::support::read::Def;

const HOME: &str = "STILLPOINT_TEST_HOME";
const ROUNDS: usize = 10;
const TABLES: [Def; 2] = [TableDef::new("left"), TableDef::new("right")];
/// How many records a table keeps; each commit writes one and removes an older one.
const KEPT: u64 = 40;
/// Where a table notes the last record.
const LAST: u64 = u64::MAX;

fn open(home: &Path) -> Store {
    let builder = Store::builder(home.join("store")).memory_budget(48 << 10).segment_size(64 << 10);
    builder.open_or_create().unwrap()
}

fn value_of(number: u64) -> Vec<u8> {
    Random::new(number).bytes((number % 700) as usize)
}

fn last_of(read: &ReadHandle, table: Def) -> u64 {
    let last = read.table(table).unwrap().get(&LAST).unwrap();
    last.map_or(0, |value| u64::from_le_bytes(value[..].try_into().unwrap()))
}

/// Commits without end, and says so of each commit once it is acknowledged.
fn commit_for_ever(store: &Store, index: usize) {
    let table = TABLES[index];
    let mut number = last_of(&store.begin_read().unwrap(), table);
    loop {
        number += 1;
        let write = store.begin_write().unwrap();
        let records = write.table(table).unwrap();
        records.put(&number, &value_of(number)).unwrap();
        records.put(&LAST, &number.to_le_bytes()).unwrap();
        if let Some(old) = number.checked_sub(KEPT) {
            records.delete(&old).unwrap();
        }
        // The end of the process takes neither.
        let durable = !number.is_multiple_of(3);
        let durability = if durable { Durability::Immediate } else { Durability::Eventual };
        write.set_durability(durability);
        write.commit().unwrap();
        let mut out = std::io::stdout().lock();
        writeln!(out, "acknowledged {index} {number}").unwrap();
        out.flush().unwrap();
    }
}

#[test]
fn child_that_is_killed() {
    let Some(home) = std::env::var_os(HOME) else { return };
    let home = Path::new(&home);
    let store = open(home);
    std::thread::scope(|scope| {
        for index in 0..TABLES.len() {
            let store = &store;
            scope.spawn(move || commit_for_ever(store, index));
        }
        loop {
            store.backup(home.join("backups")).access(Access::Live).run().unwrap();
            std::thread::sleep(Duration::from_millis(5));
        }
    });
}

/// Runs the child, kills it after `commits` of its commits and a little more, and gives back the
/// last number that it acknowledged for each table.
fn run_and_kill(home: &Path, commits: u64, pause: Duration) -> [u64; 2] {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "p5_kill::child_that_is_killed", "--nocapture", "--test-threads=1"])
        .env(HOME, home)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let out = BufReader::new(child.stdout.take().unwrap());
    let (tell, heard) = mpsc::channel();
    let reader = std::thread::spawn(move || {
        for line in out.lines() {
            let Ok(line) = line else { return };
            // A line that the kill cut short was not said.
            let mut words = line.split(' ').skip_while(|word| !word.ends_with("acknowledged"));
            if let (Some(_), Some(table), Some(number)) = (words.next(), words.next(), words.next())
            {
                tell.send((table.parse::<usize>().unwrap(), number.parse::<u64>().unwrap()))
                    .unwrap();
            }
        }
    });
    let mut last = [0; 2];
    for _ in 0..commits {
        let (table, number) = heard.recv().expect("the child ended by itself");
        last[table] = number;
    }
    std::thread::sleep(pause);
    child.kill().unwrap();
    let status = child.wait().unwrap();
    assert!(!status.success() && status.code().is_none(), "the child ended by itself: {status}");
    reader.join().unwrap();
    for (table, number) in heard.try_iter() {
        last[table] = number;
    }
    last
}

fn check(home: &Path, acknowledged: [u64; 2]) {
    verify_store(home.join("store")).unwrap();
    let store = open(home);
    let read = store.begin_read().unwrap();
    for (table, acknowledged) in TABLES.into_iter().zip(acknowledged) {
        let last = last_of(&read, table);
        // One may have been on its way.
        assert!((acknowledged..=acknowledged + 1).contains(&last), "{acknowledged}, found {last}");
        check_table(&read, table, last);
    }
    store.close().unwrap();
    for entry in std::fs::read_dir(home.join("backups")).unwrap() {
        let path = entry.unwrap().path();
        if path.to_string_lossy().ends_with(".log.zst") {
            let log =
                ArchiveFile::open(&*RealDisk::new(), &path, &stillpoint::Keys::none()).unwrap();
            log.verify(1, &mut |_| std::ops::ControlFlow::Continue(())).unwrap();
            std::fs::remove_file(&path).unwrap();
        } else if path.extension().is_some_and(|ending| ending == "zst") {
            let archive = Archive::open(&path).unwrap();
            archive.verify().unwrap();
            let read = archive.read().unwrap();
            TABLES.iter().for_each(|table| check_table(&read, *table, last_of(&read, *table)));
            std::fs::remove_file(&path).unwrap();
        }
    }
}

/// Exactly the records that the commits up to `last` left.
fn check_table(read: &ReadHandle, table: Def, last: u64) {
    let mut expected: Vec<_> =
        (1..=last).rev().take(KEPT as usize).map(|n| (n, value_of(n))).collect();
    expected.reverse();
    if last > 0 {
        expected.push((LAST, last.to_le_bytes().to_vec()));
    }
    let found = read.table(table).unwrap();
    let found: Vec<_> =
        found.iter().unwrap().map(|r| r.map(|(k, v)| (k, v.to_vec())).unwrap()).collect();
    assert!(found == expected, "{} at {last}", table.name());
}

#[test]
fn what_a_killed_process_had_acknowledged_is_there_and_nothing_by_halves() {
    let home = tempfile::tempdir().unwrap();
    std::fs::create_dir(home.path().join("backups")).unwrap();
    let mut random = Random::new(seed("a killed process"));
    let mut acknowledged = [0; 2];
    for _ in 0..ROUNDS {
        let (commits, pause) = (2 + random.below(60), Duration::from_millis(random.below(12)));
        let said = run_and_kill(home.path(), commits, pause);
        for (table, number) in said.into_iter().enumerate() {
            acknowledged[table] = number.max(acknowledged[table]);
        }
        check(home.path(), acknowledged);
        let store = open(home.path());
        let read = store.begin_read().unwrap();
        acknowledged = TABLES.map(|table| last_of(&read, table));
    }
    assert!(acknowledged.iter().all(|last| *last > ROUNDS as u64), "{acknowledged:?}");
}
