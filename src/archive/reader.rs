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
use super::entry::{EntryMeta, Header, Manifest};
use super::frame::{self, FrameDecoder};
use super::seal::{self, FrameMap, TableError};
use super::walk::Walk;
use crate::disk::{Disk, File, OpenMode};
use crate::error::{Error, ErrorKind, Result};
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
    pub(crate) path: &'a Path,
    pub(crate) map: &'a FrameMap,
    decoder: FrameDecoder,
    packed: Vec<u8>,
}

impl<'a> FrameReader<'a> {
    pub(crate) fn new(file: &'a dyn File, path: &'a Path, map: &'a FrameMap) -> Result<Self> {
        Ok(FrameReader { file, path, map, decoder: new_decoder(path)?, packed: Vec::new() })
    }

    /// Unpacks frame `number`, which there must be, into `out`.
    pub(crate) fn read(&mut self, number: usize, out: &mut Vec<u8>) -> Result<()> {
        let content = read_packed(self.file, self.path, self.map, number, &mut self.packed)?;
        decode(&mut self.decoder, self.path, number, &self.packed, content, out)
    }

    /// How much content frame `number` has, where there is one.
    pub(crate) fn content(&self, number: usize) -> Option<u64> {
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
