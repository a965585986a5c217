//! `stillpoint backup`: an archive of the store at one commit, as its settings say.
//!
//! The store must not be open elsewhere: a process that has it open backs it up itself. It goes the
//! way of every backup of the regime: history, journal, retention. Ctrl-C stops it and leaves neither
//! an archive nor a part of one.

use std::path::PathBuf;
use std::thread::sleep;
use std::time::Duration;

use clap::{Args, ValueEnum};
use serde_json::{Value, json};
use stillpoint::regime::ByHand;
use stillpoint::{Access, BackupReport, BackupStatus, Compression, Keys, Progress};

use super::exit::{Failure, Outcome};
use super::keys::LayerArgs;
use super::show::thermometer::{Reading, Thermometer};
use super::show::{Output, human, plain};
use super::stop::Stop;
use super::{by_hand, micros, size, stores};

/// How often the thermometer and the Stop button are looked at.
const GLANCE: Duration = Duration::from_millis(20);

/// Save the store, as it is at one commit, into an archive.
///
/// Where to, how hard to pack, what else to save and how many sets to keep is in the settings of the
/// store (`stillpoint settings`); without any it goes into "DIR backups" beside the store. What is
/// given here takes the place of the settings for once. The archive is a tar file packed with zstd
/// that any tar can open. It is read back and verified before it gets its name.
#[derive(Debug, Args)]
pub(crate) struct Backup {
    /// The folder of the store.
    #[arg(value_name = "DIR")]
    store: PathBuf,
    /// The folder for the archive; it must be there. Archives are numbered in each. A folder other
    /// than that of the settings gets a copy that stands by itself: the log is left to the next backup
    /// without this option, and nothing is deleted there.
    #[arg(long, value_name = "FOLDER")]
    to: Option<PathBuf>,
    /// What others may do meanwhile; if not given, as the settings or the mode of the store say.
    #[arg(long, value_enum)]
    access: Option<AccessName>,
    /// How hard to pack.
    #[arg(long, value_enum)]
    compression: Option<CompressionName>,
    /// At most so much a second, so that the disk is left to others: bytes, or with K, M, G or T.
    #[arg(long, value_name = "SIZE", value_parser = size::parse)]
    throttle: Option<u64>,
    /// Save only what changed since the last archive of this store in the same folder.
    #[arg(long)]
    incremental: bool,
    /// Go on where a segment of the kept log is damaged: what can be read of it is archived, and the
    /// commits that cannot be read are reported as a gap.
    #[arg(long)]
    accept_log_damage: bool,
    #[command(flatten)]
    layers: LayerArgs,
}

/// [`Access`] by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum AccessName {
    /// Nobody waits.
    Live,
    /// Reads go on, writes wait.
    ReadOnly,
    /// Reads and writes wait.
    Frozen,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum CompressionName {
    /// Not at all.
    None,
    /// Fast.
    Fast,
    /// Small.
    Compact,
}

impl AccessName {
    pub(crate) fn access(self) -> Access {
        match self {
            AccessName::Live => Access::Live,
            AccessName::ReadOnly => Access::ReadOnly,
            AccessName::Frozen => Access::Frozen,
        }
    }

    /// The name as it is typed.
    pub(crate) fn of(access: Access) -> &'static str {
        match access {
            Access::Live => "live",
            Access::ReadOnly => "read-only",
            Access::Frozen => "frozen",
        }
    }
}

/// A store that cannot be opened has nobody else who records that it could not be backed up.
fn record_failure(act: &ByHand, failure: &Failure) {
    if let Failure::Error(error) = failure {
        by_hand::tell(act.backup_failed(error));
    }
}

impl CompressionName {
    fn compression(self) -> Compression {
        match self {
            CompressionName::None => Compression::None,
            CompressionName::Fast => Compression::Fast,
            CompressionName::Compact => Compression::Compact,
        }
    }
}

