//! Opening an archive: what is in it and where, without unpacking it.
//!
//! [`ArchiveFile::open`] reads the seek table, the seal, the header, each tar header and the manifest,
//! and demands that they agree: the frames add up to the file, each entry's frames to its size, the
//! tar headers to the manifest. It does not read the content; [`ArchiveFile::verify`] does.
//! Invariants: no allocation is larger than what was checked before (a frame: 1 MiB; header and
//! manifest: 64 MiB; names: as much; the rest grows with the length of the file), and no entry has a
//! path that leaves the folder that it is extracted into.
//!
//! It reads any [`File`]: one on the disk, or one that is put together from others.

use super::digest::{Digest, Place};
use super::entry::{
    EntryKind, EntryMeta, FORMAT, HEADER_NAME, Header, MANIFEST_NAME, MAX_JSON, Manifest, PathSet,
};
use super::frame::{self, FrameDecoder};
use super::seal::{self, FrameMap, TableError};
use super::{tar, writer};
use crate::disk::{Disk, File, OpenMode};
use crate::error::{Error, ErrorKind, Result};
use serde::de::DeserializeOwned;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// An entry of an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Path, kind, size, mode and time.
    pub meta: EntryMeta,
    /// BLAKE3 of the content, as the manifest has it.
    pub blake3: Digest,
    /// The frame that its content begins with; its tar header is in the one before.
    pub(crate) first_frame: usize,
}

/// A finished archive, open for reading. Its methods may be called by several threads at once.
pub struct ArchiveFile {
    pub(crate) file: Arc<dyn File>,
    pub(crate) path: PathBuf,
    pub(crate) bytes: u64,
    pub(crate) map: FrameMap,
    pub(crate) seal: Digest,
    pub(crate) frame_bytes: u32,
    header: Header,
    manifest: Manifest,
    entries: Vec<Entry>,
}

impl ArchiveFile {
    /// Opens the archive at `path`.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] for what is no archive of a known format, [`ErrorKind::Corrupt`]
    /// for one that was cut, never finished or damaged in the parts that are read here.
    pub fn open(disk: &dyn Disk, path: &Path) -> Result<Arc<ArchiveFile>> {
        let file =
            disk.open(path, OpenMode::Read).map_err(|cause| Error::io("open", path, cause))?;
        ArchiveFile::open_file(file, path)
    }

    /// Opens the archive that `file` holds; `path` is for errors.
    ///
    /// # Errors
    /// As [`ArchiveFile::open`].
    pub fn open_file(file: Arc<dyn File>, path: &Path) -> Result<Arc<ArchiveFile>> {
        let (bytes, map, seal) = read_end(&*file, path)?;
        let frames = FrameReader::new(&*file, path, &map)?;
        let contents = Walk::new(frames).run()?;
        Ok(Arc::new(ArchiveFile {
            path: path.to_path_buf(),
            bytes,
            seal,
            frame_bytes: contents.header.frame_bytes,
            header: contents.header,
            manifest: contents.manifest,
            entries: contents.entries,
            map,
            file,
        }))
    }

    /// What was known when the archive was begun.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// What was known when it was finished.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// All entries in order: first the header, last the manifest.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The entry at `path`.
    pub fn find(&self, path: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.meta.path.as_bytes() == path.as_bytes())
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Length of the file in bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The digest in the seal, which stands for the whole file once it was verified.
    pub fn seal(&self) -> Digest {
        self.seal
    }

    /// The whole content of a small entry.
    ///
    /// # Errors
    /// [`ErrorKind::Limit`] when it is larger than `limit` bytes; [`ErrorKind::Corrupt`] when it is
    /// not what the manifest says.
    pub fn read_entry(&self, entry: &Entry, limit: u64) -> Result<Vec<u8>> {
        if entry.meta.size > limit {
            let message = format!("{:?} has {} bytes", entry.meta.path, entry.meta.size);
            return Err(Error::new(ErrorKind::Limit, message).at(&self.path));
        }
        let mut frames = FrameReader::new(&*self.file, &self.path, &self.map)?;
        let mut out = Vec::new();
        let mut content = Vec::new();
        for (number, _) in self.frames_of(entry) {
            frames.read(number, &mut content)?;
            out.extend_from_slice(&content);
        }
        match Digest::of(&out) == entry.blake3 {
            true => Ok(out),
            false => Err(self.not_as_listed(entry)),
        }
    }

