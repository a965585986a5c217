//! Names across crashes.

use std::path::Path;

use super::{create, exists, outcomes, read};
use crate::disk::atomic::write_atomically;
use crate::disk::{Call, Disk, Fault, FaultPlan, OpenMode, SimDisk, Survival};

fn sync_dir(disk: &SimDisk, path: &str) {
    disk.sync_dir(Path::new(path)).expect("a healthy disk syncs");
}

fn rename(disk: &SimDisk, from: &str, to: &str) {
    disk.rename(Path::new(from), Path::new(to)).expect("a healthy disk renames");
}

fn mkdir(disk: &SimDisk, path: &str) {
    disk.create_dir(Path::new(path)).expect("the name is free");
}

#[test]
fn an_unsynced_name_is_lost_with_all_its_synced_content() {
    let disk = SimDisk::new(1);
    let file = disk.open(Path::new("a"), OpenMode::CreateNew).expect("the name is free");
    file.write_at(b"content", 0).expect("a healthy disk writes");
    file.sync().expect("a healthy disk syncs");
    assert!(!exists(&disk.reboot(Survival::Nothing), "a"));
    let seen = outcomes(&disk, 50, |after| read(after, "a").ok());
    assert_eq!(seen, [None, Some(b"content".to_vec())].into());
}

#[test]
fn a_synced_folder_under_an_unsynced_one_is_lost() {
    let disk = SimDisk::new(1);
    mkdir(&disk, "d");
    let file = disk.open(Path::new("d/a"), OpenMode::CreateNew).expect("the name is free");
    file.sync().expect("a healthy disk syncs");
    sync_dir(&disk, "d");
    assert!(!exists(&disk.image().reboot(Survival::Nothing), "d/a"));
    sync_dir(&disk, "/");
    assert!(exists(&disk.reboot(Survival::Nothing), "d/a"));
}

#[test]
fn a_removed_file_comes_back_until_the_folder_is_synced() {
    let disk = SimDisk::new(1);
    create(&disk, "a", b"content").sync().expect("a healthy disk syncs");
    disk.remove_file(Path::new("a")).expect("it is there");
    assert!(!exists(&disk, "a"));
    let after = disk.image().reboot(Survival::Nothing);
    assert_eq!(read(&after, "a").expect("it is back"), b"content");
    assert_eq!(outcomes(&disk.image(), 50, |after| exists(after, "a")).len(), 2);
    sync_dir(&disk, "/");
    assert!(!exists(&disk.reboot(Survival::Nothing), "a"));
}

#[test]
fn a_renamed_file_has_one_of_its_names() {
    let disk = SimDisk::new(1);
    create(&disk, "a", b"content").sync().expect("a healthy disk syncs");
    rename(&disk, "a", "b");
    rename(&disk, "b", "c");
    assert!(exists(&disk.image().reboot(Survival::Nothing), "a"));
    let seen = outcomes(&disk.image(), 100, |after| {
        ["a", "b", "c"].map(|name| exists(after, name)).to_vec()
    });
    let one = |at: usize| (0..3).map(|n| n == at).collect();
    assert_eq!(seen, [one(0), one(1), one(2)].into());
    sync_dir(&disk, "/");
    assert!(exists(&disk.reboot(Survival::Nothing), "c"));
}

#[test]
fn a_replacing_rename_leaves_the_old_or_the_new_file() {
    let disk = SimDisk::new(1);
    create(&disk, "a", b"old").sync().expect("a healthy disk syncs");
    create(&disk, "a.partial", b"new").sync().expect("a healthy disk syncs");
    rename(&disk, "a.partial", "a");
    let seen = outcomes(&disk, 50, |after| {
        (read(after, "a").expect("one is there"), exists(after, "a.partial"))
    });
    assert_eq!(seen, [(b"old".to_vec(), true), (b"new".to_vec(), false)].into());
}

#[test]
fn a_move_between_folders_waits_for_both() {
    let disk = SimDisk::new(1);
    mkdir(&disk, "d");
    mkdir(&disk, "e");
    create(&disk, "d/a", b"").sync().expect("a healthy disk syncs");
    sync_dir(&disk, "d");
    rename(&disk, "d/a", "e/a");
    for first in ["d", "e"] {
        let image = disk.image();
        sync_dir(&image, first);
        let after = image.image().reboot(Survival::Nothing);
        assert!(exists(&after, "d/a") && !exists(&after, "e/a"));
        sync_dir(&image, if first == "d" { "e" } else { "d" });
        let after = image.reboot(Survival::Nothing);
        assert!(!exists(&after, "d/a") && exists(&after, "e/a"));
    }
}

