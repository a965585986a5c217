//! Repairing an archive by its parity.
//!
//! Parity is only a proposal: its header and its tables vouch for themselves, and anybody can write
//! such. So a repair is made aside and is believed when a [`Proof`], which knows what an archive is,
//! agrees: the archive that would result must be whole by its own seal, and what it replaces must be
//! damaged and contradict it nowhere. Only then do the repaired files take the names of the damaged
//! ones, one rename each. A crash in between leaves each file damaged or repaired, and the next repair
//! goes on. The parity file, where it is damaged, is written anew from the archive, aside as well.
//!
//! The disk must hold a second copy of each damaged file meanwhile, of a segmented archive only of the
//! damaged segments.

use super::aside::{self, Aside};
use super::file::{Header, Parity, beyond};
use super::guard::Guard;
use super::order::write_parity;
use super::stripe::Examined;
use crate::archive::parts::{Files, Joined};
use crate::archive::verify::{Progress, stopped};
use crate::disk::{Disk, beside};
use crate::error::{Error, ErrorKind, Result};
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
    /// The files that were replaced, the parity included.
    pub files: Vec<PathBuf>,
}

/// What decides whether a repair is believed.
pub(crate) trait Proof {
    /// Fails where the archive `files` needs no repair, or where `repaired`, which shows it as it
    /// would be, cannot be proven. Called before anything is written.
    ///
    /// # Errors
    /// Why the repair is not made.
    fn before(&self, files: &Files, repaired: Guard) -> Result<()>;

    /// Fails where the archive `repaired` is not whole, or is not the one that `damaged` was.
    ///
    /// # Errors
    /// Why the repair is not believed.
    fn after(&self, damaged: (&Files, Arc<Joined>), repaired: &Files) -> Result<()>;
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

type Tell<'t> = &'t mut dyn FnMut(Progress) -> ControlFlow<()>;

/// Repairs the archive that `files` make, which must have parity.
pub(crate) fn repair_files(
    disk: &dyn Disk,
    files: &Files,
    proof: &dyn Proof,
    progress: Tell<'_>,
) -> Result<ArchiveRepair> {
    let Some(path) = &files.parity else {
        return Err(Error::new(ErrorKind::NotFound, "there is no parity beside the archive")
            .at(files.first())
            .hint("Only an archive that was written with redundancy can be repaired."));
    };
    let parity = Parity::open(disk, path)?;
    let archive = Arc::new(Joined::with_lengths(disk, files, parity.header.lengths())?);
    aside::remove_stale(disk, &archive, path)?;
    let mut found = examine(&archive, &parity, progress)?;
    let lengths_differ = archive.parts.iter().any(|part| part.actual != part.len);
    let mut files = files.clone();
    if lengths_differ || !found.stripes.is_empty() {
        proof.before(&files, Guard::new(archive.clone(), parity.clone()))?;
        let made = aside::write(disk, &archive, &parity, &found.stripes)?;
        let replaced = replace_parts(disk, (&files, archive.clone()), &made, proof);
        if replaced.is_err() {
            made.discard(disk);
        }
        files = replaced?;
        found.report.files.extend(made.into_paths());
    }
    if found.parity {
        let archive = Joined::with_lengths(disk, &files, parity.header.lengths())?;
        replace_parity(disk, &archive, &parity.header, path, progress)?;
        found.report.files.push(path.clone());
    }
    Ok(found.report)
}

/// Looks through everything; fails where anything is beyond repair.
fn examine(archive: &Joined, parity: &Parity, progress: Tell<'_>) -> Result<Findings> {
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

/// Gives the parts that were made aside the names of the damaged ones, if the proof agrees.
fn replace_parts(
    disk: &dyn Disk,
    damaged: (&Files, Arc<Joined>),
    made: &Aside,
    proof: &dyn Proof,
) -> Result<Files> {
    let (files, _) = damaged;
    proof.after(damaged.clone(), &made.over(files))?;
    made.rename(disk)?;
    Ok(made.named(files))
}

fn replace_parity(
    disk: &dyn Disk,
    archive: &Joined,
    header: &Header,
    path: &Path,
    progress: Tell<'_>,
) -> Result<()> {
    let beside = beside(path, aside::SUFFIX);
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
    replaced.and_then(|()| aside::sync_folder(disk, path))
}
