//! The Stop button: Ctrl-C, and the polite signals of a service manager (TERM, HUP).
//!
//! The first press asks: the command ends at its next step, takes back what it had begun, and exits
//! with the code for *stopped*. A second press ends the process at once, for the case that a step
//! hangs; what is left behind then is what a crash would leave, and the next run deals with it.
//! `timeout` sends its signal to the command and to its group, so one press may come twice: what
//! comes within [`BOUNCE`] of the first is the same press.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::{SigSet, Signal};
use stillpoint::{Error, ErrorKind};

use super::exit::{Failure, Outcome};

/// Nobody presses twice on purpose within this time.
const BOUNCE: Duration = Duration::from_millis(300);

/// Whether the user asked to stop. Cheap to clone, and to ask.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Connects the signals of this process to a new button. Once for each process, before it has other
    /// threads: they take over what is blocked here.
    pub(crate) fn at_signals() -> Outcome<Stop> {
        // A write beyond the limit on file sizes (`ulimit -f`) then fails, and is taken back, where it would
        // end the process and leave what it had begun.
        let mut limits = SigSet::empty();
        limits.add(Signal::SIGXFSZ);
        limits.thread_block().map_err(|cause| {
            Error::new(ErrorKind::Io, "cannot block the signal of a limit").because(cause)
        })?;
        let stop = Stop::default();
        let pressed = stop.clone();
        let mut first = None;
        ctrlc::set_handler(move || {
            pressed.0.store(true, Ordering::Release);
            if is_second(&mut first, Instant::now()) {
                std::process::exit(130);
            }
        })
        .map_err(|cause| Error::new(ErrorKind::Io, "cannot listen for Ctrl-C").because(cause))?;
        Ok(stop)
    }

    /// A button that somebody pressed before the command began.
    #[cfg(test)]
    pub(crate) fn pressed_already() -> Stop {
        Stop(Arc::new(AtomicBool::new(true)))
    }

    /// Fails if it was pressed; `left` says what state things are in then.
    pub(crate) fn check(&self, left: &str) -> Outcome {
        if self.pressed() { Err(Failure::stopped(left)) } else { Ok(()) }
    }

    /// The answer of a callback that may stop what calls it.
    pub(crate) fn flow(&self) -> ControlFlow<()> {
        if self.pressed() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    /// The button itself, for what looks at it by itself: true once it was pressed.
    pub(crate) fn button(&self) -> Arc<AtomicBool> {
        self.0.clone()
    }

    /// Whether it was pressed.
    pub(crate) fn pressed(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// Whether a press at `now` is a second one, after the `first`.
fn is_second(first: &mut Option<Instant>, now: Instant) -> bool {
    now.saturating_duration_since(*first.get_or_insert(now)) >= BOUNCE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_that_comes_twice_at_once_is_one_press() {
        let (mut first, begin) = (None, Instant::now());
        assert!(!is_second(&mut first, begin));
        assert!(!is_second(&mut first, begin));
        assert!(!is_second(&mut first, begin + BOUNCE / 2));
        assert!(is_second(&mut first, begin + BOUNCE));
    }
}
