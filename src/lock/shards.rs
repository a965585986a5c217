//! Locks that nobody waits for: many small tables, each under a mutex of its own.
//!
//! An entry is either here (its holders stand in it) or *central* (the marker [`Entry::Central`]
//! stands in it, its holders are in the manager's one table). Whatever does not fit goes central,
//! and comes back when nobody waits for it any more. Invariant: a shard's mutex is taken after the
//! manager's, never before it, and only whoever has the manager's mutex changes where an entry is.

use super::mode::Mode;
use super::table::OwnerId;
use crossbeam_utils::CachePadded;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::collections::hash_map;
use std::hash::{BuildHasherDefault, Hasher};

/// The keys are hashes already, or few.
#[derive(Default)]
pub(crate) struct Spread(u64);

impl Hasher for Spread {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = (self.0 ^ value).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29);
    }
}

enum Entry {
    One(OwnerId, Mode),
    Many(Vec<(OwnerId, Mode)>),
    Central,
}

type Map = HashMap<u64, Entry, BuildHasherDefault<Spread>>;

/// What became of a try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Try {
    /// The owner holds it, and held nothing on it before.
    New,
    /// The owner held it already, perhaps in a weaker mode.
    Held,
    /// It does not fit, or is in the manager's table.
    Central,
}

/// See the module's own words.
pub(crate) struct Shards(Box<[CachePadded<Mutex<Map>>]>);

impl Shards {
    pub(crate) fn new(count: usize) -> Shards {
        assert!(count.is_power_of_two(), "shards are found by a mask");
        Shards((0..count).map(|_| CachePadded::new(Mutex::new(Map::default()))).collect())
    }

    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    /// The shard of an owner, where keys are few and owners many.
    #[inline]
    pub(crate) fn of_owner(&self, owner: OwnerId) -> usize {
        owner.raw() as usize & (self.0.len() - 1)
    }

    /// The shard of a key that is a hash.
    #[inline]
    pub(crate) fn of(&self, hash: u64) -> usize {
        (hash >> 40) as usize & (self.0.len() - 1)
    }

    /// Locks `key` in `shard` if nothing is in the way.
    #[inline]
    pub(crate) fn lock(&self, shard: usize, key: u64, owner: OwnerId, mode: Mode) -> Try {
        let mut map = self.0[shard].lock();
        match map.entry(key) {
            hash_map::Entry::Vacant(vacant) => {
                vacant.insert(Entry::One(owner, mode));
                Try::New
            }
            hash_map::Entry::Occupied(mut entry) => join(entry.get_mut(), owner, mode),
        }
    }

    /// Gives back `key`, if it is here; false if it is central.
    #[inline]
    pub(crate) fn release(&self, shard: usize, key: u64, owner: OwnerId) -> bool {
        let mut map = self.0[shard].lock();
        let hash_map::Entry::Occupied(mut entry) = map.entry(key) else { return true };
        match entry.get_mut() {
            Entry::Central => return false,
            Entry::One(holder, _) if *holder == owner => {
                entry.remove();
            }
            Entry::One(..) => {}
            Entry::Many(holders) => {
                holders.retain(|(holder, _)| *holder != owner);
                if holders.is_empty() {
                    entry.remove();
                }
            }
        }
        true
    }

    /// Makes `key` central. Returns its holders, or `None` if it was central already.
    ///
    /// # Locks
    /// The caller has the manager's mutex.
    pub(crate) fn take(&self, shard: usize, key: u64) -> Option<Vec<(OwnerId, Mode)>> {
        match self.0[shard].lock().insert(key, Entry::Central) {
            None => Some(Vec::new()),
            Some(Entry::Central) => None,
            Some(Entry::One(owner, mode)) => Some(vec![(owner, mode)]),
            Some(Entry::Many(holders)) => Some(holders),
        }
    }

    /// Brings `key` back from the manager's table with its `holders`, if it is there.
    ///
    /// # Locks
    /// The caller has the manager's mutex.
    pub(crate) fn put_back(
        &self,
        shard: usize,
        key: u64,
        holders: impl FnOnce() -> Vec<(OwnerId, Mode)>,
    ) {
        let mut map = self.0[shard].lock();
        let hash_map::Entry::Occupied(mut entry) = map.entry(key) else { return };
        if !matches!(entry.get(), Entry::Central) {
            return;
        }
        let holders = holders();
        match holders.as_slice() {
            [] => drop(entry.remove()),
            [(owner, mode)] => drop(entry.insert(Entry::One(*owner, *mode))),
            _ => drop(entry.insert(Entry::Many(holders))),
        }
    }

    /// Everything that is held here: key, owner, mode.
    pub(crate) fn for_each(&self, mut see: impl FnMut(u64, OwnerId, Mode)) {
        for shard in &self.0 {
            for (key, entry) in shard.lock().iter() {
                match entry {
                    Entry::Central => {}
                    Entry::One(owner, mode) => see(*key, *owner, *mode),
                    Entry::Many(holders) => holders.iter().for_each(|(o, m)| see(*key, *o, *m)),
                }
            }
        }
    }
}

fn join(entry: &mut Entry, owner: OwnerId, mode: Mode) -> Try {
    match entry {
        Entry::Central => Try::Central,
        Entry::One(holder, held) if *holder == owner => {
            *held = held.join(mode);
            Try::Held
        }
        Entry::One(holder, held) => {
            if !held.goes_with(mode) {
                return Try::Central;
            }
            *entry = Entry::Many(vec![(*holder, *held), (owner, mode)]);
            Try::New
        }
        Entry::Many(holders) => {
            let own = holders.iter().position(|(holder, _)| *holder == owner);
            let target = own.map_or(mode, |at| holders[at].1.join(mode));
            let fits =
                |(holder, held): &(OwnerId, Mode)| *holder == owner || held.goes_with(target);
            if !holders.iter().all(fits) {
                return Try::Central;
            }
            match own {
                Some(at) => {
                    holders[at].1 = target;
                    Try::Held
                }
                None => {
                    holders.push((owner, target));
                    Try::New
                }
            }
        }
    }
}
