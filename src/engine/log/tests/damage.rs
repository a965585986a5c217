//! Rot, cuts and missing files: seen where it was durable, a tail where it was not, never a wrong
//! commit.

use proptest::prelude::*;

use super::*;
use crate::disk::{OpenMode, Survival};

const SEGMENT: u64 = 4096;

fn segment(number: u64) -> PathBuf {
    segment::path_of(&dir(), number)
}

/// Places of the groups of a segment, and of its trailer.
fn places(disk: &SimDisk, number: u64) -> Vec<u64> {
    let mut reader = SegmentReader::open(disk, &segment(number)).expect("sound");
    let mut places = Vec::new();
    loop {
        places.push(reader.at());
        match reader.next().expect("readable") {
            Step::Group(_) => {}
            Step::Trailer(_) | Step::Bad(_) => return places,
        }
    }
}

/// Two segments, 1..=5 and 6..=8, all synced; the last sync is not witnessed by a later group.
fn two_segments() -> Arc<SimDisk> {
    let disk = new_disk(3);
    let mut log = fresh(&disk, SEGMENT);
    append_marks(&mut log, 1..=5);
    log.sync().expect("healthy");
    log.roll().expect("healthy");
    append_marks(&mut log, 6..=7);
    log.sync().expect("healthy");
    append_marks(&mut log, 8..=8);
    log.sync().expect("healthy");
    disk
}

#[test]
fn recovery_names_file_and_place_of_rot_below_the_durable_lsn() {
    let disk = two_segments();
    let at = places(&disk, 1)[2];
    disk.corrupt(segment(1), at + 70, 3).expect("there");
    let mut seen = Vec::new();
    let error = recover(&*disk, &dir(), &base(), &mut |lsn, _, _| {
        seen.push(lsn);
        Ok(())
    })
    .expect_err("this was durable");
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert_eq!(error.path(), Some(&*segment(1)));
    assert!(error.message().contains(&format!("byte {at}")), "{error}");
    assert!(error.message().contains("LSN 3"), "{error}");
    assert!(seen.iter().all(|&lsn| lsn < 3), "nothing behind the damage was applied");
}

#[test]
fn a_bad_group_before_a_good_one_is_a_tail_when_neither_was_synced() {
    let disk = new_disk(3);
    let mut log = fresh(&disk, SEGMENT);
    append_marks(&mut log, 1..=2);
    log.sync().expect("healthy");
    append_marks(&mut log, 3..=5);
    let at = places(&disk, 1)[2];
    disk.corrupt(segment(1), at + 70, 0).expect("there");

    let (recovered, marks) = recover_marks(&*disk, base()).expect("an ordinary crash");
    assert_eq!(marks.len(), 2);
    let cut = recovered.tail_cut.expect("something was dropped");
    assert_eq!((cut.first_lsn, cut.last_lsn, cut.at), (3, 5, at));
    assert_eq!(cut.path, segment(1));
}

#[test]
fn the_data_file_alone_can_prove_damage() {
    let disk = two_segments();
    let at = *places(&disk, 2).get(2).expect("three groups");
    disk.corrupt(segment(2), at + 8, 0).expect("there");
    assert_eq!(marks_of(&*disk, base()).expect("looks like a tail"), (1..=7).collect::<Vec<_>>());
    let hint = |durable_hint| RecoveryBase { durable_hint, ..base() };
    assert_eq!(marks_of(&*disk, hint(7)).expect("still").len(), 7);
    assert_eq!(refused(marks_of(&*disk, hint(8))), ErrorKind::Corrupt);
}

#[test]
fn recovery_refuses_a_gap_below_the_durable_lsn() {
    let whole = two_segments();
    // The segment is gone.
    let disk = whole.image();
    disk.remove_file(&segment(1)).expect("there");
    assert_eq!(refused(marks_of(&*disk, base())), ErrorKind::Corrupt);
    // It is there and empty.
    let disk = whole.image();
    disk.open(&segment(1), OpenMode::Write).and_then(|file| file.set_len(0)).expect("there");
    assert_eq!(refused(marks_of(&*disk, base())), ErrorKind::Corrupt);
    // Its header is rotten.
    let disk = whole.image();
    disk.corrupt(segment(1), 20, 1).expect("there");
    assert_eq!(refused(marks_of(&*disk, base())), ErrorKind::Corrupt);
    // What the tree has already is not needed.
    let disk = whole.image();
    disk.remove_file(&segment(1)).expect("there");
    let tree = RecoveryBase { checkpoint_lsn: 5, ..base() };
    assert_eq!(marks_of(&*disk, tree.clone()).expect("complete"), [6, 7, 8]);
    let less = RecoveryBase { checkpoint_lsn: 4, ..base() };
    assert_eq!(refused(marks_of(&*disk, less)), ErrorKind::Corrupt);
}

#[test]
fn a_gap_above_the_durable_lsn_is_a_tail() {
    let disk = new_disk(5);
    let mut log = fresh(&disk, SEGMENT);
    append_marks(&mut log, 1..=3);
    log.sync().expect("healthy");
    append_marks(&mut log, 4..=5);
    log.roll().expect("healthy");
    append_marks(&mut log, 6..=6);
    // The system wrote the second segment back and not the end of the first.
    let at = places(&disk, 1)[3];
    for place in at..at + 8 {
        disk.corrupt(segment(1), place, 1).expect("there");
    }
    let (mut log, marks) = reopen(&disk, base(), SEGMENT).expect("an ordinary crash");
    assert_eq!(marks, [1, 2, 3]);
    // The next segment passes over the dropped one, for good.
    append_marks(&mut log, 40..=41);
    log.sync().expect("healthy");
    let disk = disk.reboot(Survival::Nothing);
    assert_eq!(marks_of(&*disk, base()).expect("sound"), [1, 2, 3, 40, 41]);
}

