//! Locks of owners on tables, names and records, uncontended and contended, and what is told of them.

use super::*;
use std::sync::atomic::{AtomicBool, AtomicI64};

#[test]
fn records_exclude_one_another_as_the_matrix_says() {
    for (held, wanted, goes) in [
        (Mode::S, Mode::S, true),
        (Mode::S, Mode::U, true),
        (Mode::U, Mode::S, true),
        (Mode::U, Mode::U, false),
        (Mode::S, Mode::X, false),
        (Mode::X, Mode::S, false),
        (Mode::X, Mode::X, false),
        (Mode::U, Mode::X, false),
        (Mode::X, Mode::U, false),
    ] {
        let rig = Rig::with(|options| options.record_timeout = Duration::ZERO);
        let (one, two) = (rig.begin(), rig.begin());
        one.lock_record(1, b"k", held).unwrap();
        assert_eq!(two.lock_record(1, b"k", wanted).is_ok(), goes, "{held} {wanted}");
        two.lock_record(1, b"other", Mode::X).unwrap();
        two.lock_record(2, b"k", Mode::X).unwrap();
        drop((one, two));
        assert!(rig.is_idle());
    }
}

fn elsewhere<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| scope.spawn(work).join().unwrap())
}

#[test]
fn a_table_lock_sees_the_records_and_intents_below_it() {
    let rig = Rig::with(|options| options.record_timeout = Duration::ZERO);
    let (scan, write) = (rig.begin(), rig.begin());
    write.lock_record(1, b"k", Mode::X).unwrap();
    // Used last by another thread, the writer is not in the way of its own.
    let scan = elsewhere(move || {
        let refused = scan.lock_table(1, Mode::S);
        assert_eq!(kind_and_code(refused).0, ErrorKind::Timeout);
        scan
    });
    scan.lock_table(2, Mode::S).unwrap();
    assert!(write.lock_record(2, b"k", Mode::X).is_err());
    write.lock_record(2, b"k", Mode::S).unwrap();
    // A put and then a scan is SIX: others may still read records, not scan.
    write.lock_table(1, Mode::S).unwrap();
    assert!(scan.lock_table(1, Mode::S).is_err());
    scan.lock_record(1, b"other", Mode::S).unwrap();
    assert!(scan.lock_record(1, b"k", Mode::S).is_err());
    drop((scan, write));
    assert!(rig.is_idle());
}

#[test]
fn an_exclusive_table_needs_no_record_locks() {
    let rig = Rig::new();
    let owner = rig.begin();
    owner.lock_table(1, Mode::X).unwrap();
    owner.lock_record(1, b"k", Mode::X).unwrap();
    let held = &rig.manager.locks().owners[0].held;
    assert!(held.iter().all(|held| !matches!(held.on, LockedThing::RecordHash(_))), "{held:?}");
}

#[test]
fn modes_that_a_granule_does_not_have_are_refused() {
    let rig = Rig::new();
    let owner = rig.begin();
    for (granule, mode) in [
        DATA_S,
        DATA_X,
        (Granule::Structure, Mode::X),
        (Granule::Table(1), Mode::U),
        (Granule::Record(1, b"k".as_slice().into()), Mode::IX),
    ] {
        assert_eq!(kind_and_code(owner.lock(granule, mode)).0, ErrorKind::Invalid);
    }
}

#[test]
fn two_owners_cannot_both_have_one_name() {
    let rig = Rig::with(|options| options.record_timeout = Duration::ZERO);
    let one = rig.manager.structure_owner(Purpose::Structure, None).unwrap();
    let two = rig.manager.structure_owner(Purpose::Structure, None).unwrap();
    one.lock(Granule::Name("t".into()), Mode::X).unwrap();
    let two = elsewhere(move || {
        let refused = two.lock(Granule::Name("t".into()), Mode::X);
        assert_eq!(kind_and_code(refused).0, ErrorKind::Timeout);
        two
    });
    two.lock(Granule::Name("u".into()), Mode::X).unwrap();
    drop(one);
    two.lock(Granule::Name("t".into()), Mode::X).unwrap();
    two.lock_record(1, b"k", Mode::X).unwrap();
    drop(two);
    assert!(rig.is_idle());
}

