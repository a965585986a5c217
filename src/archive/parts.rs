//! The files of an archive, found and read as one.
//!
//! An archive is one file, or segments: `set[0006-0001].tar.zst` and on. They are joined by their
//! numbers, and where a byte of the whole lies is arithmetic. Without parity the lengths must agree:
//! a segment that is missing or of another length than the others is told by name. With parity it is
//! damage like any other, since the parity knows the lengths.

use super::layers::WrittenFile;
use super::names::{ArchiveName, Listed};
use super::source::OpenFiles;
use crate::disk::{Disk, File, atomic};
use crate::error::{Error, ErrorKind, Result};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What may have happened to segments that do not fit.
pub(crate) const MIXED_UP: &str = "If the segments were copied by hand, look whether one was cut, \
    swapped with another, or taken from another archive.";

/// Which files make an archive.
#[derive(Clone, Debug)]
pub(crate) struct Files {
    body: Body,
    /// Its parity, where the file is there.
    pub(crate) parity: Option<PathBuf>,
}

#[derive(Clone, Debug)]
enum Body {
    One(PathBuf),
    /// Those that are there, by number, and how the others would be called.
    Segments {
        folder: PathBuf,
        whole: ArchiveName,
        found: BTreeMap<u32, PathBuf>,
    },
}

impl Files {
    /// Finds the files of the archive at `path`: that of the whole, or of its first segment. The name
    /// of the whole will do too where it is in segments or encrypted.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`]; what the disk reports.
    pub(crate) fn find(disk: &dyn Disk, path: &Path) -> Result<Files> {
        let missing = |cause| Error::io("open the archive", path, cause);
        let name = path.file_name().and_then(|name| name.to_str()).and_then(ArchiveName::parse);
        let Some(name) = name else {
            disk.canonical(path).map_err(missing)?;
            return Ok(Files { body: Body::One(path.to_path_buf()), parity: None });
        };
        let folder = atomic::parent(path);
        let parity = folder.join(name.parity());
        let parity = disk.metadata(&parity).is_ok().then_some(parity);
        let there = disk.canonical(path);
        if name.segment().is_none() && there.is_ok() {
            return Ok(Files { body: Body::One(path.to_path_buf()), parity });
        }
        for whole in [name.clone().in_segment(None), name.clone().in_segment(None).encrypted(true)]
        {
            let found = segments(disk, folder, &whole)?;
            if !found.is_empty() {
                let folder = folder.to_path_buf();
                return Ok(Files { body: Body::Segments { folder, whole, found }, parity });
            }
            let one = folder.join(whole.to_string());
            if name.segment().is_none() && disk.canonical(&one).is_ok() {
                return Ok(Files { body: Body::One(one), parity });
            }
        }
        there.map_err(missing)?;
        Err(missing(io::ErrorKind::NotFound.into()))
    }

    /// The files of a listed archive, with its parity where that is there.
    pub(crate) fn listed(listed: &Listed, parity: Option<PathBuf>) -> Files {
        let number = |path: &PathBuf| ArchiveName::parse(path.file_name()?.to_str()?)?.segment();
        let numbered = |path: &PathBuf| Some((number(path)?, path.clone()));
        let found: BTreeMap<u32, PathBuf> = listed.files.iter().filter_map(numbered).collect();
        let body = match found.is_empty() {
            true => Body::One(listed.path().to_path_buf()),
            false => {
                let folder = atomic::parent(listed.path()).to_path_buf();
                Body::Segments { folder, whole: listed.name.clone(), found }
            }
        };
        Files { body, parity }
    }

    /// The files that were just written, under the names that they have now.
    pub(crate) fn written(files: &[WrittenFile]) -> Files {
        let name_of = |file: &WrittenFile| {
            file.path.file_name().and_then(|name| name.to_str()).and_then(ArchiveName::parse)
        };
        let mut found = BTreeMap::new();
        let (mut one, mut parity, mut segmented) = (None, None, None);
        for file in files {
            let partial = file.partial.clone();
            match name_of(file) {
                Some(name) if name.segment().is_some() => {
                    found.insert(name.segment().unwrap_or_default(), partial);
                    segmented = Some(name.in_segment(None));
                }
                None if files.len() > 1 => parity = Some(partial),
                _ => one = Some(partial),
            }
        }
        let body = match (segmented, one) {
            (Some(whole), _) => {
                let folder = files.first().map(|file| atomic::parent(&file.path).to_path_buf());
                Body::Segments { folder: folder.unwrap_or_default(), whole, found }
            }
            (None, one) => Body::One(one.unwrap_or_default()),
        };
        Files { body, parity }
    }

