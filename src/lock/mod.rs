//! The lock manager: who may do what while others, or a backup, do something else.
//!
//! It is usable by itself and knows no store. Two roots, the structure and the data, with tables,
//! names and records below them, are locked in Gray's modes and U. A backup is an owner like any
//! other: it asks for S or X on the roots that its contents include, in one request.
//!
//! - [`LockManager`]: turns for writes, locks for their owners, holds for backups;
//! - [`WriteTicket`]: a waiting write as a thing that can be watched, awaited and cancelled;
//! - [`Owner`]: what a handle holds; [`Hold`]: the lease of a backup;
//! - [`LockTable`]: the pure state machine that decides who is granted what;
//! - [`ACCESS_TABLE`]: what a backup locks, as data.
//!
//! It keeps no promise about what is read or written under the locks; that is the store's part.
//! `docs/locking.md` has the structures, the rules and the hazards.

mod access;
mod acquire;
mod callback;
mod core;
mod gate;
mod granule;
mod hold;
mod manager;
mod mode;
mod options;
mod owner;
mod queue;
mod read;
pub(crate) mod refuse;
mod report;
mod shards;
mod status;
mod sync;
mod table;
mod ticket;
mod wait;
mod waited;

#[cfg(test)]
mod tests;

pub use access::{ACCESS_TABLE, Access, AccessRow, Contents, StoreMode, roots};
pub use callback::CallbackScope;
pub use granule::{Granule, Resource};
pub use hold::{AtLimit, Expiry, Hold, HoldKind, HoldRequest, HoldState, HoldToken, StopToken};
pub use manager::{BackupTurn, Entry, IntegrationTurn, LockManager};
pub use mode::{MODES, Mode};
pub use options::{LockOptions, WriteRequest};
pub use owner::{Owner, Purpose};
pub use read::ReadTurn;
pub use report::{
    BackupProgressInfo, HeldLock, LockReport, LockedThing, OwnerReport, PendingWrite, WaitedLock,
};
pub use table::{Age, Effects, LockTable, Outcome, OwnerId, Request};
pub use ticket::{CancelOutcome, TicketState, WaitError, WriteTicket};
pub use waited::{WaitMark, WaitedBy};
