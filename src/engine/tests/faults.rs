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

/// A disk of its own under a root that is never written, and so cannot be synced either.
#[test]
fn a_store_whose_folder_was_given_its_name_elsewhere_takes_commits() {
    let sim = SimDisk::new(1);
    let engine = create(&sim);
    // The folder of the log gets its name first, then that of the store is made durable.
    sim.fail(FaultPlan::once(Call::SyncDir, "/", Fault::INVALID).skip(1));
    define(&engine, "items");
    assert!(!sim.has_faults() && engine.latched().is_none(), "{:?}", engine.latched());
    engine.close().unwrap();
}

/// Commits until one is refused; how many were not.
fn commit_until_refused(engine: &Engine, items: TableId, from: u32) -> (u32, crate::Error) {
    for key in from.. {
        let batch = put(items, &format!("{key:06}"), &[7; 900]);
        if let Err(error) = engine.commit(batch, Durability::Immediate) {
            return (key - from, error);
        }
    }
    unreachable!("a log without segments takes no commits for ever")
}

#[test]
fn a_want_of_file_handles_for_the_next_segment_refuses_commits_only_while_it_lasts() {
    for call in [Call::Create, Call::SyncDir] {
        let sim = SimDisk::new(1);
        let engine = create(&sim);
        let items = define(&engine, "items");
        sim.fail(FaultPlan::always(call, "/log", Fault::NO_HANDLES));
        let (stored, refused) = commit_until_refused(&engine, items, 0);
        assert_eq!(refused.kind(), ErrorKind::Busy, "{refused}");
        assert!(refused.is_retryable() && refused.advice().is_some(), "{refused}");
        assert!(engine.latched().is_none(), "{call:?}: {:?}", engine.latched());
        sim.heal();
        // Whoever comes first now makes the segment: the keeper or the commit.
        let last = engine.commit(put(items, "last", b"!"), Durability::Immediate).unwrap();
        assert_eq!(last.lsn, u64::from(stored) + 2, "nothing of what was refused has an LSN");
        let engine = open(&sim.reboot(Survival::Nothing)).unwrap();
        assert_eq!(contents(&engine.snapshot().unwrap(), items).len(), stored as usize + 1);
    }
}

#[test]
fn a_want_of_file_handles_while_old_segments_are_removed_leaves_them_to_the_next_checkpoint() {
    let sim = SimDisk::new(1);
    let engine = create(&sim);
    let items = define(&engine, "items");
    let log = Path::new(DIR).join(LOG_DIR);
    for call in [Call::List, Call::Open] {
        sim.fail(FaultPlan::always(call, "/log", Fault::NO_HANDLES));
        engine.commit(put(items, "a", b"1"), Durability::Immediate).unwrap();
        engine.end_segment().unwrap();
        engine.commit(put(items, "a", b"2"), Durability::Immediate).unwrap();
        engine.checkpoint().unwrap();
        assert!(engine.latched().is_none(), "{call:?}: {:?}", engine.latched());
        sim.heal();
        let oldest = log.join(&sim.list(&log).unwrap()[0]);
        engine.commit(put(items, "a", b"3"), Durability::Immediate).unwrap();
        engine.checkpoint().unwrap();
        assert!(sim.metadata(&oldest).is_err(), "{call:?}: it is still there");
    }
    engine.close().unwrap();
}

#[test]
fn a_medium_that_fails_while_the_next_segment_is_made_latches() {
    let sim = SimDisk::new(1);
    let engine = create(&sim);
    let items = define(&engine, "items");
    sim.fail(FaultPlan::always(Call::Create, "/log", Fault::IO));
    commit_until_refused(&engine, items, 0);
    assert!(engine.latched().is_some());
}
