//! The copier: streams the pinned checkpoint and the attachments into the archive.
//!
//! Pages go in file order, each checked against its parent's checksum as it is read; dead pages are
//! zeros. So the archive is right, or the source is damaged and the error says which page. Reading
//! here, packing and writing in the archive's own threads overlap.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::attachments::Attachments;
use super::builder::BackupBuilder;
use super::preflight::Place;
use super::quiet::Held;
use super::report::{ParticipantReport, SavedFile};
use super::run::failed;
use super::throttle::Throttle;
use crate::archive::{
    ArchiveOptions, ArchiveWriter, EntryMeta, EntryPath, Finished, ManifestEntry, PAGES,
    PAGES_INDEX, PageIndex,
};
use crate::disk::Disk;
use crate::engine::tree::{Checkpoint, CopyPlan};
use crate::engine::{ANCESTRY_FILE, DATA_FILE, LOG_DIR, Snapshot};
use crate::error::{Error, ErrorKind, Result, code};
use crate::store::{
    BackupHeader, BackupKind, BackupResults, BackupStatus, CATALOGUE_FILE, ParticipantPaper,
    TablePaper, TogetherPaper,
};

/// Called after each piece with the bytes of the source moved and those written to the destination
/// since the last call; an error ends the copy.
pub(super) type Step<'s> = dyn FnMut(u64, u64) -> Result<()> + 's;

/// What is known of the instant that is saved, and of those who stood still for it.
pub(super) struct Instant {
    pub(super) pin: Duration,
    pub(super) participants: Vec<ParticipantReport>,
    /// Participants that went on before their files were copied.
    pub(super) too_early: Vec<Error>,
    /// What else they did wrong.
    pub(super) troubles: Vec<Error>,
    pub(super) together: Option<TogetherPaper>,
}

/// What the copy came to.
pub(super) struct Copied {
    pub(super) source_bytes: u64,
    pub(super) finished: Finished,
    pub(super) status: BackupStatus,
    pub(super) files: Vec<SavedFile>,
    pub(super) skipped: Vec<PathBuf>,
    pub(super) problems: Vec<Error>,
    pub(super) held: Held,
    pub(super) pages: Pages,
}

/// Pages of the data file that went through the copier.
#[derive(Clone, Copy, Default)]
pub(super) struct Pages {
    pub(super) copied: u64,
    pub(super) read: u64,
}

pub(super) struct Copier {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) writer: ArchiveWriter,
    /// How much of `writer.written()` the last step was told.
    told: u64,
    throttle: Throttle,
    pub(super) time: i64,
    /// The ancestry of the commit, as its entry holds it.
    ancestry: Vec<u8>,
    store: StorePart,
    pub(super) attachments: Attachments,
    /// Their folder in the archive has begun.
    pub(super) attachments_begun: bool,
    pub(super) changed: BTreeSet<EntryPath>,
    /// Where the entries come from.
    pub(super) sources: BTreeMap<EntryPath, PathBuf>,
    bytes_total: u64,
    pages: Pages,
}

enum StorePart {
    Data(CopyPlan),
    Changes(CopyPlan, PageIndex),
    Structure(Vec<u8>),
}

impl StorePart {
    fn plan(backup: &BackupBuilder, place: &Place, checkpoint: &Arc<Checkpoint>) -> Result<Self> {
        if !backup.options.contents.data {
            return Ok(StorePart::Structure(to_json(&tables(checkpoint)?)?));
        }
        let Some(parent) = &place.lineage.parent else {
            return checkpoint.copy_plan().map(StorePart::Data).map_err(source_error);
        };
        let plan = checkpoint.copy_plan_since(parent.checkpoint).map_err(source_error)?;
        let index = PageIndex {
            page_size: plan.page_size() as u32,
            page_count: plan.page_count(),
            checkpoint: checkpoint.number(),
            parent: parent.checkpoint,
            extents: plan.extents(),
        };
        Ok(StorePart::Changes(plan, index))
    }

    fn bytes(&self) -> u64 {
        match self {
            StorePart::Data(plan) => plan.page_count() * plan.page_size() as u64,
            StorePart::Changes(_, index) => index.bytes(),
            StorePart::Structure(catalogue) => catalogue.len() as u64,
        }
    }
}

