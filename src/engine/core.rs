//! What the threads of an engine share: the callers in the commit line, the checkpointer, the keeper
//! of the log.
//!
//! Order of locks, outermost first: `queue`, `leader`, `pending`, the slots of `views`. Nobody waits
//! for room or for a checkpoint while holding any of them.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};

use parking_lot::{Condvar, Mutex};

use super::budget::Budget;
use super::checkpointer;
use super::delta::Delta;
use super::folder::StoreFolder;
use super::leader::Leader;
use super::line::Queue;
use super::log::Upkeep;
use super::log_guard::{CapInForce, unavailable};
use super::options::EngineOptions;
use super::pin::PinSlot;
use super::room::Room;
use super::spin::Spin;
use super::stats::Counters;
use super::tree::DataFile;
use super::view::Views;
use super::{Ancestry, AncestryFile, Lsn, StoreId, TableId};
use crate::disk::Disk;
use crate::error::{Error, ErrorKind, Result, code};

/// What to do about a full disk.
const FREE_ROOM: &str =
    "Free room on the disk, or delete records: deletes and checkpoints go through.";

/// The error of a commit: one for want of room says what to do, wherever it was met.
pub(super) fn advised(error: Error) -> Error {
    match error.kind() {
        ErrorKind::StorageFull if error.advice().is_none() => error.hint(FREE_ROOM),
        _ => error,
    }
}

/// Where less is free, no commit is taken that needs room.
const LEAST_ROOM: u64 = 512 << 10;

pub(super) struct Core {
    /// The store's folder, open since it was locked.
    pub(super) folder: Arc<StoreFolder>,
    pub(super) disk: Arc<dyn Disk>,
    pub(super) dir: PathBuf,
    pub(super) options: EngineOptions,
    pub(super) store_id: StoreId,
    pub(super) data: Arc<DataFile>,
    pub(super) ancestry_file: Arc<AncestryFile>,
    pub(super) views: Views,
    pub(super) queue: Mutex<Queue>,
    pub(super) spin: Spin,
    pub(super) leader: Mutex<Leader>,
    /// Syncs, prepares and trims the log, beside the leader.
    pub(super) upkeep: Upkeep,
    pub(super) next_table_id: AtomicU32,
    /// How much the deltas may hold.
    pub(super) budget: Budget,
    /// How much room the disk has for it.
    room: Room,
    /// The active delta is as large as the room on the disk allows.
    is_short: AtomicBool,
    pub(super) active_bytes: AtomicUsize,
    /// Bytes of the sealed deltas that wait for the checkpointer.
    pub(super) sealed_bytes: AtomicUsize,
    /// The last commit of the newest checkpoint that was made durable here; 0 before the first. The
    /// one that was opened may stand in the system's cache only.
    pub(super) durable_checkpoint: AtomicU64,
    pub(super) pending: Mutex<Pending>,
    /// Something was sealed, or room was made, or the engine stops.
    pub(super) pending_changed: Condvar,
    /// Held by whoever does the checkpointer's work in a store without threads: whether the data file was
    /// tidied since the last checkpoint.
    pub(super) stepper: Mutex<bool>,
    pub(super) keeper: Mutex<KeeperState>,
    pub(super) keeper_wake: Condvar,
    pub(super) counters: Counters,
    /// How much of the log may be kept, as it is now.
    pub(super) log_cap: CapInForce,
    /// The kept log follows a backup of data: the cap that was set is the one that holds.
    pub(super) backed_up: AtomicBool,
    /// The log was given up: no local commit before a backup of data.
    pub(super) awaits_backup: AtomicBool,
    is_latched: AtomicBool,
    latch: Mutex<Option<Error>>,
}

/// A delta that takes no more commits and waits to become a checkpoint.
#[derive(Clone)]
pub(super) struct Sealed {
    pub(super) delta: Arc<Delta>,
    pub(super) lsn: Lsn,
    pub(super) time: i64,
    /// The ancestry of that commit.
    pub(super) ancestry: Ancestry,
    /// Whether a commit of the store's own after it begins a new timeline.
    pub(super) foreign: bool,
}

/// What waits for the checkpointer, oldest first.
#[derive(Default)]
pub(super) struct Pending {
    pub(super) sealed: VecDeque<(Sealed, Arc<PinSlot>)>,
    /// The checkpointer found the disk full and tries again; writers without room are refused.
    pub(super) full: Option<Error>,
    /// Somebody waits until the data file is at most so many per cent of what is in it.
    pub(super) tidy: Option<u64>,
    /// The checkpointer gave up and fills no more slots.
    pub(super) gave_up: Option<Error>,
    pub(super) stop: bool,
}

