//! Writing what was found into the new store, in any order, under table numbers of its own.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::Value as Json;

use super::{MissingRange, RepairedTable};
use crate::engine::tree::{Lost, Salvage};
use crate::engine::{Batch, CATALOGUE, Durability, Engine, Payload, TableId, TableInfo};
use crate::error::Result;
use crate::store::{KeyType, TableDescription, ValueType, check_table_name};

/// A commit takes about so many bytes and at most so many records.
const BATCH_BYTES: usize = 4 << 20;
const BATCH_RECORDS: usize = 10_000;

/// A table of the new store.
struct Made {
    info: TableInfo,
    definition_lost: bool,
}

/// Collects changes and commits them.
pub(super) struct Writer<'e> {
    engine: &'e Engine,
    /// By their numbers in the damaged store.
    tables: HashMap<TableId, Made>,
    names: BTreeSet<String>,
    changes: BTreeMap<(TableId, Vec<u8>), Option<Payload>>,
    bytes: usize,
}

impl<'e> Writer<'e> {
    pub(super) fn new(engine: &'e Engine) -> Writer<'e> {
        Writer {
            engine,
            tables: HashMap::new(),
            names: BTreeSet::new(),
            changes: BTreeMap::new(),
            bytes: 0,
        }
    }

    /// Makes the table `id`, or gives it the name of another definition. One that is lost, or of a kind
    /// that is not known here, gets bytes for keys and values, and a name that says so.
    pub(super) fn define(&mut self, id: TableId, definition: Option<&[u8]>) -> Result<()> {
        let found = definition.and_then(|bytes| TableInfo::decode(&id.to_be_bytes(), bytes).ok());
        let usable = |info: &TableInfo| {
            check_table_name(&info.name).is_ok() && TableDescription::of(info).is_ok()
        };
        let found = found.filter(usable);
        let made = self.tables.get(&id);
        if made.is_some_and(|made| !made.definition_lost) && found.is_none() {
            return Ok(());
        }
        let new_id = made.map_or_else(|| self.engine.new_table_id(), |made| made.info.id);
        if let Some(made) = made {
            self.names.remove(&made.info.name);
        }
        let definition_lost = found.is_none();
        let mut info = found.unwrap_or_else(|| TableInfo {
            id,
            name: format!("recovered-{id}"),
            key_encoding: KeyType::Bytes.encoding(),
            value_encoding: ValueType::Bytes.encoding().to_owned(),
        });
        info.id = new_id;
        while !self.names.insert(info.name.clone()) {
            info.name.push_str("-recovered");
        }
        self.flush()?;
        let mut batch = Batch::default();
        batch.define(&info);
        self.engine.commit(batch, Durability::Eventual)?;
        self.tables.insert(id, Made { info, definition_lost });
        Ok(())
    }

    /// Puts a record of the table `table` of the damaged store, or removes it.
    pub(super) fn put(&mut self, table: TableId, key: &[u8], value: Option<&[u8]>) -> Result<()> {
        if !self.tables.contains_key(&table) {
            self.define(table, None)?;
        }
        let Some(made) = self.tables.get(&table) else { return Ok(()) };
        self.bytes += key.len() + value.map_or(0, <[u8]>::len);
        let value = value.map(|value| Payload::from(value.to_vec()));
        self.changes.insert((made.info.id, key.to_vec()), value);
        match self.bytes >= BATCH_BYTES || self.changes.len() >= BATCH_RECORDS {
            true => self.flush(),
            false => Ok(()),
        }
    }

    /// Applies an operation of the log.
    pub(super) fn apply(&mut self, table: TableId, key: &[u8], value: Option<&[u8]>) -> Result<()> {
        if table != CATALOGUE {
            return self.put(table, key, value);
        }
        let Some(id) = key.as_array().map(|id| TableId::from_be_bytes(*id)) else { return Ok(()) };
        if value.is_some() {
            return self.define(id, value);
        }
        self.flush()?;
        if let Some(made) = self.tables.remove(&id) {
            self.names.remove(&made.info.name);
            let mut batch = Batch::default();
            batch.drop_table(made.info.id);
            self.engine.commit(batch, Durability::Eventual)?;
        }
        Ok(())
    }

    /// Commits what was collected.
    pub(super) fn flush(&mut self) -> Result<()> {
        if self.changes.is_empty() {
            return Ok(());
        }
        let mut batch = Batch::with_capacity(self.changes.len());
        for ((table, key), value) in std::mem::take(&mut self.changes) {
            batch.push(table, key.into_boxed_slice(), value);
        }
        self.bytes = 0;
        self.engine.commit(batch, Durability::Eventual).map(drop)
    }

    /// What became of each table; at most `most` ranges of one.
    pub(super) fn report(
        &self,
        salvage: &Salvage<'_>,
        in_log: &BTreeSet<(TableId, Vec<u8>)>,
        most: usize,
    ) -> Result<Vec<RepairedTable>> {
        let snapshot = self.engine.snapshot()?;
        let mut tables = Vec::new();
        for (id, made) in &self.tables {
            let found = salvage.tables.get(id);
            let lost = salvage.lost_values.iter().filter(|(table, _)| table == id);
            let lost_values: Vec<Json> = lost.map(|(_, key)| key_json(&made.info, key)).collect();
            let missing = found.and_then(|found| {
                let logged = in_log.iter().filter(|(table, _)| table == id).count() as u64;
                found.expected.map(|expected| expected.saturating_sub(found.taken + logged))
            });
            // Where the count is right, nothing is missing between the pages.
            let between = missing.map(|missing| missing.saturating_sub(lost_values.len() as u64));
            let ranges = match between {
                Some(0) => Vec::new(),
                _ => salvage.missing(*id, most),
            };
            tables.push(RepairedTable {
                name: made.info.name.clone(),
                definition_lost: made.definition_lost,
                records: snapshot.len(made.info.id)?,
                missing,
                missing_ranges: ranges.iter().map(|lost| range(&made.info, lost)).collect(),
                lost_values: lost_values.into_iter().take(most).collect(),
            });
        }
        tables.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(tables)
    }
}

fn range(info: &TableInfo, lost: &Lost) -> MissingRange {
    MissingRange {
        from: (!lost.low.is_empty()).then(|| key_json(info, &lost.low)),
        to: lost.high.as_ref().map(|key| key_json(info, key)),
    }
}

/// The key as JSON, or its bytes in hexadecimal digits where they are no whole key of the table's type.
fn key_json(info: &TableInfo, key: &[u8]) -> Json {
    let known = TableDescription::of(info).ok();
    let decoded = known.and_then(|table| table.key_type.decode_json(key).ok());
    decoded.unwrap_or_else(|| {
        let digits: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
        Json::String(format!("0x{digits}"))
    })
}
