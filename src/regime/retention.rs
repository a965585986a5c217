//! Keeping the last sets of archives and deleting the older ones.
//!
//! A *set* is a full archive with the incremental ones that go on from it, the log archives that
//! follow them, and the segments and parity of all. An archive is deleted only where the
//! history, its name and its header agree on it (`judge.rs`). Where they do not, it stays with its whole
//! set, and counts for none of the sets that are kept.
//!
//! Invariants: sets are ordered by the commit of their newest archive (`order.rs`), never by
//! number, and by the clock only where the commits are the same. The newest complete archive of
//! data is never deleted, whatever partial ones came after it, and no log archive that an archive
//! which stays leads to (`logs.rs`). What the backup that runs has written stays. An incremental
//! archive goes before what it goes on from. What is about to be deleted is marked in the history
//! first.
//!
//! Planning is pure; deleting never fails as a whole, and tells what it could not do.

mod act;
mod judge;
mod logs;
mod order;
mod plan;
#[cfg(test)]
mod tests;

pub(super) use act::{delete, left_alone, mark};
pub(super) use judge::{Judged, Witnesses};
pub use plan::{Deletion, RetentionPlan, RetentionRule};
pub(super) use plan::{plan, trim};
