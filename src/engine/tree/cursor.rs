//! Reading a tree: one record, or many in order, either way.
//!
//! Written once over [`PageSource`]. Nothing here takes a lock or allocates per record; a cursor
//! allocates its path once. A page that disagrees with what its parent promised gives `Corrupt`.

use super::page::{CellPlace, LeafValue, MAX_LEVEL, Node, value_at};
use super::pointer::{Pointer, TableRoot};
use super::source::PageSource;
use crate::engine::value::Value;
use crate::error::Result;

/// What `found` holds, or the error for damage in `page`.
#[inline]
fn sound<S: PageSource, T>(source: &S, page: u64, found: Option<T>) -> Result<T> {
    found.ok_or_else(|| source.corrupt(page, "it changed after it was checked"))
}

#[inline]
fn node<'p, S: PageSource>(
    source: &S,
    pointer: &Pointer,
    page: &'p [u8],
    level: u8,
) -> Result<Node<'p>> {
    Node::new(page, level)
        .ok_or_else(|| source.corrupt(pointer.page, "it is not of the level its parent says"))
}

/// The value of `key`.
#[inline]
pub(crate) fn get<'s, S: PageSource>(
    source: &'s S,
    root: &TableRoot,
    key: &[u8],
) -> Result<Option<Value<'s>>> {
    if root.root.is_null() {
        return Ok(None);
    }
    let mut pointer = root.root;
    let mut level = checked_level(source, root)?;
    loop {
        let page = source.page(&pointer, level)?;
        let node = node(source, &pointer, &page, level)?;
        if level == 0 {
            let Some(place) = sound(source, pointer.page, node.find(key))? else {
                return Ok(None);
            };
            return value(source, pointer.page, &page, place).map(Some);
        }
        let child = node.route(key).and_then(|index| node.child(index));
        pointer = sound(source, pointer.page, child)?;
        level -= 1;
    }
}

fn checked_level<S: PageSource>(source: &S, root: &TableRoot) -> Result<u8> {
    if root.level > MAX_LEVEL {
        return Err(source.corrupt(root.root.page, "its tree is deeper than any can be"));
    }
    Ok(root.level)
}

#[inline]
fn value<'s, S: PageSource>(
    source: &'s S,
    number: u64,
    page: &S::Page<'s>,
    place: CellPlace,
) -> Result<Value<'s>> {
    if !place.run {
        return Ok(source.value(page, usize::from(place.value), usize::from(place.end)));
    }
    match sound(source, number, value_at(page, place))? {
        LeafValue::Run(run) => source.run(&run),
        LeafValue::Inline(_) => Err(source.corrupt(number, "it changed while it was read")),
    }
}

/// An inner page on the way to the leaf.
struct Step<P> {
    page: P,
    number: u64,
    index: usize,
}

/// A place in a tree: on a record, or nowhere.
pub(crate) struct Walk<'s, S: PageSource> {
    source: &'s S,
    root: TableRoot,
    steps: Vec<Step<S::Page<'s>>>,
    leaf: Option<S::Page<'s>>,
    number: u64,
    index: usize,
    count: usize,
    place: CellPlace,
}

/// Which child or entry to take on the way down.
enum Aim<'k> {
    First,
    Last,
    Key(&'k [u8]),
}

