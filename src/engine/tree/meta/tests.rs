//! Metas: their encoding, their damage, and which of two counts.

use proptest::prelude::*;

use super::*;
use crate::disk::{Disk, OpenMode, SimDisk};
use crate::engine::tree::pointer::Pointer;

fn meta(number: u64) -> Meta {
    Meta {
        page_size: 4096,
        store_id: 1 << 100 | 5,
        timeline: Timeline { id: 3 << 90, parent: 4 << 80, fork: 17 },
        ancestry_digest: 0x0123_4567_89ab_cdef,
        number,
        lsn: 100 + number,
        time: -5,
        durable_log_lsn: 99,
        catalogue: TableRoot {
            root: Pointer { page: 9, birth: 2, crc: 77, holds_runs: true },
            level: 3,
            records: 12,
        },
        page_count: 40,
        free_list: 11,
        free_list_crc: 5,
        free_list_birth: 2,
        next_table_id: 8,
        from_archive: number.is_multiple_of(2),
        foreign: number == 3,
    }
}

#[test]
fn a_meta_survives_its_encoding() {
    for number in [1, 2, 3] {
        assert_eq!(Meta::decode(&meta(number).encode()), Ok(meta(number)));
    }
}

#[test]
fn every_flipped_bit_of_a_meta_is_seen() {
    let page = meta(3).encode();
    for at in 0..page.len() {
        let mut bad = page.clone();
        bad[at] ^= 1 << (at % 8);
        assert!(Meta::decode(&bad).is_err(), "byte {at}");
    }
}

#[test]
fn a_torn_meta_falls_back_to_the_other() {
    let disk = SimDisk::new(1);
    let path = Path::new("data");
    let file = disk.open(path, OpenMode::CreateNew).expect("create");
    let (old, new) = (meta(4).encode(), meta(5).encode());
    for torn in (0..=4096).step_by(512) {
        let page = [&new[..torn], &old[torn..]].concat();
        for (first, second) in [(&page, &old), (&old, &page)] {
            file.write_at(first, 0).expect("write");
            file.write_at(second, 4096).expect("write");
            let metas = Metas::read(&*file, path).expect("one is valid");
            let expected = if torn == 4096 { 5 } else { 4 };
            assert_eq!(metas.newest().1.number, expected, "torn after {torn}");
        }
    }
}

#[test]
fn what_is_no_data_file_is_refused_by_kind() {
    let disk = SimDisk::new(1);
    let path = Path::new("data");
    let file = disk.open(path, OpenMode::CreateNew).expect("create");
    let kind = |file: &dyn File| Metas::read(file, path).map(drop).expect_err("refused").kind();
    assert_eq!(kind(&*file), ErrorKind::Unsupported);
    file.write_at(&[7; 9000], 0).expect("write");
    assert_eq!(kind(&*file), ErrorKind::Unsupported);
    let mut page = meta(1).encode();
    page[200] ^= 1;
    file.write_parts_at(&[&page, &page], 0).expect("write");
    assert_eq!(kind(&*file), ErrorKind::Corrupt);
    let mut page = meta(1).encode();
    page[8] = FORMAT as u8 + 1;
    let crc = crc32c::crc32c(&page[..4092]);
    page[4092..].copy_from_slice(&crc.to_le_bytes());
    file.write_parts_at(&[&page, &page], 0).expect("write");
    assert_eq!(kind(&*file), ErrorKind::Unsupported);
}

proptest! {
    #[test]
    fn random_bytes_as_a_meta_never_panic(
        mut bytes in proptest::collection::vec(any::<u8>(), 4096),
    ) {
        let _ = Meta::decode(&bytes);
        bytes[..8].copy_from_slice(MAGIC);
        let crc = crc32c::crc32c(&bytes[..4092]);
        bytes[4092..].copy_from_slice(&crc.to_le_bytes());
        let _ = Meta::decode(&bytes);
    }
}
