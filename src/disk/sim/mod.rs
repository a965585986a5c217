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
//! It keeps permission bits and obeys none. It does not model hard links, the page cache of reads, or
//! the order in which a file system might write back: every order is allowed.

mod content;
mod crash;
mod faults;
mod file;
mod image;
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

use rustix::io::Errno;

pub use crash::Survival;
pub use faults::{Call, Fault, FaultPlan};
pub use state::HangGuard;

use self::content::Content;
use self::file::{SimFile, whole};
use self::image::CHUNK;
use self::medium::{DIR_MODE, Last, Medium, Node};
use self::names::Ino;
use self::random::Random;
use self::state::{FIRST_TIME, Guard, LockGuard, Shared, State};
use super::{Disk, EntryKind, File, Metadata, OpenMode};

/// Free space of a disk without a capacity: 1 PiB.
const UNBOUNDED: u64 = 1 << 50;

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
}

/// What tests ask of it.
impl SimDisk {
    /// An empty disk: the directory `/`, where relative paths start, too.
    pub fn new(seed: u64) -> Arc<SimDisk> {
        SimDisk::with(State::new(Medium::new(FIRST_TIME), Random::new(seed)))
    }

    fn with(state: State) -> Arc<SimDisk> {
        Arc::new(SimDisk { shared: Arc::new(Shared::new(state)) })
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
    /// Clock and capacity go on; faults, hangs and locks are gone, and calls count from 0.
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

    /// Flips a bit of a file, where it is read and where it is durable, as rot does. No call counts.
    ///
    /// # Errors
    /// Where there is no such file.
    pub fn corrupt(&self, path: impl AsRef<Path>, offset: u64, bit: u8) -> io::Result<()> {
        let mut state = self.shared.state.lock();
        let (ino, _) = state.medium.find(path.as_ref(), Last::Follow)?;
        state.medium.content(ino)?.flip(offset, bit)
    }

    fn enter(&self, call: Call, paths: &[&Path]) -> io::Result<Guard<'_>> {
        whole(self.shared.enter(call, paths, None, 0)?)
    }

    fn handle(&self, mut state: Guard<'_>, ino: Ino, path: &Path, mode: OpenMode) -> Arc<dyn File> {
        if let Ok(content) = state.medium.content(ino) {
            content.handles += 1;
        }
        Arc::new(SimFile {
            shared: self.shared.clone(),
            ino,
            writable: matches!(mode, OpenMode::Write | OpenMode::CreateNew),
            path: path.to_path_buf(),
        })
    }
}

impl Disk for SimDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        if mode == OpenMode::CreateNew {
            let mut state = self.enter(Call::Create, &[path])?;
            let content = Content::new(state.now);
            let ino = state.medium.create(path, Node::File(content))?;
            return Ok(self.handle(state, ino, path, mode));
        }
        let state = self.enter(Call::Open, &[path])?;
        let links = if mode == OpenMode::ReadNoLink { Last::NoLinks } else { Last::Follow };
        let ino = match state.medium.find(path, links)? {
            (ino, Node::File(_)) => ino,
            _ => return Err(Errno::ISDIR.into()),
        };
        Ok(self.handle(state, ino, path, mode))
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.enter(Call::CreateDir, &[path])?;
        let node = Node::Dir { modified: state.now, mode: DIR_MODE };
        state.medium.create(path, node).map(drop)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.enter(Call::Remove, &[path])?.medium.remove_file(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.enter(Call::Remove, &[path])?.medium.remove_dir(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.enter(Call::Rename, &[from, to])?.medium.rename(from, to, true)
    }

    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.enter(Call::Rename, &[from, to])?.medium.rename(from, to, false)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.enter(Call::SyncDir, &[path])?;
        let dir = state.medium.find_dir(path)?;
        state.medium.names.sync_dir(dir);
        state.medium.forget_unnamed();
        Ok(())
    }

    fn list(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        let state = self.enter(Call::List, &[path])?;
        let dir = state.medium.find_dir(path)?;
        Ok(state.medium.names.now().list(dir).map(|(name, _)| PathBuf::from(name)).collect())
    }

    fn metadata(&self, path: &Path) -> io::Result<Metadata> {
        let state = self.enter(Call::Look, &[path])?;
        let (kind, len, modified, mode) = match state.medium.find(path, Last::Keep)?.1 {
            Node::File(content) => (EntryKind::File, content.len(), content.modified, content.mode),
            Node::Dir { modified, mode } => (EntryKind::Dir, 0, *modified, *mode),
            Node::Symlink(_) => (EntryKind::Symlink, 0, FIRST_TIME, 0o777),
        };
        Ok(Metadata { kind, len, modified, mode })
    }

    fn canonical(&self, path: &Path) -> io::Result<PathBuf> {
        let state = self.enter(Call::Look, &[path])?;
        let (ino, _) = state.medium.find(path, Last::Follow)?;
        state.medium.names.now().path(ino).ok_or_else(|| Errno::NOENT.into())
    }

    fn read_link(&self, path: &Path) -> io::Result<PathBuf> {
        let state = self.enter(Call::Look, &[path])?;
        match state.medium.find(path, Last::Keep)?.1 {
            Node::Symlink(target) => Ok(target.clone()),
            _ => Err(Errno::INVAL.into()),
        }
    }

    fn symlink(&self, target: &Path, path: &Path) -> io::Result<()> {
        let mut state = self.enter(Call::Symlink, &[path])?;
        state.medium.create(path, Node::Symlink(target.to_path_buf())).map(drop)
    }

    fn set_attributes(&self, path: &Path, mode: u32, modified: i64) -> io::Result<()> {
        let mut state = self.enter(Call::Attributes, &[path])?;
        let (ino, _) = state.medium.find(path, Last::Follow)?;
        match state.medium.node(ino)? {
            Node::File(content) => (content.mode, content.modified) = (mode, modified),
            Node::Dir { modified: time, mode: bits } => (*bits, *time) = (mode, modified),
            Node::Symlink(_) => {}
        }
        Ok(())
    }

    fn lock(&self, path: &Path, note: &str) -> io::Result<Box<dyn Send + Sync>> {
        let mut state = self.enter(Call::Lock, &[path])?;
        let now = state.now;
        let ino = match state.medium.walk(path, Last::Follow)?.ino {
            Some(ino) => ino,
            None => state.medium.create(path, Node::File(Content::new(now)))?,
        };
        if state.locked.contains(&ino) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let content = state.medium.content(ino)?;
        content.modified = now;
        content.set_len(0)?;
        content.write(note.as_bytes(), 0)?;
        state.locked.insert(ino);
        Ok(Box::new(LockGuard { shared: self.shared.clone(), ino }))
    }

    fn free_space(&self, path: &Path) -> io::Result<u64> {
        let state = self.enter(Call::Look, &[path])?;
        state.medium.find(path, Last::Follow)?;
        Ok(state.free_chunks().map_or(UNBOUNDED, |chunks| chunks * CHUNK))
    }

    fn now(&self) -> i64 {
        let mut state = self.shared.state.lock();
        state.advance(Duration::from_micros(1));
        state.now
    }

    fn elapsed(&self) -> Duration {
        let mut state = self.shared.state.lock();
        state.advance(Duration::from_micros(1));
        state.elapsed
    }

    fn random(&self, buffer: &mut [u8]) {
        self.shared.state.lock().random.fill(buffer);
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
