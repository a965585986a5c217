//! Ctrl-C is the Stop button, and leaves nothing behind.
#![cfg(unix)]

use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::json;

use super::{Shop, sample_csv};

fn start(shop: &Shop, arguments: &[&str]) -> Child {
    let mut command = shop.command(arguments);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary runs")
}

/// Waits until `ready`, presses Ctrl-C, and gives the exit code and what the command said.
fn stop_when(mut child: Child, ready: impl Fn() -> bool) -> (Option<i32>, String) {
    while !ready() {
        let ended = child.try_wait().expect("the child can be asked");
        assert!(ended.is_none(), "it ended before it was stopped");
        std::thread::sleep(Duration::from_millis(1));
    }
    let pid = child.id().to_string();
    let sent = Command::new("kill").args(["-INT", &pid]).status().expect("there is a kill");
    assert!(sent.success());
    let status = child.wait().expect("the child ends");
    let mut said = String::new();
    child.stderr.take().expect("it is piped").read_to_string(&mut said).expect("it is UTF-8");
    (status.code(), said)
}

#[test]
fn a_stopped_import_takes_back_the_store_that_it_made() {
    let shop = Shop::new();
    let file = shop.file("in.csv", sample_csv(300_000));
    let child = start(&shop, &["import", "s", "t", file, "--key", "id"]);
    let (code, said) = stop_when(child, || shop.path("s/store.data").exists());
    assert_eq!(code, Some(6), "{said}");
    assert!(said.contains("[1406]"), "{said}");
    assert_eq!(shop.names("."), ["in.csv"]);
}

#[test]
fn a_stopped_import_takes_back_the_table_that_it_made() {
    let shop = Shop::new();
    shop.done(&["import", "s", "kept", shop.file("a.csv", "id\n1\n"), "--key", "id"]);
    let before = std::fs::metadata(shop.path("s/log")).unwrap().modified().unwrap();
    let file = shop.file("in.csv", sample_csv(300_000));
    let child = start(&shop, &["import", "s", "t", file, "--key", "id"]);
    // The log gets a new segment with the first commit, which makes the table.
    let began = || std::fs::metadata(shop.path("s/log")).unwrap().modified().unwrap() > before;
    let (code, said) = stop_when(child, began);
    assert_eq!(code, Some(6), "{said}");
    let tables = shop.json(&["tables", "s"]);
    assert_eq!(tables.as_array().unwrap().len(), 1, "{tables}");
    assert_eq!(tables[0]["name"], json!("kept"));
}

#[test]
fn a_stopped_backup_leaves_nothing_in_its_destination() {
    let shop = Shop::new();
    let file = shop.file("in.csv", sample_csv(20_000));
    shop.done(&["import", "s", "t", file, "--key", "id"]);
    std::fs::create_dir(shop.path("b")).unwrap();
    let child = start(&shop, &["backup", "s", "--to", "b", "--throttle", "65536"]);
    let (code, said) = stop_when(child, || !shop.names("b").is_empty());
    assert_eq!(code, Some(6), "{said}");
    assert!(said.contains("[1406]"), "{said}");
    // That it was stopped stands in the history; nothing else does in the folder.
    assert_eq!(shop.names("b"), ["backupHistory.json", "backupHistory.lock"]);
    let told = shop.json(&["backup", "s", "--to", "b"]);
    assert_eq!(told["number"], json!(1), "the stopped one took no number");
}

/// A store with some records, and a backup of it that is killed while it is written.
fn killed_backup(shop: &Shop) {
    let file = shop.file("in.csv", sample_csv(20_000));
    shop.done(&["import", "s", "t", file, "--key", "id"]);
    std::fs::create_dir(shop.path("b")).unwrap();
    shop.done(&["settings", "s", "set", "General/DestinationFolder", "b"]);
    let mut child = start(shop, &["backup", "s", "--throttle", "65536"]);
    let is_part = |name: &String| name.starts_with("s[0001].tar.zst.");
    while !shop.names("b").iter().any(is_part) {
        assert!(child.try_wait().unwrap().is_none(), "it ended: {:?}", shop.names("b"));
        std::thread::sleep(Duration::from_millis(1));
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_killed_backup_is_reported_by_the_next_command_that_opens_the_store() {
    for command in [&["coverage", "s"][..], &["get", "s", "t", "k00001"], &["drill", "s"]] {
        let shop = Shop::new();
        killed_backup(&shop);
        let _ended = shop.run(command);
        let reported = || {
            let journal = shop.done(&["journal", "s"]);
            journal.lines().filter(|line| line.contains("2030")).count()
        };
        assert_eq!(reported(), 1, "{command:?}");
        let history = shop.done(&["history", "s"]);
        assert_eq!(history.matches("FAILED [2030]").count(), 1, "{command:?}: {history}");
        let told = shop.json(&["coverage", "s"]);
        assert_eq!(told["last_backup"]["code"], json!(2030), "{command:?}: {told}");
        shop.done(&["backup", "s"]);
        assert_eq!(reported(), 1, "{command:?}: once");
    }
}
