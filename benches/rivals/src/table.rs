//! Tables as the documents show them, and the medians that go into them.

use std::time::{Duration, Instant};

/// A table in Markdown.
pub struct Table {
    title: String,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub fn new(title: &str, head: &[&str]) -> Table {
        Table { title: title.into(), rows: vec![head.iter().map(|s| (*s).to_owned()).collect()] }
    }

    pub fn row(&mut self, cells: Vec<String>) {
        eprintln!("  {}", cells.join(" | "));
        self.rows.push(cells);
    }

    pub fn print(&self) {
        println!("\n### {}\n", self.title);
        for (i, row) in self.rows.iter().enumerate() {
            println!("| {} |", row.join(" | "));
            if i == 0 {
                println!("|{}", "---|".repeat(row.len()));
            }
        }
    }
}

pub fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Percentile `p` (0 to 1) of unsorted times.
pub fn percentile(times: &mut [Duration], p: f64) -> Duration {
    times.sort();
    times[((times.len() - 1) as f64 * p) as usize]
}

pub fn timed<T>(work: impl FnOnce() -> T) -> (T, f64) {
    let start = Instant::now();
    let out = work();
    (out, start.elapsed().as_secs_f64())
}

/// Pins the calling thread to one core, so that this kernel does not put two on the same one.
pub fn pin_to_core(core: usize) {
    let mut set = rustix::thread::CpuSet::new();
    set.set(core % cores());
    let _best_effort = rustix::thread::sched_setaffinity(None, &set);
}

pub fn unpin() {
    let mut set = rustix::thread::CpuSet::new();
    for core in 0..cores() {
        set.set(core);
    }
    let _best_effort = rustix::thread::sched_setaffinity(None, &set);
}

pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, |n| n.get()).max(2)
}

pub fn per_second(n: f64) -> String {
    match n {
        n if n >= 1e6 => format!("{:.2} M/s", n / 1e6),
        n if n >= 1e3 => format!("{:.1} k/s", n / 1e3),
        n => format!("{n:.1} /s"),
    }
}

pub fn micros(t: Duration) -> String {
    format!("{:.1} us", t.as_secs_f64() * 1e6)
}
