//! Which blocks make a stripe, and where things lie in the parity file: arithmetic only.
//!
//! Invariants: every block belongs to one stripe; a stripe has at most [`STRIPE`] data blocks; its
//! blocks are as far apart as its group has stripes, so one stretch of damage meets each stripe of the
//! group about equally often. Nothing here overflows for a geometry that was checked.

use crate::archive::level::Level;

/// The most data blocks of a stripe.
pub(crate) const STRIPE: u64 = 128;
/// Length of a block, as it is written.
pub(crate) const BLOCK_BYTES: u32 = 64 << 10;
/// Length of a copy of the header, and what the tables are padded to.
pub(crate) const PAGE: u64 = 4096;
/// Length of a digest.
pub(crate) const DIGEST: usize = 32;

/// How the parity of an archive is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Geometry {
    /// Length of a block: a power of two.
    pub(crate) block_bytes: u32,
    /// Length of the archive.
    pub(crate) total: u64,
    /// Parity blocks for [`STRIPE`] data blocks.
    pub(crate) share: u32,
    /// The most stripes of a group; 0 makes one group of the whole archive.
    pub(crate) distance: u32,
}

/// What damage is repaired for certain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Promise {
    /// Length of a block in bytes: damage counts by the blocks that it touches.
    pub block_bytes: u64,
    /// This many damaged blocks are repaired wherever they are.
    pub anywhere: u64,
    /// One stretch of this many bytes is repaired wherever it begins, if there is no other damage.
    pub burst_bytes: u64,
}

/// Neighbouring blocks, woven into stripes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Group {
    /// Its first block, first stripe, and how many parity blocks lie before its own.
    block: u64,
    stripe: u64,
    parity: u64,
    /// How many blocks it has.
    blocks: u64,
}

/// One stripe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stripe {
    pub(crate) number: u64,
    /// Its first data block; the others follow in steps.
    first: u64,
    step: u64,
    /// How many data blocks it has.
    pub(crate) data: usize,
    /// How many parity blocks it has: as many damaged ones can be repaired.
    pub(crate) parity: usize,
    /// How many parity blocks lie before its own.
    pub(crate) parity_before: u64,
}

impl Stripe {
    /// The block that is number `index` in the stripe.
    pub(crate) fn block(&self, index: usize) -> u64 {
        self.first + index as u64 * self.step
    }
}

impl Geometry {
    /// The geometry for an archive of `total` bytes; `None` without redundancy.
    pub(crate) fn of(total: u64, redundancy: Level, interlacing: Level) -> Option<Geometry> {
        let share = share_of(redundancy).filter(|_| total > 0)?;
        let distance = match interlacing {
            Level::None => 1,
            Level::Low => 16,
            Level::Medium => 256,
            Level::High => 0,
        };
        Some(Geometry { block_bytes: BLOCK_BYTES, total, share, distance })
    }

    /// Whether the numbers are such that the arithmetic below holds.
    pub(crate) fn is_sound(&self) -> bool {
        self.block_bytes.is_power_of_two()
            && (64..=1 << 20).contains(&self.block_bytes)
            && (1..=1 << 56).contains(&self.total)
            && (1..=STRIPE as u32).contains(&self.share)
            && self.distance <= 1 << 20
    }

    /// How many blocks the archive has; the last one may be shorter.
    pub(crate) fn blocks(&self) -> u64 {
        self.total.div_ceil(u64::from(self.block_bytes))
    }

    fn groups(&self) -> u64 {
        match u64::from(self.distance) {
            0 => 1,
            distance => self.blocks().div_ceil(distance * STRIPE),
        }
    }

    /// How many parity blocks a stripe of `data` blocks has.
    fn parity_of(&self, data: u64) -> u64 {
        (data * u64::from(self.share)).div_ceil(STRIPE)
    }

    /// The groups are of equal length but for one block: the first ones are the longer ones.
    fn group(&self, number: u64) -> Group {
        let (blocks, groups) = (self.blocks(), self.groups());
        let (short, longer) = (blocks / groups, blocks % groups);
        let before = number.min(longer);
        let after = number - before;
        let of = |len: u64| (stripes_of(len), self.parity_in(len));
        let ((long_stripes, long_parity), (stripes, parity)) = (of(short + 1), of(short));
        Group {
            block: number * short + before,
            stripe: before * long_stripes + after * stripes,
            parity: before * long_parity + after * parity,
            blocks: short + u64::from(number < longer),
        }
    }

