//! Which commits of the older copy a delta restore would throw away.

use std::path::Path;
use std::sync::Arc;

use crate::disk::Disk;
use crate::engine::{DirLock, History, Known, Lsn, locate, locate_locked};
use crate::error::{Error, ErrorKind, Result};

/// Commits of the store in the folder that the restored store does not have.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct DiscardedCommits {
    /// The last commit that both have; `None` where the histories do not say.
    pub after: Option<Lsn>,
    /// The last commit of the store in the folder; `None` where it is too damaged to say.
    pub last: Option<Lsn>,
}

impl DiscardedCommits {
    /// Refuses a restore that would throw them away and was not told to.
    pub(super) fn refusal(&self, dir: &Path) -> Error {
        let which = match (self.after, self.last) {
            (Some(after), Some(last)) if after + 1 == last => {
                format!("the store in the folder has commit {last}")
            }
            (Some(after), Some(last)) => {
                format!("the store in the folder has commits {} to {last}", after + 1)
            }
            (None, Some(last)) => {
                format!("the store in the folder has commits up to {last} of another history")
            }
            (_, None) => {
                "which commits the damaged store in the folder has is not known".to_owned()
            }
        };
        let message = format!("{which}: the restore would throw them away");
        Error::new(ErrorKind::Invalid, message).at(dir).hint(
            "Restore into a new folder to keep them, or say that they may go: discard_newer(true), \
             or --discard-newer.",
        )
    }
}

/// The commits that go where the copy in `dir` is brought to the end of `restored`. `lock` is that of its
/// folder, where it is held.
///
/// # Errors
/// `InUse` where somebody has the store open.
pub(super) fn discarded(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    lock: Option<&DirLock>,
    restored: &History,
) -> Result<Option<DiscardedCommits>> {
    let located = match lock {
        Some(lock) => locate_locked(dir, lock),
        None => locate(disk, dir),
    };
    let copy = match located {
        Err(error) if error.kind() == ErrorKind::InUse => return Err(error),
        Err(_) => return Ok(Some(DiscardedCommits { after: None, last: None })),
        Ok(located) => located.history,
    };
    let mut known = Known::default();
    known.add_line(&copy.ancestry);
    let after = restored.parting(copy.tip(), copy.last, &known);
    match after {
        Some(shared) if copy.last <= shared => Ok(None),
        _ => Ok(Some(DiscardedCommits { after, last: Some(copy.last) })),
    }
}
