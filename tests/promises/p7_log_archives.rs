//! P7, the writing side: from the first backup of data on no commit is ever lost between archives.
//!
//! Whatever fails or crashes, the archives, the log archives and the log that is still kept hold
//! every acknowledged commit since the first backup, without a gap.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use stillpoint::archive::{ArchiveFile, ArchiveKind, list_archives};
use stillpoint::disk::{Call, Disk, Fault, FaultPlan, OpenMode, SimDisk, Survival};
use stillpoint::{
    Archive, BackupReport, Contents, Durability, ErrorKind, LogHeader, Lsn, Store, StoreBuilder,
    code,
};

use crate::scene::{ITEMS, STORE, Scene, TO, read_file};

/// A store whose segments and deltas are small, so that checkpoints and segments come often.
fn small(builder: StoreBuilder) -> StoreBuilder {
    builder.segment_size(16 << 10).memory_budget(48 << 10)
}

fn scene() -> Scene {
    Scene::with(10, small)
}

fn write(store: &Store, commits: u64) {
    for _ in 0..commits {
        let write = store.begin_write().unwrap();
        let key = store.lsn();
        write.table(ITEMS).unwrap().put(&key, &format!("{key:0300}")).unwrap();
        write.commit().unwrap();
    }
}

fn backup(store: &Store) -> BackupReport {
    store.backup(TO).workers(1).run().unwrap()
}

fn segments(sim: &SimDisk) -> Vec<PathBuf> {
    let log = Path::new(STORE).join("log");
    sim.list(&log).unwrap().into_iter().map(|name| log.join(name)).collect()
}

fn log_header(sim: &Arc<SimDisk>, path: &Path) -> LogHeader {
    let file = ArchiveFile::open(&**sim, path, &stillpoint::Keys::none()).unwrap();
    file.verify(1, &mut |_| std::ops::ControlFlow::Continue(())).unwrap();
    serde_json::from_value(file.header().app.clone()).unwrap()
}

/// What the log archives of the destination hold: commits after the first of each pair, up to the
/// second. Each is read whole, and its segments must follow one another.
fn archived(sim: &Arc<SimDisk>) -> Vec<(Lsn, Lsn)> {
    let mut found = Vec::new();
    for listed in list_archives(&**sim, Path::new(TO), None).unwrap() {
        if listed.name.kind() != ArchiveKind::Log {
            continue;
        }
        let header = log_header(sim, listed.path());
        let mut at = header.after;
        for segment in &header.segments {
            assert_eq!(segment.after, at);
            at = segment.last;
        }
        assert_eq!(at, header.last);
        found.push((header.after, header.last));
    }
    found.sort_unstable();
    found
}

/// What stands in the header of a segment: the LSN before its first commit. Byte 96 of it.
fn base_of(sim: &SimDisk, path: &Path) -> Option<Lsn> {
    // The store, which is open, may have removed it since it was listed.
    let file = sim.open(path, OpenMode::Read).ok()?;
    let mut bytes = vec![0; file.len().ok()? as usize];
    file.read_exact_at(&mut bytes, 0).ok()?;
    let field = bytes.get(BASE_AT..BASE_AT + 8)?;
    bytes.starts_with(b"STILLLOG").then(|| u64::from_le_bytes(field.try_into().unwrap()))
}

const BASE_AT: usize = 96;

/// Every commit from `from` to the newest of the open `store` is in a log archive or in the log.
fn assert_no_gap(sim: &Arc<SimDisk>, store: &Store, from: Lsn, context: &str) {
    let reached = reached_by_archives(sim, from);
    let kept = segments(sim).iter().filter_map(|path| base_of(sim, path)).min();
    let logged = kept.is_some_and(|kept| kept <= reached);
    assert!(
        logged || reached >= store.lsn(),
        "{context}: archives reach {reached}, the log is kept from {kept:?}, newest {}",
        store.lsn()
    );
}

fn reached_by_archives(sim: &Arc<SimDisk>, from: Lsn) -> Lsn {
    archived(sim)
        .into_iter()
        .fold(from, |at, (after, last)| if after <= at { at.max(last) } else { at })
}

