//! Files and folders that commands write under names that the user gave.

use std::os::unix::fs::{FileTypeExt, PermissionsExt, symlink};
use std::path::Path;

use super::Shop;

const ROWS: &str = "id,x\n1,a\n2,b\n";

/// A scratch folder with the store `s` of two rows, and its backup.
fn shop() -> Shop {
    let shop = Shop::new();
    shop.done(&["import", "s", "t", shop.file("in.csv", ROWS), "--key", "id"]);
    shop.done(&["backup", "s", "--redundancy", "low"]);
    shop
}

fn text(path: &Path) -> String {
    std::fs::read_to_string(path).expect("it can be read")
}

#[test]
fn a_minus_is_the_standard_output() {
    let shop = shop();
    assert_eq!(shop.done(&["export", "s", "t", "-o", "-"]), ROWS);
    assert!(!shop.path("-").exists());
}

#[test]
fn nothing_is_written_in_the_folder_of_a_store() {
    let shop = shop();
    let before = (shop.names("s"), shop.names("s/log"));
    symlink(shop.path("s/store.data"), shop.path("link.csv")).unwrap();
    symlink(shop.path("s/log/new.csv"), shop.path("dangling.csv")).unwrap();
    for path in [
        "s/store.data",
        "s/new.csv",
        "./s/../s/log/0000000000000001.log",
        "s/Settings/x.csv",
        "s/lock",
        "link.csv",
        "dangling.csv",
    ] {
        let error = shop.fails(2, &["export", "s", "t", "--format", "csv", "-o", path]);
        assert!(error["message"].as_str().unwrap().contains("folder of a store"), "{error}");
    }
    for arguments in [
        &["log", "s", "export", "--output", "s/log"][..],
        &["log", "s", "ship", "s/log"],
        &["import", "s/log/u", "t", "in.csv", "--key", "id"],
        &["restore", "s backups/s[0001].tar.zst", "s/copy"],
        &["demo", "--keep", "s/demo"],
    ] {
        let error = shop.fails(2, arguments);
        assert!(error["message"].as_str().unwrap().contains("folder of a store"), "{error}");
    }
    shop.done(&["import", "other", "t", "in.csv", "--key", "id"]);
    let error = shop.fails(1, &["backup", "other", "--to", "s/log"]);
    assert_eq!(error["code"], 1407, "{error}");
    assert_eq!((shop.names("s"), shop.names("s/log")), before);
    shop.done(&["verify", "s"]);
    assert_eq!(shop.done(&["export", "s", "t"]), ROWS);
}

#[test]
fn files_that_a_restore_may_need_are_not_overwritten() {
    let shop = shop();
    let archives = shop.names("s backups");
    std::fs::copy(shop.path("s backups/s[0001].tar.zst"), shop.path("renamed.csv")).unwrap();
    std::fs::copy(shop.path("s backups/s[0001].parity"), shop.path("parity.csv")).unwrap();
    std::fs::copy(shop.path("s/store.data"), shop.path("data.csv")).unwrap();
    std::fs::create_dir(shop.path("Settings")).unwrap();
    shop.file("Settings/Backup.4DSettings", "<Preferences4D/>");
    let within = archives.iter().map(|name| format!("s backups/{name}"));
    let outside = ["renamed.csv", "parity.csv", "data.csv", "Settings/Backup.4DSettings"];
    let new = ["s backups/s[0009].tar.zst", "x[0002-0001].log.zst.age"];
    for path in within.chain(outside.iter().chain(&new).map(|name| (*name).to_owned())) {
        let before = std::fs::read(shop.path(&path)).ok();
        let error = shop.fails(2, &["export", "s", "t", "--format", "csv", "-o", &path]);
        assert!(error["message"].as_str().unwrap().contains("cannot write there"), "{error}");
        assert!(std::fs::read(shop.path(&path)).ok() == before, "{path}");
    }
    assert_eq!(shop.names("s backups"), archives);
}

