//! What reading a forged file may take of memory, measured: a test binary of its own, since it counts
//! what is allocated.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use serde_json::{Value, json};
use stillpoint::archive::{ArchiveFile, ArchiveOptions, ArchiveWriter, Compression, Layers};
use stillpoint::disk::RealDisk;
use stillpoint::regime::History;
use stillpoint::{ErrorKind, Keys, Store, TableDef};

/// Counts what the calling thread allocates, and the most that it had at once.
struct Counting;

thread_local! {
    static NOW: Cell<usize> = const { Cell::new(0) };
    static MOST: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: all calls are passed to the system's allocator as they are; counting allocates nothing, since
// the counters have no destructor and are made at compile time.
#[expect(unsafe_code, reason = "an allocator is unsafe by its nature")]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let now = NOW.get().saturating_add(layout.size());
        NOW.set(now);
        MOST.set(MOST.get().max(now));
        // SAFETY: the caller's promises are those of the system's allocator.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        NOW.set(NOW.get().saturating_sub(layout.size()));
        // SAFETY: `place` came from `alloc` with the same layout.
        unsafe { System.dealloc(place, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const MIB: usize = 1 << 20;

/// The most that `work` had allocated at once on this thread, beyond what was there before.
fn most<T>(work: impl FnOnce() -> T) -> (T, usize) {
    let before = NOW.get();
    MOST.set(before);
    let done = work();
    (done, MOST.get() - before)
}

/// `count` empty arrays: three bytes each as text, and many more as a tree.
fn arrays(count: usize) -> Value {
    Value::Array(vec![Value::Array(Vec::new()); count])
}

#[test]
fn a_small_archive_that_unpacks_to_many_values_is_refused_before_they_are_built() {
    let folder = tempfile::tempdir().unwrap();
    let options = ArchiveOptions {
        compression: Compression::Compact,
        workers: 1,
        frame_bytes: 1 << 20,
        time: 0,
        layers: Layers::default(),
    };
    let disk = RealDisk::new();
    // In the header, and in the manifest.
    for (name, app, results) in
        [("header", arrays(1_000_000), json!({})), ("manifest", json!({}), arrays(1_000_000))]
    {
        let path = folder.path().join(name);
        let writer = ArchiveWriter::create(&*disk, &path, &options, json!({"app": app})).unwrap();
        writer.finish(|_| Ok(json!({"results": results}))).unwrap();
        assert!(std::fs::metadata(&path).unwrap().len() < 20_000);
        let (opened, most) = most(|| ArchiveFile::open(&*disk, &path, &Keys::none()).err());
        assert_eq!(opened.expect("it is refused").kind(), ErrorKind::Corrupt, "{name}");
        assert!(most < 12 * MIB, "{name}: {most} bytes");
    }
}

#[test]
fn a_history_of_many_values_is_refused_before_they_are_built() {
    let folder = tempfile::tempdir().unwrap();
    let text = format!("{{\"set\":[{}[]]}}", "[],".repeat(20_000_000));
    assert!(text.len() < 64 * MIB);
    std::fs::write(folder.path().join("backupHistory.json"), &text).unwrap();
    let (listed, most) = most(|| History::list(&*RealDisk::new(), folder.path(), "set"));
    assert_eq!(listed.unwrap_err().kind(), ErrorKind::Corrupt);
    assert!(most < text.len() + 12 * MIB, "{most} bytes");
}

#[test]
fn a_store_of_many_tables_is_archived_and_opened() {
    const NAMES: [&str; 4] = ["a", "b", "c", "d"];
    let folder = tempfile::tempdir().unwrap();
    let store = Store::create(folder.path().join("s")).unwrap();
    let names: Vec<String> = (0..2_000)
        .map(|n| format!("table {n} {}", NAMES[n % NAMES.len()].repeat(n % 50)))
        .collect();
    store
        .transact(|write| {
            for name in &names {
                let table: TableDef<u64, u64> = TableDef::new(Box::leak(name.clone().into()));
                write.table(table)?;
            }
            Ok(())
        })
        .unwrap();
    let report = store.backup(folder.path()).run().unwrap();
    let archive = stillpoint::Archive::open(&report.archive).unwrap();
    assert_eq!(archive.header().tables.len(), names.len());
}