#[test]
fn before_the_first_backup_the_log_goes_after_the_checkpoint_and_then_it_stays() {
    let scene = scene();
    write(&scene.store, 200);
    scene.store.checkpoint().unwrap();
    assert!(segments(&scene.sim).len() <= 3, "{:?}", segments(&scene.sim));
    let first = backup(&scene.store);
    assert_eq!(first.log_archive, None, "there is nothing to follow");
    write(&scene.store, 200);
    scene.store.checkpoint().unwrap();
    let kept = segments(&scene.sim).len();
    assert!(kept > 4, "{kept}");
    assert_no_gap(&scene.sim, &scene.store, first.lsn, "after a checkpoint");
    // Also where the store is opened anew.
    scene.store.close().unwrap();
    let store = small(Store::builder(STORE).disk(scene.sim.clone())).open().unwrap();
    write(&store, 200);
    store.checkpoint().unwrap();
    assert!(segments(&scene.sim).len() > kept);
    assert_no_gap(&scene.sim, &store, first.lsn, "after a reopening");
    let second = backup(&store);
    let log = second.log_archive.unwrap();
    assert_eq!((log.after, log.last), (first.lsn, second.lsn));
    assert!(log.path.ends_with("inventory[0001].log.zst"), "{:?}", log.path);
    assert!(segments(&scene.sim).len() <= 3, "{:?}", segments(&scene.sim));
    assert_eq!(archived(&scene.sim), [(first.lsn, second.lsn)]);
}

#[test]
fn a_log_archive_is_undone_by_tar_and_holds_the_segments_bit_for_bit() {
    let folder = tempfile::tempdir().unwrap();
    let (dir, to, out) =
        (folder.path().join("s"), folder.path().join("to"), folder.path().join("out"));
    std::fs::create_dir(&to).unwrap();
    std::fs::create_dir(&out).unwrap();
    let store = small(Store::builder(&dir)).create().unwrap();
    write(&store, 20);
    store.backup(&to).run().unwrap();
    write(&store, 150);
    store.checkpoint().unwrap();
    let names = std::fs::read_dir(dir.join("log")).unwrap().map(|name| name.unwrap().path());
    let kept: Vec<(PathBuf, Vec<u8>)> =
        names.map(|path| (path.clone(), std::fs::read(path).unwrap())).collect();
    let log = store.backup(&to).run().unwrap().log_archive.unwrap();
    let done = std::process::Command::new("tar")
        .arg("--zstd")
        .arg("-xf")
        .arg(&log.path)
        .arg("-C")
        .arg(&out)
        .status()
        .unwrap();
    assert!(done.success());
    // The one that was written to has got its trailer since; the others may still have to be cut.
    let same = kept.iter().filter(|(path, bytes)| {
        let unpacked = std::fs::read(out.join(path.file_name().unwrap()));
        unpacked.is_ok_and(|unpacked| unpacked.len() > 1000 && bytes.starts_with(&unpacked))
    });
    let same = same.count();
    assert!(same >= log.segments - 1 && log.segments > 2, "{same} of {}", log.segments);
}

#[test]
fn nothing_committed_means_no_log_archive_and_a_backup_of_the_structure_leaves_the_log_alone() {
    let scene = scene();
    let first = backup(&scene.store);
    assert_eq!(backup(&scene.store).log_archive, None);
    write(&scene.store, 5);
    let structure = Contents { structure: true, data: false };
    let tables = scene.store.backup(TO).contents(structure).run().unwrap();
    assert_eq!(tables.log_archive, None);
    let apart = scene.store.backup(TO).log_archive(false).run().unwrap();
    assert_eq!(apart.log_archive, None);
    write(&scene.store, 5);
    let next = backup(&scene.store);
    let log = next.log_archive.unwrap();
    assert_eq!((log.after, log.last), (first.lsn, next.lsn));
    // Named after the backup that it follows, which was the second.
    assert!(log.path.ends_with("inventory[0002].log.zst"), "{:?}", log.path);
}

