//! The fixed parts of a log segment, as bytes: the header of a segment and the head of a group.
//!
//! Pure functions between `&[u8]` and types: no I/O, no clock, nothing that allocates. Whatever the
//! bytes are, decoding ends with a value or with [`Malformed`]; it never panics.
//!
//! ```text
//! segment = header (128 bytes), group*, [trailer], zeros up to the allocated length
//! group   = head (64 bytes), body, zeros up to a multiple of 8
//! trailer = a head without a body
//! ```
//!
//! Invariants of the format:
//! - All numbers are little-endian. Groups begin at multiples of 8, so that a scan for the magic of a
//!   head looks at every eighth byte only.
//! - Checksums of groups are seeded with the segment's random salt and the store's id. A head repeats
//!   the salt, so that it can be judged even where the segment's header was lost.
//! - A head carries the *chain*, the checksum of the head before it (of the segment's header for the
//!   first one). A head covers its body's checksum: equal chains mean equal history.

use crate::engine::{LSN_LIMIT, Lsn, StoreId, Timeline};

/// The format that this version writes and the only one that it reads.
pub(crate) const FORMAT: u32 = 2;
/// Length of a segment's header.
pub(crate) const SEGMENT_HEADER: usize = 128;
/// Length of a group's head, and of a trailer.
pub(crate) const GROUP_HEAD: usize = 64;
/// What the length of a group is a multiple of.
pub(crate) const ALIGN: usize = 8;
/// The largest group, head and padding included. Bounds the memory of whoever reads the log.
pub(crate) const MAX_GROUP: usize = 1 << 30;

/// The first bytes of a segment.
const SEGMENT_MAGIC: [u8; 8] = *b"STILLLOG";
/// The first bytes of a group's head: no text, and no likely number.
pub(crate) const GROUP_MAGIC: u32 = 0xB7C3_9E51;

/// Why bytes are not what they should be. The caller knows the file and the place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Malformed {
    /// No segment or group begins here.
    #[error("no magic number")]
    Magic,
    /// A checksum does not match.
    #[error("checksum mismatch")]
    Checksum,
    /// The bytes end too early, or go on for too long.
    #[error("length out of bounds")]
    Length,
    /// A field has a value that no writer gives it.
    #[error("field out of bounds")]
    Field,
    /// A sound segment of another format version.
    #[error("format version {0}")]
    Format(u32),
}

/// Where one segment ended: what the next one's header repeats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentEnd {
    /// Number of the segment.
    pub(crate) number: u64,
    /// Checksum of its last head.
    pub(crate) chain: u32,
    /// The last LSN in it.
    pub(crate) lsn: Lsn,
}

/// The header of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    /// The store that it belongs to.
    pub(crate) store_id: StoreId,
    /// The timeline of every commit in it.
    pub(crate) timeline: Timeline,
    /// Digest of the whole line of timelines that led there ([`crate::engine::Ancestry::digest`]).
    pub(crate) ancestry_digest: u64,
    /// Its number, the same as in its name.
    pub(crate) number: u64,
    /// Drawn at random for this segment alone.
    pub(crate) salt: u64,
    /// The end of the segment before it; `None` where the log begins here.
    pub(crate) prev: Option<SegmentEnd>,
    /// The last LSN before this segment, also where `prev` is `None`.
    pub(crate) base: Lsn,
    /// Time of the last commit before this segment.
    pub(crate) base_time: i64,
    /// Its commits were made by another store and applied here: the timeline is not this store's own.
    pub(crate) applied: bool,
}

/// A flag of a segment's header: see [`SegmentHeader::applied`].
const APPLIED: u32 = 1;

