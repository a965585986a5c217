//! Names that are derived from a name: no longer than a file system takes.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// The longest name of a file or folder, in bytes: what Linux, macOS and their file systems take.
pub const NAME_MAX: usize = 255;
/// Hexadecimal digits that stand for what was cut out of a name.
const DIGITS: usize = 16;

/// The path beside `path` whose name is that of `path` and then `suffix`. Where this is longer than
/// [`NAME_MAX`], the end of the name gives way to a digest of the whole name, so that different names
/// still derive different ones.
pub fn beside(path: &Path, suffix: &str) -> PathBuf {
    path.with_file_name(derived(path.file_name().unwrap_or_default(), suffix))
}

fn derived(name: &OsStr, suffix: &str) -> OsString {
    let mut bytes = name.as_bytes().to_vec();
    if bytes.len() + suffix.len() > NAME_MAX {
        let digest = blake3::hash(&bytes).to_hex();
        bytes.truncate(NAME_MAX.saturating_sub(suffix.len() + 1 + DIGITS));
        // A name that was text stays text.
        if let Err(cut) = std::str::from_utf8(&bytes)
            && name.to_str().is_some()
        {
            bytes.truncate(cut.valid_up_to());
        }
        bytes.push(b'~');
        bytes.extend_from_slice(&digest.as_bytes()[..DIGITS]);
    }
    bytes.extend_from_slice(suffix.as_bytes());
    OsString::from_vec(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_derived_name_keeps_the_name_where_it_fits_and_is_never_too_long() {
        assert_eq!(beside(Path::new("/a/b.zst"), ".repair"), Path::new("/a/b.zst.repair"));
        for len in 200..=NAME_MAX {
            let name = "ä".repeat(len / 2) + &"x".repeat(len % 2);
            let made = derived(OsStr::new(&name), ".repair");
            assert!(made.len() <= NAME_MAX && made.to_str().is_some(), "{len}: {made:?}");
            assert!(made.to_str().is_some_and(|made| made.ends_with(".repair")));
            let other = derived(OsStr::new(&(name + "y")), ".repair");
            assert_ne!(made, other, "{len}");
        }
    }
}
