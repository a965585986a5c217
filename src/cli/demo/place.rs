//! The folder that the demo works in: a new one, removed at the end unless the user keeps it.

use std::path::{Path, PathBuf};

use stillpoint::{Error, ErrorKind};

use crate::cli::exit::Outcome;
use crate::cli::output_file;
use crate::cli::show::plain;

/// A folder that did not exist before. It goes when this is dropped, unless it is kept.
pub(crate) struct Place {
    folder: PathBuf,
    kept: bool,
}

impl Place {
    /// The new folder `keep`, to stay; or one in the system's folder for such things, to go.
    pub(crate) fn new(keep: Option<&Path>) -> Outcome<Place> {
        if let Some(folder) = keep {
            output_file::refuse_in_store(folder)?;
            std::fs::create_dir_all(folder)
                .map_err(|cause| Error::io("create the folder", folder, cause))?;
            let mut entries = std::fs::read_dir(folder)
                .map_err(|cause| Error::io("look into the folder", folder, cause))?;
            if entries.next().is_some() {
                return Err(Error::new(ErrorKind::Invalid, "the folder is not empty")
                    .at(folder)
                    .hint("Name a new one with --keep.")
                    .into());
            }
            return Ok(Place { folder: folder.to_path_buf(), kept: true });
        }
        let parent = std::env::temp_dir();
        for attempt in 0..100 {
            let folder = parent.join(format!("stillpoint-demo-{}-{attempt}", std::process::id()));
            match std::fs::create_dir(&folder) {
                Ok(()) => return Ok(Place { folder, kept: false }),
                Err(cause) if cause.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(cause) => return Err(Error::io("create a folder", &folder, cause).into()),
            }
        }
        Err(Error::new(ErrorKind::Exists, "too many left-over folders of former demos")
            .at(&parent)
            .hint("Remove those named stillpoint-demo-….")
            .into())
    }

    /// The path of `name` in it.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The folder itself.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }
}

impl Drop for Place {
    /// A folder that cannot be removed is told and is no reason to fail: its work is done.
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        if let Err(cause) = std::fs::remove_dir_all(&self.folder) {
            eprintln!("note: cannot remove {}: {cause}", plain::path(&self.folder));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scratch_folder_goes_and_a_kept_one_stays() {
        let scratch = Place::new(None).ok().unwrap();
        let folder = scratch.folder().to_path_buf();
        std::fs::write(scratch.path("x"), b"x").unwrap();
        drop(scratch);
        assert!(!folder.exists());

        let outer = tempfile::tempdir().unwrap();
        let kept = outer.path().join("a/b");
        drop(Place::new(Some(&kept)).ok().unwrap());
        assert!(kept.exists());
    }

    #[test]
    fn a_folder_with_something_in_it_is_not_taken() {
        let outer = tempfile::tempdir().unwrap();
        std::fs::write(outer.path().join("mine"), b"x").unwrap();
        assert!(Place::new(Some(outer.path())).is_err());
    }
}
