//! The data file: copy-on-write B+trees and the checkpoints that write them.
//!
//! Fixed-size pages, one tree per table under a catalogue tree. A checkpoint applies a sorted batch
//! of changes, writes the pages that come to differ, and makes them the newest state by writing a
//! meta. A page that any pinned checkpoint reaches is never changed, so readers are slices of one map
//! and take no lock.
//!
//! Invariants:
//! - a pointer carries its child's page number, birth and CRC32C; the meta's pointer to the catalogue
//!   vouches for every byte that the checkpoint reaches;
//! - a page born at `b` and freed at `f` is used again only when no pinned checkpoint lies in
//!   `b..f` (see `free.rs`); pins are the roots of both metas and every [`Checkpoint`] alive;
//! - every page below a checkpoint's end is either reached by it or in its free list, never both;
//! - opening writes nothing, and what a failed checkpoint wrote is invisible.
//!
//! What it deliberately does not do: it knows no commit, no log and no delta, and it never decides
//! when a checkpoint is due. Values and definitions are opaque bytes.

mod act;
mod apply;
mod build;
mod checkpoint;
mod copy;
mod cursor;
mod discard;
mod file;
mod free;
mod map;
mod meta;
mod page;
mod pointer;
mod relocate;
mod run;
mod salvage;
mod source;
mod space;
mod verify;
mod writer;

pub(crate) use act::CheckpointParams;
pub(crate) use apply::ChangeSource;
pub(crate) use checkpoint::{Checkpoint, TreeCursor, open_read_only};
pub(crate) use copy::CopyPlan;
pub(crate) use file::{DataFile, DataParams};
pub(crate) use free::PageSet;
pub(crate) use meta::{Meta, is_of_other_format, is_page_size, rewrite_metas, store_of};
pub(crate) use page::max_key_len;
pub(crate) use salvage::{Lost, Salvage};
pub(crate) use verify::{TreeReport, Watch, verify_data_file};

#[cfg(test)]
use pointer::TableRoot;

#[cfg(test)]
mod tests;
