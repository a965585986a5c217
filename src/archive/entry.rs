//! What an archive says of each thing in it: entries, header and manifest.
//!
//! Invariants: a path is relative, has no empty, `.` or `..` component, and at most [`MAX_PATH`]
//! bytes; a symbolic link points to a place inside the archive; nothing lies beneath a link or a
//! file; no path occurs twice. Writer and reader hold themselves to the same checks, so that what
//! is written can be read, and what is read can be extracted into an empty folder without harm.

use super::digest::Digest;
use super::frame::Compression;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// The format of archives that this version writes, and the only one that it reads.
pub const FORMAT: u32 = 1;
/// The longest path of an entry, in bytes.
pub const MAX_PATH: usize = 4096;
/// The longest header or manifest, in bytes.
pub const MAX_JSON: u64 = 64 << 20;

/// The most values in a header or a manifest, beside the entries that the manifest lists.
pub(crate) const MAX_JSON_VALUES: u64 = 4 << 20;
/// Values in a manifest for each entry that it lists, at most.
pub(crate) const JSON_VALUES_OF_ENTRY: u64 = 32;

/// The name of the first entry.
pub const HEADER_NAME: &str = "header.json";
/// The name of the last entry.
pub const MANIFEST_NAME: &str = "manifest.json";

/// The path of an entry, or the target of a link: bytes, since a Unix name need not be text.
///
/// In JSON a string where it is UTF-8, else an array of its bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "StoredPath", from = "StoredPath")]
pub struct EntryPath(Vec<u8>);

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum StoredPath {
    Text(String),
    Bytes(Vec<u8>),
}

impl From<EntryPath> for StoredPath {
    fn from(path: EntryPath) -> StoredPath {
        match String::from_utf8(path.0) {
            Ok(text) => StoredPath::Text(text),
            Err(other) => StoredPath::Bytes(other.into_bytes()),
        }
    }
}

impl From<StoredPath> for EntryPath {
    fn from(path: StoredPath) -> EntryPath {
        match path {
            StoredPath::Text(text) => EntryPath(text.into_bytes()),
            StoredPath::Bytes(bytes) => EntryPath(bytes),
        }
    }
}

impl EntryPath {
    /// The path that consists of `bytes`. It is checked when it is put into an archive.
    pub fn new(bytes: impl AsRef<[u8]>) -> EntryPath {
        EntryPath(bytes.as_ref().to_vec())
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// As a path of the file system, relative.
    pub fn as_path(&self) -> &Path {
        Path::new(OsStr::from_bytes(&self.0))
    }

    fn components(&self) -> impl Iterator<Item = &[u8]> {
        self.0.split(|byte| *byte == b'/')
    }
}

impl From<&Path> for EntryPath {
    fn from(path: &Path) -> EntryPath {
        EntryPath::new(path.as_os_str().as_bytes())
    }
}

impl From<&[u8]> for EntryPath {
    fn from(path: &[u8]) -> EntryPath {
        EntryPath::new(path)
    }
}

impl From<&str> for EntryPath {
    fn from(path: &str) -> EntryPath {
        EntryPath::new(path)
    }
}

impl fmt::Display for EntryPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", String::from_utf8_lossy(&self.0).escape_debug())
    }
}

impl fmt::Debug for EntryPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

/// What an entry is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EntryKind {
    /// A regular file.
    File,
    /// A directory.
    Dir,
    /// A symbolic link to a place inside the archive, relative to the link's own folder.
    Symlink(EntryPath),
}

/// What is known of an entry apart from its content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntryMeta {
    /// Where it lies in the archive.
    pub path: EntryPath,
    /// What it is.
    pub kind: EntryKind,
    /// Bytes of content; 0 for anything but a file.
    pub size: u64,
    /// Unix permission bits, at most `0o7777`.
    pub mode: u32,
    /// When its content last changed, in microseconds since the Unix epoch.
    pub mtime: i64,
}

