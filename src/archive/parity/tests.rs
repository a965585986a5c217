//! The promise of the parity, and what becomes of parity files that are damaged themselves.
//!
//! What is compared are bytes that were kept apart before the damage was done; which blocks belong to
//! a stripe is asked of the geometry, whose arithmetic has tests of its own.

use super::file::{Header, Parity};
use super::geometry::{Geometry, PAGE};
use super::order::write_parity;
use super::*;
use crate::archive::ArchiveRepair;
use crate::archive::parts::{Files, Joined};
use crate::archive::verify::Progress;
use crate::disk::{Disk, File, OpenMode, SimDisk, Survival};
use crate::error::{ErrorKind, Result};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const PARITY: &str = "/a[0001].parity";
/// Small blocks, so that small archives have many.
const BLOCK: u64 = 64;

fn go_on(_: Progress) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

/// Meaningless bytes have no seal: what is tried here is the parity, and `tests/layers` the proof.
struct NoProof;

impl Proof for NoProof {
    fn before(&self, _: &Files, _: Guard) -> Result<()> {
        Ok(())
    }

    fn after(&self, _: (&Files, Arc<Joined>), _: &Files) -> Result<()> {
        Ok(())
    }
}

fn repair_at(disk: &dyn Disk, path: &Path) -> Result<ArchiveRepair> {
    repair_files(disk, &Files::find(disk, path)?, &NoProof, &mut go_on)
}

/// An archive of meaningless bytes with its parity.
struct Bench {
    disk: Arc<SimDisk>,
    geometry: Geometry,
    segment: u64,
}

#[derive(Clone, Copy, Debug)]
struct Shape {
    total: u64,
    segment: u64,
    share: u32,
    distance: u32,
}

impl Bench {
    fn new(shape: Shape) -> Bench {
        let Shape { total, segment, share, distance } = shape;
        let disk = SimDisk::new(1);
        let content: Vec<u8> =
            (0..total).map(|n| (n.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 51) as u8).collect();
        for (index, piece) in content.chunks(each(segment, total) as usize).enumerate() {
            let file = disk.open(&part(segment, index), OpenMode::CreateNew).expect("creates");
            file.write_at(piece, 0).expect("writes");
            file.sync().expect("syncs");
        }
        let geometry = Geometry { block_bytes: BLOCK as u32, total, share, distance };
        let bench = Bench { disk, geometry, segment };
        let joined = Joined::strict(&*bench.disk, &bench.files()).expect("is whole");
        let shape = (geometry, segment);
        write_parity(&*bench.disk, &joined, shape, Path::new(PARITY), &mut go_on).expect("writes");
        bench.disk.sync_dir(Path::new("/")).expect("syncs");
        bench
    }

    fn files(&self) -> Files {
        Files::find(&*self.disk, &part(self.segment, 0)).expect("is found")
    }

    fn repair(&self) -> Result<ArchiveRepair> {
        repair_at(&*self.disk, &part(self.segment, 0))
    }

    /// Everything on the disk.
    fn content(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        content(&*self.disk)
    }

    /// Spoils a byte of the archive.
    fn spoil(&self, at: u64, bit: u8) {
        let each = each(self.segment, self.geometry.total);
        let path = part(self.segment, (at / each) as usize);
        self.disk.corrupt(path, at % each, bit).expect("is there");
    }

    /// Spoils block `index` of a stripe, data blocks first.
    fn spoil_block(&self, stripe: u64, index: usize, byte: u64) {
        let stripe = self.geometry.stripe(stripe);
        match index.checked_sub(stripe.data) {
            None => {
                let begin = stripe.block(index) * BLOCK;
                let len = BLOCK.min(self.geometry.total - begin);
                self.spoil(begin + byte % len, (byte % 8) as u8);
            }
            Some(index) => {
                let at = self.geometry.parity_at(stripe.parity_before + index as u64);
                self.disk.corrupt(PARITY, at + byte % BLOCK, 3).expect("is there");
            }
        }
    }

    /// All bytes as a reader gets them through the parity.
    fn read_through(&self) -> Vec<u8> {
        let parity = Parity::open(&*self.disk, Path::new(PARITY)).expect("opens");
        let joined = Joined::with_lengths(&*self.disk, &self.files(), parity.header.lengths());
        let guard = Guard::new(Arc::new(joined.expect("opens")), parity);
        let mut bytes = vec![0; guard.len().expect("has a length") as usize];
        guard.read_exact_at(&mut bytes, 0).expect("reads");
        bytes
    }
}

