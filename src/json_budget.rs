//! JSON that others may have written is measured before it is parsed.
//!
//! A parsed value takes up to fifty times the memory of its text: `[],` is three bytes, and three words
//! and more as a value. A few kilobytes of an archive unpack to megabytes of such text. So the values of
//! a text are counted while it is read, in constant memory, and a text with more of them than its
//! reader can need is refused before anything is built of it. What is refused here for its depth would
//! be refused by the parser; what is malformed is left to the parser.

use serde::de::{DeserializeOwned, Error as _};

/// The deepest nesting that the parser takes.
const DEPTH: u32 = 127;

/// Counts the values in a text that comes in pieces.
#[derive(Debug)]
pub(crate) struct Budget {
    left: u64,
    depth: u32,
    /// Whether the next byte that is no space begins a value or a key, or ends an empty container.
    at_start: bool,
    in_string: bool,
    escaped: bool,
}

/// Why a text is refused before it is parsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Exceeded {
    /// It has more values than its reader can need.
    #[error("it has more values than can be meant")]
    Values,
    /// They are nested deeper than the parser goes.
    #[error("its values nest deeper than {DEPTH} levels")]
    Depth,
}

impl Budget {
    /// Allows `values` values, keys and values of objects each counted.
    pub(crate) fn new(values: u64) -> Budget {
        Budget { left: values, depth: 0, at_start: true, in_string: false, escaped: false }
    }

    /// Counts what is in `piece`, which goes on from the one before.
    pub(crate) fn take(&mut self, piece: &[u8]) -> Result<(), Exceeded> {
        for byte in piece {
            if self.in_string {
                match byte {
                    _ if self.escaped => self.escaped = false,
                    b'\\' => self.escaped = true,
                    b'"' => self.in_string = false,
                    _ => {}
                }
                continue;
            }
            match byte {
                b' ' | b'\t' | b'\n' | b'\r' => continue,
                b']' | b'}' => self.depth = self.depth.saturating_sub(1),
                _ if self.at_start => {
                    self.left = self.left.checked_sub(1).ok_or(Exceeded::Values)?
                }
                _ => {}
            }
            self.at_start = matches!(byte, b'[' | b'{' | b',' | b':');
            self.in_string = *byte == b'"';
            if matches!(byte, b'[' | b'{') {
                self.depth += 1;
            }
            if self.depth > DEPTH {
                return Err(Exceeded::Depth);
            }
        }
        Ok(())
    }
}

/// Parses `text`, which may have at most `values` values.
///
/// # Errors
/// Those of the parser, and one for a text with more.
pub(crate) fn from_slice<T: DeserializeOwned>(
    text: &[u8],
    values: u64,
) -> Result<T, serde_json::Error> {
    Budget::new(values).take(text).map_err(serde_json::Error::custom)?;
    serde_json::from_slice(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    /// Values and keys, counted on the parsed tree.
    fn count(value: &Value) -> u64 {
        match value {
            Value::Array(items) => 1 + items.iter().map(count).sum::<u64>(),
            Value::Object(map) => 1 + map.values().map(|value| 1 + count(value)).sum::<u64>(),
            _ => 1,
        }
    }

    fn spent(text: &[u8], pieces: usize) -> u64 {
        let mut budget = Budget::new(u64::MAX);
        text.chunks(pieces).for_each(|piece| budget.take(piece).expect("it is allowed"));
        u64::MAX - budget.left
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(json!(null)),
            any::<i64>().prop_map(Value::from),
            "[a\"\\\\,:\\[{]{0,5}".prop_map(Value::from)
        ];
        leaf.prop_recursive(4, 40, 5, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                proptest::collection::btree_map("[a\"\\\\,:]{0,4}", inner, 0..5)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn a_text_costs_the_values_in_it_however_it_comes(
            value in value(),
            piece in 1usize..9,
        ) {
            let pretty = serde_json::to_vec_pretty(&value).expect("it is JSON");
            prop_assert_eq!(spent(value.to_string().as_bytes(), piece), count(&value));
            prop_assert_eq!(spent(&pretty, piece), count(&value));
        }
    }

    #[test]
    fn a_text_beyond_its_budget_is_refused_and_one_within_is_parsed() {
        let text = b"[1,2,3,[],[]]";
        assert!(from_slice::<Value>(text, 6).is_ok());
        let error = from_slice::<Value>(text, 5).expect_err("it is one too many");
        assert!(error.to_string().contains("more values"), "{error}");
        let deep = [vec![b'['; 500], vec![b']'; 500]].concat();
        assert!(from_slice::<Value>(&deep, 1 << 20).is_err());
        let long = format!("\"{}\"", "[,".repeat(1000));
        assert_eq!(from_slice::<String>(long.as_bytes(), 1).expect("it is one value").len(), 2000);
    }
}
