//! Repairing an archive by its parity.
//!
//! It is done in place, block by block, and this is why that is safe: nothing is written before the
//! whole archive was looked through and every stripe found repairable; then only blocks are written
//! that their digests prove wrong, with bytes that their digests prove right. A crash in between, or a
//! torn write, leaves each of them wrong or right: no worse than before, and the next repair goes on.
//! It needs no room for a second copy, which an archive that fills its disk would not have, and works
//! where only a few sectors of a large file are bad. The parity file, where it is damaged, is made
//! anew from the repaired archive beside the old one, and replaces it when it is durable.

use super::file::{Header, Parity, beyond};
use super::order::write_parity;
use super::stripe::Examined;
use crate::archive::parts::{Files, Joined};
use crate::archive::verify::{Progress, stopped};
use crate::disk::{Access, Disk, File, OpenMode, atomic, create_like};
use crate::error::{Error, ErrorKind, Result};
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What a repair found and did.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct ArchiveRepair {
    /// Blocks of the archive that were looked at.
    pub blocks: u64,
    /// How many of them were damaged, and are repaired.
    pub repaired: u64,
    /// How many blocks of the parity were damaged.
    pub parity_damaged: u64,
    /// The files that were written to, the parity included.
    pub files: Vec<PathBuf>,
}

/// What the first look found.
#[derive(Default)]
struct Findings {
    report: ArchiveRepair,
    /// Stripes with damaged data blocks.
    stripes: Vec<u64>,
    /// Whether the parity file has to be made anew.
    parity: bool,
}

/// Repairs the archive that `files` make, which must have parity.
pub(crate) fn repair_files(
    disk: &dyn Disk,
    files: &Files,
    progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
) -> Result<ArchiveRepair> {
    let Some(path) = &files.parity else {
        return Err(Error::new(ErrorKind::NotFound, "there is no parity beside the archive")
            .at(files.first())
            .hint("Only an archive that was written with redundancy can be repaired."));
    };
    let parity = Parity::open(disk, path)?;
    let archive = Joined::with_lengths(disk, files, parity.header.lengths())?;
    let mut found = examine(&archive, &parity, progress)?;
    write_blocks(disk, &archive, &parity, &mut found)?;
    if found.report.files.is_empty() && !found.parity {
        return Ok(found.report);
    }
    // What was written is read again: the report is not to be taken on trust.
    let archive = Joined::with_lengths(disk, files, parity.header.lengths())?;
    archive.drop_cache(0, archive.total());
    check_again(&archive, &parity, &found.stripes)?;
    if found.parity {
        replace_parity(disk, &archive, &parity.header, path, progress)?;
        found.report.files.push(path.clone());
    }
    Ok(found.report)
}

/// Looks through everything; fails where anything is beyond repair.
fn examine(
    archive: &Joined,
    parity: &Parity,
    progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
) -> Result<Findings> {
    let geometry = &parity.header.geometry;
    let mut found = Findings { parity: parity.worn, ..Findings::default() };
    let mut set = blake3::Hasher::new();
    let mut done = 0;
    for number in 0..geometry.stripes() {
        let stripe = geometry.stripe(number);
        let at = stripe.block(0) * u64::from(geometry.block_bytes);
        let Some(examined) = Examined::read(archive, parity, stripe) else {
            let message =
                format!("both tables of stripe {number} are damaged: nothing was changed");
            return Err(parity.damaged(message));
        };
        if !examined.is_bearable() {
            return Err(beyond(archive.path_at(at), examined.bad(), &stripe)
                .hint("Nothing was changed. Another copy of the archive is needed."));
        }
        let (bad, bad_parity) = (examined.bad_data().count(), examined.bad_parity());
        if bad > 0 {
            found.stripes.push(number);
        }
        found.parity |= bad_parity > 0 || !examined.tables_whole;
        found.report.repaired += bad as u64;
        found.report.parity_damaged += bad_parity as u64;
        set.update(&examined.data_digests());
        done = (done + stripe.data as u64 * u64::from(geometry.block_bytes)).min(geometry.total);
        if progress(Progress { done, total: geometry.total }).is_break() {
            return Err(stopped(&parity.path));
        }
    }
    if *set.finalize().as_bytes() != parity.header.set.0 {
        return Err(parity.damaged("its tables are not those that its header stands for"));
    }
    found.report.blocks = geometry.blocks();
    Ok(found)
}

/// A file that is repaired.
struct Mending {
    file: Arc<dyn File>,
    path: PathBuf,
}

