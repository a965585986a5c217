//! The stores, each behind the same few operations, each as its own documentation recommends.
//!
//! Stillpoint and the rivals get the same keys and values, caches of at most 1 GiB, no compression.
//! `durable` means: synced before it returns. `relaxed` means: survives the death of the process
//! where the store can promise that at all, and is synced some time later.

mod fjall;
mod lmdb;
mod peer;
mod redb;
#[cfg(feature = "rocksdb")]
mod rocks;
mod sqlite;
mod stillpoint;

use crate::data::Data;
use crate::table::Table;
use std::path::Path;

pub use self::fjall::Fjall;
pub use self::lmdb::Lmdb;
pub use self::peer::{Peer, load};
pub use self::redb::Redb;
#[cfg(feature = "rocksdb")]
pub use self::rocks::Rocks;
pub use self::sqlite::Sqlite;
pub use self::stillpoint::{RECORDS, Stillpoint};

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

/// A table with a column for each peer, the ratio and the goal.
pub fn table(title: impl Into<String>) -> Table {
    let mut head = vec![""];
    head.extend(PEERS.iter().map(|(name, _)| *name));
    head.extend(["ratio", "goal"]);
    Table::new(title, &head)
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
