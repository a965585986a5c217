//! Taking records out of a damaged data file: all that its checksums vouch for.
//!
//! First the trees are walked from the meta, as far as they can be read; the key range of each subtree
//! that cannot is noted as lost. Then, where something is lost, every other page of the file is looked
//! at: a leaf whose own checksum is right (`page::Stamp`) is taken for the table that it names, where
//! its keys lie in a lost range. The free list tells pages that are in use from dead ones. Where it is
//! lost too, or both metas are, an older version of a leaf could be met: then younger leaves come
//! first, and of an older one only keys outside of the ranges of the younger ones are taken.
//!
//! It knows no log, and writes nothing.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use super::free::{FIRST_PAGE, PageSet};
use super::meta::{MAX_PAGE, MIN_PAGE, Meta, Metas};
use super::page::{KIND_LEAF, LeafValue, MAX_LEVEL, Node, Stamp, check_page};
use super::pointer::{Pointer, ROOT_LEN, TableRoot};
use super::source::{PageSource, Reader};
use super::space::ListRef;
use super::verify::Watch;
use crate::disk::{Disk, OpenMode};
use crate::engine::{CATALOGUE, StoreId, TableId};
use crate::error::{Error, ErrorKind, Result, code};

/// Takes a record: table, key and value.
pub(crate) type Take<'t> = &'t mut dyn FnMut(TableId, &[u8], &[u8]) -> Result<()>;

/// Keys of a table whose page cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lost {
    pub(crate) table: TableId,
    /// The first key that may be missing.
    pub(crate) low: Vec<u8>,
    /// The key before which the range ends; `None` for the end of the table.
    pub(crate) high: Option<Vec<u8>>,
}

impl Lost {
    fn holds(&self, table: TableId, key: &[u8]) -> bool {
        self.table == table
            && *self.low <= *key
            && self.high.as_ref().is_none_or(|high| *key < **high)
    }
}

/// A table that was found.
#[derive(Clone, Debug, Default)]
pub(crate) struct FoundTable {
    /// Its encoded definition; `None` where only records of it are left.
    pub(crate) definition: Option<Box<[u8]>>,
    /// How many records it had; `None` where nothing says so.
    pub(crate) expected: Option<u64>,
    /// How many were taken.
    pub(crate) taken: u64,
    root: Option<TableRoot>,
}

/// A leaf without a readable way to it.
#[derive(Clone, Copy)]
struct Orphan {
    page: u64,
    stamp: Stamp,
}

/// A damaged data file, and what was found in it so far.
pub(crate) struct Salvage<'w> {
    reader: Reader,
    /// The newest meta, where one can be read.
    meta: Option<Meta>,
    /// Pages that were reached from it.
    live: PageSet,
    /// Pages that are not in use, where the free list can be read.
    free: Option<PageSet>,
    pub(crate) tables: BTreeMap<TableId, FoundTable>,
    pub(crate) lost: Vec<Lost>,
    /// Big values that cannot be read, by their keys.
    pub(crate) lost_values: Vec<(TableId, Vec<u8>)>,
    /// Leaves that were reached, and those that were found without a way to them.
    pub(crate) leaves: u64,
    pub(crate) orphans: u64,
    /// Key ranges of the orphans that were taken, by table: first key and last.
    spans: HashMap<TableId, BTreeMap<Vec<u8>, Vec<u8>>>,
    watch: Watch<'w>,
    read: u64,
}

