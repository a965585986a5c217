//! Whether a record that a log writes was there before: creation against modification.
//!
//! A log says that a record got a value, and not whether it had one: a commit does not read what it
//! writes. So whoever reads the log from its beginning keeps account: a record that the log itself wrote
//! or deleted before is known; of all others the state that the log begins with knows, where it is at
//! hand, and a log that begins with its store begins with nothing.
//!
//! Invariant: what is not known is said so ([`LogAction::Put`]), and never guessed. At most [`MOST`]
//! records are kept in mind; past that, what was not met before is not known.

use std::collections::{HashMap, HashSet};

use super::record::{LogAction, LogOperation};
use crate::engine::{Lsn, TableId};
use crate::error::Result;
use crate::store::ReadHandle;

/// Records that are kept in mind, in some hundred bytes each.
const MOST: usize = 1 << 21;

/// The account of one walk through a log.
pub(super) struct Presence<'b> {
    /// The state that the log begins with.
    base: Option<&'b ReadHandle>,
    /// Whether the log begins with its store.
    is_whole: bool,
    /// Tables that the log made.
    made: HashSet<TableId>,
    /// The records that the log wrote or deleted, and whether they are there.
    met: HashMap<(TableId, Box<[u8]>), bool>,
    most: usize,
}

impl<'b> Presence<'b> {
    /// The account for a log that begins after `after`.
    pub(super) fn new(after: Lsn, base: Option<&'b ReadHandle>) -> Presence<'b> {
        let (made, met) = (HashSet::new(), HashMap::new());
        Presence { base, is_whole: after == 0, made, met, most: MOST }
    }

    /// Says of the operation what it did, and takes note of it.
    ///
    /// # Errors
    /// Those of reading the state that the log begins with.
    pub(super) fn tell(&mut self, operation: &mut LogOperation) -> Result<()> {
        let is_there = match operation.action {
            LogAction::DefineTable => {
                // Another definition of a table that is there renames it.
                let known = |base: &ReadHandle| {
                    base.snapshot().catalogue().by_id(operation.table).is_some()
                };
                if self.is_whole || self.base.is_some_and(|base| !known(base)) {
                    self.made.insert(operation.table);
                }
                return Ok(());
            }
            LogAction::DropTable => return Ok(()),
            LogAction::Delete => false,
            LogAction::Put | LogAction::Create | LogAction::Modify => {
                operation.action = match self.was_there(operation)? {
                    Some(true) => LogAction::Modify,
                    Some(false) => LogAction::Create,
                    None => LogAction::Put,
                };
                true
            }
        };
        let record = (operation.table, operation.key.clone().into_boxed_slice());
        if self.met.len() < self.most || self.met.contains_key(&record) {
            self.met.insert(record, is_there);
        }
        Ok(())
    }

    fn was_there(&self, operation: &LogOperation) -> Result<Option<bool>> {
        let record = (operation.table, operation.key.clone().into_boxed_slice());
        if let Some(there) = self.met.get(&record) {
            return Ok(Some(*there));
        }
        if self.met.len() >= self.most {
            return Ok(None);
        }
        if self.is_whole || self.made.contains(&operation.table) {
            return Ok(Some(false));
        }
        let Some(base) = self.base else { return Ok(None) };
        base.snapshot().get(operation.table, &operation.key).map(|found| Some(found.is_some()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(presence: &mut Presence<'_>, action: LogAction, key: u8) -> LogAction {
        let (description, value) = (None, None);
        let mut operation = LogOperation { action, table: 7, description, key: vec![key], value };
        presence.tell(&mut operation).unwrap();
        operation.action
    }

    #[test]
    fn what_the_log_did_before_is_known_and_the_rest_is_not_guessed() {
        use LogAction::{Create, Delete, Modify, Put};
        let mut presence = Presence::new(5, None);
        for (action, key, is) in [
            (Put, 1, Put),
            (Put, 1, Modify),
            (Delete, 1, Delete),
            (Put, 1, Create),
            (Delete, 2, Delete),
            (Put, 2, Create),
        ] {
            assert_eq!(told(&mut presence, action, key), is);
        }
        let mut whole = Presence::new(0, None);
        assert_eq!(told(&mut whole, Put, 1), Create);
    }

    #[test]
    fn past_the_bound_nothing_new_is_claimed() {
        use LogAction::{Create, Modify, Put};
        let mut presence = Presence { most: 2, ..Presence::new(0, None) };
        assert_eq!(
            [1, 2, 3, 3].map(|key| told(&mut presence, Put, key)),
            [Create, Create, Put, Put]
        );
        assert_eq!(told(&mut presence, Put, 1), Modify);
    }
}
