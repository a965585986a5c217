//! `stillpoint settings` as a script meets it.

use super::Shop;

const FILE: &str = "s/Settings/Backup.4DSettings";

fn shop() -> Shop {
    let shop = Shop::new();
    shop.file("rows.csv", super::sample_csv(3));
    shop.done(&["import", "s", "t", "rows.csv", "--key", "id"]);
    shop
}

#[test]
fn settings_are_set_shown_and_got() {
    let shop = shop();
    assert_eq!(shop.done(&["settings", "s", "get", "SetNumber/Value"]).trim(), "3");
    assert!(!shop.path(FILE).exists(), "asking makes no file");
    shop.done(&["settings", "s", "set", "SetNumber/Value", "9"]);
    shop.done(&["settings", "s", "set", "Frequency", "daily"]);
    shop.done(&["settings", "s", "set", "IncludesFiles", "/a b", "./c"]);
    assert_eq!(shop.done(&["settings", "s", "get", "Advanced/SetNumber/Value"]).trim(), "9");
    assert_eq!(shop.done(&["settings", "s", "get", "IncludesFiles"]), "/a b\n./c\n");
    let shown = shop.json(&["settings", "s", "show"]);
    assert_eq!(shown["settings"]["Scheduler/Frequency"], "Daily");
    assert_eq!(shown["settings"]["General/IncludesFiles"][1], "./c");
    assert!(shop.done(&["settings", "s", "show"]).contains("line "));
    shop.done(&["settings", "s", "set", "SetNumber/Value", ""]);
    assert_eq!(shop.done(&["settings", "s", "get", "SetNumber/Value"]).trim(), "3");
    assert_eq!(shop.names("s/Settings"), ["Backup.4DSettings"]);
}

#[test]
fn wrong_settings_are_wrong_use_and_change_nothing() {
    let shop = shop();
    shop.done(&["settings", "s", "set", "Daily/Hour", "21:30"]);
    let before = std::fs::read(shop.path(FILE)).unwrap();
    let error = shop.fails(2, &["settings", "s", "set", "Daily/Hour", "25:30"]);
    assert_eq!(error["code"], 2007);
    assert!(error["message"].as_str().unwrap().contains("Scheduler/Daily/Hour"), "{error}");
    let error = shop.fails(2, &["settings", "s", "set", "Hour", "21:30"]);
    assert!(error["hint"].as_str().unwrap().contains("Scheduler/Monthly/Hour"), "{error}");
    assert_eq!(shop.fails(4, &["settings", "s", "get", "Nothing"])["code"], 2007);
    shop.fails(4, &["settings", "none", "show"]);
    let wrong = "<Preferences4D><Backup><Settings>\n<Scheduler><Frequency>x</Frequency>\n\
                 <Monthly><Day>0</Day></Monthly></Scheduler></Settings></Backup></Preferences4D>";
    shop.file("wrong.xml", wrong);
    for what in ["check", "import"] {
        let error = shop.fails(2, &["settings", "s", what, "wrong.xml"]);
        assert_eq!((&error["code"], &error["path"]), (&2007.into(), &"wrong.xml".into()));
        let message = error["message"].as_str().unwrap();
        assert!(message.contains("line 2") && message.contains("line 3"), "{message}");
    }
    assert_eq!(std::fs::read(shop.path(FILE)).unwrap(), before);
}

#[test]
fn a_foreign_file_is_taken_over_byte_for_byte() {
    let shop = shop();
    let foreign = "<Preferences4D xmlns=\"x\"><!-- theirs --><Backup><Settings><Advanced>\
                   <New>1</New></Advanced></Settings></Backup></Preferences4D>\r\n";
    shop.file("foreign.xml", foreign);
    let taken = shop.json(&["settings", "s", "import", "foreign.xml"]);
    assert_eq!(taken["unknown"][0], "Advanced/New");
    assert_eq!(std::fs::read_to_string(shop.path(FILE)).unwrap(), foreign);
    let checked = shop.done(&["settings", "s", "check"]);
    assert!(checked.contains("no wrong value, 1 unknown key"), "{checked}");
    assert!(checked.contains("unknown, kept and without effect: Advanced/New"), "{checked}");
}

#[test]
fn a_restore_tells_that_the_new_store_has_no_settings_yet() {
    let shop = shop();
    let told = |text: &str| text.contains("settings: all by default");
    shop.done(&["backup", "s"]);
    let archive = "s backups/s[0001].tar.zst";
    assert!(told(&shop.done(&["restore", archive, "alone"])));
    // Those in the folder above hold for it, and those that it has already.
    shop.done(&["settings", "alone", "set", "Scheduler/Frequency", "Daily"]);
    assert!(!told(&shop.done(&["restore", archive, "alone", "--delta"])));
    std::fs::create_dir(shop.path("Settings")).unwrap();
    std::fs::copy(
        shop.path("alone/Settings/Backup.4DSettings"),
        shop.path("Settings/Backup.4DSettings"),
    )
    .unwrap();
    assert!(!told(&shop.done(&["restore", archive, "beside"])));
}

