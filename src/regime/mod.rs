//! What goes on by itself around a store: settings, schedule, failure policy, journal, history,
//! retention, health.
//!
//! It stands above backup and restore and uses them as an application would; nothing below knows it.
//! [`Regime`] is what an application opens instead of a [`Store`](crate::Store); `docs/backup.md` says how
//! it decides. [`Settings`] come from a file, [`Schedule`] and the failure policy are pure and have no
//! clock, [`Journal`] and [`History`] are its books, into which [`ByHand`] puts what somebody does without
//! it, [`Coverage`] and drills say what the backups are worth.

mod backup;
mod books;
mod by_hand;
mod core;
mod coverage;
mod drill;
mod events;
mod health;
mod history;
mod interrupted;
mod journal;
mod keep_log;
mod keeper;
mod opening;
mod outline;
mod own_log;
mod plan;
mod policy;
#[expect(clippy::module_inception, reason = "the room is named for what stands in its middle")]
mod regime;
mod reload;
mod restored;
mod retention;
mod rolling;
mod run;
mod schedule;
mod settings;
mod since;
mod state;

pub use backup::{RegimeBackup, RegimeBackupHandle};
pub use by_hand::ByHand;
pub use coverage::{Gap, Point};
pub use drill::DrillReport;
pub use events::RegimeEvent;
pub use health::{Coverage, SpaceForecast};
pub use history::{ArchivePart, HISTORY_FILE, History, Operation, OperationKind, OperationStatus};
pub use interrupted::report_interrupted;
pub use journal::{
    About, JOURNAL_FOLDER, Journal, JournalEvent, JournalItem, JournalLine, JournalReader,
    JournalRecord, Origin, ROTATE_ABOVE,
};
pub use keep_log::keep_log;
pub use outline::Outline;
pub use regime::{Regime, RegimeBuilder};
pub use retention::{Deletion, RetentionPlan, RetentionRule};
pub use schedule::{Schedule, Slots, next_after, slots_between};
pub use settings::{
    Advanced, BackupFailure, DailySchedule, DrillSchedule, Frequency, General, HourlySchedule,
    MAX_SETTINGS_BYTES, MonthlySchedule, OwnSettings, Problem, SETTINGS_FILE, SETTINGS_FOLDER,
    Scheduler, SetNumber, SettingKey, Settings, SettingsFile, Strictness, TransactionWait, WeekDay,
    WeeklySchedule,
};
pub use state::{Checked, LastBackup, RestoreInfo, Status};
