//! One backup under traffic: what others could do meanwhile, and the proof that it is right.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::thread::sleep;
use std::time::Duration;

use parking_lot::Mutex;
use stillpoint::{Archive, BackupReport, Error, ErrorKind, Progress, Stage, Store};

use super::contents::contents;
use super::history::{Comparison, State};
use super::narrator::Narrator;
use super::place::Place;
use super::report::Act;
use super::traffic::{Done, Ground, Tally, Traffic};
use crate::cli::backup::AccessName;
use crate::cli::exit::Outcome;
use crate::cli::show::human;
use crate::cli::show::thermometer::Reading;
use crate::cli::stop::Stop;

/// The demo slows its backups down to so many bytes a second, so that waiting can be seen.
const SLOW: u64 = 3 << 20;
/// How often something is looked at that is waited for.
const GLANCE: Duration = Duration::from_millis(2);
/// Writes before the backup is asked for.
const WARM: u64 = 25;

/// What every act needs.
pub(crate) struct Scene<'a> {
    pub(crate) ground: Arc<Ground>,
    pub(crate) place: &'a Place,
    pub(crate) narrator: Narrator,
    pub(crate) stop: &'a Stop,
}

/// What was seen from the backup's progress: written by its callback, read by the act.
struct Watch {
    tally: Arc<Tally>,
    narrator: Narrator,
    stop: Stop,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    /// The share of the copy that is done, once it has begun.
    copied: Option<f64>,
    quarters: u32,
    /// What had been done when the copy began, and when it was last seen going on.
    at_begin: Done,
    at_end: Done,
    over: bool,
}

impl Watch {
    /// Called by the backup. It must not touch the store, and does not.
    fn see(&self, progress: &Progress) -> ControlFlow<()> {
        let mut seen = self.seen.lock();
        if progress.stage == Stage::Copy {
            let done = self.tally.look();
            if seen.copied.is_none() {
                seen.at_begin = done;
            }
            seen.at_end = done;
            let share = progress.per_cent();
            seen.copied = Some(share);
            if share >= f64::from(seen.quarters) * 25.0 && progress.bytes_total > 0 {
                seen.quarters = (share / 25.0) as u32 + 1;
                self.narrator.say(&format!("     {}", Reading::of(progress).line()));
            }
        }
        self.stop.flow()
    }

    /// Waits until so many per cent are copied; false if the backup ended before.
    fn until_copied(&self, share: f64) -> bool {
        loop {
            let seen = self.seen.lock();
            if seen.copied.is_some_and(|copied| copied >= share) {
                return true;
            }
            if seen.over {
                return false;
            }
            drop(seen);
            sleep(GLANCE);
        }
    }
}

impl Scene<'_> {
    /// Makes a backup with `access` under traffic, restores it, and compares.
    pub(crate) fn perform(&self, access: AccessName) -> Outcome<Act> {
        let mut traffic = Traffic::begin(&self.ground);
        while traffic.tally.look().writes < WARM {
            self.stop.check("The demo's folder is removed.")?;
            traffic.check()?;
            sleep(GLANCE);
        }
        let acknowledged = self.ground.history.lock().last();
        let (report, seen, cancelled) = self.back_up(access, &traffic)?;
        let after = traffic.tally.look();
        traffic.end()?;
        let folder = self.place.path(&format!("restored-{}", AccessName::of(report.access)));
        Archive::open(&report.archive)?.restore(&folder).run()?;
        let found = contents(&Store::open(&folder)?)?;
        let act = Act {
            access: AccessName::of(report.access),
            reads: seen.at_end.reads - seen.at_begin.reads,
            longest_read: after.longest_read,
            writes: seen.at_end.writes - seen.at_begin.writes,
            waited: after.waited,
            longest_wait: after.longest_wait,
            cancelled,
            pin: report.pin,
            took: report.duration,
            archive: report.archive.clone(),
            archive_bytes: report.archive_bytes,
            lsn: report.lsn,
            acknowledged,
            restored: self.compare(report.lsn, &found)?,
            one_before: self.compare(report.lsn - 1, &found)?,
        };
        self.tell(&act);
        Ok(act)
    }

    /// The backup itself; what was seen of it; the code of the write that was cancelled meanwhile.
    fn back_up(
        &self,
        access: AccessName,
        traffic: &Traffic,
    ) -> Outcome<(BackupReport, Seen, Option<i32>)> {
        let watch = Arc::new(Watch {
            tally: traffic.tally.clone(),
            narrator: self.narrator,
            stop: self.stop.clone(),
            seen: Mutex::default(),
        });
        let watcher = watch.clone();
        let running = self
            .ground
            .store
            .backup(self.place.path("backups"))
            .access(access.access())
            .throttle(SLOW)
            .on_progress(move |progress| watcher.see(progress))
            .start()?;
        let cancelled = match access {
            AccessName::Live => None,
            _ => self.cancel_one(&watch)?,
        };
        let report = running.wait()?;
        let seen = std::mem::take(&mut *watch.seen.lock());
        Ok((report, seen, cancelled))
    }

    /// Asks for a write in the middle of the copy, says what it waits for, and cancels it from
    /// outside as a person would; the code that its caller was given.
    fn cancel_one(&self, watch: &Watch) -> Outcome<Option<i32>> {
        if !watch.until_copied(20.0) {
            return Ok(None);
        }
        let store = &self.ground.store;
        let ticket = store.request_write()?;
        let id = ticket.id();
        if let Some(backup) = ticket.waits_for() {
            self.narrator.say(&format!(
                "     a write asks to begin: it waits for backup {}, {:.0} % done; {} wait",
                backup.number,
                backup.per_cent,
                human::counted(store.pending_writes().len() as u64, "write"),
            ));
        }
        let waiter = std::thread::spawn(move || ticket.wait().map(drop));
        store.cancel_pending(id);
        let ended = waiter
            .join()
            .map_err(|_| Error::new(ErrorKind::OutcomeUnknown, "the waiting thread panicked"))?;
        let code = ended.err().map(|error| {
            self.narrator.say(&format!(
                "     another thread cancels it: error {}, {}",
                error.code(),
                error.message()
            ));
            error.code()
        });
        Ok(code)
    }

    /// Compares what was `found` with what the demo's own account says of the commit `lsn`.
    pub(crate) fn compare(&self, lsn: u64, found: &State) -> Outcome<Comparison> {
        let expected = self.ground.history.lock().at(lsn).map_err(|missing| {
            Error::new(
                ErrorKind::Corrupt,
                format!("nobody committed LSN {missing}, and the store says that it was"),
            )
        })?;
        Ok(Comparison::of(&expected, found))
    }

    fn tell(&self, act: &Act) {
        let verdict = if act.restored.is_equal() { "equals" } else { "DIFFERS FROM" };
        self.narrator.say(&format!(
            "     restored: {verdict} the store at LSN {}, {} compared one by one",
            human::count(act.lsn),
            human::counted(act.restored.same + act.restored.differences(), "record"),
        ));
    }
}
