//! Archives in the hands of other people's tools: GNU tar and zstd, where they are installed.

use super::*;
use crate::disk::{EntryKind as Kind, RealDisk};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::process::Command;

/// Runs a tool; `None` where it is not installed.
fn run(tool: &str, args: &[&str], folder: &Path) -> Option<(bool, String)> {
    let output =
        Command::new(tool).args(args).current_dir(folder).env("LC_ALL", "C.UTF-8").output();
    let output = match output {
        Err(missing) if missing.kind() == io::ErrorKind::NotFound => {
            eprintln!("skipped: {tool} is not installed");
            return None;
        }
        other => other.expect("the tool starts"),
    };
    let said = [output.stdout, output.stderr].concat();
    Some((output.status.success(), String::from_utf8_lossy(&said).into_owned()))
}

/// Writes `entries` into a new folder and gives it and the file's name in it.
fn on_disk(
    compression: Compression,
    frame_bytes: u32,
    entries: &[(EntryMeta, Vec<u8>)],
) -> (tempfile::TempDir, Arc<dyn Disk>, PathBuf) {
    let folder = tempfile::tempdir().expect("a scratch folder");
    let disk = RealDisk::new();
    let path = folder.path().join("Inventory[0001].tar.zst");
    let options = options(compression, frame_bytes);
    let mut writer = ArchiveWriter::create(&*disk, &path, &options, serde_json::json!({ "a": 1 }))
        .expect("creates");
    for (meta, content) in entries {
        writer.begin_entry(meta.clone()).expect("begins");
        writer.write(content).expect("writes");
        writer.end_entry().expect("ends");
    }
    writer.finish(|_| Ok(serde_json::Value::Null)).expect("finishes");
    verify_medium(&*disk, &path, 2).expect("is sound");
    (folder, disk, path)
}

#[test]
fn gnu_tar_extracts_what_was_written() {
    let mut entries = mixed();
    entries.push(file("big", text(700_000, 7)));
    entries.push((EntryMeta { mode: 0o600, ..EntryMeta::file("private", 0, 0) }, Vec::new()));
    for compression in ALL {
        let (folder, disk, path) = on_disk(compression, 256 << 10, &entries);
        for (number, flags) in
            [&["--warning=no-timestamp", "--zstd", "-xf"][..], &["--warning=no-timestamp", "-xf"]]
                .iter()
                .enumerate()
        {
            let out = folder.path().join(format!("out{number}"));
            disk.create_dir(&out).expect("creates");
            let name = path.to_str().expect("is text");
            let args = [flags, &[name][..]].concat();
            let Some((done, said)) = run("tar", &args, &out) else { return };
            assert!(done && said.is_empty(), "{compression:?} {flags:?}: {said}");
            for (meta, content) in &entries {
                let extracted = out.join(meta.path.as_path());
                let found = disk.metadata(&extracted).expect("it was extracted");
                match &meta.kind {
                    EntryKind::Dir => {
                        assert_eq!(found.kind, Kind::Dir);
                        assert_eq!(found.modified, meta.mtime);
                    }
                    EntryKind::Symlink(target) => {
                        let link = disk.read_link(&extracted).expect("is a link");
                        assert_eq!(link.as_os_str().as_bytes(), target.as_bytes());
                    }
                    EntryKind::File => {
                        let name = extracted.as_os_str();
                        assert_eq!((found.kind, found.len), (Kind::File, meta.size), "{name:?}");
                        let file = disk.open(&extracted, crate::disk::OpenMode::Read);
                        let mut bytes = vec![0; content.len()];
                        file.expect("opens").read_exact_at(&mut bytes, 0).expect("reads");
                        assert!(bytes == *content, "{name:?}");
                        assert_eq!(found.mode & 0o700, meta.mode & 0o700);
                        if meta.mtime < i64::from(u32::MAX) * 1_000_000 {
                            assert_eq!(found.modified, meta.mtime, "{name:?}");
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn gnu_tar_reads_sizes_beyond_eight_gibibytes() {
    // No content: the listing of the header alone must show the size.
    let folder = tempfile::tempdir().expect("a scratch folder");
    let path = folder.path().join("big.tar");
    let disk = RealDisk::new();
    let size = (8 << 30) + 12_345;
    let header = crate::archive::tar::encode(&EntryMeta::file("store.data", size, 0));
    let file = disk.open(&path, crate::disk::OpenMode::CreateNew).expect("creates");
    file.write_at(&header, 0).expect("writes");
    file.set_len(header.len() as u64 + size + 7 + 1024).expect("sparse");
    let Some((_, said)) = run("tar", &["-tvf", "big.tar"], folder.path()) else { return };
    assert!(said.contains(&size.to_string()) && said.contains("store.data"), "{said}");
}

#[test]
fn zstd_tests_and_lists_every_archive() {
    for compression in ALL {
        let (folder, _disk, path) = on_disk(compression, 64 << 10, &mixed());
        let name = path.to_str().expect("is text");
        let Some((done, said)) = run("zstd", &["-t", "--no-progress", name], folder.path()) else {
            return;
        };
        assert!(done, "{compression:?}: {said}");
        let (done, said) = run("zstd", &["-lv", name], folder.path()).expect("it was there");
        assert!(done && said.contains("XXH64"), "{compression:?}: {said}");
        assert!(said.contains("# Skippable Frames: 2"), "{said}");
    }
}
