//! Pages against what was put into them, and against random bytes.

use proptest::prelude::*;

use super::super::build::{Builder, Cut};
use super::*;

/// Touches everything that can be asked of a page.
fn exercise(bytes: &[u8], level: u8, key: &[u8]) {
    let _ = check_page(bytes, level);
    let Some(node) = Node::new(bytes, level) else { return };
    for index in [0, 1, node.count() / 2, node.count() - 1, node.count(), usize::from(u16::MAX)] {
        let _ = (node.leaf_key(index), node.leaf_value(index), node.leaf_cell(index));
        let _ = (node.separator(index), node.child(index));
    }
    let _ = (node.search(key), node.find(key), node.route(key), node.holds_runs());
}

fn leaf(keys: &[Vec<u8>]) -> Vec<u8> {
    let mut builder = Builder::new(0, 4096);
    for key in keys {
        builder.push_record(key, b"value", false);
    }
    let mut page = vec![0; 4096];
    builder.fill(Cut::Full, &mut page);
    page
}

fn inner(keys: &[Vec<u8>]) -> Vec<u8> {
    let mut builder = Builder::new(1, 4096);
    for (n, key) in keys.iter().enumerate() {
        builder.push_child(key, Pointer { page: n as u64 + 2, ..Pointer::NULL });
    }
    let mut page = vec![0; 4096];
    builder.fill(Cut::Full, &mut page);
    page
}

fn keys() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let tail = proptest::collection::btree_set(proptest::collection::vec(0u8..4, 0..8), 1..60);
    (proptest::collection::vec(any::<u8>(), 0..9), tail).prop_map(|(prefix, tails)| {
        tails.into_iter().map(|tail| [prefix.clone(), tail].concat()).collect()
    })
}

proptest! {
    #[test]
    fn random_bytes_as_a_page_never_panic(
        mut bytes in proptest::collection::vec(any::<u8>(), 4096),
        level in 0u8..3,
        count in 0u16..900,
        key in proptest::collection::vec(any::<u8>(), 0..40),
    ) {
        exercise(&bytes, level, &key);
        bytes[0] = if level == 0 { KIND_LEAF } else { KIND_INNER };
        bytes[1] = level;
        bytes[2..4].copy_from_slice(&count.to_le_bytes());
        exercise(&bytes, level, &key);
        bytes[4..6].copy_from_slice(&(count % 5).to_le_bytes());
        exercise(&bytes, level, &key);
    }

    #[test]
    fn a_sound_page_with_bytes_changed_never_panics(
        keys in keys(),
        changes in proptest::collection::vec((0usize..4096, any::<u8>()), 1..20),
        near in proptest::collection::vec((0usize..300, any::<u8>()), 1..6),
    ) {
        for (level, mut page) in [(0, leaf(&keys)), (1, inner(&keys))] {
            prop_assert_eq!(check_page(&page, level), Ok(()));
            for (at, byte) in changes.iter().chain(&near) {
                page[*at] = *byte;
                exercise(&page, level, &keys[0]);
                exercise(&page, level, b"other");
            }
        }
    }

    #[test]
    fn a_page_finds_what_a_sorted_list_finds(
        keys in keys(),
        probe in proptest::collection::vec(0u8..5, 0..14),
        chosen in any::<prop::sample::Index>(),
        cut in 0usize..12,
    ) {
        let near = &keys[chosen.index(keys.len())];
        for probe in [&probe[..], near, &near[..cut.min(near.len())]] {
            let page = leaf(&keys);
            let node = Node::new(&page, 0).expect("a leaf");
            let expected = keys.binary_search_by(|key| key.as_slice().cmp(probe));
            prop_assert_eq!(node.search(probe), Some(expected));
            let found = node.find(probe).expect("sound").map(|place| usize::from(place.key));
            let place = expected.ok().and_then(|index| node.place(index));
            prop_assert_eq!(found, place.map(|place| usize::from(place.key)));
            let page = inner(&keys);
            let node = Node::new(&page, 1).expect("an inner page");
            let above = keys[1..].partition_point(|key| key.as_slice() <= probe);
            prop_assert_eq!(node.route(probe), Some(above));
        }
    }

    #[test]
    fn pointers_survive_their_encoding(
        page in 0u64..1 << 40,
        birth in 0u64..1 << 48,
        crc in any::<u32>(),
        holds_runs in any::<bool>(),
    ) {
        let pointer = Pointer { page, birth, crc, holds_runs };
        prop_assert_eq!(Pointer::decode(&pointer.encode()), pointer);
        let run = RunRef { first: page, len: birth, birth: page, crc };
        prop_assert_eq!(RunRef::decode(&run.encode()), run);
    }
}

#[test]
fn an_inner_page_holds_three_of_the_longest_separators() {
    for size in [4096, 8192, 16384, 32768] {
        assert!(3 * (INNER_ENTRY + max_key_len(size)) <= capacity(size));
        assert!(LEAF_ENTRY + max_key_len(size) + RUN_LEN <= inline_limit(size));
        assert!(max_key_len(size) >= 1024);
    }
}

#[test]
fn a_cell_ends_before_the_birth() {
    let mut builder = Builder::new(0, 4096);
    (0..4u8).for_each(|key| builder.push_record(&[key], &[7; 900], false));
    let mut page = vec![0; 4096];
    builder.fill(Cut::Full, &mut page);
    assert_eq!(check_page(&page, 0), Ok(()));
    let last = HEADER + 4 * 4 + 2 * 4;
    for (end, is_right) in [(4096 - TRAILER, true), (4096 - TRAILER + 1, false), (4096, false)] {
        page[last..last + 2].copy_from_slice(&(end as u16).to_le_bytes());
        assert_eq!(check_page(&page, 0).is_ok(), is_right, "{end}");
    }
}
