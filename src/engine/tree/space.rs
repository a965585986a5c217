//! The free list on disk, and bringing it into memory when the first checkpoint needs it.
//!
//! ```text
//! 0   u8   kind: 3
//! 2   u16  n, the number of entries
//! 4   u32  CRC32C of the next page of the list
//! 8   u64  the next page, 0 for none
//! 16  n x u64  first page (40 bits), pages (23 bits), freed by this checkpoint (1 bit); ascending
//! ```

use std::path::Path;

use super::free::{Entry, Extent, FIRST_PAGE, Space};
use super::meta::Meta;
use super::page::{u16_at, u32_at, u64_at};
use super::source::corrupt_page;
use super::writer::PageWriter;
use crate::disk::File;
use crate::error::{Error, Result};

const KIND_FREE: u8 = 3;
const LIST_HEADER: usize = 16;

/// Where a free list begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ListRef {
    pub(crate) page: u64,
    pub(crate) crc: u32,
    pub(crate) birth: u64,
}

impl ListRef {
    pub(crate) fn of(meta: &Meta) -> ListRef {
        ListRef { page: meta.free_list, crc: meta.free_list_crc, birth: meta.free_list_birth }
    }
}

/// The space of a file: not looked at yet, or known.
pub(crate) enum SpaceState {
    /// What the metas say of it.
    Unread {
        list: ListRef,
        number: u64,
        end: u64,
        /// Number and end of the other meta, where it is an older checkpoint.
        other: Option<(u64, u64)>,
    },
    /// The list is in memory, and the pages that hold it on disk.
    Known { space: Space, list_pages: Vec<Extent> },
}

impl SpaceState {
    pub(crate) fn unread(newest: &Meta, other: Option<&Meta>) -> SpaceState {
        SpaceState::Unread {
            list: ListRef::of(newest),
            number: newest.number,
            end: newest.page_count,
            other: other.map(|meta| (meta.number, meta.page_count)),
        }
    }

    pub(crate) fn free_pages(&self) -> u64 {
        match self {
            SpaceState::Unread { .. } => 0,
            SpaceState::Known { space, .. } => space.free_pages(),
        }
    }

    pub(crate) fn waiting_pages(&self) -> u64 {
        match self {
            SpaceState::Unread { .. } => 0,
            SpaceState::Known { space, .. } => space.waiting_pages(),
        }
    }

    /// A copy of the space to work on, and the pages of the list; reads the list when need be.
    pub(crate) fn load(
        &mut self,
        file: &dyn File,
        path: &Path,
        page_size: usize,
    ) -> Result<(Space, Vec<Extent>)> {
        if let SpaceState::Unread { list, number, end, other } = self {
            let read = read_list(file, path, page_size, *list, *end)?;
            let space = rebuild(&read.entries, *number, *end, *other);
            let list_pages = read.pages.iter().map(|(page, _)| Extent {
                first: *page,
                len: 1,
                birth: list.birth,
            });
            *self = SpaceState::Known { space, list_pages: list_pages.collect() };
        }
        match self {
            SpaceState::Known { space, list_pages } => Ok((space.clone(), list_pages.clone())),
            SpaceState::Unread { .. } => unreachable!("it was read just now"),
        }
    }
}

/// The space as the pins of both metas leave it.
fn rebuild(list: &[Entry], number: u64, end: u64, other: Option<(u64, u64)>) -> Space {
    let mut space = Space::new(other.map_or(end, |(_, other_end)| end.max(other_end)));
    let mut waiting = Vec::new();
    for entry in list {
        // The list marks what this checkpoint freed: the one before may still reach it. Of a gap of
        // more than one checkpoint the marks say nothing, and all waits.
        let reached = match other {
            None => false,
            Some((older, _)) if older + 1 == number => entry.now,
            Some(_) => true,
        };
        if reached {
            waiting.push(Extent { first: entry.first, len: entry.len, birth: 0 });
        } else {
            space.add_free(entry.first, entry.len);
        }
    }
    if let Some((_, other_end)) = other.filter(|(_, other_end)| *other_end > end) {
        waiting.push(Extent { first: end, len: other_end - end, birth: 0 });
    }
    space.add_waiting(number, waiting);
    space
}