impl EntryMeta {
    /// A file at `path` of `size` bytes, readable by all and writable by its owner.
    pub fn file(path: impl Into<EntryPath>, size: u64, mtime: i64) -> EntryMeta {
        EntryMeta { path: path.into(), kind: EntryKind::File, size, mode: 0o644, mtime }
    }

    /// A directory at `path`.
    pub fn dir(path: impl Into<EntryPath>, mtime: i64) -> EntryMeta {
        EntryMeta { path: path.into(), kind: EntryKind::Dir, size: 0, mode: 0o755, mtime }
    }

    /// A symbolic link at `path` to `target`.
    pub fn symlink(
        path: impl Into<EntryPath>,
        target: impl Into<EntryPath>,
        mtime: i64,
    ) -> EntryMeta {
        let kind = EntryKind::Symlink(target.into());
        EntryMeta { path: path.into(), kind, size: 0, mode: 0o777, mtime }
    }

    /// Says what is wrong with it by itself, if anything is.
    pub(crate) fn check(&self) -> Result<(), String> {
        check_path(&self.path)?;
        if self.mode > 0o7777 {
            return Err(format!("{:?} has the mode {:o}", self.path, self.mode));
        }
        match &self.kind {
            EntryKind::File => Ok(()),
            _ if self.size != 0 => Err(format!("{:?} is no file and has content", self.path)),
            EntryKind::Dir => Ok(()),
            EntryKind::Symlink(target) => check_target(&self.path, target),
        }
    }
}

fn check_path(path: &EntryPath) -> Result<(), String> {
    if path.0.is_empty() || path.0.len() > MAX_PATH {
        return Err(format!("a path has {} bytes (1 to {MAX_PATH} are allowed)", path.0.len()));
    }
    if path.0.contains(&0) {
        return Err(format!("the path {path:?} holds a zero byte"));
    }
    match path.components().find(|part| matches!(*part, b"" | b"." | b"..")) {
        Some(part) => Err(format!(
            "the path {path:?} has the component \"{}\"",
            String::from_utf8_lossy(part)
        )),
        None => Ok(()),
    }
}

/// A target may step up only at its beginning, and not out of the archive. What follows are names
/// only: if one of them is a link, the same holds for that one, so the way never leads outside. (With
/// `..` after a name it could: the name may be a link to a folder higher up.)
fn check_target(link: &EntryPath, target: &EntryPath) -> Result<(), String> {
    let bad = |why: &str| Err(format!("the link {link:?} points to {target:?}, {why}"));
    if target.0.is_empty() || target.0.len() > MAX_PATH || target.0.contains(&0) {
        return bad("which is no path");
    }
    if target.0[0] == b'/' {
        return bad("an absolute path");
    }
    let mut above = link.components().count() - 1;
    let mut named = false;
    for part in target.components() {
        match part {
            b"" | b"." => {}
            b".." if named => return bad("which steps up after a name"),
            b".." if above == 0 => return bad("outside the archive"),
            b".." => above -= 1,
            _ => named = true,
        }
    }
    Ok(())
}

/// The paths of an archive so far: refuses what could not lie beside them in one folder.
///
/// Keys have `/` replaced by the zero byte, so that all that lies beneath a path follows it.
#[derive(Default)]
pub(crate) struct PathSet(BTreeMap<Vec<u8>, bool>);

impl PathSet {
    pub(crate) fn insert(&mut self, meta: &EntryMeta) -> Result<(), String> {
        let path = &meta.path;
        let is_dir = meta.kind == EntryKind::Dir;
        let key: Vec<u8> =
            path.0.iter().map(|byte| if *byte == b'/' { 0 } else { *byte }).collect();
        for (at, _) in key.iter().enumerate().filter(|(_, byte)| **byte == 0) {
            if self.0.get(&key[..at]) == Some(&false) {
                return Err(format!("{path:?} lies beneath an entry that is no directory"));
            }
        }
        if !is_dir {
            let beneath = [&key[..], &[0]].concat();
            if self.0.range(beneath.clone()..).next().is_some_and(|(k, _)| k.starts_with(&beneath))
            {
                return Err(format!("{path:?} is no directory, and entries lie beneath it"));
            }
        }
        match self.0.insert(key, is_dir) {
            None => Ok(()),
            Some(_) => Err(format!("{path:?} occurs twice")),
        }
    }
}

