//! What is kept for archives: which segments are closed, where they end, and what may go.

use super::*;
use crate::disk::{OpenMode, Survival};

const SEGMENT: u64 = 4 << 10;

/// Three segments of two commits each, all durable, the last one closed too.
fn three(disk: &Arc<SimDisk>) -> Log {
    let mut log = fresh(disk, SEGMENT);
    for marks in [1..=2, 3..=4, 5..=6] {
        append_marks(&mut log, marks);
        log.roll().expect("healthy");
    }
    log.sync().expect("healthy");
    log
}

fn spans(closed: &[ClosedSegment]) -> Vec<(u64, Lsn, Lsn)> {
    closed.iter().map(|segment| (segment.number, segment.after, segment.last)).collect()
}

#[test]
fn what_is_kept_stays_until_it_is_let_go_of() {
    let disk = new_disk(1);
    let log = three(&disk);
    let upkeep = log.upkeep();
    upkeep.keep_from(Some(2));
    assert_eq!(upkeep.remove_before(6).expect("healthy"), 1);
    assert_eq!(spans(&upkeep.closed().expect("sound")), [(2, 2, 4), (3, 4, 6)]);
    let held = upkeep.hold();
    upkeep.keep_from(Some(4));
    assert_eq!(upkeep.remove_before(6).expect("healthy"), 0, "somebody reads it");
    drop(held);
    // The checkpoint must have passed it too.
    assert_eq!(upkeep.remove_before(3).expect("healthy"), 0);
    assert_eq!(upkeep.remove_before(6).expect("healthy"), 1);
    assert_eq!(spans(&upkeep.closed().expect("sound")), [(3, 4, 6)]);
}

#[test]
fn the_bytes_of_what_is_kept_are_those_on_the_disk_before_and_after_a_reopening() {
    let disk = new_disk(1);
    let mut log = three(&disk);
    let upkeep = log.upkeep();
    assert_eq!(upkeep.kept_bytes(), 0, "nothing is kept for its own sake");
    upkeep.keep_from(Some(2));
    append_marks(&mut log, 7..=7);
    log.close(0).expect("healthy");
    let on_disk = |from| -> u64 {
        let segments = list_segments(&*disk, &dir()).expect("readable");
        segments.iter().filter(|segment| segment.number >= from).map(|segment| segment.len).sum()
    };
    assert_eq!(upkeep.kept_bytes(), on_disk(2));
    let (log, _) = reopen(&disk, base(), SEGMENT).expect("sound");
    let upkeep = log.upkeep();
    upkeep.keep_from(Some(4));
    upkeep.count().expect("sound");
    assert_eq!(upkeep.kept_bytes(), on_disk(3));
    assert_eq!(upkeep.droppable(u64::MAX, 1), Some((4, 6)));
    assert_eq!(upkeep.droppable(u64::MAX, u64::MAX), Some((4, 7)));
    assert_eq!(upkeep.droppable(6, u64::MAX), Some((4, 6)));
    assert_eq!(upkeep.droppable(5, u64::MAX), None, "the checkpoint has not passed it");
}

#[test]
fn a_closed_segment_ends_where_its_history_ends() {
    let disk = new_disk(1);
    let mut log = fresh(&disk, SEGMENT);
    append_marks(&mut log, 1..=2);
    log.sync().expect("healthy");
    let durable = list_segments(&*disk, &dir()).expect("readable")[0].clone();
    append_marks(&mut log, 3..=4);
    // Of the second group only a part arrives: recovery cuts, and a new segment goes on.
    let torn = disk.reboot(Survival::Everything);
    let file = torn.open(&durable.path, OpenMode::Write).expect("there");
    let mut reader = SegmentReader::open(&*torn, &durable.path).expect("sound");
    for _ in 0..2 {
        assert!(matches!(reader.next().expect("readable"), Step::Group(_)));
    }
    let cut = reader.at();
    file.write_at(&[0xff; 16], cut + 8).expect("healthy");
    let (mut log, marks) = reopen(&torn, base(), SEGMENT).expect("a tail");
    assert_eq!(marks, [1, 2]);
    append_marks(&mut log, [9]);
    let closed = log.upkeep().closed().expect("sound");
    assert_eq!(spans(&closed), [(1, 0, 2)], "the one that is written to is not closed");
    assert_eq!(closed[0].measure(&*torn).expect("sound"), cut, "and it has no trailer");
    log.roll().expect("healthy");
    let closed = log.upkeep().closed().expect("sound");
    assert_eq!(spans(&closed), [(1, 0, 2), (2, 2, 3)]);
    assert_ne!(closed[0].timeline, closed[1].timeline);
    let whole = list_segments(&*torn, &dir()).expect("readable")[1].len;
    log.upkeep().prepare().expect("healthy");
    assert!(closed[1].measure(&*torn).expect("sound") <= whole);
}

