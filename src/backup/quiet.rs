//! How a backup keeps others waiting, and lets them go on.
//!
//! Invariants: whatever is held here is known to the handle, so that Stop lets go of it at once; a hold
//! ends with its value, on every way out; a store of a group does not keep its hold while another waits
//! for its own for long.

use std::time::Duration;

use super::handle::stopped_by_closing;
use super::run::Run;
use super::together::Seat;
use crate::error::{ErrorKind, Result, code};
use crate::lock::{Access, AtLimit, Granule, Hold, HoldRequest, HoldState, Mode, roots};
use crate::store::StoreEvent;

use super::progress::Stage;

/// How long a store of a group waits for open handles in its shortest tries.
const SHORT_PATIENCE: Duration = Duration::from_millis(50);

/// How soon a store of a group that lets others go on looks at Stop again.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// What is known of the hold once it has ended, or so far.
#[derive(Clone, Copy, Default)]
pub(super) struct Held {
    pub(super) time: Duration,
    pub(super) longest_wait: Duration,
    pub(super) went_live: bool,
}

impl Run<'_> {
    /// The participants get ready, and so does what encryption needs, while nobody is held yet.
    pub(super) fn prepare(&mut self) -> Result<()> {
        let (shared, options) = (self.shared, &self.backup.options);
        if let Some(recipients) = &options.layers.recipients {
            recipients.prepare(1 + usize::from(options.contents.data && options.log_archive))?;
        }
        let check = || shared.check_stop();
        if !self.backup.participants.is_empty() {
            let own = [self.backup.inner.locks.clone()];
            let locks = self.seat.as_ref().map_or(&own[..], Seat::locks);
            self.crew.muster(&self.backup.participants, locks, self.place.number())?;
            *shared.crew.lock() = self.crew.lines();
            self.crew.prepare(&check)?;
        }
        self.seat.as_ref().map_or(Ok(()), |seat| seat.vote(true, &check).map(drop))
    }

    /// Stage 3: the locks of the access table; none for `Live`.
    pub(super) fn quiesce(&self) -> Result<Option<Hold>> {
        let options = &self.backup.options;
        let wanted = roots(options.contents, options.access);
        if !wanted.is_empty() {
            self.enter(Stage::Quiesce, 0)?;
        }
        let Some(seat) = &self.seat else {
            return self.hold(&wanted, options.transaction_timeout);
        };
        let began = self.shared.now();
        let mut number = 0;
        loop {
            number += 1;
            let patience = SHORT_PATIENCE * luby(number);
            let passed = self.shared.now().saturating_sub(began);
            let left = options.transaction_timeout.saturating_sub(passed);
            let hold = match self.hold(&wanted, patience.min(left)) {
                Ok(hold) => Ok(hold),
                Err(e) if e.code() == code::TRANSACTION_TIMEOUT && patience < left => Err(e),
                Err(error) => return Err(error),
            };
            let check = || self.check(hold.as_ref().ok().and_then(Option::as_ref));
            if seat.vote(hold.is_ok(), &check)? {
                return hold;
            }
            // Who waits for this store with a handle of another may finish now, and has as long for
            // it as it was kept waiting.
            *self.shared.hold.lock() = None;
            drop(hold);
            self.rest(patience)?;
        }
    }

    /// Lets others go on for so long.
    fn rest(&self, time: Duration) -> Result<()> {
        let until = self.shared.now().saturating_add(time);
        while self.shared.now() < until {
            self.shared.check_stop()?;
            std::thread::sleep(LOOK_AGAIN);
        }
        Ok(())
    }

    /// Holds `wanted`, if that is anything, in the way of Stop.
    fn hold(&self, wanted: &[(Granule, Mode)], timeout: Duration) -> Result<Option<Hold>> {
        let options = &self.backup.options;
        self.hold_as(wanted, |request| HoldRequest {
            transaction_timeout: timeout,
            limit: options.hold_limit,
            at_limit: options.at_limit,
            stall_limit: options.stall_limit,
            ..request
        })
    }

    fn hold_as(
        &self,
        wanted: &[(Granule, Mode)],
        terms: impl FnOnce(HoldRequest) -> HoldRequest,
    ) -> Result<Option<Hold>> {
        if wanted.is_empty() {
            return Ok(None);
        }
        let request = HoldRequest::backup(wanted.to_vec(), self.place.number());
        let request = HoldRequest {
            stop: self.shared.stop.clone(),
            waited_by: self.shared.waited_by.clone(),
            ..terms(request)
        };
        let hold = self.backup.inner.locks.hold(request).map_err(|error| match error.kind() {
            ErrorKind::Closed => stopped_by_closing(),
            _ => error,
        })?;
        *self.shared.hold.lock() = Some(hold.token());
        // Stop may have come between the grant and the line above.
        self.shared.check_stop()?;
        Ok(Some(hold))
    }

    /// Whether the backup may go on.
    pub(super) fn check(&self, hold: Option<&Hold>) -> Result<()> {
        self.shared.check_stop()?;
        hold.map_or(Ok(()), Hold::check)
    }

    /// Stage 6. A later failure is the backup's alone.
    pub(super) fn release(&self, hold: Option<Hold>, held_from: Duration) -> Held {
        *self.shared.hold.lock() = None;
        let Some(hold) = hold else { return Held::default() };
        let went_live = matches!(hold.state(), HoldState::Expired { .. });
        let longest_wait = hold.longest_wait();
        hold.release();
        let number = self.place.number();
        self.backup.inner.events.tell(|| StoreEvent::BackupReleased { number });
        Held { time: self.shared.now().saturating_sub(held_from), longest_wait, went_live }
    }

    /// With `Live`, where that was asked for: others wait while attachments are copied. The hold, and
    /// since when.
    pub(super) fn hold_for_attachments(&self, any: bool) -> Result<Option<(Hold, Duration)>> {
        let options = &self.backup.options;
        let limit = options.hold_for_attachments.filter(|_| any && options.access == Access::Live);
        let Some(limit) = limit else { return Ok(None) };
        let wanted = roots(options.contents, Access::ReadOnly);
        let since = self.shared.now();
        let hold = self.hold_as(&wanted, |request| HoldRequest {
            transaction_timeout: options.transaction_timeout,
            limit: Some(limit),
            at_limit: AtLimit::ContinueLive,
            stall_limit: options.stall_limit,
            ..request
        })?;
        Ok(hold.map(|hold| (hold, since)))
    }
}

/// How many times the shortest patience the try `number` (from 1) has: 1 1 2 1 1 2 4 1 1 2 1 1 2 4 8 and
/// so on, the sequence of Luby, Sinclair and Zuckerman. Nobody knows whether the next moment is a good
/// one or a handle needs long to end; with this many tries are short and long ones come too.
fn luby(mut number: u32) -> u32 {
    loop {
        let above = (number + 1).next_power_of_two();
        if above == number + 1 {
            return above / 2;
        }
        number -= above / 2 - 1;
    }
}

#[cfg(test)]
mod tests {
    use super::luby;

    #[test]
    fn most_tries_are_short_and_long_ones_come_too() {
        let tries: Vec<u32> = (1..=15).map(luby).collect();
        assert_eq!(tries, [1, 1, 2, 1, 1, 2, 4, 1, 1, 2, 1, 1, 2, 4, 8]);
    }
}
