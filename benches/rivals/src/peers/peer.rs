//! What every store of a benchmark does, and how it is loaded.

use crate::data::{Data, Record};
use std::path::Path;

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
