//! Inserting into a delta: the one writer, its finger, and how the index grows.
//!
//! Readers are never shown a state in which a record that was there is not reachable. What is new
//! is built first and then linked from above: the branch to the right part is added before the left
//! part takes the place of the node that was split, so between the two stores the old node answers
//! for the left, complete; and readers tell before from after by the order word of the node that
//! both stores change (see `node.rs`). Where that node is full, it is not changed at all: new ones
//! take its place. Sideways links are last, and lead to the same records in either state.

use super::super::{Lsn, TableId};
use super::arena::{ArenaWriter, Child, Link, prefetch};
use super::node::{Branch, Inner, Leaf, Node, Probe, SLOTS};
use super::record::{Record, RecordLink, Version};
use super::{Delta, DeltaChange};
use std::array;
use std::cell::Cell;
use std::cmp::Ordering as Cmp;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Inner nodes above one another at most. A level more takes at least seven times the records.
const DEEPEST: usize = 20;

/// The one writer of a [`Delta`].
pub(crate) struct DeltaWriter {
    finger: Finger,
    arena: ArenaWriter,
    delta: Arc<Delta>,
}

impl DeltaWriter {
    pub(super) fn new(delta: Arc<Delta>, arena: ArenaWriter) -> DeltaWriter {
        DeltaWriter { finger: Finger::new(), arena, delta }
    }

    /// Inserts a version. The same table, key and LSN must not be inserted twice. Quick where it is
    /// near to the insert before: sorted batches pay a part of the search only.
    pub(crate) fn insert(&mut self, table: TableId, key: &[u8], lsn: Lsn, change: DeltaChange<'_>) {
        let this = &*self;
        let probe = Probe::at(table, key);
        let leaf = this.delta.root.get().map(|root| this.finger.descend(root, &probe));
        let (at, exact) = leaf.map_or((0, false), |leaf| leaf.search(leaf.order(), &probe));
        let count = &this.delta.versions;
        count.store(count.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        if let Some(leaf) = leaf.filter(|_| exact) {
            let record = leaf.record(leaf.order(), at);
            record.add(Version::place(&this.arena, &this.delta.shared, lsn, change));
            return;
        }
        let record = Record::place(&this.arena, table, key);
        record.add(Version::place(&this.arena, &this.delta.shared, lsn, change));
        this.delta.filter.add(Delta::hash(table, key));
        match leaf {
            Some(leaf) => this.add(leaf, at, &probe, record),
            None => this.delta.root.set(Child::One(this.leaf_of(table, &[(probe.head, record)]))),
        }
    }

    fn leaf_of<'a>(&'a self, table: TableId, records: &[(u64, Record<'a>)]) -> &'a Leaf {
        self.arena.place(Leaf::of(table, records.iter().copied()))
    }

    /// Puts a new record into the index, at place `at` of the leaf that `probe` leads to.
    fn add<'a>(&'a self, leaf: &'a Leaf, at: usize, probe: &Probe<'_>, record: Record<'a>) {
        let order = leaf.order();
        let entry = (probe.head, record);
        if leaf.table == probe.table && order.len() < SLOTS {
            leaf.insert(at, probe.head, record);
        } else if at == order.len() {
            // Behind all: the leaf stays as it is, full if records come in order.
            let right = self.leaf_of(probe.table, &[entry]);
            right.prev.set(Some(leaf));
            right.next.set(leaf.next.get());
            self.branch_off(Child::One(leaf), branch_to(right), probe);
            set_prev(leaf.next.get(), right);
            leaf.next.set(Some(right));
        } else if at == 0 {
            // Before all, which only happens in the first leaf of the index: it stays, too.
            let left = self.leaf_of(probe.table, &[entry]);
            left.next.set(Some(leaf));
            self.branch_off(Child::One(left), branch_to(leaf), probe);
            leaf.prev.set(Some(left));
        } else {
            let mut all = [entry; SLOTS + 1];
            for place in 0..SLOTS {
                all[place + usize::from(place >= at)] = leaf.entry(order, place);
            }
            let (low, high) = all.split_at(SLOTS.div_ceil(2));
            let (left, right) = (self.leaf_of(leaf.table, low), self.leaf_of(leaf.table, high));
            let (before, behind) = (leaf.prev.get(), leaf.next.get());
            left.prev.set(before);
            left.next.set(Some(right));
            right.prev.set(Some(left));
            right.next.set(behind);
            self.branch_off(Child::One(left), branch_to(right), probe);
            set_prev(behind, right);
            if let Some(before) = before {
                before.next.set(Some(left));
            }
        }
    }

    /// Links a branch into the node at the end of the finger, right of the child that `probe` leads
    /// to, whose place is then taken by `left`; and grows the index upwards where nodes are full.
    fn branch_off<'a>(&'a self, left: Node<'a>, branch: Branch<'a>, probe: &Probe<'_>) {
        let Some(parent) = self.finger.pop() else {
            let root = self.arena.place(Inner::of(left, &[branch]));
            self.delta.root.set(Child::Other(root));
            return;
        };
        let order = parent.order();
        let at = parent.search(order, probe);
        if order.len() < SLOTS {
            parent.insert(at, &branch);
            parent.replace(order, at, left);
            self.finger.keep();
        } else if at == order.len() {
            // Behind all. If the last child stays as it is, so does the node.
            let right = self.arena.place(Inner::of(branch.child, &[]));
            let up = Branch { child: Child::Other(right), ..branch };
            let low = if parent.child(order, at).is(left) {
                parent
            } else {
                let mut all: [Branch<'_>; SLOTS] =
                    array::from_fn(|place| parent.branch(order, place));
                all[SLOTS - 1].child = left;
                self.arena.place(Inner::of(parent.child(order, 0), &all))
            };
            self.branch_off(Child::Other(low), up, probe);
        } else {
            let mut all = [branch; SLOTS + 1];
            for place in 0..SLOTS {
                all[place + usize::from(place >= at)] = parent.branch(order, place);
            }
            let first = if at == 0 { left } else { parent.child(order, 0) };
            if at > 0 {
                all[at - 1].child = left;
            }
            let middle = SLOTS / 2;
            let low = self.arena.place(Inner::of(first, &all[..middle]));
            let high = self.arena.place(Inner::of(all[middle].child, &all[middle + 1..]));
            let up = Branch { child: Child::Other(high), ..all[middle] };
            self.branch_off(Child::Other(low), up, probe);
        }
    }
}

/// A branch to a leaf: its least record is the separator.
fn branch_to(leaf: &Leaf) -> Branch<'_> {
    let (head, separator) = leaf.entry(leaf.order(), 0);
    Branch { head: (leaf.table, head), separator, child: Child::One(leaf) }
}

fn set_prev(leaf: Option<&Leaf>, prev: &Leaf) {
    if let Some(leaf) = leaf {
        leaf.prev.set(Some(prev));
    }
}

/// The way from the root to where the last insert was: inner nodes, each with the bounds of what is
/// below it. The next search begins at the lowest node whose bounds hold what is searched for.
struct Finger {
    levels: [Level; DEEPEST],
    depth: Cell<usize>,
}

struct Level {
    inner: Link<Inner>,
    low: Bound,
    high: Bound,
}

/// A separator with its table and head, or no bound at all.
struct Bound {
    head: Cell<(TableId, u64)>,
    separator: RecordLink,
}

impl Bound {
    const fn none() -> Bound {
        Bound { head: Cell::new((0, 0)), separator: RecordLink::none() }
    }

