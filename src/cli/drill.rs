//! `stillpoint drill`: a backup is proven by restoring it.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::exit::Outcome;
use super::keys::KeyArgs;
use super::show::thermometer::Thermometer;
use super::show::{Output, human, plain};
use super::stop::Stop;
use super::{micros, stores};

/// Restore the newest backup into a scratch folder, compare it with the archive, remove the scratch.
///
/// Every page and every record is compared. The store itself is not touched. It needs as much free
/// space beside the store as the store has pages.
#[derive(Debug, Args)]
pub(crate) struct Drill {
    /// The folder of the store.
    #[arg(value_name = "DIR")]
    store: PathBuf,
    #[command(flatten)]
    keys: KeyArgs,
}

impl Drill {
    pub(crate) fn run(&self, output: Output, stop: &Stop) -> Outcome {
        let regime = stores::open_with_regime(&self.store, self.keys.keys()?)?;
        let thermometer = Thermometer::new(output.json);
        let report = regime.drill_with(|progress| {
            thermometer.show_bytes("drilling", progress.done, progress.total);
            stop.flow()
        })?;
        drop(thermometer);
        let object = json!({
            "archive": report.archive.display().to_string(),
            "number": report.number,
            "lsn": report.lsn,
            "tables": report.tables,
            "records": report.records,
            "bytes": report.bytes,
            "duration_us": micros(report.duration),
        });
        let text = format!(
            "backup {} restores to what was saved: {}\n  LSN {}, {}, {}, {} in {}",
            report.number,
            plain::path(&report.archive),
            human::count(report.lsn),
            human::counted(report.tables as u64, "table"),
            human::counted(report.records, "record"),
            human::bytes(report.bytes),
            human::duration(report.duration),
        );
        output.result(&object, text)
    }
}