#[test]
fn a_synced_removal_is_not_undone_by_an_earlier_move() {
    let disk = SimDisk::new(1);
    mkdir(&disk, "d");
    mkdir(&disk, "e");
    create(&disk, "d/a", b"").sync().expect("a healthy disk syncs");
    sync_dir(&disk, "d");
    rename(&disk, "d/a", "e/a");
    disk.remove_file(Path::new("e/a")).expect("it is there");
    sync_dir(&disk, "e");
    sync_dir(&disk, "d");
    for survival in [Survival::Nothing, Survival::Everything, Survival::Random(3)] {
        let after = disk.reboot(survival);
        assert!(!exists(&after, "d/a") && !exists(&after, "e/a"));
    }
}

#[test]
fn folders_moved_into_each_other_never_form_a_circle() {
    let disk = SimDisk::new(1);
    for path in ["a", "b"] {
        mkdir(&disk, path);
    }
    sync_dir(&disk, "/");
    rename(&disk, "a", "b/a");
    rename(&disk, "b/a", "a");
    rename(&disk, "b", "a/b");
    let seen = outcomes(&disk, 100, |after| {
        ["a", "b", "a/b", "b/a"].map(|path| exists(after, path)).to_vec()
    });
    for found in &seen {
        assert!(found[0] || found[1], "one of the two lies in the root");
        assert_eq!(found.iter().filter(|there| **there).count(), 2, "both are somewhere");
    }
}

#[test]
fn a_removed_folder_comes_back_with_what_it_durably_held() {
    let disk = SimDisk::new(1);
    mkdir(&disk, "d");
    create(&disk, "d/a", b"content").sync().expect("a healthy disk syncs");
    sync_dir(&disk, "d");
    crate::disk::atomic::remove_tree(&*disk, Path::new("d")).expect("a healthy disk removes");
    let after = disk.reboot(Survival::Nothing);
    assert_eq!(read(&after, "d/a").expect("nothing was synced"), b"content");
}

#[test]
fn an_atomic_write_is_old_or_new_at_every_crash() {
    let fresh = SimDisk::new(1);
    write_atomically(&*fresh, Path::new("a"), &[1; 3000]).expect("a healthy disk writes");
    let calls = {
        let disk = fresh.image();
        write_atomically(&*disk, Path::new("a"), &[2; 2000]).expect("a healthy disk writes");
        disk.calls()
    };
    let (mut old, mut new) = (0, 0);
    for call in 1..=calls + 1 {
        let disk = fresh.image();
        disk.crash_at(call);
        let result = write_atomically(&*disk, Path::new("a"), &[2; 2000]);
        assert_eq!(result.is_ok(), call > calls);
        let random = (0..30).map(Survival::Random);
        for survival in random.chain([Survival::Nothing, Survival::Everything]) {
            let after = disk.reboot(survival);
            let bytes = read(&after, "a").expect("it never vanishes");
            if bytes == [1; 3000] {
                assert!(result.is_err(), "acknowledged and lost");
                old += 1;
            } else {
                assert_eq!(bytes, [2; 2000], "torn at {:?}", disk.crash_site());
                new += 1;
            }
            write_atomically(&*after, Path::new("a"), b"again")
                .expect("a left-over is no obstacle");
            let last = after.reboot(Survival::Nothing);
            assert_eq!(read(&last, "a").expect("it is there"), b"again");
        }
    }
    assert!(old > 0 && new > 0);
}

#[test]
fn directories_made_with_their_parents_are_durable() {
    let disk = SimDisk::new(1);
    crate::disk::atomic::create_dir_all(&*disk, Path::new("a/b/c")).expect("the names are free");
    assert!(exists(&disk.reboot(Survival::Nothing), "a/b/c"));
}

