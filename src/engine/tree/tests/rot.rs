//! Bytes that are not what was written: rot, writes that were lost or misdirected, files cut short.

use super::copy::sample;
use super::*;
use crate::disk::{File, OpenMode, SimDisk};
use crate::error::ErrorKind;

/// A store of a few pages, for tests that touch every byte.
fn small(disk: &SimDisk) -> Model {
    create(disk, 4096);
    let (file, mut newest) = open(disk);
    let mut model = Model::new();
    for lsn in 1..3u8 {
        let mut batch = Batch::default();
        batch.define(1, b"one");
        for n in 0..50u8 {
            batch.put(1, &[n], &[lsn; 100]);
        }
        batch.put(1, b"big", &[lsn; 5_000]);
        batch.play(&mut model);
        newest = file.checkpoint(&newest, &mut batch.source(), params(lsn.into())).expect("write");
    }
    model
}

#[test]
fn every_flipped_bit_is_seen_or_lies_where_the_report_says_it_is_dead() {
    let disk = SimDisk::new(14);
    let model = small(&disk);
    let path = Path::new(PATH);
    let sound = verify_data_file(&*disk, path).expect("verify");
    assert!(sound.is_sound());
    let file = disk.open(path, OpenMode::Read).expect("open");
    let (mut seen, mut dead) = (0, 0);
    for at in 0..file.len().expect("len") {
        let bit = (at * 5 % 8) as u8;
        disk.corrupt(PATH, at, bit).expect("flip");
        let page = at / 4096;
        let report = verify_data_file(&*disk, path).expect("one meta holds");
        if page >= sound.page_count || sound.dead.iter().any(|range| range.contains(&page)) {
            assert!(report.is_sound(), "byte {at} is dead");
            dead += 1;
        } else {
            assert!(!report.is_sound(), "byte {at}");
            seen += 1;
        }
        if at.is_multiple_of(37) {
            match DataFile::open(&*disk, path).and_then(|(_, newest)| read_all(&newest)) {
                Ok(held) => assert!(held == model, "byte {at} changed what is read"),
                Err(error) => assert_eq!(error.kind(), ErrorKind::Corrupt),
            }
        }
        disk.corrupt(PATH, at, bit).expect("flip back");
    }
    assert!(seen > 8 * 4096 && dead > 0, "{seen} seen, {dead} dead");
}

fn page_of(file: &dyn File, page: u64) -> Vec<u8> {
    let mut bytes = vec![0; 4096];
    file.read_exact_at(&mut bytes, page * 4096).expect("read");
    bytes
}

#[test]
fn a_lost_write_and_a_misdirected_one_are_seen() {
    let disk = SimDisk::new(15);
    let (data, mut newest, model) = sample(&disk);
    let before = disk.image();
    let mut batch = Batch::default();
    for n in 0..600 {
        batch.put(1, format!("record {n:04}").as_bytes(), &[200; 90]);
    }
    newest = data.checkpoint(&newest, &mut batch.source(), params(5)).expect("checkpoint");
    assert!(read_all(&newest).expect("read") != model);
    let report = newest.verify().expect("verify");
    let old = before.open(Path::new(PATH), OpenMode::Read).expect("open");
    let file = disk.open(Path::new(PATH), OpenMode::Write).expect("open");
    let is_dead = |page: &u64| report.dead.iter().any(|range| range.contains(page));
    let old_pages = old.len().expect("len") / 4096;
    let mut changed = 0;
    for page in (2..report.page_count).filter(|page| !is_dead(page)) {
        let good = page_of(&*file, page);
        let mut wrong = Vec::new();
        if page < old_pages {
            wrong.push(page_of(&*old, page));
        }
        wrong.push(page_of(&*file, 2 + (page + 1) % (report.page_count - 2)));
        for bytes in wrong.into_iter().filter(|bytes| *bytes != good) {
            changed += 1;
            file.write_at(&bytes, page * 4096).expect("write");
            let report = verify_data_file(&*disk, Path::new(PATH)).expect("verify");
            assert!(!report.is_sound(), "page {page}");
        }
        file.write_at(&good, page * 4096).expect("write");
    }
    assert!(changed > 50);
    assert!(newest.verify().expect("verify").is_sound());
}

#[test]
fn a_file_that_was_cut_short_is_refused() {
    let disk = SimDisk::new(16);
    let (data, newest, _) = sample(&disk);
    let pages = newest.meta().page_count;
    drop((data, newest));
    let file = disk.open(Path::new(PATH), OpenMode::Write).expect("open");
    for keep in [pages - 1, pages / 2, 2] {
        file.set_len(keep * 4096).expect("cut");
        let error = DataFile::open(&*disk, Path::new(PATH)).map(drop).expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::Corrupt);
    }
}

#[test]
fn a_page_that_is_used_again_is_checked_again() {
    let disk = SimDisk::new(18);
    let (file, mut newest, mut model) = sample(&disk);
    for lsn in 10..16u8 {
        let mut batch = Batch::default();
        (0..600).for_each(|n| batch.put(1, format!("record {n:04}").as_bytes(), &[lsn; 90]));
        batch.play(&mut model);
        let next = file.checkpoint(&newest, &mut batch.source(), params(lsn.into())).expect("w");
        newest = next;
        if lsn < 15 {
            assert_holds(&newest, &model);
        }
    }
    let dead = newest.verify().expect("verify").dead;
    for page in (2..newest.meta().page_count).filter(|p| !dead.iter().any(|d| d.contains(p))) {
        disk.corrupt(PATH, page * 4096 + 1000, 3).expect("flip");
    }
    let error = read_all(&newest).expect_err("every page is damaged");
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    let mut cursor = newest.cursor(1);
    for n in 0..600 {
        let key = format!("record {n:04}");
        assert!(newest.get(1, key.as_bytes()).is_err() && cursor.seek_ge(key.as_bytes()).is_err());
    }
}
