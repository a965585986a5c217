//! What goes on by itself around a store: settings, schedule, failure policy, journal, history,
//! retention, health.
//!
//! It stands above backup and restore and uses them as an application would; nothing below knows it.

mod journal;
mod schedule;

pub use journal::{
    About, JOURNAL_FOLDER, Journal, JournalEvent, JournalItem, JournalLine, JournalReader,
    JournalRecord, Origin, ROTATE_ABOVE,
};
pub use schedule::{Schedule, Slots, next_after, slots_between};
