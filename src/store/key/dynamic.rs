//! Keys without their Rust type: as text and as JSON, for the command line, the console and
//! exports.
//!
//! Text is what a person types: `42`, `true`, `London`; bytes in hexadecimal; compound keys as
//! JSON, `["London", 42]`. JSON is the same with its own numbers and strings; a number that JSON
//! cannot hold exactly, or not at all (NaN), is a string.

use super::{AsKey, Key, KeyBuf, KeyReader, KeyType};
use crate::{Error, ErrorKind, Result};
use serde_json::Value as Json;
use std::fmt::Write;
use std::str::FromStr;

impl KeyType {
    /// Encodes the key that a person typed as `text`.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] where the text is no key of this kind.
    pub fn encode_text(&self, text: &str) -> Result<KeyBuf> {
        let json = match self {
            KeyType::Tuple(_) | KeyType::Option(_) => {
                serde_json::from_str(text).map_err(|cause| self.refuse(text).because(cause))?
            }
            _ => Json::String(text.to_owned()),
        };
        self.encode_json(&json)
    }

    /// Encodes the key that `json` stands for.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] where it is no key of this kind.
    pub fn encode_json(&self, json: &Json) -> Result<KeyBuf> {
        let mut buffer = KeyBuf::new();
        self.append_json(json, &mut buffer)?;
        Ok(buffer)
    }

    fn append_json(&self, json: &Json, out: &mut KeyBuf) -> Result<()> {
        match self {
            KeyType::U8 => self.append::<u8>(json, out),
            KeyType::U16 => self.append::<u16>(json, out),
            KeyType::U32 => self.append::<u32>(json, out),
            KeyType::U64 => self.append::<u64>(json, out),
            KeyType::U128 => self.append::<u128>(json, out),
            KeyType::I8 => self.append::<i8>(json, out),
            KeyType::I16 => self.append::<i16>(json, out),
            KeyType::I32 => self.append::<i32>(json, out),
            KeyType::I64 => self.append::<i64>(json, out),
            KeyType::I128 => self.append::<i128>(json, out),
            KeyType::F32 => self.append::<f32>(json, out),
            KeyType::F64 => self.append::<f64>(json, out),
            KeyType::Bool => self.append::<bool>(json, out),
            KeyType::Char => self.append::<char>(json, out),
            KeyType::Str => {
                let text = json.as_str().ok_or_else(|| self.refuse(json))?;
                out.push_variable(text.as_bytes());
                Ok(())
            }
            KeyType::Bytes => {
                out.push_variable(&self.unhex(json)?);
                Ok(())
            }
            KeyType::Array(len) => {
                let bytes = self.unhex(json)?;
                if bytes.len() != *len as usize {
                    return Err(self.refuse(json));
                }
                out.push(&bytes);
                Ok(())
            }
            KeyType::Option(_) if json.is_null() => {
                out.push(&[0]);
                Ok(())
            }
            KeyType::Option(inner) => {
                out.push(&[1]);
                let mut result = Ok(());
                out.compound(|out| result = inner.append_json(json, out));
                result
            }
            KeyType::Tuple(parts) => match json.as_array() {
                Some(values) if values.len() == parts.len() => {
                    let mut pairs = parts.iter().zip(values);
                    let mut result = Ok(());
                    out.compound(|out| result = pairs.try_for_each(|(p, v)| p.append_json(v, out)));
                    result
                }
                _ => Err(self.refuse(json)),
            },
        }
    }

    /// Appends the number, truth value or character that `json` or the text in it stands for.
    fn append<T: FromStr + AsKey<T>>(&self, json: &Json, out: &mut KeyBuf) -> Result<()> {
        let parsed = match json {
            // Another spelling of a number would be another key in the text that it comes from.
            Json::String(text) if !self.is_spelled_so(text) => return Err(self.refuse(json)),
            Json::String(text) => text.parse::<T>(),
            other => other.to_string().parse::<T>(),
        };
        parsed.map_err(|_| self.refuse(json))?.encode_key(out);
        Ok(())
    }

    /// Whether a number of this kind may be written so: `7`, not `007` or `+7`; a float not with more
    /// digits than it has in front of the point, nor as a number beyond all floats.
    fn is_spelled_so(&self, text: &str) -> bool {
        if matches!(self, KeyType::Bool | KeyType::Char) {
            return true;
        }
        let digits = text.strip_prefix('-').unwrap_or(text);
        let is_padded = digits.strip_prefix('0').is_some_and(|rest| {
            rest.starts_with(|c: char| c.is_ascii_digit()) || (rest.is_empty() && text != "0")
        });
        let begins_with_digit = digits.starts_with(|c: char| c.is_ascii_digit());
        match self.is_integer() {
            true => begins_with_digit && !is_padded,
            false if begins_with_digit => {
                let finite = text.parse::<f64>().is_ok_and(f64::is_finite);
                finite && (!is_padded || text == "-0")
            }
            false => matches!(digits, "inf" | "NaN"),
        }
    }

