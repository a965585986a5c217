//! Backup, verify, info and restore.

use serde_json::json;

use super::{Shop, sample_csv};

fn shop(rows: usize) -> Shop {
    let shop = Shop::new();
    shop.done(&["import", "s", "t", shop.file("in.csv", sample_csv(rows)), "--key", "id"]);
    shop
}

#[test]
fn a_backup_is_restored_to_the_same_records_in_each_access() {
    let shop = shop(3_000);
    std::fs::create_dir(shop.path("b")).unwrap();
    let was = shop.done(&["export", "s", "t"]);
    for (number, access) in ["live", "read-only", "frozen"].into_iter().enumerate() {
        let told = shop.json(&["backup", "s", "--to", "b", "--access", access]);
        assert_eq!(told["number"], json!(number + 1));
        assert_eq!(told["access"], json!(access));
        let archive = told["archive"].as_str().unwrap();
        shop.done(&["verify", archive]);
        let info = shop.json(&["info", archive]);
        assert_eq!((&info["tables"], &info["records"]), (&json!(1), &json!(3_000)));
        let copy = format!("copy-{access}");
        shop.done(&["restore", archive, &copy]);
        assert_eq!(shop.done(&["export", &copy, "t"]), was);
        shop.done(&["verify", &copy]);
    }
}

#[test]
fn a_restore_does_not_touch_what_is_there() {
    let shop = shop(100);
    std::fs::create_dir(shop.path("b")).unwrap();
    let told = shop.json(&["backup", "s", "--to", "b"]);
    let archive = told["archive"].as_str().unwrap();
    let was = shop.done(&["export", "s", "t"]);
    shop.fails(1, &["restore", archive, "s"]);
    assert_eq!(shop.done(&["export", "s", "t"]), was);
}

#[test]
fn damage_is_found_and_has_its_own_exit_code() {
    let shop = shop(3_000);
    std::fs::create_dir(shop.path("b")).unwrap();
    let told = shop.json(&["backup", "s", "--to", "b"]);
    let archive = told["archive"].as_str().unwrap();
    let mut bytes = std::fs::read(shop.path(archive)).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    shop.file("bad.tar.zst", &bytes);
    shop.fails(3, &["verify", "bad.tar.zst"]);
    assert_eq!(shop.run(&["restore", "bad.tar.zst", "copy"]).code, 3);
    assert!(!shop.path("copy").exists(), "nothing is left of a restore that failed");

    let data = shop.path("s/store.data");
    let mut bytes = std::fs::read(&data).unwrap();
    let page = bytes.len() / 2 / 4096 * 4096;
    bytes[page + 100..page + 108].iter_mut().for_each(|byte| *byte ^= 0xff);
    std::fs::write(&data, bytes).unwrap();
    let ended = shop.run(&["verify", "s"]);
    assert_eq!(ended.code, 3, "{ended:?}");
}

#[test]
fn a_missing_destination_is_told_and_not_made() {
    let shop = shop(10);
    let error = shop.fails(1, &["backup", "s", "--to", "b"]);
    assert_eq!(error["code"], json!(1407));
    assert!(!shop.path("b").exists());
}

#[test]
fn a_table_or_a_record_comes_out_of_an_archive_into_a_store_that_is_there() {
    let shop = shop(500);
    std::fs::create_dir(shop.path("b")).unwrap();
    let told = shop.json(&["backup", "s", "--to", "b"]);
    let archive = told["archive"].as_str().unwrap();
    let was = shop.done(&["export", "s", "t"]);
    shop.done(&["delete", "s", "t", "k00007"]);
    shop.fails(4, &["get", "s", "t", "k00007"]);
    let told = shop.json(&["extract", archive, "s", "t", "k00007"]);
    assert_eq!(told["records"], json!(1));
    assert_eq!(shop.done(&["export", "s", "t"]), was);
    shop.done(&["delete", "s", "t", "k00007"]);
    let error = shop.fails(1, &["extract", archive, "s", "t"]);
    assert!(error["hint"].as_str().unwrap().contains("another name"), "{error}");
    let told = shop.json(&["extract", archive, "s", "t", "--as", "then"]);
    assert_eq!(told["records"], json!(500));
    shop.done(&["extract", archive, "s", "t", "--replace"]);
    assert_eq!(shop.done(&["export", "s", "t"]), was);
    assert_eq!(shop.done(&["export", "s", "then"]), was);
    shop.fails(4, &["extract", archive, "s", "nothing"]);
    shop.fails(4, &["extract", archive, "s", "t", "k99999"]);
    let told = shop.json(&["verify", archive, "--chain"]);
    assert_eq!((&told["kind"], &told["records"]), (&json!("chain"), &json!(500)));
}
