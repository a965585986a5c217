//! Whose files are made, and who may read them: root works on stores of others, and not everybody may read
//! what is made of a private store.
//!
//! What needs another user is done where the tests run as root, and says so where they do not.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};

use super::{Ended, Shop};

pub(super) const USER: (u32, u32) = (4711, 4712);

pub(super) fn is_root(shop: &Shop) -> bool {
    let root = std::fs::metadata(shop.path(".")).expect("it is there").uid() == 0;
    if !root {
        eprintln!("skipped: only root can give files to another user");
    }
    root
}

/// Every file and folder below `path`, itself too.
fn tree(path: &Path) -> Vec<PathBuf> {
    let mut found = vec![path.to_path_buf()];
    if path.is_dir() {
        for entry in std::fs::read_dir(path).expect("it can be listed") {
            found.extend(tree(&entry.expect("it can be listed").path()));
        }
    }
    found
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).expect("it is there").permissions().mode() & 0o7777
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("it is ours");
}

/// A store `s` of the user in a folder that he can reach, with files of `mode`.
pub(super) fn store_of_user(mode: u32) -> Shop {
    let shop = Shop::new();
    shop.file("in.csv", "id,a\n1,x\n");
    shop.done(&["import", "s", "t", "in.csv", "--key", "id"]);
    shop.done(&["put", "s", "t", "2", "{\"a\":\"y\"}"]);
    set_mode(&shop.path("."), 0o755);
    for path in tree(&shop.path("s")) {
        let is_folder = path.is_dir();
        set_mode(&path, if is_folder { mode | mode >> 2 & 0o111 } else { mode });
        chown(&path, Some(USER.0), Some(USER.1)).expect("this is root");
    }
    shop
}

pub(super) fn as_user(shop: &Shop, arguments: &[&str]) -> Ended {
    let mut command = shop.command(arguments);
    Ended::of(command.uid(USER.0).gid(USER.1).output().expect("the binary runs"))
}

pub(super) fn all_belong_to_user(path: &Path, most: u32) {
    for path in tree(path) {
        let found = std::fs::metadata(&path).expect("it is there");
        assert_eq!((found.uid(), found.gid()), USER, "{}", path.display());
        let most = if path.is_dir() { most | most >> 2 & 0o111 } else { most };
        assert_eq!(mode(&path) & !most, 0, "{}: {:o}", path.display(), mode(&path));
    }
}

#[test]
fn what_root_writes_into_a_store_stays_its_owners() {
    for (store_mode, mask) in [(0o600, "077"), (0o600, "022"), (0o640, "077"), (0o644, "000")] {
        let shop = store_of_user(store_mode);
        if !is_root(&shop) {
            return;
        }
        let bin = env!("CARGO_BIN_EXE_stillpoint");
        for command in
            ["put s t 3 '{\"a\":\"z\"}'", "settings s set SetNumber/Value 9", "delete s t 2"]
        {
            let line = format!("umask {mask}; exec {bin} {command}");
            let ended = shop.shell(&line);
            assert_eq!(ended.code, 0, "{line}: {ended:?}");
        }
        all_belong_to_user(&shop.path("s"), store_mode);
        for arguments in [&["get", "s", "t", "3"][..], &["put", "s", "t", "4", "{\"a\":\"w\"}"]] {
            let ended = as_user(&shop, arguments);
            assert_eq!(ended.code, 0, "{mask}: {arguments:?}: {ended:?}");
        }
    }
}

#[test]
fn archives_may_be_read_by_nobody_who_may_not_read_the_store() {
    for (folder, file, archive) in
        [(0o755, 0o600, 0o600), (0o700, 0o644, 0o600), (0o750, 0o640, 0o640)]
    {
        let shop = Shop::new();
        shop.file("in.csv", "id,a\n1,x\n");
        shop.done(&["import", "s", "t", "in.csv", "--key", "id"]);
        set_mode(&shop.path("s"), folder);
        tree(&shop.path("s")).iter().filter(|path| path.is_file()).for_each(|p| set_mode(p, file));
        std::fs::create_dir(shop.path("b")).expect("the scratch folder takes it");
        let to = shop.path("b").display().to_string();
        shop.done(&["settings", "s", "set", "DestinationFolder", &to]);
        for more in [&[][..], &["--incremental"], &["--redundancy", "high"]] {
            shop.done(&[&["backup", "s"], more].concat());
            shop.done(&["put", "s", "t", "2", "{\"a\":\"y\"}"]);
        }
        let made = tree(&shop.path("b"));
        let made: Vec<_> =
            made.iter().filter(|path| path.to_string_lossy().contains(".zst")).collect();
        assert!(made.len() >= 4, "{made:?}");
        for path in made {
            assert_eq!(mode(path) & !archive, 0, "{}: {:o}", path.display(), mode(path));
        }
    }
}

