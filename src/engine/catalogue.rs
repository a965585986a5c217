//! The catalogue: which tables exist and how their keys and values are encoded.
//!
//! A definition is a value of the catalogue table (table 0) under the table's id. The engine does
//! not know what the encodings mean: they are names with a version, chosen by `store/` and kept so
//! that any reader can tell what it is looking at.
//!
//! Invariants: ids are never reused, names are unique at every LSN (both are the lock manager's and
//! the store's work). A catalogue in memory is immutable; a change makes a new one.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Change, TABLE_LIMIT, TableId};
use crate::error::{Error, ErrorKind, Result};

const DEFINITION_VERSION: u8 = 1;

/// The definition of one table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TableInfo {
    /// Its number, never reused.
    pub(crate) id: TableId,
    /// Its name, unique in the store.
    pub(crate) name: String,
    /// How keys are encoded, for example `u64` or `(str,i32)`.
    pub(crate) key_encoding: String,
    /// How values are encoded, for example `msgpack` or `bytes`.
    pub(crate) value_encoding: String,
}

impl TableInfo {
    /// The catalogue's key for a table.
    pub(crate) fn key_of(id: TableId) -> Box<[u8]> {
        Box::new(id.to_be_bytes())
    }

    pub(crate) fn key(&self) -> Box<[u8]> {
        TableInfo::key_of(self.id)
    }

    /// Version, then three strings, each with its length (u16) before it.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = vec![DEFINITION_VERSION];
        for text in [&self.name, &self.key_encoding, &self.value_encoding] {
            let len = u16::try_from(text.len()).expect("names are bounded when a table is made");
            out.extend_from_slice(&len.to_le_bytes());
            out.extend_from_slice(text.as_bytes());
        }
        out
    }

    pub(crate) fn decode(key: &[u8], definition: &[u8]) -> Result<TableInfo> {
        let id = key
            .try_into()
            .map(TableId::from_be_bytes)
            .map_err(|_| damaged("a key of the catalogue is not a table number"))?;
        if !(1..TABLE_LIMIT).contains(&id) {
            return Err(damaged("a key of the catalogue is a number that no table has"));
        }
        let (&version, mut rest) =
            definition.split_first().ok_or_else(|| damaged("a table definition is empty"))?;
        if version != DEFINITION_VERSION {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!("table {id} has a definition of unknown version {version}"),
            )
            .hint("The store was written by a newer version of this library."));
        }
        let mut text = || -> Result<String> {
            let short = || damaged("a table definition is cut short");
            let (len, after) = rest.split_first_chunk::<2>().ok_or_else(short)?;
            let len = usize::from(u16::from_le_bytes(*len));
            let (text, after) = after.split_at_checked(len).ok_or_else(short)?;
            rest = after;
            String::from_utf8(text.to_vec())
                .map_err(|_| damaged("a table definition is not valid text"))
        };
        Ok(TableInfo { id, name: text()?, key_encoding: text()?, value_encoding: text()? })
    }
}

fn damaged(message: &str) -> Error {
    Error::new(ErrorKind::Corrupt, message)
}

/// All tables at one LSN.
#[derive(Clone, Debug, Default)]
pub(crate) struct Catalogue {
    by_id: BTreeMap<TableId, Arc<TableInfo>>,
    by_name: BTreeMap<String, TableId>,
}

impl Catalogue {
    /// The table of this name.
    pub(crate) fn by_name(&self, name: &str) -> Option<&Arc<TableInfo>> {
        self.by_name.get(name).and_then(|id| self.by_id.get(id))
    }

    /// The table of this number.
    pub(crate) fn by_id(&self, id: TableId) -> Option<&Arc<TableInfo>> {
        self.by_id.get(&id)
    }

    /// All tables, by number.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<TableInfo>> {
        self.by_id.values()
    }

    /// Applies one operation of the catalogue table.
    pub(crate) fn apply(&mut self, key: &[u8], change: Change<'_>) -> Result<()> {
        let remove = |this: &mut Catalogue, id: TableId| {
            // In one commit another table may have been given the name already.
            if let Some(old) = this.by_id.remove(&id)
                && this.by_name.get(&old.name) == Some(&id)
            {
                this.by_name.remove(&old.name);
            }
        };
        match change {
            Change::Put(definition) => {
                let table = TableInfo::decode(key, definition)?;
                remove(self, table.id);
                self.by_name.insert(table.name.clone(), table.id);
                self.by_id.insert(table.id, Arc::new(table));
            }
            Change::Delete => {
                let id = key
                    .try_into()
                    .map(TableId::from_be_bytes)
                    .map_err(|_| damaged("a key of the catalogue is not a table number"))?;
                remove(self, id);
            }
        }
        Ok(())
    }

    /// The highest table number in use.
    pub(crate) fn highest_id(&self) -> TableId {
        self.by_id.last_key_value().map_or(0, |(id, _)| *id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(id: TableId, name: &str) -> TableInfo {
        TableInfo {
            id,
            name: name.into(),
            key_encoding: "u64".into(),
            value_encoding: "msgpack".into(),
        }
    }

    #[test]
    fn a_definition_survives_its_encoding_and_every_cut_is_refused() {
        let info = table(7, "items");
        let bytes = info.encode();
        assert_eq!(TableInfo::decode(&info.key(), &bytes).unwrap(), info);
        for len in 0..bytes.len() {
            assert!(TableInfo::decode(&info.key(), &bytes[..len]).is_err(), "cut at {len}");
        }
        let mut newer = bytes.clone();
        newer[0] = 9;
        let error = TableInfo::decode(&info.key(), &newer).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
    }

    #[test]
    fn a_renamed_table_answers_to_its_new_name_only() {
        let mut catalogue = Catalogue::default();
        for info in [table(1, "old"), table(2, "other"), table(1, "new")] {
            catalogue.apply(&info.key(), Change::Put(&info.encode())).unwrap();
        }
        assert!(catalogue.by_name("old").is_none());
        assert_eq!(catalogue.by_name("new").unwrap().id, 1);
        catalogue.apply(&TableInfo::key_of(1), Change::Delete).unwrap();
        assert!(catalogue.by_name("new").is_none());
        assert_eq!(catalogue.iter().count(), 1);
        assert_eq!(catalogue.highest_id(), 2);
    }
}
