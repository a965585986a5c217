//! When the system is asked to begin writing what a checkpoint wrote.

use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::disk::{File, OpenMode, SimDisk};

/// A file that counts what it is asked.
struct Counting {
    file: Arc<dyn File>,
    unstarted: AtomicU64,
    most_unstarted: AtomicU64,
    started: AtomicU64,
}

impl File for Counting {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> std::io::Result<usize> {
        self.file.read_at(buffer, offset)
    }
    fn write_at(&self, bytes: &[u8], offset: u64) -> std::io::Result<()> {
        let unstarted = self.unstarted.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        self.most_unstarted.fetch_max(unstarted + bytes.len() as u64, Ordering::Relaxed);
        self.file.write_at(bytes, offset)
    }
    fn len(&self) -> std::io::Result<u64> {
        self.file.len()
    }
    fn allocate(&self, offset: u64, len: u64) -> std::io::Result<()> {
        self.file.allocate(offset, len)
    }
    fn sync(&self) -> std::io::Result<()> {
        self.unstarted.store(0, Ordering::Relaxed);
        self.file.sync()
    }
    fn start_writeback(&self, _offset: u64, len: u64) {
        assert!(len > 0);
        self.started.fetch_add(1, Ordering::Relaxed);
        self.unstarted.store(0, Ordering::Relaxed);
    }
    fn map(&self, reserve: u64) -> std::io::Result<memmap2::MmapRaw> {
        self.file.map(reserve)
    }
}

#[test]
fn a_checkpoint_leaves_only_a_few_megabytes_to_its_sync() {
    let disk = SimDisk::new(21);
    create(&*disk, 4096);
    let file = disk.open(Path::new(PATH), OpenMode::Write).expect("open");
    let zero = || AtomicU64::new(0);
    let (unstarted, most_unstarted, started) = (zero(), zero(), zero());
    let counting = Arc::new(Counting { file, unstarted, most_unstarted, started });
    let (data, newest) = DataFile::open_with(counting.clone(), Path::new(PATH)).expect("open");
    let mut batch = Batch::default();
    batch.define(1, b"one");
    for n in 0..12_000u32 {
        batch.put(1, &n.to_be_bytes(), &[1; 1500]);
    }
    data.checkpoint(&newest, &mut batch.source(), params(1)).expect("checkpoint");
    let most = counting.most_unstarted.load(Ordering::Relaxed);
    assert!(most <= 6 << 20, "{most} bytes were left to one sync");
    assert!(counting.started.load(Ordering::Relaxed) >= 3);
}
