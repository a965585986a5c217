//! Holds the house in order: who may know whom, and which things stand in one place only.
//!
//! The layers of `docs/architecture.md` are data here. A forbidden `use crate::room` fails with the
//! rule that it breaks.

use std::fs;
use std::path::{Path, PathBuf};

/// Each room, and the rooms it may name. `error` is known to all.
const LAYERS: &[(&str, &[&str])] = &[
    ("error", &[]),
    ("disk", &[]),
    ("lock", &[]),
    ("engine", &["disk"]),
    ("archive", &["disk"]),
    ("store", &["engine", "lock", "disk"]),
    ("destination", &["store", "archive", "engine", "disk"]),
    ("backup", &["destination", "store", "archive", "engine", "lock", "disk"]),
    ("restore", &["destination", "store", "archive", "engine", "lock", "disk"]),
    ("regime", &["destination", "store", "archive", "backup", "restore", "engine", "lock", "disk"]),
];

/// What only the named rooms may say: the seam to the outside.
const SEAMS: &[(&str, &[&str])] = &[
    ("std::fs", &["disk", "cli"]),
    ("SystemTime", &["disk", "cli"]),
    ("Instant::now", &["disk", "lock", "cli"]),
    ("rustix::", &["disk", "cli"]),
];

const LONGEST_FILE: usize = 500;

fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
    found.sort();
}

/// A newcomer finds each file on the map; the command line has one for each command.
#[test]
fn every_file_is_on_the_map() {
    let map = fs::read_to_string(root().join("docs/architecture.md")).unwrap();
    for (room, path, _) in all_sources() {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let is_test = path.components().any(|part| {
            let part = part.as_os_str().to_string_lossy();
            matches!(&*part, "tests" | "tests.rs" | "conformance" | "model.rs")
        });
        if room != "cli" && !is_test && name != "mod.rs" {
            assert!(map.contains(&*name), "{} is not in docs/architecture.md", path.display());
        }
    }
}

/// Every source file: its room, its path, its text.
fn all_sources() -> Vec<(String, PathBuf, String)> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&src, &mut files);
    files
        .into_iter()
        .map(|path| {
            let inside = path.strip_prefix(&src).unwrap();
            let first = inside.components().next().unwrap().as_os_str().to_string_lossy();
            let room = first.trim_end_matches(".rs").to_owned();
            let text = fs::read_to_string(&path).unwrap();
            (room, path, text)
        })
        .collect()
}

fn is_test_file(path: &Path) -> bool {
    let name = path.file_name().unwrap().to_string_lossy();
    name == "tests.rs" || name == "conformance.rs" || path.to_string_lossy().contains("/tests/")
}

/// The lines of a file that are neither comments nor tests.
fn code_lines(path: &Path, text: &str) -> Vec<(usize, String)> {
    if is_test_file(path) {
        return Vec::new();
    }
    text.lines()
        .enumerate()
        .take_while(|(_, line)| !line.starts_with("#[cfg(test)]"))
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
        .map(|(number, line)| (number + 1, line.to_owned()))
        .collect()
}

#[test]
fn no_room_names_a_room_that_it_may_not_know() {
    let mut broken = Vec::new();
    for (room, path, text) in all_sources() {
        let Some((_, allowed)) = LAYERS.iter().find(|(name, _)| *name == room) else { continue };
        for (number, line) in code_lines(&path, &text) {
            for (other, _) in LAYERS {
                let named = line.contains(&format!("crate::{other}::"))
                    || line.contains(&format!("crate::{other};"))
                    || line.contains(&format!("crate::{{{other}"));
                let known = *other == room || *other == "error" || allowed.contains(other);
                if named && !known {
                    let shown = path.display();
                    broken.push(format!("{shown}:{number}: {room} may know {allowed:?}: {line}"));
                }
            }
        }
    }
    assert!(broken.is_empty(), "layers broken:\n{}", broken.join("\n"));
}

#[test]
fn files_clock_and_chance_come_through_the_disk_alone() {
    let mut broken = Vec::new();
    for (room, path, text) in all_sources() {
        for (number, line) in code_lines(&path, &text) {
            for (word, rooms) in SEAMS {
                if line.contains(word) && !rooms.contains(&room.as_str()) {
                    broken.push(format!("{}:{number}: `{word}`: {line}", path.display()));
                }
            }
        }
    }
    assert!(broken.is_empty(), "the seam is for {SEAMS:?}:\n{}", broken.join("\n"));
}

