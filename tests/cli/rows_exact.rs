//! Import takes a file as it is, or says in which line it cannot; what is exported is imported again as
//! it was.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Map, Value, json};
use stillpoint::{KeyType, Store, ValueType};

use super::{Ended, Shop, sample_csv};

fn import(shop: &Shop, text: impl AsRef<[u8]>) -> Ended {
    shop.run(&["import", "s", "t", shop.file("in.csv", text), "--key", "id"])
}

#[test]
fn a_wrong_quote_or_a_cut_cell_is_told_with_its_line_and_changes_nothing() {
    let shop = Shop::new();
    let many = sample_csv(20_000).replacen("k00005,", "k00005,\"", 1);
    let line = 1 + many.lines().position(|line| line.contains("k00005,\"")).unwrap();
    let cut = format!("line {line}");
    for (text, line) in [
        (&*many, &*cut),
        ("id,x\n1,\"x\"y\n", "line 2"),
        ("id,x\n1,a\n2,\"cut with", "line 3"),
        ("id,x\r\n1,a\r\n2,\"cut\r\nwith", "line 3"),
        ("id,x\n1,a\n2\n", "line 3"),
        ("id,x\n1,a,b\n", "line 2"),
        ("id,x\n1,a\n,b\n", "line 3"),
        ("id,id\n1,2\n", "line 1"),
        ("\"id\"x,y\n1,2\n", "line 1"),
    ] {
        let ended = import(&shop, text);
        assert_eq!(ended.code, 2, "{text:.40}: {ended:?}");
        assert!(ended.err.contains(line), "{text:.40}: {ended:?}");
        assert_eq!(shop.names("."), ["in.csv"], "nothing was made");
    }
    let bad: [&[u8]; 3] = [b"id,x\n1,\xff\n", b"\xff\xfei\0d\0", b"\xfe\xff\0i\0d"];
    for text in bad {
        let ended = import(&shop, text);
        assert_eq!(ended.code, 2, "{ended:?}");
        assert!(ended.err.contains("line ") && ended.err.contains("UTF-"), "{ended:?}");
    }
}

#[test]
fn every_form_of_a_csv_that_loses_nothing_is_taken() {
    for (text, exported) in [
        ("id,x\r\n1,a\r\n2,b", "id,x\n1,a\n2,b\n"),
        ("id,x\r1,a\r2,b\r", "id,x\n1,a\n2,b\n"),
        ("\u{feff}id,x\n1,a\n\n\n", "id,x\n1,a\n"),
        ("id,x\n1,5\" pipe\n", "id,x\n1,\"5\"\" pipe\"\n"),
        ("id,x\n1,a\0b\n", "id,x\n1,a\0b\n"),
        ("id,\n1,a\n", "id,\n1,a\n"),
        ("id,x\n\"\",a\n", "id,x\n\"\",a\n"),
    ] {
        let shop = Shop::new();
        let ended = import(&shop, text);
        assert_eq!(ended.code, 0, "{text:?}: {ended:?}");
        assert_eq!(shop.done(&["export", "s", "t"]), exported, "{text:?}");
    }
    let shop = Shop::new();
    let long = "x".repeat(3 << 20);
    assert_eq!(import(&shop, format!("id,x\n1,{long}\n")).code, 0);
    assert_eq!(shop.done(&["export", "s", "t"]), format!("id,x\n1,{long}\n"));
}

#[test]
fn bounds_are_checked_in_the_first_pass_and_named_with_their_line() {
    let shop = Shop::new();
    let long_key = format!("{}{},n,1\n", sample_csv(20_000), "k".repeat(5_000));
    let ended = import(&shop, &long_key);
    assert_eq!(ended.code, 2, "{ended:?}");
    assert!(ended.err.contains("line 20002: the key takes"), "{ended:?}");
    assert_eq!(shop.names("."), ["in.csv"]);
    // Into a table that is there, too.
    assert_eq!(import(&shop, "id,x\na,1\n").code, 0);
    let before = shop.done(&["export", "s", "t"]);
    let ended = import(&shop, format!("id,x\nb,1\n{},2\n", "k".repeat(5_000)));
    assert_eq!((ended.code, ended.err.contains("line 3")), (2, true), "{ended:?}");
    assert_eq!(shop.done(&["export", "s", "t"]), before);
}

