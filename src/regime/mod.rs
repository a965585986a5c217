//! What goes on by itself around a store: settings, schedule, failure policy, journal, history,
//! retention, health.
//!
//! It stands above backup and restore and uses them as an application would; nothing below knows it.

mod history;
mod journal;
mod retention;
mod schedule;
mod settings;

pub use history::{ArchivePart, HISTORY_FILE, History, Operation, OperationKind, OperationStatus};
pub use journal::{
    About, JOURNAL_FOLDER, Journal, JournalEvent, JournalItem, JournalLine, JournalReader,
    JournalRecord, Origin, ROTATE_ABOVE,
};
pub use retention::{Deletion, RetentionPlan, RetentionRule};
pub use schedule::{Schedule, Slots, next_after, slots_between};
pub use settings::{
    Advanced, BackupFailure, DailySchedule, DrillSchedule, Frequency, General, HourlySchedule,
    LogPolicy, MonthlySchedule, OwnSettings, Scheduler, SetNumber, Settings, Strictness,
    TransactionWait, WeekDay, WeeklySchedule,
};