    /// Where the file number `index`, from 0, lies or should lie.
    fn path(&self, index: usize) -> PathBuf {
        match &self.body {
            Body::One(path) => path.clone(),
            Body::Segments { folder, whole, found } => {
                let number = index as u32 + 1;
                let named = || folder.join(whole.clone().in_segment(Some(number)).to_string());
                found.get(&number).cloned().unwrap_or_else(named)
            }
        }
    }

    /// How many files there are, up to the last one that is there.
    fn count(&self) -> usize {
        match &self.body {
            Body::One(_) => 1,
            Body::Segments { found, .. } => found.keys().last().map_or(0, |last| *last as usize),
        }
    }

    /// The same archive, with the file number `index`, from 0, at `path`.
    pub(crate) fn with(mut self, index: usize, path: &Path) -> Files {
        match &mut self.body {
            Body::One(own) => *own = path.to_path_buf(),
            Body::Segments { found, .. } => {
                found.insert(index as u32 + 1, path.to_path_buf());
            }
        }
        self
    }

    /// Where its first file lies.
    pub(crate) fn first(&self) -> PathBuf {
        self.path(0)
    }

    /// Whether it is cut into segments.
    pub(crate) fn in_segments(&self) -> bool {
        matches!(self.body, Body::Segments { .. })
    }

    /// The paths of all files that are there, the parity last.
    pub(crate) fn all(&self) -> Vec<PathBuf> {
        let mut all: Vec<PathBuf> = match &self.body {
            Body::One(path) => vec![path.clone()],
            Body::Segments { found, .. } => found.values().cloned().collect(),
        };
        all.extend(self.parity.clone());
        all
    }
}

/// The segments of `whole` in `folder`.
fn segments(disk: &dyn Disk, folder: &Path, whole: &ArchiveName) -> Result<BTreeMap<u32, PathBuf>> {
    let names = disk
        .list(folder)
        .map_err(|cause| Error::io("list the folder of the archives", folder, cause))?;
    let mut found = BTreeMap::new();
    for name in names {
        let parsed = name.file_name().and_then(|name| name.to_str()).and_then(ArchiveName::parse);
        let Some(parsed) = parsed else { continue };
        if let Some(number) = parsed.segment()
            && parsed.in_segment(None) == *whole
        {
            found.insert(number, folder.join(name));
        }
    }
    Ok(found)
}

/// A file of an archive.
pub(crate) struct Part {
    pub(crate) path: PathBuf,
    /// `None` where it is missing.
    pub(crate) file: Option<Arc<dyn File>>,
    /// How long it should be.
    pub(crate) len: u64,
    /// How long it is.
    pub(crate) actual: u64,
}

/// The files of an archive as one, read-only.
pub(crate) struct Joined {
    pub(crate) parts: Vec<Part>,
    /// Length of every part but the last.
    each: u64,
    total: u64,
}

impl Joined {
    /// Joins files of which nothing is known but that all but the last must be equally long.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] with the segment that is missing, or has another length.
    pub(crate) fn strict<S: OpenFiles + ?Sized>(source: &S, files: &Files) -> Result<Joined> {
        let mut parts = Vec::new();
        for index in 0..files.count() {
            let part = Part::open(source, files.path(index), None)?;
            if part.file.is_none() {
                return Err(Error::corrupt(&part.path, "a segment of the archive is missing"));
            }
            parts.push(part);
        }
        let each = usual_length(&parts);
        let last = parts.len().saturating_sub(1);
        for (index, part) in parts.iter().enumerate() {
            if part.len != each && (index < last || part.len > each) {
                let message =
                    format!("a segment has {} bytes, and the others have {each}", part.len);
                return Err(Error::corrupt(&part.path, message).hint(MIXED_UP));
            }
        }
        Ok(Joined::of(parts, each))
    }

    /// Joins files that should have `total` bytes together, in segments of `each` bytes where that is
    /// not 0, whether they have them or not. Segments that somebody has joined are one file.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] when there should be one file and there are segments; what the disk
    /// reports of files that are there.
    pub(crate) fn with_lengths<S: OpenFiles + ?Sized>(
        source: &S,
        files: &Files,
        (total, each): (u64, u64),
    ) -> Result<Joined> {
        if files.in_segments() && each == 0 {
            let message = "the parity beside it is that of an archive in one piece";
            return Err(Error::corrupt(files.first(), message));
        }
        let each = if files.in_segments() { each } else { total };
        let lengths = (0..total.div_ceil(each.max(1))).map(|n| each.min(total - n * each));
        let parts: Vec<Part> = lengths
            .enumerate()
            .map(|(index, len)| Part::open(source, files.path(index), Some(len)))
            .collect::<Result<_>>()?;
        let each = parts.first().map_or(0, |first| first.len);
        Ok(Joined::of(parts, each))
    }

