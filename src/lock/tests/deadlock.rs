//! Cycles of waits: found, given to the youngest, never to a backup.

use super::*;
use crate::error::code;
use std::sync::Barrier;

/// Owners that lock their own record and then that of the next. Returns who was refused.
fn ring(rig: &Rig, count: usize) -> Vec<usize> {
    let barrier = Barrier::new(count);
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..count)
            .map(|n| {
                let barrier = &barrier;
                let age = Some(Age(n as u64));
                scope.spawn(move || {
                    let request = WriteRequest { age, ..WriteRequest::default() };
                    let owner = rig.manager.begin_write(request).unwrap();
                    owner.lock_record(1, &[n as u8], Mode::X).unwrap();
                    barrier.wait();
                    owner.lock_record(1, &[((n + 1) % count) as u8], Mode::X)
                })
            })
            .collect();
        let results = threads.into_iter().map(|thread| thread.join().unwrap());
        let failed = results.enumerate().filter_map(|(n, result)| Some((n, result.err()?)));
        failed
            .map(|(n, error)| (error.kind() == ErrorKind::Deadlock).then_some(n).unwrap())
            .collect()
    })
}

#[test]
fn a_circle_of_two_costs_the_youngest_its_turn() {
    let rig = Rig::new();
    assert_eq!(ring(&rig, 2), [1]);
    assert!(rig.is_idle());
}

#[test]
fn a_circle_of_three_costs_the_youngest_its_turn() {
    let rig = Rig::new();
    assert_eq!(ring(&rig, 3), [2]);
    assert!(rig.is_idle());
}

#[test]
fn two_that_read_and_then_write_one_record_deadlock_without_u_and_queue_with_it() {
    for (first, victims) in [(Mode::S, 1), (Mode::U, 0)] {
        let rig = Rig::new();
        let barrier = Barrier::new(2);
        let failed: usize = std::thread::scope(|scope| {
            let work = || {
                let owner = rig.begin();
                if first == Mode::S {
                    owner.lock_record(1, b"k", first).unwrap();
                    barrier.wait();
                } else {
                    barrier.wait();
                    owner.lock_record(1, b"k", first).unwrap();
                }
                usize::from(owner.lock_record(1, b"k", Mode::X).is_err())
            };
            let threads = [scope.spawn(work), scope.spawn(work)];
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(failed, victims, "{first}");
        assert!(rig.is_idle());
    }
}

#[test]
fn u_lets_readers_in_and_waits_for_them_before_it_writes() {
    let rig = Rig::new();
    let (writer, reader) = (rig.begin(), rig.begin());
    writer.lock_record(1, b"k", Mode::U).unwrap();
    reader.lock_record(1, b"k", Mode::S).unwrap();
    std::thread::scope(|scope| {
        let upgrade = scope.spawn(|| {
            writer.lock_record(1, b"k", Mode::X).unwrap();
            drop(writer);
        });
        rig.until_waiting(1);
        assert!(!upgrade.is_finished());
        drop(reader);
        upgrade.join().unwrap();
    });
    assert!(rig.is_idle());
}

#[test]
fn a_table_and_a_record_can_be_the_two_sides_of_a_circle() {
    let rig = Rig::new();
    let (one, two) = (rig.begin(), rig.begin());
    let (old, young) = (one.age(), two.age());
    assert!(old < young);
    one.lock_record(1, b"a", Mode::X).unwrap();
    two.lock_record(2, b"b", Mode::X).unwrap();
    std::thread::scope(|scope| {
        let scan = scope.spawn(move || one.lock_table(2, Mode::S).map(|()| drop(one)));
        rig.until_waiting(1);
        let refused = two.lock_table(1, Mode::S);
        assert_eq!(kind_and_code(refused).0, ErrorKind::Deadlock);
        drop(two);
        scan.join().unwrap().unwrap();
    });
    assert!(rig.is_idle());
}

#[test]
fn a_writer_that_creates_a_table_overtakes_a_backup_that_waits_for_it() {
    let rig = Rig::new();
    let writer = rig.begin();
    let roots = [(Granule::Structure, Mode::X), DATA_S];
    std::thread::scope(|scope| {
        let backup = scope.spawn(|| rig.hold(&roots).state());
        backup_waits(&writer, &rig);
        writer.lock(Granule::Name("new".into()), Mode::X).unwrap();
        drop(writer);
        assert_eq!(backup.join().unwrap(), HoldState::Held);
    });
}

fn backup_waits(writer: &Owner, rig: &Rig) {
    rig.until(|report| {
        let waiting = report.owners.iter().find(|owner| owner.hold == Some(HoldKind::Backup));
        waiting.is_some_and(|backup| backup.waits.iter().any(|w| w.blockers.contains(&writer.id())))
    });
}

#[test]
fn writers_deadlock_behind_a_waiting_backup_and_the_backup_is_not_the_victim() {
    let rig = Rig::new();
    let barrier = Barrier::new(3);
    let work = |own: u8, next: u8| {
        let owner = rig.begin();
        owner.lock_record(1, &[own], Mode::X).unwrap();
        barrier.wait();
        barrier.wait();
        owner.lock_record(1, &[next], Mode::X)
    };
    std::thread::scope(|scope| {
        let writers = [scope.spawn(|| work(0, 1)), scope.spawn(|| work(1, 0))];
        barrier.wait();
        let backup = scope.spawn(|| rig.manager.hold(rig.backup(&[DATA_S])).map(drop));
        rig.until_waiting(1);
        barrier.wait();
        let results = writers.map(|writer| writer.join().unwrap());
        assert_eq!(results.iter().filter(|result| result.is_err()).count(), 1);
        backup.join().unwrap().unwrap();
    });
    assert!(rig.is_idle());
}

#[test]
fn a_backup_asked_for_by_the_thread_of_an_open_handle_is_refused() {
    let rig = Rig::new();
    let owner = rig.begin();
    let refused = rig.manager.hold(rig.backup(&[DATA_S]));
    assert_eq!(kind_and_code(refused), (ErrorKind::Invalid, code::OWN_TRANSACTION));
    drop(rig.begin());
    // A handle that another thread used last is that thread's.
    std::thread::scope(|scope| {
        scope.spawn(|| {
            owner.lock_record(1, b"k", Mode::S).unwrap();
            drop(owner);
        });
    });
    drop(rig.manager.hold(rig.backup(&[DATA_S])).unwrap());
    assert!(rig.is_idle());
}

#[test]
fn a_write_behind_a_backup_that_waits_for_this_threads_own_handle_is_refused() {
    let rig = Rig::new();
    let owner = rig.begin();
    std::thread::scope(|scope| {
        let backup = scope.spawn(|| rig.manager.hold(rig.backup(&[DATA_S])).map(drop));
        backup_waits(&owner, &rig);
        let refused = rig.manager.begin_write(WriteRequest::default());
        assert_eq!(kind_and_code(refused), (ErrorKind::Invalid, code::OWN_TRANSACTION));
        drop(owner);
        backup.join().unwrap().unwrap();
    });
    assert!(rig.is_idle());
}
