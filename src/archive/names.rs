//! Names of archives: `inventory[0001].tar.zst`.
//!
//! A set is named once, and its archives are numbered. The number is never used again while any file
//! of the set carries it: archive, log archive, segment, parity. Names are such that `tar`, shells
//! and other systems take them; the brackets need quotes in a shell.
//!
//! ```text
//! set[0006].tar.zst          a full archive          set[0006].tar.zst.age    encrypted
//! set[0006].inc.tar.zst      an incremental one      set[0006-0001].tar.zst   its first segment
//! set[0006].log.zst          the log after backup 6  set[0006].parity         its parity
//! ```

use crate::disk::{self, Disk};
use crate::error::{Error, ErrorKind, Result};
use std::fmt;
use std::path::{Path, PathBuf};

/// What the name of a full archive ends with.
pub const EXTENSION: &str = ".tar.zst";
/// What the name of an encrypted archive ends with, besides.
const ENCRYPTED: &str = ".age";
/// What the name of an archive ends with while it is being written.
const PARTIAL: &str = ".partial";
/// The longest name of a set, in bytes: leaves room for number and endings in 255.
pub const MAX_NAME: usize = 170;

/// What is in an archive; the ending of its name says it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ArchiveKind {
    /// A whole store.
    #[default]
    Full,
    /// What changed since another archive.
    Incremental,
    /// The log that was written after a backup.
    Log,
}

impl ArchiveKind {
    const ALL: [ArchiveKind; 3] = [ArchiveKind::Full, ArchiveKind::Incremental, ArchiveKind::Log];

    /// The ending of names.
    pub fn extension(self) -> &'static str {
        match self {
            ArchiveKind::Full => EXTENSION,
            ArchiveKind::Incremental => ".inc.tar.zst",
            ArchiveKind::Log => ".log.zst",
        }
    }
}

/// Name of a set, number in it, and what the file is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ArchiveName {
    set: String,
    number: u32,
    kind: ArchiveKind,
    encrypted: bool,
    segment: Option<u32>,
}

/// Refuses what may not be the name of a set.
///
/// # Errors
/// [`ErrorKind::Invalid`] for an empty or too long name, one that begins with `-` or `.`, or one
/// that holds `:`, `/`, `\` or a control character: GNU tar takes a colon for a remote host.
pub fn check_set_name(set: &str) -> Result<()> {
    let refuse = |why: String| {
        let message = format!("\"{}\" cannot be the name of an archive: {why}", set.escape_debug());
        Err(Error::new(ErrorKind::Invalid, message))
    };
    if set.is_empty() || set.len() > MAX_NAME {
        return refuse(format!("it has {} bytes (1 to {MAX_NAME} are allowed)", set.len()));
    }
    if set.starts_with(['-', '.']) {
        return refuse("it begins with a dash or a dot".to_string());
    }
    match set.chars().find(|c| matches!(c, ':' | '/' | '\\') || c.is_control()) {
        Some(c) => refuse(format!("it contains '{}'", c.escape_debug())),
        None => Ok(()),
    }
}

impl ArchiveName {
    /// The name of full archive `number` of `set`, plain and in one piece.
    ///
    /// # Errors
    /// As [`check_set_name`].
    pub fn new(set: impl Into<String>, number: u32) -> Result<ArchiveName> {
        let set = set.into();
        check_set_name(&set)?;
        Ok(ArchiveName { set, number, kind: ArchiveKind::Full, encrypted: false, segment: None })
    }

    /// The same for an archive of `kind`.
    pub fn of_kind(mut self, kind: ArchiveKind) -> ArchiveName {
        self.kind = kind;
        self
    }

    /// The same for an archive that is encrypted, or is not.
    pub fn encrypted(mut self, encrypted: bool) -> ArchiveName {
        self.encrypted = encrypted;
        self
    }

    /// The same for segment `segment`, counted from 1, or for the whole in one piece.
    pub fn in_segment(mut self, segment: Option<u32>) -> ArchiveName {
        self.segment = segment;
        self
    }

    /// The name of the set.
    pub fn set(&self) -> &str {
        &self.set
    }

    /// The number in the set.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// What is in it.
    pub fn kind(&self) -> ArchiveKind {
        self.kind
    }

    /// Whether it is encrypted.
    pub fn is_encrypted(&self) -> bool {
        self.encrypted
    }

