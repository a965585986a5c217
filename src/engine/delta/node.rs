//! Nodes of the index over the records of a delta: a B+tree for one writer and readers without
//! locks.
//!
//! A node has slots that are filled in the order of arrival, and one word, [`Order`], that says how
//! many are filled and how they are sorted. An insert fills the next slot and then stores the word:
//! readers see the node before or after, nothing between. Slots are never used again. A node that
//! must give up some of its content is replaced by new nodes and keeps what it has, for those who
//! are still in it: all that was in the index when they came is there, by whichever node they go
//! on.
//!
//! One pair of stores could be seen in halves: where a child is split, its node first gets the
//! branch to the right part and then, in the child's place, the left part. A reader that chose its
//! place by the order word from before both, and took the child from after both, would look for a
//! record of the right part in the left one. Hence two rules. The writer changes a child of a node
//! only after it changed the order word of the same node; and a reader that took a child looks at
//! the order word again, and chooses again if it is another one ([`Inner::look`]).
//!
//! Beside each link stands the key's head (its first eight bytes), so that a search touches a key
//! only where heads are the same. A leaf holds records of one table only, and is never empty.

use super::super::TableId;
use super::arena::{Child, ChildLink, Link, prefetch};
use super::record::{Record, RecordLink, head_of};
use std::array;
use std::cmp::Ordering as Cmp;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Slots of a node: as many as the order word has room for beside their number. A leaf with
/// fourteen of them fills four cache lines exactly.
pub(super) const SLOTS: usize = 14;

pub(super) type Node<'a> = Child<'a, Leaf, Inner>;

/// What is searched for. Without a key: the place behind all keys of the table.
#[derive(Clone, Copy)]
pub(super) struct Probe<'k> {
    pub(super) table: TableId,
    pub(super) head: u64,
    key: Option<&'k [u8]>,
}

impl<'k> Probe<'k> {
    pub(super) fn at(table: TableId, key: &'k [u8]) -> Probe<'k> {
        Probe { table, head: head_of(key), key: Some(key) }
    }

    pub(super) fn behind(table: TableId) -> Probe<'k> {
        Probe { table, head: u64::MAX, key: None }
    }

    /// How a record of the same table and head stands to what is searched for.
    pub(super) fn order_of(&self, record: Record<'_>) -> Cmp {
        self.key.map_or(Cmp::Less, |key| record.key().cmp(key))
    }
}

/// Which slot is the first, second, ... of a node (four bits each, lowest first); in the highest
/// four bits their number.
#[derive(Clone, Copy, PartialEq)]
pub(super) struct Order(u64);

impl Order {
    pub(super) fn len(self) -> usize {
        (self.0 >> 60) as usize
    }

    fn slot(self, at: usize) -> usize {
        (self.0 >> (4 * at)) as usize & 15
    }

    /// The next free slot, put in at place `at`.
    fn with(self, at: usize) -> Order {
        let len = self.len() as u64;
        let body = self.0 & !(15 << 60);
        let before = (1u64 << (4 * at)) - 1;
        let body = body & before | len << (4 * at) | (body & !before) << 4;
        Order(body | (len + 1) << 60)
    }

    /// The first `len` slots as they are.
    fn first(len: usize) -> Order {
        (0..len).fold(Order(0), |order, at| order.with(at))
    }
}

/// Records of one table, in order, and the leaves on both sides.
#[repr(align(64))]
pub(super) struct Leaf {
    order: AtomicU64,
    heads: [AtomicU64; SLOTS],
    records: [RecordLink; SLOTS],
    pub(super) table: TableId,
    pub(super) next: Link<Leaf>,
    pub(super) prev: Link<Leaf>,
}

