//! The stores, each behind the same few operations, each as its own documentation recommends.
//!
//! Stillpoint and the rivals get the same keys and values, caches of at most 1 GiB, no compression.
//! `durable` means: synced before it returns. `relaxed` means: survives the death of the process
//! where the store can promise that at all, and is synced some time later.

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use crate::data::Data;

pub trait Peer: Send + Sync {
    fn name(&self) -> &'static str;
    /// Loads all records in their (random) order, `per_commit` in each relaxed commit, then syncs.
    fn load(&self, data: &Data, version: u64, per_commit: u64);
    /// Commits `records` as one transaction.
    fn commit(&self, records: &[(Vec<u8>, Vec<u8>)], durable: bool);
    /// Makes everything durable.
    fn sync(&self);
    /// Reads all keys in one snapshot; returns how many bytes of values were found.
    fn read_in_snapshot(&self, keys: &[Vec<u8>]) -> usize;
    /// Reads each key in a snapshot of its own.
    fn read_each(&self, keys: &[Vec<u8>]) -> usize;
    /// Reads everything in key order; returns records and bytes.
    fn scan(&self) -> (usize, usize);
    /// Copies the live store into `to`, as the store's own documentation says.
    fn backup(&self, to: &Path);
    /// Where its files are.
    fn dir(&self) -> &Path;
}

pub type Open = fn(&Path) -> Box<dyn Peer>;

pub const PEERS: &[(&str, Open)] = &[
    ("stillpoint", |dir| Box::new(Stillpoint::open(dir))),
    ("lmdb", |dir| Box::new(Lmdb::open(dir))),
    ("redb", |dir| Box::new(Redb::open(dir))),
    ("sqlite", |dir| Box::new(Sqlite::open(dir))),
];

fn batches(data: &Data, version: u64, per_commit: u64, mut commit: impl FnMut(Vec<(Vec<u8>, Vec<u8>)>)) {
    let mut next = 0;
    while next < data.records {
        let end = (next + per_commit).min(data.records);
        commit((next..end).map(|i| (data.key(i), data.value(i, version))).collect());
        next = end;
    }
}

pub struct Stillpoint {
    pub store: stillpoint::Store,
    dir: PathBuf,
}

const RECORDS: stillpoint::TableDef<stillpoint::Bytes, stillpoint::Bytes> =
    stillpoint::TableDef::new("records");

impl Stillpoint {
    pub fn open(dir: &Path) -> Stillpoint {
        let store = stillpoint::Store::open_or_create(dir.join("store")).unwrap();
        Stillpoint { store, dir: dir.join("store") }
    }
}

impl Peer for Stillpoint {
    fn name(&self) -> &'static str {
        "stillpoint"
    }

    fn load(&self, data: &Data, version: u64, per_commit: u64) {
        batches(data, version, per_commit, |records| self.commit(&records, false));
        self.sync();
    }

    fn commit(&self, records: &[(Vec<u8>, Vec<u8>)], durable: bool) {
        let write = self.store.begin_write().unwrap();
        let table = write.table(RECORDS).unwrap();
        for (key, value) in records {
            table.put(key.as_slice(), value.as_slice()).unwrap();
        }
        drop(table);
        let durability = if durable {
            stillpoint::Durability::Immediate
        } else {
            stillpoint::Durability::Eventual
        };
        write.commit_with(durability).unwrap();
    }

    fn sync(&self) {
        self.store.sync().unwrap();
    }

    fn read_in_snapshot(&self, keys: &[Vec<u8>]) -> usize {
        let read = self.store.begin_read().unwrap();
        let table = read.table(RECORDS).unwrap();
        keys.iter().map(|key| table.get_bytes(key.as_slice()).unwrap().map_or(0, |v| v.len())).sum()
    }

    fn read_each(&self, keys: &[Vec<u8>]) -> usize {
        keys.iter().map(|key| self.read_in_snapshot(std::slice::from_ref(key))).sum()
    }

    fn scan(&self) -> (usize, usize) {
        let read = self.store.begin_read().unwrap();
        let table = read.table(RECORDS).unwrap();
        let mut seen = (0, 0);
        table
            .for_each_bytes(|key, value| {
                seen = (seen.0 + 1, seen.1 + key.len() + value.len());
            })
            .unwrap();
        seen
    }

    fn backup(&self, to: &Path) {
        self.store
            .backup(to)
            .access(stillpoint::Access::Live)
            .compression(stillpoint::Compression::None)
            .run()
            .unwrap();
    }

    fn dir(&self) -> &Path {
        &self.dir
    }
}

pub struct Lmdb {
    env: heed::Env,
    db: heed::Database<heed::types::Bytes, heed::types::Bytes>,
    dir: PathBuf,
}

