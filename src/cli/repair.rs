//! `stillpoint repair`: what can be trusted of a damaged store, in a new one.

use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};
use stillpoint::{MissingRange, RepairedTable, StoreRepair, StoreRepairReport};

use super::by_hand;
use super::exit::{Failure, Outcome};
use super::show::thermometer::Thermometer;
use super::show::{Output, human, plain};
use super::stop::Stop;

/// Make a new store of all that can be trusted of a damaged one.
///
/// Records come from every page that its checksum vouches for, also where the way to it is lost, and
/// from the log. The damaged store is left as it is. Restoring the last backup with its logs is better
/// where it can be done: it loses nothing. The new store has an identity of its own, so make a backup
/// of it: no archive of the damaged one applies to it.
#[derive(Debug, Args)]
pub(crate) struct Repair {
    /// The folder of the damaged store, which nobody may have open.
    #[arg(value_name = "DIR")]
    store: PathBuf,
    /// The folder of the new store.
    #[arg(value_name = "NEWDIR")]
    new: PathBuf,
}

impl Repair {
    pub(crate) fn run(&self, output: Output, stop: &Stop) -> Outcome {
        let (stopped, thermometer) = (stop.clone(), Thermometer::new(output.json));
        let act = StoreRepair::new(&self.store, &self.new).on_progress(move |progress| {
            thermometer.show_bytes("reading pages", progress.done, progress.total);
            stopped.flow()
        });
        let record = by_hand::begin(&self.new);
        let result = act.run();
        by_hand::tell(record.repaired(&self.store, result.as_ref()));
        let report = result?;
        output.result(&object(&report), text(&report))?;
        if report.is_complete() { Ok(()) } else { Err(Failure::Partial) }
    }
}

fn object(report: &StoreRepairReport) -> Value {
    let range = |range: &MissingRange| json!({ "from": &range.from, "to": &range.to });
    let table = |table: &RepairedTable| {
        json!({
            "name": &table.name,
            "records": table.records,
            "missing": table.missing,
            "missing_ranges": table.missing_ranges.iter().map(range).collect::<Vec<_>>(),
            "lost_values": &table.lost_values,
            "definition_lost": table.definition_lost,
        })
    };
    json!({
        "store": report.dir.display().to_string(),
        "complete": report.is_complete(),
        "checkpoint_lsn": report.checkpoint_lsn,
        "reached_leaves": report.reached_leaves,
        "found_leaves": report.found_leaves,
        "uncertain": report.uncertain,
        "log_commits": report.log_commits,
        "log_end": report.log_end,
        "log_problems": report.log_problems.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "tables": report.tables.iter().map(table).collect::<Vec<_>>(),
        "duration_us": super::micros(report.duration),
    })
}

fn text(report: &StoreRepairReport) -> String {
    let complete =
        if report.is_complete() { "nothing is known to be missing" } else { "INCOMPLETE" };
    let mut lines = vec![format!("repaired into {}: {complete}", plain::path(&report.dir))];
    for table in &report.tables {
        let mut line = format!("  {}: {}", table.name, human::counted(table.records, "record"));
        match table.missing {
            Some(0) => {}
            Some(missing) => line.push_str(&format!(
                ", {} of the checkpoint neither in a readable page nor in the log",
                human::counted(missing, "record")
            )),
            None => line.push_str(", and nothing tells how many there were"),
        }
        if table.definition_lost {
            line.push_str("; its definition is lost: keys and values are bytes");
        }
        lines.push(line);
        let bound = |bound: &Option<Value>, open: &str| {
            bound.as_ref().map_or_else(|| open.to_owned(), ToString::to_string)
        };
        for range in &table.missing_ranges {
            let (from, to) = (bound(&range.from, "the beginning"), bound(&range.to, "the end"));
            lines.push(format!("    missing from {from} to before {to}"));
        }
        for key in &table.lost_values {
            lines.push(format!("    the value of {key} cannot be read"));
        }
    }
    lines.push(format!(
        "  pages: {} reached, {} found without a way to them",
        human::counted(report.reached_leaves, "leaf page"),
        human::count(report.found_leaves),
    ));
    if report.uncertain {
        lines
            .push("  deleted records may be among them: the list of free pages is lost".to_owned());
    }
    let log = human::counted(report.log_commits, "commit");
    lines.push(format!("  log: {log} after the checkpoint"));
    lines.extend(report.log_problems.iter().map(|problem| format!("    {problem}")));
    lines
        .push("make a backup next: no archive of the damaged store applies to this one".to_owned());
    lines.join("\n")
}
