//! Questions about what stands under the manager's mutex: who is in whose way, who would wait for
//! itself, and what to tell those who ask. Nothing here changes who holds what.

use super::callback;
use super::core::{Central, Locked, Waiter};
use super::gate::thread_number;
use super::granule::{Granule, Id, Resource};
use super::hold::{HoldKind, Lease};
use super::mode::Mode;
use super::refuse;
use super::report::{
    BackupProgressInfo, HeldLock, LockReport, LockedThing, OwnerReport, PendingWrite, WaitedLock,
};
use super::table::OwnerId;
use super::ticket::TicketState;
use crate::error::Error;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Threads that can give nothing back while something waits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Threads {
    /// The thread that waits itself.
    own: u64,
    /// The thread that waits for what the first one does.
    waiting: Option<u64>,
}

/// Which of them holds what is in the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Whose {
    /// The thread that waits.
    Own,
    /// The thread that waits for what that one does.
    Waiting,
}

impl Threads {
    /// The calling thread, and the one that waits for it.
    pub(crate) fn of(waiting: Option<u64>) -> Threads {
        Threads { own: thread_number(), waiting }
    }

    fn whose(self, thread: u64) -> Option<Whose> {
        if thread == self.own {
            return Some(Whose::Own);
        }
        (Some(thread) == self.waiting).then_some(Whose::Waiting)
    }
}

