//! Text from outside, made safe for a terminal: names, paths, messages, cells.
//!
//! A terminal obeys control characters, and shows text in another order after some marks of direction.
//! Both are printed as JSON escapes them (`\\u001b`), so they can be seen, and JSON that is printed for
//! a person still is JSON. What a program reads is never changed here.

use std::borrow::Cow;
use std::path::Path;

/// `text` on one line.
pub(crate) fn line(text: &str) -> Cow<'_, str> {
    escaped(text, |_| false)
}

/// `text` with its line feeds, which are ours.
pub(crate) fn lines(text: &str) -> Cow<'_, str> {
    escaped(text, |c| c == '\n')
}

/// A path as a person reads it, on one line.
pub(crate) fn path(path: &Path) -> String {
    line(&path.display().to_string()).into_owned()
}

fn escaped(text: &str, stays: impl Fn(char) -> bool) -> Cow<'_, str> {
    let obeyed = |c: char| is_obeyed(c) && !stays(c);
    if !text.contains(obeyed) {
        return Cow::Borrowed(text);
    }
    let mut plain = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            c if !obeyed(c) => plain.push(c),
            '\n' => plain.push_str("\\n"),
            '\r' => plain.push_str("\\r"),
            '\t' => plain.push_str("\\t"),
            c => plain.push_str(&format!("\\u{:04x}", u32::from(c))),
        }
    }
    Cow::Owned(plain)
}

/// Control characters, ends of lines, and marks that change the direction of what follows.
fn is_obeyed(c: char) -> bool {
    let marks = ['\u{200e}'..='\u{200f}', '\u{2028}'..='\u{202e}', '\u{2066}'..='\u{2069}'];
    c.is_control() || marks.iter().any(|range| range.contains(&c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_shown_and_not_obeyed() {
        let text = "a\u{1b}[31m\u{9b}1m\u{7f}\u{202e}b\r\n\tc";
        assert_eq!(line(text), "a\\u001b[31m\\u009b1m\\u007f\\u202eb\\r\\n\\tc");
        assert_eq!(lines("a\nb\u{7}"), "a\nb\\u0007");
        assert_eq!(line("Zürich 東京 🙂"), "Zürich 東京 🙂");
    }

    #[test]
    fn escaped_json_still_means_the_same() {
        let value = serde_json::json!({"a\u{9b}": "\u{1b}[0m\u{85}\u{2028}\n"});
        let back: serde_json::Value = serde_json::from_str(&line(&value.to_string())).unwrap();
        assert_eq!(back, value);
    }
}
