//! A disk that fails, runs full or crashes while an archive is written.

use super::*;
use crate::disk::{Call, Fault, FaultPlan, Survival};
use crate::error::Error;

fn try_write(disk: &dyn Disk) -> Result<Finished> {
    let options = options(Compression::None, 4096);
    let mut writer =
        ArchiveWriter::create(disk, Path::new(ARCHIVE), &options, serde_json::Value::Null)?;
    for (meta, content) in mixed() {
        writer.begin_entry(meta)?;
        writer.write(&content)?;
        writer.end_entry()?;
    }
    writer.finish(|_| Ok(serde_json::Value::Null))
}

#[test]
fn a_failing_write_or_sync_fails_the_archive_and_leaves_nothing_that_reads_as_one() {
    let clean = SimDisk::new(1);
    try_write(&*clean).expect("a healthy disk");
    for call in 0..clean.calls() {
        let disk = SimDisk::new(1);
        disk.fail(FaultPlan::once(Call::Write, ARCHIVE, Fault::IO).any_call().skip(call));
        let failed = try_write(&*disk).expect_err("a call failed");
        assert_eq!(failed.kind(), ErrorKind::Io, "call {call}: {failed}");
        assert_eq!(failed.path(), Some(Path::new(ARCHIVE)));
        let synced = disk.reboot(Survival::Nothing);
        let opened = ArchiveFile::open(&*synced, Path::new(ARCHIVE), &Keys::none());
        assert!(opened.is_err(), "call {call}");
    }
}

#[test]
fn a_full_disk_is_told_as_such() {
    for capacity in [4096, 32_768, 65_536] {
        let disk = SimDisk::new(1);
        disk.set_capacity(capacity);
        let failed = try_write(&*disk).expect_err("it does not fit");
        assert_eq!(failed.kind(), ErrorKind::StorageFull, "{failed}");
        assert!(failed.is_retryable());
    }
}

#[test]
fn an_archive_is_readable_after_a_crash_only_if_it_was_whole() {
    let clean = SimDisk::new(1);
    try_write(&*clean).expect("a healthy disk");
    let mut whole = 0;
    for call in 1..=clean.calls() {
        let disk = SimDisk::new(1);
        disk.crash_at(call);
        assert!(try_write(&*disk).is_err());
        for survival in [Survival::Nothing, Survival::Everything, Survival::Random(call)] {
            let after = disk.reboot(survival);
            if let Ok(archive) = ArchiveFile::open(&*after, Path::new(ARCHIVE), &Keys::none()) {
                // Only the last sync was missing; then it must be what was to be written.
                whole += usize::from(archive.verify(1, &mut go_on).is_ok());
                assert_eq!(archive.manifest().entries.len(), mixed().len() + 1);
            }
        }
    }
    assert!(whole > 0, "the last crash comes after the last write");
}

#[test]
fn an_error_of_the_caller_is_passed_on_and_the_entry_can_go_on() {
    let disk = SimDisk::new(1);
    let path = Path::new(ARCHIVE);
    let options = options(Compression::Fast, 4096);
    let mut writer =
        ArchiveWriter::create(&*disk, path, &options, serde_json::Value::Null).expect("creates");
    writer.begin_entry(EntryMeta::file("a", 10, 0)).expect("begins");
    let own = || Error::new(ErrorKind::Corrupt, "the source is damaged");
    assert_eq!(writer.fill(|_| Err(own())).expect_err("passed on").kind(), ErrorKind::Corrupt);
    writer.write(b"0123456789").expect("writes");
    writer.end_entry().expect("ends");
    let failed = writer.finish(|_| Err(own())).expect_err("passed on");
    assert_eq!(failed.kind(), ErrorKind::Corrupt);
    assert!(ArchiveFile::open(&*disk, path, &Keys::none()).is_err(), "an unsealed archive is none");
}

#[test]
fn a_dropped_writer_ends_its_threads_and_leaves_no_archive() {
    let disk: Arc<dyn Disk> = SimDisk::new(1);
    let options = options(Compression::Fast, 4096);
    let mut writer =
        ArchiveWriter::create(&*disk, Path::new(ARCHIVE), &options, serde_json::Value::Null)
            .expect("creates");
    writer.begin_entry(EntryMeta::file("a", 100_000, 0)).expect("begins");
    writer.write(&text(70_000, 1)).expect("writes");
    drop(writer);
    assert!(ArchiveFile::open(&*disk, Path::new(ARCHIVE), &Keys::none()).is_err());
}

#[test]
fn a_sync_comes_every_sixteen_mebibytes() {
    let disk = SimDisk::new(1);
    // The second sync of the file fails: there would be no second one if only the end were synced,
    // and the failure is not forgotten.
    disk.fail(FaultPlan::once(Call::Sync, ARCHIVE, Fault::IO).skip(1));
    let options = options(Compression::None, 1 << 20);
    let mut writer =
        ArchiveWriter::create(&*disk, Path::new(ARCHIVE), &options, serde_json::Value::Null)
            .expect("creates");
    let size = 40 << 20;
    let block = text(1 << 20, 1);
    writer.begin_entry(EntryMeta::file("a", size, 0)).expect("begins");
    let outcome = (|| {
        while writer.remaining() > 0 {
            writer.write(&block)?;
        }
        writer.end_entry()?;
        writer.finish(|_| Ok(serde_json::Value::Null)).map(|_| ())
    })();
    let failed = outcome.expect_err("the sync failed");
    assert_eq!(failed.kind(), ErrorKind::Io);
    assert!(failed.message().contains("sync"), "{failed}");
    assert!(!disk.has_faults());
}

#[test]
fn a_damaged_frame_shows_when_an_entry_is_read_in_place() {
    let disk = SimDisk::new(1);
    write(&*disk, &options(Compression::None, 4096), &[file("store.data", text(50_000, 1))]);
    let archive = ArchiveFile::open(&*disk, Path::new(ARCHIVE), &Keys::none()).expect("opens");
    disk.corrupt(ARCHIVE, 20_000, 3).expect("it is there");
    let entry = archive.find("store.data").expect("it is there");
    let inner = archive.entry_file(entry).expect("opens");
    let mut buffer = vec![0; 50_000];
    let error = inner.read_exact_at(&mut buffer, 0).expect_err("it is damaged");
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    let mut sink = |_: &[u8]| Ok(());
    let refused = archive.extract_entry(entry, 2, &mut sink).expect_err("it is damaged");
    assert_eq!(refused.kind(), ErrorKind::Corrupt);
    assert!(verify_medium(&*disk, Path::new(ARCHIVE), 2).is_err());
}
