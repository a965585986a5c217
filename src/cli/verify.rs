//! `stillpoint verify`: whether a store or an archive is what was written.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};
use stillpoint::archive::{ArchiveKind, ArchiveName};
use stillpoint::{Archive, ArchiveRepair, Error, ErrorKind, Keys, LogFile, verify_store_with};

use super::exit::Outcome;
use super::keys::{ChainArgs, KeyArgs};
use super::show::thermometer::Thermometer;
use super::show::{Output, human, plain};
use super::stop::Stop;

/// Check every byte of an archive, or every page and every log record of a store.
///
/// Nothing is changed, unless a repair is asked for. Damage is told with its place, and the exit code
/// is 3 then.
#[derive(Debug, Args)]
pub(crate) struct Verify {
    /// The folder of a store, or an archive.
    #[arg(value_name = "DIR|ARCHIVE")]
    what: PathBuf,
    /// Repair the archive first, by the parity beside it. A repair counts only where the seal of the
    /// archive agrees (an encrypted one needs its key); else nothing is changed.
    #[arg(long)]
    repair: bool,
    /// Check also what an incremental archive goes on from, and every page that they make together.
    #[arg(long)]
    chain: bool,
    #[command(flatten)]
    links: ChainArgs,
    #[command(flatten)]
    keys: KeyArgs,
}

impl Verify {
    pub(crate) fn run(&self, output: Output, stop: &Stop) -> Outcome {
        match self.what.is_dir() {
            true if self.repair => {
                let message = "a store has no parity: it is restored from an archive";
                Err(Error::new(ErrorKind::Invalid, message).at(&self.what).into())
            }
            true => self.store(output, stop),
            false if is_log_archive(&self.what) => self.log_archive(output, stop),
            false => self.archive(output, stop),
        }
    }

    /// The repair that comes first, where one is asked for.
    fn repair(
        &self,
        keys: &Keys,
        show: &Thermometer,
        stop: &Stop,
    ) -> Outcome<Option<ArchiveRepair>> {
        if !self.repair {
            return Ok(None);
        }
        let repaired = Archive::repair_with(&self.what, keys, |progress| {
            show.show_bytes("repairing", progress.done, progress.total);
            stop.flow()
        });
        Ok(Some(repaired?))
    }

    /// Every byte of a log archive, and every commit in it.
    fn log_archive(&self, output: Output, stop: &Stop) -> Outcome {
        let keys = self.keys.keys()?;
        let thermometer = Thermometer::new(output.json);
        let repaired = self.repair(&keys, &thermometer, stop)?;
        let log = LogFile::open_with(&self.what, &keys)?;
        let checked = log.verify_with(|progress| {
            thermometer.show_bytes("verifying", progress.done, progress.total);
            stop.flow()
        })?;
        drop(thermometer);
        let mut object = json!({
            "kind": "log",
            "whole": true,
            "bytes": checked.bytes,
            "segments": checked.segments,
            "commits": checked.commits,
            "after": checked.after,
            "lsn": checked.last,
        });
        let text = format!(
            "whole: {} with {}, LSN {} to {}",
            human::counted(checked.segments, "segment"),
            human::counted(checked.commits, "commit"),
            human::count(checked.after + 1),
            human::count(checked.last),
        );
        let text = with_repair(repaired, &mut object, text);
        output.result(&object, text)
    }

