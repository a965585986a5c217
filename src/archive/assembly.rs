//! The threads behind the writer: workers that pack and hash frames, and one that writes them. Where there
//! are to be none, all of it is done by the caller, in one order.
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
use std::collections::VecDeque;
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

/// How frames come from the caller to the files.
pub(crate) struct Assembly {
    path: PathBuf,
    failed: Option<Error>,
    way: Way,
}

enum Way {
    Threads(Threads),
    /// All on the caller's thread.
    Inline(Box<Inline>),
}

/// The threads and what connects the caller with them.
struct Threads {
    /// Buffers that came back, and how many have yet to be made.
    free: Receiver<Buffers>,
    unmade: usize,
    digests: Receiver<Digest>,
    feeder: Option<Feeder<Job>>,
    sink: Option<JoinHandle<Result<Sealed>>>,
    workers: Option<Workers>,
}

struct Inline {
    pack: Packer,
    writing: Option<Writing>,
    spare: Option<Buffers>,
    digests: VecDeque<Digest>,
    sealed: Option<Sealed>,
}

type Packer = Box<dyn FnMut(Job) -> Result<Packed> + Send>;

impl Assembly {
    /// Starts the threads: `workers` of them to pack (0: one for each processor), one to write; none where
    /// that is [`pipeline::INLINE`].
    pub(crate) fn start(
        path: &Path,
        compression: Compression,
        workers: usize,
        sink: FrameSink,
    ) -> Result<Assembly> {
        let make = || -> Result<Packer> {
            let encoder = FrameEncoder::new(compression)
                .map_err(|cause| Error::io("prepare the compression of", path, cause))?;
            Ok(Box::new(packer(encoder, path.to_path_buf())))
        };
        let way = match workers {
            pipeline::INLINE => Way::Inline(Box::new(Inline {
                pack: make()?,
                writing: Some(Writing::new(sink)),
                spare: None,
                digests: VecDeque::new(),
                sealed: None,
            })),
            0 => Way::Threads(Threads::start(path, pipeline::default_workers(), make, sink)?),
            some => Way::Threads(Threads::start(path, some, make, sink)?),
        };
        Ok(Assembly { path: path.to_path_buf(), failed: None, way })
    }

    /// A buffer for the next frame; waits until one comes back. Its content is whatever was there.
    pub(crate) fn buffers(&mut self) -> Result<Buffers> {
        let buffers = match &mut self.way {
            Way::Threads(threads) => threads.buffers(),
            Way::Inline(inline) => Some(inline.spare.take().unwrap_or_default()),
        };
        buffers.ok_or_else(|| self.failure())
    }

    pub(crate) fn send(&mut self, job: Job) -> Result<()> {
        let sent = match &mut self.way {
            Way::Threads(threads) => threads.send(job),
            Way::Inline(inline) => match inline.send(job) {
                Ok(()) => true,
                Err(error) => {
                    self.failed.get_or_insert(error);
                    false
                }
            },
        };
        if sent { Ok(()) } else { Err(self.failure()) }
    }

    /// The digest of the next entry that has content; waits until all of it is hashed.
    pub(crate) fn digest(&mut self) -> Result<Digest> {
        let digest = match &mut self.way {
            Way::Threads(threads) => threads.digests.recv().ok(),
            Way::Inline(inline) => inline.digests.pop_front(),
        };
        digest.ok_or_else(|| self.failure())
    }

    /// Waits until the last frame, which was sent, and the seal are written and durable.
    pub(crate) fn finish(mut self) -> Result<Sealed> {
        self.end()
    }

    /// Fails if a thread is known to have failed.
    pub(crate) fn check(&self) -> Result<()> {
        self.failed.clone().map_or(Ok(()), Err)
    }

    /// Why no more is written: what the writing came to.
    fn failure(&mut self) -> Error {
        if let Some(failed) = &self.failed {
            return failed.clone();
        }
        let failed = match self.end() {
            Err(failed) => failed,
            Ok(_) => Error::new(ErrorKind::BackupFailed, "the archive ended early").at(&self.path),
        };
        self.failed = Some(failed.clone());
        failed
    }

