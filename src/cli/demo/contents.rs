//! What a store contains, read record by record through the public API.

use stillpoint::Store;

use super::history::State;
use crate::cli::exit::Outcome;

/// Everything that a store contains.
pub(crate) fn contents(store: &Store) -> Outcome<State> {
    let read = store.begin_read()?;
    let mut state = State::new();
    for description in read.tables()? {
        let Some(table) = read.dyn_table(&description.name)? else { continue };
        for record in table.iter()? {
            let record = record?;
            let at = (description.name.clone(), record.key_text()?);
            state.insert(at, record.value_json()?);
        }
    }
    Ok(state)
}
