//! The data file: its handle, its map, who pins what, and how it grows and is cut.
//!
//! One process writes it, one checkpoint at a time. Pages are written in place by positional writes
//! into room that was allocated before, so a full disk is an error of the allocation and leaves the
//! state as it was. The file is cut only above every page that a pinned checkpoint reaches.
//!
//! After a failed sync or a failed write the file refuses further checkpoints: what the disk holds is
//! not known any more, and a sync that failed is never tried again.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::{Mutex, MutexGuard};

use super::map::{Checked, MOST_BYTES, Map};
use super::meta::{Meta, Metas, is_page_size};
use super::pointer::TableRoot;
use super::space::SpaceState;
use crate::disk::{Disk, File, OpenMode};
use crate::engine::{StoreId, Timeline};
use crate::error::{Error, ErrorKind, Result};

/// The least and the most by which the file grows.
const LEAST_STEP: u64 = 64 << 10;
const MOST_STEP: u64 = 32 << 20;

/// What a new data file is given.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DataParams {
    /// Bytes of a page: a power of two from 4 KiB to 32 KiB.
    pub(crate) page_size: usize,
    pub(crate) store_id: StoreId,
    pub(crate) timeline: Timeline,
    /// Digest of the ancestry, which is that timeline alone.
    pub(crate) ancestry_digest: u64,
    /// The first commit of the store's own begins another timeline.
    pub(crate) foreign: bool,
}

/// What a data file counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct DataStats {
    /// Length of the file in bytes, room allocated ahead included.
    pub(crate) file_bytes: u64,
    /// Bytes of pages that can be used at once.
    pub(crate) free_bytes: u64,
    /// Bytes of pages that wait for a pin to go.
    pub(crate) waiting_bytes: u64,
    /// Bytes that the newest checkpoint reaches; 0 until the first one since the file was opened.
    pub(crate) live_bytes: u64,
    /// Bytes written by checkpoints since the file was opened.
    pub(crate) written_bytes: u64,
    /// Syncs since the file was opened.
    pub(crate) syncs: u64,
    /// Checkpoints written since the file was opened.
    pub(crate) checkpoints: u64,
}

impl DataStats {
    /// Bytes of the file that are in use, or wait for a pin to go.
    pub(crate) fn used_bytes(&self) -> u64 {
        self.file_bytes.saturating_sub(self.free_bytes)
    }
}

/// Checkpoint numbers in use, each with how often.
#[derive(Default)]
struct Pins {
    held: BTreeMap<u64, Pin>,
}

struct Pin {
    count: usize,
    page_count: u64,
}

/// What only the writer of checkpoints touches.
pub(crate) struct WriterState {
    /// Both metas as they are on the disk; `None` where one is damaged.
    pub(crate) metas: [Option<Meta>; 2],
    /// Length of the file in pages.
    pub(crate) allocated: u64,
    pub(crate) space: SpaceState,
    pub(crate) stats: DataStats,
}

/// An open data file.
pub(crate) struct DataFile {
    file: Arc<dyn File>,
    path: PathBuf,
    page_size: usize,
    map: Map,
    checked: Checked,
    pins: Mutex<Pins>,
    latched: AtomicBool,
    writer: Mutex<WriterState>,
    /// The counts as of the beginning of the checkpoint that is being written, or of the last look.
    counted: Mutex<DataStats>,
}

