//! The engine as the rooms above see it.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Mutex;

use super::apply::ForeignGroup;
use super::batch::Batch;
use super::catalogue::{Catalogue, TableInfo};
use super::core::{Core, advised, closed};
use super::folder::{DirLock, StoreFolder};
use super::line::{self, Outcome, Work};
use super::log::MAX_GROUP;
use super::open;
use super::options::{Durability, EngineOptions};
use super::pin::Pin;
use super::rendezvous::Rendezvous;
use super::snapshot::Snapshot;
use super::stats::EngineStats;
use super::tree::DataFile;
use super::view::View;
use super::{CATALOGUE, Lsn, Position, StoreId, TABLE_LIMIT, TableId, checkpointer, keeper};
use crate::disk::Disk;
use crate::error::{Error, ErrorKind, Result};

/// Commits and snapshots of one store, which this process owns while the value lives.
pub(crate) struct Engine {
    pub(super) core: Arc<Core>,
    /// The threads; empty once closed, and where the store was opened to be read only.
    pub(super) running: Mutex<Option<Running>>,
}

/// The threads of an engine; none where it is stepped.
pub(super) struct Running(Vec<JoinHandle<()>>);

/// What the data file may be after an asked-for checkpoint, in per cent of what is in it.
const TIDY_PERCENT: u64 = 120;

/// How long a wait for a checkpoint lasts before it is begun again.
const PATIENCE: Duration = Duration::from_millis(500);

/// What one commit may hold: half of the longest group of the log, since others may stand with it.
const MAX_COMMIT_BYTES: usize = MAX_GROUP / 2;

/// What an operation takes in the log beside its key and value, at most.
const OP_OVERHEAD: usize = 32;

/// What is known of a commit once it is acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct CommitInfo {
    /// Its place in history. For an empty write set, the place of the newest commit.
    pub lsn: Lsn,
    /// Its time, in microseconds since the Unix epoch; never less than that of the commit before.
    pub time: i64,
}

impl Engine {
    /// Makes an empty store in `dir` and opens it.
    pub(crate) fn create(
        disk: Arc<dyn Disk>,
        dir: &Path,
        options: EngineOptions,
    ) -> Result<Engine> {
        open::create(&disk, dir, &options)?;
        Engine::open(disk, dir, options)
    }

    /// Opens the store in `dir`.
    pub(crate) fn open(disk: Arc<dyn Disk>, dir: &Path, options: EngineOptions) -> Result<Engine> {
        Engine::begin(open::open(disk, dir, options, None)?, dir)
    }

    /// The same for a restore, which has the folder's lock already and keeps it when the engine is closed.
    /// On a simulated disk it has no threads, so that it makes the same calls each time.
    pub(crate) fn open_held(
        disk: Arc<dyn Disk>,
        dir: &Path,
        options: EngineOptions,
        lock: DirLock,
    ) -> Result<Engine> {
        let stepped = options.stepped || disk.is_simulated();
        let options = EngineOptions { stepped, ..options };
        Engine::begin(open::open(disk, dir, options, Some(lock))?, dir)
    }

    /// Starts the threads.
    fn begin(core: Arc<Core>, dir: &Path) -> Result<Engine> {
        if core.options.stepped {
            return Ok(Engine { core, running: Mutex::new(Some(Running(Vec::new()))) });
        }
        let spawn = |name: &str, run: fn(&Arc<Core>)| {
            let core = core.clone();
            std::thread::Builder::new()
                .name(name.into())
                .spawn(move || run(&core))
                .map_err(|e| Error::io("start a thread of the store", dir, e))
        };
        let keeper = spawn("stillpoint-log", keeper::run)?;
        let checkpointer = match spawn("stillpoint-pages", checkpointer::run) {
            Ok(thread) => thread,
            Err(error) => {
                stop_keeper(&core);
                let _ended = keeper.join();
                return Err(error);
            }
        };
        let running = Running(vec![checkpointer, keeper]);
        Ok(Engine { core, running: Mutex::new(Some(running)) })
    }

    /// Commits `batch`; returns when it is acknowledged as `durability` says and published.
    pub(crate) fn commit(&self, batch: Batch, durability: Durability) -> Result<CommitInfo> {
        self.commit_telling(batch, durability, &mut || {})
    }