#[test]
fn another_spelling_of_an_integer_is_no_key_of_an_integer_table() {
    let shop = Shop::new();
    assert_eq!(import(&shop, "id,x\n7,old\n").code, 0);
    for key in ["007", "+7", "7 ", " 7", "-0", "7.0", "7e0", "0x7"] {
        let ended = import(&shop, format!("id,x\n8,new\n{key},new\n"));
        assert_eq!((ended.code, ended.err.contains("line 3")), (2, true), "{key}: {ended:?}");
        for arguments in [&["get", "s", "t", key][..], &["delete", "s", "t", key]] {
            assert_eq!(shop.run(arguments).code, 2, "{arguments:?}");
        }
        shop.fails(2, &["put", "s", "t", key, "1"]);
    }
    assert_eq!(shop.done(&["export", "s", "t"]), "id,x\n7,old\n");
}

#[test]
fn integers_that_fit_no_type_together_are_told_with_both_lines() {
    let shop = Shop::new();
    let text = "id,x\n5,a\n-1,b\n9223372036854775808,c\n";
    let ended = import(&shop, text);
    assert_eq!(ended.code, 2, "{ended:?}");
    assert!(ended.err.contains("line 3") && ended.err.contains("line 4"), "{ended:?}");
    assert_eq!(shop.names("."), ["in.csv"]);
    shop.done(&["import", "s", "t", "in.csv", "--key", "id", "--keys", "text"]);
    assert_eq!(shop.json(&["tables", "s"])[0]["keys"], "str");
    let ended = shop.run(&["import", "s", "t", "in.csv", "--key", "id", "--keys", "integer"]);
    assert_eq!(ended.code, 2, "{ended:?}");
}

