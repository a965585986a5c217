//! The state that a log begins with: an archive of the same history at that commit.

use std::path::{Path, PathBuf};

use stillpoint::archive::{ArchiveKind, list_archives};
use stillpoint::disk::RealDisk;
use stillpoint::regime::Outline;
use stillpoint::{Archive, Keys, LogFile, ReadHandle};

use crate::cli::exit::Outcome;
use crate::cli::stores;

/// The state in the archive `named`; or in one that lies where the archives of the log at `place` lie,
/// if there is one. It says the names of tables, and which records were there.
pub(super) fn of(
    log: &LogFile,
    place: &Path,
    named: Option<&Path>,
    keys: &Keys,
) -> Outcome<Option<ReadHandle>> {
    if let Some(named) = named {
        return Ok(Some(Archive::open_with(named, keys)?.read()?));
    }
    Ok(found(log, place, keys))
}

fn found(log: &LogFile, place: &Path, keys: &Keys) -> Option<ReadHandle> {
    let disk = RealDisk::new();
    let (after, _) = log.bounds()?;
    let first = log.segments().into_iter().find(|segment| segment.last > segment.after)?;
    let folder = match place {
        store if stores::is_store(store) => Outline::of(&*disk, store).ok()?.destination,
        folder if folder.is_dir() => folder.to_path_buf(),
        file => folder_of(file),
    };
    let archives = list_archives(&*disk, &folder, None).ok()?;
    let data = archives.iter().filter(|listed| listed.name.kind() != ArchiveKind::Log);
    data.filter_map(|listed| Archive::open_with(listed.path(), keys).ok()).find_map(|archive| {
        let header = archive.header();
        let line = [first.timeline.id, first.timeline.parent];
        let is_base = header.data
            && (header.store_id, header.lsn) == (first.store_id, after)
            && line.contains(&header.timeline.id);
        is_base.then(|| archive.read().ok()).flatten()
    })
}

fn folder_of(file: &Path) -> PathBuf {
    match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_path_buf(),
        _ => PathBuf::from("."),
    }
}
