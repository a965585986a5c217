//! What a person does to a store stands in its journal and in the history of its destination, and what
//! cannot be written there fails nothing.

use std::ops::ControlFlow;

use stillpoint::regime::{ByHand, Operation, OperationKind, OperationStatus, Origin};
use stillpoint::{
    Compact, FollowEvent, Follower, IntegrateOptions, RestorePoint, Rollback, RollbackReport,
    StoreRepair, Strictness,
};

use super::*;

const LOG: &str = "/backups/shop[0001].log.zst";
const HISTORY: &str = "/backups/backupHistory.json";

/// A closed store with two backups, and its commits after each.
fn ground() -> Arc<SimDisk> {
    let shop = shop(&[]);
    shop.regime.backup().run().unwrap();
    shop.put(2);
    shop.put(3);
    shop.regime.backup().run().unwrap();
    shop.put(4);
    shop.closed()
}

fn act(sim: &Arc<SimDisk>) -> ByHand {
    ByHand::begin(sim.clone(), Path::new(DIR), Origin::Manual)
}

fn roll_back(sim: &Arc<SimDisk>, lsn: u64) -> stillpoint::Result<RollbackReport> {
    Rollback::new(DIR, RestorePoint::Lsn(lsn)).archives(TO).disk(sim.clone()).run()
}

fn listed(sim: &SimDisk) -> Vec<Operation> {
    History::list(sim, Path::new(TO), "shop").unwrap()
}

fn last(sim: &SimDisk) -> Operation {
    listed(sim).pop().unwrap()
}

fn journal(sim: &SimDisk) -> String {
    let path = Path::new(DIR).join("Logs/Backup Journal[001].txt");
    String::from_utf8(read_file(sim, &path)).unwrap()
}

fn open(sim: &Arc<SimDisk>) -> Store {
    Store::builder(DIR).disk(sim.clone()).segment_size(1 << 16).open().unwrap()
}

/// Moves the store away and restores the first archive in its place. An archive has no settings in it; those
/// in the folder above are for all stores there.
fn restore_first(sim: &Arc<SimDisk>) {
    sim.create_dir(Path::new("/Settings")).unwrap();
    write_file(sim, Path::new("/Settings/Backup.4DSettings"), settings(&[]).as_bytes());
    sim.rename_new(Path::new(DIR), Path::new("/lost")).unwrap();
    let first = Archive::open_on(sim.clone(), "/backups/shop[0001].tar.zst").unwrap();
    let by_hand = act(sim);
    let result = first.restore(DIR).run();
    by_hand.restored(first.path(), result.as_ref()).unwrap();
    result.unwrap();
}

#[test]
fn a_rollback_by_hand_is_in_the_history_whether_it_succeeded_or_not() {
    let sim = ground();
    let by_hand = act(&sim);
    let error = roll_back(&sim, 99).unwrap_err();
    by_hand.rolled_back(Err(&error)).unwrap();
    let failed = last(&sim);
    assert_eq!((failed.operation, failed.code), (OperationKind::Restore, error.code()));
    assert_eq!((failed.status, failed.origin), (OperationStatus::Failed, Some(Origin::Manual)));
    let by_hand = act(&sim);
    let report = roll_back(&sim, 2).unwrap();
    by_hand.rolled_back(Ok(&report)).unwrap();
    let told = last(&sim);
    assert_eq!(
        (&told.operation, told.status),
        (&OperationKind::Restore, OperationStatus::Complete)
    );
    assert_eq!((told.backup_number, told.lsn, told.data), (Some(1), Some(2), true));
    assert_eq!(told.backup_path, report.archive.clone());
    assert_eq!(told.timeline, listed(&sim)[0].timeline);
    assert_eq!((told.store_id, told.origin), (listed(&sim)[0].store_id, Some(Origin::Manual)));
    assert!(told.duration_micros > 0 && told.backup_files.is_empty(), "{told:?}");
    // Numbers go on as though it were not there.
    let shop = Shop::open(sim);
    assert_eq!(shop.regime.backup().run().unwrap().number, 3);
}

