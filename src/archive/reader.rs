//! Opening an archive: what is in it and where, without unpacking it.
//!
//! [`ArchiveFile::open`] reads the seek table, the seal, the header, each tar header and the manifest,
//! and demands that they agree: the frames add up to the file, each entry's frames to its size, the
//! tar headers to the manifest. It does not read the content; [`ArchiveFile::verify`] does.
//! Invariants: no allocation is larger than what was checked before (a frame: 1 MiB; header and
//! manifest: 64 MiB; names: as much; the rest grows with the length of the file), and no entry has a
//! path that leaves the folder that it is extracted into.
//!
//! It reads any [`File`]: one on the disk, or one that is put together from others: segments are
//! joined, parity mends what is damaged, encryption is opened, in this order.

use super::digest::{Digest, Place};
use super::entry::{EntryMeta, Header, Manifest};
use super::frame;
use super::frames::{FrameReader, read_failed};
use super::keys::Keys;
use super::names::ArchiveName;
use super::parity::{Guard, Parity, Promise, RepairCount};
use super::parts::{Files, Joined, MIXED_UP, is_damage};
use super::proof;
use super::seal::{self, FrameMap, TableError};
use super::source::OpenFiles;
use super::walk::Walk;
use crate::disk::{Disk, File};
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
    /// The frames as they lie; through parity where the archive cannot be opened without.
    pub(crate) file: Arc<dyn File>,
    /// The frames as parity repairs them: where a frame of `file` is damaged it is read from here. What
    /// is whole as it lies is never asked of the parity, which may be that of another archive.
    pub(crate) repaired: Option<Arc<dyn File>>,
    pub(crate) path: PathBuf,
    pub(crate) bytes: u64,
    pub(crate) map: FrameMap,
    pub(crate) seal: Digest,
    pub(crate) frame_bytes: u32,
    /// What lies below the frames.
    pub(crate) below: Below,
    header: Header,
    manifest: Manifest,
    entries: Vec<Entry>,
}

/// What lies below the frames of an archive that was opened from a disk.
#[derive(Default)]
pub(crate) struct Below {
    /// The files.
    pub(crate) archive: Option<Arc<Joined>>,
    /// They are read through this where there is parity.
    pub(crate) guard: Option<Arc<Guard>>,
    /// Why the parity is of no use, where it is there.
    pub(crate) parity_problem: Option<Error>,
    /// Whether the frames are encrypted.
    pub(crate) encrypted: bool,
    /// Whether there are segments, which can be mixed up.
    pub(crate) in_segments: bool,
}

impl ArchiveFile {
    /// Opens the archive at `path`, whatever its layers: the file of the whole or its first segment;
    /// the plain name of the whole will do too. `keys` may open it where it is encrypted. Damage is
    /// mended in memory where there is parity for it.
    ///
    /// While it is open, each of its files is.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] for what is no archive of a known format, [`ErrorKind::Corrupt`]
    /// for one that was cut, never finished or damaged in the parts that are read here, and where a
    /// segment is missing; 2011 for an encrypted one that none of `keys` opens.
    pub fn open(disk: &dyn Disk, path: &Path, keys: &Keys) -> Result<Arc<ArchiveFile>> {
        ArchiveFile::open_files(disk, &Files::find(disk, path)?, keys)
    }

    pub(crate) fn open_files<S: OpenFiles + ?Sized>(
        source: &S,
        files: &Files,
        keys: &Keys,
    ) -> Result<Arc<ArchiveFile>> {
        let in_segments = files.in_segments();
        let path = files.first();
        let plain = |parity_problem| {
            Joined::strict(source, files).and_then(|archive| {
                let archive = Some(Arc::new(archive));
                let below = Below { archive, parity_problem, in_segments, ..Below::default() };
                ArchiveFile::open_below(below, &path, keys)
            })
        };
        let parity = match files.parity.as_ref().map(|path| Parity::open(source, path)) {
            None => return plain(None),
            Some(Err(error)) if !is_damage(&error) => return Err(error),
            Some(Err(error)) => return plain(Some(error)),
            Some(Ok(parity)) => parity,
        };
        let as_it_lies = plain(None);
        let guarded =
            guarded(source, files, parity, in_segments).and_then(|below| match &as_it_lies {
                Ok(archive) => archive.behind(below, keys),
                Err(error) if !is_damage(error) => Err(error.clone()),
                Err(_) => opened_by_parity(source, files, below, keys),
            });
        // Without its parity, or in spite of it: it may belong to another archive.
        match (guarded, as_it_lies) {
            (Err(problem), Ok(_)) if is_damage(&problem) => plain(Some(problem)),
            (guarded, _) => guarded,
        }
    }

