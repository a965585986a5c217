//! Repaired files of an archive, written beside the damaged ones.
//!
//! Invariants: no damaged file is changed; what lies aside is durable before it takes a name; a name
//! that ends in [`SUFFIX`] is no archive's, so that nothing lists what a killed repair left, and the
//! next repair removes it.

use super::file::Parity;
use super::stripe::Examined;
use crate::archive::parts::{Files, Joined, Part};
use crate::disk::{Access, Disk, File, atomic, beside, create_like};
use crate::error::{Error, Result};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What the names of files end with that a repair has not finished.
pub(crate) const SUFFIX: &str = ".repair";
/// How much is copied at once.
const PIECE: u64 = 1 << 20;

/// Files that are written and have yet to replace damaged ones, by their number in the archive.
pub(crate) struct Aside {
    made: BTreeMap<usize, (PathBuf, PathBuf)>,
}

/// Writes what the damaged parts of `archive` should be, durably. `stripes` have damaged blocks.
pub(crate) fn write(
    disk: &dyn Disk,
    archive: &Joined,
    parity: &Parity,
    stripes: &[u64],
) -> Result<Aside> {
    let mut writer = Writer { disk, archive, open: BTreeMap::new() };
    let written = writer.run(parity, stripes);
    let made = writer.open.into_iter().map(|(index, open)| (index, (open.path, open.named)));
    let made = Aside { made: made.collect() };
    if written.is_err() {
        made.discard(disk);
    }
    written.map(|()| made)
}

/// Removes what a killed repair left beside the files of `archive` and its parity.
pub(crate) fn remove_stale(disk: &dyn Disk, archive: &Joined, parity: &Path) -> Result<()> {
    let paths = archive.parts.iter().map(|part| &*part.path).chain([parity]);
    for stale in paths.map(|path| beside(path, SUFFIX)) {
        if disk.metadata(&stale).is_ok() {
            disk.remove_file(&stale).map_err(|cause| Error::io("remove", &stale, cause))?;
        }
    }
    Ok(())
}

pub(crate) fn sync_folder(disk: &dyn Disk, path: &Path) -> Result<()> {
    let folder = atomic::parent(path);
    disk.sync_dir(folder).map_err(|cause| Error::io("sync", folder, cause))
}

impl Aside {
    /// `files` with what lies aside in the place of what is damaged.
    pub(crate) fn over(&self, files: &Files) -> Files {
        self.made.iter().fold(files.clone(), |all, (index, (path, _))| all.with(*index, path))
    }

    /// `files` once everything has its name, also those that were missing.
    pub(crate) fn named(&self, files: &Files) -> Files {
        self.made.iter().fold(files.clone(), |all, (index, (_, named))| all.with(*index, named))
    }

    /// Replaces the damaged files, durably.
    pub(crate) fn rename(&self, disk: &dyn Disk) -> Result<()> {
        for (path, named) in self.made.values() {
            disk.rename(path, named).map_err(|cause| Error::io("replace", named, cause))?;
        }
        match self.made.values().next() {
            Some((path, _)) => sync_folder(disk, path),
            None => Ok(()),
        }
    }

    /// The files that were replaced.
    pub(crate) fn into_paths(self) -> impl Iterator<Item = PathBuf> {
        self.made.into_values().map(|(_, named)| named)
    }

    /// Removes what lies aside.
    pub(crate) fn discard(&self, disk: &dyn Disk) {
        for (path, _) in self.made.values() {
            // The error that led here is the one to report; the next repair removes what stays.
            let _left_over = disk.remove_file(path);
        }
    }
}

/// A file that is being written aside.
struct Open {
    file: Arc<dyn File>,
    path: PathBuf,
    named: PathBuf,
}

struct Writer<'w> {
    disk: &'w dyn Disk,
    archive: &'w Joined,
    open: BTreeMap<usize, Open>,
}

