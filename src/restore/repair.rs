//! Auto-repair: an integration that goes on where a strict one would stop.
//!
//! As long as the logs fit, they are applied strictly. From the first gap, damage or conflict on, what
//! is left is applied as commits of the store's own, which therefore begin a new timeline: a record to
//! be put is added or updated, whichever it needs; one to be deleted that is not there is passed over;
//! a table that is not there is made where the logs define it, and its operations are passed over
//! where they do not. Every such operation is told.
//!
//! It deliberately never takes the log of another store: that is no damage.

use std::collections::{BTreeMap, HashMap};
use std::ops::ControlFlow;

use serde_json::Value as Json;

use super::integrate::IntegrationReport;
use super::log_file::{
    LogAction, LogCommit, LogFile, LogOperation, Segment, Tables, operations_of,
};
use super::point::{Logs, RestorePoint, Roll, Rolled, Start};
use crate::engine::{Batch, Durability, History, Known, Lsn, Payload, Snapshot, TableId};
use crate::error::{Error, ErrorKind, Result, code};
use crate::lock::Hold;
use crate::store::{Inner, TableDescription};

/// What auto-repair did about an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
pub enum Repaired {
    /// The record was added.
    Added,
    /// The record was there and got the value.
    Updated,
    /// The record was removed.
    Deleted,
    /// The table was made, renamed or removed.
    Structure,
    /// Nothing: it was so already.
    Nothing,
    /// Nothing could be done: the table is not known, or is of another kind.
    Skipped,
}

/// An operation that auto-repair dealt with.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Repair {
    /// The LSN of its commit in the log that it stood in.
    pub lsn: Lsn,
    /// What it was.
    pub action: LogAction,
    /// Its table: the name, or the number where that is not known.
    pub table: String,
    /// The key of its record; null for what was done to a table.
    pub key: Json,
    /// What was done.
    pub done: Repaired,
}

pub(super) struct Repairer<'i> {
    inner: &'i Inner,
    hold: &'i Hold,
    /// Asked after each commit.
    go_on: &'i dyn Fn() -> Result<()>,
    start: Start,
    to: RestorePoint,
    /// The history that the logs are to be of, where it is known.
    along: Option<&'i History>,
    /// Which commits the store has: through which LSN of each timeline.
    held: HashMap<u128, Lsn>,
    /// The numbers here of the logs' tables that have others here.
    ids: HashMap<TableId, TableId>,
}

/// What one commit becomes here.
#[derive(Default)]
struct Local {
    defines: BTreeMap<TableId, Option<TableDescription>>,
    records: BTreeMap<(TableId, Vec<u8>), Option<Vec<u8>>>,
}