    /// Opens the archive that `file` holds; `path` is for errors.
    ///
    /// # Errors
    /// As [`ArchiveFile::open`].
    pub fn open_file(file: Arc<dyn File>, path: &Path) -> Result<Arc<ArchiveFile>> {
        ArchiveFile::open_over(file, path, Below::default())
    }

    pub(crate) fn open_below(
        mut below: Below,
        path: &Path,
        keys: &Keys,
    ) -> Result<Arc<ArchiveFile>> {
        let raw = below.raw().ok_or_else(|| Error::new(ErrorKind::NotFound, "no file").at(path))?;
        below.encrypted = proof::is_encrypted(&*raw, path)?;
        let file = proof::frames_of(raw, keys, path)?;
        ArchiveFile::open_over(file, path, below)
    }

    /// The same archive, with its parity for what is damaged.
    fn behind(&self, mut below: Below, keys: &Keys) -> Result<Arc<ArchiveFile>> {
        let raw = below.raw().unwrap_or_else(|| self.file.clone());
        let repaired = proof::frames_of(raw, keys, &self.path)?;
        let (bytes, map, seal) = read_end(&*repaired, &self.path)?;
        if (bytes, seal) != (self.bytes, self.seal) || map != self.map {
            return Err(below.foreign("the archive has another seal"));
        }
        below.encrypted = self.below.encrypted;
        Ok(Arc::new(ArchiveFile {
            path: self.path.clone(),
            bytes,
            seal,
            frame_bytes: self.frame_bytes,
            below,
            header: self.header.clone(),
            manifest: self.manifest.clone(),
            entries: self.entries.clone(),
            map,
            repaired: Some(repaired),
            file: self.file.clone(),
        }))
    }

