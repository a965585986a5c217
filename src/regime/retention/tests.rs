//! Plans for histories that no store would be made to have in a moment: branches, lost files.

use super::*;
use crate::regime::history::{ArchivePart, Operation, OperationKind, OperationStatus};
use crate::store::TimelinePaper;
use jiff::tz::TimeZone;
use proptest::prelude::*;
use std::path::PathBuf;

const ALL: &dyn Fn(&ArchivePart) -> bool = &|_| true;

fn rule(keep: u32) -> RetentionRule {
    RetentionRule { keep, room: 0, timeline: None, at: None }
}

/// Backup `number` of commit `lsn` on `timeline`, which left `parent`; begun at `started`.
fn full(number: u32, (timeline, parent): (u128, u128), lsn: u64, started: i64) -> Operation {
    let mut made = Operation::new(OperationKind::Backup, 7, started, &TimeZone::UTC);
    made.backup_number = Some(number);
    made.timeline = Some(TimelinePaper { id: timeline, parent, fork: 0 });
    (made.lsn, made.data) = (Some(lsn), true);
    made.seal = Some(format!("{timeline}-{lsn}-{number}"));
    let path = PathBuf::from(format!("/b/s[{number:04}].tar.zst"));
    made.backup_files = vec![ArchivePart { path: path.clone(), bytes: 1 }];
    made.backup_path = Some(path);
    made
}

fn increment(number: u32, of: &Operation, lsn: u64) -> Operation {
    let timeline = of.timeline.unwrap();
    let mut made = full(number, (timeline.id, timeline.parent), lsn, i64::from(number));
    made.operation = OperationKind::IncrementalBackup;
    made.parent.clone_from(&of.seal);
    made
}

fn numbers(plan: &RetentionPlan) -> Vec<u32> {
    let mut numbers: Vec<u32> =
        plan.deletions.iter().filter(|d| !d.log).map(|deletion| deletion.number).collect();
    numbers.sort_unstable();
    numbers
}

#[test]
fn order_is_by_timeline_and_lsn_not_by_number_or_clock() {
    // The numbers were reset after 6, and the clock was wrong for the last two.
    let a = (1, 0);
    let history = [full(5, a, 50, 500), full(6, a, 60, 600), full(1, a, 70, 7), full(2, a, 80, 8)];
    assert_eq!(numbers(&plan(&history, &rule(2), ALL)), [5, 6]);
}

#[test]
fn a_branch_is_newer_than_what_it_left_whatever_its_lsns() {
    let history = [
        full(1, (1, 0), 100, 1),
        full(2, (1, 0), 200, 2),
        // Restored from the first.
        full(3, (2, 1), 150, 3),
        full(4, (2, 1), 160, 4),
    ];
    assert_eq!(numbers(&plan(&history, &rule(2), ALL)), [1, 2]);
    // And the store's own branch is the newest of all.
    let own = RetentionRule { timeline: Some(1), ..rule(2) };
    assert_eq!(numbers(&plan(&history, &own, ALL)), [3, 4]);
}

#[test]
fn what_was_saved_where_the_store_was_backed_up_last_stays_whatever_lies_beyond_it() {
    let a = (1, 0);
    let mut history =
        vec![full(1, a, 10, 1), full(2, a, 11, 2), full(3, a, 17, 3), full(4, a, 22, 4)];
    // Rolled back to 11, and not backed up yet: what it can be restored from stays.
    let before = RetentionRule { timeline: Some(1), at: Some((1, 12)), room: 1, ..rule(2) };
    assert_eq!(numbers(&plan(&history, &before, ALL)), [1, 3, 4]);
    // Backed up there.
    history.push(full(5, a, 11, 5));
    let after = RetentionRule { timeline: Some(1), at: Some((1, 11)), ..rule(2) };
    assert_eq!(numbers(&plan(&history, &after, ALL)), [1, 3, 4]);
    let two = RetentionRule { keep: 3, ..after };
    assert_eq!(numbers(&plan(&history, &two, ALL)), [1, 3], "and of the others the newest");
    // A commit of its own came before retention did.
    let raced = RetentionRule { timeline: Some(2), ..after };
    assert_eq!(numbers(&plan(&history, &raced, ALL)), [1, 3, 4]);
}

#[test]
fn timelines_in_a_circle_end_the_planning_too() {
    let history = [full(1, (1, 2), 1, 1), full(2, (2, 1), 2, 2), full(3, (3, 3), 3, 3)];
    assert_eq!(plan(&history, &rule(1), ALL).deletions.len(), 2);
    let mut round = increment(4, &full(9, (1, 0), 9, 9), 10);
    round.parent.clone_from(&round.seal);
    assert!(plan(&[round], &rule(1), ALL).deletions.is_empty());
}