fn write_blocks(
    disk: &dyn Disk,
    archive: &Joined,
    parity: &Parity,
    found: &mut Findings,
) -> Result<()> {
    let geometry = &parity.header.geometry;
    let mut open: Vec<Option<Mending>> = archive.parts.iter().map(|_| None).collect();
    for number in &found.stripes {
        let stripe = geometry.stripe(*number);
        let Some(examined) = Examined::read(archive, parity, stripe) else {
            return Err(parity.damaged(format!("both tables of stripe {number} are damaged")));
        };
        for (block, bytes) in examined.mend(geometry)? {
            let at = block * u64::from(geometry.block_bytes);
            let len = (geometry.total - at).min(bytes.len() as u64) as usize;
            write_over_parts(disk, archive, &mut open, &bytes[..len], at)?;
        }
    }
    for (index, part) in archive.parts.iter().enumerate() {
        if part.actual != part.len {
            let mending = mending(disk, archive, &mut open, index)?;
            let cut = mending.file.set_len(part.len);
            cut.map_err(|cause| Error::io("cut to its length", &part.path, cause))?;
        }
    }
    for mending in open.into_iter().flatten() {
        mending.file.sync().map_err(|cause| Error::io("sync", &mending.path, cause))?;
        sync_folder(disk, &mending.path)?;
        found.report.files.push(mending.path);
    }
    Ok(())
}

/// Writes `bytes` at `offset` of the whole, which may be in several parts.
fn write_over_parts(
    disk: &dyn Disk,
    archive: &Joined,
    open: &mut [Option<Mending>],
    mut bytes: &[u8],
    mut offset: u64,
) -> Result<()> {
    while !bytes.is_empty() {
        let (index, within) = archive.locate(offset);
        let part = &archive.parts[index];
        let count = (part.len - within).min(bytes.len() as u64) as usize;
        let (now, later) = bytes.split_at(count);
        let written = mending(disk, archive, open, index)?.file.write_at(now, within);
        written.map_err(|cause| Error::io("repair", &part.path, cause))?;
        (bytes, offset) = (later, offset + count as u64);
    }
    Ok(())
}

/// The part `index`, open for writing; created where it is missing.
fn mending<'o>(
    disk: &dyn Disk,
    archive: &Joined,
    open: &'o mut [Option<Mending>],
    index: usize,
) -> Result<&'o Mending> {
    let slot = &mut open[index];
    if slot.is_none() {
        let part = &archive.parts[index];
        let file = match part.file {
            Some(_) => disk.open(&part.path, OpenMode::Write),
            None => {
                // A part that was lost was like those that are there.
                let there = archive.parts.iter().find(|other| other.file.is_some());
                let model = there.map(|other| Access::at(disk, &other.path)).transpose();
                model.and_then(|model| create_like(disk, &part.path, model.flatten()))
            }
        };
        let file = file.map_err(|cause| Error::io("open for the repair", &part.path, cause))?;
        *slot = Some(Mending { file, path: part.path.clone() });
    }
    match slot {
        Some(mending) => Ok(mending),
        None => unreachable!("it was just filled"),
    }
}

fn sync_folder(disk: &dyn Disk, path: &Path) -> Result<()> {
    let folder = atomic::parent(path);
    disk.sync_dir(folder).map_err(|cause| Error::io("sync", folder, cause))
}

fn check_again(archive: &Joined, parity: &Parity, stripes: &[u64]) -> Result<()> {
    let geometry = &parity.header.geometry;
    for number in stripes {
        let stripe = geometry.stripe(*number);
        let right = Examined::read(archive, parity, stripe)
            .is_some_and(|examined| examined.bad_data().next().is_none());
        if !right {
            let at = stripe.block(0) * u64::from(geometry.block_bytes);
            let message = "what was repaired was read back, and is still damaged";
            return Err(Error::corrupt(archive.path_at(at), message).hint(
                "Suspect the medium: copy the archive to another one, and repair it there.",
            ));
        }
    }
    Ok(())
}

fn replace_parity(
    disk: &dyn Disk,
    archive: &Joined,
    header: &Header,
    path: &Path,
    progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
) -> Result<()> {
    let mut name = path.file_name().map(|name| name.to_os_string()).unwrap_or_default();
    name.push(".repair");
    let beside = path.with_file_name(name);
    match disk.remove_file(&beside) {
        // Left over by a repair that died.
        Err(cause) if cause.kind() != io::ErrorKind::NotFound => {
            return Err(Error::io("remove", &beside, cause));
        }
        _ => {}
    }
    let shape = (header.geometry, header.segment_bytes);
    let replaced = write_parity(disk, archive, shape, &beside, progress).and_then(|set| {
        if set != header.set {
            return Err(Error::corrupt(path, "the parity does not belong to the archive"));
        }
        disk.rename(&beside, path).map_err(|cause| Error::io("replace", path, cause))
    });
    if replaced.is_err() {
        // The old one is as it was; what stays is removed by the next repair.
        let _left_over = disk.remove_file(&beside);
    }
    replaced.and_then(|()| sync_folder(disk, path))
}