#[test]
fn a_failed_backup_leaves_its_segments_for_the_next() {
    let faults = [
        (Call::Create, ".log.zst", 1408),
        (Call::Write, ".log.zst", 1408),
        (Call::Sync, ".log.zst", 1408),
        (Call::Rename, ".log.zst", 1408),
        (Call::Open, "log/00", 1408),
        (Call::Read, ".log.zst", 1413),
        (Call::Rename, "[0002].tar.zst", 1409),
        (Call::Sync, "[0002].tar.zst", 1409),
    ];
    for (call, path, number) in faults {
        let scene = scene();
        let first = backup(&scene.store);
        write(&scene.store, 120);
        scene.store.checkpoint().unwrap();
        scene.sim.fail(FaultPlan::always(call, path, Fault::IO));
        let error = scene.store.backup(TO).workers(1).run().unwrap_err();
        scene.sim.heal();
        assert_eq!(
            (error.kind(), error.code()),
            (ErrorKind::BackupFailed, number),
            "{call:?} {path}: {error:?}"
        );
        assert_no_gap(&scene.sim, &scene.store, first.lsn, path);
        write(&scene.store, 120);
        scene.store.checkpoint().unwrap();
        let next = backup(&scene.store);
        assert_eq!(archived(&scene.sim), [(first.lsn, next.lsn)], "{call:?} {path}");
        assert!(segments(&scene.sim).len() <= 3);
    }
}

#[test]
fn a_log_archive_that_is_damaged_or_gone_when_it_is_read_back_fails_the_backup() {
    for (gone, number) in [(false, 1413), (true, 1412)] {
        let scene = scene();
        let first = backup(&scene.store);
        write(&scene.store, 50);
        let sim = scene.sim.clone();
        let spoilt = scene.store.backup(TO).workers(1).on_progress(move |_| {
            let names = sim.list(Path::new(TO)).unwrap();
            let log = names.iter().find(|name| name.to_string_lossy().contains(".log.zst."));
            let log = log.map(|name| Path::new(TO).join(name));
            if let Some(log) = log.filter(|log| read_file(&sim, log).len() > 1000) {
                match gone {
                    true => sim.remove_file(&log).unwrap(),
                    false => sim.corrupt(&log, 900, 1).unwrap(),
                }
            }
            std::ops::ControlFlow::Continue(())
        });
        // With checking declined too: the log archive takes the place of the log.
        let error = spoilt.verify(false).run().unwrap_err();
        assert_eq!((error.kind(), error.code()), (ErrorKind::BackupFailed, number), "{error}");
        assert_eq!(scene.destination().len(), 1, "{:?}", scene.destination());
        assert_no_gap(&scene.sim, &scene.store, first.lsn, "read back");
        let next = backup(&scene.store);
        assert_eq!(archived(&scene.sim), [(first.lsn, next.lsn)]);
    }
}

#[test]
fn a_damaged_segment_is_told_and_moving_it_away_leaves_a_gap_that_is_told() {
    let scene = scene();
    let first = backup(&scene.store);
    write(&scene.store, 150);
    scene.store.checkpoint().unwrap();
    let bases = segments(&scene.sim).into_iter();
    let damaged = bases.clone().find(|path| base_of(&scene.sim, path) == Some(first.lsn)).unwrap();
    scene.sim.corrupt(&damaged, 2000, 4).unwrap();
    let error = scene.store.backup(TO).run().unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::Corrupt, 1408), "{error}");
    assert!(error.advice().is_some());
    let aside = Path::new(STORE).join("aside.log");
    scene.sim.rename(&damaged, &aside).unwrap();
    let next = backup(&scene.store);
    let log = next.log_archive.unwrap();
    assert!(log.after > first.lsn && log.last == next.lsn, "{log:?}");
    let codes: Vec<i32> = next.problems.iter().map(stillpoint::Error::code).collect();
    assert_eq!(codes, [code::LOG_GAP]);
    assert_eq!(backup(&scene.store).problems.len(), 0, "it is told once");
}

#[test]
fn a_number_that_is_taken_by_another_log_archive_is_not_replaced() {
    let scene = scene();
    scene.sim.create_dir(Path::new("/other")).unwrap();
    backup(&scene.store);
    write(&scene.store, 5);
    let here = backup(&scene.store).log_archive.unwrap();
    write(&scene.store, 5);
    // Numbers begin anew in another folder, and so the next log of number 1 is another one.
    scene.store.backup("/other").run().unwrap();
    write(&scene.store, 5);
    let other = backup(&scene.store);
    let log = other.log_archive.unwrap();
    assert_ne!(log.path, here.path);
    assert_eq!(log_header(&scene.sim, &here.path).last, here.last);
    assert_eq!(log_header(&scene.sim, &log.path).last, other.lsn);
}

