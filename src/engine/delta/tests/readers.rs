//! Readers and cursors beside the writer, held up wherever they can be.

use super::super::arena::Child;
use super::super::node::{Node, Probe, leaf_for};
use super::*;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Stands in for readers that are held up in the middle of a search: wherever in the index one has
/// come to, what was there at that time is found from there at any later time.
#[test]
fn from_every_node_a_reader_came_to_it_finds_what_was_there_then() {
    // Scattered, ascending and descending: splits in the middle, behind all and before all.
    let orders: [fn(u64) -> u64; 4] =
        [|i| i.wrapping_mul(0x9e37_79b9_7f4a_7c15), |i| i, |i| u64::MAX - i, |i| i ^ 0xff];
    for (which, order) in orders.into_iter().enumerate() {
        let (delta, mut writer) = Delta::new();
        let mut waiting = Vec::new();
        for i in 0..4000 {
            writer.insert(1, &order(i).to_be_bytes(), i + 1, DeltaChange::Put(b"there"));
            // Now and then one reader for a key of old and one for the newest, at each level.
            if i % 7 == 0 {
                for n in [i, i / 2] {
                    let key = order(n).to_be_bytes();
                    let way = way_to(&delta, &key);
                    waiting.extend(way.into_iter().map(|node| (key, node)));
                }
            }
        }
        for (key, node) in &waiting {
            let probe = Probe::at(1, key);
            let leaf = leaf_for(*node, &probe);
            assert!(leaf.search(leaf.order(), &probe).1, "order {which}, key {key:?}");
        }
    }
}

/// All nodes on the way from the root to the leaf of a key.
fn way_to<'a>(delta: &'a Delta, key: &[u8]) -> Vec<Node<'a>> {
    let probe = Probe::at(1, key);
    let mut way = vec![delta.root.get().expect("a delta with records has a root")];
    while let Some(Child::Other(inner)) = way.last() {
        let order = inner.order();
        way.push(inner.child(order, inner.search(order, &probe)));
    }
    way
}

/// A generator without state to share: the value that record `n` has in round `round`.
fn filled(n: u64, round: u64) -> Vec<u8> {
    let mut value = vec![(n ^ round) as u8; 8 + (n % 90) as usize];
    value[..8].copy_from_slice(&round.to_le_bytes());
    value
}

/// One commit a round: it overwrites some records and adds new ones, then its LSN is published.
#[test]
fn readers_find_whole_what_was_published_while_the_writer_goes_on() {
    const ROUNDS: u64 = 150;
    const ADDED: u64 = 100;
    let (delta, mut writer) = Delta::new();
    let published = AtomicU64::new(0);
    let done = AtomicBool::new(false);
    // Scattered, so that inserts and splits are everywhere; the name tells n and round.
    let key = |n: u64| n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes();
    let round_of = |n: u64, at: Lsn| {
        // Added in round n / ADDED + 1, and overwritten in each third round after that.
        let added = n / ADDED + 1;
        added + (at - added) / 3 * 3
    };
    std::thread::scope(|scope| {
        for reader in 0..3u64 {
            let (delta, published, done) = (&delta, &published, &done);
            scope.spawn(move || {
                let mut n = reader;
                let mut scans = 0;
                while !done.load(Ordering::Acquire) || scans < 2 {
                    let at = published.load(Ordering::Acquire);
                    for _ in 0..200 {
                        n = (n + 7919) % (at * ADDED).max(1);
                        if at > 0 {
                            let got = delta.get(1, &key(n), at).and_then(owned);
                            assert_eq!(got, Some(filled(n, round_of(n, at))));
                        }
                    }
                    let rows = if reader == 0 { backwards(delta, at) } else { forwards(delta, at) };
                    assert_eq!(rows.len() as u64, at * ADDED);
                    assert!(rows.windows(2).all(|pair| pair[0].0 < pair[1].0));
                    assert!(rows.iter().all(|(_, (lsn, _))| *lsn <= at));
                    scans += 1;
                }
            });
        }
        for round in 1..=ROUNDS {
            for n in 0..round * ADDED {
                if round_of(n, round) == round {
                    writer.insert(1, &key(n), round, DeltaChange::Put(&filled(n, round)));
                }
            }
            published.store(round, Ordering::Release);
        }
        done.store(true, Ordering::Release);
    });
}

#[test]
fn a_cursor_is_not_disturbed_by_what_is_inserted_while_it_moves() {
    let (delta, mut writer) = Delta::new();
    let key = |n: u64| (n * 1000).to_be_bytes();
    for n in 0..2000 {
        writer.insert(1, &key(n), 1, DeltaChange::Put(&n.to_le_bytes()));
    }
    let mut ahead = delta.cursor(1);
    let mut back = delta.cursor(1);
    assert!(ahead.seek_ge(1, b"") && back.seek_last(1));
    for n in 0..2000 {
        let value = |n: u64| n.to_le_bytes();
        assert_eq!(ahead.current(), Some((1, &key(n)[..], 1, Change::Put(&value(n)))));
        let m = 1999 - n;
        assert_eq!(back.current(), Some((1, &key(m)[..], 1, Change::Put(&value(m)))));
        // Around both cursors: enough new records to replace the leaf they are in, and new
        // versions.
        for i in 1..20 {
            for near in [n, m] {
                let new = (near * 1000 + (n + 1) * 20 % 900 + i).to_be_bytes();
                writer.insert(1, &new, 2 + n, DeltaChange::Put(b"later"));
            }
        }
        writer.insert(1, &key(n), 2 + n, DeltaChange::Delete);
        assert_eq!((ahead.next(), back.prev()), (n < 1999, n < 1999));
    }
}
