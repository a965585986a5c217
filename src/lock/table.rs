//! The lock table: a pure state machine without threads and without a clock.
//!
//! Invariants, which the tests enumerate:
//! - no two owners hold modes on a granule that do not go together;
//! - a request waits exactly while it conflicts with what others hold, or with a request that
//!   stands before it; nobody who could go on is left waiting;
//! - on each granule requests stand in order of arrival, except that an owner which already holds
//!   the granule (a conversion) comes first, and then owners which already hold a root, on roots: so
//!   whoever is inside can finish, and a backup that only waits stops nobody inside;
//! - a request for several granules is granted as a whole or not at all, and holds nothing before;
//! - no cycle of waits survives a call: the youngest in it is chosen as victim, never a backup.
//!
//! New edges of the waits-for graph always touch the owner that asks, so looking for cycles through
//! that owner when it begins to wait is exact. What happens to victims, and who is woken, is the
//! caller's business: every call returns its [`Effects`].

use super::granule::{Granule, Resource};
use super::mode::{MODES, Mode, ModeSet};
use std::collections::{BTreeMap, BTreeSet, HashMap};

mod graph;

/// Who holds locks: a write handle, a structure handle, a backup, a hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
pub struct OwnerId(u64);

impl OwnerId {
    /// The owner with this number.
    pub fn from_raw(raw: u64) -> OwnerId {
        OwnerId(raw)
    }

    /// The owner's number.
    pub fn raw(self) -> u64 {
        self.0
    }
}

/// When an owner first asked: the youngest of a cycle is its victim. A later try of the same work
/// keeps the age of the first, so that it grows old and is spared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Age(pub u64);

/// What an owner asks for.
#[derive(Clone, Debug)]
pub struct Request<G> {
    /// Who asks.
    pub owner: OwnerId,
    /// The granules and their modes; granted all or nothing.
    pub wants: Vec<(G, Mode)>,
    /// When the owner began.
    pub age: Age,
    /// Whether it is a backup or another hold: never a victim.
    pub hold: bool,
    /// Whether the owner holds a root that this table was not told of.
    pub inside: bool,
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The owner holds all that it asked for.
    Granted,
    /// The request stands in the queue.
    Waiting,
    /// The request would have closed a cycle, and its owner is the victim. Nothing was queued.
    Deadlock,
}

/// What a call did to the requests of others, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Effects {
    /// Owners whose waiting request has been granted.
    pub granted: Vec<OwnerId>,
    /// Owners whose waiting request was withdrawn to break a cycle; they keep what they hold.
    pub victims: Vec<OwnerId>,
}

impl Effects {
    /// Adds what a later call did.
    pub fn extend(&mut self, later: Effects) {
        self.granted.extend(later.granted);
        self.victims.extend(later.victims);
    }
}

/// Where a request stands: owners that hold the granule, owners that are inside, all others.
type Rank = (u8, u64);

#[derive(Clone, Debug)]
struct Pending<G> {
    /// Granule, place in its queue, and the mode that the owner will hold once granted.
    wants: Vec<(G, Rank, Mode)>,
    age: Age,
    hold: bool,
}

#[derive(Clone, Debug)]
struct Entry {
    granted: BTreeMap<OwnerId, Mode>,
    counts: [u32; 6],
    waiting: BTreeMap<Rank, (OwnerId, Mode)>,
}

impl Entry {
    fn new() -> Entry {
        Entry { granted: BTreeMap::new(), counts: [0; 6], waiting: BTreeMap::new() }
    }

    fn set(&mut self, owner: OwnerId, mode: Option<Mode>) {
        let old = match mode {
            Some(mode) => {
                self.counts[mode as usize] += 1;
                self.granted.insert(owner, mode)
            }
            None => self.granted.remove(&owner),
        };
        if let Some(old) = old {
            self.counts[old as usize] -= 1;
        }
    }

    /// Whether `owner` could hold `mode` beside what the others hold.
    fn fits(&self, owner: OwnerId, mode: Mode) -> bool {
        let own = self.granted.get(&owner).copied();
        MODES.into_iter().all(|held| {
            let others = self.counts[held as usize] - u32::from(own == Some(held));
            others == 0 || mode.goes_with(held)
        })
    }

    /// Whether nobody who stands before `rank` is in the way of `mode`.
    fn is_next(&self, rank: Rank, mode: Mode) -> bool {
        self.waiting.range(..rank).all(|(_, (_, ahead))| mode.goes_with(*ahead))
    }
}