impl Lmdb {
    fn open(dir: &Path) -> Lmdb {
        let dir = dir.join("lmdb");
        std::fs::create_dir_all(&dir).unwrap();
        let mut options = heed::EnvOpenOptions::new();
        options.map_size(64 << 30);
        // SAFETY: nobody else opens or changes this folder while the benchmark runs.
        let env = unsafe { options.open(&dir) }.unwrap();
        let mut txn = env.write_txn().unwrap();
        let db = env.create_database(&mut txn, None).unwrap();
        txn.commit().unwrap();
        Lmdb { env, db, dir }
    }

    fn set_sync(&self, durable: bool) {
        let mode = if durable { heed::FlagSetMode::Disable } else { heed::FlagSetMode::Enable };
        // SAFETY: the flag only decides when pages are synced; nobody else uses the environment.
        unsafe { self.env.set_flags(heed::EnvFlags::NO_SYNC, mode) }.unwrap();
    }
}

impl Peer for Lmdb {
    fn name(&self) -> &'static str {
        "lmdb"
    }

    fn load(&self, data: &Data, version: u64, per_commit: u64) {
        self.set_sync(false);
        batches(data, version, per_commit, |records| self.commit(&records, false));
        self.sync();
    }

    fn commit(&self, records: &[(Vec<u8>, Vec<u8>)], durable: bool) {
        let mut txn = self.env.write_txn().unwrap();
        for (key, value) in records {
            self.db.put(&mut txn, key, value).unwrap();
        }
        txn.commit().unwrap();
        if durable {
            self.env.force_sync().unwrap();
        }
    }

    fn sync(&self) {
        self.env.force_sync().unwrap();
    }

    fn read_in_snapshot(&self, keys: &[Vec<u8>]) -> usize {
        let txn = self.env.read_txn().unwrap();
        keys.iter().map(|key| self.db.get(&txn, key).unwrap().map_or(0, <[u8]>::len)).sum()
    }

    fn read_each(&self, keys: &[Vec<u8>]) -> usize {
        keys.iter().map(|key| self.read_in_snapshot(std::slice::from_ref(key))).sum()
    }

    fn scan(&self) -> (usize, usize) {
        let txn = self.env.read_txn().unwrap();
        self.db.iter(&txn).unwrap().fold((0, 0), |seen, record| {
            let (key, value) = record.unwrap();
            (seen.0 + 1, seen.1 + key.len() + value.len())
        })
    }

    fn backup(&self, to: &Path) {
        let mut file = std::fs::File::create(to.join("lmdb.copy")).unwrap();
        self.env.copy_to_file(&mut file, heed::CompactionOption::Disabled).unwrap();
        file.sync_all().unwrap();
    }

    fn dir(&self) -> &Path {
        &self.dir
    }
}

pub struct Redb {
    db: redb::Database,
    dir: PathBuf,
}

const REDB: redb::TableDefinition<&[u8], &[u8]> = redb::TableDefinition::new("records");

impl Redb {
    fn open(dir: &Path) -> Redb {
        let dir = dir.join("redb");
        std::fs::create_dir_all(&dir).unwrap();
        let db = redb::Builder::new().set_cache_size(1 << 30).create(dir.join("data")).unwrap();
        let write = db.begin_write().unwrap();
        write.open_table(REDB).unwrap();
        write.commit().unwrap();
        Redb { db, dir }
    }
}

impl Peer for Redb {
    fn name(&self) -> &'static str {
        "redb"
    }

    fn load(&self, data: &Data, version: u64, per_commit: u64) {
        batches(data, version, per_commit, |records| self.commit(&records, false));
        self.sync();
    }

    fn commit(&self, records: &[(Vec<u8>, Vec<u8>)], durable: bool) {
        let mut write = self.db.begin_write().unwrap();
        if !durable {
            write.set_durability(redb::Durability::None).unwrap();
        }
        {
            let mut table = write.open_table(REDB).unwrap();
            for (key, value) in records {
                table.insert(key.as_slice(), value.as_slice()).unwrap();
            }
        }
        write.commit().unwrap();
    }

    fn sync(&self) {
        self.db.begin_write().unwrap().commit().unwrap();
    }

    fn read_in_snapshot(&self, keys: &[Vec<u8>]) -> usize {
        use redb::ReadableDatabase;
        let read = self.db.begin_read().unwrap();
        let table = read.open_table(REDB).unwrap();
        keys.iter().map(|key| table.get(key.as_slice()).unwrap().map_or(0, |v| v.value().len())).sum()
    }

    fn read_each(&self, keys: &[Vec<u8>]) -> usize {
        keys.iter().map(|key| self.read_in_snapshot(std::slice::from_ref(key))).sum()
    }

    fn scan(&self) -> (usize, usize) {
        use redb::{ReadableDatabase, ReadableTable};
        let read = self.db.begin_read().unwrap();
        let table = read.open_table(REDB).unwrap();
        table.iter().unwrap().fold((0, 0), |seen, record| {
            let (key, value) = record.unwrap();
            (seen.0 + 1, seen.1 + key.value().len() + value.value().len())
        })
    }

    fn backup(&self, to: &Path) {
        use redb::{ReadableDatabase, ReadableTable};
        let copy = redb::Database::create(to.join("redb.copy")).unwrap();
        let read = self.db.begin_read().unwrap();
        let source = read.open_table(REDB).unwrap();
        let write = copy.begin_write().unwrap();
        {
            let mut table = write.open_table(REDB).unwrap();
            for record in source.iter().unwrap() {
                let (key, value) = record.unwrap();
                table.insert(key.value(), value.value()).unwrap();
            }
        }
        write.commit().unwrap();
    }

    fn dir(&self) -> &Path {
        &self.dir
    }
}

