//! The threads behind the writer: workers that pack and hash frames, and one that writes them.
//!
//! Buffers travel in a ring: from the caller through a worker to the thread that writes, and back.
//! There is a fixed number of them, so memory is bounded and a slow disk slows the caller. When a
//! thread fails, both channels to it close, and [`Assembly::failure`] has the reason for every call
//! that follows.

use super::digest::{Digest, Joiner, Piece, Place};
use super::frame::{Compression, Encoded, FrameEncoder};
use super::pipeline::{self, Collector, Feeder, Workers};
use super::sink::{FrameSink, Sealed};
use crate::error::{Error, ErrorKind, Result};
use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

/// Room for a frame and for what it is packed into.
#[derive(Default)]
pub(crate) struct Buffers {
    pub(crate) content: Vec<u8>,
    packed: Vec<u8>,
}

/// A frame to be packed and written.
pub(crate) struct Job {
    pub(crate) buffers: Buffers,
    /// How much of the content buffer is the frame's.
    pub(crate) len: usize,
    /// Where the content lies in its entry; `None` for tar headers and padding.
    pub(crate) place: Option<Place>,
    /// Whether the archive ends with this frame.
    pub(crate) end: bool,
}

struct Packed {
    job: Job,
    encoded: Encoded,
    piece: Option<Piece>,
}

/// The threads and what connects the caller with them.
pub(crate) struct Assembly {
    path: PathBuf,
    /// Buffers that came back, and how many have yet to be made.
    free: Receiver<Buffers>,
    unmade: usize,
    digests: Receiver<Digest>,
    failed: Option<Error>,
    feeder: Option<Feeder<Job>>,
    sink: Option<JoinHandle<Result<Sealed>>>,
    workers: Option<Workers>,
}

impl Assembly {
    /// Starts the threads: `workers` of them to pack (0: one for each processor), one to write.
    pub(crate) fn start(
        path: &Path,
        compression: Compression,
        workers: usize,
        sink: FrameSink,
    ) -> Result<Assembly> {
        let workers = match workers {
            0 => pipeline::default_workers(),
            some => some,
        };
        let depth = pipeline::depth(workers);
        let (feeder, collector, workers) = pipeline::start(workers, depth, || {
            let encoder = FrameEncoder::new(compression)
                .map_err(|cause| Error::io("prepare the compression of", path, cause))?;
            Ok(packer(encoder, path.to_path_buf()))
        })?;
        let (free_in, free) = bounded(depth);
        let (digests_in, digests) = unbounded();
        let sink = std::thread::Builder::new()
            .name("stillpoint-archive".to_string())
            .spawn(move || write_frames(sink, collector, &free_in, &digests_in))
            .map_err(|cause| Error::io("start a thread to write", path, cause))?;
        Ok(Assembly {
            path: path.to_path_buf(),
            free,
            unmade: depth,
            digests,
            failed: None,
            feeder: Some(feeder),
            sink: Some(sink),
            workers: Some(workers),
        })
    }

    /// A buffer for the next frame; waits until one comes back. Its content is whatever was there.
    pub(crate) fn buffers(&mut self) -> Result<Buffers> {
        if let Ok(buffers) = self.free.try_recv() {
            return Ok(buffers);
        }
        if self.unmade > 0 {
            self.unmade -= 1;
            return Ok(Buffers::default());
        }
        self.free.recv().map_err(|_| self.failure())
    }

    pub(crate) fn send(&mut self, job: Job) -> Result<()> {
        match self.feeder.as_mut().map(|feeder| feeder.send(job)) {
            Some(Ok(())) => Ok(()),
            _ => Err(self.failure()),
        }
    }

    /// The digest of the next entry that has content; waits until all of it is hashed.
    pub(crate) fn digest(&mut self) -> Result<Digest> {
        self.digests.recv().map_err(|_| self.failure())
    }

    /// Waits until the last frame, which was sent, and the seal are written and durable.
    pub(crate) fn finish(mut self) -> Result<Sealed> {
        self.feeder = None;
        self.join_sink()
    }

    /// Fails if a thread is known to have failed.
    pub(crate) fn check(&self) -> Result<()> {
        self.failed.clone().map_or(Ok(()), Err)
    }

    /// Why the threads are gone: what the one that writes came to.
    fn failure(&mut self) -> Error {
        if let Some(failed) = &self.failed {
            return failed.clone();
        }
        self.feeder = None;
        let failed = match self.join_sink() {
            Err(failed) => failed,
            Ok(_) => Error::new(ErrorKind::BackupFailed, "the archive ended early").at(&self.path),
        };
        self.failed = Some(failed.clone());
        failed
    }

    fn join_sink(&mut self) -> Result<Sealed> {
        match self.sink.take().map(JoinHandle::join) {
            Some(Ok(outcome)) => outcome,
            _ => {
                let message = "the thread that writes the archive panicked";
                Err(Error::new(ErrorKind::BackupFailed, message).at(&self.path))
            }
        }
    }
}

impl Drop for Assembly {
    fn drop(&mut self) {
        // In this order: without jobs the sink ends, without both ends the workers do.
        self.feeder = None;
        if let Some(sink) = self.sink.take() {
            // Unfinished by the caller's own decision: there is nobody to tell.
            let _ = sink.join();
        }
        self.workers = None;
    }
}

/// The work of one worker thread.
fn packer(mut encoder: FrameEncoder, path: PathBuf) -> impl FnMut(Job) -> Result<Packed> {
    move |mut job| {
        let content = &job.buffers.content[..job.len];
        let piece = job.place.map(|place| Piece::of(content, place));
        let encoded = encoder
            .encode(content, &mut job.buffers.packed)
            .map_err(|cause| Error::io("compress a frame of", &path, cause))?;
        Ok(Packed { job, encoded, piece })
    }
}

/// The work of the thread that writes: frames in order, digests of entries, then the seal.
fn write_frames(
    mut sink: FrameSink,
    mut frames: Collector<Packed>,
    free: &Sender<Buffers>,
    digests: &Sender<Digest>,
) -> Result<Sealed> {
    let mut joiner = Joiner::default();
    while let Some(packed) = frames.next() {
        let Packed { job: Job { buffers, len, place, end }, encoded, piece } = packed?;
        match &encoded {
            Encoded::Packed => sink.frame(&[&buffers.packed], len)?,
            Encoded::Raw(raw) => sink.frame(&raw.parts(&buffers.content[..len]), len)?,
        }
        if let Some(piece) = piece {
            joiner.push(piece);
        }
        if place.is_some_and(|place| place.last) {
            // A writer that was dropped takes neither digests nor buffers: no matter.
            let _ = digests.send(joiner.finish());
        }
        let _ = free.send(buffers);
        if end {
            return sink.finish();
        }
    }
    Err(Error::new(ErrorKind::Stopped, "the archive was given up before its end"))
}
