//! Locks, clocks, threads, and the acts built on both disks.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::{Row, get, put, refused};
use crate::disk::atomic::{create_dir_all, read_whole, remove_tree, write_atomically};
use crate::disk::{Disk, EntryKind};

pub(super) const ROWS: &[Row] = &[
    ("a_lock_has_one_owner_and_tells_who", a_lock_has_one_owner),
    ("shared_locks_keep_the_exclusive_one_out_and_change_nothing", shared_locks),
    ("what_may_be_written_is_told", what_may_be_written_is_told),
    ("a_shorter_note_replaces_a_longer_one", a_shorter_note_replaces_a_longer_one),
    ("free_space_is_told_for_what_exists", free_space_is_told),
    ("attributes_are_kept", attributes_are_kept),
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

fn shared_locks(disk: &Arc<dyn Disk>, root: &Path) -> io::Result<()> {
    let path = root.join("lock");
    refused(disk.lock_shared(&path).map(drop), ErrorKind::NotFound);
    refused(disk.metadata(&path), ErrorKind::NotFound);
    let owner = disk.lock(&path, "owner")?;
    refused(disk.lock_shared(&path).map(drop), ErrorKind::WouldBlock);
    let id = owner.id();
    drop(owner);
    let (one, two) = (disk.lock_shared(&path)?, disk.lock_shared(&path)?);
    assert_eq!((one.id(), two.id()), (id, id));
    refused(disk.lock(&path, "another").map(drop), ErrorKind::WouldBlock);
    drop(one);
    refused(disk.lock(&path, "another").map(drop), ErrorKind::WouldBlock);
    assert_eq!(get(disk, &path)?, b"owner");
    drop(two);
    drop(disk.lock(&path, "another")?);
    assert_eq!(get(disk, &path)?, b"another");
    Ok(())
}

fn what_may_be_written_is_told(disk: &Arc<dyn Disk>, root: &Path) -> io::Result<()> {
    put(disk, &root.join("a"), b"bytes")?;
    assert!(disk.is_writable(root)? && disk.is_writable(&root.join("a"))?);
    refused(disk.is_writable(&root.join("missing")), ErrorKind::NotFound);
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

fn attributes_are_kept(disk: &Arc<dyn Disk>, root: &Path) -> io::Result<()> {
    put(disk, &root.join("file"), b"content")?;
    disk.create_dir(&root.join("dir"))?;
    disk.symlink(Path::new("file"), &root.join("link"))?;
    // Before 1970, and not on a whole second.
    for (name, mode, modified) in
        [("file", 0o640, 1_000_000_000_123_456), ("dir", 0o700, -1_500_000), ("link", 0o600, 7)]
    {
        disk.set_attributes(&root.join(name), mode, modified)?;
        let name = if name == "link" { "file" } else { name };
        let found = disk.metadata(&root.join(name))?;
        assert_eq!((found.mode, found.modified), (mode, modified), "{name}");
    }
    assert_eq!(get(disk, &root.join("file"))?, b"content");
    refused(disk.set_attributes(&root.join("none"), 0o600, 0), ErrorKind::NotFound);
    Ok(())
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

fn block(n: u8, k: u64) -> u64 {
    (k * 4 + u64::from(n)) * 100
}