    /// The same; calls `in_line` once the commit stands in the line: from then on no other comes before
    /// it that did not stand there already.
    pub(crate) fn commit_telling(
        &self,
        batch: Batch,
        durability: Durability,
        in_line: &mut dyn FnMut(),
    ) -> Result<CommitInfo> {
        if batch.is_empty() {
            let newest = self.newest();
            if durability == Durability::Immediate {
                self.core.sync_log_through(newest.lsn)?;
            }
            return Ok(newest);
        }
        if let Some(latched) = self.core.latched() {
            return Err(latched);
        }
        check_size(&batch)?;
        check_tables(&batch)?;
        self.core.check_log()?;
        let removes = batch.only_removes();
        if !removes {
            self.core.check_room()?;
        }
        match self.core.wait_for_room() {
            // Whoever waits for room on the disk needs this one.
            Err(full) if removes && full.kind() == ErrorKind::StorageFull => {}
            waited => waited?,
        }
        let work = Work::Commit { batch, durability };
        match line::run_telling(&self.core, work, in_line).map_err(advised)? {
            Outcome::Committed { lsn, time } => Ok(CommitInfo { lsn, time }),
            _ => Err(line::outcome_unknown()),
        }
    }

    /// The newest published commit. Between the two looks no other is published: whoever publishes
    /// has the leader's lock.
    fn newest(&self) -> CommitInfo {
        let leader = self.core.leader.lock();
        CommitInfo { lsn: self.core.views.visible(), time: leader.last_time }
    }

    /// Applies a group of commits that another store made: they keep LSN, time and timeline, and
    /// stand in this store's own log as one group. Until the next [`Engine::commit`] the store stays
    /// on their timeline. Returns the last of them.
    ///
    /// # Errors
    /// `Foreign` (1416) and `Invalid` (2010) where they do not follow the newest commit; otherwise as
    /// [`Engine::commit`].
    pub(crate) fn apply(&self, group: ForeignGroup) -> Result<CommitInfo> {
        if let Some(latched) = self.core.latched() {
            return Err(latched);
        }
        self.core.check_log_cap()?;
        self.core.wait_for_room()?;
        let last = group.last_lsn();
        match line::run(&self.core, Work::Apply(group)).map_err(advised)? {
            Outcome::Committed { time, .. } => Ok(CommitInfo { lsn: last, time }),
            _ => Err(line::outcome_unknown()),
        }
    }

    /// Ends the log segment, so that all commits so far stand in closed ones, and makes them durable.
    /// Returns the last of them.
    pub(crate) fn end_segment(&self) -> Result<Lsn> {
        if let Some(latched) = self.core.latched() {
            return Err(latched);
        }
        match line::run(&self.core, Work::Roll)? {
            Outcome::Rolled(lsn) => self.core.sync_log_through(lsn).map(|()| lsn),
            _ => Err(line::outcome_unknown()),
        }
    }

    /// The newest commit and its place in history.
    pub(crate) fn position(&self) -> Position {
        self.core.leader.lock().position()
    }

    /// The store at its newest published commit.
    ///
    /// # Errors
    /// `Closed`: others may have the store by now, and use its pages again.
    pub(crate) fn snapshot(&self) -> Result<Snapshot> {
        let (view, lsn) = self.core.views.current();
        match view.lock {
            Some(_) => Ok(Snapshot::new((view, lsn))),
            None => Err(closed()),
        }
    }

    /// The newest published commit.
    pub(crate) fn visible_lsn(&self) -> Lsn {
        self.core.views.visible()
    }

    /// The newest catalogue.
    pub(crate) fn catalogue(&self) -> Arc<Catalogue> {
        self.core.views.current().0.catalogue.clone()
    }

    /// What looks tables up by their numbers, for as long as the engine is there.
    pub(crate) fn table_names(
        &self,
    ) -> impl Fn(TableId) -> Option<Arc<TableInfo>> + Send + Sync + use<> {
        let core = Arc::downgrade(&self.core);
        move |table| core.upgrade()?.views.current().0.catalogue.by_id(table).cloned()
    }

    /// A table number that was never used.
    pub(crate) fn new_table_id(&self) -> TableId {
        self.core.next_table_id.fetch_add(1, Ordering::AcqRel)
    }

