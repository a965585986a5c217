//! `stillpoint verify`: whether a store or an archive is what was written.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;
use stillpoint::{Archive, verify_store};

use super::exit::Outcome;
use super::show::thermometer::Thermometer;
use super::show::{Output, human};
use super::stop::Stop;

/// Check every byte of an archive, or every page and every log record of a store.
///
/// Nothing is changed. Damage is told with its place, and the exit code is 3 then.
#[derive(Debug, Args)]
pub(crate) struct Verify {
    /// The folder of a store, or an archive.
    #[arg(value_name = "DIR|ARCHIVE")]
    what: PathBuf,
}

impl Verify {
    pub(crate) fn run(&self, output: Output, stop: &Stop) -> Outcome {
        match self.what.is_file() {
            true => self.archive(output, stop),
            false => self.store(output),
        }
    }

    fn archive(&self, output: Output, stop: &Stop) -> Outcome {
        let archive = Archive::open(&self.what)?;
        let thermometer = Thermometer::new(output.json);
        let checked = archive.verify_with(|progress| {
            thermometer.show_bytes("verifying", progress.done, progress.total);
            stop.flow()
        })?;
        drop(thermometer);
        let object = json!({
            "kind": "archive",
            "whole": true,
            "bytes": checked.bytes,
            "frames": checked.frames,
            "files": checked.entries,
            "content_bytes": checked.content,
        });
        let text = format!(
            "whole: {}, {} unpacked, {} compared",
            human::bytes(checked.bytes),
            human::bytes(checked.content),
            human::counted(checked.entries, "file"),
        );
        output.result(&object, text)
    }

    fn store(&self, output: Output) -> Outcome {
        let checked = verify_store(&self.what)?;
        let object = json!({
            "kind": "store",
            "whole": true,
            "lsn": checked.lsn,
            "checkpoint_lsn": checked.checkpoint_lsn,
            "tables": checked.tables,
            "records": checked.records,
            "pages": checked.live_pages,
        });
        let text = format!(
            "whole: {} with {} in {}, the log up to LSN {}",
            human::counted(checked.live_pages, "page"),
            human::counted(checked.records, "record"),
            human::counted(checked.tables, "table"),
            human::count(checked.lsn),
        );
        output.result(&object, text)
    }
}
