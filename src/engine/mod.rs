//! The engine: commits and snapshots.
//!
//! A commit is appended to the log and enters the delta; it never touches a page. This file holds
//! only the words that all parts of the engine share.

mod apply;
mod batch;
mod budget;
mod catalogue;
mod checkpointer;
mod compacted;
mod core;
pub(crate) mod delta;
#[allow(clippy::module_inception, reason = "the engine itself stands in the file of its name")]
mod engine;
mod folder;
mod keeper;
mod kept_log;
mod leader;
mod line;
pub(crate) mod log;
mod log_folder;
mod log_guard;
mod look;
mod merge;
mod open;
mod options;
mod origin;
mod pin;
mod read_only;
mod rendezvous;
pub(crate) mod replacement;
mod replay;
mod room;
mod snapshot;
mod spin;
mod stats;
mod timeline;
pub(crate) mod tree;
pub(crate) mod value;
mod view;

#[cfg(test)]
mod tests;

pub(crate) use apply::ForeignGroup;
pub(crate) use batch::{Batch, Payload};
pub(crate) use catalogue::{Catalogue, TableInfo};
pub(crate) use compacted::{compare as compare_compacted, write_compacted};
pub use engine::CommitInfo;
pub(crate) use engine::Engine;
pub(crate) use folder::{DirLock, StoreFolder, lock_dir};
pub(crate) use log::{ClosedSegment, Hold as LogHold};
pub use log_guard::LogCapPolicy;
pub(crate) use log_guard::{KeptLog, LogCap, OnLogDrop};
pub(crate) use look::{Located, Surveyed, inspect, locate, locate_locked, survey};
pub(crate) use merge::MergeCursor;
pub(crate) use open::{DATA_FILE, LOCK_FILE, LOG_DIR, LOST_FOUND, random_id};
pub use options::Durability;
pub(crate) use options::{EngineOptions, OnOpen};
pub(crate) use origin::make_unborn;
pub(crate) use pin::Pin;
pub(crate) use read_only::Scratch;
pub(crate) use rendezvous::Rendezvous;
pub(crate) use snapshot::{Snapshot, catalogue_of};
pub use stats::EngineStats;
pub use timeline::Timeline;
pub(crate) use timeline::{ANCESTRY_FILE, Age, Ancestry, AncestryFile, History, Known, Position};
pub(crate) use value::Value;

/// Log sequence number of a commit. Dense within a timeline: the first commit is 1, and 0 means that
/// nothing was committed yet.
pub type Lsn = u64;

/// The first LSN that no commit can have. Whatever is read with one is damaged; so an LSN can be counted
/// on from without a look at every step.
pub(crate) const LSN_LIMIT: Lsn = 1 << 63;

/// The first number that no table can have.
pub(crate) const TABLE_LIMIT: TableId = 1 << 31;

/// Number of a table, never reused within a store. 0 is the catalogue itself.
pub type TableId = u32;

/// Identity of a store, drawn at random when it is created.
pub type StoreId = u128;

/// The table of definitions: its keys are table ids (big-endian), its values encoded definitions.
pub(crate) const CATALOGUE: TableId = 0;

/// Writes an identity as it stands in archives and on the command line: no reader of JSON keeps so long a
/// number.
pub(crate) fn id_in_hex<S: serde::Serializer>(id: &u128, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&format!("{id:032x}"))
}

/// What a commit does to one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change<'a> {
    /// The record has this value from now on.
    Put(&'a [u8]),
    /// The record is no more.
    Delete,
}
