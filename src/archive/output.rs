//! The files that an archive is written to: one, or its segments one after another.
//!
//! Invariants: every segment but the last has exactly the length that was asked for; what is
//! written is made durable every [`SYNC_EVERY`] bytes by a thread of its own, at most one request
//! ahead, so that no single sync is long and a slow disk slows the writer instead of filling the
//! page cache; what is durable is dropped from that cache, since nobody will read it soon but the
//! read-back, which wants the medium. A segment is durable before the next begins. A failed sync is
//! final: it is never tried again.

use super::layers::{ArchivePlace, MAX_SEGMENTS, WrittenFile};
use super::names::ArchiveName;
use crate::disk::{Access, Disk, File, create_like};
use crate::error::{Error, ErrorKind, Result};
use crossbeam_channel::{Receiver, Sender, bounded};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{Builder, JoinHandle};

/// After how many bytes the destination is synced.
pub(crate) const SYNC_EVERY: u64 = 16 << 20;

/// Takes the final bytes of an archive.
pub(crate) struct Output {
    open: OpenFile,
    files: Vec<WrittenFile>,
    segments: Option<Segments>,
    /// Bytes handed over so far, for whoever watches.
    written: Arc<AtomicU64>,
}

/// How the next segment is begun.
struct Segments {
    disk: Arc<dyn Disk>,
    place: ArchivePlace,
    whole: ArchiveName,
    bytes: u64,
    syncing: Syncing,
}

/// Who makes durable what is written, before the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Syncing {
    /// A thread of its own.
    Aside,
    /// Whoever writes.
    Inline,
}

/// The file that is being written.
struct OpenFile {
    file: Arc<dyn File>,
    path: PathBuf,
    at: u64,
    asked: u64,
    syncer: Syncer,
}

impl Output {
    /// Writes one file, which is created at `file.partial` and must not be there; `syncing` says who
    /// syncs it on the way.
    pub(crate) fn single(
        disk: &dyn Disk,
        file: WrittenFile,
        access: Option<Access>,
        syncing: Syncing,
        written: Arc<AtomicU64>,
    ) -> Result<Output> {
        let open = OpenFile::create(disk, &file.partial, access, syncing)?;
        Ok(Output { open, files: vec![file], segments: None, written })
    }

    /// Writes segments of `bytes` bytes of the archive called `whole`.
    pub(crate) fn in_segments(
        disk: &Arc<dyn Disk>,
        place: &ArchivePlace,
        whole: ArchiveName,
        bytes: u64,
        syncing: Syncing,
        written: Arc<AtomicU64>,
    ) -> Result<Output> {
        let segments = Segments { disk: disk.clone(), place: place.clone(), whole, bytes, syncing };
        let (open, file) = segments.begin(1)?;
        Ok(Output { open, files: vec![file], segments: Some(segments), written })
    }

    /// The path of the file that is being written.
    pub(crate) fn path(&self) -> &Path {
        &self.open.path
    }

    /// Writes the concatenation of `parts`.
    pub(crate) fn append(&mut self, parts: &[&[u8]]) -> Result<()> {
        let len: u64 = parts.iter().map(|part| part.len() as u64).sum();
        if len <= self.room() {
            self.open.write(parts)?;
        } else {
            parts.iter().try_for_each(|part| self.append_over_edges(part))?;
        }
        self.written.fetch_add(len, Ordering::Relaxed);
        Ok(())
    }

    /// Bytes that the open file has room for.
    fn room(&self) -> u64 {
        self.segments.as_ref().map_or(u64::MAX, |segments| segments.bytes - self.open.at)
    }

    fn append_over_edges(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            if self.room() == 0 {
                self.next_segment()?;
            }
            let count = usize::try_from(self.room()).map_or(bytes.len(), |r| r.min(bytes.len()));
            let (now, later) = bytes.split_at(count);
            self.open.write(&[now])?;
            bytes = later;
        }
        Ok(())
    }

    fn next_segment(&mut self) -> Result<()> {
        let number = self.files.len() as u32 + 1;
        if number > MAX_SEGMENTS {
            let message = format!("the archive has more than {MAX_SEGMENTS} segments");
            return Err(Error::new(ErrorKind::Limit, message)
                .at(&self.open.path)
                .hint("Choose larger segments."));
        }
        self.close()?;
        if let Some(segments) = &self.segments {
            let (open, file) = segments.begin(number)?;
            self.open = open;
            self.files.push(file);
        }
        Ok(())
    }

    fn close(&mut self) -> Result<()> {
        let bytes = self.open.finish()?;
        if let Some(last) = self.files.last_mut() {
            last.bytes = bytes;
        }
        Ok(())
    }

    /// Makes everything durable and gives the files in order.
    pub(crate) fn finish(mut self) -> Result<Vec<WrittenFile>> {
        self.close()?;
        Ok(self.files)
    }
}

