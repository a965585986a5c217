//! P5 in a process that was forked from the one that opened the store: it has a copy of everything but the
//! threads, so it is refused at once, and takes nothing from its parent.
//!
//! The parent is a process of its own, started again from this binary: a fork of the process that runs the
//! tests would have a copy of whatever locks other tests hold.

use std::process::{Command, Stdio};

use stillpoint::{ErrorKind, Store, TableDef};

const HOME: &str = "STILLPOINT_TEST_FORK";
const TABLE: TableDef<u64, String> = TableDef::new("numbers");

#[allow(unsafe_code, reason = "std has no fork; the child calls the library and then exits")]
mod system {
    unsafe extern "C" {
        fn fork() -> i32;
        fn waitpid(process: i32, status: *mut i32, options: i32) -> i32;
        fn _exit(code: i32) -> !;
    }

    /// Runs `child` in a fork of this process; what it returned there.
    pub(super) fn in_a_fork(child: impl FnOnce() -> u8) -> i32 {
        // SAFETY: the test process has no other thread that holds a lock of the allocator or of std
        // while it forks, since it waits for nothing but this.
        match unsafe { fork() } {
            0 => {
                let code = child();
                // SAFETY: ends the child without running what the parent registered.
                unsafe { _exit(code.into()) }
            }
            process => {
                let mut status = 0;
                // SAFETY: `status` outlives the call.
                assert_eq!(unsafe { waitpid(process, &raw mut status, 0) }, process);
                status >> 8
            }
        }
    }
}

fn refused<T>(result: stillpoint::Result<T>) -> bool {
    result.is_err_and(|error| error.kind() == ErrorKind::Invalid)
}

#[test]
fn parent_that_forks() {
    let Some(home) = std::env::var_os(HOME) else { return };
    let store = Store::create(&home).unwrap();
    store.transact(|write| write.table(TABLE)?.put(&1, &"parent".to_owned())).unwrap();
    // The store's threads are idle by now.
    std::thread::sleep(std::time::Duration::from_millis(300));
    let begun = store.begin_write().unwrap();
    begun.table(TABLE).unwrap().put(&2, &"in doubt".to_owned()).unwrap();
    let kept = store.clone();
    let code = system::in_a_fork(|| {
        let refusals = [
            refused(store.begin_write()),
            refused(store.transact(|write| write.table(TABLE)?.put(&3, &"child".to_owned()))),
            refused(begun.commit()),
            refused(store.sync()),
            refused(store.checkpoint()),
            refused(store.backup("/tmp").run()),
            refused(store.close()),
        ];
        drop(store.clone());
        drop(store);
        refusals.iter().position(|refused| !refused).map_or(0, |at| at as u8 + 1)
    });
    assert_eq!(code, 0, "the child was let do what has this number");
    let store =
        Store::open(&home).expect_err("the parent has it still: the child let go of nothing");
    assert_eq!(store.kind(), ErrorKind::InUse);
    drop(kept);
}

#[test]
fn a_forked_process_is_refused_at_once_and_takes_nothing_from_its_parent() {
    let scratch = tempfile::tempdir().unwrap();
    let mut parent = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "p5_fork::parent_that_forks", "--test-threads=1"])
        .env(HOME, scratch.path().join("store"))
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    assert!(parent.wait().unwrap().success());
    let store = Store::open(scratch.path().join("store")).unwrap();
    let read = store.begin_read().unwrap();
    let table = read.table(TABLE).unwrap();
    assert_eq!(table.get(&1).unwrap().as_deref(), Some("parent"));
    assert_eq!(table.get(&3).unwrap(), None);
}