impl Leaf {
    /// A leaf with these records, which are in order.
    pub(super) fn of<'a>(table: TableId, records: impl Iterator<Item = (u64, Record<'a>)>) -> Leaf {
        let leaf = Leaf {
            order: AtomicU64::new(0),
            heads: array::from_fn(|_| AtomicU64::new(0)),
            records: array::from_fn(|_| RecordLink::none()),
            table,
            next: Link::none(),
            prev: Link::none(),
        };
        let mut len = 0;
        for (head, record) in records {
            leaf.fill(len, head, record);
            len += 1;
        }
        leaf.order.store(Order::first(len).0, Ordering::Relaxed);
        leaf
    }

    pub(super) fn order(&self) -> Order {
        Order(self.order.load(Ordering::Acquire))
    }

    fn fill(&self, slot: usize, head: u64, record: Record<'_>) {
        self.heads[slot].store(head, Ordering::Relaxed);
        self.records[slot].set(Some(record));
    }

    /// Puts a record in at place `at`; the leaf must have a free slot. By the one writer only.
    pub(super) fn insert(&self, at: usize, head: u64, record: Record<'_>) {
        let order = self.order();
        self.fill(order.len(), head, record);
        self.order.store(order.with(at).0, Ordering::Release);
    }

    pub(super) fn record(&self, order: Order, at: usize) -> Record<'_> {
        self.records[order.slot(at)].get().expect("slots that the order word names are filled")
    }

    pub(super) fn entry(&self, order: Order, at: usize) -> (u64, Record<'_>) {
        (self.heads[order.slot(at)].load(Ordering::Relaxed), self.record(order, at))
    }

    /// The first place that is not before `probe`, and whether the very key is there.
    #[inline]
    pub(super) fn search(&self, order: Order, probe: &Probe<'_>) -> (usize, bool) {
        match self.table.cmp(&probe.table) {
            Cmp::Less => return (order.len(), false),
            Cmp::Greater => return (0, false),
            Cmp::Equal => {}
        }
        let (mut below, mut same) = (0, 0);
        for head in &self.heads[..order.len()] {
            let head = head.load(Ordering::Relaxed);
            below += usize::from(head < probe.head);
            same += usize::from(head == probe.head);
        }
        let (mut from, mut to) = (below, below + same);
        while from < to {
            let middle = from.midpoint(to);
            match probe.order_of(self.record(order, middle)) {
                Cmp::Less => from = middle + 1,
                Cmp::Greater => to = middle,
                Cmp::Equal => return (middle, true),
            }
        }
        (from, false)
    }
}

/// Separators in order, a child before the first and one behind each. A separator is the least
/// record that the index ever led to the child behind it.
#[repr(align(64))]
pub(super) struct Inner {
    order: AtomicU64,
    heads: [AtomicU64; SLOTS],
    tables: [AtomicU32; SLOTS],
    separators: [RecordLink; SLOTS],
    behind: [ChildLink<Leaf, Inner>; SLOTS],
    first: ChildLink<Leaf, Inner>,
}

/// A separator with the child behind it.
#[derive(Clone, Copy)]
pub(super) struct Branch<'a> {
    /// Table and head of the separator.
    pub(super) head: (TableId, u64),
    pub(super) separator: Record<'a>,
    pub(super) child: Node<'a>,
}

