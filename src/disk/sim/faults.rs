//! What the simulated disk does wrong on demand: which call fails, on which path, how and how often.
//!
//! A plan counts the calls that match it. It changes nothing on the disk by itself: the error, and
//! how many bytes take effect before it, are handed to the call.

use std::io;

/// The kinds of calls that can be told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Call {
    /// `open` of what exists.
    Open,
    /// `open` with `CreateNew`.
    Create,
    /// `read_at`.
    Read,
    /// `write_at` and `write_parts_at` (one call whatever the number of parts).
    Write,
    /// `set_len`.
    SetLen,
    /// `allocate`.
    Allocate,
    /// `File::sync`.
    Sync,
    /// `map`.
    Map,
    /// `create_dir`.
    CreateDir,
    /// `remove_file` and `remove_dir`.
    Remove,
    /// `rename` and `rename_new`; matched by either path.
    Rename,
    /// `sync_dir`.
    SyncDir,
    /// `symlink`.
    Symlink,
    /// `list`.
    List,
    /// `metadata`, `canonical`, `read_link`, `is_writable`, `free_space` and `File::len`.
    Look,
    /// `set_attributes`.
    Attributes,
    /// `lock`.
    Lock,
    /// `lock_shared`.
    LockShared,
}

impl Call {
    /// Whether a call of this kind changes the medium, or makes a change of it durable. `open` depends on
    /// its mode.
    pub(super) fn writes(self) -> bool {
        use Call::{Allocate, Attributes, Create, CreateDir, Lock, Remove};
        use Call::{Rename, SetLen, Symlink, Sync, SyncDir, Write};
        let writing = [Allocate, Attributes, Create, CreateDir, Lock, Remove];
        let also = [Rename, SetLen, Symlink, Sync, SyncDir, Write];
        writing.contains(&self) || also.contains(&self)
    }
}

/// How a call fails.
///
/// After a `sync` that fails, with whatever error, what was unsynced is given up: it can be read until
/// the next crash, and no later sync will make it durable. (This is what Linux does.)
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    error: rustix::io::Errno,
    bytes: usize,
}

impl Fault {
    /// The medium or the transport failed (EIO).
    pub const IO: Fault = Fault { error: rustix::io::Errno::IO, bytes: 0 };
    /// No room (ENOSPC).
    pub const FULL: Fault = Fault { error: rustix::io::Errno::NOSPC, bytes: 0 };
    /// A signal came first (EINTR).
    pub const INTERRUPTED: Fault = Fault { error: rustix::io::Errno::INTR, bytes: 0 };
    /// No permission (EACCES).
    pub const DENIED: Fault = Fault { error: rustix::io::Errno::ACCESS, bytes: 0 };

    /// The process has as many files open as it may (EMFILE).
    pub const NO_HANDLES: Fault = Fault { error: rustix::io::Errno::MFILE, bytes: 0 };
    /// The file system has no locks (ENOLCK).
    pub const NO_LOCKS: Fault = Fault { error: rustix::io::Errno::NOLCK, bytes: 0 };

    /// The call is not for this file (EINVAL): so fails the sync of a folder on a file system that is
    /// never written.
    pub const INVALID: Fault = Fault { error: rustix::io::Errno::INVAL, bytes: 0 };

    /// A short transfer: the first `bytes` bytes take effect. A write then fails with the error; a
    /// read returns them, and fails where `bytes` is 0.
    pub const fn after_bytes(self, bytes: usize) -> Fault {
        Fault { bytes, ..self }
    }

    pub(super) fn error(self) -> io::Error {
        self.error.into()
    }

    pub(super) fn bytes(self) -> usize {
        self.bytes
    }
}

/// Which calls fail. At most one plan fails a call: the first that is due.
///
/// ```
/// # use stillpoint::disk::{Call, Fault, FaultPlan};
/// let second_sync_of_the_log = FaultPlan::once(Call::Sync, "log/", Fault::IO).skip(1);
/// let full = FaultPlan::always(Call::Allocate, "", Fault::FULL);
/// # drop((second_sync_of_the_log, full));
/// ```
#[derive(Clone, Debug)]
pub struct FaultPlan {
    call: Option<Call>,
    path: String,
    skip: u64,
    left: u64,
    fault: Fault,
}

impl FaultPlan {
    /// Fails one `call` on a path that contains `path`. An open file goes by the name that it has at
    /// the time of the call.
    pub fn once(call: Call, path: impl Into<String>, fault: Fault) -> FaultPlan {
        FaultPlan { call: Some(call), path: path.into(), skip: 0, left: 1, fault }
    }

    /// Fails every such call.
    pub fn always(call: Call, path: impl Into<String>, fault: Fault) -> FaultPlan {
        FaultPlan { left: u64::MAX, ..FaultPlan::once(call, path, fault) }
    }

    /// The same plan for calls of every kind.
    pub fn any_call(self) -> FaultPlan {
        FaultPlan { call: None, ..self }
    }

    /// Lets the first `calls` matching calls pass.
    pub fn skip(self, calls: u64) -> FaultPlan {
        FaultPlan { skip: calls, ..self }
    }

    /// Whether the plan has nothing more to do.
    pub(super) fn is_spent(&self) -> bool {
        self.left == 0
    }

    /// Counts this call; the fault if it is its turn.
    pub(super) fn meet(&mut self, call: Call, paths: &[&str]) -> Option<Fault> {
        let matches = self.call.is_none_or(|wanted| wanted == call)
            && paths.iter().any(|path| path.contains(&self.path));
        if !matches || self.is_spent() {
            return None;
        }
        if self.skip > 0 {
            self.skip -= 1;
            return None;
        }
        if self.left != u64::MAX {
            self.left -= 1;
        }
        Some(self.fault)
    }
}