#[derive(Default)]
pub(super) struct KeeperState {
    pub(super) stop: bool,
    pub(super) poked: bool,
}

/// The parts of a core that recovery has found.
pub(super) struct Found {
    pub(super) store_id: StoreId,
    pub(super) data: Arc<DataFile>,
    pub(super) ancestry_file: Arc<AncestryFile>,
    pub(super) views: Views,
    pub(super) leader: Leader,
    pub(super) next_table_id: TableId,
    pub(super) sealed: Vec<Sealed>,
    /// Whether the log was missing, and given up.
    pub(super) lost_log: bool,
    pub(super) budget: Budget,
    /// The most that the deltas held together while the log was read.
    pub(super) peak_delta_bytes: usize,
    /// The last commit of the newest checkpoint that was made while the log was read; 0 where none was.
    pub(super) durable_checkpoint: Lsn,
}

pub(super) fn closed() -> Error {
    Error::new(ErrorKind::Closed, "the store was closed")
}

impl Core {
    pub(super) fn new(
        folder: Arc<StoreFolder>,
        dir: PathBuf,
        options: EngineOptions,
        found: Found,
    ) -> Core {
        let sealed_bytes = found.sealed.iter().map(|sealed| sealed.delta.bytes()).sum();
        let pending = Pending {
            sealed: found.sealed.into_iter().map(|s| (s.clone(), PinSlot::new(s.lsn))).collect(),
            ..Pending::default()
        };
        let room = Room::new();
        let (disk, is_latched) = (folder.disk().clone(), folder.is_read_only());
        room.look(&*disk, &dir, &found.data);
        Core {
            disk,
            folder,
            dir,
            log_cap: CapInForce::new(options.log_cap),
            backed_up: AtomicBool::new(options.keep_log.is_none_or(|kept| kept.backed_up)),
            options,
            store_id: found.store_id,
            data: found.data,
            ancestry_file: found.ancestry_file,
            views: found.views,
            queue: Mutex::default(),
            spin: Spin::new(),
            budget: found.budget,
            room,
            is_short: AtomicBool::new(false),
            active_bytes: AtomicUsize::new(found.leader.active.bytes()),
            sealed_bytes: AtomicUsize::new(sealed_bytes),
            durable_checkpoint: AtomicU64::new(found.durable_checkpoint),
            upkeep: found.leader.log.upkeep(),
            leader: Mutex::new(found.leader),
            next_table_id: AtomicU32::new(found.next_table_id),
            pending: Mutex::new(pending),
            pending_changed: Condvar::new(),
            stepper: Mutex::new(true),
            keeper: Mutex::default(),
            keeper_wake: Condvar::new(),
            counters: Counters::starting(found.peak_delta_bytes),
            awaits_backup: AtomicBool::new(found.lost_log),
            is_latched: AtomicBool::new(is_latched),
            latch: Mutex::new(None),
        }
    }

    /// Makes the store read-only until it is opened again. The first cause stays.
    pub(super) fn latch(&self, cause: Error) {
        self.latch.lock().get_or_insert(cause);
        self.is_latched.store(true, Ordering::Release);
        let pending = self.pending.lock();
        self.pending_changed.notify_all();
        drop(pending);
    }

    /// The error that writers get while the store is latched, and where it was opened to be read only.
    pub(super) fn latched(&self) -> Option<Error> {
        if !self.is_latched.load(Ordering::Acquire) {
            return None;
        }
        if let Err(refused) = self.folder.check_writable() {
            return Some(refused);
        }
        let cause = self.latch.lock().clone()?;
        let latched = "the store latched itself read-only after a failure";
        let error = Error::new(ErrorKind::ReadOnly, latched).at(&self.dir);
        let error = with_code_of(error, &cause);
        let hint = match cause.advice() {
            Some(hint) if cause.code() == code::STORE_MOVED => hint.to_owned(),
            _ => "Close the store and open it again: recovery decides what is durable.".to_owned(),
        };
        Some(error.because(cause).hint(hint))
    }

    /// Sees that the store is where it was locked; latches where it is not. To be called after a sync
    /// and before anything that rests on it is acknowledged.
    pub(super) fn check_folder(&self) -> Result<()> {
        self.folder.check().inspect_err(|error| self.latch(error.clone()))
    }

    /// Whether the active delta should become pages: it has its part of the memory, or its pages are
    /// going to take half of the room on the disk. The other half is for the one that is filled
    /// meanwhile.
    pub(super) fn is_full(&self, active: &Delta) -> bool {
        let twice = Room::need(active, self.budget.data_bytes()).saturating_mul(2);
        // The look is a call of the system, and needed near the end only.
        let short = twice > self.room.free() && twice > self.look_for_room();
        self.is_short.store(short, Ordering::Relaxed);
        short || active.bytes() >= self.budget.delta_bytes()
    }

