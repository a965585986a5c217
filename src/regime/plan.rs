//! What the settings come to for one store: every path made whole, every default filled in.
//!
//! The settings file names things as people do; from here on the regime speaks of what is to be done
//! with this store. A backup is made from a copy of its plan, so that it can differ for once.

use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::tz::TimeZone;

use super::core::Secrets;
use super::policy::Rules;
use super::schedule::Schedule;
use super::settings::{BackupFailure, DrillSchedule, Settings, Strictness};
use crate::archive::{Compression, Keys, Layers, Recipients, check_set_name};
use crate::backup::BackupBuilder;
use crate::disk::atomic::{create_dir_all, is_same_folder, parent};
use crate::disk::{Disk, beside};
use crate::error::{Error, ErrorKind, Result, code};
use crate::lock::{Access, AtLimit, Contents, StoreMode};
use crate::store::Store;

/// What is done at an opening.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Automatic {
    /// A damaged store is restored.
    pub(crate) restore: bool,
    /// Logs that go on from the restored archive are integrated.
    pub(crate) integration: bool,
    /// At the first log that does not fit, that ends; otherwise what can be mended is.
    pub(crate) strict: bool,
    /// The restored store is opened at once.
    pub(crate) restart: bool,
}

/// What is to be done with this store.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) destination: PathBuf,
    /// Whether nobody named the destination: then it is made where it is missing. One that somebody
    /// named may be a disk that is not mounted.
    pub(crate) default_destination: bool,
    /// Whether the destination is another than that of the settings, for once: see [`Plan::into_folder`].
    pub(crate) apart: bool,
    pub(crate) set: String,
    pub(crate) contents: Contents,
    pub(crate) attachments: Vec<PathBuf>,
    pub(crate) access: Option<Access>,
    pub(crate) compression: Compression,
    pub(crate) layers: Layers,
    /// What opens earlier archives.
    pub(crate) keys: Keys,
    pub(crate) verify: bool,
    pub(crate) transaction_timeout: Duration,
    pub(crate) hold_limit: Option<(Duration, AtLimit)>,
    pub(crate) stall_limit: Duration,
    pub(crate) throttle: Option<u64>,
    /// A damaged segment of the log is a gap and no reason to give up. Never a setting.
    pub(crate) accept_log_damage: bool,
    /// Of so many backups one is full.
    pub(crate) full_every: u32,
    /// Whether this backup saves only what changed; `None` leaves it to the line above.
    pub(crate) incremental: Option<bool>,
    /// How many sets are kept; all of them where `None`.
    pub(crate) keep: Option<u32>,
    pub(crate) erase_before: bool,
    pub(crate) only_if_changed: bool,
    pub(crate) verbose: bool,
    pub(crate) rules: Rules,
    pub(crate) automatic: Automatic,
    pub(crate) schedule: Schedule,
    pub(crate) drills: Schedule,
    pub(crate) zone: TimeZone,
}

/// Where the archives go where nobody says so: a folder beside the store.
fn default_destination(dir: &Path) -> PathBuf {
    beside(dir, " backups")
}

/// A path of the settings: relative ones begin at the folder that holds the store.
fn whole(dir: &Path, path: &Path) -> PathBuf {
    let plain = path.strip_prefix(".").unwrap_or(path);
    parent(dir).join(plain)
}

/// Who archives are encrypted for: whom the application names, or else the settings.
fn recipients(keys: &[String], secrets: &Secrets) -> Result<Option<Recipients>> {
    match &secrets.recipients {
        Some(named) => Ok(Some(named.clone())),
        None if keys.is_empty() => Ok(None),
        None => {
            let keys = keys.iter().map(String::as_str);
            Recipients::public_keys(keys).map(Some).map_err(|error| match error.kind() {
                ErrorKind::Unsupported => error,
                _ => error.with_code(code::SETTINGS),
            })
        }
    }
}

fn segment_bytes(mib: u32) -> Option<u64> {
    (mib > 0).then(|| u64::from(mib) << 20)
}

fn rules(failure: &BackupFailure) -> Rules {
    Rules {
        retry_at_next_date: failure.try_backup_at_the_next_scheduled_date,
        retry_after: failure.try_to_backup_after,
        give_up_after: failure.abort_if_backup_fail.then_some(failure.retry_count_before_abort),
    }
}

fn drills(drill: &DrillSchedule) -> Schedule {
    match drill.every {
        0 => Schedule::Never,
        every => Schedule::Daily { every, at: drill.hour },
    }
}

fn zone(name: Option<&str>) -> Result<TimeZone> {
    let Some(name) = name.filter(|name| !name.is_empty()) else { return Ok(TimeZone::system()) };
    TimeZone::get(name).map_err(|e| {
        Error::new(ErrorKind::Invalid, format!("there is no time zone \"{name}\""))
            .with_code(code::SETTINGS)
            .because(e)
            .hint("Settings/Stillpoint/TimeZone takes an IANA name such as \"Europe/Berlin\".")
    })
}

/// What the archives are called where nobody says so.
fn default_set(dir: &Path) -> String {
    let name = dir.file_name().map(|name| name.to_string_lossy().into_owned());
    name.filter(|name| check_set_name(name).is_ok()).unwrap_or_else(|| "store".to_owned())
}

