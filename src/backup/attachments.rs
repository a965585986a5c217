//! Files and folders of the application's own that go into the archive with the store.
//!
//! A folder is taken with its tree; a symbolic link is saved as a link and never followed. What is
//! missing or unreadable does not stop the backup: it makes it partial, with an error for each.
//! The store's own files are refused: they are in the archive already, at the pinned commit.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::disk::{Disk, EntryKind, Metadata};
use crate::error::{Error, ErrorKind, Result, code};

/// The folder of the archive that attachments lie in.
pub(crate) const ATTACHMENTS: &str = "attachments";

/// One file, folder or link to be saved.
pub(super) struct Attachment {
    /// Where it is.
    pub(super) source: PathBuf,
    /// Its path within the archive.
    pub(super) name: String,
    /// What was known of it when the backup was planned.
    pub(super) found: Metadata,
}

/// What there is to be saved, and what is missing.
#[derive(Default)]
pub(super) struct Attachments {
    pub(super) found: Vec<Attachment>,
    pub(super) problems: Vec<Error>,
}

impl Attachments {
    /// Sees that the listed paths can be attachments at all.
    ///
    /// # Errors
    /// `Invalid` for a name that is no text, a name that stands twice, and whatever holds the store.
    pub(super) fn check(disk: &Arc<dyn Disk>, listed: &[PathBuf], store_dir: &Path) -> Result<()> {
        let mut names: Vec<&str> = Vec::new();
        for path in listed {
            let name = path.file_name().and_then(|name| name.to_str()).ok_or_else(|| {
                Error::new(ErrorKind::Invalid, "an attachment needs a name in valid text").at(path)
            })?;
            if names.contains(&name) {
                return Err(Error::new(
                    ErrorKind::Invalid,
                    format!("two attachments are called \"{name}\""),
                )
                .at(path)
                .hint("Attach the folder that holds them instead."));
            }
            names.push(name);
            refuse_the_store(disk, path, store_dir)?;
        }
        Ok(())
    }

    /// Looks at every listed path, folders with all that is in them.
    pub(super) fn plan(disk: &Arc<dyn Disk>, listed: &[PathBuf]) -> Attachments {
        let mut plan = Attachments::default();
        for path in listed {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            plan.add(disk, path, &format!("{ATTACHMENTS}/{name}"));
        }
        plan
    }

    /// Bytes of all files.
    pub(super) fn bytes(&self) -> u64 {
        self.found
            .iter()
            .filter(|attachment| attachment.found.kind == EntryKind::File)
            .map(|attachment| attachment.found.len)
            .sum()
    }

    fn add(&mut self, disk: &Arc<dyn Disk>, path: &Path, name: &str) {
        let found = match disk.metadata(path) {
            Ok(found) => found,
            Err(e) => return self.missing(path, e),
        };
        let children = match found.kind {
            EntryKind::Dir => match disk.list(path) {
                Ok(children) => children,
                Err(e) => return self.missing(path, e),
            },
            EntryKind::File | EntryKind::Symlink => Vec::new(),
            EntryKind::Other => {
                let what = std::io::Error::other("it is neither a file nor a folder nor a link");
                return self.missing(path, what);
            }
        };
        self.found.push(Attachment { source: path.to_path_buf(), name: name.to_owned(), found });
        for child in children {
            match child.file_name().and_then(|n| n.to_str()) {
                Some(file_name) => {
                    self.add(disk, &path.join(&child), &format!("{name}/{file_name}"));
                }
                None => self.missing(
                    &path.join(&child),
                    std::io::Error::other("its name is not valid text"),
                ),
            }
        }
    }

    pub(super) fn missing(&mut self, path: &Path, cause: std::io::Error) {
        let error = Error::new(ErrorKind::NotFound, "an attachment cannot be saved")
            .with_code(code::ATTACHMENT_MISSING)
            .at(path)
            .because(cause)
            .hint("The store itself is in the archive; the backup is partial.");
        self.problems.push(error);
    }
}

fn refuse_the_store(disk: &Arc<dyn Disk>, path: &Path, store: &Path) -> Result<()> {
    let (Ok(path), Ok(store)) = (disk.canonical(path), disk.canonical(store)) else {
        return Ok(()); // What cannot be found is reported as missing below.
    };
    if path.starts_with(&store) || store.starts_with(&path) {
        return Err(Error::new(ErrorKind::Invalid, "an attachment may not hold the store")
            .at(path)
            .hint("The store itself is always part of the archive."));
    }
    Ok(())
}
