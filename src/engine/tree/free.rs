//! Which pages are free, and when.
//!
//! A page born at checkpoint `b` and freed at `f` may be used again when no pinned checkpoint `c` has
//! `b <= c < f`: no one can reach it any more. Until then it waits. The free list is part of the
//! checkpoint: it names every page below the checkpoint's end that the checkpoint does not reach, and
//! marks those that this very checkpoint freed, because the other meta may still reach them.
//!
//! Low pages are taken first, so that the file's end falls free and can be cut. The pages of the list
//! itself are taken before it is written; taking the lowest free page never adds an extent, so the
//! list always fits and there is no fixpoint to find.

use super::pointer::PAGE_LIMIT;

/// Longest extent of one entry of the list; longer ones take several.
const MAX_EXTENT: u64 = (1 << 23) - 1;
const FREED_NOW: u64 = 1 << 63;
/// The first page that is not a meta.
pub(crate) const FIRST_PAGE: u64 = 2;

/// Pages that lie together and share a birth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extent {
    pub(crate) first: u64,
    pub(crate) len: u64,
    pub(crate) birth: u64,
}

/// What one checkpoint freed and a pin may still reach.
#[derive(Clone, Debug)]
struct Waiting {
    freed: u64,
    extents: Vec<Extent>,
}

/// An entry of the list on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) first: u64,
    pub(crate) len: u64,
    /// Freed by the checkpoint that wrote the list.
    pub(crate) now: bool,
}

impl Entry {
    pub(crate) fn encode(&self) -> u64 {
        self.first | self.len << 40 | if self.now { FREED_NOW } else { 0 }
    }

    pub(crate) fn decode(word: u64) -> Entry {
        Entry {
            first: word & (PAGE_LIMIT - 1),
            len: (word & !FREED_NOW) >> 40,
            now: word & FREED_NOW != 0,
        }
    }
}

/// A set of pages, one bit each.
#[derive(Clone, Debug, Default)]
pub(crate) struct PageSet {
    words: Vec<u64>,
}

impl PageSet {
    pub(crate) fn contains(&self, page: u64) -> bool {
        let word = self.words.get((page / 64) as usize).copied().unwrap_or(0);
        word >> (page % 64) & 1 != 0
    }

    pub(crate) fn insert(&mut self, first: u64, len: u64) {
        self.change(first, len, |word, mask| *word |= mask);
    }

    pub(crate) fn remove(&mut self, first: u64, len: u64) {
        self.change(first, len, |word, mask| *word &= !mask);
    }

    fn change(&mut self, first: u64, len: u64, change: impl Fn(&mut u64, u64)) {
        let end = first + len;
        if self.words.len() < end.div_ceil(64) as usize {
            self.words.resize(end.div_ceil(64) as usize, 0);
        }
        let mut at = first;
        while at < end {
            let bit = at % 64;
            let many = (64 - bit).min(end - at);
            let mask = (u64::MAX >> (64 - many)) << bit;
            change(&mut self.words[(at / 64) as usize], mask);
            at += many;
        }
    }

    pub(crate) fn count(&self) -> u64 {
        self.words.iter().map(|word| u64::from(word.count_ones())).sum()
    }

    /// The first page from `from` on that is in the set (`true`) or not in it, below `end`.
    pub(crate) fn next(&self, from: u64, end: u64, wanted: bool) -> Option<u64> {
        let mut at = from;
        while at < end {
            let word = self.words.get((at / 64) as usize).copied().unwrap_or(0);
            let word = if wanted { word } else { !word } >> (at % 64);
            if word != 0 {
                let found = at + u64::from(word.trailing_zeros());
                return (found < end).then_some(found);
            }
            at = (at / 64 + 1) * 64;
        }
        None
    }

    /// The extents of the set below `end`, in order.
    pub(crate) fn extents(&self, end: u64) -> impl Iterator<Item = (u64, u64)> + '_ {
        let mut at = 0;
        std::iter::from_fn(move || {
            let first = self.next(at, end, true)?;
            at = self.next(first, end, false).unwrap_or(end);
            Some((first, at - first))
        })
    }
}

/// The pages of a data file: free ones, waiting ones, and where the file ends.
#[derive(Clone, Debug)]
pub(crate) struct Space {
    end: u64,
    free: PageSet,
    waiting: Vec<Waiting>,
    /// No page below is free.
    hint: u64,
    /// No extent of at least `.0` pages begins below page `.1`.
    run_hint: (u64, u64),
}

impl Space {
    /// The space of a file whose pages from `end` on were never used.
    pub(crate) fn new(end: u64) -> Space {
        Space {
            end: end.max(FIRST_PAGE),
            free: PageSet::default(),
            waiting: Vec::new(),
            hint: FIRST_PAGE,
            run_hint: (0, FIRST_PAGE),
        }
    }

    /// Adds a page range that nothing reaches.
    pub(crate) fn add_free(&mut self, first: u64, len: u64) {
        self.free.insert(first, len);
    }

    /// Adds pages that checkpoint `freed` freed.
    pub(crate) fn add_waiting(&mut self, freed: u64, extents: Vec<Extent>) {
        if !extents.is_empty() {
            self.waiting.push(Waiting { freed, extents: merge(extents) });
        }
    }

