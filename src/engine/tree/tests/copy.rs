//! The copy plan and the check of a file, against a real copy that is opened and read.

use super::*;
use crate::disk::{OpenMode, SimDisk};

/// A store with two tables, small and big values, and dead pages.
pub(super) fn sample(disk: &SimDisk) -> (Arc<DataFile>, Arc<Checkpoint>, Model) {
    create(disk, 4096);
    let (file, mut newest) = open(disk);
    let mut model = Model::new();
    for round in 0..4u8 {
        let mut batch = Batch::default();
        for table in 1..3u32 {
            batch.define(table, &[round; 9]);
            for n in (u32::from(round)..600).step_by(1 + usize::from(round)) {
                batch.put(table, format!("record {n:04}").as_bytes(), &[round; 90]);
            }
            batch.put(table, b"middle", &vec![round; 5_000]);
            batch.put(table, b"large", &vec![round; 200_000]);
        }
        batch.play(&mut model);
        let lsn = u64::from(round) + 1;
        newest = file.checkpoint(&newest, &mut batch.source(), params(lsn)).expect("checkpoint");
    }
    (file, newest, model)
}

/// Copies by `plan` in pieces of `pages` pages to a new file.
fn copy(disk: &SimDisk, plan: &CopyPlan, pages: u64, to: &str) {
    let out = disk.open(Path::new(to), OpenMode::CreateNew).expect("create the copy");
    let size = plan.page_size();
    let mut at = 0;
    while at < plan.page_count() {
        let many = pages.min(plan.page_count() - at);
        let mut piece = vec![0xee; many as usize * size];
        plan.read(at, &mut piece).expect("read the plan");
        out.write_at(&piece, at * size as u64).expect("write");
        at += many;
    }
}

#[test]
fn a_copy_in_pieces_of_any_size_is_a_sound_store_of_its_own() {
    let disk = SimDisk::new(2);
    let (file, newest, model) = sample(&disk);
    let plan = newest.copy_plan().expect("plan");
    assert!(plan.live_pages() < plan.page_count(), "the sample has dead pages");
    for pages in [1, 3, 17, 1000] {
        let name = format!("copy-{pages}");
        copy(&disk, &plan, pages, &name);
        let report = verify_data_file(&*disk, Path::new(&name)).expect("verify");
        assert!(report.is_sound(), "{:?}", report.damage);
        assert_eq!(report.live_pages, plan.live_pages());
        let copied = disk.open(Path::new(&name), OpenMode::Read).expect("open");
        for dead in &report.dead {
            let mut bytes = vec![1; (dead.end - dead.start) as usize * 4096];
            copied.read_exact_at(&mut bytes, dead.start * 4096).expect("read");
            assert!(bytes.iter().all(|byte| *byte == 0), "dead pages of the copy are zeros");
        }
        let in_place = open_read_only(copied, name.into()).expect("open in place");
        assert!(in_place.meta().from_archive);
        assert_holds(&in_place, &model);
    }
    drop(file);
}

#[test]
fn a_copy_goes_on_as_a_store_and_forgets_the_archive() {
    let disk = SimDisk::new(3);
    let (_file, newest, mut model) = sample(&disk);
    copy(&disk, &newest.copy_plan().expect("plan"), 64, "copy");
    let (file, base) = DataFile::open(&*disk, Path::new("copy")).expect("open");
    assert!(base.meta().from_archive);
    let mut batch = Batch::default();
    batch.put(1, b"after", b"the restore");
    batch.drop_table(2);
    batch.play(&mut model);
    let next = file.checkpoint(&base, &mut batch.source(), params(9)).expect("checkpoint");
    assert!(!next.meta().from_archive);
    assert_holds(&next, &model);
    assert!(next.verify().expect("verify").is_sound());
}

#[test]
fn a_plan_keeps_its_pages_while_checkpoints_go_on() {
    let disk = SimDisk::new(4);
    let (file, mut newest, model) = sample(&disk);
    let plan = newest.copy_plan().expect("plan");
    for lsn in 10..20 {
        let mut batch = Batch::default();
        for n in 0..600 {
            batch.put(1, format!("record {n:04}").as_bytes(), &[lsn as u8; 91]);
        }
        newest = file.checkpoint(&newest, &mut batch.source(), params(lsn)).expect("checkpoint");
        assert!(file.tidy(&newest, 120).expect("tidy").is_none(), "not while another is pinned");
    }
    copy(&disk, &plan, 8, "copy");
    let (_, copied) = DataFile::open(&*disk, Path::new("copy")).expect("open");
    assert_holds(&copied, &model);
    assert_eq!(copied.lsn(), 4);
}

#[test]
fn a_copier_names_the_page_that_is_damaged() {
    let disk = SimDisk::new(5);
    let (_file, newest, _) = sample(&disk);
    let plan = newest.copy_plan().expect("plan");
    let dead: Vec<u64> = newest.verify().expect("verify").dead.into_iter().flatten().collect();
    for page in 2..plan.page_count() {
        let image = disk.image();
        image.corrupt(PATH, page * 4096 + (page * 131) % 4096, (page % 8) as u8).expect("flip");
        let (_, opened) = match DataFile::open(&*image, Path::new(PATH)) {
            Ok(opened) => opened,
            Err(error) => {
                assert_eq!(error.kind(), crate::ErrorKind::Corrupt);
                continue;
            }
        };
        let read = opened.copy_plan().and_then(|plan| {
            let mut bytes = vec![0; plan.page_count() as usize * 4096];
            plan.read(0, &mut bytes)
        });
        if dead.contains(&page) {
            read.expect("what is dead does not matter");
        } else {
            let error = read.expect_err("damage is seen");
            assert_eq!(error.kind(), crate::ErrorKind::Corrupt);
            assert!(error.message().contains("page "), "{error}");
        }
    }
}
