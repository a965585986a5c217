//! The whole check of an archive: every byte of the file is read, and vouched for.
//!
//! One pass: the bytes as they lie go into the hash that the seal must have; each frame is unpacked,
//! so its own checksum is tried; tar headers and padding must be what the entries call for; each
//! entry must have the digest that the manifest gives. The seek table and the seal are read again
//! from the file and compared with what was read when it was opened.

use super::digest::{Joiner, Place};
use super::layers::WrittenFile;
use super::parts::{Files, is_damage};
use super::reader::{self, ArchiveFile};
use super::scan::{Scan, Scanned, Wanted};
use super::writer::Finished;
use super::{seal, tar};
use crate::disk::{Disk, File, OpenMode};
use crate::error::{Error, ErrorKind, Result, code};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

/// How far a verification or an extraction has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Progress {
    /// Bytes done.
    pub done: u64,
    /// Bytes to do in all.
    pub total: u64,
}

/// What was checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verified {
    /// Length of the file.
    pub bytes: u64,
    /// Frames unpacked.
    pub frames: u64,
    /// Entries whose digest was compared.
    pub entries: u64,
    /// Bytes of content in them.
    pub content: u64,
}

impl Finished {
    /// Verifies what was written as it lies on the medium, under the names that it has before it is
    /// named: drops it from the page cache, opens it anew and reads every byte, parity included. What
    /// was not synced before stays in the cache; a finished [`ArchiveWriter`](super::ArchiveWriter)
    /// has synced.
    ///
    /// # Errors
    /// As [`ArchiveFile::open`] and [`ArchiveFile::verify`].
    pub fn verify(
        &self,
        disk: &dyn Disk,
        workers: usize,
        progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<Verified> {
        for WrittenFile { partial: path, .. } in &self.files {
            let file =
                disk.open(path, OpenMode::Read).map_err(|cause| Error::io("open", path, cause))?;
            let len = file.len().map_err(|cause| Error::io("measure", path, cause))?;
            file.drop_cache(0, len);
        }
        let files = Files::written(&self.files);
        let archive = ArchiveFile::open_files(disk, &files, &self.keys)?;
        archive.verify(workers, progress)
    }
}

impl ArchiveFile {
    /// Reads and checks every byte, with `workers` threads (0: one for each processor). `progress`
    /// is told the bytes of the file that are done, and may stop it. Damage is told even where the
    /// parity mends it, and so is damage of the parity.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] with the place for the first damage; [`ErrorKind::Stopped`] (1406).
    pub fn verify(
        &self,
        workers: usize,
        progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<Verified> {
        let Some(repaired) = &self.repaired else {
            return self.verify_through(&self.file, workers, progress);
        };
        // Through the parity each block is read once, for its digest there and for the seal.
        match self.verify_through(repaired, workers, progress) {
            Err(error) if is_damage(&error) && !self.is_damage_of_parity(&error) => {
                let total = self.bytes;
                let mut silent = |_| progress(Progress { done: total, total });
                match self.verify_through(&self.file, workers, &mut silent) {
                    Ok(_) => Err(self.below.foreign("the archive is whole")),
                    Err(own) if is_damage(&own) => Err(error),
                    Err(own) => Err(own),
                }
            }
            through => through,
        }
    }

    /// Whether the parity itself is what is damaged.
    fn is_damage_of_parity(&self, error: &Error) -> bool {
        let guard = self.below.guard.as_ref();
        guard.is_some_and(|guard| error.path() == Some(&*guard.parity.path))
    }

    fn verify_through(
        &self,
        file: &Arc<dyn File>,
        workers: usize,
        progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<Verified> {
        let (bytes, map, seal) = reader::read_end(&**file, &self.path)?;
        if (bytes, seal) != (self.bytes, self.seal) || map != self.map {
            return Err(Error::corrupt(&self.path, "the file changed since it was opened"));
        }
        let mut hasher = blake3::Hasher::new();
        let mut check = Check { archive: self, joiner: Joiner::default(), content: 0 };
        let take = |frame: Scanned<'_>| {
            check.frame(&frame)?;
            let done = self.map.get(frame.wanted.number + 1).map_or(self.map.end(), |(at, _)| at);
            match progress(Progress { done, total: bytes }) {
                ControlFlow::Continue(()) => Ok(()),
                ControlFlow::Break(()) => Err(stopped(&self.path)),
            }
        };
        let read = |packed: &[u8]| {
            hasher.update(packed);
        };
        let scan = Scan::start(self, workers)?.only(&**file).dropping_cache();
        scan.run(self.every_frame(), read, take)?;
        let content = check.content;
        hasher.update(&seal::seal_head(self.map.end()));
        if *hasher.finalize().as_bytes() != self.seal.0 {
            return Err(Error::corrupt(&self.path, "its bytes are not those that were sealed"));
        }
        let as_it_lies = self.repaired.is_some() && Arc::ptr_eq(file, &self.file);
        if as_it_lies {
            let (frames, entries) = (self.map.len() as u64, self.entries().len() as u64);
            return Ok(Verified { bytes, frames, entries, content });
        }
        self.verify_parity(&mut || match progress(Progress { done: bytes, total: bytes }) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(stopped(&self.path)),
        })?;
        let (frames, entries) = (self.map.len() as u64, self.entries().len() as u64);
        Ok(Verified { bytes, frames, entries, content })
    }

