//! The records that every store gets: the same ones, in the same order.
//!
//! Keys are the decimal digits of a mixed number, 16 to 24 bytes, in an order that looks random;
//! values are 150 bytes that a compressor finds nothing in, or that pack about three to one.

/// A small, fast, seedable generator (splitmix64): the benchmark must not measure its own dice.
#[derive(Clone)]
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Dice {
        Dice(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }
}

fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// A key and its value.
pub type Record = (Vec<u8>, Vec<u8>);

/// How well the values pack.
#[derive(Clone, Copy, PartialEq)]
pub enum Packing {
    Random,
    ThreeToOne,
}

#[derive(Clone, Copy)]
pub struct Data {
    pub records: u64,
    pub value_len: usize,
    pub packing: Packing,
}

impl Data {
    pub fn key(&self, i: u64) -> Vec<u8> {
        let n = mix(i + 1);
        let mut key = format!("{n:016x}").into_bytes();
        key.extend_from_slice(&b"abcdefgh"[..(n % 9) as usize]);
        key
    }

    pub fn value(&self, i: u64, version: u64) -> Vec<u8> {
        let mut dice = Dice::new(i.wrapping_mul(31).wrapping_add(version));
        let mut value = Vec::with_capacity(self.value_len + 8);
        while value.len() < self.value_len {
            value.extend_from_slice(&dice.next().to_le_bytes());
            if self.packing == Packing::ThreeToOne {
                value.extend_from_slice(b"the same words in every row");
            }
        }
        value.truncate(self.value_len);
        value
    }

    pub fn record(&self, i: u64, version: u64) -> Record {
        (self.key(i), self.value(i, version))
    }

    /// Keys of records chosen at random.
    pub fn some_keys(&self, count: u64, seed: u64) -> Vec<Vec<u8>> {
        let mut dice = Dice::new(seed);
        (0..count).map(|_| self.key(dice.below(self.records))).collect()
    }

    /// Records chosen at random, with new values.
    pub fn some_records(&self, count: u64, dice: &mut Dice) -> Vec<Record> {
        (0..count).map(|_| self.record(dice.below(self.records), dice.next())).collect()
    }

    /// Bytes of all keys and values.
    pub fn logical_bytes(&self) -> u64 {
        self.records * (self.value_len as u64 + 20)
    }
}
