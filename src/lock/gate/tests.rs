//! The gate, driven through every order of the steps of its atomics.
//!
//! Threads are real, but each step on an atomic waits for its turn, and a controller gives turns in
//! every order there is: depth first, by running anew with the next choice. Between two steps a
//! thread runs alone, so what it notes there belongs to the step before.

use super::*;
use parking_lot::{Condvar, Mutex};
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize};

#[derive(Clone, Copy, PartialEq)]
enum Thread {
    Running,
    AtStep,
    Ended,
}

struct Turns {
    threads: Mutex<(Vec<Thread>, Option<usize>)>,
    changed: Condvar,
}

thread_local!(static ME: RefCell<Option<(Arc<Turns>, usize)>> = const { RefCell::new(None) });

fn step() {
    let Some((turns, me)) = ME.with_borrow(Clone::clone) else { return };
    let mut state = turns.threads.lock();
    state.0[me] = Thread::AtStep;
    turns.changed.notify_all();
    turns.changed.wait_while(&mut state, |state| state.1 != Some(me));
    state.1 = None;
    state.0[me] = Thread::Running;
}

/// A word whose every use is a step.
#[derive(Default)]
struct Stepped(AtomicU64);

impl Word for Stepped {
    fn load(&self, _: Ordering) -> u64 {
        step();
        self.0.load(Ordering::SeqCst)
    }
    fn store(&self, value: u64, _: Ordering) {
        step();
        self.0.store(value, Ordering::SeqCst);
    }
    fn compare_exchange(&self, current: u64, new: u64, _: Ordering) -> bool {
        step();
        let (seq, relaxed) = (Ordering::SeqCst, Ordering::Relaxed);
        self.0.compare_exchange(current, new, seq, relaxed).is_ok()
    }
    fn fetch_or(&self, bits: u64, _: Ordering) -> u64 {
        step();
        self.0.fetch_or(bits, Ordering::SeqCst)
    }
    fn fetch_and(&self, bits: u64, _: Ordering) -> u64 {
        step();
        self.0.fetch_and(bits, Ordering::SeqCst)
    }
}

type Part<'a> = &'a (dyn Fn() + Sync);

