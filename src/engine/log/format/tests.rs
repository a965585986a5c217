//! Bytes of headers and heads: what was written is read, and whatever was not is refused.

use super::*;
use proptest::prelude::*;

fn header() -> SegmentHeader {
    SegmentHeader {
        store_id: 7,
        timeline: Timeline { id: 1, parent: 2, fork: 3 },
        ancestry_digest: 0x0123_4567_89ab_cdef,
        number: 9,
        salt: 0x1234_5678_9abc_def0,
        prev: Some(SegmentEnd { number: 8, chain: 77, lsn: 500 }),
        base: 500,
        base_time: -4,
        applied: true,
    }
}

fn head(kind: HeadKind) -> GroupHead {
    GroupHead {
        kind,
        contexts: 0,
        body_crc: 5,
        total: GROUP_HEAD as u32,
        commits: 3,
        prev_chain: 11,
        first_lsn: 501,
        time: 12,
        synced_through: 490,
        salt: 99,
    }
}

#[test]
fn what_is_encoded_is_decoded() {
    let bytes = header().encode();
    assert_eq!(SegmentHeader::decode(&bytes), Ok(header()));
    let first = SegmentHeader { prev: None, base: 0, applied: false, ..header() };
    assert_eq!(SegmentHeader::decode(&first.encode()), Ok(first));
    for kind in [HeadKind::Group, HeadKind::Trailer] {
        let (bytes, crc) = head(kind).encode(seed(99, 7));
        assert_eq!(GroupHead::decode(&bytes, 7), Ok((head(kind), crc)));
    }
}

#[test]
fn every_flipped_bit_of_a_header_and_of_a_head_is_seen() {
    let sound = header().encode();
    for bit in 0..SEGMENT_HEADER * 8 {
        let mut bytes = sound;
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert!(SegmentHeader::decode(&bytes).is_err(), "bit {bit}");
    }
    let (sound, _) = head(HeadKind::Group).encode(seed(99, 7));
    for bit in 0..GROUP_HEAD * 8 {
        let mut bytes = sound;
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert!(GroupHead::decode(&bytes, 7).is_err(), "bit {bit}");
    }
}

#[test]
fn a_head_of_another_store_is_no_head() {
    let (bytes, _) = head(HeadKind::Group).encode(seed(99, 7));
    assert_eq!(GroupHead::decode(&bytes, 8), Err(Malformed::Checksum));
}

#[test]
fn another_format_is_told_from_damage() {
    let mut bytes = header().encode();
    bytes[8] = FORMAT as u8 + 1;
    let crc = crc32c::crc32c(&bytes[..SEGMENT_HEADER - 4]);
    bytes[SEGMENT_HEADER - 4..].copy_from_slice(&crc.to_le_bytes());
    assert_eq!(SegmentHeader::decode(&bytes), Err(Malformed::Format(FORMAT + 1)));
}

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 128)) {
        let mut bytes: [u8; 128] = bytes.try_into().expect("the strategy gives 128 bytes");
        let _ = SegmentHeader::decode(&bytes);
        bytes[..8].copy_from_slice(&SEGMENT_MAGIC);
        let _ = SegmentHeader::decode(&bytes);
        bytes[..4].copy_from_slice(&GROUP_MAGIC.to_le_bytes());
        let head: &[u8; 64] = bytes[..64].try_into().expect("64 bytes");
        prop_assert!(GroupHead::decode(head, 1).is_err());
    }
}
