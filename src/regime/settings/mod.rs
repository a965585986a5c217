//! The settings of backups: an XML file that a person, another program or `stillpoint settings`
//! writes, and the typed values that the regime goes by.
//!
//! The layers, each a file: `tree` (the text and where each element lies in it), `document` (finding
//! and changing elements), `key` (a key, and finding one by its name), `table` (every key: its path,
//! its type, what is allowed, what it is for), `value` (how a type is written), `check` (a document
//! against the table), `file` (which file is in force, and when it changed). `types` and `defaults`
//! are what all of that comes to.
//!
//! Invariants: reading changes nothing. Writing changes the text of what is set and nothing else:
//! unknown elements, comments, order and white space stay, byte for byte. A file is taken whole or
//! not at all. Nothing outside the file is fetched, and no entity of a document's own is expanded.

mod check;
mod defaults;
mod document;
mod file;
mod key;
mod table;
#[cfg(test)]
mod tests;
mod tree;
mod types;
mod value;

pub use check::Problem;
pub use file::{MAX_SETTINGS_BYTES, SETTINGS_FILE, SETTINGS_FOLDER, SettingsFile};
pub use key::SettingKey;
pub use types::{
    Advanced, BackupFailure, DailySchedule, DrillSchedule, Frequency, General, HourlySchedule,
    MonthlySchedule, OwnSettings, Scheduler, SetNumber, Settings, Strictness, TransactionWait,
    WeekDay, WeeklySchedule,
};
