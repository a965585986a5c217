//! Segments, keys and parity on the command line, and the tools that undo them.

use serde_json::json;

use super::{Shop, sample_csv};

/// A pair of keys of age, made for these tests.
pub(super) const IDENTITY: &str =
    "AGE-SECRET-KEY-10KWANPC9UVVS9FQ396CPF7V5U077C2J9A8MP5HFKXVJHYCG2EE7SATSH8N";

/// Its public one.
pub(super) fn public() -> String {
    let identity: age::x25519::Identity = IDENTITY.parse().unwrap();
    identity.to_public().to_string()
}

fn shop() -> (Shop, String) {
    let shop = Shop::new();
    shop.done(&["import", "s", "t", shop.file("in.csv", sample_csv(20_000)), "--key", "id"]);
    std::fs::create_dir(shop.path("b")).unwrap();
    shop.file("key", format!("# of the tests\n{IDENTITY}\n"));
    (shop, public())
}

#[test]
fn an_archive_with_every_layer_is_verified_repaired_and_restored() {
    let (shop, public) = shop();
    let was = shop.done(&["export", "s", "t"]);
    let told = shop.json(&[
        "backup",
        "s",
        "--to",
        "b",
        "--segment-size",
        "64K",
        "--redundancy",
        "high",
        "--interlacing",
        "high",
        "--recipient",
        &public,
    ]);
    let archive = told["archive"].as_str().unwrap();
    assert!(archive.ends_with("s[0001-0001].tar.zst.age"), "{archive}");
    let error = shop.fails(2, &["verify", archive]);
    assert_eq!(error["code"], json!(2011), "{error}");
    shop.done(&["verify", archive, "--identity", "key"]);
    let info = shop.json(&["info", archive, "--identity", "key"]);
    assert_eq!(info["records"], json!(20_000));

    let first = shop.path(archive);
    let mut bytes = std::fs::read(&first).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&first, &bytes).unwrap();
    let error = shop.fails(3, &["verify", archive, "--identity", "key"]);
    assert!(error["hint"].as_str().unwrap().contains("--repair"), "{error}");
    shop.done(&["restore", archive, "through", "--identity", "key"]);
    let told = shop.json(&["verify", archive, "--repair", "--identity", "key"]);
    assert_eq!(told["repaired"]["blocks"], json!(1), "{told}");
    shop.done(&["verify", archive, "--identity", "key"]);
    shop.done(&["restore", archive, "copy", "--identity", "key"]);
    for store in ["through", "copy"] {
        assert_eq!(shop.done(&["export", store, "t"]), was, "{store}");
    }
}

#[test]
fn a_passphrase_comes_from_a_file_and_is_never_shown() {
    let (shop, _) = shop();
    shop.file("pass", "open sesame\n");
    shop.file("wrong", "open barley\n");
    shop.file("empty", "\n");
    let told = shop.json(&["backup", "s", "--to", "b", "--passphrase-file", "pass"]);
    let archive = told["archive"].as_str().unwrap();
    let ended = shop.run(&["restore", archive, "copy", "--passphrase-file", "wrong"]);
    assert_eq!(ended.code, 2, "{ended:?}");
    assert!(ended.err.contains("2011") && !ended.err.contains("barley"), "{ended:?}");
    assert!(!shop.path("copy").exists());
    shop.done(&["restore", archive, "copy", "--passphrase-file", "pass"]);
    shop.fails(2, &["verify", archive, "--passphrase-file", "empty"]);
    shop.fails(4, &["verify", archive, "--passphrase-file", "none"]);
}

#[test]
fn a_repair_without_parity_is_refused() {
    let (shop, _) = shop();
    let told = shop.json(&["backup", "s", "--to", "b"]);
    shop.fails(4, &["verify", told["archive"].as_str().unwrap(), "--repair"]);
    assert_ne!(shop.run(&["verify", "s", "--repair"]).code, 0, "a store has none");
}

/// Damages a byte in the middle of a file.
fn spoil(shop: &Shop, name: &str) {
    let mut bytes = std::fs::read(shop.path(name)).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 4;
    std::fs::write(shop.path(name), &bytes).unwrap();
}

