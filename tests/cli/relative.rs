//! What is recorded of paths does not depend on the folder that a command was run in.

use std::path::PathBuf;

use serde_json::Value;

use super::{Ended, Shop};

/// Runs a command in the folder `cwd` of the scratch folder.
fn run_in(shop: &Shop, cwd: &str, arguments: &[&str]) -> Ended {
    let mut command = shop.command(arguments);
    let ended = command.current_dir(shop.path(cwd)).output().expect("the binary runs");
    let ended = Ended::of(ended);
    assert_eq!(ended.code, 0, "in {cwd}: {arguments:?}: {ended:?}");
    ended
}

/// Every text in `value` under a key that names a path.
fn paths(value: &Value, found: &mut Vec<PathBuf>) {
    match value {
        Value::Array(all) => all.iter().for_each(|one| paths(one, found)),
        // A file within an archive.
        Value::Object(all) if is_entry(&all.get("item").cloned().unwrap_or_default()) => {}
        Value::Object(all) => {
            for (key, one) in all {
                let key = key.to_lowercase();
                let names = ["path", "archive", "destination", "aside", "source"];
                match one.as_str() {
                    Some(text) if names.iter().any(|name| key.contains(name)) => {
                        found.push(text.into());
                    }
                    // In these a path is one within the archive, and a source one of the machine.
                    _ if key == "savedfiles" => {
                        let files = one.as_array().into_iter().flatten();
                        found.extend(
                            files.filter_map(|file| file["source"].as_str()).map(PathBuf::from),
                        );
                    }
                    _ => paths(one, found),
                }
            }
        }
        _ => {}
    }
}

fn all_lead_there(of: &str, text: &str, least: usize) {
    let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut found = Vec::new();
    match serde_json::from_str::<Value>(text) {
        Ok(whole) => paths(&whole, &mut found),
        Err(_) => lines.for_each(|line| paths(&line, &mut found)),
    }
    assert!(found.len() >= least, "{of}: {found:?} in {text}");
    for path in &found {
        assert!(path.is_absolute() && path.exists(), "{of}: {}", path.display());
    }
}

fn is_entry(item: &Value) -> bool {
    matches!(item.as_str(), Some("data" | "attachment" | "settings" | "structure"))
}

#[test]
fn paths_in_journal_history_and_state_are_those_of_every_folder() {
    let shop = Shop::new();
    for folder in ["b", "elsewhere", "deep/er"] {
        std::fs::create_dir_all(shop.path(folder)).unwrap();
    }
    shop.file("in.csv", "id,a\n1,x\n");
    run_in(&shop, ".", &["import", "s", "t", "in.csv", "--key", "id"]);
    run_in(&shop, "s", &["settings", ".", "set", "DestinationFolder", "b"]);
    run_in(&shop, "b", &["backup", "../s", "--to", "."]);
    run_in(&shop, "deep/er", &["put", "../../s", "t", "2", "{\"a\":\"y\"}"]);
    run_in(&shop, "deep", &["backup", "../s", "--to", "../elsewhere"]);
    run_in(&shop, ".", &["backup", "s", "--to", "b"]);
    run_in(&shop, "b", &["put", "../s", "t", "3", "{\"a\":\"z\"}"]);
    run_in(&shop, "b", &["rollback", "../s", "--archives", ".", "--to-lsn", "3"]);
    run_in(&shop, "deep", &["compact", "../s", "--keep-old"]);
    run_in(&shop, "deep", &["repair", "../s", "../new"]);
    run_in(&shop, "b", &["restore", "s[0001].tar.zst", "../copy"]);
    run_in(&shop, "deep/er", &["integrate", "../../copy", "../../b"]);
    for store in ["s", "copy", "new"] {
        let journal = run_in(&shop, "deep", &["journal", &format!("../{store}"), "--json"]).out;
        all_lead_there(&format!("the journal of {store}"), &journal, 1);
    }
    let history = run_in(&shop, "b", &["history", "../s", "--json"]).out;
    all_lead_there("the history", &history, 4);
    for state in ["regime-state.json", "backup-state.json"] {
        let text = std::fs::read_to_string(shop.path("s").join(state)).unwrap_or_default();
        all_lead_there(state, &text, usize::from(state.starts_with("regime")));
    }
}
