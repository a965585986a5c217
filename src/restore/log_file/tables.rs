//! The tables that the operations of a log belong to, as far as they are known: those of a store or
//! archive that was given, and those that the log itself defines.

use std::collections::HashMap;

use crate::engine::{CATALOGUE, Catalogue, Change, TableId, TableInfo};
use crate::store::TableDescription;

/// Tables by number, as they were at the place of the log that was reached.
#[derive(Clone, Default)]
pub(crate) struct Tables {
    by_id: HashMap<TableId, TableDescription>,
}

impl Tables {
    pub(crate) fn of(catalogue: &Catalogue) -> Tables {
        // What is encoded in ways that are not known here is shown as bytes.
        let known = catalogue.iter().filter_map(|info| TableDescription::of(info).ok());
        Tables { by_id: known.map(|table| (table.id, table)).collect() }
    }

    /// All of them, in no order.
    pub(super) fn into_all(self) -> impl Iterator<Item = TableDescription> {
        self.by_id.into_values()
    }

    /// Takes over `more`, in place of what is known of the same tables.
    pub(super) fn add(&mut self, more: impl IntoIterator<Item = TableDescription>) {
        self.by_id.extend(more.into_iter().map(|table| (table.id, table)));
    }

    pub(crate) fn get(&self, id: TableId) -> Option<&TableDescription> {
        self.by_id.get(&id)
    }

    /// Follows an operation, which may define a table. The definition of one that is dropped stays:
    /// its number is never given again.
    pub(crate) fn follow(&mut self, table: TableId, key: &[u8], change: Change<'_>) {
        if table == CATALOGUE
            && let Change::Put(definition) = change
            && let Ok(info) = TableInfo::decode(key, definition)
            && let Ok(table) = TableDescription::of(&info)
        {
            self.by_id.insert(table.id, table);
        }
    }
}
