//! What an owner does when a lock is not to be had in passing: it goes to the table, and waits there.

use super::core::{Locked, WaitEnd, Waiter};
use super::granule::{Granule, Id};
use super::mode::Mode;
use super::owner::Owner;
use super::refuse;
use super::shards::Try;
use super::table::{Outcome, Request};
use crate::error::Result;
use parking_lot::Condvar;
use std::sync::Arc;

/// How many times a waiting owner looks at its limits for each time it looks whether its own thread is
/// in its way.
const LOOKS_PER_SEARCH: u32 = 16;

impl Owner {
    /// Locks `id` under the manager's mutex. Returns whether the owner held nothing on it before.
    #[cold]
    pub(crate) fn lock_slow(
        &self,
        id: &Id,
        mode: Mode,
        name: &dyn Fn() -> Granule,
    ) -> Result<bool> {
        self.touch();
        let mut central = self.core.lock();
        central.tick();
        match self.bring(&mut central, id, mode) {
            Try::New => return Ok(true),
            Try::Held => return Ok(false),
            Try::Central => {}
        }
        let new = central.table.mode_of(self.id, id).is_none();
        let (outcome, effects) = central.table.request(Request {
            owner: self.id,
            wants: vec![(id.clone(), mode)],
            age: self.age(),
            hold: false,
            inside: self.in_slot,
        });
        if outcome == Outcome::Waiting {
            let waiter = Waiter::Lock { end: None, granule: name(), since: self.core.now() };
            central.waits.insert(self.id, (waiter, Arc::default()));
        }
        central.finish(effects);
        let result = match outcome {
            Outcome::Granted => Ok(()),
            Outcome::Deadlock => Err(refuse::deadlock(&central.name(&name()), mode)),
            Outcome::Waiting => self.wait(&mut central, id, mode, name),
        };
        central.settle(id);
        result.map(|()| new)
    }

    /// Tries the shard once more, now that nobody can move the entry; else brings it to the table.
    fn bring(&self, central: &mut Locked<'_>, id: &Id, mode: Mode) -> Try {
        match id {
            Id::Record(hash) => {
                let records = &self.core.records;
                let shard = records.of(*hash);
                let tried = records.lock(shard, *hash, self.id, mode);
                if tried == Try::Central {
                    let holders = records.take(shard, *hash).into_iter().flatten();
                    holders.for_each(|(owner, held)| central.table.adopt(owner, id.clone(), held));
                }
                tried
            }
            Id::Table(table) => {
                let (tables, key) = (&self.core.tables, u64::from(*table));
                if mode.is_intent() {
                    let tried = tables.lock(self.core.stripe(self.id), key, self.id, mode);
                    if tried != Try::Central {
                        return tried;
                    }
                }
                for stripe in 0..tables.count() {
                    let holders = tables.take(stripe, key).into_iter().flatten();
                    holders.for_each(|(owner, held)| central.table.adopt(owner, id.clone(), held));
                }
                Try::Central
            }
            Id::Structure | Id::Data | Id::Name(_) => Try::Central,
        }
    }

    /// Waits for a request that is in the table.
    fn wait(
        &self,
        central: &mut Locked<'_>,
        id: &Id,
        mode: Mode,
        name: &dyn Fn() -> Granule,
    ) -> Result<()> {
        let wake: Arc<Condvar> = central.waits[&self.id].1.clone();
        // On a root only holds are in the way, and those end by themselves.
        let is_root = matches!(id, Id::Structure | Id::Data);
        let limit = self.core.options.record_timeout;
        let mut looks = 0_u32;
        let until = (!is_root).then(|| self.core.now().saturating_add(limit));
        let error = loop {
            let end = match &central.waits[&self.id].0 {
                Waiter::Lock { end, .. } => *end,
                Waiter::Ticket(_) | Waiter::Hold { .. } => None,
            };
            match end {
                Some(WaitEnd::Granted) => {
                    central.waits.remove(&self.id);
                    return Ok(());
                }
                Some(WaitEnd::Deadlock) => break refuse::deadlock(&central.name(&name()), mode),
                Some(WaitEnd::Closed) => break refuse::closed(),
                None => {}
            }
            if central.closed {
                break refuse::closed();
            }
            if let Some(error) = central.callback_block(self.id) {
                break error;
            }
            // The search costs as much as that for a circle, so it is not made at each look.
            if looks.is_multiple_of(LOOKS_PER_SEARCH)
                && let Some(error) = central.own_block(self.id, self.threads())
            {
                break error;
            }
            looks += 1;
            if until.is_some_and(|until| self.core.now() >= until) {
                break refuse::lock_timeout(
                    &central.name(&name()),
                    mode,
                    &central.describe_blockers(self.id),
                );
            }
            let next = central.next_end(until, None);
            central.park(&wake, next);
            central.tick();
        };
        central.waits.remove(&self.id);
        let effects = central.table.cancel(self.id);
        central.finish(effects);
        Err(error)
    }
}