#[test]
fn commits_that_a_crash_took_are_in_no_log_archive() {
    let scene = Scene::with(10, |builder| {
        let builder = small(builder).memory_budget(3 << 20);
        builder.durability(Durability::Eventual).eventual_sync(Duration::from_secs(3600))
    });
    let first = backup(&scene.store);
    write(&scene.store, 5);
    scene.store.sync().unwrap();
    let durable = scene.store.lsn();
    write(&scene.store, 20);
    // The power goes: what was not synced is lost, and its LSNs are used again for other commits.
    let sim = scene.sim.reboot(Survival::Nothing);
    let store = small(Store::builder(STORE).disk(sim.clone())).open().unwrap();
    assert_eq!(store.lsn(), durable);
    write(&store, 7);
    let next = backup(&store);
    let log = next.log_archive.unwrap();
    assert_eq!((log.after, log.last), (first.lsn, durable + 7));
    let header = log_header(&sim, &log.path);
    let spans: Vec<(Lsn, Lsn)> =
        header.segments.iter().map(|segment| (segment.after, segment.last)).collect();
    assert_eq!(spans, [(first.lsn, durable), (durable, durable + 7)]);
    // What was lost forms no part of the segment that held it.
    let end = header.segments[0].bytes;
    let file = ArchiveFile::open(&*sim, &log.path, &stillpoint::Keys::none()).unwrap();
    let name = format!("{:016}.log", header.segments[0].number);
    assert_eq!(file.find(&name).unwrap().meta.size, end);
    assert!(end < 16 << 10, "{end}");
}

#[test]
fn wherever_a_crash_cuts_a_backup_off_no_commit_falls_between_the_archives() {
    let ground = scene();
    let first = backup(&ground.store);
    write(&ground.store, 60);
    ground.store.close().unwrap();
    let ground = ground.sim;
    let life = |sim: &Arc<SimDisk>| -> Option<Lsn> {
        let store = small(Store::builder(STORE).disk(sim.clone())).open().ok()?;
        let mut acknowledged = store.lsn();
        for _ in 0..2 {
            store.backup(TO).workers(1).run().ok()?;
            for _ in 0..30 {
                let write = store.begin_write().ok()?;
                let key = store.lsn();
                write.table(ITEMS).ok()?.put(&key, &format!("{key:0300}")).ok()?;
                acknowledged = write.commit().ok()?.lsn;
            }
        }
        Some(acknowledged)
    };
    let whole = ground.image();
    life(&whole).unwrap();
    let calls = whole.calls();
    assert!(calls > 200, "{calls}");
    let mut cut = 0;
    for call in 0..calls {
        let sim = ground.image();
        sim.crash_at(call);
        life(&sim);
        if !sim.crashed() {
            continue;
        }
        cut += 1;
        let survival = match call % 3 {
            0 => Survival::Nothing,
            1 => Survival::Everything,
            _ => Survival::Random(call),
        };
        let context = format!("call {call}, {:?}, {survival:?}", sim.crash_site());
        let sim = sim.reboot(survival);
        for listed in list_archives(&*sim, Path::new(TO), None).unwrap() {
            if listed.name.kind() == ArchiveKind::Full {
                let lsn = Archive::open_on(sim.clone(), listed.path()).unwrap().header().lsn;
                let reached = reached_by_archives(&sim, first.lsn);
                assert!(
                    lsn <= reached,
                    "{context}: an archive at {lsn}, its log ends at {reached}"
                );
            }
        }
        let store = small(Store::builder(STORE).disk(sim.clone())).open().unwrap();
        assert_no_gap(&sim, &store, first.lsn, &context);
        write(&store, 3);
        store.checkpoint().unwrap();
        assert_no_gap(&sim, &store, first.lsn, &context);
        let next = store.backup(TO).workers(1).run().unwrap();
        assert_eq!(reached_by_archives(&sim, first.lsn), next.lsn, "{context}");
        assert!(next.problems.is_empty(), "{context}: {:?}", next.problems);
    }
    assert!(cut > 200, "{cut}");
}
