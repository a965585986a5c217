//! Logs that somebody forged: fields of any value under checksums that are right.
//!
//! The heads are chained, so everything behind a changed field is sealed anew. Whatever comes of it,
//! nothing panics, and a log that is taken for sound can be gone on with.

use proptest::prelude::*;

use super::format::{GROUP_HEAD, SEGMENT_HEADER, seed};
use super::*;
use crate::disk::{File, OpenMode};
use crate::engine::LSN_LIMIT;

const NUMBERS: [u64; 9] =
    [0, 1, 64, u32::MAX as u64, 1 << 32, LSN_LIMIT - 1, LSN_LIMIT, u64::MAX - 1, u64::MAX];

fn segment(number: u64) -> PathBuf {
    segment::path_of(&dir(), number)
}

fn two_segments() -> Arc<SimDisk> {
    let disk = new_disk(3);
    let mut log = fresh(&disk, 4096);
    append_marks(&mut log, 1..=5);
    log.roll().expect("healthy");
    append_marks(&mut log, 6..=8);
    log.sync().expect("healthy");
    disk
}

fn read(file: &dyn File) -> Vec<u8> {
    let mut bytes = vec![0; file.len().expect("open") as usize];
    file.read_exact_at(&mut bytes, 0).expect("there");
    bytes
}

/// Seals header and groups anew, where the groups stood before anything was changed. Returns the
/// checksum of the last group's head, which the next segment repeats.
fn reseal(bytes: &mut [u8], groups: &[(usize, usize)]) -> u32 {
    let crc = |bytes: &[u8], seed| crc32c::crc32c_append(seed, bytes);
    let header = crc(&bytes[..SEGMENT_HEADER - 4], 0);
    bytes[SEGMENT_HEADER - 4..SEGMENT_HEADER].copy_from_slice(&header.to_le_bytes());
    let (mut chain, mut last) = (header, header);
    for &(at, total) in groups {
        let salt = u64::from_le_bytes(*bytes[at + 56..].first_chunk().expect("within"));
        let seed = seed(salt, STORE);
        if total > GROUP_HEAD {
            let body = crc(&bytes[at + GROUP_HEAD..at + total], seed);
            bytes[at + 12..at + 16].copy_from_slice(&body.to_le_bytes());
        }
        bytes[at + 24..at + 28].copy_from_slice(&chain.to_le_bytes());
        chain = crc(&bytes[at + 8..at + GROUP_HEAD], seed);
        bytes[at + 4..at + 8].copy_from_slice(&chain.to_le_bytes());
        if total > GROUP_HEAD {
            last = chain;
        }
    }
    last
}

/// Places and lengths of the groups, a trailer included.
fn groups(disk: &SimDisk, number: u64) -> Vec<(usize, usize)> {
    let mut reader = SegmentReader::open(disk, &segment(number)).expect("sound");
    let mut found = Vec::new();
    loop {
        let at = reader.at() as usize;
        match reader.next().expect("readable") {
            Step::Group(group) => found.push((at, group.head.total as usize)),
            Step::Trailer(_) => {
                found.push((at, GROUP_HEAD));
                return found;
            }
            Step::Bad(_) => return found,
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, ..ProptestConfig::default() })]
    #[test]
    fn no_field_of_a_forged_log_makes_anything_panic(
        number in 1..3u64,
        spot in 0..6usize,
        field in 0..140usize,
        len in prop_oneof![Just(1usize), Just(2), Just(4), Just(8)],
        value in prop_oneof![
            proptest::sample::select(&NUMBERS[..]),
            any::<u64>(),
        ],
        checkpoint_lsn in prop_oneof![Just(0), 0..9u64, Just(LSN_LIMIT - 1)],
        durable_hint in prop_oneof![Just(0), 0..9u64, any::<u64>()],
    ) {
        let disk = two_segments();
        let found = groups(&disk, number);
        let file = disk.open(&segment(number), OpenMode::Write).expect("there");
        let mut bytes = read(&*file);
        // The header, or one of the groups.
        let start = if spot == 0 { 0 } else { found[(spot - 1) % found.len()].0 };
        bytes[start + field..][..len].copy_from_slice(&value.to_le_bytes()[..len]);
        let chain = reseal(&mut bytes, &found);
        file.write_at(&bytes, 0).expect("room");
        if number == 1 {
            // The next segment repeats how this one ends.
            let next = disk.open(&segment(2), OpenMode::Write).expect("there");
            let (found, mut bytes) = (groups(&disk, 2), read(&*next));
            bytes[12..16].copy_from_slice(&chain.to_le_bytes());
            reseal(&mut bytes, &found);
            next.write_at(&bytes, 0).expect("room");
        }
        let base = RecoveryBase { checkpoint_lsn, durable_hint, ..base() };
        let Ok(recovered) = recover(&*disk, &dir(), &base, &mut |_, _, _| Ok(())) else {
            return Ok(());
        };
        let Ok(mut log) = Log::start(disk.clone(), dir(), after(&disk, &recovered, 4096)) else {
            return Ok(());
        };
        log.define_context(&Context::default()).expect("short");
        let _sealed = log.upkeep().closed().map(|closed| {
            closed.iter().for_each(|segment| drop(segment.ending(&*disk)));
        });
        let _counted = log.upkeep().count();
        for one in 100..103 {
            let _refused = append(&mut log, &[mark(one)]);
        }
        let _closed = log.close(recovered.last_lsn);
        let _again = recover(&*disk, &dir(), &base, &mut |_, _, _| Ok(()));
    }
}

#[test]
fn the_checksums_of_a_forged_log_are_right() {
    let disk = two_segments();
    let file = disk.open(&segment(1), OpenMode::Read).expect("there");
    let (found, original) = (groups(&disk, 1), read(&*file));
    assert_eq!(found.len(), 6, "five groups and a trailer");
    let mut bytes = original.clone();
    bytes[40] ^= 1;
    reseal(&mut bytes, &found);
    assert!(bytes != original);
    bytes[40] ^= 1;
    reseal(&mut bytes, &found);
    assert!(bytes == original, "the seals are those that the writer made");
}
