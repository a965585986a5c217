//! The shared middle of the lock manager: the gate, the shards, and the one mutex under which
//! everything stands that waits.
//!
//! Invariants:
//! - the gate is closed to writes while somebody waits for the data, or holds it in a mode that does
//!   not go with IX, or the store is closed; while it is closed, the table knows who is inside;
//! - the gate is closed to reads exactly while a hold has the data exclusively;
//! - every request that waits in the table has one [`Wait`], and every wait ends by one outcome;
//! - no foreign code (a waker) runs under the mutex.
//!
//! Everybody who takes the mutex because something is in the way ends leases and time limits that
//! have run out ([`Core::tick`]), so that no thread has to be alive for it.

use super::gate::Gate;
use super::granule::{Granule, Id, record_hash};
use super::hold::{Expiry, Lease};
use super::mode::Mode;
use super::options::LockOptions;
use super::owner::OwnerInfo;
use super::refuse;
use super::report::BackupProgressInfo;
use super::shards::Shards;
use super::table::{Age, Effects, LockTable, OwnerId};
use super::ticket::Ticket;
use parking_lot::{Condvar, Mutex, MutexGuard};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::task::Waker;
use std::time::Duration;

/// How long a parked thread sleeps at most before it looks again, in real time.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// How soon a parked thread looks again when a time limit is near.
const LOOK_SOON: Duration = Duration::from_micros(200);
const RECORD_SHARDS: usize = 256;
const TABLE_STRIPES: usize = 16;

/// Why a wait is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WaitEnd {
    Granted,
    Deadlock,
    Closed,
}

/// Who waits with a request that is in the table.
pub(crate) enum Waiter {
    /// An owner inside, for a further lock.
    Lock { end: Option<WaitEnd>, granule: Granule, since: Duration },
    /// A write that has not begun.
    Ticket(Arc<Ticket>),
    /// A hold.
    Hold { end: Option<WaitEnd>, lease: Arc<Lease> },
}

/// What stands under the mutex.
#[derive(Default)]
pub(crate) struct Central {
    pub(crate) table: LockTable<Id>,
    pub(crate) waits: HashMap<OwnerId, (Waiter, Arc<Condvar>)>,
    /// Tickets that wait or were granted and not taken up, in order of arrival.
    pub(crate) tickets: BTreeMap<OwnerId, Arc<Ticket>>,
    /// How many of them wait.
    pub(crate) queued: usize,
    /// Time limits of tickets.
    pub(crate) deadlines: BTreeSet<(Duration, OwnerId)>,
    /// Owners that are not in a slot, or have a name.
    pub(crate) owners: BTreeMap<OwnerId, Arc<OwnerInfo>>,
    /// Holds that are granted.
    pub(crate) holds: Vec<Arc<Lease>>,
    /// Holds that wait.
    pub(crate) pending_holds: Vec<Arc<Lease>>,
    /// Reads that wait, with the time since when.
    pub(crate) readers: BTreeMap<u64, Duration>,
    pub(crate) readers_wake: Arc<Condvar>,
    /// Those of them that are futures.
    pub(crate) read_wakers: BTreeMap<u64, Waker>,
    pub(crate) progress: Option<BackupProgressInfo>,
    pub(crate) closed: bool,
    /// Owners in slots whose IX on the data the table was told of.
    adopted: BTreeSet<OwnerId>,
    gate_closed: bool,
    frozen: bool,
    pub(crate) wakers: Vec<Waker>,
    numbers: u64,
}

/// See the module's own words.
pub(crate) struct Core {
    /// Distinguishes the managers of this process.
    pub(crate) number: u64,
    pub(crate) options: LockOptions,
    pub(crate) gate: Gate,
    pub(crate) records: Shards,
    pub(crate) tables: Shards,
    pub(crate) claimed: AtomicU8,
    ages: AtomicU64,
    central: Mutex<Central>,
}

/// The mutex, locked. Wakers that were collected under it run after it is released.
pub(crate) struct Locked<'a> {
    core: &'a Core,
    guard: Option<MutexGuard<'a, Central>>,
}

impl Deref for Locked<'_> {
    type Target = Central;

    fn deref(&self) -> &Central {
        self.guard.as_ref().expect("the guard is there until the drop")
    }
}

impl DerefMut for Locked<'_> {
    fn deref_mut(&mut self) -> &mut Central {
        self.guard.as_mut().expect("the guard is there until the drop")
    }
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        let wakers = std::mem::take(&mut self.wakers);
        self.guard = None;
        wakers.into_iter().for_each(Waker::wake);
    }
}

