//! Every key of the settings: where it stands, what it may say, what it is for.
//!
//! This table is the one place that knows the keys. Reading, writing, `stillpoint settings` and
//! `docs/settings.md` (a test compares) all come from it; the default is the one that `defaults` has.

use super::key::SettingKey;
use super::types::Settings;
use super::value::{
    ACCESS, AT_LIMIT, COMPRESSION, FREQUENCY, Field, Kind, LEVEL, LOG_POLICY, STRICTNESS,
};

const fn key(
    path: &'static str,
    kind: Kind,
    field: fn(&mut Settings) -> &mut dyn Field,
    doc: &'static str,
) -> SettingKey {
    SettingKey { path, also: None, kind, doc, field }
}

const fn number(least: u64, most: u64) -> Kind {
    Kind::Number { least, most }
}

/// Generous: what they bound is "every so many", and a number beyond them is a slip of the pen.
const PERIODS: Kind = number(1, 999);
/// The largest number that all programs agree on when they read it.
const LARGE: u64 = 1 << 53;

macro_rules! week_day {
    ($name:literal, $index:literal) => {
        [
            key(
                concat!("Scheduler/Weekly/", $name, "/Save"),
                Kind::Bool,
                |s| &mut s.scheduler.weekly.days[$index].save,
                concat!("Whether a weekly schedule makes a backup on ", $name, "."),
            ),
            key(
                concat!("Scheduler/Weekly/", $name, "/Hour"),
                Kind::Clock,
                |s| &mut s.scheduler.weekly.days[$index].hour,
                concat!("The time of day of the backup on ", $name, "."),
            ),
        ]
    };
}

