//! The user guide, run as it stands: every command of `docs/guide.md`, one after another, in one
//! folder, and what each prints compared with what the page says.
//!
//! A block that begins with `console` holds commands (lines that begin with `$ `, run by a shell)
//! and below each what it prints. A line `...` there stands for any lines, `[..]` within a line for
//! any text. A command may fail only where its last line is `[exit N]`.

use std::process::Command;

use super::Shop;

const GUIDE: &str = include_str!("../../docs/guide.md");

/// One command of the guide.
struct Step {
    line: usize,
    command: String,
    expected: Vec<String>,
    exit: i32,
}

/// The commands of the page, in order.
fn steps(page: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut inside = false;
    for (number, line) in page.lines().enumerate() {
        if line.starts_with("```") {
            inside = line == "```console";
        } else if !inside {
        } else if let Some(command) = line.strip_prefix("$ ") {
            let (command, expected) = (command.to_owned(), Vec::new());
            steps.push(Step { line: number + 1, command, expected, exit: 0 });
        } else if let Some(step) = steps.last_mut() {
            if let Some(code) = line.strip_prefix("[exit ").and_then(|l| l.strip_suffix(']')) {
                step.exit = code.parse().expect("an exit code");
            } else if step.command.ends_with('\\') {
                step.command.push('\n');
                step.command.push_str(line);
            } else {
                step.expected.push(line.to_owned());
            }
        }
    }
    steps
}

/// Whether `line` is what `pattern` says.
fn line_fits(pattern: &str, line: &str) -> bool {
    let mut parts = pattern.split("[..]");
    let Some(mut rest) = line.strip_prefix(parts.next().unwrap_or("")) else { return false };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else { return rest.is_empty() };
    for part in middle {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

/// Whether `lines` are what `patterns` say.
fn fits(patterns: &[String], lines: &[&str]) -> bool {
    match patterns.split_first() {
        None => lines.is_empty(),
        Some((first, rest)) if first == "..." => {
            (0..=lines.len()).any(|skipped| fits(rest, &lines[skipped..]))
        }
        Some((first, rest)) => match lines.split_first() {
            Some((line, lines)) => line_fits(first, line) && fits(rest, lines),
            None => false,
        },
    }
}

#[test]
fn every_command_of_the_guide_prints_what_the_guide_says() {
    let shop = Shop::new();
    let program = std::path::Path::new(env!("CARGO_BIN_EXE_stillpoint"));
    let folder = program.parent().expect("a program lies in a folder");
    let path = format!("{}:{}", folder.display(), std::env::var("PATH").unwrap_or_default());
    let steps = steps(GUIDE);
    assert!(steps.len() > 20, "the guide has {} commands", steps.len());
    for step in steps {
        let output = Command::new("bash")
            .args(["-c", &format!("exec 2>&1\n{}", step.command)])
            .current_dir(shop.path(""))
            .env("PATH", &path)
            .env("TZ", "Europe/Berlin")
            .output()
            .expect("a shell runs");
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        let lines: Vec<&str> = printed.lines().map(str::trim_end).collect();
        let place = format!("docs/guide.md:{}: $ {}", step.line, step.command);
        assert_eq!(output.status.code(), Some(step.exit), "{place}\n{printed}");
        assert!(
            fits(&step.expected, &lines),
            "{place}\nexpected:\n{}\nprinted:\n{printed}",
            step.expected.join("\n")
        );
    }
}

#[test]
fn a_page_that_says_something_else_is_told() {
    let page =
        "text\n```console\n$ one \\\n  two\na [..] c\n...\nz\n$ three\n[exit 2]\n```\n$ no\n";
    let steps = steps(page);
    assert_eq!(steps.len(), 2);
    assert_eq!(steps[0].command, "one \\\n  two");
    assert_eq!((steps[0].exit, steps[1].exit), (0, 2));
    let expected = &steps[0].expected;
    assert!(fits(expected, &["a b c", "x", "y", "z"]));
    assert!(fits(expected, &["a  c", "z"]));
    assert!(!fits(expected, &["a b c", "x"]));
    assert!(!fits(expected, &["a b d", "z"]));
    assert!(!fits(&steps[1].expected, &["anything"]));
}
