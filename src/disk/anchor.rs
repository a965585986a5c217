//! Folders that a disk keeps open, so that a name is trusted once.
//!
//! Below such a folder every path of a call means the folder that was opened, whatever has become of
//! its name since: it may have been renamed, removed, or given to another. Both disks use this table;
//! what it holds for a folder is theirs.
//!
//! Invariants: the deepest folder counts; a path that leaves it by `..` is not below it; a call that
//! acts on the name of the folder itself acts where that name stands.

use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use parking_lot::RwLock;

/// What a call is about.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum About {
    /// The name in the folder that holds it.
    Name,
    /// What the name stands for.
    Thing,
}

/// Open folders by the paths that they were opened by.
pub(super) struct Anchors<T>(RwLock<Vec<(PathBuf, Arc<T>)>>);

impl<T> Default for Anchors<T> {
    fn default() -> Anchors<T> {
        Anchors(RwLock::default())
    }
}

impl<T> Anchors<T> {
    /// From now on `path` and what lies below means `folder`.
    pub(super) fn add(&self, path: &Path, folder: T) {
        let mut all = self.0.write();
        all.retain(|(known, _)| known != path);
        all.push((path.to_path_buf(), Arc::new(folder)));
        all.sort_by_key(|(path, _)| std::cmp::Reverse(path.components().count()));
    }

    /// The folder that `path` lies in and the way from there, which is empty for the folder itself.
    pub(super) fn find<'p>(&self, path: &'p Path, about: About) -> Option<(Arc<T>, &'p Path)> {
        self.0.read().iter().find_map(|(anchor, folder)| {
            let rest = path.strip_prefix(anchor).ok()?;
            let is_below = match about {
                About::Name => !rest.as_os_str().is_empty(),
                About::Thing => true,
            };
            let leaves = rest.components().any(|part| part == Component::ParentDir);
            (is_below && !leaves).then(|| (folder.clone(), rest))
        })
    }

    /// All of them, the deepest first.
    pub(super) fn all(&self) -> Vec<(PathBuf, Arc<T>)> {
        self.0.read().clone()
    }
}
