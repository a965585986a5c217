//! Full disks, failing syncs, and what the helpers of the log do.

use super::*;
use crate::disk::{Call, Fault, FaultPlan, OpenMode, Survival};

const SEGMENT: u64 = 4096;

#[test]
fn nothing_is_created_before_the_first_append() {
    let disk = new_disk(1);
    let mut log = fresh(&disk, SEGMENT);
    log.roll().expect("nothing to end");
    assert_eq!(log.sync().expect("nothing to sync"), 0);
    assert!(disk.metadata(&dir()).is_err());
    log.close(0).expect("nothing to close");
    assert!(disk.metadata(&dir()).is_err());
}

#[test]
fn a_full_disk_while_preparing_is_retryable_and_latches_nothing() {
    for call in [Call::Allocate, Call::Create, Call::Sync] {
        let disk = new_disk(1);
        let mut log = fresh(&disk, SEGMENT);
        append_marks(&mut log, 1..=1);
        disk.fail(FaultPlan::once(call, "log/", Fault::FULL));
        let upkeep = log.upkeep();
        let error = upkeep.prepare().expect_err("full");
        assert_eq!(error.kind(), ErrorKind::StorageFull, "{call:?}");
        assert!(error.is_retryable());
        assert!(!upkeep.is_prepared());
        append_marks(&mut log, 2..=2);
        log.sync().expect("not latched");
        upkeep.prepare().expect("there is room again");
        assert!(upkeep.is_prepared());
        log.roll().expect("healthy");
        append_marks(&mut log, 3..=3);
        log.sync().expect("healthy");
        let disk = disk.reboot(Survival::Nothing);
        assert_eq!(marks_of(&*disk, base()).expect("sound"), [1, 2, 3]);
    }
}

#[test]
fn a_full_disk_in_an_append_refuses_that_append_and_no_other() {
    let disk = new_disk(1);
    let mut log = fresh(&disk, SEGMENT);
    append_marks(&mut log, 1..=1);
    // Both in the middle of a segment, and where a new one is to begin with its header.
    for round in 0..2 {
        let before = log.next_lsn();
        disk.fail(FaultPlan::once(Call::Write, "log/", Fault::FULL.after_bytes(40)));
        assert_eq!(refused(append(&mut log, &[mark(99)])), ErrorKind::StorageFull);
        assert_eq!(log.next_lsn(), before);
        append_marks(&mut log, [10 + round]);
        log.roll().expect("healthy");
    }
    disk.fail(FaultPlan::once(Call::Allocate, "log/", Fault::FULL));
    assert_eq!(refused(append(&mut log, &[mark(99)])), ErrorKind::StorageFull);
    append_marks(&mut log, 20..=20);
    log.sync().expect("healthy");
    let disk = disk.reboot(Survival::Nothing);
    assert_eq!(marks_of(&*disk, base()).expect("sound"), [1, 10, 11, 20]);
}

#[test]
fn a_failed_sync_is_reported_and_never_retried() {
    let disk = new_disk(1);
    let mut log = fresh(&disk, SEGMENT);
    append_marks(&mut log, 1..=1);
    let set = log.unsynced();
    assert_eq!(set.through(), 1);
    disk.fail(FaultPlan::once(Call::Sync, "log/", Fault::IO));
    assert_eq!(refused(log.sync()), ErrorKind::Io);
    assert_eq!(refused(log.sync()), ErrorKind::ReadOnly);
    assert_eq!(refused(set.sync()), ErrorKind::ReadOnly);
    assert_eq!(refused(append(&mut log, &[mark(2)])), ErrorKind::ReadOnly);
    assert_eq!(log.durable_lsn(), 0);
}

#[test]
fn a_failed_write_latches() {
    let disk = new_disk(1);
    let mut log = fresh(&disk, SEGMENT);
    append_marks(&mut log, 1..=1);
    disk.fail(FaultPlan::once(Call::Write, "log/", Fault::IO));
    assert_eq!(refused(append(&mut log, &[mark(2)])), ErrorKind::Io);
    assert_eq!(refused(append(&mut log, &[mark(2)])), ErrorKind::ReadOnly);
}

