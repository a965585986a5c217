//! Content across crashes.

use std::path::Path;

use super::{create, outcomes, read};
use crate::disk::{Disk, OpenMode, SimDisk, Survival};

#[test]
fn unsynced_content_is_lost() {
    let disk = SimDisk::new(1);
    let file = create(&disk, "a", b"synced");
    file.sync().expect("a healthy disk syncs");
    file.write_at(b"UN", 0).expect("a healthy disk writes");
    file.write_at(b"longer", 6).expect("a healthy disk writes");
    assert_eq!(read(&disk, "a").expect("it is there"), b"UNncedlonger");
    let after = disk.reboot(Survival::Nothing);
    assert_eq!(read(&after, "a").expect("its name was synced"), b"synced");
}

#[test]
fn closing_and_renaming_sync_nothing() {
    let disk = SimDisk::new(1);
    drop(create(&disk, "a", b"never synced"));
    disk.rename(Path::new("a"), Path::new("b")).expect("a healthy disk renames");
    disk.sync_dir(Path::new("/")).expect("a healthy disk syncs");
    let after = disk.reboot(Survival::Nothing);
    assert_eq!(read(&after, "b").expect("its name was synced"), b"");
}

#[test]
fn syncing_a_folder_syncs_no_content_and_syncing_a_file_no_other_file() {
    let disk = SimDisk::new(1);
    let one = create(&disk, "one", b"1");
    create(&disk, "two", b"2");
    one.sync().expect("a healthy disk syncs");
    let after = disk.reboot(Survival::Nothing);
    assert_eq!(read(&after, "one").expect("its name was synced"), b"1");
    assert_eq!(read(&after, "two").expect("its name was synced"), b"");
}

#[test]
fn a_sync_by_any_handle_covers_all_of_them() {
    let disk = SimDisk::new(1);
    let file = create(&disk, "a", b"abc");
    let other = disk.open(Path::new("a"), OpenMode::Read).expect("it is there");
    file.write_at(b"X", 0).expect("a healthy disk writes");
    other.sync().expect("a healthy disk syncs");
    assert_eq!(read(&disk.reboot(Survival::Nothing), "a").expect("it is there"), b"Xbc");
}

#[test]
fn a_killed_process_loses_nothing_and_has_synced_nothing() {
    let disk = SimDisk::new(1);
    create(&disk, "a", b"unsynced");
    let killed = disk.reboot(Survival::Everything);
    assert_eq!(read(&killed, "a").expect("it is there"), b"unsynced");
    let cut = killed.reboot(Survival::Nothing);
    assert_eq!(read(&cut, "a").expect("its name was synced"), b"");
    // A sync after the kill covers what the killed process wrote.
    let killed = disk.reboot(Survival::Everything);
    let file = killed.open(Path::new("a"), OpenMode::Read).expect("it is there");
    file.sync().expect("a healthy disk syncs");
    assert_eq!(read(&killed.reboot(Survival::Nothing), "a").expect("it is there"), b"unsynced");
}

#[test]
fn what_a_power_cut_left_is_durable() {
    let disk = SimDisk::new(1);
    create(&disk, "a", &[1; 4096]);
    for seed in 0..20 {
        let after = disk.reboot(Survival::Random(seed));
        let again = after.reboot(Survival::Nothing);
        assert_eq!(read(&after.image(), "a").ok(), read(&again, "a").ok());
    }
}

#[test]
fn a_write_may_be_torn_between_any_two_sectors() {
    let disk = SimDisk::new(1);
    let file = create(&disk, "a", &[0; 2048]);
    file.sync().expect("a healthy disk syncs");
    file.write_at(&[1; 2048], 0).expect("a healthy disk writes");
    let seen = outcomes(&disk, 400, |after| {
        let bytes = read(after, "a").expect("it is there");
        let sectors: Vec<u8> = bytes.chunks(512).map(|sector| sector[0]).collect();
        assert!(bytes.chunks(512).all(|s| s.iter().all(|&byte| byte == s[0])), "sectors are whole");
        sectors
    });
    assert_eq!(seen.len(), 16, "every subset of the four sectors: {seen:?}");
}

#[test]
fn later_writes_may_survive_without_earlier_ones() {
    let disk = SimDisk::new(1);
    let file = create(&disk, "a", &[0; 1024]);
    file.sync().expect("a healthy disk syncs");
    file.write_at(&[1], 0).expect("a healthy disk writes");
    file.write_at(&[2], 512).expect("a healthy disk writes");
    file.write_at(&[3], 0).expect("a healthy disk writes");
    let seen = outcomes(&disk, 400, |after| {
        let bytes = read(after, "a").expect("it is there");
        (bytes[0], bytes[512])
    });
    let all = [0, 1, 3].into_iter().flat_map(|a| [(a, 0), (a, 2)]).collect();
    assert_eq!(seen, all);
}

