//! The log of a store whose settings name a destination is kept: the store is to be backed up.

use super::core::Core;
use super::core::Secrets;
use super::events::RegimeEvent;
use super::plan::Plan;
use super::settings::Settings;
use crate::disk::atomic::absolute;
use crate::error::Result;
use crate::store::Store;

/// Keeps the log of `store` from now on, where its settings name a `DestinationFolder`; does nothing where
/// they do not, or where it is kept. [`Regime::open`](super::Regime::open) does so by itself; this is for
/// who opens a store without a regime and writes to it.
///
/// # Errors
/// Where the settings cannot be read, or the store cannot note it. In the latter case the log is kept until
/// the store is closed.
pub fn keep_log(store: &Store) -> Result<()> {
    let inner = store.inner();
    let disk = &**inner.engine.disk();
    let dir = absolute(disk, inner.engine.dir());
    let (settings, _) = Settings::load(disk, &dir)?;
    keep_for(store, &Plan::of(&settings, &dir, &Secrets::default())?)
}

fn keep_for(store: &Store, plan: &Plan) -> Result<()> {
    if plan.default_destination {
        return Ok(());
    }
    store.inner().begin_to_keep_log()
}

impl Core {
    /// The same for the store of the regime.
    pub(super) fn keep_log_for(&self, plan: &Plan) {
        if let Err(error) = keep_for(&self.store, plan) {
            self.events.tell(RegimeEvent::Trouble { error });
        }
    }
}
