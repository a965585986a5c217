//! `stillpoint rollback`: a store goes back to an earlier commit.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;
use stillpoint::{RestorePoint, Rollback as Act, RollbackReport};

use super::by_hand;
use super::exit::{Failure, Outcome};
use super::keys::KeyArgs;
use super::point::Point;
use super::restore::ends_before;
use super::show::{Output, human, plain};
use super::stop::Stop;

/// Bring a store back to an earlier commit of its own history.
///
/// The newest archive from before that commit is restored and brought forward through log archives and
/// the store's own log. The store as it was is kept beside the new one. Make a backup afterwards: the
/// log of the new history is kept from that on.
#[derive(Debug, Args)]
pub(crate) struct Rollback {
    /// The folder of the store, which nobody may have open.
    #[arg(value_name = "DIR")]
    store: PathBuf,
    /// A folder with archives and log archives of the store. Without one, the store must have its
    /// whole log since it was created.
    #[arg(long, value_name = "FOLDER")]
    archives: Vec<PathBuf>,
    /// Bring the attachments of the archive back, into the folder `attachments` of the store.
    #[arg(long)]
    attachments: bool,
    #[command(flatten)]
    point: Point,
    #[command(flatten)]
    keys: KeyArgs,
}

impl Rollback {
    pub(crate) fn run(&self, output: Output, stop: &Stop) -> Outcome {
        let point = self.point.get();
        if point == RestorePoint::Newest {
            return Err(Failure::wrong_use(
                "a rollback needs a point to go back to",
                "Give one of --to-lsn, --to-time and --before.",
            ));
        }
        let act =
            Act::new(&self.store, point).keys(self.keys.keys()?).attachments(self.attachments);
        let stopped = stop.clone();
        let act = act.on_progress(move |_| stopped.flow());
        let act = self.archives.iter().fold(act, |act, folder| act.archives(folder));
        let journal = by_hand::begin(&self.store);
        let result = act.run();
        by_hand::tell(journal.rolled_back(result.as_ref()));
        let report = result?;
        let attachments = attachments(&report);
        let object = json!({
            "store": report.restored.dir.display().to_string(),
            "lsn": report.restored.lsn,
            "reaches_point": report.restored.reached_point,
            "archive": report.archive.as_ref().map(|archive| archive.display().to_string()),
            "old": report.old.display().to_string(),
            "attachments": report.attachments,
            "attachments_restored": report.attachments_restored,
            "archive_lsn": report.restored.archive_lsn,
        });
        let from = match &report.archive {
            Some(archive) => plain::path(archive).to_string(),
            None => "its log since it was created".to_owned(),
        };
        let mut text = format!(
            "{} is back at LSN {}, from {from}\nthe store as it was is {}\n{attachments}",
            plain::path(&report.restored.dir),
            human::count(report.restored.lsn),
            plain::path(&report.old),
        );
        if !report.restored.reached_point {
            text.push_str(&ends_before(report.restored.lsn));
        }
        output.result(&object, text)
    }
}

/// What became of the files of the application: a line, or nothing where the archive has none.
fn attachments(report: &RollbackReport) -> String {
    let files = human::counted(report.attachments as u64, "attachment");
    let lsn = human::count(report.restored.archive_lsn);
    match (report.attachments, report.attachments_restored) {
        (0, _) => String::new(),
        (_, true) => {
            let folder = report.restored.dir.join("attachments");
            format!("{files}, as of LSN {lsn}, are in {}\n", plain::path(&folder))
        }
        (_, false) => format!(
            "{files} stay as they are now; --attachments brings those of the archive, as of LSN {lsn}, \
             back into the store's folder\n"
        ),
    }
}
