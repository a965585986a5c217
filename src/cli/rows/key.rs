//! The key column of a file of rows, and the type that its table gets.
//!
//! The rule: **if every key of the file is an integer, the table's keys are integers, else text.**
//! An integer of a CSV file is a cell that is written exactly as its number would be (`42`, `-7`;
//! not `007`, `+1` or ` 1`), so that no key changes on its way in and out. In JSON a number is an
//! integer and `"42"` is text. Integers that fit are signed (`i64`); a column that needs more is
//! unsigned; integers that fit neither together are refused, since text would sort them otherwise.
//! `--keys` says the type where the rule is not what is wanted.

use clap::ValueEnum;
use serde_json::{Map, Value};
use stillpoint::{Error, ErrorKind, KeyBuf, KeyType};

use super::{Format, Row};
use crate::cli::exit::{Failure, Outcome};

/// The type of a table's keys, as an import chooses it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeyKind {
    Signed,
    Unsigned,
    Text,
}

/// The type that is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum AskedKeys {
    /// Text, whatever it looks like.
    Text,
    /// Integers, also where JSON has them as text.
    Integer,
}

/// The key of one row.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum KeyCell {
    /// An integer as it is written, and its value, at most that of 128 bits.
    Integer(String, i128),
    Text(String),
    /// A JSON value that is a key of some tables, but chooses no type.
    Other(Value),
}

impl KeyCell {
    /// The encoded key of a table with keys of type `keys`.
    pub(crate) fn encode(&self, keys: &KeyType) -> stillpoint::Result<KeyBuf> {
        match self {
            KeyCell::Integer(text, _) | KeyCell::Text(text) => keys.encode_text(text),
            KeyCell::Other(value) => keys.encode_json(value),
        }
    }

    /// The same key, as the type that is `asked` for has it.
    pub(crate) fn asked(self, asked: Option<AskedKeys>) -> KeyCell {
        match (self, asked) {
            (KeyCell::Integer(text, _), Some(AskedKeys::Text)) => KeyCell::Text(text),
            (KeyCell::Text(text), Some(AskedKeys::Integer)) => cell_of_text(&text),
            (cell, _) => cell,
        }
    }
}

/// The key of `row`, which is in its field `column`.
pub(crate) fn key_cell(row: &Row, column: &str, format: Format) -> Outcome<KeyCell> {
    match (row.fields.get(column), format) {
        (Some(Value::String(text)), Format::Csv) if text.is_empty() => {
            if row.quoted_empty.iter().any(|name| name == column) {
                return Ok(KeyCell::Text(String::new()));
            }
            let hint = format!("Every row needs a \"{column}\"; \"\" in quotes is an empty key.");
            Err(told(row.line, "the key is empty", hint))
        }
        (Some(Value::String(text)), Format::Csv) => Ok(cell_of_text(text)),
        (Some(Value::String(text)), Format::Jsonl) => Ok(KeyCell::Text(text.clone())),
        (Some(Value::Number(number)), _) if !number.is_f64() => {
            Ok(cell_of_text(&number.to_string()))
        }
        (Some(other), _) => Ok(KeyCell::Other(other.clone())),
        (None, _) => Err(told(
            row.line,
            &format!("there is no column \"{column}\""),
            format!("The columns are: {}.", names(&row.fields)),
        )),
    }
}

fn told(line: u64, what: &str, hint: String) -> Failure {
    Error::new(ErrorKind::Invalid, format!("line {line}: {what}")).hint(hint).into()
}

fn cell_of_text(text: &str) -> KeyCell {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let is_own_spelling = digits.bytes().all(|byte| byte.is_ascii_digit())
        && (digits.bytes().next().is_some_and(|first| first != b'0') || text == "0");
    let beyond = if text.starts_with('-') { i128::MIN } else { i128::MAX };
    match is_own_spelling {
        true => KeyCell::Integer(text.to_owned(), text.parse().unwrap_or(beyond)),
        false => KeyCell::Text(text.to_owned()),
    }
}

fn names(fields: &Map<String, Value>) -> String {
    fields.keys().map(String::as_str).collect::<Vec<_>>().join(", ")
}

