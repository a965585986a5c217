//! Random batches against ordered maps.

use proptest::prelude::*;

use super::*;
use crate::disk::SimDisk;

#[derive(Clone, Debug)]
enum Op {
    Put(u32, Vec<u8>, Vec<u8>),
    Delete(u32, Vec<u8>),
    Drop(u32),
    Fill(u32, u16, u16, u16),
    Clear(u32, u16, u16),
}

fn key() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        8 => (0u16..400).prop_map(|n| format!("key{n:05}").into_bytes()),
        2 => proptest::collection::vec(0u8..3, 0..6),
        1 => (0u8..9, 900usize..1280).prop_map(|(n, len)| vec![n; len]),
    ]
}

fn value() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        6 => (any::<u8>(), 0usize..300).prop_map(|(byte, len)| vec![byte; len]),
        2 => (any::<u8>(), 900usize..2300).prop_map(|(byte, len)| vec![byte; len]),
        1 => (any::<u8>(), 0usize..9000).prop_map(|(byte, len)| vec![byte; len]),
        1 => (any::<u8>(), 60_000usize..140_000).prop_map(|(byte, len)| vec![byte; len]),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    let table = 1u32..4;
    prop_oneof![
        20 => (table.clone(), key(), value()).prop_map(|(t, k, v)| Op::Put(t, k, v)),
        10 => (table.clone(), key()).prop_map(|(t, k)| Op::Delete(t, k)),
        1 => table.clone().prop_map(Op::Drop),
        3 => (table.clone(), 0u16..400, 1u16..300, 0u16..200)
            .prop_map(|(t, from, many, len)| Op::Fill(t, from, many, len)),
        3 => (table, 0u16..400, 1u16..300).prop_map(|(t, from, many)| Op::Clear(t, from, many)),
    ]
}

fn batch(ops: &[Op], model: &Model, round: u64) -> Batch {
    let mut batch = Batch::default();
    let need = |batch: &mut Batch, table: u32| {
        let key = (CATALOGUE, table.to_be_bytes().to_vec());
        if !model.contains_key(&table) && !batch.changes.contains_key(&key) {
            batch.define(table, format!("table {table} of round {round}").as_bytes());
        }
    };
    for op in ops {
        match op {
            Op::Put(table, key, value) => {
                need(&mut batch, *table);
                batch.put(*table, key, value);
            }
            Op::Delete(table, key) => batch.delete(*table, key),
            Op::Drop(table) => batch.drop_table(*table),
            Op::Fill(table, from, many, len) => {
                need(&mut batch, *table);
                for n in *from..from + many {
                    let value = vec![round as u8; usize::from(*len)];
                    batch.put(*table, format!("key{n:05}").as_bytes(), &value);
                }
            }
            Op::Clear(table, from, many) => {
                for n in *from..from + many {
                    batch.delete(*table, format!("key{n:05}").as_bytes());
                }
            }
        }
    }
    batch
}

fn probe(checkpoint: &Checkpoint, model: &Model, key: &[u8]) {
    for (table, (_, records)) in model {
        let mut cursor = checkpoint.cursor(*table);
        let found = cursor.seek_ge(key).expect("seek_ge").then(|| cursor.key().to_vec());
        assert_eq!(found.as_ref(), records.range(key.to_vec()..).next().map(|(k, _)| k));
        let found = cursor.seek_le(key).expect("seek_le").then(|| cursor.key().to_vec());
        assert_eq!(found.as_ref(), records.range(..=key.to_vec()).next_back().map(|(k, _)| k));
        let got = checkpoint.get(*table, key).expect("get").map(|value| value.to_vec());
        assert_eq!(got.as_ref(), records.get(key));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn random_batches_read_back_like_an_ordered_map(
        rounds in proptest::collection::vec(proptest::collection::vec(op(), 0..40), 1..8),
        probes in proptest::collection::vec(key(), 10),
        reopen in any::<u8>(),
        big_pages in any::<bool>(),
    ) {
        let disk = SimDisk::new(1);
        create(&*disk, if big_pages { 16384 } else { 4096 });
        let (mut file, mut newest) = open(&*disk);
        let mut model = Model::new();
        let mut held: Vec<(Arc<Checkpoint>, Model)> = Vec::new();
        for (round, ops) in rounds.iter().enumerate() {
            let batch = batch(ops, &model, round as u64);
            batch.play(&mut model);
            newest = file
                .checkpoint(&newest, &mut batch.source(), params(round as u64 + 1))
                .expect("checkpoint");
            assert_holds(&newest, &model);
            for key in &probes {
                probe(&newest, &model, key);
            }
            for (old, then) in &held {
                assert_holds(old, then);
            }
            if reopen >> (round % 8) & 1 != 0 {
                held.clear();
                drop(newest);
                (file, newest) = open(&*disk);
                assert_holds(&newest, &model);
            } else if round.is_multiple_of(2) {
                held.push((newest.clone(), model.clone()));
            }
            if let Some(moved) = file.tidy(&newest, 115).expect("tidy") {
                newest = moved;
                assert_holds(&newest, &model);
            }
            let report = newest.verify().expect("verify");
            assert!(report.is_sound(), "{:?}", report.damage);
        }
    }
}
