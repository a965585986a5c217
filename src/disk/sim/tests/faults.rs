//! Faults on demand, crashes at a call, capacity, hangs, clocks and locks.

use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use super::{create, read};
use crate::disk::{Call, Disk, Fault, FaultPlan, OpenMode, SimDisk, Survival};

#[track_caller]
fn kind<T>(result: io::Result<T>) -> ErrorKind {
    result.err().expect("it was to fail").kind()
}

#[test]
fn a_crash_stops_that_call_and_all_later_ones() {
    let disk = SimDisk::new(1);
    let file = create(&disk, "a", b"abc");
    assert_eq!(disk.calls(), 3);
    disk.crash_at(5);
    file.sync().expect("call 4 passes");
    assert!(!disk.crashed());
    assert!(disk.rename(Path::new("a"), Path::new("b")).is_err());
    assert!(disk.crashed());
    assert_eq!(disk.crash_site(), Some((Call::Rename, "/a".into())));
    assert!(file.read_at(&mut [0], 0).is_err());
    assert!(file.sync().is_err());
    assert!(file.map(10).is_err());
    assert!(disk.list(Path::new("/")).is_err());
    assert!(disk.lock(Path::new("l"), "").is_err());
    let after = disk.reboot(Survival::Everything);
    assert_eq!(read(&after, "a").expect("it was not renamed"), b"abc");
    assert!(file.write_at(b"x", 0).is_err(), "old handles stay dead");
    assert_eq!(read(&after, "a").expect("it is there"), b"abc");
}

#[test]
fn a_disk_that_was_rebooted_is_dead_also_without_a_crash() {
    let disk = SimDisk::new(1);
    let file = create(&disk, "a", b"abc");
    let after = disk.reboot(Survival::Everything);
    assert!(disk.crashed() && disk.crash_site().is_none() && !after.crashed());
    assert!(file.write_at(b"x", 0).is_err() && disk.list(Path::new("/")).is_err());
    // What it holds can be asked for again.
    assert_eq!(read(&disk.reboot(Survival::Everything), "a").expect("it is there"), b"abc");
}

#[test]
fn a_crash_in_a_write_leaves_some_first_part_of_it() {
    let mut parts = std::collections::BTreeSet::new();
    for seed in 0..200 {
        let disk = SimDisk::new(seed);
        let file = create(&disk, "a", b"....");
        disk.crash_at(disk.calls() + 1);
        assert!(file.write_at(b"1234", 0).is_err());
        let after = disk.reboot(Survival::Everything);
        parts.insert(read(&after, "a").expect("it is there"));
    }
    let all = [b"....", b"1...", b"12..", b"123.", b"1234"].map(|part| part.to_vec());
    assert_eq!(parts, all.into());
}

#[test]
fn a_plan_fails_once_or_for_ever_and_only_what_it_names() {
    let disk = SimDisk::new(1);
    let (a, b) = (create(&disk, "log-a", b"1"), create(&disk, "b", b"1"));
    disk.fail(FaultPlan::once(Call::Write, "log", Fault::IO).skip(1));
    b.write_at(b"2", 0).expect("another path");
    a.write_at(b"2", 0).expect("the first is let pass");
    a.sync().expect("another call");
    assert_eq!(a.write_at(b"3", 0).err().and_then(|e| e.raw_os_error()), Some(5));
    assert!(!disk.has_faults());
    a.write_at(b"4", 0).expect("once");
    disk.fail(FaultPlan::always(Call::Read, "b", Fault::DENIED));
    for _ in 0..3 {
        assert_eq!(kind(b.read_at(&mut [0], 0)), ErrorKind::PermissionDenied);
    }
    disk.heal();
    assert_eq!(read(&disk, "b").expect("it is healed"), b"2");
    disk.fail(FaultPlan::always(Call::Read, "", Fault::IO).any_call());
    assert!(disk.list(Path::new("/")).is_err() && a.sync().is_err());
}

