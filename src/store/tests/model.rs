//! Random scripts against a model: a plain map of the standard library.

use super::builder;
use crate::disk::SimDisk;
use crate::{Range, ReadTable, Store, TableDef};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::ops::Bound;

const TABLE: TableDef<(u8, String), u32> = TableDef::new("model");
/// A neighbour on either side, so that a walk that leaves its table is seen.
const BEFORE: TableDef<(u8, String), u32> = TableDef::new("before");
const AFTER: TableDef<(u8, String), u32> = TableDef::new("after");

type Key = (u8, String);
type Model = BTreeMap<Key, u32>;

#[derive(Clone, Debug)]
enum Step {
    Put(Key, u32),
    Delete(Key),
    Commit,
    Checkpoint,
    Walk(Bound<Key>, Bound<Key>, Vec<bool>),
    Prefix(u8),
}

fn key() -> impl Strategy<Value = Key> {
    (0..4u8, prop::collection::vec(prop_oneof![Just('\0'), Just('a'), Just('b')], 0..4))
        .prop_map(|(number, text)| (number, String::from_iter(text)))
}

fn bound() -> impl Strategy<Value = Bound<Key>> {
    prop_oneof![
        Just(Bound::Unbounded),
        key().prop_map(Bound::Included),
        key().prop_map(Bound::Excluded)
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (key(), any::<u32>()).prop_map(|(key, value)| Step::Put(key, value)),
        3 => key().prop_map(Step::Delete),
        2 => Just(Step::Commit),
        1 => Just(Step::Checkpoint),
        4 => (bound(), bound(), prop::collection::vec(any::<bool>(), 0..40))
            .prop_map(|(low, high, turns)| Step::Walk(low, high, turns)),
        1 => (0..5u8).prop_map(Step::Prefix),
    ]
}

/// What the model says of a walk that takes from the front (`true`) or the back.
fn expected(model: &Model, low: &Bound<Key>, high: &Bound<Key>, turns: &[bool]) -> Vec<(Key, u32)> {
    let above = |key: &Key| match low {
        Bound::Included(low) => key >= low,
        Bound::Excluded(low) => key > low,
        Bound::Unbounded => true,
    };
    let below = |key: &Key| match high {
        Bound::Included(high) => key <= high,
        Bound::Excluded(high) => key < high,
        Bound::Unbounded => true,
    };
    let within = model.iter().filter(|(key, _)| above(key) && below(key));
    let mut within = within.map(|(key, value)| (key.clone(), *value));
    let within: Vec<_> = within.by_ref().collect();
    take(within.into_iter(), turns)
}

fn take<T>(mut walk: impl DoubleEndedIterator<Item = T>, turns: &[bool]) -> Vec<T> {
    let mut taken: Vec<T> = turns
        .iter()
        .filter_map(|&front| if front { walk.next() } else { walk.next_back() })
        .collect();
    taken.extend(walk.by_ref());
    taken.extend(walk.next_back());
    taken
}

fn taken(walk: Range<'_, Key, u32>, turns: &[bool]) -> Vec<(Key, u32)> {
    take(walk.map(|record| record.unwrap()), turns)
}

fn agree(table: &impl ReadTable<Key, u32>, model: &Model, step: &Step) {
    match step {
        Step::Walk(low, high, turns) => {
            let walk = table.range((low.clone(), high.clone())).unwrap();
            assert_eq!(taken(walk, turns), expected(model, low, high, turns));
        }
        Step::Prefix(number) => {
            let walk = table.prefix(&(*number,)).unwrap();
            let all = model.iter().filter(|(key, _)| key.0 == *number);
            let all: Vec<_> = all.map(|(key, value)| (key.clone(), *value)).collect();
            assert_eq!(taken(walk, &[]), all);
        }
        _ => {}
    }
    assert_eq!(table.len().unwrap(), model.len() as u64);
    assert_eq!(table.is_empty().unwrap(), model.is_empty());
    assert_eq!(table.first().unwrap(), model.first_key_value().map(|(k, v)| (k.clone(), *v)));
    assert_eq!(table.last().unwrap(), model.last_key_value().map(|(k, v)| (k.clone(), *v)));
}

/// Runs a script and compares, after each step, the open write handle and the newest commit.
fn run(store: &Store, steps: &[Step]) {
    let (mut model, mut committed) = (Model::new(), Model::new());
    let mut write = store.begin_write().unwrap();
    for step in steps {
        let table = write.table(TABLE).unwrap();
        match step {
            Step::Put(key, value) => {
                table.put(key, value).unwrap();
                model.insert(key.clone(), *value);
            }
            Step::Delete(key) => {
                table.delete(key).unwrap();
                model.remove(key);
            }
            Step::Commit => {
                write.commit().unwrap();
                committed = model.clone();
                write = store.begin_write().unwrap();
            }
            Step::Checkpoint => {
                store.checkpoint().unwrap();
            }
            Step::Walk(..) | Step::Prefix(_) => {}
        }
        agree(&write.table(TABLE).unwrap(), &model, step);
        agree(&store.begin_read().unwrap().table(TABLE).unwrap(), &committed, step);
        if let Step::Put(key, _) | Step::Delete(key) = step {
            assert_eq!(write.table(TABLE).unwrap().get(key).unwrap(), model.get(key).copied());
            let read = store.begin_read().unwrap();
            assert_eq!(read.table(TABLE).unwrap().get(key).unwrap(), committed.get(key).copied());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn every_walk_agrees_with_a_map(steps in prop::collection::vec(step(), 1..60)) {
        let store = builder(&SimDisk::new(7)).create().unwrap();
        let write = store.begin_write().unwrap();
        for def in [BEFORE, TABLE, AFTER] {
            write.table(def).unwrap();
        }
        for def in [BEFORE, AFTER] {
            for n in 0..4 {
                write.table(def).unwrap().put(&(n, "a"), &u32::MAX).unwrap();
            }
        }
        write.commit().unwrap();
        run(&store, &steps);
    }
}

#[test]
fn walks_of_many_portions_agree_with_a_map() {
    let store = builder(&SimDisk::new(7)).create().unwrap();
    let mut model = Model::new();
    for round in 0..3_u32 {
        let write = store.begin_write().unwrap();
        let table = write.table(TABLE).unwrap();
        for n in 0..400_u32 {
            let key = ((n % 5) as u8, format!("{:03}", n * (round + 7) % 500));
            if (n + round).is_multiple_of(3) {
                table.delete(&key).unwrap();
                model.remove(&key);
            } else {
                table.put(&key, &n).unwrap();
                model.insert(key, n);
            }
        }
        for low in [Bound::Unbounded, Bound::Excluded((2, "250".to_owned()))] {
            let turns: Vec<bool> =
                (0..model.len()).map(|n| (n / 70) % 2 == round as usize % 2).collect();
            let step = Step::Walk(low, Bound::Included((4, "3".to_owned())), turns);
            agree(&table, &model, &step);
        }
        write.commit().unwrap();
        if round == 1 {
            store.checkpoint().unwrap();
        }
        let turns = vec![false; 10];
        let step = Step::Walk(Bound::Unbounded, Bound::Unbounded, turns);
        agree(&store.begin_read().unwrap().table(TABLE).unwrap(), &model, &step);
    }
}
