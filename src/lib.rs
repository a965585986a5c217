//! Stillpoint: an embedded, transactional record store whose live backup is consistent, bounded and
//! proven.
//!
//! A [`Store`] is a folder with tables of typed records. Any number of threads read and write it at
//! once; writes are serializable transactions, each read handle sees one commit. A backup of it,
//! made while all that goes on, equals the store at exactly one commit.
//!
//! ```
//! use serde::{Deserialize, Serialize};
//! use stillpoint::{Store, TableDef};
//!
//! #[derive(Debug, PartialEq, Serialize, Deserialize)]
//! struct Item {
//!     name: String,
//!     stock: u32,
//! }
//!
//! // Keys keep their order; values are serde types, or bytes.
//! const ITEMS: TableDef<u64, Item> = TableDef::new("items");
//!
//! # fn main() -> stillpoint::Result<()> {
//! # let folder = tempfile::tempdir().unwrap();
//! # std::env::set_current_dir(&folder).unwrap();
//! let store = Store::open_or_create("inventory")?;
//!
//! let item = Item { name: "espresso machine".into(), stock: 3 };
//! let write = store.begin_write()?; // waits its turn while a backup holds the data
//! write.table(ITEMS)?.put(&42, &item)?;
//! write.commit()?; // durable when it returns
//!
//! let read = store.begin_read()?; // one consistent view
//! let found = read.table(ITEMS)?.get(&42)?;
//! assert_eq!(found, Some(item));
//! for record in read.table(ITEMS)?.range(10..)?.rev() {
//!     let (key, item) = record?;
//!     println!("{key}: {} left of {}", item.stock, item.name);
//! }
//! store.close()?;
//! # Ok(()) }
//! ```
//!
//! # Where to look
//! - Opening: [`Store`], [`StoreBuilder`], [`Mode`], [`Durability`].
//! - Tables: [`TableDef`], with [`Key`]s that keep their order and [`Value`]s that explain
//!   themselves.
//! - Reading: [`ReadHandle`], [`Table`]; [`Readable`] and [`ReadTable`] for code that reads a live
//!   store, a handle and an archive alike; [`DynTable`] without Rust types.
//! - Writing: [`WriteHandle`], [`WriteTable`], [`Store::transact`], [`StructureHandle`].
//! - Waiting: [`WriteTicket`], [`Store::submit`], [`Store::pending_writes`],
//!   [`Store::hold_writes`].
//! - Watching: [`Store::events`], [`Store::stats`], [`Store::locks`].
//! - Errors: [`Error`] says by its [`kind`](Error::kind) what to do.

pub mod archive;
mod backup;
pub mod disk;
pub(crate) mod engine;
mod error;
pub mod lock;
mod restore;
mod store;

pub use archive::Compression;
pub use backup::{
    BackupBuilder, BackupHandle, BackupReport, BackupStart, Progress, SavedFile, Stage,
};
pub use engine::{CommitInfo, Durability, EngineStats, Lsn, StoreId, TableId, Timeline};
pub use error::{Error, ErrorKind, Result, code};
pub use lock::{
    Access, AtLimit, BackupProgressInfo, Contents, Hold, LockReport, PendingWrite,
    StoreMode as Mode, TicketState,
};
pub use restore::{Archive, RestoreBuilder, RestoreReport, StoreCheck, verify_store};
pub use store::{
    AsKey, AsPrefix, BackupHeader, BackupResults, BackupStatus, Bytes, CancelOutcome, DynRange,
    DynRecord, DynTable, DynWriteTable, Guard, Job, Key, KeyBuf, KeyReader, KeyType, LiveTable,
    MAX_VALUE_BYTES, Range, ReadHandle, ReadTable, Readable, Rejected, Store, StoreBuilder,
    StoreEvent, StoreStats, StrGuard, StructureHandle, SubmitTicket, Table, TableDef,
    TableDescription, TablePaper, TimelinePaper, Value, ValueType, WaitError, WriteHandle,
    WriteTable, WriteTicket,
};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmeExamples;
