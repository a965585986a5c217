//! Paths in the form of another system: settings may come from there, and what is found at such a path
//! here is nothing. To a file system of Unix it is a name like any other, so this is asked only once
//! something is missing.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path};

/// What to do about `path`, which was not found and comes from the key `key` if from the settings;
/// `None` where it has the form of a path of this system.
pub(crate) fn advice(path: &Path, key: &str) -> Option<String> {
    let system = path.components().find_map(|component| match component {
        Component::Normal(name) => system_of(name),
        _ => None,
    })?;
    Some(format!(
        "It has the form of a path on {system}, which here is a mere name. Where it stands in the \
         settings, give one of this system: stillpoint settings DIR set {key} PATH."
    ))
}

fn system_of(name: &OsStr) -> Option<&'static str> {
    match name.as_bytes() {
        [drive, b':'] | [drive, b':', b'\\', ..] if drive.is_ascii_alphabetic() => Some("Windows"),
        name if name.contains(&b'\\') => Some("Windows"),
        // As 4D for the Mac wrote them.
        [_, .., b':'] => Some("a Mac, with colons"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_has_the_form_of_another_system_is_told_as_such() {
        let windows = ["C:\\Backups\\", "d:/Backups", "\\\\server\\share", "..\\Backups", "a\\b"];
        for path in windows.map(|path| format!("/data/{path}")) {
            let advice = advice(Path::new(&path), "DestinationFolder").expect(&path);
            assert!(advice.contains("on Windows") && advice.contains("set DestinationFolder PATH"));
        }
        let mac =
            advice(Path::new("/data/Macintosh HD:Backups:"), "IncludesFiles").expect("is one");
        assert!(mac.contains("Mac") && mac.contains("set IncludesFiles PATH"));
        for path in ["/data/backups", "../backups", "/data/12:30", "/data/a b", "/:"] {
            assert_eq!(advice(Path::new(path), "DestinationFolder"), None, "{path}");
        }
    }
}