#[test]
fn a_set_is_as_new_as_its_newest_incremental_archive() {
    let old = full(1, (1, 0), 10, 1);
    let history =
        [old.clone(), full(2, (1, 0), 20, 2), increment(3, &old, 30), increment(4, &old, 40)];
    assert_eq!(numbers(&plan(&history, &rule(1), ALL)), [2]);
}

#[test]
fn an_incremental_archive_without_its_parent_goes_when_it_is_older_than_all_that_is_kept() {
    let lost = full(1, (1, 0), 10, 1);
    let history = [increment(2, &lost, 20), full(3, (1, 0), 30, 3), increment(4, &lost, 40)];
    assert_eq!(numbers(&plan(&history, &rule(1), ALL)), [2]);
}

#[test]
fn archives_of_the_structure_alone_count_apart() {
    let mut history: Vec<Operation> = (1..=4).map(|n| full(n, (1, 0), 10, n.into())).collect();
    for made in &mut history[2..] {
        made.data = false;
    }
    assert_eq!(numbers(&plan(&history, &rule(1), ALL)), [1, 3]);
}

#[test]
fn a_log_whose_set_was_moved_away_is_left_with_it() {
    let mut history: Vec<Operation> =
        (1..=4).map(|n| full(n, (1, 0), u64::from(n) * 10, n.into())).collect();
    for (n, made) in history.iter_mut().enumerate().skip(1) {
        let path = PathBuf::from(format!("/b/s[{n:04}].log.zst"));
        made.log_files = vec![ArchivePart { path: path.clone(), bytes: 1 }];
        made.log_path = Some(path);
    }
    let first_is_gone = |part: &ArchivePart| !part.path.ends_with("s[0001].tar.zst");
    let plan = plan(&history, &rule(1), &first_is_gone);
    let logs: Vec<u32> = plan.deletions.iter().filter(|d| d.log).map(|d| d.number).collect();
    assert_eq!((numbers(&plan), logs), (vec![2, 3], vec![2, 3]));
}

proptest! {
    /// Whatever the history: enough sets stay, the newest complete one among them, and no archive
    /// loses what it goes on from.
    #[test]
    fn what_is_kept_can_be_restored(
        ops in prop::collection::vec((0u8..6, 0u128..3, 1u64..50, any::<bool>(), any::<prop::sample::Index>()), 1..20),
        keep in 1u32..5,
        room in 0u32..2,
        gone in prop::collection::vec(any::<prop::sample::Index>(), 0..3),
    ) {
        let mut history: Vec<Operation> = Vec::new();
        for (at, (kind, timeline, lsn, partial, of)) in ops.into_iter().enumerate() {
            let number = u32::try_from(at).unwrap() + 1;
            let parent = (kind < 3 && at > 0).then(|| history[of.index(at)].clone());
            let mut made = match parent {
                Some(parent) => increment(number, &parent, lsn),
                None => full(number, (timeline + 1, timeline), lsn, at as i64),
            };
            if partial {
                made.status = OperationStatus::Partial;
            }
            history.push(made);
        }
        let gone: Vec<PathBuf> =
            gone.iter().map(|at| at.get(&history).backup_path.clone().unwrap()).collect();
        let stands = |part: &ArchivePart| !gone.contains(&part.path);
        let plan = plan(&history, &RetentionRule { keep, room, timeline: None, at: None }, &stands);
        let deleted = |o: &Operation| plan.deletions.iter().any(|d| Some(&d.path) == o.backup_path.as_ref());
        let is_full = |o: &&Operation| o.operation == OperationKind::Backup && stands(&o.backup_files[0]);
        let fulls: Vec<&Operation> = history.iter().filter(is_full).collect();
        let left = fulls.iter().filter(|o| !deleted(o)).count();
        prop_assert!(left >= fulls.len().min((keep - room).max(1) as usize));
        prop_assert!(left <= (keep - room).max(1) as usize + 1);
        let good = |o: &&&Operation| o.status == OperationStatus::Complete;
        prop_assert_eq!(
            fulls.iter().any(|o| good(&o)),
            fulls.iter().filter(|o| !deleted(o)).any(|o| good(&o))
        );
        for made in history.iter().filter(|o| !deleted(o) && stands(&o.backup_files[0])) {
            let parent = history.iter().find(|o| made.parent.is_some() && o.seal == made.parent);
            prop_assert!(parent.is_none_or(|parent| !deleted(parent)));
        }
    }
}
