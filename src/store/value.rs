//! Values: what is stored under a key.
//!
//! Any type that serde can write and read is a value and is stored *self-describing*: as
//! MessagePack with the names of its fields, so that the console, an export and other languages
//! read it without the Rust type, and so that a field can be added with `#[serde(default)]`. Three
//! types are stored as they are: `[u8]`, `str` and [`Bytes`].
//!
//! MessagePack was chosen against CBOR by measurement: a record of eight fields (123 bytes against
//! 118) is encoded in 56 ns by `rmp-serde` and 125 ns by `ciborium`, and decoded in 237 ns against
//! 916 ns.
//!
//! Not all that serde writes can be read again: an `i128` in an internally tagged enum, a map whose key
//! is also a field beside it (`flatten`), a field that is skipped and has no default, a text that
//! `try_from` refuses. Whether one can depends on the value and not only on its type, so each value is
//! read back when it is put, before anything is committed. That costs what a read costs; bytes and
//! strings, which are most of what is large, are not checked, for there is nothing to check.
//!
//! Two rules of Rust decide what lives beside the blanket implementation. `[u8]` and `str` can,
//! because an unsized type is no `DeserializeOwned`; [`Bytes`] can, because it is ours and
//! implements neither of serde's traits. It must therefore never do so. And `Vec<u8>` falls under
//! the blanket: as a value it is a *sequence of numbers*, up to twice as long; `Bytes` or `[u8]` is
//! what is meant.

use super::bytes::Bytes;
use crate::engine::Value as Stored;
use crate::{Error, ErrorKind, Result};
use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::fmt;
use std::io::ErrorKind::UnexpectedEof;
use std::ops::Deref;
use std::str::FromStr;

/// Kind of the values of a table.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ValueType {
    /// MessagePack with field names: any serde type.
    Typed,
    /// Bytes as they are.
    Bytes,
    /// UTF-8 as it is.
    Str,
}

/// Kinds, their names, and the names under which the catalogue knows their encodings. An encoding
/// never changes under its name; a new version is a new name.
const KINDS: [(ValueType, &str, &str); 3] = [
    (ValueType::Typed, "msgpack", "msgpack@1"),
    (ValueType::Bytes, "bytes", "bytes@1"),
    (ValueType::Str, "str", "str@1"),
];

impl ValueType {
    fn row(self) -> (ValueType, &'static str, &'static str) {
        KINDS[self as usize]
    }

    /// The encoding and its version, as the catalogue names them.
    pub(crate) fn encoding(self) -> &'static str {
        self.row().2
    }

    /// The kind whose encoding the catalogue names so.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] where this version knows no such encoding.
    pub(crate) fn from_encoding(encoding: &str) -> Result<ValueType> {
        KINDS.iter().find(|row| row.2 == encoding).map(|row| row.0).ok_or_else(|| {
            let message = format!("values are encoded as \"{encoding}\", which is not known here");
            Error::new(ErrorKind::Unsupported, message)
                .hint("The table was made by a newer version of this library.")
        })
    }
}

impl fmt::Display for ValueType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.row().1)
    }
}

impl FromStr for ValueType {
    type Err = Error;

    fn from_str(text: &str) -> Result<ValueType> {
        KINDS.iter().find(|row| row.1 == text.trim()).map(|row| row.0).ok_or_else(|| {
            Error::new(ErrorKind::Invalid, format!("\"{text}\" is no kind of value"))
                .hint("Kinds are msgpack, bytes and str.")
        })
    }
}

/// A type whose values can be stored in a table: every serde type, `[u8]`, `str`, [`Bytes`].
pub trait Value {
    /// What reading gives: the decoded value, or a view of the stored bytes where they are the
    /// value.
    type View<'a>;

    /// The encoding, as the catalogue records it.
    const TYPE: ValueType;

    /// The bytes to store, which [`view`](Value::view) can read.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] where serde cannot write the value, or could not read it back.
    fn encode_value(&self) -> Result<Cow<'_, [u8]>>;

    /// The value that `stored` holds.
    ///
    /// # Errors
    /// [`ErrorKind::Unreadable`] where the bytes are no value of this type: it changed in a way that
    /// serde cannot bridge.
    fn view(stored: Guard<'_>) -> Result<Self::View<'_>>;
}

impl<T: Serialize + DeserializeOwned> Value for T {
    type View<'a> = T;
    const TYPE: ValueType = ValueType::Typed;

    fn encode_value(&self) -> Result<Cow<'_, [u8]>> {
        let bytes = encode_typed(self)?;
        decode_typed::<T>(&bytes).map_err(unreadable_when_written)?;
        Ok(Cow::Owned(bytes))
    }

