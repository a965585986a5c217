//! Names of archives: `inventory[0001].tar.zst`.
//!
//! A set is named once, and its archives are numbered. The number is never used again while any file
//! of the set carries it: archive, log archive, segment, parity. Names are such that `tar`, shells
//! and other systems take them; the brackets need quotes in a shell.

use crate::disk::{self, Disk};
use crate::error::{Error, ErrorKind, Result};
use std::fmt;
use std::path::{Path, PathBuf};

/// What the name of an archive ends with.
pub const EXTENSION: &str = ".tar.zst";
/// What the name of an archive ends with while it is being written.
const PARTIAL: &str = ".partial";
/// The longest name of a set, in bytes: leaves room for number and endings in 255.
pub const MAX_NAME: usize = 180;

/// Name of a set and number in it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ArchiveName {
    set: String,
    number: u32,
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
    /// The name of archive `number` of `set`.
    ///
    /// # Errors
    /// As [`check_set_name`].
    pub fn new(set: impl Into<String>, number: u32) -> Result<ArchiveName> {
        let set = set.into();
        check_set_name(&set)?;
        Ok(ArchiveName { set, number })
    }

    /// The name of the set.
    pub fn set(&self) -> &str {
        &self.set
    }

    /// The number in the set.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// The name of the file while it is being written by the store `store`.
    pub fn partial(&self, store: u128) -> String {
        format!("{self}.{store:032x}{PARTIAL}")
    }

    /// Reads the name of a file; `None` where it is not the name of an archive.
    pub fn parse(file: &str) -> Option<ArchiveName> {
        let (set, number, rest) = split(file)?;
        let name = ArchiveName::new(set, number).ok()?;
        // Written back it must be the same: one number has one spelling.
        (rest == "].tar.zst" && name.to_string() == file).then_some(name)
    }

    /// Reads the name of an unfinished file: the archive that it was to be, and the store's id.
    pub fn parse_partial(file: &str) -> Option<(ArchiveName, u128)> {
        let (name, store) = file.strip_suffix(PARTIAL)?.rsplit_once('.')?;
        let id = u128::from_str_radix(store, 16).ok()?;
        let name = ArchiveName::parse(name)?;
        (name.partial(id) == file).then_some((name, id))
    }
}

impl fmt::Display for ArchiveName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{:04}]{EXTENSION}", self.set, self.number)
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
    /// Its name.
    pub name: ArchiveName,
    /// Where it lies.
    pub path: PathBuf,
    /// Its length in bytes.
    pub bytes: u64,
}

/// The archives of `set` in `folder`, or those of all sets, by set and number.
///
/// # Errors
/// When the folder cannot be read.
pub fn list_archives(disk: &dyn Disk, folder: &Path, set: Option<&str>) -> Result<Vec<Listed>> {
    let mut found = Vec::new();
    for path in names_in(disk, folder)? {
        let Some(name) = file_name(&path).and_then(ArchiveName::parse) else { continue };
        if set.is_some_and(|set| set != name.set) {
            continue;
        }
        let metadata = disk.metadata(&path).map_err(|e| Error::io("look at", &path, e))?;
        if metadata.kind == disk::EntryKind::File {
            found.push(Listed { name, path, bytes: metadata.len });
        }
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

/// The unfinished archives that the store `store` left in `folder`.
///
/// # Errors
/// When the folder cannot be read.
pub fn list_partials(disk: &dyn Disk, folder: &Path, store: u128) -> Result<Vec<PathBuf>> {
    let mut found = names_in(disk, folder)?;
    found.retain(|path| {
        let name = file_name(path).and_then(ArchiveName::parse_partial);
        name.is_some_and(|(_, id)| id == store)
    });
    Ok(found)
}

/// The smallest number above that of every file of `set` in `folder`, at least `at_least`.
///
/// # Errors
/// When the folder cannot be read; [`ErrorKind::Limit`] when no number is left.
pub fn next_number(disk: &dyn Disk, folder: &Path, set: &str, at_least: u32) -> Result<u32> {
    let mut next = at_least.max(1);
    for path in names_in(disk, folder)? {
        let Some((other, number, _)) = file_name(&path).and_then(split) else { continue };
        if other == set && number >= next {
            next = number.checked_add(1).ok_or_else(|| {
                Error::new(ErrorKind::Limit, format!("number {number} is taken")).at(&path)
            })?;
        }
    }
    Ok(next)
}

/// The paths of all names in `folder`.
fn names_in(disk: &dyn Disk, folder: &Path) -> Result<Vec<PathBuf>> {
    let names = disk.list(folder).map_err(|cause| Error::io("list", folder, cause))?;
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
        for bad in ["", "-x", ".x", "a:b", "a/b", "a\\b", "a\nb", "a\u{7f}", &"x".repeat(181)] {
            let refused = check_set_name(bad).expect_err(bad);
            assert_eq!(refused.kind(), ErrorKind::Invalid);
        }
        for good in ["Inventory", "a b", "[1]", "Lagerbestände", "x-y.z"] {
            check_set_name(good).expect(good);
        }
    }

    #[test]
    fn a_name_is_read_back_and_has_one_spelling() {
        for (set, number) in [("Inventory", 1), ("a[0002]", 9999), ("x", 10_000), ("x", u32::MAX)] {
            let name = ArchiveName::new(set, number).expect("good");
            assert_eq!(ArchiveName::parse(&name.to_string()), Some(name.clone()));
            let partial = name.partial(77);
            assert_eq!(ArchiveName::parse_partial(&partial), Some((name, 77)));
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
            "x[0001].log.zst",
            "[0001].tar.zst",
            "x[0001-0001].tar.zst",
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