impl Locked<'_> {
    pub(crate) fn core(&self) -> &Core {
        self.core
    }

    /// Sleeps until `wake`, a while, or about `until`. The mutex is free meanwhile.
    pub(crate) fn park(&mut self, wake: &Condvar, until: Option<Duration>) {
        let wakers = std::mem::take(&mut self.wakers);
        let near = until.map(|until| until.saturating_sub(self.core.now()).max(LOOK_SOON));
        let sleep = near.map_or(LOOK_AGAIN, |near| near.min(LOOK_AGAIN));
        let guard = self.guard.as_mut().expect("the guard is there until the drop");
        if !wakers.is_empty() {
            // Whatever happened meanwhile is seen by the caller, who looks before it parks again.
            MutexGuard::unlocked(guard, || wakers.into_iter().for_each(Waker::wake));
            return;
        }
        wake.wait_for(guard, sleep);
    }

    /// Tells waiters what a call of the table did, and sets the gate accordingly.
    pub(crate) fn finish(&mut self, effects: Effects) {
        let core = self.core;
        self.apply(effects);
        self.set_gate(core);
    }

    /// Brings `id` back to its shard if nobody waits for it.
    pub(crate) fn settle(&mut self, id: &Id) {
        let core = self.core;
        if self.table.queue(id).next().is_some() {
            return;
        }
        match id {
            Id::Record(hash) => {
                let shard = core.records.of(*hash);
                core.records.put_back(shard, *hash, || self.table.surrender(id));
            }
            Id::Table(table) => {
                if self.table.holders(id).any(|(_, mode)| !mode.is_intent()) {
                    return;
                }
                let holders = self.table.surrender(id);
                for stripe in 0..core.tables.count() {
                    let of_stripe = |(owner, _): &(OwnerId, Mode)| core.stripe(*owner) == stripe;
                    let own = holders.iter().copied().filter(of_stripe);
                    core.tables.put_back(stripe, u64::from(*table), || own.collect());
                }
            }
            Id::Structure | Id::Data | Id::Name(_) => {}
        }
    }

    /// Brings the table what the slots and the clock say now.
    pub(crate) fn tick(&mut self) {
        let (core, now) = (self.core, self.core.now());
        let gone: Vec<_> =
            self.adopted.iter().copied().filter(|owner| !core.gate.is_inside(*owner)).collect();
        for owner in gone {
            self.adopted.remove(&owner);
            let effects = self.table.release(owner, &Id::Data);
            self.apply(effects);
        }
        for lease in self.holds.clone() {
            if let Some(why) = lease.expiry(now) {
                self.end_hold(&lease, Some(why), now);
            }
        }
        while let Some((deadline, owner)) = self.deadlines.first().copied() {
            if deadline > now {
                break;
            }
            self.deadlines.remove(&(deadline, owner));
            if let Some(ticket) = self.tickets.get(&owner).cloned() {
                self.refuse_ticket(&ticket, refuse::ticket_timeout());
            }
        }
        self.set_gate(core);
    }

    /// Closes the gate to writes, and tells the table who is inside.
    pub(crate) fn close_gate(&mut self) {
        if self.gate_closed {
            return;
        }
        self.gate_closed = true;
        self.core.gate.close_writes();
        let inside: Vec<_> = self.core.gate.inside().map(|(owner, _)| owner).collect();
        for owner in inside {
            self.table.adopt(owner, Id::Data, Mode::IX);
            self.adopted.insert(owner);
        }
    }

    /// Ends a hold that is granted, and lets the others go on in order.
    pub(crate) fn end_hold(&mut self, lease: &Lease, why: Option<Expiry>, now: Duration) -> bool {
        if !self.holds.iter().any(|held| held.owner == lease.owner) || !lease.end(why) {
            return false;
        }
        self.note_waits(lease, now);
        self.holds.retain(|held| held.owner != lease.owner);
        if self.holds.is_empty() {
            self.progress = None;
        }
        let (_, effects) = self.table.release_all(lease.owner);
        self.finish(effects);
        true
    }

    fn set_gate(&mut self, core: &Core) {
        let held = self.table.held_modes(&Id::Data);
        let waiting = self.table.queue(&Id::Data).next().is_some();
        let frozen = held.contains(Mode::X);
        if frozen != self.frozen {
            self.frozen = frozen;
            core.gate.freeze_reads(frozen);
            self.wake_readers();
        }
        let close = waiting || held.meets(Mode::IX.conflicts()) || self.closed;
        if close {
            self.close_gate();
        } else if self.gate_closed {
            for owner in std::mem::take(&mut self.adopted) {
                let effects = self.table.release(owner, &Id::Data);
                debug_assert_eq!(effects, Effects::default(), "nobody waits when the gate opens");
            }
            self.gate_closed = false;
            core.gate.open_writes();
        }
    }

    fn apply(&mut self, effects: Effects) {
        let now = self.core.now();
        let mut steps = vec![effects];
        while let Some(effects) = steps.pop() {
            for victim in effects.victims {
                self.end_wait(victim, WaitEnd::Deadlock);
            }
            for owner in effects.granted {
                if let Some((Waiter::Ticket(ticket), _)) = self.waits.get(&owner) {
                    let ticket = ticket.clone();
                    self.waits.remove(&owner);
                    self.queued -= 1;
                    if let Some(deadline) = ticket.deadline {
                        self.deadlines.remove(&(deadline, owner));
                    }
                    self.granted(owner, &ticket);
                    continue;
                }
                if let Some(at) = self.pending_holds.iter().position(|l| l.owner == owner) {
                    let lease = self.pending_holds.remove(at);
                    lease.begin(now);
                    self.holds.push(lease);
                }
                self.end_wait(owner, WaitEnd::Granted);
            }
        }
    }

    fn end_wait(&mut self, owner: OwnerId, how: WaitEnd) {
        if let Some((waiter, wake)) = self.waits.get_mut(&owner) {
            match waiter {
                Waiter::Lock { end, .. } | Waiter::Hold { end, .. } => *end = Some(how),
                Waiter::Ticket(_) => {}
            }
            wake.notify_all();
        }
    }

    /// Refuses everything that waits, for ever.
    pub(crate) fn close(&mut self) {
        self.closed = true;
        for ticket in self.tickets.values().cloned().collect::<Vec<_>>() {
            self.refuse_ticket(&ticket, refuse::closed());
        }
        let waiting: Vec<_> =
            self.waits.keys().copied().filter(|owner| self.table.is_waiting(*owner)).collect();
        for owner in waiting {
            let effects = self.table.cancel(owner);
            self.end_wait(owner, WaitEnd::Closed);
            self.apply(effects);
        }
        self.wake_readers();
        self.set_gate(self.core);
    }

    /// Wakes everything that waits, so that it looks at the clock.
    pub(crate) fn poke(&mut self) {
        self.tick();
        for (_, wake) in self.waits.values() {
            wake.notify_all();
        }
        self.readers_wake.notify_all();
    }
}