    /// One page past the highest that is in use or waits.
    pub(crate) fn end(&self) -> u64 {
        self.end
    }

    /// Pages that can be used at once.
    pub(crate) fn free_pages(&self) -> u64 {
        self.free.count()
    }

    /// How many of them lie at or above `page`.
    pub(crate) fn free_pages_from(&self, page: u64) -> u64 {
        self.free.extents(self.end).map(|(at, len)| (at + len).saturating_sub(at.max(page))).sum()
    }

    /// Pages that wait for a pin to go.
    pub(crate) fn waiting_pages(&self) -> u64 {
        self.waiting.iter().flat_map(|w| &w.extents).map(|extent| extent.len).sum()
    }

    /// Frees what no pin can reach (`pins` ascending), and lets go of the free end of the file.
    pub(crate) fn ripen(&mut self, pins: &[u64]) {
        let free = &mut self.free;
        self.waiting.retain_mut(|batch| {
            let freed = batch.freed;
            batch.extents.retain(|extent| {
                let next = pins.partition_point(|pin| *pin < extent.birth);
                let reached = pins.get(next).is_some_and(|pin| *pin < freed);
                if !reached {
                    free.insert(extent.first, extent.len);
                }
                reached
            });
            !batch.extents.is_empty()
        });
        while self.end > FIRST_PAGE && self.free.contains(self.end - 1) {
            self.end -= 1;
            self.free.remove(self.end, 1);
        }
        self.hint = FIRST_PAGE;
        self.run_hint = (0, FIRST_PAGE);
    }

    /// Takes the lowest free page, or one at the end of the file.
    pub(crate) fn take_page(&mut self) -> u64 {
        match self.free.next(self.hint, self.end, true) {
            Some(page) => {
                self.free.remove(page, 1);
                self.hint = page + 1;
                page
            }
            None => {
                self.hint = self.end;
                self.end += 1;
                self.end - 1
            }
        }
    }

    /// Takes `len` pages in a row: the lowest that fit, or at the end of the file.
    pub(crate) fn take_run(&mut self, len: u64) -> u64 {
        let first = self.find_run(len);
        let stop = self.end.min(first + len);
        self.free.remove(first, stop - first);
        self.end = self.end.max(first + len);
        first
    }

    /// Where [`Space::take_run`] would put `len` pages; it may reach past the end.
    pub(crate) fn find_run(&mut self, len: u64) -> u64 {
        let mut at = if len >= self.run_hint.0 { self.run_hint.1 } else { FIRST_PAGE };
        at = at.max(self.hint);
        let mut place = self.end;
        while let Some(first) = self.free.next(at, self.end, true) {
            let stop = self.free.next(first, self.end, false).unwrap_or(self.end);
            if stop - first >= len || stop == self.end {
                place = first;
                break;
            }
            at = stop;
        }
        self.run_hint = (len, place);
        place
    }

    /// Upper bound of the entries that [`Space::list`] gives when `freed` is freed now.
    pub(crate) fn list_bound(&self, freed: &[Extent]) -> usize {
        let (before, now) = self.dead(freed);
        entries(&before, self.end, false).count() + entries(&now, self.end, true).count()
    }

    /// The end of the checkpoint that frees `freed` (one past its highest live page) and its list.
    pub(crate) fn list(&self, freed: &[Extent]) -> (u64, Vec<Entry>) {
        let (before, now) = self.dead(freed);
        let mut end = self.end;
        while end > FIRST_PAGE && (before.contains(end - 1) || now.contains(end - 1)) {
            end -= 1;
        }
        let mut list: Vec<Entry> =
            entries(&before, end, false).chain(entries(&now, end, true)).collect();
        list.sort_unstable_by_key(|entry| entry.first);
        (end, list)
    }

    fn dead(&self, freed: &[Extent]) -> (PageSet, PageSet) {
        let mut before = self.free.clone();
        for extent in self.waiting.iter().flat_map(|batch| &batch.extents) {
            before.insert(extent.first, extent.len);
        }
        let mut now = PageSet::default();
        for extent in freed {
            now.insert(extent.first, extent.len);
        }
        (before, now)
    }
}

fn entries(set: &PageSet, end: u64, now: bool) -> impl Iterator<Item = Entry> + '_ {
    set.extents(end).flat_map(move |(first, len)| {
        (0..len.div_ceil(MAX_EXTENT)).map(move |part| {
            let skipped = part * MAX_EXTENT;
            Entry { first: first + skipped, len: MAX_EXTENT.min(len - skipped), now }
        })
    })
}

/// Sorts extents and joins those that touch and share a birth.
fn merge(mut extents: Vec<Extent>) -> Vec<Extent> {
    extents.sort_unstable_by_key(|extent| extent.first);
    let mut kept = 0;
    for index in 1..extents.len() {
        let (last, next) = (extents[kept], extents[index]);
        if last.first + last.len == next.first && last.birth == next.birth {
            extents[kept].len += next.len;
        } else {
            kept += 1;
            extents[kept] = next;
        }
    }
    extents.truncate(kept + 1);
    extents.shrink_to_fit();
    extents
}

#[cfg(test)]
mod tests;
