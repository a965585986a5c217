//! The log, as people read it: created against modified, by table, key, time and user.

use serde_json::{Value, json};

use super::Shop;

/// A store with two tables in its backup, and commits after it; the log of those in `b`.
fn shop() -> Shop {
    let shop = Shop::new();
    shop.done(&["import", "s", "t", shop.file("t.csv", "id,x\n1,a\n2,b\n"), "--key", "id"]);
    shop.done(&["import", "s", "u", shop.file("u.csv", "id,x\nk,a\n"), "--key", "id"]);
    std::fs::create_dir(shop.path("b")).unwrap();
    shop.done(&["settings", "s", "set", "DestinationFolder", "b"]);
    shop.done(&["backup", "s"]);
    for (table, key, value) in
        [("t", "1", "10"), ("t", "3", "30"), ("t", "3", "31"), ("u", "k", "{\"x\":null}")]
    {
        shop.done(&["put", "s", table, key, value]);
    }
    shop.done(&["delete", "s", "t", "2"]);
    shop.done(&["put", "s", "t", "2", "\"again\""]);
    shop
}

const DONE: [(&str, &str, &str); 6] = [
    ("Modify record", "t", "1"),
    ("Create record", "t", "3"),
    ("Modify record", "t", "3"),
    ("Modify record", "u", "k"),
    ("Delete record", "t", "2"),
    ("Create record", "t", "2"),
];

/// What the operations did: name, table, key.
fn done(objects: &[Value]) -> Vec<(String, String, String)> {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let told = |object: &Value| {
        let [name, table, key] = ["operationName", "tableName", "primaryKey"];
        (text(&object[name]), text(&object[table]), text(&object[key]))
    };
    objects.iter().map(told).collect()
}

fn wanted(wanted: &[(&str, &str, &str)]) -> Vec<(String, String, String)> {
    let owned = |(a, b, c): &(&str, &str, &str)| (a.to_string(), b.to_string(), c.to_string());
    wanted.iter().map(owned).collect()
}

fn shown(shop: &Shop, place: &str, more: &[&str]) -> Vec<Value> {
    let text = shop.done(&[&["log", place, "show", "--json"], more].concat());
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_record_that_is_created_differs_from_one_that_is_modified() {
    let shop = shop();
    assert_eq!(done(&shown(&shop, "s", &[])), wanted(&DONE));
    let text = shop.done(&["log", "s", "show"]);
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].contains("modified  t  1  10"), "{text}");
    assert!(lines[1].contains("created   t  3  30"), "{text}");
    assert!(lines[4].contains("deleted   t  2"), "{text}");
    let exported: Vec<Value> = serde_json::from_str(&shop.done(&["log", "s", "export"])).unwrap();
    assert_eq!(exported, shown(&shop, "s", &[]));
}

#[test]
fn a_log_archive_names_its_tables_and_shows_values_wherever_it_lies() {
    let shop = shop();
    shop.done(&["backup", "s"]);
    let log = "b/s[0002].log.zst";
    let log = if shop.path(log).exists() { log } else { "b/s[0001].log.zst" };
    assert_eq!(done(&shown(&shop, log, &[])), wanted(&DONE));
    // Apart from its archives: what it does not know of a record it does not claim.
    std::fs::create_dir(shop.path("apart")).unwrap();
    std::fs::copy(shop.path(log), shop.path("apart/x[0001].log.zst")).unwrap();
    let apart = shown(&shop, "apart/x[0001].log.zst", &[]);
    let names: Vec<&str> =
        apart.iter().map(|object| object["operationName"].as_str().unwrap()).collect();
    let [create, modify, put] = ["Create record", "Modify record", "Put record"];
    assert_eq!(names, [put, put, modify, put, "Delete record", create]);
    assert_eq!((&apart[3]["tableName"], &apart[3]["primaryKey"]), (&json!("u"), &json!("k")));
    assert_eq!(apart[3]["fields"], json!({"x": null}));
    // With the archive that it follows it knows again, and with another one it is refused.
    let base = ["--base", "b/s[0001].tar.zst"];
    assert_eq!(done(&shown(&shop, "apart/x[0001].log.zst", &base)), wanted(&DONE));
    let other = ["log", "apart/x[0001].log.zst", "show", "--base", "b/s[0002].tar.zst"];
    assert_eq!(shop.run(&other).code, 2);
}

#[test]
fn operations_are_chosen_by_table_key_time_and_user() {
    let shop = shop();
    let all = shown(&shop, "s", &[]);
    let chosen = |more: &[&str]| done(&shown(&shop, "s", more));
    assert_eq!(chosen(&["--table", "u"]), wanted(&DONE[3..4]));
    assert_eq!(chosen(&["--table", "t", "--key", "3"]), wanted(&DONE[1..3]));
    assert_eq!(chosen(&["--table", "nothing"]), []);
    let time = |at: usize| all[at]["timeStamp"].as_str().unwrap();
    assert_eq!(chosen(&["--since", "1h"]), wanted(&DONE));
    assert_eq!(chosen(&["--until", time(0)])[..1], wanted(&DONE[..1]));
    assert_eq!(chosen(&["--since", "2999-01-01T00:00:00Z"]), []);
    let user = all[0]["extraData"]["user"].as_str();
    if let Some(user) = user {
        assert_eq!(chosen(&["--user", user]), wanted(&DONE));
    }
    assert_eq!(chosen(&["--user", "nobody else"]), []);
    assert_eq!(shop.run(&["log", "s", "show", "--key", "1"]).code, 2, "a key is one of a table");
    assert_eq!(shop.run(&["log", "s", "show", "--table", "t", "--key", "one"]).code, 2);
    // An export chooses in the same way, into a folder that it makes.
    let told = shop.json(&["log", "s", "export", "--output", "new/folder", "--table", "u"]);
    assert_eq!(told["operations"], json!(1));
    assert_eq!(shop.names("new/folder"), ["JournalExport.json"]);
    let wrong = ["log", "s", "export", "--output", "made/in vain", "--table", "t", "--key", "one"];
    assert_eq!(shop.run(&wrong).code, 2);
    assert!(!shop.path("made").exists(), "a folder that was made for nothing goes again");
}
