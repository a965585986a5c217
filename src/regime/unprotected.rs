//! A store that was restored or rolled back, and not backed up since.
//!
//! Such a store keeps no log: a log archive says what it follows, and there is no archive yet that it
//! could follow. So what is committed before the first backup is lost with the store, and no commit
//! between can be restored. That is told at the opening (journal once, event each time) and by the
//! account of what is covered; and where the schedule makes backups, the first one is due at once.
//!
//! A store that is new has nothing to lose yet, and is not meant.

use std::sync::Arc;

use super::core::{Core, Retry};
use super::events::RegimeEvent;
use super::journal::Origin;
use super::run::Order;
use super::schedule::Schedule;
use crate::store::RESTORED_FROM;

impl Core {
    /// Whether the store was restored or rolled back, and no backup of its data was made since.
    pub(super) fn is_unprotected(&self) -> bool {
        let keeps_log = self.store.inner().engine.log_kept_from().is_some();
        !keeps_log && self.disk.metadata(&self.dir.join(RESTORED_FROM)).is_ok()
    }

    /// Tells of it when the store has been opened, and sees to the first backup.
    pub(super) fn look_whether_protected(self: &Arc<Self>) {
        let (unprotected, told) = (self.is_unprotected(), self.desk.lock().state.unprotected);
        if unprotected != told {
            self.remember(|state| state.unprotected = unprotected);
        }
        if !unprotected {
            return;
        }
        let lsn = self.store.lsn();
        if !told {
            let message = format!(
                "the store was restored or rolled back to LSN {lsn}: its log is kept from its next \
                 backup on, and what is committed before that cannot be restored"
            );
            self.books(|books| books.log(message));
        }
        self.events.tell(RegimeEvent::Unprotected { lsn });
        let plan = self.plan();
        let mut desk = self.desk.lock();
        if plan.schedule != Schedule::Never && plan.contents.data && !desk.policy.suspended() {
            let order = Order { plan, origin: Origin::Scheduled, second: false, due: None };
            desk.retry = Some(Retry { due: self.disk.elapsed(), order });
        }
    }
}