/// Looks at every key of a file and tells the type that fits all.
#[derive(Clone, Debug, Default)]
pub(crate) struct KeyScout {
    asked: Option<AskedKeys>,
    has_text: bool,
    lowest: Option<Seen>,
    highest: Option<Seen>,
}

/// An integer key and its line.
#[derive(Clone, Debug)]
struct Seen {
    number: i128,
    text: String,
    line: u64,
}

impl KeyScout {
    /// A scout for a table whose keys are to be as `asked`.
    pub(crate) fn new(asked: Option<AskedKeys>) -> KeyScout {
        KeyScout { asked, ..KeyScout::default() }
    }

    /// Takes note of the key in `line`, which must be one that can choose a type.
    pub(crate) fn see(&mut self, key: &KeyCell, line: u64) -> Outcome {
        match (key, self.asked) {
            (KeyCell::Other(_), _) => {
                let hint = "Choose another column with --key.".to_owned();
                return Err(told(line, "the key is neither text nor an integer", hint));
            }
            (KeyCell::Text(text), Some(AskedKeys::Integer)) => {
                let what = format!("the key \"{text}\" is no integer");
                return Err(told(line, &what, "Leave out --keys, or correct the line.".to_owned()));
            }
            (KeyCell::Text(_), _) => self.has_text = true,
            (KeyCell::Integer(text, number), _) => {
                let seen = || Some(Seen { number: *number, text: text.clone(), line });
                if self.lowest.as_ref().is_none_or(|lowest| *number < lowest.number) {
                    self.lowest = seen();
                }
                if self.highest.as_ref().is_none_or(|highest| *number > highest.number) {
                    self.highest = seen();
                }
            }
        }
        Ok(())
    }

    /// The type for a table of these keys.
    pub(crate) fn kind(&self) -> Outcome<KeyKind> {
        let (lowest, highest) = match (&self.lowest, &self.highest) {
            _ if self.has_text || self.asked == Some(AskedKeys::Text) => return Ok(KeyKind::Text),
            (Some(lowest), Some(highest)) => (lowest, highest),
            _ => return Ok(KeyKind::Signed),
        };
        let both = [lowest.number, highest.number];
        if both.iter().all(|number| i64::try_from(*number).is_ok()) {
            return Ok(KeyKind::Signed);
        }
        if both.iter().all(|number| u64::try_from(*number).is_ok()) {
            return Ok(KeyKind::Unsigned);
        }
        let shown = |seen: &Seen| {
            let text: String = seen.text.chars().take(40).collect();
            format!("{text} (line {})", seen.line)
        };
        let what = match lowest.line == highest.line {
            true => format!("the key {} fits no integer type of 64 bits", shown(lowest)),
            false => format!(
                "the keys {} and {} fit no integer type of 64 bits together",
                shown(lowest),
                shown(highest)
            ),
        };
        let hint = "Correct the lines, or import with --keys text: such keys sort as text.";
        Err(Failure::wrong_use(what, hint))
    }
}