impl DataFile {
    /// Creates a data file at `path` that holds nothing: checkpoint 1, at LSN 0. Content is synced,
    /// the name is for the caller to make durable.
    ///
    /// # Errors
    /// `Invalid` for a page size that cannot be; what the disk says.
    pub(crate) fn create(disk: &dyn Disk, path: &Path, params: DataParams) -> Result<()> {
        if !is_page_size(params.page_size) {
            return Err(Error::new(
                ErrorKind::Invalid,
                format!("page size {} is not a power of two from 4096 to 32768", params.page_size),
            ));
        }
        let meta = Meta {
            page_size: params.page_size,
            store_id: params.store_id,
            timeline: params.timeline,
            ancestry_digest: params.ancestry_digest,
            number: 1,
            lsn: 0,
            time: 0,
            durable_log_lsn: 0,
            catalogue: TableRoot::EMPTY,
            page_count: 2,
            free_list: 0,
            free_list_crc: 0,
            free_list_birth: 0,
            next_table_id: 1,
            from_archive: false,
            foreign: params.foreign,
        };
        let page = meta.encode();
        let file = disk
            .open(path, OpenMode::CreateNew)
            .map_err(|e| Error::io("create the data file", path, e))?;
        file.write_parts_at(&[&page, &page], 0)
            .and_then(|()| file.sync())
            .map_err(|e| Error::io("write a new data file", path, e))
    }

    /// Opens the data file and its metas. Writes nothing.
    pub(super) fn open_file(file: Arc<dyn File>, path: &Path) -> Result<(Arc<DataFile>, Meta)> {
        let metas = Metas::read(&*file, path)?;
        let map = Map::new(&*file, path)?;
        let allocated = map.valid() / metas.page_size as u64;
        let newest = metas.newest().1.clone();
        if newest.page_count > allocated {
            return Err(short_file(path, &newest, allocated));
        }
        let mut pins = Pins::default();
        for meta in metas.slots.iter().flatten() {
            pins.add(meta.number, meta.page_count);
        }
        let checked = Checked::new(MOST_BYTES / metas.page_size as u64);
        let space = SpaceState::unread(&newest, metas.other());
        let data = DataFile {
            page_size: metas.page_size,
            path: path.to_path_buf(),
            checked,
            map,
            pins: Mutex::new(pins),
            latched: AtomicBool::new(false),
            writer: Mutex::new(WriterState {
                metas: metas.slots.map(|slot| slot.ok()),
                allocated,
                space,
                stats: DataStats::default(),
            }),
            counted: Mutex::new(DataStats {
                file_bytes: allocated * metas.page_size as u64,
                ..DataStats::default()
            }),
            file,
        };
        Ok((Arc::new(data), newest))
    }

    #[inline]
    pub(crate) fn page_size(&self) -> usize {
        self.page_size
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn file(&self) -> &Arc<dyn File> {
        &self.file
    }

    #[inline]
    pub(crate) fn map(&self) -> &Map {
        &self.map
    }

    #[inline]
    pub(crate) fn checked(&self) -> &Checked {
        &self.checked
    }

    /// What the writer of checkpoints works on, for one act.
    pub(super) fn begin_act(&self) -> MutexGuard<'_, WriterState> {
        let state = self.writer.lock();
        *self.counted.lock() = self.count(&state);
        state
    }

    /// Counts of the file; those from before it while a checkpoint is being written. Never waits.
    pub(crate) fn stats(&self) -> DataStats {
        let mut counted = self.counted.lock();
        if let Some(state) = self.writer.try_lock() {
            *counted = self.count(&state);
        }
        *counted
    }

    fn count(&self, state: &WriterState) -> DataStats {
        DataStats {
            file_bytes: state.allocated * self.page_size as u64,
            free_bytes: state.space.free_pages() * self.page_size as u64,
            waiting_bytes: state.space.waiting_pages() * self.page_size as u64,
            ..state.stats
        }
    }

    /// Numbers of the pinned checkpoints, ascending, those of the metas included.
    pub(crate) fn pins(&self) -> Vec<u64> {
        self.pins.lock().held.keys().copied().collect()
    }

    /// One past the highest page that a pinned checkpoint reaches.
    pub(super) fn pinned_end(&self) -> u64 {
        self.pins.lock().held.values().map(|pin| pin.page_count).max().unwrap_or(0)
    }

    pub(super) fn pin(&self, number: u64, page_count: u64) {
        self.pins.lock().add(number, page_count);
    }

    pub(super) fn unpin(&self, number: u64) {
        self.pins.lock().remove(number);
    }

