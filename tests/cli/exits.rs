//! Commands say by their exit code what they found, and take sizes and times in every usual form.

use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::json;

use super::Shop;

fn shop() -> Shop {
    let shop = Shop::new();
    shop.done(&["import", "s", "t", shop.file("in.csv", "id,x\n1,a\n"), "--key", "id"]);
    shop
}

#[test]
fn a_folder_that_is_no_store_is_told_as_not_there_and_left_as_it_is() {
    let shop = shop();
    std::fs::create_dir(shop.path("empty")).unwrap();
    std::fs::create_dir(shop.path("photos")).unwrap();
    shop.file("photos/a.jpg", "not a store");
    let settings = shop.file("Backup.4DSettings", "<Preferences4D/>");
    for folder in ["empty", "photos"] {
        for arguments in [
            &["settings", folder, "show"][..],
            &["settings", folder, "get", "SetNumber/Value"],
            &["settings", folder, "set", "SetNumber/Value", "9"],
            &["settings", folder, "check"],
            &["settings", folder, "import", settings],
            &["schedule", folder, "next"],
            &["journal", folder],
            &["history", folder],
            &["log", folder, "list"],
            &["log", folder, "check"],
            &["log", folder, "export"],
            &["log", folder, "ship", "to"],
            &["get", folder, "t", "1"],
            &["verify", folder],
            &["coverage", folder],
            &["drill", folder],
            &["backup", folder],
            &["rollback", folder, "--archives", "empty", "--to-lsn", "1"],
        ] {
            let before = shop.names(folder);
            shop.fails(4, arguments);
            assert_eq!(shop.names(folder), before, "{arguments:?}");
        }
    }
    assert_eq!(shop.names("."), ["Backup.4DSettings", "empty", "in.csv", "photos", "s"]);
}

#[test]
fn sizes_are_typed_with_units_in_every_option() {
    let shop = shop();
    std::fs::create_dir(shop.path("b")).unwrap();
    let to = ["backup", "s", "--to", "b"];
    for throttle in ["20M", "20MiB", "20 mb", "20971520"] {
        shop.done(&[&to[..], &["--throttle", throttle]].concat());
    }
    shop.done(&[&to[..], &["--segment-size", "64K", "--throttle", "1G"]].concat());
    shop.done(&["log", "s", "export", "--output", "out", "--max-bytes", "1M"]);
    for wrong in ["20X", "-1", "", "1.5M"] {
        assert_eq!(shop.run(&[&to[..], &["--throttle", wrong]].concat()).code, 2, "{wrong}");
    }
}

#[test]
fn a_partial_backup_has_an_exit_code_of_its_own() {
    let shop = shop();
    shop.done(&["settings", "s", "set", "IncludesFiles", "./missing"]);
    let ended = shop.run(&["backup", "s", "--json"]);
    assert_eq!((ended.code, &*ended.err), (5, ""), "{ended:?}");
    let report: serde_json::Value = serde_json::from_str(&ended.out).unwrap();
    assert_eq!(report["status"], json!("partial"));
    assert_eq!(report["changed_while_read"], json!([]));
    let ended = shop.run(&["backup", "s"]);
    assert!(ended.code == 5 && ended.out.contains("PARTIAL"), "{ended:?}");
}

#[test]
fn a_backup_that_is_killed_is_reported_by_the_next_one() {
    let shop = Shop::new();
    let rows: String = (0..40_000).map(|row| format!("{row},{:x}\n", row * 7_919)).collect();
    shop.done(&["import", "s", "t", shop.file("in.csv", format!("id,x\n{rows}")), "--key", "id"]);
    let arguments = ["backup", "s", "--throttle", "8K", "--compression", "none"];
    let mut command = shop.command(&arguments);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let began = Instant::now();
    let state = shop.path("s/regime-state.json");
    let started = || {
        let text = std::fs::read_to_string(&state).unwrap_or_default();
        text.contains("\"running\": {")
    };
    while !started() {
        assert!(began.elapsed() < Duration::from_secs(60), "{:?}", child.try_wait());
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(shop.json(&["backup", "s"])["status"], json!("complete"));
    assert!(shop.done(&["journal", "s", "--errors"]).contains("[2030]"));
    let history = shop.json(&["history", "s"]);
    let codes = history["operations"].as_array().unwrap().iter();
    let codes: Vec<i64> = codes.map(|operation| operation["code"].as_i64().unwrap()).collect();
    assert_eq!(codes.iter().filter(|code| **code == 2030).count(), 1, "{history}");
    shop.done(&["backup", "s"]);
    assert_eq!(shop.done(&["journal", "s", "--errors"]).matches("[2030]").count(), 1);
}
