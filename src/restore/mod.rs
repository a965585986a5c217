//! From an archive to a store: opening it, looking into it, checking it, making a store of it.
//!
//! Invariants: a restore goes into a new folder, which has its name when everything is in it and
//! durable, or, where that is asked for, into the folder of an older copy (`delta`); an unfinished one
//! is never taken for a store. What comes out of an archive is checked against its digests before it
//! counts. A restored store begins a timeline of its own with its first commit, so that its history is
//! never taken for that of its source.
//!
//! Logs bring a store forward (`point`, `integrate`, `mirror`) and back (`rollback`): they are matched by
//! store, timeline and LSN (`log_file`), and what is applied keeps all three.
//!
//! It deliberately decides nothing by itself: when to restore or to integrate is said by whoever calls,
//! or by the settings, in the room `regime`.

mod archive;
mod builder;
mod carried;
mod chain;
mod compact;
mod delta;
mod extract;
mod integrate;
mod job;
mod log_file;
mod mirror;
mod only;
mod overlay;
mod point;
mod pour;
mod repair;
mod rollback;
mod store_repair;
mod target;
mod vacant;
mod verify;

pub use archive::Archive;
pub use builder::{PlannedLog, RestoreBuilder, RestorePlan, RestoreReport};
pub(crate) use carried::carry;
pub use chain::{ChainCheck, ChainLink};
pub use compact::{Compact, CompactReport};
pub use delta::DiscardedCommits;
pub use extract::TableCopy;
pub use integrate::{IntegrateOptions, IntegrationReport, Strictness};
pub use log_file::{LogAction, LogCheck, LogCommit, LogFile, LogOperation, LogSegment};
pub use mirror::{FollowEvent, Follower};
pub use point::RestorePoint;
pub use repair::{Repair, Repaired};
pub use rollback::{Rollback, RollbackReport};
pub use store_repair::{MissingRange, RepairedTable, StoreRepair, StoreRepairReport};
pub use verify::{StoreCheck, verify_store, verify_store_on, verify_store_with};
pub(crate) use verify::{check as check_store, damaged_log};
