//! Checking a whole data file: every page that a checkpoint reaches, and that nothing else is missing.
//!
//! Reads with `read_at`, past the map and the cache. It goes on after damage, so that the report names
//! all of it, up to a bound. What is dead is not read: the report lists it, because a flipped bit
//! there harms nothing and is not seen.

use std::ops::{ControlFlow, Range};
use std::path::Path;
use std::sync::Arc;

use super::act::MOST_DEFINITION;
use super::checkpoint::Checkpoint;
use super::free::{FIRST_PAGE, PageSet};
use super::meta::{Fault, Meta, Metas};
use super::page::{LeafValue, MAX_LEVEL, Node, Stamp, u32_at};
use super::pointer::{Pointer, ROOT_LEN, RunRef, TableRoot};
use super::source::{PageSource, Reader};
use super::space::ListRef;
use crate::disk::{Disk, OpenMode};
use crate::engine::value::Value;
use crate::engine::{Lsn, TableId};
use crate::error::{Error, ErrorKind, Result, code};

/// Most damages that a report names.
const MOST_DAMAGE: usize = 100;

/// Told before each page, or part of a big value, how many pages were read and how many there are at most;
/// it may stop the check.
pub(crate) type Watch<'w> = &'w mut dyn FnMut(u64, u64) -> ControlFlow<()>;

/// Something that is not as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Damage {
    /// The page, or the first of several.
    pub(crate) page: u64,
    /// What is wrong, in a sentence.
    pub(crate) what: String,
}

/// What a check of a data file found.
#[derive(Clone, Debug)]
pub(crate) struct TreeReport {
    /// Number of the checkpoint that was checked.
    pub(crate) checkpoint: u64,
    /// Its last commit.
    pub(crate) lsn: Lsn,
    /// Bytes of a page.
    pub(crate) page_size: usize,
    /// One past its highest live page.
    pub(crate) page_count: u64,
    /// Pages that it reaches, metas included.
    pub(crate) live_pages: u64,
    /// Records of each table that was read.
    pub(crate) tables: Vec<(TableId, u64)>,
    /// Pages below the end that nothing reaches, and whose content does not matter.
    pub(crate) dead: Vec<Range<u64>>,
    /// What is wrong, the first hundred.
    pub(crate) damage: Vec<Damage>,
}

impl TreeReport {
    /// Whether nothing is wrong.
    #[cfg(test)]
    pub(crate) fn is_sound(&self) -> bool {
        self.damage.is_empty()
    }

    /// Nothing where all is sound; else the first damage as an error.
    pub(crate) fn into_result(self, path: &Path) -> Result<TreeReport> {
        match self.damage.first() {
            None => Ok(self),
            Some(first) => {
                let more = self.damage.len() - 1;
                let what = format!("page {}: {} (and {more} more)", first.page, first.what);
                Err(Error::corrupt(path, what))
            }
        }
    }
}

/// Checks both metas of the file at `path` and all of its newest checkpoint. Writes nothing; no one
/// may be writing the file.
///
/// # Errors
/// What the disk says, `Unsupported` and `Corrupt` where no meta can be read; `Stopped` (1406). Damage
/// below a meta is no error but stands in the report.
pub(crate) fn verify_data_file(
    disk: &dyn Disk,
    path: &Path,
    watch: Watch<'_>,
) -> Result<TreeReport> {
    let file =
        disk.open(path, OpenMode::Read).map_err(|e| Error::io("open the data file", path, e))?;
    let metas = Metas::read(&*file, path)?;
    let (_, meta) = metas.newest();
    let len = file.len().map_err(|e| Error::io("measure the data file", path, e))?;
    let there = len / meta.page_size as u64;
    let end = meta.page_count.min(there);
    let reader = Reader::new(file, path.to_path_buf(), meta.page_size, end);
    let mut damage = Vec::new();
    if there < meta.page_count {
        let what = format!("the file ends here, and its meta speaks of {} pages", meta.page_count);
        damage.push(Damage { page: there, what });
    }
    for (page, slot) in metas.slots.iter().enumerate() {
        let what = match slot {
            Ok(_) => continue,
            Err(Fault::NotAMeta) => "a meta does not begin like one; the other one holds".into(),
            Err(Fault::Damaged(what)) => format!("a meta is damaged ({what}); the other one holds"),
            Err(Fault::Format(format)) => format!("a meta has format {format}"),
        };
        damage.push(Damage { page: page as u64, what });
    }
    verify(&reader, meta, damage, watch)
}

