//! Logs, points in time, mirrors: `log`, `restore --to-lsn`, `integrate`, `follow`, `rollback`.

use serde_json::{Value, json};

use super::{Shop, sample_csv};

/// A store with a backup at its beginning, one later, and commits after each.
fn shop() -> Shop {
    let shop = Shop::new();
    shop.done(&["import", "s", "t", shop.file("in.csv", sample_csv(50)), "--key", "id"]);
    std::fs::create_dir(shop.path("b")).unwrap();
    shop.done(&["settings", "s", "set", "DestinationFolder", "b"]);
    shop.json(&["backup", "s"]);
    put(&shop, "s", "one");
    put(&shop, "s", "two");
    // The same folder, in other words.
    shop.json(&["backup", "s", "--to", "s/../b"]);
    put(&shop, "s", "three");
    shop
}

const FIRST: &str = "b/s[0001].tar.zst";
const LOG: &str = "b/s[0001].log.zst";

fn put(shop: &Shop, store: &str, name: &str) {
    let record = json!({"name": name, "zip": "1"}).to_string();
    shop.done(&["put", store, "t", "k00001", &record]);
}

fn name(shop: &Shop, store: &str) -> Value {
    shop.json(&["get", store, "t", "k00001"])["value"]["name"].clone()
}

fn lsn(shop: &Shop, store: &str) -> u64 {
    shop.json(&["info", store])["lsn"].as_u64().unwrap()
}

#[test]
fn a_log_is_listed_checked_and_exported() {
    let shop = shop();
    let listed = shop.json(&["log", "s", "list"]);
    let segments = listed["segments"].as_array().unwrap();
    assert_eq!(segments.last().unwrap()["last"], json!(lsn(&shop, "s")));
    assert!(shop.done(&["log", LOG, "list"]).contains("s[0001].log.zst/"));
    assert!(shop.done(&["log", "s", "check"]).starts_with("sound: "));
    let checked = shop.json(&["log", LOG, "check"]);
    assert_eq!(checked["commits"], json!(2));
    let exported: Value = serde_json::from_str(&shop.done(&["log", "s", "export"])).unwrap();
    let last = exported.as_array().unwrap().last().unwrap().clone();
    assert_eq!(
        (&last["operationName"], &last["tableName"]),
        (&json!("Modify record"), &json!("t"))
    );
    assert_eq!((&last["primaryKey"], &last["fields"]["name"]), (&json!("k00001"), &json!("three")));
    std::fs::create_dir(shop.path("out")).unwrap();
    let told = shop.json(&["log", LOG, "export", "--output", "out", "--max-bytes", "100"]);
    assert_eq!(told["operations"], json!(2));
    assert_eq!(shop.names("out"), ["JournalExport-2.json", "JournalExport.json"]);
    for file in shop.names("out") {
        let text = std::fs::read_to_string(shop.path("out").join(file)).unwrap();
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap().as_array().unwrap().len(), 1);
    }
    // A log that is not there, and one that is damaged.
    assert_eq!(shop.fails(4, &["log", "b/none.log.zst", "check"])["code"], json!(1412));
    let mut bytes = std::fs::read(shop.path(LOG)).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    shop.file("bad.log.zst", &bytes);
    assert_eq!(shop.fails(3, &["log", "bad.log.zst", "check"])["code"], json!(1413));
}

#[test]
fn a_restore_goes_to_the_point_that_is_asked_for() {
    let shop = shop();
    let newest = lsn(&shop, "s");
    let to = |copy: &str, point: &[&str]| {
        let arguments = [&["restore", FIRST, copy, "--log", LOG, "--logs-in", "s/log"], point];
        shop.json(&arguments.concat())
    };
    for (back, expected) in [(0, "three"), (1, "two"), (2, "one")] {
        let (copy, lsn) = (format!("copy-{back}"), newest - back);
        let told = to(&copy, &["--to-lsn", &lsn.to_string()]);
        assert_eq!((&told["lsn"], &told["commits"]), (&json!(lsn), &json!(3 - back)));
        assert_eq!(name(&shop, &copy), json!(expected));
    }
    to("before", &["--before", &newest.to_string()]);
    assert_eq!(name(&shop, "before"), json!("two"));
    to("by-time", &["--to-time", "2999-01-01T00:00:00Z"]);
    assert_eq!(name(&shop, "by-time"), json!("three"));
    let plan = to("dry", &["--dry-run", "--to-lsn", &(newest - 1).to_string()]);
    assert_eq!((&plan["lsn"], &plan["dry_run"]), (&json!(newest - 1), &json!(true)));
    assert!(!shop.path("dry").exists());
    // Not without the log, not to two points, not before the archive.
    let far = newest.to_string();
    let gap = shop.fails(2, &["restore", FIRST, "x", "--log", LOG, "--to-lsn", &far]);
    assert_eq!(gap["code"], json!(2010));
    let both = ["restore", FIRST, "x", "--to-lsn", "3", "--to-time", "2999-01-01T00:00:00Z"];
    assert_eq!(shop.run(&both).code, 2);
    assert_eq!(shop.run(&["restore", "b/s[0002].tar.zst", "x", "--to-lsn", "1"]).code, 2);
    assert!(!shop.path("x").exists());
}

