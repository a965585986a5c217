//! A disk in memory that is as cruel as POSIX allows, for tests of crashes and faults.
//!
//! It keeps apart what reads see, what is durable, and what lies between (`content`, `names`). Nothing
//! becomes durable but by `File::sync` (content and length) and `Disk::sync_dir` (names): neither by
//! closing nor by renaming. A crash at any call can be asked for, and [`SimDisk::reboot`] gives the
//! disk as it would be found afterwards. An application may test itself with it in the same way.
//!
//! Invariants: the same seed and the same calls in the same order give the same bytes, numbers and
//! times; copies are cheap, since content is shared until it is written; a crashed disk changes no
//! more. Files are mapped through a memfd, so that a map is a real one.
//!
//! It keeps permission bits and obeys none; folders that cannot be renamed are asked for
//! (`immovable`). It does not model hard links, the page cache of reads, or
//! the order in which a file system might write back: every order is allowed.

mod calls;
mod content;
mod crash;
mod faults;
mod file;
mod image;
mod immovable;
mod medium;
mod names;
mod random;
mod state;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

pub use crash::Survival;
pub use faults::{Call, Fault, FaultPlan};
pub use state::HangGuard;

use self::immovable::Immovable;
use self::medium::{Last, Medium};
use self::names::Ino;
use self::random::Random;
use self::state::{FIRST_TIME, Shared, State};
use super::Access;
use super::anchor::Anchors;

/// A simulated disk. See the methods for what it can be asked to do wrong.
///
/// ```
/// use std::path::Path;
/// use stillpoint::disk::{Disk, OpenMode, SimDisk, Survival};
///
/// let disk = SimDisk::new(1);
/// let file = disk.open(Path::new("/a"), OpenMode::CreateNew)?;
/// file.write_at(b"never synced", 0)?;
/// disk.sync_dir(Path::new("/"))?;
/// let after = disk.reboot(Survival::Nothing);
/// assert_eq!(after.metadata(Path::new("/a"))?.len, 0);
/// # std::io::Result::Ok(())
/// ```
pub struct SimDisk {
    shared: Arc<Shared>,
    /// Folders that this value trusts no name for.
    folders: Anchors<Folder>,
}

/// A folder that is kept open.
struct Folder {
    ino: Ino,
    /// What new things below it get.
    access: Option<Access>,
}

/// What tests ask of it.
impl SimDisk {
    /// An empty disk: the directory `/`, where relative paths start, too.
    pub fn new(seed: u64) -> Arc<SimDisk> {
        SimDisk::with(State::new(Medium::new(FIRST_TIME), Random::new(seed)))
    }

    fn with(state: State) -> Arc<SimDisk> {
        SimDisk::over(Arc::new(Shared::new(state)))
    }

    fn over(shared: Arc<Shared>) -> Arc<SimDisk> {
        Arc::new(SimDisk { shared, folders: Anchors::default() })
    }

    /// How many calls were made. All that can fail count; clock, randomness and advice do not.
    pub fn calls(&self) -> u64 {
        self.shared.state.lock().calls
    }

    /// Crashes at the call with this number, counted from 1 as [`SimDisk::calls`] does. That call and
    /// every later one fails. If it is a write, some first part of it has taken effect; any other has
    /// taken none.
    pub fn crash_at(&self, call: u64) {
        self.shared.state.lock().crash_at = Some(call);
    }

    /// Crashes now: every later call fails, also those that hang.
    pub fn crash_now(&self) {
        self.shared.state.lock().crashed = true;
        self.shared.changed.notify_all();
    }

    /// Whether it has crashed.
    pub fn crashed(&self) -> bool {
        self.shared.state.lock().crashed
    }

    /// The call that [`SimDisk::crash_at`] made the last, once it has come, and the path it was for.
    pub fn crash_site(&self) -> Option<(Call, PathBuf)> {
        self.shared.state.lock().crash_site.clone()
    }

    /// A new disk with what survives; this one crashes if it has not yet. May be asked again and
    /// again, with other answers to the question of what survives.
    ///
    /// Clock, capacity and folders that cannot be renamed stay; faults, hangs and locks are gone, and
    /// calls count from 0.
    pub fn reboot(&self, survival: Survival) -> Arc<SimDisk> {
        self.crash_now();
        self.copy(survival)
    }

    /// A copy of the disk as it is, unsynced changes included; this one goes on. The copy has no
    /// faults, hangs and locks, and its calls count from 0.
    pub fn image(&self) -> Arc<SimDisk> {
        self.copy(Survival::Everything)
    }

