//! RocksDB with a block cache of 1 GiB and no compression: synced writes for durable commits, the
//! write-ahead log in the page cache for relaxed ones. Its backup is a checkpoint, copied.

use super::Peer;
use crate::data::Record;
use rocksdb::checkpoint::Checkpoint;
use rocksdb::{BlockBasedOptions, Cache, DB, DBCompressionType, IteratorMode, Options};
use rocksdb::{WriteBatch, WriteOptions};
use std::path::{Path, PathBuf};

pub struct Rocks {
    db: DB,
    dir: PathBuf,
}

impl Rocks {
    pub fn open(dir: &Path) -> Rocks {
        let dir = dir.join("rocks");
        let mut table = BlockBasedOptions::default();
        table.set_block_cache(&Cache::new_lru_cache(1 << 30));
        table.set_bloom_filter(10.0, false);
        let mut options = Options::default();
        options.create_if_missing(true);
        options.set_compression_type(DBCompressionType::None);
        options.set_block_based_table_factory(&table);
        options.increase_parallelism(2);
        let db = DB::open(&options, &dir).unwrap();
        Rocks { db, dir }
    }
}

impl Peer for Rocks {
    fn commit(&self, records: &[Record], durable: bool) {
        let mut batch = WriteBatch::default();
        for (key, value) in records {
            batch.put(key, value);
        }
        let mut options = WriteOptions::default();
        options.set_sync(durable);
        self.db.write_opt(batch, &options).unwrap();
    }

    fn sync(&self) {
        self.db.flush_wal(true).unwrap();
    }

    fn read_in_snapshot(&self, keys: &[Vec<u8>]) -> usize {
        let snapshot = self.db.snapshot();
        let found = |key: &Vec<u8>| snapshot.get(key).unwrap();
        keys.iter().map(|key| found(key).map_or(0, |value| value.len())).sum()
    }

    fn scan(&self) -> (usize, usize) {
        self.db.iterator(IteratorMode::Start).fold((0, 0), |seen, record| {
            let (key, value) = record.unwrap();
            (seen.0 + 1, seen.1 + key.len() + value.len())
        })
    }

    fn backup(&self, to: &Path) {
        let copy = to.join("rocks.copy");
        Checkpoint::new(&self.db).unwrap().create_checkpoint(&copy).unwrap();
        // A checkpoint is made of links: a backup is bytes of its own.
        for entry in std::fs::read_dir(&copy).unwrap() {
            let path = entry.unwrap().path();
            let bytes = path.with_extension("bytes");
            std::fs::copy(&path, &bytes).unwrap();
            std::fs::File::open(&bytes).unwrap().sync_all().unwrap();
            std::fs::rename(&bytes, &path).unwrap();
        }
    }

    fn dir(&self) -> &Path {
        &self.dir
    }
}