impl<'s, S: PageSource> Walk<'s, S> {
    /// A walk that stands nowhere.
    pub(crate) fn new(source: &'s S, root: TableRoot) -> Walk<'s, S> {
        Walk {
            source,
            root,
            steps: Vec::new(),
            leaf: None,
            number: 0,
            index: 0,
            count: 0,
            place: CellPlace::default(),
        }
    }

    /// Whether it stands on a record.
    pub(crate) fn is_on_record(&self) -> bool {
        self.leaf.is_some()
    }

    /// Goes to the first record.
    pub(crate) fn first(&mut self) -> Result<bool> {
        self.start(Aim::First)?;
        self.settle()
    }

    /// Goes to the last record.
    pub(crate) fn last(&mut self) -> Result<bool> {
        self.start(Aim::Last)?;
        self.settle()
    }

    /// Goes to the first record whose key is not below `key`.
    pub(crate) fn seek_ge(&mut self, key: &[u8]) -> Result<bool> {
        self.start(Aim::Key(key))?;
        let Some(leaf) = &self.leaf else { return Ok(false) };
        let node = Node::new(leaf, 0);
        let found = sound(self.source, self.number, node.and_then(|node| node.search(key)))?;
        self.index = found.unwrap_or_else(|index| index);
        if self.index == self.count { self.next_leaf() } else { self.settle() }
    }

    /// Goes to the last record whose key is not above `key`.
    pub(crate) fn seek_le(&mut self, key: &[u8]) -> Result<bool> {
        self.start(Aim::Key(key))?;
        let Some(leaf) = &self.leaf else { return Ok(false) };
        let node = Node::new(leaf, 0);
        match sound(self.source, self.number, node.and_then(|node| node.search(key)))? {
            Ok(index) => self.index = index,
            Err(0) => return self.previous_leaf(),
            Err(index) => self.index = index - 1,
        }
        self.settle()
    }

    /// Goes to the next record; from the last one, to nowhere.
    #[inline]
    pub(crate) fn next(&mut self) -> Result<bool> {
        if self.leaf.is_none() {
            return Ok(false);
        }
        self.index += 1;
        if self.index == self.count { self.next_leaf() } else { self.settle() }
    }

    /// Goes to the record before; from the first one, to nowhere.
    #[inline]
    pub(crate) fn prev(&mut self) -> Result<bool> {
        if self.leaf.is_none() {
            return Ok(false);
        }
        if self.index == 0 {
            return self.previous_leaf();
        }
        self.index -= 1;
        self.settle()
    }

    /// The key of the record; empty when it stands nowhere.
    #[inline]
    pub(crate) fn key(&self) -> &[u8] {
        match &self.leaf {
            Some(leaf) => &leaf[usize::from(self.place.key)..usize::from(self.place.value)],
            None => &[],
        }
    }

    /// The value of the record.
    #[inline]
    pub(crate) fn value(&self) -> Result<Value<'s>> {
        match &self.leaf {
            Some(leaf) => value(self.source, self.number, leaf, self.place),
            None => Ok(Value::Borrowed(&[])),
        }
    }

    /// Reads the place of the record under `index`.
    #[inline]
    fn settle(&mut self) -> Result<bool> {
        let Some(leaf) = &self.leaf else { return Ok(false) };
        let place = Node::new(leaf, 0).and_then(|node| node.place(self.index));
        match place {
            Some(place) => self.place = place,
            None => {
                self.leaf = None;
                return Err(self.source.corrupt(self.number, "it changed after it was checked"));
            }
        }
        Ok(true)
    }

    /// Goes down from the root.
    fn start(&mut self, aim: Aim<'_>) -> Result<()> {
        self.steps.clear();
        self.leaf = None;
        if self.root.root.is_null() {
            return Ok(());
        }
        let level = checked_level(self.source, &self.root)?;
        self.descend(self.root.root, level, &aim)
    }

    fn descend(&mut self, mut pointer: Pointer, mut level: u8, aim: &Aim<'_>) -> Result<()> {
        loop {
            let page = self.source.page(&pointer, level)?;
            let node = node(self.source, &pointer, &page, level)?;
            let last = node.count() - 1;
            if level == 0 {
                self.index = if matches!(aim, Aim::Last) { last } else { 0 };
                self.count = node.count();
                self.number = pointer.page;
                self.leaf = Some(page);
                return Ok(());
            }
            let index = match aim {
                Aim::First => 0,
                Aim::Last => last,
                Aim::Key(key) => sound(self.source, pointer.page, node.route(key))?,
            };
            let child = sound(self.source, pointer.page, node.child(index))?;
            self.steps.push(Step { page, number: pointer.page, index });
            pointer = child;
            level -= 1;
        }
    }

    #[inline(never)]
    fn next_leaf(&mut self) -> Result<bool> {
        self.turn(true)
    }

    #[inline(never)]
    fn previous_leaf(&mut self) -> Result<bool> {
        self.turn(false)
    }

    /// Goes to the neighbouring leaf, by way of the nearest page above that has one.
    fn turn(&mut self, forward: bool) -> Result<bool> {
        self.leaf = None;
        while !self.steps.is_empty() {
            let depth = self.steps.len();
            let level = self.root.level - (depth as u8 - 1);
            let step = &mut self.steps[depth - 1];
            let pointer = Pointer { page: step.number, ..Pointer::NULL };
            let node = node(self.source, &pointer, &step.page, level)?;
            let next = if forward { step.index.checked_add(1) } else { step.index.checked_sub(1) };
            let Some(index) = next.filter(|index| *index < node.count()) else {
                self.steps.pop();
                continue;
            };
            let child = sound(self.source, step.number, node.child(index))?;
            step.index = index;
            let aim = if forward { Aim::First } else { Aim::Last };
            self.descend(child, level - 1, &aim)?;
            return self.settle();
        }
        Ok(false)
    }
}
