//! The settings as values: one field for each key, in the order and under the names of the tree.
//!
//! They are plain data, valid in themselves by construction from a file (`table` bounds each one);
//! what a value means is carried out elsewhere in the regime. Defaults stand in `defaults`.

use std::path::PathBuf;
use std::time::Duration;

use jiff::civil::Time;

use crate::archive::{Compression, Level};
use crate::engine::LogCapPolicy;
use crate::lock::{Access, AtLimit};

/// How backups go: what a settings file says, and the defaults for what it leaves out.
#[non_exhaustive]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// `Advanced`: failures, retention, the form of archives.
    pub advanced: Advanced,
    /// `General`: what is saved, and where to.
    pub general: General,
    /// `Scheduler`: when.
    pub scheduler: Scheduler,
    /// `Stillpoint`: what only this library knows.
    pub stillpoint: OwnSettings,
}

/// `Advanced`: failures, retention, the form of archives.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advanced {
    /// What happens when a backup fails.
    pub backup_failure: BackupFailure,
    /// How a backup treats the open write handles of others.
    pub transaction: TransactionWait,
    /// Whether a store that is found damaged at its opening is restored from the last backup.
    pub automatic_restore: bool,
    /// Whether logs that go beyond the restored archive are integrated at the opening.
    pub automatic_log_integration: bool,
    /// Whether the store is opened after an automatic restore, rather than left for inspection.
    pub automatic_restart: bool,
    /// What an automatic integration does when an operation does not fit.
    pub automatic_log_integration_strictness: Strictness,
    /// Whether a scheduled backup is left out when no data changed since the last one.
    pub backup_if_data_change: bool,
    /// How many sets are kept.
    pub set_number: SetNumber,
    /// Whether the oldest set is deleted before the backup rather than after it.
    pub erase_old_backup_before: bool,
    /// How hard archives are packed.
    pub compression_rate: Compression,
    /// How much parity is written beside an archive.
    pub redundancy: Level,
    /// How far apart in an archive the blocks of one stripe of parity lie.
    pub interlacing: Level,
    /// The size of a segment in MiB; 0 for an archive in one piece.
    pub segment_mib: u32,
    /// Whether an archive is read back from the medium before it gets its name.
    pub check_archive_file_during_backup: bool,
    /// Whether the journal tells everything, or starts and errors alone.
    pub backup_journal_verbose_mode: bool,
}

/// What happens when a backup fails.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackupFailure {
    /// Whether the next attempt is the next scheduled one.
    pub try_backup_at_the_next_scheduled_date: bool,
    /// How long to wait before the second attempt, unless that is the next scheduled one.
    pub try_to_backup_after: Duration,
    /// Whether automatic backups are suspended after a number of failed attempts (1401).
    pub abort_if_backup_fail: bool,
    /// That number.
    pub retry_count_before_abort: u32,
}

/// How a backup treats the open write handles of others.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransactionWait {
    /// Whether it waits for them at all; otherwise an open one fails it at once (1405).
    pub wait_for_end_of_transaction: bool,
    /// How long it waits.
    pub timeout: Duration,
}

/// How many sets are kept.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetNumber {
    /// Whether older ones are deleted at all.
    pub enable: bool,
    /// How many stay.
    pub value: u32,
}

/// What an integration does when an operation does not fit the records that it finds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Strictness {
    /// It stops there.
    #[default]
    Strict,
    /// It repairs and reports.
    AutoRepair,
}

/// `General`: what is saved, and where to.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct General {
    /// Whether the structure is saved.
    pub include_structure_file: bool,
    /// Whether the data is saved.
    pub include_data_file: bool,
    /// Known to files from elsewhere; a store has no second structure, so it changes nothing.
    pub include_alt_structure_file: bool,
    /// Where archives go, as the file says it.
    pub destination_folder: Option<PathBuf>,
    /// Files and folders to save with the store, as the file says them.
    pub includes_files: Vec<PathBuf>,
}

/// `Scheduler`: when backups are made. All blocks have values; `frequency` picks the one in force.
#[non_exhaustive]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scheduler {
    /// The block in force.
    pub frequency: Frequency,
    /// Every so many hours.
    pub hourly: HourlySchedule,
    /// Every so many days.
    pub daily: DailySchedule,
    /// Every so many weeks, on some days of the week.
    pub weekly: WeeklySchedule,
    /// Every so many months, on a day of the month.
    pub monthly: MonthlySchedule,
}

/// How often backups are made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Frequency {
    /// Not by themselves.
    #[default]
    Never,
    /// As [`Scheduler::hourly`] says.
    Hourly,
    /// As [`Scheduler::daily`] says.
    Daily,
    /// As [`Scheduler::weekly`] says.
    Weekly,
    /// As [`Scheduler::monthly`] says.
    Monthly,
}

/// Every so many hours.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HourlySchedule {
    /// How many hours lie between two backups.
    pub every: u32,
    /// The time of day from which they are counted.
    pub starting_at: Time,
}

/// Every so many days.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DailySchedule {
    /// How many days lie between two backups.
    pub every: u32,
    /// The time of day.
    pub hour: Time,
}

/// Every so many weeks.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WeeklySchedule {
    /// How many weeks lie between two weeks with backups.
    pub every: u32,
    /// Monday to Sunday.
    pub days: [WeekDay; 7],
}

/// A day of a weekly schedule.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WeekDay {
    /// Whether a backup is made on it.
    pub save: bool,
    /// The time of day.
    pub hour: Time,
}

/// Every so many months.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MonthlySchedule {
    /// How many months lie between two backups.
    pub every: u32,
    /// The day of the month; the last one of a month that has fewer.
    pub day: u32,
    /// The time of day.
    pub hour: Time,
}

/// `Stillpoint`: what only this library knows. Other programs leave it alone.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnSettings {
    /// What others may do during a backup; `None`: what the store's mode gives.
    pub access: Option<Access>,
    /// The name of archives without their number; `None`: that of the store's folder.
    pub archive_name: Option<String>,
    /// How long others may be held by a backup; zero: as long as it makes progress.
    pub hold_limit: Duration,
    /// What happens when that limit is reached.
    pub at_hold_limit: AtLimit,
    /// How long a hold may go without progress before it is broken.
    pub stall_limit: Duration,
    /// The speed of a backup in bytes a second; 0: as fast as it goes.
    pub throttle: u64,
    /// Of so many backups one is full and the rest are incremental; 1: each is full.
    pub full_every: u32,
    /// How many bytes of log are kept for the next backup; 0: as many as there are.
    pub log_cap: u64,
    /// What happens when that many are reached.
    pub log_policy: LogCapPolicy,
    /// When restore drills are made.
    pub drill: DrillSchedule,
    /// The time zone of the schedule, an IANA name; `None`: that of the system.
    pub time_zone: Option<String>,
    /// The public keys that archives are encrypted for; none leaves them unencrypted.
    pub recipients: Vec<String>,
}

/// When restore drills are made.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DrillSchedule {
    /// How many days lie between two drills; 0: none are made by themselves.
    pub every: u32,
    /// The time of day.
    pub hour: Time,
}
