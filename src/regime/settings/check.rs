//! A document against the table of keys: the values that it comes to, and all that is wrong in it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

use super::document::{Document, SETTINGS};
use super::key::{SettingKey, names};
use super::tree::{Element, Fault};
use super::types::Settings;
use super::value::Kind;
use crate::error::{Error, ErrorKind, code};

/// How many attachments a file may list.
pub(super) const MAX_ITEMS: u64 = 10_000;
/// How many wrong values one error tells; `stillpoint settings check` tells them all.
const TOLD: usize = 5;
/// How many characters of a wrong value are told.
const SHOWN: usize = 60;

/// A value that is not allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The path of its key below `Settings`.
    pub key: String,
    /// The line in which its element begins, from 1.
    pub line: u32,
    /// What stands there.
    pub value: String,
    /// What may stand there.
    pub allowed: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Problem { key, line, value, allowed } = self;
        let end = value.char_indices().nth(SHOWN).map_or(value.len(), |(end, _)| end);
        let more = if end < value.len() { "..." } else { "" };
        let shown = value[..end].escape_debug();
        write!(f, "{key} in line {line} is \"{shown}{more}\"; allowed is {allowed}")
    }
}

/// What a document comes to, and what is wrong in it. The settings count only where nothing is.
pub(super) fn read(document: &Document) -> (Settings, Vec<Problem>) {
    let mut settings = Settings::default();
    let mut problems = Vec::new();
    twice(document, &mut problems);
    for key in SettingKey::all() {
        match key.kind {
            Kind::Paths => list(document, key, &mut settings, &mut problems),
            _ => one(document, key, &mut settings, &mut problems),
        }
    }
    problems.sort_by_key(|problem| problem.line);
    (settings, problems)
}

fn one(document: &Document, key: &SettingKey, settings: &mut Settings, wrong: &mut Vec<Problem>) {
    // The name of today comes last, so that it counts where both are there.
    for path in key.also.into_iter().chain([key.path()]) {
        let Some(element) = document.find(&names(path)) else { continue };
        let value = element.value.trim();
        // An empty element says nothing, as one that is not there.
        let fine = element.children.is_empty()
            && (value.is_empty() || (key.field)(settings).take(value, key.kind));
        if !fine {
            wrong.push(problem(path, element, key.allowed()));
        }
    }
}

fn list(document: &Document, key: &SettingKey, settings: &mut Settings, wrong: &mut Vec<Problem>) {
    let path = names(key.path());
    let Some(list) = document.find(&path) else { return };
    // From the back, so that the first of several counts.
    let inside: BTreeMap<&str, &Element> = document.inside(&path).into_iter().rev().collect();
    let element = |name: &str| inside.get(name).copied();
    let counted = element("ItemsCount");
    let count = match counted {
        None => Some(0),
        Some(count) if count.value.trim().is_empty() => Some(0),
        Some(count) => count.value.trim().parse::<u64>().ok().filter(|count| *count <= MAX_ITEMS),
    };
    let Some(count) = count else {
        let allowed = format!("a whole number from 0 to {MAX_ITEMS}");
        let key = format!("{}/ItemsCount", key.path());
        wrong.extend(counted.map(|element| problem(&key, element, allowed)));
        return;
    };
    for number in 1..=count {
        let name = format!("Item{number}");
        let below = format!("{}/{name}", key.path());
        match element(&name) {
            None => {
                let at = counted.unwrap_or(list);
                wrong.push(problem(&below, at, format!("an item for each of ItemsCount {count}")));
                return;
            }
            Some(item) if (key.field)(settings).take(item.value.trim(), key.kind) => {}
            Some(item) => wrong.push(problem(&below, item, key.allowed())),
        }
    }
    let beyond = format!("Item{}", count + 1);
    if let Some(item) = element(&beyond) {
        let allowed = format!("no more items than the {count} of ItemsCount");
        wrong.push(problem(&format!("{}/{beyond}", key.path()), item, allowed));
    }
}

/// Elements that stand twice where one is meant: nobody can know which one counts.
fn twice(document: &Document, wrong: &mut Vec<Problem>) {
    let mut groups: BTreeMap<Vec<&str>, BTreeSet<&str>> = BTreeMap::new();
    for path in SettingKey::all().flat_map(|key| key.also.into_iter().chain([key.path()])) {
        let path = names(path);
        for end in 0..path.len() {
            groups.entry(path[..end].to_vec()).or_default().insert(path[end]);
        }
    }
    for (group, known) in groups {
        let mut first: BTreeMap<&str, &Element> = BTreeMap::new();
        for (name, element) in document.inside(&group) {
            if !known.contains(name) {
                continue;
            }
            if let Some(one) = first.get(name) {
                let allowed = format!("one such element (the first is in line {})", one.line);
                let below: Vec<&str> =
                    group.iter().skip(SETTINGS.len()).copied().chain([name]).collect();
                wrong.push(problem(&below.join("/"), element, allowed));
            } else {
                first.insert(name, element);
            }
        }
    }
}

fn problem(key: &str, element: &Element, allowed: String) -> Problem {
    let value = presentable(element.value.trim());
    Problem { key: key.to_owned(), line: element.line, value, allowed }
}

/// A value as a message may show it: somebody may have taken a private key for a public one.
pub(super) fn presentable(value: &str) -> String {
    match value.to_ascii_uppercase().contains("AGE-SECRET-KEY") {
        true => "a private key".to_owned(),
        false => value.to_owned(),
    }
}

/// The keys below `Settings` that the table does not know, with their lines.
pub(super) fn unknown(document: &Document) -> Vec<(String, u32)> {
    let known = |path: &str| {
        SettingKey::all().any(|key| {
            let item = path.strip_prefix(key.path()).filter(|_| key.is_list());
            let item = item.and_then(|rest| rest.strip_prefix('/'));
            let number = item.and_then(|item| item.strip_prefix("Item"));
            let listed = item == Some("ItemsCount")
                || number.is_some_and(|number| number.parse::<u64>().is_ok());
            // An empty group is not unknown: it says nothing.
            let group = key.path().strip_prefix(path).is_some_and(|rest| rest.starts_with('/'));
            key.path() == path || key.also == Some(path) || listed || group
        })
    };
    document.leaves(&SETTINGS).into_iter().filter(|(path, _)| !known(path)).collect()
}

/// The error for values that are not allowed.
pub(super) fn refuse(path: &Path, problems: &[Problem]) -> Error {
    let told: Vec<String> = problems.iter().take(TOLD).map(Problem::to_string).collect();
    let more = problems.len().saturating_sub(TOLD);
    let more = if more > 0 { format!("; and {more} more") } else { String::new() };
    let error = wrong(path, format!("the settings are wrong: {}{more}", told.join("; ")));
    error.hint(
        "`stillpoint settings DIR set KEY VALUE` sets a value; docs/settings.md has all keys.",
    )
}

/// The error for a text that cannot be read at all.
pub(super) fn unreadable(path: &Path, fault: &Fault) -> Error {
    wrong(path, format!("the settings cannot be read: line {}: {}", fault.line, fault.why))
}

/// An error of the settings file at `path`.
pub(super) fn wrong(path: &Path, message: String) -> Error {
    Error::new(ErrorKind::Invalid, message).with_code(code::SETTINGS).at(path)
}
