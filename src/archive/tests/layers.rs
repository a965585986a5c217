//! Segments, encryption and parity of whole archives, alone and together.

#[cfg(feature = "encryption")]
mod encrypted;
mod forged;
mod naming;

use super::*;
use crate::disk::OpenMode;
use std::path::PathBuf;

const SEGMENT: u64 = MIN_SEGMENT_BYTES;

fn place() -> ArchivePlace {
    let name = ArchiveName::new("a", 1).expect("good");
    ArchivePlace { folder: PathBuf::from("/"), name, store: 7, access: None }
}

/// Content that does not pack, so that there are several segments.
fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..len).map(|_| next()).collect()
}

fn entries() -> Vec<(EntryMeta, Vec<u8>)> {
    let mut entries = mixed();
    entries.push(file("noise", noise(300_000, 3)));
    entries
}

/// Writes an archive with `layers` and gives what was written, without names yet.
fn write_layered(disk: &Arc<dyn Disk>, layers: Layers) -> Finished {
    write_entries(disk, layers, entries())
}

fn write_entries(
    disk: &Arc<dyn Disk>,
    layers: Layers,
    entries: Vec<(EntryMeta, Vec<u8>)>,
) -> Finished {
    let options = ArchiveOptions { layers, ..options(Compression::Fast, 16 << 10) };
    let mut writer =
        ArchiveWriter::create_in(disk, &place(), &options, serde_json::json!({ "lsn": 7 }))
            .expect("creates");
    for (meta, content) in entries {
        writer.begin_entry(meta).expect("begins");
        writer.write(&content).expect("writes");
        writer.end_entry().expect("ends");
    }
    writer.finish(|_| Ok(serde_json::Value::Null)).expect("finishes")
}

/// The same with names, on a disk of its own.
fn named(layers: Layers) -> (Arc<dyn Disk>, PathBuf, Finished) {
    let disk: Arc<dyn Disk> = SimDisk::new(5);
    let path = place().path(&layers);
    let finished = write_layered(&disk, layers);
    name_files(&*disk, &place(), &finished.files).expect("gives names");
    (disk, path, finished)
}

fn assert_content(archive: &Arc<ArchiveFile>) {
    let mut gather = Gather::default();
    archive
        .extract(
            |entry| entry.meta.path.as_bytes().len() > 13 || !is_paper(entry),
            2,
            &mut gather,
            &mut go_on,
        )
        .expect("extracts");
    let papers = |path: &[u8]| path == HEADER_NAME.as_bytes() || path == MANIFEST_NAME.as_bytes();
    gather.done.retain(|(meta, _)| !papers(meta.path.as_bytes()));
    assert!(gather.done == entries());
    let entry = archive.find("noise").expect("is there");
    let file = archive.entry_file(entry).expect("opens");
    let mut piece = vec![0; 1000];
    for at in [0, 65_000, 299_000, 131_072, 3] {
        file.read_exact_at(&mut piece, at).expect("reads in place");
        assert!(piece == noise(300_000, 3)[at as usize..][..1000]);
    }
}

fn is_paper(entry: &Entry) -> bool {
    [HEADER_NAME.as_bytes(), MANIFEST_NAME.as_bytes()].contains(&entry.meta.path.as_bytes())
}

fn in_segments() -> Layers {
    Layers { segment_bytes: Some(SEGMENT), ..Layers::default() }
}

fn flip(disk: &dyn Disk, path: &Path, at: u64) {
    let file = disk.open(path, OpenMode::Write).expect("opens");
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).expect("reads");
    file.write_at(&[byte[0] ^ 0x10], at).expect("writes");
}

#[test]
fn segments_have_the_length_that_was_asked_for_and_join_to_the_plain_archive() {
    let (disk, path, finished) = named(in_segments());
    assert_eq!(path, Path::new("/a[0001-0001].tar.zst"));
    let names: Vec<String> =
        finished.files.iter().map(|file| file.path.to_string_lossy().into_owned()).collect();
    assert!(names.len() > 4, "{names:?}");
    assert_eq!(names[1], "/a[0001-0002].tar.zst");
    let (last, others) = finished.files.split_last().expect("some");
    assert!(others.iter().all(|file| file.bytes == SEGMENT) && last.bytes <= SEGMENT);
    let joined: Vec<u8> = names.iter().flat_map(|name| bytes_of(&*disk, name)).collect();
    let (plain_disk, plain, _) = named(Layers::default());
    assert!(joined == bytes_of(&*plain_disk, &plain.to_string_lossy()));
    for path in [&path, Path::new("/a[0001].tar.zst")] {
        let archive = ArchiveFile::open(&*disk, path, &Keys::none()).expect("opens");
        assert_content(&archive);
        archive.verify(2, &mut go_on).expect("is sound");
    }
}

