//! Which archive an incremental backup goes on from.
//!
//! An incremental archive holds pages by their place in the data file, so only an archive that was
//! made from this very data file, or that this file was restored from, can be its parent: the state
//! file knows those, each by its seal. Store, timeline and commit alone would not do: a twin of the
//! store agrees with them, and has its pages elsewhere.
//!
//! Everything is looked at before the backup touches anything. The parent and all that it goes on
//! from must be there, with their seals: an archive that nothing can be restored from is no backup.

use std::path::Path;
use std::sync::Arc;

use super::builder::{BackupBuilder, Base};
use crate::archive::{ArchiveFile, Keys};
use crate::destination::{Catalogue, Wanted};
use crate::disk::atomic::{is_same_folder, parent};
use crate::error::{Error, ErrorKind, Result, code};
use crate::store::{ArchiveRef, BackupHeader, BackupKind, ParentPaper};

/// The parent that was chosen, and why others were not.
#[derive(Clone, Default)]
pub(super) struct Lineage {
    pub(super) parent: Option<ParentPaper>,
    pub(super) passed_over: Vec<Error>,
}

/// The archives that parents are looked for among: those of the destination, and of other folders once
/// they are asked for.
struct Parents<'b> {
    backup: &'b BackupBuilder,
    keys: Keys,
    catalogues: Vec<Catalogue>,
}

/// Chooses the parent that the backup asks for; none for a full one.
pub(super) fn choose(backup: &BackupBuilder, destination: Catalogue) -> Result<Lineage> {
    if backup.options.base == Base::Nothing {
        return Ok(Lineage::default());
    }
    if !backup.options.contents.data {
        let message = "an incremental backup is one of data, and none was asked for";
        return Err(Error::new(ErrorKind::Invalid, message));
    }
    let mut known = backup.inner.backup_state().parents;
    if backup.options.base == Base::NewestThere {
        let disk = &**backup.inner.engine.disk();
        known.retain(|known| is_same_folder(disk, parent(&known.archive), &backup.destination));
    }
    known.sort_by_key(|known| (known.checkpoint, known.time));
    known.reverse();
    let keys = backup.earlier_keys();
    let mut parents = Parents { backup, keys, catalogues: vec![destination] };
    match &backup.options.base {
        Base::Archive(path) => parents.named(path, &known),
        Base::Nothing | Base::Newest | Base::NewestThere => parents.newest(&known),
    }
}