    /// Whether these are integers.
    pub fn is_integer(&self) -> bool {
        use KeyType::{I8, I16, I32, I64, I128, U8, U16, U32, U64, U128};
        matches!(self, U8 | U16 | U32 | U64 | U128 | I8 | I16 | I32 | I64 | I128)
    }

    fn unhex(&self, json: &Json) -> Result<Vec<u8>> {
        unhex(json).ok_or_else(|| self.refuse(json))
    }

    fn refuse(&self, given: impl std::fmt::Display) -> Error {
        Error::new(ErrorKind::Invalid, format!("{given} is no key of type {self}"))
    }

    /// The stored key `bytes` as JSON.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] where the bytes are no key of this kind.
    pub fn decode_json(&self, bytes: &[u8]) -> Result<Json> {
        let mut reader = KeyReader::new(bytes);
        let json = self.take_json(&mut reader)?;
        reader.finish()?;
        Ok(json)
    }

    fn take_json(&self, from: &mut KeyReader<'_>) -> Result<Json> {
        Ok(match self {
            KeyType::U8 => u8::decode_key(from)?.into(),
            KeyType::U16 => u16::decode_key(from)?.into(),
            KeyType::U32 => u32::decode_key(from)?.into(),
            KeyType::U64 => u64::decode_key(from)?.into(),
            KeyType::U128 => big(u128::decode_key(from)?),
            KeyType::I8 => i8::decode_key(from)?.into(),
            KeyType::I16 => i16::decode_key(from)?.into(),
            KeyType::I32 => i32::decode_key(from)?.into(),
            KeyType::I64 => i64::decode_key(from)?.into(),
            KeyType::I128 => big(i128::decode_key(from)?),
            KeyType::F32 => real(f32::decode_key(from)?.into()),
            KeyType::F64 => real(f64::decode_key(from)?),
            KeyType::Bool => bool::decode_key(from)?.into(),
            KeyType::Char => char::decode_key(from)?.to_string().into(),
            KeyType::Str => String::decode_key(from)?.into(),
            KeyType::Bytes => hex(&from.take_variable()?).into(),
            KeyType::Array(len) => hex(from.take(*len as usize)?).into(),
            KeyType::Option(inner) => match bool::decode_key(from)? {
                false => Json::Null,
                true => from.compound(|from| inner.take_json(from))?,
            },
            KeyType::Tuple(parts) => from.compound(|from| {
                parts.iter().map(|part| part.take_json(from)).collect::<Result<Json>>()
            })?,
        })
    }

    /// The stored key `bytes` as [`KeyType::encode_text`] takes it.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] where the bytes are no key of this kind.
    pub fn decode_text(&self, bytes: &[u8]) -> Result<String> {
        Ok(match (self, self.decode_json(bytes)?) {
            (KeyType::Tuple(_) | KeyType::Option(_), json) => json.to_string(),
            (_, Json::String(text)) => text,
            (_, json) => json.to_string(),
        })
    }
}

/// A number of 128 bits: a JSON number where it is small enough to be exact everywhere.
fn big<T: Copy + std::fmt::Display + TryInto<i64>>(number: T) -> Json {
    match number.try_into() {
        Ok(small) => small.into(),
        Err(_) => number.to_string().into(),
    }
}

/// A float: a JSON number, or its name where JSON has none.
fn real(number: f64) -> Json {
    serde_json::Number::from_f64(number)
        .map_or_else(|| Json::String(number.to_string()), Json::Number)
}

/// Bytes in hexadecimal, lower case.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing to a string cannot fail");
        text
    })
}

/// The bytes that a JSON string of hexadecimal digits stands for, with or without `0x` before them.
pub(crate) fn unhex(json: &Json) -> Option<Vec<u8>> {
    let text = json.as_str()?;
    let digits = text.strip_prefix("0x").unwrap_or(text).as_bytes();
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    let (pairs, odd) = digits.as_chunks::<2>();
    let bytes = pairs.iter().map(|&[high, low]| Some((digit(high)? << 4) | digit(low)?));
    if odd.is_empty() { bytes.collect() } else { None }
}
