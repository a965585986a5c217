//! Archives that are encrypted: what opens them, what shows, and the tools that undo the layers.

use super::*;
use crate::disk::RealDisk;
use crate::error::code;
use std::io::{Read, Write};
use std::process::{Command, Stdio};

const PASSPHRASE: &str = "correct horse battery staple";

/// Recipients by passphrase, where trying one costs nothing.
fn by_passphrase() -> Recipients {
    let recipients = Recipients::passphrase(PASSPHRASE).expect("good");
    Recipients { sealing: recipients.sealing.at_no_cost(), ..recipients }
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
    let theirs = age::scrypt::Identity::new(PASSPHRASE.to_owned().into());
    let opened = age::decrypt(&theirs, &sealed).expect("age opens it");
    assert!(opened == plain);
    let (first, _, public) = identity();
    let (second, _, other) = identity();
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
    name_files(&*disk, &place(), &finished.files).expect("gives names");
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
    let damaged = joined(&*disk, &finished);
    let error = repair(&*disk, &path, &mut go_on).expect_err("nothing proves it without a key");
    assert_eq!(error.code(), crate::error::code::KEY, "{error}");
    assert!(joined(&*disk, &finished) == damaged, "nothing is changed");
    repair_with(&*disk, &path, &keys, &mut go_on).expect("is repaired");
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
    assert_eq!(Keys::none().with_identities("# nothing\n").expect_err("none").code(), code::KEY);
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
    name_files(&*disk, &place, &finished.files).expect("gives names");
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