#[test]
fn any_bit_of_a_closed_segment_that_is_not_as_written_is_noticed() {
    let disk = new_disk(1);
    let mut log = three(&disk);
    log.close(0).expect("healthy");
    let closed = log.upkeep().closed().expect("sound");
    let segment = &closed[1];
    let end = segment.measure(&*disk).expect("sound");
    // The trailer says nothing that the next header does not say.
    for at in 0..end - format::GROUP_HEAD as u64 {
        let bit = (at % 8) as u8;
        disk.corrupt(&segment.path, at, bit).expect("there");
        assert!(segment.measure(&*disk).is_err(), "byte {at}");
        disk.corrupt(&segment.path, at, bit).expect("there");
    }
    // One that was cut short, and ends with a trailer all the same.
    let first = &closed[0];
    let mut lies = first.clone();
    lies.last += 1;
    assert_eq!(refused(lies.measure(&*disk)), ErrorKind::Corrupt);
}

#[test]
fn segments_that_are_gone_end_the_list_of_closed_ones() {
    let disk = new_disk(1);
    let log = three(&disk);
    disk.remove_file(&segment::path_of(&dir(), 2)).expect("there");
    assert_eq!(spans(&log.upkeep().closed().expect("sound")), [(3, 4, 6)]);
}

/// The last segment was being prepared, and found no room; the first is removed by its age.
#[test]
fn segments_that_go_while_they_are_looked_at_are_not_missed() {
    let disk = new_disk(1);
    let log = three(&disk);
    let upkeep = log.upkeep();
    upkeep.prepare().expect("healthy");
    // Under this name of the folder nothing hangs.
    disk.symlink(&dir(), Path::new("/alias")).expect("healthy");
    for (number, looks) in [(4, 1), (1, 2)] {
        let segment = segment::path_of(&dir(), number);
        let hang = disk.hang(segment.to_str().expect("plain"));
        std::thread::scope(|scope| {
            let looking: Vec<_> = (0..looks)
                .map(|look| {
                    let upkeep = &upkeep;
                    scope.spawn(move || match look {
                        0 => upkeep.segments().map(|found| found.len()),
                        _ => upkeep.closed().map(|found| found.len()),
                    })
                })
                .collect();
            while hang.caught().len() < looks {
                std::thread::yield_now();
            }
            disk.remove_file(&segment::path_of(Path::new("/alias"), number)).expect("there");
            drop(hang);
            let left = if number == 4 { 3 } else { 2 };
            for found in looking {
                assert_eq!(found.join().expect("no panic").expect("nothing is damaged"), left);
            }
        });
    }
}

#[test]
fn what_the_cap_takes_is_noted_and_gone_before_anybody_holds_the_log() {
    let disk = new_disk(1);
    let log = three(&disk);
    let upkeep = log.upkeep();
    upkeep.keep_from(Some(2));
    let held = upkeep.hold();
    upkeep.drop_oldest(6, 1, |_, _| panic!("somebody reads it")).expect("healthy");
    drop(held);
    let kept = upkeep.kept_bytes();
    upkeep.drop_oldest(6, kept, |_, _| panic!("there is room")).expect("healthy");
    upkeep.drop_oldest(6, 1, |_, _| false).expect("healthy");
    assert_eq!(upkeep.kept_from(), Some(2), "it could not be noted");
    let note = |after, last| {
        assert_eq!((after, last), (2, 4));
        assert!(upkeep.0.keep.removal.try_lock().is_none(), "a backup would read what is noted");
        true
    };
    upkeep.drop_oldest(6, kept - 1, note).expect("healthy");
    assert_eq!(upkeep.kept_from(), Some(4));
    assert_eq!(spans(&upkeep.closed().expect("sound")), [(3, 4, 6)]);
}

#[test]
fn whoever_comes_late_with_an_older_number_does_not_have_gone_segments_kept() {
    let disk = new_disk(1);
    let log = three(&disk);
    let upkeep = log.upkeep();
    upkeep.keep_from(Some(2));
    // A backup has ended meanwhile.
    let note = |_, _| {
        upkeep.keep_from(Some(6));
        true
    };
    // One segment is too much, and not all that there are.
    upkeep.drop_oldest(6, upkeep.kept_bytes() - 1, note).expect("healthy");
    assert_eq!(upkeep.kept_from(), Some(6));
    assert_eq!(upkeep.kept_bytes(), 0);
    upkeep.keep_from(None);
    assert_eq!(upkeep.kept_from(), None);
}
