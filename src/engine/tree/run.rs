//! Big values: raw and contiguous pages, so that a reader gets one slice.
//!
//! A value of at most 64 KiB is its pages, padded with zeros; the CRC in the leaf covers them all. A
//! larger one is preceded by a table, in pages of its own, of one CRC32C per 64 KiB of pages (the last
//! part with its padding); the CRC in the leaf covers the table. So every page of a run belongs to
//! exactly one [`Part`], and a part can be checked without the rest.

use super::page::u32_at;
use super::pointer::{PAGE_LIMIT, RunRef};

/// Bytes that one checksum covers.
pub(crate) const PART: usize = 64 << 10;

/// How the pages of a run are divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    page_size: usize,
    /// Pages of the leading table; 0 for a value of one part.
    pub(crate) table_pages: u64,
    /// Pages of the value.
    pub(crate) value_pages: u64,
}

/// Pages of a run under one checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    /// First page, counted from the first of the run.
    pub(crate) page: u64,
    pub(crate) pages: u64,
}

impl Shape {
    /// The shape of a run that holds `len` bytes; `None` where no file could.
    pub(crate) fn of(len: u64, page_size: usize) -> Option<Shape> {
        let size = page_size as u64;
        if len == 0 || len > PAGE_LIMIT * size / 2 {
            return None;
        }
        let parts = len.div_ceil(PART as u64);
        let table_pages = if parts > 1 { (parts * 4).div_ceil(size) } else { 0 };
        Some(Shape { page_size, table_pages, value_pages: len.div_ceil(size) })
    }

    /// All pages.
    pub(crate) fn pages(&self) -> u64 {
        self.table_pages + self.value_pages
    }

    /// How many parts the value has.
    pub(crate) fn parts(&self) -> u64 {
        self.value_pages.div_ceil((PART / self.page_size) as u64)
    }

    /// Part `index` of the value.
    pub(crate) fn part(&self, index: u64) -> Part {
        let each = (PART / self.page_size) as u64;
        Part {
            page: self.table_pages + index * each,
            pages: each.min(self.value_pages - index * each),
        }
    }

    /// Checks a whole run in memory: `bytes` are all its pages. Says what is wrong.
    pub(crate) fn check(&self, run: &RunRef, bytes: &[u8]) -> Result<(), &'static str> {
        let table_len = self.table_pages as usize * self.page_size;
        let (table, value) = bytes.split_at(table_len);
        if self.table_pages == 0 {
            return match crc32c::crc32c(value) == run.crc {
                true => Ok(()),
                false => Err("the checksum of a big value is wrong"),
            };
        }
        if crc32c::crc32c(table) != run.crc {
            return Err("the checksum table of a big value is damaged");
        }
        for (index, part) in value.chunks(PART).enumerate() {
            if crc32c::crc32c(part) != u32_at(table, index * 4) {
                return Err("the checksum of a part of a big value is wrong");
            }
        }
        Ok(())
    }
}

/// The leading table of `value` (empty where it needs none), the zeros after it, and the CRC for the
/// leaf.
pub(crate) fn seal(value: &[u8], shape: &Shape) -> (Vec<u8>, Vec<u8>, u32) {
    let padding = vec![0; shape.value_pages as usize * shape.page_size - value.len()];
    let mut sums = value.chunks(PART).map(crc32c::crc32c).collect::<Vec<u32>>();
    if let Some(last) = sums.last_mut() {
        *last = crc32c::crc32c_append(*last, &padding);
    }
    if shape.table_pages == 0 {
        return (Vec::new(), padding, sums.first().copied().unwrap_or(0));
    }
    let mut table: Vec<u8> = sums.iter().flat_map(|sum| sum.to_le_bytes()).collect();
    table.resize(shape.table_pages as usize * shape.page_size, 0);
    let crc = crc32c::crc32c(&table);
    (table, padding, crc)
}
