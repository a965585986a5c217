//! Crashes at every call, full disks, failed syncs, and maps that show no writes.

use super::copy::sample;
use super::*;
use crate::disk::{Call, Fault, FaultPlan, File, OpenMode, SimDisk, Survival};
use crate::error::ErrorKind;

/// The states that the script goes through, by LSN.
fn states() -> Vec<(Batch, Model)> {
    let mut states = vec![(Batch::default(), Model::new())];
    let mut model = Model::new();
    for lsn in 1..6u8 {
        let mut batch = Batch::default();
        batch.define(u32::from(lsn % 2) + 1, &[lsn; 20]);
        for n in 0..120u32 {
            let table = u32::from(lsn % 2) + 1;
            batch.put(table, &(n * u32::from(lsn)).to_be_bytes(), &[lsn; 100]);
        }
        batch.put(2, b"big", &vec![lsn; 400_000]);
        batch.delete(1, &u32::from(lsn).to_be_bytes());
        if lsn == 4 {
            batch = Batch::default();
            batch.drop_table(2);
        }
        batch.play(&mut model);
        states.push((batch, model.clone()));
    }
    states
}

/// The LSNs that the script got to.
#[derive(Clone, Copy, Default)]
struct Progress {
    acknowledged: u64,
    tried: u64,
    moved: u64,
}

/// Runs the script from where `disk` stands until an error.
fn run(disk: &SimDisk, states: &[(Batch, Model)], progress: &mut Progress) -> Result<()> {
    let (file, mut newest) = DataFile::open(disk, Path::new(PATH))?;
    for lsn in newest.lsn() + 1..states.len() as u64 {
        let batch = &states[lsn as usize].0;
        progress.tried = progress.tried.max(lsn);
        newest = file.checkpoint(&newest, &mut batch.source(), params(lsn))?;
        progress.acknowledged = lsn;
        if let Some(moved) = file.tidy(&newest, 110)? {
            newest = moved;
            progress.moved += 1;
        }
    }
    Ok(())
}

fn check(disk: &SimDisk, states: &[(Batch, Model)], progress: Progress) {
    let (_file, newest) = DataFile::open(disk, Path::new(PATH)).expect("open after the crash");
    let lsn = newest.lsn();
    let Progress { acknowledged, tried, .. } = progress;
    assert!((acknowledged..=tried).contains(&lsn), "{lsn} not in {acknowledged}..={tried}");
    let held = read_all(&newest).expect("read after the crash");
    assert!(held == states[lsn as usize].1, "the state of LSN {lsn}");
    let report = newest.verify().expect("verify");
    assert!(report.is_sound(), "{:?}", report.damage);
}

#[test]
fn a_crash_at_any_call_leaves_the_old_state_or_the_new() {
    let states = states();
    let start = SimDisk::new(11);
    create(&*start, 4096);
    let whole = start.image();
    let begin = whole.calls();
    let mut progress = Progress::default();
    run(&whole, &states, &mut progress).expect("no fault");
    let calls = whole.calls() - begin;
    assert!(calls > 30 && progress.moved > 0, "pages are moved too");
    for call in 1..=calls {
        let disk = start.image();
        disk.crash_at(disk.calls() + call);
        let mut progress = Progress::default();
        run(&disk, &states, &mut progress).expect_err("it crashed");
        assert!(disk.crashed());
        for survival in [
            Survival::Nothing,
            Survival::Everything,
            Survival::Random(call),
            Survival::Random(call + 1000),
            Survival::Random(call + 2000),
        ] {
            let after = disk.reboot(survival);
            check(&after, &states, progress);
            // Killed, and then the power goes in the middle of the next session.
            after.crash_at(after.calls() + 1 + call * 7 % 30);
            let mut progress = progress;
            let _ = run(&after, &states, &mut progress);
            after.crash_now();
            let again = after.reboot(Survival::Random(call * 3));
            check(&again, &states, progress);
            run(&again, &states, &mut progress).expect("it goes on");
            check(&again, &states, progress);
        }
    }
}

#[test]
fn a_full_disk_changes_nothing_and_can_be_tried_again() {
    let disk = SimDisk::new(12);
    let (file, mut newest, mut model) = sample(&disk);
    let mut batch = Batch::default();
    for n in 0..3_000 {
        batch.put(1, format!("new {n}").as_bytes(), &[1; 200]);
    }
    for plan in [
        FaultPlan::always(Call::Allocate, PATH, Fault::FULL),
        FaultPlan::once(Call::Allocate, PATH, Fault::FULL),
        FaultPlan::once(Call::Write, PATH, Fault::FULL),
        FaultPlan::once(Call::Write, PATH, Fault::FULL.after_bytes(5_000)),
    ] {
        disk.fail(plan.clone());
        let result = file.checkpoint(&newest, &mut batch.source(), params(8));
        disk.heal();
        match result {
            // One step back is enough where only the big step did not fit.
            Ok(next) => {
                batch.play(&mut model);
                newest = next;
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::StorageFull, "{plan:?}: {error}");
                assert!(error.is_retryable());
            }
        }
        assert_holds(&newest, &model);
        let report = newest.verify().expect("verify");
        assert!(report.is_sound(), "{:?}", report.damage);
    }
    batch.play(&mut model);
    let next = file.checkpoint(&newest, &mut batch.source(), params(9)).expect("there is room");
    assert_holds(&next, &model);
    drop((file, newest, next));
    assert_holds(&open(&*disk).1, &model);
}