#[test]
fn a_directory_that_is_there_gets_a_durable_name_as_far_as_that_can_be() {
    let disk = SimDisk::new(1);
    disk.create_dir(Path::new("a")).expect("the name is free");
    crate::disk::atomic::create_dir_all(&*disk, Path::new("a/b")).expect("the name is free");
    assert!(exists(&disk.reboot(Survival::Nothing), "a/b"));
    let disk = SimDisk::new(1);
    disk.create_dir(Path::new("a")).expect("the name is free");
    crate::disk::atomic::create_dir_all(&*disk, Path::new("a")).expect("it is there");
    assert!(exists(&disk.reboot(Survival::Nothing), "a"));
    for (fault, refused) in [(Fault::DENIED, false), (Fault::IO, true)] {
        let disk = SimDisk::new(1);
        disk.create_dir(Path::new("a")).expect("the name is free");
        disk.fail(FaultPlan::once(Call::SyncDir, "/", fault));
        let made = crate::disk::atomic::create_dir_all(&*disk, Path::new("a/b"));
        assert_eq!(made.is_err(), refused, "{made:?}");
        assert!(!disk.has_faults());
    }
}

#[test]
fn a_mount_point_cannot_be_renamed_and_nothing_is_renamed_across_it() {
    let disk = SimDisk::new(1);
    for dir in ["/a", "/a/mount", "/a/mount/in"] {
        disk.create_dir(Path::new(dir)).expect("nothing is in the way");
    }
    disk.mount_point("/a/mount").expect("nothing is in the way");
    let rename = |from: &str, to: &str| disk.rename_new(Path::new(from), Path::new(to));
    use std::io::ErrorKind::{CrossesDevices, ResourceBusy};
    assert_eq!(rename("/a/mount", "/b").expect_err("it is immovable").kind(), ResourceBusy);
    assert_eq!(
        rename("/a/mount/in", "/a/out").expect_err("it is immovable").kind(),
        CrossesDevices
    );
    assert_eq!(
        disk.remove_dir(Path::new("/a/mount")).expect_err("it is immovable").kind(),
        ResourceBusy
    );
    rename("/a/mount/in", "/a/mount/other").expect("nothing is in the way");
    rename("/a", "/b").expect("nothing is in the way");
    assert_eq!(
        rename("/b/mount/other", "/b/out").expect_err("it is immovable").kind(),
        CrossesDevices
    );
    disk.sync_dir(Path::new("/")).expect("nothing is in the way");
    let later = disk.reboot(Survival::Everything);
    let moved = later.rename_new(Path::new("/b/mount"), Path::new("/c"));
    assert_eq!(
        moved.expect_err("it is immovable").kind(),
        ResourceBusy,
        "it is a mount point after a crash too"
    );
}

#[test]
fn folders_of_a_lower_layer_stay_while_their_files_move() {
    let disk = SimDisk::new(1);
    for dir in ["/low", "/low/in"] {
        disk.create_dir(Path::new(dir)).expect("nothing is in the way");
    }
    disk.open(Path::new("/low/in/file"), OpenMode::CreateNew).expect("nothing is in the way");
    disk.lower_layer("/low").expect("nothing is in the way");
    disk.create_dir(Path::new("/low/new")).expect("nothing is in the way");
    let rename = |from: &str, to: &str| disk.rename_new(Path::new(from), Path::new(to));
    for dir in ["/low", "/low/in"] {
        assert_eq!(
            rename(dir, "/up").expect_err("it is immovable").kind(),
            std::io::ErrorKind::CrossesDevices
        );
    }
    rename("/low/new", "/up").expect("nothing is in the way");
    rename("/low/in/file", "/up/file").expect("nothing is in the way");
    disk.remove_dir(Path::new("/low/in")).expect("nothing is in the way");
}

#[test]
fn where_names_are_denied_nothing_is_made_renamed_or_removed() {
    let disk = SimDisk::new(1);
    for dir in ["/a", "/a/in"] {
        disk.create_dir(Path::new(dir)).expect("nothing is in the way");
    }
    disk.deny_names("/a").expect("nothing is in the way");
    let kind = |result: std::io::Result<()>| result.expect_err("it is immovable").kind();
    let denied = std::io::ErrorKind::PermissionDenied;
    assert_eq!(kind(disk.rename(Path::new("/a/in"), Path::new("/a/other"))), denied);
    assert_eq!(kind(disk.create_dir(Path::new("/a/new"))), denied);
    assert_eq!(kind(disk.remove_dir(Path::new("/a/in"))), denied);
    let made = disk.open(Path::new("/a/new"), OpenMode::CreateNew).map(drop);
    assert_eq!(kind(made), denied);
    disk.create_dir(Path::new("/a/in/new")).expect("nothing is in the way");
    disk.rename(Path::new("/a/in/new"), Path::new("/a/in/other")).expect("nothing is in the way");
}
