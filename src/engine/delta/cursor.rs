//! A cursor over a delta: what is visible at one LSN, record by record, both ways.
//!
//! Of each record it shows the newest version that is not younger than its LSN, deletions included;
//! records without such a version are passed over. It holds no lock. What is inserted while it
//! moves has a higher LSN and does not disturb it: a leaf that was replaced under it still leads to
//! all that was there when the cursor was placed. For the links of leaves that are in use lead to
//! leaves in use, and those of a replaced one to leaves that were in use when it was replaced; so
//! whatever the cursor comes to was in use after it was placed, and no leaf ever loses a record.

use super::super::{Change, Lsn, TableId};
use super::Delta;
use super::node::{Leaf, Order, Probe, leaf_for};
use super::record::{Record, Version};

/// See the top of this file. Begins nowhere: seek first. Having moved past an end it is nowhere
/// again.
pub(crate) struct DeltaCursor<'a> {
    delta: &'a Delta,
    at: Lsn,
    place: Option<Place<'a>>,
    found: Option<(Record<'a>, Version<'a>)>,
}

/// A place in a leaf, and the order of the leaf as it was read when the cursor came to it.
#[derive(Clone, Copy)]
struct Place<'a> {
    leaf: &'a Leaf,
    order: Order,
    at: usize,
}

impl<'a> DeltaCursor<'a> {
    pub(super) fn new(delta: &'a Delta, at: Lsn) -> DeltaCursor<'a> {
        DeltaCursor { delta, at, place: None, found: None }
    }

    /// Goes to the first visible record at or after this key; of a later table if need be. False if
    /// there is none.
    pub(crate) fn seek_ge(&mut self, table: TableId, key: &[u8]) -> bool {
        let place = self.search(&Probe::at(table, key));
        self.settle_forwards(place.map(|(place, _)| place))
    }

    /// Goes to the last visible record at or before this key; of an earlier table if need be. False
    /// if there is none.
    pub(crate) fn seek_le(&mut self, table: TableId, key: &[u8]) -> bool {
        let place = self.search(&Probe::at(table, key));
        self.settle_backwards(
            place.map(|(place, exact)| Place { at: place.at + usize::from(exact), ..place }),
        )
    }

    /// Goes to the last visible record of this table; of an earlier one if need be. False if there
    /// is none.
    pub(crate) fn seek_last(&mut self, table: TableId) -> bool {
        let place = self.search(&Probe::behind(table));
        self.settle_backwards(place.map(|(place, _)| place))
    }

    /// Goes to the next visible record. False if there is none, or if the cursor was nowhere.
    pub(crate) fn next(&mut self) -> bool {
        let place = self.place.map(|place| Place { at: place.at + 1, ..place });
        self.settle_forwards(place)
    }

    /// Goes to the visible record before. False if there is none, or if the cursor was nowhere.
    pub(crate) fn prev(&mut self) -> bool {
        self.settle_backwards(self.place)
    }

    /// Table, key, LSN and change of the record that the cursor is on.
    pub(crate) fn current(&self) -> Option<(TableId, &'a [u8], Lsn, Change<'a>)> {
        let (record, version) = self.found?;
        Some((record.table(), record.key(), version.lsn(), version.change()))
    }

    /// The place of the first record not before `probe`, or behind the last one of the leaf before
    /// it.
    fn search(&self, probe: &Probe<'_>) -> Option<(Place<'a>, bool)> {
        let leaf = leaf_for(self.delta.root.get()?, probe);
        let order = leaf.order();
        let (at, exact) = leaf.search(order, probe);
        Some((Place { leaf, order, at }, exact))
    }

    /// Stops at the first visible record at or after `place`.
    fn settle_forwards(&mut self, place: Option<Place<'a>>) -> bool {
        self.place = place;
        while let Some(place) = &mut self.place {
            while place.at < place.order.len() {
                let record = place.leaf.record(place.order, place.at);
                if let Some(version) = record.visible(self.at) {
                    self.found = Some((record, version));
                    return true;
                }
                place.at += 1;
            }
            self.place =
                place.leaf.next.get().map(|leaf| Place { leaf, order: leaf.order(), at: 0 });
        }
        self.found = None;
        false
    }

    /// Stops at the last visible record before `place`.
    fn settle_backwards(&mut self, place: Option<Place<'a>>) -> bool {
        self.place = place;
        while let Some(place) = &mut self.place {
            while place.at > 0 {
                place.at -= 1;
                let record = place.leaf.record(place.order, place.at);
                if let Some(version) = record.visible(self.at) {
                    self.found = Some((record, version));
                    return true;
                }
            }
            self.place = place.leaf.prev.get().map(|leaf| {
                let order = leaf.order();
                Place { leaf, order, at: order.len() }
            });
        }
        self.found = None;
        false
    }
}
