//! What the log asks of writers: its cap, and what happens where it is lost.
//!
//! The log is kept for archives, and may be bounded. At the bound either writes are refused until a
//! backup has made room, or the oldest segments go, each time after the store has noted which
//! commits they held. Before the first backup of data it is always bounded, and the oldest go. A
//! log that fails while the store runs latches the store; one that is missing at the opening may be
//! given up, and then writes wait for a backup, so that the new log never stands without an archive
//! that it follows.
//!
//! Invariants: a segment goes by the cap only when both metas have passed it, and never while a
//! backup reads the log; the bound holds to within what is in the commit line.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::Lsn;
use super::core::Core;
use crate::error::{Error, ErrorKind, Result, code};

/// What happens when the kept log reaches its cap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum LogCapPolicy {
    /// Writes are refused, with [`ErrorKind::StorageFull`] and code 1274, until a backup of data has
    /// succeeded. Nothing is lost.
    #[default]
    Refuse,
    /// The oldest closed segments go. The backups are not touched, but those before the gap can no
    /// longer be rolled forward beyond it.
    DropOldest,
}

/// The bound of the kept log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LogCap {
    pub(crate) bytes: u64,
    pub(crate) policy: LogCapPolicy,
}

impl LogCap {
    /// Segments are at most a quarter of the cap, so that there is something to drop. They need not
    /// be smaller than this.
    const SMALLEST_SEGMENT: u64 = 64 << 10;

    /// The length of segments under `cap`, where they are to be of `wanted` without one.
    pub(super) fn segment_bytes(cap: Option<LogCap>, wanted: u64) -> u64 {
        cap.map_or(wanted, |cap| wanted.min((cap.bytes / 4).max(LogCap::SMALLEST_SEGMENT)))
    }
}

/// From where on the log is kept for archives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KeptLog {
    /// The commits after this one.
    pub(crate) from: Lsn,
    /// A backup of data was made that it follows. Before that nobody may be there to make one.
    pub(crate) backed_up: bool,
}

/// How long the log gets before the first backup: so long, or as the data file where that is longer.
pub(crate) const LOG_BEFORE_BACKUP: u64 = 1 << 30;

/// The cap that holds now. It is read by every commit, so it is one word: twice the bytes, and the
/// policy.
#[derive(Debug)]
pub(super) struct CapInForce(AtomicU64);

impl CapInForce {
    const NONE: u64 = u64::MAX;

    pub(super) fn new(cap: Option<LogCap>) -> CapInForce {
        CapInForce(AtomicU64::new(CapInForce::word(cap)))
    }

    fn word(cap: Option<LogCap>) -> u64 {
        cap.map_or(CapInForce::NONE, |cap| {
            let most = (CapInForce::NONE >> 1) - 1;
            cap.bytes.min(most) << 1 | u64::from(cap.policy == LogCapPolicy::DropOldest)
        })
    }

    pub(super) fn set(&self, cap: Option<LogCap>) {
        self.0.store(CapInForce::word(cap), Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> Option<LogCap> {
        let word = self.0.load(Ordering::Relaxed);
        let policy = match word & 1 {
            0 => LogCapPolicy::Refuse,
            _ => LogCapPolicy::DropOldest,
        };
        (word != CapInForce::NONE).then_some(LogCap { bytes: word >> 1, policy })
    }
}

/// Called before the cap takes the commits after the first LSN, up to the second; they stay where it
/// fails.
#[derive(Clone)]
pub(crate) struct OnLogDrop(pub(crate) Arc<dyn Fn(Lsn, Lsn) -> Result<()> + Send + Sync>);

impl fmt::Debug for OnLogDrop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OnLogDrop")
    }
}

/// An error of writing or syncing the log: the store latches with it.
pub(super) fn unavailable(cause: Error) -> Error {
    if cause.code() == code::LOG_UNAVAILABLE {
        return cause;
    }
    Error::new(ErrorKind::ReadOnly, "the log became unavailable; no writes are taken")
        .with_code(code::LOG_UNAVAILABLE)
        .because(cause)
        .hint("See to the disk of the log, then close the store, open it again and make a backup.")
}

impl Core {
    /// Puts another cap in force: commits from now on go by it, and so do new segments. What is too long
    /// already goes with the next checkpoint, where the cap drops.
    pub(super) fn set_log_cap(&self, cap: Option<LogCap>) {
        self.log_cap.set(cap);
        let wanted = self.options.segment_bytes;
        self.upkeep.set_segment_bytes(LogCap::segment_bytes(cap, wanted));
    }

