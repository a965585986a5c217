//! Reading the journal from its oldest line on, and following it while it is written.
//!
//! It needs neither the store nor its lock. A file that is replaced while it is read (the numbers
//! begin again) is read to its end first, since it is open here. Lines are whole: one that is being
//! written is given when its end is there.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::files::{self, JOURNAL_FOLDER, JournalFile};
use super::line::{self, JournalRecord};
use crate::disk::{Disk, File, OpenMode};
use crate::error::{Error, ErrorKind, Result};

/// How much is read at once.
const CHUNK: usize = 64 * 1024;
/// A longer line is given in pieces.
const MAX_LINE: usize = 1024 * 1024;

/// A line of the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalLine {
    /// As it stands there, without its end; what is no UTF-8 replaced.
    pub text: String,
    /// What it says; `None` for what is no line of a journal: one that a crash cut off, or that
    /// somebody edited.
    pub record: Option<JournalRecord>,
}

/// Reads the journal of a store.
pub struct JournalReader {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    current: Option<Current>,
    /// The newest file that was read to its end.
    done: Option<JournalFile>,
}

struct Current {
    id: JournalFile,
    file: Arc<dyn File>,
    at: u64,
    pending: Vec<u8>,
}

impl JournalReader {
    /// Reads the journal of the store in `store_dir` from its oldest line.
    pub fn open(disk: Arc<dyn Disk>, store_dir: &Path) -> JournalReader {
        JournalReader { disk, folder: store_dir.join(JOURNAL_FOLDER), current: None, done: None }
    }

    /// The next lines, in order. None where there are no more now; ask again later to follow.
    ///
    /// # Errors
    /// When the folder or a file cannot be read.
    pub fn next_lines(&mut self) -> Result<Vec<JournalLine>> {
        loop {
            let Some(current) = &mut self.current else {
                let Some(next) = self.after(self.done)? else { return Ok(Vec::new()) };
                self.current = self.open_file(next)?;
                if self.current.is_none() {
                    self.done = Some(next);
                }
                continue;
            };
            // Asked first: what is in the file after this is all that it will ever hold.
            let (id, folder) = (current.id, &self.folder);
            let ended = is_ended(&*self.disk, folder, id)?;
            let (mut lines, more) = current.read(folder)?;
            if !lines.is_empty() || more {
                if lines.is_empty() {
                    continue;
                }
                return Ok(lines);
            }
            if !ended {
                return Ok(lines);
            }
            lines.extend(current.rest());
            (self.current, self.done) = (None, Some(id));
            if !lines.is_empty() {
                return Ok(lines);
            }
        }
    }

    fn after(&self, done: Option<JournalFile>) -> Result<Option<JournalFile>> {
        let files = files::list(&*self.disk, &self.folder)?;
        Ok(files.into_iter().find(|file| Some(*file) > done))
    }

    fn open_file(&self, id: JournalFile) -> Result<Option<Current>> {
        let path = id.path(&self.folder);
        match self.disk.open(&path, OpenMode::Read) {
            Ok(file) => Ok(Some(Current { id, file, at: 0, pending: Vec::new() })),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(Error::io("open the journal", &path, e)),
        }
    }
}

/// Whether a newer file is there, so that nothing is written to `id` any more.
fn is_ended(disk: &dyn Disk, folder: &Path, id: JournalFile) -> Result<bool> {
    match files::look(disk, folder, id.next().number) {
        Ok(next) if next > id => return Ok(true),
        Err(e) if e.kind() != ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    // Somebody may have taken files away from the middle.
    Ok(files::list(disk, folder)?.last().is_some_and(|last| *last > id))
}

impl Current {
    /// Reads on; says whether there was anything to read.
    fn read(&mut self, folder: &Path) -> Result<(Vec<JournalLine>, bool)> {
        let path = || self.id.path(folder);
        let mut chunk = vec![0; CHUNK];
        let got = self
            .file
            .read_at(&mut chunk, self.at)
            .map_err(|e| Error::io("read the journal", path(), e))?;
        self.at += got as u64;
        self.pending.extend_from_slice(&chunk[..got]);
        let end = match self.pending.iter().rposition(|byte| *byte == b'\n') {
            Some(last) => last + 1,
            None if self.pending.len() > MAX_LINE => self.pending.len(),
            None => return Ok((Vec::new(), got > 0)),
        };
        let whole: Vec<u8> = self.pending.drain(..end).collect();
        Ok((lines_of(&whole), got > 0))
    }

    /// What a crash left without an end.
    fn rest(&mut self) -> Vec<JournalLine> {
        lines_of(&std::mem::take(&mut self.pending))
    }
}

fn lines_of(bytes: &[u8]) -> Vec<JournalLine> {
    String::from_utf8_lossy(bytes)
        .split('\n')
        .filter(|text| !text.is_empty() && !files::is_first_line(text))
        .map(|text| JournalLine { text: text.to_owned(), record: line::parse(text) })
        .collect()
}