    /// Pins the newest commit for a backup: an entry in the commit line that ends delta and segment.
    pub(crate) fn pin(&self) -> Result<Pin> {
        self.seal(true, None)
    }

    /// As [`Engine::pin`], at the instant at which the lines of all stores of the meeting are held. The
    /// caller has its turn there.
    pub(crate) fn pin_at(&self, meeting: Arc<Rendezvous>) -> Result<Pin> {
        self.seal(true, Some(meeting))
    }

    fn seal(&self, roll: bool, meeting: Option<Arc<Rendezvous>>) -> Result<Pin> {
        if let Some(latched) = self.core.latched() {
            return Err(latched);
        }
        // What it would hold is not what anybody finds.
        self.core.check_folder()?;
        // Before the line: whoever closes lets go of the folder as soon as the line is served.
        let lock = self.keep_folder();
        match line::run(&self.core, Work::Seal { roll, meeting })? {
            Outcome::Sealed(slot, took) => {
                // Whoever needs the checkpoint makes it, where no thread does.
                while self.core.options.stepped
                    && !slot.is_filled()
                    && checkpointer::step(&self.core)
                {}
                Ok(Pin::new(slot, took, lock))
            }
            _ => Err(line::outcome_unknown()),
        }
    }

    /// Turns everything committed so far into pages, and waits until that is durable.
    pub(crate) fn checkpoint(&self) -> Result<Lsn> {
        let pin = self.seal(false, None)?;
        // A full disk comes through the pin, too, and only where it is in the way of this checkpoint.
        let checkpoint = loop {
            if let Some(checkpoint) = pin.checkpoint(PATIENCE)? {
                break checkpoint;
            }
        };
        let lsn = checkpoint.lsn();
        drop((pin, checkpoint));
        self.tidy();
        Ok(lsn)
    }

    /// Waits until the data file has given back what room it can.
    fn tidy(&self) {
        let mut pending = self.core.pending.lock();
        if pending.gave_up.is_some() || pending.stop {
            return;
        }
        pending.tidy = Some(TIDY_PERCENT);
        self.core.pending_changed.notify_all();
        // Others commit meanwhile. What they sealed is written first, and on a full disk that may take
        // for ever: the file is tidied afterwards then, and nobody waits for it.
        while pending.tidy.is_some() && pending.full.is_none() {
            if self.core.options.stepped {
                drop(pending);
                if !checkpointer::step(&self.core) {
                    return;
                }
                pending = self.core.pending.lock();
                continue;
            }
            self.core.pending_changed.wait(&mut pending);
        }
    }

    /// Does one thing that the threads of another store would do now; whether there was one.
    pub(crate) fn step(&self) -> bool {
        let acts = self.core.options.stepped && !self.is_read_only();
        acts && (keeper::turn(&self.core) || checkpointer::step(&self.core))
    }

    /// Makes everything committed so far durable in the log.
    pub(crate) fn sync(&self) -> Result<()> {
        self.core.sync_log_through(self.core.views.visible())
    }

    /// Identity of the store.
    pub(crate) fn store_id(&self) -> StoreId {
        self.core.store_id
    }

    /// The store's folder.
    pub(crate) fn dir(&self) -> &Path {
        &self.core.dir
    }

    /// Keeps everybody else from opening the store while the value lives; `None` once it is closed.
    pub(crate) fn keep_folder(&self) -> Option<DirLock> {
        self.core.views.current().0.lock.clone()
    }

    /// The store's folder, open since it was locked.
    pub(crate) fn folder(&self) -> &Arc<StoreFolder> {
        &self.core.folder
    }

    /// The disk that the store lies on: this value of it means the open folder by the store's path.
    pub(crate) fn disk(&self) -> &Arc<dyn Disk> {
        &self.core.disk
    }

    /// The data file, for verification.
    pub(crate) fn data(&self) -> &Arc<DataFile> {
        &self.core.data
    }

    /// Why the store takes no writes, where it does not.
    pub(crate) fn latched(&self) -> Option<Error> {
        self.core.latched()
    }

