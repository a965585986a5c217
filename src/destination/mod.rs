//! A destination of backups: what lies there, read once.
//!
//! [`Storage`] is what lies behind it: named objects that are listed, read, created and deleted. A
//! [`Folder`] is one. [`Catalogue`] is what a look at it found: every archive by its name, and what
//! each says of itself once that is asked for. Backup, restore, automatic restore, rollback,
//! retention, coverage and the rebuild of the history all work from a catalogue, so they agree on
//! what is there, and no header is read twice for one decision.
//!
//! Invariants: a catalogue changes nothing. A file that cannot be read ends nothing: it is passed
//! over, with its reason. A name is not believed alone: [`StoredArchive::contradiction`] says where
//! the header of an archive says something else.

mod catalogue;
mod numbers;
mod parents;
mod storage;
mod stored;
#[cfg(test)]
mod tests;

pub(crate) use catalogue::Catalogue;
pub(crate) use parents::{Search, Wanted};
pub(crate) use storage::{Folder, Object, Storage};
pub(crate) use stored::{StoredArchive, StoredBackup, StoredLog};