#[test]
fn a_failed_sync_or_write_latches_and_reopening_finds_old_or_new() {
    for (call, skips) in [(Call::Sync, 3), (Call::Write, 4)] {
        for skip in 0..skips {
            let disk = SimDisk::new(13);
            let (file, newest, before) = sample(&disk);
            let mut batch = Batch::default();
            batch.put(1, b"after", b"the fault");
            let mut after = before.clone();
            batch.play(&mut after);
            disk.fail(FaultPlan::once(call, PATH, Fault::IO).skip(skip));
            let Err(error) = file.checkpoint(&newest, &mut batch.source(), params(8)) else {
                assert!(skip > 0, "the fault was met");
                continue;
            };
            assert_eq!(error.kind(), ErrorKind::Io);
            let again = file.checkpoint(&newest, &mut batch.source(), params(8));
            assert_eq!(again.err().map(|e| e.kind()), Some(ErrorKind::ReadOnly));
            assert_holds(&newest, &before);
            drop((file, newest));
            for survival in [Survival::Nothing, Survival::Everything, Survival::Random(skip)] {
                disk.crash_now();
                let (_file, found) = open(&*disk.reboot(survival));
                let held = read_all(&found).expect("read");
                assert!(held == if found.lsn() == 8 { after.clone() } else { before.clone() });
            }
        }
    }
}

/// A disk that was killed in the checkpoint of LSN 2, at the first call at which `stage` holds for
/// what a killed process leaves and what a power cut leaves.
fn killed_when(stage: impl Fn(&SimDisk, &SimDisk) -> bool) -> Arc<SimDisk> {
    let states = states();
    for call in 1..100 {
        let disk = SimDisk::new(17);
        create(&*disk, 4096);
        run(&disk, &states[..2], &mut Progress::default()).expect("LSN 1");
        disk.crash_at(disk.calls() + call);
        run(&disk, &states[..3], &mut Progress::default()).expect_err("it was killed");
        if stage(&disk.reboot(Survival::Everything), &disk.reboot(Survival::Nothing)) {
            return disk;
        }
    }
    panic!("the checkpoint has no such stage");
}

#[test]
fn a_crash_after_a_checkpoint_with_one_meta_loses_nothing_of_it() {
    let states = states();
    let killed = killed_when(|_, durable| open(durable).0.pins() == [2, 3]);
    let start = killed.reboot(Survival::Nothing);
    assert_eq!(open(&*start).1.lsn(), 2);
    for call in 1..40 {
        for seed in 0..6 {
            let disk = start.image();
            disk.crash_at(disk.calls() + call);
            let mut progress = Progress { acknowledged: 2, tried: 2, moved: 0 };
            let _ = run(&disk, &states[..4], &mut progress);
            disk.crash_now();
            check(&disk.reboot(Survival::Random(call * 10 + seed)), &states, progress);
        }
    }
}

#[test]
fn a_meta_that_a_killed_process_left_unsynced_is_made_durable_before_the_other_is_touched() {
    let states = states();
    let killed = killed_when(|seen, durable| open(seen).1.lsn() == 2 && open(durable).1.lsn() == 1);
    for call in 1..20 {
        for seed in 0..16 {
            let disk = killed.reboot(Survival::Everything);
            let (file, newest) = open(&*disk);
            disk.crash_at(disk.calls() + call);
            // Nothing changes, so no page is written that would have to be synced.
            let _ = file.checkpoint(&newest, &mut Batch::default().source(), params(2));
            disk.crash_now();
            let progress = Progress { acknowledged: 1, tried: 2, moved: 0 };
            check(&disk.reboot(Survival::Random(call * 100 + seed)), &states, progress);
        }
    }
}

/// A file whose map shows another file: what some network file systems come down to.
struct Incoherent {
    file: Arc<dyn File>,
    mapped: Arc<dyn File>,
}

impl File for Incoherent {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> std::io::Result<usize> {
        self.file.read_at(buffer, offset)
    }
    fn write_at(&self, bytes: &[u8], offset: u64) -> std::io::Result<()> {
        self.file.write_at(bytes, offset)
    }
    fn len(&self) -> std::io::Result<u64> {
        self.file.len()
    }
    fn set_len(&self, len: u64) -> std::io::Result<()> {
        self.file.set_len(len)
    }
    fn allocate(&self, offset: u64, len: u64) -> std::io::Result<()> {
        self.file.allocate(offset, len)
    }
    fn sync(&self) -> std::io::Result<()> {
        self.file.sync()
    }
    fn drop_cache(&self, offset: u64, len: u64) {
        self.file.drop_cache(offset, len);
    }
    fn map(&self, reserve: u64) -> std::io::Result<memmap2::MmapRaw> {
        self.mapped.map(reserve)
    }
}

#[test]
fn a_map_that_does_not_show_writes_is_refused() {
    let disk = SimDisk::new(19);
    create(&*disk, 4096);
    let stale = disk.open(Path::new("stale"), OpenMode::CreateNew).expect("create");
    let file = disk.open(Path::new(PATH), OpenMode::Write).expect("open");
    let mut pages = vec![0; 8192];
    file.read_exact_at(&mut pages, 0).expect("read");
    stale.write_at(&pages, 0).expect("write");
    let (data, newest) =
        DataFile::open_with(Arc::new(Incoherent { file, mapped: stale }), Path::new(PATH))
            .expect("open");
    let result = data.checkpoint(&newest, &mut Batch::default().source(), params(1));
    assert_eq!(result.err().map(|error| error.kind()), Some(ErrorKind::Unsupported));
    assert!(data.checkpoint(&newest, &mut Batch::default().source(), params(1)).is_err());
}