const FIRST: &[SettingKey] = &[
    key(
        "Advanced/BackupFailure/TryBackupAtTheNextScheduledDate",
        Kind::Bool,
        |s| &mut s.advanced.backup_failure.try_backup_at_the_next_scheduled_date,
        "After a failed backup the next attempt is the next scheduled one. Otherwise there is a second attempt after TryToBackupAfter. No source tells the default; the second attempt is what the manual describes first.",
    ),
    key(
        "Advanced/BackupFailure/TryToBackupAfter",
        Kind::Span,
        |s| &mut s.advanced.backup_failure.try_to_backup_after,
        "How long to wait before the second attempt. No source tells the default; a minute is what files in use have.",
    ),
    key(
        "Advanced/BackupFailure/AbortIfBackupFail",
        Kind::Bool,
        |s| &mut s.advanced.backup_failure.abort_if_backup_fail,
        "After RetryCountBeforeAbort failed attempts automatic backups are suspended (1401) until the store is opened again or a backup by hand succeeds.",
    ),
    key(
        "Advanced/BackupFailure/RetryCountBeforeAbort",
        number(1, 999),
        |s| &mut s.advanced.backup_failure.retry_count_before_abort,
        "How many attempts may fail before that. No source tells the default; 5 is what files in use have.",
    ),
    key(
        "Advanced/Transaction/WaitForEndOfTransaction",
        Kind::Bool,
        |s| &mut s.advanced.transaction.wait_for_end_of_transaction,
        "Whether a backup waits for the open write handles of others; otherwise one that is open fails it at once (1405). Old files alone have this key; without it a backup waits.",
    ),
    key(
        "Advanced/Transaction/Timeout",
        Kind::Span,
        |s| &mut s.advanced.transaction.timeout,
        "How long it waits before it fails (1405). No source tells the default; it is that of a backup without settings.",
    ),
    key(
        "Advanced/AutomaticRestore",
        Kind::Bool,
        |s| &mut s.advanced.automatic_restore,
        "Whether a store that is found damaged at its opening is restored from its last backup.",
    ),
    key(
        "Advanced/AutomaticLogIntegration",
        Kind::Bool,
        |s| &mut s.advanced.automatic_log_integration,
        "Whether an opening integrates the logs that go on from the restored archive. Recovery after a crash is no integration and is always done.",
    ),
    key(
        "Advanced/AutomaticRestart",
        Kind::Bool,
        |s| &mut s.advanced.automatic_restart,
        "Whether the store is opened after an automatic restore; otherwise the opening ends with an error that says that it was restored.",
    ),
    key(
        "Advanced/AutomaticLogIntegrationStrictness",
        STRICTNESS,
        |s| &mut s.advanced.automatic_log_integration_strictness,
        "What an automatic integration does when an operation does not fit: strict stops there, auto-repair mends it and reports it.",
    ),
    key(
        "Advanced/BackupIfDataChange",
        Kind::Bool,
        |s| &mut s.advanced.backup_if_data_change,
        "Whether a scheduled backup is postponed to its next date when no record changed since the last one. The journal tells it.",
    ),
    key(
        "Advanced/SetNumber/Enable",
        Kind::Bool,
        |s| &mut s.advanced.set_number.enable,
        "Whether only the newest sets are kept. Otherwise none is ever deleted.",
    ),
    key(
        "Advanced/SetNumber/Value",
        number(1, 9999),
        |s| &mut s.advanced.set_number.value,
        "How many sets are kept, and how many operations the history tells.",
    ),
    key(
        "Advanced/EraseOldBackupBefore",
        Kind::Bool,
        |s| &mut s.advanced.erase_old_backup_before,
        "Whether the oldest set is deleted before the backup instead of after it: that saves space and leaves one set less while the backup runs. No source tells the default; after it is the safe order.",
    ),
    key(
        "Advanced/CompressionRate",
        COMPRESSION,
        |s| &mut s.advanced.compression_rate,
        "How hard archives are packed. Sources differ about the default: the settings page says Fast, an older list of keys None. Fast is taken.",
    ),
    key(
        "Advanced/Redundancy",
        LEVEL,
        |s| &mut s.advanced.redundancy,
        "How much parity is written beside an archive, from which damage is repaired.",
    ),
    key(
        "Advanced/Interlacing",
        LEVEL,
        |s| &mut s.advanced.interlacing,
        "How far apart the blocks of one stripe of that parity lie, so that one long damage hits each stripe less.",
    ),
    key(
        "Advanced/FileSegmentation/DefaultSize",
        number(0, 2048),
        |s| &mut s.advanced.segment_mib,
        "The size of the segments of an archive in MiB; 0 leaves it in one piece.",
    ),
    key(
        "Advanced/CheckArchiveFileDuringBackup",
        Kind::Bool,
        |s| &mut s.advanced.check_archive_file_during_backup,
        "Whether an archive is read back from the medium and checked before it gets its name.",
    ),
    SettingKey {
        path: "Advanced/BackupJournalVerboseMode",
        also: Some("Advanced/VerboseMode"),
        kind: Kind::Bool,
        doc: "Whether the journal tells everything, or starts and errors alone. The manual calls the key VerboseMode, files have BackupJournalVerboseMode: both are understood. Where a file has both, BackupJournalVerboseMode counts, and setting it sets both.",
        field: |s| &mut s.advanced.backup_journal_verbose_mode,
    },
    key(
        "General/IncludeStructureFile",
        Kind::Bool,
        |s| &mut s.general.include_structure_file,
        "Whether the structure is saved. No source tells the default.",
    ),
    key(
        "General/IncludeDataFile",
        Kind::Bool,
        |s| &mut s.general.include_data_file,
        "Whether the data is saved.",
    ),
    key(
        "General/IncludeAltStructFile",
        Kind::Bool,
        |s| &mut s.general.include_alt_structure_file,
        "Whether the user structure is saved. A store has none: the key is read, kept, and changes nothing.",
    ),
    key(
        "General/DestinationFolder",
        Kind::Path,
        |s| &mut s.general.destination_folder,
        "Where archives go. A relative path begins at the folder that holds the store. Where nothing is said: a folder beside the store, named for it, which is made.",
    ),
    key(
        "General/IncludesFiles",
        Kind::Paths,
        |s| &mut s.general.includes_files,
        "Files and folders that are saved with the store: ItemsCount says how many, Item1 to ItemN name them. A relative path begins at the folder that holds the store.",
    ),
    key(
        "Scheduler/Frequency",
        FREQUENCY,
        |s| &mut s.scheduler.frequency,
        "Which of the blocks below is in force. An empty value means Never.",
    ),
    key(
        "Scheduler/Hourly/Every",
        number(1, 24),
        |s| &mut s.scheduler.hourly.every,
        "How many hours lie between two backups.",
    ),
    key(
        "Scheduler/Hourly/StartingAt",
        Kind::Clock,
        |s| &mut s.scheduler.hourly.starting_at,
        "The time of day from which those hours are counted.",
    ),
    key(
        "Scheduler/Daily/Every",
        PERIODS,
        |s| &mut s.scheduler.daily.every,
        "How many days lie between two backups.",
    ),
    key(
        "Scheduler/Daily/Hour",
        Kind::Clock,
        |s| &mut s.scheduler.daily.hour,
        "The time of day of a daily backup.",
    ),
    key(
        "Scheduler/Weekly/Every",
        PERIODS,
        |s| &mut s.scheduler.weekly.every,
        "How many weeks lie between two weeks with backups.",
    ),
];

