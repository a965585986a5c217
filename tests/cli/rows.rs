//! Import and export.

use serde_json::json;

use super::{Shop, sample_csv};

/// The data rows of a CSV without line feeds in its cells, sorted.
fn sorted(text: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = text.lines().skip(1).collect();
    lines.sort_unstable();
    lines
}

#[test]
fn what_is_imported_is_exported_in_key_order() {
    let shop = Shop::new();
    let text = sample_csv(25_000);
    let told = shop.json(&["import", "s", "t", shop.file("in.csv", &text), "--key", "id"]);
    assert_eq!(
        (&told["rows"], &told["added"], &told["replaced"]),
        (&json!(25_000), &json!(25_000), &json!(0))
    );
    let out = shop.done(&["export", "s", "t"]);
    assert_eq!(out.lines().next(), text.lines().next(), "the columns keep their order");
    assert_eq!(out.lines().skip(1).collect::<Vec<_>>(), sorted(&text));
}

#[test]
fn integer_keys_are_in_order_of_number() {
    let shop = Shop::new();
    shop.done(&["import", "s", "t", shop.file("in.csv", "n,x\n10,a\n-3,b\n9,c\n"), "--key", "n"]);
    assert_eq!(shop.done(&["export", "s", "t", "--format", "csv"]), "n,x\n-3,b\n9,c\n10,a\n");
    assert_eq!(shop.done(&["get", "s", "t", "-3"]).trim(), r#"{"n":"-3","x":"b"}"#);
}

#[test]
fn json_lines_come_out_as_they_went_in() {
    let shop = Shop::new();
    let text = "{\"z\":1.5,\"id\":1,\"a\":[null,{\"k\":true}]}\n{\"id\":2,\"more\":\"x\"}\n";
    shop.done(&["import", "s", "t", shop.file("in.jsonl", text), "--key", "id"]);
    shop.done(&["export", "s", "t", "-o", "out.jsonl"]);
    assert_eq!(std::fs::read_to_string(shop.path("out.jsonl")).unwrap(), text);
    assert_eq!(shop.done(&["export", "s", "t", "--format", "jsonl"]), text);
}

#[test]
fn a_second_import_replaces_and_adds() {
    let shop = Shop::new();
    shop.done(&["import", "s", "t", shop.file("a.csv", "id,x\na,1\nb,2\n"), "--key", "id"]);
    let told =
        shop.json(&["import", "s", "t", shop.file("b.csv", "id,x\nb,3\nc,4\n"), "--key", "id"]);
    assert_eq!((&told["added"], &told["replaced"]), (&json!(1), &json!(1)));
    assert_eq!(shop.done(&["export", "s", "t"]), "id,x\na,1\nb,3\nc,4\n");
}

#[test]
fn a_bad_row_changes_nothing_and_is_told_with_its_line() {
    let shop = Shop::new();
    let text = format!("{}x,1\n", sample_csv(20_000));
    let error = shop.fails(2, &["import", "s", "t", shop.file("bad.csv", text), "--key", "id"]);
    assert!(error["message"].as_str().unwrap().contains("line 20002"), "{error}");
    assert!(!shop.path("s").exists(), "no store was made");

    shop.done(&["import", "s", "t", shop.file("a.csv", "id,x\na,1\n"), "--key", "id"]);
    shop.fails(2, &["import", "s", "t", shop.file("c.csv", "id,x\na,2\n,3\n"), "--key", "id"]);
    shop.fails(2, &["import", "s", "t", shop.file("d.csv", "id,x\na,2\n"), "--key", "nr"]);
    assert_eq!(shop.done(&["export", "s", "t"]), "id,x\na,1\n");
}

#[test]
fn a_key_that_does_not_fit_the_table_changes_nothing() {
    let shop = Shop::new();
    shop.done(&["import", "s", "t", shop.file("a.csv", "id,x\n1,1\n"), "--key", "id"]);
    shop.fails(2, &["import", "s", "t", shop.file("b.csv", "id,x\n2,1\nzwei,2\n"), "--key", "id"]);
    assert_eq!(shop.done(&["export", "s", "t"]), "id,x\n1,1\n");
}

#[test]
fn an_export_to_a_file_is_whole_or_not_there() {
    let shop = Shop::new();
    shop.done(&["import", "s", "t", shop.file("a.csv", "id,x\n1,1\n"), "--key", "id"]);
    let told = shop.json(&["export", "s", "t", "-o", "out.csv"]);
    assert_eq!(told["records"], json!(1));
    shop.fails(4, &["export", "s", "none", "-o", "none.csv"]);
    shop.fails(4, &["export", "s", "t", "-o", "no-folder/out.csv"]);
    assert_eq!(shop.names("."), ["a.csv", "out.csv", "s"]);
}

#[test]
fn the_packed_airports_are_imported_as_they_are() {
    let shop = Shop::new();
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/data/airports/airports.csv.zst");
    let told = shop.json(&["import", "s", "airports", file, "--key", "icao"]);
    assert_eq!(told["rows"], json!(28_298));
    let paris = shop.json(&["get", "s", "airports", "LFPG"]);
    assert_eq!(
        (&paris["value"]["iata"], &paris["value"]["lat"]),
        (&json!("CDG"), &json!("49.0128"))
    );
}

#[cfg(unix)]
#[test]
fn what_cannot_be_read_twice_is_refused() {
    use std::process::Stdio;
    let shop = Shop::new();
    let arguments = ["import", "s", "t", "/dev/stdin", "--format", "csv", "--key", "id"];
    let mut command = shop.command(&arguments);
    let child = command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let ended = super::Ended::of(child.wait_with_output().unwrap());
    assert_eq!(ended.code, 2, "{ended:?}");
    assert!(!shop.path("s").exists());
}

#[test]
fn two_rows_with_one_key_leave_the_later_one() {
    let shop = Shop::new();
    let file = shop.file("a.csv", "id,x\na,1\nb,2\na,3\n");
    let told = shop.json(&["import", "s", "t", file, "--key", "id"]);
    assert_eq!((&told["added"], &told["replaced"]), (&json!(2), &json!(1)));
    assert_eq!(shop.done(&["export", "s", "t"]), "id,x\na,3\nb,2\n");
}

#[test]
fn a_key_that_is_too_long_takes_back_what_the_import_made() {
    let shop = Shop::new();
    let text = format!("id,x\na,1\n{},2\n", "k".repeat(5_000));
    shop.fails(2, &["import", "s", "t", shop.file("a.csv", text), "--key", "id"]);
    assert_eq!(shop.names("."), ["a.csv"]);
}
