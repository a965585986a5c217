//! Replacing the contents of a store's folder: after a rollback, a restore or a compaction.
//!
//! The new store is built in a working folder within the store's folder. Then the old files are moved
//! to a folder beside it (`set-aside`), and the new ones take their places. The store's folder itself
//! is never renamed: it may be a mount point, a folder of an overlay's lower layer, or one whose parent
//! cannot be written. Its lock, its owner and its mode stay, and nobody opens the store meanwhile.
//!
//! A durable record, the intent, says how far it has come:
//!
//! | State        | Where the files are                              | The next opening                   |
//! |--------------|--------------------------------------------------|------------------------------------|
//! | no intent    | one store is complete in its place               | removes an unfinished working folder |
//! | `MovingOut`  | some old files are set aside                     | moves them back                    |
//! | `Rewriting`  | no data file; pages of it are being overwritten  | refuses: run the restore again     |
//! | `MovingIn`   | all old files are set aside, some new are in     | moves the rest in                  |
//! | `MovingBack` | all old files are set aside, some new are in     | removes the new, moves the old back |
//! | `Placed`     | the new store is complete in its place           | gives the old store its name beside |
//!
//! A failure, unlike a crash, is undone at once: whoever is told of one finds the old store. Only
//! `Rewriting`, of a delta restore, cannot be undone; all that can fail in moving comes before it.
//!
//! Invariant: whoever calls anything but [`settle`] and [`refuse_unfinished`] holds the lock of the
//! store's folder.

mod access;
mod intent;
mod moves;
mod names;
mod step;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use self::intent::{Intent, State, is_reserved};
pub(crate) use self::names::KeepAs;
use self::step::Steps;
use super::{DATA_FILE, DirLock, LOG_DIR, StoreId, lock_dir};
use crate::disk::Disk;
use crate::disk::atomic::remove_tree;
use crate::error::{Error, ErrorKind, Result};

/// The working folder, within the store's folder.
const WORK_DIR: &str = "replacement";
/// The new store, within the working folder.
const NEW_DIR: &str = "new";
/// Where the data file lies while a delta restore overwrites its pages.
pub(in crate::engine) const TAKEN_DATA: &str = "replacement/new/store.data";
/// The folder of old files, within the store's folder.
const KEPT_DIR: &str = "set-aside";
/// The name of a half overwritten data file that is given up.
const GIVEN_UP: &str = "store.data.interrupted";

/// Which files of the old store make room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// All of its folder.
    Everything,
    /// What the new store has too.
    SameNames,
}

/// A replacement of the store in a folder, before its end.
pub(crate) struct Replacement {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    /// What an interrupted delta restore left, or what one has begun.
    rewriting: Option<Intent>,
}

impl Replacement {
    /// Begins a replacement of the store in `dir`: ends one that was interrupted, and makes the working
    /// folder. What it makes belongs to whom the store belongs to, so that its owner can end it.
    pub(crate) fn begin(dir: &Path, lock: &DirLock) -> Result<Replacement> {
        let disk = lock.folder().disk();
        settle_locked(&**disk, dir)?;
        let work = dir.join(WORK_DIR);
        disk.create_dir(&work).map_err(|e| Error::io("create the folder", &work, e))?;
        disk.sync_dir(dir).map_err(|e| Error::io("sync the store's folder", dir, e))?;
        Ok(Replacement { disk: disk.clone(), dir: dir.to_path_buf(), rewriting: None })
    }

    /// The same for a delta restore, which also goes on with an interrupted one.
    pub(crate) fn begin_delta(dir: &Path, lock: &DirLock) -> Result<Replacement> {
        let disk = lock.folder().disk();
        match Intent::load(&**disk, dir)? {
            Some(intent) if intent.state == State::Rewriting => {
                let dir = dir.to_path_buf();
                let this = Replacement { disk: disk.clone(), dir, rewriting: Some(intent) };
                this.take_data_file()?;
                Ok(this)
            }
            _ => Replacement::begin(dir, lock),
        }
    }

    /// The folder of the new store. It is not made here.
    pub(crate) fn new_store(&self) -> PathBuf {
        self.dir.join(WORK_DIR).join(NEW_DIR)
    }

    /// Whether pages of the old data file may have been overwritten already.
    pub(crate) fn is_rewriting(&self) -> bool {
        self.rewriting.is_some()
    }

