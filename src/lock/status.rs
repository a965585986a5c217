//! Questions about what stands under the manager's mutex: who is in whose way, who would wait for
//! itself, and what to tell those who ask. Nothing here changes who holds what.

use super::callback;
use super::core::{Central, Locked, Waiter};
use super::gate::thread_number;
use super::granule::{Granule, Id};
use super::hold::{HoldKind, Lease};
use super::mode::Mode;
use super::refuse;
use super::report::{
    BackupProgressInfo, HeldLock, LockReport, LockedThing, OwnerReport, PendingWrite, WaitedLock,
};
use super::table::OwnerId;
use super::ticket::TicketState;
use crate::error::Error;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

impl Locked<'_> {
    /// Why `owner`, which waits, would wait for the calling thread itself.
    pub(crate) fn self_block(&self, owner: OwnerId) -> Option<Error> {
        if let Some(error) = self.callback_block(owner) {
            return Some(error);
        }
        let holds = self.holds_before(owner);
        let thread = thread_number();
        for lease in holds {
            let granted = self.holds.iter().any(|held| held.owner == lease.owner);
            if granted && lease.thread == thread {
                return Some(refuse::own_hold());
            }
            if !granted {
                let wants: Vec<_> = self
                    .table
                    .waits_for(lease.owner)
                    .map(|(id, mode)| (id.clone(), mode))
                    .collect();
                if self.is_blocked_by_thread(&wants, thread) {
                    return Some(refuse::own_transaction());
                }
            }
        }
        None
    }

    /// Why a wait of `owner` would be one of a backup for its own callback.
    pub(crate) fn callback_block(&self, owner: OwnerId) -> Option<Error> {
        let inside = callback::is_inside(self.core().number);
        (inside && !self.holds_before(owner).is_empty()).then(refuse::from_callback)
    }

    /// Whether an owner that `thread` used last holds what does not go with `wants`.
    pub(crate) fn is_blocked_by_thread(&self, wants: &[(Id, Mode)], thread: u64) -> bool {
        wants.iter().any(|(id, mode)| {
            let in_the_way = |(owner, held): (OwnerId, Mode)| {
                !mode.goes_with(held) && self.thread_of(owner) == Some(thread)
            };
            self.table.holders(id).any(in_the_way)
        })
    }

    fn thread_of(&self, owner: OwnerId) -> Option<u64> {
        match self.owners.get(&owner) {
            Some(info) => Some(info.thread.load(Ordering::Relaxed)),
            None => self.core().gate.thread_of(owner),
        }
    }

    /// Whom a hold waits for, in words.
    pub(crate) fn describe_blockers(&self, owner: OwnerId) -> String {
        let name = |blocker: OwnerId| {
            let job = self.owners.get(&blocker).and_then(|info| info.job.clone());
            let job = job.map_or(String::new(), |job| format!(" (job \"{job}\")"));
            let thread = self.thread_of(blocker).map_or(String::new(), |n| format!(", thread {n}"));
            format!("owner {:#x}{thread}{job}", blocker.raw())
        };
        let blockers = self.table.blockers(owner);
        let mut names: Vec<_> = blockers.iter().take(4).map(|blocker| name(*blocker)).collect();
        if blockers.len() > names.len() {
            names.push(format!("and {} more", blockers.len() - names.len()));
        }
        names.join("; ")
    }

    /// See [`LockManager::locks`](super::LockManager::locks).
    pub(crate) fn report(&self) -> LockReport {
        let core = self.core();
        let mut owners = Owners { central: self, all: BTreeMap::new() };
        for (owner, _) in core.gate.inside() {
            owners.holds(owner, LockedThing::Named(Granule::Data), Mode::IX);
        }
        for owner in self.owners.keys() {
            owners.at(*owner);
        }
        let names: HashMap<u64, Granule> = self.named_records().collect();
        for (id, owner, mode) in self.table.grants() {
            owners.holds(owner, thing(id, &names), mode);
        }
        core.tables.for_each(|table, owner, mode| {
            owners.holds(owner, LockedThing::Named(Granule::Table(table as u32)), mode);
        });
        core.records.for_each(|hash, owner, mode| {
            owners.holds(owner, LockedThing::RecordHash(hash), mode);
        });
        for (owner, (waiter, _)) in &self.waits {
            owners.at(*owner).waits = self.waited_locks(*owner, waiter, &names);
        }
        LockReport { owners: owners.all.into_values().collect(), waiting_reads: self.readers.len() }
    }

    /// Records that somebody waits for, by their hash: only of these the keys are known.
    fn named_records(&self) -> impl Iterator<Item = (u64, Granule)> + '_ {
        self.waits.values().filter_map(|(waiter, _)| match waiter {
            Waiter::Lock { granule: granule @ Granule::Record(table, key), .. } => {
                Some((self.core().hash(*table, key), granule.clone()))
            }
            _ => None,
        })
    }

    fn waited_locks(
        &self,
        owner: OwnerId,
        waiter: &Waiter,
        names: &HashMap<u64, Granule>,
    ) -> Vec<WaitedLock> {
        let since = match waiter {
            Waiter::Lock { since, .. } => *since,
            Waiter::Ticket(ticket) => ticket.since,
            Waiter::Hold { lease, .. } => lease.asked,
        };
        let blockers = self.table.blockers(owner);
        let wait = |(id, mode): (&Id, Mode)| WaitedLock {
            on: thing(id, names),
            mode,
            blockers: blockers.clone(),
            since,
        };
        self.table.waits_for(owner).map(wait).collect()
    }
}

