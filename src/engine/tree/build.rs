//! Packing sorted entries into pages.
//!
//! A [`Builder`] collects the entries of one level, in order, and gives them off as pages. It keeps
//! up to three pages' worth of entries back, so that the last pages of a stretch can be made equally
//! full: sequential and dense input packs pages to the brim, a split in the middle of untouched
//! neighbours leaves two or three pages that are at least half, mostly two thirds full.
//!
//! It knows the layout of pages and nothing of where they go.

use super::page::{
    FLAG_RUNS, HEADER, INNER_ENTRY, KIND_INNER, KIND_LEAF, LEAF_ENTRY, RUN, capacity,
    common_prefix, head, u16_at,
};
use super::pointer::{POINTER_LEN, Pointer};

/// Entries are given off as full pages from this many pages on.
const KEEP_BACK: usize = 3;

/// Entries of one level that wait to become pages.
pub(crate) struct Builder {
    level: u8,
    page_size: usize,
    /// Cells of the entries, one after the other; those before `done_bytes` are given off.
    cells: Vec<u8>,
    /// Where each cell ends within `cells`; those before `done` are given off.
    ends: Vec<u32>,
    /// Pointers of the entries, on inner levels.
    children: Vec<Pointer>,
    done: usize,
    done_bytes: usize,
    /// Lower bound of the keys of the next page, on the leaf level.
    low: Vec<u8>,
}

/// Where the next page is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// As full as it can be.
    Full,
    /// As full as those that follow it.
    Even,
}