impl Backup {
    pub(crate) fn run(&self, output: Output, stop: &Stop) -> Outcome {
        let act = by_hand::begin(&self.store);
        let regime = stores::open_with_regime(&self.store, Keys::none())
            .inspect_err(|failure| record_failure(&act, failure))?;
        let mut backup = regime.backup().by_hand();
        if let Some(folder) = &self.to {
            backup = backup.to(folder);
        }
        if let Some(access) = self.access {
            backup = backup.access(access.access());
        }
        if let Some(compression) = self.compression {
            backup = backup.compression(compression.compression());
        }
        if let Some(bytes) = self.throttle {
            backup = backup.throttle(bytes);
        }
        if self.incremental {
            backup = backup.incremental(true);
        }
        if self.accept_log_damage {
            backup = backup.accept_log_damage();
        }
        let running = self.layers.apply(backup)?.start()?;
        let thermometer = Thermometer::new(output.json);
        while !running.is_finished() {
            if stop.pressed() {
                running.stop();
            }
            thermometer.show(&Reading::of(&running.progress()));
            sleep(GLANCE);
        }
        drop(thermometer);
        let report = running.wait()?;
        output.result(&as_json(&report), as_text(&report))?;
        match report.status {
            BackupStatus::Complete => Ok(()),
            BackupStatus::Partial => Err(Failure::Partial),
        }
    }
}

impl Reading {
    /// What the thermometer shows of a backup.
    pub(crate) fn of(progress: &Progress) -> Reading {
        let known = progress.bytes_total > 0;
        Reading {
            stage: progress.stage.to_string(),
            done: progress.bytes_done,
            total: known.then_some(progress.bytes_total),
            rate: (progress.bytes_per_second > 0).then_some(progress.bytes_per_second),
            left: progress.time_left,
            waiting: Some(progress.writers_waiting as u64),
        }
    }
}

fn as_json(report: &BackupReport) -> Value {
    json!({
        "number": report.number,
        "archive": report.archive.display().to_string(),
        "status": report.status,
        "access": AccessName::of(report.access),
        "lsn": report.lsn,
        "pin_us": micros(report.pin),
        "hold_us": micros(report.hold),
        "longest_wait_us": micros(report.longest_wait),
        "duration_us": micros(report.duration),
        "source_bytes": report.source_bytes,
        "archive_bytes": report.archive_bytes,
        "verified": report.verified,
        "changed_while_read": changed(report).collect::<Vec<_>>(),
        "problems": report.problems.iter().map(|error| error.summary()).collect::<Vec<_>>(),
    })
}

/// The files that changed while they were read: what is saved of each may be of no single moment.
fn changed(report: &BackupReport) -> impl Iterator<Item = &str> {
    report.files.iter().filter(|file| file.changed_while_read).map(|file| &*file.path)
}

fn as_text(report: &BackupReport) -> String {
    let state = match (report.status, report.verified) {
        (BackupStatus::Complete, true) => "complete and verified",
        (BackupStatus::Complete, false) => "complete, not verified",
        (BackupStatus::Partial, _) => "PARTIAL",
    };
    let mut text = format!(
        "backup {} is {state}: {}\n  the store at LSN {}, access {}, {} in {} ({} packed)\n",
        report.number,
        plain::path(&report.archive),
        human::count(report.lsn),
        AccessName::of(report.access),
        human::bytes(report.source_bytes),
        human::duration(report.duration),
        human::bytes(report.archive_bytes),
    );
    text.push_str(&format!(
        "  commit line held {}, others held {}, longest wait {}\n",
        human::duration(report.pin),
        human::duration(report.hold),
        human::duration(report.longest_wait),
    ));
    for path in changed(report) {
        let path = plain::line(path);
        text.push_str(&format!("  changed while it was read, and saved as it was read: {path}\n"));
    }
    for problem in &report.problems {
        let problem = problem.report().replace('\n', "\n    ");
        text.push_str(&format!("  missing: {problem}\n"));
    }
    text
}
