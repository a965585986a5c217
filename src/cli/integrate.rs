//! `stillpoint integrate`: logs are applied to a store.

use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};
use stillpoint::{IntegrateOptions, IntegrationReport, Repair, Strictness};

use super::by_hand;
use super::exit::Outcome;
use super::keys::KeyArgs;
use super::point::Point;
use super::restore::ends_before;
use super::show::{Output, damage, human};
use super::stop::Stop;
use super::stores;

/// Apply logs to a store: those of its own history, or of the store that it mirrors.
///
/// What the store has already is passed over. Without --auto-repair nothing is applied where a log is
/// missing or belongs to another history.
#[derive(Debug, Args)]
pub(crate) struct Integrate {
    /// The folder of the store.
    #[arg(value_name = "DIR")]
    store: PathBuf,
    /// Log archives, log segments, or folders of them, in any order.
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// Go past gaps, damage and conflicts, and tell every operation that could not be applied as it
    /// is.
    #[arg(long)]
    auto_repair: bool,
    #[command(flatten)]
    point: Point,
    #[command(flatten)]
    keys: KeyArgs,
}

impl Integrate {
    pub(crate) fn run(&self, output: Output, stop: &Stop) -> Outcome {
        let store = stores::open(&self.store)?;
        let strictness = if self.auto_repair { Strictness::AutoRepair } else { Strictness::Strict };
        let to = self.point.get();
        let keys = self.keys.keys()?;
        let options = IntegrateOptions {
            strictness,
            to,
            keys,
            stop: Some(stop.button()),
            ..IntegrateOptions::default()
        };
        let act = by_hand::begin(&self.store);
        let result = store.integrate(&self.files, options);
        by_hand::tell(act.integrated(&self.files, result.as_ref()));
        let report = result?;
        store.close()?;
        output.result(&object(&report), text(&report))
    }
}

/// The report as programs read it.
pub(crate) fn object(report: &IntegrationReport) -> Value {
    let repairs = report.repairs.iter().map(|repair| {
        json!({
            "lsn": repair.lsn,
            "operation": format!("{:?}", repair.action),
            "table": repair.table,
            "key": repair.key,
            "done": format!("{:?}", repair.done),
        })
    });
    json!({
        "after": report.after,
        "lsn": report.lsn,
        "reaches_point": report.reached_point,
        "commits": report.commits,
        "operations": report.operations,
        "repaired": report.repaired,
        "damaged": damage::object(&report.read_repairs),
        "repairs": repairs.collect::<Vec<_>>(),
        "problems": report.problems.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "duration_us": super::micros(report.duration),
    })
}

/// The report as people read it.
pub(crate) fn text(report: &IntegrationReport) -> String {
    let mut text = match report.commits {
        0 if report.repaired == 0 => {
            format!("nothing new: the store is at LSN {}", human::count(report.lsn))
        }
        commits => format!(
            "integrated {} ({}): LSN {} to {} in {}",
            human::counted(commits, "commit"),
            human::counted(report.operations, "operation"),
            human::count(report.after),
            human::count(report.lsn),
            human::duration(report.duration),
        ),
    };
    if !report.reached_point {
        text.push_str(&ends_before(report.lsn));
    }
    for problem in &report.problems {
        text.push_str(&format!("\nwent past: {problem}"));
    }
    for repair in &report.repairs {
        text.push_str(&format!("\n{}", line(repair)));
    }
    let untold = report.repaired - report.repairs.len() as u64;
    if untold > 0 {
        text.push_str(&format!("\nand {} more", human::count(untold)));
    }
    text
}

fn line(repair: &Repair) -> String {
    let (lsn, action, done) = (repair.lsn, repair.action, repair.done);
    match repair.key.is_null() {
        true => format!("repaired: LSN {lsn}, {action:?} \"{}\": {done:?}", repair.table),
        false => {
            format!("repaired: LSN {lsn}, {action:?} \"{}\" {}: {done:?}", repair.table, repair.key)
        }
    }
}
