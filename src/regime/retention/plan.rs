//! What is to be deleted: pure, from what was judged of the archives that are there.

use std::path::PathBuf;

use super::judge::{Judged, LogCandidate};
use super::logs::Leaving;
use super::order::{Age, ages};
use crate::engine::History;
use crate::error::{Error, ErrorKind};
use crate::regime::history::{ArchivePart, Operation, OperationKind, OperationStatus};

/// What is to be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetentionRule {
    /// How many sets, at least 1. Archives of the structure alone are counted apart.
    pub keep: u32,
    /// For how many more there shall be room: 1 before a backup that makes one, 0 after it.
    pub room: u32,
}

/// One archive, or one log archive, that is to be deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deletion {
    /// The number in its name.
    pub number: u32,
    /// Whether it is a log archive.
    pub log: bool,
    /// The file by which it is opened.
    pub path: PathBuf,
    /// All of its files, in the order in which they were named.
    pub files: Vec<ArchivePart>,
    /// The digest in its seal, where that is known.
    pub seal: Option<String>,
    /// That of the archive that it depends on, where it is incremental.
    pub parent: Option<String>,
    /// Whether its deletion was begun before: what is left is no archive any more.
    pub begun: bool,
}

impl Deletion {
    /// Bytes that become free.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }
}

/// What retention will do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RetentionPlan {
    /// What is deleted, in this order: incremental archives before what they go on from.
    pub deletions: Vec<Deletion>,
    /// The full archives of the sets that are kept, oldest first.
    pub kept: Vec<PathBuf>,
    /// What is too old and yet left alone, with the reason.
    pub left_alone: Vec<(PathBuf, String)>,
}

/// A full archive with what goes on from it: places in the history.
struct Set {
    base: usize,
    members: Vec<usize>,
}

/// Plans by `rule` from what was judged; with the reasons why archives are left alone, for the journal.
/// `history` is that of the store, where it is at hand: what the store has left is older than what it has.
pub(crate) fn plan(
    judged: Judged,
    rule: &RetentionRule,
    history: Option<&History>,
) -> (RetentionPlan, Vec<Error>) {
    let Judged { backups, logs, remains, elsewhere } = judged;
    let mut facts: Vec<Operation> = backups.iter().map(|one| one.facts.clone()).collect();
    facts.extend(logs.iter().map(LogCandidate::as_operation));
    let ages = ages(&facts, history);
    facts.truncate(backups.len());
    let (sets, orphans) = sets(&facts, &ages);
    // What the witnesses do not agree on stays, and is none of the sets that are kept.
    let (counted, mut staying): (Vec<Set>, Vec<Set>) =
        sets.into_iter().partition(|set| backups[set.base].stays.is_none());
    let mut plan = RetentionPlan { deletions: remains, ..RetentionPlan::default() };
    let (data, structure): (Vec<Set>, Vec<Set>) =
        counted.into_iter().partition(|set| facts[set.base].data);
    let mut kept_from: Option<Age> = None;
    for class in [data, structure] {
        let (kept, old) = divide(class, rule, &facts);
        for set in &kept {
            plan.kept.extend(facts[set.base].backup_path.clone());
            if facts[set.base].data {
                kept_from = Some(kept_from.map_or(ages[set.base], |age| age.min(ages[set.base])));
            }
        }
        for set in old {
            let holds = |at: &usize| backups[*at].stays.is_some() || backups[*at].spared;
            match set.members.iter().any(holds) {
                true => staying.push(set),
                false => plan.delete_set(&set, &facts),
            }
        }
    }
    let staying = staying.into_iter().flat_map(|set| set.members).chain(orphans);
    let is_old = |at: &usize| kept_from.is_some_and(|from| ages[*at] < from);
    let mut reasons = Vec::new();
    for one in staying.filter(is_old).map(|at| &backups[at]).filter(|one| !one.spared) {
        plan.leave(one.facts.backup_path.as_ref(), one.stays.as_ref(), &mut reasons);
    }
    let leaving = Leaving { plan: &plan, backups: &backups, logs: &logs, ages: &ages };
    let going = leaving.logs(&elsewhere);
    for log in going.into_iter().map(|at| &logs[at]) {
        plan.deletions.push(Deletion {
            number: log.number,
            log: true,
            path: log.path.clone(),
            files: log.files.clone(),
            seal: None,
            parent: None,
            begun: false,
        });
    }
    (plan, reasons)
}

