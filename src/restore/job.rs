//! What a restore takes out of its archive, decided before anything is written.
//!
//! The whole store is restored by its pages, and keeps its identity. Chosen tables, or the structure
//! alone, make a store of their own: what a log says of the store that they come from is not true of
//! it, so it has another identity, and no log or incremental archive is ever applied to it.

use std::path::Path;

use super::archive::Archive;
use super::chain::Chain;
use crate::archive::{ArchiveName, Entry, HEADER_NAME, MANIFEST_NAME, PAGES, PAGES_INDEX};
use crate::engine::{DATA_FILE, LOG_DIR};
use crate::error::{Error, ErrorKind, Result};
use crate::lock::Contents;
use crate::store::{ATTACHMENTS, ArchiveRef, CATALOGUE_FILE, RestoredTo, SETTINGS, TablePaper};

/// What was asked for.
#[derive(Clone, Debug)]
pub(super) struct Choice {
    pub(super) contents: Contents,
    /// Only these tables, where they are named.
    pub(super) tables: Option<Vec<String>>,
    pub(super) attachments: bool,
    pub(super) settings: bool,
}

impl Default for Choice {
    fn default() -> Choice {
        let contents = Contents { structure: true, data: true };
        Choice { contents, tables: None, attachments: true, settings: true }
    }
}

/// What is made of the store.
pub(super) enum Part {
    /// Its data file, page by page.
    Whole(Chain),
    /// A store of these tables, with their records.
    Tables(Vec<TablePaper>),
    /// A store of these tables, empty.
    Structure(Vec<TablePaper>),
    /// Nothing: only the attachments or the settings are wanted.
    Nothing,
}

/// A restore that can be carried out.
pub(super) struct Job<'a> {
    pub(super) archive: &'a Archive,
    pub(super) part: Part,
    attachments: bool,
    settings: bool,
}

impl<'a> Job<'a> {
    /// Sees that the archive, with all that it goes on from, has what is asked for.
    pub(super) fn of(archive: &'a Archive, choice: &Choice) -> Result<Job<'a>> {
        let header = archive.header();
        let part = match (&choice.tables, choice.contents.data && header.data) {
            (None, true) => Part::Whole(Chain::of(archive)?),
            (Some(names), true) => {
                // The records are read through the chain, which must be there before anything is
                // written.
                Chain::of(archive)?;
                Part::Tables(named(archive, names)?)
            }
            _ if !choice.contents.structure && !choice.contents.data => Part::Nothing,
            (Some(names), false) => Part::Structure(named(archive, names)?),
            (None, false) => Part::Structure(header.tables.clone()),
        };
        let (attachments, settings) = (choice.attachments, choice.settings);
        Ok(Job { archive, part, attachments, settings })
    }

    /// Refuses what no delta restore can do.
    pub(super) fn check_whole(&self) -> Result<&Chain> {
        match &self.part {
            Part::Whole(chain) => Ok(chain),
            _ => {
                let message = "a delta restore is one of the whole store";
                Err(Error::new(ErrorKind::Invalid, message))
            }
        }
    }

    /// The tables that the store will have.
    pub(super) fn tables(&self) -> &[TablePaper] {
        match &self.part {
            Part::Whole(_) => &self.archive.header().tables,
            Part::Tables(tables) | Part::Structure(tables) => tables,
            Part::Nothing => &[],
        }
    }

    /// Whether the entry is unpacked as it is.
    pub(super) fn takes(&self, entry: &Entry) -> bool {
        let path = entry.meta.path.as_path();
        if path.starts_with(ATTACHMENTS) {
            return self.attachments;
        }
        if path.starts_with(SETTINGS) {
            return self.settings;
        }
        match path.to_str() {
            Some(HEADER_NAME | PAGES | PAGES_INDEX | CATALOGUE_FILE | DATA_FILE | LOG_DIR) => false,
            Some(MANIFEST_NAME) => !matches!(self.part, Part::Nothing),
            _ => matches!(self.part, Part::Whole(_)),
        }
    }

    /// Bytes of the entries that are unpacked as they are.
    pub(super) fn entry_bytes(&self) -> u64 {
        let entries = self.archive.file().entries().iter();
        entries.filter(|entry| self.takes(entry)).map(|entry| entry.meta.size).sum()
    }

    /// Bytes of the data file; of chosen tables an estimate, by their share of the records.
    pub(super) fn data_bytes(&self) -> u64 {
        match &self.part {
            Part::Whole(chain) => chain.page_count() * u64::from(chain.page_size()),
            Part::Tables(tables) => {
                let header = self.archive.header();
                let records = |tables: &[TablePaper]| {
                    tables.iter().map(|table| u128::from(table.records)).sum::<u128>()
                };
                let share = u128::from(header.source_bytes) * records(tables);
                (share / records(&header.tables).max(1)) as u64
            }
            Part::Structure(_) | Part::Nothing => 0,
        }
    }

    /// The commit that a whole store is at when it comes out of the archive.
    pub(super) fn restored_to(&self) -> Option<RestoredTo> {
        let header = self.archive.header();
        let is_whole = matches!(self.part, Part::Whole(_));
        is_whole.then_some(RestoredTo { lsn: header.lsn, timeline: header.timeline })
    }

    /// What the restored data file can be the parent's of: its archive, by place and seal.
    pub(super) fn as_parent(&self) -> Option<ArchiveRef> {
        let (header, path) = (self.archive.header(), self.archive.path());
        if header.checkpoint == 0 || !matches!(self.part, Part::Whole(_)) {
            return None;
        }
        let name = path.file_name().and_then(|name| name.to_str());
        let set = match name.and_then(ArchiveName::parse) {
            Some(name) => name.set().to_owned(),
            None => path.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
        };
        let whole: &Path = path;
        Some(ArchiveRef {
            set,
            number: header.number,
            archive: self.archive.disk().canonical(whole).unwrap_or_else(|_| whole.to_path_buf()),
            seal: self.archive.file().seal().to_string(),
            lsn: header.lsn,
            timeline: header.timeline,
            checkpoint: header.checkpoint,
            time: header.started,
        })
    }
}

fn named(archive: &Archive, names: &[String]) -> Result<Vec<TablePaper>> {
    let tables = &archive.header().tables;
    let find = |name: &String| {
        tables.iter().find(|table| table.name == *name).cloned().ok_or_else(|| {
            let known: Vec<&str> = tables.iter().map(|table| &*table.name).collect();
            Error::new(ErrorKind::NotFound, format!("the archive has no table \"{name}\""))
                .at(archive.path())
                .hint(format!("It has these tables: {}.", known.join(", ")))
        })
    };
    let mut chosen: Vec<TablePaper> = names.iter().map(find).collect::<Result<_>>()?;
    chosen.sort_by_key(|table| table.id);
    chosen.dedup_by_key(|table| table.id);
    Ok(chosen)
}
