//! Who does what a store does in the background.

use super::Store;
use crate::{Error, ErrorKind, Result};

/// Who does what a store does in the background: syncs of `Eventual` commits, log segments made ahead,
/// checkpoints, submitted transactions, backups.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Background {
    /// Threads of the store.
    #[default]
    Threads,
    /// Nobody, until [`Store::step`] is called: for tests that are to run the same way each time.
    ///
    /// Calls that need the result of background work do it themselves: a commit that finds no room in
    /// memory writes the checkpoint, [`wait`](crate::SubmitTicket::wait) runs the submitted transactions
    /// up to its own, and a backup is made to its end within
    /// [`start`](crate::BackupBuilder::start), on the calling thread, packing included and without a
    /// throttle. A regime starts no thread either; see [`Regime::tick`](crate::regime::Regime::tick).
    /// Participants keep threads of their own, which answer one call at a time, and so do the backups of
    /// a [group](crate::Together), whose order among themselves is not the same each time.
    Stepped,
}

impl Store {
    /// Does one thing that the threads of another store would do in the background now, and says whether
    /// there was one: the next submitted transaction, the sync of `Eventual` commits with the log segment
    /// that is made ahead, or a checkpoint of what was set aside for one.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] for a store that has threads for that; [`ErrorKind::Closed`].
    pub fn step(&self) -> Result<bool> {
        let inner = self.inner();
        inner.check_open()?;
        if inner.settings.background == Background::Threads {
            return Err(Error::new(ErrorKind::Invalid, "the store has threads of its own")
                .hint("Open it with StoreBuilder::background(Background::Stepped)."));
        }
        Ok(inner.runners.step() || inner.engine.step())
    }
}