impl Checkpoint {
    /// Checks everything that this checkpoint reaches, with `read_at`. Does not disturb others.
    ///
    /// # Errors
    /// What the disk says; `Stopped` (1406). Damage is no error but stands in the report.
    pub(crate) fn verify_with(self: &Arc<Self>, watch: Watch<'_>) -> Result<TreeReport> {
        verify(&self.reader(), &self.meta, Vec::new(), watch)
    }

    /// The same without anybody who watches.
    pub(crate) fn verify(self: &Arc<Self>) -> Result<TreeReport> {
        self.verify_with(&mut |_, _| ControlFlow::Continue(()))
    }
}

fn verify(
    reader: &Reader,
    meta: &Meta,
    damage: Vec<Damage>,
    watch: Watch<'_>,
) -> Result<TreeReport> {
    let (live, pages) = (PageSet::default(), reader.end());
    let mut check = Check { reader, live, damage, watch, read: 0, pages };
    let mut tables: Vec<(TableId, TableRoot)> = Vec::new();
    let mut malformed = false;
    check.tree(&meta.catalogue, meta.number, "the catalogue", &mut |key, value| match (
        key.as_array(),
        value.first_chunk::<ROOT_LEN>(),
    ) {
        (Some(id), Some(root)) => {
            tables.push((TableId::from_be_bytes(*id), TableRoot::decode(root)));
        }
        _ => malformed = true,
    })?;
    if malformed {
        check.note(meta.catalogue.root.page, "the catalogue has a malformed entry");
    }
    let mut counts = Vec::new();
    for (id, root) in &tables {
        if *id >= meta.next_table_id {
            check.note(root.root.page, format!("table {id} has a number not yet given out"));
        }
        let records = check.tree(root, meta.number, &format!("table {id}"), &mut |_, _| {})?;
        counts.push((*id, records));
    }
    let dead = check.free_list(meta)?;
    Ok(TreeReport {
        checkpoint: meta.number,
        lsn: meta.lsn,
        page_size: meta.page_size,
        page_count: meta.page_count,
        live_pages: check.live.count() + FIRST_PAGE,
        tables: counts,
        dead,
        damage: check.damage,
    })
}

/// Looks at the records of a tree.
type Visit<'v> = &'v mut dyn FnMut(&[u8], &[u8]);

struct Check<'r> {
    reader: &'r Reader,
    live: PageSet,
    damage: Vec<Damage>,
    watch: Watch<'r>,
    /// Pages that were read, and how many there are.
    read: u64,
    pages: u64,
}

/// What a page says of those below it.
struct Bounds<'k> {
    level: u8,
    low: &'k [u8],
    high: Option<&'k [u8]>,
    /// The checkpoint that wrote the pointer: nothing below is younger.
    birth: u64,
}

