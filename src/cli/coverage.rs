//! `stillpoint coverage`: what of a store can be restored, and what cannot.

use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};
use stillpoint::regime::{self, Point, Status};

use super::exit::Outcome;
use super::keys::KeyArgs;
use super::show::{Output, human, plain};
use super::stop::Stop;
use super::stores;

/// Say what can be restored, what cannot, when that was last proven, and whether there is room.
#[derive(Debug, Args)]
pub(crate) struct Coverage {
    /// The folder of the store.
    #[arg(value_name = "DIR")]
    store: PathBuf,
    #[command(flatten)]
    keys: KeyArgs,
}

impl Coverage {
    pub(crate) fn run(&self, output: Output, stop: &Stop) -> Outcome {
        let regime = stores::open_with_regime(&self.store, self.keys.keys()?)?;
        let coverage = regime.coverage_with(|_| stop.flow())?;
        output.result(&as_json(&coverage), as_text(&coverage))
    }
}

fn as_json(coverage: &regime::Coverage) -> Value {
    let checked = |checked: &Option<regime::Checked>| {
        checked.as_ref().map(|checked| {
            json!({
                "time": checked.time().as_microsecond(),
                "archive": checked.archive.display().to_string(),
                "code": checked.status.code,
                "status": checked.status.text,
            })
        })
    };
    json!({
        "destination": coverage.destination.display().to_string(),
        "lsn": coverage.lsn,
        "oldest": coverage.oldest,
        "newest": coverage.newest,
        "newest_archived": coverage.newest_archived,
        "commits_at_risk": coverage.commits_at_risk(),
        "gaps": coverage.gaps,
        "archives": coverage.archives,
        "log_archives": coverage.log_archives,
        "left_branches": coverage.left_branches,
        "unusable": coverage.unusable.iter().map(|error| error.summary()).collect::<Vec<_>>(),
        "last_backup": coverage.last_backup.as_ref().map(|last| json!({
            "time": last.started().as_microsecond(),
            "duration_us": last.duration_micros,
            "number": last.number,
            "archive": last.archive.as_ref().map(|path| path.display().to_string()),
            "code": last.status.code,
            "status": last.status.text,
        })),
        "last_verified": checked(&coverage.last_verified),
        "last_drill": checked(&coverage.last_drill),
        "space": {
            "last_set_bytes": coverage.space.last_set_bytes,
            "wanted_bytes": coverage.space.wanted_bytes,
            "free_bytes": coverage.space.free_bytes,
            "enough": coverage.space.enough(),
            "sets_left": coverage.space.sets_left(),
        },
    })
}

fn as_text(coverage: &regime::Coverage) -> String {
    let mut lines = vec![
        format!("archives in      {}", plain::path(&coverage.destination)),
        format!("store at         LSN {}", human::count(coverage.lsn)),
        format!("oldest point     {}", point(coverage.oldest)),
        format!("newest point     {} (with the store's own log)", point(coverage.newest)),
        format!("                 {} (if the store is lost)", point(coverage.newest_archived)),
        format!("commits at risk  {}", human::count(coverage.commits_at_risk())),
        format!(
            "archives         {} and {} of the log, {} of left branches",
            coverage.archives, coverage.log_archives, coverage.left_branches
        ),
    ];
    for gap in &coverage.gaps {
        lines.push(format!("gap              after LSN {}, until LSN {}", gap.after, gap.before));
    }
    for error in &coverage.unusable {
        let path = error.path().map_or(String::new(), plain::path);
        lines.push(format!("not usable       {path}: {} [{}]", error.message(), error.code()));
    }
    let backup = coverage.last_backup.as_ref();
    let backup = backup.map(|last| (last.started(), &last.status));
    let verified = coverage.last_verified.as_ref().map(|last| (last.time(), &last.status));
    let drill = coverage.last_drill.as_ref().map(|last| (last.time(), &last.status));
    lines.push(format!("last backup      {}", when(backup)));
    lines.push(format!("last verified    {}", when(verified)));
    lines.push(format!("last drill       {}", when(drill)));
    let space = &coverage.space;
    let free = human::bytes(space.free_bytes);
    lines.push(match (space.wanted_bytes, space.enough()) {
        (0, _) => format!("space            {free} free; no set yet says how much is wanted"),
        (wanted, enough) => format!(
            "space            {}: {free} free, {} wanted (2.5 times the last set)",
            if enough { "enough" } else { "NOT ENOUGH" },
            human::bytes(wanted),
        ),
    });
    lines.join("\n")
}

fn point(point: Option<Point>) -> String {
    let Some(point) = point else { return "none".to_owned() };
    let time = point.time.and_then(|micros| jiff::Timestamp::from_microsecond(micros).ok());
    match time {
        Some(time) => format!("LSN {}, {time:.0}", human::count(point.lsn)),
        None => format!("LSN {}", human::count(point.lsn)),
    }
}

fn when(what: Option<(jiff::Timestamp, &Status)>) -> String {
    what.map_or_else(
        || "never".to_owned(),
        |(time, status)| format!("{time:.0}, {}", status.text.lines().next().unwrap_or_default()),
    )
}
