//! The steps of a replacement. Each can be done again after a crash in the middle of it.

use std::io;
use std::path::{Path, PathBuf};

use super::access::give_folder_access;
use super::intent::{Intent, State, is_reserved};
use super::moves::{Moves, is_immovable, kind};
use super::names::name_beside;
use super::{KEPT_DIR, NEW_DIR, Scope, WORK_DIR};
use crate::disk::atomic::{parent, remove_tree};
use crate::disk::{Disk, EntryKind};
use crate::engine::{LOG_DIR, LOST_FOUND};
use crate::error::{Error, ErrorKind, Result};

pub(super) struct Steps<'d> {
    pub(super) disk: &'d dyn Disk,
    pub(super) dir: &'d Path,
}

impl Steps<'_> {
    /// Moves the old files out, durably.
    pub(super) fn move_out(&mut self, intent: &mut Intent, scope: Scope) -> Result<()> {
        intent.save(self.disk, self.dir, State::MovingOut)?;
        let kept = intent.kept_dir(self.dir);
        let mut moves = Moves::on(self.disk);
        moves.make_folder(&self.dir.join(KEPT_DIR))?;
        if kind(self.disk, &kept)?.is_some() {
            let message = "there is something at the place of the old store";
            return Err(Error::new(ErrorKind::Exists, message).at(&kept));
        }
        moves.make_folder(&kept)?;
        for folder in [&self.dir.join(KEPT_DIR), &kept] {
            give_folder_access(self.disk, self.dir, folder)?;
        }
        let names =
            self.disk.list(self.dir).map_err(|e| Error::io("list the store", self.dir, e))?;
        for name in names {
            let is_new = intent.new.iter().any(|new| **new == *name.as_os_str());
            let path = self.dir.join(&name);
            if is_reserved(&name) || name.as_os_str() == LOST_FOUND {
                continue;
            }
            let is_log = name.as_os_str() == LOG_DIR;
            if is_log && (is_new || scope == Scope::Everything) {
                self.move_log_out(intent, &mut moves)?;
            } else if is_new {
                moves.relocate(&path, &kept.join(&name))?;
            } else if scope == Scope::Everything {
                match moves.rename(&path, &kept.join(&name)) {
                    // It is in nobody's way.
                    Err(e) if is_immovable(&e) => {}
                    moved => moved.map_err(|e| Error::io("move", &path, e))?,
                }
            }
        }
        moves.sync()
    }

    /// Moves the old log out. A log on another file system keeps its folder, and its files are set aside
    /// in there.
    fn move_log_out(&mut self, intent: &mut Intent, moves: &mut Moves<'_>) -> Result<()> {
        let (log, to) = (self.dir.join(LOG_DIR), intent.kept_dir(self.dir).join(LOG_DIR));
        let failed = |e| Error::io("move the log", &log, e);
        let leads_somewhere = match self.disk.canonical(&log) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => false,
            found => found.map(|_| true).map_err(failed)?,
        };
        let is_link = kind(self.disk, &log)? == Some(EntryKind::Symlink);
        if !(is_link && leads_somewhere) {
            match moves.rename(&log, &to) {
                Err(e) if is_immovable(&e) && !self.crosses(&log, &to, moves)? => {
                    return moves.relocate(&log, &to);
                }
                Err(e) if is_immovable(&e) => {}
                moved => return moved.map_err(failed),
            }
        }
        intent.log_stays = true;
        intent.save(self.disk, self.dir, State::MovingOut)?;
        let files = self.log_files(&log)?;
        if files.is_empty() {
            return moves.make_folder(&to);
        }
        let aside = self.log_aside(intent)?;
        moves.make_folder(&aside)?;
        for file in files {
            moves.relocate(&parent(&aside).join(&file), &aside.join(&file))?;
        }
        let _none_yet = self.disk.remove_dir(&to);
        let linked = self.disk.symlink(&aside, &to);
        linked.map_err(|e| Error::io("make a link to the old log", &to, e))
    }

    /// Whether the folder of the log, which cannot be renamed, lies on another file system.
    fn crosses(&self, log: &Path, to: &Path, moves: &mut Moves<'_>) -> Result<bool> {
        moves.make_folder(to)?;
        let Some(first) = self.log_files(log)?.into_iter().next() else { return Ok(true) };
        match moves.rename(&log.join(&first), &to.join(&first)) {
            Err(e) if e.kind() == io::ErrorKind::CrossesDevices => Ok(true),
            moved => moved.map(|()| false).map_err(|e| Error::io("move", log.join(first), e)),
        }
    }

    /// The files in the folder of the log; folders hold what was set aside before.
    fn log_files(&self, log: &Path) -> Result<Vec<PathBuf>> {
        let mut files = Vec::new();
        for name in self.disk.list(log).map_err(|e| Error::io("list", log, e))? {
            if kind(self.disk, &log.join(&name))? == Some(EntryKind::File) {
                files.push(name);
            }
        }
        Ok(files)
    }

    /// The folder, within that of the log, of the log's old files.
    fn log_aside(&self, intent: &Intent) -> Result<PathBuf> {
        let log = self.dir.join(LOG_DIR);
        let place = self.disk.canonical(&log);
        let place = place.map_err(|e| Error::io("find the folder of the log", &log, e))?;
        Ok(place.join(&intent.kept))
    }

    /// Makes a link at `path` to the folder of the log, which keeps its place. Its old files are set
    /// aside: what else is there, an interrupted restore has written.
    pub(super) fn link_log(&self, path: &Path) -> Result<()> {
        let log = self.dir.join(LOG_DIR);
        let failed = |e| Error::io("make a link to the log", path, e);
        let place = self.disk.canonical(&log).map_err(failed)?;
        for file in self.log_files(&place)? {
            let file = place.join(file);
            self.disk.remove_file(&file).map_err(|e| Error::io("remove", &file, e))?;
        }
        remove_tree(self.disk, path).map_err(failed)?;
        self.disk.symlink(&place, path).map_err(failed)
    }

    /// Moves the new files in, durably. All old ones are out.
    pub(super) fn move_in(&mut self, intent: &Intent) -> Result<()> {
        let new = self.dir.join(WORK_DIR).join(NEW_DIR);
        let mut moves = Moves::on(self.disk);
        for name in &intent.new {
            let (from, to) = (new.join(name), self.dir.join(name));
            if !(intent.log_stays && name == LOG_DIR) {
                moves.relocate(&from, &to)?;
                continue;
            }
            match kind(self.disk, &from)? {
                // Its segments are written through the link, into their place.
                Some(EntryKind::Symlink) | None => {}
                Some(_) => {
                    let place = self.disk.canonical(&to);
                    let place = place.map_err(|e| Error::io("find the log's folder", &to, e))?;
                    moves.relocate(&from, &place)?;
                }
            }
        }
        moves.touch(self.dir);
        moves.sync()
    }

    /// Undoes a replacement that failed with `error`.
    pub(super) fn give_back(&mut self, intent: &mut Intent, error: Error) -> Error {
        // A write of the next state that has failed may be durable all the same.
        let undone = match intent.state {
            State::MovingIn => intent
                .save(self.disk, self.dir, State::MovingBack)
                .and_then(|()| self.move_back(intent)),
            _ => {
                intent.save(self.disk, self.dir, State::MovingOut).and_then(|()| self.undo(intent))
            }
        };
        match undone {
            Ok(()) => error,
            Err(_) => error.hint("Open the store again: that puts its files back."),
        }
    }

    /// Removes the new files, and moves the old ones back.
    pub(super) fn move_back(&mut self, intent: &mut Intent) -> Result<()> {
        for name in &intent.new {
            let path = self.dir.join(name);
            let failed = |e| Error::io("remove", &path, e);
            if !(intent.log_stays && name == LOG_DIR) {
                remove_tree(self.disk, &path).map_err(failed)?;
                continue;
            }
            for file in self.log_files(&path)? {
                self.disk.remove_file(&path.join(file)).map_err(failed)?;
            }
            self.disk.sync_dir(&path).map_err(failed)?;
        }
        self.disk.sync_dir(self.dir).map_err(|e| Error::io("sync the folder", self.dir, e))?;
        intent.save(self.disk, self.dir, State::MovingOut)?;
        self.undo(intent)
    }

    /// Moves the old files back, durably, and ends the replacement.
    pub(super) fn undo(&mut self, intent: &Intent) -> Result<()> {
        let kept = intent.kept_dir(self.dir);
        let mut moves = Moves::on(self.disk);
        if intent.log_stays {
            let aside = self.log_aside(intent)?;
            let link = kept.join(LOG_DIR);
            if kind(self.disk, &link)? == Some(EntryKind::Symlink) {
                self.disk.remove_file(&link).map_err(|e| Error::io("remove", &link, e))?;
                moves.touch(&kept);
            }
            if kind(self.disk, &aside)?.is_some() {
                moves.relocate(&aside, parent(&aside))?;
            }
        }
        if kind(self.disk, &kept)?.is_some() {
            let names = self.disk.list(&kept).map_err(|e| Error::io("list", &kept, e))?;
            for name in names {
                moves.relocate(&kept.join(&name), &self.dir.join(&name))?;
            }
            moves.touch(self.dir);
        }
        moves.sync()?;
        let _not_empty = self.disk.remove_dir(&kept);
        let _holds_others = self.disk.remove_dir(&self.dir.join(KEPT_DIR));
        Intent::remove(self.disk, self.dir)?;
        self.clear_up()
    }

    /// The new store is in place: gives the old one its name beside it, where it can be renamed, and
    /// clears up. What fails here is tried again by the next opening. Gives the folder of the old one.
    pub(super) fn finish(&mut self, intent: &mut Intent) -> PathBuf {
        let within = intent.kept_dir(self.dir);
        let _tried_again = intent.save(self.disk, self.dir, State::Placed);
        let beside = intent.beside.as_ref().map(|ending| name_beside(self.dir, ending));
        let moved = beside.filter(|beside| self.disk.rename_new(&within, beside).is_ok());
        if moved.is_some() {
            let _holds_others = self.disk.remove_dir(&self.dir.join(KEPT_DIR));
            for folder in [parent(self.dir), self.dir] {
                // The old store is at one of its two names after a crash.
                let _either = self.disk.sync_dir(folder);
            }
        }
        let _tried_again = Intent::remove(self.disk, self.dir).and_then(|()| self.clear_up());
        moved.unwrap_or(within)
    }

    /// Removes the working folder.
    pub(super) fn clear_up(&self) -> Result<()> {
        let work = self.dir.join(WORK_DIR);
        remove_tree(self.disk, &work)
            .and_then(|()| self.disk.sync_dir(self.dir))
            .map_err(|e| Error::io("remove an unfinished replacement", &work, e))
    }
}
