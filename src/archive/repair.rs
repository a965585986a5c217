//! The door to repairs: an archive, by its path.

use super::parity::{ArchiveRepair, repair_files};
use super::parts::Files;
use super::verify::Progress;
use crate::disk::Disk;
use crate::error::Result;
use std::ops::ControlFlow;
use std::path::Path;

/// Repairs the archive at `path`, whatever its layers, by the parity beside it. No key is needed.
/// `progress` is told the bytes that were looked at, and may stop it.
///
/// Only bytes that are proven wrong are written, in place, and nothing at all where any of the damage
/// is more than the parity can bear. A parity file that is damaged itself is made anew.
///
/// # Durability
/// What was repaired is durable, and was read back, when it returns. A crash before that leaves
/// damage that the next repair mends.
///
/// # Errors
/// [`NotFound`](crate::ErrorKind::NotFound) without parity; [`Corrupt`](crate::ErrorKind::Corrupt) for
/// damage beyond repair; [`Stopped`](crate::ErrorKind::Stopped) (1406); what the disk reports.
pub fn repair(
    disk: &dyn Disk,
    path: &Path,
    progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
) -> Result<ArchiveRepair> {
    repair_files(disk, &Files::find(disk, path)?, progress)
}