/// What a failed sync leaves in the cache is read by the next recovery. It must not be taken for
/// durable when a later sync "succeeds" on pages that the system has given up.
#[test]
fn what_a_failed_sync_left_in_the_cache_is_written_again() {
    let disk = new_disk(1);
    let mut log = fresh(&disk, SEGMENT);
    append_marks(&mut log, 1..=3);
    disk.fail(FaultPlan::once(Call::Sync, "log/", Fault::IO));
    assert_eq!(refused(log.sync()), ErrorKind::Io);
    drop(log);
    let (mut log, marks) = reopen(&disk, base(), SEGMENT).expect("sound");
    assert_eq!(marks, [1, 2, 3]);
    append_marks(&mut log, 4..=4);
    assert_eq!(log.sync().expect("healthy again"), 4);
    let disk = disk.reboot(Survival::Nothing);
    assert_eq!(marks_of(&*disk, base()).expect("sound"), [1, 2, 3, 4]);
}

#[test]
fn a_sync_covers_all_segments_oldest_first() {
    let disk = new_disk(1);
    let mut log = fresh(&disk, SEGMENT);
    append_marks(&mut log, 1..=2);
    log.roll().expect("healthy");
    append_marks(&mut log, 3..=3);
    log.roll().expect("healthy");
    append_marks(&mut log, 4..=4);
    // The second of three syncs fails: the first segment is durable, the last one is not.
    disk.fail(FaultPlan::once(Call::Sync, "log/", Fault::IO).skip(1));
    assert_eq!(refused(log.sync()), ErrorKind::Io);
    let after = disk.reboot(Survival::Nothing);
    assert_eq!(marks_of(&*after, base()).expect("sound"), [1, 2]);
}

#[test]
fn a_background_sync_and_appends_go_on_side_by_side() {
    let disk = new_disk(1);
    let mut log = fresh(&disk, SEGMENT);
    append_marks(&mut log, 1..=2);
    let set = log.upkeep().unsynced();
    append_marks(&mut log, 3..=3);
    assert_eq!(set.sync().expect("healthy"), 2);
    assert_eq!(log.durable_lsn(), 2);
    assert_eq!(log.sync().expect("healthy"), 3);
}

#[test]
fn a_group_larger_than_a_segment_gets_one_of_its_own_size() {
    let disk = new_disk(1);
    let mut log = fresh(&disk, SEGMENT);
    append_marks(&mut log, 1..=1);
    log.upkeep().prepare().expect("room");
    let large = Marked { mark: 2, bytes: 3 << 20, context: 1 };
    append(&mut log, &[large]).expect("room");
    append_marks(&mut log, 3..=3);
    log.sync().expect("healthy");
    let disk = disk.reboot(Survival::Nothing);
    assert_eq!(marks_of(&*disk, base()).expect("sound"), [1, 2, 3]);
    let lens: Vec<_> =
        list_segments(&*disk, &dir()).expect("readable").iter().map(|s| s.len).collect();
    assert_eq!(lens.len(), 3);
    assert!(lens[1] > 3 << 20 && lens[0] == SEGMENT && lens[2] == SEGMENT, "{lens:?}");
}

#[test]
fn closed_segments_are_cut_and_a_clean_close_leaves_nothing_prepared() {
    let disk = new_disk(1);
    let mut log = fresh(&disk, SEGMENT);
    append_marks(&mut log, 1..=1);
    log.roll().expect("healthy");
    append_marks(&mut log, 2..=2);
    log.sync().expect("healthy");
    log.upkeep().prepare().expect("room");
    let segments = list_segments(&*disk, &dir()).expect("readable");
    assert_eq!(segments.len(), 3);
    assert!(segments[0].len < SEGMENT);
    log.close(0).expect("healthy");
    let segments = list_segments(&*disk, &dir()).expect("readable");
    assert_eq!(segments.len(), 2);
    assert!(segments.iter().all(|segment| segment.len < SEGMENT));
    let (recovered, marks) = recover_marks(&*disk, base()).expect("sound");
    assert_eq!(marks.len(), 2);
    assert_eq!((recovered.tail_cut, recovered.durable_lsn), (None, 2));
    assert_eq!(recovered.unproven, []);
}

