//! The table against a model that is as simple as can be, in every order of steps.
//!
//! The model has its own matrix, written by hand, keeps one list of requests in order of arrival, and
//! works everything out anew after every step. It shares nothing with the table but the modes' names.

use super::*;
use Granule::{Data, Structure};
use Mode::*;
use std::collections::HashSet;

/// Rows: held; columns: asked for, in the order IS IX S SIX U X.
const MATRIX: [&str; 6] = [
    "yyyyyn", // IS
    "yynnnn", // IX
    "ynynyn", // S
    "ynnnnn", // SIX
    "ynynnn", // U
    "nnnnnn", // X
];

/// Rows and columns as above: what both together amount to.
const JOIN: [[Mode; 6]; 6] = [
    [IS, IX, S, SIX, U, X],
    [IX, IX, SIX, SIX, X, X],
    [S, SIX, S, SIX, U, X],
    [SIX, SIX, SIX, SIX, X, X],
    [U, X, U, X, U, X],
    [X, X, X, X, X, X],
];

fn number(mode: Mode) -> usize {
    [IS, IX, S, SIX, U, X].iter().position(|m| *m == mode).unwrap()
}

fn compatible(a: Mode, b: Mode) -> bool {
    MATRIX[number(a)].as_bytes()[number(b)] == b'y'
}

const GRANULES: [Granule; 3] = [Structure, Data, Granule::Table(1)];

/// Granule, class and mode of each want.
type Wants = Vec<(usize, u8, Mode)>;

#[derive(Clone, Default, PartialEq, Eq, Hash)]
struct Model {
    held: BTreeMap<(usize, u64), Mode>,
    /// In order of arrival.
    waiting: Vec<(u64, Wants)>,
}

impl Model {
    fn request(&mut self, owner: u64, wants: &[(usize, Mode)]) {
        let inside = self.held.keys().any(|(g, o)| *o == owner && *g < 2);
        let plan = |(g, mode): &(usize, Mode)| match self.held.get(&(*g, owner)) {
            Some(held) => (*g, 0, JOIN[number(*held)][number(*mode)]),
            None if inside && *g < 2 => (*g, 1, *mode),
            None => (*g, 2, *mode),
        };
        let planned: Wants = wants.iter().map(plan).collect();
        let missing = |(g, _, m): &(usize, u8, Mode)| self.held.get(&(*g, owner)) != Some(m);
        let wants = planned.into_iter().filter(missing).collect();
        self.waiting.push((owner, wants));
    }

    fn blockers(&self, owner: u64) -> BTreeSet<u64> {
        let Some(at) = self.waiting.iter().position(|(o, _)| *o == owner) else {
            return BTreeSet::new();
        };
        let mut blockers = BTreeSet::new();
        for (g, class, mode) in &self.waiting[at].1 {
            for ((on, other), held) in &self.held {
                if on == g && *other != owner && !compatible(*held, *mode) {
                    blockers.insert(*other);
                }
            }
            for (n, (other, wants)) in self.waiting.iter().enumerate() {
                let ahead = |w: &&(usize, u8, Mode)| w.0 == *g && (w.1, n) < (*class, at);
                if wants.iter().filter(ahead).any(|w| !compatible(w.2, *mode)) {
                    blockers.insert(*other);
                }
            }
        }
        blockers
    }

    /// Grants until nothing more can be granted; returns who was.
    fn settle(&mut self) -> BTreeSet<u64> {
        let mut granted = BTreeSet::new();
        while let Some(at) = self.waiting.iter().position(|(o, _)| self.blockers(*o).is_empty()) {
            let (owner, wants) = self.waiting.remove(at);
            self.held.extend(wants.into_iter().map(|(g, _, mode)| ((g, owner), mode)));
            granted.insert(owner);
        }
        granted
    }

    fn is_waiting(&self, owner: u64) -> bool {
        self.waiting.iter().any(|(o, _)| *o == owner)
    }

    fn withdraw(&mut self, owner: u64) {
        self.waiting.retain(|(o, _)| *o != owner);
    }

    /// All simple cycles of waits that begin at `path[0]`.
    fn cycles(&self, path: &mut Vec<u64>, found: &mut Vec<Vec<u64>>) {
        for next in self.blockers(path[path.len() - 1]) {
            if next == path[0] {
                found.push(path.clone());
            } else if !path.contains(&next) {
                path.push(next);
                self.cycles(path, found);
                path.pop();
            }
        }
    }

    fn cycles_of(&self, owner: u64) -> Vec<Vec<u64>> {
        let mut found = Vec::new();
        self.cycles(&mut vec![owner], &mut found);
        found
    }
}

