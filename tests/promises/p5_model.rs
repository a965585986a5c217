//! P5 with a model: whatever is done to a store, crashes and restores included, it is as a map would
//! be, and after a crash as one of its commits left it, with everything that was acknowledged.

use std::collections::BTreeSet;
use std::ops::Bound;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use stillpoint::disk::{Disk, SimDisk, Survival};
use stillpoint::{Access, Durability, ErrorKind, Result, TableDef};

use crate::support::driven::Driven;
use crate::support::history::Change;
use crate::support::random::Random;
use crate::support::read::Def;

const TABLES: [Def; 3] = [TableDef::new("items"), TableDef::new("orders"), TableDef::new("notes")];

#[derive(Clone, Debug)]
enum Step {
    /// A length is a put, none a delete.
    Commit {
        changes: Vec<(usize, u64, Option<usize>)>,
        durable: bool,
    },
    Insert {
        table: usize,
        key: u64,
        len: usize,
    },
    Range {
        table: usize,
        from: u64,
        to: Bound<u64>,
    },
    Abandon {
        table: usize,
        key: u64,
    },
    DropTable {
        table: usize,
    },
    Checkpoint,
    Sync,
    Reopen,
    /// A crash, so many disk calls from now.
    Crash {
        calls: u64,
        survival: Survival,
    },
    /// Goes on with what comes out of the archive.
    BackupAndRestore {
        access: Access,
        /// Only what changed since the archive before, where there is one that can be used.
        incremental: bool,
    },
}

fn survival() -> impl Strategy<Value = Survival> {
    prop_oneof![
        Just(Survival::Nothing),
        Just(Survival::Everything),
        any::<u64>().prop_map(Survival::Random),
    ]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let (table, key) = (|| 0..TABLES.len(), || 0..60u64);
    let len = || prop_oneof![8 => 0..300usize, 3 => 300..3000usize, 1 => 3000..20_000usize];
    let change = (table(), key(), prop::option::weighted(0.75, len()));
    let to = prop_oneof![
        key().prop_map(Bound::Included),
        key().prop_map(Bound::Excluded),
        Just(Bound::Unbounded),
    ];
    let access = prop_oneof![Just(Access::Live), Just(Access::ReadOnly), Just(Access::Frozen)];
    let crash = (prop_oneof![Just(0), 1..120u64], survival());
    let step = prop_oneof![
        14 => (prop::collection::vec(change, 1..10), any::<bool>())
            .prop_map(|(changes, durable)| Step::Commit { changes, durable }),
        3 => (table(), key(), len()).prop_map(|(table, key, len)| Step::Insert { table, key, len }),
        3 => (table(), key(), to).prop_map(|(table, from, to)| Step::Range { table, from, to }),
        1 => (table(), key()).prop_map(|(table, key)| Step::Abandon { table, key }),
        1 => table().prop_map(|table| Step::DropTable { table }),
        2 => Just(Step::Checkpoint),
        1 => Just(Step::Sync),
        1 => Just(Step::Reopen),
        4 => crash.prop_map(|(calls, survival)| Step::Crash { calls, survival }),
        2 => (access, any::<bool>())
            .prop_map(|(access, incremental)| Step::BackupAndRestore { access, incremental }),
    ];
    prop::collection::vec(step, 1..50)
}

struct Machine {
    driven: Driven,
    values: Random,
    restores: u32,
    /// What the crash that is to come leaves.
    survival: Survival,
}

impl Machine {
    fn new(seed: u64) -> Machine {
        let sim = SimDisk::new(seed);
        sim.create_dir(Path::new("/backups")).unwrap();
        sim.sync_dir(Path::new("/")).unwrap();
        let mut driven = Driven::new(sim, "/store", &TABLES);
        driven.create().unwrap();
        let values = Random::new(seed);
        Machine { driven, values, restores: 0, survival: Survival::Everything }
    }

    /// A step may fail only because the disk has crashed; then the store is opened anew.
    fn run(&mut self, step: &Step) {
        let done = self.step(step);
        if self.driven.sim.crashed() {
            self.driven.reboot(self.survival);
            self.driven.recover().unwrap();
        } else {
            done.unwrap();
        }
        self.driven.check();
    }

