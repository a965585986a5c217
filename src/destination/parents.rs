//! What an incremental archive depends on: found by seal, checked by headers.
//!
//! The seal is the identity; names only say where to look first, since archives are moved and renamed.

use std::path::Path;
use std::sync::Arc;

use super::catalogue::Catalogue;
use super::stored::{StoredArchive, StoredBackup};
use crate::archive::{ArchiveFile, ArchiveName};
use crate::error::{Error, ErrorKind, Result, code};
use crate::store::{BackupKind, ParentPaper};

/// The archive that is looked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted<'w> {
    /// The digest in its seal, in hexadecimal.
    pub(crate) seal: &'w str,
    /// The name that it had when it was made.
    pub(crate) set: &'w str,
    pub(crate) number: u32,
}

impl<'w> Wanted<'w> {
    pub(crate) fn new(parent: &'w ParentPaper) -> Wanted<'w> {
        Wanted { seal: &parent.seal, set: &parent.set, number: parent.number }
    }

    /// That it is not there; `cause` says what was found in its place.
    pub(crate) fn missing(&self, folder: &Path, cause: Option<Error>) -> Error {
        let Wanted { seal, set, number } = self;
        let short = seal.get(..16).unwrap_or(seal);
        let message =
            format!("the archive {set}[{number:04}] with the seal {short}... is not there");
        let missing = Error::new(ErrorKind::NotFound, message)
            .with_code(code::PARENT)
            .at(folder)
            .hint("Put it beside the archive that goes on from it, or say where it is (--parent).");
        match cause {
            Some(cause) => missing.because(cause),
            None => missing,
        }
    }
}

/// What a search by seal came to.
pub(crate) enum Search<'c> {
    /// The archive, and the file where it was opened for this.
    Found(&'c StoredArchive, Option<Arc<ArchiveFile>>),
    /// Nothing, and what lies there under the name, if anything does.
    Nothing(Option<Error>),
}

impl Catalogue {
    /// Looks for the archive that has the seal, by its name first.
    pub(crate) fn search(&self, wanted: Wanted<'_>) -> Search<'_> {
        let is_named =
            |name: &ArchiveName| name.set() == wanted.set && name.number() == wanted.number;
        let mut candidates: Vec<_> = self.archives().iter().filter(|one| !one.is_log()).collect();
        candidates.sort_by_key(|one| !is_named(one.name()));
        let mut why_not = None;
        for candidate in candidates {
            let known = candidate.seal_if_read().is_some();
            let opened = if known { None } else { Some(candidate.open()) };
            let why = match opened {
                None if candidate.seal() == Some(wanted.seal) => {
                    return Search::Found(candidate, None);
                }
                Some(Ok(file)) if file.seal().to_string() == wanted.seal => {
                    return Search::Found(candidate, Some(file));
                }
                Some(Err(error)) => error,
                _ => {
                    let other = "it has another seal: another archive took its place";
                    Error::new(ErrorKind::Foreign, other).at(candidate.path())
                }
            };
            if is_named(candidate.name()) {
                why_not.get_or_insert(why);
            }
        }
        Search::Nothing(why_not)
    }

    /// Opens the archive that has the seal.
    ///
    /// # Errors
    /// 2009 ([`ErrorKind::NotFound`]) where there is none; those of opening it.
    pub(crate) fn open_sealed(&self, wanted: Wanted<'_>) -> Result<Arc<ArchiveFile>> {
        match self.search(wanted) {
            Search::Found(_, Some(file)) => Ok(file),
            Search::Found(stored, None) => stored.open(),
            Search::Nothing(cause) => Err(wanted.missing(self.location(), cause)),
        }
    }

    /// The archives that restoring `archive` takes, by what their headers say: itself, and what it
    /// depends on, down to a full one, which comes last.
    ///
    /// # Errors
    /// 2009: [`ErrorKind::NotFound`] names the one that is missing, [`ErrorKind::Foreign`] one that does
    /// not belong; why one cannot be read.
    pub(crate) fn chain<'c>(
        &'c self,
        archive: &'c StoredArchive,
    ) -> Result<Vec<&'c StoredArchive>> {
        let mut chain = vec![archive];
        loop {
            // As many links as there are archives: seals that were made up may form a circle.
            let link = chain[chain.len() - 1];
            let backup = readable(link)?;
            if backup.header.kind == BackupKind::Full {
                return Ok(chain);
            }
            let refuse = |why: &str, at: &StoredArchive| {
                let message = format!("it is no link of the chain: {why}");
                let error = Error::new(ErrorKind::Foreign, message).with_code(code::PARENT);
                Err(error.at(at.path()))
            };
            let Some(parent) = &backup.header.parent else {
                return refuse("it names nothing that it depends on", link);
            };
            let wanted = Wanted::new(parent);
            let above = match self.search(wanted) {
                Search::Found(above, _) => above,
                Search::Nothing(cause) => return Err(wanted.missing(self.location(), cause)),
            };
            if let Err(why) = backup.header.check_follows(&readable(above)?.header) {
                return refuse(why, above);
            }
            if chain.len() > self.archives().len() {
                return refuse("it depends on itself", above);
            }
            chain.push(above);
        }
    }
}

fn readable(archive: &StoredArchive) -> Result<&StoredBackup> {
    match archive.problem() {
        Some(error) => Err(error.clone()),
        None => archive.backup().ok_or_else(|| {
            Error::new(ErrorKind::Unsupported, "the archive is no backup of a store")
                .at(archive.path())
        }),
    }
}
