//! JSON values that lose nothing on their way into a store.
//!
//! A value is refused where reading it would change it in silence: an object with one name twice (the
//! later would hide the earlier), a number that no 64-bit integer or float holds exactly to its last
//! digit, nesting deeper than [`DEPTH`]. `1.50`, `1e3` and `0.1` are kept: written back they are the
//! same numbers.

use std::cell::Cell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use stillpoint::{Error, ErrorKind};

/// How deep a value may nest, itself included.
pub(crate) const DEPTH: usize = 127;

/// The most values and names in a text: each takes up to fifty bytes of memory, however short its text.
const VALUES: u64 = 4 << 20;

/// The value that `text` stands for.
///
/// # Errors
/// [`ErrorKind::Invalid`], with what is wrong and what to do.
pub(crate) fn parse(text: &[u8]) -> Result<Value, Error> {
    let left = Cell::new(VALUES);
    let mut parser = serde_json::Deserializer::from_slice(text);
    let parsed = Exact { left: &left }.deserialize(&mut parser);
    let parsed = parsed.and_then(|value| parser.end().map(|()| value));
    let value = parsed.map_err(|cause| refused(&cause))?;
    match numbers(text).find(|number| !is_exact(number)) {
        None => Ok(value),
        Some(number) => {
            let shown: String = number.chars().take(40).collect();
            let message = format!("the number {shown} cannot be kept to its last digit");
            Err(Error::new(ErrorKind::Invalid, message).hint("Write it as text, in quotes."))
        }
    }
}

fn refused(cause: &serde_json::Error) -> Error {
    let said = cause.to_string();
    let refuse = |message: String, hint: &str| Error::new(ErrorKind::Invalid, message).hint(hint);
    if said.starts_with("recursion limit exceeded") {
        let message = format!("the value nests deeper than {DEPTH} levels");
        return refuse(message, "Write the deeper part as text.");
    }
    if let Some(name) = said.strip_prefix(TWICE) {
        let name = name.rsplit_once(" at line ").map_or(name, |parts| parts.0);
        let message = format!("the name {name} stands twice in one object");
        return refuse(message, "Give each field a name of its own.");
    }
    if said.starts_with(TOO_MANY) {
        let message = format!("there are more than {VALUES} values in it");
        return refuse(message, "Cut it into several records.");
    }
    if said.starts_with("number out of range") {
        let message = "a number is too large to be kept".to_owned();
        return refuse(message, "Write it as text, in quotes.");
    }
    Error::new(ErrorKind::Invalid, format!("this is no JSON value: {said}"))
}

/// What the error of a name that stands twice begins with.
const TWICE: &str = "name twice: ";
/// What that of too many values begins with.
const TOO_MANY: &str = "too many values";

/// The tokens of the numbers in `text`, which is valid JSON.
fn numbers(text: &[u8]) -> impl Iterator<Item = &str> {
    let mut at = 0;
    std::iter::from_fn(move || {
        while let Some(byte) = text.get(at) {
            match byte {
                b'"' => at = end_of_string(text, at),
                b'-' | b'0'..=b'9' => {
                    let rest = &text[at..];
                    let of_number = |b: &u8| b.is_ascii_digit() || b"+-.eE".contains(b);
                    let len = rest.iter().position(|b| !of_number(b)).unwrap_or(rest.len());
                    at += len;
                    return std::str::from_utf8(&rest[..len]).ok();
                }
                _ => at += 1,
            }
        }
        None
    })
}

