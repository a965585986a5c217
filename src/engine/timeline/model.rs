//! Random lives of several copies of a store, against a tree of commits that knows no timelines.
//!
//! A commit of the model has a parent and nothing else. Copies commit, are restored and rolled back
//! to any commit, integrate what another copy has beyond theirs, and so become stores of their own.
//! Then every question is asked of every pair of commits, and answered by walking the tree.

use proptest::prelude::*;

use super::*;

/// A commit: the one before it, and what the product says of it.
struct Node {
    parent: Option<usize>,
    lsn: Lsn,
    ancestry: Ancestry,
}

/// A copy of the store: its last commit, and whether its next one begins a timeline.
#[derive(Clone, Copy)]
struct Copy {
    head: usize,
    foreign: bool,
}

#[derive(Clone, Debug)]
enum Step {
    Commit(usize, u8),
    /// A new copy out of an archive of that commit.
    Restore(prop::sample::Index),
    Rollback(usize, prop::sample::Index),
    /// Takes what the second copy has beyond the first.
    Integrate(usize, usize),
}

fn step() -> impl Strategy<Value = Step> {
    let copy = 0..4usize;
    prop_oneof![
        5 => (copy.clone(), 1..4u8).prop_map(|(copy, many)| Step::Commit(copy, many)),
        2 => any::<prop::sample::Index>().prop_map(Step::Restore),
        2 => (copy.clone(), any::<prop::sample::Index>())
            .prop_map(|(copy, to)| Step::Rollback(copy, to)),
        2 => (copy.clone(), copy).prop_map(|(to, from)| Step::Integrate(to, from)),
    ]
}

struct World {
    nodes: Vec<Node>,
    copies: Vec<Copy>,
    next_id: u128,
}

impl World {
    fn new() -> World {
        let birth = Node { parent: None, lsn: 0, ancestry: Ancestry::first(1) };
        World { nodes: vec![birth], copies: vec![Copy { head: 0, foreign: false }], next_id: 2 }
    }

    /// The commits that led to `at`, the newest first.
    fn path(&self, at: usize) -> Vec<usize> {
        std::iter::successors(Some(at), |at| self.nodes[*at].parent).collect()
    }

    /// The last commit that led to both.
    fn common(&self, one: usize, other: usize) -> usize {
        let path = self.path(one);
        self.path(other).into_iter().find(|node| path.contains(node)).unwrap()
    }

    fn step(&mut self, step: Step) {
        let many = self.copies.len();
        match step {
            Step::Commit(copy, commits) => {
                (0..commits).for_each(|_| self.commit(copy % many));
            }
            Step::Restore(node) => {
                let copy = Copy { head: node.index(self.nodes.len()), foreign: true };
                if many < 4 { self.copies.push(copy) } else { self.copies[0] = copy }
            }
            Step::Rollback(copy, to) => {
                let path = self.path(self.copies[copy % many].head);
                let head = path[to.index(path.len())];
                self.copies[copy % many] = Copy { head, foreign: true };
            }
            Step::Integrate(to, from) => {
                let (to, from) = (to % many, from % many);
                let (head, source) = (self.copies[to].head, self.copies[from].head);
                if self.common(head, source) == head && head != source {
                    self.copies[to] = Copy { head: source, foreign: true };
                }
            }
        }
    }

    fn commit(&mut self, copy: usize) {
        let Copy { head, foreign } = self.copies[copy];
        let Node { lsn, ancestry, .. } = &self.nodes[head];
        let (id, lsn) = (self.next_id, *lsn);
        self.next_id += 1;
        let ancestry = match foreign {
            true => ancestry.extended(id, lsn).unwrap(),
            false => ancestry.clone(),
        };
        self.nodes.push(Node { parent: Some(head), lsn: lsn + 1, ancestry });
        self.copies[copy] = Copy { head: self.nodes.len() - 1, foreign: false };
    }

    fn history(&self, node: usize) -> History {
        History::new(self.nodes[node].ancestry.clone(), self.nodes[node].lsn)
    }
}

/// Asks everything about the pair, from the history of `one`.
fn ask(world: &World, one: usize, other: usize) {
    let (history, theirs) = (world.history(one), &world.nodes[other]);
    let tip = theirs.ancestry.tip();
    let common = world.common(one, other);
    let parting = world.nodes[common].lsn;
    let mut known = Known::default();
    known.add_line(&theirs.ancestry);
    assert_eq!(history.holds(tip.id, theirs.lsn), common == other, "{one} holds {other}");
    assert_eq!(history.parting(tip, theirs.lsn, &known), Some(parting), "{one} and {other}");
    let admitted = common == one || common == other;
    let refused = if admitted { Ok(()) } else { Err(parting) };
    assert_eq!(history.admits(tip, theirs.lsn, &known), refused, "{one} admits {other}");
    assert_eq!(history.leads_to(tip, theirs.lsn, &known), common == one, "{one} leads to {other}");
    if theirs.lsn == history.last + 1 {
        let next = history.ancestry.follow(tip, theirs.ancestry.digest(), history.last);
        assert_eq!(next.is_some(), theirs.parent == Some(one), "{other} after {one}");
        assert!(next.is_none_or(|next| next == theirs.ancestry));
    }
    // From nothing, from the line of the other, and from what that line was at its beginning.
    let (line, none) = (&theirs.ancestry, Known::default());
    let back = |stored: Option<&Ancestry>, known: &Known| {
        Ancestry::proven(stored, tip, line.digest(), known).is_some_and(|back| back == *line)
    };
    assert!(back(None, &known) && back(Some(&history.ancestry), &known) && back(Some(line), &none));
    assert_eq!(line.begins_with(&history.ancestry), {
        let ours = history.ancestry.timelines().count();
        line.timelines().count() >= ours
            && line.timelines().last() == history.ancestry.timelines().last()
            && line.through(history.tip().id).is_some()
    });
}

/// Sorts all commits as retention does, and sees that the order is what the tree says.
fn sort(world: &World, one: usize) {
    let history = world.history(one);
    let mut known = Known::default();
    world.nodes.iter().for_each(|node| known.add_line(&node.ancestry));
    let saved: Vec<(Timeline, Lsn)> =
        world.nodes.iter().map(|node| (node.ancestry.tip(), node.lsn)).collect();
    let age = |node: usize| history.age(saved[node].0, saved[node].1, &saved, &known);
    for (a, b) in (0..saved.len()).flat_map(|a| (0..saved.len()).map(move |b| (a, b))) {
        let (with_a, with_b) = (world.common(one, a), world.common(one, b));
        let (lsn_a, lsn_b) = (world.nodes[with_a].lsn, world.nodes[with_b].lsn);
        // The later parting is newer; and where both part there, what is our own.
        if lsn_a < lsn_b || (lsn_a == lsn_b && with_b == b && with_a != a) {
            assert!(age(a) < age(b), "{a} is older than {b} for {one}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_question_of_every_pair_is_answered_as_the_tree_of_commits_says(
        steps in prop::collection::vec(step(), 1..30),
    ) {
        let mut world = World::new();
        steps.into_iter().for_each(|step| world.step(step));
        let many = world.nodes.len();
        for (one, other) in (0..many).flat_map(|a| (0..many).map(move |b| (a, b))) {
            ask(&world, one, other);
        }
        for copy in &world.copies {
            sort(&world, copy.head);
        }
        for node in &world.nodes {
            prop_assert_eq!(&Ancestry::decode(&node.ancestry.encode()).unwrap(), &node.ancestry);
        }
    }
}
