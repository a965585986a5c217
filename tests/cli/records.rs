//! Single records, tables, and what a store says of itself.

use serde_json::json;

use super::{Shop, sample_csv};

fn shop() -> Shop {
    let shop = Shop::new();
    shop.done(&["import", "s", "t", shop.file("in.csv", sample_csv(300)), "--key", "id"]);
    shop
}

#[test]
fn a_record_is_put_got_and_deleted() {
    let shop = shop();
    let told = shop.json(&["put", "s", "t", "new", r#"{"b":1,"a":[2.5,"é"]}"#]);
    assert_eq!(told["replaced"], json!(false));
    assert_eq!(shop.done(&["get", "s", "t", "new"]).trim(), r#"{"b":1,"a":[2.5,"é"]}"#);
    assert_eq!(shop.json(&["put", "s", "t", "new", "7"])["replaced"], json!(true));
    assert_eq!(shop.json(&["get", "s", "t", "new"]), json!({"key": "new", "value": 7}));
    shop.done(&["delete", "s", "t", "new"]);
    shop.fails(4, &["get", "s", "t", "new"]);
    shop.fails(4, &["delete", "s", "t", "new"]);
}

#[test]
fn a_scan_is_in_key_order_within_its_bounds() {
    let shop = shop();
    let keys = |arguments: &[&str]| -> Vec<String> {
        let text = shop.done(&[&["scan", "s", "t", "--json"], arguments].concat());
        text.lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
            .map(|record| record["key"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(keys(&[]).len(), 300);
    assert_eq!(keys(&["--from", "k00298"]), ["k00298", "k00299"]);
    assert_eq!(keys(&["--to", "k00001"]), ["k00000", "k00001"]);
    assert_eq!(keys(&["--from", "k00100", "--limit", "2"]), ["k00100", "k00101"]);
    assert_eq!(keys(&["--from", "k00100", "--to", "k00099"]), Vec::<String>::new());
    assert!(shop.done(&["scan", "s", "t", "--limit", "1"]).contains("k00000"));
}

#[test]
fn tables_and_info_tell_what_is_there() {
    let shop = shop();
    let told = shop.json(&["tables", "s"]);
    assert_eq!((&told[0]["name"], &told[0]["records"]), (&json!("t"), &json!(300)));
    assert!(shop.done(&["tables", "s"]).lines().any(|line| line.starts_with("t ")));
    let info = shop.json(&["info", "s"]);
    assert_eq!((&info["tables"], &info["records"]), (&json!(1), &json!(300)));
    assert!(shop.done(&["info", "s"]).contains("300"));
}

#[test]
fn a_scan_whose_reader_has_gone_ends_quietly() {
    use std::io::Read;
    let shop = Shop::new();
    shop.done(&["import", "s", "t", shop.file("in.csv", sample_csv(20_000)), "--key", "id"]);
    let mut child = shop
        .command(&["scan", "s", "t"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = [0; 16];
    child.stdout.take().unwrap().read_exact(&mut first).unwrap();
    let ended = super::Ended::of(child.wait_with_output().unwrap());
    assert_eq!((ended.code, ended.err.as_str()), (0, ""));
}