    /// Which segment it is, where the archive is cut into segments.
    pub fn segment(&self) -> Option<u32> {
        self.segment
    }

    /// The name of the file of parity beside the archive.
    pub fn parity(&self) -> String {
        format!("{}.parity", self.stem())
    }

    /// What the names of files beside the archive begin with.
    pub(crate) fn stem(&self) -> String {
        let kind = match self.kind {
            ArchiveKind::Log => ".log",
            ArchiveKind::Full | ArchiveKind::Incremental => "",
        };
        format!("{}[{:04}]{kind}", self.set, self.number)
    }

    /// The name of the file while it is being written by the store `store`.
    pub fn partial(&self, store: u128) -> String {
        partial(&self.to_string(), store)
    }

    /// Reads the name of a file; `None` where it is not the name of an archive.
    pub fn parse(file: &str) -> Option<ArchiveName> {
        let (set, number, mut rest) = split(file)?;
        let mut segment = None;
        if let Some(after) = rest.strip_prefix('-') {
            let digits = after.find(|c: char| !c.is_ascii_digit())?;
            segment = Some(after[..digits].parse().ok()?);
            rest = &after[digits..];
        }
        let rest = rest.strip_prefix(']')?;
        let plain = rest.strip_suffix(ENCRYPTED);
        let ending = plain.unwrap_or(rest);
        let kind = ArchiveKind::ALL.into_iter().find(|kind| kind.extension() == ending)?;
        let name = ArchiveName::new(set, number).ok()?.of_kind(kind);
        let name = name.encrypted(plain.is_some()).in_segment(segment);
        // Written back it must be the same: one number has one spelling.
        (segment != Some(0) && name.to_string() == file).then_some(name)
    }
}

/// The name of `file` while it is being written by the store `store`.
pub fn partial(file: &str, store: u128) -> String {
    format!("{file}.{store:032x}{PARTIAL}")
}

/// The store whose unfinished file of a set this is; `None` where it is none.
fn partial_of(file: &str) -> Option<u128> {
    let name = unfinished(file)?;
    let id = file.strip_prefix(name)?.strip_prefix('.')?.strip_suffix(PARTIAL)?;
    let id = u128::from_str_radix(id, 16).ok()?;
    split(name)?;
    (partial(name, id) == file).then_some(id)
}

/// What the unfinished file `file` is to be called.
pub(crate) fn unfinished(file: &str) -> Option<&str> {
    Some(file.strip_suffix(PARTIAL)?.rsplit_once('.')?.0)
}

/// The set that the file `file` belongs to, and the number that it carries.
pub(crate) fn numbered(file: &str) -> Option<(&str, u32)> {
    split(file).map(|(set, number, _)| (set, number))
}

impl fmt::Display for ArchiveName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{:04}", self.set, self.number)?;
        if let Some(segment) = self.segment {
            write!(f, "-{segment:04}")?;
        }
        let encrypted = if self.encrypted { ENCRYPTED } else { "" };
        write!(f, "]{}{encrypted}", self.kind.extension())
    }
}

/// Cuts `set[number...` at the last bracket.
fn split(file: &str) -> Option<(&str, u32, &str)> {
    let (set, rest) = file.rsplit_once('[')?;
    let digits = rest.find(|c: char| !c.is_ascii_digit())?;
    Some((set, rest[..digits].parse().ok()?, &rest[digits..]))
}

/// A finished archive in a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its name; where it is in segments, that of the whole.
    pub name: ArchiveName,
    /// Its files in order: one, or its segments. Whether any is missing shows when it is opened.
    pub files: Vec<PathBuf>,
    /// The length of all of them in bytes.
    pub bytes: u64,
}

impl Listed {
    /// The file by which it is opened: its only one, or its first segment.
    pub fn path(&self) -> &Path {
        &self.files[0]
    }
}

/// The archives of `set` in `folder`, or those of all sets, by set, number and kind.
///
/// # Errors
/// When the folder cannot be read.
pub fn list_archives(disk: &dyn Disk, folder: &Path, set: Option<&str>) -> Result<Vec<Listed>> {
    let mut files = Vec::new();
    for path in names_in(disk, folder)? {
        let Some(name) = file_name(&path).and_then(ArchiveName::parse) else { continue };
        if set.is_some_and(|set| set != name.set) {
            continue;
        }
        let metadata = match disk.metadata(&path) {
            Ok(metadata) => metadata,
            // It was deleted since its name was read.
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => continue,
            Err(e) => return Err(Error::io("look at", &path, e)),
        };
        if metadata.kind == disk::EntryKind::File {
            files.push((name, path, metadata.len));
        }
    }
    Ok(group(files))
}

