//! Writing an archive: entries in, a sealed and durable file out.
//!
//! The caller's thread fills frame buffers ([`ArchiveWriter::fill`] lets it read right into them);
//! what happens to a full one is the `assembly`'s business, on threads of its own.
//!
//! Invariants: each entry's content is cut into frames at multiples of the frame size, and tar
//! headers and padding lie in frames of their own, so where a byte of an entry lies is arithmetic.
//! A file that was not finished has no seal and is refused by every reader. The writer neither
//! renames nor removes its file: what a finished or a failed one is worth is the caller's business.

use super::assembly::{Assembly, Buffers, Job};
use super::digest::{Digest, Place};
use super::entry::{
    EntryMeta, FORMAT, HEADER_NAME, Header, MANIFEST_NAME, MAX_JSON, MAX_JSON_VALUES, Manifest,
    ManifestEntry, PathSet,
};
use super::frame::{Compression, MAX_CONTENT};
use super::keys::Keys;
use super::layers::{ArchivePlace, Layers, WrittenFile};
use super::output::{Output, Syncing};
use super::parity;
use super::pipeline::INLINE;
use super::sink::{FrameSink, Sealed};
use super::tar;
use super::verify::Progress;
use crate::disk::Disk;
use crate::error::{Error, ErrorKind, Result};
use crate::json_budget::Budget;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

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
    /// Encryption, segments and parity.
    pub layers: Layers,
}

impl Default for ArchiveOptions {
    fn default() -> ArchiveOptions {
        let compression = Compression::default();
        let layers = Layers::default();
        ArchiveOptions { compression, workers: 0, frame_bytes: 256 << 10, time: 0, layers }
    }
}

/// What was written.
#[derive(Clone, Debug)]
pub struct Finished {
    /// Length of the archive, all segments together, without its parity.
    pub bytes: u64,
    /// The digest in the seal: it stands for the whole content of the file.
    pub seal: Digest,
    /// The manifest as it stands in the file.
    pub manifest: Manifest,
    /// The files that were written, in the order in which they are to be named: the parity first,
    /// the one that ends the archive last.
    pub files: Vec<WrittenFile>,
    /// What reads it back, as long as nobody forgets it.
    pub(crate) keys: Keys,
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
    written: Arc<AtomicU64>,
    parity: Option<parity::Order>,
    assembly: Assembly,
}

/// Who syncs, where the archive is written like this.
fn syncing(options: &ArchiveOptions) -> Syncing {
    if options.workers == INLINE { Syncing::Inline } else { Syncing::Aside }
}

/// The entry that is being written.
struct OpenEntry {
    size: u64,
    done: u64,
    /// The frame that is being filled, and how far.
    frame: Option<Buffers>,
    used: usize,
}