impl Locked<'_> {
    /// Why `owner`, a ticket that waits, would wait for the calling thread itself.
    pub(crate) fn self_block(&self, owner: OwnerId) -> Option<Error> {
        self.callback_block(owner).or_else(|| self.own_block(owner, Threads::of(None)))
    }

    /// Why a wait of `owner` would be one of a backup for its own callback.
    pub(crate) fn callback_block(&self, owner: OwnerId) -> Option<Error> {
        let inside = callback::is_inside(self.core().number);
        (inside && !self.holds_before(owner).is_empty()).then(refuse::from_callback)
    }

    /// Why `owner`, which waits, would wait for what one of `threads` holds, directly or through others
    /// that wait.
    pub(crate) fn own_block(&self, owner: OwnerId, threads: Threads) -> Option<Error> {
        let mut seen = BTreeSet::from([owner]);
        let mut next = vec![owner];
        while let Some(waiting) = next.pop() {
            for blocker in self.in_the_way_of(waiting) {
                if !seen.insert(blocker) {
                    continue;
                }
                if let Some(whose) = self.held_by(blocker, threads) {
                    return Some(self.own(owner, blocker, whose));
                }
                if !matches!(self.waits.get(&blocker), None | Some((Waiter::Ticket(_), _))) {
                    next.push(blocker);
                }
            }
        }
        None
    }

    /// Why a hold on `wants` would wait for what one of `threads` holds.
    pub(crate) fn own_conflict(&self, wants: &[(Id, Mode)], threads: Threads) -> Option<Error> {
        let mut all = wants.iter().flat_map(|(id, mode)| {
            let holders = self.table.holders(id);
            holders.filter(move |(_, held)| !mode.goes_with(*held)).map(|(holder, _)| holder)
        });
        all.find_map(|holder| Some(self.own_root(holder, self.held_by(holder, threads)?)))
    }

    /// What `owner` waits for: of tickets only holds are in the way.
    fn in_the_way_of(&self, owner: OwnerId) -> Vec<OwnerId> {
        match self.waits.get(&owner) {
            Some((Waiter::Ticket(_), _)) => {
                self.holds_before(owner).iter().map(|lease| lease.owner).collect()
            }
            _ => self.table.blockers(owner),
        }
    }

    /// Which of `threads` has `owner`, if it holds something.
    fn held_by(&self, owner: OwnerId, threads: Threads) -> Option<Whose> {
        if let Some(lease) = self.lease_of(owner) {
            let granted = self.holds.iter().any(|held| held.owner == owner);
            return threads.whose(lease.thread).filter(|_| granted);
        }
        self.thread_of(owner).and_then(|thread| threads.whose(thread))
    }

    fn own(&self, owner: OwnerId, blocker: OwnerId, whose: Whose) -> Error {
        match self.waits.get(&owner) {
            Some((Waiter::Lock { granule, .. }, _)) if !granule.is_root() => {
                let mode = self.table.waits_for(owner).next().map_or(Mode::X, |(_, mode)| mode);
                refuse::own_lock(&self.name(granule), mode, whose)
            }
            _ => self.own_root(blocker, whose),
        }
    }

    fn own_root(&self, blocker: OwnerId, whose: Whose) -> Error {
        match self.lease_of(blocker) {
            Some(_) => refuse::own_hold(whose),
            None => refuse::own_transaction(whose),
        }
    }

    fn thread_of(&self, owner: OwnerId) -> Option<u64> {
        match self.owners.get(&owner) {
            Some(info) => Some(info.thread.load(Ordering::Relaxed)),
            None => self.core().gate.thread_of(owner),
        }
    }

    /// What a granule is called.
    pub(crate) fn name(&self, granule: &Granule) -> String {
        (self.core().options.names)(granule)
    }

    /// Whom a request waits for, in words.
    pub(crate) fn describe_blockers(&self, owner: OwnerId) -> String {
        let blockers = self.table.blockers(owner);
        let mut names: Vec<_> = blockers.iter().take(4).map(|who| self.describe(*who)).collect();
        if blockers.len() > names.len() {
            names.push(format!("{} more", blockers.len() - names.len()));
        }
        names.join("; ")
    }

    fn describe(&self, owner: OwnerId) -> String {
        if let Some(lease) = self.lease_of(owner) {
            return match lease.kind {
                HoldKind::Backup => format!("backup {}", lease.number),
                HoldKind::Application => format!("hold_writes of thread {}", lease.thread),
            };
        }
        let thread = self.thread_of(owner).filter(|thread| *thread != 0);
        let on =
            thread.map_or("an unused handle".to_owned(), |n| format!("a handle of thread {n}"));
        let job = self.owners.get(&owner).and_then(|info| info.job.as_ref());
        let who = job.map_or(on.clone(), |job| format!("job \"{job}\" ({on})"));
        let tables = self.tables_of(owner);
        if tables.is_empty() { who } else { format!("{who} with {}", tables.join(" and ")) }
    }

    /// The names of the tables that `owner` has open.
    fn tables_of(&self, owner: OwnerId) -> Vec<String> {
        let mut tables = BTreeSet::new();
        for (id, holder, _) in self.table.grants() {
            if let Id::Table(table) = id
                && holder == owner
            {
                tables.insert(*table);
            }
        }
        self.core().tables.for_each(|table, holder, _| {
            if holder == owner {
                tables.insert(table as u32);
            }
        });
        tables.into_iter().map(|table| self.name(&Granule::Table(table))).collect()
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

    fn name_of(&self, thing: &LockedThing) -> String {
        match thing {
            LockedThing::Named(granule) => self.name(granule),
            LockedThing::RecordHash(_) => "a record that nobody waits for".to_owned(),
        }
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
            name: self.name_of(&thing(id, names)),
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
        let held = HeldLock { name: self.central.name_of(&on), on, mode };
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
        Some(self.progress_of(&backup))
    }

    /// How far the backup is that holds something now.
    pub(crate) fn progress_of_backup(&self) -> Option<BackupProgressInfo> {
        let backup = self.holds.iter().find(|lease| lease.kind == HoldKind::Backup)?;
        Some(self.progress_of(backup))
    }

    fn progress_of(&self, backup: &Lease) -> BackupProgressInfo {
        let told = self.progress.clone().filter(|told| told.number == backup.number);
        let start = BackupProgressInfo { number: backup.number, per_cent: 0.0, remaining: None };
        told.unwrap_or(start)
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
