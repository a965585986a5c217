//! Segments, encryption and parity of whole archives, alone and together.

use super::*;
use crate::disk::OpenMode;
use std::path::PathBuf;

const SEGMENT: u64 = MIN_SEGMENT_BYTES;

fn place() -> ArchivePlace {
    let name = ArchiveName::new("a", 1).expect("good");
    ArchivePlace { folder: PathBuf::from("/"), name, store: 7 }
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
    let options = ArchiveOptions { layers, ..options(Compression::Fast, 16 << 10) };
    let mut writer =
        ArchiveWriter::create_in(disk, &place(), &options, serde_json::json!({ "lsn": 7 }))
            .expect("creates");
    for (meta, content) in entries() {
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
    name_files(&*disk, Path::new("/"), &finished.files).expect("gives names");
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
    let error = name_files(&*disk, Path::new("/"), &finished.files).expect_err("a name is taken");
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

#[cfg(feature = "encryption")]
mod encrypted {
    use super::*;
    use crate::disk::RealDisk;
    use crate::error::code;
    use std::io::{Read, Write};
    use std::process::{Command, Stdio};

    const PASSPHRASE: &str = "correct horse battery staple";

    /// Recipients by passphrase, where trying one costs nothing.
    fn by_passphrase() -> Recipients {
        let recipients = Recipients::passphrase(PASSPHRASE).expect("good");
        Recipients(recipients.0.at_no_cost())
    }

    fn identity() -> (age::x25519::Identity, String, String) {
        use age::secrecy::ExposeSecret;
        let identity = age::x25519::Identity::generate();
        let secret = identity.to_string().expose_secret().to_owned();
        let public = identity.to_public().to_string();
        (identity, secret, public)
    }

    fn encrypted(recipients: Recipients) -> Layers {
        Layers { recipients: Some(recipients), ..Layers::default() }
    }

    /// All files of an archive, joined.
    fn joined(disk: &dyn Disk, finished: &Finished) -> Vec<u8> {
        let body = finished.files.iter().filter(|file| !file.path.ends_with("a[0001].parity"));
        body.flat_map(|file| bytes_of(disk, &file.path.to_string_lossy())).collect()
    }

    #[test]
    fn age_itself_opens_it_and_finds_the_plain_archive() {
        let (plain_disk, plain, _) = named(Layers::default());
        let plain = bytes_of(&*plain_disk, &plain.to_string_lossy());
        let (disk, path, finished) = named(encrypted(by_passphrase()));
        assert_eq!(path, Path::new("/a[0001].tar.zst.age"));
        let sealed = joined(&*disk, &finished);
        let identity = age::scrypt::Identity::new(PASSPHRASE.to_owned().into());
        let opened = age::decrypt(&identity, &sealed).expect("age opens it");
        assert!(opened == plain);
        let (first, _, public) = super::encrypted::identity();
        let (second, _, other) = super::encrypted::identity();
        let recipients = Recipients::public_keys([&*public, &*other]).expect("good");
        let (disk, _, finished) = named(encrypted(recipients));
        for key in [first, second] {
            assert!(age::decrypt(&key, &joined(&*disk, &finished)).expect("opens it") == plain);
        }
    }

    #[test]
    fn all_layers_together_are_read_in_place_verified_and_repaired() {
        let (_, secret, public) = identity();
        let recipients = Recipients::public_keys([&*public]).expect("good");
        let layers = redundant(Layers { recipients: Some(recipients), ..in_segments() });
        let disk: Arc<dyn Disk> = SimDisk::new(5);
        let finished = write_layered(&disk, layers.clone());
        finished.verify(&*disk, 2, &mut go_on).expect("whoever wrote it can read it back");
        name_files(&*disk, Path::new("/"), &finished.files).expect("gives names");
        let path = place().path(&layers);
        assert_eq!(path, Path::new("/a[0001-0001].tar.zst.age"));
        let keys = Keys::none().with_passphrase("other").with_identities(&secret).expect("good");
        let archive = ArchiveFile::open(&*disk, &path, &keys).expect("opens");
        assert!(archive.is_encrypted());
        assert_content(&archive);
        archive.verify(2, &mut go_on).expect("is sound");
        let before = joined(&*disk, &finished);
        flip(&*disk, &path, 10);
        flip(&*disk, &finished.files[3].path, 500);
        let archive = ArchiveFile::open(&*disk, &path, &keys).expect("opens through its parity");
        assert_content(&archive);
        assert!(archive.verify(1, &mut go_on).is_err());
        repair(&*disk, &path, &mut go_on).expect("no key is needed");
        assert!(joined(&*disk, &finished) == before);
        let plain = Path::new("/a[0001].tar.zst");
        ArchiveFile::open(&*disk, plain, &keys).expect("its plain name will do");
    }

    #[test]
    fn no_pattern_of_the_content_is_in_the_files() {
        let recipients = by_passphrase();
        let layers = redundant(Layers { recipients: Some(recipients), ..in_segments() });
        let (disk, _, finished) = named(layers);
        let content = noise(300_000, 3);
        let patterns: Vec<&[u8]> =
            [b"header.json".as_slice(), b"manifest", b"store.data", b"\x28\xB5\x2F\xFD", b"SEAL"]
                .into_iter()
                .chain(content.chunks(5000).map(|piece| &piece[..8]))
                .collect();
        for file in &finished.files {
            let bytes = bytes_of(&*disk, &file.path.to_string_lossy());
            for pattern in &patterns {
                // Four bytes turn up by chance; the others do not.
                let found = bytes.windows(pattern.len()).filter(|window| window == pattern).count();
                assert!(found <= usize::from(pattern.len() < 8), "{pattern:?} in {:?}", file.path);
            }
        }
    }

    #[test]
    fn without_the_right_key_nothing_is_opened_and_no_key_is_shown() {
        let (disk, path, _) = named(encrypted(by_passphrase()));
        let (_, secret, _) = identity();
        let wrong = Keys::none().with_passphrase("a wrong one").with_identities(&secret);
        let wrong = wrong.expect("good");
        for keys in [Keys::none(), wrong, Keys::none().with_passphrase("wrong again")] {
            let error = ArchiveFile::open(&*disk, &path, &keys).err().expect("refused");
            assert_eq!((error.code(), error.path()), (code::KEY, Some(&*path)), "{error}");
            let shown = format!("{error} {error:?} {keys:?} {:?}", by_passphrase());
            for hidden in ["wrong again", "a wrong one", PASSPHRASE, &secret] {
                assert!(!shown.contains(hidden), "{shown}");
            }
        }
        let right = Keys::none().with_passphrase("a wrong one").with_passphrase(PASSPHRASE);
        ArchiveFile::open(&*disk, &path, &right).expect("the second key is right");
    }

    #[test]
    fn what_is_no_key_is_refused_without_being_shown() {
        let (_, secret, public) = identity();
        let slip = secret.replace("AGE-SECRET-KEY-1", "AGE-SECRET-KEY-2");
        let text = format!("# made by age-keygen\n\n{slip}\n");
        let error = Keys::none().with_identities(&text).expect_err("it is malformed");
        assert_eq!(error.code(), code::KEY);
        assert!(error.message().contains("line 3") && !error.to_string().contains(&slip));
        assert_eq!(
            Keys::none().with_identities("# nothing\n").expect_err("none").code(),
            code::KEY
        );
        Keys::none().with_identities(&format!("# public: {public}\n{secret}\n")).expect("good");
        for bad in [&[][..], &["age1"], &[&*secret], &[&*public, "x"], &[&*public; 65]] {
            let error = Recipients::public_keys(bad.iter().copied()).expect_err("it is none");
            assert_eq!(error.code(), code::KEY);
            assert!(!error.to_string().contains(&secret), "{error}");
        }
        assert_eq!(Recipients::passphrase("").expect_err("empty").code(), code::KEY);
    }

    #[test]
    fn every_byte_that_changes_is_told() {
        let (_, secret, public) = identity();
        let recipients = Recipients::public_keys([&*public]).expect("good");
        let (disk, path, finished) = named(encrypted(recipients));
        let keys = Keys::none().with_identities(&secret).expect("good");
        let check = || {
            ArchiveFile::open(&*disk, &path, &keys)
                .and_then(|archive| archive.verify(1, &mut go_on).map(drop))
        };
        let len = finished.bytes;
        for at in (0..500).chain((500..len).step_by(9973)).chain(len - 40..len) {
            flip(&*disk, &path, at);
            let error = check().expect_err("it is told");
            let telling = error.kind() == ErrorKind::Corrupt
                || error.kind() == ErrorKind::Unsupported
                || error.code() == code::KEY;
            assert!(telling, "byte {at}: {error}");
            flip(&*disk, &path, at);
        }
        let file = disk.open(&path, OpenMode::Write).expect("opens");
        for cut in (0..len).rev().step_by(4999) {
            file.set_len(cut).expect("cuts");
            check().expect_err("it is told");
        }
    }

    #[test]
    fn a_file_that_asks_for_too_much_work_or_has_an_endless_header_is_refused() {
        let disk = SimDisk::new(1);
        let path = Path::new("/a[0001].tar.zst.age");
        let write = |bytes: &[u8]| {
            let _ = disk.remove_file(path);
            let file = disk.open(path, OpenMode::CreateNew).expect("creates");
            file.write_at(bytes, 0).expect("writes");
            let keys = Keys::none().with_passphrase("x");
            ArchiveFile::open(&*disk, path, &keys).err().expect("refused")
        };
        let scrypt = |work: &str| {
            let body = "A".repeat(43);
            let salt = "A".repeat(22);
            format!("age-encryption.org/v1\n-> scrypt {salt} {work}\n{body}\n--- {body}\n{salt}")
        };
        for work in ["21", "30", "63"] {
            let error = write(scrypt(work).as_bytes());
            assert_eq!((error.kind(), error.code()), (ErrorKind::Limit, code::KEY), "{error}");
        }
        let endless = format!("age-encryption.org/v1\n{}", "-> x y\n\n".repeat(20_000));
        assert_eq!(write(endless.as_bytes()).kind(), ErrorKind::Corrupt);
        assert_eq!(write(b"age-encryption.org/v1\n").kind(), ErrorKind::Corrupt);
        assert_eq!(write(b"age-encryption.org/v1\n--- \n").kind(), ErrorKind::Corrupt);
    }

    #[test]
    fn cat_age_tar_and_zstd_undo_the_layers() {
        let folder = tempfile::tempdir().expect("a scratch folder");
        let disk: Arc<dyn Disk> = RealDisk::new();
        let (key, secret, public) = identity();
        let recipients = Recipients::public_keys([&*public]).expect("good");
        let layers = redundant(Layers { recipients: Some(recipients), ..in_segments() });
        let place = ArchivePlace { folder: folder.path().to_path_buf(), ..place() };
        let options = ArchiveOptions { layers, ..options(Compression::Fast, 64 << 10) };
        let null = serde_json::Value::Null;
        let mut writer =
            ArchiveWriter::create_in(&disk, &place, &options, null.clone()).expect("creates");
        let content = noise(400_000, 8);
        let meta = EntryMeta::file("noise", content.len() as u64, 0);
        writer.begin_entry(meta).expect("begins");
        writer.write(&content).expect("writes");
        writer.end_entry().expect("ends");
        let finished = writer.finish(|_| Ok(null)).expect("finishes");
        name_files(&*disk, folder.path(), &finished.files).expect("gives names");
        disk.open(&folder.path().join("key"), OpenMode::CreateNew)
            .and_then(|file| file.write_at(secret.as_bytes(), 0))
            .expect("writes");
        let shell = |script: &str, input: Option<Vec<u8>>| {
            let mut child = Command::new("sh")
                .args(["-c", script])
                .current_dir(folder.path())
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .expect("there is a shell");
            let mut stdin = child.stdin.take().expect("is piped");
            let feed = std::thread::spawn(move || stdin.write_all(&input.unwrap_or_default()));
            let mut out = Vec::new();
            child.stdout.take().expect("is piped").read_to_end(&mut out).expect("reads");
            let done = child.wait_with_output().expect("ends");
            // A tool that does not read its input to the end is judged by its result.
            let _ = feed.join().expect("no panic");
            (done.status.code(), out, String::from_utf8_lossy(&done.stderr).into_owned())
        };
        let (_, sealed, _) = shell("cat 'a[0001-'*.tar.zst.age", None);
        let plain = age::decrypt(&key, &sealed).expect("age opens what cat joined");
        let (code, out, said) = shell("tar --zstd -xOf - noise", Some(plain.clone()));
        if code != Some(127) {
            assert!(out == content, "tar: {said}");
        }
        let (code, _, said) = shell("zstd -t", Some(plain));
        assert!(matches!(code, Some(0 | 127)), "zstd: {said}");
        let all = "command -v age >/dev/null || exit 127; \
                   cat 'a[0001-'*.tar.zst.age | age -d -i key | tar --zstd -xOf - noise";
        let (code, out, said) = shell(all, None);
        match code {
            Some(127) => eprintln!("skipped: age is not installed"),
            _ => assert!(out == content, "age: {said}"),
        }
    }
}