impl ArchiveWriter {
    /// Creates the file at `path`, which must not exist, and writes its first entry: the header, with
    /// `app` as what the caller has to say in it. `options` may have no layers: see
    /// [`ArchiveWriter::create_in`].
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] for a bad frame size or for layers; what the disk reports.
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
        if !options.layers.is_plain() {
            let why = "layers need an archive that has a place";
            return Err(Error::new(ErrorKind::Invalid, why).at(path));
        }
        check_options(options, path)?;
        let file = WrittenFile { partial: path.to_path_buf(), path: path.to_path_buf(), bytes: 0 };
        let written = Arc::new(AtomicU64::new(0));
        let output = Output::single(disk, file, None, syncing(options), written.clone())?;
        ArchiveWriter::begin(output, written, options, None, app)
    }

    /// Creates the first file of an archive at `place`, under the name of an unfinished one, and
    /// writes its first entry: the header, with `app` as what the caller has to say in it.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] for a bad frame size or bad layers; what the disk reports.
    ///
    /// # Durability
    /// Nothing is durable before [`ArchiveWriter::finish`], and the names not even then: see
    /// [`name_files`](super::name_files).
    pub fn create_in(
        disk: &Arc<dyn Disk>,
        place: &ArchivePlace,
        options: &ArchiveOptions,
        app: serde_json::Value,
    ) -> Result<ArchiveWriter> {
        let layers = &options.layers;
        let whole = place.whole(layers);
        check_options(options, &place.path(layers))?;
        let written = Arc::new(AtomicU64::new(0));
        let output = match layers.segment_bytes {
            Some(bytes) => {
                let (whole, syncing) = (whole.clone(), syncing(options));
                Output::in_segments(disk, place, whole, bytes, syncing, written.clone())?
            }
            None => {
                let file = place.file(&whole.to_string());
                Output::single(&**disk, file, place.access, syncing(options), written.clone())?
            }
        };
        let parity = parity::Order::new(disk, place, &whole, layers);
        ArchiveWriter::begin(output, written, options, parity, app)
    }

    fn begin(
        output: Output,
        written: Arc<AtomicU64>,
        options: &ArchiveOptions,
        parity: Option<parity::Order>,
        app: serde_json::Value,
    ) -> Result<ArchiveWriter> {
        let header = Header {
            format: FORMAT,
            compression: options.compression,
            frame_bytes: options.frame_bytes,
            app,
        };
        let path = output.path().to_path_buf();
        let sink = FrameSink::new(output, options.layers.recipients.as_ref())
            .map_err(|error| error.at(&path))?;
        let assembly = Assembly::start(&path, options.compression, options.workers, sink)?;
        let mut writer = ArchiveWriter {
            path,
            frame_bytes: options.frame_bytes as usize,
            time: options.time,
            paths: PathSet::default(),
            entries: Vec::new(),
            open: None,
            padding: 0,
            written,
            parity,
            assembly,
        };
        writer.write_json(HEADER_NAME, &header)?;
        Ok(writer)
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
        self.assembly.check()?;
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
        self.assembly.check()?;
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
            let mut buffers = self.assembly.buffers()?;
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
        self.assembly.check()?;
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
        self,
        results: impl FnOnce(&[ManifestEntry]) -> Result<serde_json::Value>,
    ) -> Result<Finished> {
        self.finish_with(results, &mut |_| ControlFlow::Continue(()))
    }

    /// The same, telling `progress` how far the parity is, which may stop it. Where there is none,
    /// `progress` is not called.
    ///
    /// # Errors
    /// As [`ArchiveWriter::finish`]; [`ErrorKind::Stopped`] (1406).
    pub fn finish_with(
        mut self,
        results: impl FnOnce(&[ManifestEntry]) -> Result<serde_json::Value>,
        progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<Finished> {
        self.assembly.check()?;
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
        let Sealed { seal, mut files, keys } = self.assembly.finish()?;
        let bytes = files.iter().map(|file| file.bytes).sum();
        if let Some(order) = self.parity {
            let parity = order.write(&files, progress)?;
            files.insert(0, parity);
        }
        Ok(Finished { bytes, seal, manifest, files, keys })
    }

    /// Waits until all content has been hashed.
    fn take_digests(&mut self) -> Result<Vec<ManifestEntry>> {
        let metas = std::mem::take(&mut self.entries);
        let mut entries = Vec::with_capacity(metas.len());
        for meta in metas {
            let blake3 = match meta.size {
                0 => Digest::of(&[]),
                _ => self.assembly.digest()?,
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
        // What is written can be read again.
        if name == HEADER_NAME && Budget::new(MAX_JSON_VALUES).take(&json).is_err() {
            let message = format!("\"{name}\" has more than {MAX_JSON_VALUES} values");
            return Err(Error::new(ErrorKind::Limit, message).at(&self.path));
        }
        self.begin_entry(EntryMeta::file(name, json.len() as u64, self.time))?;
        self.write(&json)?;
        self.end_entry()
    }

    fn send_glue(&mut self, bytes: &[u8], end: bool) -> Result<()> {
        let mut buffers = self.assembly.buffers()?;
        if buffers.content.len() < bytes.len() {
            buffers.content.resize(bytes.len(), 0);
        }
        buffers.content[..bytes.len()].copy_from_slice(bytes);
        self.assembly.send(Job { buffers, len: bytes.len(), place: None, end })
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
        self.assembly.send(Job { buffers, len, place: Some(place), end: false })
    }

    fn invalid(&self, message: impl Into<String>) -> Error {
        Error::new(ErrorKind::Invalid, message).at(&self.path)
    }
}

fn check_options(options: &ArchiveOptions, path: &Path) -> Result<()> {
    check_frame_bytes(options.frame_bytes)
        .map_err(|why| Error::new(ErrorKind::Invalid, why).at(path))?;
    options.layers.check().map_err(|error| error.at(path))
}

/// Says what is wrong with a frame size, if anything is.
pub(crate) fn check_frame_bytes(bytes: u32) -> Result<(), String> {
    match bytes.is_power_of_two() && (MIN_FRAME_BYTES..=MAX_FRAME_BYTES).contains(&bytes) {
        true => Ok(()),
        false => Err(format!("the frame size {bytes} is no power of two from 4 KiB to 1 MiB")),
    }
}
