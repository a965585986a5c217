//! Segments as files: their names, their headers, and which of them there are.
//!
//! A segment is `{:016}.log`, numbered from 1 in decimal. Other names in the folder are nobody's
//! business here. A header is one of four things ([`Header`]); what follows from each is decided by
//! [`super::recovery`].

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::format::{Malformed, SEGMENT_HEADER, SegmentHeader, segment_chain};
use crate::disk::{Disk, File, OpenMode, is_shortage};
use crate::engine::Lsn;
use crate::error::{ErrorKind, code};
use crate::{Error, Result};

/// What the first bytes of a segment are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Header {
    /// Nothing was written yet: too short, or zeros.
    Blank,
    /// Something, and no header: a torn write, or damage.
    Torn,
    /// A sound header of another format version.
    Foreign(u32),
    /// A sound header, and the chain that begins with it.
    Sound(SegmentHeader, u32),
}

/// One segment in the folder.
#[derive(Clone, Debug)]
pub(crate) struct SegmentInfo {
    /// Its number.
    pub(crate) number: u64,
    /// Its file.
    pub(crate) path: PathBuf,
    /// Length of the file, which may be longer than what is written in it.
    pub(crate) len: u64,
    /// What its first bytes are.
    pub(crate) header: Header,
    /// Whether the chain of headers from the newest segment back leads here. What recovery once
    /// discarded does not belong to it, nor does what is blank.
    pub(crate) live: bool,
    /// No commit of the history that is later than this stands in it; `None` for the newest, which
    /// no live segment follows.
    pub(crate) last_lsn: Option<Lsn>,
}

impl SegmentInfo {
    /// The header, where it is sound.
    pub(crate) fn sound(&self) -> Option<&SegmentHeader> {
        match &self.header {
            Header::Sound(header, _) => Some(header),
            _ => None,
        }
    }
}

/// The file of segment `number` in the folder `dir`.
pub(crate) fn path_of(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:016}.log"))
}

fn number_of(path: &Path) -> Option<u64> {
    let digits = path.file_name()?.to_str()?.strip_suffix(".log")?;
    if digits.len() != 16 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok().filter(|&number| number > 0)
}

/// Whether the log gives this name to its segments.
pub(crate) fn is_segment_name(path: &Path) -> bool {
    number_of(path).is_some()
}

/// Reads the header of an open segment of length `len`.
pub(crate) fn read_header(file: &dyn File, path: &Path, len: u64) -> Result<Header> {
    if len < SEGMENT_HEADER as u64 {
        return Ok(Header::Blank);
    }
    let mut bytes = [0; SEGMENT_HEADER];
    file.read_exact_at(&mut bytes, 0).map_err(|e| Error::io("read the log", path, e))?;
    if bytes.iter().all(|&byte| byte == 0) {
        return Ok(Header::Blank);
    }
    Ok(match SegmentHeader::decode(&bytes) {
        Ok(header) => Header::Sound(header, segment_chain(&bytes)),
        Err(Malformed::Format(version)) => Header::Foreign(version),
        Err(_) => Header::Torn,
    })
}

/// Whether an error of the log leaves everything as it was, so that the same may succeed later: no room,
/// or no file handles or memory. A segment that is written to never fails for want of the latter: its
/// errors are what they are.
pub(crate) fn passes(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::Busy)
}

/// An error met before anything was written into a segment: of listing, opening or making one.
pub(super) fn met(doing: &str, path: &Path, cause: std::io::Error) -> Error {
    let short = is_shortage(&cause);
    let error = Error::io(doing, path, cause);
    if !short {
        return error;
    }
    error.with_kind(ErrorKind::Busy).hint(
        "Try again when other files are closed, or raise the limit of open files (ulimit -n).",
    )
}

/// Opens the segment at `path` and tells its length.
pub(crate) fn open(disk: &dyn Disk, path: &Path, mode: OpenMode) -> Result<(Arc<dyn File>, u64)> {
    let file = disk.open(path, mode).map_err(|e| met("open the log", path, e))?;
    let len = file.len().map_err(|e| Error::io("read the length of the log", path, e))?;
    Ok((file, len))
}

/// The numbers of all segments in `dir`, in order. None where there is no such folder.
pub(crate) fn numbers(disk: &dyn Disk, dir: &Path) -> Result<Vec<u64>> {
    match disk.list(dir) {
        Ok(paths) => {
            let mut numbers: Vec<_> = paths.iter().filter_map(|path| number_of(path)).collect();
            numbers.sort_unstable();
            Ok(numbers)
        }
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(e) if is_shortage(&e) => Err(met("list the log", dir, e)),
        Err(e) => Err(Error::io("list the log", dir, e)
            .with_code(code::LOG_UNAVAILABLE)
            .hint("See to the disk of the log, or open the store without it: accept_lost_log().")),
    }
}

/// Whether there is any segment in `dir`.
pub(crate) fn has_segments(disk: &dyn Disk, dir: &Path) -> Result<bool> {
    numbers(disk, dir).map(|numbers| !numbers.is_empty())
}

/// All segments in `dir`, in order of their numbers, with their headers.
///
/// # Errors
/// Where the folder or one of its segments cannot be read. A header that is no header is no error.
pub(crate) fn list_segments(disk: &dyn Disk, dir: &Path) -> Result<Vec<SegmentInfo>> {
    let mut segments = Vec::new();
    for number in numbers(disk, dir)? {
        let path = path_of(dir, number);
        let (file, len) = match open(disk, &path, OpenMode::Read) {
            // It was being prepared when the folder was listed, and found no room.
            Err(e) if e.kind() == ErrorKind::NotFound => continue,
            opened => opened?,
        };
        let header = read_header(&*file, &path, len)?;
        segments.push(SegmentInfo { number, path, len, header, live: false, last_lsn: None });
    }
    let mut next: Option<SegmentHeader> = None;
    for segment in segments.iter_mut().rev() {
        segment.last_lsn = next.map(|next| next.base);
        let expected = next.map(|next| next.prev.map(|prev| prev.number));
        if let Some(&header) = segment.sound()
            && expected.is_none_or(|number| number == Some(segment.number))
        {
            segment.live = true;
            next = Some(header);
        }
    }
    Ok(segments)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_names_that_the_log_gives_are_segments() {
        let dir = Path::new("log");
        assert_eq!(number_of(&path_of(dir, 42)), Some(42));
        for name in ["1.log", "0000000000000000.log", "+000000000000001.log", "x.log", "lock"] {
            assert_eq!(number_of(&dir.join(name)), None, "{name}");
        }
    }
}
