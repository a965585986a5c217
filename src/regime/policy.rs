//! What follows a backup that failed: a second attempt, an alert, the end of automatic backups.
//!
//! A pure state machine: it has no clock and touches no file. It is told how attempts ended and
//! answers what is to happen; the keeper does it. `docs/backup.md` has its table, and the tests
//! below walk it row by row.
//!
//! Invariants: what somebody decided (Stop, a hook's refusal, the caller's own mistake) is never
//! tried again and counts as no failure; a backup gets one second attempt and never a third of its
//! own; once suspended, nothing runs by itself until a manual backup succeeds or the store is opened
//! anew.

use std::time::Duration;

use super::journal::Origin;
use crate::error::{Error, ErrorKind, code};

/// What the settings say of failures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rules {
    /// A scheduled backup that failed is tried again at the next date only.
    pub(crate) retry_at_next_date: bool,
    /// Otherwise: how long after the failure.
    pub(crate) retry_after: Duration,
    /// After so many failed attempts in a row automatic backups are suspended.
    pub(crate) give_up_after: Option<u32>,
}

/// What kind of end an attempt had, as far as the next one is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// There is an archive, complete or partial.
    Done,
    /// Somebody decided that there shall be none. Nothing follows.
    Declined,
    /// The source itself is damaged: again would be the same, and a person has to know at once.
    Hopeless,
    /// It was impossible now, and may be possible later.
    Impossible,
}

impl Ending {
    /// How an attempt ended that failed with `error`.
    pub(crate) fn of(error: &Error) -> Ending {
        match error.code() {
            code::STOPPED
            | code::OWN_TRANSACTION
            | code::SECOND_BACKUP
            | code::FROM_CALLBACK
            | code::HOOK => Ending::Declined,
            code::SOURCE_CORRUPT => Ending::Hopeless,
            _ => match error.kind() {
                ErrorKind::Refused | ErrorKind::Stopped | ErrorKind::Closed => Ending::Declined,
                _ => Ending::Impossible,
            },
        }
    }
}

/// An attempt that ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Attempt {
    /// Who asked for it.
    pub(crate) origin: Origin,
    /// Whether it was the second attempt after a failure.
    pub(crate) second: bool,
    /// How it ended.
    pub(crate) ending: Ending,
}

/// What is to happen now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// A second attempt, so long from now.
    pub(crate) again_after: Option<Duration>,
    /// A person has to know.
    pub(crate) alert: bool,
    /// From now on nothing runs by itself (1401).
    pub(crate) suspend: bool,
    /// What was suspended runs by itself again.
    pub(crate) resume: bool,
}

/// What is remembered from one attempt to the next, while the store is open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Policy {
    failed_in_a_row: u32,
    suspended: bool,
}

impl Policy {
    /// Whether automatic backups are suspended.
    pub(crate) fn suspended(&self) -> bool {
        self.suspended
    }

    /// Failed attempts since the last that succeeded.
    pub(crate) fn failed_in_a_row(&self) -> u32 {
        self.failed_in_a_row
    }

    /// A run of the schedule was missed because the store was not open: a failed first attempt.
    pub(crate) fn missed(&mut self, rules: &Rules) -> Verdict {
        let (origin, ending) = (Origin::Scheduled, Ending::Impossible);
        self.ended(rules, Attempt { origin, second: false, ending })
    }

    /// An attempt ended.
    pub(crate) fn ended(&mut self, rules: &Rules, attempt: Attempt) -> Verdict {
        match attempt.ending {
            Ending::Done => {
                // While suspended, only a person or the application can have made it.
                let resume = std::mem::take(self).suspended;
                Verdict { resume, ..Verdict::default() }
            }
            Ending::Declined => Verdict::default(),
            Ending::Hopeless | Ending::Impossible => self.failed(rules, attempt),
        }
    }