    fn copy(&self, survival: Survival) -> Arc<SimDisk> {
        let state = self.shared.state.lock();
        let random = Random::new(state.random.clone().next());
        let mut copy = State::new(state.medium.after_crash(survival), random);
        copy.capacity = state.capacity;
        copy.now = state.now;
        copy.elapsed = state.elapsed;
        copy.immovable = state.immovable.clone();
        SimDisk::with(copy)
    }

    /// Adds a plan of what shall fail.
    pub fn fail(&self, plan: FaultPlan) {
        self.shared.state.lock().faults.push(plan);
    }

    /// Whether a plan still waits for its calls (one that fails for ever always does).
    pub fn has_faults(&self) -> bool {
        !self.shared.state.lock().faults.is_empty()
    }

    /// Drops every plan: from now on nothing fails.
    pub fn heal(&self) {
        self.shared.state.lock().faults.clear();
    }

    /// Sets how many bytes fit on the disk, in blocks of 4096. Content alone counts, not names.
    pub fn set_capacity(&self, bytes: u64) {
        self.shared.state.lock().capacity = Some(bytes);
    }

    /// Moves both clocks on.
    pub fn advance(&self, by: Duration) {
        self.shared.state.lock().advance(by);
    }

    /// Sets the wall clock, in microseconds since the Unix epoch; it may go back.
    pub fn set_now(&self, now: i64) {
        self.shared.state.lock().now = now;
    }

    /// Lets every call on a path that contains `path` wait until the guard is dropped, as on a network
    /// file system whose server is gone. A crash ends the wait.
    pub fn hang(&self, path: impl Into<String>) -> HangGuard {
        HangGuard::new(self.shared.clone(), path.into())
    }

    /// Makes a mount point of the folder at `path`: it cannot be renamed or removed (EBUSY), and no
    /// rename leads into it or out of it (EXDEV).
    ///
    /// # Errors
    /// Where there is no such folder.
    pub fn mount_point(&self, path: impl AsRef<Path>) -> io::Result<()> {
        self.restrict(|immovable, medium| immovable.mount(medium, path.as_ref()))
    }

    /// Puts the folder at `path`, and all folders in it, into the lower layer of an overlay: they
    /// cannot be renamed (EXDEV). Their files can, and so can folders that are made later.
    ///
    /// # Errors
    /// Where there is no such folder.
    pub fn lower_layer(&self, path: impl AsRef<Path>) -> io::Result<()> {
        self.restrict(|immovable, medium| immovable.lower(medium, path.as_ref()))
    }

    /// Takes the right to make, change or remove names in the folder at `path` (EACCES). The folders
    /// in it are not affected.
    ///
    /// # Errors
    /// Where there is no such folder.
    pub fn deny_names(&self, path: impl AsRef<Path>) -> io::Result<()> {
        self.restrict(|immovable, medium| immovable.seal(medium, path.as_ref()))
    }

    /// Mounts a read-only medium at the folder `path`, with what is in it: every call that would write
    /// there fails (EROFS), and [`SimDisk::refused_writes`] has it. A sync is such a call, and so is
    /// [`Disk::lock`](crate::disk::Disk::lock), which notes the owner.
    ///
    /// # Errors
    /// Where there is no such folder.
    pub fn read_only_medium(&self, path: impl AsRef<Path>) -> io::Result<()> {
        self.restrict(|immovable, medium| immovable.freeze(medium, path.as_ref()))
    }

    fn restrict<T>(&self, change: impl FnOnce(&mut Immovable, &Medium) -> T) -> T {
        let mut state = self.shared.state.lock();
        let State { immovable, medium, .. } = &mut *state;
        change(immovable, medium)
    }

    /// The calls that a read-only medium refused since the disk was made, and what they were for.
    pub fn refused_writes(&self) -> Vec<(Call, PathBuf)> {
        self.shared.state.lock().refused.clone()
    }

    /// Flips a bit of a file, where it is read and where it is durable, as rot does. No call counts.
    ///
    /// # Errors
    /// Where there is no such file.
    pub fn corrupt(&self, path: impl AsRef<Path>, offset: u64, bit: u8) -> io::Result<()> {
        let mut state = self.shared.state.lock();
        let (ino, _) = state.medium.find(path.as_ref(), Last::Follow)?;
        state.medium.content(ino)?.flip(offset, bit)
    }
}

impl fmt::Debug for SimDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.shared.state.lock();
        f.debug_struct("SimDisk")
            .field("calls", &state.calls)
            .field("crashed", &state.crashed)
            .field("nodes", &state.medium.nodes.len())
            .finish_non_exhaustive()
    }
}
