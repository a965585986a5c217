//! A store that root replaces stays its owner's: he can open it afterwards, and nobody else can read more of
//! it than before.

use std::path::{Path, PathBuf};

use stillpoint::Store;
use stillpoint::regime::Regime;

use super::owners::{all_belong_to_user, as_user, is_root, store_of_user};
use super::{Ended, Shop};

/// A store `s` of the user with two backups of his in `b`, and the newest LSN.
fn ground() -> Shop {
    let shop = store_of_user(0o600);
    std::fs::create_dir(shop.path("b")).unwrap();
    let to = shop.path("b").display().to_string();
    shop.done(&["settings", "s", "set", "DestinationFolder", &to]);
    shop.done(&["settings", "s", "set", "AutomaticRestore", "True"]);
    for key in ["3", "4"] {
        shop.done(&["backup", "s"]);
        shop.done(&["put", "s", "t", key, "{\"a\":\"z\"}"]);
    }
    all_belong_to_user(&shop.path("s"), 0o600);
    shop
}

/// Sees that all of the store, and of what was kept of the old one, is the user's, and that he can use it.
fn is_still_his(shop: &Shop, act: &str) {
    let stores: Vec<PathBuf> = shop
        .names(".")
        .into_iter()
        .filter(|name| *name == "s" || name.starts_with("s."))
        .map(|name| shop.path(&name))
        .collect();
    eprintln!("after: {act}");
    stores.iter().for_each(|store| all_belong_to_user(store, 0o600));
    for arguments in [&["get", "s", "t", "1"][..], &["put", "s", "t", "9", "{\"a\":\"w\"}"]] {
        let ended = as_user(shop, arguments);
        assert_eq!(ended.code, 0, "{act}: {arguments:?}: {ended:?}");
    }
}

/// Runs a command as root whose own files would be nobody else's.
fn masked(shop: &Shop, command: &str) -> Ended {
    shop.shell(&format!("umask 077; exec {} {command}", env!("CARGO_BIN_EXE_stillpoint")))
}

#[test]
fn a_store_that_root_rolls_back_restores_or_compacts_stays_its_owners() {
    if !is_root(&Shop::new()) {
        return;
    }
    for act in [
        "rollback s --archives b --to-lsn 4",
        "restore 'b/s[0001].tar.zst' s --delta --discard-newer",
        "compact s",
        "compact s --keep-old",
    ] {
        let shop = ground();
        let ended = masked(&shop, act);
        assert_eq!(ended.code, 0, "{act}: {ended:?}");
        is_still_his(&shop, act);
    }
}

#[test]
fn a_damaged_store_that_root_opens_and_that_restores_itself_stays_its_owners() {
    if !is_root(&Shop::new()) {
        return;
    }
    let shop = ground();
    ruin(&shop.path("s/store.data"));
    let regime = Regime::builder(Store::builder(shop.path("s"))).without_thread().open().unwrap();
    assert!(regime.restore_info().is_some(), "it was restored");
    regime.close().unwrap();
    is_still_his(&shop, "automatic restore");
}

#[test]
fn copies_that_root_makes_of_a_store_are_its_owners() {
    if !is_root(&Shop::new()) {
        return;
    }
    let shop = ground();
    for act in ["compact s --to s.small", "repair s s.new"] {
        let ended = masked(&shop, act);
        assert_eq!(ended.code, 0, "{act}: {ended:?}");
        is_still_his(&shop, act);
    }
}

fn ruin(data: &Path) {
    use std::os::unix::fs::FileExt as _;
    let file = std::fs::File::options().write(true).open(data).unwrap();
    file.write_all_at(&[0xEE; 8192], 0).unwrap();
}