    fn look_for_room(&self) -> u64 {
        self.room.look(&*self.disk, &self.dir, &self.data)
    }

    /// A checkpoint was made: there is another amount of room.
    pub(super) fn room_changed(&self) {
        self.upkeep.keep_reserve();
        self.look_for_room();
        self.is_short.store(false, Ordering::Relaxed);
    }

    /// Sees that the disks have room for more than what makes room.
    pub(super) fn check_room(&self) -> Result<()> {
        let none = self.room.free() < LEAST_ROOM && self.look_for_room() < LEAST_ROOM;
        if !none && !self.upkeep.lacks_reserve() {
            return Ok(());
        }
        Err(Error::new(ErrorKind::StorageFull, "the disk has no room for more records")
            .at(&self.dir)
            .hint(FREE_ROOM))
    }

    fn has_no_room(&self) -> bool {
        self.is_short.load(Ordering::Relaxed)
            || self.active_bytes.load(Ordering::Relaxed) >= self.budget.delta_bytes()
    }

    /// Waits while the active delta is full and the one behind it is not yet in the tree.
    pub(super) fn wait_for_room(&self) -> Result<()> {
        if !self.has_no_room() {
            return Ok(());
        }
        let start = self.disk.elapsed();
        let mut waited = false;
        let mut pending = self.pending.lock();
        while self.has_no_room() && !pending.sealed.is_empty() {
            if self.options.stepped {
                drop(pending);
                let stepped = checkpointer::step(self);
                pending = self.pending.lock();
                if stepped {
                    continue;
                }
            }
            if let Some(full) = &pending.full {
                return Err(advised(full.clone()));
            }
            if let Some(latched) = self.latched() {
                return Err(latched);
            }
            if pending.stop {
                return Err(closed());
            }
            waited = true;
            self.pending_changed.wait(&mut pending);
        }
        if waited {
            self.counters.waited_for_room(self.disk.elapsed().saturating_sub(start));
        }
        Ok(())
    }

    /// Bytes that all deltas hold.
    pub(super) fn delta_bytes(&self) -> usize {
        self.active_bytes.load(Ordering::Relaxed) + self.sealed_bytes.load(Ordering::Relaxed)
    }

    pub(super) fn nothing_sealed(&self) -> bool {
        self.pending.lock().sealed.is_empty()
    }

    /// Hands a sealed delta to the checkpointer.
    pub(super) fn push_sealed(&self, sealed: Sealed) -> Arc<PinSlot> {
        let slot = PinSlot::new(sealed.lsn);
        let mut pending = self.pending.lock();
        match &pending.gave_up {
            Some(error) => slot.fill(Err(error.clone())),
            None => {
                self.sealed_bytes.fetch_add(sealed.delta.bytes(), Ordering::Relaxed);
                pending.sealed.push_back((sealed, slot.clone()));
            }
        }
        self.pending_changed.notify_all();
        slot
    }

    /// The slot of the checkpoint that will hold, or holds, everything up to `lsn`, where nothing
    /// is in the active delta. What a checkpointer that gave up left sealed is in no checkpoint.
    pub(super) fn slot_at_newest_seal(&self, lsn: Lsn) -> Arc<PinSlot> {
        let pending = self.pending.lock();
        if let Some((_, slot)) = pending.sealed.back() {
            return slot.clone();
        }
        let slot = PinSlot::new(lsn);
        slot.fill(match &pending.gave_up {
            Some(error) => Err(error.clone()),
            None => Ok(self.views.current().0.checkpoint.clone()),
        });
        slot
    }

    /// Makes every commit up to `lsn` durable in the log, without standing in the commit line.
    pub(super) fn sync_log_through(&self, lsn: Lsn) -> Result<()> {
        if self.upkeep.durable_lsn() >= lsn {
            return self.check_folder();
        }
        if let Some(latched) = self.latched() {
            return Err(latched);
        }
        let synced = self.upkeep.unsynced().sync().map(drop).map_err(unavailable);
        synced.inspect_err(|error| self.latch(error.clone()))?;
        self.check_folder()
    }
}

/// Gives an error the number of its cause, where that says more than that the store is latched.
pub(super) fn with_code_of(error: Error, cause: &Error) -> Error {
    match cause.code() {
        number @ (code::LOG_UNAVAILABLE | code::STORE_MOVED) => error.with_code(number),
        _ => error,
    }
}