#[test]
fn json_that_would_be_changed_is_refused_with_its_line() {
    let shop = Shop::new();
    shop.done(&["import", "s", "t", shop.file("a.csv", "id\na\n"), "--key", "id"]);
    let deep = format!("{{\"id\":1,\"v\":{}{}}}", "[".repeat(200), "]".repeat(200));
    for (row, what) in [
        (r#"{"id":1,"a":1,"a":2}"#, "\"a\" stands twice"),
        (r#"{"id":1,"v":{"b":[{"c":1,"c":1}]}}"#, "\"c\" stands twice"),
        (r#"{"id":1,"v":0.1234567890123456789}"#, "0.1234567890123456789"),
        (r#"{"id":1,"v":[12345678901234567890123]}"#, "12345678901234567890123"),
        (r#"{"id":1,"v":1e400}"#, "number"),
        (&*deep, "deeper than 127 levels"),
        (r#"{"id":1.5}"#, "neither text nor an integer"),
    ] {
        let file = shop.file("in.jsonl", format!("{{\"id\":0}}\n{row}\n"));
        let ended = shop.run(&["import", "new", "t", file, "--key", "id"]);
        assert_eq!(ended.code, 2, "{row:.60}: {ended:?}");
        assert!(ended.err.contains("line 2") && ended.err.contains(what), "{row:.60}: {ended:?}");
        assert!(!shop.path("new").exists());
        if !row.contains("1.5") {
            assert_eq!(shop.run(&["put", "s", "t", "k", row]).code, 2, "{row:.60}");
        }
    }
}

#[test]
fn an_empty_key_goes_in_and_out() {
    let shop = Shop::new();
    shop.done(&["import", "s", "t", shop.file("a.csv", "id,x\na,1\n"), "--key", "id"]);
    shop.done(&["put", "s", "t", "", "{\"id\":\"\",\"x\":\"2\"}"]);
    for file in ["out.csv", "out.jsonl"] {
        shop.done(&["export", "s", "t", "-o", file]);
        let copy = format!("{file}-copy");
        shop.done(&["import", &copy, "t", file, "--key", "id"]);
        assert_eq!(shop.done(&["export", &copy, "t"]), "id,x\n\"\",2\na,1\n");
    }
}

#[test]
fn a_value_differs_from_an_object_that_holds_it() {
    let shop = Shop::new();
    shop.done(&["import", "s", "t", shop.file("a.csv", "id\nx\n"), "--key", "id"]);
    shop.done(&["delete", "s", "t", "x"]);
    for (key, value) in [("a", "7"), ("b", "{\"value\":7}"), ("c", "\"7\""), ("d", "null")] {
        shop.done(&["put", "s", "t", key, value]);
    }
    let text = shop.done(&["export", "s", "t", "--format", "jsonl"]);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(
        lines[..2],
        ["{\"key\":\"a\",\"value\":7}", "{\"key\":\"b\",\"value\":{\"value\":7}}"]
    );
    let file = shop.file("out.jsonl", &text);
    shop.done(&["import", "u", "t", file, "--key", "key", "--value", "value"]);
    assert_eq!(shop.done(&["export", "u", "t", "--format", "jsonl"]), text);
    for key in ["a", "b", "c", "d"] {
        assert_eq!(shop.done(&["get", "u", "t", key]), shop.done(&["get", "s", "t", key]));
    }
}

#[test]
fn a_key_that_stands_apart_is_no_part_of_the_records() {
    let shop = Shop::new();
    let file = shop.file("a.jsonl", "{\"id\":2,\"x\":1}\n{\"id\":1}\n");
    shop.done(&["import", "s", "t", file, "--key", "id", "--key-apart"]);
    assert_eq!(shop.done(&["get", "s", "t", "2"]).trim(), "{\"x\":1}");
    let text = shop.done(&["export", "s", "t", "--format", "jsonl"]);
    assert_eq!(text, "{\"key\":1}\n{\"key\":2,\"x\":1}\n");
    let file = shop.file("b.jsonl", &text);
    shop.done(&["import", "u", "t", file, "--key", "key", "--key-apart"]);
    assert_eq!(shop.done(&["export", "u", "t", "--format", "jsonl"]), text);
}

#[test]
fn a_column_that_begins_with_a_byte_order_mark_keeps_its_name() {
    let shop = Shop::new();
    let file = shop.file("a.jsonl", "{\"\u{feff}x\":\"1\",\"id\":\"a\"}\n");
    shop.done(&["import", "s", "t", file, "--key", "id"]);
    shop.done(&["export", "s", "t", "-o", "out.csv"]);
    shop.done(&["import", "u", "t", "out.csv", "--key", "id"]);
    let one = shop.done(&["get", "s", "t", "a"]);
    assert_eq!(shop.done(&["get", "u", "t", "a"]), one);
}

#[test]
fn an_import_that_fails_after_it_made_the_store_takes_it_back() {
    let shop = Shop::new();
    let name = "t".repeat(5_000);
    let file = shop.file("a.csv", "id\n1\n");
    assert_ne!(shop.run(&["import", "s", &name, file, "--key", "id"]).code, 0);
    assert_eq!(shop.names("."), ["a.csv"]);
    std::fs::create_dir(shop.path("empty")).unwrap();
    assert_ne!(shop.run(&["import", "empty", &name, file, "--key", "id"]).code, 0);
    assert_eq!(shop.names("empty"), Vec::<String>::new(), "the folder stays");
}

/// A full disk, where the test may mount one.
#[cfg(target_os = "linux")]
#[test]
fn an_import_on_a_full_disk_leaves_no_store() {
    let shop = Shop::new();
    std::fs::create_dir(shop.path("full")).unwrap();
    let mounted = shop.shell("mount -t tmpfs -o size=3m none full 2>&1");
    if mounted.code != 0 {
        return;
    }
    let rows: String = (0..20_000).map(|row| format!("{row},{}\n", "x".repeat(400))).collect();
    let file = shop.file("in.csv", format!("id,x\n{rows}"));
    let ended = shop.run(&["import", "full/s", "t", file, "--key", "id"]);
    let left = shop.names("full");
    assert_eq!(shop.shell("umount full").code, 0);
    assert_ne!(ended.code, 0, "{ended:?}");
    assert!(left.is_empty(), "{left:?}: {ended:?}");
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![any::<String>(), "[a,\"\r\n\u{feff}' 0]{0,6}", "-?[0-9]{1,20}"]
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_filter_map("JSON has no such number", |float| {
            serde_json::Number::from_f64(float).map(Value::Number)
        }),
        text().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((text(), inner), 0..4)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

fn runner() -> TestRunner {
    TestRunner::new(Config { cases: 24, failure_persistence: None, ..Config::default() })
}

#[test]
fn an_exported_csv_of_any_text_is_imported_as_it_was() {
    let table = (1usize..4).prop_flat_map(|columns| {
        prop::collection::vec(prop::collection::vec(text(), columns), 1..12)
    });
    let names = prop::collection::btree_set(text(), 3);
    runner()
        .run(&(table, names, any::<bool>()), |(rows, names, textual)| {
            let shop = Shop::new();
            let names: Vec<String> = names.into_iter().collect();
            let keys = if textual { "text" } else { "integer" };
            let mut file = String::new();
            for (at, row) in rows.iter().enumerate() {
                let key = if textual { row[0].clone() } else { at.to_string() };
                let cells = names.iter().cloned().zip(row.iter().cloned());
                let mut fields: Map<String, Value> =
                    cells.map(|(name, cell)| (name, cell.into())).collect();
                fields.insert("the key".to_owned(), key.into());
                file.push_str(&format!("{}\n", Value::Object(fields)));
            }
            shop.file("in.jsonl", &file);
            let import = |store: &str, file: &str| {
                let arguments = ["import", store, "t", file, "--key", "the key", "--keys", keys];
                shop.done(&arguments);
                shop.done(&["export", store, "t", "--format", "jsonl"])
            };
            let first = import("s", "in.jsonl");
            shop.done(&["export", "s", "t", "-o", "out.csv"]);
            prop_assert_eq!(import("u", "out.csv"), first);
            Ok(())
        })
        .unwrap();
}

#[test]
fn exported_json_lines_of_any_values_are_imported_as_they_were() {
    let records = prop::collection::btree_map(text(), value(), 1..12);
    runner()
        .run(&(records, any::<bool>()), |(records, plain)| {
            let shop = Shop::new();
            let store = Store::create(shop.path("s")).unwrap();
            let structure = store.begin_structure().unwrap();
            structure.create_table("t", KeyType::Str, ValueType::Typed).unwrap();
            structure.commit().unwrap();
            let write = store.begin_write().unwrap();
            for (key, value) in records {
                let value = if plain || value.is_object() { value } else { json!({ "v": value }) };
                write.dyn_table("t").unwrap().unwrap().put(&key, &value).unwrap();
            }
            write.commit().unwrap();
            store.close().unwrap();
            drop(store);
            shop.done(&["export", "s", "t", "-o", "out.jsonl", "--key", "the key"]);
            let text = std::fs::read_to_string(shop.path("out.jsonl")).unwrap();
            let is_plain = store_is_plain(&shop);
            let how: &[&str] = if is_plain { &["--value", "value"] } else { &["--key-apart"] };
            let import = ["import", "u", "t", "out.jsonl", "--keys", "text", "--key", "the key"];
            shop.done(&[&import[..], how].concat());
            let again = shop.done(&["export", "u", "t", "--format", "jsonl", "--key", "the key"]);
            prop_assert_eq!(again, text);
            Ok(())
        })
        .unwrap();
}

fn store_is_plain(shop: &Shop) -> bool {
    let store = Store::open(shop.path("s")).unwrap();
    let read = store.begin_read().unwrap();
    let table = read.dyn_table("t").unwrap().unwrap();
    table.iter().unwrap().any(|record| !record.unwrap().value_json().unwrap().is_object())
}
