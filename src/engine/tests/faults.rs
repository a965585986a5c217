//! Names that were not durable, and wants that pass: what an engine makes of them.

use super::*;

#[test]
fn a_store_made_in_a_folder_whose_name_was_not_durable_is_durable() {
    let sim = SimDisk::new(1);
    sim.create_dir(Path::new(DIR)).unwrap();
    let disk: Arc<dyn Disk> = sim.clone();
    super::open::create(&disk, Path::new(DIR), &small()).unwrap();
    open(&sim.reboot(Survival::Nothing)).unwrap().close().unwrap();
}

#[test]
fn a_log_folder_elsewhere_whose_name_was_not_durable_is_durable() {
    let sim = SimDisk::new(1);
    sim.create_dir(Path::new("/elsewhere")).unwrap();
    sim.create_dir(Path::new("/stores")).unwrap();
    sim.sync_dir(Path::new("/")).unwrap();
    sim.create_dir(Path::new("/elsewhere/log")).unwrap();
    let disk: Arc<dyn Disk> = sim.clone();
    let options = EngineOptions { log_folder: Some("/elsewhere/log".into()), ..small() };
    let dir = Path::new("/stores/shop");
    let engine = Engine::create(disk, dir, options).unwrap();
    let items = define(&engine, "items");
    engine.commit(put(items, "a", b"1"), Durability::Immediate).unwrap();
    let disk: Arc<dyn Disk> = sim.reboot(Survival::Nothing);
    let engine = Engine::open(disk, dir, small()).unwrap();
    assert_eq!(contents(&engine.snapshot().unwrap(), items).len(), 1);
}