    fn failed(&mut self, rules: &Rules, attempt: Attempt) -> Verdict {
        self.failed_in_a_row = self.failed_in_a_row.saturating_add(1);
        let hopeless = attempt.ending == Ending::Hopeless;
        let spent = rules.give_up_after.is_some_and(|most| self.failed_in_a_row >= most.max(1));
        let suspend = spent && !self.suspended;
        self.suspended |= spent;
        // A backup that a person asked for has no next date to wait for.
        let may_wait = !rules.retry_at_next_date && !attempt.second && !hopeless;
        Verdict {
            again_after: (may_wait && !self.suspended).then_some(rules.retry_after),
            alert: hopeless || self.failed_in_a_row >= 2,
            suspend,
            resume: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAIT: Duration = Duration::from_secs(300);
    const LATER: Rules =
        Rules { retry_at_next_date: false, retry_after: WAIT, give_up_after: None };
    const NEXT_DATE: Rules = Rules { retry_at_next_date: true, ..LATER };

    fn attempt(origin: Origin, second: bool, ending: Ending) -> Attempt {
        Attempt { origin, second, ending }
    }

    fn first(ending: Ending) -> Attempt {
        attempt(Origin::Scheduled, false, ending)
    }

    fn second(ending: Ending) -> Attempt {
        attempt(Origin::Scheduled, true, ending)
    }

    const NOTHING: Verdict =
        Verdict { again_after: None, alert: false, suspend: false, resume: false };
    const ALERT: Verdict = Verdict { alert: true, ..NOTHING };
    const AGAIN: Verdict = Verdict { again_after: Some(WAIT), ..NOTHING };

    #[test]
    fn a_first_failure_gets_a_second_attempt_and_the_second_an_alert() {
        for origin in [Origin::Scheduled, Origin::Manual, Origin::Command] {
            let mut policy = Policy::default();
            let failed = |second| attempt(origin, second, Ending::Impossible);
            assert_eq!(policy.ended(&LATER, failed(false)), AGAIN);
            assert_eq!(policy.ended(&LATER, failed(true)), ALERT, "and no third");
            assert!(!policy.suspended());
        }
    }

    #[test]
    fn at_the_next_date_means_no_attempt_before_it_and_an_alert_when_that_fails_too() {
        let mut policy = Policy::default();
        assert_eq!(policy.ended(&NEXT_DATE, first(Ending::Impossible)), NOTHING);
        assert_eq!(policy.ended(&NEXT_DATE, first(Ending::Impossible)), ALERT);
    }

    #[test]
    fn success_forgets_what_failed_before() {
        let mut policy = Policy::default();
        assert_eq!(policy.ended(&LATER, first(Ending::Impossible)), AGAIN);
        assert_eq!(policy.ended(&LATER, second(Ending::Done)), NOTHING);
        assert_eq!(policy.ended(&LATER, first(Ending::Impossible)), AGAIN);
        assert_eq!(policy.failed_in_a_row(), 1);
    }

    #[test]
    fn what_somebody_decided_is_not_tried_again_and_counts_as_no_failure() {
        let rules = Rules { give_up_after: Some(1), ..LATER };
        let mut policy = Policy::default();
        assert_eq!(policy.ended(&rules, first(Ending::Declined)), NOTHING);
        assert_eq!(policy, Policy::default());
    }

    #[test]
    fn a_damaged_source_is_told_at_once_and_not_tried_again() {
        let mut policy = Policy::default();
        assert_eq!(policy.ended(&LATER, first(Ending::Hopeless)), ALERT);
        assert_eq!(policy.failed_in_a_row(), 1);
    }

    #[test]
    fn after_so_many_failed_attempts_nothing_runs_by_itself_until_a_success() {
        let rules = Rules { give_up_after: Some(3), ..LATER };
        let mut policy = Policy::default();
        assert_eq!(policy.ended(&rules, first(Ending::Impossible)), AGAIN);
        assert_eq!(policy.ended(&rules, second(Ending::Impossible)), ALERT);
        let told = policy.ended(&rules, first(Ending::Impossible));
        assert_eq!(told, Verdict { suspend: true, ..ALERT }, "no second attempt any more");
        assert!(policy.suspended());
        let manual = policy.ended(&rules, attempt(Origin::Manual, false, Ending::Impossible));
        assert_eq!(manual, ALERT, "it is told once that backups are suspended");
        let done = policy.ended(&rules, attempt(Origin::Manual, false, Ending::Done));
        assert_eq!(done, Verdict { resume: true, ..NOTHING });
        assert!(!policy.suspended());
        assert_eq!(policy.ended(&rules, first(Ending::Done)), NOTHING, "it is told once");
    }

    #[test]
    fn a_missed_run_is_a_failed_first_attempt() {
        let mut policy = Policy::default();
        assert_eq!(policy.missed(&LATER), AGAIN);
        assert_eq!(policy.ended(&LATER, second(Ending::Impossible)), ALERT);
        let mut policy = Policy::default();
        assert_eq!(policy.missed(&NEXT_DATE), NOTHING);
        let rules = Rules { give_up_after: Some(1), ..NEXT_DATE };
        assert!(Policy::default().missed(&rules).suspend);
    }

    #[test]
    fn each_code_has_the_ending_that_the_table_gives_it() {
        let error = |kind, code| Error::new(kind, "").with_code(code);
        let failed = |code| error(ErrorKind::BackupFailed, code);
        for (error, ending) in [
            (error(ErrorKind::Stopped, code::STOPPED), Ending::Declined),
            (error(ErrorKind::Refused, -3), Ending::Declined),
            (error(ErrorKind::Refused, code::COPY), Ending::Declined),
            (error(ErrorKind::Invalid, code::OWN_TRANSACTION), Ending::Declined),
            (error(ErrorKind::Busy, code::SECOND_BACKUP), Ending::Declined),
            (error(ErrorKind::Invalid, code::FROM_CALLBACK), Ending::Declined),
            (failed(code::HOOK), Ending::Declined),
            (error(ErrorKind::Corrupt, code::SOURCE_CORRUPT), Ending::Hopeless),
            (error(ErrorKind::Timeout, code::TRANSACTION_TIMEOUT), Ending::Impossible),
            (failed(code::DESTINATION), Ending::Impossible),
            (error(ErrorKind::StorageFull, code::COPY), Ending::Impossible),
            (failed(code::CHECK), Ending::Impossible),
            (failed(code::PARTICIPANT), Ending::Impossible),
            (error(ErrorKind::Busy, code::INTEGRATION_RUNNING), Ending::Impossible),
        ] {
            assert_eq!(Ending::of(&error), ending, "{error}");
        }
    }
}
