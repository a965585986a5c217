//! Keys: typed values whose encoded bytes sort as the values do.
//!
//! Invariants: for any two keys of one type, comparing their encodings byte by byte gives the same
//! answer as comparing the keys ([`Ord`], and [`f64::total_cmp`] for floats); every key decodes to
//! what was encoded; no encoding of a part inside a tuple is a prefix of another, so that tuples
//! sort by their parts. The encodings are part of the file format: their kind and version stand in
//! the catalogue as a [`KeyType`] and never change under a name.
//!
//! | Type | Bytes |
//! |---|---|
//! | `u8` to `u128` | big-endian |
//! | `i8` to `i128` | big-endian, sign bit flipped |
//! | `bool` | 0 or 1 |
//! | `char` | its code point, as `u32` |
//! | `f32`, `f64` | big-endian, sign bit flipped; all bits where negative |
//! | `str`, `String` | UTF-8 as it is |
//! | `[u8]`, `Vec<u8>`, [`Bytes`](crate::Bytes) | as they are |
//! | `[u8; N]` | as they are |
//! | `Option` | 0, or 1 and the key |
//! | tuples up to 6 | the parts one after another |
//!
//! Strings and bytes inside a tuple or option have `00 FF` for each zero, and end with `00 00`.
//! Floats sort by IEEE 754's total order: `-0.0 < 0.0`, and NaNs are keys like others, at either
//! end.
//!
//! What it does not do: `usize` and `isize` are no keys, because their width is the machine's.

mod buffer;
mod dynamic;
mod kind;
mod number;
mod text;
mod tuple;

#[cfg(test)]
mod tests;

pub(crate) use dynamic::{hex, unhex};

pub use buffer::{KeyBuf, KeyReader};
pub use kind::KeyType;

use crate::{Error, ErrorKind, Result};

/// A type whose values can be keys of a table.
///
/// Types of the application's own become keys by delegating to one that is:
///
/// ```
/// use stillpoint::{AsKey, Key, KeyBuf, KeyReader, KeyType, Result};
///
/// struct ItemId(u64);
///
/// impl AsKey<ItemId> for ItemId {
///     fn encode_key(&self, out: &mut KeyBuf) {
///         self.0.encode_key(out)
///     }
/// }
///
/// impl Key for ItemId {
///     type Owned = ItemId;
///     fn key_type() -> KeyType {
///         u64::key_type()
///     }
///     fn decode_key(from: &mut KeyReader<'_>) -> Result<ItemId> {
///         u64::decode_key(from).map(ItemId)
///     }
/// }
/// ```
pub trait Key: AsKey<Self> {
    /// What a stored key is given back as: the type itself, or its owned form.
    type Owned;

    /// The encoding, as the catalogue records it.
    fn key_type() -> KeyType;

    /// Takes one key from the front of `from`.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] where the bytes are no key of this type.
    fn decode_key(from: &mut KeyReader<'_>) -> Result<Self::Owned>;
}

/// What can stand for a key of type `K` in a call: `K` itself, a reference to it, and its borrowed
/// forms (`"a"` for a `String`, `("a", 1)` for a `(String, u64)`).
pub trait AsKey<K: ?Sized> {
    /// Appends the encoding to `out`.
    fn encode_key(&self, out: &mut KeyBuf);
}

impl<K: ?Sized, Q: AsKey<K> + ?Sized> AsKey<K> for &Q {
    fn encode_key(&self, out: &mut KeyBuf) {
        (**self).encode_key(out);
    }
}

/// What keys of type `K` can begin with: a string for strings, bytes for bytes, the first parts for
/// a tuple (`("a",)` for a `(String, u64)`).
pub trait AsPrefix<K: ?Sized> {
    /// Appends the bytes with which every such key begins to `out`.
    fn encode_prefix(&self, out: &mut KeyBuf);
}

impl<K: ?Sized, Q: AsPrefix<K> + ?Sized> AsPrefix<K> for &Q {
    fn encode_prefix(&self, out: &mut KeyBuf) {
        (**self).encode_prefix(out);
    }
}

/// The encoding of `key`.
pub(crate) fn encode<K: ?Sized>(key: &(impl AsKey<K> + ?Sized)) -> KeyBuf {
    let mut buffer = KeyBuf::new();
    key.encode_key(&mut buffer);
    buffer
}

/// The bytes that every key which begins with `prefix` begins with.
pub(crate) fn encode_prefix<K: ?Sized>(prefix: &(impl AsPrefix<K> + ?Sized)) -> KeyBuf {
    let mut buffer = KeyBuf::new();
    prefix.encode_prefix(&mut buffer);
    buffer
}

/// The key that `bytes` are the whole encoding of.
pub(crate) fn decode<K: Key + ?Sized>(bytes: &[u8]) -> Result<K::Owned> {
    let mut reader = KeyReader::new(bytes);
    let key = K::decode_key(&mut reader)?;
    reader.finish()?;
    Ok(key)
}

/// The smallest bytes greater than everything that begins with `prefix`, if there are any.
pub(crate) fn after_prefix(prefix: &[u8]) -> Option<Vec<u8>> {
    let keep = prefix.iter().rposition(|&byte| byte != 0xff)?;
    let mut bound = prefix[..=keep].to_vec();
    bound[keep] += 1;
    Some(bound)
}

/// The error for stored bytes that are no key of their type.
fn damaged(what: &str) -> Error {
    Error::new(ErrorKind::Corrupt, format!("a stored key is damaged: {what}"))
}
