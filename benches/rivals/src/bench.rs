//! What every group of rows works with: the options of the run, scratch folders, pinned threads.

use crate::data::{Data, Packing};
use std::path::Path;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The options of the run.
pub struct Bench {
    pub records: u64,
    /// How many rounds a row has.
    pub rounds: usize,
    /// How long a phase of writing lasts.
    pub phase: Duration,
    pub quick: bool,
}

impl Bench {
    pub fn data(&self) -> Data {
        Data { records: self.records, value_len: 150, packing: Packing::Random }
    }

    /// Rounds of what takes tens of seconds each.
    pub fn few_rounds(&self) -> usize {
        self.rounds.min(3)
    }
}

/// A folder for the files of one group, removed when it is dropped.
pub fn scratch() -> TempDir {
    tempfile::Builder::new().prefix("rivals").tempdir().unwrap()
}

pub fn timed<T>(work: impl FnOnce() -> T) -> (T, f64) {
    let start = Instant::now();
    let out = work();
    (out, start.elapsed().as_secs_f64())
}

/// Runs `work(thread)` on `count` threads, thread i on core i, all let go at once. Returns what they
/// return and how long it took until the last was done.
pub fn on_threads<T: Send>(count: usize, work: impl Fn(usize) -> T + Sync) -> (Vec<T>, f64) {
    let start = Barrier::new(count + 1);
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..count)
            .map(|thread| {
                let (start, work) = (&start, &work);
                scope.spawn(move || {
                    pin_to_core(thread);
                    start.wait();
                    work(thread)
                })
            })
            .collect();
        start.wait();
        timed(|| threads.into_iter().map(|thread| thread.join().unwrap()).collect())
    })
}

/// Pins the calling thread to one core, so that the kernel does not put two on the same one.
pub fn pin_to_core(core: usize) {
    let mut set = rustix::thread::CpuSet::new();
    set.set(core % cores());
    rustix::thread::sched_setaffinity(None, &set).expect("a thread may choose among its cores");
}

pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, |n| n.get())
}

/// Latencies of operations done until a deadline.
pub struct Latencies {
    /// Seconds, sorted.
    times: Vec<f64>,
    pub elapsed: f64,
}

impl Latencies {
    /// Repeats `work` until `limit` has passed.
    pub fn of(limit: Duration, work: impl FnMut()) -> Latencies {
        let start = Instant::now();
        Latencies::until(|| start.elapsed() >= limit, work)
    }

    /// Repeats `work` until `done()`.
    pub fn until(mut done: impl FnMut() -> bool, mut work: impl FnMut()) -> Latencies {
        let (start, mut times) = (Instant::now(), Vec::with_capacity(1 << 20));
        let mut last = start;
        while !done() {
            work();
            let now = Instant::now();
            times.push((now - last).as_secs_f64());
            last = now;
        }
        let elapsed = start.elapsed().as_secs_f64();
        times.sort_by(f64::total_cmp);
        Latencies { times, elapsed }
    }

    /// Those of all threads together.
    pub fn joined(all: Vec<Latencies>) -> Latencies {
        let elapsed = all.iter().map(|one| one.elapsed).fold(0.0, f64::max);
        let mut times: Vec<f64> = all.into_iter().flat_map(|one| one.times).collect();
        times.sort_by(f64::total_cmp);
        Latencies { times, elapsed }
    }

    pub fn rate(&self) -> f64 {
        self.times.len() as f64 / self.elapsed
    }

    /// The time that `part` (0 to 1) of all operations did not exceed.
    pub fn at(&self, part: f64) -> f64 {
        self.times[((self.times.len() - 1) as f64 * part) as usize]
    }

    pub fn longest(&self) -> f64 {
        self.at(1.0)
    }
}

/// Does `work` and returns with it the most anonymous resident memory of the process meanwhile,
/// sampled every 5 ms.
pub fn peak_memory<T>(work: impl FnOnce() -> T) -> (T, u64) {
    let (done, peak) = (AtomicBool::new(false), AtomicU64::new(0));
    let out = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                peak.fetch_max(anonymous_bytes(), Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        let out = work();
        done.store(true, Ordering::Relaxed);
        out
    });
    (out, peak.into_inner())
}

/// What the kernel counts as anonymous memory of this process that is in RAM.
fn anonymous_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    let kib = line.and_then(|rest| rest.trim().strip_suffix(" kB")).expect("a line of RssAnon");
    kib.parse::<u64>().expect("a number of KiB") * 1024
}
/// Bytes that the files in a folder take up on the disk.
pub fn disk_bytes(dir: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let mut bytes = 0;
    for entry in std::fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        let metadata = entry.metadata().unwrap();
        bytes +=
            if metadata.is_dir() { disk_bytes(&entry.path()) } else { metadata.blocks() * 512 };
    }
    bytes
}

/// Copies a file and syncs the copy: what no backup can be faster than.
pub fn copy_and_sync(from: &Path, to: &Path) {
    std::fs::copy(from, to).unwrap();
    std::fs::File::open(to).unwrap().sync_all().unwrap();
    std::fs::File::open(to.parent().unwrap()).unwrap().sync_all().unwrap();
}
