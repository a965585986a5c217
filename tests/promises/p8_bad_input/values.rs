//! Values that serde writes and cannot read back are refused when they are put; one that is there all the
//! same is an error of its own record, which a scan goes past.

use std::collections::HashMap;
use std::fmt::Debug;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::*;

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind")]
enum Tagged {
    Wide { amount: i128 },
    Small { amount: i64 },
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum Untagged {
    Wide(u128),
    Text(String),
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Flat {
    name: String,
    #[serde(flatten)]
    more: HashMap<String, u32>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Skipped {
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "some")]
    value: Option<u32>,
}

fn some<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<u32>, D::Error> {
    u32::deserialize(from).map(Some)
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
struct Even(u32);

impl From<Even> for u32 {
    fn from(even: Even) -> u32 {
        even.0
    }
}

impl TryFrom<u32> for Even {
    type Error = String;

    fn try_from(number: u32) -> Result<Even, String> {
        if number.is_multiple_of(2) { Ok(Even(number)) } else { Err(format!("{number} is odd")) }
    }
}

/// Puts `good`, which comes back, and `bad`, which is refused; both by all calls that put.
fn refuses<T: Serialize + DeserializeOwned + Debug + PartialEq>(good: T, bad: T) {
    let table: TableDef<u64, T> = TableDef::new("values");
    let scene = Scene::new(Mode::Server, 1);
    scene
        .store
        .transact(|write| {
            let values = write.table(table)?;
            for error in [values.put(&2, &bad).unwrap_err(), values.insert(&2, &bad).unwrap_err()] {
                assert_clear(&error, ErrorKind::Invalid, "", true);
                assert!(error.causes().next().is_some(), "{error:?}");
            }
            values.put(&1, &good)
        })
        .unwrap();
    let read = scene.store.begin_read().unwrap();
    let all = read.table(table).unwrap().iter().unwrap().collect::<Result<Vec<_>, _>>();
    assert_eq!(all.unwrap(), [(1, good)]);
}

#[test]
fn a_value_that_could_not_be_read_back_is_refused_when_it_is_put() {
    refuses(Tagged::Small { amount: -7 }, Tagged::Wide { amount: -7 });
    refuses(Untagged::Text("7".into()), Untagged::Wide(u128::MAX));
    let flat = |key: &str| Flat { name: "lamp".into(), more: [(key.to_owned(), 1)].into() };
    refuses(flat("size"), flat("name"));
    refuses(Skipped { value: Some(1) }, Skipped { value: None });
    refuses(Even(2), Even(3));
    refuses(vec![Even(2), Even(4)], vec![Even(2), Even(3)]);
}

#[test]
fn a_value_that_is_nested_too_deeply_is_refused_and_not_found_after_the_commit() {
    // Without optimisation a level takes more of the stack than the threads of tests have for it.
    let roomy = std::thread::Builder::new().stack_size(256 << 20);
    roomy.spawn(deep_values).unwrap().join().unwrap();
}

fn deep_values() {
    #[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
    struct Deep(u8, Option<Box<Deep>>);
    let deep = |levels: usize| {
        (0..levels).fold(Deep::default(), |inner, _| Deep(1, Some(Box::new(inner))))
    };
    refuses(deep(400), deep(1200));
    let scene = Scene::new(Mode::Server, 1);
    let json = |levels: usize| {
        (0..levels).fold(serde_json::Value::Null, |inner, _| serde_json::Value::Array(vec![inner]))
    };
    let write = scene.store.begin_write().unwrap();
    let items = write.dyn_table("items").unwrap().unwrap();
    items.put("1", &json(500)).unwrap();
    let error = items.put("1", &json(1200)).unwrap_err();
    assert_clear(&error, ErrorKind::Invalid, "", true);
}

#[test]
fn values_of_unusual_shapes_that_come_back_are_taken() {
    fn comes_back<T: Serialize + DeserializeOwned + Debug + PartialEq>(value: T) {
        let table: TableDef<u64, T> = TableDef::new("values");
        let scene = Scene::new(Mode::Server, 1);
        scene.store.transact(|write| write.table(table)?.put(&1, &value)).unwrap();
        let read = scene.store.begin_read().unwrap();
        assert_eq!(read.table(table).unwrap().get(&1).unwrap(), Some(value));
    }
    comes_back((i128::MIN, u128::MAX));
    comes_back([f32::MIN_POSITIVE, f32::INFINITY, -0.0]);
    comes_back(HashMap::from([((1, 'x'), Some(())), ((2, 'y'), Some(()))]).len());
    comes_back(HashMap::from([(Some(3_i128), "three".to_owned())]));
    comes_back(vec![Some(Tagged::Small { amount: 0 }), None]);
    comes_back(());
}

#[test]
fn a_scan_names_the_record_that_it_cannot_read_and_goes_on() {
    let scene = Scene::new(Mode::Server, 9);
    let store = &scene.store;
    store
        .transact(|write| {
            let items = write.dyn_table("items")?.expect("it is there");
            for key in ["3", "7"] {
                items.put(key, &serde_json::json!([1, 2]))?;
            }
            Ok(())
        })
        .unwrap();
    let check = |records: Vec<stillpoint::Result<(u64, String)>>| {
        assert_eq!(records.len(), 9);
        let failed: Vec<_> = records.iter().filter_map(|record| record.as_ref().err()).collect();
        assert_eq!(failed.len(), 2);
        for error in failed {
            assert_clear(error, ErrorKind::Unreadable, "", true);
            assert!(error.message().contains("of table \"items\""), "{error}");
        }
    };
    let read = store.begin_read().unwrap();
    let items = read.table(ITEMS).unwrap();
    check(items.iter().unwrap().collect());
    check(items.iter().unwrap().rev().collect());
    let error = items.get(&7).unwrap_err();
    assert_clear(&error, ErrorKind::Unreadable, "", true);
    assert!(error.message().contains("record 7 of table \"items\""), "{error}");
    let write = store.begin_write().unwrap();
    let items = write.table(ITEMS).unwrap();
    check(items.iter().unwrap().collect());
    check(items.iter().unwrap().rev().collect());
    assert!(items.get(&3).unwrap_err().message().contains("record 3 of table \"items\""));
}
