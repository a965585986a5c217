//! Where the frames of an archive go: one file, sealed at its end.
//!
//! Invariants: every byte goes through [`FileSink::append`], which hashes it for the seal; what is
//! written is made durable every [`SYNC_EVERY`] bytes by a thread of its own, at most one request
//! ahead, so that no single sync is long and a slow disk slows the writer instead of filling the
//! page cache; what is durable is dropped from that cache, since nobody will read it soon but the
//! read-back, which wants the medium. A failed sync is final: it is never tried again.

use super::digest::Digest;
use super::seal::{self, FrameSize};
use crate::disk::File;
use crate::error::{Error, ErrorKind, Result};
use crossbeam_channel::{Receiver, Sender, bounded};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{Builder, JoinHandle};

/// After how many bytes the destination is synced.
pub(crate) const SYNC_EVERY: u64 = 16 << 20;

/// What is known of the file once it is sealed and durable.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sealed {
    pub(crate) bytes: u64,
    pub(crate) seal: Digest,
}

/// The file that an archive is written to.
pub(crate) struct FileSink {
    file: Arc<dyn File>,
    path: PathBuf,
    at: u64,
    hasher: blake3::Hasher,
    frames: Vec<FrameSize>,
    syncer: Syncer,
    asked: u64,
    written: Arc<AtomicU64>,
}

impl FileSink {
    /// Writes from the start of `file`, and adds what it wrote to `written`.
    pub(crate) fn new(file: Arc<dyn File>, path: &Path, written: Arc<AtomicU64>) -> Result<Self> {
        Ok(FileSink {
            syncer: Syncer::start(file.clone(), path)?,
            file,
            path: path.to_path_buf(),
            at: 0,
            hasher: blake3::Hasher::new(),
            frames: Vec::new(),
            asked: 0,
            written,
        })
    }

    /// Writes one frame with `content` bytes of content, which consists of `parts`.
    pub(crate) fn frame(&mut self, parts: &[&[u8]], content: usize) -> Result<()> {
        if self.frames.len() >= seal::MAX_FRAMES {
            let message = format!("an archive has at most {} frames", seal::MAX_FRAMES);
            return Err(Error::new(ErrorKind::Limit, message).at(&self.path));
        }
        let packed = self.append(parts)?;
        self.frames.push(FrameSize { packed: packed as u32, content: content as u32 });
        if self.at - self.asked >= SYNC_EVERY {
            self.asked = self.at;
            self.syncer.ask(self.at)?;
        }
        Ok(())
    }

    /// Writes the seal and the seek table, and makes all of it durable.
    pub(crate) fn finish(mut self) -> Result<Sealed> {
        let head = seal::seal_head(self.at);
        self.append(&[&head])?;
        let seal = Digest(*self.hasher.finalize().as_bytes());
        let table = seal::encode_table(&self.frames);
        self.append(&[&seal.0, &table])?;
        self.syncer.finish()?;
        self.file.sync().map_err(|cause| Error::io("sync", &self.path, cause))?;
        self.file.drop_cache(0, self.at);
        Ok(Sealed { bytes: self.at, seal })
    }

    fn append(&mut self, parts: &[&[u8]]) -> Result<u64> {
        self.file
            .write_parts_at(parts, self.at)
            .map_err(|cause| Error::io("write to", &self.path, cause))?;
        let mut len = 0;
        for part in parts {
            self.hasher.update(part);
            len += part.len() as u64;
        }
        self.at += len;
        self.written.store(self.at, Ordering::Relaxed);
        Ok(len)
    }
}

/// The thread that syncs.
struct Syncer {
    requests: Option<Sender<u64>>,
    thread: Option<JoinHandle<std::io::Result<()>>>,
    path: PathBuf,
}

impl Syncer {
    fn start(file: Arc<dyn File>, path: &Path) -> Result<Syncer> {
        let (requests, waiting) = bounded(1);
        let thread = Builder::new()
            .name("stillpoint-sync".to_string())
            .spawn(move || sync_on_request(&*file, &waiting))
            .map_err(|cause| Error::io("start a thread to sync", path, cause))?;
        Ok(Syncer { requests: Some(requests), thread: Some(thread), path: path.to_path_buf() })
    }

    /// Asks that the bytes up to `through` be made durable; waits while an earlier request waits.
    fn ask(&mut self, through: u64) -> Result<()> {
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
