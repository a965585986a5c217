//! Which columns an export has, found by looking at every record before the first line is written.
//!
//! The columns are all the names that occur, in the order in which they first occur. The key has a
//! column too: the first field that says the key in *every* record (as after an import) is that
//! column; if there is none, the key gets a column of its own before the others. So every record
//! can be read back with its key, and nothing is written that is not in the store.
//!
//! Where a value is no object, all records have two columns, the key's own and `value`, which holds the
//! value whole: `7` is `7` there and `{"value":7}` is `{"value":7}`.

use std::collections::HashMap;

use serde_json::{Map, Value};

use super::as_text;
use crate::cli::exit::{Failure, Outcome};

/// The name of the column of whole values.
const VALUE: &str = "value";
/// The name of the key's own column, where none is asked for.
const KEY: &str = "key";

/// The columns of an export under construction.
#[derive(Debug, Default)]
pub(crate) struct Columns {
    records: u64,
    /// Whether a value is no object.
    plain: bool,
    names: Vec<String>,
    /// For each name: its place in `names`, and in how many records it said the key.
    places: HashMap<String, (usize, u64)>,
}

impl Columns {
    /// Takes note of one record.
    pub(crate) fn see(&mut self, key: &Value, value: &Value) {
        self.records += 1;
        match value {
            Value::Object(fields) => {
                fields.iter().for_each(|(name, field)| self.see_field(name, says(field, key)));
            }
            _ => self.plain = true,
        }
    }

    fn see_field(&mut self, name: &str, says_key: bool) {
        match self.places.get_mut(name) {
            Some((_, times)) => *times += u64::from(says_key),
            None => {
                self.places.insert(name.to_owned(), (self.names.len(), u64::from(says_key)));
                self.names.push(name.to_owned());
            }
        }
    }

    /// The columns, with the key in the one named `asked`, or where it is found.
    pub(crate) fn layout(mut self, asked: Option<&str>) -> Outcome<Layout> {
        if self.plain {
            self.names = vec![VALUE.to_owned()];
            self.places = HashMap::from([(VALUE.to_owned(), (0, u64::MAX))]);
        }
        let is_key = |name: &str| self.places.get(name).is_some_and(|at| at.1 == self.records);
        let found = match asked {
            None => self.names.iter().find(|name| is_key(name)).cloned(),
            Some(name) if is_key(name) => Some(name.to_owned()),
            Some(name) if self.places.contains_key(name) => {
                return Err(Failure::wrong_use(
                    format!("the records have a field \"{name}\" that is not their key"),
                    "Give the column of the key another name with --key.",
                ));
            }
            Some(_) => None,
        };
        let (own_key, keys) = match found {
            // Each of these may be named as the key by whoever imports it.
            Some(_) => {
                let keys = self.names.iter().enumerate().filter(|(_, name)| is_key(name));
                (None, keys.map(|(at, _)| at).collect())
            }
            None => (Some(asked.map_or_else(|| self.free_name(), str::to_owned)), vec![0]),
        };
        Ok(Layout { own_key, keys, plain: self.plain, names: self.names })
    }

    /// `key`, or that with as many `_` before it as make it different from every field.
    fn free_name(&self) -> String {
        let mut name = KEY.to_owned();
        while self.places.contains_key(&name) {
            name.insert(0, '_');
        }
        name
    }
}

fn says(field: &Value, key: &Value) -> bool {
    matches!(field, Value::String(_) | Value::Number(_)) && as_text(field) == as_text(key)
}

/// The columns of an export.
#[derive(Debug, PartialEq)]
pub(crate) struct Layout {
    /// The name of the key's own column, if no field says it.
    own_key: Option<String>,
    /// The columns that say the key.
    keys: Vec<usize>,
    /// Whether the values stand whole in one column.
    plain: bool,
    names: Vec<String>,
}

impl Layout {
    /// The names of all columns.
    pub(crate) fn header(&self) -> impl Iterator<Item = &str> {
        self.own_key.iter().chain(&self.names).map(String::as_str)
    }

    /// The columns that say the key, counted from 0.
    pub(crate) fn keys(&self) -> &[usize] {
        &self.keys
    }