    fn end(&mut self) -> Result<Sealed> {
        let message = match &mut self.way {
            Way::Threads(threads) => match threads.join_sink() {
                Some(outcome) => return outcome,
                None => "the thread that writes the archive panicked",
            },
            Way::Inline(inline) => match inline.sealed.take() {
                Some(sealed) => return Ok(sealed),
                None => "the archive was given up before its end",
            },
        };
        Err(Error::new(ErrorKind::BackupFailed, message).at(&self.path))
    }
}

impl Threads {
    fn start(
        path: &Path,
        workers: usize,
        make: impl FnMut() -> Result<Packer>,
        sink: FrameSink,
    ) -> Result<Threads> {
        let depth = pipeline::depth(workers);
        let (feeder, collector, workers) = pipeline::start(workers, depth, make)?;
        let (free_in, free) = bounded(depth);
        let (digests_in, digests) = unbounded();
        let sink = std::thread::Builder::new()
            .name("stillpoint-archive".to_string())
            .spawn(move || write_frames(sink, collector, &free_in, &digests_in))
            .map_err(|cause| Error::io("start a thread to write", path, cause))?;
        let (feeder, sink, workers) = (Some(feeder), Some(sink), Some(workers));
        Ok(Threads { free, unmade: depth, digests, feeder, sink, workers })
    }

    fn buffers(&mut self) -> Option<Buffers> {
        if let Ok(buffers) = self.free.try_recv() {
            return Some(buffers);
        }
        if self.unmade > 0 {
            self.unmade -= 1;
            return Some(Buffers::default());
        }
        self.free.recv().ok()
    }

    fn send(&mut self, job: Job) -> bool {
        self.feeder.as_mut().is_some_and(|feeder| feeder.send(job).is_ok())
    }

    fn join_sink(&mut self) -> Option<Result<Sealed>> {
        self.feeder = None;
        self.sink.take()?.join().ok()
    }
}

impl Inline {
    fn send(&mut self, job: Job) -> Result<()> {
        let packed = (self.pack)(job)?;
        let Some(writing) = &mut self.writing else {
            return Err(Error::new(ErrorKind::BackupFailed, "the archive has ended"));
        };
        let written = writing.write(packed)?;
        self.digests.extend(written.digest);
        self.spare = Some(written.buffers);
        if written.end
            && let Some(writing) = self.writing.take()
        {
            self.sealed = Some(writing.sink.finish()?);
        }
        Ok(())
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        // In this order: without jobs the sink ends, without both ends the workers do. Unfinished by the
        // caller's own decision: there is nobody to tell.
        let _ = self.join_sink();
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

/// Writes frames in order, and joins the digests of entries.
struct Writing {
    sink: FrameSink,
    joiner: Joiner,
}

/// What writing a frame gave.
struct Written {
    buffers: Buffers,
    /// Of the entry that the frame was the last of.
    digest: Option<Digest>,
    /// Whether the archive ends here.
    end: bool,
}

impl Writing {
    fn new(sink: FrameSink) -> Writing {
        Writing { sink, joiner: Joiner::default() }
    }

    fn write(&mut self, packed: Packed) -> Result<Written> {
        let Packed { job: Job { buffers, len, place, end }, encoded, piece } = packed;
        match &encoded {
            Encoded::Packed => self.sink.frame(&[&buffers.packed], len)?,
            Encoded::Raw(raw) => self.sink.frame(&raw.parts(&buffers.content[..len]), len)?,
        }
        if let Some(piece) = piece {
            self.joiner.push(piece);
        }
        let last = place.is_some_and(|place| place.last);
        Ok(Written { buffers, digest: last.then(|| self.joiner.finish()), end })
    }
}

/// The work of the thread that writes: frames in order, then the seal.
fn write_frames(
    sink: FrameSink,
    mut frames: Collector<Packed>,
    free: &Sender<Buffers>,
    digests: &Sender<Digest>,
) -> Result<Sealed> {
    let mut writing = Writing::new(sink);
    while let Some(packed) = frames.next() {
        let written = writing.write(packed?)?;
        if let Some(digest) = written.digest {
            // A writer that was dropped takes neither digests nor buffers: no matter.
            let _ = digests.send(digest);
        }
        let _ = free.send(written.buffers);
        if written.end {
            return writing.sink.finish();
        }
    }
    Err(Error::new(ErrorKind::Stopped, "the archive was given up before its end"))
}
