//! Tests of the whole room, against a model that shares no code with it: ordered maps.

mod copy;
mod faults;
mod forged;
mod model;
mod rot;
mod space;
mod writeback;

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::disk::Disk;
use crate::engine::{CATALOGUE, Change, Lsn, TableId, Timeline};
use crate::error::Result;

/// The check that nobody stops.
fn verify_data_file(disk: &dyn Disk, path: &Path) -> Result<TreeReport> {
    super::verify_data_file(disk, path, &mut |_, _| ControlFlow::Continue(()))
}

pub(super) const PATH: &str = "store.data";
pub(super) const TIMELINE: Timeline = Timeline { id: 7, parent: 0, fork: 0 };

/// What a store holds: by table, the definition and the records.
pub(super) type Model = BTreeMap<TableId, (Vec<u8>, BTreeMap<Vec<u8>, Vec<u8>>)>;

/// Changes as a map from table and key to the new value.
#[derive(Clone, Default)]
pub(super) struct Batch {
    pub(super) changes: BTreeMap<(TableId, Vec<u8>), Option<Vec<u8>>>,
}

impl Batch {
    pub(super) fn define(&mut self, table: TableId, definition: &[u8]) {
        let key = (CATALOGUE, table.to_be_bytes().to_vec());
        self.changes.insert(key, Some(definition.to_vec()));
    }

    pub(super) fn drop_table(&mut self, table: TableId) {
        self.changes.insert((CATALOGUE, table.to_be_bytes().to_vec()), None);
    }

    pub(super) fn put(&mut self, table: TableId, key: &[u8], value: &[u8]) {
        self.changes.insert((table, key.to_vec()), Some(value.to_vec()));
    }

    pub(super) fn delete(&mut self, table: TableId, key: &[u8]) {
        self.changes.insert((table, key.to_vec()), None);
    }

    /// What the changes make of `model`.
    pub(super) fn play(&self, model: &mut Model) {
        for ((table, key), value) in &self.changes {
            if *table == CATALOGUE {
                let id = TableId::from_be_bytes(key.as_slice().try_into().expect("an id"));
                match value {
                    Some(definition) => model.entry(id).or_default().0 = definition.clone(),
                    None => drop(model.remove(&id)),
                }
                continue;
            }
            let Some((_, records)) = model.get_mut(table) else { continue };
            match value {
                Some(value) => drop(records.insert(key.clone(), value.clone())),
                None => drop(records.remove(key)),
            }
        }
    }

    pub(super) fn source(&self) -> BatchSource {
        let list = self.changes.iter().map(|((t, k), v)| (*t, k.clone(), v.clone())).collect();
        BatchSource { list, at: 0 }
    }
}

pub(super) struct BatchSource {
    list: Vec<(TableId, Vec<u8>, Option<Vec<u8>>)>,
    at: usize,
}

impl ChangeSource for BatchSource {
    fn current(&self) -> Option<(TableId, &[u8], Change<'_>)> {
        let (table, key, value) = self.list.get(self.at)?;
        let change = match value {
            Some(value) => Change::Put(value),
            None => Change::Delete,
        };
        Some((*table, key, change))
    }

    fn advance(&mut self) -> Result<()> {
        self.at += 1;
        Ok(())
    }
}

pub(super) fn create(disk: &dyn Disk, page_size: usize) {
    let params = DataParams {
        page_size,
        store_id: 99,
        timeline: TIMELINE,
        ancestry_digest: 5,
        foreign: false,
    };
    DataFile::create(disk, Path::new(PATH), params).expect("create");
    disk.sync_dir(Path::new("/")).expect("sync the folder");
}

pub(super) fn open(disk: &dyn Disk) -> (Arc<DataFile>, Arc<Checkpoint>) {
    DataFile::open(disk, Path::new(PATH)).expect("open")
}

pub(super) fn params(lsn: Lsn) -> CheckpointParams {
    let time = lsn as i64 * 10;
    CheckpointParams {
        lsn,
        timeline: TIMELINE,
        ancestry_digest: 5,
        foreign: false,
        time,
        durable_log_lsn: lsn,
    }
}

/// Reads everything, forwards.
pub(super) fn read_all(checkpoint: &Checkpoint) -> Result<Model> {
    let mut model = Model::new();
    for (table, definition) in checkpoint.definitions() {
        let mut records = BTreeMap::new();
        let mut cursor = checkpoint.cursor(table);
        let mut more = cursor.first()?;
        while more {
            records.insert(cursor.key().to_vec(), cursor.value()?.to_vec());
            more = cursor.next()?;
        }
        model.insert(table, (definition.to_vec(), records));
    }
    Ok(model)
}

/// Holds that the checkpoint is exactly `model`, read in every way.
pub(super) fn assert_holds(checkpoint: &Checkpoint, model: &Model) {
    let read = read_all(checkpoint).expect("read forwards");
    assert_eq!(read.keys().collect::<Vec<_>>(), model.keys().collect::<Vec<_>>());
    for (table, (definition, records)) in model {
        assert_eq!(&read[table].0, definition);
        assert!(read[table].1 == *records, "table {table} differs, forwards");
        let root = checkpoint.table(*table).expect("the table");
        assert_eq!(root.records, records.len() as u64, "the count of table {table}");
        let mut cursor = checkpoint.cursor(*table);
        let mut more = cursor.last().expect("last");
        for (key, value) in records.iter().rev() {
            assert!(more && cursor.key() == key.as_slice(), "backwards");
            assert!(*cursor.value().expect("value") == **value);
            more = cursor.prev().expect("prev");
        }
        assert!(!more);
        for (key, value) in records {
            let found = checkpoint.get(*table, key).expect("get").expect("there");
            assert!(*found == **value, "get");
        }
    }
}
