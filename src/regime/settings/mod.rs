//! The settings of backups: an XML file that a person, another program or `stillpoint settings`
//! writes, and the typed values that the regime goes by.

mod defaults;
mod types;

pub use types::{
    Advanced, BackupFailure, DailySchedule, DrillSchedule, Frequency, General, HourlySchedule,
    LogPolicy, MonthlySchedule, OwnSettings, Scheduler, SetNumber, Settings, Strictness,
    TransactionWait, WeekDay, WeeklySchedule,
};
