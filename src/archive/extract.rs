//! Taking entries out of an archive, with the frames unpacked on several threads.
//!
//! Nothing here knows a file system: content goes to an [`Unpack`], in the order of the archive.
//! Each entry's digest is compared before [`Unpack::end`] is called for it, so whoever renames or
//! syncs there does so with checked bytes only.

use super::digest::Joiner;
use super::reader::{ArchiveFile, Entry};
use super::scan::{Scan, Scanned, Wanted};
use super::verify::{Progress, stopped};
use crate::error::Result;
use std::ops::ControlFlow;

/// Where extracted entries go.
pub trait Unpack {
    /// The content of `entry` follows, in order.
    ///
    /// # Errors
    /// Whatever makes the extraction end.
    fn begin(&mut self, entry: &Entry) -> Result<()>;
    /// The next bytes of the entry: at most 1 MiB.
    ///
    /// # Errors
    /// Whatever makes the extraction end.
    fn content(&mut self, bytes: &[u8]) -> Result<()>;
    /// The entry is complete, and it is what the manifest says.
    ///
    /// # Errors
    /// Whatever makes the extraction end.
    fn end(&mut self, entry: &Entry) -> Result<()>;
}

impl ArchiveFile {
    /// Gives the entries that `wanted` chooses to `target`, with `workers` threads (0: one for each
    /// processor). `progress` is told the bytes of content that are done, and may stop it.
    ///
    /// # Errors
    /// [`Corrupt`](crate::ErrorKind::Corrupt) for damage that the frames or the digests show; those
    /// of `target`; [`Stopped`](crate::ErrorKind::Stopped) (1406).
    pub fn extract(
        &self,
        wanted: impl Fn(&Entry) -> bool,
        workers: usize,
        target: &mut dyn Unpack,
        progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<()> {
        let chosen: Vec<&Entry> = self.entries().iter().filter(|entry| wanted(entry)).collect();
        let total = chosen.iter().map(|entry| entry.meta.size).sum();
        let plan = chosen.iter().enumerate().flat_map(|(index, entry)| {
            self.frames_of(entry).map(move |(number, place)| Wanted {
                number,
                entry: index,
                place: Some(place),
            })
        });
        let mut order = Order { archive: self, chosen: &chosen, next: 0, target };
        let mut joiner = Joiner::default();
        let mut done = 0;
        Scan::start(self, workers)?.run(
            plan,
            |_| {},
            |frame| {
                order.frame(&frame, &mut joiner)?;
                done += frame.content.len() as u64;
                match progress(Progress { done, total }) {
                    ControlFlow::Continue(()) => Ok(()),
                    ControlFlow::Break(()) => Err(stopped(&self.path)),
                }
            },
        )?;
        order.empty_ones(chosen.len())
    }

    /// Gives the content of one entry to `sink`, piece by piece in order.
    ///
    /// # Errors
    /// As [`ArchiveFile::extract`]. What `sink` got before an error may be damaged.
    pub fn extract_entry(
        &self,
        entry: &Entry,
        workers: usize,
        sink: &mut dyn FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        struct One<'a>(&'a mut dyn FnMut(&[u8]) -> Result<()>);
        impl Unpack for One<'_> {
            fn begin(&mut self, _: &Entry) -> Result<()> {
                Ok(())
            }
            fn content(&mut self, bytes: &[u8]) -> Result<()> {
                (self.0)(bytes)
            }
            fn end(&mut self, _: &Entry) -> Result<()> {
                Ok(())
            }
        }
        let only = |other: &Entry| other.first_frame == entry.first_frame;
        self.extract(only, workers, &mut One(sink), &mut |_| ControlFlow::Continue(()))
    }
}

/// Calls the target in the order of the archive; entries without content have no frames to do it.
struct Order<'a> {
    archive: &'a ArchiveFile,
    chosen: &'a [&'a Entry],
    next: usize,
    target: &'a mut dyn Unpack,
}

impl Order<'_> {
    fn frame(&mut self, frame: &Scanned<'_>, joiner: &mut Joiner) -> Result<()> {
        let index = frame.wanted.entry;
        let entry = self.chosen[index];
        let (Some(place), Some(piece)) = (frame.wanted.place, frame.piece) else { return Ok(()) };
        if place.offset == 0 {
            self.empty_ones(index)?;
            self.target.begin(entry)?;
        }
        self.target.content(frame.content)?;
        joiner.push(piece);
        if place.last {
            if joiner.finish() != entry.blake3 {
                return Err(self.archive.not_as_listed(entry));
            }
            self.target.end(entry)?;
            self.next = index + 1;
        }
        Ok(())
    }

    /// Tells the target of the entries before `until`, all of which are empty.
    fn empty_ones(&mut self, until: usize) -> Result<()> {
        for entry in &self.chosen[self.next..until] {
            self.target.begin(entry)?;
            self.target.end(entry)?;
        }
        self.next = until;
        Ok(())
    }
}