#[test]
fn a_torn_header_in_the_newest_segment_is_an_empty_log() {
    let disk = new_disk(5);
    let mut log = fresh(&disk, SEGMENT);
    append_marks(&mut log, 1..=2);
    log.sync().expect("healthy");
    log.roll().expect("healthy");
    append_marks(&mut log, 3..=3);
    disk.corrupt(segment(2), 30, 0).expect("there");
    let (recovered, marks) = recover_marks(&*disk, base()).expect("an ordinary crash");
    assert_eq!(marks.len(), 2);
    assert!(recovered.tail_cut.is_some());
    assert_eq!(recovered.end.map(|end| end.number), Some(1));
}

#[test]
fn a_torn_header_before_durable_commits_is_damage() {
    let disk = new_disk(5);
    let mut log = fresh(&disk, SEGMENT);
    append_marks(&mut log, 1..=1);
    log.sync().expect("healthy");
    append_marks(&mut log, 2..=2);
    disk.corrupt(segment(1), 30, 0).expect("there");
    assert_eq!(refused(marks_of(&*disk, base())), ErrorKind::Corrupt);
}

#[test]
fn a_store_that_had_a_durable_log_is_not_opened_without_one() {
    let disk = new_disk(5);
    let tree = RecoveryBase { checkpoint_lsn: 9, ..base() };
    assert_eq!(recover_marks(&*disk, tree.clone()).expect("from an archive").0.last_lsn, 9);
    let tree = RecoveryBase { durable_hint: 9, ..tree };
    assert_eq!(refused(marks_of(&*disk, tree.clone())), ErrorKind::Corrupt);
    disk.create_dir(&dir()).expect("not there yet");
    assert_eq!(refused(marks_of(&*disk, tree.clone())), ErrorKind::Corrupt);
}

/// Every bit of a small log, flipped. The last group is the only one whose loss looks like a tail.
#[test]
fn every_flipped_bit_is_seen_or_costs_the_last_group_alone() {
    let whole = two_segments();
    let last = places(&whole, 2)[2];
    for (number, written) in
        [(1, *places(&whole, 1).last().expect("a trailer") + 64), (2, last + 128)]
    {
        for byte in 0..written {
            let disk = whole.image();
            disk.corrupt(segment(number), byte, (byte % 8) as u8).expect("there");
            match marks_of(&*disk, base()) {
                Ok(marks) if marks.len() == 8 => {
                    assert!(number == 1, "byte {byte} of segment 2 is not covered");
                }
                Ok(marks) => {
                    assert_eq!(marks, (1..=7).collect::<Vec<_>>());
                    assert!(number == 2 && byte >= last, "byte {byte} of segment {number}");
                }
                Err(error) => {
                    assert!(matches!(error.kind(), ErrorKind::Corrupt), "{error}");
                }
            }
        }
    }
}

/// A segment that is cut loses what stood behind the cut, evidence included: the data file's hint
/// tells that it was durable, or a later segment.
#[test]
fn every_length_leaves_a_prefix_and_the_hint_tells_what_is_missing() {
    let whole = two_segments();
    let hinted = RecoveryBase { durable_hint: 8, ..base() };
    for number in [1, 2] {
        let places = places(&whole, number);
        let len = whole.metadata(&segment(number)).expect("there").len;
        for cut in (0..len).step_by(4) {
            let disk = whole.image();
            let file = disk.open(&segment(number), OpenMode::Write).expect("there");
            file.set_len(cut).expect("room");
            let complete = cut >= *places.last().expect("an end");
            match marks_of(&*disk, base()) {
                Ok(marks) => {
                    let left = places[1..].iter().filter(|&&end| end <= cut).count() as u64;
                    let expected = if number == 1 { 8 } else { 5 + left };
                    assert_eq!(marks, (1..=expected).collect::<Vec<_>>(), "{number} cut at {cut}");
                    assert!(number == 2 || complete, "1 cut at {cut}");
                }
                Err(error) => assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}"),
            }
            assert_eq!(marks_of(&*disk, hinted.clone()).is_ok(), complete, "{number} cut at {cut}");
        }
    }
}

proptest! {
    #[test]
    fn random_bytes_in_a_segment_never_panic_the_reader(
        number in 1..3u64,
        at in 0..1500u64,
        bytes in proptest::collection::vec(any::<u8>(), 0..600),
    ) {
        let disk = two_segments();
        let file = disk.open(&segment(number), OpenMode::Write).expect("there");
        file.write_at(&bytes, at).expect("room");
        if let Ok(marks) = marks_of(&*disk, base()) {
            prop_assert!((1..=8).collect::<Vec<_>>().starts_with(&marks));
        }
    }
}

/// A group that is sound in itself, of this very segment and with the right LSN, written after another
/// predecessor: what a lost write leaves.
#[test]
fn a_group_that_follows_another_one_is_no_part_of_the_chain() {
    let disk = two_segments();
    let [at, ..] = places(&disk, 2)[1..] else { panic!("three groups") };
    let file = disk.open(&segment(2), OpenMode::Write).expect("there");
    let mut bytes = [0; format::GROUP_HEAD];
    file.read_exact_at(&mut bytes, at).expect("there");
    let (head, _) = format::GroupHead::decode(&bytes, STORE).expect("sound");
    let other = format::GroupHead { prev_chain: head.prev_chain ^ 1, ..head };
    let (bytes, _) = other.encode(format::seed(head.salt, STORE));
    file.write_at(&bytes, at).expect("room");
    assert_eq!(refused(marks_of(&*disk, base())), ErrorKind::Corrupt);
}