    fn step(&mut self, step: &Step) -> Result<()> {
        match step {
            Step::Commit { changes, durable } => self.commit(changes, *durable),
            Step::Insert { table, key, len } => self.insert(*table, *key, *len),
            Step::Range { table, from, to } => self.range(*table, *from, *to),
            Step::Abandon { table, key } => {
                let write = self.driven.store().begin_write()?;
                write.table(TABLES[*table])?.put(key, b"never committed")
            }
            Step::DropTable { table } => {
                let name = TABLES[*table].name();
                if !self.driven.history.last().contains_key(name) {
                    return Ok(());
                }
                self.driven.commit(&[Change::Drop(name)], Durability::Immediate)
            }
            Step::Checkpoint => {
                let lsn = self.driven.store().checkpoint()?;
                assert_eq!(lsn, self.driven.history.last_lsn());
                self.driven.history.all_durable();
                Ok(())
            }
            Step::Sync => {
                self.driven.store().sync()?;
                self.driven.history.all_durable();
                Ok(())
            }
            Step::Reopen => {
                self.driven.close()?;
                self.driven.open()
            }
            Step::Crash { calls, survival } => {
                self.survival = *survival;
                match calls {
                    0 => self.driven.sim.crash_now(),
                    _ => self.driven.sim.crash_at(self.driven.sim.calls() + calls),
                }
                Ok(())
            }
            Step::BackupAndRestore { access, incremental } => {
                self.backup_and_restore(*access, *incremental)
            }
        }
    }

    fn commit(&mut self, changes: &[(usize, u64, Option<usize>)], durable: bool) -> Result<()> {
        let mut all: Vec<Change> = Vec::new();
        let touched: BTreeSet<usize> = changes.iter().map(|(table, ..)| *table).collect();
        all.extend(touched.iter().map(|table| Change::Make(TABLES[*table].name())));
        for (table, key, len) in changes {
            let name = TABLES[*table].name();
            all.push(match len {
                Some(len) => Change::Put(name, *key, self.values.bytes(*len)),
                None => Change::Delete(name, *key),
            });
        }
        let durability = if durable { Durability::Immediate } else { Durability::Eventual };
        self.driven.commit(&all, durability)
    }

    fn insert(&mut self, table: usize, key: u64, len: usize) -> Result<()> {
        let name = TABLES[table].name();
        let there = self.driven.history.last().get(name).is_some_and(|t| t.contains_key(&key));
        let value = self.values.bytes(len);
        let write = self.driven.store().begin_write()?;
        let inserted = write.table(TABLES[table])?.insert(&key, &value);
        if there && !self.driven.sim.crashed() {
            assert_eq!(inserted.unwrap_err().kind(), ErrorKind::Exists);
            return Ok(());
        }
        inserted?;
        self.driven.history.ask(&[Change::Make(name), Change::Put(name, key, value)]);
        let lsn = write.commit()?.lsn;
        self.driven.history.acknowledge(lsn, true);
        Ok(())
    }

    fn range(&mut self, table: usize, from: u64, to: Bound<u64>) -> Result<()> {
        let (low, high) = (Bound::Included(from), to);
        let read = self.driven.store().begin_read()?;
        let table_now = read.table(TABLES[table])?;
        let walk = |(key, value): (u64, stillpoint::Guard<'_>)| (key, value.to_vec());
        let found = table_now.range::<u64>((low, high))?;
        let found = found.map(|r| r.map(walk)).collect::<Result<Vec<_>>>()?;
        let back = table_now.range::<u64>((low, high))?.rev();
        let mut back = back.map(|r| r.map(walk)).collect::<Result<Vec<_>>>()?;
        back.reverse();
        let records = self.driven.history.last().get(TABLES[table].name());
        let within = |key: &u64| match to {
            Bound::Included(to) => *key >= from && *key <= to,
            Bound::Excluded(to) => *key >= from && *key < to,
            Bound::Unbounded => *key >= from,
        };
        let expected = records.into_iter().flatten().filter(|(key, _)| within(key));
        let expected: Vec<_> = expected.map(|(key, value)| (*key, value.clone())).collect();
        assert!(found == expected, "range {from}..{to:?}");
        assert!(back == expected, "range {from}..{to:?}, backwards");
        Ok(())
    }

    fn backup_and_restore(&mut self, access: Access, incremental: bool) -> Result<()> {
        let backup = || self.driven.store().backup("/backups").access(access).name("store");
        let report = match incremental {
            true => backup().incremental().run().or_else(|error| match error.code() {
                // The first of all, or the archive before went with a crash.
                2009 => backup().run(),
                _ => Err(error),
            })?,
            false => backup().run()?,
        };
        assert_eq!(report.lsn, self.driven.history.last_lsn());
        let archive = stillpoint::Archive::open_on(self.driven.disk(), &report.archive)?;
        archive.verify()?;
        self.restores += 1;
        let copy = PathBuf::from(format!("/store-{}", self.restores));
        archive.restore(&copy).run()?;
        self.driven.close()?;
        self.driven.dir = copy;
        self.driven.open()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 250, ..ProptestConfig::default() })]

    #[test]
    fn a_store_is_as_a_map_through_crashes_and_restores(steps in steps(), seed in any::<u64>()) {
        let mut machine = Machine::new(seed);
        for step in &steps {
            machine.run(step);
        }
    }
}
