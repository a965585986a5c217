//! Room on the disk of the log that is kept for getting out of a full disk.
//!
//! On a full disk nothing is taken that needs room, and that includes what would make room: a delete
//! needs a log segment, and the checkpoint that frees the pages of what was deleted needs pages. So a
//! file of zeros, `reserve`, lies beside the segments. It is removed when a commit of deletes or a
//! checkpoint finds no room, and made again as soon as there is room for it.
//!
//! Invariants: while it is spent, commits that put anything are refused, so that they do not use what
//! it made free. It holds nothing: losing it loses no data, and it needs no sync of its name.

use std::io;
use std::path::{Path, PathBuf};

use crate::disk::{Disk, OpenMode};

/// The name of its file.
const NAME: &str = "reserve";
/// It takes this part of what is free when it is made, within bounds.
const PART_OF_FREE: u64 = 32;
const LEAST: u64 = 256 << 10;
const MOST: u64 = 2 << 20;

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

pub(super) struct Reserve {
    path: PathBuf,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nobody has looked.
    Unknown,
    There,
    /// It was spent, or there was no room for it.
    Missing,
}

impl Reserve {
    pub(super) fn new(dir: &Path) -> Reserve {
        Reserve { path: dir.join(NAME), state: State::Unknown }
    }

    /// Whether it is known to be missing.
    pub(super) fn is_missing(&self) -> bool {
        self.state == State::Missing
    }

    /// Makes it where it is not there and `free` bytes of the disk leave room for it.
    pub(super) fn keep(&mut self, disk: &dyn Disk, free: u64) {
        if self.state == State::There {
            return;
        }
        self.state = if disk.metadata(&self.path).is_ok() {
            State::There
        } else if free / 4 < LEAST {
            // Four times as much must be free, so that it does not go back and forth.
            State::Missing
        } else {
            match self.make(disk, free) {
                Ok(()) => State::There,
                Err(e) if is_full(&e) => State::Missing,
                // Not for want of room: it says nothing about that.
                Err(_) => State::Unknown,
            }
        };
    }

    fn make(&self, disk: &dyn Disk, free: u64) -> io::Result<()> {
        let file = disk.open(&self.path, OpenMode::CreateNew)?;
        let made = file.allocate(0, (free / PART_OF_FREE).clamp(LEAST, MOST));
        made.inspect_err(|_| {
            // What it took so far comes back when it is removed; it is tried again later.
            let _left = disk.remove_file(&self.path);
        })
    }

    /// Gives its room back to the disk; whether there was any.
    pub(super) fn spend(&mut self, disk: &dyn Disk) -> bool {
        self.state = State::Missing;
        disk.remove_file(&self.path).is_ok()
    }
}
