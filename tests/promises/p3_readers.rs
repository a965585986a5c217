//! P3 from the side of readers: while two writers, checkpoints and live backups go on, each read handle
//! sees the store at exactly one commit, and not at an older one than the last that was acknowledged.
//!
//! What a record is after a round of the first writer is computed from its number, the round and the
//! seed; nothing is shared with the store, and nothing has to be remembered.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use stillpoint::{Access, Mode, Range, ReadHandle, Store, TableDef};

use crate::scene::{ITEMS, Scene, TO};
use crate::support::random::{Random, seed};

const NOTES: TableDef<u64, String> = TableDef::new("notes");
const RECORDS: u64 = 3000;
const ROUNDS: u64 = 1000;
/// The record that says which round it is.
const ROUND: u64 = 0;

#[derive(Clone, Copy)]
struct Model {
    seed: u64,
}

impl Model {
    /// Scattered, and never [`ROUND`], as the factor is odd.
    fn key(self, n: u64) -> u64 {
        (n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }

    /// What round `round` makes of record `n`, if anything.
    fn change(self, n: u64, round: u64) -> Option<Option<String>> {
        let drawn = Random::new(self.seed ^ n.rotate_left(32) ^ round).next();
        let value = || match drawn >> 16 & 127 {
            0 => format!("{n} in {round} ").repeat(2000),
            len => format!("{n} in {round} ").repeat(1 + len as usize / 16),
        };
        (drawn & 15 == 0).then(|| (drawn >> 8 & 3 != 0).then(value))
    }

    /// Record `n` after round `round`.
    fn value(self, n: u64, round: u64) -> Option<String> {
        (1..=round).rev().find_map(|round| self.change(n, round)).flatten()
    }

    /// All records after round `round`.
    fn all(self, round: u64) -> BTreeMap<u64, String> {
        let value = |n| self.value(n, round).map(|value| (self.key(n), value));
        (0..RECORDS).filter_map(value).collect()
    }

    fn write(self, store: &Store, round: u64) {
        let write = store.begin_write().unwrap();
        let items = write.table(ITEMS).unwrap();
        items.put(&ROUND, &round.to_string()).unwrap();
        for n in 0..RECORDS {
            match self.change(n, round) {
                Some(Some(value)) => items.put(&self.key(n), &value).unwrap(),
                Some(None) => items.delete(&self.key(n)).unwrap(),
                None => {}
            }
        }
        write.commit().unwrap();
    }

    /// Looks at the store from all sides; gives the round that it is at.
    fn check(self, read: &ReadHandle, random: &mut Random) -> u64 {
        let items = read.table(ITEMS).unwrap();
        let round = items.get(&ROUND).unwrap().map_or(0, |round| round.parse().unwrap());
        let expected = self.all(round);
        for n in std::iter::repeat_with(|| random.below(RECORDS)).take(5000) {
            let (found, key) = (items.get(&self.key(n)).unwrap(), self.key(n));
            assert!(found.as_ref() == expected.get(&key), "{n} after round {round}: {found:?}");
        }
        let in_order = |range: Range<'_, u64, String>, back: bool| {
            let mut found: Vec<_> = match back {
                true => range.rev().map(Result::unwrap).collect(),
                false => range.map(Result::unwrap).collect(),
            };
            back.then(|| found.reverse());
            found
        };
        let (from, back) = (random.next().max(1), random.below(2) == 0);
        let found = in_order(items.range(1..from).unwrap(), back);
        let behind = in_order(items.range(from..).unwrap(), !back);
        let found = found.into_iter().chain(behind);
        assert!(found.eq(expected), "to and from {from} after round {round}, {back}");
        round
    }
}

#[test]
fn readers_see_one_commit_and_none_before_what_was_acknowledged_whatever_goes_on() {
    let seed = seed("readers_see_one_commit");
    let model = Model { seed };
    let scene = Scene::with(0, |builder| builder.mode(Mode::Server).memory_budget(768 << 10));
    let (store, acknowledged, done) = (&scene.store, AtomicU64::new(0), AtomicBool::new(false));
    let going = || !done.load(Ordering::Acquire);
    std::thread::scope(|scope| {
        for reader in 0..3 {
            let (acknowledged, going) = (&acknowledged, &going);
            scope.spawn(move || {
                let mut random = Random::new(seed ^ reader);
                let mut before = 0;
                let mut last = false;
                while !last {
                    last = !going();
                    let at_least = acknowledged.load(Ordering::Acquire).max(before);
                    let read = store.begin_read().unwrap();
                    before = model.check(&read, &mut random);
                    assert!(before >= at_least, "{before} after {at_least}");
                    // Whatever came meanwhile, the handle stays where it is.
                    assert_eq!(model.check(&read, &mut random), before);
                }
            });
        }
        scope.spawn(|| {
            for note in (0..).take_while(|_| going()) {
                let write = store.begin_write().unwrap();
                write.table(NOTES).unwrap().put(&(note % 50), &"note ".repeat(40)).unwrap();
                write.commit().unwrap();
            }
        });
        scope.spawn(|| {
            let mut random = Random::new(!seed);
            while going() {
                store.checkpoint().unwrap();
                let at_least = acknowledged.load(Ordering::Acquire);
                let report = store.backup(TO).access(Access::Live).run().unwrap();
                let archive = scene.archive(&report.archive);
                let round = model.check(&archive.read().unwrap(), &mut random);
                assert!(round >= at_least, "an archive of {round} after {at_least}");
            }
        });
        // Also where the writer panics: the others must end.
        let _done = AtTheEnd(&done);
        for round in 1..=ROUNDS {
            model.write(store, round);
            acknowledged.store(round, Ordering::Release);
        }
    });
    store.verify().unwrap();
}

struct AtTheEnd<'a>(&'a AtomicBool);

impl Drop for AtTheEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}