    fn set(&self, to: &Branch<'_>) {
        self.head.set(to.head);
        self.separator.set(Some(to.separator));
    }

    fn copy(&self, from: &Bound) {
        self.head.set(from.head.get());
        self.separator.set(from.separator.get());
    }

    /// How the bound stands to `probe`; `open` if there is none.
    fn order(&self, probe: &Probe<'_>, open: Cmp) -> Cmp {
        let Some(separator) = self.separator.get() else { return open };
        let by_head = self.head.get().cmp(&(probe.table, probe.head));
        by_head.then_with(|| probe.order_of(separator))
    }
}

impl Level {
    fn holds(&self, probe: &Probe<'_>) -> bool {
        self.low.order(probe, Cmp::Less) != Cmp::Greater
            && self.high.order(probe, Cmp::Greater) == Cmp::Greater
    }
}

impl Finger {
    fn new() -> Finger {
        let level = || Level { inner: Link::none(), low: Bound::none(), high: Bound::none() };
        Finger { levels: array::from_fn(|_| level()), depth: Cell::new(0) }
    }

    /// The leaf that `probe` leads to; afterwards the finger holds all inner nodes above it.
    fn descend<'a>(&'a self, root: Node<'a>, probe: &Probe<'_>) -> &'a Leaf {
        let mut depth = self.depth.get();
        while depth > 0 && !self.levels[depth - 1].holds(probe) {
            depth -= 1;
        }
        let mut node = root;
        if depth > 0 {
            depth -= 1;
            node = Child::Other(self.levels[depth].inner.get().expect("levels in use have nodes"));
        }
        loop {
            let inner = match node {
                Child::One(leaf) => {
                    prefetch(leaf);
                    self.depth.set(depth);
                    return leaf;
                }
                Child::Other(inner) => {
                    prefetch(inner);
                    inner
                }
            };
            node = self.step(inner, depth, probe);
            depth += 1;
        }
    }

    /// Notes `inner` as the node at `depth` and goes on to its child. The bounds of the level are
    /// there already (the root has none, ever); those of the next one are found here.
    fn step<'a>(&'a self, inner: &'a Inner, depth: usize, probe: &Probe<'_>) -> Node<'a> {
        let [level, below] = &self.levels[depth..depth + 2] else {
            unreachable!("an index of {DEEPEST} levels exceeds all memory")
        };
        level.inner.set(Some(inner));
        let order = inner.order();
        let at = inner.search(order, probe);
        match at.checked_sub(1) {
            Some(before) => below.low.set(&inner.branch(order, before)),
            None => below.low.copy(&level.low),
        }
        if at < order.len() {
            below.high.set(&inner.branch(order, at));
        } else {
            below.high.copy(&level.high);
        }
        inner.child(order, at)
    }

    /// Takes the lowest node off; none if the root is a leaf, or was taken already.
    fn pop(&self) -> Option<&Inner> {
        let depth = self.depth.get().checked_sub(1)?;
        self.depth.set(depth);
        self.levels[depth].inner.get()
    }

    /// Puts back the node that was taken off last: it was changed in place, so its bounds still
    /// hold.
    fn keep(&self) {
        self.depth.set(self.depth.get() + 1);
    }
}
