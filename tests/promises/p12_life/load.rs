//! Backups while commits are made, stores that are built anew out of an archive and logs, and what was
//! covered before each act.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crossbeam_channel::bounded;
use stillpoint::disk::Disk;
use stillpoint::regime::Coverage;
use stillpoint::{Access, Archive, Durability, IntegrateOptions, Lsn, RestorePoint, Stage};

use super::life::{DIR, Life};
use crate::scene::PATIENCE;

impl Life {
    /// A backup that stands still while it copies, until some commits were made and made into pages.
    pub(super) fn backs_up_under_load(&mut self) {
        let (tell, reached) = bounded(1);
        let (go_on, wait) = bounded::<()>(0);
        let (clock, mut stood) = (self.sim.clone(), false);
        let backup = self.regime().backup().access(Access::Live).on_progress(move |progress| {
            // Progress is told by time, so some has to pass.
            clock.advance(Duration::from_millis(60));
            if !stood && progress.stage == Stage::Copy {
                stood = true;
                let _gone = tell.send(());
                let _go = wait.recv();
            }
            ControlFlow::Continue(())
        });
        let backup = backup.start().expect("it begins");
        reached.recv_timeout(PATIENCE).expect("it copies");
        let commits = 1 + self.random.below(6);
        self.tell(format!("backup under load of {commits} commits"));
        for _ in 0..commits {
            self.commit(3, Durability::Immediate);
            if self.random.below(2) == 0 {
                self.store().checkpoint().unwrap();
            }
        }
        drop(go_on);
        let report = backup.wait().expect("it ends well");
        assert_eq!(report.lsn + commits, self.last());
        self.absorb();
        self.own.insert(report.archive);
        self.unbroken_from.get_or_insert(report.lsn);
        let _heard = self.heard();
    }

    /// Somebody builds the store anew out of one of its archives, and integrates all logs that there are.
    pub(super) fn is_rebuilt(&mut self) {
        let on_way = self
            .saved
            .iter()
            .filter(|(path, commit)| path.starts_with(self.rules.to) && self.is_on_way(commit));
        let paths: Vec<PathBuf> = on_way.map(|(path, _)| path.clone()).collect();
        if paths.is_empty() {
            return;
        }
        let path = &paths[self.random.below(paths.len() as u64) as usize];
        let archive = Archive::open_on(self.sim.clone(), path).unwrap();
        if archive.chain().is_err() {
            return;
        }
        self.tell(format!("built anew out of {}", path.display()));
        self.close();
        self.rebuilt += 1;
        let aside = PathBuf::from(format!("/away/{}", self.rebuilt));
        self.sim.rename(Path::new(DIR), &aside).unwrap();
        self.sim.sync_dir(Path::new("/")).unwrap();
        self.sim.sync_dir(Path::new("/away")).unwrap();
        archive.restore(DIR).run().unwrap();
        self.write_settings();
        let copy = self.store_builder(&self.sim).open().unwrap();
        let log = aside.join("log");
        // Logs of a future that was left may lead further.
        let to = RestorePoint::Lsn(self.last());
        let to_the_end = IntegrateOptions { to, ..IntegrateOptions::default() };
        let to_the_end = copy.integrate(&[Path::new(self.rules.to), log.as_path()], to_the_end);
        // Or they lead another way, and then nothing is guessed.
        if to_the_end.is_err() {
            let _as_far_as_it_goes = copy.integrate(&[&log], IntegrateOptions::default());
        }
        let at = copy.lsn();
        copy.close().unwrap();
        self.open();
        self.begins_anew(at);
    }
}

impl Life {
    /// Whether the destination has an archive of a later commit of the present history.
    fn has_saved_after(&self, lsn: Lsn) -> bool {
        let here = self.saved.iter().filter(|(path, _)| path.starts_with(self.rules.to));
        here.into_iter().any(|(_, commit)| commit.lsn > lsn && self.is_on_way(commit))
    }
}

/// What could be restored at one moment: commits of the store's history then.
pub(super) struct Covered {
    commits: BTreeSet<Lsn>,
    names: Vec<PathBuf>,
}

impl Covered {
    pub(super) fn of(life: &Life, coverage: &Coverage) -> Covered {
        let names = life.sim.list(Path::new(life.rules.to)).unwrap();
        let (Some(oldest), Some(newest)) = (coverage.oldest, coverage.newest) else {
            return Covered { commits: BTreeSet::new(), names };
        };
        let lost = |lsn: Lsn| coverage.gaps.iter().any(|gap| gap.after < lsn && lsn < gap.before);
        let commits = (oldest.lsn..=newest.lsn).filter(|lsn| !lost(*lsn)).collect();
        Covered { commits, names }
    }

    /// What was covered before, and is of the present history, is covered: unless something was deleted,
    /// and it is older than everything. Where archives are left that nobody vouches for, which stay
    /// however old they are, it may also be older than an archive that is kept.
    pub(super) fn lasts(&self, life: &Life, same: impl Fn(Lsn) -> bool, now: &Covered) {
        let oldest = now.commits.first().copied().unwrap_or(Lsn::MAX);
        let deleted = self.names.iter().any(|name| !now.names.contains(name));
        for lsn in self.commits.iter().filter(|lsn| same(**lsn)) {
            let unsure = life.tampered || life.died;
            let went = deleted && (*lsn < oldest || unsure && life.has_saved_after(*lsn));
            assert!(
                now.commits.contains(lsn) || went,
                "commit {lsn} was covered: {:?}, then {:?}; {:?}, then {:?}; at {}",
                self.commits,
                now.commits,
                self.names,
                now.names,
                life.last()
            );
        }
    }
}
