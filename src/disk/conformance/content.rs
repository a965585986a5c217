//! What files hold.
//!
//! The unsafe code here looks at single bytes of a map. It is sound, since the map lives longer than
//! the look and no caller asks for a byte past the end of the file.

#![allow(unsafe_code)]

use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::Arc;

use super::{Row, get, put, refused};
use crate::disk::{Disk, OpenMode};

pub(super) const ROWS: &[Row] = &[
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
    ("no_byte_that_was_written_is_taken_for_a_hole", no_written_byte_is_taken_for_a_hole),
    ("two_handles_see_one_file", two_handles_see_one_file),
    ("a_map_sees_later_writes_and_growth", a_map_sees_later_writes_and_growth),
    ("an_open_file_outlives_its_name", an_open_file_outlives_its_name),
];

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

fn no_written_byte_is_taken_for_a_hole(disk: &Arc<dyn Disk>, root: &Path) -> io::Result<()> {
    let file = put(disk, &root.join("a"), b"x")?;
    file.allocate(0, 1 << 20)?;
    file.write_at(b"y", 300_000)?;
    for synced in [false, true] {
        if synced {
            file.sync()?;
        }
        for byte in [0, 300_000] {
            let data = file.next_data(byte)?;
            assert!(data.is_some_and(|data| data.contains(&byte)), "{byte}, synced: {synced}");
        }
        let data = file.next_data(200_000)?;
        assert!(data.is_some_and(|data| data.contains(&300_000)), "synced: {synced}");
        assert_eq!(file.next_data(1 << 20)?, None);
    }
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

fn mapped(map: &memmap2::MmapRaw, at: usize) -> u8 {
    assert!(at < map.len());
    // SAFETY: the place lies in the map, and the callers read only below the length of the file. The
    // read is volatile: the byte is changed by system calls and not by Rust code.
    unsafe { map.as_ptr().add(at).read_volatile() }
}
