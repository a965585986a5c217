//! Typed tables, tables without types, and what is too much for one.

use super::{COUNTS, NAMES, builder, get, put, store};
use crate::disk::SimDisk;
use crate::{Bytes, ErrorKind, KeyType, ReadTable, Readable, Result, Store, TableDef, ValueType};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Item {
    name: String,
    price: f64,
    #[serde(default)]
    tags: Vec<String>,
    size: Option<(u32, u32)>,
    kind: Kind,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Kind {
    Plain,
    Boxed { count: i16 },
}

const ITEMS: TableDef<u64, Item> = TableDef::new("items");

fn item(name: &str) -> Item {
    let kind = Kind::Boxed { count: -3 };
    Item { name: name.into(), price: 2.5, tags: vec!["a".into()], size: Some((1, 2)), kind }
}

#[test]
fn typed_values_come_back_as_they_were() {
    const RAW: TableDef<[u8; 4], [u8]> = TableDef::new("raw");
    const BLOBS: TableDef<(String, i32), Bytes> = TableDef::new("blobs");
    let store = store();
    let write = store.begin_write().unwrap();
    write.table(ITEMS).unwrap().put(&42, &item("lamp")).unwrap();
    write.table(NAMES).unwrap().put(&1, "Zo\u{eb}").unwrap();
    write.table(RAW).unwrap().put(&[1, 2, 3, 4], b"\0\xff").unwrap();
    write.table(BLOBS).unwrap().put(&("x", -1), &Bytes::from(b"blob")).unwrap();
    write.commit().unwrap();

    let read = store.begin_read().unwrap();
    assert_eq!(read.table(ITEMS).unwrap().get(&42).unwrap(), Some(item("lamp")));
    assert_eq!(read.table(ITEMS).unwrap().get(&43).unwrap(), None);
    assert_eq!(&*read.table(NAMES).unwrap().get(&1).unwrap().unwrap(), "Zo\u{eb}");
    assert_eq!(read.table(RAW).unwrap().get(&[1, 2, 3, 4]).unwrap().unwrap(), b"\0\xff");
    let blob = read.table(BLOBS).unwrap().get(&("x", -1)).unwrap();
    assert_eq!(blob, Some(Bytes::from(b"blob")));
    assert_eq!(read.table(RAW).unwrap().first().unwrap().unwrap().0, [1, 2, 3, 4]);
}

#[test]
fn a_type_may_gain_a_field_and_may_not_change_beyond_that() {
    #[derive(Serialize, Deserialize)]
    struct Old {
        name: String,
        price: f64,
        kind: Kind,
    }
    const OLD: TableDef<u64, Old> = TableDef::new("items");
    const OTHER: TableDef<u64, Vec<u8>> = TableDef::new("items");
    let store = store();
    let write = store.begin_write().unwrap();
    let old = Old { name: "lamp".into(), price: 1.0, kind: Kind::Plain };
    write.table(OLD).unwrap().put(&1, &old).unwrap();
    write.commit().unwrap();
    let read = store.begin_read().unwrap();
    let new = read.table(ITEMS).unwrap().get(&1).unwrap().unwrap();
    assert_eq!((new.tags, new.size), (vec![], None));
    let error = read.table(OTHER).unwrap().get(&1).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreadable);
    assert!(error.advice().unwrap().contains("serde(default)"));
}

#[test]
fn a_table_that_is_not_there_reads_as_empty() {
    let read = store().begin_read().unwrap();
    let table = read.table(ITEMS).unwrap();
    assert_eq!(table.get(&1).unwrap(), None);
    assert_eq!(table.first().unwrap(), None);
    assert_eq!(table.iter().unwrap().rev().count(), 0);
    assert_eq!(table.len().unwrap(), 0);
    assert!(table.is_empty().unwrap());
    assert!(read.dyn_table("items").unwrap().is_none());
    assert!(read.tables().unwrap().is_empty());
}

