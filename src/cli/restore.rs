//! `stillpoint restore`: a store from an archive.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;
use stillpoint::Archive;

use super::exit::Outcome;
use super::keys::KeyArgs;
use super::show::thermometer::Thermometer;
use super::show::{Output, human};
use super::stop::Stop;

/// Make a new store from an archive.
///
/// Every byte is checked on the way. The folder must not be there: a store is never overwritten. A
/// restore that fails or is stopped leaves nothing behind.
#[derive(Debug, Args)]
pub(crate) struct Restore {
    /// The archive.
    archive: PathBuf,
    /// The folder of the new store.
    #[arg(value_name = "DIR")]
    store: PathBuf,
    #[command(flatten)]
    keys: KeyArgs,
}

impl Restore {
    pub(crate) fn run(&self, output: Output, stop: &Stop) -> Outcome {
        let archive = Archive::open_with(&self.archive, &self.keys.keys()?)?;
        let thermometer = Thermometer::new(output.json);
        let report = archive
            .restore(&self.store)
            .on_progress(|progress| {
                thermometer.show_bytes("restoring", progress.done, progress.total);
                stop.flow()
            })
            .run()?;
        drop(thermometer);
        let object = json!({
            "store": report.dir.display().to_string(),
            "lsn": report.lsn,
            "bytes": report.bytes,
            "files": report.files,
            "duration_us": super::micros(report.duration),
        });
        let text = format!(
            "restored {} to LSN {}: {} in {}",
            report.dir.display(),
            human::count(report.lsn),
            human::bytes(report.bytes),
            human::duration(report.duration),
        );
        output.result(&object, text)
    }
}
