//! The log on a simulated disk.
//!
//! A commit of these tests is a number that is never used twice (a *mark*), written as the key of its
//! first operation. What recovery gives back is thereby known commit by commit: a lost one, a changed
//! one and a ghost all differ from what was appended.

mod damage;
mod faults;
mod forged;
mod history;
mod keep;
mod model;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::*;
use crate::disk::{Disk, SimDisk};
use crate::engine::{Ancestry, AncestryFile, Change, Lsn};
use crate::{ErrorKind, Result};

const STORE: u128 = 0x5701_e000;

fn first() -> Ancestry {
    Ancestry::first(1)
}

/// One commit: its mark, and how many bytes of value it has.
#[derive(Clone, Copy, Debug)]
struct Marked {
    mark: u64,
    bytes: usize,
    context: u32,
}

/// The operations of a commit, so that they can be borrowed from.
struct Filled {
    key: [u8; 8],
    value: Vec<u8>,
    context: u32,
}

impl Marked {
    fn filled(self) -> Filled {
        let value = (0..self.bytes).map(|at| (self.mark as usize + at) as u8).collect();
        Filled { key: self.mark.to_be_bytes(), value, context: self.context }
    }
}

impl LogCommit for Filled {
    fn context(&self) -> u32 {
        self.context
    }

    fn ops(&self) -> impl ExactSizeIterator<Item = LogOp<'_>> {
        let put = LogOp { table: 1, key: &self.key, change: Change::Put(&self.value) };
        let delete = LogOp { table: 2, key: b"gone", change: Change::Delete };
        [put, delete].into_iter()
    }
}

fn mark(mark: u64) -> Marked {
    Marked { mark, bytes: 20, context: 0 }
}

fn dir() -> PathBuf {
    PathBuf::from("/store/log")
}

fn new_disk(seed: u64) -> Arc<SimDisk> {
    let disk = SimDisk::new(seed);
    disk.create_dir(Path::new("/store")).expect("a new disk");
    disk.sync_dir(Path::new("/")).expect("a new disk");
    disk
}

fn base() -> RecoveryBase {
    RecoveryBase {
        store_id: STORE,
        ancestry: first(),
        checkpoint_lsn: 0,
        checkpoint_time: 0,
        durable_hint: 0,
        foreign: false,
    }
}

/// What was recovered: LSN, time and mark of each commit.
type Marks = Vec<(Lsn, i64, u64)>;

/// Recovers, checks every operation, and returns the marks in order, each with its LSN and time.
fn recover_marks(disk: &dyn Disk, base: RecoveryBase) -> Result<(Recovered, Marks)> {
    let mut marks = Marks::new();
    let mut deletes = 0;
    let recovered = recover(disk, &dir(), &base, &mut |lsn, time, op| {
        match op.change {
            Change::Put(value) => {
                let mark = u64::from_be_bytes(op.key.try_into().expect("eight bytes"));
                assert_eq!(op.table, 1);
                let expected = Marked { mark, bytes: value.len(), context: 0 }.filled().value;
                assert!(value == expected, "the value of mark {mark} changed");
                marks.push((lsn, time, mark));
            }
            Change::Delete => {
                assert_eq!((op.table, op.key), (2, b"gone".as_slice()));
                assert_eq!(Some(lsn), marks.last().map(|last| last.0));
                deletes += 1;
            }
        }
        Ok(())
    })?;
    assert_eq!(deletes, marks.len(), "half of a commit was applied");
    for (nth, (lsn, _, _)) in marks.iter().enumerate() {
        assert_eq!(*lsn, base.checkpoint_lsn + 1 + nth as u64, "a gap, or the wrong order");
    }
    assert!(marks.is_sorted_by_key(|(_, time, _)| *time), "time went back");
    Ok((recovered, marks))
}

/// The ancestry file of a store that is being tested, which holds `ancestry`.
fn file_of(disk: &Arc<SimDisk>, ancestry: Ancestry) -> Arc<AncestryFile> {
    Arc::new(AncestryFile::new(disk.clone(), Path::new("/store"), Some(ancestry)))
}

/// The parameters of a log that goes on after `recovered`.
fn after(disk: &Arc<SimDisk>, recovered: &Recovered, segment_bytes: u64) -> LogParams {
    LogParams {
        store_id: STORE,
        ancestry: recovered.ancestry(),
        ancestry_file: file_of(disk, recovered.ancestry()),
        applied: false,
        segment_bytes,
        next_lsn: recovered.last_lsn + 1,
        last_time: recovered.last_time,
        prev: recovered.end,
        durable_lsn: recovered.durable_lsn,
        unproven: recovered.unproven.clone(),
    }
}

fn start(disk: &Arc<SimDisk>, params: LogParams) -> Log {
    let mut log = Log::start(disk.clone(), dir(), params).expect("the log goes on");
    for user in ["ann", "bob"] {
        let pairs = vec![("user".to_owned(), user.to_owned())];
        log.define_context(&Context { pairs }).expect("short");
    }
    log
}

/// A log on an empty disk.
fn fresh(disk: &Arc<SimDisk>, segment_bytes: u64) -> Log {
    let params = LogParams {
        store_id: STORE,
        ancestry: first(),
        ancestry_file: file_of(disk, first()),
        applied: false,
        segment_bytes,
        next_lsn: 1,
        last_time: 0,
        prev: None,
        durable_lsn: 0,
        unproven: Vec::new(),
    };
    start(disk, params)
}

/// Recovers and goes on, as a store does: on a new timeline where a tail was cut.
fn reopen(disk: &Arc<SimDisk>, base: RecoveryBase, segment_bytes: u64) -> Result<(Log, Vec<u64>)> {
    let (recovered, marks) = recover_marks(&**disk, base)?;
    let mut params = after(disk, &recovered, segment_bytes);
    if recovered.tail_cut.is_some() {
        params.ancestry = child_of(disk, &recovered);
    }
    Ok((start(disk, params), marks.into_iter().map(|(_, _, mark)| mark).collect()))
}

fn child_of(disk: &SimDisk, recovered: &Recovered) -> Ancestry {
    let mut id = [0; 16];
    disk.random(&mut id);
    let id = u128::from_le_bytes(id) | 1;
    recovered.ancestry().extended(id, recovered.last_lsn).expect("a new timeline")
}

fn append(log: &mut Log, commits: &[Marked]) -> Result<Appended> {
    let filled: Vec<_> = commits.iter().map(|commit| commit.filled()).collect();
    log.append(&filled, 1_000)
}

fn append_marks(log: &mut Log, marks: impl IntoIterator<Item = u64>) {
    for one in marks {
        append(log, &[mark(one)]).expect("there is room");
    }
}

fn marks_of(disk: &dyn Disk, base: RecoveryBase) -> Result<Vec<u64>> {
    Ok(recover_marks(disk, base)?.1.into_iter().map(|(_, _, mark)| mark).collect())
}

fn refused<T>(result: Result<T>) -> ErrorKind {
    match result {
        Ok(_) => panic!("this should have been refused"),
        Err(error) => error.kind(),
    }
}
