//! The files of the journal: their names, their first lines, and which of them is the live one.
//!
//! Files are numbered 001 to 999 and then 001 again, so a number does not say what is newer. Each
//! begins with the names of the columns and, in one more field, its *serial*: `file 1234`. Serials
//! only grow. The live file is the one with the greatest; a file whose first line is damaged counts as
//! the oldest. A new file appears with its first line in it, in one atomic step.

use std::path::{Path, PathBuf};

use super::line::COLUMNS;
use crate::disk::{Disk, OpenMode, atomic};
use crate::error::{Error, ErrorKind, Result};

/// The folder of the journal in that of the store.
pub const JOURNAL_FOLDER: &str = "Logs";
/// A journal longer than this is ended before the next backup: 10 MiB.
pub const ROTATE_ABOVE: u64 = 10 * 1024 * 1024;
/// The last number.
const LAST: u32 = 999;
/// More than the first line ever has.
const FIRST_LINE: usize = 256;

/// A file of the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct JournalFile {
    /// Orders the files; first, so that it does.
    pub(super) serial: u64,
    /// The number in its name.
    pub(super) number: u32,
}

impl JournalFile {
    pub(super) const FIRST: JournalFile = JournalFile { serial: 1, number: 1 };

    pub(super) fn path(self, folder: &Path) -> PathBuf {
        folder.join(format!("Backup Journal[{:03}].txt", self.number))
    }

    /// The file that comes after it.
    pub(super) fn next(self) -> JournalFile {
        JournalFile { serial: self.serial.saturating_add(1), number: self.number % LAST + 1 }
    }

    /// Makes it, in place of one that has its number, with the first line alone in it.
    pub(super) fn create(self, disk: &dyn Disk, folder: &Path) -> Result<()> {
        atomic::create_dir_all(disk, folder)
            .map_err(|e| Error::io("make the folder of the journal", folder, e))?;
        let path = self.path(folder);
        let line = format!("{}\tfile {}\n", COLUMNS.join("\t"), self.serial);
        atomic::write_atomically(disk, &path, line.as_bytes())
            .map_err(|e| Error::io("begin the journal", &path, e))
    }
}

/// All files of the journal, oldest first; none where there is no folder yet.
pub(super) fn list(disk: &dyn Disk, folder: &Path) -> Result<Vec<JournalFile>> {
    let names = match disk.list(folder) {
        Ok(names) => names,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(Error::io("list the journal", folder, e)),
    };
    let mut files = Vec::new();
    for number in names.iter().filter_map(|name| number_of(name.to_str()?)) {
        match look(disk, folder, number) {
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            file => files.push(file?),
        }
    }
    files.sort_unstable();
    Ok(files)
}

/// The file numbered `number`.
pub(super) fn look(disk: &dyn Disk, folder: &Path, number: u32) -> Result<JournalFile> {
    let path = JournalFile { serial: 0, number }.path(folder);
    let read = || {
        let file = disk.open(&path, OpenMode::Read)?;
        let mut first = [0; FIRST_LINE];
        let got = file.read_at(&mut first, 0)?;
        Ok(first[..got].to_vec())
    };
    let first = read().map_err(|e| Error::io("read the journal", &path, e))?;
    Ok(JournalFile { serial: serial_of(&first).unwrap_or(0), number })
}

/// Whether a line is the first of a file.
pub(super) fn is_first_line(line: &str) -> bool {
    line.starts_with("time\tevent\t")
}

fn serial_of(first: &[u8]) -> Option<u64> {
    let line = first.split(|byte| *byte == b'\n').next()?;
    let (_, serial) = std::str::from_utf8(line).ok()?.rsplit_once("\tfile ")?;
    // An editor may have given the lines other ends.
    serial.trim_end().parse().ok()
}

fn number_of(name: &str) -> Option<u32> {
    let digits = name.strip_prefix("Backup Journal[")?.strip_suffix("].txt")?;
    let number = (digits.len() == 3).then(|| digits.parse().ok())??;
    (1..=LAST).contains(&number).then_some(number)
}
