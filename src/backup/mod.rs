//! One backup: from the question whether it may begin to the archive that has its name.
//!
//! The way of a backup: preflight, startup hook, locks, pin, copy, release, verify, seal, shutdown
//! hook. Beside the archive a backup of data writes the log since the one before (`log_archive`).
//! Each stage is a step of `run.rs`; what it holds is released by its end, by Stop, by the end
//! of its lease, and by a panic.
//!
//! Invariants: the archive equals the store at the pinned commit, and at no other; nothing has the
//! name of an archive before it is complete and (unless that was declined) read back from the
//! medium; the callbacks of the application are called outside all locks and cannot block the
//! backup's own hold.
//!
//! It deliberately keeps no history and deletes no archive: that is the regime's work.

mod actor;
mod attach;
mod attachments;
mod builder;
mod copier;
mod crew;
pub(crate) mod foreign;
mod handle;
mod lineage;
mod locate;
mod log_archive;
mod outcome;
mod preflight;
mod progress;
mod quiet;
mod report;
mod run;
mod saved_settings;
mod start;
mod teller;
mod throttle;
mod together;

#[cfg(test)]
mod tests;

pub use builder::{BackupBuilder, BackupStart};
pub use handle::BackupHandle;
pub(crate) use locate::{Located, Preparation};
pub(crate) use outcome::Outcome;
pub(crate) use preflight::{check_folder, within_store};
pub use progress::{Progress, Stage};
pub use report::{BackupReport, LogArchiveReport, ParticipantReport, SavedFile};
pub use together::{Together, TogetherHandle, backup_together};