    fn verify_parity(&self, go_on: &mut dyn FnMut() -> Result<()>) -> Result<()> {
        if let Some(problem) = &self.below.parity_problem {
            return Err(problem.clone());
        }
        let Some(guard) = &self.below.guard else { return Ok(()) };
        guard.check_met()?;
        guard.check_parity(go_on)
    }

    /// The frames of the tar stream: header and content of each entry, and the end.
    fn every_frame(&self) -> impl Iterator<Item = Wanted> + '_ {
        let entries = self.entries().iter().enumerate().flat_map(|(index, entry)| {
            let header = Wanted { number: entry.first_frame - 1, entry: index, place: None };
            let content = self.frames_of(entry).map(move |(number, place)| Wanted {
                number,
                entry: index,
                place: Some(place),
            });
            std::iter::once(header).chain(content)
        });
        let count = self.entries().len();
        let end = Wanted { number: self.map.len() - 1, entry: count, place: None };
        entries.chain([end])
    }
}

pub(crate) fn stopped(path: &Path) -> Error {
    Error::new(ErrorKind::Stopped, "stopped by the user").with_code(code::STOPPED).at(path)
}

struct Check<'a> {
    archive: &'a ArchiveFile,
    joiner: Joiner,
    content: u64,
}

impl Check<'_> {
    fn frame(&mut self, frame: &Scanned<'_>) -> Result<()> {
        let index = frame.wanted.entry;
        match (frame.wanted.place, frame.piece) {
            (Some(Place { last, .. }), Some(piece)) => {
                self.content += frame.content.len() as u64;
                self.joiner.push(piece);
                let entry = &self.archive.entries()[index];
                match last && self.joiner.finish() != entry.blake3 {
                    true => Err(self.archive.not_as_listed(entry)),
                    false => Ok(()),
                }
            }
            _ => self.glue(index, frame.content),
        }
    }

    /// What lies before entry `index`: the padding of the one before, and its tar header or the end.
    fn glue(&self, index: usize, content: &[u8]) -> Result<()> {
        let entries = self.archive.entries();
        let before = index.checked_sub(1).map_or(0, |before| entries[before].meta.size);
        let mut expected = vec![0; tar::padding(before)];
        match entries.get(index) {
            Some(entry) => expected.extend_from_slice(&tar::encode(&entry.meta)),
            None => expected.extend_from_slice(&tar::END),
        }
        match expected == content {
            true => Ok(()),
            false => Err(Error::corrupt(
                &self.archive.path,
                format!("the tar header or padding before entry {index} is damaged"),
            )),
        }
    }
}