#[derive(Clone, Debug)]
enum Step {
    Ask(u64, Vec<(usize, Mode)>),
    Release(u64, usize),
    End(u64),
    Cancel(u64),
}

/// Owners are numbered by age; `hold` is the one that is a hold, if there is one.
struct World {
    owners: u64,
    hold: Option<u64>,
    modes: Vec<Mode>,
    granules: usize,
}

impl World {
    fn steps(&self, model: &Model) -> Vec<Step> {
        let mut steps = Vec::new();
        for owner in 1..=self.owners {
            if model.is_waiting(owner) {
                steps.push(Step::Cancel(owner));
                continue;
            }
            let held: Vec<_> =
                model.held.keys().filter(|(_, o)| *o == owner).map(|(g, _)| *g).collect();
            if !held.is_empty() {
                steps.push(Step::End(owner));
            }
            if self.hold == Some(owner) {
                if held.is_empty() {
                    steps.push(Step::Ask(owner, vec![(0, X), (1, S)]));
                    steps.push(Step::Ask(owner, vec![(0, X), (1, X)]));
                    steps.push(Step::Ask(owner, vec![(1, S)]));
                }
                continue;
            }
            steps.extend(held.iter().map(|g| Step::Release(owner, *g)));
            for g in 0..self.granules {
                // As the manager does: below the roots only for an owner that holds a root.
                if g == 2 && !held.iter().any(|g| *g < 2) && self.hold.is_some() {
                    continue;
                }
                steps.extend(self.modes.iter().map(|mode| Step::Ask(owner, vec![(g, *mode)])));
            }
        }
        steps
    }

    fn take(&self, table: &mut LockTable, model: &mut Model, step: &Step) {
        let effects = match step {
            Step::Ask(owner, wants) => return self.ask(table, model, *owner, wants),
            Step::Release(owner, g) => {
                model.held.remove(&(*g, *owner));
                table.release(OwnerId(*owner), &GRANULES[*g])
            }
            Step::End(owner) => {
                model.held.retain(|(_, o), _| o != owner);
                table.release_all(OwnerId(*owner)).1
            }
            Step::Cancel(owner) => {
                model.withdraw(*owner);
                table.cancel(OwnerId(*owner))
            }
        };
        let granted: BTreeSet<u64> = effects.granted.iter().map(|o| o.0).collect();
        assert_eq!(granted, model.settle());
        assert!(effects.victims.is_empty());
    }

    fn ask(&self, table: &mut LockTable, model: &mut Model, owner: u64, wants: &[(usize, Mode)]) {
        let (outcome, effects) = table.request(Request {
            owner: OwnerId(owner),
            wants: wants.iter().map(|(g, mode)| (GRANULES[*g].clone(), *mode)).collect(),
            age: Age(owner),
            hold: self.hold == Some(owner),
            inside: false,
        });
        model.request(owner, wants);
        let mut granted = model.settle();
        let mut victims: Vec<u64> = effects.victims.iter().map(|o| o.0).collect();
        if outcome == Outcome::Deadlock {
            victims.push(owner);
        }
        for victim in victims {
            assert_ne!(self.hold, Some(victim), "a hold is never a victim");
            let youngest = |cycle: &Vec<u64>| {
                cycle.iter().filter(|o| self.hold != Some(**o)).max() == Some(&victim)
            };
            assert!(model.cycles_of(owner).iter().any(youngest), "{victim} is not the youngest");
            model.withdraw(victim);
            granted.extend(model.settle());
        }
        assert_eq!(outcome == Outcome::Granted, granted.remove(&owner));
        assert_eq!(effects.granted.iter().map(|o| o.0).collect::<BTreeSet<_>>(), granted);
    }

    fn compare(&self, table: &LockTable, model: &Model) {
        for (g, granule) in GRANULES.iter().enumerate() {
            let held: Vec<_> = table.holders(granule).collect();
            for (n, (_, a)) in held.iter().enumerate() {
                assert!(held[n + 1..].iter().all(|(_, b)| compatible(*a, *b)), "{held:?}");
            }
            let expected = model
                .held
                .iter()
                .filter(|((on, _), _)| *on == g)
                .map(|((_, o), m)| (OwnerId(*o), *m));
            assert_eq!(held, expected.collect::<Vec<_>>());
        }
        for owner in 1..=self.owners {
            let blockers = table.blockers(OwnerId(owner)).into_iter().map(|o| o.0);
            assert_eq!(blockers.collect::<BTreeSet<_>>(), model.blockers(owner));
            for other in 1..=self.owners {
                let blocked = table.is_blocked_by(OwnerId(owner), OwnerId(other));
                assert_eq!(blocked && owner != other, model.blockers(owner).contains(&other));
            }
            assert_eq!(table.is_waiting(OwnerId(owner)), model.is_waiting(owner));
            assert!(model.cycles_of(owner).is_empty(), "a cycle was left");
        }
    }

