//! Stores whose folder cannot be written: on a medium that is mounted read-only, and without permission.

use std::path::Path;

use stillpoint::Store;

use super::owners::{USER, as_user};
use super::{Ended, Shop};

/// Unmounts when the test ends, however that is.
struct Mounted<'s>(&'s Shop);

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        let _ended = self.0.shell("umount -l m");
    }
}

/// Mounts at `m` what `options` say; `None` where this user may not mount.
fn mount<'s>(shop: &'s Shop, options: &str) -> Option<Mounted<'s>> {
    std::fs::create_dir_all(shop.path("m")).unwrap();
    if shop.shell(&format!("mount {options} m")).code != 0 {
        eprintln!("skipped: this user may not mount");
        return None;
    }
    Some(Mounted(shop))
}

/// A store with commits beyond its last checkpoint, copied to `to` while it was open: as a killed process
/// leaves it, or a snapshot of the disk.
fn copy_of_open_store(shop: &Shop, to: &str) {
    shop.file("in.csv", "id,a\n1,x\n");
    shop.done(&["import", "s", "t", "in.csv", "--key", "id"]);
    std::fs::create_dir(shop.path("b")).unwrap();
    let to_settings = shop.path("b").display().to_string();
    shop.done(&["settings", "s", "set", "DestinationFolder", &to_settings]);
    shop.done(&["backup", "s"]);
    let store = Store::open(shop.path("s")).unwrap();
    let write = store.begin_write().unwrap();
    let table = write.dyn_table("t").unwrap().unwrap();
    table.put("2", &serde_json::json!({"a": "y"})).unwrap();
    drop(table);
    write.commit().unwrap();
    let copied = shop.shell(&format!("cp -a s {to}"));
    assert_eq!(copied.code, 0, "{copied:?}");
    store.close().unwrap();
}

/// What is in the folder, byte for byte, with modes and times of change.
fn state(shop: &Shop, store: &str) -> String {
    let line = format!(
        "cd {store} && find . -printf '%p %m %s %T@ %C@\\n' | sort && find . -type f | sort | \
         xargs -d '\\n' sha256sum"
    );
    let ended = shop.shell(&line);
    assert_eq!(ended.code, 0, "{ended:?}");
    ended.out
}

/// Runs every inquiry and a backup on the store, of which nothing may change.
fn works(shop: &Shop, store: &str, run: &dyn Fn(&[&str]) -> Ended) {
    let done = |arguments: &[&str]| {
        let ended = run(arguments);
        assert_eq!(ended.code, 0, "{arguments:?}: {ended:?}");
        ended.out
    };
    let before = state(shop, store);
    assert!(done(&["get", store, "t", "2"]).contains('y'), "it is in the log alone");
    assert!(done(&["info", store]).contains("read only"));
    for inquiry in [
        &["tables", store][..],
        &["scan", store, "t"],
        &["export", store, "t"],
        &["log", store, "list"],
        &["log", store, "check"],
        &["log", store, "show"],
        &["verify", store],
        &["coverage", store],
        &["settings", store, "show"],
        &["schedule", store, "next"],
        &["history", store],
        &["journal", store],
    ] {
        done(inquiry);
    }
    done(&["backup", store, "--to", "b"]);
    assert_eq!(state(shop, store), before);
    let archives = shop.names("b");
    let set = Path::new(store).file_name().unwrap().to_string_lossy();
    let ours = |name: &&String| name.starts_with(&*set) && name.ends_with(".tar.zst");
    let archive = archives.iter().rfind(ours).unwrap();
    assert!(!archives.iter().any(|name| name.contains("partial")), "{archives:?}");
    shop.done(&["verify", &format!("b/{archive}")]);
    shop.done(&["restore", &format!("b/{archive}"), "copy"]);
    assert_eq!(shop.done(&["export", "copy", "t"]), done(&["export", store, "t"]));
}

/// Runs commands that change the store, which is refused.
fn refuses(shop: &Shop, store: &str, run: &dyn Fn(&[&str]) -> Ended) {
    let before = state(shop, store);
    for change in [
        &["put", store, "t", "3", "{\"a\":\"z\"}"][..],
        &["delete", store, "t", "1"],
        &["import", store, "t", "in.csv", "--key", "id"],
    ] {
        let ended = run(&[change, &["--json"]].concat());
        assert_eq!(ended.code, 1, "{change:?}: {ended:?}");
        assert!(ended.err.contains("2013"), "{change:?}: {ended:?}");
    }
    assert_eq!(state(shop, store), before);
}

#[test]
fn a_store_on_a_medium_that_is_mounted_read_only_is_read_and_backed_up_elsewhere() {
    let shop = Shop::new();
    let Some(_mounted) = mount(&shop, "-t tmpfs none") else { return };
    copy_of_open_store(&shop, "m/s");
    let remounted = shop.shell("mount -o remount,ro m");
    assert_eq!(remounted.code, 0, "{remounted:?}");
    let run = |arguments: &[&str]| shop.run(arguments);
    works(&shop, "m/s", &run);
    refuses(&shop, "m/s", &run);
}

#[test]
fn a_store_that_somebody_writes_to_is_not_read_through_a_read_only_mount_of_it() {
    let shop = Shop::new();
    copy_of_open_store(&shop, "as_it_was");
    let Some(_mounted) = mount(&shop, "--bind s") else { return };
    let remounted = shop.shell("mount -o remount,ro,bind m");
    assert_eq!(remounted.code, 0, "{remounted:?}");
    let store = Store::open(shop.path("s")).unwrap();
    for inquiry in [&["get", "m", "t", "1"][..], &["coverage", "m"], &["verify", "m"]] {
        let ended = shop.run(inquiry);
        assert_eq!(ended.code, 75, "{inquiry:?}: {ended:?}");
    }
    store.close().unwrap();
    shop.done(&["get", "m", "t", "1"]);
}

/// Takes the permission to write as `command` does, and sees what works then, and what is refused.
fn sealed(command: &str, is_all: bool) {
    let shop = Shop::new();
    copy_of_open_store(&shop, "ro");
    let is_root = is_root(&shop);
    if is_root {
        let (user, group) = USER;
        let given = shop.shell(&format!("chmod 755 . && chown -R {user}:{group} ro b in.csv"));
        assert_eq!(given.code, 0, "{given:?}");
    }
    let sealed = shop.shell(command);
    assert_eq!(sealed.code, 0, "{sealed:?}");
    let run = |arguments: &[&str]| match is_root {
        true => as_user(&shop, arguments),
        false => shop.run(arguments),
    };
    works(&shop, "ro", &run);
    if is_all {
        refuses(&shop, "ro", &run);
    }
    // The scratch folder is removed by this user.
    shop.shell("chmod -R u+w ro");
}

fn is_root(shop: &Shop) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata::<&Path>(&shop.path(".")).unwrap().uid() == 0
}

#[test]
fn a_store_without_permission_to_write_is_read_and_backed_up_elsewhere() {
    sealed("chmod -R a-w ro", true);
}

#[test]
fn a_store_whose_folder_alone_may_not_be_written_is_read_and_backed_up_elsewhere() {
    sealed("chmod 555 ro", false);
}
