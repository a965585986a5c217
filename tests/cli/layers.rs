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
