//! Compound keys: options and tuples.

use super::{AsKey, AsPrefix, Key, KeyBuf, KeyReader, KeyType, damaged};
use crate::Result;

impl<K: Key, Q: AsKey<K>> AsKey<Option<K>> for Option<Q> {
    fn encode_key(&self, out: &mut KeyBuf) {
        match self {
            None => out.push(&[0]),
            Some(key) => {
                out.push(&[1]);
                out.compound(|out| key.encode_key(out));
            }
        }
    }
}

impl<K: Key> Key for Option<K> {
    type Owned = Option<K::Owned>;

    fn key_type() -> KeyType {
        KeyType::Option(Box::new(K::key_type()))
    }

    fn decode_key(from: &mut KeyReader<'_>) -> Result<Option<K::Owned>> {
        match from.take_array()? {
            [0] => Ok(None),
            [1] => from.compound(K::decode_key).map(Some),
            _ => Err(damaged("an option is neither 0 nor 1")),
        }
    }
}

/// Tuples sort by their first part, then by the second, and so on.
macro_rules! tuple {
    ($($key:ident $query:ident $at:tt),+) => {
        impl<$($key: Key, $query: AsKey<$key>),+> AsKey<($($key,)+)> for ($($query,)+) {
            fn encode_key(&self, out: &mut KeyBuf) {
                out.compound(|out| {
                    $(self.$at.encode_key(out);)+
                });
            }
        }

        impl<$($key: Key),+> Key for ($($key,)+) {
            type Owned = ($($key::Owned,)+);

            fn key_type() -> KeyType {
                KeyType::Tuple(vec![$($key::key_type()),+])
            }

            fn decode_key(from: &mut KeyReader<'_>) -> Result<Self::Owned> {
                from.compound(|from| Ok(($($key::decode_key(from)?,)+)))
            }
        }
    };
}

tuple!(A Qa 0, B Qb 1);
tuple!(A Qa 0, B Qb 1, C Qc 2);
tuple!(A Qa 0, B Qb 1, C Qc 2, D Qd 3);
tuple!(A Qa 0, B Qb 1, C Qc 2, D Qd 3, E Qe 4);
tuple!(A Qa 0, B Qb 1, C Qc 2, D Qd 3, E Qe 4, F Qf 5);

/// The first parts of a tuple are a prefix of it.
macro_rules! prefix {
    ([$($key:ident $query:ident $at:tt),+] of [$($more:ident),+]) => {
        impl<$($key: Key, $query: AsKey<$key>,)+ $($more: Key),+>
            AsPrefix<($($key,)+ $($more,)+)> for ($($query,)+)
        {
            fn encode_prefix(&self, out: &mut KeyBuf) {
                out.compound(|out| {
                    $(self.$at.encode_key(out);)+
                });
            }
        }
    };
}

prefix!([A Qa 0] of [B]);
prefix!([A Qa 0] of [B, C]);
prefix!([A Qa 0] of [B, C, D]);
prefix!([A Qa 0] of [B, C, D, E]);
prefix!([A Qa 0] of [B, C, D, E, F]);
prefix!([A Qa 0, B Qb 1] of [C]);
prefix!([A Qa 0, B Qb 1] of [C, D]);
prefix!([A Qa 0, B Qb 1] of [C, D, E]);
prefix!([A Qa 0, B Qb 1] of [C, D, E, F]);
prefix!([A Qa 0, B Qb 1, C Qc 2] of [D]);
prefix!([A Qa 0, B Qb 1, C Qc 2] of [D, E]);
prefix!([A Qa 0, B Qb 1, C Qc 2] of [D, E, F]);
prefix!([A Qa 0, B Qb 1, C Qc 2, D Qd 3] of [E]);
prefix!([A Qa 0, B Qb 1, C Qc 2, D Qd 3] of [E, F]);
prefix!([A Qa 0, B Qb 1, C Qc 2, D Qd 3, E Qe 4] of [F]);
