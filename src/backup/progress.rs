//! How far a backup is: the thermometer.
//!
//! One cell per backup, written by the copier and read by anyone at any time, without waiting.
//! Bytes done never go back and never exceed bytes in all.

use std::fmt;
use std::time::Duration;

use parking_lot::Mutex;

/// What a backup is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// Asking the application's startup hook.
    StartupHook,
    /// Looking at destination, space and names.
    Preflight,
    /// Waiting for the open write handles of others.
    Quiesce,
    /// Pinning one commit, and waiting until its checkpoint is durable.
    Pin,
    /// Copying.
    Copy,
    /// Reading back what is on the medium.
    Verify,
    /// Archiving the log since the last backup, and reading it back.
    Log,
    /// Giving the archive its name.
    Seal,
    /// Done, well or not.
    Done,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Stage::Preflight => "checking the destination",
            Stage::StartupHook => "asking the startup hook",
            Stage::Quiesce => "waiting for open transactions",
            Stage::Pin => "pinning one commit",
            Stage::Copy => "copying",
            Stage::Verify => "verifying",
            Stage::Log => "archiving the log",
            Stage::Seal => "sealing",
            Stage::Done => "done",
        })
    }
}

/// How far a backup is, at one instant.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Progress {
    /// Number of the backup; `None` until its preflight has looked into the destination.
    pub number: Option<u32>,
    /// What it is doing.
    pub stage: Stage,
    /// Bytes of the source copied, or of the archive verified, in this stage.
    pub bytes_done: u64,
    /// Bytes of this stage in all; 0 where they are not known yet.
    pub bytes_total: u64,
    /// Time since the backup began.
    pub elapsed: Duration,
    /// Bytes a second in this stage; 0 where nothing was moved yet.
    pub bytes_per_second: u64,
    /// Time that this stage will still take at that rate, where it can be told.
    pub time_left: Option<Duration>,
    /// Writes that wait for this backup.
    pub writers_waiting: usize,
}

impl Progress {
    /// Share of this stage that is done, in per cent.
    pub fn per_cent(&self) -> f64 {
        match (self.stage, self.bytes_total) {
            (Stage::Done, _) => 100.0,
            (_, 0) => 0.0,
            (_, total) => self.bytes_done as f64 * 100.0 / total as f64,
        }
    }
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const WIDTH: usize = 20;
        let filled = (self.per_cent() / 100.0 * WIDTH as f64) as usize;
        let (full, rest) = ("#".repeat(filled.min(WIDTH)), "-".repeat(WIDTH - filled.min(WIDTH)));
        write!(f, "[{full}{rest}] {:3.0} % {}", self.per_cent(), self.stage)?;
        if self.bytes_total > 0 {
            let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
            write!(f, ", {:.1} of {:.1} MiB", mib(self.bytes_done), mib(self.bytes_total))?;
        }
        if let Some(left) = self.time_left {
            write!(f, ", {:.1} s left", left.as_secs_f64())?;
        }
        if self.writers_waiting > 0 {
            write!(f, ", {} writes waiting", self.writers_waiting)?;
        }
        Ok(())
    }
}

/// The cell that the copier writes.
pub(super) struct ProgressCell {
    state: Mutex<State>,
}

struct State {
    stage: Stage,
    stage_began: Duration,
    done: u64,
    total: u64,
}

impl ProgressCell {
    pub(super) fn new(now: Duration) -> ProgressCell {
        let stage = Stage::StartupHook;
        ProgressCell { state: Mutex::new(State { stage, stage_began: now, done: 0, total: 0 }) }
    }

    pub(super) fn enter(&self, stage: Stage, total: u64, now: Duration) {
        *self.state.lock() = State { stage, stage_began: now, done: 0, total };
    }

    pub(super) fn add(&self, bytes: u64) {
        let mut state = self.state.lock();
        state.done = (state.done + bytes).min(state.total);
    }

    pub(super) fn set(&self, done: u64) {
        let mut state = self.state.lock();
        state.done = done.clamp(state.done, state.total);
    }

    /// What is known at `now`, of a backup that began at `began`.
    pub(super) fn at(
        &self,
        number: Option<u32>,
        began: Duration,
        now: Duration,
        waiting: usize,
    ) -> Progress {
        let state = self.state.lock();
        let spent = now.saturating_sub(state.stage_began).as_secs_f64();
        let rate = if spent > 0.0 { state.done as f64 / spent } else { 0.0 };
        let left = state.total.saturating_sub(state.done) as f64;
        let time_left = (rate > 0.0).then(|| Duration::from_secs_f64(left / rate));
        Progress {
            number,
            stage: state.stage,
            bytes_done: state.done,
            bytes_total: state.total,
            elapsed: now.saturating_sub(began),
            bytes_per_second: rate as u64,
            time_left,
            writers_waiting: waiting,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_never_goes_back_and_never_passes_its_end() {
        let cell = ProgressCell::new(Duration::ZERO);
        cell.enter(Stage::Copy, 100, Duration::from_secs(1));
        cell.add(40);
        cell.set(30);
        let now = Duration::from_secs(3);
        let progress = cell.at(Some(7), Duration::ZERO, now, 2);
        assert_eq!((progress.bytes_done, progress.bytes_per_second), (40, 20));
        assert_eq!(progress.time_left, Some(Duration::from_secs(3)));
        cell.add(500);
        assert_eq!(cell.at(Some(7), Duration::ZERO, now, 0).bytes_done, 100);
    }

    #[test]
    fn the_thermometer_shows_stage_bytes_and_waiting_writes() {
        let cell = ProgressCell::new(Duration::ZERO);
        cell.enter(Stage::Copy, 2 << 20, Duration::ZERO);
        cell.add(1 << 20);
        let shown = cell.at(Some(1), Duration::ZERO, Duration::from_secs(1), 3).to_string();
        assert_eq!(
            shown,
            "[##########----------]  50 % copying, 1.0 of 2.0 MiB, 1.0 s left, 3 writes waiting"
        );
    }
}
