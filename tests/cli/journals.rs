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
    std::fs::create_dir(shop.path("s")).unwrap();
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
