//! Writing a checkpoint: the one act that turns changes into a new root.
//!
//! In this order: the pages of the new trees, the catalogue, the free list; sync; the older meta;
//! sync: from here on the checkpoint is durable; the other meta; sync: from here on what only the
//! checkpoint before reached can be used again, and the file's end can be cut.
//!
//! Until the first meta is durable nothing of it shows: on an error the work is dropped, and the same
//! changes can be tried again. After a failed write or sync the file is latched (see `file.rs`).

use std::sync::Arc;

use super::apply::{ChangeSource, apply};
use super::checkpoint::{Checkpoint, Source, TableEntry};
use super::discard::free_table;
use super::file::{DataFile, WriterState};
use super::free::Extent;
use super::meta::Meta;
use super::pointer::TableRoot;
use super::relocate::{limit, relocate};
use super::source::Mapped;
use super::space::{ListRef, SpaceState, write_list};
use super::writer::PageWriter;
use crate::engine::{CATALOGUE, Change, Lsn, TABLE_LIMIT, TableId, Timeline};
use crate::error::{Error, ErrorKind, Result};

/// Longest encoded definition of a table.
pub(crate) const MOST_DEFINITION: usize = 1 << 20;

/// What a checkpoint records beside its trees.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CheckpointParams {
    /// The last commit among the changes.
    pub(crate) lsn: Lsn,
    /// The branch of history that it belongs to.
    pub(crate) timeline: Timeline,
    /// Digest of the ancestry of that commit.
    pub(crate) ancestry_digest: u64,
    /// Whether that branch is not this store's own to go on (see [`Meta::foreign`]).
    pub(crate) foreign: bool,
    /// Time of that commit, in microseconds since the Unix epoch.
    pub(crate) time: i64,
    /// What is known durable in the log.
    pub(crate) durable_log_lsn: Lsn,
}

impl DataFile {
    /// Writes a checkpoint: `base`, which is the newest, with `changes`.
    ///
    /// Changes of tables that the new catalogue does not have are passed over.
    ///
    /// # Errors
    /// `StorageFull` where there is no room: nothing has changed, and it can be tried again with the
    /// changes from their start. `Limit` for a key that is too long, `Corrupt` for a damaged page
    /// below a change, `Invalid` where `base` is not the newest checkpoint or the changes are out of
    /// order, `ReadOnly` after an earlier failure of a write or sync.
    ///
    /// # Durability
    /// Durable when it returns.
    pub(crate) fn checkpoint(
        &self,
        base: &Arc<Checkpoint>,
        changes: &mut dyn ChangeSource,
        params: CheckpointParams,
    ) -> Result<Arc<Checkpoint>> {
        let mut state = self.begin_act();
        let outcome = self.advance(&mut state, base, params, |mapped, _, writer| {
            build(base, mapped, changes, writer).map(Some)
        })?;
        outcome.ok_or_else(|| Error::new(ErrorKind::Invalid, "the checkpoint was not begun"))
    }

    /// Gives room back to the disk. Cuts the end of the file as far as no pin reaches; then, where
    /// the file is still longer than `percent` of what `newest` holds and no other checkpoint is
    /// pinned, moves pages from its end into free room below: that is a new checkpoint of the same
    /// commit, which the caller publishes in place of `newest` before it calls this again to cut.
    ///
    /// `percent` is at least 110. Moving writes what it moves: at 180 a store whose every record is
    /// always overwritten writes a fifth more, at 120 up to double.
    ///
    /// # Errors
    /// As [`DataFile::checkpoint`]; nothing has changed then.
    pub(crate) fn tidy(
        &self,
        newest: &Arc<Checkpoint>,
        percent: u64,
    ) -> Result<Option<Arc<Checkpoint>>> {
        let mut state = self.begin_act();
        self.check_latch()?;
        self.cut(&mut state)?;
        let meta = &newest.meta;
        if self.pins() != [meta.number] || meta.from_archive {
            return Ok(None);
        }
        let params = CheckpointParams {
            lsn: meta.lsn,
            timeline: meta.timeline,
            ancestry_digest: meta.ancestry_digest,
            foreign: meta.foreign,
            time: meta.time,
            durable_log_lsn: meta.durable_log_lsn,
        };
        self.advance(&mut state, newest, params, |mapped, list, writer| {
            match limit(writer.space(), percent.max(110)) {
                Some(limit) => relocate(newest, mapped, limit, list, writer),
                None => Ok(None),
            }
        })
    }

