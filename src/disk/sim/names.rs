//! The names of the simulated disk: what they are now, what is durable, and what lies between.
//!
//! Invariants: a file has at most one name; a directory's durable names change only by `sync_dir`
//! (never by closing, renaming or syncing a file); each pending change happens after a crash whole or
//! not at all, so that a rename never loses both names.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

/// The identity of a file, directory or link.
pub(super) type Ino = u64;
/// The directory that everything lies under.
pub(super) const ROOT: Ino = 1;

/// A name in a directory.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) dir: Ino,
    pub(super) name: OsString,
}

/// Names at one time, both ways.
#[derive(Clone, Debug, Default)]
pub(super) struct Table {
    entries: BTreeMap<Place, Ino>,
    places: BTreeMap<Ino, Place>,
}

impl Table {
    pub(super) fn get(&self, place: &Place) -> Option<Ino> {
        self.entries.get(place).copied()
    }

    pub(super) fn place(&self, ino: Ino) -> Option<&Place> {
        self.places.get(&ino)
    }

    /// The directory that holds `ino`; the root holds itself.
    pub(super) fn parent(&self, ino: Ino) -> Ino {
        self.places.get(&ino).map_or(ROOT, |place| place.dir)
    }

    /// The whole path of what has a name.
    pub(super) fn path(&self, ino: Ino) -> Option<PathBuf> {
        let mut names = Vec::new();
        let mut at = ino;
        while at != ROOT {
            let place = self.places.get(&at)?;
            names.push(&place.name);
            at = place.dir;
        }
        let mut path = PathBuf::from("/");
        path.extend(names.into_iter().rev());
        Some(path)
    }

    /// What lies in a directory, by name.
    pub(super) fn list(&self, dir: Ino) -> impl Iterator<Item = (&OsString, Ino)> {
        self.entries
            .range(Place { dir, name: OsString::new() }..)
            .take_while(move |(place, _)| place.dir == dir)
            .map(|(place, &ino)| (&place.name, ino))
    }

    /// Gives `ino` this place and no other. What was there loses its name.
    fn put(&mut self, place: Place, ino: Ino) {
        self.remove(ino);
        if let Some(displaced) = self.entries.insert(place.clone(), ino) {
            self.places.remove(&displaced);
        }
        self.places.insert(ino, place);
    }

    fn remove(&mut self, ino: Ino) {
        if let Some(place) = self.places.remove(&ino) {
            self.entries.remove(&place);
        }
    }

    /// Whether `dir` is `ino` or lies somewhere under it.
    pub(super) fn is_within(&self, dir: Ino, ino: Ino) -> bool {
        let mut at = dir;
        loop {
            if at == ino {
                return true;
            }
            match self.places.get(&at) {
                Some(place) => at = place.dir,
                None => return false,
            }
        }
    }

    fn apply(&mut self, change: &Change) {
        match &change.to {
            // After a crash some moves are missing; the others must not close a circle.
            Some(place) if self.is_within(place.dir, change.ino) => {}
            Some(place) => self.put(place.clone(), change.ino),
            None => self.remove(change.ino),
        }
    }
}

/// One change of names: a creation has no `from`, a removal no `to`.
#[derive(Clone, Debug)]
struct Change {
    ino: Ino,
    from: Option<Place>,
    to: Option<Place>,
    /// The directories that must still be synced before it is durable.
    unsynced: Vec<Ino>,
}

impl Change {
    /// Whether the order of the two matters.
    fn depends_on(&self, other: &Change) -> bool {
        let places = [&self.from, &self.to];
        self.ino == other.ino
            || [&other.from, &other.to].iter().any(|p| p.is_some() && places.contains(p))
    }
}

/// The names of a disk.
#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    now: Table,
    durable: Table,
    pending: Vec<Change>,
}

impl Names {
    /// Names of which all are durable.
    fn settled(table: Table) -> Names {
        Names { durable: table.clone(), now: table, pending: Vec::new() }
    }

    /// The names as every call sees them.
    pub(super) fn now(&self) -> &Table {
        &self.now
    }

    /// Names a new thing, or gives another name to a known one. What was there loses its name by the
    /// same change.
    pub(super) fn put(&mut self, ino: Ino, to: Place) {
        self.change(ino, Some(to));
    }

    /// Takes its name from `ino`.
    pub(super) fn remove(&mut self, ino: Ino) {
        self.change(ino, None);
    }

    fn change(&mut self, ino: Ino, to: Option<Place>) {
        let from = self.now.place(ino).cloned();
        let mut unsynced: Vec<Ino> = [&from, &to].into_iter().flatten().map(|p| p.dir).collect();
        unsynced.dedup();
        let change = Change { ino, from, to, unsynced };
        self.now.apply(&change);
        self.pending.push(change);
    }

    /// Makes durable what happened in `dir`. A change between two directories waits for both, unless
    /// something durable depends on it.
    pub(super) fn sync_dir(&mut self, dir: Ino) {
        for change in &mut self.pending {
            change.unsynced.retain(|&waits_for| waits_for != dir);
        }
        let mut due = vec![false; self.pending.len()];
        for later in (0..self.pending.len()).rev() {
            due[later] |= self.pending[later].unsynced.is_empty();
            if due[later] {
                for (is_due, earlier) in due[..later].iter_mut().zip(&self.pending) {
                    *is_due = *is_due || self.pending[later].depends_on(earlier);
                }
            }
        }
        let mut due = due.into_iter();
        let durable = &mut self.durable;
        self.pending.retain(|change| {
            let is_due = due.next().unwrap_or(false);
            if is_due {
                durable.apply(change);
            }
            !is_due
        });
    }

    /// The names after a crash; `survives` is asked once for each pending change, in order.
    pub(super) fn after_crash(&self, mut survives: impl FnMut() -> bool) -> Names {
        let mut table = self.durable.clone();
        for change in &self.pending {
            if survives() {
                table.apply(change);
            }
        }
        Names::settled(table)
    }

    /// Whether `ino` has a name, or may have one after a crash.
    pub(super) fn knows(&self, ino: Ino) -> bool {
        ino == ROOT
            || self.now.places.contains_key(&ino)
            || self.durable.places.contains_key(&ino)
            || self.pending.iter().any(|change| change.ino == ino)
    }
}
