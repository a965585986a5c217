//! The layout of tree pages, and reading them.
//!
//! ```text
//! 0   u8   kind: 1 leaf, 2 inner
//! 1   u8   level: 0 for a leaf, one more than its children for an inner page
//! 2   u16  n, the number of entries
//! 4   u16  length of the prefix that all keys of the page share (inner: all but the first)
//! 6   u16  flags: bit 0, an entry at or below this page refers to a run
//! 8   u32  number of the table (0: the catalogue)
//! 12  u32  CRC32C of the page with zeros here
//! 16  n x u32       heads: the first four bytes of each key after the prefix, padded with zeros,
//!                   as a number that compares like them
//!     n x 16 bytes  inner only: pointers to the children
//!     (n+1) x u16   where each cell begins; the last is where the last one ends
//!     cells, one after the other; zeros
//! -8  u64  birth, at the end of the page: number of the checkpoint that wrote it
//! ```
//!
//! A leaf's cell is `u16 key length | RUN`, key, value (or a [`RunRef`] where `RUN` is set). An inner
//! page's cell is a separator: child `i` holds the keys from separator `i` up to, but without,
//! separator `i+1`. The first separator is empty: the bound comes from the page above.
//!
//! The parent's checksum covers the whole page, and is the one that readers check. The page's own, with
//! table and birth, lets [`Stamp::of`] find a page whose parent is lost.
//!
//! The heads make a search touch one or two cache lines before it touches the one key it is after.
//!
//! Pages are read from a map, which can change under us when the medium rots after the page was
//! checked. Therefore every access here is bounded by itself and gives `None` where it would leave
//! the page; [`check_page`] looks at the whole page once, when it is first read.

use super::pointer::{POINTER_LEN, Pointer, RUN_LEN, RunRef};

/// Bytes before the heads.
pub(crate) const HEADER: usize = 16;
/// Bytes at the end, behind the cells: they stand there so that the heads begin in the cache line of the
/// header.
pub(crate) const TRAILER: usize = 8;
/// Bytes that a leaf entry takes beside its key and value.
pub(crate) const LEAF_ENTRY: usize = 4 + 2 + 2;
/// Bytes that an inner entry takes beside its separator.
pub(crate) const INNER_ENTRY: usize = 4 + POINTER_LEN + 2;
/// Marks, in a leaf cell's key length, that the value is in a run.
pub(crate) const RUN: u16 = 0x8000;
/// Deepest tree that is read: far more than any file can hold.
pub(crate) const MAX_LEVEL: u8 = 20;

pub(crate) const KIND_LEAF: u8 = 1;
pub(crate) const KIND_INNER: u8 = 2;
pub(crate) const FLAG_RUNS: u16 = 1;

const TABLE: usize = 8;
const OWN_CRC: usize = 12;

/// What a page says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// The table that it is of; 0 for the catalogue.
    pub(crate) table: u32,
    /// Number of the checkpoint that wrote it.
    pub(crate) birth: u64,
}

impl Stamp {
    /// Writes it into a page that is complete but for this.
    pub(crate) fn put(self, page: &mut [u8]) {
        page[TABLE..OWN_CRC].copy_from_slice(&self.table.to_le_bytes());
        page[OWN_CRC..HEADER].fill(0);
        let birth = page.len() - TRAILER;
        page[birth..].copy_from_slice(&self.birth.to_le_bytes());
        let crc = crc32c::crc32c(page);
        page[OWN_CRC..HEADER].copy_from_slice(&crc.to_le_bytes());
    }

    /// What the page says, believed without a look at its checksum.
    pub(crate) fn read(page: &[u8]) -> Stamp {
        Stamp { table: u32_at(page, TABLE), birth: u64_at(page, page.len() - TRAILER) }
    }

    /// What a page says whose own checksum is right.
    pub(crate) fn of(page: &[u8]) -> Option<Stamp> {
        let crc = crc32c::crc32c(&page[..OWN_CRC]);
        let crc = crc32c::crc32c_append(crc, &[0; HEADER - OWN_CRC]);
        let crc = crc32c::crc32c_append(crc, &page[HEADER..]);
        (crc == u32_at(page, OWN_CRC)).then(|| Stamp::read(page))
    }
}

