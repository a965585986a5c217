//! Timelines, foreign segments, and time.

use super::*;
use crate::disk::{OpenMode, Survival};

const SEGMENT: u64 = 4096;

fn copy(from: &SimDisk, to: &SimDisk, number: u64) {
    let path = segment::path_of(&dir(), number);
    let file = from.open(&path, OpenMode::Read).expect("there");
    let mut bytes = vec![0; file.len().expect("readable") as usize];
    file.read_exact_at(&mut bytes, 0).expect("readable");
    if to.metadata(&path).is_ok() {
        to.remove_file(&path).expect("there");
    }
    to.open(&path, OpenMode::CreateNew).and_then(|file| file.write_at(&bytes, 0)).expect("room");
}

fn started(disk: &Arc<SimDisk>) -> Log {
    let mut log = fresh(disk, SEGMENT);
    append_marks(&mut log, 1..=2);
    log.sync().expect("healthy");
    log
}

#[test]
fn a_segment_of_another_store_is_refused() {
    let disk = new_disk(1);
    drop(started(&disk));
    let other = RecoveryBase { store_id: STORE + 1, ..base() };
    let error = marks_of(&*disk, other).expect_err("foreign");
    assert_eq!((error.kind(), error.code()), (ErrorKind::Foreign, 1416));
}

#[test]
fn a_segment_of_a_divergent_history_is_refused() {
    let disk = new_disk(1);
    drop(started(&disk));
    let other = Ancestry::first(77);
    let error = marks_of(&*disk, RecoveryBase { ancestry: other, ..base() }).expect_err("foreign");
    assert_eq!((error.kind(), error.code()), (ErrorKind::Foreign, 1416));
}

/// Two copies of one store go on, each by itself. Their segments have the same store, timeline,
/// number and LSNs, and do not follow one another.
#[test]
fn a_segment_of_a_twin_is_refused() {
    let disk = new_disk(1);
    drop(started(&disk));
    let twin = disk.image();
    for (disk, first) in [(&disk, 10), (&twin, 20)] {
        let (mut log, _) = reopen(disk, base(), SEGMENT).expect("sound");
        append_marks(&mut log, first..first + 2);
        log.roll().expect("healthy");
        append_marks(&mut log, first + 2..first + 3);
        log.sync().expect("healthy");
    }
    copy(&twin, &disk, 3);
    assert_eq!(refused(marks_of(&*disk, base())), ErrorKind::Foreign);
}

#[test]
fn a_cut_tail_never_comes_back() {
    let disk = new_disk(1);
    let mut log = started(&disk);
    append_marks(&mut log, 3..=5);
    drop(log);
    // The first of three unsynced groups is torn; the ones behind it are whole.
    let path = segment::path_of(&dir(), 1);
    let reader_at = {
        let mut reader = SegmentReader::open(&*disk, &path).expect("sound");
        while reader.next_lsn() < 3 {
            assert!(matches!(reader.next().expect("readable"), Step::Group(_)));
        }
        reader.at()
    };
    disk.corrupt(&path, reader_at + 80, 0).expect("there");
    let (recovered, marks) = recover_marks(&*disk, base()).expect("an ordinary crash");
    assert_eq!(marks.len(), 2);
    let ancestry = child_of(&disk, &recovered);
    let params = LogParams { ancestry: ancestry.clone(), ..after(&disk, &recovered, SEGMENT) };
    let mut log = start(&disk, params);
    append_marks(&mut log, 30..=30);
    log.sync().expect("healthy");
    // The torn group is made whole again, which a real disk would not do: it still is a ghost.
    disk.corrupt(&path, reader_at + 80, 0).expect("there");
    for disk in [disk.reboot(Survival::Nothing), disk.image()] {
        let (again, marks) = recover_marks(&*disk, base()).expect("sound");
        assert_eq!(marks.iter().map(|m| m.2).collect::<Vec<_>>(), [1, 2, 30]);
        assert_eq!((again.ancestry(), again.tail_cut), (ancestry.clone(), None));
    }
}

#[test]
fn a_data_file_that_left_the_timeline_does_not_get_what_came_after_the_fork() {
    let disk = new_disk(1);
    let mut log = started(&disk);
    append_marks(&mut log, 3..=3);
    drop(log);
    let fork = first().extended(9, 2).unwrap();
    let left = RecoveryBase { ancestry: fork.clone(), checkpoint_lsn: 2, ..base() };
    let (recovered, marks) = recover_marks(&*disk, left.clone()).expect("an abandoned branch");
    assert_eq!((recovered.last_lsn, recovered.ancestry(), marks.len()), (2, fork, 0));
    // And it can be told from the history that goes on.
    let mut log = start(&disk, after(&disk, &recovered, SEGMENT));
    append_marks(&mut log, 30..=30);
    log.sync().expect("healthy");
    assert_eq!(marks_of(&*disk, left).expect("sound"), [30]);
    assert_eq!(marks_of(&*disk, base()).expect("sound"), [1, 2, 30]);
    // A data file of the branch that was left has no part in it.
    let abandoned = RecoveryBase { checkpoint_lsn: 3, ..base() };
    assert_eq!(refused(marks_of(&*disk, abandoned)), ErrorKind::Foreign);
}