fn each(segment: u64, total: u64) -> u64 {
    if segment == 0 { total } else { segment }
}

fn part(segment: u64, index: usize) -> PathBuf {
    match segment {
        0 => PathBuf::from("/a[0001].tar.zst"),
        _ => PathBuf::from(format!("/a[0001-{:04}].tar.zst", index + 1)),
    }
}

fn content(disk: &dyn Disk) -> BTreeMap<PathBuf, Vec<u8>> {
    let names = disk.list(Path::new("/")).expect("lists");
    let read = |name: PathBuf| {
        let path = Path::new("/").join(name);
        let file = disk.open(&path, OpenMode::Read).expect("opens");
        let mut bytes = vec![0; file.len().expect("has a length") as usize];
        file.read_exact_at(&mut bytes, 0).expect("reads");
        (path, bytes)
    };
    names.into_iter().map(read).collect()
}

fn shape() -> impl Strategy<Value = Shape> {
    let segment = prop_oneof![Just(0u64), 700u64..20_000];
    let share = prop_oneof![Just(8u32), Just(16), Just(32)];
    (1u64..40_000, segment, share, 0u32..4).prop_map(|(total, segment, share, distance)| Shape {
        total,
        segment,
        share,
        distance,
    })
}

/// Blocks of a stripe in an order that the seed shuffles.
fn shuffled(count: usize, seed: u64) -> Vec<usize> {
    let mut indexes: Vec<usize> = (0..count).collect();
    let mut state = seed | 1;
    for at in (1..count).rev() {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        indexes.swap(at, (state >> 33) as usize % (at + 1));
    }
    indexes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn damage_up_to_the_promised_share_of_every_stripe_is_always_repaired(
        shape in shape(),
        seed in any::<u64>(),
    ) {
        let bench = Bench::new(shape);
        let before = bench.content();
        let whole: Vec<u8> =
            before.iter().filter(|(path, _)| !path.ends_with("a[0001].parity"))
                .flat_map(|(_, bytes)| bytes.clone()).collect();
        for number in 0..bench.geometry.stripes() {
            let stripe = bench.geometry.stripe(number);
            let order = shuffled(stripe.data + stripe.parity, seed ^ number);
            for index in &order[..stripe.parity] {
                bench.spoil_block(number, *index, seed >> 7);
            }
        }
        prop_assert!(bench.content() != before, "there must be damage");
        prop_assert!(bench.read_through() == whole, "read without a repair");
        let report = bench.repair().expect("is repaired");
        prop_assert!(!report.files.is_empty());
        prop_assert!(bench.content() == before, "every byte, parity included");
        let again = bench.repair().expect("is whole");
        prop_assert_eq!((again.repaired, again.parity_damaged, again.files.len()), (0, 0, 0));
    }

    #[test]
    fn damage_one_block_above_the_promise_is_always_reported_and_changes_nothing(
        shape in shape(),
        seed in any::<u64>(),
        which in any::<proptest::sample::Index>(),
    ) {
        let bench = Bench::new(shape);
        let number = which.index(bench.geometry.stripes() as usize) as u64;
        let stripe = bench.geometry.stripe(number);
        let order = shuffled(stripe.data + stripe.parity, seed);
        for index in &order[..=stripe.parity] {
            bench.spoil_block(number, *index, seed >> 7);
        }
        let damaged = bench.content();
        let error = bench.repair().expect_err("it is more than the parity can bear");
        prop_assert_eq!(error.kind(), ErrorKind::Corrupt, "{}", error);
        prop_assert!(error.path().is_some());
        prop_assert!(bench.content() == damaged, "nothing is changed");
    }

    #[test]
    fn the_longest_promised_burst_is_repaired_wherever_it_begins(
        shape in shape(),
        at in any::<proptest::sample::Index>(),
    ) {
        let bench = Bench::new(shape);
        let before = bench.content();
        let promise = bench.geometry.promise();
        let first = at.index(shape.total as usize) as u64;
        for at in first..(first + promise.burst_bytes).min(shape.total) {
            bench.spoil(at, (at % 8) as u8);
        }
        bench.repair().expect("is repaired");
        prop_assert!(bench.content() == before);
    }
}