    /// Parity blocks of a group of `len` blocks.
    fn parity_in(&self, len: u64) -> u64 {
        if len == 0 {
            return 0;
        }
        let stripes = stripes_of(len);
        let longer = len % stripes;
        longer * self.parity_of(len / stripes + 1)
            + (stripes - longer) * self.parity_of(len / stripes)
    }

    /// The group that block `block` is in.
    fn group_of_block(&self, block: u64) -> Group {
        let (blocks, groups) = (self.blocks(), self.groups());
        let (short, longer) = (blocks / groups, blocks % groups);
        let edge = longer * (short + 1);
        let number = match block < edge {
            true => block / (short + 1),
            false => longer + (block - edge) / short,
        };
        self.group(number)
    }

    /// How many stripes there are.
    pub(crate) fn stripes(&self) -> u64 {
        self.group(self.groups()).stripe
    }

    /// Stripe `number` of all.
    pub(crate) fn stripe(&self, number: u64) -> Stripe {
        let (blocks, groups) = (self.blocks(), self.groups());
        let (short, longer) = (blocks / groups, blocks % groups);
        let (long, rest) = (stripes_of(short + 1), stripes_of(short));
        let group = match number < longer * long {
            true => number / long,
            false => longer + (number - longer * long) / rest,
        };
        let group = self.group(group);
        self.stripe_in(&group, number - group.stripe)
    }

    fn stripe_in(&self, group: &Group, within: u64) -> Stripe {
        let step = stripes_of(group.blocks);
        let (short, longer) = (group.blocks / step, group.blocks % step);
        let before = within.min(longer);
        let data = short + u64::from(within < longer);
        Stripe {
            number: group.stripe + within,
            first: group.block + within,
            step,
            data: data as usize,
            parity: self.parity_of(data) as usize,
            parity_before: group.parity
                + before * self.parity_of(short + 1)
                + (within - before) * self.parity_of(short),
        }
    }

    /// The stripe that block `block` is in, and where.
    pub(crate) fn place(&self, block: u64) -> (Stripe, usize) {
        let group = self.group_of_block(block);
        let step = stripes_of(group.blocks);
        let offset = block - group.block;
        (self.stripe_in(&group, offset % step), (offset / step) as usize)
    }

    /// Length of the table of a stripe: digests of its blocks, and one of those.
    pub(crate) fn table_bytes(&self) -> usize {
        (STRIPE as usize + self.share as usize + 1) * DIGEST
    }

    /// Length of all tables, padded.
    fn tables_bytes(&self) -> u64 {
        (self.stripes() * self.table_bytes() as u64).next_multiple_of(PAGE)
    }

    /// Where the two copies of the table of a stripe lie.
    pub(crate) fn table_at(&self, stripe: u64) -> [u64; 2] {
        let at = stripe * self.table_bytes() as u64;
        [PAGE + at, self.second_tables() + at]
    }

    /// Where parity block `number` of all lies.
    pub(crate) fn parity_at(&self, number: u64) -> u64 {
        2 * PAGE + self.tables_bytes() + number * u64::from(self.block_bytes)
    }

    fn second_tables(&self) -> u64 {
        let parity = self.group(self.groups()).parity;
        self.parity_at(parity).next_multiple_of(PAGE)
    }

    /// Where the three copies of the header lie.
    pub(crate) fn headers_at(&self) -> [u64; 3] {
        [0, PAGE + self.tables_bytes(), self.second_tables() + self.tables_bytes()]
    }

    /// Length of the parity file.
    pub(crate) fn file_bytes(&self) -> u64 {
        self.headers_at()[2] + PAGE
    }

