//! The access table, cell by cell, with expectations written out by hand.

use super::*;
use std::sync::mpsc;

#[derive(Clone, Copy, PartialEq, Debug)]
enum Fate {
    Goes,
    Waits,
}
use Fate::{Goes, Waits};

/// What happens to `operation`, run on its own thread, while `hold` is held.
fn fate(rig: &Rig, hold: Option<Hold>, operation: impl FnOnce(&Rig) + Send) -> Fate {
    std::thread::scope(|scope| {
        let (done, ended) = mpsc::channel();
        scope.spawn(move || {
            operation(rig);
            done.send(()).unwrap();
        });
        loop {
            if ended.try_recv().is_ok() {
                drop(hold);
                return Goes;
            }
            let report = rig.manager.locks();
            if report.waiting_reads > 0 || report.owners.iter().any(|o| !o.waits.is_empty()) {
                break;
            }
            std::thread::yield_now();
        }
        drop(hold);
        ended.recv().unwrap();
        Waits
    })
}

fn check(mode: StoreMode, contents: Contents, access: Option<Access>, expected: [Fate; 4]) {
    type Operation = fn(&Rig);
    let operations: [(&str, Operation); 4] = [
        ("read", |rig| rig.manager.check_read().unwrap()),
        ("write", |rig| drop(rig.begin())),
        ("look at structure", |rig| {
            drop(rig.manager.structure_owner(Purpose::LookAtStructure, None).unwrap());
        }),
        ("change structure", |rig| {
            drop(rig.manager.structure_owner(Purpose::Structure, None).unwrap());
        }),
    ];
    for ((name, operation), expected) in operations.into_iter().zip(expected) {
        let rig = Rig::with(|options| options.mode = mode);
        let roots = rig.manager.roots(contents, access);
        let hold = (!roots.is_empty()).then(|| rig.hold(&roots));
        let fate = fate(&rig, hold, operation);
        assert_eq!(fate, expected, "{name} beside {contents:?} {mode:?} {access:?}");
        assert!(rig.is_idle());
    }
}

const STRUCTURE: Contents = Contents { structure: true, data: false };
const DATA: Contents = Contents { structure: false, data: true };
const BOTH: Contents = Contents { structure: true, data: true };

#[test]
fn structure_only_leaves_the_records_alone() {
    check(StoreMode::Server, STRUCTURE, None, [Goes, Goes, Waits, Waits]);
    check(StoreMode::SingleUser, STRUCTURE, None, [Goes, Goes, Waits, Waits]);
}

#[test]
fn data_only_on_a_server_lets_reads_and_structure_go_on() {
    check(StoreMode::Server, DATA, None, [Goes, Waits, Goes, Goes]);
}

#[test]
fn data_only_on_a_single_user_store_freezes_everything() {
    check(StoreMode::SingleUser, DATA, None, [Waits, Waits, Waits, Waits]);
}

#[test]
fn both_on_a_server_let_reads_go_on() {
    check(StoreMode::Server, BOTH, None, [Goes, Waits, Waits, Waits]);
}

#[test]
fn both_on_a_single_user_store_freeze_everything() {
    check(StoreMode::SingleUser, BOTH, None, [Waits, Waits, Waits, Waits]);
}

#[test]
fn live_keeps_nobody_waiting_whatever_the_contents_and_the_mode() {
    for mode in [StoreMode::Server, StoreMode::SingleUser] {
        for contents in [STRUCTURE, DATA, BOTH] {
            check(mode, contents, Some(Access::Live), [Goes; 4]);
        }
    }
}

#[test]
fn another_access_than_the_default_can_be_asked_for() {
    check(StoreMode::Server, BOTH, Some(Access::Frozen), [Waits, Waits, Waits, Waits]);
    check(StoreMode::SingleUser, BOTH, Some(Access::ReadOnly), [Goes, Waits, Waits, Waits]);
}

#[test]
fn a_store_is_a_server_unless_told_otherwise() {
    assert_eq!(StoreMode::default().default_access(), Access::ReadOnly);
}

#[test]
fn every_cell_of_the_table_is_there_once() {
    for contents in [STRUCTURE, DATA, BOTH] {
        for access in [Access::Frozen, Access::ReadOnly, Access::Live] {
            let rows = ACCESS_TABLE.iter();
            let same = rows.filter(|row| row.contents == contents && row.access == access);
            assert_eq!(same.count(), 1);
        }
    }
}