#[test]
fn a_failed_call_changes_nothing() {
    let disk = SimDisk::new(1);
    let file = create(&disk, "a", b"abc");
    disk.fail(FaultPlan::always(Call::Open, "", Fault::IO).any_call());
    let (a, b) = (Path::new("a"), Path::new("b"));
    assert!(file.write_at(b"x", 0).is_err());
    assert!(file.set_len(0).is_err());
    assert!(file.allocate(0, 100).is_err());
    assert!(disk.rename(a, b).is_err());
    assert!(disk.rename_new(a, b).is_err());
    assert!(disk.remove_file(a).is_err());
    assert!(disk.create_dir(b).is_err());
    assert!(disk.symlink(a, b).is_err());
    assert!(disk.open(b, OpenMode::CreateNew).is_err());
    assert!(disk.lock(b, "note").is_err());
    disk.heal();
    assert_eq!(disk.list(Path::new("/")).expect("it is healed"), [a]);
    assert_eq!(read(&disk, "a").expect("it is healed"), b"abc");
}

#[test]
fn an_open_file_goes_by_its_present_name() {
    let disk = SimDisk::new(1);
    let file = create(&disk, "a.partial", b"");
    disk.fail(FaultPlan::always(Call::Write, "partial", Fault::IO));
    assert!(file.write_at(b"x", 0).is_err());
    disk.rename(Path::new("a.partial"), Path::new("a")).expect("renaming is healthy");
    file.write_at(b"x", 0).expect("the name no longer matches");
}

#[test]
fn short_transfers_take_effect_in_part() {
    let disk = SimDisk::new(1);
    let file = create(&disk, "a", b"......");
    disk.fail(FaultPlan::once(Call::Write, "a", Fault::FULL.after_bytes(3)));
    assert_eq!(kind(file.write_parts_at(&[b"12", b"34", b"56"], 0)), ErrorKind::StorageFull);
    assert_eq!(read(&disk, "a").expect("it is there"), b"123...");
    disk.fail(FaultPlan::once(Call::Read, "a", Fault::IO.after_bytes(2)));
    let mut buffer = [b'-'; 6];
    assert_eq!(file.read_at(&mut buffer, 0).expect("a short read is no error"), 2);
    assert_eq!(&buffer, b"12----");
    disk.fail(FaultPlan::once(Call::Read, "a", Fault::INTERRUPTED));
    file.read_exact_at(&mut buffer, 0).expect("an interrupted read is taken up again");
    assert_eq!(&buffer, b"123...");
}

#[test]
fn what_a_failed_sync_covered_is_never_made_durable_by_a_later_one() {
    let disk = SimDisk::new(1);
    let file = create(&disk, "a", &[0; 2048]);
    file.sync().expect("a healthy disk syncs");
    file.write_at(&[1; 1024], 0).expect("a healthy disk writes");
    disk.fail(FaultPlan::once(Call::Sync, "a", Fault::IO));
    assert!(file.sync().is_err());
    assert_eq!(read(&disk, "a").expect("it is there")[0], 1, "still read");
    file.write_at(&[2; 10], 600).expect("a healthy disk writes");
    file.sync().expect("the system has forgotten the failure");
    let bytes = read(&disk.image().reboot(Survival::Nothing), "a").expect("it is there");
    assert_eq!(bytes[..512], [0; 512], "given up");
    assert_eq!(bytes[512..600], [1; 88], "written again with its sector");
    assert_eq!(bytes[600..610], [2; 10]);
    for seed in 0..50 {
        let bytes = read(&disk.reboot(Survival::Random(seed)), "a").expect("it is there");
        assert_eq!(bytes[600..610], [2; 10], "what was synced later stays");
    }
}

#[test]
fn a_crash_in_a_sync_gives_up_nothing() {
    let disk = SimDisk::new(1);
    let file = create(&disk, "a", b"abc");
    disk.crash_at(disk.calls() + 1);
    assert!(file.sync().is_err());
    let after = disk.reboot(Survival::Everything);
    let file = after.open(Path::new("a"), OpenMode::Write).expect("it is there");
    file.sync().expect("a healthy disk syncs");
    assert_eq!(read(&after.reboot(Survival::Nothing), "a").expect("it is there"), b"abc");
}