    /// Gives up what was built.
    pub(crate) fn cancel(&self) {
        if self.rewriting.is_none() {
            // What stays is removed by the next opening.
            let _left_over = remove_tree(&*self.disk, &self.dir.join(WORK_DIR));
        }
    }

    /// Replaces the old store by the one that was built, which is durable. Gives the folder in which
    /// the old one is.
    ///
    /// # Durability
    /// When it returns, the new store survives a power loss.
    ///
    /// # Errors
    /// Those of the disk. The old store is in its place then, or, should that fail too, the next
    /// opening puts it there.
    pub(crate) fn put_in_place(self, scope: Scope, keep: &KeepAs) -> Result<PathBuf> {
        let disk = &*self.disk;
        let given = access::give_access(disk, &self.dir, &self.new_store());
        let new = given.and_then(|()| self.new_names());
        let intent = new.and_then(|new| keep.intent(disk, &self.dir, new, None));
        let mut intent = intent.inspect_err(|_| self.cancel())?;
        let mut steps = Steps { disk, dir: &self.dir };
        let replaced = steps
            .move_out(&mut intent, scope)
            .and_then(|()| intent.save(disk, &self.dir, State::MovingIn))
            .and_then(|()| steps.move_in(&intent));
        match replaced {
            Ok(()) => Ok(steps.finish(&mut intent)),
            Err(error) => Err(steps.give_back(&mut intent, error)),
        }
    }

    /// Moves the old data file to the folder of the new store, where its pages are overwritten from now
    /// on, and out of the way the old log, what the new store has too, and the files called `others`.
    /// From here on there is no store until [`end_delta`](Replacement::end_delta).
    ///
    /// # Errors
    /// Those of the disk; the old store is in its place then, as after
    /// [`put_in_place`](Replacement::put_in_place).
    pub(crate) fn take_over(
        &mut self,
        store: StoreId,
        others: &[&str],
        keep: &KeepAs,
    ) -> Result<()> {
        if self.rewriting.is_some() {
            return Ok(());
        }
        let disk = &*self.disk;
        let new = access::give_access(disk, &self.dir, &self.new_store());
        let new = new.and_then(|()| self.new_names());
        let mut new = new.inspect_err(|_| self.cancel())?;
        new.extend([DATA_FILE, LOG_DIR].iter().chain(others).map(|name| (*name).to_owned()));
        new.sort_unstable();
        new.dedup();
        let intent = keep.intent(disk, &self.dir, new, Some(store));
        let mut intent = intent.inspect_err(|_| self.cancel())?;
        let mut steps = Steps { disk, dir: &self.dir };
        let moved = steps
            .move_out(&mut intent, Scope::SameNames)
            .and_then(|()| intent.save(disk, &self.dir, State::Rewriting));
        if let Err(error) = moved {
            return Err(steps.give_back(&mut intent, error));
        }
        self.rewriting = Some(intent);
        self.take_data_file()
    }

    /// Gives the rewritten store its place. What fails here is finished by the next opening. Gives the
    /// folder in which the rest of the old store is.
    pub(crate) fn end_delta(mut self) -> Result<PathBuf> {
        let names = self.new_names()?;
        let disk = &*self.disk;
        let Some(intent) = &mut self.rewriting else {
            let message = "no data file was taken over";
            return Err(Error::new(ErrorKind::Invalid, message).at(&self.dir));
        };
        let kept = intent.kept_dir(&self.dir);
        access::give_access(disk, &kept, &self.dir.join(WORK_DIR).join(NEW_DIR))?;
        // A restore that goes on with an interrupted one may bring other names along.
        let mut moves = moves::Moves::on(disk);
        for name in names {
            if !intent.new.contains(&name) {
                moves.relocate(&self.dir.join(&name), &kept.join(&name))?;
                intent.new.push(name);
            }
        }
        moves.sync()?;
        intent.save(disk, &self.dir, State::MovingIn)?;
        let mut steps = Steps { disk, dir: &self.dir };
        steps.move_in(intent)?;
        Ok(steps.finish(intent))
    }

    /// A link to the folder of the log, where the log keeps its place: the new store is rolled forward
    /// through it.
    pub(crate) fn link_log(&self) -> Result<bool> {
        let stays = self.rewriting.as_ref().is_some_and(|intent| intent.log_stays);
        if stays {
            let steps = Steps { disk: &*self.disk, dir: &self.dir };
            steps.link_log(&self.new_store().join(LOG_DIR))?;
        }
        Ok(stays)
    }

