//! Which pages of a file an incremental archive holds: the entry `pages.idx`.
//!
//! The pages themselves lie in the entry `pages.bin`, one after the other in the order of the index.
//! All numbers are little-endian:
//!
//! ```text
//! 0    8 bytes  "STILLINC"             32   u64  checkpoint that it goes on from
//! 8    u32      format: 1              40   u64  n, the number of extents
//! 12   u32      page size              48   n x (u64 first page, u64 pages)
//! 16   u64      pages of the whole file
//! 24   u64      checkpoint that was copied
//! ```
//!
//! Invariants: extents ascend and do not touch, lie within the file, and begin with the metas (pages
//! 0 and 1), which every archive carries. What reads an index holds it to that.

use std::path::Path;

use crate::error::{Error, Result};

/// The entry with the index.
pub const PAGES_INDEX: &str = "pages.idx";
/// The entry with the pages.
pub const PAGES: &str = "pages.bin";

const MAGIC: &[u8; 8] = b"STILLINC";
const FORMAT: u32 = 1;
const HEAD: usize = 48;
const EXTENT: usize = 16;
/// Pages that every archive carries.
const METAS: u64 = 2;
const SMALLEST_PAGE: u32 = 4096;
/// With this and [`MOST_PAGES`] no sum of bytes overflows.
const LARGEST_PAGE: u32 = 32768;
const MOST_PAGES: u64 = 1 << 40;

/// The pages of one incremental archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageIndex {
    /// Bytes of a page.
    pub page_size: u32,
    /// Pages of the file once the archive is applied.
    pub page_count: u64,
    /// The checkpoint that was copied.
    pub checkpoint: u64,
    /// The checkpoint that it goes on from.
    pub parent: u64,
    /// First pages and numbers of pages.
    pub extents: Vec<(u64, u64)>,
}

impl PageIndex {
    /// How many pages the archive holds.
    pub fn pages(&self) -> u64 {
        self.extents.iter().map(|(_, pages)| pages).sum()
    }

    /// Bytes of the pages.
    pub fn bytes(&self) -> u64 {
        self.pages() * u64::from(self.page_size)
    }

    /// The longest index that `bytes` of pages can have.
    pub fn most_bytes(bytes: u64) -> u64 {
        HEAD as u64 + bytes / u64::from(SMALLEST_PAGE) * EXTENT as u64
    }

    /// The index as it stands in the archive.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEAD + EXTENT * self.extents.len());
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&FORMAT.to_le_bytes());
        out.extend_from_slice(&self.page_size.to_le_bytes());
        out.extend_from_slice(&self.page_count.to_le_bytes());
        out.extend_from_slice(&self.checkpoint.to_le_bytes());
        out.extend_from_slice(&self.parent.to_le_bytes());
        out.extend_from_slice(&(self.extents.len() as u64).to_le_bytes());
        for (first, pages) in &self.extents {
            out.extend_from_slice(&first.to_le_bytes());
            out.extend_from_slice(&pages.to_le_bytes());
        }
        out
    }

    /// Reads an index and holds it to its invariants; `path` is for errors.
    ///
    /// # Errors
    /// [`Corrupt`](crate::ErrorKind::Corrupt) where it breaks one of them.
    pub fn decode(bytes: &[u8], path: &Path) -> Result<PageIndex> {
        let bad = |why: &str| Error::corrupt(path, format!("the index of pages {why}"));
        let (head, extents) = bytes.split_at_checked(HEAD).ok_or_else(|| bad("is cut short"))?;
        let word = |at: usize| u64_at(head, at);
        let format = word(8) as u32;
        if &head[..8] != MAGIC || format != FORMAT {
            return Err(bad("is of no known format"));
        }
        let index = PageIndex {
            page_size: (word(8) >> 32) as u32,
            page_count: word(16),
            checkpoint: word(24),
            parent: word(32),
            extents: extents.as_chunks::<EXTENT>().0.iter().map(extent).collect(),
        };
        let whole = extents.len() % EXTENT == 0 && index.extents.len() as u64 == word(40);
        let sound = index.page_size.is_power_of_two()
            && (SMALLEST_PAGE..=LARGEST_PAGE).contains(&index.page_size)
            && (METAS..MOST_PAGES).contains(&index.page_count)
            && index.parent <= index.checkpoint
            && index.extents.first().is_some_and(|(first, pages)| *first == 0 && *pages >= METAS);
        if !whole || !sound {
            return Err(bad("makes no sense"));
        }
        let mut least = 0;
        for (at, (first, pages)) in index.extents.iter().enumerate() {
            let apart = at == 0 || *first > least;
            let end = first.checked_add(*pages).filter(|end| *end <= index.page_count);
            match end {
                Some(end) if apart && *pages > 0 => least = end,
                _ => return Err(bad("names pages out of order or outside of the file")),
            }
        }
        Ok(index)
    }
}

fn extent(bytes: &[u8; EXTENT]) -> (u64, u64) {
    (u64_at(bytes, 0), u64_at(bytes, 8))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> PageIndex {
        let extents = vec![(0, 2), (5, 1), (9, 91)];
        PageIndex { page_size: 4096, page_count: 100, checkpoint: 9, parent: 7, extents }
    }

    #[test]
    fn an_index_of_pages_is_read_back() {
        let index = sample();
        assert_eq!(PageIndex::decode(&index.encode(), Path::new("x")).expect("good"), index);
        assert_eq!((index.pages(), index.bytes()), (94, 94 * 4096));
    }

    #[test]
    fn an_index_that_breaks_an_invariant_is_refused() {
        let spoil: [fn(&mut PageIndex); 10] = [
            |index| index.page_size = 4095,
            |index| index.page_size = 65536,
            |index| index.page_count = 99,
            |index| index.parent = 10,
            |index| index.extents.clear(),
            |index| index.extents[0] = (1, 2),
            |index| index.extents[0] = (0, 1),
            |index| index.extents[1] = (2, 1),
            |index| index.extents[2] = (5, 1),
            |index| index.extents[2] = (u64::MAX, 2),
        ];
        for (at, spoil) in spoil.iter().enumerate() {
            let mut index = sample();
            spoil(&mut index);
            PageIndex::decode(&index.encode(), Path::new("x")).expect_err(&at.to_string());
        }
        let bytes = sample().encode();
        for len in 0..bytes.len() {
            PageIndex::decode(&bytes[..len], Path::new("x")).expect_err("cut");
        }
    }
}