#[test]
fn only_what_is_older_is_removed_and_never_the_newest() {
    let disk = new_disk(1);
    let mut log = fresh(&disk, SEGMENT);
    for marks in [1..=2, 3..=4, 5..=6] {
        append_marks(&mut log, marks);
        log.roll().expect("healthy");
    }
    let upkeep = log.upkeep();
    assert_eq!(upkeep.remove_before(6).expect("healthy"), 0, "nothing is durable yet");
    log.sync().expect("healthy");
    assert_eq!(upkeep.remove_before(1).expect("healthy"), 0);
    assert_eq!(upkeep.remove_before(3).expect("healthy"), 1);
    assert_eq!(upkeep.remove_before(100).expect("healthy"), 1);
    let numbers: Vec<_> =
        upkeep.segments().expect("readable").iter().map(|segment| segment.number).collect();
    assert_eq!(numbers, [3]);
    let tree = RecoveryBase { checkpoint_lsn: 4, durable_hint: 6, ..base() };
    assert_eq!(marks_of(&*disk, tree).expect("sound"), [5, 6]);
}

#[test]
fn an_unreadable_segment_is_an_error_of_the_disk_and_no_tail() {
    let disk = new_disk(1);
    let mut log = fresh(&disk, SEGMENT);
    append_marks(&mut log, 1..=2);
    disk.fail(FaultPlan::once(Call::Read, "log/", Fault::IO).skip(1));
    assert_eq!(refused(marks_of(&*disk, base())), ErrorKind::Io);
}

#[test]
fn an_error_of_apply_ends_recovery_with_that_error() {
    let disk = new_disk(1);
    let mut log = fresh(&disk, SEGMENT);
    append_marks(&mut log, 1..=2);
    let result = recover(&*disk, &dir(), &base(), &mut |_, _, _| {
        Err(crate::Error::new(ErrorKind::Limit, "too much"))
    });
    assert_eq!(refused(result), ErrorKind::Limit);
}

#[test]
fn contexts_are_defined_once_in_each_segment() {
    let disk = new_disk(1);
    let mut log = fresh(&disk, SEGMENT);
    for mark in 1..=2 {
        append(&mut log, &[Marked { mark, bytes: 5, context: 1 }]).expect("room");
    }
    log.roll().expect("healthy");
    append(&mut log, &[Marked { mark: 3, bytes: 5, context: 1 }]).expect("room");
    assert_eq!(
        refused(append(&mut log, &[Marked { mark: 4, bytes: 5, context: 2 }])),
        ErrorKind::Invalid
    );
    let mut defined = Vec::new();
    for number in [1, 2] {
        let path = segment::path_of(&dir(), number);
        let mut reader = SegmentReader::open(&*disk, &path).expect("sound");
        while let Step::Group(group) = reader.next().expect("readable") {
            let contexts = group.body.contexts().expect("sound");
            defined.push(contexts.into_iter().map(|(id, _)| id).collect::<Vec<_>>());
        }
    }
    assert_eq!(defined, [vec![1], vec![], vec![1]]);
}

#[test]
fn other_names_in_the_folder_are_left_alone() {
    let disk = new_disk(1);
    let mut log = fresh(&disk, SEGMENT);
    append_marks(&mut log, 1..=1);
    disk.open(&dir().join("notes.txt"), OpenMode::CreateNew).expect("new");
    assert_eq!(marks_of(&*disk, base()).expect("sound"), [1]);
}
