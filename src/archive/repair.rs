//! The way to repairs: an archive, by its path.

use super::keys::Keys;
use super::parity::{ArchiveRepair, repair_files};
use super::parts::Files;
use super::proof::BySeal;
use super::verify::Progress;
use crate::disk::Disk;
use crate::error::Result;
use std::ops::ControlFlow;
use std::path::Path;

/// Repairs the archive at `path`, which is not encrypted, by the parity beside it. See
/// [`repair_with`].
///
/// # Durability
/// As [`repair_with`].
///
/// # Errors
/// As [`repair_with`].
pub fn repair(
    disk: &dyn Disk,
    path: &Path,
    progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
) -> Result<ArchiveRepair> {
    repair_with(disk, path, &Keys::none(), progress)
}

/// Repairs the archive at `path`, whatever its layers, by the parity beside it. `progress` learns the
/// bytes that were looked at, and may stop it.
///
/// The damaged files are written anew beside the old ones. They replace them only when the archive
/// was damaged, the repaired one is whole by its own seal, and nothing that is left of the damaged one
/// says that it was another archive. The seal of an encrypted archive takes one of `keys` to read. A
/// parity file that is damaged itself is made anew from the archive; that takes no key.
///
/// # Durability
/// What was repaired is durable, and was read back, when it returns. A crash before that leaves each
/// file damaged or repaired, and the next repair goes on.
///
/// # Errors
/// [`NotFound`](crate::ErrorKind::NotFound) without parity; [`Corrupt`](crate::ErrorKind::Corrupt) for
/// damage beyond repair, and for parity that is not the archive's; 2011 for an encrypted archive that
/// none of `keys` opens; [`Stopped`](crate::ErrorKind::Stopped) (1406); what the disk reports. Nothing
/// is changed then.
pub fn repair_with(
    disk: &dyn Disk,
    path: &Path,
    keys: &Keys,
    progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
) -> Result<ArchiveRepair> {
    let files = Files::find(disk, path)?;
    let parity = files.parity.clone().unwrap_or_default();
    let proof = BySeal { disk, keys, parity: &parity };
    repair_files(disk, &files, &proof, progress)
}