#[test]
fn a_link_stays_and_what_it_points_to_is_written() {
    let shop = shop();
    shop.file("target.csv", "old");
    symlink("target.csv", shop.path("link.csv")).unwrap();
    symlink("made.csv", shop.path("inner.csv")).unwrap();
    symlink("inner.csv", shop.path("dangling.csv")).unwrap();
    for (link, target) in [("link.csv", "target.csv"), ("dangling.csv", "made.csv")] {
        shop.done(&["export", "s", "t", "-o", link]);
        assert!(shop.path(link).symlink_metadata().unwrap().is_symlink());
        assert!(shop.path(target).symlink_metadata().unwrap().is_file());
        assert_eq!(text(&shop.path(target)), ROWS);
    }
    symlink("loop.csv", shop.path("loop.csv")).unwrap();
    assert_ne!(shop.run(&["export", "s", "t", "-o", "loop.csv"]).code, 0);
}

#[test]
fn a_device_and_a_fifo_are_written_through() {
    let shop = shop();
    let (device, fifo) = ("/dev/null", shop.path("fifo"));
    shop.done(&["export", "s", "t", "--format", "csv", "-o", device]);
    assert!(std::fs::metadata(device).unwrap().file_type().is_char_device());
    assert_eq!(shop.shell("mkfifo fifo").code, 0);
    let reader = std::thread::spawn({
        let fifo = fifo.clone();
        move || text(&fifo)
    });
    shop.done(&["export", "s", "t", "--format", "csv", "-o", "fifo"]);
    assert_eq!(reader.join().unwrap(), ROWS);
    assert!(std::fs::metadata(&fifo).unwrap().file_type().is_fifo());
    let full = shop.fails(75, &["export", "s", "t", "--format", "csv", "-o", "/dev/full"]);
    assert_eq!(full["kind"], "StorageFull", "{full}");
    let binary = env!("CARGO_BIN_EXE_stillpoint");
    shop.shell(&format!("{binary} export s t --format csv -o /dev/stdout > out.csv"));
    assert!(text(&shop.path("out.csv")).starts_with(ROWS));
}

#[test]
fn a_file_keeps_its_mode_and_what_cannot_be_written_stays() {
    let shop = shop();
    for mode in [0o600, 0o640, 0o755] {
        let path = shop.path("out.csv");
        std::fs::write(&path, "old").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        shop.done(&["export", "s", "t", "-o", "out.csv"]);
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o7777, mode);
        assert_eq!(text(&path), ROWS);
    }
    // Another owner, where the test may give one.
    let owner = shop.shell("chown 12345:12346 out.csv && stat -c %u:%g out.csv").out;
    shop.done(&["export", "s", "t", "-o", "out.csv"]);
    if !owner.is_empty() {
        assert_eq!(shop.shell("stat -c %u:%g out.csv").out, owner);
    }
    let long = format!("{}.csv", "n".repeat(251));
    shop.done(&["export", "s", "t", "-o", &long]);
    assert_eq!(text(&shop.path(&long)), ROWS);
}

#[test]
fn an_export_that_fails_leaves_the_old_file_and_no_part() {
    let shop = shop();
    shop.file("old.csv", "old");
    let names = shop.names(".");
    shop.fails(2, &["export", "s", "t", "--key", "x", "-o", "old.csv"]);
    shop.fails(2, &["export", "s", "t", "--format", "csv", "-o", "s backups"]);
    assert_ne!(shop.run(&["export", "s", "t", "--format", "csv", "-o", "none/../x.csv"]).code, 0);
    assert_eq!(text(&shop.path("old.csv")), "old");
    assert_eq!(shop.names("."), names);
}

#[test]
fn a_packed_export_can_be_imported_again() {
    let shop = shop();
    shop.done(&["export", "s", "t", "-o", "out.csv.zst"]);
    shop.done(&["import", "u", "t", "out.csv.zst", "--key", "id"]);
    assert_eq!(shop.done(&["export", "u", "t"]), ROWS);
}
