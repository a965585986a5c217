//! `stillpoint restore`: a store from an archive, brought forward through logs.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use serde_json::json;
use stillpoint::disk::RealDisk;
use stillpoint::regime::SettingsFile;
use stillpoint::{
    Archive, Contents, DiscardedCommits, Lsn, RestoreBuilder, RestorePlan, RestoreReport,
};

use super::by_hand;
use super::exit::Outcome;
use super::keys::{ChainArgs, KeyArgs};
use super::output_file;
use super::point::Point;
use super::show::thermometer::Thermometer;
use super::show::{Output, damage, human, plain};
use super::stop::Stop;

/// Make a new store from an archive.
///
/// Every byte is checked on the way. The folder must not be there: a store is never overwritten,
/// unless --delta says so. A restore that fails or is stopped leaves nothing behind. Logs are applied
/// in the order of their commits, whatever the order in which they are named; where one is missing or
/// belongs to another history, nothing is restored.
#[derive(Debug, Args)]
pub(crate) struct Restore {
    /// The archive; of an incremental one, those that it goes on from lie in the same folder.
    archive: PathBuf,
    /// The folder of the new store.
    #[arg(value_name = "DIR")]
    store: PathBuf,
    /// A log archive, a log segment or a folder of them, to be applied after the archive.
    #[arg(long, value_name = "FILE")]
    log: Vec<PathBuf>,
    /// A folder: what in it belongs to the archive's history is applied.
    #[arg(long, value_name = "FOLDER")]
    logs_in: Vec<PathBuf>,
    #[command(flatten)]
    point: Point,
    /// Restore this table only, into a store of its own.
    #[arg(long, value_name = "TABLE", conflicts_with_all = ["log", "logs_in", "point"])]
    only: Vec<String>,
    /// What of the archive is restored; all of it if not given. Data brings its structure along.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "WHAT")]
    contents: Vec<Content>,
    /// Restore into the folder of an older copy, keeping the pages that are right already.
    #[arg(long, conflicts_with = "only")]
    delta: bool,
    /// With --delta: throw commits of the older copy away that are not in the restored store.
    #[arg(long, requires = "delta")]
    discard_newer: bool,
    /// Say what would happen, and write nothing.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    chain: ChainArgs,
    #[command(flatten)]
    keys: KeyArgs,
}

/// What an archive may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Content {
    /// The tables, without their records.
    Structure,
    /// The tables with their records.
    Data,
    /// Files of the application that were saved with the store.
    Attachments,
    /// The settings of the store.
    Settings,
}

impl Restore {
    pub(crate) fn run(&self, output: Output, stop: &Stop) -> Outcome {
        let archive = Archive::open_with(&self.archive, &self.keys.keys()?)?;
        let archive = self.chain.apply(archive);
        let builder = self.builder(&archive);
        output_file::refuse_in_store(&self.store)?;
        let thermometer = Thermometer::new(output.json);
        if self.dry_run {
            let plan = builder.plan()?;
            verify(&archive, &thermometer, stop)?;
            drop(thermometer);
            return planned(&plan, output);
        }
        let act = by_hand::begin(&self.store);
        let result = builder
            .on_progress(|progress| {
                thermometer.show_bytes("restoring", progress.done, progress.total);
                stop.flow()
            })
            .run();
        drop(thermometer);
        by_hand::tell(act.restored(archive.path(), result.as_ref()));
        done(&result?, output)
    }

    fn builder<'a>(&self, archive: &'a Archive) -> RestoreBuilder<'a> {
        let mut builder = archive
            .restore(&self.store)
            .to(self.point.get())
            .delta(self.delta)
            .discard_newer(self.discard_newer);
        for log in &self.log {
            builder = builder.log(log);
        }
        for folder in &self.logs_in {
            builder = builder.logs_in(folder);
        }
        if !self.contents.is_empty() {
            let has = |one| self.contents.contains(&one);
            let (structure, data) = (has(Content::Structure), has(Content::Data));
            builder = builder
                .contents(Contents { structure: structure || data, data })
                .attachments(has(Content::Attachments))
                .settings(has(Content::Settings));
        }
        match self.only.is_empty() {
            true => builder,
            false => builder.only_tables(self.only.iter()),
        }
    }
}

