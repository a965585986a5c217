//! `compact` and `repair`.

use std::os::unix::fs::FileExt;

use serde_json::{Value, json};

use super::{Shop, sample_csv};

fn shop() -> Shop {
    let shop = Shop::new();
    shop.done(&["import", "s", "t", shop.file("in.csv", sample_csv(5000)), "--key", "id"]);
    shop
}

#[test]
fn a_store_is_compacted_in_its_folder_and_into_a_new_one() {
    let shop = shop();
    let lsn = shop.json(&["info", "s"])["lsn"].clone();
    let report = shop.json(&["compact", "s"]);
    assert_eq!((&report["lsn"], &report["records"]), (&lsn, &json!(5000)));
    assert!(report["bytes_after"].as_u64() <= report["bytes_before"].as_u64());
    assert!(shop.done(&["verify", "s"]).starts_with("whole: "));
    assert!(shop.done(&["compact", "s", "--keep-old"]).contains("s.before-compact"));
    assert!(shop.path("s.before-compact/store.data").exists());
    let copy = shop.json(&["compact", "s", "--to", "small"]);
    assert_eq!(copy["records"], json!(5000));
    let compactions = |dir| shop.done(&["journal", dir]).matches("compaction").count();
    assert_eq!(
        (compactions("s"), compactions("small")),
        (2, 3),
        "the copy takes the journal along"
    );
    assert!(shop.done(&["verify", "small"]).starts_with("whole: "));
    let get = |store: &str| shop.json(&["get", store, "t", "k00001"])["value"].clone();
    assert_eq!(get("small"), get("s"));
}

#[test]
fn a_damaged_store_is_repaired_into_a_new_folder_with_a_report() {
    let shop = shop();
    shop.json(&["compact", "s"]);
    let whole = shop.done(&["repair", "s", "sound"]);
    assert!(whole.contains("nothing is known to be missing"), "{whole}");
    // Without its log, which would bring back what the page held.
    std::fs::remove_dir_all(shop.path("s/log")).unwrap();
    std::fs::create_dir(shop.path("s/log")).unwrap();
    let file = std::fs::File::options().write(true).open(shop.path("s/store.data")).unwrap();
    file.write_all_at(b"rot", 4 * 4096 + 1000).unwrap();
    let ended = shop.run(&["repair", "s", "new", "--json"]);
    assert_eq!(ended.code, 5, "{ended:?}");
    let report: Value = serde_json::from_str(&ended.out).unwrap();
    assert_eq!(report["complete"], json!(false), "{report}");
    let table = &report["tables"][0];
    let (missing, records) = (table["missing"].as_u64(), table["records"].as_u64());
    assert_eq!(missing.unwrap() + records.unwrap(), 5000, "{report}");
    assert_eq!(table["missing_ranges"].as_array().unwrap().len(), 1, "{report}");
    assert!(shop.done(&["verify", "new"]).starts_with("whole: "));
    let text = shop.run(&["repair", "s", "again"]).out;
    assert!(text.contains("INCOMPLETE") && text.contains("missing from"), "{text}");
}
