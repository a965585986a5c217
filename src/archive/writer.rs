//! Writing an archive: entries in, a sealed and durable file out.
//!
//! Three parts work at the same time: the caller's thread fills frame buffers ([`ArchiveWriter::fill`]
//! lets it read right into them), worker threads pack and hash frames, and one thread writes them in
//! order. Buffers are handed round, so memory is bounded and a slow disk slows the caller.
//!
//! Invariants: each entry's content is cut into frames at multiples of the frame size, and tar
//! headers and padding lie in frames of their own, so where a byte of an entry lies is arithmetic.
//! A file that was not finished has no seal and is refused by every reader. The writer neither
//! renames nor removes its file: what a finished or a failed one is worth is the caller's business.

use super::digest::{Digest, Joiner, Piece, Place};
use super::entry::{
    EntryMeta, FORMAT, HEADER_NAME, Header, MANIFEST_NAME, MAX_JSON, Manifest, ManifestEntry,
    PathSet,
};
use super::frame::{Compression, Encoded, FrameEncoder, MAX_CONTENT};
use super::pipeline::{self, Collector, Feeder, Workers};
use super::sink::{FileSink, Sealed};
use super::tar;
use crate::disk::{Disk, OpenMode};
use crate::error::{Error, ErrorKind, Result};
use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;

/// The smallest frame size.
pub(crate) const MIN_FRAME_BYTES: u32 = 4 << 10;
/// The largest frame size.
pub(crate) const MAX_FRAME_BYTES: u32 = MAX_CONTENT as u32;

/// How an archive is written.
#[derive(Clone, Debug)]
pub struct ArchiveOptions {
    /// How hard it is packed.
    pub compression: Compression,
    /// Worker threads; 0 takes one for each processor, 16 at most.
    pub workers: usize,
    /// Content of a frame in bytes: a power of two from 4 KiB to 1 MiB.
    pub frame_bytes: u32,
    /// Time of the header and the manifest, in microseconds since the Unix epoch.
    pub time: i64,
}

impl Default for ArchiveOptions {
    fn default() -> ArchiveOptions {
        let compression = Compression::default();
        ArchiveOptions { compression, workers: 0, frame_bytes: 256 << 10, time: 0 }
    }
}

/// What was written.
#[derive(Clone, Debug)]
pub struct Finished {
    /// Length of the file.
    pub bytes: u64,
    /// The digest in the seal: it stands for the whole content of the file.
    pub seal: Digest,
    /// The manifest as it stands in the file.
    pub manifest: Manifest,
}

/// Writes one archive.
///
/// Dropped unfinished, it stops its threads and leaves the file as it is: without a seal.
pub struct ArchiveWriter {
    path: PathBuf,
    frame_bytes: usize,
    time: i64,
    paths: PathSet,
    entries: Vec<EntryMeta>,
    open: Option<OpenEntry>,
    /// Padding of the last entry, to be written before the next header.
    padding: usize,
    failed: Option<Error>,
    buffers: BufferPool,
    digests: Receiver<Digest>,
    written: Arc<AtomicU64>,
    feeder: Option<Feeder<Job>>,
    sink: Option<JoinHandle<Result<Sealed>>>,
    workers: Option<Workers>,
}

/// The entry that is being written.
struct OpenEntry {
    size: u64,
    done: u64,
    /// The frame that is being filled, and how far.
    frame: Option<Buffers>,
    used: usize,
}

/// Room for a frame and for what it is packed into; travels round the pipeline.
#[derive(Default)]
struct Buffers {
    content: Vec<u8>,
    packed: Vec<u8>,
}

/// Buffers that came back, and how many there may be in all.
struct BufferPool {
    free: Receiver<Buffers>,
    left: usize,
}

struct Job {
    buffers: Buffers,
    len: usize,
    /// Where the content lies in its entry; `None` for tar headers and padding.
    place: Option<Place>,
    /// Whether the archive ends with this frame.
    end: bool,
}

struct Packed {
    job: Job,
    encoded: Encoded,
    piece: Option<Piece>,
}

impl ArchiveWriter {
    /// Creates the file at `path`, which must not exist, and writes its first entry: the header, with
    /// `app` as what the caller has to say in it.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] for a bad frame size; what the disk reports.
    ///
    /// # Durability
    /// Nothing is durable before [`ArchiveWriter::finish`], and the name not even then: rename the
    /// file and sync its folder.
    pub fn create(
        disk: &dyn Disk,
        path: &Path,
        options: &ArchiveOptions,
        app: serde_json::Value,
    ) -> Result<ArchiveWriter> {
        check_frame_bytes(options.frame_bytes)
            .map_err(|why| Error::new(ErrorKind::Invalid, why).at(path))?;
        let header = Header {
            format: FORMAT,
            compression: options.compression,
            frame_bytes: options.frame_bytes,
            app,
        };
        let file = disk
            .open(path, OpenMode::CreateNew)
            .map_err(|cause| Error::io("create", path, cause))?;
        let written = Arc::new(AtomicU64::new(0));
        let sink = FileSink::new(file, path, written.clone())?;
        let mut writer = ArchiveWriter::start(path, options, sink, written)?;
        writer.write_json(HEADER_NAME, &header)?;
        Ok(writer)
    }

