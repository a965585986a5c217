//! Writing all records of a snapshot into a new data file: full pages in key order, none of them free.
//!
//! The new file is of the same store, at the same commit, and knows as many table numbers as used up.
//! Its checkpoint has a number above that of the snapshot, so that numbers never go back in a store. Its
//! pages are not those of any archive: no incremental backup may go on from one.

use std::collections::VecDeque;
use std::path::Path;

use super::snapshot::Snapshot;
use super::tree::{
    ChangeSource, CheckpointParams, DataFile, DataParams, Meta, open_read_only, rewrite_metas,
};
use super::value::Value;
use super::{CATALOGUE, Change, History, MergeCursor, Position, TableId, TableInfo};
use crate::disk::{Disk, OpenMode};
use crate::error::{Error, Result};

/// Told of each record that was handled; an error ends the work.
pub(crate) type OnRecord<'t> = &'t mut dyn FnMut() -> Result<()>;

/// Writes the records of `snapshot`, which ends with the commit at `position`, into a new file at
/// `path`. With `as_copy` the file needs no log, and its next commit begins a new timeline. Gives how
/// many bytes the file has.
///
/// # Durability
/// Content is durable when it returns; the name is for the caller to make durable.
pub(crate) fn write_compacted(
    disk: &dyn Disk,
    path: &Path,
    snapshot: &Snapshot,
    (position, history): (&Position, &History),
    as_copy: bool,
    on_record: OnRecord<'_>,
) -> Result<u64> {
    let old = snapshot.checkpoint().meta();
    let (timeline, ancestry_digest) = (history.tip(), history.ancestry.digest());
    let params = DataParams {
        page_size: old.page_size,
        store_id: old.store_id,
        timeline,
        ancestry_digest,
        foreign: position.foreign,
    };
    DataFile::create(disk, path, params)?;
    let (file, base) = DataFile::open(disk, path)?;
    let mut records = Records::of(snapshot, on_record)?;
    let params = CheckpointParams {
        lsn: position.lsn,
        timeline,
        ancestry_digest,
        foreign: position.foreign,
        time: position.time,
        durable_log_lsn: position.lsn,
    };
    let newest = file.checkpoint(&base, &mut records, params)?;
    let bytes = newest.meta().page_count * old.page_size as u64;
    drop((newest, base, file));
    let written = disk.open(path, OpenMode::Write).map_err(|e| Error::io("open", path, e))?;
    rewrite_metas(&*written, path, |meta| Meta {
        number: old.number + 1,
        next_table_id: meta.next_table_id.max(old.next_table_id),
        // A restored store that was not written to since has no log either.
        from_archive: as_copy || old.from_archive,
        ..meta
    })?;
    written
        .set_len(bytes)
        .and_then(|()| written.sync())
        .map_err(|e| Error::io("cut the data file", path, e))?;
    Ok(bytes)
}

/// Sees that the data file at `path` has the tables and records of `snapshot`, byte for byte. Gives how
/// many tables and records there are.
///
/// # Errors
/// `Corrupt` where anything differs.
pub(crate) fn compare(
    disk: &dyn Disk,
    path: &Path,
    snapshot: &Snapshot,
    on_record: OnRecord<'_>,
) -> Result<(u64, u64)> {
    let file = disk.open(path, OpenMode::Read).map_err(|e| Error::io("open", path, e))?;
    let new = Snapshot::of_checkpoint(open_read_only(file, path.to_path_buf())?)?;
    let differs = |what: &str| {
        Error::corrupt(path, format!("the compacted data file differs from the store: {what}"))
    };
    if !snapshot.catalogue().iter().eq(new.catalogue().iter()) {
        return Err(differs("its tables are others"));
    }
    let (mut tables, mut records) = (0, 0);
    for table in snapshot.catalogue().iter() {
        let (mut ours, mut theirs) = (snapshot.cursor(table.id), new.cursor(table.id));
        ours.first()?;
        theirs.first()?;
        while ours.key().is_some() || theirs.key().is_some() {
            let same = ours.key() == theirs.key()
                && ours.value()?.as_deref() == theirs.value()?.as_deref();
            if !same {
                return Err(differs(&format!("a record of the table \"{}\"", table.name)));
            }
            records += 1;
            on_record()?;
            ours.next()?;
            theirs.next()?;
        }
        tables += 1;
    }
    Ok((tables, records))
}

/// The definitions and records of a snapshot, as changes to an empty file.
struct Records<'s, 't> {
    snapshot: &'s Snapshot,
    definitions: VecDeque<(Box<[u8]>, Vec<u8>)>,
    tables: VecDeque<TableId>,
    cursor: Option<(TableId, MergeCursor<'s>)>,
    /// The record that the cursor stands on.
    value: Option<Value<'s>>,
    on_record: OnRecord<'t>,
}

impl<'s, 't> Records<'s, 't> {
    fn of(snapshot: &'s Snapshot, on_record: OnRecord<'t>) -> Result<Records<'s, 't>> {
        let all = || snapshot.catalogue().iter();
        let definition = |table: &std::sync::Arc<TableInfo>| (table.key(), table.encode());
        let mut records = Records {
            snapshot,
            definitions: all().map(definition).collect(),
            tables: all().map(|table| table.id).collect(),
            cursor: None,
            value: None,
            on_record,
        };
        if records.definitions.is_empty() {
            records.settle()?;
        }
        Ok(records)
    }

    /// Goes on to the first table that has a record, where the cursor has none.
    fn settle(&mut self) -> Result<()> {
        loop {
            if let Some((_, cursor)) = &self.cursor {
                self.value = cursor.value()?;
                if self.value.is_some() {
                    return Ok(());
                }
            }
            let Some(table) = self.tables.pop_front() else {
                self.cursor = None;
                return Ok(());
            };
            let mut cursor = self.snapshot.cursor(table);
            cursor.first()?;
            self.cursor = Some((table, cursor));
        }
    }
}

impl ChangeSource for Records<'_, '_> {
    fn current(&self) -> Option<(TableId, &[u8], Change<'_>)> {
        if let Some((key, definition)) = self.definitions.front() {
            return Some((CATALOGUE, key, Change::Put(definition)));
        }
        let (table, cursor) = self.cursor.as_ref()?;
        Some((*table, cursor.key()?, Change::Put(self.value.as_ref()?)))
    }

    fn advance(&mut self) -> Result<()> {
        if self.definitions.pop_front().is_some() {
            return if self.definitions.is_empty() { self.settle() } else { Ok(()) };
        }
        (self.on_record)()?;
        if let Some((_, cursor)) = &mut self.cursor {
            cursor.next()?;
        }
        self.settle()
    }
}
