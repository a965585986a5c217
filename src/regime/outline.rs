//! What the settings of a store come to, for those who look at it without opening it.
//!
//! The store may be open elsewhere meanwhile, or be damaged: nothing is read but the settings, and of the
//! store which one it is.

use std::path::{Path, PathBuf};

use jiff::tz::TimeZone;

use super::core::Secrets;
use super::plan::Plan;
use super::schedule::Schedule;
use super::settings::Settings;
use super::state::State;
use crate::disk::Disk;
use crate::disk::atomic::absolute;
use crate::engine::tree::store_of;
use crate::engine::{DATA_FILE, StoreId};
use crate::error::{Error, Result};

/// Where the backups of a store go, and when they are due.
#[non_exhaustive]
#[derive(Clone, Debug)]
pub struct Outline {
    /// The store: by its data file, or where that cannot say it, by what its regime remembers. `None` where
    /// neither can.
    pub store: Option<StoreId>,
    /// The folder that archives and history are in.
    pub destination: PathBuf,
    /// The name of the archives, without their number.
    pub set: String,
    /// When automatic backups are due.
    pub schedule: Schedule,
    /// The time zone that they are due in.
    pub zone: TimeZone,
    /// How many sets are kept; `None` keeps all.
    pub keep: Option<u32>,
    /// Whether old ones are deleted before a backup rather than after it.
    pub erase_before: bool,
}

impl Outline {
    /// What the settings say for the store in the folder `dir`.
    ///
    /// # Errors
    /// [`NotFound`](crate::ErrorKind::NotFound) where there is no such folder; those of
    /// [`Settings::load`].
    pub fn of(disk: &dyn Disk, dir: &Path) -> Result<Outline> {
        let whole = disk.canonical(dir).map_err(|e| Error::io("find the store", dir, e))?;
        // By the name that it was given, as where it is opened: a link has one of its own.
        let dir = absolute(disk, dir);
        let (settings, _) = Settings::load(disk, &dir)?;
        let plan = Plan::of(&settings, &dir, &Secrets::default())?;
        let remembered = |_| State::load(disk, &whole).ok().and_then(|state| state.store_id());
        let store = store_of(disk, &whole.join(DATA_FILE)).map_or_else(remembered, Some);
        Ok(Outline {
            store,
            destination: plan.destination,
            set: plan.set,
            schedule: plan.schedule,
            zone: plan.zone,
            keep: plan.keep,
            erase_before: plan.erase_before,
        })
    }
}
