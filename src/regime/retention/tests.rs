//! Plans for histories that no store would be made to have in a moment: branches, lost files.

use super::judge::{Candidate, Judged, LogCandidate};
use super::*;
use crate::engine::{Ancestry, History, Lsn};
use crate::error::{Error, ErrorKind};
use crate::regime::history::{ArchivePart, Operation, OperationKind, OperationStatus};
use crate::store::TimelinePaper;
use jiff::tz::TimeZone;
use proptest::prelude::*;
use std::path::PathBuf;

/// Whether the witnesses agree on an archive.
type Agreed<'a> = &'a dyn Fn(&Operation) -> bool;

const ALL: Agreed<'static> = &|_| true;

/// What a destination comes to in which these archives lie, on all of which the witnesses agree but
/// for some.
fn judged(history: &[Operation], agreed: Agreed<'_>) -> Judged {
    let candidate = |o: &Operation| Candidate {
        facts: o.clone(),
        stays: (!agreed(o)).then(|| Error::new(ErrorKind::Foreign, "they do not agree")),
        spared: false,
    };
    Judged { backups: history.iter().map(candidate).collect(), ..Judged::default() }
}

fn plan(history: &[Operation], rule: &RetentionRule, agreed: Agreed<'_>) -> RetentionPlan {
    super::plan(judged(history, agreed), rule, None).0
}

/// The numbers of the sets that go of a store with the history `own`.
fn planned(history: &[Operation], rule: &RetentionRule, own: &History) -> Vec<u32> {
    numbers(&super::plan(judged(history, ALL), rule, Some(own)).0)
}

/// The history along these timelines and forks, to the commit `last`.
fn of(line: &[(u128, Lsn)], last: Lsn) -> History {
    let first = Ancestry::first(line[0].0);
    let along = |line: Ancestry, (id, fork): &(u128, Lsn)| line.extended(*id, *fork).unwrap();
    History::new(line[1..].iter().fold(first, along), last)
}

fn rule(keep: u32) -> RetentionRule {
    RetentionRule { keep, room: 0 }
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
    assert_eq!(planned(&history, &rule(2), &of(&[(1, 0)], Lsn::MAX)), [3, 4]);
}

