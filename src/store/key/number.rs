//! Keys of a fixed width: numbers, truth values, characters.

use super::{AsKey, Key, KeyBuf, KeyReader, KeyType, damaged};
use crate::Result;

/// Unsigned integers sort as their big-endian bytes do.
macro_rules! unsigned {
    ($($type:ident => $kind:ident),*) => {$(
        impl AsKey<$type> for $type {
            fn encode_key(&self, out: &mut KeyBuf) {
                out.push(&self.to_be_bytes());
            }
        }

        impl Key for $type {
            type Owned = $type;

            fn key_type() -> KeyType {
                KeyType::$kind
            }

            fn decode_key(from: &mut KeyReader<'_>) -> Result<$type> {
                from.take_array().map($type::from_be_bytes)
            }
        }
    )*};
}

unsigned!(u8 => U8, u16 => U16, u32 => U32, u64 => U64, u128 => U128);

/// With the sign bit flipped, signed integers sort as unsigned ones do.
macro_rules! signed {
    ($($type:ident => $kind:ident),*) => {$(
        impl AsKey<$type> for $type {
            fn encode_key(&self, out: &mut KeyBuf) {
                out.push(&(self ^ $type::MIN).to_be_bytes());
            }
        }

        impl Key for $type {
            type Owned = $type;

            fn key_type() -> KeyType {
                KeyType::$kind
            }

            fn decode_key(from: &mut KeyReader<'_>) -> Result<$type> {
                from.take_array().map(|bytes| $type::from_be_bytes(bytes) ^ $type::MIN)
            }
        }
    )*};
}

signed!(i8 => I8, i16 => I16, i32 => I32, i64 => I64, i128 => I128);

/// Floats sort as IEEE 754's total order: a greater magnitude is a greater bit pattern, and a set
/// sign turns the order round.
macro_rules! floats {
    ($($type:ident, $bits:ident => $kind:ident),*) => {$(
        impl AsKey<$type> for $type {
            fn encode_key(&self, out: &mut KeyBuf) {
                let bits = self.to_bits();
                let sign = 1 << ($bits::BITS - 1);
                let sortable = if bits & sign == 0 { bits | sign } else { !bits };
                out.push(&sortable.to_be_bytes());
            }
        }

        impl Key for $type {
            type Owned = $type;

            fn key_type() -> KeyType {
                KeyType::$kind
            }

            fn decode_key(from: &mut KeyReader<'_>) -> Result<$type> {
                let sortable = $bits::from_be_bytes(from.take_array()?);
                let sign = 1 << ($bits::BITS - 1);
                let bits = if sortable & sign == 0 { !sortable } else { sortable ^ sign };
                Ok($type::from_bits(bits))
            }
        }
    )*};
}

floats!(f32, u32 => F32, f64, u64 => F64);

impl AsKey<bool> for bool {
    fn encode_key(&self, out: &mut KeyBuf) {
        out.push(&[u8::from(*self)]);
    }
}

impl Key for bool {
    type Owned = bool;

    fn key_type() -> KeyType {
        KeyType::Bool
    }

    fn decode_key(from: &mut KeyReader<'_>) -> Result<bool> {
        match from.take_array()? {
            [0] => Ok(false),
            [1] => Ok(true),
            _ => Err(damaged("a truth value is neither 0 nor 1")),
        }
    }
}

impl AsKey<char> for char {
    fn encode_key(&self, out: &mut KeyBuf) {
        out.push(&u32::from(*self).to_be_bytes());
    }
}

impl Key for char {
    type Owned = char;

    fn key_type() -> KeyType {
        KeyType::Char
    }

    fn decode_key(from: &mut KeyReader<'_>) -> Result<char> {
        let code = u32::from_be_bytes(from.take_array()?);
        char::from_u32(code).ok_or_else(|| damaged("a character is none"))
    }
}
