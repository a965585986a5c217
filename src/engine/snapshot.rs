//! A snapshot: the store at one commit, pinned as one thing.
//!
//! A record is looked for in the deltas, newest first, then in the tree. Nothing is copied and
//! nothing is locked. The snapshot pins its checkpoint and its deltas until it is dropped; see
//! `view.rs` for how.

use std::sync::Arc;

use super::catalogue::Catalogue;
use super::delta::Delta;
use super::merge::MergeCursor;
use super::tree::Checkpoint;
use super::value::Value;
use super::view::View;
use super::{Change, Lsn, TableId};
use crate::error::Result;

/// A consistent view of the store at one LSN.
#[derive(Clone)]
pub(crate) struct Snapshot {
    view: Arc<View>,
    lsn: Lsn,
}

impl Snapshot {
    pub(crate) fn new((view, lsn): (Arc<View>, Lsn)) -> Snapshot {
        Snapshot { view, lsn }
    }

    /// A snapshot of a checkpoint alone: of an archive, or of a backup's pin.
    pub(crate) fn of_checkpoint(checkpoint: Arc<Checkpoint>) -> Result<Snapshot> {
        let catalogue = Arc::new(catalogue_of(&checkpoint)?);
        let lsn = checkpoint.lsn();
        let view = Arc::new(View { checkpoint, deltas: Vec::new(), catalogue, lock: None });
        Ok(Snapshot { view, lsn })
    }

    /// The last commit that it sees.
    pub(crate) fn lsn(&self) -> Lsn {
        self.lsn
    }

    /// The catalogue of this very LSN.
    pub(crate) fn catalogue(&self) -> &Arc<Catalogue> {
        &self.view.catalogue
    }

    /// The checkpoint under it.
    pub(crate) fn checkpoint(&self) -> &Arc<Checkpoint> {
        &self.view.checkpoint
    }

    /// The value of a record, or `None`.
    pub(crate) fn get(&self, table: TableId, key: &[u8]) -> Result<Option<Value<'_>>> {
        if !self.view.deltas.is_empty() {
            let hash = Delta::hash(table, key);
            for delta in &self.view.deltas {
                match delta.get_hashed(hash, table, key, self.lsn) {
                    Some(Change::Put(bytes)) => return Ok(Some(Value::Borrowed(bytes))),
                    Some(Change::Delete) => return Ok(None),
                    None => {}
                }
            }
        }
        self.view.checkpoint.get(table, key)
    }

    /// A cursor over one table, in key order.
    pub(crate) fn cursor(&self, table: TableId) -> MergeCursor<'_> {
        MergeCursor::new(&self.view.checkpoint, self.deltas(), table, self.lsn)
    }

    /// How many records the table has. Costs a pass over what of it is not yet in the tree.
    pub(crate) fn len(&self, table: TableId) -> Result<u64> {
        let in_tree = self.view.checkpoint.table(table).map_or(0, |root| root.records);
        let mut len = i128::from(in_tree);
        let mut changes = MergeCursor::changes(self.deltas(), table, self.lsn);
        changes.first()?;
        while let Some((key, change)) = changes.change() {
            let was = self.view.checkpoint.get(table, key)?.is_some();
            let is = matches!(change, Change::Put(_));
            len += i128::from(is) - i128::from(was);
            changes.next()?;
        }
        Ok(u64::try_from(len).expect("a table has at least no records"))
    }

    fn deltas(&self) -> impl Iterator<Item = &Delta> {
        self.view.deltas.iter().map(|delta| &**delta)
    }
}

/// The catalogue that a checkpoint holds.
pub(crate) fn catalogue_of(checkpoint: &Checkpoint) -> Result<Catalogue> {
    let mut catalogue = Catalogue::default();
    for (id, definition) in checkpoint.definitions() {
        catalogue.apply(&id.to_be_bytes(), Change::Put(definition))?;
    }
    Ok(catalogue)
}