impl Plan {
    /// The plan that `settings` come to for the store in `dir`.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] (2007) for a time zone that nobody knows and a name that no archive can
    /// have.
    pub(crate) fn of(settings: &Settings, dir: &Path, secrets: &Secrets) -> Result<Plan> {
        let (advanced, general) = (&settings.advanced, &settings.general);
        let own = &settings.stillpoint;
        let named = general.destination_folder.as_ref().filter(|path| !path.as_os_str().is_empty());
        let set = match &own.archive_name {
            Some(name) => {
                check_set_name(name).map_err(|e| e.with_code(code::SETTINGS))?;
                name.clone()
            }
            None => default_set(dir),
        };
        let wait = &advanced.transaction;
        Ok(Plan {
            destination: named.map_or_else(|| default_destination(dir), |path| whole(dir, path)),
            default_destination: named.is_none(),
            apart: false,
            set,
            contents: Contents {
                structure: general.include_structure_file,
                data: general.include_data_file,
            },
            attachments: general.includes_files.iter().map(|path| whole(dir, path)).collect(),
            access: own.access,
            compression: advanced.compression_rate,
            layers: Layers {
                recipients: recipients(&own.recipients, secrets)?,
                segment_bytes: segment_bytes(advanced.segment_mib),
                redundancy: advanced.redundancy,
                interlacing: advanced.interlacing,
            },
            keys: secrets.keys.clone(),
            verify: advanced.check_archive_file_during_backup,
            transaction_timeout: match wait.wait_for_end_of_transaction {
                true => wait.timeout,
                false => Duration::ZERO,
            },
            hold_limit: (!own.hold_limit.is_zero()).then_some((own.hold_limit, own.at_hold_limit)),
            stall_limit: own.stall_limit,
            throttle: (own.throttle > 0).then_some(own.throttle),
            accept_log_damage: false,
            keep: advanced.set_number.enable.then_some(advanced.set_number.value),
            full_every: own.full_every,
            incremental: None,
            erase_before: advanced.erase_old_backup_before,
            only_if_changed: advanced.backup_if_data_change,
            verbose: advanced.backup_journal_verbose_mode,
            rules: rules(&advanced.backup_failure),
            automatic: Automatic {
                restore: advanced.automatic_restore,
                integration: advanced.automatic_log_integration,
                strict: advanced.automatic_log_integration_strictness == Strictness::Strict,
                restart: advanced.automatic_restart,
            },
            schedule: Schedule::from(&settings.scheduler),
            drills: drills(&own.drill),
            zone: zone(own.time_zone.as_deref())?,
        })
    }

    /// The plan for a backup into `folder`. One that the settings do not name gets a copy that stands by
    /// itself: the log is left to the next regular backup, and no older archive is deleted there,
    /// since how many are kept is said of the regular ones.
    pub(crate) fn into_folder(mut self, disk: &dyn Disk, folder: PathBuf) -> Plan {
        if !is_same_folder(disk, &folder, &self.destination) {
            (self.destination, self.default_destination) = (folder, false);
            return self.by_itself();
        }
        self
    }

    /// The plan for a copy that stands by itself, wherever it goes.
    pub(crate) fn by_itself(mut self) -> Plan {
        (self.apart, self.keep, self.erase_before) = (true, None, false);
        self
    }

    /// The same, keeping as many sets as `now` has it: how many is said of the folder and not of a backup.
    pub(crate) fn keeping_as(mut self, now: &Plan) -> Plan {
        if !self.apart {
            (self.keep, self.erase_before) = (now.keep, now.erase_before);
        }
        self
    }

    /// What says in the state whether the schedule of backups is still the same.
    pub(crate) fn schedule_mark(&self) -> String {
        format!("{:?}", self.schedule)
    }

    /// The same for the schedule of drills.
    pub(crate) fn drills_mark(&self) -> String {
        format!("{:?}", self.drills)
    }

    /// What others may do meanwhile, in a store that was opened in `mode`.
    pub(crate) fn access_in(&self, mode: StoreMode) -> Access {
        self.access.unwrap_or_else(|| mode.default_access())
    }

    /// Makes the destination where it is nobody's choice but ours.
    ///
    /// # Errors
    /// 1407 where it cannot be made.
    pub(crate) fn make_destination(&self, disk: &dyn Disk) -> Result<()> {
        if !self.default_destination {
            return Ok(());
        }
        // Also where it is there: whoever made it may have been killed before its name was durable.
        create_dir_all(disk, &self.destination).map_err(|e| {
            Error::io("make the folder for the backups", &self.destination, e)
                .with_code(code::DESTINATION)
        })
    }

    /// The backup that the plan comes to.
    pub(crate) fn builder(&self, store: &Store) -> BackupBuilder {
        let mut backup = store
            .backup(&self.destination)
            .name(&self.set)
            .contents(self.contents)
            .access(self.access_in(store.mode()))
            .compression(self.compression)
            .verify(self.verify)
            .log_archive(!self.apart)
            .redundancy(self.layers.redundancy)
            .interlacing(self.layers.interlacing)
            .keys(self.keys.clone())
            .transaction_timeout(self.transaction_timeout)
            .stall_limit(self.stall_limit);
        if let Some(bytes) = self.layers.segment_bytes {
            backup = backup.segment_size(bytes);
        }
        if let Some(recipients) = &self.layers.recipients {
            backup = backup.encrypt(recipients.clone());
        }
        if let Some((limit, then)) = self.hold_limit {
            backup = backup.hold_limit(limit, then);
        }
        if let Some(bytes) = self.throttle {
            backup = backup.throttle(bytes);
        }
        if self.accept_log_damage {
            backup = backup.accept_log_damage();
        }
        self.attachments.iter().fold(backup, |backup, path| backup.attachment(path))
    }

    /// What an archive holds, in words.
    pub(crate) fn contents_text(&self) -> String {
        let parts = [
            ("structure", self.contents.structure),
            ("data", self.contents.data),
            ("attachments", !self.attachments.is_empty()),
        ];
        let parts: Vec<&str> = parts.iter().filter(|(_, is)| *is).map(|(name, _)| *name).collect();
        parts.join(" ")
    }
}