    fn start(
        path: &Path,
        options: &ArchiveOptions,
        sink: FileSink,
        written: Arc<AtomicU64>,
    ) -> Result<ArchiveWriter> {
        let workers = match options.workers {
            0 => pipeline::default_workers(),
            some => some,
        };
        let depth = pipeline::depth(workers);
        let (feeder, collector, workers) = pipeline::start(workers, depth, || {
            let encoder = FrameEncoder::new(options.compression)
                .map_err(|cause| Error::io("prepare the compression of", path, cause))?;
            Ok(packer(encoder, path.to_path_buf()))
        })?;
        let (free_in, free) = bounded(depth);
        let (digests_in, digests) = unbounded();
        let sink = std::thread::Builder::new()
            .name("stillpoint-archive".to_string())
            .spawn(move || write_frames(sink, collector, &free_in, &digests_in))
            .map_err(|cause| Error::io("start a thread to write", path, cause))?;
        Ok(ArchiveWriter {
            path: path.to_path_buf(),
            frame_bytes: options.frame_bytes as usize,
            time: options.time,
            paths: PathSet::default(),
            entries: Vec::new(),
            open: None,
            padding: 0,
            failed: None,
            buffers: BufferPool { free, left: depth },
            digests,
            written,
            feeder: Some(feeder),
            sink: Some(sink),
            workers: Some(workers),
        })
    }

    /// Bytes handed to the file system so far.
    pub fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    /// Begins the next entry. Exactly `meta.size` bytes of content must follow.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] when `meta` may not stand in this archive (see [`EntryMeta`]), or when
    /// the entry before was not ended.
    pub fn begin_entry(&mut self, meta: EntryMeta) -> Result<()> {
        self.check_usable()?;
        if self.open.is_some() {
            return Err(self.invalid("the entry before was not ended"));
        }
        meta.check().map_err(|why| self.invalid(why))?;
        self.paths.insert(&meta).map_err(|why| self.invalid(why))?;
        let mut glue = vec![0; std::mem::take(&mut self.padding)];
        glue.extend_from_slice(&tar::encode(&meta));
        self.send_glue(&glue, false)?;
        self.open = Some(OpenEntry { size: meta.size, done: 0, frame: None, used: 0 });
        self.entries.push(meta);
        Ok(())
    }

    /// Adds `bytes` to the content of the entry.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] when that is more than the entry was to have; what became of the frames
    /// before, since they are written behind the caller's back.
    pub fn write(&mut self, mut bytes: &[u8]) -> Result<()> {
        if self.remaining() < bytes.len() as u64 {
            return Err(self.invalid("the content of an entry is longer than was said"));
        }
        while !bytes.is_empty() {
            let count = self.fill(|room| {
                let count = room.len().min(bytes.len());
                room[..count].copy_from_slice(&bytes[..count]);
                Ok(count)
            })?;
            bytes = &bytes[count..];
        }
        Ok(())
    }

    /// Lets `read` put content right into the frame: it gets the room that is left there (never past
    /// the end of the entry) and says how many bytes from its beginning it filled. Returns that; 0
    /// when the entry is complete.
    ///
    /// # Errors
    /// As [`ArchiveWriter::write`]; an error of `read` is passed on and changes nothing.
    pub fn fill(&mut self, read: impl FnOnce(&mut [u8]) -> Result<usize>) -> Result<usize> {
        self.check_usable()?;
        if self.remaining() == 0 {
            return Ok(0);
        }
        self.ensure_frame()?;
        let Some(OpenEntry { size, done, frame: Some(frame), used }) = &mut self.open else {
            return Ok(0);
        };
        let left = usize::try_from(*size - *done).unwrap_or(usize::MAX);
        let room = left.min(self.frame_bytes - *used);
        let count = read(&mut frame.content[*used..*used + room])?;
        if count > room {
            return Err(self.invalid(format!("{count} bytes were put into room for {room}")));
        }
        *used += count;
        *done += count as u64;
        if *used == self.frame_bytes || done == size {
            self.send_frame()?;
        }
        Ok(count)
    }

    /// Takes a buffer for the entry's next frame, where it has none.
    fn ensure_frame(&mut self) -> Result<()> {
        if self.open.as_ref().is_some_and(|entry| entry.frame.is_none()) {
            let mut buffers = self.take_buffers()?;
            buffers.content.resize(buffers.content.len().max(self.frame_bytes), 0);
            if let Some(entry) = &mut self.open {
                entry.frame = Some(buffers);
            }
        }
        Ok(())
    }

    /// Fills the rest of the entry with zeros: for a file that became shorter while it was read.
    ///
    /// # Errors
    /// As [`ArchiveWriter::write`].
    pub fn pad_entry(&mut self) -> Result<()> {
        while self.remaining() > 0 {
            self.fill(|room| {
                room.fill(0);
                Ok(room.len())
            })?;
        }
        Ok(())
    }