/// So that encryption can write to it. Errors travel inside those of the standard library.
impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.append(&[bytes]).map_err(io::Error::other)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Segments {
    fn begin(&self, number: u32) -> Result<(OpenFile, WrittenFile)> {
        let name = self.whole.clone().in_segment(Some(number)).to_string();
        let file = self.place.file(&name);
        let (access, syncing) = (self.place.access, self.syncing);
        Ok((OpenFile::create(&*self.disk, &file.partial, access, syncing)?, file))
    }
}

impl OpenFile {
    fn create(
        disk: &dyn Disk,
        path: &Path,
        access: Option<Access>,
        syncing: Syncing,
    ) -> Result<OpenFile> {
        let file =
            create_like(disk, path, access).map_err(|cause| Error::io("create", path, cause))?;
        let syncer = Syncer::start(file.clone(), path, syncing)?;
        Ok(OpenFile { file, path: path.to_path_buf(), at: 0, asked: 0, syncer })
    }

    fn write(&mut self, parts: &[&[u8]]) -> Result<()> {
        self.file
            .write_parts_at(parts, self.at)
            .map_err(|cause| Error::io("write to", &self.path, cause))?;
        self.at += parts.iter().map(|part| part.len() as u64).sum::<u64>();
        if self.at - self.asked >= SYNC_EVERY {
            self.asked = self.at;
            self.syncer.ask(self.at)?;
        }
        Ok(())
    }

    /// Makes all of it durable; gives its length.
    fn finish(&mut self) -> Result<u64> {
        self.syncer.finish()?;
        self.file.sync().map_err(|cause| Error::io("sync", &self.path, cause))?;
        self.file.drop_cache(0, self.at);
        Ok(self.at)
    }
}

/// The thread that syncs, or what it would do.
struct Syncer {
    /// Where there is no thread: the file, and how much of it is synced.
    inline: Option<(Arc<dyn File>, u64)>,
    requests: Option<Sender<u64>>,
    thread: Option<JoinHandle<std::io::Result<()>>>,
    path: PathBuf,
}

impl Syncer {
    fn start(file: Arc<dyn File>, path: &Path, syncing: Syncing) -> Result<Syncer> {
        let path_of = path.to_path_buf();
        if syncing == Syncing::Inline {
            let inline = Some((file, 0));
            return Ok(Syncer { inline, requests: None, thread: None, path: path_of });
        }
        let (requests, waiting) = bounded(1);
        let thread = Builder::new()
            .name("stillpoint-sync".to_string())
            .spawn(move || sync_on_request(&*file, &waiting))
            .map_err(|cause| Error::io("start a thread to sync", path, cause))?;
        Ok(Syncer { inline: None, requests: Some(requests), thread: Some(thread), path: path_of })
    }

    /// Asks that the bytes up to `through` be made durable; waits while an earlier request waits.
    fn ask(&mut self, through: u64) -> Result<()> {
        if let Some((file, done)) = &mut self.inline {
            file.sync().map_err(|cause| Error::io("sync", &self.path, cause))?;
            file.drop_cache(*done, through - *done);
            *done = through;
            return Ok(());
        }
        match self.requests.as_ref().map(|requests| requests.send(through)) {
            Some(Ok(())) => Ok(()),
            _ => self.finish(),
        }
    }

    /// Waits for the last request.
    fn finish(&mut self) -> Result<()> {
        self.requests = None;
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(Ok(()))) | None => Ok(()),
            Some(Ok(Err(cause))) => Err(Error::io("sync", &self.path, cause)),
            Some(Err(_)) => {
                let message = "the thread that syncs panicked";
                Err(Error::new(ErrorKind::BackupFailed, message).at(&self.path))
            }
        }
    }
}

impl Drop for Syncer {
    fn drop(&mut self) {
        // The file is given up: nobody relies on the outcome.
        let _ = self.finish();
    }
}

fn sync_on_request(file: &dyn File, waiting: &Receiver<u64>) -> std::io::Result<()> {
    let mut done = 0;
    while let Ok(through) = waiting.recv() {
        file.sync()?;
        file.drop_cache(done, through - done);
        done = through;
    }
    Ok(())
}