/// Runs `parts` once, taking the choices of `plan` and then the first. Returns all choices, each
/// with how many there were.
fn run(parts: &[Part<'_>], plan: &[usize]) -> Vec<(usize, usize)> {
    let threads = Mutex::new((vec![Thread::Running; parts.len()], None));
    let turns = Arc::new(Turns { threads, changed: Condvar::new() });
    let mut taken = Vec::new();
    std::thread::scope(|scope| {
        for (me, part) in parts.iter().enumerate() {
            let turns = turns.clone();
            scope.spawn(move || {
                ME.set(Some((turns.clone(), me)));
                // A part that fails ends like any other, or the controller would wait for it.
                let result = catch_unwind(AssertUnwindSafe(part));
                ME.set(None);
                turns.threads.lock().0[me] = Thread::Ended;
                turns.changed.notify_all();
                result.unwrap_or_else(|panic| resume_unwind(panic));
            });
        }
        loop {
            let mut state = turns.threads.lock();
            let busy = |s: &mut (Vec<Thread>, Option<usize>)| {
                s.1.is_some() || s.0.contains(&Thread::Running)
            };
            turns.changed.wait_while(&mut state, busy);
            let ready: Vec<usize> =
                (0..parts.len()).filter(|n| state.0[*n] == Thread::AtStep).collect();
            if ready.is_empty() {
                break;
            }
            let choice = plan.get(taken.len()).copied().unwrap_or(0);
            taken.push((choice, ready.len()));
            state.1 = Some(ready[choice]);
            turns.changed.notify_all();
        }
    });
    taken
}

/// Runs what `scene` sets up in every order. Returns how many there were.
fn every_order(scene: impl Fn(&dyn Fn(&[Part<'_>]))) -> usize {
    let plan = std::cell::RefCell::new(Vec::new());
    for orders in 1.. {
        let taken = std::cell::RefCell::new(Vec::new());
        scene(&|parts| *taken.borrow_mut() = run(parts, &plan.borrow()));
        let mut taken = taken.into_inner();
        while taken.last().is_some_and(|(choice, of)| choice + 1 == *of) {
            taken.pop();
        }
        let Some(last) = taken.last_mut() else { return orders };
        last.0 += 1;
        *plan.borrow_mut() = taken.into_iter().map(|(choice, _)| choice).collect();
    }
    unreachable!("the loop ends when every order was run")
}

#[test]
fn no_write_is_inside_that_the_closer_did_not_see_and_whoever_it_saw_tells_it_when_leaving() {
    let orders = every_order(|run| {
        let gate: Gate<Stepped> = Gate::with_slots(1);
        let inside = AtomicUsize::new(0);
        let (alone, seen) = (AtomicBool::new(false), AtomicBool::new(false));
        let told = AtomicBool::new(false);
        let writer = || match gate.enter(1) {
            Ok(owner) => {
                assert!(!alone.load(Ordering::SeqCst), "a write came in to a hold");
                inside.store(1, Ordering::SeqCst);
                step();
                inside.store(0, Ordering::SeqCst);
                told.fetch_or(gate.leave(owner), Ordering::SeqCst);
            }
            Err(somebody_waits) => drop(told.fetch_or(somebody_waits, Ordering::SeqCst)),
        };
        let closer = || {
            gate.close_writes();
            if gate.inside().next().is_some() {
                seen.store(true, Ordering::SeqCst);
            } else {
                assert_eq!(inside.load(Ordering::SeqCst), 0, "a hold came in to a write");
                alone.store(true, Ordering::SeqCst);
            }
        };
        run(&[&writer, &closer]);
        if seen.load(Ordering::SeqCst) {
            assert!(told.load(Ordering::SeqCst), "the closer saw somebody who told nobody");
        }
    });
    assert!(orders > 50, "{orders}");
}

#[test]
fn two_writes_never_share_a_slot_or_a_number() {
    let orders = every_order(|run| {
        let gate: Gate<Stepped> = Gate::with_slots(1);
        let inside = AtomicUsize::new(0);
        let numbers = Mutex::new(Vec::new());
        let writer = || {
            if let Ok(owner) = gate.enter(1) {
                assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0, "two in one slot");
                numbers.lock().push(owner);
                inside.fetch_sub(1, Ordering::SeqCst);
                gate.leave(owner);
            }
        };
        run(&[&writer, &writer]);
        let numbers = numbers.into_inner();
        assert!(!numbers.is_empty(), "somebody comes in");
        assert!(numbers.len() < 2 || numbers[0] != numbers[1], "a number was used twice");
    });
    assert!(orders > 50, "{orders}");
}

#[test]
fn a_write_that_finds_no_slot_is_told_to_queue_and_slots_are_used_again() {
    let gate: Gate = Gate::new();
    let owners: Vec<_> = (0..PROBES).map(|_| gate.enter(5).unwrap()).collect();
    assert_eq!(gate.enter(5), Err(false));
    assert_eq!(gate.inside().count(), PROBES);
    assert!(!gate.leave(owners[3]));
    let again = gate.enter(5).unwrap();
    assert_ne!(again, owners[3], "a number is not used twice");
    gate.close_writes();
    assert_eq!(gate.enter(9), Err(false));
    assert!(gate.leave(again), "whoever leaves a closed gate tells it");
    gate.open_writes();
    assert!(gate.enter(5).is_ok());
}

#[test]
fn reads_look_at_their_own_bit_only() {
    let gate: Gate = Gate::new();
    gate.close_writes();
    assert!(gate.reads_open());
    gate.freeze_reads(true);
    gate.open_writes();
    assert!(!gate.reads_open() && gate.writes_open());
    gate.freeze_reads(false);
    assert!(gate.reads_open());
}

/// It has the slot, and was held up before it could say whose it is.
#[test]
fn a_newcomer_is_not_taken_for_one_of_the_thread_before_it() {
    let gate: Gate = Gate::with_slots(1);
    let before = gate.enter(5).unwrap();
    assert_eq!(gate.thread_of(before), Some(5));
    gate.leave(before);
    let word = &gate.slots[0].word;
    let free = Word::load(word, Ordering::SeqCst);
    let newcomer = OwnerId::from_raw(free | OCCUPIED);
    assert!(Word::compare_exchange(word, free, newcomer.raw(), Ordering::SeqCst));
    assert_ne!(gate.thread_of(newcomer), Some(5));
    assert!(gate.inside().all(|(_, thread)| thread != 5));
}
