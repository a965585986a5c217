//! `stillpoint verify`: whether a store or an archive is what was written.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;
use stillpoint::{Archive, ArchiveRepair, Error, ErrorKind, verify_store_with};

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
    /// Repair the archive first, by the parity beside it: only bytes that are proven wrong are
    /// written, and none where the damage is more than the parity can bear.
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
            false => self.archive(output, stop),
        }
    }

    fn archive(&self, output: Output, stop: &Stop) -> Outcome {
        let keys = self.keys.keys()?;
        let thermometer = Thermometer::new(output.json);
        let repaired = match self.repair {
            false => None,
            true => Some(Archive::repair(&self.what, |progress| {
                thermometer.show_bytes("repairing", progress.done, progress.total);
                stop.flow()
            })?),
        };
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
        if let Some(repaired) = repaired {
            object["repaired"] = json!({
                "blocks": repaired.repaired,
                "parity_blocks": repaired.parity_damaged,
                "files": repaired.files,
            });
            text = format!("{}\n{text}", said(&repaired));
        }
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
            "unlocked": checked.unlocked,
        });
        let mut text = format!(
            "whole: {} with {} in {}, the log up to LSN {}",
            human::counted(checked.live_pages, "page"),
            human::counted(checked.records, "record"),
            human::counted(checked.tables, "table"),
            human::count(checked.lsn),
        );
        if checked.unlocked {
            text.push_str(
                "\n  without a lock, since its folder cannot be written: nobody may have had it open",
            );
        }
        output.result(&object, text)
    }
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