#[test]
fn archives_of_a_store_and_what_is_restored_from_them_are_its_owners() {
    let shop = store_of_user(0o600);
    if !is_root(&shop) {
        return;
    }
    std::fs::create_dir(shop.path("b")).expect("the scratch folder takes it");
    shop.done(&["backup", "s", "--to", "b"]);
    let archive = shop.names("b").into_iter().find(|name| name.ends_with(".tar.zst"));
    let archive = format!("b/{}", archive.expect("it was made"));
    all_belong_to_user(&shop.path(&archive), 0o600);
    shop.done(&["restore", &archive, "copy"]);
    all_belong_to_user(&shop.path("copy"), 0o600);
    let ended = as_user(&shop, &["put", "copy", "t", "9", "{\"a\":\"w\"}"]);
    assert_eq!(ended.code, 0, "{ended:?}");
}

#[test]
fn a_store_that_root_makes_in_the_folder_of_another_is_his() {
    let shop = Shop::new();
    if !is_root(&shop) {
        return;
    }
    set_mode(&shop.path("."), 0o755);
    shop.file("in.csv", "id,a\n1,x\n");
    std::fs::create_dir(shop.path("s")).expect("the scratch folder takes it");
    chown(shop.path("s"), Some(USER.0), Some(USER.1)).expect("this is root");
    shop.done(&["import", "s", "t", "in.csv", "--key", "id"]);
    all_belong_to_user(&shop.path("s"), 0o755);
    let ended = as_user(&shop, &["put", "s", "t", "9", "{\"a\":\"w\"}"]);
    assert_eq!(ended.code, 0, "{ended:?}");
}

#[test]
fn drills_end_where_a_folder_among_the_attachments_is_read_only() {
    let shop = store_of_user(0o600);
    let root = is_root(&shop);
    for folder in ["att", "att/ro", "att/ro/deep", "b", "s/Settings"] {
        std::fs::create_dir_all(shop.path(folder)).expect("the scratch folder takes it");
    }
    shop.file("att/ro/file", "attached");
    shop.file("att/ro/deep/file", "attached");
    let work = shop.path("att").display().to_string();
    shop.done(&["settings", "s", "set", "IncludesFiles", &work]);
    shop.done(&[
        "settings",
        "s",
        "set",
        "DestinationFolder",
        &shop.path("b").display().to_string(),
    ]);
    let run = |arguments: &[&str]| match root {
        true => as_user(&shop, arguments),
        false => shop.run(arguments),
    };
    if root {
        // Drills restore beside the store.
        for folder in [".", "att", "b", "s"] {
            for path in tree(&shop.path(folder)) {
                chown(&path, Some(USER.0), Some(USER.1)).expect("this is root");
            }
        }
    }
    for folder in ["att/ro/deep", "att/ro"] {
        set_mode(&shop.path(folder), 0o555);
    }
    let backup = run(&["backup", "s"]);
    assert_eq!(backup.code, 0, "{backup:?}");
    for _ in 0..2 {
        let drill = run(&["drill", "s"]);
        assert_eq!(drill.code, 0, "{drill:?}");
        assert!(
            !shop.names(".").iter().any(|name| name.contains("drill")),
            "{:?}",
            shop.names(".")
        );
    }
    let archive = shop.names("b").into_iter().find(|name| name.ends_with(".tar.zst"));
    let archive = shop.path("b").join(archive.expect("it was made")).display().to_string();
    let restored = run(&["restore", &archive, "copy"]);
    assert_eq!(restored.code, 0, "{restored:?}");
    let copy = tree(&shop.path("copy"));
    let read_only = copy.iter().find(|path| path.ends_with("ro")).expect("it was restored");
    assert_eq!(mode(read_only), 0o555, "as it was saved");
    // The scratch folder is removed by whoever runs the tests.
    for path in tree(&shop.path(".")).iter().filter(|path| path.is_dir()) {
        set_mode(path, 0o755);
    }
}
