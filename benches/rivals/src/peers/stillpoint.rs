//! Stillpoint with its defaults: pages of 4 KiB, keys and values as bytes.

use super::Peer;
use crate::data::Record;
use std::path::{Path, PathBuf};
use stillpoint::{Access, Compression, Durability, Store, TableDef};

pub const RECORDS: TableDef<[u8], [u8]> = TableDef::new("records");

pub struct Stillpoint {
    pub store: Store,
    dir: PathBuf,
}

impl Stillpoint {
    pub fn open(dir: &Path) -> Stillpoint {
        let dir = dir.join("stillpoint");
        Stillpoint { store: Store::open_or_create(&dir).unwrap(), dir }
    }
}

impl Peer for Stillpoint {
    fn commit(&self, records: &[Record], durable: bool) {
        let write = self.store.begin_write().unwrap();
        let table = write.table(RECORDS).unwrap();
        for (key, value) in records {
            table.put(key.as_slice(), value.as_slice()).unwrap();
        }
        write.set_durability(if durable { Durability::Immediate } else { Durability::Eventual });
        write.commit().unwrap();
    }

    fn sync(&self) {
        self.store.sync().unwrap();
    }

    fn settle(&self) {
        self.store.checkpoint().unwrap();
    }

    fn read_in_snapshot(&self, keys: &[Vec<u8>]) -> usize {
        let read = self.store.begin_read().unwrap();
        let table = read.table(RECORDS).unwrap();
        keys.iter().map(|key| table.get_raw(key.as_slice()).unwrap().map_or(0, |v| v.len())).sum()
    }

    fn scan(&self) -> (usize, usize) {
        let read = self.store.begin_read().unwrap();
        let table = read.table(RECORDS).unwrap();
        table.iter().unwrap().fold((0, 0), |seen, record| {
            let (key, value) = record.unwrap();
            (seen.0 + 1, seen.1 + key.len() + value.len())
        })
    }

    fn backup(&self, to: &Path) {
        let backup = self.store.backup(to).access(Access::Live).compression(Compression::None);
        backup.run().unwrap();
    }

    fn dir(&self) -> &Path {
        &self.dir
    }
}