#[test]
fn a_wrong_type_is_an_error_that_names_both() {
    const STRINGS: TableDef<String, u64> = TableDef::new("counts");
    const NUMBERS: TableDef<(u8, u64), u64> = TableDef::new("counts");
    const TEXTS: TableDef<str, str> = TableDef::new("counts");
    let store = store();
    put(&store, "a", 1);
    let read = store.begin_read().unwrap();
    assert_eq!(read.table(STRINGS).unwrap().get("a").unwrap(), Some(1));
    let wrong_key = read.table(NUMBERS).unwrap_err();
    assert_eq!(wrong_key.kind(), ErrorKind::Invalid);
    for part in ["counts", "str -> msgpack", "(u8, u64) -> msgpack"] {
        assert!(wrong_key.message().contains(part), "{wrong_key}");
    }
    assert!(read.table(TEXTS).unwrap_err().message().contains("str -> str"));

    let write = store.begin_write().unwrap();
    assert_eq!(write.table(NUMBERS).unwrap_err().kind(), ErrorKind::Invalid);
    write.table(COUNTS).unwrap();
    assert_eq!(write.table(NUMBERS).unwrap_err().kind(), ErrorKind::Invalid);
}

#[test]
fn tables_and_types_survive_a_reopening() {
    const NUMBERS: TableDef<u64, u64> = TableDef::new("counts");
    let disk = SimDisk::new(1);
    let store = builder(&disk).create().unwrap();
    put(&store, "a", 1);
    put(&store, "b", 2);
    assert_eq!(builder(&disk).open().unwrap_err().kind(), ErrorKind::InUse);
    store.close().unwrap();
    let store = builder(&disk).open().unwrap();
    assert_eq!(get(&store, "a"), Some(1));
    assert_eq!(get(&store, "b"), Some(2));
    let read = store.begin_read().unwrap();
    assert_eq!(read.table(NUMBERS).unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(read.tables().unwrap()[0].key_type, KeyType::Str);
}

#[test]
fn opening_makes_no_store_and_making_replaces_none() {
    let disk = SimDisk::new(1);
    assert_eq!(builder(&disk).open().unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(builder(&disk).open().unwrap_err().kind(), ErrorKind::NotFound);
    let store = builder(&disk).open_or_create().unwrap();
    put(&store, "a", 1);
    store.close().unwrap();
    assert_eq!(builder(&disk).create().unwrap_err().kind(), ErrorKind::Exists);
    assert_eq!(get(&builder(&disk).open_or_create().unwrap(), "a"), Some(1));
}

/// One function for all that can be read.
fn total(source: &impl Readable) -> Result<u64> {
    let table = source.open_table(COUNTS)?;
    assert_eq!(table.get("a")?, Some(1));
    assert!(table.contains("b")? && !table.contains("c")?);
    assert_eq!(table.len()?, 2);
    assert_eq!(table.first()?.map(|(key, _)| key).as_deref(), Some("a"));
    assert_eq!(table.last()?.map(|(key, _)| key).as_deref(), Some("b"));
    assert_eq!(table.prefix("a")?.count(), 1);
    assert_eq!(source.list_tables()?.len(), 1);
    let records: Result<BTreeMap<_, _>> = table.range::<&str>(..)?.collect();
    Ok(records?.values().sum())
}

#[test]
fn one_trait_reads_a_store_and_its_handles() {
    let store = store();
    put(&store, "a", 1);
    put(&store, "b", 2);
    assert_eq!(total(&store).unwrap(), 3);
    assert_eq!(total(&store.begin_read().unwrap()).unwrap(), 3);
    assert_eq!(total(&store.begin_write().unwrap()).unwrap(), 3);
}

#[test]
fn tables_without_types_are_read_and_written_as_json() {
    let store = store();
    let structure = store.begin_structure().unwrap();
    let key = "(str, u16)".parse().unwrap();
    structure.create_table("prices", key, ValueType::Typed).unwrap();
    structure.create(NAMES).unwrap();
    structure.create_table("raw", KeyType::Bytes, ValueType::Bytes).unwrap();
    structure.commit().unwrap();

    let write = store.begin_write().unwrap();
    let prices = write.dyn_table("prices").unwrap().unwrap();
    let json = serde_json::json!({ "name": "lamp", "price": 2.5, "size": [1, 2], "tags": ["a"],
        "kind": { "Boxed": { "count": -3 } } });
    prices.put("[\"lamps\", 7]", &json).unwrap();
    assert_eq!(prices.get("[\"lamps\", 7]").unwrap(), Some(json.clone()));
    assert_eq!(prices.put("lamps", &json).unwrap_err().kind(), ErrorKind::Invalid);
    let raw = write.dyn_table("raw").unwrap().unwrap();
    raw.put("00ff", &"0xabcd".into()).unwrap();
    assert_eq!(raw.put("00", &"xyz".into()).unwrap_err().kind(), ErrorKind::Invalid);
    write.dyn_table("names").unwrap().unwrap().put("5", &"five".into()).unwrap();
    assert!(write.dyn_table("nothing").unwrap().is_none());
    write.commit().unwrap();

    const PRICES: TableDef<(String, u16), Item> = TableDef::new("prices");
    let read = store.begin_read().unwrap();
    assert_eq!(read.table(PRICES).unwrap().get(&("lamps", 7)).unwrap(), Some(item("lamp")));
    assert_eq!(&*read.table(NAMES).unwrap().get(&5).unwrap().unwrap(), "five");
    let raw = read.dyn_table("raw").unwrap().unwrap();
    let record = raw.iter().unwrap().next().unwrap().unwrap();
    assert_eq!(
        (record.key_text().unwrap(), record.value_json().unwrap()),
        ("00ff".into(), "abcd".into())
    );
    assert_eq!(record.value, b"\xab\xcd");
    assert_eq!(raw.len().unwrap(), 1);
    assert_eq!(raw.range_raw(Some(b"\x01"), None).unwrap().count(), 0);
    let prices = read.dyn_table("prices").unwrap().unwrap();
    assert_eq!(prices.get("[\"lamps\", 7]").unwrap(), Some(json));
    assert_eq!(prices.description().key_type.to_string(), "(str, u16)");
}

#[test]
fn values_of_any_make_are_shown_as_json() {
    #[derive(Serialize, Deserialize)]
    struct Odd {
        map: BTreeMap<u8, f32>,
        unit: (),
        wide: u64,
        low: i64,
        nan: f64,
    }
    const ODD: TableDef<u8, Odd> = TableDef::new("odd");
    let store = store();
    let write = store.begin_write().unwrap();
    let map = BTreeMap::from([(7, 0.5)]);
    let odd = Odd { map, unit: (), wide: u64::MAX, low: i64::MIN, nan: f64::NAN };
    write.table(ODD).unwrap().put(&1, &odd).unwrap();
    write.commit().unwrap();
    let read = store.begin_read().unwrap();
    let json = read.dyn_table("odd").unwrap().unwrap().get("1").unwrap().unwrap();
    let expected = serde_json::json!({ "map": { "7": 0.5 }, "unit": null, "wide": u64::MAX,
        "low": i64::MIN, "nan": "NaN" });
    assert_eq!(json, expected);
}

#[test]
fn what_is_too_long_is_refused_and_what_just_fits_is_kept() {
    const LONG: TableDef<str, u64> = TableDef::new("long");
    let store = store();
    let write = store.begin_write().unwrap();
    let table = write.table(LONG).unwrap();
    let longest = (1..).find(|&len| table.put(&"k".repeat(len), &1).is_err()).unwrap() - 1;
    assert!(longest >= 1024, "{longest}");
    let error = table.delete(&"k".repeat(longest + 1)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Limit);
    let error = store.inner.check_sizes(b"k", crate::MAX_VALUE_BYTES + 1).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Limit);
    write.commit().unwrap();
    store.checkpoint().unwrap();
    let read = store.begin_read().unwrap();
    assert_eq!(read.table(LONG).unwrap().len().unwrap(), longest as u64);

    let write = store.begin_write().unwrap();
    let error = write.table(TableDef::<u8, u8>::new("")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    let name: &'static str = Box::leak("n".repeat(256).into_boxed_str());
    assert_eq!(write.table(TableDef::<u8, u8>::new(name)).unwrap_err().kind(), ErrorKind::Limit);
}

#[test]
fn big_values_are_shared_and_come_back_whole() {
    const BIG: TableDef<u8, [u8]> = TableDef::new("big");
    let store: Store = store();
    let big: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
    let write = store.begin_write().unwrap();
    write.table(BIG).unwrap().put(&1, &big).unwrap();
    assert!(write.table(BIG).unwrap().get(&1).unwrap().unwrap() == big);
    write.commit().unwrap();
    assert!(store.begin_read().unwrap().table(BIG).unwrap().get(&1).unwrap().unwrap() == big);
    store.checkpoint().unwrap();
    let read = store.begin_read().unwrap();
    assert!(read.table(BIG).unwrap().get(&1).unwrap().unwrap() == big);
    assert!(read.table(BIG).unwrap().last().unwrap().unwrap().1 == big);
}