impl SegmentHeader {
    /// The header as bytes.
    pub(crate) fn encode(&self) -> [u8; SEGMENT_HEADER] {
        let mut bytes = [0; SEGMENT_HEADER];
        let prev = self.prev.unwrap_or(SegmentEnd { number: 0, chain: 0, lsn: self.base });
        let mut at = Writer { bytes: &mut bytes, at: 0 };
        at.put(&SEGMENT_MAGIC);
        at.put(&FORMAT.to_le_bytes());
        at.put(&prev.chain.to_le_bytes());
        at.put(&self.store_id.to_le_bytes());
        at.put(&self.timeline.id.to_le_bytes());
        at.put(&self.timeline.parent.to_le_bytes());
        at.put(&self.timeline.fork.to_le_bytes());
        at.put(&self.number.to_le_bytes());
        at.put(&self.salt.to_le_bytes());
        at.put(&prev.number.to_le_bytes());
        at.put(&self.base.to_le_bytes());
        at.put(&self.base_time.to_le_bytes());
        at.put(&(if self.applied { APPLIED } else { 0 }).to_le_bytes());
        at.put(&self.ancestry_digest.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[..SEGMENT_HEADER - 4]);
        bytes[SEGMENT_HEADER - 4..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// The header in `bytes`.
    pub(crate) fn decode(bytes: &[u8; SEGMENT_HEADER]) -> Result<SegmentHeader, Malformed> {
        let mut at = Reader { bytes, at: 0 };
        if at.take::<8>() != SEGMENT_MAGIC {
            return Err(Malformed::Magic);
        }
        if crc32c::crc32c(&bytes[..SEGMENT_HEADER - 4]) != segment_chain(bytes) {
            return Err(Malformed::Checksum);
        }
        let format = u32::from_le_bytes(at.take());
        if format != FORMAT {
            return Err(Malformed::Format(format));
        }
        let chain = u32::from_le_bytes(at.take());
        let store_id = u128::from_le_bytes(at.take());
        let timeline = Timeline {
            id: u128::from_le_bytes(at.take()),
            parent: u128::from_le_bytes(at.take()),
            fork: u64::from_le_bytes(at.take()),
        };
        let number = u64::from_le_bytes(at.take());
        let salt = u64::from_le_bytes(at.take());
        let prev_number = u64::from_le_bytes(at.take());
        let base = u64::from_le_bytes(at.take());
        let base_time = i64::from_le_bytes(at.take());
        let flags = u32::from_le_bytes(at.take());
        let ancestry_digest = u64::from_le_bytes(at.take());
        if prev_number >= number || base >= LSN_LIMIT || flags & !APPLIED != 0 {
            return Err(Malformed::Field);
        }
        let prev =
            (prev_number != 0).then_some(SegmentEnd { number: prev_number, chain, lsn: base });
        let applied = flags & APPLIED != 0;
        Ok(SegmentHeader {
            store_id,
            timeline,
            ancestry_digest,
            number,
            salt,
            prev,
            base,
            base_time,
            applied,
        })
    }
}

/// The chain that the first group of the segment with this header carries.
pub(crate) fn segment_chain(header: &[u8; SEGMENT_HEADER]) -> u32 {
    let mut crc = [0; 4];
    crc.copy_from_slice(&header[SEGMENT_HEADER - 4..]);
    u32::from_le_bytes(crc)
}

/// What the checksums of all groups of one segment begin with.
pub(crate) fn seed(salt: u64, store_id: StoreId) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&salt.to_le_bytes()), &store_id.to_le_bytes())
}

/// What a head stands before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeadKind {
    /// Commits.
    Group,
    /// Nothing: the segment ends here.
    Trailer,
}

/// The head of a group, or the trailer of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct GroupHead {
    /// What it is.
    pub(crate) kind: HeadKind,
    /// How many definitions of contexts the body begins with.
    pub(crate) contexts: u16,
    /// Checksum of the body, padding included.
    pub(crate) body_crc: u32,
    /// Bytes of the group: head, body, padding.
    pub(crate) total: u32,
    /// Commits in the group; in a trailer: commits in the segment.
    pub(crate) commits: u32,
    /// Checksum of the head before this one.
    pub(crate) prev_chain: u32,
    /// LSN of the first commit; in a trailer: of the first commit after the segment.
    pub(crate) first_lsn: Lsn,
    /// When the group was committed, in microseconds since the Unix epoch; never goes back.
    pub(crate) time: i64,
    /// The highest LSN that was known to be durable when this was written.
    pub(crate) synced_through: Lsn,
    /// The segment's salt.
    pub(crate) salt: u64,
}

