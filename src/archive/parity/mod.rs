//! Parity beside an archive: Reed-Solomon blocks over its final bytes, which mend damage without any
//! key. `docs/format/parity.md` has every byte and the promise.
//!
//! The archive is cut into blocks, blocks into groups, and each group is woven into stripes
//! ([`Geometry`]). A stripe has its data blocks in the archive, its parity blocks in the parity file,
//! and a table of the digests of both, kept twice: so what is damaged is known, and any damaged
//! blocks can be made from the others, as long as they are no more than the stripe has parity blocks.
//!
//! Memory is bounded whatever the archive's length: one stripe is under way at a time, at most 160
//! blocks of 64 KiB with as much again for the arithmetic; readers keep 64 MiB of mended blocks.

mod aside;
mod count;
mod file;
mod geometry;
mod guard;
mod order;
mod repair;
mod stripe;
#[cfg(test)]
mod tests;

pub use count::ReadRepair;
pub(crate) use count::{RepairCount, RepairCounts, merged};
pub(crate) use file::Parity;
#[cfg(test)]
pub(crate) use geometry::Geometry;
pub use geometry::Promise;
pub(crate) use geometry::parity_of;
pub(crate) use guard::Guard;
pub(crate) use order::Order;
#[cfg(test)]
pub(crate) use order::write_parity;
pub use repair::ArchiveRepair;
pub(crate) use repair::{Proof, repair_files};