#[test]
fn logs_are_integrated_and_those_of_another_history_are_not() {
    let shop = shop();
    shop.done(&["restore", FIRST, "copy"]);
    let told = shop.json(&["integrate", "copy", LOG, "s/log"]);
    assert_eq!((&told["commits"], &told["lsn"]), (&json!(3), &json!(lsn(&shop, "s"))));
    assert_eq!(name(&shop, "copy"), json!("three"));
    assert!(shop.done(&["integrate", "copy", LOG]).contains("nothing new"));
    put(&shop, "copy", "its own");
    put(&shop, "s", "four");
    let refused = shop.fails(1, &["integrate", "copy", "s/log"]);
    assert_eq!(refused["code"], json!(1416));
    let repaired = shop.json(&["integrate", "copy", "s/log", "--auto-repair"]);
    assert_eq!(repaired["repaired"], json!(1));
    assert_eq!(repaired["repairs"][0]["done"], json!("Updated"));
    assert_eq!(name(&shop, "copy"), json!("four"));
}

#[test]
fn a_mirror_follows_what_is_shipped() {
    let shop = shop();
    std::fs::create_dir(shop.path("ship")).unwrap();
    shop.done(&["restore", "b/s[0002].tar.zst", "mirror"]);
    assert!(shop.done(&["log", "s", "ship", "ship"]).contains("s[0002-0001].log"));
    assert!(shop.done(&["log", "s", "ship", "ship"]).contains("nothing was committed"));
    let told = shop.json(&["follow", "ship", "mirror", "--once"]);
    assert_eq!((&told["event"], &told["commits"]), (&json!("integrated"), &json!(1)));
    assert_eq!(name(&shop, "mirror"), json!("three"));
    assert_eq!(shop.done(&["follow", "ship", "mirror", "--once"]), "");
}

#[test]
fn a_store_is_rolled_back_and_kept_aside() {
    let shop = shop();
    let back = (lsn(&shop, "s") - 2).to_string();
    let told = shop.json(&["rollback", "s", "--archives", "b", "--to-lsn", &back]);
    assert_eq!(name(&shop, "s"), json!("one"));
    let old = told["old"].as_str().unwrap();
    assert_eq!(name(&shop, old), json!("three"));
    assert_eq!(shop.run(&["rollback", "s", "--archives", "b"]).code, 2);
}

#[test]
fn the_time_that_is_shown_of_a_commit_is_a_point_that_takes_it_in() {
    let shop = shop();
    let newest = lsn(&shop, "s");
    let segments = shop.json(&["log", "s", "list"]);
    let listed = segments["segments"].as_array().unwrap().last().unwrap()["last_time"].clone();
    let exported: serde_json::Value =
        serde_json::from_str(&shop.done(&["log", "s", "export"])).unwrap();
    let exported = exported.as_array().unwrap().last().unwrap()["timeStamp"].clone();
    for (copy, time) in [("listed", listed), ("exported", exported)] {
        let to = ["--logs-in", "s/log", "--to-time", time.as_str().unwrap()];
        let told = shop.json(&[&["restore", FIRST, copy, "--log", LOG][..], &to].concat());
        assert_eq!(told["lsn"], json!(newest), "{time}");
    }
}

#[test]
fn what_is_done_by_hand_stands_in_the_books_of_the_store_that_it_was_done_to() {
    let shop = shop();
    let told = |store: &str, event: &str| shop.done(&["journal", store, "--event", event]);
    shop.done(&["restore", FIRST, "copy", "--log", LOG]);
    let restored = told("copy", "restore");
    assert!(restored.contains("s[0001].tar.zst") && restored.contains("commits of logs"));
    // What was refused was not done to it.
    assert_eq!(shop.run(&["restore", FIRST, "copy"]).code, 1);
    assert_eq!(told("copy", "restore"), restored);
    shop.done(&["integrate", "copy", "s/log"]);
    assert!(told("copy", "integration").contains(" LSN "), "{}", told("copy", "integration"));
    let back = (lsn(&shop, "s") - 1).to_string();
    shop.json(&["rollback", "s", "--archives", "b", "--to-lsn", &back]);
    let rolled = told("s", "restore");
    assert!(rolled.contains("the store as it was is"), "{rolled}");
    // Before it stood there, and was carried along.
    assert!(!told("s", "backup").is_empty());
    // In the history too, and a copy that nobody backs up is not.
    let history = std::fs::read_to_string(shop.path("b/backupHistory.json")).unwrap();
    let history: Value = serde_json::from_str(&history).unwrap();
    let rolled = history["s"].as_array().unwrap().last().unwrap();
    assert_eq!((&rolled["operation"], &rolled["origin"]), (&json!("restore"), &json!("manual")));
    assert_eq!(history.as_object().unwrap().len(), 1);
    // Where nothing came to be there is nothing to write into.
    shop.run(&["restore", "b/s[0009].tar.zst", "none"]);
    assert!(!shop.path("none").exists());
}