    fn archive(&self, output: Output, stop: &Stop) -> Outcome {
        let keys = self.keys.keys()?;
        let thermometer = Thermometer::new(output.json);
        let repaired = self.repair(&keys, &thermometer, stop)?;
        let archive = self.links.apply(Archive::open_with(&self.what, &keys)?);
        if self.chain {
            return chain(&archive, thermometer, output, stop);
        }
        let checked = archive.verify_with(|progress| {
            thermometer.show_bytes("verifying", progress.done, progress.total);
            stop.flow()
        })?;
        drop(thermometer);
        let mut object = json!({
            "kind": "archive",
            "whole": true,
            "bytes": checked.bytes,
            "frames": checked.frames,
            "files": checked.entries,
            "content_bytes": checked.content,
        });
        let mut text = format!(
            "whole: {}, {} unpacked, {} compared",
            human::bytes(checked.bytes),
            human::bytes(checked.content),
            human::counted(checked.entries, "file"),
        );
        if let Some(parent) = &archive.header().parent {
            // What was read is this archive alone.
            let name = format!("{}[{:04}]", parent.set, parent.number);
            object["goes_on_from"] = json!({ "archive": &name, "seal": &parent.seal });
            text.push_str(&format!(
                "\n  incremental: it takes {name} too, which was not read (--chain reads all of them)"
            ));
        }
        let text = with_repair(repaired, &mut object, text);
        output.result(&object, text)
    }

    fn store(&self, output: Output, stop: &Stop) -> Outcome {
        let thermometer = Thermometer::new(output.json);
        let checked = verify_store_with(&self.what, |progress| {
            thermometer.show_bytes("verifying", progress.done, progress.total);
            stop.flow()
        })?;
        drop(thermometer);
        let object = json!({
            "kind": "store",
            "whole": true,
            "lsn": checked.lsn,
            "checkpoint_lsn": checked.checkpoint_lsn,
            "tables": checked.tables,
            "records": checked.records,
            "pages": checked.live_pages,
            "log_segments": checked.log_segments,
            "log_bytes": checked.log_bytes,
            "unlocked": checked.unlocked,
        });
        let mut text = format!(
            "whole: {} with {} in {}, the log up to LSN {}",
            human::counted(checked.live_pages, "page"),
            human::counted(checked.records, "record"),
            human::counted(checked.tables, "table"),
            human::count(checked.lsn),
        );
        if checked.log_segments > 0 {
            text.push_str(&format!(
                "\n  {} of the kept log: {}",
                human::counted(checked.log_segments, "segment"),
                human::bytes(checked.log_bytes),
            ));
        }
        if checked.unlocked {
            text.push_str(
                "\n  without a lock: its folder cannot be written and has no lock file; nobody may have had it open",
            );
        }
        output.result(&object, text)
    }
}

/// Whether the name at `path` is that of a log archive.
fn is_log_archive(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).and_then(ArchiveName::parse);
    name.is_some_and(|name| name.kind() == ArchiveKind::Log)
}

/// The result with what a repair before it did.
fn with_repair(repaired: Option<ArchiveRepair>, object: &mut Value, text: String) -> String {
    let Some(repaired) = repaired else { return text };
    object["repaired"] = json!({
        "blocks": repaired.repaired,
        "parity_blocks": repaired.parity_damaged,
        "files": repaired.files,
    });
    format!("{}\n{text}", said(&repaired))
}

/// What a repair did.
fn said(repaired: &ArchiveRepair) -> String {
    if repaired.files.is_empty() {
        return format!("nothing to repair in {}", human::counted(repaired.blocks, "block"));
    }
    let files: Vec<String> =
        repaired.files.iter().map(|path| format!("\n  {}", plain::path(path))).collect();
    format!(
        "repaired {} of {}; written to:{}",
        human::count(repaired.repaired),
        human::counted(repaired.blocks, "block"),
        files.concat(),
    )
}

/// Checks the archive with all that it goes on from.
fn chain(archive: &Archive, thermometer: Thermometer, output: Output, stop: &Stop) -> Outcome {
    let checked = archive.verify_chain_with(|progress| {
        thermometer.show_bytes("verifying", progress.done, progress.total);
        stop.flow()
    })?;
    drop(thermometer);
    let paths = checked.links.iter().map(|link| link.archive.display().to_string());
    let paths: Vec<String> = paths.collect();
    let object = json!({
        "kind": "chain",
        "whole": true,
        "archives": &paths,
        "pages": checked.live_pages,
        "records": checked.records,
    });
    let text = format!(
        "whole: {} with {} in {}",
        human::counted(checked.live_pages, "page"),
        human::counted(checked.records, "record"),
        human::counted(paths.len() as u64, "archive"),
    );
    output.result(&object, text)
}