    fn of(parts: Vec<Part>, each: u64) -> Joined {
        let total = parts.iter().map(|part| part.len).sum();
        Joined { parts, each: each.max(1), total }
    }

    /// The number of the part that byte `offset` is in, from 0, and where in it.
    pub(crate) fn locate(&self, offset: u64) -> (usize, u64) {
        let index = ((offset / self.each) as usize).min(self.parts.len() - 1);
        (index, offset - index as u64 * self.each)
    }

    fn part(&self, offset: u64) -> (&Part, u64) {
        let (index, within) = self.locate(offset);
        (&self.parts[index], offset - within)
    }

    /// The file that byte `offset` is in.
    pub(crate) fn path_at(&self, offset: u64) -> &Path {
        &self.part(offset).0.path
    }

    /// Length of the whole.
    pub(crate) fn total(&self) -> u64 {
        self.total
    }

    /// Fills `buffer` from `offset` on, with zeros where a file ends too early; `false` where
    /// anything could not be read, and zeros are there as well.
    pub(crate) fn read_or_zeros(&self, buffer: &mut [u8], offset: u64) -> bool {
        let mut done = 0;
        let mut right = true;
        while done < buffer.len() {
            let at = offset + done as u64;
            let (part, begin) = self.part(at);
            let within = at - begin;
            let room = part.len.saturating_sub(within).min((buffer.len() - done) as u64) as usize;
            if room == 0 {
                buffer[done..].fill(0);
                return false;
            }
            let some = &mut buffer[done..done + room];
            let there = part.actual.saturating_sub(within).min(room as u64) as usize;
            let (now, never) = some.split_at_mut(there);
            never.fill(0);
            let read = part.file.as_ref().is_some_and(|f| f.read_exact_at(now, within).is_ok());
            if !read {
                now.fill(0);
            }
            right &= read && there == room;
            done += room;
        }
        right
    }
}

impl Part {
    /// Opens the file at `path`, which may be missing; `len` is how long it should be, where known.
    fn open<S: OpenFiles + ?Sized>(source: &S, path: PathBuf, len: Option<u64>) -> Result<Part> {
        match source.open_file(&path) {
            Ok(file) => {
                let actual = file.len().map_err(|cause| Error::io("measure", &path, cause))?;
                Ok(Part { path, file: Some(file), len: len.unwrap_or(actual), actual })
            }
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => {
                Ok(Part { path, file: None, len: len.unwrap_or_default(), actual: 0 })
            }
            Err(cause) if cause.kind() == io::ErrorKind::IsADirectory => {
                let message = "an archive is a file, and this is a folder";
                Err(Error::new(ErrorKind::Invalid, message)
                    .at(path)
                    .hint("Name the archive in it: NAME[0001].tar.zst, or its first segment."))
            }
            Err(cause) => Err(Error::io("open the archive", &path, cause)),
        }
    }
}

/// The length that most of the segments before the last have; the larger of two that are as frequent.
fn usual_length(parts: &[Part]) -> u64 {
    let before_last = match parts {
        [] => return 0,
        [only] => return only.len,
        [before @ .., _] => before,
    };
    let mut counts = BTreeMap::new();
    for part in before_last {
        *counts.entry(part.len).or_insert(0u32) += 1;
    }
    let usual = counts.into_iter().max_by_key(|(len, count)| (*count, *len));
    usual.map_or(0, |(len, _)| len)
}

impl File for Joined {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        if offset >= self.total || buffer.is_empty() {
            return Ok(0);
        }
        let (part, begin) = self.part(offset);
        let within = offset - begin;
        let count = (part.len - within).min(buffer.len() as u64) as usize;
        let Some(file) = &part.file else {
            return Err(io::ErrorKind::NotFound.into());
        };
        match file.read_at(&mut buffer[..count], within)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            count => Ok(count),
        }
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.total)
    }

    fn drop_cache(&self, offset: u64, len: u64) {
        let mut at = offset.min(self.total);
        let end = offset.saturating_add(len).min(self.total);
        while at < end {
            let (part, begin) = self.part(at);
            let until = (begin + part.len).min(end);
            if let Some(file) = &part.file {
                file.drop_cache(at - begin, until - at);
            }
            at = until.max(at + 1);
        }
    }
}

/// Whether `error` says that something is not what was written, rather than that it is not there.
pub(crate) fn is_damage(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Unsupported)
}
