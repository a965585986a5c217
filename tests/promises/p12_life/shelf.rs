//! The destination before and after a backup: what retention may take of it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use stillpoint::disk::Disk;
use stillpoint::regime::Coverage;
use stillpoint::{Archive, Lsn};

use super::life::{Life, archives_in};

/// The destination before a backup.
#[derive(Debug)]
pub(super) struct Shelf {
    names: BTreeSet<PathBuf>,
    archives: BTreeSet<PathBuf>,
    sets: usize,
    covered: BTreeSet<Lsn>,
}

fn sets(life: &Life) -> usize {
    let full = |path: &PathBuf| !path.to_string_lossy().ends_with(".inc.tar.zst");
    archives_in(&life.sim, life.rules.to).iter().filter(|path| full(path)).count()
}

/// Every commit that can be restored.
fn covered(coverage: &Coverage) -> BTreeSet<Lsn> {
    let (Some(oldest), Some(newest)) = (coverage.oldest, coverage.newest) else {
        return BTreeSet::new();
    };
    let missing = |lsn: &Lsn| coverage.gaps.iter().any(|g| g.after < *lsn && *lsn < g.before);
    (oldest.lsn..=newest.lsn).filter(|lsn| !missing(lsn)).collect()
}

impl Shelf {
    pub(super) fn of(life: &Life) -> Shelf {
        let names = life.sim.list(Path::new(life.rules.to)).unwrap().into_iter().collect();
        let covered = covered(&life.regime().coverage().unwrap());
        let archives = archives_in(&life.sim, life.rules.to);
        Shelf { names, archives, sets: sets(life), covered }
    }

    /// After `made`: its number was free, and as many sets are kept as the settings say.
    pub(super) fn compare(&self, life: &Life, made: &Path, exactly: bool) {
        let name = made.file_name().unwrap().to_string_lossy();
        let number = &name[..=name.find(']').expect("it has a number")];
        let taken = self.names.iter().find(|name| name.to_string_lossy().starts_with(number));
        assert_eq!(taken, None, "{name}");
        let full = usize::from(!name.ends_with(".inc.tar.zst"));
        // A set that is marked goes, though those that it went in favour of were taken away since.
        let wanted = if life.robbed && life.died { 1 } else { life.rules.keep as usize };
        let kept = wanted.min(self.sets + full);
        let there = life.sim.list(Path::new(life.rules.to)).unwrap();
        assert!(sets(life) >= kept, "{there:?}: {} sets, not {kept}, of {self:?}", sets(life));
        if exactly && !life.robbed && !life.tampered && !life.died {
            assert_eq!(sets(life), kept);
        }
        assert!(life.saved.contains_key(made), "the last one stays");
        self.lost_by_retention_alone(life, made);
    }

    /// What could be restored before still can, but for what led from an archive that retention deleted.
    fn lost_by_retention_alone(&self, life: &Life, made: &Path) {
        let after = covered(&life.regime().coverage().unwrap());
        let lost: Vec<Lsn> = self.covered.difference(&after).copied().collect();
        if lost.is_empty() {
            return;
        }
        let there = archives_in(&life.sim, life.rules.to);
        let lsn_of = |path: &PathBuf| {
            let archive = Archive::open_on(life.sim.clone(), path).ok()?;
            archive.chain().ok()?;
            let commit = life.saved.get(path)?;
            life.is_on_way(commit).then_some(commit.lsn)
        };
        let stay = there.iter().filter(|path| *path != made).filter_map(lsn_of);
        let stay: BTreeSet<Lsn> = stay.collect();
        let deleted: BTreeSet<Lsn> = self
            .archives
            .difference(&there)
            .filter_map(|path| life.gone.get(path))
            .filter(|commit| life.is_on_way(commit))
            .map(|commit| commit.lsn)
            .collect();
        for point in lost {
            let from = deleted.range(..=point).next_back();
            let from = from.unwrap_or_else(|| panic!("{point} is lost, and nothing was deleted"));
            let nearer = stay.range(from..=&point).next();
            assert_eq!(nearer, None, "{point} is lost, and {nearer:?} is there: {after:?}");
        }
    }
}
