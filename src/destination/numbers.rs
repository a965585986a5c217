//! The number of the next archive of a set.
//!
//! Numbers come from archives whose headers say the same as their names. A file that only has such a
//! name, whatever is in it, is passed over, so that no name can use up the numbers. Numbers that
//! nothing vouches for (the history, which people edit; parity and shipped logs, which have no header;
//! archives that no key opens) count within a bound. No number is given while any name carries it.

use std::collections::HashSet;

use super::catalogue::Catalogue;
use crate::error::{Error, ErrorKind, Result, code};

/// How far a number that nothing vouches for may lie beyond the last one that an archive vouches for.
const FURTHEST: u32 = 1_000_000;

/// The number of the next archive.
pub(crate) struct NextNumber {
    pub(crate) number: u32,
    /// Files that have the name of a later archive and are none, each with the reason.
    pub(crate) passed_over: Vec<Error>,
}

impl Catalogue {
    /// The number of the next archive of `set`; `known` are the numbers that the history has.
    ///
    /// # Errors
    /// [`ErrorKind::Limit`] when every number is taken.
    pub(crate) fn next_number(
        &self,
        set: &str,
        known: impl IntoIterator<Item = u32>,
    ) -> Result<NextNumber> {
        let mut passed_over = Vec::new();
        let (mut vouched, mut junk, mut unproven) = (0, HashSet::new(), Vec::new());
        let mut archives: Vec<_> = self.of_set(set).collect();
        archives.sort_by_key(|archive| std::cmp::Reverse(archive.name().number()));
        for archive in archives {
            let number = archive.name().number();
            let why = match (archive.problem(), archive.contradiction()) {
                (None, None) => {
                    vouched = number;
                    break;
                }
                (Some(error), _) if error.code() == code::KEY => {
                    unproven.push(number);
                    continue;
                }
                (Some(error), _) => error.clone(),
                (None, Some(why)) => Error::new(ErrorKind::Foreign, why).at(archive.path()),
            };
            junk.insert(number);
            passed_over.push(why);
        }
        unproven.extend(known);
        let taken: HashSet<u32> =
            self.taken.iter().filter(|(of, _)| of == set).map(|(_, number)| *number).collect();
        unproven.extend(taken.difference(&junk));
        let furthest = vouched.saturating_add(FURTHEST);
        let last = unproven.into_iter().filter(|number| *number <= furthest).max();
        let next = last.unwrap_or(0).max(vouched).saturating_add(1);
        // Above the last one, or else in the first place that is free.
        let free = (next..=u32::MAX).chain(1..next).find(|number| !taken.contains(number));
        let number = free.ok_or_else(|| {
            let message = format!("every number of the set {set:?} is taken");
            Error::new(ErrorKind::Limit, message)
                .at(self.location())
                .hint("Choose another name for the set, or move old archives away.")
        })?;
        Ok(NextNumber { number, passed_over })
    }
}