impl Writer<'_> {
    fn run(&mut self, parity: &Parity, stripes: &[u64]) -> Result<()> {
        let geometry = &parity.header.geometry;
        for number in stripes {
            let stripe = geometry.stripe(*number);
            let Some(examined) = Examined::read(self.archive, parity, stripe) else {
                return Err(parity.damaged(format!("both tables of stripe {number} are damaged")));
            };
            for (block, bytes) in examined.mend(geometry)? {
                let at = block * u64::from(geometry.block_bytes);
                let len = (geometry.total - at).min(bytes.len() as u64) as usize;
                self.write_over_parts(&bytes[..len], at)?;
            }
        }
        for (index, part) in self.archive.parts.iter().enumerate() {
            if part.actual != part.len {
                self.part(index)?;
            }
        }
        for (index, open) in &self.open {
            let failed = |what| move |cause| Error::io(what, &open.path, cause);
            open.file.set_len(self.archive.parts[*index].len).map_err(failed("cut"))?;
            open.file.sync().map_err(failed("sync"))?;
            // What is proven is read from the medium.
            open.file.drop_cache(0, self.archive.parts[*index].len);
        }
        Ok(())
    }

    /// Writes `bytes` at `offset` of the whole, which may be in several parts.
    fn write_over_parts(&mut self, mut bytes: &[u8], mut offset: u64) -> Result<()> {
        while !bytes.is_empty() {
            let (index, within) = self.archive.locate(offset);
            let room = self.archive.parts[index].len - within;
            let count = room.min(bytes.len() as u64) as usize;
            let (now, later) = bytes.split_at(count);
            let open = self.part(index)?;
            let written = open.file.write_at(now, within);
            written.map_err(|cause| Error::io("write to", &open.path, cause))?;
            (bytes, offset) = (later, offset + count as u64);
        }
        Ok(())
    }

    /// The part `index`, aside; it begins as a copy of the damaged one.
    fn part(&mut self, index: usize) -> Result<&Open> {
        if !self.open.contains_key(&index) {
            let part = &self.archive.parts[index];
            let path = beside(&part.path, SUFFIX);
            // A part that was lost was like those that are there.
            let own = Some(part).filter(|part| part.file.is_some());
            let there = own.or_else(|| self.archive.parts.iter().find(|one| one.file.is_some()));
            let model = there.map(|there| Access::at(self.disk, &there.path)).transpose();
            let file = model
                .and_then(|model| create_like(self.disk, &path, model.flatten()))
                .map_err(|cause| Error::io("create for the repair", &path, cause))?;
            let open = Open { file, path, named: part.path.clone() };
            // It is removed with the others should the copy fail.
            let open = self.open.entry(index).or_insert(open);
            copy(part, open)?;
        }
        Ok(&self.open[&index])
    }
}

/// Copies what can be read of `part`.
fn copy(part: &Part, to: &Open) -> Result<()> {
    let Some(from) = &part.file else { return Ok(()) };
    let mut buffer = vec![0; PIECE as usize];
    let end = part.actual.min(part.len);
    let mut at = 0;
    while at < end {
        let piece = &mut buffer[..PIECE.min(end - at) as usize];
        // A place that cannot be read is damage: its blocks are written afterwards.
        if from.read_exact_at(piece, at).is_err() {
            read_by_sectors(&**from, piece, at);
        }
        let written = to.file.write_at(piece, at);
        written.map_err(|cause| Error::io("write to", &to.path, cause))?;
        at += piece.len() as u64;
    }
    Ok(())
}

/// Reads what can be read of a piece, with zeros for the rest.
fn read_by_sectors(from: &dyn File, piece: &mut [u8], at: u64) {
    const SECTOR: usize = 512;
    for (number, sector) in piece.chunks_mut(SECTOR).enumerate() {
        if from.read_exact_at(sector, at + (number * SECTOR) as u64).is_err() {
            sector.fill(0);
        }
    }
}