/// Bytes of a page that entries can fill.
pub(crate) const fn capacity(page_size: usize) -> usize {
    page_size - HEADER - 2 - TRAILER
}

/// The largest leaf entry, [`LEAF_ENTRY`] included, that keeps its value inside: half a page, so
/// that two fit and pages pack well.
pub(crate) const fn inline_limit(page_size: usize) -> usize {
    capacity(page_size) / 2
}

/// The longest key: three separators of this length fit into an inner page.
pub(crate) const fn max_key_len(page_size: usize) -> usize {
    page_size / 16 * 5
}

#[inline]
pub(crate) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

#[inline]
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut out = [0; 4];
    out.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(out)
}

#[inline]
pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut out = [0; 8];
    out.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(out)
}

/// The first four bytes of `rest` as a number that compares like them.
#[inline]
pub(crate) fn head(rest: &[u8]) -> u32 {
    if let Some(four) = rest.first_chunk::<4>() {
        return u32::from_be_bytes(*four);
    }
    let mut four = [0; 4];
    four[..rest.len()].copy_from_slice(rest);
    u32::from_be_bytes(four)
}

/// How many leading bytes `a` and `b` share.
pub(crate) fn common_prefix(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(x, y)| x == y).count()
}

/// A leaf's value: in its page, or in a run.
#[derive(Clone, Copy, Debug)]
pub(crate) enum LeafValue<'a> {
    Inline(&'a [u8]),
    Run(RunRef),
}

/// Where the parts of a leaf cell lie within the page.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct CellPlace {
    pub(crate) key: u16,
    pub(crate) value: u16,
    pub(crate) end: u16,
    pub(crate) run: bool,
}

/// A page of a tree, leaf or inner.
#[derive(Clone, Copy)]
pub(crate) struct Node<'a> {
    bytes: &'a [u8],
    count: usize,
    /// Where the array of cell offsets begins; it ends within the page.
    offsets: usize,
}

impl<'a> Node<'a> {
    /// Looks at `bytes` as a page of `level`. `None` where the header says something else, or where
    /// the arrays would not fit.
    #[inline]
    pub(crate) fn new(bytes: &'a [u8], level: u8) -> Option<Node<'a>> {
        let kind = if level == 0 { KIND_LEAF } else { KIND_INNER };
        if bytes.len() < HEADER || bytes[0] != kind || bytes[1] != level {
            return None;
        }
        let count = usize::from(u16_at(bytes, 2));
        let before = if level == 0 { 4 } else { 4 + POINTER_LEN };
        let offsets = HEADER + before * count;
        if count == 0 || offsets + 2 * (count + 1) > bytes.len() {
            return None;
        }
        Some(Node { bytes, count, offsets })
    }

    #[inline]
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    #[inline]
    fn prefix_len(&self) -> usize {
        usize::from(u16_at(self.bytes, 4))
    }

    pub(crate) fn holds_runs(&self) -> bool {
        u16_at(self.bytes, 6) & FLAG_RUNS != 0
    }

    #[inline]
    fn heads(&self) -> &'a [[u8; 4]] {
        self.bytes[HEADER..HEADER + 4 * self.count].as_chunks().0
    }

    #[inline]
    fn cell(&self, index: usize) -> Option<(usize, usize)> {
        if index >= self.count {
            return None;
        }
        let at = self.offsets + 2 * index;
        let begin = usize::from(u16_at(self.bytes, at));
        let end = usize::from(u16_at(self.bytes, at + 2));
        (begin <= end && end <= self.bytes.len()).then_some((begin, end))
    }

    /// Where the last cell ends.
    fn last_end(&self) -> usize {
        usize::from(u16_at(self.bytes, self.offsets + 2 * self.count))
    }

