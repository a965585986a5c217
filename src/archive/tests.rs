//! Tests of the archive as a whole; those of single parts lie beside them.

mod damage;
mod faults;
mod layers;
mod tools;

use super::*;
use crate::disk::{Disk, File, SimDisk};
use crate::error::{ErrorKind, Result};
use memmap2::MmapRaw;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::io;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

const ALL: [Compression; 3] = [Compression::None, Compression::Fast, Compression::Compact];
const ARCHIVE: &str = "/a[0001].tar.zst";

/// A file that is a slice in memory: what is read has no disk below it that might hide something.
struct Memory(Vec<u8>);

impl File for Memory {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let rest = self.0.get(offset as usize..).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.len() as u64)
    }
    fn write_at(&self, _: &[u8], _: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
    fn set_len(&self, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
    fn allocate(&self, _: u64, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
    fn drop_cache(&self, _: u64, _: u64) {}
    fn map(&self, _: u64) -> io::Result<MmapRaw> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

fn options(compression: Compression, frame_bytes: u32) -> ArchiveOptions {
    ArchiveOptions {
        compression,
        workers: 2,
        frame_bytes,
        time: 1_700_000_000_000_000,
        layers: Layers::default(),
    }
}

/// Bytes that pack, but not to nothing.
fn text(len: usize, seed: u64) -> Vec<u8> {
    let word = |n: u64| n.wrapping_add(seed).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 59;
    (0..len as u64).map(|n| b'a' + word(n / 3) as u8 % 26).collect()
}

/// Writes `entries`, content by content.
fn write(disk: &dyn Disk, options: &ArchiveOptions, entries: &[(EntryMeta, Vec<u8>)]) -> Finished {
    let app = serde_json::json!({ "store": "s", "lsn": 7 });
    let path = Path::new(ARCHIVE);
    let mut writer = ArchiveWriter::create(disk, path, options, app).expect("creates");
    for (meta, content) in entries {
        writer.begin_entry(meta.clone()).expect("begins");
        writer.write(content).expect("writes");
        writer.end_entry().expect("ends");
    }
    writer.finish(|entries| Ok(serde_json::json!({ "entries": entries.len() }))).expect("finishes")
}

fn bytes_of(disk: &dyn Disk, path: &str) -> Vec<u8> {
    let file = disk.open(Path::new(path), crate::disk::OpenMode::Read).expect("opens");
    let mut bytes = vec![0; file.len().expect("has a length") as usize];
    file.read_exact_at(&mut bytes, 0).expect("reads");
    bytes
}

fn archive_bytes(options: &ArchiveOptions, entries: &[(EntryMeta, Vec<u8>)]) -> Vec<u8> {
    let disk = SimDisk::new(1);
    write(&*disk, options, entries);
    bytes_of(&*disk, ARCHIVE)
}

fn file(path: &str, content: Vec<u8>) -> (EntryMeta, Vec<u8>) {
    (EntryMeta::file(path, content.len() as u64, 1_600_000_000_123_456), content)
}

/// Entries of every kind, with frames of 4 KiB in mind.
fn mixed() -> Vec<(EntryMeta, Vec<u8>)> {
    vec![
        file("store.data", text(40_000, 1)),
        file("empty", Vec::new()),
        (EntryMeta::dir("folder", -1_500_000), Vec::new()),
        file("folder/zeros", vec![0; 20_000]),
        (EntryMeta::symlink("folder/link", "../store.data", 5), Vec::new()),
        file("one frame exactly", text(4096, 2)),
        file("two frames exactly", text(8192, 3)),
        (EntryMeta::file(&b"caf\xE9"[..], 1, i64::MAX), vec![1]),
        file(&format!("{}/{}", "long".repeat(50), "name".repeat(60)), text(513, 4)),
    ]
}

fn go_on(_: Progress) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

/// Reads all of a plain archive from the medium.
fn verify_medium(disk: &dyn Disk, path: &Path, workers: usize) -> Result<Verified> {
    let file = disk.open(path, crate::disk::OpenMode::Read).expect("opens");
    file.drop_cache(0, file.len().expect("has a length"));
    ArchiveFile::open(disk, path, &Keys::none())?.verify(workers, &mut go_on)
}

/// Gathers what was extracted.
#[derive(Default)]
struct Gather {
    done: Vec<(EntryMeta, Vec<u8>)>,
    open: Option<Vec<u8>>,
}

impl Unpack for Gather {
    fn begin(&mut self, _: &Entry) -> Result<()> {
        assert!(self.open.replace(Vec::new()).is_none(), "the entry before was not ended");
        Ok(())
    }
    fn content(&mut self, bytes: &[u8]) -> Result<()> {
        self.open.as_mut().expect("an entry was begun").extend_from_slice(bytes);
        Ok(())
    }
    fn end(&mut self, entry: &Entry) -> Result<()> {
        self.done.push((entry.meta.clone(), self.open.take().expect("an entry was begun")));
        Ok(())
    }
}

fn open(bytes: Vec<u8>) -> Result<Arc<ArchiveFile>> {
    ArchiveFile::open_file(Arc::new(Memory(bytes)), Path::new(ARCHIVE))
}

fn open_and_verify(bytes: Vec<u8>) -> Result<()> {
    open(bytes)?.verify(1, &mut go_on).map(|_| ())
}

#[test]
fn what_was_written_comes_out_whatever_the_compression() {
    for compression in ALL {
        let disk = SimDisk::new(1);
        let finished = write(&*disk, &options(compression, 4096), &mixed());
        let archive = ArchiveFile::open(&*disk, Path::new(ARCHIVE), &Keys::none()).expect("opens");
        assert_eq!(archive.header().app["lsn"], 7);
        assert_eq!(archive.manifest(), &finished.manifest);
        assert_eq!(archive.manifest().results["entries"], mixed().len() + 1);
        assert_eq!((archive.bytes(), archive.seal()), (finished.bytes, finished.seal));
        let verified = verify_medium(&*disk, Path::new(ARCHIVE), 2).expect("is sound");
        assert_eq!(verified.bytes, finished.bytes);
        assert_eq!(verified.entries as usize, mixed().len() + 2);

        let mut gather = Gather::default();
        archive.extract(|_| true, 2, &mut gather, &mut go_on).expect("extracts");
        let inner = &gather.done[1..gather.done.len() - 1];
        assert_eq!(inner, mixed());
        for (entry, (_, content)) in archive.entries()[1..].iter().zip(mixed()) {
            assert_eq!(archive.read_entry(entry, 1 << 20).expect("reads"), content);
            let mut sunk = Vec::new();
            let mut sink = |bytes: &[u8]| {
                sunk.extend_from_slice(bytes);
                Ok(())
            };
            archive.extract_entry(entry, 1, &mut sink).expect("extracts");
            assert_eq!(sunk, content);
        }
    }
}

#[test]
fn the_same_entries_give_the_same_bytes_whatever_the_number_of_workers() {
    for compression in ALL {
        let with = |workers| {
            let options = ArchiveOptions { workers, ..options(compression, 4096) };
            archive_bytes(&options, &mixed())
        };
        let one = with(1);
        assert!(with(2) == one && with(5) == one);
    }
}

#[test]
fn content_may_be_read_right_into_the_frames_and_padded() {
    let disk = SimDisk::new(1);
    let path = Path::new(ARCHIVE);
    let options = options(Compression::Fast, 4096);
    let mut writer =
        ArchiveWriter::create(&*disk, path, &options, serde_json::Value::Null).expect("creates");
    writer.begin_entry(EntryMeta::file("grown", 10_000, 0)).expect("begins");
    let mut rooms = Vec::new();
    while writer.remaining() > 0 {
        let fill = |room: &mut [u8]| {
            rooms.push(room.len());
            room.fill(9);
            Ok(room.len())
        };
        writer.fill(fill).expect("fills");
    }
    assert_eq!(rooms, [4096, 4096, 1808], "frames are cut at multiples of their size");
    writer.end_entry().expect("ends");
    writer.begin_entry(EntryMeta::file("shrunk", 10_000, 0)).expect("begins");
    writer.write(&[8; 5000]).expect("writes");
    writer.pad_entry().expect("pads");
    writer.end_entry().expect("ends");
    writer.finish(|_| Ok(serde_json::Value::Null)).expect("finishes");
    let archive = ArchiveFile::open(&*disk, path, &Keys::none()).expect("opens");
    let content = |name| {
        let entry = archive.find(name).expect("it is there");
        archive.read_entry(entry, u64::MAX).expect("reads")
    };
    assert_eq!(content("grown"), [9; 10_000]);
    assert_eq!(content("shrunk"), [&[8; 5000][..], &[0; 5000]].concat());
}

#[test]
fn digests_are_those_of_the_plain_files() {
    let disk = SimDisk::new(1);
    let finished = write(&*disk, &options(Compression::Fast, 8192), &mixed());
    for (listed, (meta, content)) in finished.manifest.entries[1..].iter().zip(mixed()) {
        assert_eq!(listed.meta, meta);
        assert_eq!(listed.blake3.0, *blake3::hash(&content).as_bytes());
    }
}

#[test]
fn misuse_is_refused_and_harms_nothing() {
    let disk = SimDisk::new(1);
    let path = Path::new(ARCHIVE);
    let good = options(Compression::Fast, 4096);
    for frame_bytes in [0, 1000, 2048, 5000, 2 << 20] {
        let bad = ArchiveOptions { frame_bytes, ..good.clone() };
        assert!(ArchiveWriter::create(&*disk, path, &bad, serde_json::Value::Null).is_err());
    }
    let mut writer =
        ArchiveWriter::create(&*disk, path, &good, serde_json::Value::Null).expect("creates");
    let again = ArchiveWriter::create(&*disk, path, &good, serde_json::Value::Null);
    assert!(again.is_err(), "an existing file is never overwritten");
    let kind = |result: Result<()>| result.expect_err("it is refused").kind();
    assert_eq!(kind(writer.end_entry()), ErrorKind::Invalid);
    assert_eq!(kind(writer.write(b"no entry")), ErrorKind::Invalid);
    for bad in ["../up", "/root", "header.json", ""] {
        assert_eq!(kind(writer.begin_entry(EntryMeta::file(bad, 1, 0))), ErrorKind::Invalid);
    }
    writer.begin_entry(EntryMeta::file("a", 3, 0)).expect("begins");
    assert_eq!(kind(writer.begin_entry(EntryMeta::file("b", 3, 0))), ErrorKind::Invalid);
    assert_eq!(kind(writer.write(b"four")), ErrorKind::Invalid);
    assert_eq!(kind(writer.end_entry()), ErrorKind::Invalid);
    writer.write(b"abc").expect("writes");
    writer.end_entry().expect("ends");
    writer.finish(|_| Ok(serde_json::Value::Null)).expect("finishes");
    verify_medium(&*disk, path, 1).expect("is sound");
}

#[test]
fn progress_never_goes_back_and_may_stop_the_work() {
    let bytes = archive_bytes(&options(Compression::Fast, 4096), &mixed());
    let archive = open(bytes).expect("opens");
    let mut seen = Vec::new();
    let mut record = |progress: Progress| {
        seen.push(progress.done);
        assert!(progress.done <= progress.total);
        ControlFlow::Continue(())
    };
    archive.verify(2, &mut record).expect("is sound");
    assert!(seen.is_sorted() && seen.len() > 10);
    let mut stop = |progress: Progress| match progress.done > seen[4] {
        true => ControlFlow::Break(()),
        false => ControlFlow::Continue(()),
    };
    let stopped = archive.verify(2, &mut stop).expect_err("it was stopped");
    assert_eq!((stopped.kind(), stopped.code()), (ErrorKind::Stopped, 1406));
    let mut at_once = |_| ControlFlow::Break(());
    let stopped = archive.extract(|_| true, 2, &mut Gather::default(), &mut at_once);
    assert_eq!(stopped.expect_err("it was stopped").kind(), ErrorKind::Stopped);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_place_of_an_entry_can_be_read_alone(
        len in 0usize..300_000,
        reads in proptest::collection::vec((any::<u32>(), 0usize..20_000), 40),
        compression in 0..3usize,
    ) {
        let content = text(len, 9);
        let entries = [file("before", text(777, 1)), file("store.data", content.clone())];
        let archive = open(archive_bytes(&options(ALL[compression], 4096), &entries));
        let archive = archive.expect("opens");
        let entry = archive.find("store.data").expect("it is there");
        let inner = archive.entry_file(entry).expect("opens");
        prop_assert_eq!(inner.len().expect("has a length"), len as u64);
        for (offset, count) in reads {
            let offset = offset as usize % (len + 10);
            let mut buffer = vec![0xAA; count];
            let end = (offset + count).min(len);
            let expected = content.get(offset..end).unwrap_or_default();
            if expected.len() == count {
                inner.read_exact_at(&mut buffer, offset as u64).expect("reads");
                prop_assert_eq!(&buffer[..], expected);
            } else {
                prop_assert!(inner.read_exact_at(&mut buffer, offset as u64).is_err());
            }
        }
        prop_assert!(inner.write_at(b"x", 0).is_err() && inner.map(4096).is_err());
    }
}

#[test]
fn an_entry_may_be_read_by_many_threads_at_once() {
    let content = text(200_000, 3);
    let archive = open(archive_bytes(
        &options(Compression::Fast, 4096),
        &[file("store.data", content.clone())],
    ))
    .expect("opens");
    let inner = archive.entry_file(archive.find("store.data").expect("is there")).expect("opens");
    std::thread::scope(|scope| {
        for thread in 0..4usize {
            let (inner, content) = (&inner, &content);
            scope.spawn(move || {
                for n in 0..500usize {
                    let offset = (n * 7919 + thread * 104_729) % (content.len() - 100);
                    let mut buffer = [0; 100];
                    inner.read_exact_at(&mut buffer, offset as u64).expect("reads");
                    assert_eq!(buffer, content[offset..offset + 100]);
                }
            });
        }
    });
}

#[test]
fn archives_of_a_folder_are_listed() {
    let disk = SimDisk::new(1);
    let folder = Path::new("/backups");
    disk.create_dir(folder).expect("creates");
    let create = |name: &str| {
        disk.open(&folder.join(name), crate::disk::OpenMode::CreateNew).expect("creates");
    };
    let partial = ArchiveName::new("x", 9).expect("good").partial(5);
    for name in
        ["x[0002].tar.zst", "x[0001].tar.zst", "x[0004].log.zst", "y[0001].tar.zst", "z", &partial]
    {
        create(name);
    }
    disk.create_dir(&folder.join("x[0003].tar.zst")).expect("creates");
    let numbers = |set| -> BTreeMap<u32, String> {
        let listed = list_archives(&*disk, folder, set).expect("lists");
        listed.iter().map(|l| (l.name.number(), l.name.set().to_string())).collect()
    };
    assert_eq!(numbers(Some("x")).into_keys().collect::<Vec<_>>(), [1, 2, 4]);
    assert_eq!(list_archives(&*disk, folder, None).expect("lists").len(), 4);
    assert_eq!(list_partials(&*disk, folder, 5).expect("lists"), [folder.join(&partial)]);
    assert!(list_partials(&*disk, folder, 6).expect("lists").is_empty());
}
