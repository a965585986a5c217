//! What people do that nobody thought of: folders named by dots and links, archives that lie apart,
//! damage in what is not needed, keys that are missing.
#![cfg(unix)]

use std::fs;

use serde_json::json;

use super::{Ended, Shop, layers, sample_csv};

/// A store `s` without a backup, and a folder `b`.
fn store() -> Shop {
    let shop = Shop::new();
    shop.done(&["import", "s", "t", shop.file("in.csv", sample_csv(500)), "--key", "id"]);
    fs::create_dir(shop.path("b")).unwrap();
    shop
}

/// The same with two backups in `b`, the second one incremental, and a commit after each.
fn shop() -> Shop {
    let shop = store();
    shop.done(&["settings", "s", "set", "DestinationFolder", "./b"]);
    shop.done(&["backup", "s"]);
    put(&shop, "one");
    shop.done(&["backup", "s", "--incremental"]);
    put(&shop, "two");
    shop
}

fn put(shop: &Shop, name: &str) {
    shop.done(&["put", "s", "t", "k00001", &json!({ "name": name }).to_string()]);
}

fn cut(shop: &Shop, path: &str) {
    let bytes = fs::read(shop.path(path)).unwrap();
    fs::write(shop.path(path), &bytes[..bytes.len() / 2]).unwrap();
}

/// Runs a command in the folder `inner`, which must succeed.
fn within(shop: &Shop, inner: &str, arguments: &[&str]) -> String {
    let ended = Ended::of(shop.command(arguments).current_dir(shop.path(inner)).output().unwrap());
    assert_eq!(ended.code, 0, "{arguments:?}: {ended:?}");
    ended.out
}

#[test]
fn an_error_keeps_the_advice_that_belongs_to_it() {
    let shop = shop();
    let hint = |code, arguments: &[&str]| {
        let error = shop.fails(code, arguments);
        (error["code"].clone(), error["hint"].as_str().unwrap_or_default().to_owned())
    };
    let (_, advice) = hint(4, &["verify", "b/s[0001].tar.zst", "--repair"]);
    assert!(advice.contains("redundancy"), "{advice}");
    let (code, advice) = hint(4, &["restore", "b/s[0001].tar.zst", "none", "--delta"]);
    assert!(advice.contains("without delta"), "{advice}");
    assert_ne!(code, json!(1410), "the archive is there");
    let (_, advice) = hint(4, &["restore", "b/s[0001].tar.zst", "none/copy"]);
    assert!(advice.contains("folder"), "{advice}");
    let error = shop.fails(4, &["verify", "b/s[0001].tar.zst", "--passphrase-file", "none"]);
    assert_eq!(error["message"], json!("cannot read the file of keys"));
    let other = store();
    let error = other.fails(4, &["drill", "s"]);
    assert!(error["hint"].as_str().unwrap().contains("--to"), "{error}");
}

#[test]
fn a_store_that_is_named_by_a_dot_has_the_name_of_its_folder() {
    let shop = shop();
    let to_two = (shop.json(&["info", "s"])["lsn"].as_u64().unwrap() - 1).to_string();
    assert!(within(&shop, "s", &["backup", "."]).contains("b/s[0003].tar.zst"));
    within(&shop, "s", &["rollback", ".", "--archives", "../b", "--to-lsn", &to_two]);
    assert!(shop.path("s.before-rollback/store.data").exists());
    assert_eq!(shop.json(&["info", "s"])["lsn"].to_string(), to_two);
    within(&shop, "s", &["backup", "."]);
    assert!(within(&shop, "s", &["drill", "."]).contains("b/s[0004].tar.zst"));
    assert!(shop.names("s").iter().all(|name| !name.starts_with('.')), "{:?}", shop.names("s"));
}

#[test]
fn a_store_behind_a_link_has_one_history() {
    let shop = store();
    std::os::unix::fs::symlink("s", shop.path("link")).unwrap();
    shop.done(&["backup", "link"]);
    let told = shop.json(&["history", "link"]);
    assert_eq!(told["operations"].as_array().unwrap().len(), 1, "{told}");
    shop.done(&["drill", "link"]);
}

#[test]
fn the_history_of_another_folder_is_shown_when_it_is_named() {
    let shop = store();
    shop.done(&["backup", "s", "--to", "b"]);
    assert_eq!(shop.run(&["history", "s"]).code, 4);
    let told = shop.json(&["history", "s", "--in", "b"]);
    assert_eq!(told["operations"].as_array().unwrap().len(), 1, "{told}");
}

#[test]
fn a_parent_that_lies_elsewhere_can_be_named() {
    let shop = shop();
    fs::create_dir(shop.path("apart")).unwrap();
    let last = "apart/s[0002].inc.tar.zst";
    fs::rename(shop.path("b/s[0002].inc.tar.zst"), shop.path(last)).unwrap();
    let error = shop.fails(4, &["restore", last, "copy"]);
    assert_eq!(error["code"], json!(2009), "{error}");
    let parent = ["--parent", "b/s[0001].tar.zst"];
    shop.done(&[&["verify", last, "--chain"][..], &parent].concat());
    shop.done(&[&["restore", last, "copy"][..], &parent].concat());
    assert!(shop.done(&["get", "copy", "t", "k00001"]).contains("one"));
    // What is named has to be the right one.
    let wrong = ["restore", last, "other", "--parent", last];
    assert_eq!(shop.fails(4, &wrong)["code"], json!(2009));
}