/// The content of `header.json`: what is known when the archive is begun.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Header {
    /// The archive format, [`FORMAT`].
    pub format: u32,
    /// How the frames are packed.
    pub compression: Compression,
    /// Content of every frame of an entry but its last, in bytes.
    pub frame_bytes: u32,
    /// What the writer of the archive has to say; opaque here.
    pub app: serde_json::Value,
}

/// An entry as the manifest lists it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManifestEntry {
    /// Path, kind, size, mode and time.
    #[serde(flatten)]
    pub meta: EntryMeta,
    /// BLAKE3 of the content.
    pub blake3: Digest,
}

/// The content of `manifest.json`: every entry before it, and how the work went.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// The archive format, [`FORMAT`].
    pub format: u32,
    /// Every entry but the manifest, in order.
    pub entries: Vec<ManifestEntry>,
    /// What the writer of the archive has to say at the end; opaque here.
    pub results: serde_json::Value,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_leave_the_folder_are_refused() {
        for bad in ["", "/etc/passwd", "..", "a/../../b", "a//b", "./a", "a/", "a/./b", "a\0b"] {
            assert!(EntryMeta::file(bad, 0, 0).check().is_err(), "{bad:?}");
        }
        assert!(EntryMeta::file(&*"x".repeat(MAX_PATH + 1), 0, 0).check().is_err());
        for good in ["a", "a/b", "..a", "a..", "a b", "ü/ \n", "-x", "*"] {
            assert_eq!(EntryMeta::file(good, 0, 0).check(), Ok(()), "{good:?}");
        }
    }

    #[test]
    fn links_that_leave_the_archive_are_refused() {
        for (link, target) in
            [("a", "/b"), ("a", ".."), ("a/b", "../../c"), ("a", "b/../../c"), ("a/b/c", "d/..")]
        {
            assert!(EntryMeta::symlink(link, target, 0).check().is_err(), "{link} -> {target}");
        }
        for (link, target) in [("a", "b"), ("a/b", "../c"), ("a/b/c", "./../../d/./e"), ("a", ".")]
        {
            assert_eq!(EntryMeta::symlink(link, target, 0).check(), Ok(()), "{link} -> {target}");
        }
    }

    #[test]
    fn nothing_may_lie_beneath_a_file_or_link_nor_twice_in_one_place() {
        let build = |metas: &[EntryMeta]| {
            let mut set = PathSet::default();
            metas.iter().try_for_each(|meta| set.insert(meta))
        };
        let file = |path: &str| EntryMeta::file(path, 0, 0);
        assert!(build(&[file("a"), file("a/b")]).is_err());
        assert!(build(&[file("a/b"), file("a")]).is_err());
        assert!(build(&[file("a/b/c"), EntryMeta::symlink("a/b", "d", 0)]).is_err());
        assert!(build(&[EntryMeta::symlink("a", "d", 0), file("a/b/c")]).is_err());
        assert!(build(&[file("a"), file("a")]).is_err());
        let good = [EntryMeta::dir("a", 0), file("a/b"), file("a-b"), file("ab"), file("a/c/d")];
        assert_eq!(build(&good), Ok(()));
        assert_eq!(build(&[file("a/b"), EntryMeta::dir("a", 0)]), Ok(()));
    }

    #[test]
    fn a_path_that_is_no_text_survives_json() {
        for bytes in [&b"plain"[..], b"caf\xE9", b"\xFF\xFE"] {
            let path = EntryPath::new(bytes);
            let text = serde_json::to_string(&path).expect("a path is JSON");
            assert_eq!(serde_json::from_str::<EntryPath>(&text).expect("it reads back"), path);
        }
    }
}