    /// A leaf's cell, as places within the page that are sure to be in bounds.
    #[inline]
    pub(crate) fn place(&self, index: usize) -> Option<CellPlace> {
        let (begin, end) = self.cell(index)?;
        if begin + 2 > end {
            return None;
        }
        let word = u16_at(self.bytes, begin);
        let key = begin + 2;
        let value = key + usize::from(word & !RUN);
        let run = word & RUN != 0;
        if value > end || (run && end - value != RUN_LEN) {
            return None;
        }
        Some(CellPlace { key: key as u16, value: value as u16, end: end as u16, run })
    }

    /// A leaf's key.
    #[inline]
    pub(crate) fn leaf_key(&self, index: usize) -> Option<&'a [u8]> {
        let place = self.place(index)?;
        self.bytes.get(usize::from(place.key)..usize::from(place.value))
    }

    /// A leaf's value.
    #[inline]
    pub(crate) fn leaf_value(&self, index: usize) -> Option<LeafValue<'a>> {
        value_at(self.bytes, self.place(index)?)
    }

    /// A leaf's whole cell, as it can be put into another page.
    pub(crate) fn leaf_cell(&self, index: usize) -> Option<&'a [u8]> {
        self.place(index)?;
        let (begin, end) = self.cell(index)?;
        self.bytes.get(begin..end)
    }

    /// An inner page's separator: the lower bound of child `index`; empty for the first.
    #[inline]
    pub(crate) fn separator(&self, index: usize) -> Option<&'a [u8]> {
        let (begin, end) = self.cell(index)?;
        self.bytes.get(begin..end)
    }

    /// Where an inner page's pointer to child `index` stands.
    #[inline]
    pub(crate) fn child_place(&self, index: usize) -> usize {
        HEADER + 4 * self.count + POINTER_LEN * index
    }

    /// An inner page's pointer to child `index`.
    #[inline]
    pub(crate) fn child(&self, index: usize) -> Option<Pointer> {
        if index >= self.count {
            return None;
        }
        self.bytes.get(self.child_place(index)..)?.first_chunk().map(Pointer::decode)
    }

    /// Looks for `key` in a leaf: `Ok(index)` where it is, `Err(index)` where it would be.
    pub(crate) fn search(&self, key: &[u8]) -> Option<Result<usize, usize>> {
        let prefix = self.prefix_len();
        let first = self.leaf_key(0)?;
        match compare_prefix(key, first.get(..prefix)?) {
            std::cmp::Ordering::Less => return Some(Err(0)),
            std::cmp::Ordering::Greater => return Some(Err(self.count)),
            std::cmp::Ordering::Equal => {}
        }
        let heads = self.heads();
        let wanted = head(&key[prefix..]);
        let mut index = lower_bound(heads, wanted);
        while index < self.count && u32::from_le_bytes(heads[index]) == wanted {
            match self.leaf_key(index)?.cmp(key) {
                std::cmp::Ordering::Less => index += 1,
                std::cmp::Ordering::Equal => return Some(Ok(index)),
                std::cmp::Ordering::Greater => break,
            }
        }
        Some(Err(index))
    }

    /// Where exactly `key` is in a leaf; cheaper than [`Node::search`] when only a hit matters.
    /// The outer `None` stands for damage.
    #[inline]
    pub(crate) fn find(&self, key: &[u8]) -> Option<Option<CellPlace>> {
        let prefix = self.prefix_len();
        let Some(rest) = key.get(prefix..) else {
            return Some(None);
        };
        let heads = self.heads();
        let wanted = head(rest);
        let mut index = lower_bound(heads, wanted);
        while index < self.count && u32::from_le_bytes(heads[index]) == wanted {
            let place = self.place(index)?;
            if self.bytes.get(usize::from(place.key)..usize::from(place.value))? == key {
                return Some(Some(place));
            }
            index += 1;
        }
        Some(None)
    }

    /// The child of an inner page whose range holds `key`.
    #[inline]
    pub(crate) fn route(&self, key: &[u8]) -> Option<usize> {
        if self.count == 1 {
            return Some(0);
        }
        let prefix = self.prefix_len();
        if prefix > 0 {
            match compare_prefix(key, self.separator(1)?.get(..prefix)?) {
                std::cmp::Ordering::Less => return Some(0),
                std::cmp::Ordering::Greater => return Some(self.count - 1),
                std::cmp::Ordering::Equal => {}
            }
        }
        let heads = &self.heads()[1..];
        let wanted = head(&key[prefix..]);
        // Slot `low` is the last whose head is smaller; those up to `high` have the same head.
        let mut low = lower_bound(heads, wanted);
        let mut high = low;
        while high < heads.len() && u32::from_le_bytes(heads[high]) == wanted {
            high += 1;
        }
        while low < high {
            let middle = low.midpoint(high);
            if self.separator(middle + 1)? <= key {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Some(low)
    }
}

/// The value of a leaf cell at `place`.
#[inline]
pub(crate) fn value_at(bytes: &[u8], place: CellPlace) -> Option<LeafValue<'_>> {
    let value = bytes.get(usize::from(place.value)..usize::from(place.end))?;
    if place.run {
        return value.first_chunk().map(|run| LeafValue::Run(RunRef::decode(run)));
    }
    Some(LeafValue::Inline(value))
}

