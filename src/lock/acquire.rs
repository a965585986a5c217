//! How a hold comes about: it is asked for in one request, takes back what was granted and not taken
//! up, and waits for those who are inside.
//!
//! What it is once it is granted stands in `hold.rs`; whom it has to wait for is decided by the table.

use super::callback;
use super::core::{Locked, WaitEnd, Waiter};
use super::gate::thread_number;
use super::granule::{Granule, Id};
use super::hold::{AtLimit, Hold, HoldKind, HoldRequest, HoldToken, Lease, StopToken};
use super::manager::LockManager;
use super::mode::Mode;
use super::refuse;
use super::status::Threads;
use super::table::{Outcome, Request};
use super::ticket::Ticket;
use super::waited::WaitedBy;
use crate::error::Result;
use parking_lot::Condvar;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

impl LockManager {
    /// Whether the calling thread runs a callback of a backup of this store: who waits for that backup
    /// there waits for himself.
    pub(crate) fn is_in_callback(&self) -> bool {
        callback::is_inside(self.core.number)
    }

    /// Refuses what [`hold`](LockManager::hold) on `roots` would refuse because of a handle or a hold
    /// of this very thread: for whoever asks for the hold on another thread.
    ///
    /// # Errors
    /// `Invalid`, code 1404; `BackupInProgress`, code 2005, from inside a callback.
    pub fn check_own_handles(&self, roots: &[(Granule, Mode)]) -> Result<()> {
        if callback::is_inside(self.core.number) {
            return Err(refuse::from_callback());
        }
        let roots = root_ids(roots)?;
        let mut central = self.core.lock();
        if roots.iter().any(|(id, _)| *id == Id::Data) {
            central.close_gate();
        }
        let blocked = central.own_conflict(&roots, Threads::of(None));
        central.finish(Default::default());
        blocked.map_or(Ok(()), Err)
    }

    /// Waits for open handles to end, and then keeps others waiting.
    ///
    /// # Locks
    /// The request's roots, all or nothing, in one entry of the queue. New writes queue behind it.
    ///
    /// # Errors
    /// For a backup `BackupFailed`, code 1405, for others `Timeout`, when handles stay open too long;
    /// `Invalid`, code 1404, when this thread has one open, or a hold of its own that is in the way; `BackupInProgress`, code 2004, for a
    /// second backup, and 2005 from inside a callback; `Stopped`, code 1406; `Closed`.
    pub fn hold(&self, request: HoldRequest) -> Result<Hold> {
        let roots = wanted_roots(&request)?;
        let (core, thread) = (&self.core, thread_number());
        if callback::is_inside(core.number) {
            return Err(refuse::from_callback());
        }
        let mut central = core.lock();
        central.tick();
        if central.closed {
            return Err(refuse::closed());
        }
        let is_backup = |lease: &Arc<Lease>| lease.kind == HoldKind::Backup;
        if request.kind == HoldKind::Backup && central.all_holds().any(is_backup) {
            return Err(refuse::second_backup());
        }
        if roots.iter().any(|(id, _)| *id == Id::Data) {
            central.close_gate();
        }
        let waiting = request.waited_by.thread();
        if let Some(error) = central.own_conflict(&roots, Threads::of(waiting)) {
            central.finish(Default::default());
            return Err(error);
        }
        let lease = Arc::new(Lease::new(central.new_owner(), &request, thread, core.now()));
        let wake = Arc::new(Condvar::new());
        central.pending_holds.push(lease.clone());
        let waiter = Waiter::Hold { end: None, lease: lease.clone() };
        central.waits.insert(lease.owner, (waiter, wake.clone()));
        self.ask_for_hold(&mut central, &lease, &roots);
        self.wait_for_hold(&mut central, &lease, &request, &wake)?;
        Ok(Hold::new(HoldToken::new(core.clone(), lease)))
    }

