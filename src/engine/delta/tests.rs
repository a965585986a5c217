//! The delta against a model that shares nothing with it: a `BTreeMap` of all versions.

mod readers;

use super::super::{Change, Lsn, TableId};
use super::{Delta, DeltaChange, DeltaWriter};
use proptest::collection::vec;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;

type Name = (TableId, Vec<u8>);

/// All versions; `None` is a deletion.
#[derive(Default)]
struct Model(BTreeMap<(TableId, Vec<u8>, Lsn), Option<Vec<u8>>>);

impl Model {
    /// What a reader at `at` must see, in order.
    fn visible(&self, at: Lsn) -> BTreeMap<Name, (Lsn, Option<Vec<u8>>)> {
        let mut seen = BTreeMap::new();
        for ((table, key, lsn), value) in self.0.iter().filter(|((_, _, lsn), _)| *lsn <= at) {
            seen.insert((*table, key.clone()), (*lsn, value.clone()));
        }
        seen
    }
}

fn owned(change: Change<'_>) -> Option<Vec<u8>> {
    match change {
        Change::Put(value) => Some(value.to_vec()),
        Change::Delete => None,
    }
}

type Row = (Name, (Lsn, Option<Vec<u8>>));

fn row(current: Option<(TableId, &[u8], Lsn, Change<'_>)>) -> Option<Row> {
    current.map(|(table, key, lsn, change)| ((table, key.to_vec()), (lsn, owned(change))))
}

fn put(writer: &mut DeltaWriter, model: &mut Model, name: &Name, lsn: Lsn, value: &Value) {
    let (table, key) = name;
    let change = match value {
        Value::Copied(bytes) => DeltaChange::Put(bytes),
        Value::Shared(bytes) => DeltaChange::Shared(Arc::from(&bytes[..])),
        Value::Deleted => DeltaChange::Delete,
    };
    writer.insert(*table, key, lsn, change);
    let kept = match value {
        Value::Copied(bytes) | Value::Shared(bytes) => Some(bytes.clone()),
        Value::Deleted => None,
    };
    model.0.insert((*table, key.clone(), lsn), kept);
}

#[derive(Clone, Debug)]
enum Value {
    Copied(Vec<u8>),
    Shared(Vec<u8>),
    Deleted,
}

fn any_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        6 => vec(any::<u8>(), 0..40).prop_map(Value::Copied),
        1 => vec(any::<u8>(), 0..40).prop_map(Value::Shared),
        2 => Just(Value::Deleted),
    ]
}

/// Keys that meet often, share their first bytes, differ in zeros at the end only, or are long.
fn any_key() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        1 => Just(Vec::new()),
        2 => vec(0u8..2, 0..11),
        4 => (0u64..400).prop_map(|n| n.to_be_bytes().to_vec()),
        3 => (0u16..300).prop_map(|n| [b"same beginning".as_slice(), &n.to_be_bytes()].concat()),
        1 => Just(vec![0xff; 9]),
        1 => (0u8..3).prop_map(|n| [vec![7; 1500], vec![n]].concat()),
    ]
}

fn any_name() -> impl Strategy<Value = Name> {
    (prop_oneof![4 => Just(1u32), 2 => Just(2u32), 1 => 0u32..40, 1 => Just(u32::MAX)], any_key())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn what_a_reader_sees_is_what_the_model_says(
        batches in vec((any::<bool>(), vec((any_name(), any_value()), 1..120)), 1..25),
        asked in vec((any_name(), any::<prop::sample::Index>()), 30),
    ) {
        let (delta, mut writer) = Delta::new();
        let mut model = Model::default();
        for (lsn, (sorted, batch)) in (1..).zip(&batches) {
            // As in a commit, a name stands in a batch once; half of them come in order.
            let once: BTreeMap<&Name, &Value> =
                batch.iter().map(|(name, value)| (name, value)).collect();
            let mut order: Vec<&Name> = batch.iter().map(|(name, _)| name).collect();
            if *sorted {
                order.sort();
            }
            let mut done = std::collections::BTreeSet::new();
            for name in order {
                if done.insert(name) {
                    put(&mut writer, &mut model, name, lsn, once[name]);
                }
            }
        }
        prop_assert_eq!(delta.len(), model.0.len());
        for at in [0, 1, batches.len() as u64 / 2, batches.len() as u64, Lsn::MAX] {
            let visible = model.visible(at);
            let rows: Vec<Row> = visible.clone().into_iter().collect();
            prop_assert_eq!(forwards(&delta, at), rows.clone());
            prop_assert_eq!(backwards(&delta, at), rows);
        }
        for ((table, key), index) in &asked {
            let at = index.index(batches.len() + 1) as u64;
            let visible = model.visible(at);
            let name = (*table, key.clone());
            let got = delta.get(*table, key, at).map(owned);
            prop_assert_eq!(got, visible.get(&name).map(|(_, value)| value.clone()));
            check_seeks(&delta, at, &name, &visible)?;
        }
    }

    #[test]
    fn versions_may_come_in_any_order(lsns in Just((1..40u64).collect::<Vec<_>>()).prop_shuffle()) {
        let (delta, mut writer) = Delta::new();
        for lsn in lsns {
            writer.insert(3, b"key", lsn * 2, DeltaChange::Put(&lsn.to_le_bytes()));
        }
        for at in 0..90u64 {
            let expected = (at >= 2).then(|| (at / 2).min(39).to_le_bytes().to_vec());
            prop_assert_eq!(delta.get(3, b"key", at).and_then(owned), expected);
        }
    }
}