#[test]
fn unsafe_code_says_why_it_is_sound() {
    for (_, path, text) in all_sources() {
        let uses = text.lines().any(|line| {
            let code = line.split("//").next().unwrap_or("");
            code.contains("unsafe {") || code.contains("unsafe fn") || code.contains("unsafe impl")
        });
        if uses {
            let shown = path.display();
            assert!(text.contains("allow(unsafe_code)"), "{shown}: not a file for unsafe code");
            assert!(text.to_lowercase().contains("sound"), "{shown}: the header gives no reason");
            assert!(text.contains("SAFETY:"), "{shown}: blocks without a reason");
        }
    }
}

#[test]
fn every_module_says_what_it_is_for() {
    for (_, path, text) in all_sources() {
        assert!(text.starts_with("//!"), "{}: no module header", path.display());
    }
}

#[test]
fn files_have_one_purpose_and_a_readable_length() {
    let long: Vec<String> = all_sources()
        .into_iter()
        .map(|(_, path, text)| (path, text.lines().count()))
        .filter(|(_, lines)| *lines > LONGEST_FILE)
        .map(|(path, lines)| format!("{}: {lines}", path.display()))
        .collect();
    assert!(long.is_empty(), "longer than {LONGEST_FILE} lines:\n{}", long.join("\n"));
}

#[test]
fn nothing_is_left_undone_in_the_sources() {
    let words = ["todo!", "unimplemented!", "FIXME", "TODO", "dbg!("];
    for (_, path, text) in all_sources() {
        for word in words {
            assert!(!text.contains(word), "{}: `{word}`", path.display());
        }
    }
}

/// The cells of the rows of `page` that begin with a number.
fn numbered_rows(page: &str) -> Vec<Vec<String>> {
    let cells = |line: &str| -> Vec<String> {
        let inside = line.trim_matches('|').split('|');
        inside.map(|cell| cell.trim().trim_matches('`').to_owned()).collect()
    };
    let rows = page.lines().filter(|line| line.starts_with('|')).map(cells);
    rows.filter(|row| row[0].parse::<i32>().is_ok()).collect()
}

/// The text of `error.rs` between two marks.
fn of_errors(from: &str, to: &str) -> String {
    let text = fs::read_to_string(root().join("src/error.rs")).unwrap();
    let (_, rest) = text.split_once(from).unwrap();
    rest.split_once(to).unwrap().0.to_owned()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn the_page_of_codes_has_each_code_and_each_kind_and_nothing_else() {
    let page = fs::read_to_string(root().join("docs/errors.md")).unwrap();
    let rows = numbered_rows(&page);
    let told = |least: i32, most: i32| -> Vec<(i32, String)> {
        let numbered = rows.iter().filter(|row| row.len() != 3 || least >= 2100);
        let told = numbered.map(|row| (row[0].parse().unwrap(), row[1].clone()));
        told.filter(|(number, _)| (least..most).contains(number)).collect()
    };
    let codes: Vec<(i32, String)> = of_errors("pub mod code {", "pub const GENERAL")
        .lines()
        .filter_map(|line| line.trim().strip_prefix("pub const ")?.strip_suffix(';'))
        .filter_map(|line| line.split_once(": i32 = "))
        .map(|(name, number)| (number.parse().unwrap(), name.to_owned()))
        .collect();
    assert!(codes.len() > 20, "the codes are found");
    assert_eq!(told(-9999, 2100), codes);
    let kinds: Vec<(i32, String)> = of_errors("pub enum ErrorKind {", "\n}")
        .lines()
        .filter_map(|line| line.trim().strip_suffix(','))
        .filter(|line| line.chars().all(char::is_alphanumeric))
        .zip(2100..)
        .map(|(kind, number)| (number, kind.to_owned()))
        .collect();
    assert_eq!(told(2100, 2200), kinds);
}

#[test]
fn each_code_arises_somewhere_and_has_the_test_that_its_page_names() {
    let page = fs::read_to_string(root().join("docs/errors.md")).unwrap();
    let mut tests = Vec::new();
    sources(&root().join("tests"), &mut tests);
    let tests: Vec<(String, String)> = tests
        .into_iter()
        .map(|path| (path.display().to_string(), fs::read_to_string(&path).unwrap()))
        .collect();
    let sources = all_sources();
    let mut wrong = Vec::new();
    for row in numbered_rows(&page).iter().filter(|row| row.len() == 5) {
        let (module, function) = row[4].split_once("::").unwrap_or((&row[4], ""));
        let written = format!("#[test]\nfn {function}(");
        let found =
            tests.iter().any(|(path, text)| path.contains(module) && text.contains(&written));
        let arises = sources.iter().any(|(_, path, text)| {
            let lines = code_lines(path, text);
            lines.iter().any(|(_, line)| line.contains(&format!("code::{}", row[1])))
        });
        if !found || !arises {
            wrong.push(format!("{}: {} (found: {found}, arises: {arises})", row[0], row[4]));
        }
    }
    assert!(wrong.is_empty(), "docs/errors.md:\n{}", wrong.join("\n"));
}
