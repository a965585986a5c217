//! LMDB through heed: normal synchronous mode for durable commits, `NO_SYNC` for relaxed ones.

use super::Peer;
use crate::data::Record;
use heed::types::Bytes;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

pub struct Lmdb {
    env: heed::Env,
    db: heed::Database<Bytes, Bytes>,
    /// Whether commits sync now. Changed between phases only, never while others commit.
    syncs: AtomicBool,
    dir: PathBuf,
}

impl Lmdb {
    pub fn open(dir: &Path) -> Lmdb {
        let dir = dir.join("lmdb");
        std::fs::create_dir_all(&dir).unwrap();
        let mut options = heed::EnvOpenOptions::new();
        options.map_size(64 << 30);
        // SAFETY: nobody else opens or changes this folder while the benchmark runs.
        let env = unsafe { options.open(&dir) }.unwrap();
        let mut txn = env.write_txn().unwrap();
        let db = env.create_database(&mut txn, None).unwrap();
        txn.commit().unwrap();
        Lmdb { env, db, syncs: AtomicBool::new(true), dir }
    }

    fn set_mode(&self, durable: bool) {
        if self.syncs.swap(durable, Ordering::Relaxed) == durable {
            return;
        }
        let mode = if durable { heed::FlagSetMode::Disable } else { heed::FlagSetMode::Enable };
        // SAFETY: the flag only decides when pages are synced.
        unsafe { self.env.set_flags(heed::EnvFlags::NO_SYNC, mode) }.unwrap();
        if durable {
            self.env.force_sync().unwrap();
        }
    }
}

impl Peer for Lmdb {
    fn commit(&self, records: &[Record], durable: bool) {
        self.set_mode(durable);
        let mut txn = self.env.write_txn().unwrap();
        for (key, value) in records {
            self.db.put(&mut txn, key, value).unwrap();
        }
        txn.commit().unwrap();
    }

    fn sync(&self) {
        self.env.force_sync().unwrap();
    }

    fn read_in_snapshot(&self, keys: &[Vec<u8>]) -> usize {
        let txn = self.env.read_txn().unwrap();
        keys.iter().map(|key| self.db.get(&txn, key).unwrap().map_or(0, <[u8]>::len)).sum()
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
