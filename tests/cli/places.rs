//! Where a store may lie: at the end of a link, in the root of a volume, in an empty folder; and what
//! happens where the system lets no file grow.

use std::fs;
use std::os::unix::fs::symlink;

use super::Shop;

fn shop() -> Shop {
    let shop = Shop::new();
    shop.file("in.csv", "id,a\n1,x\n");
    shop
}

#[test]
fn a_store_is_made_in_the_target_of_a_link() {
    let shop = shop();
    fs::create_dir(shop.path("real")).unwrap();
    symlink("real", shop.path("lnk")).unwrap();
    shop.done(&["import", "lnk", "t", "in.csv", "--key", "id"]);
    assert!(fs::symlink_metadata(shop.path("lnk")).unwrap().is_symlink(), "the link stays");
    for dir in ["lnk", "real"] {
        assert!(shop.done(&["get", dir, "t", "1"]).contains('x'));
    }
    symlink("nowhere", shop.path("dangling")).unwrap();
    assert_ne!(shop.run(&["import", "dangling", "t", "in.csv", "--key", "id"]).code, 0);
    assert!(!shop.path("nowhere").exists());
}

#[test]
fn a_store_is_made_in_the_root_of_a_fresh_volume() {
    let shop = shop();
    fs::create_dir_all(shop.path("volume/lost+found")).unwrap();
    shop.done(&["import", "volume", "t", "in.csv", "--key", "id"]);
    assert!(shop.done(&["get", "volume", "t", "1"]).contains('x'));
    assert!(shop.path("volume/lost+found").is_dir());
}

#[test]
fn an_import_that_fails_leaves_the_folder_as_it_was() {
    let shop = shop();
    shop.file("wide.csv", format!("id,a\n1,{}\n", "x".repeat(300 << 10)));
    fs::create_dir_all(shop.path("volume/lost+found")).unwrap();
    fs::create_dir(shop.path("real")).unwrap();
    symlink("real", shop.path("lnk")).unwrap();
    let bin = env!("CARGO_BIN_EXE_stillpoint");
    for dir in ["volume", "lnk", "new"] {
        let line = format!("ulimit -f 100; exec {bin} import {dir} t wide.csv --key id");
        assert_ne!(shop.shell(&line).code, 0, "{dir}");
    }
    assert_eq!(shop.names("volume"), ["lost+found"]);
    assert!(shop.names("real").is_empty());
    assert!(!shop.path("new").exists());
}

#[test]
fn a_store_is_restored_into_an_empty_folder_and_into_nothing_else() {
    let shop = shop();
    shop.done(&["import", "s", "t", "in.csv", "--key", "id"]);
    fs::create_dir_all(shop.path("b")).unwrap();
    fs::create_dir_all(shop.path("volume/lost+found")).unwrap();
    fs::create_dir_all(shop.path("taken/mine")).unwrap();
    shop.done(&["backup", "s", "--to", "b"]);
    let archive = shop.names("b").into_iter().find(|name| name.ends_with(".tar.zst"));
    let archive = format!("b/{}", archive.unwrap());
    shop.done(&["restore", &archive, "volume"]);
    assert!(shop.done(&["get", "volume", "t", "1"]).contains('x'));
    assert_eq!(shop.fails(1, &["restore", &archive, "taken"])["kind"], "Exists");
    assert_eq!(shop.names("taken"), ["mine"]);
    assert_eq!(shop.fails(1, &["restore", &archive, "volume"])["kind"], "Exists");
}

#[test]
fn a_limit_on_file_sizes_is_an_error_like_a_full_disk_and_leaves_no_parts() {
    let shop = shop();
    let rows: String = (0..20_000).map(|n| format!("{n},{}\n", n * 7919)).collect();
    shop.file("many.csv", format!("id,a\n{rows}"));
    shop.done(&["import", "s", "t", "many.csv", "--key", "id"]);
    fs::create_dir(shop.path("b")).unwrap();
    let bin = env!("CARGO_BIN_EXE_stillpoint");
    let line = format!("ulimit -f 16; exec {bin} backup s --to b --json");
    let ended = shop.shell(&line);
    assert_eq!(ended.code, 75, "no room, as on a full disk: {ended:?}");
    assert!(!shop.names("b").iter().any(|name| name.contains(".zst")), "{:?}", shop.names("b"));
    let line = format!("ulimit -f 16; exec {bin} put s t 1 '{{\"a\":\"new\"}}' --json");
    let ended = shop.shell(&line);
    assert_eq!(ended.code, 75, "{ended:?}");
    // Without the limit all goes on.
    shop.done(&["put", "s", "t", "1", "{\"a\":\"new\"}"]);
    shop.done(&["backup", "s", "--to", "b"]);
}
