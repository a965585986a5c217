//! What an automatic restore did, and how it stands in journal and history.
//!
//! The restore and the integration of logs after it are two operations of the history and one account
//! in the journal, which also has a line for every operation that auto-repair dealt with.

use std::path::{Path, PathBuf};

use jiff::tz::TimeZone;

use super::history::{ArchivePart, Operation, OperationKind, OperationStatus};
use super::journal::{About, JournalEvent, JournalItem, Origin};
use super::state::RestoreInfo;
use crate::archive::ReadRepair;
use crate::engine::{Lsn, StoreId, Timeline};
use crate::error::Error;
use crate::restore::{LogAction, Repair, Repaired};

/// An automatic restore, however it ended.
#[derive(Clone, Debug)]
pub(super) struct Restored {
    /// What the store remembers of it.
    pub(super) info: RestoreInfo,
    /// The archive that the store came out of, where one was found.
    pub(super) source: Option<Source>,
    pub(super) rolled: Option<Rolled>,
    /// Archives that are damaged, and that were read through their parity.
    pub(super) read_repairs: Vec<ReadRepair>,
    /// How long it took, integration included, in microseconds.
    pub(super) took: u64,
}

/// What the archive says of itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct Source {
    pub(super) store: StoreId,
    pub(super) number: u32,
    pub(super) lsn: Lsn,
    pub(super) timeline: Timeline,
}

/// What was made of the logs beyond the archive.
#[derive(Clone, Debug, Default)]
pub(super) struct Rolled {
    /// When it began, in microseconds since the Unix epoch, and how long it took.
    pub(super) started: i64,
    pub(super) took: u64,
    pub(super) logs: Vec<ArchivePart>,
    /// Where the store is after it.
    pub(super) end: Option<(Timeline, Lsn)>,
    /// Commits that were applied, as they were or mended.
    pub(super) commits: u64,
    /// Operations that auto-repair dealt with, and the first of them.
    pub(super) repaired: u64,
    pub(super) repairs: Vec<Repair>,
    /// What did not fit.
    pub(super) problems: Vec<Error>,
    /// Whether logs are left that were not gone through.
    pub(super) stopped: bool,
    /// Whether auto-repair went on where strict integration would have stopped.
    pub(super) mended: bool,
}

impl Restored {
    pub(super) fn begin(info: RestoreInfo) -> Restored {
        Restored { info, source: None, rolled: None, read_repairs: Vec::new(), took: 0 }
    }

    /// The lines of the journal.
    pub(super) fn lines(&self) -> Vec<JournalItem> {
        let info = &self.info;
        let mut item = by_itself(JournalItem::new(JournalEvent::AutomaticRestore, About::End));
        item.path.clone_from(&info.archive);
        item.number = self.source.map(|source| source.number);
        item.started = Some(info.started);
        item.ended = i64::try_from(self.took).ok().map(|took| info.started.saturating_add(took));
        item.code = info.status.code;
        item.message.clone_from(&info.status.text);
        if let Some(aside) = &info.aside {
            item.message += &format!("; the damaged store is kept as \"{}\"", aside.display());
        }
        match (info.attachments, info.attachments_restored) {
            (0, _) => {}
            (held, true) => {
                item.message +=
                    &format!("; {held} attachments of the archive are in \"attachments\"");
            }
            (held, false) => {
                item.message +=
                    &format!("; {held} attachments of the archive were not brought back");
            }
        }
        let mut lines = vec![item];
        lines.extend(read_repair_lines(&self.read_repairs, Origin::Automatic));
        lines.extend(self.rolled.iter().flat_map(Rolled::lines));
        lines
    }

    /// The operations of the history of `store`: the restore, and the integration where logs were there.
    pub(super) fn operations(&self, store: StoreId, zone: &TimeZone) -> Vec<Operation> {
        let info = &self.info;
        let mut restore = Operation::new(OperationKind::Restore, store, info.started, zone);
        restore.origin = Some(Origin::Automatic);
        restore.duration_micros = self.took;
        restore.backup_path.clone_from(&info.archive);
        if let Some(source) = self.source {
            restore.backup_number = Some(source.number);
            restore.timeline = Some(source.timeline.into());
            restore.lsn = Some(source.lsn);
            restore.data = true;
        }
        if info.aside.is_none() {
            restore.status = OperationStatus::Failed;
            (restore.code, restore.error) = (info.status.code, info.status.text.clone());
        }
        let mut all = vec![restore];
        if let Some(rolled) = &self.rolled {
            all.push(rolled.operation(store, zone));
        }
        all
    }