/// The place after the string that begins at `at`.
fn end_of_string(text: &[u8], mut at: usize) -> usize {
    at += 1;
    while let Some(byte) = text.get(at) {
        match byte {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    at
}

/// Whether the number `text` is the same after it was kept as a 64-bit integer or float.
pub(crate) fn is_exact(text: &str) -> bool {
    if text.parse::<i64>().is_ok() || text.parse::<u64>().is_ok() {
        return true;
    }
    // Two shortest spellings may be equally near a float: the one that counts is the one that is written.
    let kept = text.parse::<f64>().ok().and_then(Number::from_f64);
    kept.is_some_and(|kept| Decimal::of(text) == Decimal::of(&kept.to_string()))
}

/// A decimal number, in one spelling for each value: its digits without zeros at either end, and the
/// power of ten of the last one.
#[derive(PartialEq, Eq)]
struct Decimal {
    negative: bool,
    digits: String,
    exponent: i128,
}

impl Decimal {
    fn of(text: &str) -> Option<Decimal> {
        let negative = text.starts_with('-');
        let text = text.trim_start_matches('-');
        let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
        // An exponent beyond that is zero or out of range in any case.
        let exponent: i128 = exponent.trim_start_matches('+').parse::<i64>().ok()?.into();
        let (whole, part) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let digits = format!("{whole}{part}");
        let exponent = exponent - part.len() as i128;
        let short = digits.trim_end_matches('0');
        let exponent = exponent + (digits.len() - short.len()) as i128;
        let digits = short.trim_start_matches('0').to_owned();
        match digits.is_empty() {
            true => Some(Decimal { negative: false, digits, exponent: 0 }),
            false => Some(Decimal { negative, digits, exponent }),
        }
    }
}

/// Reads a JSON value in which no name of an object stands twice, and as many values as are `left`.
#[derive(Clone, Copy)]
struct Exact<'l> {
    left: &'l Cell<u64>,
}

impl Exact<'_> {
    /// Counts one value or name.
    fn count<E: serde::de::Error>(self) -> Result<(), E> {
        let left = self.left.get().checked_sub(1).ok_or_else(|| E::custom(TOO_MANY))?;
        self.left.set(left);
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Exact<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        self.count()?;
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Exact<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(self)? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(name) = entries.next_key::<String>()? {
            if map.contains_key(&name) {
                return Err(A::Error::custom(format!("{TWICE}\"{name}\"")));
            }
            self.count()?;
            let value = entries.next_value_seed(self)?;
            map.insert(name, value);
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn told(text: &str) -> String {
        parse(text.as_bytes()).unwrap_err().message().to_owned()
    }

    #[test]
    fn a_text_of_more_values_than_memory_is_for_is_refused_while_it_is_read() {
        let items = |count: usize| format!("[{}1]", "[],".repeat(count));
        assert!(parse(items(VALUES as usize - 2).as_bytes()).is_ok());
        let error = parse(items(VALUES as usize - 1).as_bytes()).unwrap_err();
        assert!(error.message().contains("more than") && error.advice().is_some(), "{error}");
        assert!(parse(b"[1] 2").is_err(), "one value, and nothing behind it");
    }

    #[test]
    fn a_name_that_stands_twice_is_refused_at_any_depth() {
        assert_eq!(told(r#"{"a":1,"b":2,"a":3}"#), "the name \"a\" stands twice in one object");
        assert_eq!(
            told(r#"[{"x":{"a":1,"\u0061":1}}]"#),
            "the name \"a\" stands twice in one object"
        );
        assert!(parse(br#"{"a":{"a":1},"b":{"a":1}}"#).is_ok());
    }

    #[test]
    fn numbers_are_kept_to_the_last_digit_or_refused() {
        for exact in [
            "0",
            "-0",
            "0.0",
            "1.50",
            "1e3",
            "0.1",
            "1E+2",
            "18446744073709551615",
            "-9223372036854775808",
            "100000000000000000000",
            "1.7976931348623157e308",
            "5e-324",
            "0.30000000000000004",
        ] {
            assert!(parse(exact.as_bytes()).is_ok(), "{exact}");
        }
        for inexact in [
            "0.1234567890123456789",
            "9007199254740993.0",
            "18446744073709551617",
            "-9223372036854775809",
            "12345678901234567890123",
            "1e-400",
            "4e-324",
            "1e400",
            "-1e99999999999999999999",
        ] {
            assert!(parse(inexact.as_bytes()).is_err(), "{inexact}");
            assert!(
                parse(format!(r#"{{"a":["\"1",{inexact}]}}"#).as_bytes()).is_err(),
                "{inexact}"
            );
            assert!(parse(format!(r#"{{"a":"{inexact}\\"}}"#).as_bytes()).is_ok(), "{inexact}");
        }
    }

    #[test]
    fn nesting_is_bounded_and_told_as_such() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(parse(nested(DEPTH).as_bytes()).is_ok());
        assert_eq!(told(&nested(DEPTH + 1)), "the value nests deeper than 127 levels");
        assert!(told(&"[".repeat(1_000_000)).contains("127 levels"));
    }

    proptest! {
        #[test]
        fn what_is_kept_is_written_back_as_the_same_number(
            digits in "-?[1-9][0-9]{0,20}(\\.[0-9]{1,20})?(e-?[0-9]{1,3})?",
        ) {
            if let Ok(value) = parse(digits.as_bytes()) {
                let back = value.to_string();
                prop_assert!(Decimal::of(&back) == Decimal::of(&digits), "{} {}", digits, back);
            }
        }

        #[test]
        fn every_float_and_integer_is_kept(float in any::<f64>(), signed: i64, unsigned: u64) {
            if float.is_finite() {
                let value = json!([float, signed, unsigned]);
                prop_assert_eq!(parse(value.to_string().as_bytes()).unwrap(), value);
            }
        }
    }
}