/// The sets, oldest first, and the incremental archives that belong to none of them.
fn sets(operations: &[Operation], ages: &[Age]) -> (Vec<Set>, Vec<usize>) {
    let has_archive = |at: &usize| operations[*at].has_archive();
    let (bases, increments): (Vec<usize>, Vec<usize>) = (0..operations.len())
        .filter(has_archive)
        .partition(|at| operations[*at].operation != OperationKind::IncrementalBackup);
    let mut sets: Vec<Set> =
        bases.into_iter().map(|base| Set { base, members: vec![base] }).collect();
    let mut orphans = Vec::new();
    for at in increments {
        let base = base_of(at, operations);
        match sets.iter_mut().find(|set| Some(set.base) == base) {
            Some(set) => set.members.push(at),
            None => orphans.push(at),
        }
    }
    for set in &mut sets {
        set.members.sort_by_key(|at| ages[*at]);
    }
    sets.sort_by_key(|set| set.members.iter().map(|at| ages[*at]).max());
    (sets, orphans)
}

/// The full archive that the one at `at` goes back to.
fn base_of(mut at: usize, operations: &[Operation]) -> Option<usize> {
    // As many steps as there are archives: a circle ends too.
    for _ in operations {
        if operations[at].operation != OperationKind::IncrementalBackup {
            return Some(at);
        }
        let parent = operations[at].parent.as_ref()?;
        at = operations.iter().position(|o| o.is_backup() && o.seal.as_ref() == Some(parent))?;
    }
    None
}

/// Divides sets, oldest first, into those that are kept and those that are too many.
fn divide(
    mut sets: Vec<Set>,
    rule: &RetentionRule,
    operations: &[Operation],
) -> (Vec<Set>, Vec<Set>) {
    // Before a backup that may fail there is always one left.
    let count = rule.keep.saturating_sub(rule.room).max(1);
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    let mut kept = sets.split_off(sets.len().saturating_sub(count));
    let good = |set: &Set| operations[set.base].status == OperationStatus::Complete;
    // The last good one stays, whatever came after it.
    if !kept.iter().any(good)
        && let Some(at) = sets.iter().rposition(good)
    {
        kept.insert(0, sets.remove(at));
    }
    (kept, sets)
}

impl RetentionPlan {
    /// The newest first, so that what a crash leaves are archives whose parents are there.
    fn delete_set(&mut self, set: &Set, facts: &[Operation]) {
        for operation in set.members.iter().rev().map(|at| &facts[*at]) {
            self.deletions.push(Deletion {
                number: operation.backup_number.unwrap_or(0),
                log: false,
                path: operation.backup_path.clone().unwrap_or_default(),
                files: operation.backup_files.clone(),
                seal: operation.seal.clone(),
                parent: operation.parent.clone(),
                begun: false,
            });
        }
    }

    fn leave(&mut self, path: Option<&PathBuf>, why: Option<&Error>, reasons: &mut Vec<Error>) {
        let Some(path) = path else { return };
        let why = why.cloned().unwrap_or_else(|| {
            let why = "an archive that stays depends on it, or what it depends on is not there";
            Error::new(ErrorKind::Foreign, why).at(path)
        });
        self.left_alone.push((path.clone(), why.summary()));
        reasons.push(why);
    }
}

/// Takes out of the history what it need not tell of any more: archives that are gone from their
/// place and older than the last `keep` sets, and all but the last `keep` operations without archive.
pub(crate) fn trim(
    operations: &mut Vec<Operation>,
    keep: u32,
    stands: &dyn Fn(&ArchivePart) -> bool,
) {
    let keep = usize::try_from(keep.max(1)).unwrap_or(usize::MAX);
    let (sets, _) = sets(operations, &ages(operations, None));
    let mut told = vec![true; operations.len()];
    // What a log archive follows has not gone for good as long as that is here.
    let logs = operations.iter().filter(|o| o.has_log() && o.log_files.iter().any(stands));
    let followed: Vec<&String> = logs.filter_map(|o| o.log_follows.as_ref()).collect();
    for set in &sets[..sets.len().saturating_sub(keep)] {
        for at in &set.members {
            let operation = &operations[*at];
            let mut files = operation.backup_files.iter().chain(&operation.log_files);
            let follows = operation.seal.as_ref().is_some_and(|seal| followed.contains(&seal));
            told[*at] = follows || files.any(stands);
        }
    }
    let bare = |o: &Operation| !o.has_archive() && !o.has_log();
    let mut spare = operations.iter().filter(|o| bare(o)).count().saturating_sub(keep);
    for (told, operation) in told.iter_mut().zip(operations.iter()) {
        if bare(operation) && spare > 0 {
            spare -= 1;
            *told = false;
        }
    }
    let mut told = told.into_iter();
    operations.retain(|_| told.next().unwrap_or(true));
}
