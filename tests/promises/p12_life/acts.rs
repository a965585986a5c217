//! What happens in a life.

use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use stillpoint::disk::{Call, Disk, Fault, FaultPlan, Survival};
use stillpoint::regime::RegimeEvent;
use stillpoint::{Compression, Durability, Lsn, RestorePoint, Rollback, code};

use super::life::{DIR, Life};
use super::promises::{is_as_covered, ruin};
use super::shelf::Shelf;

impl Life {
    /// One thing happens.
    pub(super) fn act(&mut self) {
        match self.random.below(52) {
            0..12 => self.commits(),
            12..18 => self.backs_up(),
            18..22 => self.time_passes(),
            22 => drop(self.store().checkpoint().unwrap()),
            23..25 => {
                self.tell("reopen");
                self.close();
                self.open();
                self.settle();
            }
            25..28 => self.crashes(),
            28..30 => self.is_damaged(),
            30..32 => self.is_rolled_back(),
            32..34 => self.is_robbed(),
            34..36 => self.disk_fails_a_backup(),
            36..38 => self.dies_at_a_call(),
            38..40 => self.settings_change(),
            40..42 => self.destination_changes(),
            42 => self.history_is_lost(),
            43 => self.history_is_old(),
            44 => self.history_is_edited(),
            45 => self.destination_is_emptied(),
            46..50 => self.backs_up_under_load(),
            _ => self.is_rebuilt(),
        }
    }

    fn commits(&mut self) {
        let commits = 1 + self.random.below(6);
        self.tell(format!("{commits} commits"));
        for _ in 0..commits {
            let changes = 1 + self.random.below(5);
            let durability = match self.random.below(4) {
                0 => Durability::Eventual,
                _ => Durability::Immediate,
            };
            self.commit(changes, durability);
        }
    }

    fn survival(&mut self) -> Survival {
        match self.random.below(4) {
            0 => Survival::Nothing,
            1 => Survival::Everything,
            _ => Survival::Random(self.random.next()),
        }
    }

    fn backs_up(&mut self) {
        let before = Shelf::of(self);
        let mut backup = self.regime().backup();
        let kind = self.random.below(6);
        if kind < 2 {
            backup = backup.incremental(kind == 0);
        }
        if self.random.below(3) == 0 {
            backup = backup.compression(Compression::None);
        }
        match backup.run() {
            Ok(report) => {
                self.tell(format!("backup {}", report.archive.display()));
                assert_eq!(report.lsn, self.last());
                self.absorb();
                self.is_backed_up(&report.archive);
                before.compare(self, &report.archive, true);
            }
            Err(error) => {
                self.tell(format!("refused: {error}"));
                self.absorb();
                assert_eq!((kind, error.code()), (0, code::PARENT), "{error:?}");
            }
        }
        let _heard = self.heard();
    }

    pub(super) fn tick(&mut self) -> Option<Timestamp> {
        let before = Shelf::of(self);
        let next = self.regime().tick();
        self.absorb();
        for event in self.heard() {
            self.tale.push(format!("  {event:?}"));
            if let RegimeEvent::BackupDone { archive, .. } = event {
                self.is_backed_up(&archive);
                before.compare(self, &archive, true);
            }
        }
        next
    }

    fn time_passes(&mut self) {
        let hours = 1 + self.random.below(50);
        self.tell(format!("{hours} hours pass"));
        let hour = Duration::from_secs(3600);
        let end = Timestamp::from_microsecond(self.sim.now()).unwrap() + hour * hours as u32;
        for _ in 0..20 {
            let now = Timestamp::from_microsecond(self.sim.now()).unwrap();
            let next = self.tick().filter(|next| *next < end).unwrap_or(end);
            let Ok(wait) = Duration::try_from(next.duration_since(now)) else { break };
            self.sim.advance(wait);
            if next == end {
                break;
            }
        }
        self.tick();
    }

    fn crashes(&mut self) {
        let survival = self.survival();
        self.tell(format!("crash, {survival:?}"));
        self.crash(survival);
        self.open();
        self.settle();
    }