#[test]
fn a_restore_and_integrations_by_hand_are_in_the_history_of_a_store_in_its_old_place() {
    let sim = ground();
    restore_first(&sim);
    let restored = last(&sim);
    assert_eq!((restored.operation, restored.lsn), (OperationKind::Restore, Some(1)));
    let store = open(&sim);
    let files = [PathBuf::from(LOG)];
    let by_hand = act(&sim);
    let result = store.integrate(&files, IntegrateOptions::default());
    by_hand.integrated(&files, result.as_ref()).unwrap();
    let told = last(&sim);
    let expected = (OperationKind::Integration, OperationStatus::Complete, Some(3));
    assert_eq!((told.operation, told.status, told.lsn), expected);
    assert_eq!(told.log_path.as_deref(), Some(Path::new(LOG)));
    assert_eq!(told.log_files[0].bytes, sim.metadata(Path::new(LOG)).unwrap().len);
    // One that fails, and one that has to mend.
    put(&store, 9, "its own").unwrap();
    let files = [PathBuf::from("/lost/log")];
    let by_hand = act(&sim);
    let result = store.integrate(&files, IntegrateOptions::default());
    by_hand.integrated(&files, result.as_ref()).unwrap();
    let told = last(&sim);
    let expected = (OperationStatus::Failed, result.unwrap_err().code(), None);
    assert_eq!((told.status, told.code, told.lsn), expected);
    let options =
        IntegrateOptions { strictness: Strictness::AutoRepair, ..IntegrateOptions::default() };
    let by_hand = act(&sim);
    let result = store.integrate(&files, options);
    by_hand.integrated(&files, result.as_ref()).unwrap();
    assert!(result.unwrap().repaired > 0);
    assert_eq!(last(&sim).status, OperationStatus::Partial);
}

/// A mirror may be followed for years.
#[test]
fn what_is_followed_is_one_operation_of_the_history_until_another_comes() {
    let sim = ground();
    restore_first(&sim);
    let before = listed(&sim).len();
    let source = Path::new("/lost/log");
    sim.create_dir(Path::new("/inbox")).unwrap();
    let mut names = sim.list(source).unwrap();
    names.sort();
    let mut follower = Follower::new(open(&sim), "/inbox");
    let follow = |follower: &mut Follower| {
        for event in follower.step().unwrap() {
            if let FollowEvent::Integrated(report) = event {
                act(&sim).followed(Path::new("/inbox"), &report).unwrap();
            }
        }
    };
    let bring = |from: &Path, name: &str| {
        write_file(&sim, &Path::new("/inbox").join(name), &read_file(&sim, from));
    };
    bring(Path::new(LOG), "shop[0001].log.zst");
    follow(&mut follower);
    assert_eq!((listed(&sim).len(), last(&sim).lsn), (before + 1, Some(3)));
    for name in &names {
        bring(&source.join(name), &name.to_string_lossy());
        follow(&mut follower);
    }
    assert_eq!((listed(&sim).len(), last(&sim).lsn), (before + 1, Some(4)), "{names:?}");
    assert_eq!(journal(&sim).matches("\tintegration\t").count(), 2);
    assert_eq!(last(&sim).log_path.as_deref(), Some(Path::new("/inbox")));
    // The same by another name is another act.
    let report = follower.store().integrate(&["/inbox"], IntegrateOptions::default()).unwrap();
    act(&sim).integrated(&[PathBuf::from("/inbox")], Ok(&report)).unwrap();
    assert_eq!(listed(&sim).len(), before + 2);
}