impl Central {
    /// A number for an owner that is in no slot: even, for those of the slots are odd. It is small, so
    /// that programs that keep numbers as doubles keep it exactly.
    pub(crate) fn new_owner(&mut self) -> OwnerId {
        self.numbers += 2;
        OwnerId::from_raw(self.numbers)
    }
}

impl Core {
    pub(crate) fn new(options: LockOptions) -> Core {
        static NUMBERS: AtomicU64 = AtomicU64::new(1);
        Core {
            number: NUMBERS.fetch_add(1, Ordering::Relaxed),
            options,
            gate: Gate::new(),
            records: Shards::new(RECORD_SHARDS),
            tables: Shards::new(TABLE_STRIPES),
            claimed: AtomicU8::new(0),
            ages: AtomicU64::new(1),
            central: Mutex::new(Central::default()),
        }
    }

    pub(crate) fn now(&self) -> Duration {
        (self.options.clock)()
    }

    pub(crate) fn new_age(&self) -> Age {
        Age(self.ages.fetch_add(1, Ordering::Relaxed))
    }

    pub(crate) fn lock(&self) -> Locked<'_> {
        Locked { core: self, guard: Some(self.central.lock()) }
    }

    pub(crate) fn hash(&self, table: u32, key: &[u8]) -> u64 {
        record_hash(self.options.seed, table, key)
    }

    /// The stripe in which the intents of `owner` on tables stand.
    pub(crate) fn stripe(&self, owner: OwnerId) -> usize {
        self.tables.of_owner(owner)
    }

    /// Tells those who wait that somebody has left.
    #[cold]
    pub(crate) fn left(&self) {
        self.lock().tick();
    }

    pub(crate) fn release_hold(&self, lease: &Lease) -> bool {
        self.lock().end_hold(lease, None, self.now())
    }

    /// The holder goes, once of as many times as it came.
    pub(crate) fn leave_hold(&self, lease: &Lease) {
        let mut central = self.lock();
        if lease.depth.fetch_sub(1, Ordering::SeqCst) == 1 {
            central.end_hold(lease, None, self.now());
        }
    }

    pub(crate) fn note_waits(&self, lease: &Lease) {
        let central = self.lock();
        if central.holds.iter().any(|held| held.owner == lease.owner) {
            central.note_waits(lease, self.now());
        }
    }
}