    /// The cells of one record, in the order of the header.
    pub(crate) fn cells(&self, key: &Value, value: &Value) -> Vec<String> {
        let key = self.own_key.iter().map(|_| as_text(key));
        let fields = self.names.iter().map(|name| match value {
            whole if self.plain => as_text(whole),
            value => value.get(name).map(as_text).unwrap_or_default(),
        });
        key.chain(fields).collect()
    }

    /// One record as an object: only the fields that it has.
    pub(crate) fn object(&self, key: &Value, value: Value) -> Value {
        let mut object: Map<String, Value> =
            self.own_key.iter().map(|name| (name.clone(), key.clone())).collect();
        match value {
            Value::Object(fields) if !self.plain => object.extend(fields),
            whole => object.extend([(VALUE.to_owned(), whole)]),
        }
        Value::Object(object)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn layout(records: &[(Value, Value)], asked: Option<&str>) -> Option<Layout> {
        let mut columns = Columns::default();
        records.iter().for_each(|(key, value)| columns.see(key, value));
        columns.layout(asked).ok()
    }

    fn header(records: &[(Value, Value)], asked: Option<&str>) -> Option<Vec<String>> {
        Some(layout(records, asked)?.header().map(str::to_owned).collect())
    }

    #[test]
    fn a_field_that_always_says_the_key_is_its_column() {
        let imported = [
            (json!(1), json!({"name": "a", "id": "1"})),
            (json!(2), json!({"name": "b", "id": "2", "more": true})),
        ];
        assert_eq!(header(&imported, None).unwrap(), ["name", "id", "more"]);
        assert_eq!(header(&imported, Some("id")).unwrap(), ["name", "id", "more"]);
        assert_eq!(header(&imported, Some("nr")).unwrap(), ["nr", "name", "id", "more"]);
        assert_eq!(header(&imported, Some("name")), None);
    }

    #[test]
    fn a_key_that_one_record_does_not_say_gets_a_column_of_its_own() {
        let mixed = [(json!("a"), json!({"id": "a"})), (json!("b"), json!({"x": 1}))];
        assert_eq!(header(&mixed, None).unwrap(), ["key", "id", "x"]);
        let layout = layout(&mixed, None).unwrap();
        assert_eq!(layout.cells(&mixed[1].0, &mixed[1].1), ["b", "", "1"]);
        assert_eq!(layout.object(&json!("b"), json!({"x": 1})), json!({"key": "b", "x": 1}));
    }

    #[test]
    fn the_name_of_the_key_does_not_clash_with_a_field() {
        let clash = [(json!("a"), json!({"key": 5, "_key": 6}))];
        assert_eq!(header(&clash, None).unwrap(), ["__key", "key", "_key"]);
    }

    #[test]
    fn a_value_that_is_no_object_is_one_field() {
        let plain = [(json!("a"), json!("text")), (json!("b"), json!([1]))];
        let layout = layout(&plain, None).unwrap();
        assert_eq!(layout.header().collect::<Vec<_>>(), ["key", "value"]);
        assert_eq!(layout.cells(&plain[1].0, &plain[1].1), ["b", "[1]"]);
        assert_eq!(layout.object(&json!("a"), json!("t")), json!({"key": "a", "value": "t"}));
    }

    #[test]
    fn an_object_with_one_field_differs_from_the_value_in_it() {
        let mixed = [(json!("a"), json!(7)), (json!("b"), json!({"value": 7}))];
        let layout = layout(&mixed, None).unwrap();
        assert_eq!(layout.cells(&mixed[0].0, &mixed[0].1), ["a", "7"]);
        assert_eq!(layout.cells(&mixed[1].0, &mixed[1].1), ["b", "{\"value\":7}"]);
        let objects = mixed.map(|(key, value)| layout.object(&key, value));
        assert_eq!(objects[0], json!({"key": "a", "value": 7}));
        assert_eq!(objects[1], json!({"key": "b", "value": {"value": 7}}));
        assert_eq!(header(&[(json!("a"), json!("a"))], None).unwrap(), ["key", "value"]);
        assert_eq!(header(&[(json!("a"), json!("a"))], Some("value")), None);
    }

    #[test]
    fn a_table_without_records_still_has_a_key() {
        assert_eq!(header(&[], None).unwrap(), ["key"]);
    }
}