    /// The file system fails, or the process dies, in the middle of something.
    fn dies_at_a_call(&mut self) {
        let calls = 1 + self.random.below(150);
        let survival = self.survival();
        let what = self.random.below(4);
        self.tell(format!("dies at call {calls} from here, doing {what}, {survival:?}"));
        self.sim.crash_at(self.sim.calls() + calls);
        self.died = true;
        match what {
            0 => drop(self.regime().backup().run()),
            1 => drop(self.store().checkpoint()),
            2 => while self.try_commit(3, Durability::Immediate).is_ok() {},
            _ => drop(self.regime().close()),
        }
        self.crash(survival);
        self.open();
        self.settle();
    }

    fn is_damaged(&mut self) {
        let with_log = self.random.below(3) == 0;
        self.tell(format!("damage, log lost {with_log}"));
        let coverage = self.regime().coverage().unwrap();
        let covered = match with_log {
            true => coverage.newest_archived,
            false => coverage.newest,
        };
        let Some(covered) = covered else { return };
        self.close();
        ruin(&self.sim, with_log);
        self.open();
        let at = self.store().lsn();
        assert!(is_as_covered(at, covered.lsn, with_log), "at {at}, covered {covered:?}");
        self.begins_anew(at);
    }

    fn is_rolled_back(&mut self) {
        let coverage = self.regime().coverage().unwrap();
        let Some(point) = self.point(&coverage) else { return };
        self.tell(format!("back to {point}"));
        self.close();
        let back = Rollback::new(DIR, RestorePoint::Lsn(point)).archives(self.rules.to);
        back.disk(self.sim.clone()).run().unwrap();
        self.open();
        self.begins_anew(point);
    }

    /// A commit that can be restored, and is not the last.
    fn point(&mut self, coverage: &stillpoint::regime::Coverage) -> Option<Lsn> {
        let (oldest, newest) = (coverage.oldest?.lsn, coverage.newest?.lsn);
        let newest = newest.min(self.last() - 1);
        let point = oldest + self.random.below((newest + 1).checked_sub(oldest)?.max(1));
        let lost = |gap: &stillpoint::regime::Gap| gap.after < point && point < gap.before;
        (point <= newest && !coverage.gaps.iter().any(lost)).then_some(point)
    }

    /// Somebody takes an archive or a log archive away.
    fn is_robbed(&mut self) {
        let folder = Path::new(self.rules.to);
        let names = self.sim.list(folder).unwrap();
        let ours = |name: &PathBuf| name.to_string_lossy().starts_with("shop[");
        let ours: Vec<PathBuf> = names.into_iter().filter(ours).collect();
        if ours.is_empty() {
            return;
        }
        let name = &ours[self.random.below(ours.len() as u64) as usize];
        self.tell(format!("{} is taken away", name.display()));
        self.sim.remove_file(&folder.join(name)).unwrap();
        self.sim.sync_dir(folder).unwrap();
        self.robbed = true;
        self.robberies += 1;
        self.unbroken_from = None;
        self.absorb();
    }

    fn disk_fails_a_backup(&mut self) {
        let calls =
            [Call::Write, Call::Create, Call::Sync, Call::Rename, Call::SyncDir, Call::Read];
        let call = calls[self.random.below(calls.len() as u64) as usize];
        let fault = [Fault::IO, Fault::FULL][self.random.below(2) as usize];
        let skip = self.random.below(8);
        let before = Shelf::of(self);
        self.sim.fail(FaultPlan::once(call, self.rules.to, fault).skip(skip));
        let result = self.regime().backup().run();
        self.sim.heal();
        self.absorb();
        match result {
            Ok(report) => {
                self.tell(format!("backup in spite of {call:?}: {}", report.archive.display()));
                self.is_backed_up(&report.archive);
                // Where the history could not be written, the next backup deletes what is too old.
                self.died = true;
                before.compare(self, &report.archive, false);
            }
            Err(error) => {
                self.tell(format!("{call:?} {skip} failed a backup: {error}"));
                assert!(![code::SECOND_BACKUP, code::SOURCE_CORRUPT].contains(&error.code()));
            }
        }
        let _heard = self.heard();
    }

    fn settings_change(&mut self) {
        self.rules.keep = 1 + self.random.below(4) as u32;
        self.rules.full_every = 1 + self.random.below(4) as u32;
        self.tell(format!("keep {}, full every {}", self.rules.keep, self.rules.full_every));
        self.write_settings();
        self.tick();
    }
}