impl<'w> Salvage<'w> {
    /// Opens the data file at `path`.
    ///
    /// # Errors
    /// `Unsupported` for a file of another format, `Corrupt` where no page of it can be used; those of
    /// the disk.
    pub(crate) fn open(disk: &dyn Disk, path: &Path, watch: Watch<'w>) -> Result<Salvage<'w>> {
        let file = disk
            .open(path, OpenMode::Read)
            .map_err(|e| Error::io("open the data file", path, e))?;
        let len = file.len().map_err(|e| Error::io("measure the data file", path, e))?;
        let (meta, page_size) = match Metas::read(&*file, path) {
            Ok(metas) => (Some(metas.newest().1.clone()), metas.page_size),
            Err(error) if error.kind() == ErrorKind::Io => return Err(error),
            Err(error) if super::meta::is_of_other_format(disk, path) => return Err(error),
            Err(error) => (None, guess_page_size(&*file, len).ok_or(error)?),
        };
        let pages = len / page_size as u64;
        let end = meta.as_ref().map_or(pages, |meta| meta.page_count.min(pages));
        let reader = Reader::new(file, path.to_path_buf(), page_size, end);
        let free = meta.as_ref().and_then(|meta| {
            let list = reader.read_free_list(ListRef::of(meta)).ok()?;
            let mut free = PageSet::default();
            list.entries.iter().for_each(|entry| free.insert(entry.first, entry.len));
            list.pages.iter().for_each(|(page, _)| free.insert(*page, 1));
            Some(free)
        });
        Ok(Salvage {
            reader,
            meta,
            live: PageSet::default(),
            free,
            tables: BTreeMap::new(),
            lost: Vec::new(),
            lost_values: Vec::new(),
            leaves: 0,
            orphans: 0,
            spans: HashMap::new(),
            watch,
            read: 0,
        })
    }

    /// The newest meta, where one can be read.
    pub(crate) fn meta(&self) -> Option<&Meta> {
        self.meta.as_ref()
    }

    pub(crate) fn page_size(&self) -> usize {
        self.reader.page_size()
    }

    pub(crate) fn store(&self) -> Option<StoreId> {
        self.meta.as_ref().map(|meta| meta.store_id)
    }

    /// Whether a record that was deleted, or a table that was dropped, may be among what is taken.
    pub(crate) fn is_uncertain(&self) -> bool {
        self.orphans > 0 && self.free.is_none()
    }

    /// Whether `key` of `table` lies where records may be missing.
    pub(crate) fn is_lost(&self, table: TableId, key: &[u8]) -> bool {
        self.lost.iter().any(|lost| lost.holds(table, key))
    }

    /// Finds the tables. Where the catalogue is damaged, this looks at the whole file.
    pub(crate) fn find_tables(&mut self) -> Result<()> {
        let root = self.meta.as_ref().map(|meta| meta.catalogue);
        let mut entries = Vec::new();
        let mut note = |_: TableId, key: &[u8], value: &[u8]| {
            entries.push((key.to_vec(), value.to_vec()));
            Ok(())
        };
        match root {
            Some(root) => self.tree(CATALOGUE, &root, &mut note)?,
            None => self.lose(CATALOGUE, &[], None),
        }
        if !self.lost.is_empty() {
            self.take_orphans(&mut note, |table| table == CATALOGUE)?;
        }
        for (key, value) in entries {
            if let (Some(id), Some(root)) = (key.as_array(), value.first_chunk::<ROOT_LEN>()) {
                let root = TableRoot::decode(root);
                let table = FoundTable {
                    definition: Some(value[ROOT_LEN..].into()),
                    expected: Some(root.records),
                    taken: 0,
                    root: Some(root),
                };
                self.tables.entry(TableId::from_be_bytes(*id)).or_insert(table);
            }
        }
        Ok(())
    }

    /// Takes what is reached from the roots of the tables.
    pub(crate) fn walk(&mut self, take: Take<'_>) -> Result<()> {
        let roots: Vec<_> = self.tables.iter().map(|(id, table)| (*id, table.root)).collect();
        for (id, root) in roots {
            if let Some(root) = root {
                self.tree(id, &root, take)?;
            }
        }
        Ok(())
    }

    /// Takes leaves without a way to them, where something is missing.
    pub(crate) fn take_lost(&mut self, take: Take<'_>) -> Result<()> {
        if self.lost.is_empty() {
            return Ok(());
        }
        self.take_orphans(take, |table| table != CATALOGUE)
    }

    /// The ranges in which records of `table` may still be missing: at most `most`.
    pub(crate) fn missing(&self, table: TableId, most: usize) -> Vec<Lost> {
        let mut missing = Vec::new();
        let spans = self.spans.get(&table);
        for lost in self.lost.iter().filter(|lost| lost.table == table) {
            let mut low = lost.low.clone();
            let within = spans.into_iter().flat_map(|spans| spans.range(lost.low.clone()..));
            for (first, last) in within {
                if !lost.holds(table, first) {
                    break;
                }
                if low < *first {
                    let high = Some(first.clone());
                    missing.push(Lost { table, low, high });
                }
                // The least key after the last one of the leaf.
                low = [&**last, &[0]].concat();
            }
            if lost.high.as_ref().is_none_or(|high| low < *high) {
                missing.push(Lost { table, low, high: lost.high.clone() });
            }
        }
        missing.truncate(most);
        missing
    }

    fn lose(&mut self, table: TableId, low: &[u8], high: Option<&[u8]>) {
        let (low, high) = (low.to_vec(), high.map(<[u8]>::to_vec));
        self.lost.push(Lost { table, low, high });
    }

    fn tell(&mut self) -> Result<()> {
        self.read += 1;
        // A page may be looked at twice: once on the way down, once in the look at all others.
        if (self.watch)(self.read.min(self.reader.end()), self.reader.end()).is_break() {
            return Err(Error::new(ErrorKind::Stopped, "stopped by the user")
                .with_code(code::STOPPED)
                .at(self.reader.path()));
        }
        Ok(())
    }

    fn tree(&mut self, table: TableId, root: &TableRoot, take: Take<'_>) -> Result<()> {
        if root.root.is_null() {
            return Ok(());
        }
        if root.level > MAX_LEVEL {
            self.lose(table, &[], None);
            return Ok(());
        }
        self.subtree(table, &root.root, root.level, (&[], None), take)
    }

    fn subtree(
        &mut self,
        table: TableId,
        pointer: &Pointer,
        level: u8,
        (low, high): (&[u8], Option<&[u8]>),
        take: Take<'_>,
    ) -> Result<()> {
        self.tell()?;
        let page = match self.reader.read_page(pointer, level) {
            Ok(page) if !self.live.contains(pointer.page) => page,
            Err(error) if error.kind() == ErrorKind::Stopped => return Err(error),
            // Damage, bytes that the disk does not give, or a page that is referred to twice.
            _ => {
                self.lose(table, low, high);
                return Ok(());
            }
        };
        self.live.insert(pointer.page, 1);
        let Some(node) = Node::new(&page, level) else { return Ok(()) };
        if level == 0 {
            self.leaves += 1;
            return self.records(table, &node, None, take);
        }
        for index in 0..node.count() {
            let Some(child) = node.child(index) else { continue };
            let from = node.separator(index).filter(|_| index > 0).unwrap_or(low);
            let to = node.separator(index + 1).or(high);
            self.subtree(table, &child, level - 1, (from, to), take)?;
        }
        Ok(())
    }

    /// Takes the records of a leaf: of one without a way to it those that `accepted` says.
    fn records(
        &mut self,
        table: TableId,
        node: &Node<'_>,
        accepted: Option<&[bool]>,
        take: Take<'_>,
    ) -> Result<()> {
        for index in 0..node.count() {
            if accepted.is_some_and(|accepted| !accepted[index]) {
                continue;
            }
            let (Some(key), Some(value)) = (node.leaf_key(index), node.leaf_value(index)) else {
                continue;
            };
            match value {
                LeafValue::Inline(value) => take(table, key, value)?,
                LeafValue::Run(run) => {
                    let shape = self.reader.run_shape(&run);
                    let value = match shape {
                        Ok(shape) => {
                            self.live.insert(run.first, shape.pages());
                            self.reader.run(&run)
                        }
                        Err(error) => Err(error),
                    };
                    match value {
                        Ok(value) => take(table, key, &value)?,
                        Err(_) => {
                            self.lost_values.push((table, key.to_vec()));
                            continue;
                        }
                    }
                }
            }
            if table != CATALOGUE {
                self.tables.entry(table).or_default().taken += 1;
            }
        }
        Ok(())
    }

    fn take_orphans(&mut self, take: Take<'_>, of: impl Fn(TableId) -> bool) -> Result<()> {
        let mut orphans = Vec::new();
        let newest = self.meta.as_ref().map_or(u64::MAX, |meta| meta.number);
        let mut page = vec![0; self.page_size()];
        for number in FIRST_PAGE..self.reader.end() {
            let is_free = self.free.as_ref().is_some_and(|free| free.contains(number));
            if is_free || self.live.contains(number) {
                continue;
            }
            self.tell()?;
            if self.reader.read_raw(number, &mut page).is_err() || page[0] != KIND_LEAF {
                continue;
            }
            let stamp = Stamp::of(&page).filter(|stamp| of(stamp.table) && stamp.birth <= newest);
            if let Some(stamp) = stamp
                && check_page(&page, 0).is_ok()
            {
                orphans.push(Orphan { page: number, stamp });
            }
        }
        orphans.sort_by_key(|orphan| std::cmp::Reverse((orphan.stamp.birth, orphan.page)));
        for orphan in orphans {
            self.orphan(orphan, &mut page, take)?;
        }
        Ok(())
    }

    fn orphan(&mut self, orphan: Orphan, page: &mut [u8], take: Take<'_>) -> Result<()> {
        let table = orphan.stamp.table;
        self.reader.read_raw(orphan.page, page)?;
        let Some(node) = Node::new(page, 0) else { return Ok(()) };
        let known = self.tables.get(&table).is_some_and(|table| table.root.is_some());
        let accepted: Vec<bool> = (0..node.count())
            .map(|index| {
                let Some(key) = node.leaf_key(index) else { return false };
                let wanted = (table != CATALOGUE && !known) || self.is_lost(table, key);
                wanted && !self.is_covered(table, key)
            })
            .collect();
        if !accepted.contains(&true) {
            return Ok(());
        }
        self.orphans += 1;
        self.live.insert(orphan.page, 1);
        if table != CATALOGUE && !known {
            // Nothing else tells of the table.
            self.tables.entry(table).or_default();
            if !self.is_lost(table, &[]) {
                self.lose(table, &[], None);
            }
        }
        self.records(table, &node, Some(&accepted), take)?;
        if let (Some(first), Some(last)) = (node.leaf_key(0), node.leaf_key(node.count() - 1)) {
            self.cover(table, first.to_vec(), last.to_vec());
        }
        Ok(())
    }

    /// Whether a younger leaf that was taken has the range in which `key` lies.
    fn is_covered(&self, table: TableId, key: &[u8]) -> bool {
        let spans = self.spans.get(&table);
        let before = spans.and_then(|spans| spans.range(..=key.to_vec()).next_back());
        before.is_some_and(|(_, last)| key <= last)
    }

    fn cover(&mut self, table: TableId, mut first: Vec<u8>, mut last: Vec<u8>) {
        let spans = self.spans.entry(table).or_default();
        // Those that it meets become one with it.
        while let Some((low, high)) = spans.range(..=last.clone()).next_back() {
            if *high < first {
                break;
            }
            let (low, high) = (low.clone(), high.clone());
            spans.remove(&low);
            first = first.min(low);
            last = last.max(high);
        }
        spans.insert(first, last);
    }
}

/// The page size by which most pages vouch for themselves.
fn guess_page_size(file: &dyn crate::disk::File, len: u64) -> Option<usize> {
    let sizes = std::iter::successors(Some(MIN_PAGE), |size| Some(size * 2));
    let count = |size: usize| {
        let mut page = vec![0; size];
        let pages = len / size as u64;
        // A page that is found by a wrong size is not: its checksum covers another length.
        let sound = |number: &u64| {
            file.read_exact_at(&mut page, number * size as u64).is_ok()
                && page[0] == KIND_LEAF
                && Stamp::of(&page).is_some()
        };
        (FIRST_PAGE..pages).filter(sound).take(100).count()
    };
    let found = sizes.take_while(|size| *size <= MAX_PAGE).map(|size| (count(size), size)).max()?;
    (found.0 > 0).then_some(found.1)
}
