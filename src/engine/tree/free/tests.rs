//! The free list against a page-by-page model of the reuse rule.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

proptest! {
    /// The rule by itself, page by page: free when no pinned c has b <= c < f.
    #[test]
    fn a_page_ripens_exactly_when_no_pin_can_reach_it(
        pins in proptest::collection::btree_set(1u64..12, 0..5),
        spans in proptest::collection::vec((1u64..12, 1u64..12), 1..40),
    ) {
        let mut space = Space::new(1000);
        let mut expected = BTreeSet::new();
        for (n, (birth, life)) in spans.iter().enumerate() {
            let (page, freed) = (10 + 2 * n as u64, birth + life);
            space.add_waiting(freed, vec![Extent { first: page, len: 1, birth: *birth }]);
            if !pins.iter().any(|pin| (*birth..freed).contains(pin)) {
                expected.insert(page);
            }
        }
        space.ripen(&pins.iter().copied().collect::<Vec<_>>());
        let mut taken = BTreeSet::new();
        loop {
            let page = space.take_page();
            if page >= 1000 {
                break;
            }
            taken.insert(page);
        }
        prop_assert_eq!(taken, expected);
    }

    #[test]
    fn runs_and_pages_never_overlap_and_low_ones_go_first(
        free in proptest::collection::btree_set(2u64..200, 0..120),
        asks in proptest::collection::vec(1u64..9, 1..60),
    ) {
        let mut space = Space::new(201);
        free.iter().for_each(|page| space.add_free(*page, 1));
        let mut left = free;
        let mut end = 201;
        for ask in asks {
            let fits = |first: &u64| (*first..first + ask).all(|page| left.contains(&page));
            let lowest = left.iter().copied().find(fits);
            let got = if ask == 1 { space.take_page() } else { space.take_run(ask) };
            match lowest {
                Some(first) => prop_assert_eq!(got, first),
                None => prop_assert!(got + ask > end),
            }
            for page in got..got + ask {
                prop_assert!(left.remove(&page) || page >= end, "page {} was not free", page);
            }
            end = end.max(got + ask);
            prop_assert_eq!(space.end(), end);
        }
        prop_assert_eq!(space.free_pages(), left.len() as u64);
    }

    #[test]
    fn the_list_names_every_dead_page_below_the_end_and_its_bound_holds(
        free in proptest::collection::btree_set(2u64..150, 0..100),
        freed in proptest::collection::btree_set(2u64..150, 0..100),
        takes in 0u64..10,
    ) {
        let mut space = Space::new(150);
        free.difference(&freed).for_each(|page| space.add_free(*page, 1));
        let now: Vec<Extent> =
            freed.iter().map(|page| Extent { first: *page, len: 1, birth: 1 }).collect();
        let bound = space.list_bound(&now);
        for _ in 0..takes {
            space.take_page();
        }
        let (end, list) = space.list(&now);
        prop_assert!(list.len() <= bound + takes as usize);
        let mut dead: BTreeSet<u64> = free.difference(&freed).copied().skip(takes as usize).collect();
        dead.extend(&freed);
        let mut named = BTreeSet::new();
        for entry in list {
            prop_assert_eq!(Entry::decode(entry.encode()), entry);
            for page in entry.first..entry.first + entry.len {
                prop_assert!(named.insert(page));
                prop_assert_eq!(entry.now, freed.contains(&page));
            }
        }
        prop_assert!(!dead.contains(&(end - 1)) || end == FIRST_PAGE);
        prop_assert_eq!(named, dead.range(..end).copied().collect::<BTreeSet<_>>());
        prop_assert!(dead.range(end..).copied().eq(end..space.end()));
    }
}

#[test]
fn a_long_extent_takes_several_entries() {
    let mut space = Space::new(3 * MAX_EXTENT);
    space.add_free(5, 2 * MAX_EXTENT + 7);
    let (_, list) = space.list(&[]);
    assert_eq!(list.iter().map(|entry| entry.len).collect::<Vec<_>>(), [MAX_EXTENT, MAX_EXTENT, 7]);
    assert!(list.windows(2).all(|pair| pair[0].first + pair[0].len == pair[1].first));
}