/// How `key` stands to the keys that begin with `prefix`: equal when it begins with it too.
#[inline]
fn compare_prefix(key: &[u8], prefix: &[u8]) -> std::cmp::Ordering {
    match key.get(..prefix.len()) {
        Some(start) => start.cmp(prefix),
        None => key.cmp(prefix),
    }
}

/// The first index whose head is not smaller than `wanted`.
#[inline]
fn lower_bound(heads: &[[u8; 4]], wanted: u32) -> usize {
    let mut base = 0;
    let mut size = heads.len();
    while size > 1 {
        let half = size / 2;
        if u32::from_le_bytes(heads[base + half - 1]) < wanted {
            base += half;
        }
        size -= half;
    }
    base + usize::from(size == 1 && u32::from_le_bytes(heads[base]) < wanted)
}

/// Checks a whole page: kind, level, every offset, and that heads and order are those of the keys.
/// Says what is wrong.
pub(crate) fn check_page(bytes: &[u8], level: u8) -> Result<(), &'static str> {
    let node = Node::new(bytes, level).ok_or("its header is not that of a page of this level")?;
    let mut end = node.offsets + 2 * (node.count + 1);
    let prefix = node.prefix_len();
    let mut last: Option<&[u8]> = None;
    if node.last_end() > bytes.len() - TRAILER {
        return Err("its cells reach into its last bytes");
    }
    for index in 0..node.count {
        let (begin, cell_end) = node.cell(index).ok_or("a cell lies outside of it")?;
        if begin != end {
            return Err("its cells do not follow each other");
        }
        end = cell_end;
        let key = match level {
            0 => node.leaf_key(index).ok_or("a cell is shorter than its key")?,
            _ => node.separator(index).ok_or("a separator lies outside of it")?,
        };
        if level > 0 && index == 0 {
            if !key.is_empty() {
                return Err("its first separator is not empty");
            }
            continue;
        }
        check_entry(level, bytes.len(), cell_end - begin, key.len())?;
        let rest = key.get(prefix..).ok_or("a key is shorter than the common prefix")?;
        if u32::from_le_bytes(node.heads()[index]) != head(rest) {
            return Err("a head is not that of its key");
        }
        if let Some(last) = last {
            if last >= key {
                return Err("its keys are not in order");
            }
            if last[..prefix] != key[..prefix] {
                return Err("its keys do not share the prefix");
            }
        }
        last = Some(key);
    }
    Ok(())
}

/// Checks that an entry is as small as its writer makes them. What builds new pages from old ones counts
/// on two or more fitting into each.
fn check_entry(level: u8, page: usize, cell: usize, key: usize) -> Result<(), &'static str> {
    if key > max_key_len(page) {
        return Err("a key is longer than any can be");
    }
    let value = cell.saturating_sub(2 + key);
    if level == 0 && LEAF_ENTRY - 2 + cell > inline_limit(page) && value > RUN_LEN {
        return Err("a value within it is longer than any can be");
    }
    Ok(())
}

#[cfg(test)]
mod tests;
