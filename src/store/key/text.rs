//! Keys of any length: strings and bytes; and byte arrays, whose length their type fixes.

use super::{AsKey, AsPrefix, Key, KeyBuf, KeyReader, KeyType, damaged};
use crate::{Bytes, Result};

/// `$key` is given back as `$owned`; each `$query` can stand for it and for its beginning.
macro_rules! variable {
    ($key:ty, $owned:ty, $kind:ident, $decode:expr, [$($query:ty),*]) => {
        impl Key for $key {
            type Owned = $owned;

            fn key_type() -> KeyType {
                KeyType::$kind
            }

            fn decode_key(from: &mut KeyReader<'_>) -> Result<$owned> {
                from.take_variable().and_then($decode)
            }
        }

        $(
            impl AsKey<$key> for $query {
                fn encode_key(&self, out: &mut KeyBuf) {
                    out.push_variable(self.as_ref());
                }
            }

            impl AsPrefix<$key> for $query {
                fn encode_prefix(&self, out: &mut KeyBuf) {
                    out.push(self.as_ref());
                }
            }
        )*
    };
}

fn string(bytes: Vec<u8>) -> Result<String> {
    String::from_utf8(bytes).map_err(|_| damaged("a string is not UTF-8"))
}

variable!(str, String, Str, string, [str, String]);
variable!(String, String, Str, string, [str, String]);
variable!([u8], Vec<u8>, Bytes, Ok, [[u8], Vec<u8>, Bytes]);
variable!(Vec<u8>, Vec<u8>, Bytes, Ok, [[u8], Vec<u8>, Bytes]);
variable!(Bytes, Bytes, Bytes, |bytes| Ok(Bytes::from(bytes)), [[u8], Vec<u8>, Bytes]);

/// A byte-string literal is an array, and may stand for the bytes that it holds.
macro_rules! literals {
    ($($key:ty),*) => {$(
        impl<const N: usize> AsKey<$key> for [u8; N] {
            fn encode_key(&self, out: &mut KeyBuf) {
                out.push_variable(self);
            }
        }

        impl<const N: usize> AsPrefix<$key> for [u8; N] {
            fn encode_prefix(&self, out: &mut KeyBuf) {
                out.push(self);
            }
        }
    )*};
}

literals!([u8], Vec<u8>, Bytes);

impl<const N: usize> AsKey<[u8; N]> for [u8; N] {
    fn encode_key(&self, out: &mut KeyBuf) {
        out.push(self);
    }
}

impl<const N: usize> Key for [u8; N] {
    type Owned = [u8; N];

    fn key_type() -> KeyType {
        KeyType::Array(N as u32)
    }

    fn decode_key(from: &mut KeyReader<'_>) -> Result<[u8; N]> {
        from.take_array()
    }
}
