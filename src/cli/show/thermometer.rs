//! The thermometer: stage, bytes done and in all, rate, time left, writers waiting.
//!
//! What it shows is a pure function of a [`Reading`], so that the demo can print the same line that
//! a terminal sees. On a terminal the line is redrawn in place; where the standard error is no
//! terminal, or a program reads the output, nothing is drawn.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::{human, plain};

/// What the thermometer shows at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Reading {
    /// What is being done, in a word or two.
    pub(crate) stage: String,
    /// Bytes done in this stage.
    pub(crate) done: u64,
    /// Bytes in all, where known.
    pub(crate) total: Option<u64>,
    /// Bytes a second, where known.
    pub(crate) rate: Option<u64>,
    /// Estimated time to the end.
    pub(crate) left: Option<Duration>,
    /// Writes that wait, for an operation that may keep them waiting.
    pub(crate) waiting: Option<u64>,
}

impl Reading {
    /// The share that is done, between 0 and 1; `None` while the whole is not known.
    fn share(&self) -> Option<f64> {
        match self.total {
            None => None,
            Some(0) => Some(1.0),
            Some(total) => Some((self.done as f64 / total as f64).min(1.0)),
        }
    }

    /// One line for a person. What matters least comes last: a narrow terminal cuts it off.
    pub(crate) fn line(&self) -> String {
        let mut parts = vec![plain::line(&self.stage).into_owned()];
        if let (Some(share), Some(total)) = (self.share(), self.total) {
            parts.push(format!("[{}] {:>3} %", bar(share), (share * 100.0).floor()));
            parts.push(format!("{} of {}", human::bytes(self.done), human::bytes(total)));
        }
        if let Some(left) = self.left.filter(|left| !left.is_zero()) {
            parts.push(format!("{} left", human::duration(left)));
        }
        if let Some(waiting) = self.waiting {
            let verb = if waiting == 1 { "waits" } else { "wait" };
            parts.push(format!("{} {verb}", human::counted(waiting, "write")));
        }
        if let Some(rate) = self.rate {
            parts.push(format!("{}/s", human::bytes(rate)));
        }
        parts.join("  ")
    }
}

/// Sixteen cells, in eighths.
fn bar(share: f64) -> String {
    const CELLS: usize = 16;
    const PARTS: [char; 8] = [' ', '▏', '▎', '▍', '▌', '▋', '▊', '▉'];
    let eighths = (share.clamp(0.0, 1.0) * (CELLS * 8) as f64).floor() as usize;
    let mut text = "█".repeat(eighths / 8);
    if eighths < CELLS * 8 {
        text.push(PARTS[eighths % 8]);
    }
    text.extend(std::iter::repeat_n(' ', CELLS - text.chars().count()));
    text
}

/// The thermometer on the terminal.
pub(crate) struct Thermometer {
    bar: ProgressBar,
    began: Instant,
}

impl Thermometer {
    /// A thermometer on the standard error, or none if `hidden` or if that is no terminal.
    pub(crate) fn new(hidden: bool) -> Thermometer {
        let target = match hidden {
            true => ProgressDrawTarget::hidden(),
            false => ProgressDrawTarget::stderr_with_hz(10),
        };
        let bar = ProgressBar::with_draw_target(None, target);
        bar.set_style(
            ProgressStyle::with_template("{wide_msg}").unwrap_or(ProgressStyle::default_bar()),
        );
        Thermometer { bar, began: Instant::now() }
    }

    /// Shows `reading`. Cheap enough to be called for every step.
    pub(crate) fn show(&self, reading: &Reading) {
        if !self.bar.is_hidden() {
            self.bar.set_message(reading.line());
            self.bar.tick();
        }
    }

    /// Shows `done` of `total` bytes of an operation whose rate is reckoned from its beginning.
    pub(crate) fn show_bytes(&self, stage: &str, done: u64, total: u64) {
        let spent = self.began.elapsed().as_secs_f64();
        let rate = if spent > 0.0 { done as f64 / spent } else { 0.0 };
        let left = total.saturating_sub(done) as f64 / rate;
        self.show(&Reading {
            stage: stage.to_owned(),
            done,
            total: Some(total),
            rate: Some(rate as u64),
            left: Duration::try_from_secs_f64(left).ok(),
            waiting: None,
        });
    }
}

impl Drop for Thermometer {
    /// The line goes when the operation ends: the result that follows says more.
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_has_stage_bytes_time_left_writes_and_rate() {
        let reading = Reading {
            stage: "copy".to_owned(),
            done: 34 << 20,
            total: Some(64 << 20),
            rate: Some(10 << 20),
            left: Some(Duration::from_secs(3)),
            waiting: Some(2),
        };
        assert_eq!(
            reading.line(),
            "copy  [████████▌       ]  53 %  34.0 MiB of 64.0 MiB  3.00 s left  2 writes wait  \
             10.0 MiB/s"
        );
    }

    #[test]
    fn what_is_not_known_is_not_shown() {
        let reading = Reading { stage: "pin".to_owned(), ..Reading::default() };
        assert_eq!(reading.line(), "pin");
    }

    #[test]
    fn the_bar_is_equally_wide_at_any_share() {
        for share in [0.0, 0.001, 0.5, 0.999, 1.0, 7.0] {
            assert_eq!(bar(share).chars().count(), 16, "{share}");
        }
        assert_eq!(bar(1.0), "█".repeat(16));
    }

    #[test]
    fn an_operation_over_nothing_is_complete() {
        let reading = Reading { total: Some(0), ..Reading::default() };
        assert!(reading.line().contains("100 %"));
    }
}