#[test]
fn nothing_is_made_for_a_history_that_is_not_there() {
    let sim = ground();
    let rolled = |sim: &Arc<SimDisk>, lsn| {
        let by_hand = act(sim);
        let report = roll_back(sim, lsn).unwrap();
        by_hand.rolled_back(Ok(&report)).unwrap();
        assert!(journal(sim).contains("the store as it was is"));
    };
    // One that tells of other stores only.
    let text = String::from_utf8(read_file(&sim, Path::new(HISTORY))).unwrap();
    let of_others = text.replace("\"shop\"", "\"another\"");
    write_file(&sim, Path::new(HISTORY), of_others.as_bytes());
    rolled(&sim, 3);
    assert_eq!(read_file(&sim, Path::new(HISTORY)), of_others.as_bytes());
    // None, and no destination either.
    sim.remove_file(Path::new(HISTORY)).unwrap();
    rolled(&sim, 2);
    assert!(sim.metadata(Path::new(HISTORY)).is_err());
    write_settings(&sim, &[("General/DestinationFolder", "/elsewhere")]);
    rolled(&sim, 1);
    assert!(sim.metadata(Path::new("/elsewhere")).is_err());
}

#[test]
fn a_history_that_cannot_be_written_is_told_and_fails_nothing() {
    let sim = ground();
    let report = roll_back(&sim, 2).unwrap();
    let before = listed(&sim);
    sim.fail(FaultPlan::always(Call::Write, TO, Fault::FULL));
    let error = act(&sim).rolled_back(Ok(&report)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::StorageFull);
    sim.heal();
    assert_eq!(listed(&sim), before);
    let told = journal(&sim);
    assert!(told.contains("the store as it was is") && told.contains("\thistory\t"), "{told}");
    // While another process has it.
    let lock = sim.lock(Path::new("/backups/backupHistory.lock"), "a test").unwrap();
    let error = act(&sim).rolled_back(Ok(&report)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy);
    drop(lock);
    act(&sim).rolled_back(Ok(&report)).unwrap();
    assert_eq!(listed(&sim).len(), before.len() + 1);
}

#[test]
fn a_compaction_by_hand_is_in_journal_and_history() {
    let sim = ground();
    let by_hand = act(&sim);
    let report = Compact::new(DIR).disk(sim.clone()).keep_old(true).run().unwrap();
    by_hand.compacted(Ok(&report)).unwrap();
    let told = last(&sim);
    assert_eq!(
        (told.operation, told.status, told.lsn, told.data),
        (OperationKind::Compaction, OperationStatus::Complete, Some(report.lsn), true)
    );
    let text = journal(&sim);
    let line = text.lines().last().unwrap();
    assert!(line.contains("compaction") && line.contains("before-compact"), "{line}");
    // One that failed, and one that was refused because the store is open.
    let by_hand = act(&sim);
    let stopped = Compact::new(DIR).disk(sim.clone()).on_progress(|_| ControlFlow::Break(()));
    by_hand.compacted(Err(&stopped.run().unwrap_err())).unwrap();
    assert_eq!((last(&sim).status, last(&sim).code), (OperationStatus::Failed, code::STOPPED));
    let (by_hand, count) = (act(&sim), listed(&sim).len());
    let store = open(&sim);
    let refused = Compact::new(DIR).disk(sim.clone()).run().unwrap_err();
    by_hand.compacted(Err(&refused)).unwrap();
    assert_eq!((refused.kind(), listed(&sim).len()), (ErrorKind::InUse, count));
    drop(store);
}

#[test]
fn a_repair_by_hand_is_recorded_with_the_store_that_it_made() {
    let sim = ground();
    let (before, history) = (journal(&sim), read_file(&sim, Path::new(HISTORY)));
    let (new, damaged) = (Path::new("/repaired"), Path::new(DIR));
    let by_hand = ByHand::begin(sim.clone(), new, Origin::Manual);
    let report = StoreRepair::new(damaged, new).disk(sim.clone()).run().unwrap();
    by_hand.repaired(damaged, Ok(&report)).unwrap();
    let path = new.join("Logs/Backup Journal[001].txt");
    let text = String::from_utf8(read_file(&sim, &path)).unwrap();
    let line = text.lines().last().unwrap();
    assert!(line.contains("repair") && line.contains(DIR), "{line}");
    assert!(line.contains("nothing is known to be missing"), "{line}");
    assert_eq!(journal(&sim), before, "the damaged store is left as it is");
    assert_eq!(read_file(&sim, Path::new(HISTORY)), history, "which tells of no archive of it");
}
