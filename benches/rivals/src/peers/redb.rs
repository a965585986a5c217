//! redb with a cache of 1 GiB: `Durability::Immediate`, and `None` for relaxed commits.
//!
//! What redb commits with `None` is gone after the death of the process, until an `Immediate`
//! commit follows; it has no weaker promise that keeps it.

use super::Peer;
use crate::data::Record;
use redb::{ReadableDatabase, ReadableTable};
use std::path::{Path, PathBuf};

const RECORDS: redb::TableDefinition<&[u8], &[u8]> = redb::TableDefinition::new("records");

pub struct Redb {
    db: redb::Database,
    dir: PathBuf,
}

impl Redb {
    pub fn open(dir: &Path) -> Redb {
        let dir = dir.join("redb");
        std::fs::create_dir_all(&dir).unwrap();
        let (file, new) = (dir.join("data"), !dir.join("data").exists());
        let db = redb::Builder::new().set_cache_size(1 << 30).create(file).unwrap();
        if new {
            let write = db.begin_write().unwrap();
            write.open_table(RECORDS).unwrap();
            write.commit().unwrap();
        }
        Redb { db, dir }
    }
}

impl Peer for Redb {
    fn commit(&self, records: &[Record], durable: bool) {
        let mut write = self.db.begin_write().unwrap();
        if !durable {
            write.set_durability(redb::Durability::None).unwrap();
        }
        {
            let mut table = write.open_table(RECORDS).unwrap();
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
        let read = self.db.begin_read().unwrap();
        let table = read.open_table(RECORDS).unwrap();
        let found = |key: &Vec<u8>| table.get(key.as_slice()).unwrap();
        keys.iter().map(|key| found(key).map_or(0, |value| value.value().len())).sum()
    }

    fn scan(&self) -> (usize, usize) {
        let read = self.db.begin_read().unwrap();
        let table = read.open_table(RECORDS).unwrap();
        table.iter().unwrap().fold((0, 0), |seen, record| {
            let (key, value) = record.unwrap();
            (seen.0 + 1, seen.1 + key.value().len() + value.value().len())
        })
    }

    fn backup(&self, to: &Path) {
        let copy = redb::Database::create(to.join("redb.copy")).unwrap();
        let read = self.db.begin_read().unwrap();
        let source = read.open_table(RECORDS).unwrap();
        let write = copy.begin_write().unwrap();
        {
            let mut table = write.open_table(RECORDS).unwrap();
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
