//! What is promised, held against what is known.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use stillpoint::disk::SimDisk;
use stillpoint::regime::Coverage;
use stillpoint::{Archive, BackupKind, Lsn, RestorePoint, Rollback, Store};

use super::life::{DIR, Life, archives, records};
use crate::scene::{files, read_file, records as records_of, spoil};

/// What lies in the destination and is not the store's own.
pub(super) const DECOYS: [(&str, &[u8]); 3] = [
    ("/backups/note.txt", b"not an archive"),
    ("/backups/other[1].tar.zst", b"of another store"),
    ("/backups/shop (copy).tar.zst", b"by hand"),
];

impl Life {
    /// Holds the regime to its word; thoroughly, by restoring, or as far as that costs little.
    pub(super) fn keeps_its_word(&mut self, thoroughly: bool) -> Coverage {
        assert!(records(self.store()) == self.newest().records, "the store is as it was left");
        for (decoy, content) in DECOYS {
            assert_eq!(read_file(&self.sim, Path::new(decoy)), content, "{decoy}");
        }
        let coverage = self.regime().coverage().expect("the account");
        self.the_account_is_sound(&coverage);
        if thoroughly {
            self.each_archive_is_what_was_saved();
            self.what_is_covered_can_be_restored(&coverage);
        }
        coverage
    }

    /// What can be said of the account without restoring.
    fn the_account_is_sound(&self, coverage: &Coverage) {
        let text = format!("{coverage:?}");
        assert_eq!(coverage.lsn, self.last());
        assert!(coverage.unusable.is_empty(), "{text}");
        let whole = |path: &Path| {
            let archive = Archive::open_on(self.sim.clone(), path).expect("it has its name");
            archive.header().kind == BackupKind::Full || archive.chain().is_ok()
        };
        let on_way: BTreeSet<Lsn> = self
            .saved
            .iter()
            .filter(|(path, commit)| {
                path.starts_with(self.rules.to) && self.is_on_way(commit) && whole(path)
            })
            .map(|(_, commit)| commit.lsn)
            .collect();
        let oldest = coverage.oldest.map(|point| point.lsn);
        assert_eq!(oldest, on_way.first().copied(), "{text}");
        let newest = coverage.newest.map_or(0, |point| point.lsn);
        let archived = coverage.newest_archived.map_or(0, |point| point.lsn);
        assert!(archived <= newest && newest <= coverage.lsn, "{text}");
        assert!(archived >= on_way.last().copied().unwrap_or(0), "{text}");
        // With the last backup of its own at hand, the log leads to the last commit.
        let own = self.own.iter().filter(|path| whole(path)).map(|path| self.saved[path].lsn).max();
        if own.is_some()
            && own == self.own.iter().map(|path| self.saved[path].lsn).max()
            && !self.robbed
        {
            assert_eq!(newest, coverage.lsn, "{text}");
        }
        let mut before = coverage.oldest.map_or(0, |point| point.lsn);
        for gap in &coverage.gaps {
            assert!(before <= gap.after && gap.after + 1 < gap.before, "{text}");
            before = gap.before;
            if let Some(from) = self.unbroken_from {
                // Archives that nobody vouches for stay, and what lay between them and the kept ones goes.
                let unsure = self.tampered || self.died;
                let stays = unsure && gap.after < from;
                assert!(gap.before <= from || stays, "unbroken from {from}: {text}");
            }
        }
        assert!(before <= newest, "{text}");
    }

    fn each_archive_is_what_was_saved(&self) {
        for path in archives(&self.sim) {
            let commit = &self.saved[&path];
            let archive = Archive::open_on(self.sim.clone(), &path).unwrap();
            assert_eq!(archive.header().lsn, commit.lsn, "{}", path.display());
            archive.verify().unwrap();
            if archive.header().kind == BackupKind::Incremental && archive.chain().is_err() {
                assert!(self.robbed, "{} is whole", path.display());
                continue;
            }
            let read = archive.read().unwrap();
            assert!(
                records_of(&read).into_iter().collect::<super::life::Records>() == commit.records,
                "{} is not commit {}",
                path.display(),
                commit.lsn
            );
        }
    }

    fn what_is_covered_can_be_restored(&mut self, coverage: &Coverage) {
        let image = self.sim.image();
        let newest = coverage.newest.map(|point| point.lsn);
        let archived = coverage.newest_archived.map(|point| point.lsn);
        self.damage_is_mended(&image, newest, false);
        self.damage_is_mended(&image, archived, true);
        let (Some(oldest), Some(newest)) = (coverage.oldest, newest) else { return };
        let mut points = BTreeSet::from([oldest.lsn, newest]);
        for gap in &coverage.gaps {
            points.extend([gap.after, gap.before]);
        }
        let any = oldest.lsn + self.random.below(newest - oldest.lsn + 1);
        if !coverage.gaps.iter().any(|gap| gap.after < any && any < gap.before) {
            points.insert(any);
        }
        for point in points.into_iter().filter(|point| *point < coverage.lsn) {
            let image = image.image();
            let back = Rollback::new(DIR, RestorePoint::Lsn(point))
                .archives(self.rules.to)
                .disk(image.clone());
            let report =
                back.run().unwrap_or_else(|e| panic!("back to {point}: {e}\n{coverage:?}"));
            assert_eq!(report.restored.lsn, point);
            let store = Store::builder(DIR).disk(image).open().unwrap();
            assert_eq!(store.lsn(), point);
            assert!(records(&store) == self.way[&point].records, "rolled back to {point}");
        }
    }

    /// A store whose data file is ruined, and whose log too where that is said, is restored by itself as
    /// far as the account has it.
    fn damage_is_mended(&self, image: &Arc<SimDisk>, covered: Option<Lsn>, with_log: bool) {
        let image = image.image();
        ruin(&image, with_log);
        let opened = self.builder(&image).open();
        let Some(covered) = covered else {
            let at = opened.map(|regime| regime.store().lsn());
            assert!(at.is_err(), "nothing can be restored, and yet {at:?}");
            return;
        };
        let regime = opened.unwrap_or_else(|e| panic!("to {covered}, log lost {with_log}: {e:?}"));
        let info = regime.restore_info().expect("it was restored");
        let at = regime.store().lsn();
        let text = format!("at {at}, covered {covered}, log lost {with_log}: {info:?}");
        assert!(is_as_covered(at, covered, with_log), "{text}");
        assert!(info.status.code == 0 || at < self.last(), "{info:?}");
        assert!(records(regime.store()) == self.way[&at].records, "restored to {at}");
    }
}

/// Whether a restore led to `at` as the account had it. The log from before the last backup is not kept
/// and counts for nothing, but it may still be there and lead further.
pub(super) fn is_as_covered(at: Lsn, covered: Lsn, with_log: bool) -> bool {
    at == covered || (at > covered && !with_log)
}

/// Makes the data file unreadable, and the log where that is said.
pub(super) fn ruin(sim: &Arc<SimDisk>, with_log: bool) {
    spoil(sim, &Path::new(DIR).join("store.data"));
    if with_log {
        files(sim, &format!("{DIR}/log")).keys().for_each(|path| spoil(sim, path));
    }
}
