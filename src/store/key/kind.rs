//! What kind of key a table has: how the catalogue, the command line and error messages name it.

use crate::{Error, ErrorKind, Result};
use std::fmt;
use std::str::FromStr;

/// Version of the encodings, behind the kind in the catalogue. An encoding never changes under its
/// name; a new version is a new name.
const VERSION: &str = "@1";

/// Compound keys are nested at most this deep.
const MAX_DEPTH: u32 = 8;

/// Kind of the keys of a table.
///
/// It is written and parsed as Rust writes the type: `u64`, `str`, `bytes`, `[u8; 16]`,
/// `option<i64>`, `(str, u64)`.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "each names the Rust type that it stands for")]
pub enum KeyType {
    U8,
    U16,
    U32,
    U64,
    U128,
    I8,
    I16,
    I32,
    I64,
    I128,
    F32,
    F64,
    Bool,
    Char,
    /// `str` or `String`.
    Str,
    /// `[u8]`, `Vec<u8>` or `Bytes`.
    Bytes,
    /// `[u8; N]`.
    Array(u32),
    Option(Box<KeyType>),
    /// Two to six parts.
    Tuple(Vec<KeyType>),
}

/// Kinds without parts, and their names.
const SIMPLE: [(KeyType, &str); 16] = [
    (KeyType::U8, "u8"),
    (KeyType::U16, "u16"),
    (KeyType::U32, "u32"),
    (KeyType::U64, "u64"),
    (KeyType::U128, "u128"),
    (KeyType::I8, "i8"),
    (KeyType::I16, "i16"),
    (KeyType::I32, "i32"),
    (KeyType::I64, "i64"),
    (KeyType::I128, "i128"),
    (KeyType::F32, "f32"),
    (KeyType::F64, "f64"),
    (KeyType::Bool, "bool"),
    (KeyType::Char, "char"),
    (KeyType::Str, "str"),
    (KeyType::Bytes, "bytes"),
];

impl KeyType {
    /// The encoding and its version, as the catalogue names them: `(str, u64)@1`.
    pub(crate) fn encoding(&self) -> String {
        format!("{self}{VERSION}")
    }

    /// Whether the catalogue names this very encoding so. Every opening of a table asks it, so the
    /// kinds without parts answer without building a string.
    pub(crate) fn is_encoding(&self, encoding: &str) -> bool {
        match (SIMPLE.iter().find(|row| row.0 == *self), encoding.strip_suffix(VERSION)) {
            (Some((_, name)), Some(kind)) => kind == *name,
            _ => encoding == self.encoding(),
        }
    }

    /// The kind whose encoding the catalogue names so.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] where this version knows no such encoding.
    pub(crate) fn from_encoding(encoding: &str) -> Result<KeyType> {
        encoding.strip_suffix(VERSION).and_then(|kind| kind.parse().ok()).ok_or_else(|| {
            let message = format!("keys are encoded as \"{encoding}\", which is not known here");
            Error::new(ErrorKind::Unsupported, message)
                .hint("The table was made by a newer version of this library.")
        })
    }
}

impl fmt::Display for KeyType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KeyType::Array(len) => write!(f, "[u8; {len}]"),
            KeyType::Option(inner) => write!(f, "option<{inner}>"),
            KeyType::Tuple(parts) => {
                for (at, part) in parts.iter().enumerate() {
                    write!(f, "{}{part}", if at == 0 { "(" } else { ", " })?;
                }
                f.write_str(")")
            }
            simple => match SIMPLE.iter().find(|row| row.0 == *simple) {
                Some((_, name)) => f.write_str(name),
                None => Err(fmt::Error),
            },
        }
    }
}

impl FromStr for KeyType {
    type Err = Error;

    /// Parses what `Display` writes; spaces do not matter.
    fn from_str(text: &str) -> Result<KeyType> {
        let compact: String = text.chars().filter(|c| !c.is_whitespace()).collect();
        let mut rest = compact.as_str();
        match parse(&mut rest, 0) {
            Some(kind) if rest.is_empty() => Ok(kind),
            _ => Err(Error::new(ErrorKind::Invalid, format!("\"{text}\" is no kind of key")).hint(
                "Kinds are u8 to u128, i8 to i128, f32, f64, bool, char, str, bytes, \
                       [u8; 16], option<u64>, and tuples of them such as (str, u64).",
            )),
        }
    }
}

fn parse(rest: &mut &str, depth: u32) -> Option<KeyType> {
    if depth > MAX_DEPTH {
        return None;
    }
    if eat(rest, "[u8;") {
        let len = word(rest).parse().ok()?;
        return eat(rest, "]").then_some(KeyType::Array(len));
    }
    if eat(rest, "option<") {
        let inner = parse(rest, depth + 1)?;
        return eat(rest, ">").then(|| KeyType::Option(Box::new(inner)));
    }
    if eat(rest, "(") {
        let mut parts = vec![parse(rest, depth + 1)?];
        while eat(rest, ",") {
            parts.push(parse(rest, depth + 1)?);
        }
        let fits = eat(rest, ")") && (2..=6).contains(&parts.len());
        return fits.then_some(KeyType::Tuple(parts));
    }
    let name = word(rest);
    SIMPLE.into_iter().find(|row| row.1 == name).map(|row| row.0)
}

/// Takes `token` from the front of `rest` if it stands there.
fn eat(rest: &mut &str, token: &str) -> bool {
    let after = rest.strip_prefix(token);
    *rest = after.unwrap_or(rest);
    after.is_some()
}

/// Takes the letters and digits at the front of `rest`.
fn word<'a>(rest: &mut &'a str) -> &'a str {
    let end = rest.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(rest.len());
    let (word, after) = rest.split_at(end);
    *rest = after;
    word
}
