//! The stores, each behind the same few operations, each as its own documentation recommends.
//!
//! Stillpoint and the rivals get the same keys and values, caches of at most 1 GiB, no compression.
//! `durable` means: synced before it returns. `relaxed` means: survives the death of the process
//! where the store can promise that at all, and is synced some time later.

mod fjall;
mod lmdb;
mod redb;
#[cfg(feature = "rocksdb")]
mod rocks;
mod sqlite;
mod stillpoint;

use crate::data::{Data, Record};
use std::path::Path;

pub use self::fjall::Fjall;
pub use self::lmdb::Lmdb;
pub use self::redb::Redb;
#[cfg(feature = "rocksdb")]
pub use self::rocks::Rocks;
pub use self::sqlite::Sqlite;
pub use self::stillpoint::{RECORDS, Stillpoint};

/// How many records a transaction of a load has.
pub const LOAD_BATCH: u64 = 10_000;

pub trait Peer: Send + Sync {
    /// Commits `records` as one transaction.
    fn commit(&self, records: &[Record], durable: bool);
    /// Makes everything durable.
    fn sync(&self);
    /// Finishes what the store does in the background with what it was given.
    fn settle(&self) {
        self.sync();
    }
    /// Reads all keys in one snapshot; returns how many bytes of values were found.
    fn read_in_snapshot(&self, keys: &[Vec<u8>]) -> usize;
    /// Reads each key in a snapshot of its own.
    fn read_each(&self, keys: &[Vec<u8>]) -> usize {
        keys.iter().map(|key| self.read_in_snapshot(std::slice::from_ref(key))).sum()
    }
    /// Reads everything in key order; returns records and bytes.
    fn scan(&self) -> (usize, usize);
    /// Copies the live store into the folder `to`, as the store's own documentation says.
    fn backup(&self, to: &Path);
    /// Where its files are.
    fn dir(&self) -> &Path;
}

/// Opens the store in a folder of its own within the given one, making it where there is none.
pub type Open = fn(&Path) -> Box<dyn Peer>;

/// Ourselves first.
pub const PEERS: &[(&str, Open)] = &[
    ("stillpoint", |dir| Box::new(Stillpoint::open(dir))),
    ("lmdb", |dir| Box::new(Lmdb::open(dir))),
    ("redb", |dir| Box::new(Redb::open(dir))),
    ("sqlite", |dir| Box::new(Sqlite::open(dir))),
    ("fjall", |dir| Box::new(Fjall::open(dir))),
    #[cfg(feature = "rocksdb")]
    ("rocksdb", |dir| Box::new(Rocks::open(dir))),
];

/// Where LMDB stands among the peers.
pub const LMDB: usize = 1;

/// Writes all records in their (random) order, in relaxed transactions, then syncs once.
pub fn load(peer: &dyn Peer, data: &Data, version: u64) {
    let mut next = 0;
    while next < data.records {
        let end = (next + LOAD_BATCH).min(data.records);
        let records: Vec<Record> = (next..end).map(|i| data.record(i, version)).collect();
        peer.commit(&records, false);
        next = end;
    }
    peer.sync();
}

/// Opens every peer in `dir`, loads it and lets it settle.
pub fn loaded(dir: &Path, data: &Data) -> Vec<Box<dyn Peer>> {
    load_all(PEERS, dir, data)
}

/// The same without ourselves.
pub fn loaded_rivals(dir: &Path, data: &Data) -> Vec<Box<dyn Peer>> {
    load_all(&PEERS[1..], dir, data)
}

fn load_all(peers: &[(&str, Open)], dir: &Path, data: &Data) -> Vec<Box<dyn Peer>> {
    let open_and_load = |(name, open): &(&str, Open)| {
        eprintln!("  loading {name}");
        let peer = open(dir);
        load(&*peer, data, 0);
        peer.settle();
        peer
    };
    peers.iter().map(open_and_load).collect()
}