#[test]
fn what_was_saved_where_the_store_was_backed_up_last_stays_whatever_lies_beyond_it() {
    let a = (1, 0);
    let mut history =
        vec![full(1, a, 10, 1), full(2, a, 11, 2), full(3, a, 17, 3), full(4, a, 22, 4)];
    // Rolled back to 11, and not backed up yet: what it can be restored from stays.
    let before = RetentionRule { room: 1, ..rule(2) };
    assert_eq!(planned(&history, &before, &of(&[(1, 0)], 12)), [1, 3, 4]);
    // Backed up there.
    history.push(full(5, a, 11, 5));
    let after = of(&[(1, 0)], 11);
    assert_eq!(planned(&history, &rule(2), &after), [1, 3, 4]);
    assert_eq!(planned(&history, &rule(3), &after), [1, 3], "and of the others the newest");
    // A commit of its own came before retention did.
    assert_eq!(planned(&history, &rule(2), &of(&[(1, 0), (2, 11)], 12)), [1, 3, 4]);
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
fn an_incremental_archive_whose_parent_is_not_there_stays() {
    let lost = full(1, (1, 0), 10, 1);
    let history = [increment(2, &lost, 20), full(3, (1, 0), 30, 3), increment(4, &lost, 40)];
    let plan = plan(&history, &rule(1), ALL);
    assert!(plan.deletions.is_empty());
    let left: Vec<_> = plan.left_alone.iter().map(|(path, _)| path.clone()).collect();
    assert_eq!(left, [PathBuf::from("/b/s[0002].tar.zst")], "the other is newer than what is kept");
}

#[test]
fn what_is_not_agreed_on_stays_with_its_whole_set_and_counts_for_none() {
    let base = full(1, (1, 0), 10, 1);
    let history = [
        base.clone(),
        increment(2, &base, 20),
        full(3, (1, 0), 30, 3),
        full(4, (1, 0), 40, 4),
        full(5, (1, 0), 50, 5),
    ];
    for contested in [1, 2] {
        let agreed = |o: &Operation| o.backup_number != Some(contested);
        assert_eq!(numbers(&plan(&history, &rule(2), &agreed)), [3], "{contested}");
    }
    let agreed = |o: &Operation| o.backup_number != Some(5);
    assert_eq!(numbers(&plan(&history, &rule(2), &agreed)), [1, 2], "3 and 4 are kept for it");
}

#[test]
fn archives_of_the_structure_alone_count_apart() {
    let mut history: Vec<Operation> = (1..=4).map(|n| full(n, (1, 0), 10, n.into())).collect();
    for made in &mut history[2..] {
        made.data = false;
    }
    assert_eq!(numbers(&plan(&history, &rule(1), ALL)), [1, 3]);
}

/// The log archive that follows `of`, up to backup `to`.
fn log(of: &Operation, to: &Operation) -> LogCandidate {
    let number = of.backup_number.unwrap();
    let path = PathBuf::from(format!("/b/s[{number:04}].log.zst"));
    LogCandidate {
        number,
        files: vec![ArchivePart { path: path.clone(), bytes: 1 }],
        path,
        follows: of.seal.clone(),
        timeline: to.timeline,
        after: of.lsn.unwrap(),
        last: to.lsn.unwrap(),
        stays: None,
        spared: false,
    }
}

fn backups(count: u32) -> Vec<Operation> {
    (1..=count).map(|n| full(n, (1, 0), u64::from(n) * 10, n.into())).collect()
}

/// The numbers of the log archives that go, where each backup has one after it.
fn logs_that_go(keep: u32, history: &[Operation], change: impl Fn(&mut Judged)) -> Vec<u32> {
    let all = backups(4);
    let mut judged = judged(history, ALL);
    judged.logs = all.windows(2).map(|pair| log(&pair[0], &pair[1])).collect();
    change(&mut judged);
    let (plan, _) = super::plan(judged, &rule(keep), None);
    plan.deletions.iter().filter(|d| d.log).map(|d| d.number).collect()
}

#[test]
fn a_log_goes_with_what_it_follows_and_what_was_moved_away_keeps_its_own() {
    let all = backups(4);
    assert_eq!(logs_that_go(1, &all, |_| ()), [1, 2, 3]);
    assert_eq!(logs_that_go(2, &all, |_| ()), [1, 2]);
    assert_eq!(logs_that_go(4, &all, |_| ()), [0; 0]);
    let seal = all[0].seal.clone().unwrap();
    let moved = |judged: &mut Judged| judged.elsewhere.push(seal.clone());
    assert_eq!(logs_that_go(1, &all[1..], moved), [2, 3], "the first set was moved away");
}

#[test]
fn a_log_stays_while_an_archive_that_stays_leads_to_it() {
    let all = backups(4);
    let first_stays = |judged: &mut Judged| {
        judged.backups[0].stays = Some(Error::new(ErrorKind::Foreign, "they do not agree"));
    };
    assert_eq!(logs_that_go(1, &all, first_stays), [0; 0], "all of them can be rolled forward");
    let and_a_gap = |judged: &mut Judged| {
        first_stays(judged);
        judged.logs.remove(0);
    };
    assert_eq!(logs_that_go(1, &all, and_a_gap), [2, 3], "nothing leads to them");
}

#[test]
fn a_log_stays_that_follows_what_nobody_knows_of_while_what_it_leads_to_is_there() {
    let all = backups(4);
    let unknown = |judged: &mut Judged| {
        judged.logs.iter_mut().for_each(|log| log.follows = Some("of another place".to_owned()));
    };
    assert_eq!(logs_that_go(1, &all[3..], unknown), [1, 2]);
    let newer = |judged: &mut Judged| judged.backups.truncate(1);
    assert_eq!(logs_that_go(1, &all[..1], newer), [0; 0], "nothing later covers them");
}

#[test]
fn what_the_backup_that_runs_has_written_stays() {
    let all = backups(4);
    let written = |judged: &mut Judged| {
        judged.backups[1].spared = true;
        judged.logs[2].spared = true;
    };
    assert_eq!(logs_that_go(1, &all, written), [1]);
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
        history.retain(|o| o.backup_path.as_ref().is_none_or(|path| !gone.contains(path)));
        let plan = plan(&history, &RetentionRule { keep, room }, ALL);
        let deleted = |o: &Operation| plan.deletions.iter().any(|d| Some(&d.path) == o.backup_path.as_ref());
        let is_full = |o: &&Operation| o.operation == OperationKind::Backup;
        let fulls: Vec<&Operation> = history.iter().filter(is_full).collect();
        let left = fulls.iter().filter(|o| !deleted(o)).count();
        prop_assert!(left >= fulls.len().min((keep - room).max(1) as usize));
        prop_assert!(left <= (keep - room).max(1) as usize + 1);
        let good = |o: &&&Operation| o.status == OperationStatus::Complete;
        prop_assert_eq!(
            fulls.iter().any(|o| good(&o)),
            fulls.iter().filter(|o| !deleted(o)).any(|o| good(&o))
        );
        for made in history.iter().filter(|o| !deleted(o)) {
            let parent = history.iter().find(|o| made.parent.is_some() && o.seal == made.parent);
            prop_assert!(parent.is_none_or(|parent| !deleted(parent)));
        }
    }
}