impl<'i> Repairer<'i> {
    pub(super) fn new(
        inner: &'i Inner,
        hold: &'i Hold,
        start: Start,
        to: RestorePoint,
        along: Option<&'i History>,
        go_on: &'i dyn Fn() -> Result<()>,
    ) -> Repairer<'i> {
        let timelines = start.history.ancestry.timelines();
        let held = timelines.filter_map(|one| Some((one.id, start.history.end_of(one.id)?)));
        let held = held.collect();
        Repairer { inner, hold, go_on, start, to, along, held, ids: HashMap::new() }
    }

    pub(super) fn run(mut self, logs: &Logs, report: &mut IntegrationReport) -> Result<()> {
        let mut segments: Vec<&Segment> = logs.named.iter().flat_map(LogFile::parts).collect();
        if let Some(other) = segments.iter().find(|s| s.header().store_id != self.start.store) {
            let error = Error::new(ErrorKind::Foreign, "the log belongs to another store");
            return Err(error.with_code(code::FOREIGN_LOG).at(other.path()));
        }
        segments.sort_by_key(|segment| (segment.after(), segment.last()));
        if self.along.is_none() {
            self.know_strangers(&segments, &logs.known());
            if let Err(problem) = self.fitting(logs, report) {
                report.problems.push(self.bypassed(problem)?);
            }
        }
        let catalogue = self.inner.engine.catalogue();
        let mut tables = Tables::of(&catalogue);
        for segment in segments {
            let timeline = segment.header().timeline.id;
            if self.held.get(&timeline).is_some_and(|held| *held >= segment.last()) {
                continue;
            }
            let rest = operations_of(segment, &mut tables, &mut |commit, tables| {
                self.commit(&commit, tables, report).map(ControlFlow::Continue)
            });
            if let Err(problem) = rest {
                report.problems.push(self.bypassed(problem)?);
            }
        }
        self.inner.engine.sync()
    }

    /// Of a timeline of which it is not known where it left the store's history, the store has the
    /// commits before its own timeline began: an older value must not take the place of a newer one.
    fn know_strangers(&mut self, segments: &[&Segment], known: &Known) {
        let history = &self.start.history;
        for segment in segments {
            let timeline = segment.header().timeline;
            if history.parting(timeline, segment.last(), known).is_none() {
                self.held.insert(timeline.id, history.tip().fork);
            }
        }
    }

    /// Applies what fits as it is.
    fn fitting(&mut self, logs: &Logs, report: &mut IntegrationReport) -> Result<()> {
        let roll = Roll::as_far_as_possible(logs, &self.start, self.to)?;
        let mut done = Rolled { lsn: self.start.history.last, ..Rolled::default() };
        let result = roll.run(&self.inner.engine, &mut |rolled| {
            done = *rolled;
            self.hold.progress(rolled.bytes.max(1));
            (self.go_on)()
        });
        (report.commits, report.operations) = (done.commits, done.operations);
        for leg in roll.course.legs.iter().filter(|leg| leg.after < done.lsn) {
            self.held.insert(leg.segment.header().timeline.id, leg.upto.min(done.lsn));
        }
        result.map(drop)?;
        match self.to {
            RestorePoint::Newest => roll.course.gap().map_or(Ok(()), Err),
            _ => Ok(()),
        }
    }

    /// What may be gone past; what may not is an error.
    fn bypassed(&self, problem: Error) -> Result<Error> {
        use ErrorKind::{Corrupt, Foreign, Invalid};
        match problem.kind() {
            Corrupt | Foreign | Invalid if self.inner.engine.latched().is_none() => Ok(problem),
            _ => Err(problem),
        }
    }

    /// Applies a commit that cannot keep its LSN.
    fn commit(
        &mut self,
        commit: &LogCommit,
        tables: &Tables,
        report: &mut IntegrationReport,
    ) -> Result<()> {
        let held = self.held.entry(commit.timeline.id).or_insert(0);
        if *held >= commit.lsn {
            return Ok(());
        }
        *held = commit.lsn;
        let passed_over = |along: &History| {
            // What of it is not beyond the store's last commit, the store has.
            commit.lsn <= self.start.history.last || !along.holds(commit.timeline.id, commit.lsn)
        };
        if self.along.is_some_and(passed_over) {
            return Ok(());
        }
        if commit.lsn > self.to.last() || !self.to.allows(commit.time) {
            return Ok(());
        }
        let snapshot = self.inner.engine.snapshot()?;
        let mut local = Local::default();
        for operation in &commit.operations {
            let done = self.operation(operation, tables, &snapshot, &mut local)?;
            report.repaired += 1;
            if report.repairs.len() < IntegrationReport::MAX_REPAIRS {
                report.repairs.push(told(commit.lsn, operation, tables, done));
            }
        }
        let batch = local.into_batch();
        if !batch.is_empty() {
            self.hold.progress(batch.bytes() as u64 + 1);
            self.inner.commit(batch, Durability::Eventual)?;
        }
        (self.go_on)()
    }

    fn operation(
        &mut self,
        operation: &LogOperation,
        tables: &Tables,
        snapshot: &Snapshot,
        local: &mut Local,
    ) -> Result<Repaired> {
        match operation.action {
            LogAction::DefineTable => Ok(self.define(operation, snapshot, local)),
            LogAction::DropTable => {
                let id = self.ids.get(&operation.table).copied().unwrap_or(operation.table);
                let there = snapshot.catalogue().by_id(id).is_some();
                if there {
                    local.defines.insert(id, None);
                }
                Ok(if there { Repaired::Structure } else { Repaired::Nothing })
            }
            _ => {
                let known = tables.get(operation.table).cloned();
                let Some(id) = self.table(operation.table, known, snapshot, local) else {
                    return Ok(Repaired::Skipped);
                };
                let place = (id, operation.key.clone());
                let before = match local.records.get(&place) {
                    Some(value) => value.clone(),
                    None => snapshot.get(id, &operation.key)?.map(|value| value.to_vec()),
                };
                let done = match (&before, &operation.value) {
                    (before, after) if before == after => Repaired::Nothing,
                    (None, Some(_)) => Repaired::Added,
                    (Some(_), Some(_)) => Repaired::Updated,
                    (_, None) => Repaired::Deleted,
                };
                if done != Repaired::Nothing {
                    local.records.insert(place, operation.value.clone());
                }
                Ok(done)
            }
        }
    }

    /// The log defines a table.
    fn define(
        &mut self,
        operation: &LogOperation,
        snapshot: &Snapshot,
        local: &mut Local,
    ) -> Repaired {
        let Some(table) = &operation.description else { return Repaired::Skipped };
        let catalogue = snapshot.catalogue();
        let named = catalogue.by_name(&table.name);
        match catalogue.by_id(table.id) {
            Some(here) if **here == table.to_info() => Repaired::Nothing,
            // Renamed, where nothing else has the name.
            Some(here)
                if named.is_none()
                    && same_kind(table, &here.key_encoding, &here.value_encoding) =>
            {
                local.defines.insert(table.id, Some(table.clone()));
                Repaired::Structure
            }
            _ => match self.table(table.id, Some(table.clone()), snapshot, local) {
                Some(_) if named.is_some() => Repaired::Nothing,
                Some(_) => Repaired::Structure,
                None => Repaired::Skipped,
            },
        }
    }

    /// The number here of the logs' table `id`, which is made where it is not there; `None` where
    /// that cannot be.
    fn table(
        &mut self,
        id: TableId,
        known: Option<TableDescription>,
        snapshot: &Snapshot,
        local: &mut Local,
    ) -> Option<TableId> {
        let catalogue = snapshot.catalogue();
        if let Some(&here) = self.ids.get(&id) {
            return Some(here);
        }
        let Some(table) = known else {
            return catalogue.by_id(id).map(|_| id);
        };
        if let Some(here) = catalogue.by_name(&table.name) {
            let fits = same_kind(&table, &here.key_encoding, &here.value_encoding);
            return fits.then(|| *self.ids.entry(id).or_insert(here.id));
        }
        let fits = catalogue.by_id(id);
        if fits.is_some_and(|here| same_kind(&table, &here.key_encoding, &here.value_encoding)) {
            return Some(id);
        }
        let here = self.inner.engine.new_table_id();
        self.ids.insert(id, here);
        local.defines.insert(here, Some(TableDescription { id: here, ..table }));
        Some(here)
    }
}