/// A free list as it was read.
pub(crate) struct FreeList {
    /// The pages that it lies in, and their CRCs.
    pub(crate) pages: Vec<(u64, u32)>,
    pub(crate) entries: Vec<Entry>,
}

/// Reads and checks a free list of a checkpoint that ends at page `end`.
pub(crate) fn read_list(
    file: &dyn File,
    path: &Path,
    page_size: usize,
    list: ListRef,
    end: u64,
) -> Result<FreeList> {
    let mut read = FreeList { pages: Vec::new(), entries: Vec::new() };
    let (mut number, mut crc) = (list.page, list.crc);
    let mut page = vec![0; page_size];
    let mut least = FIRST_PAGE;
    while number != 0 {
        let bad = |what| corrupt_page(path, number, what);
        if !(FIRST_PAGE..end).contains(&number) || read.pages.len() as u64 >= end {
            return Err(bad("a page of the free list lies outside of the file"));
        }
        file.read_exact_at(&mut page, number * page_size as u64)
            .map_err(|e| Error::io("read the free list", path, e))?;
        if crc32c::crc32c(&page) != crc {
            return Err(bad("it is not the page of the free list that was written"));
        }
        let count = usize::from(u16_at(&page, 2));
        if page[0] != KIND_FREE || count > per_page(page_size) {
            return Err(bad("it is no page of the free list"));
        }
        for index in 0..count {
            let entry = Entry::decode(u64_at(&page, LIST_HEADER + 8 * index));
            if entry.len == 0 || entry.first < least || entry.first + entry.len > end {
                return Err(bad("an entry of the free list makes no sense"));
            }
            least = entry.first + entry.len;
            read.entries.push(entry);
        }
        read.pages.push((number, crc));
        (number, crc) = (u64_at(&page, 8), u32_at(&page, 4));
    }
    Ok(read)
}

fn per_page(page_size: usize) -> usize {
    (page_size - LIST_HEADER) / 8
}

/// What [`write_list`] wrote.
pub(crate) struct WrittenList {
    /// One past the highest live page of the checkpoint.
    pub(crate) end: u64,
    pub(crate) list: ListRef,
    pub(crate) pages: Vec<Extent>,
}

/// Writes the free list of the checkpoint that `writer` is about to finish. Its pages are taken
/// first, then the rest is written down; taking one can split an extent, for which there is room.
pub(crate) fn write_list(writer: &mut PageWriter<'_>) -> Result<WrittenList> {
    let each = per_page(writer.page_size());
    let bound = writer.space().list_bound(writer.freed());
    let mut count = 0;
    while count * each < bound + count {
        count += 1;
    }
    let mut pages = Vec::with_capacity(count);
    for _ in 0..count {
        pages.push(writer.take_page()?);
    }
    let (end, entries) = writer.space().list(writer.freed());
    let birth = writer.number();
    let mut next = ListRef { page: 0, crc: 0, birth };
    let mut chunks: Vec<&[Entry]> = entries.chunks(each).collect();
    chunks.resize(count, &[]);
    for (page, chunk) in pages.iter().zip(chunks).rev() {
        let crc = writer.put_page(*page, |out| {
            out[0] = KIND_FREE;
            out[2..4].copy_from_slice(&(chunk.len() as u16).to_le_bytes());
            out[4..8].copy_from_slice(&next.crc.to_le_bytes());
            out[8..16].copy_from_slice(&next.page.to_le_bytes());
            for (slot, entry) in out[LIST_HEADER..].chunks_exact_mut(8).zip(chunk) {
                slot.copy_from_slice(&entry.encode().to_le_bytes());
            }
        })?;
        next = ListRef { page: *page, crc, birth };
    }
    let pages = pages.into_iter().map(|page| Extent { first: page, len: 1, birth }).collect();
    Ok(WrittenList { end, list: next, pages })
}