    /// Counters and sizes. Never waits for a backup or a sync.
    pub(crate) fn stats(&self) -> EngineStats {
        let core = &self.core;
        let (view, visible) = core.views.current();
        let data = core.data.stats();
        let mut stats = EngineStats {
            visible_lsn: visible,
            durable_lsn: core.upkeep.durable_lsn(),
            checkpoint_lsn: view.checkpoint.lsn(),
            checkpoint: view.checkpoint.number(),
            active_delta_bytes: core.active_bytes.load(Ordering::Relaxed) as u64,
            delta_cap_bytes: core.budget.delta_bytes() as u64,
            deltas: view.deltas.len() as u64,
            delta_bytes: core.delta_bytes() as u64,
            memory_budget_bytes: core.budget.bytes() as u64,
            data_file_bytes: data.file_bytes,
            free_bytes: data.free_bytes,
            pinned_checkpoints: core.data.pins().len() as u64,
            log_kept_from: core.upkeep.kept_from(),
            log_kept_bytes: core.upkeep.kept_from().map_or(0, |_| core.upkeep.kept_bytes()),
            log_cap_bytes: core.log_cap.get().map(|cap| cap.bytes),
            log_refuses: core.check_log().is_err(),
            latched: core.latched().map(|error| error.summary()),
            ..EngineStats::default()
        };
        core.counters.fill(&mut stats);
        stats
    }

    /// Finishes what is in the commit line, turns everything into pages and lets go of the folder.
    ///
    /// Open snapshots stay readable, and nobody can open the store while they do. Closing twice is
    /// closing once: who comes second waits until it is done.
    pub(crate) fn close(&self) -> Result<()> {
        self.core.folder.check_process()?;
        let mut running = self.running.lock();
        if self.is_read_only() {
            self.core.views.replace(None, |view| View { lock: None, ..view.clone() });
            return Ok(());
        }
        let Some(Running(threads)) = running.take() else { return Ok(()) };
        let last = match self.core.latched() {
            None => self.checkpoint().map(drop),
            Some(_) => Ok(()),
        };
        let last = match (line::close(&self.core), self.core.latched()) {
            (Err(error), None) => last.and(Err(error)),
            _ => last,
        };
        self.core.pending.lock().stop = true;
        self.core.pending_changed.notify_all();
        stop_keeper(&self.core);
        if self.core.options.stepped {
            checkpointer::end(&self.core);
        }
        for thread in threads {
            if thread.join().is_err() {
                let panicked = Error::new(ErrorKind::Io, "a thread of the store panicked");
                self.core.latch(panicked.at(&self.core.dir));
            }
        }
        // Nobody is in the line any more: the log ends cleanly here, before the folder is let go of.
        let closed = match self.core.latched() {
            None => {
                let checkpoint = self.core.durable_checkpoint.load(Ordering::Acquire);
                last.and(self.core.leader.lock().log.close(checkpoint))
            }
            // Whoever closes counts on everything being durable, and `Eventual` commits may not be.
            Some(latched) => last.and(Err(latched)),
        };
        self.core.views.replace(None, |view| View { lock: None, ..view.clone() });
        closed
    }
}

/// A commit that cannot be one group is refused alone, before it joins others in the line.
fn check_size(batch: &Batch) -> Result<()> {
    let bytes = batch.bytes() + batch.ops().len() * OP_OVERHEAD;
    if bytes > MAX_COMMIT_BYTES {
        let message = format!("a commit takes {bytes} bytes, and {MAX_COMMIT_BYTES} are allowed");
        return Err(Error::new(ErrorKind::Limit, message).hint("Commit in several transactions."));
    }
    Ok(())
}

/// A table with a number that the formats do not have is refused before it is in the log.
fn check_tables(batch: &Batch) -> Result<()> {
    let id = |key: &[u8]| key.try_into().map(TableId::from_be_bytes).unwrap_or(TABLE_LIMIT);
    let structure = batch.ops().iter().take_while(|op| op.table == CATALOGUE);
    if structure.map(|op| id(&op.key)).any(|id| id >= TABLE_LIMIT) {
        return Err(Error::new(ErrorKind::Limit, "the store has had as many tables as it can")
            .hint("Back the store up, and restore the tables that are needed into a new folder."));
    }
    Ok(())
}

fn stop_keeper(core: &Core) {
    core.keeper.lock().stop = true;
    core.keeper_wake.notify_all();
}

impl Drop for Engine {
    fn drop(&mut self) {
        // Whoever wants to know whether closing went well closes by himself.
        let _unheard = self.close();
    }
}