impl Inner {
    /// A node with these children; the branches are in order.
    pub(super) fn of(first: Node<'_>, branches: &[Branch<'_>]) -> Inner {
        let inner = Inner {
            order: AtomicU64::new(0),
            heads: array::from_fn(|_| AtomicU64::new(0)),
            tables: array::from_fn(|_| AtomicU32::new(0)),
            separators: array::from_fn(|_| RecordLink::none()),
            behind: array::from_fn(|_| ChildLink::none()),
            first: ChildLink::none(),
        };
        inner.first.set(first);
        for (slot, branch) in branches.iter().enumerate() {
            inner.fill(slot, branch);
        }
        inner.order.store(Order::first(branches.len()).0, Ordering::Relaxed);
        inner
    }

    pub(super) fn order(&self) -> Order {
        Order(self.order.load(Ordering::Acquire))
    }

    fn fill(&self, slot: usize, branch: &Branch<'_>) {
        let (table, head) = branch.head;
        self.tables[slot].store(table, Ordering::Relaxed);
        self.heads[slot].store(head, Ordering::Relaxed);
        self.separators[slot].set(Some(branch.separator));
        self.behind[slot].set(branch.child);
    }

    /// Puts a branch in at place `at`; the node must have a free slot. By the one writer only.
    pub(super) fn insert(&self, at: usize, branch: &Branch<'_>) {
        let order = self.order();
        self.fill(order.len(), branch);
        self.order.store(order.with(at).0, Ordering::Release);
    }

    pub(super) fn branch(&self, order: Order, at: usize) -> Branch<'_> {
        let slot = order.slot(at);
        let (table, head) = (&self.tables[slot], &self.heads[slot]);
        let separator = self.separators[slot].get();
        Branch {
            head: (table.load(Ordering::Relaxed), head.load(Ordering::Relaxed)),
            separator: separator.expect("slots that the order word names are filled"),
            child: self.child(order, at + 1),
        }
    }

    /// Number of separators that are not behind `probe`: the place of the child to go to.
    #[inline]
    pub(super) fn search(&self, order: Order, probe: &Probe<'_>) -> usize {
        let wanted = (probe.table, probe.head);
        let (mut below, mut same) = (0, 0);
        for (head, table) in self.heads[..order.len()].iter().zip(&self.tables) {
            let here = (table.load(Ordering::Relaxed), head.load(Ordering::Relaxed));
            below += usize::from(here < wanted);
            same += usize::from(here == wanted);
        }
        let (mut from, mut to) = (below, below + same);
        while from < to {
            let middle = from.midpoint(to);
            match probe.order_of(self.branch(order, middle).separator) {
                Cmp::Greater => to = middle,
                Cmp::Less | Cmp::Equal => from = middle + 1,
            }
        }
        from
    }

    fn link(&self, order: Order, at: usize) -> &ChildLink<Leaf, Inner> {
        if at == 0 { &self.first } else { &self.behind[order.slot(at - 1)] }
    }

    pub(super) fn child(&self, order: Order, at: usize) -> Node<'_> {
        self.link(order, at).get().expect("every place of an inner node has its child")
    }

    /// The child to go to for `probe`, by this order word; none if the word is another one by now.
    #[inline]
    fn look(&self, order: Order, probe: &Probe<'_>) -> Option<Node<'_>> {
        let child = self.child(order, self.search(order, probe));
        // The child was loaded with Acquire: if it is one that was put in the place of another,
        // this load sees the order word that was stored before that.
        (self.order() == order).then_some(child)
    }

    /// Puts `child` in the place of the one that is there, after [`insert`](Inner::insert) gave a
    /// place to what `child` lacks of it. By the one writer only.
    pub(super) fn replace(&self, order: Order, at: usize, child: Node<'_>) {
        self.link(order, at).set(child);
    }
}

/// The leaf below `node` whose range `probe` falls into.
#[inline]
pub(super) fn leaf_for<'a>(mut node: Node<'a>, probe: &Probe<'_>) -> &'a Leaf {
    loop {
        match node {
            Child::One(leaf) => {
                prefetch(leaf);
                return leaf;
            }
            Child::Other(inner) => {
                prefetch(inner);
                // Ends: a node is given at most as many branches as it has slots.
                node = loop {
                    if let Some(child) = inner.look(inner.order(), probe) {
                        break child;
                    }
                };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::arena::Arena;
    use super::*;

    /// The bug that it defends against lost committed records for a moment: it needs a reader that
    /// is held up between two loads, so the test stands in that place itself.
    #[test]
    fn a_reader_held_up_while_a_child_is_split_chooses_again() {
        let (_arena, writer) = Arena::new();
        let record = |key: &[u8]| (head_of(key), Record::place(&writer, 1, key));
        let leaf = |keys: &[&[u8]]| writer.place(Leaf::of(1, keys.iter().map(|key| record(key))));
        let branch = |key: &[u8], child| {
            let (head, separator) = record(key);
            Branch { head: (1, head), separator, child: Child::One(child) }
        };
        let (whole, other) = (leaf(&[b"b", b"d"]), leaf(&[b"k"]));
        let inner = writer.place(Inner::of(Child::One(whole), &[branch(b"k", other)]));
        let came_with = inner.order();
        let probe = Probe::at(1, b"d");
        assert!(inner.look(came_with, &probe).is_some_and(|node| node.is(Child::One(whole))));

        let (left, right) = (leaf(&[b"b"]), leaf(&[b"d"]));
        inner.insert(0, &branch(b"d", right));
        inner.replace(came_with, 0, Child::One(left));
        assert!(inner.look(came_with, &probe).is_none(), "it would look for d in the left part");
        assert!(std::ptr::eq(leaf_for(Child::Other(inner), &probe), right));
    }
}