impl Copier {
    /// Plans the copy and creates the unfinished file.
    pub(super) fn begin(
        backup: &BackupBuilder,
        place: &Place,
        checkpoint: &Arc<Checkpoint>,
        attachments: Attachments,
        started: i64,
    ) -> Result<Copier> {
        let store = StorePart::plan(backup, place, checkpoint)?;
        let bytes_total = store.bytes() + attachments.bytes();
        let header = BackupHeader {
            program: concat!("stillpoint ", env!("CARGO_PKG_VERSION")).to_owned(),
            number: place.number(),
            set: place.name.set().to_owned(),
            store_id: backup.inner.engine.store_id(),
            timeline: checkpoint.timeline().into(),
            lsn: checkpoint.lsn(),
            commit_time: checkpoint.meta().time,
            started,
            access: backup.options.access,
            structure: backup.options.contents.structure,
            data: backup.options.contents.data,
            page_size: checkpoint.meta().page_size as u32,
            kind: match place.lineage.parent {
                Some(_) => BackupKind::Incremental,
                None => BackupKind::Full,
            },
            checkpoint: checkpoint.number(),
            parent: place.lineage.parent.clone(),
            source_bytes: bytes_total,
            tables: tables(checkpoint)?,
        };
        let header = serde_json::to_value(&header).map_err(not_json)?;
        let ancestry = backup.inner.engine.ancestry_through(checkpoint.timeline().id)?;
        let options = options_of(backup, started);
        let disk = backup.inner.engine.disk().clone();
        let writer =
            ArchiveWriter::create_in(&disk, &place.of(place.name.clone()), &options, header)
                .map_err(failed)?;
        let throttle = Throttle::new(backup.options.bytes_per_second, disk.elapsed());
        let data_file = backup.inner.engine.dir().join(DATA_FILE);
        let sources = BTreeMap::from([(EntryPath::from(DATA_FILE), data_file)]);
        Ok(Copier {
            disk,
            writer,
            told: 0,
            throttle,
            time: started,
            ancestry: ancestry.encode(),
            store,
            attachments,
            attachments_begun: false,
            changed: BTreeSet::new(),
            sources,
            bytes_total,
            pages: Pages::default(),
        })
    }

    pub(super) fn bytes_total(&self) -> u64 {
        self.bytes_total
    }

    pub(super) fn has_attachments(&self) -> bool {
        !self.attachments.found.is_empty()
    }

    /// Copies the store in the folder `dir`: its ancestry, and its data file with its settings, or its
    /// catalogue.
    pub(super) fn copy_store(&mut self, dir: &Path, step: &mut Step<'_>) -> Result<()> {
        write_entry(&mut self.writer, ANCESTRY_FILE, &self.ancestry, self.time)?;
        let store = std::mem::replace(&mut self.store, StorePart::Structure(Vec::new()));
        match &store {
            StorePart::Structure(catalogue) => {
                let len = catalogue.len() as u64;
                write_entry(&mut self.writer, CATALOGUE_FILE, catalogue, self.time)?;
                self.moved(len, step)
            }
            StorePart::Data(plan) => {
                self.writer.begin_entry(EntryMeta::dir(LOG_DIR, self.time)).map_err(failed)?;
                self.writer.end_entry().map_err(failed)?;
                self.copy_pages(DATA_FILE, plan, step)?;
                self.copy_settings(dir)
            }
            StorePart::Changes(plan, index) => {
                write_entry(&mut self.writer, PAGES_INDEX, &index.encode(), self.time)?;
                self.copy_pages(PAGES, plan, step)?;
                self.copy_settings(dir)
            }
        }
    }

    /// Copies the plan's extents, one after the other, to the entry `name`.
    fn copy_pages(&mut self, name: &str, plan: &CopyPlan, step: &mut Step<'_>) -> Result<()> {
        let page_size = plan.page_size();
        let extents = plan.extents();
        let pages: u64 = extents.iter().map(|(_, pages)| pages).sum();
        let meta = EntryMeta::file(name, pages * page_size as u64, self.time);
        self.writer.begin_entry(meta).map_err(failed)?;
        for (first, pages) in extents {
            let mut done = 0;
            while done < pages {
                let mut source = Ok(());
                // Frames are cut at multiples of the largest page, so the room is whole pages.
                let filled = self.writer.fill(|room| {
                    let left = usize::try_from(pages - done).unwrap_or(usize::MAX);
                    let many = left.min(room.len() / page_size) * page_size;
                    source = plan.read(first + done, &mut room[..many]);
                    source.clone().map(|()| many)
                });
                source.map_err(source_error)?;
                let filled = filled.map_err(failed)?;
                done += (filled / page_size) as u64;
                self.moved(filled as u64, step)?;
            }
        }
        self.pages = Pages { copied: pages, read: plan.pages_read() };
        self.writer.end_entry().map_err(failed)
    }

    /// Tells what was moved, and sleeps off what the throttle asks for.
    pub(super) fn moved(&mut self, bytes: u64, step: &mut Step<'_>) -> Result<()> {
        let written = self.writer.written();
        step(bytes, written - self.told)?;
        self.told = written;
        self.throttle.moved(bytes);
        while let Some(nap) = self.throttle.nap(self.disk.elapsed()) {
            std::thread::sleep(nap);
            // A throttled copy makes progress as it was asked to: the lease is renewed.
            step(0, 1)?;
        }
        Ok(())
    }