fn forwards(delta: &Delta, at: Lsn) -> Vec<Row> {
    let mut cursor = delta.cursor(at);
    let mut rows = Vec::new();
    let mut there = cursor.seek_ge(0, b"");
    while there {
        rows.extend(row(cursor.current()));
        there = cursor.next();
    }
    assert!(cursor.current().is_none() && !cursor.next() && !cursor.prev());
    rows
}

fn backwards(delta: &Delta, at: Lsn) -> Vec<Row> {
    let mut cursor = delta.cursor(at);
    let mut rows = Vec::new();
    let mut there = cursor.seek_last(TableId::MAX);
    while there {
        rows.extend(row(cursor.current()));
        there = cursor.prev();
    }
    assert!(cursor.current().is_none() && !cursor.next() && !cursor.prev());
    rows.reverse();
    rows
}

/// Each seek, and a step to either side from where it came to.
fn check_seeks(
    delta: &Delta,
    at: Lsn,
    name: &Name,
    visible: &BTreeMap<Name, (Lsn, Option<Vec<u8>>)>,
) -> Result<(), TestCaseError> {
    let own = |(name, seen): (&Name, &(Lsn, Option<Vec<u8>>))| (name.clone(), seen.clone());
    let after = |name: &Name| {
        use std::ops::Bound::{Excluded, Unbounded};
        visible.range((Excluded(name), Unbounded)).next().map(own)
    };
    let before = |name: &Name| visible.range(..name).next_back().map(own);
    let last_of_table = {
        let end = name.0.checked_add(1).map(|next| (next, Vec::new()));
        match &end {
            Some(end) => visible.range(..end).next_back().map(own),
            None => visible.iter().next_back().map(own),
        }
    };
    let cases: [(usize, Option<Row>); 3] = [
        (0, visible.range(name..).next().map(own)),
        (1, visible.range(..=name).next_back().map(own)),
        (2, last_of_table),
    ];
    for (seek, expected) in cases {
        for step_forwards in [true, false] {
            let mut cursor = delta.cursor(at);
            let there = match seek {
                0 => cursor.seek_ge(name.0, &name.1),
                1 => cursor.seek_le(name.0, &name.1),
                _ => cursor.seek_last(name.0),
            };
            prop_assert_eq!(there, expected.is_some());
            prop_assert_eq!(row(cursor.current()), expected.clone());
            let Some((found, _)) = &expected else { continue };
            let (stepped, beside) = match step_forwards {
                true => (cursor.next(), after(found)),
                false => (cursor.prev(), before(found)),
            };
            prop_assert_eq!(stepped, beside.is_some());
            prop_assert_eq!(row(cursor.current()), beside);
        }
    }
    Ok(())
}

/// Loads of ten thousand records, deep enough that inner nodes split in every way.
#[test]
fn every_record_of_a_large_load_is_found_in_whatever_order_it_came() {
    const COUNT: u64 = 10_000;
    let orders: [fn(u64) -> u64; 4] = [
        |i| i,
        |i| COUNT - 1 - i,
        |i| (i * 7919) % COUNT,
        // Two ascending runs into each other.
        |i| if i % 2 == 0 { i / 2 } else { COUNT / 2 + i / 2 },
    ];
    for (which, order) in orders.into_iter().enumerate() {
        for prefix in [b"".as_slice(), b"a long beginning"] {
            let (delta, mut writer) = Delta::new();
            let key = |n: u64| [prefix, &n.to_be_bytes()].concat();
            for i in 0..COUNT {
                let n = order(i);
                writer.insert(n as u32 / 4000, &key(n), i + 1, DeltaChange::Put(&n.to_le_bytes()));
            }
            let rows = forwards(&delta, Lsn::MAX);
            assert_eq!(rows.len() as u64, COUNT, "order {which}");
            assert!(rows.iter().map(|row| &row.0).is_sorted(), "order {which}");
            assert_eq!(backwards(&delta, Lsn::MAX), rows, "order {which}");
            for n in 0..COUNT {
                let got = delta.get(n as u32 / 4000, &key(n), Lsn::MAX).and_then(owned);
                assert_eq!(got, Some(n.to_le_bytes().to_vec()), "order {which}");
                assert!(delta.get(n as u32 / 4000 + 1, &key(n), Lsn::MAX).is_none());
            }
        }
    }
}

