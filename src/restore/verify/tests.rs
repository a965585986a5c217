//! Checks of stores where nothing can be written, and where the lock can be made.

use super::*;
use crate::disk::{Call, Fault, FaultPlan, SimDisk};
use crate::engine::LOCK_FILE;
use crate::error::ErrorKind;
use crate::store::TableDef;

const DIR: &str = "/shop";

/// A store that is open, with records in its pages and others in its log alone.
fn store(sim: &Arc<SimDisk>) -> Store {
    let store = Store::builder(DIR).disk(sim.clone()).create().unwrap();
    let numbers = TableDef::<u64, u64>::new("numbers");
    store.transact(|write| write.table(numbers)?.put(&1, &1)).unwrap();
    store.checkpoint().unwrap();
    store.transact(|write| write.table(numbers)?.put(&2, &2)).unwrap();
    store
}

fn check(disk: Arc<dyn Disk>) -> Result<StoreCheck> {
    super::check(&disk, Path::new(DIR), &mut |_| ControlFlow::Continue(()))
}

#[test]
fn a_store_where_nothing_can_be_written_is_checked_and_it_is_said_whether_that_was_without_a_lock()
{
    for without_lock_file in [false, true] {
        let sim = SimDisk::new(1);
        let open = store(&sim);
        let killed = sim.image();
        open.close().unwrap();
        drop(open);
        for medium in [killed, sim] {
            let locked = check(medium.clone()).unwrap();
            assert!(!locked.unlocked, "the lock can be made here");
            if without_lock_file {
                medium.remove_file(&Path::new(DIR).join(LOCK_FILE)).unwrap();
            }
            medium.read_only_medium(DIR).unwrap();
            let found = check(medium.clone()).unwrap();
            assert_eq!(found.unlocked, without_lock_file);
            assert_eq!((found.lsn, found.records), (locked.lsn, locked.records));
            // A flipped bit is found there as anywhere.
            let data = Path::new(DIR).join(DATA_FILE);
            for page in 2..found.pages {
                medium.corrupt(&data, page * found.page_size + 9, 1).unwrap();
            }
            let damaged = check(medium).unwrap_err();
            assert_eq!(damaged.kind(), ErrorKind::Corrupt, "{damaged}");
        }
    }
}

#[test]
fn a_lock_that_fails_for_another_reason_is_not_done_without() {
    let sim = SimDisk::new(1);
    let open = store(&sim);
    assert_eq!(check(sim.clone()).unwrap_err().kind(), ErrorKind::InUse);
    open.close().unwrap();
    drop(open);
    sim.fail(FaultPlan::once(Call::Lock, DIR, Fault::IO));
    assert_eq!(check(sim.clone()).unwrap_err().kind(), ErrorKind::Io);
    sim.fail(FaultPlan::once(Call::Lock, DIR, Fault::DENIED));
    assert!(!check(sim.clone()).unwrap().unlocked, "a lock for reading is had");
    sim.fail(FaultPlan::once(Call::Lock, DIR, Fault::DENIED));
    sim.fail(FaultPlan::once(Call::LockShared, DIR, Fault::IO));
    assert_eq!(check(sim).unwrap_err().kind(), ErrorKind::Io);
}
