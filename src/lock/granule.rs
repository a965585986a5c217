//! What can be locked.
//!
//! Two roots, [`Granule::Structure`] and [`Granule::Data`]. Tables and records lie under the data,
//! names of tables under the structure. A record is named inside the manager by a 64-bit keyed hash
//! of its table and key, so that a lock entry is small and costs no allocation: two keys of one hash
//! share a lock, which can make an owner wait longer but never lets two owners in.

use serde::Serialize;
use std::fmt;

/// What can be locked.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum Granule {
    /// The catalogue: which tables exist and how they are defined. A root.
    Structure,
    /// All records of all tables. A root.
    Data,
    /// All records of one table.
    Table(u32),
    /// The name of a table, whether or not there is such a table. Lies under the structure.
    Name(Box<str>),
    /// One record, by table and key, whether or not there is such a record.
    Record(u32, Box<[u8]>),
}

impl fmt::Display for Granule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Granule::Structure => write!(f, "the structure"),
            Granule::Data => write!(f, "the data"),
            Granule::Table(table) => write!(f, "table {table}"),
            Granule::Name(name) => write!(f, "the name \"{name}\""),
            Granule::Record(table, key) => {
                write!(f, "record \"{}\" of table {table}", key.escape_ascii())
            }
        }
    }
}

/// What a [`LockTable`](super::LockTable) needs to know of the things that it locks.
pub trait Resource: Ord + Clone {
    /// Whether it is a root: whoever holds a root overtakes a backup that only waits.
    fn is_root(&self) -> bool;
}

impl Resource for Granule {
    fn is_root(&self) -> bool {
        matches!(self, Granule::Structure | Granule::Data)
    }
}

/// A granule as the manager names it: a record by its hash.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Id {
    Structure,
    Data,
    Table(u32),
    Name(Box<str>),
    Record(u64),
}

impl Resource for Id {
    fn is_root(&self) -> bool {
        matches!(self, Id::Structure | Id::Data)
    }
}

/// The hash of a record's table and key under a `seed` that outsiders do not know.
pub(crate) fn record_hash(seed: u64, table: u32, key: &[u8]) -> u64 {
    const A: u64 = 0x9E37_79B9_7F4A_7C15;
    const B: u64 = 0xD6E8_FEB8_6659_FD93;
    fn fold(a: u64, b: u64) -> u64 {
        let wide = u128::from(a) * u128::from(b);
        (wide >> 64) as u64 ^ wide as u64
    }
    let mut state = fold(seed ^ A ^ u64::from(table), B ^ key.len() as u64);
    let (words, rest) = key.as_chunks::<8>();
    for word in words {
        state = fold(state ^ u64::from_le_bytes(*word), A);
    }
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    fold(state ^ u64::from_le_bytes(last), B)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn hashes_of_near_keys_and_tables_differ() {
        let mut seen = HashSet::new();
        for table in 0..8 {
            for n in 0..20_000_u64 {
                assert!(seen.insert(record_hash(7, table, &n.to_be_bytes())));
                assert!(seen.insert(record_hash(7, table, &n.to_be_bytes()[4..])));
            }
        }
    }

    #[test]
    fn keys_that_differ_in_trailing_zeros_only_have_other_hashes() {
        let hashes: HashSet<_> = (0..24).map(|n| record_hash(1, 1, &vec![0; n])).collect();
        assert_eq!(hashes.len(), 24);
    }
}