#[test]
fn a_segment_that_is_missing_swapped_foreign_or_cut_is_told_by_its_name() {
    let segment = |n: u32| PathBuf::from(format!("/a[0001-{n:04}].tar.zst"));
    let check = |spoil: &dyn Fn(&dyn Disk), what: &str, named_file: &[u32]| {
        let (disk, path, _) = named(in_segments());
        spoil(&*disk);
        let result = ArchiveFile::open(&*disk, &path, &Keys::none())
            .and_then(|archive| archive.verify(1, &mut go_on));
        let error = result.expect_err(what);
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{what}: {error}");
        let told = error.path().expect("it has a path");
        assert!(named_file.iter().any(|n| told == segment(*n)), "{what}: {error}");
    };
    let last = named(in_segments()).2.files.len() as u32;
    for n in 2..last {
        check(&|disk| disk.remove_file(&segment(n)).expect("removes"), "missing", &[n]);
    }
    check(&|disk| disk.remove_file(&segment(last)).expect("removes"), "no end", &[last - 1]);
    check(
        &|disk| {
            let aside = Path::new("/aside");
            disk.rename(&segment(2), aside).expect("renames");
            disk.rename(&segment(3), &segment(2)).expect("renames");
            disk.rename(aside, &segment(3)).expect("renames");
        },
        "swapped",
        &[1, 2, 3],
    );
    check(
        &|disk| {
            let file = disk.open(&segment(2), OpenMode::Write).expect("opens");
            file.write_at(&noise(SEGMENT as usize, 99), 0).expect("writes");
        },
        "foreign",
        &[1, 2],
    );
    for (n, len) in [(2, SEGMENT - 1), (2, SEGMENT + 1), (3, 0)] {
        let cut = |disk: &dyn Disk| {
            let file = disk.open(&segment(n), OpenMode::Write).expect("opens");
            file.set_len(len).expect("cuts");
        };
        check(&cut, "cut", &[n]);
    }
}

#[test]
fn what_has_no_parity_is_not_repaired() {
    let (disk, path, _) = named(in_segments());
    let error = repair(&*disk, &path, &mut go_on).expect_err("there is none");
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
}

fn redundant(layers: Layers) -> Layers {
    Layers { redundancy: Level::High, interlacing: Level::High, ..layers }
}

#[test]
fn damage_is_read_through_told_by_a_check_and_repaired() {
    for layers in [Layers::default(), in_segments()] {
        let (disk, path, finished) = named(redundant(layers));
        assert_eq!(finished.files[0].path, Path::new("/a[0001].parity"));
        let whole = bytes_of(&*disk, &path.to_string_lossy());
        // The end of the first block: the header of the archive and its first frames.
        flip(&*disk, &path, 2);
        flip(&*disk, &path, 20_000);
        let archive = ArchiveFile::open(&*disk, &path, &Keys::none()).expect("opens all the same");
        assert_content(&archive);
        let error = archive.verify(1, &mut go_on).expect_err("damage is told");
        assert_eq!((error.kind(), error.path()), (ErrorKind::Corrupt, Some(&*path)), "{error}");
        assert!(error.advice().is_some_and(|advice| advice.contains("--repair")), "{error}");
        let report = repair(&*disk, &path, &mut go_on).expect("is repaired");
        assert_eq!((report.repaired, &report.files[..]), (1, &[path.clone()][..]));
        assert!(bytes_of(&*disk, &path.to_string_lossy()) == whole);
        let archive = ArchiveFile::open(&*disk, &path, &Keys::none()).expect("opens");
        archive.verify(1, &mut go_on).expect("is sound");
    }
}