pub struct Sqlite {
    /// SQLite's connections are not shared: one for writes, one for each reading thread.
    write: Mutex<rusqlite::Connection>,
    dir: PathBuf,
}

thread_local! {
    static READER: std::cell::RefCell<Option<(PathBuf, rusqlite::Connection)>> =
        const { std::cell::RefCell::new(None) };
}

impl Sqlite {
    fn connect(dir: &Path) -> rusqlite::Connection {
        let connection = rusqlite::Connection::open(dir.join("data")).unwrap();
        connection
            .execute_batch(
                "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA cache_size=-1048576;
                 PRAGMA mmap_size=8589934592;
                 CREATE TABLE IF NOT EXISTS records(k BLOB PRIMARY KEY, v BLOB) WITHOUT ROWID;",
            )
            .unwrap();
        connection
    }

    fn open(dir: &Path) -> Sqlite {
        let dir = dir.join("sqlite");
        std::fs::create_dir_all(&dir).unwrap();
        Sqlite { write: Mutex::new(Sqlite::connect(&dir)), dir }
    }

    fn reading<T>(&self, work: impl FnOnce(&rusqlite::Connection) -> T) -> T {
        READER.with_borrow_mut(|reader| {
            if reader.as_ref().is_none_or(|(dir, _)| *dir != self.dir) {
                *reader = Some((self.dir.clone(), Sqlite::connect(&self.dir)));
            }
            work(&reader.as_ref().unwrap().1)
        })
    }
}

impl Peer for Sqlite {
    fn name(&self) -> &'static str {
        "sqlite"
    }

    fn load(&self, data: &Data, version: u64, per_commit: u64) {
        batches(data, version, per_commit, |records| self.commit(&records, false));
        self.sync();
    }

    fn commit(&self, records: &[(Vec<u8>, Vec<u8>)], durable: bool) {
        let mut connection = self.write.lock().unwrap();
        let level = if durable { "FULL" } else { "NORMAL" };
        connection.pragma_update(None, "synchronous", level).unwrap();
        let txn = connection.transaction().unwrap();
        {
            let sql = "INSERT OR REPLACE INTO records VALUES (?1, ?2)";
            let mut put = txn.prepare_cached(sql).unwrap();
            for (key, value) in records {
                put.execute((key, value)).unwrap();
            }
        }
        txn.commit().unwrap();
    }

    fn sync(&self) {
        let connection = self.write.lock().unwrap();
        connection.query_row("PRAGMA wal_checkpoint(FULL)", [], |_| Ok(())).unwrap();
    }

    fn read_in_snapshot(&self, keys: &[Vec<u8>]) -> usize {
        self.reading(|connection| {
            connection.execute_batch("BEGIN").unwrap();
            let mut get =
                connection.prepare_cached("SELECT v FROM records WHERE k = ?1").unwrap();
            let bytes = keys
                .iter()
                .map(|key| {
                    get.query_row([key], |row| Ok(row.get_ref(0)?.as_blob()?.len())).unwrap_or(0)
                })
                .sum();
            drop(get);
            connection.execute_batch("COMMIT").unwrap();
            bytes
        })
    }

    fn read_each(&self, keys: &[Vec<u8>]) -> usize {
        keys.iter().map(|key| self.read_in_snapshot(std::slice::from_ref(key))).sum()
    }

    fn scan(&self) -> (usize, usize) {
        self.reading(|connection| {
            let mut all = connection.prepare_cached("SELECT k, v FROM records ORDER BY k").unwrap();
            let mut rows = all.query([]).unwrap();
            let mut seen = (0, 0);
            while let Some(row) = rows.next().unwrap() {
                let len = |i| row.get_ref(i).unwrap().as_blob().unwrap().len();
                seen = (seen.0 + 1, seen.1 + len(0) + len(1));
            }
            seen
        })
    }

    fn backup(&self, to: &Path) {
        self.reading(|connection| {
            let mut copy = rusqlite::Connection::open(to.join("sqlite.copy")).unwrap();
            let backup = rusqlite::backup::Backup::new(connection, &mut copy).unwrap();
            backup.step(-1).unwrap();
        });
        std::fs::File::open(to.join("sqlite.copy")).unwrap().sync_all().unwrap();
    }

    fn dir(&self) -> &Path {
        &self.dir
    }
}
