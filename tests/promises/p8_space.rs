//! P8: whether a destination has room is told before a backup begins, by what the last one took.

use std::path::Path;

use stillpoint::disk::{Call, Disk, Fault, FaultPlan};
use stillpoint::{BackupReport, ErrorKind, Mode, TableDef};

use crate::scene::{Scene, TO};
use crate::support::random::Random;

const BLOBS: TableDef<u64, [u8]> = TableDef::new("blobs");

/// A store with two hundred records of 10 kB, which pack well or not at all.
fn filled(packs: bool) -> Scene {
    let scene = Scene::new(Mode::Server, 5);
    let mut random = Random::new(9);
    for key in 0..200 {
        let bytes: Vec<u8> =
            (0..10_000).map(|_| if packs { 7 } else { random.next() as u8 }).collect();
        let write = scene.store.begin_write().unwrap();
        write.table(BLOBS).unwrap().put(&key, &bytes[..]).unwrap();
        write.commit().unwrap();
    }
    scene
}

/// Leaves `bytes` free.
fn leave_free(scene: &Scene, bytes: u64) {
    scene.sim.set_capacity(1 << 30);
    let free = scene.sim.free_space(Path::new(TO)).unwrap();
    scene.sim.set_capacity((1 << 30) - free + bytes);
    assert!(scene.sim.free_space(Path::new(TO)).unwrap() <= bytes);
}

fn back_up(scene: &Scene) -> stillpoint::Result<BackupReport> {
    scene.store.backup(TO).workers(1).log_archive(false).run()
}

#[test]
fn a_store_that_packs_well_is_backed_up_where_there_is_room_for_what_the_last_archive_took() {
    let scene = filled(true);
    let first = back_up(&scene).unwrap();
    assert!(first.archive_bytes < first.source_bytes / 16, "{first:?}");
    leave_free(&scene, first.archive_bytes + (48 << 10));
    back_up(&scene).unwrap();
}

#[test]
fn a_store_that_does_not_pack_is_refused_before_anything_is_copied() {
    let scene = filled(false);
    let first = back_up(&scene).unwrap();
    assert!(first.archive_bytes > first.source_bytes / 3, "{first:?}");
    leave_free(&scene, first.archive_bytes / 2);
    let names = scene.sim.list(Path::new(TO)).unwrap();
    let refused = back_up(&scene).unwrap_err();
    assert_eq!((refused.kind(), refused.code()), (ErrorKind::StorageFull, 1407), "{refused}");
    let took = format!("the last one took {}", first.archive_bytes);
    assert!(refused.message().contains(&took), "{refused}");
    assert_eq!(scene.sim.list(Path::new(TO)).unwrap(), names);
}

#[test]
fn a_disk_that_is_full_when_the_destination_is_claimed_is_told_as_full() {
    let scene = filled(true);
    for (call, what) in
        [(Call::Lock, "writing-"), (Call::Create, ".probe"), (Call::Write, ".probe")]
    {
        scene.sim.fail(FaultPlan::always(call, what, Fault::FULL));
        let refused = back_up(&scene).unwrap_err();
        scene.sim.heal();
        assert_eq!((refused.kind(), refused.code()), (ErrorKind::StorageFull, 1407), "{what}");
        assert!(refused.is_retryable());
    }
}
