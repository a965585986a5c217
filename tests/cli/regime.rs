//! Backups by the settings, drills, and the account of what is covered.

use serde_json::json;

use super::{Shop, sample_csv};

fn shop() -> Shop {
    let shop = Shop::new();
    shop.done(&["import", "s", "t", shop.file("in.csv", sample_csv(500)), "--key", "id"]);
    shop
}

#[test]
fn a_backup_without_settings_goes_beside_the_store_and_keeps_three_sets() {
    let shop = shop();
    for number in 1..=5 {
        assert_eq!(shop.json(&["backup", "s"])["number"], json!(number));
    }
    let names = shop.names("s backups");
    let archives: Vec<&String> = names.iter().filter(|name| name.ends_with("].tar.zst")).collect();
    assert_eq!(archives, ["s[0003].tar.zst", "s[0004].tar.zst", "s[0005].tar.zst"]);
    let journal = std::fs::read_to_string(shop.path("s/Logs/Backup Journal[001].txt")).unwrap();
    assert!(journal.contains("\tbackup\tmanual\t5\t"), "{journal}");
    shop.done(&["restore", "s backups/s[0005].tar.zst", "copy"]);
    assert_eq!(shop.done(&["export", "copy", "t"]), shop.done(&["export", "s", "t"]));
}

#[test]
fn a_drill_proves_the_newest_backup_and_coverage_tells_of_it() {
    let shop = shop();
    assert!(shop.done(&["coverage", "s"]).contains("no set yet says how much is wanted"));
    let error = shop.fails(4, &["drill", "s"]);
    assert_eq!(error["code"], json!(1410));
    shop.done(&["backup", "s"]);
    let drill = shop.json(&["drill", "s"]);
    assert_eq!((&drill["records"], &drill["tables"]), (&json!(500), &json!(1)));
    assert!(!shop.path("s.drill").exists());
    let coverage = shop.json(&["coverage", "s"]);
    assert_eq!(coverage["archives"], json!(1));
    assert_eq!(coverage["commits_at_risk"], json!(0));
    for last in ["last_backup", "last_verified", "last_drill"] {
        assert_eq!(coverage[last]["code"], json!(0), "{coverage}");
        assert_eq!(coverage[last]["status"], json!("no error"), "{coverage}");
        assert!(coverage[last]["time"].as_i64().unwrap() > 0, "{coverage}");
    }
    assert!(shop.done(&["coverage", "s"]).contains("last drill"));
}

#[test]
fn an_incremental_backup_has_its_own_ending_and_an_encrypted_one_too() {
    let shop = shop();
    shop.done(&["backup", "s"]);
    shop.done(&["put", "s", "t", "k99999", "{\"name\":\"new\",\"zip\":\"1\"}"]);
    let told = shop.json(&["backup", "s", "--incremental"]);
    assert!(told["archive"].as_str().unwrap().ends_with("s[0002].inc.tar.zst"), "{told}");
    let info = shop.done(&["info", "s backups/s[0002].inc.tar.zst"]);
    assert!(info.contains("incremental: it takes s[0001] too"), "{info}");
    assert_eq!(shop.json(&["drill", "s"])["records"], json!(501));
    let secret = shop.file("secret", "one two three\n");
    let told = shop.json(&["backup", "s", "--passphrase-file", secret]);
    assert!(told["archive"].as_str().unwrap().ends_with("s[0003].tar.zst.age"), "{told}");
}

#[test]
fn a_store_whose_settings_name_a_destination_keeps_its_log_whatever_command_writes() {
    let shop = shop();
    let put = |key: &str| shop.done(&["put", "s", "t", key, "{\"name\":\"new\",\"zip\":\"1\"}"]);
    let oldest = || shop.json(&["log", "s", "list"])["segments"][0]["after"].as_u64().unwrap();
    let lsn = || shop.json(&["info", "s"])["lsn"].as_u64().unwrap();
    let created = lsn();
    put("k90001");
    put("k90002");
    assert!(oldest() > created, "nobody asked for it");
    let asked = lsn();
    shop.done(&["settings", "s", "set", "General/DestinationFolder", "backups"]);
    put("k90003");
    shop.done(&["delete", "s", "t", "k90003"]);
    shop.done(&["import", "s", "t", shop.file("in.csv", sample_csv(10)), "--key", "id"]);
    assert_eq!(lsn(), asked + 3);
    assert!(oldest() <= asked, "the three are there");
}
