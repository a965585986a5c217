//! Who waits for whom, and what is done about circles.

use super::{Effects, LockTable, Outcome, OwnerId};
use crate::lock::granule::Resource;
use std::collections::{BTreeSet, HashMap, VecDeque};

impl<G: Resource> LockTable<G> {
    /// Chooses victims until the request of `owner`, which waits, is in no cycle.
    pub(super) fn break_cycles(&mut self, owner: OwnerId) -> (Outcome, Effects) {
        let mut effects = Effects::default();
        while let Some(cycle) = self.cycle_through(owner) {
            let victim = cycle
                .into_iter()
                .filter(|member| !self.pending[member].hold)
                .max_by_key(|member| (self.pending[member].age, *member));
            let Some(victim) = victim else { break };
            if victim == owner {
                let freed = self.cancel(owner);
                effects.extend(freed);
                return (Outcome::Deadlock, effects);
            }
            effects.victims.push(victim);
            let freed = self.cancel(victim);
            effects.extend(freed);
            if !self.is_waiting(owner) {
                effects.granted.retain(|granted| *granted != owner);
                return (Outcome::Granted, effects);
            }
        }
        (Outcome::Waiting, effects)
    }

    /// The owners of a cycle of waits through `start`, if there is one.
    fn cycle_through(&self, start: OwnerId) -> Option<Vec<OwnerId>> {
        // Whoever holds nothing here and stands last is waited for by nobody.
        let holds = self.held.get(&start).is_some_and(|held| !held.is_empty());
        if !holds && self.pending[&start].wants.iter().all(|(_, rank, _)| rank.0 == 2) {
            return None;
        }
        let mut came_from: HashMap<OwnerId, OwnerId> = HashMap::new();
        let mut next = VecDeque::from([start]);
        while let Some(owner) = next.pop_front() {
            for blocker in self.blockers(owner) {
                if blocker == start {
                    let mut cycle = vec![owner];
                    let mut at = owner;
                    while at != start {
                        at = came_from[&at];
                        cycle.push(at);
                    }
                    return Some(cycle);
                }
                if self.is_waiting(blocker) && !came_from.contains_key(&blocker) {
                    came_from.insert(blocker, owner);
                    next.push_back(blocker);
                }
            }
        }
        None
    }

    /// Whom `owner` waits for: holders it conflicts with, and requests before its own.
    pub fn blockers(&self, owner: OwnerId) -> Vec<OwnerId> {
        let mut blockers = BTreeSet::new();
        for (granule, rank, mode) in self.pending.get(&owner).map_or(&[][..], |p| &p.wants) {
            let Some(entry) = self.entries.get(granule) else { continue };
            let holders = entry.granted.iter().map(|(holder, held)| (*holder, *held));
            let ahead = entry.waiting.range(..*rank).map(|(_, waiting)| *waiting);
            for (other, theirs) in holders.chain(ahead) {
                if other != owner && !mode.goes_with(theirs) {
                    blockers.insert(other);
                }
            }
        }
        blockers.into_iter().collect()
    }

    /// Whether `other` is one of those that `owner` waits for.
    pub fn is_blocked_by(&self, owner: OwnerId, other: OwnerId) -> bool {
        let wants = self.pending.get(&owner).map_or(&[][..], |p| &p.wants);
        wants.iter().any(|(granule, rank, mode)| {
            if self.mode_of(other, granule).is_some_and(|held| !mode.goes_with(held)) {
                return true;
            }
            let theirs = self.pending.get(&other).map_or(&[][..], |p| &p.wants);
            theirs
                .iter()
                .any(|(on, ahead, want)| on == granule && ahead < rank && !mode.goes_with(*want))
        })
    }
}