    /// Goes every way from the empty table, `depth` steps deep. Returns how many states it saw.
    fn explore(&self, depth: usize) -> usize {
        let mut seen = HashSet::from([Model::default()]);
        let mut edge = vec![(LockTable::new(), Model::default())];
        for _ in 0..depth {
            let mut next = Vec::new();
            for (table, model) in &edge {
                for step in self.steps(model) {
                    let (mut table, mut model) = (table.clone(), model.clone());
                    self.take(&mut table, &mut model, &step);
                    if seen.insert(model.clone()) {
                        self.compare(&table, &model);
                        next.push((table, model));
                    }
                }
            }
            edge = next;
        }
        seen.len()
    }
}

#[test]
fn every_order_of_steps_of_three_owners_agrees_with_the_model() {
    let modes = vec![IS, IX, S, SIX, U, X];
    let world = World { owners: 3, hold: None, modes: modes.clone(), granules: 3 };
    assert!(world.explore(3) > 10_000);
    let world = World { owners: 3, hold: None, modes, granules: 1 };
    assert!(world.explore(6) > 3_000);
}

#[test]
fn every_long_order_of_steps_with_few_modes_agrees_with_the_model() {
    let world = World { owners: 3, hold: None, modes: vec![S, U, X], granules: 2 };
    assert!(world.explore(6) > 10_000);
    let world = World { owners: 3, hold: None, modes: vec![X], granules: 3 };
    assert!(world.explore(6) > 1_000);
}

#[test]
fn every_order_of_steps_beside_a_backup_agrees_with_the_model() {
    for hold in [1, 4] {
        let world = World { owners: 4, hold: Some(hold), modes: vec![IX, X], granules: 3 };
        assert!(world.explore(4) > 3_000);
    }
}

#[test]
fn a_backup_waits_for_all_of_its_roots_and_holds_none_before() {
    let mut table: LockTable = LockTable::new();
    let ask = |owner, wants: &[(Granule, Mode)], hold| Request {
        owner: OwnerId(owner),
        wants: wants.to_vec(),
        age: Age(owner),
        hold,
        inside: false,
    };
    assert_eq!(table.request(ask(1, &[(Data, IX)], false)).0, Outcome::Granted);
    let backup = ask(2, &[(Structure, X), (Data, S)], true);
    assert_eq!(table.request(backup).0, Outcome::Waiting);
    assert_eq!(table.holders(&Structure).count(), 0);
    // The one inside overtakes it, a stranger does not.
    assert_eq!(table.request(ask(1, &[(Structure, IX)], false)).0, Outcome::Granted);
    assert_eq!(table.request(ask(3, &[(Structure, IX)], false)).0, Outcome::Waiting);
    let (_, effects) = table.release_all(OwnerId(1));
    assert_eq!(effects.granted, [OwnerId(2)]);
    let (_, effects) = table.release_all(OwnerId(2));
    assert_eq!(effects.granted, [OwnerId(3)]);
}

#[test]
fn a_hold_is_spared_even_where_it_is_the_youngest_of_a_cycle() {
    let mut table: LockTable = LockTable::new();
    let ask = |owner, granule, mode, hold| Request {
        owner: OwnerId(owner),
        wants: vec![(granule, mode)],
        age: Age(owner),
        hold,
        inside: false,
    };
    assert_eq!(table.request(ask(2, Structure, X, true)).0, Outcome::Granted);
    assert_eq!(table.request(ask(1, Data, IX, false)).0, Outcome::Granted);
    assert_eq!(table.request(ask(2, Data, S, true)).0, Outcome::Waiting);
    assert_eq!(table.request(ask(1, Structure, IX, false)).0, Outcome::Deadlock);
}

#[test]
fn waiting_requests_are_granted_in_order_of_arrival() {
    let mut table: LockTable = LockTable::new();
    let ask = |owner, mode, hold| Request {
        owner: OwnerId(owner),
        wants: vec![(Data, mode)],
        age: Age(owner),
        hold,
        inside: false,
    };
    assert_eq!(table.request(ask(1, S, true)).0, Outcome::Granted);
    for owner in [9, 5, 7, 3] {
        assert_eq!(table.request(ask(owner, IX, false)).0, Outcome::Waiting);
    }
    let (_, effects) = table.release_all(OwnerId(1));
    assert_eq!(effects.granted, [9, 5, 7, 3].map(OwnerId));
}