/// See the module's own words.
#[derive(Clone, Debug)]
pub struct LockTable<G: Resource = Granule> {
    entries: BTreeMap<G, Entry>,
    held: HashMap<OwnerId, BTreeSet<G>>,
    pending: HashMap<OwnerId, Pending<G>>,
    arrivals: u64,
}

impl<G: Resource> Default for LockTable<G> {
    fn default() -> Self {
        LockTable {
            entries: BTreeMap::new(),
            held: HashMap::new(),
            pending: HashMap::new(),
            arrivals: 0,
        }
    }
}

impl<G: Resource> LockTable<G> {
    /// A table in which nothing is locked.
    pub fn new() -> LockTable<G> {
        LockTable::default()
    }

    /// Asks for locks. An owner that holds a granule already gets the join of both modes.
    ///
    /// The owner must not be waiting: an owner waits for one request at a time.
    pub fn request(&mut self, request: Request<G>) -> (Outcome, Effects) {
        assert!(!self.is_waiting(request.owner), "an owner waits for one request at a time");
        let (owner, pending) = (request.owner, self.plan(request));
        if self.is_grantable(owner, &pending) {
            self.grant(owner, pending);
            return (Outcome::Granted, Effects::default());
        }
        for (granule, rank, mode) in &pending.wants {
            let entry = self.entries.entry(granule.clone()).or_insert_with(Entry::new);
            entry.waiting.insert(*rank, (owner, *mode));
        }
        self.pending.insert(owner, pending);
        self.break_cycles(owner)
    }

    /// What a request amounts to: what is missing, as the join with what is held, in its place.
    fn plan(&mut self, request: Request<G>) -> Pending<G> {
        self.arrivals += 1;
        let owner = request.owner;
        let inside = request.inside
            || self.held.get(&owner).is_some_and(|held| held.iter().any(Resource::is_root));
        let mut wants = Vec::with_capacity(request.wants.len());
        for (granule, mode) in request.wants {
            let held = self.mode_of(owner, &granule);
            let target = held.map_or(mode, |held| held.join(mode));
            if held == Some(target) {
                continue;
            }
            let class = match held {
                Some(_) => 0,
                None if inside && granule.is_root() => 1,
                None => 2,
            };
            wants.push((granule, (class, self.arrivals), target));
        }
        Pending { wants, age: request.age, hold: request.hold }
    }

    fn is_grantable(&self, owner: OwnerId, pending: &Pending<G>) -> bool {
        pending.wants.iter().all(|(granule, rank, mode)| {
            let Some(entry) = self.entries.get(granule) else { return true };
            entry.fits(owner, *mode) && entry.is_next(*rank, *mode)
        })
    }

    fn grant(&mut self, owner: OwnerId, pending: Pending<G>) {
        for (granule, rank, mode) in pending.wants {
            let entry = self.entries.entry(granule.clone()).or_insert_with(Entry::new);
            entry.waiting.remove(&rank);
            entry.set(owner, Some(mode));
            self.held.entry(owner).or_default().insert(granule);
        }
    }

    /// Notes a lock that was granted elsewhere.
    ///
    /// The caller knows that it goes together with all that is held; nobody may be waiting for it
    /// in vain, so it adopts before it asks for anything that conflicts.
    pub fn adopt(&mut self, owner: OwnerId, granule: G, mode: Mode) {
        let entry = self.entries.entry(granule.clone()).or_insert_with(Entry::new);
        debug_assert!(entry.fits(owner, mode), "an adopted lock goes with what is held");
        entry.set(owner, Some(mode));
        self.held.entry(owner).or_default().insert(granule);
    }

    /// Gives back one granule.
    pub fn release(&mut self, owner: OwnerId, granule: &G) -> Effects {
        self.drop_holding(owner, granule);
        let mut effects = Effects::default();
        self.sweep(granule, &mut effects);
        effects
    }

    /// Gives back all that `owner` holds, and withdraws what it asks for. Returns the granules.
    pub fn release_all(&mut self, owner: OwnerId) -> (Vec<G>, Effects) {
        let mut effects = self.cancel(owner);
        let granules: Vec<G> = self.held.remove(&owner).into_iter().flatten().collect();
        for granule in &granules {
            if let Some(entry) = self.entries.get_mut(granule) {
                entry.set(owner, None);
            }
        }
        for granule in &granules {
            self.sweep(granule, &mut effects);
        }
        (granules, effects)
    }

