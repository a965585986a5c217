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
//! # Backups
//!
//! A backup pins one commit and saves exactly that one. What others may do meanwhile is its
//! [`Access`]: with `Live` nobody waits; with `ReadOnly`, the default of a server store, reads go on
//! and writes wait in a queue that can be seen and cancelled; with `Frozen`, the default of a
//! single-user store, both wait. It writes one file that `tar --zstd` opens, reads it back from the
//! medium, and only then gives it its name.
//!
//! ```
//! use stillpoint::{Access, Archive, Store, TableDef};
//!
//! const VISITS: TableDef<str, u64> = TableDef::new("visits");
//!
//! # fn main() -> stillpoint::Result<()> {
//! # let folder = tempfile::tempdir().unwrap();
//! # let (dir, backups, copy) =
//! #     (folder.path().join("store"), folder.path().join("backups"), folder.path().join("copy"));
//! # std::fs::create_dir(&backups).unwrap();
//! let store = Store::create(&dir)?;
//! store.transact(|write| write.table(VISITS)?.put("front page", &1))?;
//!
//! let report = store.backup(&backups).access(Access::Live).run()?;
//! assert_eq!(report.lsn, store.lsn());
//!
//! let archive = Archive::open(&report.archive)?;
//! archive.verify()?; // every byte
//! let then = archive.read()?; // in place, without restoring
//! assert_eq!(then.table(VISITS)?.get("front page")?, Some(1));
//! archive.restore(&copy).run()?; // a new store
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
//! - Backing up: [`Store::backup`], [`BackupBuilder`], [`BackupHandle`] with its
//!   [`progress`](BackupHandle::progress) and its Stop button, [`BackupReport`].
//! - Backing up more than one thing at one instant: [`Participant`] for what is no store (a database
//!   of another kind, a folder), [`Together`] for several stores.
//! - Archives: [`Archive`], to verify, to read in place, to restore; [`verify_store`] and
//!   [`Store::verify`] for stores; [`archive`] for the file format by itself.
//! - Backups that go by themselves: [`regime::Regime`], with its settings, schedule, second attempts,
//!   journal, history, retention, automatic restore, drills and coverage.
//! - Watching: [`Store::events`], [`Store::stats`], [`Store::locks`].
//! - Testing: [`disk::SimDisk`], a disk that crashes and fails as you ask.
//! - Errors: [`Error`] says by its [`kind`](Error::kind) what to do.

pub mod archive;
mod backup;
pub(crate) mod destination;
pub mod disk;
pub(crate) mod engine;
mod error;
pub(crate) mod json_budget;
pub mod lock;
pub mod regime;
mod restore;
mod store;

pub use archive::{ArchiveRepair, Compression, Keys, Level, Promise, ReadRepair, Recipients};
pub use backup::{
    BackupBuilder, BackupHandle, BackupReport, BackupStart, LogArchiveReport, ParticipantReport,
    Progress, SavedFile, Stage, Together, TogetherHandle, backup_together,
};
pub use engine::{
    CommitInfo, Durability, EngineStats, LogCapPolicy, Lsn, StoreId, TableId, Timeline,
};
pub use error::{Error, ErrorKind, Result, code};
pub use lock::{
    Access, AtLimit, BackupProgressInfo, Contents, Hold, LockReport, PendingWrite,
    StoreMode as Mode, TicketState,
};
pub use restore::{
    Archive, ChainCheck, ChainLink, Compact, CompactReport, DiscardedCommits, FollowEvent,
    Follower, IntegrateOptions, IntegrationReport, LogAction, LogCheck, LogCommit, LogFile,
    LogOperation, LogSegment, MissingRange, PlannedLog, Repair, Repaired, RepairedTable,
    RestoreBuilder, RestorePlan, RestorePoint, RestoreReport, Rollback, RollbackReport, StoreCheck,
    StoreRepair, StoreRepairReport, Strictness, TableCopy, verify_store, verify_store_on,
    verify_store_with,
};
pub use store::{
    AsKey, AsPrefix, AttachmentPaper, Background, BackupHeader, BackupKind, BackupResults,
    BackupStatus, Bytes, CancelOutcome, DynRange, DynRecord, DynTable, DynWriteTable, Guard,
    HoldUntil, Job, Key, KeyBuf, KeyReader, KeyType, LiveTable, LogHeader, LogTable,
    MAX_VALUE_BYTES, ParentPaper, Participant, ParticipantLimits, ParticipantPaper,
    ParticipantTerms, Participation, Range, ReadHandle, ReadTable, ReadTicket, Readable, Rejected,
    RestoredCommit, SegmentPaper, Store, StoreBuilder, StoreEvent, StoreStats, StrGuard,
    StructureHandle, SubmitTicket, Table, TableDef, TableDescription, TablePaper, TimelinePaper,
    TogetherPaper, UnfinishedBackup, Value, ValueType, WaitError, WriteHandle, WriteTable,
    WriteTicket,
};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmeExamples;