    /// Writes the manifest and the parity, and makes all of it durable. `go_on` is asked now and then
    /// whether to.
    pub(super) fn finish(
        mut self,
        held: Held,
        instant: Instant,
        go_on: &mut dyn FnMut() -> Result<()>,
    ) -> Result<Copied> {
        let listed = std::mem::take(&mut self.attachments.listed);
        let skipped = std::mem::take(&mut self.attachments.skipped);
        let mut problems = self.attachments.into_problems();
        problems.extend(instant.too_early);
        let status =
            if problems.is_empty() { BackupStatus::Complete } else { BackupStatus::Partial };
        problems.extend(instant.troubles);
        let results = BackupResults {
            status,
            pin_micros: micros(instant.pin),
            hold_micros: micros(held.time),
            longest_wait_micros: micros(held.longest_wait),
            went_live: held.went_live,
            changed_while_read: self.changed.iter().map(EntryPath::to_string).collect(),
            attachments: listed,
            skipped: skipped.iter().map(|path| path.to_string_lossy().into_owned()).collect(),
            participants: instant.participants.iter().map(paper).collect(),
            together: instant.together,
            problems: problems.iter().map(Error::to_string).collect(),
        };
        let mut files = Vec::new();
        let (changed, sources) = (self.changed, self.sources);
        let papers = |entries: &[ManifestEntry]| {
            files = entries.iter().map(|entry| saved(&entry.meta, &changed, &sources)).collect();
            serde_json::to_value(&results).map_err(not_json)
        };
        let finished = finish(self.writer, papers, go_on).map_err(failed)?;
        Ok(Copied {
            source_bytes: self.bytes_total,
            finished,
            status,
            files,
            skipped,
            problems,
            held,
            pages: self.pages,
        })
    }
}

/// Writes a file of an archive that is in memory.
pub(super) fn write_entry(
    writer: &mut ArchiveWriter,
    name: &str,
    bytes: &[u8],
    time: i64,
) -> Result<()> {
    writer.begin_entry(EntryMeta::file(name, bytes.len() as u64, time)).map_err(failed)?;
    writer.write(bytes).map_err(failed)?;
    writer.end_entry().map_err(failed)
}

/// Finishes an archive, as long as `go_on` does not fail.
pub(super) fn finish(
    writer: ArchiveWriter,
    papers: impl FnOnce(&[ManifestEntry]) -> Result<serde_json::Value>,
    go_on: &mut dyn FnMut() -> Result<()>,
) -> Result<Finished> {
    let mut asked = Ok(());
    let finished = writer.finish_with(papers, &mut |_| {
        asked = go_on();
        if asked.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    asked?;
    finished
}

/// How the archives of a backup are written.
pub(super) fn options_of(backup: &BackupBuilder, time: i64) -> ArchiveOptions {
    ArchiveOptions {
        compression: backup.options.compression,
        workers: backup.options.workers,
        time,
        layers: backup.options.layers.clone(),
        ..ArchiveOptions::default()
    }
}

fn saved(
    meta: &EntryMeta,
    changed: &BTreeSet<EntryPath>,
    sources: &BTreeMap<EntryPath, PathBuf>,
) -> SavedFile {
    SavedFile {
        path: meta.path.as_path().to_string_lossy().into_owned(),
        source: sources.get(&meta.path).cloned(),
        bytes: meta.size,
        changed_while_read: changed.contains(&meta.path),
    }
}

fn paper(report: &ParticipantReport) -> ParticipantPaper {
    ParticipantPaper {
        name: report.name.clone(),
        hold: report.hold,
        frozen_micros: micros(report.frozen),
        error: report.error.as_ref().map(Error::to_string),
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

fn tables(checkpoint: &Arc<Checkpoint>) -> Result<Vec<TablePaper>> {
    let snapshot = Snapshot::of_checkpoint(checkpoint.clone())?;
    let paper = |table: &Arc<crate::engine::TableInfo>| TablePaper {
        id: table.id,
        name: table.name.clone(),
        key_encoding: table.key_encoding.clone(),
        value_encoding: table.value_encoding.clone(),
        records: checkpoint.table(table.id).map_or(0, |root| root.records),
    };
    Ok(snapshot.catalogue().iter().map(paper).collect())
}

fn to_json(tables: &[TablePaper]) -> Result<Vec<u8>> {
    serde_json::to_vec_pretty(tables).map_err(not_json)
}

pub(super) fn not_json(error: serde_json::Error) -> Error {
    Error::new(ErrorKind::BackupFailed, "the papers of the backup cannot be written").because(error)
}

/// Damage in the source is told apart from every other failure: no second attempt will mend it.
fn source_error(error: Error) -> Error {
    if error.kind() != ErrorKind::Corrupt {
        return failed(error);
    }
    Error::new(ErrorKind::Corrupt, "the store itself is damaged; the backup was given up")
        .with_code(code::SOURCE_CORRUPT)
        .because(error)
        .hint("Verify the store, and restore the last good archive.")
}