    /// Bytes of content that the entry still lacks.
    pub fn remaining(&self) -> u64 {
        self.open.as_ref().map_or(0, |entry| entry.size - entry.done)
    }

    /// Ends the entry.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] when there is none, or its content is not complete.
    pub fn end_entry(&mut self) -> Result<()> {
        self.check_usable()?;
        match &self.open {
            None => Err(self.invalid("there is no entry to end")),
            Some(entry) if entry.done < entry.size => {
                let message =
                    format!("an entry of {} bytes ended after {}", entry.size, entry.done);
                Err(self.invalid(message))
            }
            Some(entry) => {
                self.padding = tar::padding(entry.size);
                self.open = None;
                Ok(())
            }
        }
    }

    /// Writes the manifest, seals the file and makes its content durable. `results` sees all entries
    /// with their digests and gives what the caller has to say in the manifest.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] when an entry was not ended; an error of `results`; what the disk
    /// reported. The file is worthless then.
    pub fn finish(
        mut self,
        results: impl FnOnce(&[ManifestEntry]) -> Result<serde_json::Value>,
    ) -> Result<Finished> {
        self.check_usable()?;
        if self.open.is_some() {
            return Err(self.invalid("the last entry was not ended"));
        }
        let entries = self.take_digests()?;
        let results = results(&entries)?;
        let manifest = Manifest { format: FORMAT, entries, results };
        self.write_json(MANIFEST_NAME, &manifest)?;
        let mut glue = vec![0; std::mem::take(&mut self.padding)];
        glue.extend_from_slice(&tar::END);
        self.send_glue(&glue, true)?;
        self.feeder = None;
        let Sealed { bytes, seal } = self.join_sink()?;
        Ok(Finished { bytes, seal, manifest })
    }

    /// Waits until all content has been hashed.
    fn take_digests(&mut self) -> Result<Vec<ManifestEntry>> {
        let metas = std::mem::take(&mut self.entries);
        let mut entries = Vec::with_capacity(metas.len());
        for meta in metas {
            let blake3 = match meta.size {
                0 => Digest::of(&[]),
                _ => self.digests.recv().map_err(|_| self.failure())?,
            };
            entries.push(ManifestEntry { meta, blake3 });
        }
        Ok(entries)
    }

    fn write_json(&mut self, name: &str, value: &impl serde::Serialize) -> Result<()> {
        let mut json = serde_json::to_vec(value).map_err(|cause| {
            Error::new(ErrorKind::Invalid, format!("\"{name}\" cannot be written as JSON"))
                .at(&self.path)
                .because(cause)
        })?;
        json.push(b'\n');
        if json.len() as u64 > MAX_JSON {
            let message = format!("\"{name}\" has {} bytes, {MAX_JSON} at most", json.len());
            return Err(Error::new(ErrorKind::Limit, message).at(&self.path));
        }
        self.begin_entry(EntryMeta::file(name, json.len() as u64, self.time))?;
        self.write(&json)?;
        self.end_entry()
    }

    fn send_glue(&mut self, bytes: &[u8], end: bool) -> Result<()> {
        let mut buffers = self.take_buffers()?;
        if buffers.content.len() < bytes.len() {
            buffers.content.resize(bytes.len(), 0);
        }
        buffers.content[..bytes.len()].copy_from_slice(bytes);
        self.send(Job { buffers, len: bytes.len(), place: None, end })
    }

    fn send_frame(&mut self) -> Result<()> {
        let Some(entry) = &mut self.open else { return Ok(()) };
        let Some(buffers) = entry.frame.take() else { return Ok(()) };
        let len = std::mem::take(&mut entry.used);
        let place = Place {
            offset: entry.done - len as u64,
            alone: entry.size == len as u64,
            last: entry.done == entry.size,
        };
        self.send(Job { buffers, len, place: Some(place), end: false })
    }

    fn send(&mut self, job: Job) -> Result<()> {
        match self.feeder.as_mut().map(|feeder| feeder.send(job)) {
            Some(Ok(())) => Ok(()),
            _ => Err(self.failure()),
        }
    }

    fn take_buffers(&mut self) -> Result<Buffers> {
        if let Ok(buffers) = self.buffers.free.try_recv() {
            return Ok(buffers);
        }
        if self.buffers.left > 0 {
            self.buffers.left -= 1;
            return Ok(Buffers::default());
        }
        self.buffers.free.recv().map_err(|_| self.failure())
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

    fn check_usable(&self) -> Result<()> {
        self.failed.clone().map_or(Ok(()), Err)
    }

    fn invalid(&self, message: impl Into<String>) -> Error {
        Error::new(ErrorKind::Invalid, message).at(&self.path)
    }
}

impl Drop for ArchiveWriter {
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

/// Says what is wrong with a frame size, if anything is.
pub(crate) fn check_frame_bytes(bytes: u32) -> Result<(), String> {
    match bytes.is_power_of_two() && (MIN_FRAME_BYTES..=MAX_FRAME_BYTES).contains(&bytes) {
        true => Ok(()),
        false => Err(format!("the frame size {bytes} is no power of two from 4 KiB to 1 MiB")),
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
    mut sink: FileSink,
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
