//! Values without their Rust type: as JSON, for the command line, the console and exports.
//!
//! What JSON cannot say is said so: bytes are a string of hexadecimal digits, NaN and the
//! infinities are their names, keys of maps that are no strings become strings. Writing JSON into a
//! `msgpack` table keeps numbers as numbers, so a type with `u64` or `f64` fields reads them back.

use super::key::hex;
use super::value::{ValueType, decode_typed, encode_typed, unreadable_when_written};
use crate::{Error, ErrorKind, Result};
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value as Json};
use std::fmt;

impl ValueType {
    /// The stored value `bytes` as JSON.
    ///
    /// # Errors
    /// [`ErrorKind::Unreadable`] where the bytes are no value of this kind.
    pub fn decode_json(&self, bytes: &[u8]) -> Result<Json> {
        match self {
            ValueType::Typed => decode_typed::<Loose>(bytes).map(|loose| loose.0),
            ValueType::Bytes => Ok(hex(bytes).into()),
            ValueType::Str => std::str::from_utf8(bytes).map(Json::from).map_err(|cause| {
                Error::new(ErrorKind::Unreadable, "a stored string is not UTF-8").because(cause)
            }),
        }
    }

    /// The bytes to store for `json`.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] where it is no value of this kind: a `str` table takes strings, a
    /// `bytes` table strings of hexadecimal digits.
    pub fn encode_json(&self, json: &Json) -> Result<Vec<u8>> {
        match (self, json) {
            (ValueType::Typed, json) => {
                let bytes = encode_typed(json)?;
                // Only nesting can keep JSON from being read back, and a level takes a byte.
                if bytes.len() > NESTED {
                    self.decode_json(&bytes).map_err(unreadable_when_written)?;
                }
                Ok(bytes)
            }
            (ValueType::Str, Json::String(text)) => Ok(text.clone().into_bytes()),
            (ValueType::Bytes, json) => super::key::unhex(json)
                .ok_or_else(|| refuse(json, "a string of hexadecimal digits is needed")),
            (ValueType::Str, json) => Err(refuse(json, "a string is needed")),
        }
    }
}

/// What is shorter is not nested more deeply than can be read.
const NESTED: usize = 1000;

fn refuse(json: &Json, needed: &str) -> Error {
    Error::new(ErrorKind::Invalid, format!("{json} is no value of this table: {needed}"))
}

/// Anything that MessagePack can hold, as JSON.
struct Loose(Json);

impl<'de> Deserialize<'de> for Loose {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Loose, D::Error> {
        deserializer.deserialize_any(LooseVisitor).map(Loose)
    }
}

struct LooseVisitor;

impl<'de> Visitor<'de> for LooseVisitor {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_bool<E>(self, value: bool) -> std::result::Result<Json, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> std::result::Result<Json, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> std::result::Result<Json, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> std::result::Result<Json, E> {
        Ok(Number::from_f64(value).map_or_else(|| value.to_string().into(), Json::Number))
    }

    fn visit_str<E>(self, value: &str) -> std::result::Result<Json, E> {
        Ok(value.into())
    }

    fn visit_bytes<E>(self, value: &[u8]) -> std::result::Result<Json, E> {
        Ok(hex(value).into())
    }

    fn visit_unit<E>(self) -> std::result::Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_none<E>(self) -> std::result::Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, inner: D) -> std::result::Result<Json, D::Error> {
        Loose::deserialize(inner).map(|loose| loose.0)
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(
        self,
        inner: D,
    ) -> std::result::Result<Json, D::Error> {
        Loose::deserialize(inner).map(|loose| loose.0)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> std::result::Result<Json, A::Error> {
        let mut list = Vec::new();
        while let Some(Loose(item)) = items.next_element()? {
            list.push(item);
        }
        Ok(Json::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> std::result::Result<Json, A::Error> {
        let mut map = Map::new();
        while let Some((Loose(key), Loose(value))) = entries.next_entry()? {
            let key = match key {
                Json::String(text) => text,
                other => other.to_string(),
            };
            map.insert(key, value);
        }
        Ok(Json::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn nesting_and_claimed_lengths_are_bounded() {
        // Without optimisation a level takes more of the stack than the threads of tests have for it.
        let roomy = std::thread::Builder::new().stack_size(256 << 20);
        roomy.spawn(refuse_all).unwrap().join().unwrap();
    }

    fn refuse_all() {
        let arrays = vec![0x91; 1 << 20];
        let maps = [0x81, 0xa1, b'k'].repeat(100_000);
        let long_text = [0xdb, 0xff, 0xff, 0xff, 0xff, b'x'];
        let long_array = [0xdd, 0xff, 0xff, 0xff, 0xff, 1];
        let left_over = [1, 2];
        let inputs: [&[u8]; 6] = [&arrays, &maps, &long_text, &long_array, &left_over, &[]];
        for bytes in inputs {
            let error = ValueType::Typed.decode_json(bytes).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unreadable);
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_shown_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            for kind in [ValueType::Typed, ValueType::Bytes, ValueType::Str] {
                if let Err(error) = kind.decode_json(&bytes) {
                    prop_assert_eq!(error.kind(), ErrorKind::Unreadable);
                }
            }
        }

        #[test]
        fn json_comes_back_as_it_was(text in ".*", number: i64, flag: bool) {
            let json = serde_json::json!({ "text": text, "list": [number, flag, null, 0.5] });
            let bytes = ValueType::Typed.encode_json(&json).unwrap();
            prop_assert_eq!(ValueType::Typed.decode_json(&bytes).unwrap(), json);
        }
    }
}
