//! Damage of every kind, tried exhaustively on small archives.

use super::*;
use crate::archive::frame::{FrameEncoder, bound};
use crate::archive::seal::{self, FrameSize};
use crate::archive::tar;
use crate::archive::{Digest, frame::Encoded};

/// A small archive: two frames of content, padding, and an empty entry.
fn small(compression: Compression) -> Vec<u8> {
    let entries = [file("store.data", text(4500, 1)), file("empty", Vec::new())];
    archive_bytes(&ArchiveOptions { workers: 1, ..options(compression, 4096) }, &entries)
}

fn every_flip_is_reported(compression: Compression) {
    let mut bytes = small(compression);
    open_and_verify(bytes.clone()).expect("the undamaged one is sound");
    for bit in 0..bytes.len() * 8 {
        bytes[bit / 8] ^= 1 << (bit % 8);
        let refused = open_and_verify(bytes.clone());
        assert!(refused.is_err(), "{compression:?}: bit {} of byte {} unseen", bit % 8, bit / 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
    }
}

#[test]
fn every_flipped_bit_is_reported_without_compression() {
    every_flip_is_reported(Compression::None);
}

#[test]
fn every_flipped_bit_is_reported_with_fast_compression() {
    every_flip_is_reported(Compression::Fast);
}

#[test]
fn every_flipped_bit_is_reported_with_compact_compression() {
    every_flip_is_reported(Compression::Compact);
}

#[test]
fn every_cut_and_every_added_byte_is_reported() {
    for compression in ALL {
        let bytes = small(compression);
        for len in 0..bytes.len() {
            assert!(open(bytes[..len].to_vec()).is_err(), "{compression:?} cut to {len}");
            assert!(open(bytes[len..].to_vec()).is_err() || len == 0, "cut before {len}");
        }
        for extra in [&[0][..], &[0; 512], &bytes] {
            assert!(open([&bytes[..], extra].concat()).is_err(), "{compression:?} longer");
        }
    }
}

#[test]
fn what_is_no_archive_is_told_from_a_damaged_one() {
    let kind = |bytes: Vec<u8>| open(bytes).err().expect("it is refused").kind();
    // By its name it was one.
    assert_eq!(kind(Vec::new()), ErrorKind::Corrupt);
    assert_eq!(kind(vec![7; 5000]), ErrorKind::Unsupported);
    let bytes = small(Compression::Fast);
    assert_eq!(kind(bytes[..bytes.len() - 1].to_vec()), ErrorKind::Corrupt);
    let plain_zstd = zstd::bulk::compress(&text(5000, 1), 1).expect("packs");
    assert_eq!(kind(plain_zstd), ErrorKind::Corrupt);
}

/// Puts an archive together from frames of any content, sealed as it should be: what a hostile
/// writer can do.
fn forge(contents: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut sizes = Vec::new();
    let mut encoder = FrameEncoder::new(Compression::Fast).expect("is made");
    for content in contents {
        let mut packed = Vec::with_capacity(bound(content.len()));
        assert_eq!(encoder.encode(content, &mut packed).expect("packs"), Encoded::Packed);
        sizes.push(FrameSize { packed: packed.len() as u32, content: content.len() as u32 });
        bytes.extend_from_slice(&packed);
    }
    seal_up(bytes, &sizes)
}

fn seal_up(mut bytes: Vec<u8>, sizes: &[FrameSize]) -> Vec<u8> {
    bytes.extend_from_slice(&seal::seal_head(bytes.len() as u64));
    let digest = *blake3::hash(&bytes).as_bytes();
    bytes.extend_from_slice(&digest);
    bytes.extend_from_slice(&seal::encode_table(sizes));
    bytes
}

const HEADER: &str = r#"{"format":1,"compression":"fast","frame_bytes":4096,"app":null}"#;

/// Frames of an archive with one entry, whose header is `inner` and whose frames are `content`.
fn one_entry(header: &str, inner: &[u8], padding: usize, content: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let header_meta = EntryMeta::file(HEADER_NAME, header.len() as u64, 0);
    let size: u64 = content.iter().map(|frame| frame.len() as u64).sum();
    let digest = Digest::of(&content.concat());
    let listed = |meta: EntryMeta, blake3| ManifestEntry { meta, blake3 };
    let meta = tar::decode(inner).unwrap_or_else(|_| EntryMeta::file("x", size, 0));
    let manifest = Manifest {
        format: FORMAT,
        entries: vec![
            listed(header_meta.clone(), Digest::of(header.as_bytes())),
            listed(meta, digest),
        ],
        results: serde_json::Value::Null,
    };
    let manifest = serde_json::to_vec(&manifest).expect("is JSON");
    let manifest_meta = EntryMeta::file(MANIFEST_NAME, manifest.len() as u64, 0);
    let pad = |size: usize| vec![0; tar::padding(size as u64)];
    let mut frames = vec![tar::encode(&header_meta), header.as_bytes().to_vec()];
    frames.push([pad(header.len()), inner.to_vec()].concat());
    frames.extend_from_slice(content);
    frames.push([vec![0; padding], tar::encode(&manifest_meta)].concat());
    frames.push(manifest.clone());
    frames.push([pad(manifest.len()), tar::END.to_vec()].concat());
    frames
}

fn refused(frames: &[Vec<u8>]) -> ErrorKind {
    open_and_verify(forge(frames)).expect_err("it is refused").kind()
}

#[test]
fn a_forged_archive_that_keeps_all_rules_is_accepted() {
    // Else the refusals below would prove nothing.
    let inner = tar::encode(&EntryMeta::file("x", 512, 0));
    open_and_verify(forge(&one_entry(HEADER, &inner, 0, &[text(512, 1)]))).expect("is accepted");
}

#[test]
fn forged_entries_that_would_leave_the_folder_are_refused() {
    for meta in [
        EntryMeta::file("../x", 512, 0),
        EntryMeta::file("/etc/x", 512, 0),
        EntryMeta::symlink("x", "/etc/passwd", 0),
        EntryMeta::symlink("a/x", "../../up", 0),
    ] {
        let content = if meta.size == 0 { vec![] } else { vec![text(512, 1)] };
        let frames = one_entry(HEADER, &tar::encode(&meta), 0, &content);
        assert_eq!(refused(&frames), ErrorKind::Corrupt, "{meta:?}");
    }
    let mut hard_link = tar::encode(&EntryMeta::symlink("x", "header.json", 0));
    hard_link[156] = b'1';
    let checksum = u32::from_str_radix("0", 8).expect("octal");
    hard_link[148..156].copy_from_slice(b"        ");
    let sum = hard_link.iter().fold(checksum, |sum, byte| sum + u32::from(*byte));
    hard_link[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    assert_eq!(refused(&one_entry(HEADER, &hard_link, 0, &[])), ErrorKind::Corrupt);
    let twice = tar::encode(&EntryMeta::file(HEADER_NAME, 512, 0));
    assert_eq!(refused(&one_entry(HEADER, &twice, 0, &[text(512, 1)])), ErrorKind::Corrupt);
}

#[test]
fn forged_frames_that_do_not_fit_their_entry_are_refused() {
    let inner = tar::encode(&EntryMeta::file("x", 8192, 0));
    let good = one_entry(HEADER, &inner, 0, &[text(4096, 1), text(4096, 2)]);
    open_and_verify(forge(&good)).expect("is accepted");
    for content in [
        vec![text(8192, 1)],
        vec![text(2048, 1), text(2048, 1), text(4096, 1)],
        vec![text(4096, 1)],
        vec![text(4096, 1), text(4096, 2), text(1, 3)],
    ] {
        assert_eq!(refused(&one_entry(HEADER, &inner, 0, &content)), ErrorKind::Corrupt);
    }
}

#[test]
fn a_forged_header_is_refused_by_its_fault() {
    let inner = tar::encode(&EntryMeta::file("x", 512, 0));
    let with = |header: &str| refused(&one_entry(header, &inner, 0, &[text(512, 1)]));
    assert_eq!(with(&HEADER.replace("\"format\":1", "\"format\":2")), ErrorKind::Unsupported);
    assert_eq!(with(&HEADER.replace("\"format\":1,", "")), ErrorKind::Unsupported);
    for size in ["0", "4095", "5000", "2097152", "-1"] {
        assert_eq!(with(&HEADER.replace("4096", size)), ErrorKind::Corrupt, "{size}");
    }
    assert_eq!(with("{"), ErrorKind::Corrupt);
    assert_eq!(with(&"[".repeat(3000)), ErrorKind::Corrupt);
}

#[test]
fn what_the_manifest_does_not_vouch_for_is_refused() {
    let inner = tar::encode(&EntryMeta::file("x", 512, 0));
    let good = one_entry(HEADER, &inner, 0, &[text(512, 1)]);
    let mut other_content = good.clone();
    other_content[3] = text(512, 2);
    assert_eq!(refused(&other_content), ErrorKind::Corrupt);
    let mut other_time = good.clone();
    let header = tar::padding(HEADER.len() as u64);
    other_time[2].truncate(header);
    other_time[2].extend_from_slice(&tar::encode(&EntryMeta::file("x", 512, 1_000_000)));
    assert_eq!(refused(&other_time), ErrorKind::Corrupt);
    let mut dirty_padding = good.clone();
    dirty_padding[2][0] = 1;
    assert_eq!(refused(&dirty_padding), ErrorKind::Corrupt);
    let mut dirty_end = good.clone();
    *dirty_end.last_mut().expect("has frames").last_mut().expect("has bytes") = 1;
    assert_eq!(refused(&dirty_end), ErrorKind::Corrupt);
    for missing in 0..good.len() {
        let mut fewer = good.clone();
        fewer.remove(missing);
        assert_eq!(refused(&fewer), ErrorKind::Corrupt, "without frame {missing}");
    }
}

#[test]
fn bombs_are_refused_before_they_are_unpacked() {
    // A frame that unpacks to more than the format allows.
    let bomb = vec![0; 8 << 20];
    let inner = tar::encode(&EntryMeta::file("x", bomb.len() as u64, 0));
    assert_eq!(
        refused(&one_entry(HEADER, &inner, 0, std::slice::from_ref(&bomb))),
        ErrorKind::Corrupt
    );
    // One that claims less than it unpacks to.
    let packed = zstd::bulk::compress(&bomb, 1).expect("packs");
    let lie = FrameSize { packed: packed.len() as u32, content: 1 << 20 };
    assert!(open_and_verify(seal_up(packed, &[lie])).is_err());
    // A header larger than any header.
    let huge = EntryMeta::file(HEADER_NAME, MAX_JSON + 1, 0);
    assert_eq!(refused(&[tar::encode(&huge), vec![b' '; 1 << 20]]), ErrorKind::Corrupt);
    // A manifest whose tar header promises more than the frames hold.
    let mut short = one_entry(HEADER, &tar::encode(&EntryMeta::dir("x", 0)), 0, &[]);
    let at = short.len() - 3;
    let own = tar::encode(&EntryMeta::file(MANIFEST_NAME, MAX_JSON, 0));
    let keep = short[at].len() - own.len();
    short[at].truncate(keep);
    short[at].extend_from_slice(&own);
    assert_eq!(refused(&short), ErrorKind::Corrupt);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn random_bytes_are_refused_without_a_panic(
        mut bytes in proptest::collection::vec(any::<u8>(), 0..3000),
        dress in any::<bool>(),
    ) {
        if dress {
            let mut start = 0xFD2F_B528u32.to_le_bytes().to_vec();
            start.append(&mut bytes);
            let len = start.len() as u32;
            bytes = seal_up(start, &[FrameSize { packed: len, content: 4096 }]);
        }
        prop_assert!(open_and_verify(bytes).is_err());
    }

    #[test]
    fn forged_frames_of_random_content_are_refused_without_a_panic(
        mut frames in proptest::collection::vec(
            proptest::collection::vec(any::<u8>(), 1..1500), 0..6),
        header in any::<bool>(),
    ) {
        if header {
            let meta = EntryMeta::file(HEADER_NAME, HEADER.len() as u64, 0);
            frames.insert(0, tar::encode(&meta));
            frames.insert(1, HEADER.as_bytes().to_vec());
        }
        prop_assert!(open_and_verify(forge(&frames)).is_err());
    }

    #[test]
    fn spliced_archives_are_refused(cut in any::<usize>(), other in any::<usize>()) {
        let (a, b) = (small(Compression::Fast), small(Compression::None));
        let spliced = [&a[..cut % a.len()], &b[other % b.len()..]].concat();
        prop_assume!(spliced != a && spliced != b);
        prop_assert!(open_and_verify(spliced).is_err());
    }
}