impl Parents<'_> {
    fn newest(&mut self, known: &[ArchiveRef]) -> Result<Lineage> {
        let mut passed_over = Vec::new();
        for candidate in known {
            match self.check(candidate, &candidate.archive) {
                Ok(()) => return Ok(Lineage { parent: Some(paper(candidate)), passed_over }),
                Err(error) => passed_over.push(error),
            }
        }
        let message = "there is no archive that an incremental backup could go on from";
        let refused = Error::new(ErrorKind::NotFound, message)
            .with_code(code::PARENT)
            .hint("Make a full backup first; then incremental ones go on from it.");
        Err(match passed_over.into_iter().next() {
            Some(cause) => refused.because(cause),
            None => refused,
        })
    }

    fn named(&mut self, path: &Path, known: &[ArchiveRef]) -> Result<Lineage> {
        let file = self.open(path)?;
        let seal = file.seal().to_string();
        let Some(candidate) = known.iter().find(|known| known.seal == seal) else {
            return Err(self.stranger(&file)?);
        };
        self.check(candidate, path)?;
        Ok(Lineage { parent: Some(paper(candidate)), passed_over: Vec::new() })
    }

    /// Says why an archive that the data file does not know cannot be its parent.
    fn stranger(&self, file: &ArchiveFile) -> Result<Error> {
        let header = header_of(file)?;
        let what = match header.store_id == self.backup.inner.engine.store_id() {
            false => "the archive is of another store",
            true => "the archive was not made from this data file: its history is divergent",
        };
        Ok(Error::new(ErrorKind::Foreign, what)
            .with_code(code::PARENT)
            .at(file.path())
            .hint("Make a full backup of this store, and go on from that."))
    }

    /// Sees that the data file goes on from `candidate`, and that it is there with all that it takes.
    fn check(&mut self, candidate: &ArchiveRef, path: &Path) -> Result<()> {
        let engine = &self.backup.inner.engine;
        let checkpoint = engine.snapshot()?.checkpoint().number();
        if candidate.checkpoint == 0
            || candidate.checkpoint > checkpoint
            || candidate.lsn > engine.visible_lsn()
        {
            let message = "the archive is ahead of the store, which lost commits since: divergent";
            return Err(foreign(message, path));
        }
        let mut file = match self.open(path) {
            // Whoever writes for the owner of a key need not have it; then its name has to do.
            Err(error) if error.code() == code::KEY => return Ok(()),
            opened => opened?,
        };
        if file.seal().to_string() != candidate.seal {
            return Err(foreign(
                "another archive took the place of the parent: its seal differs",
                path,
            ));
        }
        let mut header = header_of(&file)?;
        if header.store_id != engine.store_id()
            || (header.lsn, header.timeline) != (candidate.lsn, candidate.timeline)
        {
            return Err(foreign("the archive is not the one that was written down", path));
        }
        while header.kind == BackupKind::Incremental {
            (file, header) = self.step_back(&file, &header)?;
        }
        Ok(())
    }

    /// The archive that `file` goes on from.
    fn step_back(
        &mut self,
        file: &ArchiveFile,
        header: &BackupHeader,
    ) -> Result<(Arc<ArchiveFile>, BackupHeader)> {
        let Some(link) = &header.parent else {
            return Err(foreign("the archive names nothing that it goes on from", file.path()));
        };
        let folder = parent(file.path());
        let above = self.catalogue(folder)?.open_sealed(Wanted::new(link))?;
        let paper = header_of(&above)?;
        header.check_follows(&paper).map_err(|why| foreign(why, above.path()))?;
        Ok((above, paper))
    }

    /// What lies in `folder`.
    fn catalogue(&mut self, folder: &Path) -> Result<&Catalogue> {
        let disk = self.backup.inner.engine.disk();
        let known = |one: &Catalogue| is_same_folder(&**disk, one.location(), folder);
        let at = match self.catalogues.iter().position(known) {
            Some(at) => at,
            None => {
                self.catalogues.push(Catalogue::of_folder(disk, folder, &self.keys)?);
                self.catalogues.len() - 1
            }
        };
        Ok(&self.catalogues[at])
    }

    fn open(&self, path: &Path) -> Result<Arc<ArchiveFile>> {
        let disk = &**self.backup.inner.engine.disk();
        ArchiveFile::open(disk, path, &self.keys).map_err(|error| match error.code() {
            code::KEY => error,
            _ => Error::new(error.kind(), "the archive to go on from cannot be opened")
                .with_code(code::PARENT)
                .at(path)
                .because(error)
                .hint("Make a full backup, or name another archive of this store."),
        })
    }
}

fn header_of(file: &ArchiveFile) -> Result<BackupHeader> {
    serde_json::from_value(file.header().app.clone()).map_err(|cause| {
        foreign("the archive was not written by a backup of a store", file.path()).because(cause)
    })
}

fn foreign(message: &str, path: &Path) -> Error {
    Error::new(ErrorKind::Foreign, message)
        .with_code(code::PARENT)
        .at(path)
        .hint("Make a full backup of this store, and go on from that.")
}

fn paper(candidate: &ArchiveRef) -> ParentPaper {
    ParentPaper {
        seal: candidate.seal.clone(),
        set: candidate.set.clone(),
        number: candidate.number,
        timeline: candidate.timeline,
        lsn: candidate.lsn,
        checkpoint: candidate.checkpoint,
    }
}
