//! `docs/settings.md` tells every key, and nothing else.

use super::super::key::SettingKey;

const GUIDE: &str = include_str!("../../../../docs/settings.md");

/// The rows of the table as they have to stand in the guide.
fn rows() -> String {
    let mut rows = String::new();
    for key in SettingKey::all() {
        let default = match &key.default_values()[..] {
            [value] if !value.is_empty() => format!("`{value}`"),
            _ => String::new(),
        };
        let row = format!(
            "| `{}` | {}: {} | {default} | {} |\n",
            key.path(),
            key.kind(),
            key.allowed().replace('|', "\\|"),
            key.doc()
        );
        rows.push_str(&row);
    }
    rows
}

#[test]
fn the_guide_has_each_key_as_the_table_has_it() {
    let rows = rows();
    let told: String = GUIDE
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| format!("{line}\n"))
        .collect();
    assert!(told == rows, "docs/settings.md must have these rows:\n{rows}");
}