#[test]
fn a_lost_segment_is_made_anew_where_the_burst_covers_it_and_refused_where_not() {
    let shape = Shape { total: 64 * 640, segment: 64 * 120, share: 32, distance: 0 };
    for lost in 0..6 {
        let bench = Bench::new(shape);
        let before = bench.content();
        bench.disk.remove_file(&part(shape.segment, lost)).expect("is there");
        let path = part(shape.segment, usize::from(lost == 0));
        let report = repair_at(&*bench.disk, &path).expect("is repaired");
        assert_eq!(report.files, [part(shape.segment, lost)], "segment {lost}");
        assert!(bench.content() == before, "segment {lost}");
    }
    let bench = Bench::new(Shape { distance: 1, ..shape });
    bench.disk.remove_file(&part(shape.segment, 2)).expect("is there");
    let left = bench.content();
    let error = bench.repair().expect_err("a stripe is lost as a whole");
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    assert!(bench.content() == left);
}

#[test]
fn files_of_a_wrong_length_get_the_right_one() {
    let shape = Shape { total: 64 * 500 + 13, segment: 64 * 100 + 7, share: 32, distance: 0 };
    for (index, len) in [(0, 64 * 90), (4, 5), (4, 64 * 101), (1, 64 * 130)] {
        let bench = Bench::new(shape);
        let before = bench.content();
        let file = bench.disk.open(&part(shape.segment, index), OpenMode::Write).expect("opens");
        file.set_len(len).expect("cuts or extends");
        bench.repair().expect("is repaired");
        assert!(bench.content() == before, "file {index} of {len} bytes");
    }
    // An end of zeros is right in all its blocks, and yet too short.
    let bench = Bench::new(Shape { segment: 0, ..shape });
    let zeros = bench.disk.open(&part(0, 0), OpenMode::Write).expect("opens");
    zeros.write_at(&[0; 13], 64 * 500).expect("writes");
    bench.disk.remove_file(Path::new(PARITY)).expect("is there");
    let joined = Joined::strict(&*bench.disk, &bench.files()).expect("is whole");
    let path = Path::new(PARITY);
    write_parity(&*bench.disk, &joined, (bench.geometry, 0), path, &mut go_on).expect("writes");
    let before = bench.content();
    zeros.set_len(64 * 500).expect("cuts");
    bench.repair().expect("is repaired");
    assert!(bench.content() == before);
}

#[test]
fn every_bit_of_a_header_may_flip_and_is_mended() {
    let shape = Shape { total: 5000, segment: 0, share: 8, distance: 0 };
    let bench = Bench::new(shape);
    let before = bench.content();
    for copy in bench.geometry.headers_at() {
        for at in (0..80).chain([1000, PAGE - 33, PAGE - 32, PAGE - 1]) {
            for bit in 0..8 {
                bench.disk.corrupt(PARITY, copy + at, bit).expect("is there");
                let parity = Parity::open(&*bench.disk, Path::new(PARITY)).expect("two are left");
                assert!(parity.worn, "bit {bit} of byte {at} of the copy at {copy}");
                assert_eq!(parity.header.geometry, bench.geometry);
                bench.disk.corrupt(PARITY, copy + at, bit).expect("is there");
            }
        }
        bench.disk.corrupt(PARITY, copy + 20, 1).expect("is there");
        bench.repair().expect("is repaired");
        assert!(bench.content() == before);
    }
}

#[test]
fn two_headers_may_be_lost_and_three_are_told() {
    let bench = Bench::new(Shape { total: 30_000, segment: 0, share: 16, distance: 2 });
    let copies = bench.geometry.headers_at();
    for left in 0..3 {
        for (_, at) in copies.iter().enumerate().filter(|(index, _)| *index != left) {
            bench.disk.corrupt(PARITY, *at, 0).expect("is there");
        }
        let before = bench.content();
        assert!(bench.repair().is_ok(), "copy {left} is left");
        assert!(bench.content() != before, "the parity is made anew");
    }
    copies.iter().for_each(|at| bench.disk.corrupt(PARITY, *at, 0).expect("is there"));
    let error = bench.repair().expect_err("no header is left");
    assert_eq!((error.kind(), error.path()), (ErrorKind::Corrupt, Some(Path::new(PARITY))));
}

