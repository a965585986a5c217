//! What a write handle has written so far.
//!
//! The writes of one table are a sorted map behind an `Arc`: a scan of the handle takes a share of
//! it and sees it unchanged, and the first write during a scan copies it. Outside scans nothing is
//! copied.

use super::describe::TableDescription;
use super::span::Limits;
use super::value::Guard;
use crate::Result;
use crate::engine::TableId;
use crate::engine::Value as Stored;
use crate::engine::{Batch, Payload};
use crate::engine::{Catalogue, TableInfo};
use std::collections::BTreeMap;
use std::collections::btree_map::Iter;
use std::ops::Bound;
use std::sync::Arc;

/// The writes of one table: the new value, or `None` for a removal.
#[derive(Clone, Default)]
pub(crate) struct Writes(BTreeMap<Box<[u8]>, Option<Payload>>);

type Entry<'a> = (&'a Box<[u8]>, &'a Option<Payload>);

impl Writes {
    pub(crate) fn get(&self, key: &[u8]) -> Option<&Option<Payload>> {
        self.0.get(key)
    }

    pub(crate) fn iter(&self) -> Iter<'_, Box<[u8]>, Option<Payload>> {
        self.0.iter()
    }

    /// The writes within `limits`, ascending or descending.
    pub(crate) fn within(
        &self,
        limits: &Limits,
        forward: bool,
    ) -> Box<dyn Iterator<Item = Entry<'_>> + '_> {
        if is_empty(limits) {
            return Box::new(std::iter::empty());
        }
        let (low, high) = (limits.low.as_ref(), limits.high.as_ref());
        let range = self.0.range::<[u8], _>((low.map(Vec::as_slice), high.map(Vec::as_slice)));
        if forward { Box::new(range) } else { Box::new(range.rev()) }
    }
}

/// Whether nothing can lie within; `BTreeMap::range` must not be asked then.
fn is_empty(limits: &Limits) -> bool {
    match (&limits.low, &limits.high) {
        (Bound::Unbounded, _) | (_, Bound::Unbounded) => false,
        (Bound::Included(low), Bound::Included(high)) => low > high,
        (
            Bound::Excluded(low) | Bound::Included(low),
            Bound::Excluded(high) | Bound::Included(high),
        ) => low >= high,
    }
}

impl Payload {
    /// The value as a write handle gives it out: copied, or shared where it is big.
    pub(crate) fn guard<'a>(&self) -> Guard<'a> {
        Guard::new(match self {
            Payload::Small(bytes) => Stored::Owned(bytes.clone()),
            Payload::Shared(bytes) => Stored::Shared(bytes.clone()),
        })
    }
}

/// All writes of a handle, and its changes to the structure.
#[derive(Default)]
pub(crate) struct WriteSet {
    tables: BTreeMap<TableId, Arc<Writes>>,
    /// Tables made, renamed, or (`None`) dropped.
    structure: BTreeMap<TableId, Option<TableInfo>>,
}

impl WriteSet {
    pub(crate) fn put(&mut self, table: TableId, key: &[u8], value: Option<Payload>) {
        let writes = Arc::make_mut(self.tables.entry(table).or_default());
        match writes.0.get_mut(key) {
            Some(old) => *old = value,
            None => {
                writes.0.insert(key.into(), value);
            }
        }
    }

    /// What the handle itself wrote to `key`, if anything.
    pub(crate) fn get(&self, table: TableId, key: &[u8]) -> Option<&Option<Payload>> {
        self.tables.get(&table)?.get(key)
    }

    /// The writes of one table, as they are now.
    pub(crate) fn of_table(&self, table: TableId) -> Arc<Writes> {
        self.tables.get(&table).cloned().unwrap_or_default()
    }

    pub(crate) fn define(&mut self, info: TableInfo) {
        self.structure.insert(info.id, Some(info));
    }

    pub(crate) fn drop_table(&mut self, table: TableId) {
        self.structure.insert(table, None);
    }

    /// What the handle itself did to the table of this number, if anything.
    pub(crate) fn structure_of(&self, table: TableId) -> Option<&Option<TableInfo>> {
        self.structure.get(&table)
    }

    /// The table that the handle itself made or renamed to `name`.
    pub(crate) fn defined(&self, name: &str) -> Option<&TableInfo> {
        self.structure.values().flatten().find(|info| info.name == name)
    }

    /// All tables of `catalogue` with the handle's own changes, by name.
    pub(crate) fn tables_over(&self, catalogue: &Catalogue) -> Result<Vec<TableDescription>> {
        let others = catalogue.iter().map(|info| &**info);
        let others = others.filter(|info| !self.structure.contains_key(&info.id));
        let own = self.structure.values().flatten();
        let mut tables = others.chain(own).map(TableDescription::of).collect::<Result<Vec<_>>>()?;
        tables.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(tables)
    }

    /// The records written, in the order of (table, key).
    pub(crate) fn records(&self) -> impl Iterator<Item = (TableId, &[u8])> {
        self.tables
            .iter()
            .flat_map(|(&table, writes)| writes.iter().map(move |(key, _)| (table, &**key)))
    }

    /// The batch for the commit line: structure first, then records, sorted.
    pub(crate) fn into_batch(self) -> Batch {
        let records: usize = self.tables.values().map(|writes| writes.0.len()).sum();
        let mut batch = Batch::with_capacity(self.structure.len() + records);
        for (id, info) in &self.structure {
            match info {
                Some(info) => batch.define(info),
                None => batch.drop_table(*id),
            }
        }
        for (table, writes) in self.tables {
            for (key, value) in Arc::unwrap_or_clone(writes).0 {
                batch.push(table, key, value);
            }
        }
        batch
    }
}