#[test]
fn damage_of_the_parity_alone_is_told_and_repaired() {
    let (disk, path, finished) = named(redundant(Layers::default()));
    let parity = &finished.files[0];
    for at in [7, parity.bytes / 2, parity.bytes - 5, 4200] {
        flip(&*disk, &parity.path, at);
        let archive = ArchiveFile::open(&*disk, &path, &Keys::none()).expect("opens");
        assert_content(&archive);
        let error = archive.verify(1, &mut go_on).expect_err("damage is told");
        assert_eq!(error.path(), Some(&*parity.path), "byte {at}: {error}");
        repair(&*disk, &path, &mut go_on).expect("is repaired");
        let archive = ArchiveFile::open(&*disk, &path, &Keys::none()).expect("opens");
        archive.verify(1, &mut go_on).expect("is sound");
    }
    // Parity of something else makes nothing worse.
    let file = disk.open(&parity.path, OpenMode::Write).expect("opens");
    file.write_at(&noise(parity.bytes as usize, 1), 0).expect("writes");
    let archive = ArchiveFile::open(&*disk, &path, &Keys::none()).expect("opens");
    assert_content(&archive);
    assert_eq!(archive.verify(1, &mut go_on).expect_err("told").path(), Some(&*parity.path));
}

#[test]
fn parity_of_another_archive_is_no_hindrance_and_is_told() {
    let (disk, path, finished) = named(redundant(Layers::default()));
    let (other, _, theirs) = named(redundant(in_segments()));
    let parity = bytes_of(&*other, &theirs.files[0].path.to_string_lossy());
    let file = disk.open(&finished.files[0].path, OpenMode::Write).expect("opens");
    file.set_len(0).expect("cuts");
    file.write_at(&parity, 0).expect("writes");
    flip(&*disk, &path, 100);
    flip(&*disk, &path, 100);
    let archive = ArchiveFile::open(&*disk, &path, &Keys::none()).expect("opens");
    assert_content(&archive);
}

#[test]
fn an_archive_is_read_back_from_the_medium_before_it_has_its_names() {
    let disk: Arc<dyn Disk> = SimDisk::new(5);
    let finished = write_layered(&disk, redundant(in_segments()));
    finished.verify(&*disk, 2, &mut go_on).expect("is sound");
    for file in &finished.files {
        flip(&*disk, &file.partial, file.bytes / 3);
        let error = finished.verify(&*disk, 2, &mut go_on).expect_err("each file is read");
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
        flip(&*disk, &file.partial, file.bytes / 3);
    }
    assert!(list_archives(&*disk, Path::new("/"), None).expect("lists").is_empty());
    assert_eq!(
        list_partials(&*disk, Path::new("/"), 7).expect("lists").len(),
        finished.files.len()
    );
}

#[test]
fn names_are_given_to_all_files_or_to_none() {
    let disk: Arc<dyn Disk> = SimDisk::new(5);
    let finished = write_layered(&disk, redundant(in_segments()));
    let taken = Path::new("/a[0001-0003].tar.zst");
    disk.open(taken, OpenMode::CreateNew).expect("creates");
    let error = name_files(&*disk, &place(), &finished.files).expect_err("a name is taken");
    assert_eq!((error.kind(), error.path()), (ErrorKind::Exists, Some(taken)), "{error}");
    for file in &finished.files {
        assert!(disk.metadata(&file.partial).is_ok());
        assert!(file.path == taken || disk.metadata(&file.path).is_err());
    }
}

#[test]
fn layers_that_make_no_sense_are_refused() {
    let disk: Arc<dyn Disk> = SimDisk::new(5);
    let layers = Layers { segment_bytes: Some(SEGMENT - 1), ..Layers::default() };
    let options = ArchiveOptions { layers, ..options(Compression::Fast, 4096) };
    let null = serde_json::Value::Null;
    let refused = ArchiveWriter::create_in(&disk, &place(), &options, null.clone());
    assert_eq!(refused.err().expect("too small").kind(), ErrorKind::Invalid);
    let refused = ArchiveWriter::create(&*disk, Path::new(ARCHIVE), &options, null);
    assert_eq!(refused.err().expect("no place").kind(), ErrorKind::Invalid);
    assert!(disk.list(Path::new("/")).expect("lists").is_empty());
}

#[cfg(not(feature = "encryption"))]
#[test]
fn without_the_feature_encryption_is_refused_by_its_number() {
    use crate::error::code;
    assert_eq!(Recipients::passphrase("x").expect_err("absent").code(), code::KEY);
    let disk = SimDisk::new(1);
    let file = disk.open(Path::new(ARCHIVE), OpenMode::CreateNew).expect("creates");
    file.write_at(b"age-encryption.org/v1\n-> scrypt x 18\nabc\n--- abc\n", 0).expect("writes");
    let keys = Keys::none().with_passphrase("x");
    let error = ArchiveFile::open(&*disk, Path::new(ARCHIVE), &keys).err().expect("refused");
    assert_eq!((error.kind(), error.code()), (ErrorKind::Unsupported, code::KEY), "{error}");
    assert!(error.advice().is_some());
}