const MONTHLY: &[SettingKey] = &[
    key(
        "Scheduler/Monthly/Every",
        PERIODS,
        |s| &mut s.scheduler.monthly.every,
        "How many months lie between two backups.",
    ),
    key(
        "Scheduler/Monthly/Day",
        number(1, 31),
        |s| &mut s.scheduler.monthly.day,
        "The day of the month; in a month that has fewer days, its last one.",
    ),
    key(
        "Scheduler/Monthly/Hour",
        Kind::Clock,
        |s| &mut s.scheduler.monthly.hour,
        "The time of day of a monthly backup.",
    ),
];

const OWN: &[SettingKey] = &[
    key(
        "Stillpoint/Access",
        ACCESS,
        |s| &mut s.stillpoint.access,
        "What others may do during a backup. Auto: what the mode of the store gives.",
    ),
    key(
        "Stillpoint/ArchiveName",
        Kind::Name,
        |s| &mut s.stillpoint.archive_name,
        "The name of archives without their number. Where nothing is said: that of the store's folder.",
    ),
    key(
        "Stillpoint/HoldLimit",
        Kind::Span,
        |s| &mut s.stillpoint.hold_limit,
        "How long a backup may hold others at most; nothing (00:00:00) lets it as long as it makes progress.",
    ),
    key(
        "Stillpoint/AtHoldLimit",
        AT_LIMIT,
        |s| &mut s.stillpoint.at_hold_limit,
        "What happens when HoldLimit is reached: ContinueLive lets the others go and goes on from what is pinned, Abort lets the backup fail.",
    ),
    key(
        "Stillpoint/StallLimit",
        Kind::Span,
        |s| &mut s.stillpoint.stall_limit,
        "How long a backup that holds others may go without progress before the hold is broken.",
    ),
    key(
        "Stillpoint/Throttle",
        number(0, LARGE),
        |s| &mut s.stillpoint.throttle,
        "The speed of a backup in bytes of the source a second; 0 for as fast as it goes.",
    ),
    key(
        "Stillpoint/FullEvery",
        number(1, 999),
        |s| &mut s.stillpoint.full_every,
        "Of so many automatic backups one is full, and the others are incremental; 1 makes each full.",
    ),
    key(
        "Stillpoint/LogCap",
        number(0, LARGE),
        |s| &mut s.stillpoint.log_cap,
        "How many bytes of log are kept for the next backup; 0 for as many as there are, or as the application says. A change holds from the next write on; log segments that are made already keep their length.",
    ),
    key(
        "Stillpoint/LogPolicy",
        LOG_POLICY,
        |s| &mut s.stillpoint.log_policy,
        "What happens when LogCap is reached: Refuse refuses writes (1274) until a backup, DropOldest gives up the oldest log.",
    ),
    key(
        "Stillpoint/Drill/Every",
        number(0, 999),
        |s| &mut s.stillpoint.drill.every,
        "How many days lie between two restore drills; 0 makes none.",
    ),
    key(
        "Stillpoint/Drill/Hour",
        Kind::Clock,
        |s| &mut s.stillpoint.drill.hour,
        "The time of day of a restore drill.",
    ),
    key(
        "Stillpoint/TimeZone",
        Kind::Zone,
        |s| &mut s.stillpoint.time_zone,
        "The time zone of the schedule. Where nothing is said: that of the system.",
    ),
    key(
        "Stillpoint/Recipients",
        Kind::PublicKeys,
        |s| &mut s.stillpoint.recipients,
        "Who archives are encrypted for, where the application or the command names nobody: public keys alone. Nothing leaves them unencrypted. To verify, drill or go on from them takes a private key, which no setting holds.",
    ),
];

/// All of them, in the order of the file.
pub(super) static TABLE: &[&[SettingKey]] = &[
    FIRST,
    &week_day!("Monday", 0),
    &week_day!("Tuesday", 1),
    &week_day!("Wednesday", 2),
    &week_day!("Thursday", 3),
    &week_day!("Friday", 4),
    &week_day!("Saturday", 5),
    &week_day!("Sunday", 6),
    MONTHLY,
    OWN,
];
