//! What is to be deleted: pure, from the history and a look at the files.

use std::path::PathBuf;

use super::order::{Age, ages};
use crate::engine::Lsn;
use crate::regime::history::{ArchivePart, Operation, OperationKind, OperationStatus};

/// What is to be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetentionRule {
    /// How many sets, at least 1. Archives of the structure alone are counted apart.
    pub keep: u32,
    /// For how many more there shall be room: 1 before a backup that makes one, 0 after it.
    pub room: u32,
    /// The timeline that the store writes now, where that is known.
    pub timeline: Option<u128>,
    /// The commit of the store's last backup, with its timeline; of a store that was restored or rolled
    /// back and not backed up since, that which it was brought to. What was saved there, or last before
    /// it, is the newest that there is: what lies beyond may be of a future that the store has left.
    pub at: Option<(u128, Lsn)>,
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

/// Plans by `rule`; `stands` says whether a file is at its place and as long as it was.
pub(crate) fn plan(
    operations: &[Operation],
    rule: &RetentionRule,
    stands: &dyn Fn(&ArchivePart) -> bool,
) -> RetentionPlan {
    let ages = ages(operations, rule.timeline, rule.at);
    let (sets, orphans) = sets(operations, &ages);
    let whole = |at: usize| operations[at].backup_files.iter().all(stands);
    let mut standing = Vec::new();
    let mut plan = RetentionPlan::default();
    for set in sets {
        match whole(set.base) && !operations[set.base].deleting {
            true => standing.push(set),
            false if operations[set.base].deleting => plan.delete_set(&set, operations, stands),
            // Taken away by somebody; what is still here of the set is left to them.
            false => {}
        }
    }
    let (data, structure): (Vec<Set>, Vec<Set>) =
        standing.into_iter().partition(|set| operations[set.base].data);
    let mut kept_from: Option<Age> = None;
    for class in [data, structure] {
        let (kept, old) = divide(class, rule, operations);
        for set in &kept {
            plan.kept.extend(operations[set.base].backup_path.clone());
            if operations[set.base].data {
                kept_from = Some(kept_from.map_or(ages[set.base], |age| age.min(ages[set.base])));
            }
        }
        for set in &old {
            plan.delete_set(set, operations, stands);
        }
    }
    for at in orphans {
        if operations[at].deleting || kept_from.is_some_and(|from| ages[at] < from) {
            plan.delete_archive(at, operations, stands);
        }
    }
    plan.delete_logs(operations, &ages, kept_from, stands);
    plan
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
    fn delete_set(
        &mut self,
        set: &Set,
        operations: &[Operation],
        stands: &dyn Fn(&ArchivePart) -> bool,
    ) {
        for at in set.members.iter().rev() {
            self.delete_archive(*at, operations, stands);
        }
    }

    fn delete_archive(
        &mut self,
        at: usize,
        operations: &[Operation],
        stands: &dyn Fn(&ArchivePart) -> bool,
    ) {
        let operation = &operations[at];
        self.push(
            Deletion {
                number: operation.backup_number.unwrap_or(0),
                log: false,
                path: operation.backup_path.clone().unwrap_or_default(),
                files: operation.backup_files.clone(),
                seal: operation.seal.clone(),
                begun: operation.deleting,
            },
            stands,
        );
    }

    /// A log archive goes when it ends at or before the oldest archive that is kept: behind that, it
    /// is needed to roll forward. One whose own set was moved away by somebody is left to them.
    fn delete_logs(
        &mut self,
        operations: &[Operation],
        ages: &[Age],
        kept_from: Option<Age>,
        stands: &dyn Fn(&ArchivePart) -> bool,
    ) {
        let going: Vec<u32> =
            self.deletions.iter().filter(|d| !d.log).map(|deletion| deletion.number).collect();
        for (at, operation) in operations.iter().enumerate() {
            let Some(number) = operation.log_number() else { continue };
            // It ends at the backup that wrote it; where only the one before is known, after that.
            let ends_before = |from: Age| match operation.backup_number == Some(number) {
                true => ages[at] < from,
                false => ages[at] <= from,
            };
            let follows = |o: &Operation| o.has_archive() && o.backup_number == Some(number);
            let moved = !going.contains(&number) && operations.iter().any(follows);
            let old = !moved && kept_from.is_some_and(ends_before);
            if !old && !operation.deleting_log {
                continue;
            }
            let files = operation.log_files.clone();
            let path = operation.log_path.clone().unwrap_or_default();
            let begun = operation.deleting_log;
            self.push(Deletion { number, log: true, path, files, seal: None, begun }, stands);
        }
    }

    fn push(&mut self, deletion: Deletion, stands: &dyn Fn(&ArchivePart) -> bool) {
        match deletion.begun || deletion.files.iter().all(stands) {
            true => self.deletions.push(deletion),
            false => {
                let reason = "it is not at its place, or not as long as it was";
                self.left_alone.push((deletion.path, reason.to_owned()));
            }
        }
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
    let (sets, _) = sets(operations, &ages(operations, None, None));
    let mut told = vec![true; operations.len()];
    for set in &sets[..sets.len().saturating_sub(keep)] {
        for at in &set.members {
            let operation = &operations[*at];
            let mut files = operation.backup_files.iter().chain(&operation.log_files);
            told[*at] = files.any(stands);
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
