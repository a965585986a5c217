//! The backup journal: what was done to the store by backup and restore, for people to read.
//!
//! `Logs/Backup Journal[001].txt` in the store's folder: text in UTF-8, one item a line, fields
//! between tabs, a line of column names first. `docs/backup-records.md` has every column. Lines end
//! in a line feed alone: what reads such files today (`tail`, `cut`, spreadsheets, every editor) takes
//! it, a carriage return alone would be one endless line to it, and both together would leave the
//! return in the last field.
//!
//! Invariants: a line that was written is never changed, and what [`Journal::append`] reported is on
//! the medium. A line that a crash cut off stays, and the next begins on a line of its own. No field
//! holds a tab or a line end. Which file is the live one follows from the files' own first lines
//! ([`files`]), not from their times, which copying changes.
//!
//! It never decides the fate of a backup: an error to write it is told once for each time it begins,
//! and the lines lost meanwhile are counted in the journal itself when it can be written again.

mod files;
mod item;
mod line;
mod reader;
#[cfg(test)]
mod tests;
mod writer;

pub use files::{JOURNAL_FOLDER, ROTATE_ABOVE};
pub use item::{About, JournalEvent, JournalItem, Origin};
pub use line::JournalRecord;
pub use reader::{JournalLine, JournalReader};
pub use writer::Journal;