/// A report in the making.
struct Owners<'a> {
    central: &'a Locked<'a>,
    all: BTreeMap<OwnerId, OwnerReport>,
}

impl Owners<'_> {
    fn at(&mut self, id: OwnerId) -> &mut OwnerReport {
        let central = self.central;
        self.all.entry(id).or_insert_with(|| OwnerReport {
            id,
            hold: central.lease_of(id).map(|lease| lease.kind),
            thread: central.thread_of(id).filter(|thread| *thread != 0),
            job: central.owners.get(&id).and_then(|info| info.job.clone()),
            held: Vec::new(),
            waits: Vec::new(),
        })
    }

    fn holds(&mut self, id: OwnerId, on: LockedThing, mode: Mode) {
        let held = HeldLock { on, mode };
        let report = self.at(id);
        // The data stands both in the slot and, while the gate is closed, in the table.
        let root = matches!(&held.on, LockedThing::Named(Granule::Data));
        if !root || !report.held.contains(&held) {
            report.held.push(held);
        }
    }
}

fn thing(id: &Id, names: &HashMap<u64, Granule>) -> LockedThing {
    match id {
        Id::Structure => LockedThing::Named(Granule::Structure),
        Id::Data => LockedThing::Named(Granule::Data),
        Id::Table(table) => LockedThing::Named(Granule::Table(*table)),
        Id::Name(name) => LockedThing::Named(Granule::Name(name.clone())),
        Id::Record(hash) => {
            names.get(hash).cloned().map_or(LockedThing::RecordHash(*hash), LockedThing::Named)
        }
    }
}

impl Central {
    /// How many tickets wait before that of `owner`.
    pub(crate) fn position(&self, owner: OwnerId) -> usize {
        let before = self.tickets.range(..owner);
        before.filter(|(_, ticket)| ticket.state() == TicketState::Waiting).count()
    }

    /// See [`LockManager::pending_writes`](super::LockManager::pending_writes).
    pub(crate) fn pending_writes(&self, now: Duration) -> Vec<PendingWrite> {
        let mut position = 0;
        let mut pending = Vec::new();
        for (owner, ticket) in &self.tickets {
            let waits = match ticket.state() {
                TicketState::Waiting => true,
                TicketState::Granted => false,
                TicketState::Claimed | TicketState::Cancelled => continue,
            };
            pending.push(PendingWrite {
                id: owner.raw(),
                position,
                granted: !waits,
                since: ticket.since,
                waited: now.saturating_sub(ticket.since),
                job: ticket.info.job.clone(),
                commits_done: ticket.info.commits_done,
                behind_backup: self.backup_before(*owner).is_some(),
            });
            position += usize::from(waits);
        }
        pending
    }

    /// The backup that `owner` waits for, and how far it is.
    pub(crate) fn backup_before(&self, owner: OwnerId) -> Option<BackupProgressInfo> {
        let holds = self.holds_before(owner);
        let backup = holds.into_iter().find(|lease| lease.kind == HoldKind::Backup)?;
        let told = self.progress.clone().filter(|told| told.number == backup.number);
        let start = BackupProgressInfo { number: backup.number, per_cent: 0.0, remaining: None };
        Some(told.unwrap_or(start))
    }

    /// The hold that `owner` is, granted or waiting.
    fn lease_of(&self, owner: OwnerId) -> Option<&Arc<Lease>> {
        self.all_holds().find(|lease| lease.owner == owner)
    }

    /// All holds, granted or waiting.
    pub(crate) fn all_holds(&self) -> impl Iterator<Item = &Arc<Lease>> {
        self.holds.iter().chain(&self.pending_holds)
    }

    /// The holds that `owner`, which waits, waits for.
    fn holds_before(&self, owner: OwnerId) -> Vec<Arc<Lease>> {
        let before = |lease: &&Arc<Lease>| self.table.is_blocked_by(owner, lease.owner);
        self.all_holds().filter(before).cloned().collect()
    }

    /// When somebody who waits should look again: at its own limits, or when a lease runs out.
    pub(crate) fn next_end(
        &self,
        until: Option<Duration>,
        deadline: Option<Duration>,
    ) -> Option<Duration> {
        let leases = self.holds.iter().map(|lease| lease.deadline());
        leases.chain(until).chain(deadline).min()
    }

    /// Notes in `lease` how long those who wait now have waited.
    pub(crate) fn note_waits(&self, lease: &Lease, now: Duration) {
        for (waiter, _) in self.waits.values() {
            match waiter {
                Waiter::Ticket(ticket) => lease.note_wait(ticket.since, now),
                Waiter::Lock { granule: Granule::Structure | Granule::Data, since, .. } => {
                    lease.note_wait(*since, now);
                }
                Waiter::Lock { .. } | Waiter::Hold { .. } => {}
            }
        }
        self.readers.values().for_each(|since| lease.note_wait(*since, now));
    }
}