/// A value as text in a cell: text as it is, nothing as nothing, all else as JSON.
pub(crate) fn as_text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn cell(value: Value, format: Format) -> Result<KeyCell, String> {
        let fields = json!({ "id": value }).as_object().unwrap().clone();
        key_cell(&Row { fields, ..Row::new(7) }, "id", format).map_err(message)
    }

    fn message(failure: Failure) -> String {
        match failure {
            Failure::Error(error) => error.message().to_owned(),
            other => panic!("{other:?}"),
        }
    }

    fn kind(cells: &[&str], asked: Option<AskedKeys>) -> Result<KeyKind, String> {
        let mut scout = KeyScout::new(asked);
        for (line, text) in (2..).zip(cells) {
            scout.see(&cell_of_text(text).asked(asked), line).map_err(message)?;
        }
        scout.kind().map_err(message)
    }

    fn integer(number: i128) -> KeyCell {
        KeyCell::Integer(number.to_string(), number)
    }

    #[test]
    fn only_an_integer_written_as_itself_is_one() {
        for number in [0, 42, -7, i128::MIN] {
            assert_eq!(cell_of_text(&number.to_string()), integer(number));
        }
        for text in ["007", "+1", " 1", "1 ", "-0", "-", "", "-01", "1.0", "1e3", "x", "٣"] {
            assert_eq!(cell_of_text(text), KeyCell::Text(text.to_owned()));
        }
    }

    #[test]
    fn all_keys_decide_the_type_together() {
        let free = |cells: &[&str]| kind(cells, None);
        assert_eq!(free(&["1", "-2", "9223372036854775807"]), Ok(KeyKind::Signed));
        assert_eq!(free(&["1", "18446744073709551615"]), Ok(KeyKind::Unsigned));
        assert_eq!(free(&["1", "007"]), Ok(KeyKind::Text));
        assert_eq!(free(&["-1", "18446744073709551615", "x"]), Ok(KeyKind::Text));
        assert_eq!(free(&[]), Ok(KeyKind::Signed));
    }

    #[test]
    fn integers_that_fit_no_type_together_are_told_with_their_lines() {
        let long = "9".repeat(60);
        for (cells, lines) in [
            (["5", "-1", "9223372036854775808"], ["-1 (line 3)", "9223372036854775808 (line 4)"]),
            (["18446744073709551616", "1", "2"], ["1 (line 3)", "18446744073709551616 (line 2)"]),
            (["-9223372036854775809", "1", "2"], ["-9223372036854775809 (line 2)", "2 (line 4)"]),
            (["0", &long, "2"], ["0 (line 2)", "(line 3)"]),
        ] {
            let told = kind(&cells, None).unwrap_err();
            assert!(lines.iter().all(|line| told.contains(line)), "{told}");
            assert_eq!(kind(&cells, Some(AskedKeys::Text)), Ok(KeyKind::Text));
        }
        assert!(kind(&["18446744073709551616"], None).unwrap_err().contains("(line 2)"));
    }

    #[test]
    fn the_type_may_be_asked_for() {
        assert_eq!(kind(&["1", "2"], Some(AskedKeys::Text)), Ok(KeyKind::Text));
        let integer = Some(AskedKeys::Integer);
        assert_eq!(kind(&["1", "2"], integer), Ok(KeyKind::Signed));
        assert_eq!(kind(&["1", "x"], integer).unwrap_err(), "line 3: the key \"x\" is no integer");
        let text = KeyCell::Text("42".to_owned());
        assert_eq!(text.asked(integer), super::tests::integer(42));
    }

    #[test]
    fn json_text_is_text_and_a_json_number_an_integer() {
        let text = |text: &str| Ok(KeyCell::Text(text.to_owned()));
        assert_eq!(cell(json!("42"), Format::Jsonl), text("42"));
        assert_eq!(cell(json!(42), Format::Jsonl), Ok(integer(42)));
        assert_eq!(cell(json!(u64::MAX), Format::Jsonl), Ok(integer(u64::MAX.into())));
        assert_eq!(cell(json!(""), Format::Jsonl), text(""));
        for other in [json!(1.5), json!(null), json!([1]), json!(true)] {
            let cell = cell(other, Format::Jsonl).unwrap();
            let told = message(KeyScout::new(None).see(&cell, 7).unwrap_err());
            assert_eq!(told, "line 7: the key is neither text nor an integer");
        }
    }

    #[test]
    fn a_bare_empty_cell_is_no_key_and_one_in_quotes_is() {
        assert_eq!(cell(json!(""), Format::Csv).unwrap_err(), "line 7: the key is empty");
        let fields = json!({ "id": "" }).as_object().unwrap().clone();
        let row = Row { line: 2, fields, quoted_empty: vec!["id".to_owned()] };
        assert_eq!(key_cell(&row, "id", Format::Csv).ok(), Some(KeyCell::Text(String::new())));
        assert!(key_cell(&Row::new(2), "id", Format::Csv).is_err());
    }

    #[test]
    fn cells_show_text_plainly_and_the_rest_as_json() {
        assert_eq!(as_text(&json!("a\"b")), "a\"b");
        assert_eq!(as_text(&json!(null)), "");
        assert_eq!(as_text(&json!(1.50)), "1.5");
        assert_eq!(as_text(&json!([1, "x"])), "[1,\"x\"]");
    }
}