    fn view(stored: Guard<'_>) -> Result<T> {
        decode_typed(&stored)
    }
}

impl Value for [u8] {
    type View<'a> = Guard<'a>;
    const TYPE: ValueType = ValueType::Bytes;

    fn encode_value(&self) -> Result<Cow<'_, [u8]>> {
        Ok(Cow::Borrowed(self))
    }

    fn view(stored: Guard<'_>) -> Result<Guard<'_>> {
        Ok(stored)
    }
}

impl Value for str {
    type View<'a> = StrGuard<'a>;
    const TYPE: ValueType = ValueType::Str;

    fn encode_value(&self) -> Result<Cow<'_, [u8]>> {
        Ok(Cow::Borrowed(self.as_bytes()))
    }

    fn view(stored: Guard<'_>) -> Result<StrGuard<'_>> {
        match std::str::from_utf8(&stored) {
            Ok(_) => Ok(StrGuard(stored)),
            Err(cause) => Err(unreadable().because(cause)),
        }
    }
}

impl Value for Bytes {
    type View<'a> = Bytes;
    const TYPE: ValueType = ValueType::Bytes;

    fn encode_value(&self) -> Result<Cow<'_, [u8]>> {
        Ok(Cow::Borrowed(self))
    }

    fn view(stored: Guard<'_>) -> Result<Bytes> {
        Ok(Bytes::from(stored.to_vec()))
    }
}

/// Writes `value` as MessagePack with field names.
pub(crate) fn encode_typed(value: &(impl Serialize + ?Sized)) -> Result<Vec<u8>> {
    rmp_serde::to_vec_named(value).map_err(|cause| {
        Error::new(ErrorKind::Invalid, "the value cannot be serialised").because(cause)
    })
}

/// Reads MessagePack, all of `bytes`. Nesting is bounded by the decoder (1024 levels), and nothing is
/// reserved for lengths that the bytes only claim.
pub(crate) fn decode_typed<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    use rmp_serde::decode::{Deserializer, Error as Fault};
    let mut decoder = Deserializer::from_read_ref(bytes);
    let value = T::deserialize(&mut decoder).map_err(|cause| unreadable().because(cause))?;
    match IgnoredAny::deserialize(&mut decoder) {
        Err(Fault::InvalidMarkerRead(end)) if end.kind() == UnexpectedEof => Ok(value),
        _ => Err(unreadable()),
    }
}

/// Why a value that could be written is refused all the same.
pub(crate) fn unreadable_when_written(cause: Error) -> Error {
    let message = "the value could be written, and could not be read back";
    let error = Error::new(ErrorKind::Invalid, message).hint(
        "serde writes it in a shape that its own type does not take. Usual causes: i128 in tagged or \
         untagged enums, a flattened map with the name of a field, skipped fields without a default.",
    );
    match cause.causes().next() {
        Some(why) => error.because(std::io::Error::other(why.to_string())),
        None => error,
    }
}

/// A value that is not of the type that it is read as.
pub(crate) fn unreadable() -> Error {
    Error::new(ErrorKind::Unreadable, "a stored value cannot be read as the type of its table")
        .hint("If the type was changed, give new fields #[serde(default)] and old names an alias.")
}

/// The stored bytes of a value: in the map of the data file where they lie there, without a copy.
pub struct Guard<'a>(Stored<'a>);

impl<'a> Guard<'a> {
    pub(crate) fn new(stored: Stored<'a>) -> Guard<'a> {
        Guard(stored)
    }

    /// A guard of its own copy (or share) of the bytes.
    pub(crate) fn detached(stored: Stored<'_>) -> Guard<'a> {
        Guard(match stored {
            Stored::Borrowed(bytes) => Stored::Owned(bytes.into()),
            Stored::Owned(bytes) => Stored::Owned(bytes),
            Stored::Shared(bytes) => Stored::Shared(bytes),
        })
    }
}

impl Deref for Guard<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl AsRef<[u8]> for Guard<'_> {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl fmt::Debug for Guard<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

impl<T: AsRef<[u8]> + ?Sized> PartialEq<T> for Guard<'_> {
    fn eq(&self, other: &T) -> bool {
        **self == *other.as_ref()
    }
}

/// A stored string: [`Guard`] of a table of `str`.
pub struct StrGuard<'a>(Guard<'a>);

impl Deref for StrGuard<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        std::str::from_utf8(&self.0).expect("it was checked when the guard was made")
    }
}

impl fmt::Debug for StrGuard<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

impl fmt::Display for StrGuard<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}

impl<T: AsRef<str> + ?Sized> PartialEq<T> for StrGuard<'_> {
    fn eq(&self, other: &T) -> bool {
        **self == *other.as_ref()
    }
}
