//! One suite of behaviours that both disks must show, so that the simulated one does not drift from
//! the real one. Each row gets a fresh folder. What only a crash can show is tested with the
//! simulator itself.
//!
//! The unsafe code here looks at single bytes of a map. It is sound, since the map lives longer than
//! the look and no caller asks for a byte past the end of the file.

#![allow(unsafe_code)]

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::atomic::{create_dir_all, read_whole, remove_tree, write_atomically};
use super::{Disk, EntryKind, File, OpenMode, RealDisk, SimDisk};

type Row = (&'static str, fn(&Arc<dyn Disk>, &Path) -> io::Result<()>);

const SUITE: &[Row] = &[
    ("a_new_file_is_empty_and_keeps_what_is_written", a_new_file_is_empty),
    ("creating_what_exists_is_refused", creating_what_exists_is_refused),
    ("opening_what_is_missing_is_refused", opening_what_is_missing_is_refused),
    ("opening_a_directory_is_refused", opening_a_directory_is_refused),
    ("a_handle_for_reading_does_not_write", a_handle_for_reading_does_not_write),
    ("reads_stop_at_the_end", reads_stop_at_the_end),
    ("a_write_past_the_end_leaves_zeros_between", a_write_past_the_end_leaves_zeros),
    ("an_empty_write_changes_nothing", an_empty_write_changes_nothing),
    ("writes_replace_only_their_range", writes_replace_only_their_range),
    ("many_parts_are_written_as_one", many_parts_are_written_as_one),
    ("a_cut_file_regrows_with_zeros", a_cut_file_regrows_with_zeros),
    ("allocation_extends_and_keeps_content", allocation_extends_and_keeps_content),
    ("two_handles_see_one_file", two_handles_see_one_file),
    ("a_map_sees_later_writes_and_growth", a_map_sees_later_writes_and_growth),
    ("an_open_file_outlives_its_name", an_open_file_outlives_its_name),
    ("rename_replaces", rename_replaces),
    ("rename_new_does_not_replace", rename_new_does_not_replace),
    ("rename_of_what_is_missing_is_refused", rename_of_what_is_missing_is_refused),
    ("directories_are_renamed_with_what_they_hold", directories_are_renamed),
    ("a_directory_does_not_go_into_itself", a_directory_does_not_go_into_itself),
    ("directories_and_files_do_not_replace_each_other", no_replacement_across_kinds),
    ("names_are_listed_sorted", names_are_listed_sorted),
    ("a_file_is_no_directory", a_file_is_no_directory),
    ("directories_are_made_one_by_one", directories_are_made_one_by_one),
    ("only_empty_directories_are_removed", only_empty_directories_are_removed),
    ("remove_file_takes_no_directory", remove_file_takes_no_directory),
    ("metadata_tells_kind_and_length", metadata_tells_kind_and_length),
    ("links_are_followed_by_open_and_not_by_metadata", links_are_followed_by_open),
    ("canonical_resolves_links_and_dots", canonical_resolves_links_and_dots),
    ("a_circle_of_links_is_an_error", a_circle_of_links_is_an_error),
    ("removing_a_link_leaves_its_target", removing_a_link_leaves_its_target),
    ("a_lock_has_one_owner_and_tells_who", a_lock_has_one_owner),
    ("a_shorter_note_replaces_a_longer_one", a_shorter_note_replaces_a_longer_one),
    ("free_space_is_told_for_what_exists", free_space_is_told),
    ("clocks_go_on", clocks_go_on),
    ("random_bytes_differ", random_bytes_differ),
    ("syncing_and_dropping_the_cache_changes_no_byte", syncing_changes_no_byte),
    ("threads_share_a_handle", threads_share_a_handle),
    ("write_atomically_replaces_and_leaves_no_partial", atomic_write_replaces),
    ("write_atomically_survives_a_left_over_partial", atomic_write_over_a_left_over),
    ("create_dir_all_makes_what_is_missing", create_dir_all_makes_what_is_missing),
    ("remove_tree_takes_all_and_follows_no_link", remove_tree_takes_all),
    ("read_whole_refuses_what_is_too_long", read_whole_refuses_what_is_too_long),
];

#[test]
fn the_real_disk_conforms() {
    let scratch = tempfile::tempdir().expect("a scratch folder can be made");
    let root = scratch.path().canonicalize().expect("the scratch folder is there");
    run(|| RealDisk::new(), &root);
}

#[test]
fn the_simulated_disk_conforms() {
    run(|| SimDisk::new(1), Path::new("/"));
}

#[test]
fn a_rebooted_simulated_disk_conforms() {
    run(|| SimDisk::new(1).reboot(super::Survival::Random(7)), Path::new("/"));
}

/// Runs every row and reports all that fail.
fn run(disk: impl Fn() -> Arc<dyn Disk>, root: &Path) {
    let mut failed = Vec::new();
    for (name, row) in SUITE {
        let disk = disk();
        let folder = root.join(name);
        let result = disk.create_dir(&folder).and_then(|()| row(&disk, &folder));
        if let Err(e) = result {
            failed.push(format!("{name}: {e}"));
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
}

fn put(disk: &Arc<dyn Disk>, path: &Path, bytes: &[u8]) -> io::Result<Arc<dyn File>> {
    let file = disk.open(path, OpenMode::CreateNew)?;
    file.write_at(bytes, 0)?;
    Ok(file)
}

fn get(disk: &Arc<dyn Disk>, path: &Path) -> io::Result<Vec<u8>> {
    read_whole(&**disk, path, 1 << 24)
}

#[track_caller]
fn refused<T>(result: io::Result<T>, kind: ErrorKind) {
    match result {
        Ok(_) => panic!("was done, where {kind:?} was expected"),
        Err(e) => assert_eq!(e.kind(), kind, "{e}"),
    }
}

fn a_new_file_is_empty(disk: &Arc<dyn Disk>, root: &Path) -> io::Result<()> {
    let file = disk.open(&root.join("a"), OpenMode::CreateNew)?;
    assert!(file.is_empty()?);
    file.write_at(b"hello", 0)?;
    assert_eq!(file.len()?, 5);
    drop(file);
    assert_eq!(get(disk, &root.join("a"))?, b"hello");
    Ok(())
}

fn creating_what_exists_is_refused(disk: &Arc<dyn Disk>, root: &Path) -> io::Result<()> {
    put(disk, &root.join("a"), b"1")?;
    refused(disk.open(&root.join("a"), OpenMode::CreateNew), ErrorKind::AlreadyExists);
    refused(disk.create_dir(&root.join("a")), ErrorKind::AlreadyExists);
    refused(disk.symlink(Path::new("b"), &root.join("a")), ErrorKind::AlreadyExists);
    disk.symlink(Path::new("nowhere"), &root.join("dangling"))?;
    refused(disk.open(&root.join("dangling"), OpenMode::CreateNew), ErrorKind::AlreadyExists);
    assert_eq!(get(disk, &root.join("a"))?, b"1");
    Ok(())
}

fn opening_what_is_missing_is_refused(disk: &Arc<dyn Disk>, root: &Path) -> io::Result<()> {
    let missing = root.join("missing");
    refused(disk.open(&missing, OpenMode::Read), ErrorKind::NotFound);
    refused(disk.open(&missing, OpenMode::Write), ErrorKind::NotFound);
    refused(disk.open(&missing.join("a"), OpenMode::CreateNew), ErrorKind::NotFound);
    refused(disk.metadata(&missing), ErrorKind::NotFound);
    refused(disk.canonical(&missing), ErrorKind::NotFound);
    refused(disk.list(&missing), ErrorKind::NotFound);
    refused(disk.remove_file(&missing), ErrorKind::NotFound);
    refused(disk.remove_dir(&missing), ErrorKind::NotFound);
    refused(disk.sync_dir(&missing), ErrorKind::NotFound);
    refused(disk.open(Path::new(""), OpenMode::Read), ErrorKind::NotFound);
    Ok(())
}

fn opening_a_directory_is_refused(disk: &Arc<dyn Disk>, root: &Path) -> io::Result<()> {
    refused(disk.open(root, OpenMode::Read), ErrorKind::IsADirectory);
    refused(disk.open(root, OpenMode::Write), ErrorKind::IsADirectory);
    Ok(())
}

fn a_handle_for_reading_does_not_write(disk: &Arc<dyn Disk>, root: &Path) -> io::Result<()> {
    put(disk, &root.join("a"), b"abc")?;
    let file = disk.open(&root.join("a"), OpenMode::Read)?;
    assert!(file.write_at(b"x", 0).is_err());
    assert!(file.write_parts_at(&[b"x", b"y"], 0).is_err());
    assert!(file.set_len(0).is_err());
    assert!(file.allocate(0, 10).is_err());
    assert_eq!(get(disk, &root.join("a"))?, b"abc");
    Ok(())
}

fn reads_stop_at_the_end(disk: &Arc<dyn Disk>, root: &Path) -> io::Result<()> {
    let file = put(disk, &root.join("a"), b"abcdef")?;
    let mut buffer = [b'.'; 4];
    assert_eq!(file.read_at(&mut buffer, 4)?, 2);
    assert_eq!(&buffer, b"ef..");
    assert_eq!(file.read_at(&mut buffer, 6)?, 0);
    assert_eq!(file.read_at(&mut buffer, 1 << 40)?, 0);
    assert_eq!(file.read_at(&mut [], 0)?, 0);
    refused(file.read_exact_at(&mut buffer, 3), ErrorKind::UnexpectedEof);
    Ok(())
}

fn a_write_past_the_end_leaves_zeros(disk: &Arc<dyn Disk>, root: &Path) -> io::Result<()> {
    let file = put(disk, &root.join("a"), b"ab")?;
    file.write_at(b"z", 10_000)?;
    let all = get(disk, &root.join("a"))?;
    assert_eq!(all.len(), 10_001);
    assert_eq!(&all[..2], b"ab");
    assert!(all[2..10_000].iter().all(|&byte| byte == 0));
    assert_eq!(all[10_000], b'z');
    Ok(())
}

fn an_empty_write_changes_nothing(disk: &Arc<dyn Disk>, root: &Path) -> io::Result<()> {
    let file = put(disk, &root.join("a"), b"ab")?;
    file.write_at(b"", 100)?;
    file.write_parts_at(&[], 100)?;
    file.write_parts_at(&[b"", b""], 100)?;
    assert_eq!(file.len()?, 2);
    Ok(())
}

fn writes_replace_only_their_range(disk: &Arc<dyn Disk>, root: &Path) -> io::Result<()> {
    let file = put(disk, &root.join("a"), &vec![7; 20_000])?;
    let mut expected = vec![7; 20_000];
    for (offset, len, byte) in [(0, 1, 1), (4095, 2, 2), (8192, 4096, 3), (500, 9000, 4)] {
        file.write_at(&vec![byte; len], offset as u64)?;
        expected[offset..offset + len].fill(byte);
        file.sync()?;
    }
    assert_eq!(get(disk, &root.join("a"))?, expected);
    Ok(())
}

fn many_parts_are_written_as_one(disk: &Arc<dyn Disk>, root: &Path) -> io::Result<()> {
    let file = put(disk, &root.join("a"), b"..")?;
    let parts: Vec<Vec<u8>> = (0..3000u32).map(|n| vec![n as u8; n as usize % 7]).collect();
    let slices: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
    file.write_parts_at(&slices, 2)?;
    assert_eq!(get(disk, &root.join("a"))?[2..], parts.concat());
    Ok(())
}

fn a_cut_file_regrows_with_zeros(disk: &Arc<dyn Disk>, root: &Path) -> io::Result<()> {
    let file = put(disk, &root.join("a"), &[1; 9000])?;
    file.set_len(5)?;
    assert_eq!(get(disk, &root.join("a"))?, [1; 5]);
    file.set_len(9000)?;
    let all = get(disk, &root.join("a"))?;
    assert_eq!(all[..5], [1; 5]);
    assert_eq!(all[5..], [0; 8995]);
    file.set_len(0)?;
    assert!(file.is_empty()?);
    Ok(())
}

fn allocation_extends_and_keeps_content(disk: &Arc<dyn Disk>, root: &Path) -> io::Result<()> {
    let file = put(disk, &root.join("a"), b"abc")?;
    file.allocate(0, 100_000)?;
    assert_eq!(file.len()?, 100_000);
    file.allocate(50, 50)?;
    assert_eq!(file.len()?, 100_000);
    let all = get(disk, &root.join("a"))?;
    assert_eq!(&all[..3], b"abc");
    assert!(all[3..].iter().all(|&byte| byte == 0));
    Ok(())
}

fn two_handles_see_one_file(disk: &Arc<dyn Disk>, root: &Path) -> io::Result<()> {
    let one = put(disk, &root.join("a"), b"abc")?;
    let two = disk.open(&root.join("a"), OpenMode::Write)?;
    one.write_at(b"X", 1)?;
    two.write_at(b"Y", 2)?;
    let mut buffer = [0; 3];
    one.read_exact_at(&mut buffer, 0)?;
    assert_eq!(&buffer, b"aXY");
    two.set_len(1)?;
    assert_eq!(one.len()?, 1);
    Ok(())
}

fn a_map_sees_later_writes_and_growth(disk: &Arc<dyn Disk>, root: &Path) -> io::Result<()> {
    let file = put(disk, &root.join("a"), &[1; 4096])?;
    let map = disk.open(&root.join("a"), OpenMode::Read)?.map(1 << 30)?;
    assert_eq!(map.len(), 1 << 30);
    assert_eq!(mapped(&map, 4095), 1);
    file.write_at(&[2], 4095)?;
    assert_eq!(mapped(&map, 4095), 2);
    file.write_at(&[3], 20_000)?;
    assert_eq!(mapped(&map, 20_000), 3);
    assert_eq!(mapped(&map, 10_000), 0);
    file.allocate(0, 40_000)?;
    assert_eq!(mapped(&map, 39_999), 0);
    file.write_parts_at(&[&[4], &[5]], 39_998)?;
    assert_eq!((mapped(&map, 39_998), mapped(&map, 39_999)), (4, 5));
    Ok(())
}

fn mapped(map: &memmap2::MmapRaw, at: usize) -> u8 {
    assert!(at < map.len());
    // SAFETY: the place lies in the map, and the callers read only below the length of the file. The
    // read is volatile: the byte is changed by system calls and not by Rust code.
    unsafe { map.as_ptr().add(at).read_volatile() }
}

fn an_open_file_outlives_its_name(disk: &Arc<dyn Disk>, root: &Path) -> io::Result<()> {
    let file = put(disk, &root.join("a"), b"old")?;
    disk.remove_file(&root.join("a"))?;
    disk.sync_dir(root)?;
    put(disk, &root.join("a"), b"new")?;
    let mut buffer = [0; 3];
    file.read_exact_at(&mut buffer, 0)?;
    assert_eq!(&buffer, b"old");
    file.write_at(b"OLD", 0)?;
    assert_eq!(get(disk, &root.join("a"))?, b"new");
    Ok(())
}

fn rename_replaces(disk: &Arc<dyn Disk>, root: &Path) -> io::Result<()> {
    let (a, b) = (root.join("a"), root.join("b"));
    let file = put(disk, &a, b"a")?;
    put(disk, &b, b"b")?;
    disk.rename(&a, &b)?;
    assert_eq!(disk.list(root)?, [PathBuf::from("b")]);
    assert_eq!(get(disk, &b)?, b"a");
    file.write_at(b"A", 0)?;
    assert_eq!(get(disk, &b)?, b"A");
    disk.rename(&b, &b)?;
    assert_eq!(get(disk, &b)?, b"A");
    Ok(())
}

fn rename_new_does_not_replace(disk: &Arc<dyn Disk>, root: &Path) -> io::Result<()> {
    let (a, b) = (root.join("a"), root.join("b"));
    put(disk, &a, b"a")?;
    put(disk, &b, b"b")?;
    refused(disk.rename_new(&a, &b), ErrorKind::AlreadyExists);
    assert_eq!((get(disk, &a)?, get(disk, &b)?), (b"a".to_vec(), b"b".to_vec()));
    disk.rename_new(&a, &root.join("c"))?;
    assert_eq!(disk.list(root)?, [PathBuf::from("b"), PathBuf::from("c")]);
    disk.create_dir(&root.join("d"))?;
    disk.rename_new(&root.join("d"), &root.join("e"))?;
    refused(disk.rename_new(&root.join("e"), &root.join("b")), ErrorKind::AlreadyExists);
    Ok(())
}

fn rename_of_what_is_missing_is_refused(disk: &Arc<dyn Disk>, root: &Path) -> io::Result<()> {
    refused(disk.rename(&root.join("a"), &root.join("b")), ErrorKind::NotFound);
    refused(disk.rename_new(&root.join("a"), &root.join("b")), ErrorKind::NotFound);
    put(disk, &root.join("a"), b"")?;
    refused(disk.rename(&root.join("a"), &root.join("no/b")), ErrorKind::NotFound);
    Ok(())
}

fn directories_are_renamed(disk: &Arc<dyn Disk>, root: &Path) -> io::Result<()> {
    disk.create_dir(&root.join("d"))?;
    put(disk, &root.join("d/a"), b"a")?;
    disk.rename(&root.join("d"), &root.join("e"))?;
    assert_eq!(get(disk, &root.join("e/a"))?, b"a");
    disk.create_dir(&root.join("f"))?;
    disk.rename(&root.join("e"), &root.join("f"))?;
    assert_eq!(get(disk, &root.join("f/a"))?, b"a");
    disk.create_dir(&root.join("g"))?;
    refused(disk.rename(&root.join("g"), &root.join("f")), ErrorKind::DirectoryNotEmpty);
    Ok(())
}

fn a_directory_does_not_go_into_itself(disk: &Arc<dyn Disk>, root: &Path) -> io::Result<()> {
    disk.create_dir(&root.join("d"))?;
    disk.create_dir(&root.join("d/e"))?;
    assert!(disk.rename(&root.join("d"), &root.join("d/e/f")).is_err());
    assert_eq!(disk.list(&root.join("d"))?, [PathBuf::from("e")]);
    Ok(())
}

fn no_replacement_across_kinds(disk: &Arc<dyn Disk>, root: &Path) -> io::Result<()> {
    disk.create_dir(&root.join("d"))?;
    put(disk, &root.join("a"), b"")?;
    refused(disk.rename(&root.join("a"), &root.join("d")), ErrorKind::IsADirectory);
    refused(disk.rename(&root.join("d"), &root.join("a")), ErrorKind::NotADirectory);
    Ok(())
}

fn names_are_listed_sorted(disk: &Arc<dyn Disk>, root: &Path) -> io::Result<()> {
    for name in ["b", "a.b", "ä", "B", "a", "10", "9"] {
        put(disk, &root.join(name), b"")?;
    }
    disk.create_dir(&root.join("c"))?;
    put(disk, &root.join("c/not listed"), b"")?;
    let names = ["10", "9", "B", "a", "a.b", "b", "c", "ä"].map(PathBuf::from);
    assert_eq!(disk.list(root)?, names);
    Ok(())
}

fn a_file_is_no_directory(disk: &Arc<dyn Disk>, root: &Path) -> io::Result<()> {
    let a = root.join("a");
    put(disk, &a, b"")?;
    refused(disk.list(&a), ErrorKind::NotADirectory);
    refused(disk.sync_dir(&a), ErrorKind::NotADirectory);
    refused(disk.remove_dir(&a), ErrorKind::NotADirectory);
    refused(disk.open(&a.join("b"), OpenMode::CreateNew), ErrorKind::NotADirectory);
    refused(disk.metadata(&a.join("b")), ErrorKind::NotADirectory);
    Ok(())
}

fn directories_are_made_one_by_one(disk: &Arc<dyn Disk>, root: &Path) -> io::Result<()> {
    refused(disk.create_dir(&root.join("a/b")), ErrorKind::NotFound);
    disk.create_dir(&root.join("a"))?;
    disk.create_dir(&root.join("a/b"))?;
    refused(disk.create_dir(&root.join("a/b")), ErrorKind::AlreadyExists);
    Ok(())
}

fn only_empty_directories_are_removed(disk: &Arc<dyn Disk>, root: &Path) -> io::Result<()> {
    disk.create_dir(&root.join("d"))?;
    put(disk, &root.join("d/a"), b"")?;
    refused(disk.remove_dir(&root.join("d")), ErrorKind::DirectoryNotEmpty);
    disk.remove_file(&root.join("d/a"))?;
    disk.remove_dir(&root.join("d"))?;
    assert!(disk.list(root)?.is_empty());
    Ok(())
}

fn remove_file_takes_no_directory(disk: &Arc<dyn Disk>, root: &Path) -> io::Result<()> {
    disk.create_dir(&root.join("d"))?;
    assert!(disk.remove_file(&root.join("d")).is_err());
    assert_eq!(disk.list(root)?.len(), 1);
    Ok(())
}

fn metadata_tells_kind_and_length(disk: &Arc<dyn Disk>, root: &Path) -> io::Result<()> {
    put(disk, &root.join("a"), &[0; 123])?;
    let found = disk.metadata(&root.join("a"))?;
    assert_eq!((found.kind, found.len), (EntryKind::File, 123));
    assert!((found.modified - disk.now()).abs() < 60_000_000);
    assert_eq!(found.mode & 0o400, 0o400);
    let found = disk.metadata(root)?;
    assert_eq!((found.kind, found.len), (EntryKind::Dir, 0));
    Ok(())
}

fn links_are_followed_by_open(disk: &Arc<dyn Disk>, root: &Path) -> io::Result<()> {
    disk.create_dir(&root.join("d"))?;
    put(disk, &root.join("d/a"), b"a")?;
    disk.symlink(Path::new("d/../d/a"), &root.join("link"))?;
    disk.symlink(&root.join("d"), &root.join("dir"))?;
    assert_eq!(disk.metadata(&root.join("link"))?.kind, EntryKind::Symlink);
    assert_eq!(disk.read_link(&root.join("link"))?, PathBuf::from("d/../d/a"));
    assert_eq!(get(disk, &root.join("link"))?, b"a");
    assert_eq!(get(disk, &root.join("dir/a"))?, b"a");
    assert_eq!(disk.list(&root.join("dir"))?, [PathBuf::from("a")]);
    assert!(disk.read_link(&root.join("d")).is_err());
    Ok(())
}

fn canonical_resolves_links_and_dots(disk: &Arc<dyn Disk>, root: &Path) -> io::Result<()> {
    disk.create_dir(&root.join("d"))?;
    disk.create_dir(&root.join("d/e"))?;
    disk.symlink(Path::new("d/e"), &root.join("link"))?;
    assert_eq!(disk.canonical(&root.join("link"))?, root.join("d/e"));
    assert_eq!(disk.canonical(&root.join("link/.."))?, root.join("d"));
    assert_eq!(disk.canonical(&root.join("./d/../d"))?, root.join("d"));
    assert_eq!(disk.canonical(Path::new("/"))?, PathBuf::from("/"));
    assert!(disk.canonical(Path::new("."))?.is_absolute());
    Ok(())
}

fn a_circle_of_links_is_an_error(disk: &Arc<dyn Disk>, root: &Path) -> io::Result<()> {
    disk.symlink(Path::new("b"), &root.join("a"))?;
    disk.symlink(Path::new("a"), &root.join("b"))?;
    assert!(disk.open(&root.join("a"), OpenMode::Read).is_err());
    assert!(disk.canonical(&root.join("a")).is_err());
    Ok(())
}

fn removing_a_link_leaves_its_target(disk: &Arc<dyn Disk>, root: &Path) -> io::Result<()> {
    put(disk, &root.join("a"), b"a")?;
    disk.symlink(Path::new("a"), &root.join("link"))?;
    disk.remove_file(&root.join("link"))?;
    assert_eq!(get(disk, &root.join("a"))?, b"a");
    Ok(())
}

fn a_lock_has_one_owner(disk: &Arc<dyn Disk>, root: &Path) -> io::Result<()> {
    let path = root.join("lock");
    let guard = disk.lock(&path, "first")?;
    refused(disk.lock(&path, "second").map(drop), ErrorKind::WouldBlock);
    assert_eq!(get(disk, &path)?, b"first");
    let other = disk.lock(&root.join("other"), "other")?;
    drop(guard);
    let guard = disk.lock(&path, "third")?;
    assert_eq!(get(disk, &path)?, b"third");
    drop((guard, other));
    Ok(())
}

fn a_shorter_note_replaces_a_longer_one(disk: &Arc<dyn Disk>, root: &Path) -> io::Result<()> {
    let path = root.join("lock");
    drop(disk.lock(&path, "a long note")?);
    drop(disk.lock(&path, "a")?);
    assert_eq!(get(disk, &path)?, b"a");
    drop(disk.lock(&path, "")?);
    assert_eq!(get(disk, &path)?, b"");
    Ok(())
}

fn free_space_is_told(disk: &Arc<dyn Disk>, root: &Path) -> io::Result<()> {
    assert!(disk.free_space(root)? > 0);
    refused(disk.free_space(&root.join("missing")), ErrorKind::NotFound);
    Ok(())
}

fn clocks_go_on(disk: &Arc<dyn Disk>, _root: &Path) -> io::Result<()> {
    let (one, two) = (disk.elapsed(), disk.elapsed());
    assert!(one <= two && two < Duration::from_secs(3600));
    // Later than the year 2020.
    assert!(disk.now() > 1_577_836_800_000_000);
    Ok(())
}

fn random_bytes_differ(disk: &Arc<dyn Disk>, _root: &Path) -> io::Result<()> {
    let (mut one, mut two) = ([0; 37], [0; 37]);
    disk.random(&mut one);
    disk.random(&mut two);
    assert_ne!(one, two);
    disk.random(&mut []);
    Ok(())
}

fn syncing_changes_no_byte(disk: &Arc<dyn Disk>, root: &Path) -> io::Result<()> {
    let bytes: Vec<u8> = (0..30_000u32).map(|n| n as u8).collect();
    let file = put(disk, &root.join("a"), &bytes)?;
    file.sync()?;
    disk.sync_dir(root)?;
    file.drop_cache(0, 30_000);
    file.drop_cache(0, 0);
    assert_eq!(get(disk, &root.join("a"))?, bytes);
    Ok(())
}

fn threads_share_a_handle(disk: &Arc<dyn Disk>, root: &Path) -> io::Result<()> {
    let file = put(disk, &root.join("a"), b"")?;
    std::thread::scope(|scope| {
        let write = |n: u8| {
            let file = &file;
            scope.spawn(move || (0..50).try_for_each(|k| file.write_at(&[n; 100], block(n, k))))
        };
        let threads: Vec<_> = (0..4).map(write).collect();
        threads.into_iter().try_for_each(|thread| thread.join().expect("no writer panics"))
    })?;
    let all = get(disk, &root.join("a"))?;
    assert_eq!(all.len(), 4 * 50 * 100);
    for (at, byte) in all.iter().enumerate() {
        assert_eq!(usize::from(*byte), at / 100 % 4);
    }
    Ok(())
}

fn block(n: u8, k: u64) -> u64 {
    (k * 4 + u64::from(n)) * 100
}

fn atomic_write_replaces(disk: &Arc<dyn Disk>, root: &Path) -> io::Result<()> {
    let path = root.join("a");
    write_atomically(&**disk, &path, b"one")?;
    write_atomically(&**disk, &path, b"two and more")?;
    assert_eq!(get(disk, &path)?, b"two and more");
    assert_eq!(disk.list(root)?, [PathBuf::from("a")]);
    Ok(())
}

fn atomic_write_over_a_left_over(disk: &Arc<dyn Disk>, root: &Path) -> io::Result<()> {
    put(disk, &root.join("a.partial"), b"left over and longer")?;
    write_atomically(&**disk, &root.join("a"), b"new")?;
    assert_eq!(get(disk, &root.join("a"))?, b"new");
    assert_eq!(disk.list(root)?, [PathBuf::from("a")]);
    Ok(())
}

fn create_dir_all_makes_what_is_missing(disk: &Arc<dyn Disk>, root: &Path) -> io::Result<()> {
    create_dir_all(&**disk, &root.join("a/b/c"))?;
    create_dir_all(&**disk, &root.join("a/b/c"))?;
    create_dir_all(&**disk, root)?;
    assert_eq!(disk.metadata(&root.join("a/b/c"))?.kind, EntryKind::Dir);
    put(disk, &root.join("file"), b"")?;
    refused(create_dir_all(&**disk, &root.join("file")), ErrorKind::AlreadyExists);
    refused(create_dir_all(&**disk, &root.join("file/d")), ErrorKind::NotADirectory);
    Ok(())
}

fn remove_tree_takes_all(disk: &Arc<dyn Disk>, root: &Path) -> io::Result<()> {
    create_dir_all(&**disk, &root.join("t/u/v"))?;
    create_dir_all(&**disk, &root.join("kept"))?;
    put(disk, &root.join("t/a"), b"")?;
    put(disk, &root.join("t/u/v/b"), b"")?;
    put(disk, &root.join("kept/c"), b"c")?;
    disk.symlink(&root.join("kept"), &root.join("t/u/link"))?;
    remove_tree(&**disk, &root.join("t"))?;
    remove_tree(&**disk, &root.join("t"))?;
    assert_eq!(disk.list(root)?, [PathBuf::from("kept")]);
    assert_eq!(get(disk, &root.join("kept/c"))?, b"c");
    Ok(())
}

fn read_whole_refuses_what_is_too_long(disk: &Arc<dyn Disk>, root: &Path) -> io::Result<()> {
    put(disk, &root.join("a"), b"12345")?;
    assert_eq!(read_whole(&**disk, &root.join("a"), 5)?, b"12345");
    refused(read_whole(&**disk, &root.join("a"), 4), ErrorKind::FileTooLarge);
    Ok(())
}
