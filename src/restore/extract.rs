//! A table or a record out of an archive into an open store.
//!
//! Everything goes through ordinary transactions: it is logged, locked and backed up like any write.
//! A table arrives whole or not at all: it is written under a name of its own in many commits, and
//! the last one, of the structure, gives it its name (and drops the table that it replaces).

use std::fmt;
use std::ops::ControlFlow;

use super::archive::Archive;
use super::builder::Tell;
use crate::archive::{Progress, stopped};
use crate::engine::random_id;
use crate::error::{Error, ErrorKind, Result};
use crate::store::{DynTable, Store, StructureHandle};

/// A transaction takes about so many bytes and at most so many records.
const BATCH_BYTES: usize = 4 << 20;
const BATCH_RECORDS: usize = 10_000;

/// A copy of a table; [`run`](TableCopy::run) it.
#[must_use = "nothing is copied before it is run"]
pub struct TableCopy<'a> {
    archive: &'a Archive,
    store: &'a Store,
    name: &'a str,
    as_name: &'a str,
    replace: bool,
    progress: Option<Tell<'a>>,
}

impl fmt::Debug for TableCopy<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TableCopy")
            .field("archive", self.archive)
            .field("name", &self.name)
            .field("as_name", &self.as_name)
            .finish_non_exhaustive()
    }
}

impl Archive {
    /// Copies the table `name` out of the archive into `store`, which may be any store and is in use
    /// meanwhile, as its table `as_name`.
    pub fn copy_table<'a>(
        &'a self,
        store: &'a Store,
        name: &'a str,
        as_name: &'a str,
    ) -> TableCopy<'a> {
        TableCopy { archive: self, store, name, as_name, replace: false, progress: None }
    }

    /// Copies one record, with the key typed as `key`, out of the archive's table `table` into that
    /// of `store`, over the one that is there, if any.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] where there is no such table in archive or store, or no such record in
    /// the archive; [`ErrorKind::Invalid`] where the tables are of different types or the text is no
    /// key; those of [`Archive::read`] and [`Store::transact`].
    pub fn copy_record(&self, store: &Store, table: &str, key: &str) -> Result<()> {
        let read = self.read()?;
        let source = read.dyn_table(table)?.ok_or_else(|| self.lacks_table(table))?;
        let description = source.description();
        let encoded = description.key_type.encode_text(key)?;
        let value = source.get_raw(&encoded)?.ok_or_else(|| {
            let message = format!("the archive has no record {key} in \"{table}\"");
            Error::new(ErrorKind::NotFound, message).at(self.path())
        })?;
        store.transact(|write| {
            let target = write.dyn_table(table)?.ok_or_else(|| {
                Error::new(ErrorKind::NotFound, format!("the store has no table \"{table}\""))
                    .at(store.path())
                    .hint("Copy the whole table.")
            })?;
            let there = target.description();
            if (&there.key_type, there.value_type)
                != (&description.key_type, description.value_type)
            {
                let message =
                    format!("\"{table}\" has other types in the store than in the archive");
                return Err(Error::new(ErrorKind::Invalid, message).at(store.path()));
            }
            target.put_raw(&encoded, value.to_vec())
        })
    }

    fn lacks_table(&self, name: &str) -> Error {
        let names: Vec<&str> = self.header().tables.iter().map(|table| &*table.name).collect();
        Error::new(ErrorKind::NotFound, format!("the archive has no table \"{name}\""))
            .at(self.path())
            .hint(format!("It has these tables: {}.", names.join(", ")))
    }
}

impl<'a> TableCopy<'a> {
    /// Whether a table of that name in the store is replaced. By default it is an error.
    pub fn replace(mut self, replace: bool) -> Self {
        self.replace = replace;
        self
    }

    /// Told how many records are copied, of how many; `Break` stops it (1406), and the store then has no
    /// more tables than before.
    pub fn on_progress(mut self, tell: impl FnMut(Progress) -> ControlFlow<()> + 'a) -> Self {
        self.progress = Some(Box::new(tell));
        self
    }

    /// Copies it; gives the number of records.
    ///
    /// # Durability
    /// Durable when it returns. A crash before that may leave a table of a name that begins with
    /// "restoring ", which can be dropped.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] where the archive has no such table; [`ErrorKind::Exists`] where the
    /// store has one of the new name, which is not to be replaced; those of [`Archive::read`] and of
    /// the transactions; [`ErrorKind::Stopped`] (1406). The store then has no more tables than before.
    ///
    /// # Locks
    /// Its transactions wait while a backup holds the data; the last one also for all write handles
    /// that have the replaced table open.
    pub fn run(mut self) -> Result<u64> {
        let read = self.archive.read()?;
        let source =
            read.dyn_table(self.name)?.ok_or_else(|| self.archive.lacks_table(self.name))?;
        let id = random_id(self.archive.disk());
        let interim = format!("restoring {id:032x}");
        self.change(|structure| {
            let description = source.description();
            if structure.tables()?.iter().any(|table| table.name == self.as_name) && !self.replace {
                let message = format!("there is a table \"{}\" already", self.as_name);
                return Err(Error::new(ErrorKind::Exists, message)
                    .at(self.store.path())
                    .hint("Copy it under another name, or say that it is to be replaced."));
            }
            let (key, value) = (description.key_type.clone(), description.value_type);
            structure.create_table(&interim, key, value)
        })?;
        let mut tell = self.progress.take();
        let copied = self.fill(&source, &interim, &mut tell).and_then(|records| {
            self.change(|structure| {
                let there = structure.tables()?;
                if self.replace && there.iter().any(|table| table.name == self.as_name) {
                    structure.drop_table(self.as_name)?;
                }
                structure.rename(&interim, self.as_name)
            })?;
            Ok(records)
        });
        if copied.is_err() {
            // The first error is the one that matters; what stays has a name that tells what it is.
            let _left_over = self.change(|structure| structure.drop_table(&interim));
        }
        copied
    }

    fn change(&self, change: impl FnOnce(&StructureHandle) -> Result<()>) -> Result<()> {
        let structure = self.store.begin_structure()?;
        change(&structure)?;
        structure.commit().map(drop)
    }

    fn fill(
        &self,
        source: &DynTable<'_>,
        interim: &str,
        tell: &mut Option<Tell<'_>>,
    ) -> Result<u64> {
        let total = source.len()?;
        let mut records = source.iter()?;
        let mut copied = 0;
        loop {
            if let Some(tell) = tell
                && tell(Progress { done: copied, total }).is_break()
            {
                return Err(stopped(self.store.path()));
            }
            let mut batch = Vec::new();
            let mut bytes = 0;
            while bytes < BATCH_BYTES && batch.len() < BATCH_RECORDS {
                let Some(record) = records.next().transpose()? else { break };
                bytes += record.key.len() + record.value.len();
                batch.push((record.key.clone(), record.value.to_vec()));
            }
            if batch.is_empty() {
                return Ok(copied);
            }
            self.store.transact(|write| {
                let target = write.dyn_table(interim)?.ok_or_else(|| {
                    let message = "somebody dropped the table while it was being copied";
                    Error::new(ErrorKind::NotFound, message)
                })?;
                batch.iter().try_for_each(|(key, value)| target.put_raw(key, value.clone()))
            })?;
            copied += batch.len() as u64;
        }
    }
}