    /// The act. `work` builds the trees of the new checkpoint, or finds that there is none to make.
    fn advance(
        &self,
        state: &mut WriterState,
        base: &Arc<Checkpoint>,
        params: CheckpointParams,
        work: impl FnOnce(&Mapped, &[Extent], &mut PageWriter<'_>) -> Result<Option<Built>>,
    ) -> Result<Option<Arc<Checkpoint>>> {
        self.check_latch()?;
        let mapped = self.newest_base(base, state)?;
        let (mut space, old_list) =
            state.space.load(&**self.file(), self.path(), self.page_size())?;
        space.ripen(&self.pins());
        let mut writer = PageWriter::new(self, &base.meta, space, state.allocated)?;
        let number = writer.number();
        let built = work(mapped, &old_list, &mut writer).and_then(|built| match built {
            Some(built) => finish_pages(base, built, &old_list, &mut writer).map(Some),
            None => Ok(None),
        });
        // What the file grew by stays, whatever became of the checkpoint.
        state.allocated = writer.allocated();
        let Some(built) = built? else { return Ok(None) };
        let wrote = writer.changed_space();
        let (mut space, freed) = writer.finish(state)?;
        let meta = Meta {
            number,
            lsn: params.lsn,
            timeline: params.timeline,
            ancestry_digest: params.ancestry_digest,
            foreign: params.foreign,
            time: params.time,
            durable_log_lsn: params.durable_log_lsn,
            catalogue: built.catalogue,
            page_count: built.end,
            free_list: built.list.page,
            free_list_crc: built.list.crc,
            free_list_birth: built.list.birth,
            next_table_id: built.next_table_id,
            from_archive: false,
            ..base.meta
        };
        // The newest meta may be one that a killed process wrote and did not sync: it must be durable
        // before the other one is written over.
        if wrote || state.stats.checkpoints == 0 {
            self.sync(&mut state.stats)?;
        }
        let older = state.older_meta();
        self.put_meta(state, older, &meta)?;
        space.add_waiting(number, freed);
        state.space = SpaceState::Known { space, list_pages: built.list_pages };
        self.put_meta(state, 1 - older, &meta)?;
        state.stats.checkpoints += 1;
        state.stats.live_bytes = built.live * self.page_size() as u64;
        let source = Mapped { file: mapped.file.clone(), end: meta.page_count };
        Ok(Some(Checkpoint::new(source, meta, built.tables)))
    }

    fn newest_base<'b>(&self, base: &'b Checkpoint, state: &WriterState) -> Result<&'b Mapped> {
        let newest = state.metas.iter().flatten().map(|meta| meta.number).max();
        match &base.source {
            Source::Mapped(mapped)
                if std::ptr::eq(&*mapped.file, self) && newest == Some(base.meta.number) =>
            {
                Ok(mapped)
            }
            _ => Err(Error::new(
                ErrorKind::Invalid,
                format!("checkpoint {} is not the newest of the file", base.meta.number),
            )
            .at(self.path())),
        }
    }

    /// Writes a meta and makes it durable; the checkpoint that was there loses that pin.
    fn put_meta(&self, state: &mut WriterState, slot: usize, meta: &Meta) -> Result<()> {
        let page = meta.encode();
        let offset = (slot * page.len()) as u64;
        // Readers rely on the map showing what was written: the first meta of a session proves it.
        // Also a full disk leaves the meta in doubt here.
        self.write("write a meta of the data file", |file| file.write_at(&page, offset))
            .inspect_err(|_| self.latch())?;
        if self.map().slice(offset, page.len()) != Some(page.as_slice()) {
            self.latch();
            return Err(Error::new(
                ErrorKind::Unsupported,
                "a write does not show in the file's map",
            )
            .at(self.path())
            .hint("This file system cannot hold a store. Move it to a local one."));
        }
        self.sync(&mut state.stats)?;
        state.stats.written_bytes += page.len() as u64;
        self.pin(meta.number, meta.page_count);
        if let Some(before) = state.metas[slot].replace(meta.clone()) {
            self.unpin(before.number);
        }
        Ok(())
    }
}

impl WriterState {
    /// The slot to write first: a damaged one, or the older.
    fn older_meta(&self) -> usize {
        match &self.metas {
            [Some(a), Some(b)] => usize::from(b.number < a.number),
            [Some(_), None] => 1,
            [None, _] => 0,
        }
    }
}

/// The trees of a new checkpoint.
pub(super) struct Built {
    catalogue: TableRoot,
    tables: Vec<TableEntry>,
    next_table_id: TableId,
}

/// All that a new checkpoint's meta needs.
struct Finished {
    catalogue: TableRoot,
    tables: Vec<TableEntry>,
    next_table_id: TableId,
    end: u64,
    live: u64,
    list: ListRef,
    list_pages: Vec<Extent>,
}