    /// The frames of an entry's content and where they lie in it.
    pub(crate) fn frames_of(&self, entry: &Entry) -> impl Iterator<Item = (usize, Place)> + use<> {
        let (size, grid, first) = (entry.meta.size, u64::from(self.frame_bytes), entry.first_frame);
        let count = size.div_ceil(grid);
        (0..count).map(move |n| {
            let place = Place { offset: n * grid, alone: count == 1, last: n + 1 == count };
            (first + n as usize, place)
        })
    }

    pub(crate) fn not_as_listed(&self, entry: &Entry) -> Error {
        let message = format!("the content of {:?} is not what the manifest says", entry.meta.path);
        Error::corrupt(&self.path, message)
    }
}

/// Reads what an archive ends with: its length, where its frames lie, the digest in its seal.
pub(crate) fn read_end(file: &dyn File, path: &Path) -> Result<(u64, FrameMap, Digest)> {
    let bytes = file.len().map_err(|cause| Error::io("measure", path, cause))?;
    let read = |buffer: &mut [u8], at| file.read_exact_at(buffer, at);
    let failed = |cause| Error::io("read", path, cause);
    let mut magic = [0; 4];
    if bytes >= seal::MIN_END {
        read(&mut magic, 0).map_err(failed)?;
    }
    if magic != frame::MAGIC {
        return Err(Error::new(ErrorKind::Unsupported, "this is no archive").at(path));
    }
    let map = seal::read_table(bytes, read).map_err(|why| match why {
        TableError::Io(cause) => failed(cause),
        other => Error::corrupt(path, other.to_string()),
    })?;
    let mut end = [0; seal::SEAL_LEN];
    read(&mut end, map.end()).map_err(failed)?;
    match seal::read_seal(&end, map.end()) {
        Some(digest) => Ok((bytes, map, digest)),
        None => Err(Error::corrupt(path, "the seal is damaged")),
    }
}

/// Reads single frames.
pub(crate) struct FrameReader<'a> {
    file: &'a dyn File,
    path: &'a Path,
    map: &'a FrameMap,
    decoder: FrameDecoder,
    packed: Vec<u8>,
}

impl<'a> FrameReader<'a> {
    pub(crate) fn new(file: &'a dyn File, path: &'a Path, map: &'a FrameMap) -> Result<Self> {
        Ok(FrameReader { file, path, map, decoder: new_decoder(path)?, packed: Vec::new() })
    }

    /// Unpacks frame `number`, which there must be, into `out`.
    fn read(&mut self, number: usize, out: &mut Vec<u8>) -> Result<()> {
        let content = read_packed(self.file, self.path, self.map, number, &mut self.packed)?;
        decode(&mut self.decoder, self.path, number, &self.packed, content, out)
    }

    fn content(&self, number: usize) -> Option<u64> {
        self.map.get(number).map(|(_, size)| u64::from(size.content))
    }
}

pub(crate) fn new_decoder(path: &Path) -> Result<FrameDecoder> {
    FrameDecoder::new().map_err(|cause| Error::io("prepare to unpack", path, cause))
}

/// Reads frame `number` as it lies into `packed`, and says how much content it has.
pub(crate) fn read_packed(
    file: &dyn File,
    path: &Path,
    map: &FrameMap,
    number: usize,
    packed: &mut Vec<u8>,
) -> Result<usize> {
    let Some((at, size)) = map.get(number) else {
        return Err(Error::corrupt(path, format!("there is no frame {number}")));
    };
    let len = size.packed as usize;
    if packed.len() < len {
        packed.resize(len, 0);
    }
    packed.truncate(len);
    file.read_exact_at(packed, at).map_err(|cause| Error::io("read", path, cause))?;
    Ok(size.content as usize)
}

