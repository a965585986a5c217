//! Everything that a store, a read handle or an archive shows, as the model writes it down.

use std::collections::BTreeMap;

use stillpoint::{ReadHandle, TableDef};

use super::history::{Records, State};

/// Tables of the tests: whole numbers to bytes.
pub(crate) type Def = TableDef<u64, [u8]>;

/// Reads all of `tables` that are there, forwards, backwards and one by one, and sees that there is
/// no table beside them.
pub(crate) fn state_of(read: &ReadHandle, tables: &[Def]) -> State {
    let mut state = State::new();
    for there in read.tables().unwrap() {
        let def = tables.iter().find(|def| def.name() == there.name);
        let def = def.unwrap_or_else(|| panic!("there is a table {}", there.name));
        state.insert(def.name(), records_of(read, *def));
    }
    state
}

fn records_of(read: &ReadHandle, def: Def) -> Records {
    let table = read.table(def).unwrap();
    let mut records = BTreeMap::new();
    for record in table.iter().unwrap() {
        let (key, value) = record.unwrap();
        assert_eq!(table.get(&key).unwrap().as_deref(), Some(&*value), "{} {key}", def.name());
        assert!(records.insert(key, value.to_vec()).is_none(), "{} {key} twice", def.name());
    }
    let backwards = table.iter().unwrap().rev().map(|record| record.unwrap().0);
    assert!(backwards.eq(records.keys().rev().copied()), "{} backwards", def.name());
    assert_eq!(table.len().unwrap(), records.len() as u64, "{}", def.name());
    records
}
