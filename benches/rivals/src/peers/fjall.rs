//! fjall with a block cache of 1 GiB and no compression: `PersistMode::SyncAll` for durable commits,
//! `Buffer` for relaxed ones.
//!
//! It has no backup of a live store; what is measured for it copies all records into another one.

use super::Peer;
use crate::data::Record;
use fjall::config::CompressionPolicy;
use fjall::{CompressionType, Database, Keyspace, KeyspaceCreateOptions, PersistMode, Readable};
use std::path::{Path, PathBuf};

pub struct Fjall {
    db: Database,
    records: Keyspace,
    dir: PathBuf,
}

impl Fjall {
    pub fn open(dir: &Path) -> Fjall {
        let dir = dir.join("fjall");
        std::fs::create_dir_all(&dir).unwrap();
        let (db, records) = open_at(&dir);
        Fjall { db, records, dir }
    }
}

fn open_at(dir: &Path) -> (Database, Keyspace) {
    let builder = Database::builder(dir).cache_size(1 << 30);
    let db = builder.journal_compression(CompressionType::None).open().unwrap();
    let options = || {
        let none = CompressionPolicy::all(CompressionType::None);
        KeyspaceCreateOptions::default()
            .data_block_compression_policy(none.clone())
            .index_block_compression_policy(none)
    };
    let records = db.keyspace("records", options).unwrap();
    (db, records)
}

impl Peer for Fjall {
    fn commit(&self, records: &[Record], durable: bool) {
        let mode = if durable { PersistMode::SyncAll } else { PersistMode::Buffer };
        let mut batch = self.db.batch().durability(Some(mode));
        for (key, value) in records {
            batch.insert(&self.records, key.as_slice(), value.as_slice());
        }
        batch.commit().unwrap();
    }

    fn sync(&self) {
        self.db.persist(PersistMode::SyncAll).unwrap();
    }

    fn read_in_snapshot(&self, keys: &[Vec<u8>]) -> usize {
        let snapshot = self.db.snapshot();
        let found = |key: &Vec<u8>| snapshot.get(&self.records, key).unwrap();
        keys.iter().map(|key| found(key).map_or(0, |value| value.len())).sum()
    }

    fn scan(&self) -> (usize, usize) {
        let snapshot = self.db.snapshot();
        snapshot.iter(&self.records).fold((0, 0), |seen, record| {
            let (key, value) = record.into_inner().unwrap();
            (seen.0 + 1, seen.1 + key.len() + value.len())
        })
    }

    fn backup(&self, to: &Path) {
        let (copy, records) = open_at(&to.join("fjall.copy"));
        let snapshot = self.db.snapshot();
        for record in snapshot.iter(&self.records) {
            let (key, value) = record.into_inner().unwrap();
            records.insert(key, value).unwrap();
        }
        copy.persist(PersistMode::SyncAll).unwrap();
    }

    fn dir(&self) -> &Path {
        &self.dir
    }
}