    /// Queues the hold, and takes back what was granted and not taken up.
    fn ask_for_hold(&self, central: &mut Locked<'_>, lease: &Lease, roots: &[(Id, Mode)]) {
        let (outcome, mut effects) = central.table.request(Request {
            owner: lease.owner,
            wants: roots.to_vec(),
            age: self.core.new_age(),
            hold: true,
            inside: false,
        });
        if outcome == Outcome::Granted {
            effects.granted.push(lease.owner);
        }
        central.finish(effects);
        let in_the_way = |ticket: &&Arc<Ticket>| {
            let (root, mode) = ticket.info.purpose.root();
            roots.iter().any(|(id, hold)| *id == root && !hold.goes_with(mode))
        };
        let granted = central.tickets.values().filter(in_the_way);
        let revoked: Vec<_> = granted.filter(|ticket| ticket.revoke()).cloned().collect();
        for ticket in &revoked {
            central.owners.remove(&ticket.owner);
            let (_, effects) = central.table.release_all(ticket.owner);
            central.finish(effects);
        }
        for ticket in &revoked {
            central.line_up(ticket);
        }
    }

    fn wait_for_hold(
        &self,
        central: &mut Locked<'_>,
        lease: &Lease,
        request: &HoldRequest,
        wake: &Condvar,
    ) -> Result<()> {
        let core = &self.core;
        let until = core.now().saturating_add(request.transaction_timeout);
        let error = loop {
            let end = match &central.waits[&lease.owner].0 {
                Waiter::Hold { end, .. } => *end,
                Waiter::Lock { .. } | Waiter::Ticket(_) => None,
            };
            match end {
                Some(WaitEnd::Granted) => {
                    central.waits.remove(&lease.owner);
                    return Ok(());
                }
                Some(WaitEnd::Closed | WaitEnd::Deadlock) => break refuse::closed(),
                None => {}
            }
            if request.stop.is_set() {
                break refuse::stopped();
            }
            if let Some(error) =
                central.own_block(lease.owner, Threads::of(request.waited_by.thread()))
            {
                break error;
            }
            if core.now() >= until {
                let who = central.describe_blockers(lease.owner);
                break refuse::transaction_timeout(lease.kind == HoldKind::Backup, &who);
            }
            let next = central.next_end(Some(until), None);
            central.park(wake, next);
            central.tick();
        };
        central.waits.remove(&lease.owner);
        central.pending_holds.retain(|pending| pending.owner != lease.owner);
        let effects = central.table.cancel(lease.owner);
        central.finish(effects);
        Err(error)
    }

    /// Keeps writes waiting for the application's own use, for `limit` at most. The thread that holds
    /// them may hold them again; writes go on when the last of its holds is dropped.
    ///
    /// # Errors
    /// As [`LockManager::hold`].
    pub fn hold_writes(&self, limit: Duration) -> Result<Hold> {
        let thread = thread_number();
        let mut central = self.core.lock();
        central.tick();
        let own = |l: &&Arc<Lease>| l.kind == HoldKind::Application && l.thread == thread;
        if let Some(lease) = central.holds.iter().find(own).cloned() {
            lease.depth.fetch_add(1, Ordering::SeqCst);
            lease.extend(self.core.now().saturating_add(limit));
            return Ok(Hold::new(HoldToken::new(self.core.clone(), lease)));
        }
        drop(central);
        self.hold(HoldRequest {
            roots: vec![(Granule::Structure, Mode::S), (Granule::Data, Mode::S)],
            kind: HoldKind::Application,
            transaction_timeout: self.core.options.transaction_timeout,
            limit: Some(limit),
            at_limit: AtLimit::Abort,
            stall_limit: Duration::MAX,
            number: 0,
            stop: StopToken::new(),
            waited_by: WaitedBy::default(),
        })
    }
}

fn wanted_roots(request: &HoldRequest) -> Result<Vec<(Id, Mode)>> {
    if request.roots.is_empty() {
        return Err(refuse::invalid(
            "a hold without roots holds nothing: a live backup takes none",
        ));
    }
    root_ids(&request.roots)
}

fn root_ids(wanted: &[(Granule, Mode)]) -> Result<Vec<(Id, Mode)>> {
    let mut roots: Vec<(Id, Mode)> = Vec::new();
    for (granule, mode) in wanted {
        let id = match granule {
            Granule::Structure => Id::Structure,
            Granule::Data => Id::Data,
            other => return Err(refuse::invalid(format!("a hold is on roots, not on {other}"))),
        };
        if !matches!(mode, Mode::S | Mode::X) || roots.iter().any(|(have, _)| *have == id) {
            return Err(refuse::invalid("a hold takes S or X, once on each root"));
        }
        roots.push((id, *mode));
    }
    Ok(roots)
}
