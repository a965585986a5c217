//! What an application may rely on, on a simulated disk.

mod handles;
mod model;
mod races;
mod structure;
mod tables;
mod waiting;

use super::{Store, StoreBuilder, TableDef};
use crate::disk::SimDisk;
use std::sync::Arc;
use std::thread;

const COUNTS: TableDef<str, u64> = TableDef::new("counts");
const NAMES: TableDef<u64, str> = TableDef::new("names");

fn builder(disk: &Arc<SimDisk>) -> StoreBuilder {
    Store::builder("/store").disk(disk.clone()).segment_size(1 << 20)
}

/// An empty store on a disk of its own.
fn store() -> Store {
    builder(&SimDisk::new(7)).create().unwrap()
}

/// Waits until `condition` holds: for what other threads do. A test that never gets there hangs,
/// and the test runner says which.
fn until(mut condition: impl FnMut() -> bool) {
    while !condition() {
        thread::yield_now();
    }
}

/// How many owners wait for a lock.
fn waiting_for_locks(store: &Store) -> usize {
    store.locks().owners.iter().filter(|owner| !owner.waits.is_empty()).count()
}

fn put(store: &Store, key: &str, value: u64) {
    let write = store.begin_write().unwrap();
    write.table(COUNTS).unwrap().put(key, &value).unwrap();
    write.commit().unwrap();
}

fn get(store: &Store, key: &str) -> Option<u64> {
    store.begin_read().unwrap().table(COUNTS).unwrap().get(key).unwrap()
}