impl GroupHead {
    /// The head as bytes, and its checksum: the chain that the next head carries.
    pub(crate) fn encode(&self, seed: u32) -> ([u8; GROUP_HEAD], u32) {
        let mut bytes = [0; GROUP_HEAD];
        let kind: u16 = match self.kind {
            HeadKind::Group => 1,
            HeadKind::Trailer => 2,
        };
        let mut at = Writer { bytes: &mut bytes, at: 8 };
        at.put(&kind.to_le_bytes());
        at.put(&self.contexts.to_le_bytes());
        at.put(&self.body_crc.to_le_bytes());
        at.put(&self.total.to_le_bytes());
        at.put(&self.commits.to_le_bytes());
        at.put(&self.prev_chain.to_le_bytes());
        at.put(&[0; 4]);
        at.put(&self.first_lsn.to_le_bytes());
        at.put(&self.time.to_le_bytes());
        at.put(&self.synced_through.to_le_bytes());
        // The salt fills the last eight bytes of the head: 8 + 24 + 32 = 64.
        debug_assert_eq!(at.at, GROUP_HEAD - 8);
        at.put(&self.salt.to_le_bytes());
        bytes[..4].copy_from_slice(&GROUP_MAGIC.to_le_bytes());
        let crc = crc32c::crc32c_append(seed, &bytes[8..]);
        bytes[4..8].copy_from_slice(&crc.to_le_bytes());
        (bytes, crc)
    }

    /// The head in `bytes`, judged by the salt that it names itself, and its checksum.
    ///
    /// A caller that knows the segment's salt compares it: a head is only evidence for its own.
    pub(crate) fn decode(
        bytes: &[u8; GROUP_HEAD],
        store_id: StoreId,
    ) -> Result<(GroupHead, u32), Malformed> {
        let mut at = Reader { bytes, at: 0 };
        if u32::from_le_bytes(at.take()) != GROUP_MAGIC {
            return Err(Malformed::Magic);
        }
        let crc = u32::from_le_bytes(at.take());
        let kind = u16::from_le_bytes(at.take());
        let contexts = u16::from_le_bytes(at.take());
        let body_crc = u32::from_le_bytes(at.take());
        let total = u32::from_le_bytes(at.take());
        let commits = u32::from_le_bytes(at.take());
        let prev_chain = u32::from_le_bytes(at.take());
        let reserved = u32::from_le_bytes(at.take());
        let first_lsn = u64::from_le_bytes(at.take());
        let time = i64::from_le_bytes(at.take());
        let synced_through = u64::from_le_bytes(at.take());
        let salt = u64::from_le_bytes(at.take());
        if crc32c::crc32c_append(seed(salt, store_id), &bytes[8..]) != crc {
            return Err(Malformed::Checksum);
        }
        let size = total as usize;
        let (kind, sound) = match kind {
            1 => (
                HeadKind::Group,
                (GROUP_HEAD..=MAX_GROUP).contains(&size)
                    && size.is_multiple_of(ALIGN)
                    && commits > 0,
            ),
            2 => (HeadKind::Trailer, size == GROUP_HEAD && contexts == 0),
            _ => return Err(Malformed::Field),
        };
        let next_lsn = first_lsn.checked_add(commits.into());
        let lsn_fits = first_lsn > 0 && next_lsn.is_some_and(|next| next <= LSN_LIMIT);
        if !sound || !lsn_fits || synced_through >= first_lsn || reserved != 0 {
            return Err(Malformed::Field);
        }
        let head = GroupHead {
            kind,
            contexts,
            body_crc,
            total,
            commits,
            prev_chain,
            first_lsn,
            time,
            synced_through,
            salt,
        };
        Ok((head, crc))
    }

    /// The last LSN of the group; of a trailer: of the segment.
    pub(crate) fn last_lsn(&self) -> Lsn {
        match self.kind {
            HeadKind::Group => self.first_lsn + u64::from(self.commits) - 1,
            HeadKind::Trailer => self.first_lsn - 1,
        }
    }
}

/// Fills a fixed buffer from front to back. The fields above add up to less than its length.
struct Writer<'a> {
    bytes: &'a mut [u8],
    at: usize,
}

impl Writer<'_> {
    fn put(&mut self, field: &[u8]) {
        self.bytes[self.at..self.at + field.len()].copy_from_slice(field);
        self.at += field.len();
    }
}

/// Reads a fixed buffer from front to back. The fields above add up to less than its length.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let mut field = [0; N];
        field.copy_from_slice(&self.bytes[self.at..self.at + N]);
        self.at += N;
        field
    }
}

#[cfg(test)]
mod tests;
