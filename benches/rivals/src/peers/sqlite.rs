//! SQLite in WAL mode: `synchronous=FULL` for durable commits, `NORMAL` for relaxed ones.

use super::Peer;
use crate::data::Record;
use rusqlite::Connection;
use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

pub struct Sqlite {
    /// SQLite's connections are not shared: one for writes, one for each reading thread.
    write: Mutex<Connection>,
    full: AtomicBool,
    dir: PathBuf,
}

thread_local! {
    static READER: RefCell<Option<(PathBuf, Connection)>> = const { RefCell::new(None) };
}

const SETTINGS: &str = "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;
    PRAGMA cache_size=-1048576; PRAGMA mmap_size=8589934592; PRAGMA busy_timeout=60000;
    CREATE TABLE IF NOT EXISTS records(k BLOB PRIMARY KEY, v BLOB) WITHOUT ROWID;";

impl Sqlite {
    fn connect(dir: &Path) -> Connection {
        let connection = Connection::open(dir.join("data")).unwrap();
        connection.execute_batch(SETTINGS).unwrap();
        connection
    }

    pub fn open(dir: &Path) -> Sqlite {
        let dir = dir.join("sqlite");
        std::fs::create_dir_all(&dir).unwrap();
        Sqlite { write: Mutex::new(Sqlite::connect(&dir)), full: AtomicBool::new(false), dir }
    }

    fn reading<T>(&self, work: impl FnOnce(&Connection) -> T) -> T {
        READER.with_borrow_mut(|reader| {
            if reader.as_ref().is_none_or(|(dir, _)| *dir != self.dir) {
                *reader = Some((self.dir.clone(), Sqlite::connect(&self.dir)));
            }
            work(&reader.as_ref().unwrap().1)
        })
    }
}

impl Drop for Sqlite {
    fn drop(&mut self) {
        READER.with_borrow_mut(|reader| *reader = None);
    }
}

impl Peer for Sqlite {
    fn commit(&self, records: &[Record], durable: bool) {
        let mut connection = self.write.lock().unwrap();
        if self.full.swap(durable, Ordering::Relaxed) != durable {
            let level = if durable { "FULL" } else { "NORMAL" };
            connection.pragma_update(None, "synchronous", level).unwrap();
        }
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
            let sql = "SELECT v FROM records WHERE k = ?1";
            let mut get = connection.prepare_cached(sql).unwrap();
            let mut found = 0;
            for key in keys {
                let len = get.query_row([key], |row| Ok(row.get_ref(0)?.as_blob()?.len()));
                found += len.unwrap_or(0);
            }
            drop(get);
            connection.execute_batch("COMMIT").unwrap();
            found
        })
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
            let mut copy = Connection::open(to.join("sqlite.copy")).unwrap();
            let backup = rusqlite::backup::Backup::new(connection, &mut copy).unwrap();
            backup.step(-1).unwrap();
        });
        std::fs::File::open(to.join("sqlite.copy")).unwrap().sync_all().unwrap();
    }

    fn dir(&self) -> &Path {
        &self.dir
    }
}