fn planned(plan: &RestorePlan, output: Output) -> Outcome {
    let logs = plan.logs.iter().map(
        |log| json!({"path": log.path.display().to_string(), "after": log.after, "last": log.last}),
    );
    let object = json!({
        "store": plan.dir.display().to_string(),
        "archive_lsn": plan.archive_lsn,
        "lsn": plan.lsn,
        "reaches_point": plan.reaches_point,
        "logs": logs.collect::<Vec<_>>(),
        "bytes_needed": plan.bytes_needed,
        "bytes_free": plan.bytes_free,
        "discards": plan.discards.map(discarded),
        "dry_run": true,
    });
    let mut text = format!(
        "would restore {} at LSN {} (needs {}, {} free)\n",
        plain::path(&plan.dir),
        human::count(plan.archive_lsn),
        human::bytes(plan.bytes_needed),
        human::bytes(plan.bytes_free),
    );
    for log in &plan.logs {
        let (first, last) = (human::count(log.after + 1), human::count(log.last));
        text.push_str(&format!("then LSN {first} to {last} of {}\n", plain::path(&log.path)));
    }
    if let Some(gone) = &plan.discards {
        let agreed = "would be thrown away, which --discard-newer has to allow";
        text.push_str(&format!("{} {agreed}\n", in_words(gone)));
    }
    text.push_str(&format!("up to LSN {}; nothing was written", human::count(plan.lsn)));
    if !plan.reaches_point {
        text.push_str(&ends_before(plan.lsn));
    }
    output.result(&object, text)
}

fn done(report: &RestoreReport, output: Output) -> Outcome {
    let object = json!({
        "store": report.dir.display().to_string(),
        "lsn": report.lsn,
        "reaches_point": report.reached_point,
        "archive_lsn": report.archive_lsn,
        "commits": report.commits,
        "operations": report.operations,
        "bytes": report.bytes,
        "kept_bytes": report.kept_bytes,
        "discarded": report.discarded.map(discarded),
        "files": report.files,
        "damaged": damage::object(&report.read_repairs),
        "duration_us": super::micros(report.duration),
    });
    let mut text = format!(
        "restored {} to LSN {}: {} in {}",
        plain::path(&report.dir),
        human::count(report.lsn),
        human::bytes(report.bytes),
        human::duration(report.duration),
    );
    if report.commits > 0 {
        let commits = human::counted(report.commits, "commit");
        text.push_str(&format!(", with {commits} from the log"));
    }
    if !report.reached_point {
        text.push_str(&ends_before(report.lsn));
    }
    if let Some(gone) = &report.discarded {
        text.push_str(&format!("\n  {} of the older copy were thrown away", in_words(gone)));
    }
    text.push_str(&damage::text(&report.read_repairs));
    if without_settings(&report.dir) {
        text.push_str(
            "\n  settings: all by default, for none were restored; \
             `stillpoint settings DIR import FILE` takes over others",
        );
    }
    output.result(&object, text)
}

/// What a person must know where the logs do not lead to the time that was asked for.
pub(super) fn ends_before(lsn: Lsn) -> String {
    format!(
        "\n  the logs end before the point, with LSN {}: commits between it and the point are not in \
         them. Name the logs that hold the later commits, if there are any",
        human::count(lsn),
    )
}

/// Reads the archive, with all that it goes on from, and checks every byte.
fn verify(archive: &Archive, thermometer: &Thermometer, stop: &Stop) -> Outcome {
    let step = |done, total| {
        thermometer.show_bytes("verifying", done, total);
        stop.flow()
    };
    archive.verify_with(|progress| step(progress.done, progress.total))?;
    if archive.header().parent.is_some() {
        archive.verify_chain_with(|progress| step(progress.done, progress.total))?;
    }
    Ok(())
}

/// The commits that go, for programs: `null` where it is not known.
fn discarded(gone: DiscardedCommits) -> serde_json::Value {
    json!({ "after": gone.after, "last": gone.last })
}

fn in_words(gone: &DiscardedCommits) -> String {
    match (gone.after, gone.last) {
        (Some(after), Some(last)) => {
            format!("commits {} to {}", human::count(after + 1), human::count(last))
        }
        (None, Some(last)) => format!("commits up to {} of another history", human::count(last)),
        (_, None) => "commits that the damaged copy does not tell".to_owned(),
    }
}

/// Whether no settings hold for the store in `folder`. A file that cannot be read is told by those who
/// need it.
fn without_settings(folder: &Path) -> bool {
    SettingsFile::open(&*RealDisk::new(), folder).is_ok_and(|file| !file.is_there())
}
