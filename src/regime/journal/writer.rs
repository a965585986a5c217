//! Writing the journal: appending lines, and going on to the next file.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::tz::TimeZone;
use parking_lot::Mutex;

use super::files::{self, JOURNAL_FOLDER, JournalFile, ROTATE_ABOVE};
use super::item::{JournalEvent, JournalItem};
use super::line;
use crate::disk::{Disk, OpenMode};
use crate::error::{Error, ErrorKind, Result};

/// The journal of a store, open for writing. One for each store at a time; its methods may be called
/// by several threads at once.
pub struct Journal {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    state: Mutex<State>,
}

struct State {
    /// Nothing is written.
    drops: bool,
    verbose: bool,
    zone: TimeZone,
    /// The file that is written; found again after each failure.
    live: Option<JournalFile>,
    /// How many lines were lost since it could be written last, where it cannot be.
    lost: Option<u64>,
}

impl Journal {
    /// The journal of the store in `store_dir`, verbose or brief, with times in `zone`. Nothing is
    /// read or written yet.
    pub fn open(disk: Arc<dyn Disk>, store_dir: &Path, verbose: bool, zone: TimeZone) -> Journal {
        let state = State { drops: false, verbose, zone, live: None, lost: None };
        Journal { disk, folder: store_dir.join(JOURNAL_FOLDER), state: Mutex::new(state) }
    }

    /// The same, of a store that is only read: what is to be written is dropped.
    pub(crate) fn dropping(self, drops: bool) -> Journal {
        self.state.lock().drops = drops;
        self
    }

    /// Changes what is written and in which time zone from now on.
    pub fn configure(&self, verbose: bool, zone: TimeZone) {
        let mut state = self.state.lock();
        (state.verbose, state.zone) = (verbose, zone);
    }

    /// The file that is written now; `None` where there is none yet.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn path(&self) -> Result<Option<PathBuf>> {
        let live = self.find_live(&mut self.state.lock())?;
        Ok(live.map(|live| live.path(&self.folder)))
    }

    /// Writes one line. See [`Journal::append_all`].
    ///
    /// # Errors
    /// As [`Journal::append_all`].
    pub fn append(&self, item: &JournalItem) -> Result<()> {
        self.append_all(std::slice::from_ref(item))
    }

    /// Writes a line for each of `items`, in a brief journal for those that are the start of
    /// something, a note or an error.
    ///
    /// # Durability
    /// The lines are on the medium when it returns: one sync for all.
    ///
    /// # Errors
    /// When the journal cannot be written, and only the first time: a journal that stays unwritable is
    /// no news. Nobody's work fails for it.
    pub fn append_all(&self, items: &[JournalItem]) -> Result<()> {
        let mut state = self.state.lock();
        let now = self.disk.now();
        let mut text = String::new();
        let mut lines = 0;
        for item in items {
            if state.verbose {
                text.push_str(&line::format(item, now, &state.zone));
            } else if item.is_main() {
                text.push_str(&line::format(&line::brief(item), now, &state.zone));
            } else {
                continue;
            }
            lines += 1;
        }
        if text.is_empty() || state.drops {
            return Ok(());
        }
        if let Some(lost) = state.lost.filter(|lost| *lost > 0) {
            let message = format!("{lost} lines could not be written before this one");
            let note = JournalItem::note(JournalEvent::Journal, message);
            text.insert_str(0, &line::format(&note, now, &state.zone));
        }
        let written = self.write(&mut state, &text);
        told_once(&mut state, written, lines)
    }

    /// Goes on to the next file if the live one is longer than [`ROTATE_ABOVE`]: to be called before
    /// each backup, and at no other time.
    ///
    /// # Errors
    /// As [`Journal::append_all`]; the live file stays the live one then.
    pub fn before_backup(&self) -> Result<()> {
        let mut state = self.state.lock();
        if state.drops {
            return Ok(());
        }
        let rotated = self.rotate(&mut state);
        told_once(&mut state, rotated, 0)
    }

    fn rotate(&self, state: &mut State) -> Result<()> {
        let Some(live) = self.find_live(state)? else { return Ok(()) };
        let path = live.path(&self.folder);
        let len = match self.disk.metadata(&path) {
            Ok(found) => found.len,
            // Somebody took it away: the next line begins it anew.
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => 0,
            Err(e) => return Err(Error::io("look at the journal", &path, e)),
        };
        if len > ROTATE_ABOVE {
            live.next().create(&*self.disk, &self.folder)?;
            state.live = Some(live.next());
        }
        Ok(())
    }

    fn find_live(&self, state: &mut State) -> Result<Option<JournalFile>> {
        if state.live.is_none() {
            state.live = files::list(&*self.disk, &self.folder)?.pop();
        }
        Ok(state.live)
    }

    fn write(&self, state: &mut State, text: &str) -> Result<()> {
        let live = match self.find_live(state)? {
            Some(live) => live,
            None => {
                JournalFile::FIRST.create(&*self.disk, &self.folder)?;
                JournalFile::FIRST
            }
        };
        state.live = Some(live);
        match self.append_to(live, text) {
            // Taken away by somebody while the store is open.
            Err(e) if e.kind() == ErrorKind::NotFound => {
                let anew = JournalFile { serial: live.next().serial, ..live };
                anew.create(&*self.disk, &self.folder)?;
                state.live = Some(anew);
                self.append_to(anew, text)
            }
            result => result,
        }
    }

    fn append_to(&self, live: JournalFile, text: &str) -> Result<()> {
        let path = live.path(&self.folder);
        let append = || {
            let file = self.disk.open(&path, OpenMode::Write)?;
            let len = file.len()?;
            let mut last = [b'\n'];
            if len > 0 {
                file.read_exact_at(&mut last, len - 1)?;
            }
            // What a crash cut off stays as it is; this begins on a line of its own.
            let begin: &[u8] = if last == [b'\n'] { b"" } else { b"\n" };
            file.write_parts_at(&[begin, text.as_bytes()], len)?;
            file.sync()
        };
        append().map_err(|e| Error::io("write the journal", &path, e))
    }
}

/// Passes the first error of a row on and keeps count of `lines` that were lost.
fn told_once(state: &mut State, result: Result<()>, lines: u64) -> Result<()> {
    match (result, state.lost) {
        (Ok(()), _) if lines > 0 => {
            state.lost = None;
            Ok(())
        }
        (Ok(()), _) => Ok(()),
        (Err(error), lost) => {
            state.live = None;
            state.lost = Some(lost.unwrap_or(0) + lines);
            if lost.is_none() { Err(error) } else { Ok(()) }
        }
    }
}
