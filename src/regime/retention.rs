//! Keeping the last sets of archives and deleting the older ones.
//!
//! A *set* is a full archive with the incremental ones that go on from it, the log archives that
//! follow them, and the segments and parity of all. Only what the history lists is ever deleted, and
//! only while it stands at its place, under its name, as long as it was, and says itself that it is
//! what is listed: an archive that somebody moved, renamed or replaced is left alone, and counts for
//! none of the sets that are kept.
//!
//! Invariants: sets are ordered by timeline and LSN of their newest archive, never by number or by
//! the clock. The newest complete archive of data is never deleted, whatever partial ones came after
//! it, and no log archive that ends behind the oldest set that is kept. An incremental archive goes
//! before what it goes on from. What is about to be deleted is marked in the history first.
//!
//! Planning is pure; deleting never fails as a whole, and tells what it could not do.

mod act;
mod order;
mod plan;
#[cfg(test)]
mod tests;

pub(super) use act::{check, delete, mark};
pub use plan::{Deletion, RetentionPlan, RetentionRule};
pub(super) use plan::{plan, trim};