#[test]
fn the_length_may_survive_without_the_content_and_the_reverse() {
    let disk = SimDisk::new(1);
    let file = create(&disk, "a", b"");
    file.write_at(&[1; 512], 0).expect("a healthy disk writes");
    file.write_at(&[2; 512], 512).expect("a healthy disk writes");
    let seen = outcomes(&disk, 400, |after| {
        let bytes = read(after, "a").expect("it is there");
        (bytes.len(), bytes.first().copied(), bytes.get(512).copied())
    });
    for case in [
        (0, None, None),
        (512, Some(0), None),
        (512, Some(1), None),
        (1024, Some(0), Some(0)),
        (1024, Some(0), Some(2)),
        (1024, Some(1), Some(0)),
        (1024, Some(1), Some(2)),
    ] {
        assert!(seen.contains(&case), "{case:?} was never seen");
    }
    assert_eq!(seen.len(), 7);
}

#[test]
fn an_unsynced_cut_may_or_may_not_have_happened() {
    let disk = SimDisk::new(1);
    let file = create(&disk, "a", &[1; 1000]);
    file.sync().expect("a healthy disk syncs");
    file.set_len(10).expect("a healthy disk cuts");
    assert_eq!(read(&disk.reboot(Survival::Nothing), "a").expect("it is there"), [1; 1000]);
    let lens = outcomes(&disk, 50, |after| read(after, "a").expect("it is there").len());
    assert_eq!(lens, [10, 1000].into());
}

#[test]
fn a_synced_cut_is_durable_and_regrowth_is_zeros() {
    let disk = SimDisk::new(1);
    let file = create(&disk, "a", &[1; 10_000]);
    file.sync().expect("a healthy disk syncs");
    file.set_len(100).expect("a healthy disk cuts");
    file.write_at(&[2; 10], 9_000).expect("a healthy disk writes");
    file.sync().expect("a healthy disk syncs");
    let bytes = read(&disk.reboot(Survival::Nothing), "a").expect("it is there");
    assert_eq!(bytes.len(), 9_010);
    assert_eq!(bytes[..100], [1; 100]);
    assert!(bytes[100..9_000].iter().all(|&byte| byte == 0));
    assert_eq!(bytes[9_000..], [2; 10]);
}

#[test]
fn allocation_is_durable_after_sync_only() {
    let disk = SimDisk::new(1);
    let file = create(&disk, "a", b"");
    file.allocate(0, 8192).expect("there is room");
    assert_eq!(read(&disk.image().reboot(Survival::Nothing), "a").expect("it is there").len(), 0);
    file.sync().expect("a healthy disk syncs");
    assert_eq!(read(&disk.reboot(Survival::Nothing), "a").expect("it is there"), [0; 8192]);
}

#[test]
fn images_do_not_share_later_writes() {
    let disk = SimDisk::new(1);
    let file = create(&disk, "a", &[1; 100]);
    file.sync().expect("a healthy disk syncs");
    let image = disk.image();
    file.write_at(&[2; 100], 0).expect("a healthy disk writes");
    let copy = image.open(Path::new("a"), OpenMode::Write).expect("it is there");
    copy.write_at(&[3; 50], 0).expect("a healthy disk writes");
    copy.sync().expect("a healthy disk syncs");
    assert_eq!(read(&disk, "a").expect("it is there"), [2; 100]);
    assert_eq!(read(&disk.reboot(Survival::Nothing), "a").expect("it is there"), [1; 100]);
    assert_eq!(read(&image, "a").expect("it is there")[..51], [[3; 50].as_slice(), &[1]].concat());
}

#[test]
fn rot_is_seen_now_and_after_a_crash() {
    let disk = SimDisk::new(1);
    let file = create(&disk, "a", &[0; 5000]);
    file.sync().expect("a healthy disk syncs");
    disk.corrupt("a", 4500, 3).expect("it is there");
    let bytes = read(&disk, "a").expect("it is there");
    assert_eq!(bytes[4500], 8);
    assert_eq!(bytes.iter().filter(|&&byte| byte != 0).count(), 1);
    assert_eq!(read(&disk.reboot(Survival::Nothing), "a").expect("it is there"), bytes);
    assert!(disk.corrupt("missing", 0, 0).is_err());
}

#[test]
fn endless_overwriting_without_a_sync_stays_cruel_and_bounded() {
    let disk = SimDisk::new(1);
    let file = create(&disk, "a", &[1; 1 << 20]);
    file.sync().expect("a healthy disk syncs");
    for round in 0..100u8 {
        file.write_at(&vec![2 + round % 50; 1 << 20], 0).expect("a healthy disk writes");
    }
    file.write_at(&[99; 1000], 300).expect("a healthy disk writes");
    let mut expected = vec![2 + 99 % 50; 1 << 20];
    expected[300..1300].fill(99);
    assert!(read(&disk, "a").expect("it is there") == expected);
    let after = disk.image().reboot(Survival::Nothing);
    assert!(read(&after, "a").expect("it is there") == [1; 1 << 20]);
    file.sync().expect("a healthy disk syncs");
    let after = disk.reboot(Survival::Nothing);
    assert!(read(&after, "a").expect("it is there") == expected);
}