impl Builder {
    pub(crate) fn new(level: u8, page_size: usize) -> Builder {
        Builder {
            level,
            page_size,
            cells: Vec::new(),
            ends: Vec::new(),
            children: Vec::new(),
            done: 0,
            done_bytes: 0,
            low: Vec::new(),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.done == self.ends.len()
    }

    /// The pointer that is all that waits on an inner level.
    pub(crate) fn only_child(&self) -> Option<Pointer> {
        (self.level > 0 && self.done + 1 == self.ends.len()).then(|| self.children[self.done])
    }

    /// Bytes beside the cell that an entry takes within a page.
    fn overhead(&self) -> usize {
        if self.level == 0 { LEAF_ENTRY - 2 } else { INNER_ENTRY }
    }

    /// Bytes that the waiting entries take within pages.
    fn pending(&self) -> usize {
        let count = self.ends.len() - self.done;
        self.cells.len() - self.done_bytes + count * self.overhead()
    }

    /// Whether enough is there to give off a full page and still cut the rest evenly.
    pub(crate) fn overflows(&self) -> bool {
        self.pending() > KEEP_BACK * capacity(self.page_size)
    }

    /// Whether the waiting entries would make pages that are full enough to be left alone.
    pub(crate) fn fills_pages(&self) -> bool {
        let capacity = capacity(self.page_size);
        let pages = self.pending().div_ceil(capacity);
        match pages {
            0 => true,
            1 => self.pending() * 5 >= capacity * 2,
            _ => self.pending() * 5 >= pages * capacity * 3,
        }
    }

    /// Tells the lower bound of the first entry to come; for the leaf level, while it is empty.
    pub(crate) fn set_low(&mut self, low: &[u8]) {
        debug_assert!(self.is_empty());
        self.low.clear();
        self.low.extend_from_slice(low);
    }

    fn close_cell(&mut self) {
        self.ends.push(self.cells.len() as u32);
    }

    /// Adds a leaf cell as it stands in another page.
    pub(crate) fn push_cell(&mut self, cell: &[u8]) {
        self.cells.extend_from_slice(cell);
        self.close_cell();
    }

    /// Adds a record; with `run`, `value` is the reference to one.
    pub(crate) fn push_record(&mut self, key: &[u8], value: &[u8], run: bool) {
        let word = key.len() as u16 | if run { RUN } else { 0 };
        self.cells.extend_from_slice(&word.to_le_bytes());
        self.cells.extend_from_slice(key);
        self.cells.extend_from_slice(value);
        self.close_cell();
    }

    /// Adds a child whose keys are not below `separator`.
    pub(crate) fn push_child(&mut self, separator: &[u8], child: Pointer) {
        self.cells.extend_from_slice(separator);
        self.children.push(child);
        self.close_cell();
    }

    fn cell(&self, index: usize) -> &[u8] {
        let begin = if index == self.done { self.done_bytes } else { self.end(index - 1) };
        &self.cells[begin..self.end(index)]
    }

    fn end(&self, index: usize) -> usize {
        self.ends[index] as usize
    }

    fn key(&self, index: usize) -> &[u8] {
        let cell = self.cell(index);
        if self.level > 0 {
            return cell;
        }
        &cell[2..2 + usize::from(u16_at(cell, 0) & !RUN)]
    }

    /// How many of the waiting entries the next page takes.
    fn next_page_entries(&self, cut: Cut) -> usize {
        let capacity = capacity(self.page_size);
        let target = match cut {
            Cut::Full => capacity,
            Cut::Even => {
                let pending = self.pending();
                pending.div_ceil(pending.div_ceil(capacity).max(1))
            }
        };
        let mut taken = 0;
        let mut used = 0;
        while self.done + taken < self.ends.len() && used < target {
            let size = self.cell(self.done + taken).len() + self.overhead();
            if used + size > capacity {
                break;
            }
            used += size;
            taken += 1;
        }
        taken
    }

    /// Writes the next page into `out`, which is all zeros. Returns the lower bound of its keys and
    /// whether it holds runs.
    pub(crate) fn fill(&mut self, cut: Cut, out: &mut [u8]) -> (Vec<u8>, bool) {
        let count = self.next_page_entries(cut);
        debug_assert!(count > 0, "an entry is at most half a page");
        let runs = self.write_page(count, out);
        let low = if self.level == 0 {
            std::mem::take(&mut self.low)
        } else {
            self.cell(self.done).to_vec()
        };
        let last = self.done + count - 1;
        if self.level == 0 && last + 1 < self.ends.len() {
            let begin = self.end(last);
            let next_cell = &self.cells[begin..self.end(last + 1)];
            let next = &next_cell[2..2 + usize::from(u16_at(next_cell, 0) & !RUN)];
            let shared = common_prefix(self.key(last), next);
            self.low = next[..(shared + 1).min(next.len())].to_vec();
        }
        self.done_bytes = self.end(last);
        self.done += count;
        self.forget_done();
        (low, runs)
    }

    fn write_page(&self, count: usize, out: &mut [u8]) -> bool {
        let first = self.done;
        // The first separator of an inner page is the bound from above, and is not stored.
        let skipped = if self.level == 0 { 0 } else { self.cell(first).len() };
        let keyed = first + usize::from(self.level > 0);
        let prefix = match count - (keyed - first) {
            0 => 0,
            _ => common_prefix(self.key(keyed), self.key(first + count - 1)),
        };
        let pointers = HEADER + 4 * count;
        let offsets = pointers + if self.level == 0 { 0 } else { POINTER_LEN * count };
        let cells = offsets + 2 * (count + 1);
        let from = self.done_bytes + skipped;
        let to = self.end(first + count - 1);
        out[cells..cells + to - from].copy_from_slice(&self.cells[from..to]);
        let mut runs = false;
        let mut at = cells;
        for slot in 0..count {
            let index = first + slot;
            put_u16(out, offsets + 2 * slot, at);
            at = cells + self.end(index) - from;
            if index >= keyed {
                let head = head(&self.key(index)[prefix..]);
                out[HEADER + 4 * slot..][..4].copy_from_slice(&head.to_le_bytes());
            }
            if self.level > 0 {
                let child = &self.children[index];
                out[pointers + POINTER_LEN * slot..][..POINTER_LEN]
                    .copy_from_slice(&child.encode());
                runs |= child.holds_runs;
            } else {
                runs |= u16_at(self.cell(index), 0) & RUN != 0;
            }
        }
        put_u16(out, offsets + 2 * count, at);
        out[0] = if self.level == 0 { KIND_LEAF } else { KIND_INNER };
        out[1] = self.level;
        put_u16(out, 2, count);
        put_u16(out, 4, prefix);
        put_u16(out, 6, usize::from(if runs { FLAG_RUNS } else { 0 }));
        runs
    }

    /// Moves what waits to the front of the buffers, now and then.
    fn forget_done(&mut self) {
        if self.done < self.ends.len() && self.done_bytes < 8 * self.page_size {
            return;
        }
        self.cells.drain(..self.done_bytes);
        self.ends.drain(..self.done);
        if self.level > 0 {
            self.children.drain(..self.done);
        }
        for end in &mut self.ends {
            *end -= self.done_bytes as u32;
        }
        self.done = 0;
        self.done_bytes = 0;
    }
}

fn put_u16(out: &mut [u8], at: usize, value: usize) {
    debug_assert!(value <= usize::from(u16::MAX));
    out[at..at + 2].copy_from_slice(&(value as u16).to_le_bytes());
}
