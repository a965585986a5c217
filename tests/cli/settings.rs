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
