//! The segments of a log where they lie: in a folder, in a file of their own, or in a log archive.
//!
//! The folder may be that of a store in use, which removes segments at any time: what it removes while
//! they are looked for, it has no need of any more, and nobody misses it. What the headers of segments
//! and archives say of each other is checked here; whether the segments follow each other is the
//! business of `course`.

use std::path::Path;
use std::sync::Arc;

use super::segment::{Segment, numbered};
use crate::archive::{ArchiveFile, ArchiveKind, ArchiveName, EntryKind, Keys};
use crate::destination::Catalogue;
use crate::disk::{Disk, OpenMode};
use crate::engine::log::{SegmentInfo, is_segment_name, list_segments};
use crate::engine::{ANCESTRY_FILE, Ancestry, AncestryFile};
use crate::error::{Error, ErrorKind, Result, code};
use crate::store::papers::LogHeader;

/// What the name of a segment ends with.
const SEGMENT_ENDING: &str = "log";
/// How often a folder is looked at whose files go away meanwhile.
pub(super) const LOOKS: usize = 10;

/// The segments of a folder: those of a log by the chain of their headers, others one by one. `bad` is
/// asked about each file that cannot be read, and fails where that ends the work.
pub(super) fn folder(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    keys: &Keys,
    bad: &mut dyn FnMut(Error) -> Result<()>,
) -> Result<Vec<Segment>> {
    let mut segments = Vec::new();
    // Where it is the log of a store, that has its ancestry beside the folder.
    let ancestry = dir.parent().and_then(|store| AncestryFile::load(&**disk, store).ok());
    let with_ancestry = |segment: Segment| match &ancestry {
        Some(ancestry) => segment.with_ancestry(ancestry),
        None => segment,
    };
    let mut take = |read: Result<Vec<Segment>>| {
        segments.extend(match read {
            Ok(read) => read,
            Err(error) => return bad(error),
        });
        Ok(())
    };
    for found in list_anew(&**disk, dir)? {
        // A discarded one, or one that was prepared and not used.
        if !found.live {
            continue;
        }
        let file = match disk.open(&found.path, OpenMode::Read) {
            // Its store has no need of it any more, and has just removed it.
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => continue,
            file => file.map_err(|e| Error::io("open the log", &found.path, e))?,
        };
        let opened = Segment::open(file, &found.path, found.last_lsn, None);
        take(opened.map(|segment| vec![with_ancestry(segment)]))?;
    }
    let names = disk.list(dir).map_err(|e| Error::io("list the log files", dir, e))?;
    for path in names.into_iter().map(|name| dir.join(name)) {
        let other = path.extension().is_some_and(|ending| ending == SEGMENT_ENDING);
        if other && !is_segment_name(&path) {
            take(file(&**disk, &path, keys))?;
        }
    }
    for stored in Catalogue::of_folder(disk, dir, keys)?.archives() {
        if stored.is_log() {
            let read = stored.open().map_err(numbered).and_then(|file| archived(&file));
            take(read)?;
        }
    }
    Ok(segments)
}

/// Whether a file of this name is a segment or a log archive.
pub(crate) fn is_log(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    let archive = name.and_then(ArchiveName::parse);
    path.extension().is_some_and(|ending| ending == SEGMENT_ENDING)
        || archive.is_some_and(|name| {
            // Of an archive in segments the first one stands for all.
            name.kind() == ArchiveKind::Log && name.segment().is_none_or(|segment| segment == 1)
        })
}

/// The segments of a folder from which a store in use may remove one between two looks.
fn list_anew(disk: &dyn Disk, dir: &Path) -> Result<Vec<SegmentInfo>> {
    for _ in 0..LOOKS {
        match list_segments(disk, dir) {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            listed => return listed,
        }
    }
    list_segments(disk, dir)
}

/// The segments of one file: a segment or a log archive, as its first bytes say.
pub(super) fn file(disk: &dyn Disk, path: &Path, keys: &Keys) -> Result<Vec<Segment>> {
    let segment = path.extension().is_some_and(|ending| ending == SEGMENT_ENDING);
    if !segment {
        let archive = ArchiveFile::open(disk, path, keys).map_err(numbered)?;
        return archived(&archive);
    }
    let opened = disk.open(path, OpenMode::Read);
    let file = opened.map_err(|e| numbered(Error::io("open the log", path, e)))?;
    Ok(vec![Segment::open(file, path, None, None)?])
}

/// The segments in a log archive.
fn archived(archive: &Arc<ArchiveFile>) -> Result<Vec<Segment>> {
    let path = archive.path();
    let header: LogHeader = serde_json::from_value(archive.header().app.clone()).map_err(|e| {
        Error::new(ErrorKind::Unsupported, "the archive is no archive of a log").at(path).because(e)
    })?;
    let ancestry = ancestry_of(archive)?;
    // What is encoded in ways that are not known here is shown as bytes.
    let tables = header.tables.iter().filter_map(|paper| paper.description().ok()).collect();
    let mut segments = Vec::new();
    for paper in &header.segments {
        let name = format!("{:016}.log", paper.number);
        let wrong = |why: String| Error::corrupt(path, why).with_code(code::LOG_CHECK);
        let entry = archive.find(&name).filter(|entry| entry.meta.kind == EntryKind::File);
        let entry = entry.ok_or_else(|| wrong(format!("segment {name} is not in the archive")))?;
        let content = archive.entry_file(entry).map_err(numbered)?;
        let segment =
            Segment::open(content, &path.join(&name), Some(paper.last), Some(archive.clone()))?;
        let stated = (header.store_id, paper.timeline.id, paper.after, paper.last);
        let head = segment.header();
        if stated != (head.store_id, head.timeline.id, segment.after(), segment.last()) {
            return Err(wrong(format!("segment {name} is not what the archive's header says")));
        }
        let segment = segment.with_ancestry(&ancestry);
        if segment.ancestry().is_none() {
            return Err(wrong(format!("segment {name} is not of the archive's ancestry")));
        }
        segments.push(segment.with_tables(&tables));
    }
    Ok(segments)
}

/// The ancestry of the last commit of an archive.
///
/// # Errors
/// `Corrupt` (1413).
fn ancestry_of(archive: &ArchiveFile) -> Result<Ancestry> {
    let wrong = |why: &str| {
        let message = format!("its entry \"{ANCESTRY_FILE}\" cannot be used: {why}");
        Error::corrupt(archive.path(), message).with_code(code::LOG_CHECK)
    };
    let entry = archive.find(ANCESTRY_FILE).ok_or_else(|| wrong("it is missing"))?;
    let bytes = archive.read_entry(entry, Ancestry::MAX_BYTES).map_err(numbered)?;
    Ancestry::decode(&bytes).map_err(wrong)
}