    /// Refuses when an earlier write or sync failed.
    pub(crate) fn check_latch(&self) -> Result<()> {
        if !self.latched.load(Ordering::Acquire) {
            return Ok(());
        }
        Err(Error::new(ErrorKind::ReadOnly, "an earlier write of the data file failed")
            .at(&self.path)
            .hint("Close the store and open it again."))
    }

    /// Runs `act`, which writes to the file or syncs it; a failure other than a full disk latches.
    pub(super) fn write(
        &self,
        doing: &str,
        act: impl FnOnce(&dyn File) -> std::io::Result<()>,
    ) -> Result<()> {
        act(&*self.file).map_err(|e| {
            let error = Error::io(doing, &self.path, e);
            if error.kind() != ErrorKind::StorageFull {
                self.latch();
            }
            error
        })
    }

    /// Refuses all further checkpoints.
    pub(super) fn latch(&self) {
        self.latched.store(true, Ordering::Release);
    }

    /// Syncs; any failure latches.
    pub(super) fn sync(&self, stats: &mut DataStats) -> Result<()> {
        stats.syncs += 1;
        self.file.sync().map_err(|e| {
            self.latch();
            let error = Error::io("sync the data file", &self.path, e);
            error.with_kind(ErrorKind::Io)
        })
    }

    /// Makes room for pages below `end`, in big steps. Returns the new length in pages.
    ///
    /// # Errors
    /// `StorageFull` where there is none: nothing has changed then. `Limit` where the file cannot be
    /// longer, or the address space is used up.
    pub(super) fn grow(&self, allocated: u64, end: u64) -> Result<u64> {
        let size = self.page_size as u64;
        self.map.reach(&*self.file, &self.path, end.saturating_mul(size))?;
        let step = (allocated * size / 32).clamp(LEAST_STEP, MOST_STEP) / size;
        let most = (end + step).min(self.map.reserved() / size);
        let grow = |to: u64| self.file.allocate(allocated * size, (to - allocated) * size);
        let mut reached = most;
        if let Err(first) = grow(most) {
            let full = Error::io("allocate room for the data file", &self.path, first);
            if full.kind() != ErrorKind::StorageFull || end == most {
                return Err(full);
            }
            reached = end;
            grow(end).map_err(|e| Error::io("allocate room for the data file", &self.path, e))?;
        }
        self.map.set_valid(reached * size);
        Ok(reached)
    }

    /// Gives the end of the file back to the disk, above all that a pin reaches. A failure is told
    /// and harmless: the file stays as long as it is.
    pub(super) fn cut(&self, state: &mut WriterState) -> Result<()> {
        let size = self.page_size as u64;
        let keep = self.pinned_end().max(2);
        let slack = (keep * size / 32).clamp(LEAST_STEP, MOST_STEP) / size;
        if state.allocated <= keep + slack {
            return Ok(());
        }
        self.map.set_valid(keep * size);
        let cut = self.write("cut the data file", |file| file.set_len(keep * size));
        if let Err(error) = cut {
            self.map.set_valid(state.allocated * size);
            return Err(error);
        }
        state.allocated = keep;
        Ok(())
    }
}

impl Pins {
    fn add(&mut self, number: u64, page_count: u64) {
        let pin = self.held.entry(number).or_insert(Pin { count: 0, page_count });
        pin.count += 1;
        pin.page_count = pin.page_count.max(page_count);
    }

    fn remove(&mut self, number: u64) {
        if let Some(pin) = self.held.get_mut(&number) {
            pin.count -= 1;
            if pin.count == 0 {
                self.held.remove(&number);
            }
        }
    }
}

/// The error for a file that ends before its checkpoint does.
pub(super) fn short_file(path: &Path, meta: &Meta, pages: u64) -> Error {
    Error::corrupt(
        path,
        format!("the data file has {pages} pages where its meta speaks of {}", meta.page_count),
    )
    .hint("The file was cut short. Restore the store from its last backup.")
}
