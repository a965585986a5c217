//! P5 above the folders that the library makes: what was acknowledged is found by its path after a power
//! cut, also where a folder above it was just made and nobody synced that.

use std::path::Path;
use std::sync::Arc;

use stillpoint::disk::{Call, Disk, Fault, FaultPlan, SimDisk, Survival};
use stillpoint::{Archive, Store};

use crate::scene::{get, open, put};

fn disk(folders: &[&str]) -> Arc<SimDisk> {
    let sim = SimDisk::new(1);
    folders.iter().for_each(|folder| sim.create_dir(Path::new(folder)).unwrap());
    sim
}

fn create(sim: &Arc<SimDisk>, dir: &str) -> Store {
    let store = Store::builder(dir).disk(sim.clone()).create().unwrap();
    put(&store, 1, "acknowledged").unwrap();
    store
}

fn holds(sim: &Arc<SimDisk>, dir: &str) {
    let store = open(sim, dir).unwrap_or_else(|e| panic!("{dir}: {e}"));
    assert_eq!(get(&store, 1).as_deref(), Some("acknowledged"), "{dir}");
}

#[test]
fn a_store_below_folders_that_were_just_made_survives_a_power_cut() {
    for folders in [&["/data"][..], &["/data", "/data/a", "/data/a/b"]] {
        let sim = disk(folders);
        let dir = format!("{}/shop", folders[folders.len() - 1]);
        let store = create(&sim, &dir);
        store.checkpoint().unwrap();
        store.close().unwrap();
        holds(&sim.reboot(Survival::Nothing), &dir);
    }
}

#[test]
fn a_store_in_a_folder_that_was_just_made_for_it_survives_a_power_cut() {
    let sim = disk(&["/data", "/data/shop"]);
    let _open = create(&sim, "/data/shop");
    holds(&sim.reboot(Survival::Nothing), "/data/shop");
}

#[test]
fn a_commit_makes_the_place_durable_that_its_store_was_moved_to() {
    let sim = disk(&[]);
    create(&sim, "/shop").close().unwrap();
    sim.create_dir(Path::new("/new")).unwrap();
    sim.rename(Path::new("/shop"), Path::new("/new/shop")).unwrap();
    let store = open(&sim, "/new/shop").unwrap();
    put(&store, 2, "acknowledged").unwrap();
    let after = sim.reboot(Survival::Nothing);
    holds(&after, "/new/shop");
    assert_eq!(get(&open(&after, "/new/shop").unwrap(), 2).as_deref(), Some("acknowledged"));
}

#[test]
fn a_store_at_the_end_of_a_link_that_was_just_made_survives_a_power_cut() {
    let sim = disk(&["/disk", "/disk/real"]);
    sim.symlink(Path::new("/disk/real"), Path::new("/link")).unwrap();
    let _open = create(&sim, "/link");
    let after = sim.reboot(Survival::Nothing);
    holds(&after, "/link");
    holds(&after, "/disk/real");
}

#[test]
fn archives_in_a_destination_that_was_just_made_survive_a_power_cut() {
    let sim = disk(&["/b", "/b/shop"]);
    let store = create(&sim, "/shop");
    let whole = store.backup("/b/shop").run().unwrap();
    put(&store, 2, "acknowledged").unwrap();
    let more = store.backup("/b/shop").incremental().run().unwrap();
    let after = sim.reboot(Survival::Nothing);
    for report in [whole, more] {
        Archive::open_on(after.clone(), &report.archive).unwrap().verify().unwrap();
    }
}

#[test]
fn a_restore_below_a_folder_that_was_just_made_survives_a_power_cut() {
    let sim = disk(&["/b", "/r", "/r/s", "/r/s/empty"]);
    let saved = create(&sim, "/shop").backup("/b").run().unwrap();
    let archive = Archive::open_on(sim.clone(), &saved.archive).unwrap();
    for dir in ["/r/s/new", "/r/s/empty"] {
        archive.restore(dir).run().unwrap();
    }
    let after = sim.reboot(Survival::Nothing);
    holds(&after, "/r/s/new");
    holds(&after, "/r/s/empty");
}

#[test]
fn a_mirror_in_a_folder_that_was_just_made_survives_a_power_cut() {
    let sim = disk(&["/b", "/m", "/m/shop"]);
    let store = create(&sim, "/shop");
    store.backup("/b").run().unwrap();
    put(&store, 2, "acknowledged").unwrap();
    let shipped = store.new_log_file("/m/shop").unwrap().expect("there is something to ship");
    let after = sim.reboot(Survival::Nothing);
    assert!(after.metadata(&shipped).is_ok(), "{shipped:?}");
}

#[test]
fn folders_above_that_are_not_ours_to_sync_are_no_obstacle() {
    for fault in [Fault::DENIED, Fault::INVALID] {
        let sim = disk(&["/data", "/data/shop"]);
        sim.fail(FaultPlan::once(Call::SyncDir, "/", fault));
        let _open = create(&sim, "/data/shop");
        assert!(!sim.has_faults());
    }
    let sim = disk(&["/data", "/data/shop"]);
    sim.fail(FaultPlan::once(Call::SyncDir, "/", Fault::IO));
    let refused = Store::builder("/data/shop").disk(sim.clone()).create();
    refused.expect_err("its name may not last");
}
