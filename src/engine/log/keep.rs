//! What of the log is kept beyond the checkpoints: the closed segments that no log archive has yet.
//!
//! Which segments are closed is read from the chain: each header names the end of the segment before
//! it, and the writer knows the end of the newest closed one. So what an earlier recovery discarded
//! is never among them, and a segment whose tail was cut ends where recovery ended it.
//!
//! Invariants: removal goes oldest first, one at a time, and never while a [`Hold`] is there; nothing
//! that a commit waits for waits for a removal.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use super::format::{GROUP_HEAD, GroupHead, HeadKind, SegmentEnd, seed};
use super::reader::{SegmentReader, Step};
use super::segment::{Header, open, path_of, read_header};
use crate::disk::{Disk, OpenMode};
use crate::engine::{Lsn, Timeline};
use crate::{Error, ErrorKind, Result};

/// A segment that nothing will be written to any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ClosedSegment {
    /// Its number.
    pub(crate) number: u64,
    /// Its file.
    pub(crate) path: PathBuf,
    /// The timeline of its commits.
    pub(crate) timeline: Timeline,
    /// It holds the commits after this one.
    pub(crate) after: Lsn,
    /// Its last commit.
    pub(crate) last: Lsn,
    /// Length of the file in bytes; it may be longer than what is in it.
    pub(crate) bytes: u64,
    /// Checksum of the last head of its history.
    chain: u32,
}

impl ClosedSegment {
    /// Reads and checks every byte of it, and tells where it ends: behind its trailer, or behind its
    /// last group where it has none.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Corrupt`] where it is not what its successor says; those of the disk.
    pub(crate) fn measure(&self, disk: &dyn Disk) -> Result<u64> {
        let (mut reader, _) = self.read(disk)?;
        let end = reader.at();
        Ok(match reader.next()? {
            Step::Trailer(_) => end + GROUP_HEAD as u64,
            Step::Group(_) | Step::Bad(_) => end,
        })
    }

    /// Reads and checks every byte of it; tells where its last group ends, and the trailer that
    /// belongs there: a segment that recovery has ended has none of its own.
    ///
    /// # Errors
    /// As [`ClosedSegment::measure`].
    pub(crate) fn ending(&self, disk: &dyn Disk) -> Result<(u64, [u8; GROUP_HEAD])> {
        let (reader, trailer) = self.read(disk)?;
        let header = reader.header();
        let (bytes, _) = trailer.encode(seed(header.salt, header.store_id));
        Ok((reader.at(), bytes))
    }

    /// How much of a damaged segment can be read.
    ///
    /// # Errors
    /// Those of the disk.
    pub(crate) fn readable(&self, disk: &dyn Disk) -> Result<Readable> {
        let mut reader = SegmentReader::open(disk, &self.path)?;
        let mut time = reader.header().base_time;
        while reader.next_lsn() <= self.last {
            match reader.next()? {
                Step::Group(group) => time = group.head.time,
                Step::Trailer(_) | Step::Bad(_) => break,
            }
        }
        Ok(Readable { last: reader.next_lsn() - 1, time, bytes: reader.at() })
    }

    /// Reads through its last commit, and makes the trailer that follows.
    fn read(&self, disk: &dyn Disk) -> Result<(SegmentReader, GroupHead)> {
        let mut reader = SegmentReader::open(disk, &self.path)?;
        let (mut commits, mut time) = (0u32, reader.header().base_time);
        while reader.next_lsn() <= self.last {
            let why = match reader.next()? {
                Step::Group(group) => {
                    commits = commits.saturating_add(group.head.commits);
                    time = group.head.time;
                    continue;
                }
                Step::Trailer(_) => "the segment ends there".to_owned(),
                Step::Bad(why) => why.to_string(),
            };
            let (lsn, at) = (reader.next_lsn(), reader.at());
            let message = format!("LSN {lsn} cannot be read at byte {at}: {why}");
            return Err(Error::corrupt(&self.path, message));
        }
        if reader.next_lsn() != self.last + 1 || reader.chain() != self.chain {
            let message = "the next log segment does not follow this one";
            return Err(Error::corrupt(&self.path, message));
        }
        let trailer = GroupHead {
            kind: HeadKind::Trailer,
            contexts: 0,
            body_crc: 0,
            total: GROUP_HEAD as u32,
            commits,
            prev_chain: reader.chain(),
            first_lsn: self.last + 1,
            time,
            // Nothing is copied before it is durable.
            synced_through: self.last,
            salt: reader.header().salt,
        };
        Ok((reader, trailer))
    }
}