#[test]
fn damage_that_parity_repairs_while_reading_is_reported_by_every_command_that_reads() {
    let (shop, _) = shop();
    shop.done(&["settings", "s", "set", "Advanced/Redundancy", "High"]);
    shop.done(&["backup", "s"]);
    shop.done(&["put", "s", "t", "new", "{\"name\":\"new\"}"]);
    shop.done(&["backup", "s"]);
    let (first, log) = ("s backups/s[0001].tar.zst", "s backups/s[0001].log.zst");
    spoil(&shop, first);
    let told = shop.json(&["restore", first, "copy"]);
    assert_eq!(told["damaged"][0]["blocks"], json!(1), "{told}");
    assert_eq!(told["damaged"].as_array().unwrap().len(), 1, "{told}");
    let text = shop.done(&["restore", first, "other"]);
    assert!(text.contains("1 damaged blocks") && text.contains("--repair"), "{text}");
    let journal = shop.done(&["journal", "copy"]);
    assert!(journal.contains("damaged blocks"), "{journal}");
    let told = shop.json(&["extract", first, "s", "t", "k00001"]);
    assert_eq!(told["damaged"][0]["blocks"], json!(1), "{told}");
    spoil(&shop, log);
    let told = shop.json(&["integrate", "copy", log]);
    assert_eq!(told["damaged"][0]["blocks"], json!(1), "{told}");
    spoil(&shop, "s backups/s[0002].tar.zst");
    let error = shop.fails(3, &["drill", "s"]);
    assert!(error["hint"].as_str().unwrap().contains("--repair"), "{error}");
    shop.done(&["verify", "s backups/s[0002].tar.zst", "--repair"]);
    shop.done(&["drill", "s"]);
}

#[test]
fn a_log_archive_is_verified_and_repaired_like_any_other() {
    let (shop, _) = shop();
    shop.done(&["settings", "s", "set", "Advanced/Redundancy", "High"]);
    shop.done(&["backup", "s"]);
    shop.done(&["put", "s", "t", "new", "{\"name\":\"new\"}"]);
    shop.done(&["backup", "s"]);
    let log = "s backups/s[0001].log.zst";
    let whole = std::fs::read(shop.path(log)).unwrap();
    let told = shop.json(&["verify", log]);
    assert_eq!((&told["kind"], &told["commits"]), (&json!("log"), &json!(1)), "{told}");
    spoil(&shop, log);
    let error = shop.fails(3, &["verify", log]);
    assert!(error["hint"].as_str().unwrap().contains("--repair"), "{error}");
    let told = shop.json(&["verify", log, "--repair"]);
    assert_eq!(told["repaired"]["blocks"], json!(1), "{told}");
    assert!(std::fs::read(shop.path(log)).unwrap() == whole);
    shop.done(&["verify", log]);
}

#[test]
fn a_repair_by_the_parity_of_an_older_archive_is_refused_and_changes_nothing() {
    let (shop, _) = shop();
    std::fs::create_dir(shop.path("c")).unwrap();
    for (folder, key) in [("b", "one"), ("c", "two")] {
        shop.done(&["put", "s", "t", key, "{\"name\":\"new\"}"]);
        shop.done(&["backup", "s", "--to", folder, "--redundancy", "high"]);
    }
    std::fs::copy(shop.path("b/s[0001].parity"), shop.path("c/s[0001].parity")).unwrap();
    let whole = std::fs::read(shop.path("c/s[0001].tar.zst")).unwrap();
    shop.fails(3, &["verify", "c/s[0001].tar.zst", "--repair"]);
    assert!(std::fs::read(shop.path("c/s[0001].tar.zst")).unwrap() == whole);
    spoil(&shop, "c/s[0001].tar.zst");
    let damaged = std::fs::read(shop.path("c/s[0001].tar.zst")).unwrap();
    shop.fails(3, &["verify", "c/s[0001].tar.zst", "--repair"]);
    assert!(std::fs::read(shop.path("c/s[0001].tar.zst")).unwrap() == damaged);
    let left: Vec<String> =
        shop.names("c").into_iter().filter(|name| name.starts_with("s[")).collect();
    assert_eq!(left, ["s[0001].parity", "s[0001].tar.zst"]);
}
