//! The key column of a file of rows, and the type that its table gets.
//!
//! The rule: **if every key of the file is an integer, the table's keys are integers, else text.**
//! An integer of a CSV file is a cell that is written exactly as its number would be (`42`, `-7`;
//! not `007`, `+1` or ` 1`), so that no key changes on its way in and out. In JSON a number is an
//! integer and `"42"` is text. Integers that fit are signed (`i64`); a column that needs more is
//! unsigned.

use serde_json::{Map, Value};
use stillpoint::{Error, ErrorKind};

use super::{Format, Row};
use crate::cli::exit::{Failure, Outcome};

/// The type of a table's keys, as an import chooses it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeyKind {
    Signed,
    Unsigned,
    Text,
}

/// The key of one row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum KeyCell {
    Integer(i128),
    Text(String),
}

impl KeyCell {
    /// The key as it stands in the file.
    pub(crate) fn into_text(self) -> String {
        match self {
            KeyCell::Integer(number) => number.to_string(),
            KeyCell::Text(text) => text,
        }
    }
}

/// The key of `row`, which is in its field `column`.
pub(crate) fn key_cell(row: &Row, column: &str, format: Format) -> Outcome<KeyCell> {
    let told = |what: &str, hint: String| {
        let message = format!("line {}: {what}", row.line);
        Failure::from(Error::new(ErrorKind::Invalid, message).hint(hint))
    };
    match (row.fields.get(column), format) {
        (Some(Value::String(text)), _) if text.is_empty() => {
            Err(told("the key is empty", format!("Every row needs a \"{column}\".")))
        }
        (Some(Value::String(text)), Format::Csv) => Ok(cell_of_text(text)),
        (Some(Value::String(text)), Format::Jsonl) => Ok(KeyCell::Text(text.clone())),
        (Some(Value::Number(number)), _) if !number.is_f64() => match number.as_i128() {
            Some(number) => Ok(KeyCell::Integer(number)),
            None => Err(told("the key is too large", "Write it as text.".to_owned())),
        },
        (Some(_), _) => Err(told(
            &format!("the key \"{column}\" is neither text nor an integer"),
            "Choose another column with --key.".to_owned(),
        )),
        (None, _) => Err(told(
            &format!("there is no column \"{column}\""),
            format!("The columns are: {}.", names(&row.fields)),
        )),
    }
}

fn cell_of_text(text: &str) -> KeyCell {
    match text.parse::<i128>() {
        Ok(number) if number.to_string() == text => KeyCell::Integer(number),
        _ => KeyCell::Text(text.to_owned()),
    }
}

fn names(fields: &Map<String, Value>) -> String {
    fields.keys().map(String::as_str).collect::<Vec<_>>().join(", ")
}

/// Looks at every key of a file and tells the type that fits all.
#[derive(Clone, Debug)]
pub(crate) struct KeyScout {
    integers: bool,
    lowest: i128,
    highest: i128,
}

impl KeyScout {
    pub(crate) fn new() -> KeyScout {
        KeyScout { integers: true, lowest: 0, highest: 0 }
    }

    /// Takes note of one key.
    pub(crate) fn see(&mut self, key: &KeyCell) {
        match key {
            KeyCell::Integer(number) => {
                self.lowest = self.lowest.min(*number);
                self.highest = self.highest.max(*number);
            }
            KeyCell::Text(_) => self.integers = false,
        }
    }

    /// The type for a table of these keys.
    pub(crate) fn kind(&self) -> KeyKind {
        let signed = i128::from(i64::MIN)..=i128::from(i64::MAX);
        let unsigned = 0..=i128::from(u64::MAX);
        match self.integers {
            true if signed.contains(&self.lowest) && signed.contains(&self.highest) => {
                KeyKind::Signed
            }
            true if unsigned.contains(&self.lowest) && unsigned.contains(&self.highest) => {
                KeyKind::Unsigned
            }
            _ => KeyKind::Text,
        }
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
        key_cell(&Row { line: 7, fields }, "id", format).map_err(|failure| match failure {
            Failure::Error(error) => error.message().to_owned(),
            Failure::ReaderGone => unreachable!("nothing is written"),
        })
    }

    fn kind(cells: &[&str]) -> KeyKind {
        let mut scout = KeyScout::new();
        cells.iter().for_each(|text| scout.see(&cell_of_text(text)));
        scout.kind()
    }

    #[test]
    fn only_an_integer_written_as_itself_is_one() {
        assert_eq!(cell_of_text("42"), KeyCell::Integer(42));
        assert_eq!(cell_of_text("-7"), KeyCell::Integer(-7));
        for text in ["007", "+1", " 1", "1 ", "-0", "1.0", "1e3", "x", "٣"] {
            assert_eq!(cell_of_text(text), KeyCell::Text(text.to_owned()));
        }
    }

    #[test]
    fn all_keys_decide_the_type_together() {
        assert_eq!(kind(&["1", "-2", "9223372036854775807"]), KeyKind::Signed);
        assert_eq!(kind(&["1", "18446744073709551615"]), KeyKind::Unsigned);
        assert_eq!(kind(&["-1", "18446744073709551615"]), KeyKind::Text);
        assert_eq!(kind(&["18446744073709551616"]), KeyKind::Text);
        assert_eq!(kind(&["1", "007"]), KeyKind::Text);
        assert_eq!(kind(&[]), KeyKind::Signed);
    }

    #[test]
    fn json_text_is_text_and_a_json_number_an_integer() {
        assert_eq!(cell(json!("42"), Format::Jsonl), Ok(KeyCell::Text("42".to_owned())));
        assert_eq!(cell(json!(42), Format::Jsonl), Ok(KeyCell::Integer(42)));
        assert_eq!(cell(json!(u64::MAX), Format::Jsonl), Ok(KeyCell::Integer(u64::MAX.into())));
    }

    #[test]
    fn a_row_without_a_usable_key_is_told_with_its_line() {
        for (value, told) in [
            (json!(""), "line 7: the key is empty"),
            (json!(1.5), "line 7: the key \"id\" is neither text nor an integer"),
            (json!(null), "line 7: the key \"id\" is neither text nor an integer"),
        ] {
            assert_eq!(cell(value, Format::Jsonl).unwrap_err(), told);
        }
        let row = Row { line: 2, fields: Map::new() };
        assert!(key_cell(&row, "id", Format::Csv).is_err());
    }

    #[test]
    fn cells_show_text_plainly_and_the_rest_as_json() {
        assert_eq!(as_text(&json!("a\"b")), "a\"b");
        assert_eq!(as_text(&json!(null)), "");
        assert_eq!(as_text(&json!(1.50)), "1.5");
        assert_eq!(as_text(&json!([1, "x"])), "[1,\"x\"]");
    }
}
