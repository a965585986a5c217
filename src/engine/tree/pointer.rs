//! What one page says of another: pointers to children, roots of tables, runs of big values.
//!
//! A pointer carries not only the child's page number but also its birth (the number of the
//! checkpoint that wrote it) and the CRC32C of its bytes. So a page that was lost, put elsewhere or
//! overwritten is seen as soon as it is read, and the pointer to a root vouches for the whole tree.
//!
//! All encodings are little-endian and of a fixed length. Reading them cannot fail; whether the
//! numbers make sense is for the reader of the page to check against the bounds of the file.

use super::page::{u32_at, u64_at};

/// Encoded length of a [`Pointer`].
pub(crate) const POINTER_LEN: usize = 16;
/// Encoded length of a [`TableRoot`].
pub(crate) const ROOT_LEN: usize = 32;
/// Encoded length of a [`RunRef`].
pub(crate) const RUN_LEN: usize = 28;
/// The first page number that cannot be encoded.
pub(crate) const PAGE_LIMIT: u64 = 1 << 40;
/// The first checkpoint number that cannot be encoded.
pub(crate) const BIRTH_LIMIT: u64 = 1 << 48;

const HOLDS_RUNS: u64 = 1 << 40;

/// A parent's knowledge of a child page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pointer {
    /// Page number; 0 stands for "no page", the root of an empty tree.
    pub(crate) page: u64,
    /// Number of the checkpoint that wrote the page.
    pub(crate) birth: u64,
    /// CRC32C of the whole page.
    pub(crate) crc: u32,
    /// Whether the page, or one below it, refers to a run.
    pub(crate) holds_runs: bool,
}

impl Pointer {
    /// The root of an empty tree.
    pub(crate) const NULL: Pointer = Pointer { page: 0, birth: 0, crc: 0, holds_runs: false };

    #[inline]
    pub(crate) fn is_null(&self) -> bool {
        self.page == 0
    }

    pub(crate) fn encode(&self) -> [u8; POINTER_LEN] {
        debug_assert!(self.page < PAGE_LIMIT && self.birth < BIRTH_LIMIT);
        let flag = if self.holds_runs { HOLDS_RUNS } else { 0 };
        let low = self.page | flag | (self.birth >> 32) << 48;
        let high = (self.birth & 0xffff_ffff) << 32 | u64::from(self.crc);
        let mut out = [0; POINTER_LEN];
        out[..8].copy_from_slice(&low.to_le_bytes());
        out[8..].copy_from_slice(&high.to_le_bytes());
        out
    }

    #[inline]
    pub(crate) fn decode(bytes: &[u8; POINTER_LEN]) -> Pointer {
        let (low, high) = (u64_at(bytes, 0), u64_at(bytes, 8));
        Pointer {
            page: low & (PAGE_LIMIT - 1),
            birth: (low >> 48) << 32 | high >> 32,
            crc: high as u32,
            holds_runs: low & HOLDS_RUNS != 0,
        }
    }
}

/// Where a table lies and how many records it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TableRoot {
    /// The root page.
    pub(crate) root: Pointer,
    /// Level of the root page: 0 is a leaf.
    pub(crate) level: u8,
    /// Number of records, exact.
    pub(crate) records: u64,
}

impl TableRoot {
    /// A table without records.
    pub(crate) const EMPTY: TableRoot = TableRoot { root: Pointer::NULL, level: 0, records: 0 };

    pub(crate) fn encode(&self) -> [u8; ROOT_LEN] {
        let mut out = [0; ROOT_LEN];
        out[..16].copy_from_slice(&self.root.encode());
        out[16..24].copy_from_slice(&self.records.to_le_bytes());
        out[24] = self.level;
        out
    }

    pub(crate) fn decode(bytes: &[u8; ROOT_LEN]) -> TableRoot {
        let mut root = [0; POINTER_LEN];
        root.copy_from_slice(&bytes[..16]);
        TableRoot { root: Pointer::decode(&root), records: u64_at(bytes, 16), level: bytes[24] }
    }
}

/// What a leaf says of a big value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RunRef {
    /// First page of the run.
    pub(crate) first: u64,
    /// Length of the value in bytes.
    pub(crate) len: u64,
    /// Number of the checkpoint that wrote it.
    pub(crate) birth: u64,
    /// CRC32C of the leading table, or of the pages themselves where there is none.
    pub(crate) crc: u32,
}

impl RunRef {
    pub(crate) fn encode(&self) -> [u8; RUN_LEN] {
        let mut out = [0; RUN_LEN];
        out[..8].copy_from_slice(&self.first.to_le_bytes());
        out[8..16].copy_from_slice(&self.len.to_le_bytes());
        out[16..24].copy_from_slice(&self.birth.to_le_bytes());
        out[24..].copy_from_slice(&self.crc.to_le_bytes());
        out
    }

    pub(crate) fn decode(bytes: &[u8; RUN_LEN]) -> RunRef {
        RunRef {
            first: u64_at(bytes, 0),
            len: u64_at(bytes, 8),
            birth: u64_at(bytes, 16),
            crc: u32_at(bytes, 24),
        }
    }
}
