//! A checkpoint as readers see it: pinned roots, and the records below them.
//!
//! While a [`Checkpoint`] of the mapped file is alive, no page that it reaches is written or cut off.
//! That is what makes the slices it hands out sound. It carries the definitions of its tables, so a
//! reader needs nothing else.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::cursor::{Walk, get};
use super::file::{DataFile, short_file};
use super::meta::{Meta, Metas};
use super::pointer::{ROOT_LEN, TableRoot};
use super::source::{Mapped, PageSource, Reader};
use crate::disk::{Disk, File, OpenMode};
use crate::engine::value::Value;
use crate::engine::{Lsn, TABLE_LIMIT, TableId, Timeline};
use crate::error::{Error, Result};

/// A table of a checkpoint.
#[derive(Clone, Debug)]
pub(crate) struct TableEntry {
    pub(crate) id: TableId,
    pub(crate) root: TableRoot,
    /// The encoded definition, opaque to the tree.
    pub(crate) definition: Arc<[u8]>,
}

/// Where a checkpoint's pages come from.
pub(crate) enum Source {
    Mapped(Mapped),
    Reader(Reader),
}

/// The trees of one checkpoint, pinned.
pub(crate) struct Checkpoint {
    pub(super) source: Source,
    pub(super) meta: Meta,
    pub(super) tables: Vec<TableEntry>,
}

impl DataFile {
    /// Opens the data file at `path` and its newest checkpoint; the one of the other meta stays
    /// pinned too until the next checkpoint is finished. Writes nothing.
    ///
    /// # Errors
    /// `Unsupported` where this is no data file or of another format; `Corrupt` where no meta is
    /// valid, the file is too short, or the catalogue is damaged; what the disk says.
    pub(crate) fn open(disk: &dyn Disk, path: &Path) -> Result<(Arc<DataFile>, Arc<Checkpoint>)> {
        let file = disk
            .open(path, OpenMode::Write)
            .map_err(|e| Error::io("open the data file", path, e))?;
        DataFile::open_with(file, path)
    }

    /// The same for whoever only reads, also where nothing can be written.
    ///
    /// # Errors
    /// As [`DataFile::open`].
    pub(crate) fn open_to_read(
        disk: &dyn Disk,
        path: &Path,
    ) -> Result<(Arc<DataFile>, Arc<Checkpoint>)> {
        let file = disk
            .open(path, OpenMode::Read)
            .map_err(|e| Error::io("open the data file", path, e))?;
        DataFile::open_with(file, path)
    }

    /// [`DataFile::open`] for a file that is open already.
    pub(super) fn open_with(
        file: Arc<dyn File>,
        path: &Path,
    ) -> Result<(Arc<DataFile>, Arc<Checkpoint>)> {
        let (file, meta) = DataFile::open_file(file, path)?;
        let source = Mapped { file: file.clone(), end: meta.page_count };
        let tables = read_catalogue(&source, &meta.catalogue)?;
        Ok((file, Checkpoint::new(source, meta, tables)))
    }
}

/// Opens the newest checkpoint of any file, which is read with `read_at` and not mapped: an archive
/// in place. `path` is for messages.
///
/// # Errors
/// As [`DataFile::open`].
pub(crate) fn open_read_only(file: Arc<dyn File>, path: PathBuf) -> Result<Arc<Checkpoint>> {
    let metas = Metas::read(&*file, &path)?;
    let meta = metas.newest().1.clone();
    let len = file.len().map_err(|e| Error::io("measure the data file", &path, e))?;
    if meta.page_count > len / meta.page_size as u64 {
        return Err(short_file(&path, &meta, len / meta.page_size as u64));
    }
    let reader = Reader::new(file, path, meta.page_size, meta.page_count);
    let tables = read_catalogue(&reader, &meta.catalogue)?;
    Ok(Arc::new(Checkpoint { source: Source::Reader(reader), meta, tables }))
}

/// Reads the tables out of a catalogue tree.
pub(super) fn read_catalogue<S: PageSource>(
    source: &S,
    root: &TableRoot,
) -> Result<Vec<TableEntry>> {
    let mut walk = Walk::new(source, *root);
    let mut tables = Vec::new();
    let mut more = walk.first()?;
    while more {
        let value = walk.value()?;
        let (Some(id), Some(table)) = (walk.key().as_array(), value.first_chunk::<ROOT_LEN>())
        else {
            return Err(source.corrupt(root.root.page, "the catalogue has a malformed entry"));
        };
        let id = TableId::from_be_bytes(*id);
        if !(1..TABLE_LIMIT).contains(&id) {
            return Err(
                source.corrupt(root.root.page, "the catalogue has a number that no table has")
            );
        }
        tables.push(TableEntry {
            id,
            root: TableRoot::decode(table),
            definition: value[ROOT_LEN..].into(),
        });
        more = walk.next()?;
    }
    Ok(tables)
}