    /// Sees that the log may take a commit of this store.
    pub(super) fn check_log(&self) -> Result<()> {
        if self.awaits_backup.load(Ordering::Acquire) {
            let message = "the log of the store was lost; no writes are taken before a backup";
            return Err(Error::new(ErrorKind::ReadOnly, message)
                .with_code(code::LOG_UNAVAILABLE)
                .at(&self.dir)
                .hint("Make a backup of the data: the new log begins with it."));
        }
        self.check_log_cap()
    }

    /// The cap that bounds a kept log of `kept` bytes.
    fn cap_of(&self, kept: u64) -> Option<LogCap> {
        let set = self.log_cap.get();
        if self.backed_up.load(Ordering::Relaxed) {
            return set;
        }
        let mut bytes = self.options.log_before_backup;
        if kept > bytes {
            bytes = bytes.max(self.data.stats().file_bytes);
        }
        let bytes = set.map_or(bytes, |set| bytes.min(set.bytes));
        Some(LogCap { bytes, policy: LogCapPolicy::DropOldest })
    }

    /// Keeps the log from there on, from now on.
    pub(super) fn keep_log(&self, kept: Option<KeptLog>) {
        self.backed_up.store(kept.is_none_or(|kept| kept.backed_up), Ordering::Relaxed);
        self.upkeep.keep_from(kept.map(|kept| kept.from));
    }

    /// Sees that the kept log has room.
    pub(super) fn check_log_cap(&self) -> Result<()> {
        let kept = self.upkeep.kept_bytes();
        match self.cap_of(kept) {
            Some(LogCap { bytes: cap, policy: LogCapPolicy::Refuse })
                if self.upkeep.kept_from().is_some() && kept >= cap =>
            {
                let message = format!("the log since the last backup has reached {cap} bytes");
                Err(Error::new(ErrorKind::StorageFull, message)
                    .with_code(code::LOG_UNAVAILABLE)
                    .at(&self.dir)
                    .hint("Make a backup of the data: it archives the log and makes room."))
            }
            _ => Ok(()),
        }
    }

    /// How many bytes of the log are to go: what is beyond the cap, where it drops.
    fn log_surplus(&self) -> u64 {
        let kept = self.upkeep.kept_bytes();
        match self.cap_of(kept) {
            Some(LogCap { bytes, policy: LogCapPolicy::DropOldest }) => kept.saturating_sub(bytes),
            _ => 0,
        }
    }

    /// Whether a checkpoint now would let the cap drop a segment.
    pub(super) fn log_wants_checkpoint(&self) -> bool {
        self.log_surplus() > 0 && self.upkeep.droppable(u64::MAX, 1).is_some()
    }

    /// Makes the log as short as its cap wants it, as far as the checkpoint at `checkpoint` has what
    /// is in it. Where the store cannot note what goes, nothing goes, and the next checkpoint tries
    /// again.
    pub(super) fn enforce_log_cap(&self, checkpoint: Lsn) -> Result<()> {
        let cap = self.cap_of(self.upkeep.kept_bytes());
        let Some(LogCap { bytes, policy: LogCapPolicy::DropOldest }) = cap else {
            return Ok(());
        };
        let note = self.options.on_log_drop.as_ref();
        self.upkeep.drop_oldest(checkpoint, bytes, |after, last| {
            note.is_none_or(|OnLogDrop(note)| note(after, last).is_ok())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cap_in_force_is_the_one_that_was_set() {
        let cap = |bytes, policy| Some(LogCap { bytes, policy });
        let caps = [
            None,
            cap(0, LogCapPolicy::Refuse),
            cap(1 << 20, LogCapPolicy::DropOldest),
            cap((1 << 53) + 1, LogCapPolicy::Refuse),
        ];
        let force = CapInForce::new(cap(7, LogCapPolicy::DropOldest));
        assert_eq!(force.get(), cap(7, LogCapPolicy::DropOldest));
        for cap in caps {
            force.set(cap);
            assert_eq!(force.get(), cap);
        }
        force.set(cap(u64::MAX, LogCapPolicy::DropOldest));
        assert!(force.get().is_some_and(|cap| cap.bytes > 1 << 62), "one that is never reached");
    }
}
