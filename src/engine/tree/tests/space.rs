//! How long the file becomes, what pins keep, and how deletes give room back.

use super::*;
use crate::disk::SimDisk;
use crate::error::ErrorKind;

const RECORDS: u32 = 12_000;

fn scattered(n: u32) -> [u8; 12] {
    let mixed = u64::from(n).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut key = [0; 12];
    key[..8].copy_from_slice(&mixed.to_be_bytes());
    key[8..].copy_from_slice(&n.to_be_bytes());
    key
}

fn part(round: u8, of: std::ops::Range<u32>) -> Batch {
    let mut batch = Batch::default();
    if round == 0 {
        batch.define(1, b"t");
    }
    for n in of {
        batch.put(1, &scattered(n), &[round; 100]);
    }
    batch
}

fn tidy(file: &DataFile, newest: &mut Arc<Checkpoint>, percent: u64) {
    for _ in 0..3 {
        match file.tidy(newest, percent).expect("tidy") {
            Some(moved) => *newest = moved,
            None => return,
        }
    }
    panic!("moving pages never comes to an end");
}

#[test]
fn a_random_load_and_three_overwrites_stay_within_their_bounds() {
    let disk = SimDisk::new(21);
    create(&*disk, 4096);
    let (file, mut newest) = open(&*disk);
    let logical = u64::from(RECORDS) * 112;
    let mut lsn = 0;
    for round in 0..4 {
        for third in 0..3 {
            lsn += 1;
            let batch = part(round, third * RECORDS / 3..(third + 1) * RECORDS / 3);
            newest = file.checkpoint(&newest, &mut batch.source(), params(lsn)).expect("write");
            tidy(&file, &mut newest, 170);
        }
        assert!(file.stats().live_bytes * 100 < logical * 115, "pages are packed well");
        if round > 0 {
            assert!(file.stats().file_bytes <= logical * 2, "{:?} of {logical}", file.stats());
        }
    }
    tidy(&file, &mut newest, 115);
    assert!(file.stats().file_bytes * 10 <= logical * 13, "{:?} of {logical}", file.stats());
    assert!(newest.verify().expect("verify").is_sound());
    assert_eq!(newest.table(1).map(|root| root.records), Some(RECORDS.into()));
}

#[test]
fn deletes_give_room_back_and_an_emptied_table_has_no_pages() {
    let disk = SimDisk::new(22);
    create(&*disk, 4096);
    let (file, newest) = open(&*disk);
    let mut newest =
        file.checkpoint(&newest, &mut part(0, 0..RECORDS).source(), params(1)).expect("load");
    let full = file.stats().live_bytes;
    for (round, keep) in [2, 4, 16].into_iter().enumerate() {
        let mut batch = Batch::default();
        (0..RECORDS).filter(|n| n % keep != 0).for_each(|n| batch.delete(1, &scattered(n)));
        let lsn = 2 + round as u64;
        newest = file.checkpoint(&newest, &mut batch.source(), params(lsn)).expect("delete");
        let live = file.stats().live_bytes;
        assert!(live * u64::from(keep) < full * 2, "{live} of {full} for 1 in {keep}");
    }
    let mut batch = Batch::default();
    (0..RECORDS).for_each(|n| batch.delete(1, &scattered(n)));
    newest = file.checkpoint(&newest, &mut batch.source(), params(9)).expect("delete");
    assert_eq!(newest.table(1), Some(TableRoot::EMPTY));
    let mut cursor = newest.cursor(1);
    assert!(!cursor.first().expect("first") && !cursor.last().expect("last"));
    tidy(&file, &mut newest, 110);
    assert!(file.stats().file_bytes < 64 * 4096 + 2 * (64 << 10), "{:?}", file.stats());
}

#[test]
fn a_held_checkpoint_stays_exact_while_later_ones_reuse_pages() {
    let disk = SimDisk::new(23);
    create(&*disk, 4096);
    let (file, mut newest) = open(&*disk);
    let mut model = Model::new();
    let mut held = Vec::new();
    for round in 0..12u8 {
        let batch = part(round, 0..1_500);
        batch.play(&mut model);
        newest = file.checkpoint(&newest, &mut batch.source(), params(round.into())).expect("w");
        if round == 2 || round == 5 {
            held.push((newest.clone(), model.clone()));
        }
        for (old, then) in &held {
            assert_holds(old, then);
        }
    }
    // Three live copies at most are pinned at a time, and two more come and go.
    let live = file.stats().live_bytes;
    assert!(file.stats().file_bytes < live * 6, "{:?}", file.stats());
    assert_eq!(file.pins().len(), 3);
    held.clear();
    tidy(&file, &mut newest, 120);
    assert_eq!(file.pins(), [newest.number()]);
    assert!(file.stats().file_bytes < live * 3 / 2 + (128 << 10), "{:?}", file.stats());
    assert_holds(&newest, &model);
}