fn same_kind(table: &TableDescription, key: &str, value: &str) -> bool {
    let info = table.to_info();
    info.key_encoding == key && info.value_encoding == value
}

impl Local {
    fn into_batch(self) -> Batch {
        let mut batch = Batch::with_capacity(self.defines.len() + self.records.len());
        for (id, table) in self.defines {
            match table {
                Some(table) => batch.define(&table.to_info()),
                None => batch.drop_table(id),
            }
        }
        for ((table, key), value) in self.records {
            batch.push(table, key.into_boxed_slice(), value.map(Payload::from));
        }
        batch
    }
}

fn told(lsn: Lsn, operation: &LogOperation, tables: &Tables, done: Repaired) -> Repair {
    let described = operation.description.as_ref().or_else(|| tables.get(operation.table));
    let table = described.map_or_else(|| operation.table.to_string(), |table| table.name.clone());
    let key = if operation.is_of_record() { operation.key_json() } else { Json::Null };
    Repair { lsn, action: operation.action, table, key, done }
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::super::integrate::{IntegrateOptions, Strictness};
    use super::History;
    use crate::disk::{Disk, SimDisk};
    use crate::store::{Store, TableDef};

    const ITEMS: TableDef<u64, u64> = TableDef::new("items");

    #[test]
    fn of_a_known_history_only_what_lies_on_its_way_beyond_the_store_is_mended_once() {
        let sim = SimDisk::new(3);
        for folder in ["/backups", "/shipped"] {
            sim.create_dir(Path::new(folder)).unwrap();
        }
        let put = |store: &Store, key: u64, value: u64| {
            store.transact(|write| write.table(ITEMS)?.put(&key, &value)).unwrap();
        };
        let source = Store::builder("/source").disk(sim.clone()).create().unwrap();
        put(&source, 1, 1);
        let archive = source.backup("/backups").run().unwrap().archive;
        let logs: Vec<PathBuf> = (2..7)
            .map(|value| {
                put(&source, value % 2, value);
                source.new_log_file("/shipped").unwrap().unwrap()
            })
            .collect();
        let archive = crate::Archive::open_on(sim.clone(), archive).unwrap();
        archive.restore("/copy").run().unwrap();
        let copy = Store::builder("/copy").disk(sim.clone()).open().unwrap();
        // Commit 2 is missing, commit 5 comes first and twice, and commit 6 is off the way.
        let options =
            IntegrateOptions { strictness: Strictness::AutoRepair, ..IntegrateOptions::default() };
        let along = History::new(source.inner().engine.history().ancestry, 5);
        let paths = [&logs[3], &logs[1], &logs[2], &logs[4], &logs[3]];
        let report = copy.integrate_along(&paths, options, &along).unwrap();
        let mended: Vec<u64> = report.repairs.iter().map(|repair| repair.lsn).collect();
        assert_eq!(mended, [3, 4, 5]);
        let read = copy.begin_read().unwrap();
        let value = |key: u64| read.table(ITEMS).unwrap().get(&key).unwrap();
        assert_eq!((value(0), value(1)), (Some(4), Some(5)));
    }
}