#[test]
fn a_durable_commit_behind_the_fork_is_a_divergent_history() {
    let disk = new_disk(1);
    let mut log = started(&disk);
    append_marks(&mut log, 3..=3);
    log.sync().expect("healthy");
    append_marks(&mut log, 4..=4);
    let fork = first().extended(9, 2).unwrap();
    let left = RecoveryBase { ancestry: fork.clone(), checkpoint_lsn: 2, ..base() };
    assert_eq!(refused(marks_of(&*disk, left)), ErrorKind::Foreign);
}

#[test]
fn time_never_goes_back() {
    let disk = new_disk(1);
    let mut log = fresh(&disk, SEGMENT);
    let times: Vec<_> = [50, 70, 20, 71]
        .into_iter()
        .map(|now| log.append(&[mark(1).filled()], now).expect("room").time)
        .collect();
    assert_eq!(times, [50, 70, 70, 71]);
    log.roll().expect("healthy");
    assert_eq!(log.append(&[mark(2).filled()], 0).expect("room").time, 71);
    drop(log);
    let (recovered, _) = recover_marks(&*disk, base()).expect("sound");
    assert_eq!(recovered.last_time, 71);
    let mut log = start(&disk, after(&disk, &recovered, SEGMENT));
    assert_eq!(log.append(&[mark(3).filled()], 10).expect("room").time, 71);
}

#[test]
fn parameters_that_contradict_each_other_are_refused() {
    let disk = new_disk(1);
    drop(started(&disk));
    let (recovered, _) = recover_marks(&*disk, base()).expect("sound");
    let wrong = LogParams { next_lsn: 9, ..after(&disk, &recovered, SEGMENT) };
    assert_eq!(refused(Log::start(disk.clone(), dir(), wrong)), ErrorKind::Invalid);
    let zero = LogParams { next_lsn: 0, prev: None, ..after(&disk, &recovered, SEGMENT) };
    assert_eq!(refused(Log::start(disk, dir(), zero)), ErrorKind::Invalid);
}

#[test]
fn a_log_that_ends_before_the_checkpoint_begins_anew() {
    let disk = new_disk(1);
    drop(started(&disk));
    let tree = RecoveryBase { checkpoint_lsn: 5, durable_hint: 2, ..base() };
    let (recovered, marks) = recover_marks(&*disk, tree.clone()).expect("the tree has the rest");
    assert_eq!((recovered.last_lsn, recovered.end, marks.len()), (5, None, 0));
    let mut log = start(&disk, after(&disk, &recovered, SEGMENT));
    // With nothing appended, nothing in the log becomes durable that is not in it.
    assert_eq!(log.sync().expect("healthy"), 2);
    append_marks(&mut log, 6..=6);
    log.sync().expect("healthy");
    assert_eq!(marks_of(&*disk, tree).expect("sound"), [6]);
    // An older data file would need what stood in the tree alone.
    assert_eq!(refused(marks_of(&*disk, base())), ErrorKind::Corrupt);
}

#[test]
fn a_segment_that_ended_cleanly_at_the_checkpoint_is_not_read_again() {
    let disk = new_disk(41);
    let mut log = fresh(&disk, 1 << 20);
    append_marks(&mut log, 1..=200);
    log.close(0).expect("closes");
    drop(log);
    let held = RecoveryBase { checkpoint_lsn: 200, durable_hint: 200, ..base() };
    // A byte in its middle that nobody needs: were it read, the end would not be found.
    let path = dir().join("0000000000000001.log");
    let file = disk.open(&path, OpenMode::Write).expect("there");
    file.write_at(b"\xFF", 2_000).expect("writes");
    let (recovered, marks) = recover_marks(&*disk, held.clone()).expect("the tree has all of it");
    assert!(marks.is_empty() && recovered.tail_cut.is_none());
    assert_eq!((recovered.last_lsn, recovered.durable_lsn), (200, 200));
    // The log goes on behind that end, and is read as one history with it.
    let mut log = start(&disk, after(&disk, &recovered, 1 << 20));
    append_marks(&mut log, 201..=210);
    log.close(0).expect("closes");
    assert_eq!(marks_of(&*disk, held.clone()).expect("goes on"), (201..=210).collect::<Vec<_>>());
    // Whoever needs the commits in it reads it, and sees the damage.
    let before = RecoveryBase { checkpoint_lsn: 100, ..held };
    assert_eq!(refused(marks_of(&*disk, before)), ErrorKind::Corrupt);
}
