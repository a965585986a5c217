//! A bound on the speed of a backup, so that it leaves the disk to others.

use std::time::Duration;

/// Spreads bytes over time. Debts are paid by sleeping in short pieces, so that Stop is seen.
pub(super) struct Throttle {
    bytes_per_second: Option<u64>,
    began: Duration,
    bytes: u64,
}

/// The longest sleep at once.
const NAP: Duration = Duration::from_millis(20);

impl Throttle {
    pub(super) fn new(bytes_per_second: Option<u64>, now: Duration) -> Throttle {
        Throttle {
            bytes_per_second: bytes_per_second.filter(|rate| *rate > 0),
            began: now,
            bytes: 0,
        }
    }

    /// Notes that `bytes` were moved.
    pub(super) fn moved(&mut self, bytes: u64) {
        self.bytes += bytes;
    }

    /// How long to sleep at `now` before moving on; `None` when there is no debt.
    pub(super) fn nap(&self, now: Duration) -> Option<Duration> {
        let rate = self.bytes_per_second?;
        let due = self.began + Duration::from_secs_f64(self.bytes as f64 / rate as f64);
        let left = due.checked_sub(now).filter(|left| !left.is_zero())?;
        Some(left.min(NAP))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_spread_over_the_time_that_the_rate_gives_them() {
        let mut throttle = Throttle::new(Some(1000), Duration::from_secs(5));
        throttle.moved(500);
        assert_eq!(throttle.nap(Duration::from_secs(5)), Some(NAP));
        let nearly = Duration::from_millis(5495);
        assert_eq!(throttle.nap(nearly), Some(Duration::from_millis(5)));
        assert_eq!(throttle.nap(Duration::from_millis(5500)), None);
        assert_eq!(Throttle::new(None, Duration::ZERO).nap(Duration::ZERO), None);
    }
}
