//! Text from outside is printed so that a terminal does not obey it; what a program reads is exact.

use serde_json::Value;

use super::{Ended, Shop};

const EVIL: &str = "e\u{1b}[2J\u{9b}31m\u{202e}";

/// No character that a terminal obeys, line feeds but for.
fn is_plain(text: &str) -> bool {
    let turns = |c| matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    text.chars().all(|c| c == '\n' || !(c.is_control() || turns(c)))
}

fn shop() -> Shop {
    let shop = Shop::new();
    let text = format!("id,{EVIL}\n1,{EVIL}\n");
    shop.done(&["import", EVIL, "t", shop.file("in.csv", text), "--key", "id"]);
    shop
}

#[test]
fn errors_show_control_characters_and_do_not_send_them() {
    let shop = shop();
    let header = shop.file("header.csv", format!("{EVIL},{EVIL}\n1,2\n"));
    let row = shop.file("row.csv", format!("id,{EVIL}\n1\n"));
    let json = shop.file("row.jsonl", format!("{{\"{}\":1,\"id\":2,\"\":3}}\n", "\\u001b[2J"));
    let archive = format!("{EVIL} backups/{EVIL}[0001].tar.zst");
    for arguments in [
        &["import", "n", "t", header, "--key", EVIL][..],
        &["import", "n", "t", row, "--key", "id"],
        &["import", "n", "t", json, "--key", "nr"],
        &["import", "n", "t", EVIL, "--key", "id", "--format", "csv"],
        &["get", EVIL, EVIL, "1"],
        &["get", EVIL, "t", EVIL],
        &["tables", "e\u{1b}[0m"],
        &["restore", &archive, "copy"],
        &["verify", EVIL, EVIL],
        &[EVIL],
        &["settings", EVIL, "set", "SetNumber/Value", EVIL],
    ] {
        let ended = shop.run(arguments);
        assert_ne!(ended.code, 0, "{arguments:?}: {ended:?}");
        assert!(is_plain(&ended.err) && is_plain(&ended.out), "{arguments:?}: {ended:?}");
        assert!(!ended.err.is_empty());
    }
    shop.done(&["settings", EVIL, "set", "SetNumber/Value", "9"]);
    let path = shop.json(&["settings", EVIL, "show"])["path"].clone();
    assert!(path.as_str().unwrap().contains(EVIL), "a program reads it as it is: {path}");
    let error = shop.fails(4, &["get", EVIL, EVIL, "1"]);
    assert!(error["message"].as_str().unwrap().contains(EVIL), "a program reads it as it is");
}

#[test]
fn results_show_control_characters_and_do_not_send_them() {
    let shop = shop();
    std::fs::write(shop.path(EVIL).join(EVIL), "foreign").unwrap();
    std::fs::create_dir(shop.path("att")).unwrap();
    std::fs::write(shop.path("att").join(EVIL), "attached").unwrap();
    shop.done(&["settings", EVIL, "set", "IncludesFiles", "./att"]);
    shop.done(&["settings", EVIL, "set", "DestinationFolder", "./b"]);
    std::fs::create_dir(shop.path("b")).unwrap();
    let plain = |ended: Ended| {
        assert_eq!(ended.code, 0, "{ended:?}");
        assert!(is_plain(&ended.out) && is_plain(&ended.err), "{ended:?}");
        ended.out
    };
    plain(shop.run(&["backup", EVIL]));
    let archive = std::fs::read_dir(shop.path("b")).unwrap();
    let archive = archive
        .map(|entry| entry.unwrap().path())
        .find(|path| path.to_string_lossy().ends_with(".tar.zst"));
    let archive = archive.expect("the archive is there").display().to_string();
    for arguments in [
        &["scan", EVIL, "t"][..],
        &["get", EVIL, "t", "1"],
        &["tables", EVIL],
        &["info", EVIL],
        &["info", &archive],
        &["verify", &archive],
        &["history", EVIL],
        &["journal", EVIL],
        &["coverage", EVIL],
        &["settings", EVIL, "show"],
        &["log", EVIL, "list"],
        &["restore", &archive, "copy", "--dry-run"],
        &["restore", &archive, "copy"],
    ] {
        plain(shop.run(arguments));
    }
    let shown: Value = serde_json::from_str(&plain(shop.run(&["get", EVIL, "t", "1"]))).unwrap();
    assert_eq!(shown[EVIL], EVIL, "escaped JSON means the same");
    assert_eq!(shop.json(&["get", EVIL, "t", "1"])["value"][EVIL], EVIL);
}

#[test]
fn a_name_with_a_line_feed_begins_no_line_of_a_report() {
    const SPLIT: &str = "one\nerror: two";
    let shop = Shop::new();
    let text = "id,a\n1,x\n";
    shop.done(&["import", SPLIT, "t", shop.file("in.csv", text), "--key", "id"]);
    shop.done(&["backup", SPLIT]);
    let folder = format!("{SPLIT} backups");
    let archive = format!("{folder}/{SPLIT}[0001].tar.zst");
    shop.done(&["put", SPLIT, "t", "2", "{}"]);
    for arguments in [
        &["info", SPLIT][..],
        &["info", &archive],
        &["backup", SPLIT],
        &["verify", SPLIT],
        &["verify", &archive],
        &["coverage", SPLIT],
        &["history", SPLIT],
        &["drill", SPLIT],
        &["compact", SPLIT, "--keep-old"],
        &["compact", SPLIT, "--to", "small\nerror: copy"],
        &["repair", SPLIT, "new\nerror: store"],
        &["restore", &archive, "back\nerror: again"],
        &["rollback", SPLIT, "--archives", &folder, "--to-lsn", "2"],
        &["journal", SPLIT],
        &["restore-info", SPLIT],
        &["settings", SPLIT, "show"],
        &["settings", SPLIT, "set", "SetNumber/Value", "9"],
        &["settings", SPLIT, "check"],
        &["schedule", SPLIT, "next"],
        &["log", SPLIT, "list"],
        &["journal", "new\nerror: store"],
        &["get", SPLIT, "t", "nothing"],
        &["tables", "one\nerror: nowhere"],
    ] {
        let ended = shop.run(arguments);
        let own = usize::from(ended.code != 0);
        let lines = ended.out.lines().chain(ended.err.lines());
        let begun = lines.filter(|line| line.starts_with("error: ")).count();
        assert_eq!(begun, own, "{arguments:?}: {ended:?}");
    }
}
