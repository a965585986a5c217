//! What holds where a file says nothing.
//!
//! Where the sources of the key tree differ or are silent, the choice is told here with its reason;
//! `docs/settings.md` repeats it for those who do not read the source.

use std::time::Duration;

use jiff::civil::Time;

use super::types::{
    Advanced, BackupFailure, DailySchedule, DrillSchedule, General, HourlySchedule,
    MonthlySchedule, OwnSettings, SetNumber, Strictness, TransactionWait, WeekDay, WeeklySchedule,
};
use crate::archive::{Compression, Level};
use crate::engine::LogCapPolicy;
use crate::lock::AtLimit;

const MINUTE: Duration = Duration::from_secs(60);

impl Default for Advanced {
    fn default() -> Advanced {
        Advanced {
            backup_failure: BackupFailure::default(),
            transaction: TransactionWait::default(),
            // A restore replaces data: nobody gets one who did not ask for it.
            automatic_restore: false,
            automatic_log_integration: true,
            automatic_restart: true,
            automatic_log_integration_strictness: Strictness::Strict,
            backup_if_data_change: false,
            set_number: SetNumber::default(),
            // The safer order: at no moment are there fewer sets than are to be kept.
            erase_old_backup_before: false,
            // The settings page says Fast, the older list of keys None: Fast costs next to nothing.
            compression_rate: Compression::Fast,
            redundancy: Level::None,
            interlacing: Level::None,
            segment_mib: 0,
            check_archive_file_during_backup: true,
            backup_journal_verbose_mode: true,
        }
    }
}

impl Default for BackupFailure {
    fn default() -> BackupFailure {
        BackupFailure {
            // No source says it. A second attempt after a wait is what the seeds describe first.
            try_backup_at_the_next_scheduled_date: false,
            try_to_backup_after: MINUTE,
            abort_if_backup_fail: false,
            retry_count_before_abort: 5,
        }
    }
}

impl Default for TransactionWait {
    fn default() -> TransactionWait {
        // No source says either; these are the defaults of a backup without settings.
        TransactionWait { wait_for_end_of_transaction: true, timeout: MINUTE }
    }
}

impl Default for SetNumber {
    fn default() -> SetNumber {
        SetNumber { enable: true, value: 3 }
    }
}

impl Default for General {
    fn default() -> General {
        General {
            include_structure_file: true,
            include_data_file: true,
            include_alt_structure_file: false,
            destination_folder: None,
            includes_files: Vec::new(),
        }
    }
}

impl Default for HourlySchedule {
    fn default() -> HourlySchedule {
        HourlySchedule { every: 12, starting_at: Time::midnight() }
    }
}

impl Default for DailySchedule {
    fn default() -> DailySchedule {
        DailySchedule { every: 1, hour: Time::midnight() }
    }
}

impl Default for WeeklySchedule {
    fn default() -> WeeklySchedule {
        let day = WeekDay { save: false, hour: Time::midnight() };
        WeeklySchedule { every: 1, days: std::array::from_fn(|_| day.clone()) }
    }
}

impl Default for MonthlySchedule {
    fn default() -> MonthlySchedule {
        MonthlySchedule { every: 1, day: 1, hour: Time::midnight() }
    }
}

impl Default for OwnSettings {
    fn default() -> OwnSettings {
        OwnSettings {
            access: None,
            archive_name: None,
            hold_limit: Duration::ZERO,
            at_hold_limit: AtLimit::ContinueLive,
            stall_limit: MINUTE,
            throttle: 0,
            full_every: 1,
            log_cap: 0,
            log_policy: LogCapPolicy::Refuse,
            drill: DrillSchedule::default(),
            time_zone: None,
            recipients: Vec::new(),
        }
    }
}

impl Default for DrillSchedule {
    fn default() -> DrillSchedule {
        DrillSchedule { every: 0, hour: Time::midnight() }
    }
}