#[test]
fn a_drill_does_not_make_do_with_an_older_backup() {
    let shop = shop();
    assert_eq!(shop.json(&["drill", "s"])["number"], json!(2));
    shop.done(&["backup", "s"]);
    cut(&shop, "b/s[0003].tar.zst");
    let error = shop.fails(3, &["drill", "s"]);
    assert!(error["path"].as_str().unwrap().ends_with("b/s[0003].tar.zst"), "{error}");
    fs::remove_file(shop.path("b/s[0003].tar.zst")).unwrap();
    // Nor where it lacks the key of the newest, and it takes the key.
    shop.file("key", layers::IDENTITY);
    shop.done(&["backup", "s", "--recipient", &layers::public()]);
    assert_eq!(shop.fails(2, &["drill", "s"])["code"], json!(2011));
    let told = shop.json(&["drill", "s", "--identity", "key"]);
    assert!(told["archive"].as_str().unwrap().ends_with(".age"), "{told}");
    let told = shop.json(&["coverage", "s", "--identity", "key"]);
    assert_eq!(told["unusable"], json!([]));
}

#[test]
fn following_once_ends_with_an_error_where_something_is_left() {
    let shop = shop();
    fs::create_dir(shop.path("ship")).unwrap();
    shop.done(&["restore", "b/s[0001].tar.zst", "mirror"]);
    shop.done(&["log", "s", "ship", "ship"]);
    let ended = shop.run(&["follow", "ship", "mirror", "--once"]);
    assert_eq!(ended.code, 2, "{ended:?}");
    assert!(ended.out.contains("waiting") && ended.err.contains("[2010]"), "{ended:?}");
    fs::copy(shop.path("b/s[0001].log.zst"), shop.path("ship/s[0001].log.zst")).unwrap();
    shop.done(&["follow", "ship", "mirror", "--once"]);
    assert!(shop.done(&["get", "mirror", "t", "k00001"]).contains("two"));
}

#[test]
fn a_rollback_passes_over_damage_in_what_it_does_not_need() {
    let shop = shop();
    let lsn = shop.json(&["info", "s"])["lsn"].as_u64().unwrap();
    cut(&shop, "b/s[0001].log.zst");
    let far = (lsn - 1).to_string();
    shop.done(&["rollback", "s", "--archives", "b", "--to-lsn", &far]);
    assert!(shop.done(&["get", "s", "t", "k00001"]).contains("one"));
}

#[test]
fn an_export_of_the_log_that_fails_leaves_no_part_of_it() {
    let shop = shop();
    put(&shop, "three");
    fs::create_dir(shop.path("out")).unwrap();
    shop.file("out/JournalExport-2.json", "mine");
    let export = ["log", "s", "export", "--output", "out", "--max-bytes", "1"];
    shop.fails(1, &export);
    assert_eq!(shop.names("out"), ["JournalExport-2.json"]);
    assert_eq!(fs::read(shop.path("out/JournalExport-2.json")).unwrap(), b"mine");
}

#[test]
fn segments_that_are_mixed_up_are_damage_and_not_something_unknown() {
    let shop = Shop::new();
    let rows = shop.file("in.csv", sample_csv(20_000));
    shop.done(&["import", "s", "t", rows, "--key", "id"]);
    fs::create_dir(shop.path("b")).unwrap();
    shop.done(&["backup", "s", "--to", "b", "--segment-size", "64K", "--redundancy", "low"]);
    let segment = |number| shop.path(&format!("b/s[0001-000{number}].tar.zst"));
    fs::rename(segment(1), shop.path("aside")).unwrap();
    fs::rename(segment(2), segment(1)).unwrap();
    fs::rename(shop.path("aside"), segment(2)).unwrap();
    for parity in [true, false] {
        if !parity {
            fs::remove_file(shop.path("b/s[0001].parity")).unwrap();
        }
        for command in
            [&["verify", "b/s[0001].tar.zst"][..], &["restore", "b/s[0001].tar.zst", "c"]]
        {
            let error = shop.fails(3, command);
            assert!(error["hint"].as_str().is_some_and(|hint| hint.contains("swapped")), "{error}");
        }
    }
    assert!(!shop.path("c").exists());
    // Of one that was cut to nothing the name is left.
    shop.file("b/s[0002].tar.zst", "");
    assert_eq!(shop.fails(3, &["verify", "b/s[0002].tar.zst"])["code"], json!(1411));
}

#[test]
fn a_store_may_have_the_longest_name_that_the_file_system_takes() {
    let shop = Shop::new();
    shop.file("in.csv", super::sample_csv(3));
    for len in [229, 240, 255] {
        let store = "n".repeat(len);
        let copy = "c".repeat(len);
        shop.done(&["import", &store, "t", "in.csv", "--key", "id"]);
        let told = shop.json(&["backup", &store]);
        let archive = told["archive"].as_str().unwrap();
        shop.done(&["drill", &store]);
        shop.done(&["restore", archive, &copy]);
        shop.done(&["verify", &store]);
        shop.done(&["settings", &store, "set", "Scheduler/Frequency", "Daily"]);
        let left: Vec<String> = shop.names(".");
        let ours = left.iter().filter(|name| name.starts_with(&store[..200])).count();
        assert_eq!(ours, 2, "the store and its backups: {left:?}");
        for name in left.iter().filter(|name| !name.contains("csv")) {
            std::fs::remove_dir_all(shop.path(name)).unwrap();
        }
    }
}