impl Checkpoint {
    pub(super) fn new(source: Mapped, meta: Meta, tables: Vec<TableEntry>) -> Arc<Checkpoint> {
        source.file.pin(meta.number, meta.page_count);
        Arc::new(Checkpoint { source: Source::Mapped(source), meta, tables })
    }

    /// Number of the checkpoint.
    pub(crate) fn number(&self) -> u64 {
        self.meta.number
    }

    /// The last commit that it holds.
    pub(crate) fn lsn(&self) -> Lsn {
        self.meta.lsn
    }

    /// Everything that its meta says.
    pub(crate) fn meta(&self) -> &Meta {
        &self.meta
    }

    /// The branch of history that it belongs to.
    pub(crate) fn timeline(&self) -> Timeline {
        self.meta.timeline
    }

    /// Root and number of records of a table; `None` where there is none.
    #[inline]
    pub(crate) fn table(&self, table: TableId) -> Option<TableRoot> {
        self.entry(table).map(|entry| entry.root)
    }

    #[inline]
    fn entry(&self, table: TableId) -> Option<&TableEntry> {
        let index = self.tables.binary_search_by_key(&table, |entry| entry.id).ok()?;
        Some(&self.tables[index])
    }

    /// The tables and their encoded definitions, by id.
    pub(crate) fn definitions(&self) -> impl Iterator<Item = (TableId, &[u8])> {
        self.tables.iter().map(|entry| (entry.id, &*entry.definition))
    }

    /// The value of `key` in `table`; `None` also where there is no such table.
    ///
    /// # Errors
    /// `Corrupt` where a page on the way is damaged; `Io`, where it is not mapped.
    #[inline]
    pub(crate) fn get(&self, table: TableId, key: &[u8]) -> Result<Option<Value<'_>>> {
        let Some(entry) = self.entry(table) else {
            return Ok(None);
        };
        match &self.source {
            Source::Mapped(source) => get(source, &entry.root, key),
            Source::Reader(source) => get(source, &entry.root, key),
        }
    }

    /// A cursor over `table`, which stands nowhere yet; over nothing where there is no such table.
    pub(crate) fn cursor(&self, table: TableId) -> TreeCursor<'_> {
        let root = self.table(table).unwrap_or(TableRoot::EMPTY);
        TreeCursor(match &self.source {
            Source::Mapped(source) => Either::Mapped(Walk::new(source, root)),
            Source::Reader(source) => Either::Reader(Walk::new(source, root)),
        })
    }
}

impl Drop for Checkpoint {
    fn drop(&mut self) {
        if let Source::Mapped(source) = &self.source {
            source.file.unpin(self.meta.number);
        }
    }
}

enum Either<'c> {
    Mapped(Walk<'c, Mapped>),
    Reader(Walk<'c, Reader>),
}

/// A place in a table of a checkpoint: on a record, or nowhere.
///
/// The seeks and steps return whether it stands on a record afterwards. From nowhere, `next` and
/// `prev` stay nowhere. After an error it stands nowhere.
pub(crate) struct TreeCursor<'c>(Either<'c>);

macro_rules! either {
    ($self:ident, $walk:ident => $act:expr) => {
        match &$self.0 {
            Either::Mapped($walk) => $act,
            Either::Reader($walk) => $act,
        }
    };
    (mut $self:ident, $walk:ident => $act:expr) => {
        match &mut $self.0 {
            Either::Mapped($walk) => $act,
            Either::Reader($walk) => $act,
        }
    };
}

impl<'c> TreeCursor<'c> {
    /// Goes to the first record.
    pub(crate) fn first(&mut self) -> Result<bool> {
        either!(mut self, walk => walk.first())
    }

    /// Goes to the last record.
    pub(crate) fn last(&mut self) -> Result<bool> {
        either!(mut self, walk => walk.last())
    }

    /// Goes to the first record whose key is not below `key`.
    pub(crate) fn seek_ge(&mut self, key: &[u8]) -> Result<bool> {
        either!(mut self, walk => walk.seek_ge(key))
    }

    /// Goes to the last record whose key is not above `key`.
    pub(crate) fn seek_le(&mut self, key: &[u8]) -> Result<bool> {
        either!(mut self, walk => walk.seek_le(key))
    }

    /// Goes to the next record.
    #[inline]
    pub(crate) fn next(&mut self) -> Result<bool> {
        either!(mut self, walk => walk.next())
    }

    /// Goes to the record before.
    #[inline]
    pub(crate) fn prev(&mut self) -> Result<bool> {
        either!(mut self, walk => walk.prev())
    }

    /// Whether it stands on a record.
    #[inline]
    pub(crate) fn is_on_record(&self) -> bool {
        either!(self, walk => walk.is_on_record())
    }

    /// The key of the record; empty where it stands nowhere.
    #[inline]
    pub(crate) fn key(&self) -> &[u8] {
        either!(self, walk => walk.key())
    }

    /// The value of the record; empty where it stands nowhere. It outlives the cursor's next step.
    #[inline]
    pub(crate) fn value(&self) -> Result<Value<'c>> {
        either!(self, walk => walk.value())
    }
}