#[test]
fn a_dropped_table_frees_all_of_its_pages_and_changes_of_it_are_passed_over() {
    let disk = SimDisk::new(24);
    create(&*disk, 4096);
    let (file, newest) = open(&*disk);
    let mut load = part(0, 0..3_000);
    for n in 0..20u8 {
        load.put(1, &[n], &vec![n; 70_000]);
    }
    load.put(7, b"nobody", b"knows this table");
    let newest = file.checkpoint(&newest, &mut load.source(), params(1)).expect("load");
    assert_eq!(newest.table(7), None);
    let mut batch = Batch::default();
    batch.drop_table(1);
    batch.put(1, b"late", b"write to a dropped table");
    let mut newest = file.checkpoint(&newest, &mut batch.source(), params(2)).expect("drop");
    assert_eq!(newest.definitions().count(), 0);
    assert!(newest.verify().expect("verify").is_sound());
    assert_eq!(newest.meta().next_table_id, 2);
    tidy(&file, &mut newest, 110);
    assert!(file.stats().live_bytes <= 8 * 4096, "{:?}", file.stats());
}

#[test]
fn sequential_input_packs_pages_full() {
    let disk = SimDisk::new(25);
    create(&*disk, 4096);
    let (file, mut newest) = open(&*disk);
    for lsn in 1..9u32 {
        let mut batch = Batch::default();
        batch.define(1, b"t");
        for n in lsn * 1_000..(lsn + 1) * 1_000 {
            batch.put(1, &n.to_be_bytes(), &[1; 100]);
        }
        newest = file.checkpoint(&newest, &mut batch.source(), params(lsn.into())).expect("write");
    }
    let leaf_bytes = 8_000 * (8 + 4 + 100);
    assert!(file.stats().live_bytes * 100 < leaf_bytes * 106, "{:?}", file.stats());
    assert!(newest.verify().expect("verify").is_sound());
}

#[test]
fn keys_and_values_have_the_bounds_that_are_stated() {
    let disk = SimDisk::new(26);
    create(&*disk, 4096);
    let (file, newest) = open(&*disk);
    let longest = max_key_len(4096);
    let mut batch = Batch::default();
    batch.define(1, b"t");
    let mut model = Model::new();
    for n in 0..40u8 {
        let mut key = vec![n % 3; longest];
        key[longest - 1] = n;
        batch.put(1, &key, &vec![n; usize::from(n) * 100]);
    }
    batch.put(1, b"", b"");
    batch.put(1, b"64 KiB", &vec![1; 64 << 10]);
    batch.put(1, b"64 KiB and one", &vec![2; (64 << 10) + 1]);
    batch.put(1, b"9 MiB", &vec![3; 9 << 20]);
    batch.play(&mut model);
    let newest = file.checkpoint(&newest, &mut batch.source(), params(1)).expect("write");
    assert_holds(&newest, &model);
    assert!(newest.verify().expect("verify").is_sound());
    let mut batch = Batch::default();
    batch.put(1, &vec![0; longest + 1], b"");
    let error = file.checkpoint(&newest, &mut batch.source(), params(2)).map(drop);
    assert_eq!(error.expect_err("too long").kind(), ErrorKind::Limit);
    assert_holds(&newest, &model);
}

#[test]
fn only_the_newest_checkpoint_can_be_gone_on_from() {
    let disk = SimDisk::new(27);
    create(&*disk, 4096);
    let (file, first) = open(&*disk);
    let second =
        file.checkpoint(&first, &mut part(0, 0..10).source(), params(1)).expect("checkpoint");
    let error = file.checkpoint(&first, &mut part(0, 0..10).source(), params(2)).map(drop);
    assert_eq!(error.expect_err("stale").kind(), ErrorKind::Invalid);
    let same = file.checkpoint(&second, &mut Batch::default().source(), params(5)).expect("empty");
    assert_eq!((same.lsn(), same.number()), (5, 3));
    assert_eq!(same.meta().page_count, second.meta().page_count);
}