    /// The damaged store's own logs are where it was put.
    pub(super) fn moved(&mut self, dir: &Path, aside: PathBuf) {
        for log in self.rolled.iter_mut().flat_map(|rolled| &mut rolled.logs) {
            if let Ok(within) = log.path.strip_prefix(dir) {
                log.path = aside.join(within);
            }
        }
        self.info.aside = Some(aside);
    }
}

impl Rolled {
    fn lines(&self) -> Vec<JournalItem> {
        let message =
            format!("{} commits of the logs, {} operations mended", self.commits, self.repaired);
        let mut lines = vec![by_itself(JournalItem::note(JournalEvent::Integration, message))];
        for problem in &self.problems {
            lines.push(by_itself(
                JournalItem::new(JournalEvent::Integration, About::Note).with_error(problem),
            ));
        }
        lines.extend(repair_lines(&self.repairs, self.repaired, Origin::Automatic));
        lines
    }

    fn operation(&self, store: StoreId, zone: &TimeZone) -> Operation {
        let mut made = Operation::new(OperationKind::Integration, store, self.started, zone);
        made.origin = Some(Origin::Automatic);
        made.duration_micros = self.took;
        if let Some((timeline, lsn)) = self.end {
            (made.timeline, made.lsn) = (Some(timeline.into()), Some(lsn));
        }
        made.data = true;
        made.log_path = self.logs.first().map(|log| log.path.clone());
        made.log_files.clone_from(&self.logs);
        // What another log made up for is no error of the whole.
        if let Some(problem) = self.problems.first()
            && (self.stopped || self.mended)
        {
            made = made.failed(problem);
        }
        if self.mended {
            made.status = OperationStatus::Partial;
        }
        made
    }
}

/// A line for each archive that is damaged and was read through its parity.
pub(super) fn read_repair_lines(
    repairs: &[ReadRepair],
    origin: Origin,
) -> impl Iterator<Item = JournalItem> {
    repairs.iter().map(move |repair| {
        let mut item = JournalItem::note(JournalEvent::Repair, repair.to_string());
        item.path = Some(repair.archive.clone());
        item.origin = Some(origin);
        item
    })
}

/// A line for each operation that auto-repair dealt with, and one for those beyond the list.
pub(super) fn repair_lines(repairs: &[Repair], repaired: u64, origin: Origin) -> Vec<JournalItem> {
    let mut told: Vec<String> = repairs.iter().map(in_words).collect();
    let untold = repaired.saturating_sub(repairs.len() as u64);
    if untold > 0 {
        told.push(format!("{untold} more operations were mended"));
    }
    let line = |message| {
        let mut item = JournalItem::note(JournalEvent::Repair, message);
        item.origin = Some(origin);
        item
    };
    told.into_iter().map(line).collect()
}

fn by_itself(mut item: JournalItem) -> JournalItem {
    item.origin = Some(Origin::Automatic);
    item
}

fn in_words(repair: &Repair) -> String {
    let action = match repair.action {
        LogAction::Put | LogAction::Create | LogAction::Modify => "put",
        LogAction::Delete => "delete",
        LogAction::DefineTable => "define table",
        LogAction::DropTable => "drop table",
    };
    let done = match repair.done {
        Repaired::Added => "the record was added",
        Repaired::Updated => "the record was replaced",
        Repaired::Deleted => "the record was deleted",
        Repaired::Structure => "the table was made, renamed or removed",
        Repaired::Nothing => "it was so already",
        Repaired::Skipped => "passed over: the table is not known, or of another kind",
    };
    let key = match &repair.key {
        serde_json::Value::Null => String::new(),
        key => format!(" {key}"),
    };
    format!("LSN {}: {action} \"{}\"{key}: {done}", repair.lsn, repair.table)
}