/// What can be read of a damaged segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Readable {
    /// The last commit before the damage; the one before the segment where none can be read.
    pub(crate) last: Lsn,
    /// The time of that commit.
    pub(crate) time: i64,
    /// Where the damage begins.
    pub(crate) bytes: u64,
}

/// How much of the log is kept.
#[derive(Default)]
pub(crate) struct Keep {
    known: Mutex<Known>,
    /// Bytes of the closed segments that are kept.
    closed_bytes: AtomicU64,
    /// Bytes of the segment that is written to.
    active_bytes: AtomicU64,
    /// Held while segments are removed; counts who wants none removed.
    pub(super) removal: Mutex<usize>,
}

#[derive(Default)]
struct Known {
    /// The log is kept from here on; `None` where the checkpoints alone decide.
    from: Option<Lsn>,
    /// Where the newest closed segment ends.
    end: Option<SegmentEnd>,
    /// The last commits and the lengths of the closed segments, oldest first.
    closed: Vec<(Lsn, u64)>,
}

impl Known {
    fn kept_bytes(&self) -> u64 {
        let Some(from) = self.from else { return 0 };
        self.closed.iter().filter(|(last, _)| *last > from).map(|(_, bytes)| bytes).sum()
    }
}

impl Keep {
    pub(super) fn new(end: Option<SegmentEnd>) -> Keep {
        let known = Known { end, ..Known::default() };
        Keep { known: Mutex::new(known), ..Keep::default() }
    }

    /// The newest segment ended at `end`, `bytes` long.
    pub(super) fn closed(&self, end: SegmentEnd, bytes: u64) {
        let mut known = self.known.lock();
        known.end = Some(end);
        known.closed.push((end.lsn, bytes));
        self.active_bytes.store(0, Ordering::Relaxed);
        self.closed_bytes.store(known.kept_bytes(), Ordering::Relaxed);
    }

    /// The newest segment has `bytes` by now.
    pub(super) fn wrote(&self, bytes: u64) {
        self.active_bytes.store(bytes, Ordering::Relaxed);
    }

    /// From which commit on the log is kept.
    pub(super) fn from(&self) -> Option<Lsn> {
        self.known.lock().from
    }

    /// Never goes back, whoever comes late with an older number: what is before may be gone.
    pub(super) fn set_from(&self, from: Option<Lsn>) {
        let mut known = self.known.lock();
        known.from = from.map(|from| from.max(known.from.unwrap_or(0)));
        self.closed_bytes.store(known.kept_bytes(), Ordering::Relaxed);
    }

    /// The closed segments as they are on the disk.
    pub(super) fn set_closed(&self, found: &[ClosedSegment]) {
        let mut known = self.known.lock();
        // What was closed since the look at the disk stays.
        let newer = found.last().map_or(0, |newest| newest.last);
        known.closed.retain(|(last, _)| *last > newer);
        let found = found.iter().map(|segment| (segment.last, segment.bytes));
        known.closed.splice(0..0, found);
        self.closed_bytes.store(known.kept_bytes(), Ordering::Relaxed);
    }