    /// What is repaired for certain.
    pub(crate) fn promise(&self) -> Promise {
        let short = self.blocks() / self.groups();
        let lengths = [short, short + u64::from(!self.blocks().is_multiple_of(self.groups()))];
        // Of stripes that differ by one block the shorter one counts, and so of groups.
        let of = |len: u64| {
            let stripes = stripes_of(len);
            (self.parity_of(len / stripes), stripes)
        };
        let anywhere = lengths.iter().map(|len| of(*len).0).min().unwrap_or(0);
        let burst = lengths.iter().map(|len| of(*len).0 * of(*len).1).min().unwrap_or(0);
        let block_bytes = u64::from(self.block_bytes);
        // A stretch that begins at the last byte of a block touches one block more than its length says.
        let burst_bytes = burst.saturating_sub(1) * block_bytes + 1;
        Promise { block_bytes, anywhere, burst_bytes }
    }
}

/// Parity blocks for [`STRIPE`] data blocks.
fn share_of(redundancy: Level) -> Option<u32> {
    match redundancy {
        Level::None => None,
        Level::Low => Some(8),
        Level::Medium => Some(16),
        Level::High => Some(32),
    }
}

/// About as many bytes as the parity of `bytes` bytes takes.
pub(crate) fn parity_of(bytes: u64, redundancy: Level) -> u64 {
    share_of(redundancy).map_or(0, |share| bytes / STRIPE * u64::from(share))
}

/// Stripes of a group of `len` blocks; one for an empty one, which keeps the arithmetic going.
fn stripes_of(len: u64) -> u64 {
    len.div_ceil(STRIPE).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn geometry() -> impl Strategy<Value = Geometry> {
        let shares = prop_oneof![Just(8), Just(16), Just(32)];
        let distances = prop_oneof![Just(0), Just(1), Just(16), Just(256)];
        (1u64..200_000, shares, distances).prop_map(|(blocks, share, distance)| Geometry {
            block_bytes: 64,
            total: blocks * 64 - 7,
            share,
            distance,
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]

        #[test]
        fn every_block_is_in_one_stripe_and_every_parity_block_too(geometry in geometry()) {
            let (mut data, mut parity) = (0, 0);
            for number in 0..geometry.stripes() {
                let stripe = geometry.stripe(number);
                prop_assert_eq!(stripe.number, number);
                prop_assert_eq!(stripe.parity_before, parity);
                prop_assert!(stripe.data >= 1 && stripe.data as u64 <= STRIPE);
                for index in 0..stripe.data {
                    let block = stripe.block(index);
                    prop_assert!(block < geometry.blocks());
                    prop_assert_eq!(geometry.place(block), (stripe, index));
                }
                data += stripe.data as u64;
                parity += stripe.parity as u64;
            }
            prop_assert_eq!(data, geometry.blocks());
            prop_assert!(geometry.parity_at(parity) <= geometry.table_at(0)[1]);
        }

        #[test]
        fn a_promised_burst_meets_no_stripe_more_often_than_it_can_bear(
            geometry in geometry(),
            at in any::<proptest::sample::Index>(),
        ) {
            let promise = geometry.promise();
            let first = at.index(geometry.total as usize) as u64;
            let end = (first + promise.burst_bytes).min(geometry.total);
            let mut met = std::collections::HashMap::new();
            for block in first / 64..end.div_ceil(64) {
                let (stripe, _) = geometry.place(block);
                let count = met.entry(stripe.number).or_insert(0);
                *count += 1;
                prop_assert!(*count <= stripe.parity, "{promise:?}");
            }
        }
    }

    #[test]
    fn the_levels_promise_what_the_documentation_says() {
        let gibibyte = 1 << 30;
        let shown = |redundancy, interlacing| {
            let promise = Geometry::of(gibibyte, redundancy, interlacing).expect("some").promise();
            (promise.anywhere, promise.burst_bytes.div_ceil(promise.block_bytes))
        };
        assert_eq!(Geometry::of(gibibyte, Level::None, Level::High), None);
        assert_eq!(shown(Level::Low, Level::None), (8, 8));
        assert_eq!(shown(Level::Low, Level::High), (8, 1024));
        assert_eq!(shown(Level::Medium, Level::Low), (16, 256));
        assert_eq!(shown(Level::High, Level::Medium), (32, 4096));
        assert_eq!(shown(Level::High, Level::High), (32, 4096));
    }
}