#[test]
fn settings_are_saved_with_the_data_and_come_back_unless_they_are_left_out() {
    let shop = shop();
    let frequency = |store: &str| shop.done(&["settings", store, "get", "Scheduler/Frequency"]);
    shop.done(&["settings", "s", "set", "Scheduler/Frequency", "Daily"]);
    shop.file("s/Settings/notes.txt", "of the operator");
    shop.done(&["backup", "s"]);
    let archive = "s backups/s[0001].tar.zst";
    shop.done(&["restore", archive, "copy"]);
    assert_eq!(frequency("copy").trim(), "Daily");
    assert_eq!(shop.names("copy/Settings"), ["Backup.4DSettings", "notes.txt"]);
    shop.done(&["restore", archive, "bare", "--contents", "structure,data,attachments"]);
    assert!(!shop.path("bare/Settings").exists() && shop.path("bare/store.data").exists());
    shop.done(&["restore", archive, "only", "--contents", "settings"]);
    assert!(shop.path("only/Settings").exists() && !shop.path("only/store.data").exists());
    shop.done(&["restore", archive, "empty", "--contents", "structure,settings"]);
    assert_eq!(frequency("empty").trim(), "Daily");
    let info = shop.json(&["info", "empty"]);
    assert_eq!((&info["tables"], &info["records"]), (&1.into(), &0.into()), "{info}");
}

#[test]
fn a_rollback_keeps_the_settings_of_today_and_a_delta_restore_sets_them_aside() {
    let shop = shop();
    let frequency = |store: &str| shop.done(&["settings", store, "get", "Scheduler/Frequency"]);
    shop.done(&["settings", "s", "set", "Scheduler/Frequency", "Daily"]);
    shop.done(&["backup", "s"]);
    shop.done(&["put", "s", "t", "new", "{\"name\":\"new\"}"]);
    let lsn = shop.json(&["info", "s"])["lsn"].as_u64().unwrap();
    shop.done(&["put", "s", "t", "newer", "{\"name\":\"newer\"}"]);
    shop.done(&["settings", "s", "set", "Scheduler/Frequency", "Weekly"]);
    shop.done(&["rollback", "s", "--archives", "s backups", "--to-lsn", &lsn.to_string()]);
    assert_eq!(frequency("s").trim(), "Weekly");
    shop.done(&["restore", "s backups/s[0001].tar.zst", "copy"]);
    shop.done(&["settings", "copy", "set", "Scheduler/Frequency", "Monthly"]);
    shop.done(&["restore", "s backups/s[0001].tar.zst", "copy", "--delta"]);
    assert_eq!(frequency("copy").trim(), "Daily");
    let aside = shop.path("copy/set-aside/before-restore/Settings/Backup.4DSettings");
    assert!(std::fs::read_to_string(aside).unwrap().contains("Monthly"));
}

#[test]
fn archives_are_encrypted_for_the_recipients_of_the_settings_and_no_private_key_is_taken() {
    let shop = shop();
    let public = super::layers::public();
    let private = super::layers::IDENTITY;
    let ended = shop.run(&["settings", "s", "set", "Stillpoint/Recipients", private]);
    assert_eq!(ended.code, 2, "{ended:?}");
    assert!(!ended.err.contains(private), "a private key is never shown: {ended:?}");
    assert!(!shop.path(FILE).exists());
    shop.done(&["settings", "s", "set", "Stillpoint/Recipients", &public]);
    let told = shop.json(&["backup", "s"]);
    let archive = told["archive"].as_str().unwrap();
    assert!(archive.ends_with(".tar.zst.age"), "{archive}");
    shop.fails(2, &["verify", archive]);
    shop.file("key", private);
    shop.done(&["verify", archive, "--identity", "key"]);
    let forged = std::fs::read_to_string(shop.path(FILE)).unwrap().replace(&public, private);
    shop.file(FILE, forged);
    let ended = shop.run(&["backup", "s"]);
    assert!(ended.code != 0 && !ended.err.contains(private), "{ended:?}");
}

#[test]
fn restore_info_tells_of_the_last_restore() {
    let shop = shop();
    assert!(shop.done(&["restore-info", "s"]).contains("never restored"));
    shop.done(&["backup", "s"]);
    shop.done(&["put", "s", "t", "new", "{\"name\":\"new\"}"]);
    let lsn = shop.json(&["info", "s"])["lsn"].as_u64().unwrap() - 1;
    shop.done(&["rollback", "s", "--archives", "s backups", "--to-lsn", &lsn.to_string()]);
    let told = shop.json(&["restore-info", "s"]);
    assert_eq!(told["by_hand"]["lsn"], lsn, "{told}");
    assert!(shop.done(&["restore-info", "s"]).contains("restore by hand"));
    shop.fails(4, &["restore-info", "nowhere"]);
}