/// The archives that `files`, each with its name and length, belong to: by set, number and kind.
pub(crate) fn group(mut files: Vec<(ArchiveName, PathBuf, u64)>) -> Vec<Listed> {
    files.sort();
    let mut found: Vec<Listed> = Vec::new();
    for (name, path, bytes) in files {
        let in_segments = name.segment.is_some();
        let whole = name.in_segment(None);
        match found.last_mut() {
            Some(last) if in_segments && last.name == whole => {
                last.files.push(path);
                last.bytes += bytes;
            }
            _ => found.push(Listed { name: whole, files: vec![path], bytes }),
        }
    }
    found
}

/// The unfinished archives that the store `store` left in `folder`.
///
/// # Errors
/// When the folder cannot be read.
pub fn list_partials(disk: &dyn Disk, folder: &Path, store: u128) -> Result<Vec<PathBuf>> {
    let mut found = names_in(disk, folder)?;
    found.retain(|path| file_name(path).and_then(partial_of) == Some(store));
    Ok(found)
}

/// The paths of all names in `folder`.
fn names_in(disk: &dyn Disk, folder: &Path) -> Result<Vec<PathBuf>> {
    let names = disk
        .list(folder)
        .map_err(|cause| Error::io("list the folder of the archives", folder, cause))?;
    Ok(names.into_iter().map(|name| folder.join(name)).collect())
}

fn file_name(path: &Path) -> Option<&str> {
    path.file_name()?.to_str()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_tar_or_a_shell_would_misread_are_refused() {
        for bad in ["", "-x", ".x", "a:b", "a/b", "a\\b", "a\nb", "a\u{7f}", &"x".repeat(171)] {
            let refused = check_set_name(bad).expect_err(bad);
            assert_eq!(refused.kind(), ErrorKind::Invalid);
        }
        for good in ["Inventory", "a b", "[1]", "Lagerbestände", "x-y.z"] {
            check_set_name(good).expect(good);
        }
    }

    #[test]
    fn an_archive_that_is_deleted_while_the_folder_is_read_is_no_error() {
        let sim = disk::SimDisk::new(1);
        let (path, over) =
            (Path::new("/x[0001].tar.zst"), std::sync::atomic::AtomicBool::new(false));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for _ in 0..500 {
                    sim.open(path, disk::OpenMode::CreateNew).expect("it is not there");
                    sim.remove_file(path).expect("it is there");
                }
                over.store(true, std::sync::atomic::Ordering::Release);
            });
            while !over.load(std::sync::atomic::Ordering::Acquire) {
                list_archives(&*sim, Path::new("/"), None).expect("the folder is there");
            }
        });
    }

    #[test]
    fn a_name_is_read_back_and_has_one_spelling() {
        for (set, number) in [("Inventory", 1), ("a[0002]", 9999), ("x", 10_000), ("x", u32::MAX)] {
            let name = ArchiveName::new(set, number).expect("good");
            assert_eq!(ArchiveName::parse(&name.to_string()), Some(name.clone()));
            let partial = name.partial(77);
            assert_eq!(partial_of(&partial), Some(77));
            assert_eq!(
                ArchiveName::parse(&partial),
                None,
                "unfinished is never taken for finished"
            );
        }
        for bad in [
            "x[1].tar.zst",
            "x[00001].tar.zst",
            "x[0001].tar",
            "x[0001].log.tar.zst",
            "x[0001].tar.zst.age.age",
            "x[0001-0000].tar.zst",
            "x[0001-1].tar.zst",
            "[0001].tar.zst",
            "x0001].tar.zst",
            "x[+001].tar.zst",
            "x[99999999999].tar.zst",
            "x[0001].tar.zst~",
        ] {
            assert_eq!(ArchiveName::parse(bad), None, "{bad}");
        }
        assert_eq!(
            ArchiveName::new("Inventory", 1).expect("good").to_string(),
            "Inventory[0001].tar.zst"
        );
    }
}
