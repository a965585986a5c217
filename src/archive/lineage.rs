//! Finding an archive by its seal: the one that another goes on from.
//!
//! The seal is the identity; names only say where to look first, since archives are moved and
//! renamed. What is found is open, and nothing more was read of it than its ends and its papers.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::names::{ArchiveKind, ArchiveName, list_archives};
use super::reader::ArchiveFile;
use crate::disk::Disk;
use crate::error::{Error, ErrorKind, Result, code};

/// Opens an archive, with whatever keys there are.
pub(crate) type Opener<'o> = dyn Fn(&Path) -> Result<Arc<ArchiveFile>> + 'o;

/// The archive that is looked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted<'w> {
    /// The digest in its seal, in hexadecimal.
    pub(crate) seal: &'w str,
    /// The name that it had when it was made.
    pub(crate) set: &'w str,
    pub(crate) number: u32,
}

/// Finds the archive that has the seal: among the `given` paths, then in each of the `folders`, by its
/// name first.
///
/// # Errors
/// 2009: [`ErrorKind::NotFound`] where there is none, with the reason why the one of that name is not
/// the one; what the disk says of the folder.
pub(crate) fn find_sealed(
    disk: &dyn Disk,
    folders: &[&Path],
    given: &[PathBuf],
    wanted: Wanted<'_>,
    open: &Opener<'_>,
) -> Result<Arc<ArchiveFile>> {
    let mut why_not = None;
    for path in given {
        match open(path) {
            Ok(file) if file.seal().to_string() == wanted.seal => return Ok(file),
            Ok(_) => {}
            Err(error) => why_not = why_not.or(Some(error)),
        }
    }
    let mut listed = Vec::new();
    for folder in folders {
        listed.extend(list_archives(disk, folder, None)?);
    }
    listed.retain(|listed| listed.name.kind() != ArchiveKind::Log);
    let is_named = |name: &ArchiveName| name.set() == wanted.set && name.number() == wanted.number;
    listed.sort_by_key(|listed| !is_named(&listed.name));
    for candidate in &listed {
        let named = is_named(&candidate.name);
        match open(candidate.path()) {
            Ok(file) if file.seal().to_string() == wanted.seal => return Ok(file),
            Ok(file) if named => {
                let other = "it has another seal: another archive took its place";
                why_not = why_not.or(Some(Error::new(ErrorKind::Foreign, other).at(file.path())));
            }
            Err(error) if named => why_not = why_not.or(Some(error)),
            Ok(_) | Err(_) => {}
        }
    }
    let Wanted { seal, set, number } = wanted;
    let short = seal.get(..16).unwrap_or(seal);
    let message = format!("the archive {set}[{number:04}] with the seal {short}... is not there");
    let missing = Error::new(ErrorKind::NotFound, message)
        .with_code(code::PARENT)
        .at(folders.first().unwrap_or(&Path::new("")))
        .hint("Put it beside the archive that goes on from it, or say where it is (--parent).");
    Err(match why_not {
        Some(cause) => missing.because(cause),
        None => missing,
    })
}