/// Applies all changes: definitions, then each table, then the catalogue that names the new roots.
fn build(
    base: &Checkpoint,
    mapped: &Mapped,
    changes: &mut dyn ChangeSource,
    writer: &mut PageWriter<'_>,
) -> Result<Built> {
    let mut tables = base.tables.clone();
    let mut touched = Vec::new();
    let mut next_table_id = base.meta.next_table_id;
    while let Some((CATALOGUE, key, change)) = changes.current() {
        let id = key.as_array().map(|id| TableId::from_be_bytes(*id)).unwrap_or(CATALOGUE);
        if !(1..TABLE_LIMIT).contains(&id) {
            return Err(Error::new(
                ErrorKind::Invalid,
                "a table id is not four bytes, or no table has it",
            ));
        }
        if matches!(change, Change::Put(bytes) if bytes.len() > MOST_DEFINITION) {
            return Err(Error::new(ErrorKind::Limit, "the definition of a table exceeds 1 MiB"));
        }
        next_table_id = next_table_id.max(id.saturating_add(1));
        match (change, tables.binary_search_by_key(&id, |entry| entry.id)) {
            (Change::Put(bytes), Ok(at)) => tables[at].definition = bytes.into(),
            (Change::Put(bytes), Err(at)) => {
                tables.insert(
                    at,
                    TableEntry { id, root: TableRoot::EMPTY, definition: bytes.into() },
                );
            }
            (Change::Delete, Ok(at)) => free_table(mapped, &tables.remove(at).root, writer)?,
            (Change::Delete, Err(_)) => {}
        }
        touched.push(id);
        changes.advance()?;
    }
    let mut last = CATALOGUE;
    while let Some((table, _, _)) = changes.current() {
        if table <= last {
            return Err(Error::new(ErrorKind::Invalid, "the changes are not in order of tables"));
        }
        last = table;
        apply_table(mapped, table, &mut tables, changes, writer)?;
        touched.push(table);
    }
    touched.sort_unstable();
    touched.dedup();
    rewrite_catalogue(base, mapped, &touched, tables, next_table_id, writer)
}

/// Brings the entries of the `touched` tables into the catalogue tree.
pub(super) fn rewrite_catalogue(
    base: &Checkpoint,
    mapped: &Mapped,
    touched: &[TableId],
    tables: Vec<TableEntry>,
    next_table_id: TableId,
    writer: &mut PageWriter<'_>,
) -> Result<Built> {
    let mut entries = CatalogueChanges::new(touched, &tables);
    let catalogue = apply(mapped, base.meta.catalogue, CATALOGUE, &mut entries, writer)?;
    Ok(Built { catalogue, tables, next_table_id })
}

/// Applies the changes of one table, or passes over them where it is not in the catalogue.
fn apply_table(
    mapped: &Mapped,
    table: TableId,
    tables: &mut [TableEntry],
    changes: &mut dyn ChangeSource,
    writer: &mut PageWriter<'_>,
) -> Result<()> {
    if let Ok(at) = tables.binary_search_by_key(&table, |entry| entry.id) {
        tables[at].root = apply(mapped, tables[at].root, table, changes, writer)?;
        return Ok(());
    }
    while changes.current().is_some_and(|(next, _, _)| next == table) {
        changes.advance()?;
    }
    Ok(())
}

/// Frees the old free list and writes the new one, where pages came or went.
fn finish_pages(
    base: &Checkpoint,
    built: Built,
    old_list: &[Extent],
    writer: &mut PageWriter<'_>,
) -> Result<Finished> {
    let Built { catalogue, tables, next_table_id } = built;
    let mut finished = Finished {
        catalogue,
        tables,
        next_table_id,
        end: base.meta.page_count,
        live: 0,
        list: ListRef::of(&base.meta),
        list_pages: old_list.to_vec(),
    };
    if writer.changed_space() {
        for extent in old_list {
            writer.free(extent.first, extent.len, extent.birth);
        }
        let written = write_list(writer)?;
        finished.end = written.end;
        finished.list = written.list;
        finished.list_pages = written.pages;
    }
    let dead: u64 = writer.freed().iter().map(|extent| extent.len).sum();
    let space = writer.space();
    // A damaged file may count a page twice among the dead.
    let dead = dead.saturating_add(space.free_pages()).saturating_add(space.waiting_pages());
    finished.live = space.end().saturating_sub(dead);
    Ok(finished)
}

/// The changes of the catalogue tree, made from the new list of tables.
struct CatalogueChanges {
    entries: Vec<([u8; 4], Option<Vec<u8>>)>,
    at: usize,
}

impl CatalogueChanges {
    fn new(touched: &[TableId], tables: &[TableEntry]) -> CatalogueChanges {
        let entry = |id: &TableId| {
            let found = tables.binary_search_by_key(id, |entry| entry.id).ok();
            let value = found.map(|at| {
                let mut value = tables[at].root.encode().to_vec();
                value.extend_from_slice(&tables[at].definition);
                value
            });
            (id.to_be_bytes(), value)
        };
        CatalogueChanges { entries: touched.iter().map(entry).collect(), at: 0 }
    }
}

impl ChangeSource for CatalogueChanges {
    fn current(&self) -> Option<(TableId, &[u8], Change<'_>)> {
        let (key, value) = self.entries.get(self.at)?;
        let change = match value {
            Some(value) => Change::Put(value),
            None => Change::Delete,
        };
        Some((CATALOGUE, key, change))
    }

    fn advance(&mut self) -> Result<()> {
        self.at += 1;
        Ok(())
    }
}