impl Check<'_> {
    fn note(&mut self, page: u64, what: impl Into<String>) {
        if self.damage.len() < MOST_DAMAGE {
            self.damage.push(Damage { page, what: what.into() });
        }
    }

    /// `pages` more are about to be read.
    fn tell(&mut self, pages: u64) -> Result<()> {
        if (self.watch)(self.read, self.pages).is_break() {
            return Err(Error::new(ErrorKind::Stopped, "stopped by the user")
                .with_code(code::STOPPED)
                .at(self.reader.path()));
        }
        self.read += pages;
        Ok(())
    }

    /// Lets damage be noted, and other errors pass.
    fn soften<T>(&mut self, page: u64, result: Result<T>) -> Result<Option<T>> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(error) if error.kind() == ErrorKind::Corrupt => {
                self.note(page, error.message());
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Notes that pages are reached; `false` where they already were.
    fn claim(&mut self, first: u64, pages: u64) -> bool {
        let twice = self.live.next(first, first + pages, true);
        if let Some(page) = twice {
            self.note(page, "it is referred to twice");
        }
        self.live.insert(first, pages);
        twice.is_none()
    }

    /// Checks one tree; returns how many records it has.
    fn tree(&mut self, root: &TableRoot, number: u64, name: &str, visit: Visit<'_>) -> Result<u64> {
        let before = self.damage.len();
        let mut records = 0;
        if root.level > MAX_LEVEL {
            self.note(root.root.page, format!("{name} is deeper than any tree can be"));
        } else if !root.root.is_null() {
            let bounds = Bounds { level: root.level, low: &[], high: None, birth: number };
            records = self.subtree(&root.root, &bounds, visit)?;
        }
        if self.damage.len() == before && records != root.records {
            let what = format!("{name} has {records} records and says {}", root.records);
            self.note(root.root.page, what);
        }
        Ok(records)
    }

    fn subtree(&mut self, pointer: &Pointer, bounds: &Bounds<'_>, visit: Visit<'_>) -> Result<u64> {
        if pointer.birth > bounds.birth {
            self.note(pointer.page, "it is younger than its parent");
        }
        self.tell(1)?;
        let Some(page) = self.soften(pointer.page, self.reader.read_page(pointer, bounds.level))?
        else {
            return Ok(0);
        };
        if !self.claim(pointer.page, 1) {
            return Ok(0);
        }
        let Some(node) = Node::new(&page, bounds.level) else { return Ok(0) };
        if Stamp::of(&page).is_none_or(|stamp| stamp.birth != pointer.birth) {
            self.note(pointer.page, "it does not say of itself what its parent says of it");
        }
        if node.holds_runs() != pointer.holds_runs {
            self.note(pointer.page, "its parent is wrong about big values below it");
        }
        let mut records = 0;
        let mut holds_runs = false;
        for index in 0..node.count() {
            if bounds.level == 0 {
                let (Some(key), Some(value)) = (node.leaf_key(index), node.leaf_value(index))
                else {
                    continue;
                };
                if key < bounds.low || bounds.high.is_some_and(|high| key >= high) {
                    self.note(pointer.page, "a key lies outside of the bounds of its page");
                }
                holds_runs |= matches!(value, LeafValue::Run(_));
                self.record(pointer, key, value, visit)?;
                records += 1;
                continue;
            }
            let Some(child) = node.child(index) else { continue };
            let low = match node.separator(index) {
                Some(separator) if index > 0 => separator,
                _ => bounds.low,
            };
            let high = node.separator(index + 1).or(bounds.high);
            if low < bounds.low || high.is_some_and(|high| bounds.high.is_some_and(|h| high > h)) {
                self.note(pointer.page, "a separator lies outside of the bounds of its page");
            }
            holds_runs |= child.holds_runs;
            let inner = Bounds { level: bounds.level - 1, low, high, birth: pointer.birth };
            records += self.subtree(&child, &inner, visit)?;
        }
        if holds_runs != node.holds_runs() {
            self.note(pointer.page, "it is wrong about big values below it");
        }
        Ok(records)
    }

    fn record(
        &mut self,
        pointer: &Pointer,
        key: &[u8],
        value: LeafValue<'_>,
        visit: Visit<'_>,
    ) -> Result<()> {
        match value {
            LeafValue::Inline(value) => visit(key, value),
            LeafValue::Run(run) => {
                if run.birth > pointer.birth {
                    self.note(run.first, "a big value is younger than its leaf");
                }
                if let Some(value) = self.run(&run)? {
                    visit(key, &value);
                }
            }
        }
        Ok(())
    }

    /// Checks a big value; gives it back where it is small enough to be a definition.
    fn run(&mut self, run: &RunRef) -> Result<Option<Value<'_>>> {
        let Some(shape) = self.soften(run.first, self.reader.run_shape(run))? else {
            return Ok(None);
        };
        self.claim(run.first, shape.pages());
        let reader = self.reader;
        if run.len <= MOST_DEFINITION as u64 + ROOT_LEN as u64 {
            let value = self.soften(run.first, reader.run(run))?;
            return Ok(value);
        }
        let table = reader.read_part(run.first, shape.table_pages, run.crc);
        let Some(table) = self.soften(run.first, table)? else { return Ok(None) };
        for index in 0..shape.parts() {
            let part = shape.part(index);
            self.tell(part.pages)?;
            let crc = u32_at(&table, index as usize * 4);
            let read = reader.read_part(run.first + part.page, part.pages, crc);
            self.soften(run.first + part.page, read)?;
        }
        Ok(None)
    }

    /// Checks the free list against what was reached; returns the dead extents.
    fn free_list(&mut self, meta: &Meta) -> Result<Vec<Range<u64>>> {
        let list = self.reader.read_free_list(ListRef::of(meta));
        let Some(list) = self.soften(meta.free_list, list)? else { return Ok(Vec::new()) };
        for (page, _) in &list.pages {
            self.claim(*page, 1);
        }
        let mut free = PageSet::default();
        for entry in &list.entries {
            if let Some(page) = self.live.next(entry.first, entry.first + entry.len, true) {
                self.note(page, "it is in use and in the free list");
            }
            free.insert(entry.first, entry.len);
        }
        if self.damage.is_empty() {
            let mut known = self.live.clone();
            free.extents(self.pages).for_each(|(first, len)| known.insert(first, len));
            if let Some(page) = known.next(FIRST_PAGE, self.pages, false) {
                self.note(page, "it is neither in use nor in the free list");
            }
        }
        Ok(free.extents(self.pages).map(|(first, len)| first..first + len).collect())
    }
}