    fn open_over(file: Arc<dyn File>, path: &Path, below: Below) -> Result<Arc<ArchiveFile>> {
        let (bytes, map, seal) =
            read_end(&*file, path).map_err(|error| below.explain_end(error))?;
        let frames = FrameReader::new(&*file, path, &map)?;
        let contents = Walk::new(frames).run().map_err(|error| below.explain(error))?;
        Ok(Arc::new(ArchiveFile {
            path: path.to_path_buf(),
            bytes,
            seal,
            frame_bytes: contents.header.frame_bytes,
            below,
            header: contents.header,
            manifest: contents.manifest,
            entries: contents.entries,
            map,
            repaired: None,
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

    /// Length in bytes of what the seal vouches for: the file, where it is plain and in one piece.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Length in bytes of all its files, without the parity.
    pub fn stored_bytes(&self) -> u64 {
        self.below.archive.as_ref().map_or(self.bytes, |archive| archive.total())
    }

    /// Whether it is encrypted.
    pub fn is_encrypted(&self) -> bool {
        self.below.encrypted
    }

    /// What its parity repairs for certain; `None` where it has none that is of use.
    pub fn promise(&self) -> Option<Promise> {
        self.below.guard.as_ref().map(|guard| guard.parity.header.geometry.promise())
    }

    /// Counts the blocks that its parity repairs while it is read; `None` without parity.
    pub(crate) fn repairs(&self) -> Option<Arc<RepairCount>> {
        self.below.guard.as_ref().map(|guard| guard.repairs())
    }

    /// The file that byte `offset` of the frames lies in.
    pub(crate) fn path_at(&self, offset: u64) -> &Path {
        let Some(archive) = &self.below.archive else { return &self.path };
        if archive.parts.len() < 2 {
            return &self.path;
        }
        archive.path_at(match self.below.encrypted {
            true => crypt_offset(offset, self.bytes, archive.total()),
            false => offset,
        })
    }

    /// The same error, with the file that frame `number` lies in.
    pub(crate) fn in_its_file(&self, error: Error, number: usize) -> Error {
        let at = self.map.get(number).map_or(0, |(at, _)| at);
        match is_damage(&error) {
            true => self.below.explain(error.at(self.path_at(at))),
            false => error,
        }
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
        let mut frames = self.frames()?;
        let mut out = Vec::new();
        let mut content = Vec::new();
        for (number, _) in self.frames_of(entry) {
            frames.read(number, &mut content).map_err(|e| self.in_its_file(e, number))?;
            out.extend_from_slice(&content);
        }
        match Digest::of(&out) == entry.blake3 {
            true => Ok(out),
            false => Err(self.not_as_listed(entry)),
        }
    }

    /// Reads single frames, through parity where they are damaged.
    pub(crate) fn frames(&self) -> Result<FrameReader<'_>> {
        let frames = FrameReader::new(&*self.file, &self.path, &self.map)?;
        Ok(frames.or_repaired(self.repaired.as_deref()))
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

/// What lies below the frames where the archive is read through `parity`.
fn guarded<S: OpenFiles + ?Sized>(
    source: &S,
    files: &Files,
    parity: Parity,
    in_segments: bool,
) -> Result<Below> {
    let archive = Arc::new(Joined::with_lengths(source, files, parity.header.lengths())?);
    let guard = Some(Arc::new(Guard::new(archive.clone(), parity)));
    Ok(Below { archive: Some(archive), guard, in_segments, ..Below::default() })
}

/// Opens what cannot be opened as it lies. What is left of it must not say that it is another archive
/// than its parity makes of it.
fn opened_by_parity<S: OpenFiles + ?Sized>(
    source: &S,
    files: &Files,
    below: Below,
    keys: &Keys,
) -> Result<Arc<ArchiveFile>> {
    let archive = ArchiveFile::open_below(below, &files.first(), keys)?;
    let (Some(joined), Some(guard)) = (&archive.below.archive, &archive.below.guard) else {
        return Ok(archive);
    };
    let damaged = Joined::strict(source, files).map_or(joined.clone(), Arc::new);
    let raw: (Arc<dyn File>, Arc<dyn File>) = (damaged, guard.clone());
    match proof::belongs(raw, &archive, keys, proof::AT_OPENING) {
        Ok(()) => Ok(archive),
        Err(why) => Err(archive.below.foreign(why)),
    }
}

impl Below {
    /// The bytes as they lie, or as the parity repairs them.
    fn raw(&self) -> Option<Arc<dyn File>> {
        match (&self.guard, &self.archive) {
            (Some(guard), _) => Some(guard.clone()),
            (None, Some(archive)) => Some(archive.clone()),
            (None, None) => None,
        }
    }

    /// The error of parity that is not that of the archive.
    pub(crate) fn foreign(&self, why: &str) -> Error {
        let path = self.guard.as_ref().map(|guard| guard.parity.path.clone());
        proof::foreign(&path.unwrap_or_default(), why)
    }

    /// The same error, with what may be behind it.
    fn explain(&self, error: Error) -> Error {
        match self.in_segments && error.kind() == ErrorKind::Corrupt {
            true => error.or_hint(MIXED_UP),
            false => error,
        }
    }

    /// The same for an error at the end of the archive, which is in its last file, or at its beginning.
    fn explain_end(&self, error: Error) -> Error {
        // Names and parity say that it is one, whatever its first bytes are now.
        if error.kind() == ErrorKind::Unsupported && (self.in_segments || self.guard.is_some()) {
            return self.explain(error.with_kind(ErrorKind::Corrupt));
        }
        match (&self.archive, error.kind()) {
            (Some(archive), ErrorKind::Corrupt) if self.in_segments => {
                let last = archive.path_at(archive.total().saturating_sub(1));
                error.at(last).hint("It was cut, or segments after it are missing.")
            }
            _ => error,
        }
    }
}

/// About where byte `offset` of `plain` ones lies in a file in the age format that has `total` bytes:
/// chunks of 64 KiB have 16 bytes more, and what is left over is the header.
fn crypt_offset(offset: u64, plain: u64, total: u64) -> u64 {
    const CHUNK: u64 = 64 << 10;
    const TAG: u64 = 16;
    let chunks = plain.div_ceil(CHUNK).max(1);
    let header = total.saturating_sub(plain + chunks * TAG);
    (header + offset + offset / CHUNK * TAG).min(total.saturating_sub(1))
}

/// Reads what an archive ends with: its length, where its frames lie, the digest in its seal.
pub(crate) fn read_end(file: &dyn File, path: &Path) -> Result<(u64, FrameMap, Digest)> {
    let bytes = file.len().map_err(|cause| Error::io("measure", path, cause))?;
    let read = |buffer: &mut [u8], at| file.read_exact_at(buffer, at);
    let failed = |cause| read_failed(path, cause);
    let mut magic = [0; 4];
    if bytes >= seal::MIN_END {
        read(&mut magic, 0).map_err(failed)?;
    } else if is_named(path) {
        let message = format!("it has {bytes} bytes only: it was cut, or never finished");
        return Err(Error::corrupt(path, message));
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

/// Whether the name at `path` is that of an archive.
fn is_named(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    name.is_some_and(|name| ArchiveName::parse(name).is_some())
}
