//! A store whose replacement was interrupted: commands that only look refuse it, and change nothing.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::Shop;

/// A store, a backup of it in `b`, and the store in the middle of a replacement.
fn interrupted(state: &str) -> Shop {
    let shop = Shop::new();
    shop.done(&["import", "s", "t", shop.file("in.csv", "id,a\n1,x\n"), "--key", "id"]);
    fs::create_dir(shop.path("b")).unwrap();
    let to = shop.path("b").display().to_string();
    shop.done(&["settings", "s", "set", "DestinationFolder", &to]);
    shop.done(&["backup", "s"]);
    fs::create_dir_all(shop.path("s/replacement/new")).unwrap();
    fs::create_dir_all(shop.path("s/set-aside/old")).unwrap();
    let rewriting = state == "rewriting";
    if rewriting {
        // Its pages are being overwritten.
        fs::rename(shop.path("s/store.data"), shop.path("s/replacement/new/store.data")).unwrap();
    }
    fs::rename(shop.path("s/log"), shop.path("s/set-aside/old/log")).unwrap();
    let known = fs::read(shop.path("s/regime-state.json")).unwrap();
    let known: serde_json::Value = serde_json::from_slice(&known).unwrap();
    let intent = json!({
        "state": state, "kept": "old", "beside": null, "new": ["store.data", "log"],
        "logStays": false, "store": known["store"],
    });
    shop.file("s/replacement/intent.json", intent.to_string());
    shop
}

/// Every file below the folder with its content, but for the lock.
fn content(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(content(&path)),
            false if path.ends_with("lock") || path.ends_with("store.lock") => {}
            false => drop(found.insert(path.clone(), fs::read(&path).unwrap())),
        }
    }
    found
}

fn refuses(shop: &Shop, state: &str, arguments: &[&str]) {
    let before = content(&shop.path("."));
    let error = shop.fails(4, arguments);
    let message = error["message"].as_str().unwrap();
    assert!(message.contains("was interrupted"), "{state}: {arguments:?}: {error}");
    assert!(error["hint"].is_string(), "{state}: {arguments:?}: {error}");
    assert_eq!(content(&shop.path(".")), before, "{state}: {arguments:?}");
}

/// What looks at a store without opening it.
const LOOKS: [&[&str]; 5] = [
    &["verify", "s"],
    &["log", "s", "list"],
    &["log", "s", "check"],
    &["log", "s", "export"],
    &["log", "s", "show"],
];

#[test]
fn whoever_only_looks_refuses_a_store_in_the_middle_of_a_replacement() {
    for state in ["moving-out", "moving-in", "moving-back", "rewriting"] {
        let shop = interrupted(state);
        for look in LOOKS {
            refuses(&shop, state, look);
        }
    }
}

#[test]
fn every_command_refuses_a_store_whose_delta_restore_was_interrupted() {
    let shop = interrupted("rewriting");
    shop.file("in2.csv", "id,a\n2,y\n");
    let archive = "b/s[0001].tar.zst";
    for arguments in [
        &["get", "s", "t", "1"][..],
        &["scan", "s", "t"],
        &["export", "s", "t", "-o", "out.csv"],
        &["tables", "s"],
        &["info", "s"],
        &["coverage", "s"],
        &["drill", "s"],
        &["put", "s", "t", "2", "{}"],
        &["delete", "s", "t", "1"],
        &["import", "s", "t", "in2.csv", "--key", "id"],
        &["extract", archive, "s", "t", "--as", "u"],
        &["integrate", "s", "b"],
        &["follow", "b", "s", "--once"],
        &["log", "s", "ship", "b"],
        &["compact", "s"],
        &["repair", "s", "new"],
        &["rollback", "s", "--archives", "b", "--to-lsn", "1"],
    ] {
        refuses(&shop, "rewriting", arguments);
    }
    // What the hint says: the same restore, run again.
    shop.done(&["restore", archive, "s", "--delta"]);
    assert_eq!(shop.json(&["get", "s", "t", "1"])["value"]["a"], json!("x"));
}

#[test]
fn a_command_that_opens_the_store_ends_an_interrupted_replacement_first() {
    let shop = interrupted("moving-out");
    assert_eq!(shop.json(&["get", "s", "t", "1"])["value"]["a"], json!("x"));
    assert!(shop.path("s/log").exists() && !shop.path("s/replacement").exists());
    assert!(shop.done(&["verify", "s"]).starts_with("whole: "));
}