pub(crate) fn decode(
    decoder: &mut FrameDecoder,
    path: &Path,
    number: usize,
    packed: &[u8],
    content: usize,
    out: &mut Vec<u8>,
) -> Result<()> {
    decoder
        .decode(packed, content, out)
        .map_err(|why| Error::corrupt(path, format!("frame {number} is damaged: {why}")))
}

struct Contents {
    header: Header,
    manifest: Manifest,
    entries: Vec<Entry>,
}

/// The way from the first tar header to the last.
struct Walk<'a> {
    frames: FrameReader<'a>,
    /// The frame that comes next.
    next: usize,
    header: Option<Header>,
    metas: Vec<(EntryMeta, usize)>,
    paths: PathSet,
    /// Bytes of all paths so far.
    names: u64,
    buffer: Vec<u8>,
}

impl<'a> Walk<'a> {
    fn new(frames: FrameReader<'a>) -> Walk<'a> {
        Walk {
            frames,
            next: 0,
            header: None,
            metas: Vec::new(),
            paths: PathSet::default(),
            names: 0,
            buffer: Vec::new(),
        }
    }

    fn run(mut self) -> Result<Contents> {
        let mut padding = 0;
        let (manifest, digest) = loop {
            let meta = self.tar_header(padding)?;
            padding = tar::padding(meta.size);
            self.metas.push((meta.clone(), self.next));
            match &self.header {
                None => self.header = Some(self.read_header(&meta)?),
                Some(_) if meta.path.as_bytes() == MANIFEST_NAME.as_bytes() => {
                    break self.read_json::<Manifest>(&meta)?;
                }
                Some(header) => {
                    let frame_bytes = header.frame_bytes;
                    self.next = self.check_frames(&meta, self.next, frame_bytes)?;
                }
            }
        };
        self.tar_end(padding)?;
        self.check_manifest(manifest, digest)
    }

    /// Reads the frame with the padding of the entry before and the header of the next.
    fn tar_header(&mut self, padding: usize) -> Result<EntryMeta> {
        let number = self.next;
        let len = self.frames.content(number);
        if len.is_none_or(|len| len > (tar::BLOCK + tar::MAX_HEADER) as u64) {
            return Err(self.corrupt(format!("frame {number} should be a tar header")));
        }
        self.frames.read(number, &mut self.buffer)?;
        self.next += 1;
        let header = skip_zeros(&self.buffer, padding)
            .ok_or_else(|| self.corrupt("the padding of an entry is not zero"))?;
        let meta = tar::decode(header).map_err(|why| self.corrupt(why))?;
        self.paths.insert(&meta).map_err(|why| self.corrupt(why))?;
        self.names += meta.path.as_bytes().len() as u64;
        if let EntryKind::Symlink(target) = &meta.kind {
            self.names += target.as_bytes().len() as u64;
        }
        match self.names > MAX_JSON {
            true => Err(self.corrupt("its names are longer than any manifest")),
            false => Ok(meta),
        }
    }

    fn tar_end(&mut self, padding: usize) -> Result<()> {
        if self.frames.content(self.next) != Some((padding + tar::END.len()) as u64) {
            return Err(self.corrupt("the tar stream does not end after the manifest"));
        }
        self.frames.read(self.next, &mut self.buffer)?;
        self.next += 1;
        let ends = skip_zeros(&self.buffer, padding) == Some(&tar::END);
        match ends && self.next == self.frames.map.len() {
            true => Ok(()),
            false => Err(self.corrupt("the tar stream does not end after the manifest")),
        }
    }

    fn read_header(&mut self, meta: &EntryMeta) -> Result<Header> {
        let first = self.next;
        if meta.path.as_bytes() != HEADER_NAME.as_bytes() {
            return Err(self.corrupt(format!("the first entry is {:?}", meta.path)));
        }
        let (json, _) = self.read_json::<serde_json::Value>(meta)?;
        let format = json.get("format").and_then(serde_json::Value::as_u64);
        if format != Some(u64::from(FORMAT)) {
            let shown = format.map_or("unknown".to_string(), |format| format.to_string());
            let message = format!("the format of the archive is {shown}, not {FORMAT}");
            return Err(Error::new(ErrorKind::Unsupported, message).at(self.frames.path));
        }
        let header: Header = serde_json::from_value(json)
            .map_err(|cause| self.corrupt("the header is malformed").because(cause))?;
        writer::check_frame_bytes(header.frame_bytes).map_err(|why| self.corrupt(why))?;
        self.check_frames(meta, first, header.frame_bytes)?;
        Ok(header)
    }

    /// Reads the entry that the next frames hold, whatever their sizes, and its digest.
    fn read_json<T: DeserializeOwned>(&mut self, meta: &EntryMeta) -> Result<(T, Digest)> {
        if meta.kind != EntryKind::File || meta.size > MAX_JSON {
            return Err(self.corrupt(format!("{:?} has {} bytes", meta.path, meta.size)));
        }
        let mut json = Vec::new();
        while (json.len() as u64) < meta.size {
            self.frames.read(self.next, &mut self.buffer)?;
            self.next += 1;
            json.extend_from_slice(&self.buffer);
        }
        if json.len() as u64 != meta.size {
            return Err(self.corrupt(format!("the frames of {:?} do not fit it", meta.path)));
        }
        let value = serde_json::from_slice(&json).map_err(|cause| {
            self.corrupt(format!("{:?} is malformed", meta.path)).because(cause)
        })?;
        Ok((value, Digest::of(&json)))
    }

    /// Demands that the frames from `first` on are those of an entry; gives the one after them.
    fn check_frames(&self, meta: &EntryMeta, first: usize, frame_bytes: u32) -> Result<usize> {
        let grid = u64::from(frame_bytes);
        let mut left = meta.size;
        let mut number = first;
        while left > 0 {
            let content = left.min(grid);
            if self.frames.content(number) != Some(content) {
                return Err(self.corrupt(format!("frame {number} does not fit {:?}", meta.path)));
            }
            left -= content;
            number += 1;
        }
        Ok(number)
    }

    fn check_manifest(mut self, manifest: Manifest, digest: Digest) -> Result<Contents> {
        let (Some(header), Some((own, own_frame))) = (self.header.take(), self.metas.pop()) else {
            return Err(self.corrupt("it has no header"));
        };
        self.check_frames(&own, own_frame, header.frame_bytes)?;
        if manifest.format != FORMAT || manifest.entries.len() != self.metas.len() {
            return Err(self.corrupt("the manifest does not list what is in the archive"));
        }
        let empty = Digest::of(&[]);
        let mut entries = Vec::with_capacity(self.metas.len() + 1);
        for ((meta, first_frame), listed) in self.metas.drain(..).zip(&manifest.entries) {
            if meta != listed.meta || (meta.size == 0 && listed.blake3 != empty) {
                let message = format!("the manifest does not list {:?} as it is", meta.path);
                return Err(Error::corrupt(self.frames.path, message));
            }
            entries.push(Entry { meta, blake3: listed.blake3, first_frame });
        }
        entries.push(Entry { meta: own, blake3: digest, first_frame: own_frame });
        Ok(Contents { header, manifest, entries })
    }

    fn corrupt(&self, message: impl Into<String>) -> Error {
        Error::corrupt(self.frames.path, message)
    }
}

/// What follows the `count` zeros that `bytes` begin with.
fn skip_zeros(bytes: &[u8], count: usize) -> Option<&[u8]> {
    let (zeros, rest) = bytes.split_at_checked(count)?;
    zeros.iter().all(|byte| *byte == 0).then_some(rest)
}