#[test]
fn shared_values_are_held_once_and_given_back_once() {
    let values: Vec<Arc<[u8]>> = (0..40u8).map(|n| Arc::from(vec![n; 20_000])).collect();
    let (delta, mut writer) = Delta::new();
    for (n, value) in (0u8..).zip(&values) {
        writer.insert(1, &[n % 7], u64::from(n) + 1, DeltaChange::Shared(Arc::clone(value)));
    }
    assert!(values.iter().all(|value| Arc::strong_count(value) == 2));
    let Some(Change::Put(seen)) = delta.get(1, &[3], Lsn::MAX) else { panic!("it was put") };
    assert_eq!(seen.as_ptr(), values[38].as_ptr(), "not copied");
    drop(writer);
    assert!(values.iter().all(|value| Arc::strong_count(value) == 2));
    drop(delta);
    assert!(values.iter().all(|value| Arc::strong_count(value) == 1));
}

#[test]
fn bytes_counts_chunks_shared_values_and_filter() {
    let (delta, mut writer) = Delta::new();
    let empty = delta.bytes();
    assert!(empty < 4096, "an empty delta owns nothing but itself: {empty}");
    writer.insert(1, b"a", 1, DeltaChange::Put(b"small"));
    let one = delta.bytes() - empty;
    assert!((64 << 10..72 << 10).contains(&one), "one chunk, one layer of the filter: {one}");
    for (lsn, size) in [(2, 16 << 10), (3, 1 << 20)] {
        let before = delta.bytes();
        writer.insert(1, b"a", lsn, DeltaChange::Shared(Arc::from(vec![1; size])));
        assert_eq!(delta.bytes() - before, size, "only the value, not in a chunk");
        let before = delta.bytes();
        writer.insert(1, b"b", lsn, DeltaChange::Put(&vec![1; size]));
        assert_eq!(delta.bytes() - before, size, "large values go the same way when they are put");
    }
    let before = delta.bytes();
    let mut content = 0;
    for n in 0..20_000u64 {
        writer.insert(2, &n.to_be_bytes(), 4, DeltaChange::Put(&[5; 100]));
        content += 8 + 100;
    }
    let grown = delta.bytes() - before;
    assert!(grown > content && grown < content * 2 + (1 << 20), "{grown} for {content}");
    assert_eq!(delta.len(), 20_005);
}

#[test]
fn keys_and_values_of_every_size_come_back() {
    let (delta, mut writer) = Delta::new();
    let sizes = [0, 1, 7, 8, 9, 1023, 1024, 5000, 16_383, 16_384, 70_000, 300_000, 2_000_000];
    for (lsn, &size) in (1..).zip(&sizes) {
        writer.insert(1, &vec![9; size.min(70_000)], lsn, DeltaChange::Put(&vec![lsn as u8; size]));
        writer.insert(2, b"", lsn, DeltaChange::Put(&vec![lsn as u8; size]));
    }
    for (lsn, &size) in (1..).zip(&sizes) {
        let value = Some(vec![lsn as u8; size]);
        assert_eq!(delta.get(2, b"", lsn).and_then(owned), value);
        if size <= 70_000 {
            // The three largest keys are one record.
            let at = if size == 70_000 { 11 } else { Lsn::MAX };
            assert_eq!(delta.get(1, &vec![9; size], at).and_then(owned), value);
        }
    }
}

#[test]
fn an_empty_delta_has_nothing() {
    let (delta, _writer) = Delta::new();
    assert!(delta.get(0, b"", Lsn::MAX).is_none());
    assert!(forwards(&delta, Lsn::MAX).is_empty() && backwards(&delta, Lsn::MAX).is_empty());
    assert_eq!(delta.len(), 0);
}

#[test]
fn the_filter_forgets_nothing_and_turns_most_others_away() {
    let (filter, count) = (super::filter::Filter::new(), 100_000u64);
    for n in 0..count {
        filter.add(Delta::hash(1, &n.to_be_bytes()));
    }
    assert!((0..count).all(|n| filter.may_have(Delta::hash(1, &n.to_be_bytes()))));
    let taken_in = |table, numbers: std::ops::Range<u64>| {
        numbers.filter(|n| filter.may_have(Delta::hash(table, &n.to_be_bytes()))).count()
    };
    let (other_keys, other_table) = (taken_in(1, count..2 * count), taken_in(2, 0..count));
    assert!(other_keys < 400 && other_table < 400, "{other_keys} and {other_table} of {count}");
}

#[test]
fn the_hash_tells_names_apart_that_are_near() {
    let mut seen = std::collections::HashSet::new();
    for table in 0..3 {
        for len in 0..40 {
            assert!(seen.insert(Delta::hash(table, &vec![0; len])));
            for at in 0..len {
                let mut key = vec![0; len];
                key[at] = 1;
                assert!(seen.insert(Delta::hash(table, &key)));
            }
        }
    }
}

#[test]
fn delta_and_writer_go_between_threads() {
    fn sent<T: Send>() {}
    fn shared<T: Send + Sync>() {}
    sent::<DeltaWriter>();
    shared::<Delta>();
    sent::<super::DeltaCursor<'_>>();
}