#[test]
fn a_full_disk_says_so_and_goes_on_when_there_is_room() {
    let disk = SimDisk::new(1);
    let root = Path::new("/");
    disk.set_capacity(4 * 4096);
    let file = create(&disk, "a", &[1; 4096]);
    assert_eq!(disk.free_space(root).expect("it is there"), 3 * 4096);
    assert_eq!(kind(file.write_at(&[2; 5 * 4096], 0)), ErrorKind::StorageFull);
    assert_eq!(file.len().expect("it is open"), 4 * 4096, "what had room was written");
    assert_eq!(disk.free_space(root).expect("it is there"), 0);
    file.write_at(&[3; 4 * 4096], 0).expect("overwriting takes no room");
    let other = create(&disk, "b", b"");
    assert_eq!(kind(other.write_at(b"x", 0)), ErrorKind::StorageFull);
    assert!(other.is_empty().expect("it is open"));
    assert_eq!(kind(other.allocate(0, 1)), ErrorKind::StorageFull);
    other.set_len(1 << 30).expect("a hole takes no room");
    file.set_len(4096).expect("a healthy disk cuts");
    other.allocate(0, 2 * 4096).expect("there is room again");
    assert_eq!(disk.free_space(root).expect("it is there"), 4096);
    other.write_at(&[1; 8192], 0).expect("its room was taken before");
    assert_eq!(disk.free_space(root).expect("it is there"), 4096);
    disk.remove_file(Path::new("a")).expect("it is there");
    assert_eq!(disk.free_space(root).expect("it is there"), 4096, "it is open");
    drop(file);
    assert_eq!(disk.free_space(root).expect("it is there"), 2 * 4096);
}

#[test]
fn a_call_hangs_until_the_guard_goes_and_others_pass() {
    let disk = SimDisk::new(1);
    create(&disk, "nfs", b"far");
    create(&disk, "near", b"near");
    let hang = disk.hang("nfs");
    let (send, receive) = mpsc::channel();
    let waiting = thread::spawn({
        let disk = disk.clone();
        move || send.send(read(&disk, "nfs").expect("the server is back"))
    });
    assert_eq!(read(&disk, "near").expect("another path"), b"near");
    assert!(receive.recv_timeout(Duration::from_millis(20)).is_err());
    drop(hang);
    assert_eq!(receive.recv().expect("it goes on"), b"far");
    waiting.join().expect("it does not panic").expect("the answer was taken");
}

#[test]
fn a_crash_ends_a_hang() {
    let disk = SimDisk::new(1);
    create(&disk, "nfs", b"far");
    let _hang = disk.hang("nfs");
    let before = disk.calls();
    let waiting = thread::spawn({
        let disk = disk.clone();
        move || read(&disk, "nfs")
    });
    while disk.calls() == before {
        thread::yield_now();
    }
    disk.crash_now();
    assert!(waiting.join().expect("it does not panic").is_err());
}

#[test]
fn clocks_move_only_when_told_and_strictly() {
    let disk = SimDisk::new(1);
    let (now, elapsed) = (disk.now(), disk.elapsed());
    assert_eq!(disk.now(), now + 2);
    disk.advance(Duration::from_secs(3));
    assert_eq!(disk.elapsed(), elapsed + Duration::from_micros(3_000_002));
    disk.set_now(1000);
    assert_eq!(disk.now(), 1001);
    assert!(disk.elapsed() > elapsed + Duration::from_secs(3));
    create(&disk, "a", b"");
    assert!(disk.metadata(Path::new("a")).expect("it is there").modified < 1100);
}

#[test]
fn locks_go_with_the_process_and_not_with_a_lost_guard() {
    let disk = SimDisk::new(1);
    let guard = disk.lock(Path::new("lock"), "one").expect("it is free");
    assert_eq!(kind(disk.lock(Path::new("lock"), "two").map(drop)), ErrorKind::WouldBlock);
    let after = disk.reboot(Survival::Everything);
    let second = after.lock(Path::new("lock"), "two").expect("its owner is dead");
    drop(guard);
    assert_eq!(kind(after.lock(Path::new("lock"), "three").map(drop)), ErrorKind::WouldBlock);
    drop(second);
}

#[test]
fn the_same_seed_gives_the_same_disk() {
    let run = |seed| {
        let disk = SimDisk::new(seed);
        let mut bytes = [0; 32];
        disk.random(&mut bytes);
        create(&disk, "a", &bytes.repeat(100));
        let after = disk.reboot(Survival::Random(seed));
        let mut more = [0; 32];
        after.random(&mut more);
        (bytes, more, read(&after, "a").ok(), after.now())
    };
    assert_eq!(run(5), run(5));
    assert_ne!(run(5).0, run(6).0);
    assert_ne!(run(5).0, run(5).1);
}
