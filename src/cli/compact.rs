//! `stillpoint compact`: a store without its free pages.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;
use stillpoint::Compact as Act;

use super::by_hand;
use super::exit::Outcome;
use super::show::thermometer::Thermometer;
use super::show::{Output, human, plain};
use super::stop::Stop;

/// Rewrite a store without free pages, in its folder or into a new one.
///
/// All records are written into a new data file, which is checked page by page and compared with the
/// store record by record before it takes the old one's place. The store keeps its history, log and
/// settings. In place, this needs room for the new data file beside the old one. The next incremental
/// backup is a full one.
#[derive(Debug, Args)]
pub(crate) struct Compact {
    /// The folder of the store, which nobody may have open.
    #[arg(value_name = "DIR")]
    store: PathBuf,
    /// Leave the store as it is, and make a compacted copy in this new folder.
    #[arg(long, value_name = "NEWDIR")]
    to: Option<PathBuf>,
    /// Keep the old data file, beside the store as NAME.before-compact.
    #[arg(long, conflicts_with = "to")]
    keep_old: bool,
}

impl Compact {
    pub(crate) fn run(&self, output: Output, stop: &Stop) -> Outcome {
        let (stopped, thermometer) = (stop.clone(), Thermometer::new(output.json));
        let act = Act::new(&self.store).keep_old(self.keep_old).on_progress(move |progress| {
            thermometer.show_bytes("compacting", progress.done, progress.total);
            stopped.flow()
        });
        let act = self.to.iter().fold(act, |act, to| act.to(to));
        let record = by_hand::begin(self.to.as_ref().unwrap_or(&self.store));
        let result = act.run();
        by_hand::tell(record.compacted(result.as_ref()));
        let report = result?;
        let object = json!({
            "store": report.dir.display().to_string(),
            "lsn": report.lsn,
            "tables": report.tables,
            "records": report.records,
            "bytes_before": report.bytes_before,
            "bytes_after": report.bytes_after,
            "old": report.old.as_ref().map(|old| old.display().to_string()),
            "duration_us": super::micros(report.duration),
        });
        let mut text = format!(
            "compacted {}: {} before, {} now; {} in {} compared, at LSN {}, in {}",
            plain::path(&report.dir),
            human::bytes(report.bytes_before),
            human::bytes(report.bytes_after),
            human::counted(report.records, "record"),
            human::counted(report.tables, "table"),
            human::count(report.lsn),
            human::duration(report.duration),
        );
        if let Some(old) = &report.old {
            text.push_str(&format!("\n  the old files are in {}", plain::path(old)));
        }
        output.result(&object, text)
    }
}
