//! The journal, shown, filtered and followed, while somebody else writes it.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use jiff::tz::TimeZone;
use serde_json::{Value, json};
use stillpoint::disk::RealDisk;
use stillpoint::regime::{About, Journal, JournalEvent, JournalItem};
use stillpoint::{Error, ErrorKind};

use super::Shop;

fn journal(shop: &Shop) -> Journal {
    std::fs::create_dir_all(shop.path("s")).unwrap();
    Journal::open(RealDisk::new(), &shop.path("s"), true, TimeZone::UTC)
}

fn filled(shop: &Shop) -> Journal {
    let journal = journal(shop);
    let mut done = JournalItem::new(JournalEvent::Backup, About::End);
    done.number = Some(1);
    let error = Error::new(ErrorKind::BackupFailed, "no room\nat all").with_code(1409);
    let failed = JournalItem::new(JournalEvent::Backup, About::End).with_error(&error);
    let missed = JournalItem::note(JournalEvent::Missed, "nobody was here");
    journal.append_all(&[done, failed, missed]).unwrap();
    journal
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn lines_are_shown_and_chosen_by_event_error_time_and_number() {
    let shop = Shop::new();
    drop(filled(&shop));
    let shown = |more: &[&str]| lines(&shop.done(&[&["journal", "s", "--json"], more].concat()));
    let all = shown(&[]);
    assert_eq!(all.len(), 3);
    assert_eq!((&all[0]["number"], &all[0]["status"]), (&json!(1), &json!(0)));
    assert_eq!(shown(&["--event", "missed"]), all[2..]);
    assert_eq!(shown(&["--errors"]), all[1..2]);
    assert_eq!(shown(&["--tail", "2"]), all[1..]);
    assert_eq!(shown(&["--since", "1h"]), all);
    assert!(shown(&["--since", "2100-01-01"]).is_empty());
    let text = shop.done(&["journal", "s"]);
    assert_eq!(text.lines().count(), 3, "one item a line, whatever the error says: {text}");
    assert!(text.contains("no room at all") && text.contains("[1409]"));
}

#[test]
fn a_store_without_a_journal_has_no_lines_and_a_wrong_word_is_told() {
    let shop = Shop::new();
    shop.fails(4, &["journal", "s"]);
    shop.done(&["import", "s", "t", shop.file("a.csv", "id\n1\n"), "--key", "id"]);
    assert_eq!(shop.done(&["journal", "s"]), "");
    assert_eq!(shop.run(&["journal", "s", "--event", "party"]).code, 2);
    assert_eq!(shop.run(&["journal", "s", "--since", "once"]).code, 2);
}

#[test]
fn following_shows_what_is_written_later() {
    let shop = Shop::new();
    let journal = filled(&shop);
    let mut child = shop
        .command(&["journal", "s", "--follow", "--tail", "1", "--json"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next = || serde_json::from_str::<Value>(&out.next().unwrap().unwrap()).unwrap();
    assert_eq!(next()["event"], "missed");
    journal.append(&JournalItem::note(JournalEvent::Drill, "went well")).unwrap();
    assert_eq!(next()["message"], "went well");
    child.kill().unwrap();
    child.wait().unwrap();
}

/// Writes settings beside the data of store `s`.
fn settings(shop: &Shop, advanced: &str, scheduler: &str, own: &str) {
    std::fs::create_dir_all(shop.path("s/Settings")).unwrap();
    let text = format!(
        "<Preferences4D><Backup><Settings><Advanced>{advanced}</Advanced>\
         <Scheduler>{scheduler}</Scheduler><Stillpoint>{own}</Stillpoint>\
         </Settings></Backup></Preferences4D>"
    );
    std::fs::write(shop.path("s/Settings/Backup.4DSettings"), text).unwrap();
}

#[test]
fn the_history_lists_backups_and_what_would_be_deleted() {
    let shop = Shop::new();
    shop.done(&["import", "s", "t", shop.file("in.csv", super::sample_csv(20)), "--key", "id"]);
    shop.fails(4, &["history", "s"]);
    for number in ["1", "2", "3"] {
        shop.done(&["put", "s", "t", "k00001", number]);
        shop.done(&["backup", "s"]);
    }
    let told = shop.json(&["history", "s"]);
    let listed = told["operations"].as_array().unwrap();
    assert_eq!(listed.len(), 3);
    assert_eq!((&listed[2]["backupNumber"], &listed[2]["status"]), (&json!(3), &json!("complete")));
    let text = shop.done(&["history", "s"]);
    assert_eq!(text.lines().count(), 5, "{text}");
    assert!(text.contains("s[0003].tar.zst"));
    assert_eq!(shop.done(&["history", "s", "--dry-run"]).trim(), "nothing would be deleted");
    settings(&shop, "<SetNumber><Enable>True</Enable><Value>1</Value></SetNumber>", "", "");
    let plan = shop.json(&["history", "s", "--dry-run"]);
    assert_eq!(plan["deletions"].as_array().unwrap().len(), 4, "two sets and their logs: {plan}");
    assert_eq!(shop.json(&["history", "s"]), told, "and nothing is");
    // Which store it is, is not asked of a file that people edit.
    let path = shop.path("s backups/backupHistory.json");
    let mut edited: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    let operations = edited["s"].as_array_mut().unwrap();
    let mut other = operations.last().unwrap().clone();
    (other["storeId"], other["operation"]) = (json!("1".repeat(32)), json!("restore"));
    (other["seal"], other["backupPath"], other["logPath"]) =
        (json!(null), json!(null), json!(null));
    (other["backupFiles"], other["logFiles"]) = (json!([]), json!([]));
    operations.push(other);
    std::fs::write(&path, edited.to_string()).unwrap();
    let again = shop.json(&["history", "s", "--dry-run"]);
    assert_eq!(again["deletions"], plan["deletions"], "{again}");
    // All that was done stands in the journal too.
    let all = lines(&shop.done(&["journal", "s", "--event", "backup", "--json"]));
    let numbers: Vec<&Value> =
        all.iter().filter(|line| line["item"] == "end").map(|line| &line["number"]).collect();
    assert_eq!(numbers, [&json!(1), &json!(2), &json!(3)]);
}

#[test]
fn the_next_backups_are_told_in_the_zone_of_the_schedule() {
    let shop = Shop::new();
    shop.done(&["import", "s", "t", shop.file("in.csv", super::sample_csv(2)), "--key", "id"]);
    assert_eq!(shop.json(&["schedule", "s", "next"])["next"], json!([]));
    assert!(shop.done(&["schedule", "s", "next"]).contains("says never"));
    settings(&shop, "", "<Frequency>Weekly</Frequency>", "");
    assert!(shop.done(&["schedule", "s", "next"]).contains("weekly and has no day"));
    settings(
        &shop,
        "",
        "<Frequency>Daily</Frequency><Daily><Every>1</Every><Hour>0000-00-00T21:30:00</Hour></Daily>",
        "<TimeZone>Asia/Kolkata</TimeZone>",
    );
    let told = shop.json(&["schedule", "s", "next", "--count", "3"]);
    assert_eq!(told["zone"], "Asia/Kolkata");
    let next = told["next"].as_array().unwrap();
    assert_eq!(next.len(), 3);
    for slot in next {
        assert!(slot["local"].as_str().unwrap().ends_with("T21:30:00+05:30"), "{slot}");
    }
    let day = 24 * 60 * 60 * 1_000_000;
    assert_eq!(next[2]["time"].as_i64().unwrap() - next[0]["time"].as_i64().unwrap(), 2 * day);
    assert_eq!(shop.done(&["schedule", "s", "next", "--count", "3"]).lines().count(), 3);
    assert_eq!(shop.run(&["schedule", "s", "next", "--count", "0"]).code, 2);
    shop.fails(4, &["schedule", "nowhere", "next"]);
}

#[test]
fn a_restore_that_nobody_asked_for_is_in_the_history() {
    let shop = Shop::new();
    shop.done(&["import", "s", "t", shop.file("in.csv", super::sample_csv(20)), "--key", "id"]);
    shop.done(&["settings", "s", "set", "AutomaticRestore", "True"]);
    shop.done(&["backup", "s"]);
    shop.done(&["put", "s", "t", "k00001", "{\"name\":\"new\",\"zip\":\"1\"}"]);
    let data = shop.path("s/store.data");
    let length = std::fs::metadata(&data).unwrap().len() as usize;
    std::fs::write(&data, vec![0x5a; length]).unwrap();
    // Who only looks restores nothing, whatever the settings say.
    for inquiry in ["coverage", "drill", "backup"] {
        let failure = shop.fails(1, &[inquiry, "s"]);
        let hint = failure["hint"].as_str().unwrap();
        assert!(hint.contains("AutomaticRestore"), "{failure}");
        assert_eq!(std::fs::read(&data).unwrap(), vec![0x5a; length]);
    }
    let journal = shop.done(&["journal", "s", "--errors"]);
    assert_eq!(journal.lines().filter(|line| line.contains("backup")).count(), 1, "{journal}");
    stillpoint::regime::Regime::open(shop.path("s")).unwrap().close().unwrap();
    let told = shop.json(&["history", "s"]);
    let what =
        |at: usize| (&told["operations"][at]["operation"], &told["operations"][at]["origin"]);
    assert_eq!(what(0), (&json!("backup"), &json!("manual")));
    assert_eq!(what(1), (&json!("backup"), &json!("manual")), "the one that could not be made");
    assert_eq!(what(2), (&json!("restore"), &json!("automatic")));
    assert_eq!(what(3), (&json!("integration"), &json!("automatic")));
    let text = shop.done(&["history", "s"]);
    for row in ["automatic restore", "automatic integration"] {
        assert_eq!(text.matches(row).count(), 1, "{text}");
    }
    assert_eq!(shop.json(&["get", "s", "t", "k00001"])["value"]["name"], json!("new"));
    assert_eq!(shop.json(&["backup", "s"])["number"], json!(2));
}