    /// Whether the oldest segment is known to hold something later than `lsn`: a log that is kept for
    /// long need not be looked through after each checkpoint.
    pub(super) fn has_nothing_through(&self, lsn: Lsn) -> bool {
        let known = self.known.lock();
        known.from.is_some() && known.closed.first().is_some_and(|(last, _)| *last > lsn)
    }

    /// See [`super::Upkeep::droppable`].
    pub(super) fn droppable(&self, upto: Lsn, surplus: u64) -> Option<(Lsn, Lsn)> {
        let known = self.known.lock();
        let from = known.from?;
        let kept = known.closed.iter().filter(|(last, _)| *last > from && *last <= upto);
        let (mut bytes, mut dropped) = (0, None);
        for (last, len) in kept {
            if bytes >= surplus {
                break;
            }
            bytes += len;
            dropped = Some((from, *last));
        }
        dropped
    }

    /// The segments that hold nothing later than `lsn` are gone.
    pub(super) fn forget(&self, lsn: Lsn) {
        let mut known = self.known.lock();
        known.closed.retain(|(last, _)| *last > lsn);
        self.closed_bytes.store(known.kept_bytes(), Ordering::Relaxed);
    }

    /// Bytes of what is kept, the newest segment included.
    pub(super) fn bytes(&self) -> u64 {
        self.closed_bytes.load(Ordering::Relaxed) + self.active_bytes.load(Ordering::Relaxed)
    }

    pub(super) fn end(&self) -> Option<SegmentEnd> {
        self.known.lock().end
    }
}

/// While it lives, no segment is removed.
pub(crate) struct Hold(pub(super) Arc<super::upkeep::Shared>);

impl Hold {
    pub(super) fn new(shared: Arc<super::upkeep::Shared>) -> Hold {
        *shared.keep.removal.lock() += 1;
        Hold(shared)
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        *self.0.keep.removal.lock() -= 1;
    }
}

/// The closed segments in `dir`, oldest first, back from `end` as far as they are there. Those whose
/// header is damaged are left out where they are to be passed over.
pub(crate) fn closed_segments(
    disk: &dyn Disk,
    dir: &Path,
    end: Option<SegmentEnd>,
    pass_damaged: bool,
) -> Result<Vec<ClosedSegment>> {
    let mut found = Vec::new();
    let mut next = end;
    while let Some(end) = next.filter(|end| end.number > 0) {
        let path = path_of(dir, end.number);
        let (file, bytes) = match open(disk, &path, OpenMode::Read) {
            // It was removed, and so was all that is older.
            Err(e) if e.kind() == ErrorKind::NotFound => break,
            opened => opened?,
        };
        let Header::Sound(header, _) = read_header(&*file, &path, bytes)? else {
            if pass_damaged {
                next = end_of_older(disk, dir, end.number)?;
                continue;
            }
            return Err(Error::corrupt(&path, "a log segment without a sound header"));
        };
        found.push(ClosedSegment {
            number: end.number,
            path,
            timeline: header.timeline,
            after: header.base,
            last: end.lsn,
            bytes,
            chain: end.chain,
        });
        // Numbers only fall on the way back: a chain that is damaged ends all the same.
        next = header.prev.filter(|prev| prev.number < end.number);
    }
    found.reverse();
    Ok(found)
}

/// Where the newest segment before number `number` ends that has a sound header: read from itself,
/// since the header that stated it is damaged.
fn end_of_older(disk: &dyn Disk, dir: &Path, number: u64) -> Result<Option<SegmentEnd>> {
    for number in (1..number).rev() {
        let mut reader = match SegmentReader::open(disk, &path_of(dir, number)) {
            Err(e) if e.kind() == ErrorKind::NotFound => break,
            Err(e) if e.kind() == ErrorKind::Corrupt => continue,
            reader => reader?,
        };
        while let Step::Group(_) = reader.next()? {}
        return Ok(Some(SegmentEnd { number, chain: reader.chain(), lsn: reader.next_lsn() - 1 }));
    }
    Ok(None)
}