    fn take_data_file(&self) -> Result<()> {
        let Some(intent) = &self.rewriting else { return Ok(()) };
        let mut moves = moves::Moves::on(&*self.disk);
        let old = intent.kept_dir(&self.dir).join(DATA_FILE);
        moves.relocate(&old, &self.new_store().join(DATA_FILE))?;
        moves.sync()
    }

    fn new_names(&self) -> Result<Vec<String>> {
        let new = self.new_store();
        let names = self.disk.list(&new).map_err(|e| Error::io("list the new store", &new, e))?;
        let unusable = |name: OsString| {
            let message = "the new store holds a file whose name is not UTF-8";
            Error::new(ErrorKind::Invalid, message).at(new.join(name))
        };
        names
            .into_iter()
            .filter(|name| !is_reserved(name))
            .map(|name| name.into_os_string().into_string().map_err(unusable))
            .collect()
    }
}

/// Ends a replacement of the store in `dir` that was interrupted. One look at the folder where there is
/// none, which is durable when this returns.
///
/// # Errors
/// `InUse` where it is under way; `NotFound` for a delta restore, which has to be run again; those of
/// the disk.
pub(crate) fn settle(disk: &Arc<dyn Disk>, dir: &Path) -> Result<()> {
    use std::io::ErrorKind::{NotADirectory, NotFound};
    match disk.metadata(&dir.join(WORK_DIR)) {
        Err(e) if matches!(e.kind(), NotFound | NotADirectory) => return Ok(()),
        _ => {}
    }
    let _lock = lock_dir(disk, dir)?;
    settle_locked(&**disk, dir)
}

fn settle_locked(disk: &dyn Disk, dir: &Path) -> Result<()> {
    let mut steps = Steps { disk, dir };
    match Intent::load(disk, dir)? {
        None => {
            // It is in nobody's way.
            let _left_over = steps.clear_up();
            Ok(())
        }
        Some(mut intent) => match intent.state {
            State::MovingOut => steps.undo(&intent),
            State::MovingBack => steps.move_back(&mut intent),
            State::MovingIn => {
                steps.move_in(&intent)?;
                steps.finish(&mut intent);
                Ok(())
            }
            State::Placed => {
                steps.finish(&mut intent);
                Ok(())
            }
            State::Rewriting => Err(intent.unfinished(dir)),
        },
    }
}

/// Sees that no replacement of the store in `dir` is unfinished. Changes nothing.
pub(crate) fn refuse_unfinished(disk: &dyn Disk, dir: &Path) -> Result<()> {
    match Intent::load(disk, dir)? {
        Some(intent) if intent.state != State::Placed => Err(intent.unfinished(dir)),
        _ => Ok(()),
    }
}

/// The store of which a delta restore was interrupted in `dir`, and where its data file is.
pub(crate) fn interrupted_delta(
    disk: &dyn Disk,
    dir: &Path,
) -> Result<Option<(Option<StoreId>, PathBuf)>> {
    let Some(intent) = Intent::load(disk, dir)? else { return Ok(None) };
    if intent.state != State::Rewriting {
        return Ok(None);
    }
    let taken = dir.join(WORK_DIR).join(NEW_DIR).join(DATA_FILE);
    let data = match moves::kind(disk, &taken)? {
        Some(_) => taken,
        None => intent.kept_dir(dir).join(DATA_FILE),
    };
    Ok(Some((intent.store(), data)))
}

/// Gives up an interrupted delta restore in `dir`: the old files get their places back, but for the
/// data file, which is kept under another name. There is no store then.
pub(crate) fn give_up_delta(disk: &dyn Disk, dir: &Path, _lock: &DirLock) -> Result<()> {
    let Some((_, data)) = interrupted_delta(disk, dir)? else { return Ok(()) };
    let Some(mut intent) = Intent::load(disk, dir)? else { return Ok(()) };
    let mut moves = moves::Moves::on(disk);
    moves.relocate(&data, &dir.join(GIVEN_UP))?;
    moves.sync()?;
    intent.save(disk, dir, State::MovingOut)?;
    Steps { disk, dir }.undo(&intent)
}