#[test]
fn a_parity_file_cut_anywhere_is_repaired_or_told() {
    let shape = Shape { total: 3000, segment: 0, share: 8, distance: 0 };
    let bench = Bench::new(shape);
    let before = bench.content();
    let len = bench.geometry.file_bytes();
    for cut in (0..len).rev().step_by(61) {
        let file = bench.disk.open(Path::new(PARITY), OpenMode::Write).expect("opens");
        file.set_len(cut).expect("cuts");
        match bench.repair() {
            Ok(report) => {
                assert_eq!(report.repaired, 0);
                assert!(bench.content() == before, "cut to {cut}");
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Corrupt, "cut to {cut}: {error}");
                let file = bench.disk.open(Path::new(PARITY), OpenMode::Write).expect("opens");
                file.set_len(0).expect("cuts");
                file.write_at(&before[Path::new(PARITY)], 0).expect("writes");
            }
        }
    }
}

#[test]
fn a_table_that_is_damaged_in_one_copy_is_mended_and_in_both_is_told() {
    let bench = Bench::new(Shape { total: 20_000, segment: 0, share: 8, distance: 1 });
    let before = bench.content();
    let [first, second] = bench.geometry.table_at(1);
    for at in [first, second] {
        bench.disk.corrupt(PARITY, at + 5, 5).expect("is there");
        bench.repair().expect("the other copy is whole");
        assert!(bench.content() == before);
    }
    bench.disk.corrupt(PARITY, first + 5, 5).expect("is there");
    bench.disk.corrupt(PARITY, second + 9, 5).expect("is there");
    assert_eq!(bench.repair().expect_err("both are damaged").kind(), ErrorKind::Corrupt);
}

#[test]
fn a_header_that_claims_too_much_is_refused_before_anything_is_allocated() {
    let bench = Bench::new(Shape { total: 3000, segment: 0, share: 8, distance: 0 });
    let header = Parity::open(&*bench.disk, Path::new(PARITY)).expect("opens").header;
    let forged = |change: fn(&mut Header)| {
        let mut header = header;
        change(&mut header);
        let page = header.encode();
        let file = bench.disk.open(Path::new(PARITY), OpenMode::Write).expect("opens");
        bench
            .geometry
            .headers_at()
            .iter()
            .for_each(|at| file.write_at(&page, *at).expect("writes"));
        bench.repair().expect_err("it is forged")
    };
    for change in [
        (|header| header.geometry.total = 1 << 56) as fn(&mut Header),
        |header| header.geometry.total = u64::MAX,
        |header| header.geometry.total = 0,
        |header| header.geometry.block_bytes = 0,
        |header| header.geometry.block_bytes = 1 << 31,
        |header| header.geometry.share = 0,
        |header| header.geometry.share = u32::MAX,
        |header| header.geometry.distance = u32::MAX,
        |header| header.set.0[0] ^= 1,
    ] {
        let error = forged(change);
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    }
}

#[test]
fn a_repair_that_dies_at_any_call_leaves_what_the_next_one_mends() {
    let shape = Shape { total: 64 * 300, segment: 64 * 100, share: 32, distance: 0 };
    let spoiled = || {
        let bench = Bench::new(shape);
        for at in (0..64 * 60).step_by(64) {
            bench.spoil(64 * 70 + at, 2);
        }
        bench.disk.corrupt(PARITY, bench.geometry.parity_at(0), 1).expect("is there");
        bench
    };
    let before = Bench::new(shape).content();
    let clean = spoiled();
    let calls = clean.disk.calls();
    clean.repair().expect("is repaired");
    let total = clean.disk.calls() - calls;
    // Every call of the part that writes, and some of those that read.
    for call in (1..=total).filter(|call| call % 37 == 0 || *call + 60 > total) {
        for survival in [Survival::Nothing, Survival::Everything, Survival::Random(call)] {
            let bench = spoiled();
            bench.disk.crash_at(bench.disk.calls() + call);
            assert!(bench.repair().is_err());
            let disk = bench.disk.reboot(survival);
            let after = Bench { disk, geometry: bench.geometry, segment: shape.segment };
            after.repair().unwrap_or_else(|e| panic!("call {call} of {total}, {survival:?}: {e}"));
            let mut left = after.content();
            left.remove(Path::new("/a[0001].parity.repair"));
            assert!(left == before, "call {call} of {total}, {survival:?}");
        }
    }
}
