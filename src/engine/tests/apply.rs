//! Applying another store's log, by hand: what the rooms above rely on.

use super::*;
use crate::engine::log::Context;
use crate::engine::{Ancestry, ForeignGroup, Position, Timeline};

fn context() -> Arc<Context> {
    Arc::new(Context { pairs: vec![("user".into(), "ann".into())] })
}

/// One commit of another store that puts `key` into table 1, which its first commit defines.
fn group(ancestry: &Ancestry, lsn: Lsn, key: &str) -> ForeignGroup {
    let mut batch = Batch::default();
    if lsn == 1 {
        batch.define(&table(1, "items"));
    }
    batch.push(1, key.as_bytes().into(), Some(b"v".to_vec().into()));
    let commits = vec![(context(), batch)];
    let time = lsn as i64 * 100;
    ForeignGroup {
        timeline: ancestry.tip(),
        ancestry_digest: ancestry.digest(),
        first_lsn: lsn,
        time,
        commits,
        durability: Durability::Immediate,
    }
}

/// The line of another store, whose timeline forks off at 0.
fn theirs(engine: &Engine) -> Ancestry {
    engine.history().ancestry.extended(77, 0).unwrap()
}

fn at(engine: &Engine) -> (Lsn, Timeline, bool) {
    let Position { lsn, timeline, foreign, .. } = engine.position();
    (lsn, timeline, foreign)
}

#[test]
fn applied_commits_keep_lsn_time_and_timeline_and_the_first_own_commit_mints_one() {
    let sim = SimDisk::new(1);
    let engine = create(&sim);
    let theirs = theirs(&engine);
    for lsn in 1..=3 {
        let applied = engine.apply(group(&theirs, lsn, &format!("k{lsn}"))).unwrap();
        assert_eq!((applied.lsn, applied.time), (lsn, lsn as i64 * 100));
    }
    // Through a checkpoint, a clean close and an opening the timeline stays theirs.
    for _ in 0..2 {
        assert_eq!(at(&engine), (3, theirs.tip(), true));
        engine.checkpoint().unwrap();
    }
    engine.close().unwrap();
    drop(engine);
    let engine = open(&sim).unwrap();
    assert_eq!(at(&engine), (3, theirs.tip(), true));
    engine.apply(group(&theirs, 4, "k4")).unwrap();
    let own = engine.commit(put(1, "own", b"1"), Durability::Immediate).unwrap();
    assert_eq!(own.lsn, 5);
    let (_, ours, foreign) = at(&engine);
    assert_eq!((ours.parent, ours.fork, foreign), (theirs.tip().id, 4, false));
    sim.crash_now();
    drop(engine);
    let sim = sim.reboot(Survival::Nothing);
    let engine = open(&sim).unwrap();
    assert_eq!(at(&engine), (5, ours, false));
    assert_eq!(contents(&engine.snapshot().unwrap(), 1).len(), 5);
    // From here on their commits are of another history.
    let error = engine.apply(group(&theirs, 6, "k6")).unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::Foreign, 1416));
    // A number that they gave to a table is not given again.
    assert!(engine.new_table_id() > 1);
}

#[test]
fn what_does_not_follow_is_refused_and_changes_nothing() {
    let sim = SimDisk::new(1);
    let engine = create(&sim);
    let theirs = theirs(&engine);
    engine.apply(group(&theirs, 1, "k1")).unwrap();
    let gap = engine.apply(group(&theirs, 3, "k3")).unwrap_err();
    assert_eq!(gap.code(), 2010);
    let other = Ancestry::first(9).extended(5, 1).unwrap();
    assert_eq!(engine.apply(group(&other, 2, "k2")).unwrap_err().code(), 1416);
    let late = theirs.extended(5, 0).unwrap();
    assert_eq!(engine.apply(group(&late, 2, "k2")).unwrap_err().code(), 1416);
    // The same timeline, and another history before it.
    let twin = ForeignGroup { ancestry_digest: 1, ..group(&theirs, 2, "k2") };
    assert_eq!(engine.apply(twin).unwrap_err().code(), 1416);
    assert_eq!(at(&engine), (1, theirs.tip(), true));
    // A fork that begins exactly here is their history going on.
    let child = theirs.extended(5, 1).unwrap();
    engine.apply(group(&child, 2, "k2")).unwrap();
    assert_eq!(at(&engine), (2, child.tip(), true));
}

#[test]
fn a_crash_at_any_call_while_applying_leaves_a_prefix_that_can_be_gone_on_from() {
    for call in 1..600 {
        let sim = SimDisk::new(7);
        let engine = create(&sim);
        let first = theirs(&engine);
        sim.crash_at(call);
        let second = first.extended(78, 6).unwrap();
        let on = |lsn| if lsn <= 6 { &first } else { &second };
        let mut done = 0;
        for lsn in 1..=12 {
            let applied = engine.apply(group(on(lsn), lsn, &format!("k{lsn:02}")));
            if applied.is_err() {
                break;
            }
            done = lsn;
            if lsn % 5 == 0 {
                let _crashed = engine.checkpoint();
            }
        }
        let crashed = sim.crashed();
        sim.crash_now();
        drop(engine);
        let survival = [Survival::Nothing, Survival::Everything, Survival::Random(call)];
        let sim = sim.reboot(survival[call as usize % 3]);
        let engine = open(&sim).unwrap_or_else(|error| panic!("call {call}: {error}"));
        let (lsn, timeline, foreign) = at(&engine);
        assert!(lsn >= done && lsn <= done + 1, "call {call}: {lsn} of {done}");
        if lsn > 0 {
            assert_eq!((timeline, foreign), (on(lsn).tip(), true), "call {call}");
            assert_eq!(contents(&engine.snapshot().unwrap(), 1).len() as u64, lsn, "call {call}");
        }
        for lsn in lsn + 1..=12 {
            engine.apply(group(on(lsn), lsn, &format!("k{lsn:02}"))).unwrap();
        }
        engine.close().unwrap();
        drop(engine);
        let engine = open(&sim).unwrap();
        assert_eq!(at(&engine), (12, second.tip(), true), "call {call}");
        if !crashed && call > 20 {
            return;
        }
    }
    panic!("the test never came to its end");
}
