//! The filter before a delta: tells of most keys that they are not in it, at the price of a few
//! loads.
//!
//! A Bloom filter whose bits for one key lie in one word. It begins small and grows by layers, each
//! eight times the one before, so that an almost empty delta stays small and nothing is ever
//! rebuilt. A key is in one layer only; a reader asks all. Invariant: what was added is always
//! found ("may be there"); what was not added is found in a few of a thousand cases. There is no
//! removal.

use super::arena::zeroed_words;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Words of the first layer, 4 KiB.
const FIRST_WORDS: usize = 512;
/// Each layer has this many more bits of address than the one before.
const GROWTH_BITS: usize = 3;
/// Keys that a word is meant for. With 32 bits a key, a false alarm in some layer and the search
/// that follows it are so rare that they do not show in the price of a miss; with 16 they doubled
/// it.
const KEYS_A_WORD: usize = 2;
/// The last layer holds 32 million keys, more than the largest delta; it only gets fuller after
/// that.
const LAYERS: usize = 6;

pub(super) struct Filter {
    layers: [OnceLock<Box<[AtomicU64]>>; LAYERS],
    keys: AtomicUsize,
    bytes: AtomicUsize,
}

impl Filter {
    pub(super) const fn new() -> Filter {
        Filter {
            layers: [const { OnceLock::new() }; LAYERS],
            keys: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Adds a key by its hash. By the one writer only, and once for each key.
    pub(super) fn add(&self, hash: u64) {
        let mut keys = self.keys.load(Ordering::Relaxed);
        self.keys.store(keys + 1, Ordering::Relaxed);
        let mut at = 0;
        while at + 1 < LAYERS && keys >= capacity(at) {
            keys -= capacity(at);
            at += 1;
        }
        let layer = self.layers[at].get_or_init(|| {
            let words = capacity(at) / KEYS_A_WORD;
            self.bytes.fetch_add(words * size_of::<AtomicU64>(), Ordering::Relaxed);
            zeroed_words(words)
        });
        let word = word_of(layer, hash);
        // There is one writer, so load and store lose nothing. The bits guard no other memory, and
        // readers that must find them are ordered behind them by the LSN that was published.
        word.store(word.load(Ordering::Relaxed) | bits_of(hash), Ordering::Relaxed);
    }

    /// Whether a key with this hash may have been added.
    #[inline]
    pub(super) fn may_have(&self, hash: u64) -> bool {
        let bits = bits_of(hash);
        for layer in &self.layers {
            let Some(layer) = layer.get() else { return false };
            if word_of(layer, hash).load(Ordering::Relaxed) & bits == bits {
                return true;
            }
        }
        false
    }
}

fn capacity(layer: usize) -> usize {
    (FIRST_WORDS * KEYS_A_WORD) << (GROWTH_BITS * layer)
}

/// The upper half of the hash chooses the word (each layer has a power of two of them).
#[inline]
fn word_of(layer: &[AtomicU64], hash: u64) -> &AtomicU64 {
    &layer[(hash >> 32) as usize & (layer.len() - 1)]
}

/// The lower half chooses five bits of it.
#[inline]
fn bits_of(hash: u64) -> u64 {
    (0..5).fold(0, |bits, i| bits | 1 << ((hash >> (6 * i)) & 63))
}

/// Hash of a record's name: multiplications of eight-byte words whose halves are folded together.
#[inline]
pub(super) fn hash(table: u32, key: &[u8]) -> u64 {
    const A: u64 = 0x9e37_79b9_7f4a_7c15;
    const B: u64 = 0xd6e8_feb8_6659_fd93;
    const C: u64 = 0xa076_1d64_78bd_642f;
    let mut state = fold(u64::from(table) ^ A, key.len() as u64 ^ B);
    let (words, rest) = key.as_chunks::<8>();
    for word in words {
        state = fold(state ^ u64::from_le_bytes(*word), C);
    }
    if !rest.is_empty() {
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        state = fold(state ^ u64::from_le_bytes(last), B);
    }
    fold(state ^ A, C)
}

#[inline]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}
