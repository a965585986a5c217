//! The log: what was committed, in order, in a chain of segments of a fixed size.
//!
//! Commits are appended in *groups*: one head, one checksum, one write. Every group carries the
//! checksum of the group before it and the highest LSN known to be durable when it was written, so
//! that recovery can tell a tail (never synced, dropped) from damage (synced, refused). The format
//! stands in [`format`] and [`group`], the rules of recovery in [`recovery`].
//!
//! Invariants:
//! - A segment that recovery has read is never changed again: the log goes on in a new one.
//! - Nothing is created on disk before the first append.
//! - A sync covers every segment with unsynced bytes, oldest first; also those found by recovery.
//! - A full disk refuses an append and latches nothing, and so does a want of file handles while the next
//!   segment is made; a failed sync or any other failed write latches the log for good.
//!
//! What it does not do: it groups nothing (the commit line does), it knows no tables and no values.

mod chain;
mod closing;
mod format;
mod group;
mod keep;
mod prepare;
mod reader;
mod recovery;
mod replay;
mod reserve;
mod segment;
mod sync;
mod upkeep;
mod writer;

pub(crate) use chain::{Era, era_at};
pub(crate) use format::MAX_GROUP;
pub(crate) use format::{Malformed, SegmentHeader};
pub(crate) use group::{Context, LogCommit, LogOp};
pub(crate) use keep::{ClosedSegment, Hold, closed_segments};
pub(crate) use reader::{Group, SegmentReader, Step};
pub(crate) use recovery::{Recovered, RecoveryBase, recover};
pub(crate) use segment::{SegmentInfo, is_segment_name, list_segments};
pub(crate) use segment::{has_segments, passes};
pub(crate) use upkeep::Upkeep;
pub(crate) use writer::{Appended, Log, LogParams};

#[cfg(test)]
mod tests;