#[test]
fn locks_are_waited_for_in_order_and_go_back_to_their_shard() {
    let rig = Rig::new();
    let first = rig.begin();
    first.lock_record(1, b"k", Mode::X).unwrap();
    let order = parking_lot::Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for n in 0..4 {
            let (rig, order) = (&rig, &order);
            scope.spawn(move || {
                let owner = rig.begin();
                owner.lock_record(1, b"k", Mode::X).unwrap();
                order.lock().push(n);
            });
            rig.until_waiting(n + 1);
        }
        drop(first);
    });
    assert_eq!(*order.lock(), [0, 1, 2, 3]);
    assert!(rig.is_idle());
}

#[test]
fn a_lock_that_is_not_granted_in_time_leaves_nothing_behind() {
    let rig = Rig::new();
    let holder = rig.begin();
    holder.lock_record(1, b"k", Mode::X).unwrap();
    std::thread::scope(|scope| {
        let waits = scope.spawn(|| rig.begin().lock_record(1, b"k", Mode::S));
        rig.until_waiting(1);
        rig.advance(Duration::from_secs(10));
        assert_eq!(kind_and_code(waits.join().unwrap()).0, ErrorKind::Timeout);
    });
    drop(holder);
    assert!(rig.is_idle());
}

#[test]
fn blind_writes_that_are_locked_in_order_wait_for_one_another_and_never_in_a_circle() {
    let rig = Rig::new();
    let keys: Vec<[u8; 2]> = (0..2000_u16).map(u16::to_be_bytes).collect();
    let commit = |skip: usize| {
        for _ in 0..5 {
            let owner = rig.begin();
            let records = keys.iter().skip(skip).step_by(skip + 1);
            owner.lock_all_sorted(records.map(|key| (1, key.as_slice()))).unwrap();
        }
    };
    std::thread::scope(|scope| {
        let threads = [0, 1, 2].map(|skip| {
            scope.spawn({
                let commit = &commit;
                move || commit(skip)
            })
        });
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
    assert!(rig.is_idle());
}

#[test]
fn handles_and_tokens_may_go_to_other_threads() {
    fn is_send<T: Send>() {}
    fn is_shared<T: Send + Sync>() {}
    is_send::<Owner>();
    is_send::<WriteTicket>();
    is_shared::<LockManager>();
    is_shared::<Hold>();
    is_shared::<HoldToken>();
}

#[test]
fn a_panic_in_an_owner_gives_its_locks_back() {
    let rig = Rig::new();
    let manager = rig.manager.clone();
    let died = std::thread::spawn(move || {
        let owner = manager.begin_write(WriteRequest::default()).unwrap();
        owner.lock_record(1, b"k", Mode::X).unwrap();
        owner.lock(Granule::Name("t".into()), Mode::X).unwrap();
        std::panic::resume_unwind(Box::new("the application died"));
    });
    assert!(died.join().is_err());
    assert!(rig.is_idle());
}

#[test]
fn the_report_says_who_holds_and_who_waits_for_whom() {
    let rig = Rig::new();
    let request = WriteRequest { job: Some("import".into()), ..WriteRequest::default() };
    let holder = rig.manager.begin_write(request).unwrap();
    holder.lock_record(1, b"k", Mode::X).unwrap();
    holder.lock_record(1, b"quiet", Mode::X).unwrap();
    let other = rig.begin();
    let other_id = other.id();
    std::thread::scope(|scope| {
        scope.spawn(|| other.lock_record(1, b"k", Mode::S).map(|()| drop(other)).unwrap());
        rig.until_waiting(1);
        let report = rig.manager.locks();
        let of = |id| report.owners.iter().find(|owner| owner.id == id).unwrap();
        let record = LockedThing::Named(Granule::Record(1, b"k".as_slice().into()));
        let held = &of(holder.id()).held;
        let record_name = "record \"k\" of table 1".to_owned();
        assert_eq!(of(holder.id()).job.as_deref(), Some("import"));
        assert!(held.contains(&HeldLock { name: record_name, on: record.clone(), mode: Mode::X }));
        let table = LockedThing::Named(Granule::Table(1));
        assert!(held.contains(&HeldLock { name: "table 1".into(), on: table, mode: Mode::IX }));
        assert!(held.iter().any(|lock| matches!(lock.on, LockedThing::RecordHash(_))));
        let waits = &of(other_id).waits;
        assert_eq!((&waits[0].on, waits[0].mode), (&record, Mode::S));
        assert_eq!(waits[0].blockers, [holder.id()]);
        drop(holder);
    });
}

#[test]
fn locks_and_pending_writes_never_wait_for_a_frozen_store() {
    let rig = Rig::new();
    let _hold = rig.hold(&[(Granule::Structure, Mode::X), DATA_X]);
    let ticket = rig.ticket();
    assert_eq!(rig.manager.pending_writes().len(), 1);
    assert_eq!(rig.manager.locks().owners.len(), 2);
    assert!(rig.manager.cancel_pending(ticket.id()));
}

/// Counts who is in a record, to see that nobody is who should not be.
#[derive(Default)]
struct Room(AtomicI64);

impl Room {
    fn visit(&self, mode: Mode) {
        if mode == Mode::X {
            assert_eq!(self.0.swap(-1, Ordering::SeqCst), 0, "a writer found somebody");
            std::thread::yield_now();
            assert_eq!(self.0.swap(0, Ordering::SeqCst), -1, "somebody came in to a writer");
        } else {
            assert!(self.0.fetch_add(1, Ordering::SeqCst) >= 0, "a reader found a writer");
            std::thread::yield_now();
            assert!(self.0.fetch_sub(1, Ordering::SeqCst) > 0, "a writer came in to a reader");
        }
    }
}

fn work(rig: &Rig, rooms: &[Room], inside: &AtomicI64, thread: u64) {
    let mut random = thread.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = move |below: u64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random % below
    };
    let mut age = None;
    for _ in 0..400 {
        let owner =
            rig.manager.begin_write(WriteRequest { age, ..WriteRequest::default() }).unwrap();
        inside.fetch_add(1, Ordering::SeqCst);
        age = None;
        for _ in 0..next(4) {
            let at = next(rooms.len() as u64) as usize;
            let mode = if next(2) == 0 { Mode::S } else { Mode::X };
            let locked = match next(16) {
                0 => owner.lock_table(1, mode),
                _ => owner.lock_record(1, &[at as u8], mode),
            };
            match locked {
                Ok(()) => rooms[at].visit(mode),
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Deadlock, "{error}");
                    age = Some(owner.age());
                    break;
                }
            }
        }
        inside.fetch_sub(1, Ordering::SeqCst);
        drop(owner);
    }
}

#[test]
fn in_the_thick_of_it_nobody_is_where_another_must_be_alone() {
    let rig = Rig::new();
    let rooms: Vec<Room> = (0..6).map(|_| Room::default()).collect();
    let (inside, over) = (AtomicI64::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let backups = scope.spawn(|| {
            let mut holds = 0;
            while !over.load(Ordering::SeqCst) {
                let hold = rig.manager.hold(rig.backup(&[DATA_S])).unwrap();
                assert_eq!(inside.load(Ordering::SeqCst), 0, "a write is inside a hold");
                drop(hold);
                holds += 1;
                std::thread::yield_now();
            }
            holds
        });
        let (rig, rooms, inside) = (&rig, &rooms, &inside);
        let workers: Vec<_> =
            (1..5).map(|n| scope.spawn(move || work(rig, rooms, inside, n))).collect();
        workers.into_iter().for_each(|worker| worker.join().unwrap());
        over.store(true, Ordering::SeqCst);
        assert!(backups.join().unwrap() > 0);
    });
    assert!(rig.is_idle());
}