    /// Withdraws the request that `owner` waits with; it keeps what it holds.
    pub fn cancel(&mut self, owner: OwnerId) -> Effects {
        let mut effects = Effects::default();
        let Some(pending) = self.pending.remove(&owner) else { return effects };
        for (granule, rank, _) in &pending.wants {
            if let Some(entry) = self.entries.get_mut(granule) {
                entry.waiting.remove(rank);
            }
        }
        for (granule, _, _) in &pending.wants {
            self.sweep(granule, &mut effects);
        }
        effects
    }

    /// Removes and returns all holders of a granule for which nobody waits: they are kept
    /// elsewhere from now on.
    pub fn surrender(&mut self, granule: &G) -> Vec<(OwnerId, Mode)> {
        let Some(entry) = self.entries.get(granule) else { return Vec::new() };
        debug_assert!(entry.waiting.is_empty(), "a granule with waiters stays in the table");
        let holders: Vec<_> = entry.granted.iter().map(|(o, m)| (*o, *m)).collect();
        for (owner, _) in &holders {
            self.drop_holding(*owner, granule);
        }
        self.entries.remove(granule);
        holders
    }

    fn drop_holding(&mut self, owner: OwnerId, granule: &G) {
        if let Some(entry) = self.entries.get_mut(granule) {
            entry.set(owner, None);
        }
        if let Some(held) = self.held.get_mut(&owner) {
            held.remove(granule);
            if held.is_empty() {
                self.held.remove(&owner);
            }
        }
    }

    /// Grants what can be granted on `granule`, in order, and forgets it when nothing is left.
    fn sweep(&mut self, granule: &G, effects: &mut Effects) {
        let Some(entry) = self.entries.get(granule) else { return };
        let waiting: Vec<_> = entry.waiting.iter().map(|(r, (o, m))| (*r, *o, *m)).collect();
        let mut ahead = ModeSet::default();
        for (_, owner, mode) in waiting {
            let free = !ahead.meets(mode.conflicts()) && self.entries[granule].fits(owner, mode);
            let whole = || {
                let pending = &self.pending[&owner];
                pending.wants.len() == 1 || self.is_grantable(owner, pending)
            };
            if free && whole() {
                let pending = self.pending.remove(&owner).expect("whoever stands in line waits");
                self.grant(owner, pending);
                effects.granted.push(owner);
            } else {
                ahead.insert(mode);
                if ahead.blocks_all() {
                    break;
                }
            }
        }
        let entry = &self.entries[granule];
        if entry.granted.is_empty() && entry.waiting.is_empty() {
            self.entries.remove(granule);
        }
    }

    /// Whether `owner` has a request in the queue.
    pub fn is_waiting(&self, owner: OwnerId) -> bool {
        self.pending.contains_key(&owner)
    }

    /// What `owner` holds on `granule`.
    pub fn mode_of(&self, owner: OwnerId, granule: &G) -> Option<Mode> {
        self.entries.get(granule)?.granted.get(&owner).copied()
    }

    /// Who holds `granule`.
    pub fn holders(&self, granule: &G) -> impl Iterator<Item = (OwnerId, Mode)> + '_ {
        let entry = self.entries.get(granule);
        entry.into_iter().flat_map(|entry| entry.granted.iter().map(|(o, m)| (*o, *m)))
    }

    /// Who waits for `granule`, first the one that is next.
    pub fn queue(&self, granule: &G) -> impl Iterator<Item = (OwnerId, Mode)> + '_ {
        let entry = self.entries.get(granule);
        entry.into_iter().flat_map(|entry| entry.waiting.values().copied())
    }

    /// The modes in which `granule` is held.
    pub(crate) fn held_modes(&self, granule: &G) -> ModeSet {
        let mut modes = ModeSet::default();
        if let Some(entry) = self.entries.get(granule) {
            let held = MODES.into_iter().filter(|mode| entry.counts[*mode as usize] > 0);
            held.for_each(|mode| modes.insert(mode));
        }
        modes
    }

    /// Everything that is held.
    pub fn grants(&self) -> impl Iterator<Item = (&G, OwnerId, Mode)> + '_ {
        self.entries.iter().flat_map(|(granule, entry)| {
            entry.granted.iter().map(move |(owner, mode)| (granule, *owner, *mode))
        })
    }

    /// What `owner` waits for.
    pub fn waits_for(&self, owner: OwnerId) -> impl Iterator<Item = (&G, Mode)> + '_ {
        let pending = self.pending.get(&owner);
        pending.into_iter().flat_map(|p| p.wants.iter().map(|(g, _, mode)| (g, *mode)))
    }
}

#[cfg(test)]
mod tests;
