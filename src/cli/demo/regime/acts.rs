//! The acts of the story, one after another.

use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use stillpoint::regime::JournalReader;
use stillpoint::{
    Archive, BackupBuilder, BackupReport, Error, ErrorKind, Keys, Level, Recipients, RestorePoint,
    Store, code,
};

use super::Story;
use super::proof::Proof;
use crate::cli::demo::contents::contents;
use crate::cli::demo::history::{Change, Comparison, State};
use crate::cli::demo::traffic::AIRPORTS;
use crate::cli::exit::Outcome;
use crate::cli::show::human;

/// What the demo's encrypted archive opens with. A real one is nobody else's business.
const PASSPHRASE: &str = "a passphrase that only this demo knows";

impl Story<'_> {
    /// What the settings say.
    pub(super) fn settings(&mut self) -> Outcome {
        self.headline(
            "A settings file written elsewhere: daily at 02:30, the last 3 sets are kept",
        )?;
        let next = self.regime.next_backup().map(|at| at.to_string());
        self.say(&format!("destination {}", self.regime.destination().display()));
        self.say(&format!("next backup {}", next.as_deref().unwrap_or("never")));
        std::fs::create_dir_all(self.regime.destination())
            .map_err(|cause| Error::io("create the folder", self.regime.destination(), cause))?;
        Ok(())
    }

    /// Two backups; the second archives the log between them.
    pub(super) fn backups_and_logs(&mut self) -> Outcome {
        self.headline("Backups and logs: every commit between two archives is kept")?;
        let first = self.back_up()?;
        self.fly(200)?;
        let middle = self.last();
        self.fly(200)?;
        let second = self.back_up()?;
        let log = second.log_archive.as_ref().ok_or_else(|| broken("there is no log archive"))?;
        self.say(&format!("the log between them: {}", name(&log.path)));
        let archive = Archive::open(&first.archive)?;
        let way = "archive 1 and half of its log archive";
        let dir = self.place.path("point");
        archive.restore(&dir).log(&log.path).to(RestorePoint::Lsn(middle)).run()?;
        self.prove(way, middle, &dir)?;
        let dir = self.place.path("second");
        Archive::open(&second.archive)?.restore(&dir).run()?;
        self.prove("archive 2", second.lsn, &dir)
    }

    /// Somebody deletes the airports of a country; all else that was committed is wanted back.
    pub(super) fn accident(&mut self) -> Outcome {
        self.headline(
            "An accident: one transaction deletes every airport whose code begins with ED",
        )?;
        self.fly(100)?;
        let accident = self.delete_airports("ED")?;
        self.say(&format!("that was the commit with LSN {}", human::count(accident)));
        self.ground.airports.retain(|code| !code.starts_with("ED"));
        self.fly(50)?;
        let newest = self.newest_archive()?;
        let log = self.regime.store().path().join("log");
        let dir = self.place.path("before");
        let archive = Archive::open(&newest)?;
        archive.restore(&dir).log(&log).to(RestorePoint::Before(accident)).run()?;
        self.prove(
            "archive 2 and the store's own log, to before the accident",
            accident - 1,
            &dir,
        )?;
        let dir = self.place.path("newest");
        archive.restore(&dir).log(&log).run()?;
        self.prove("the same with all of the log", self.last(), &dir)
    }

    /// Saves what changed, and restores it with what it goes on from.
    pub(super) fn incremental(&mut self) -> Outcome {
        self.headline("An incremental backup: only the pages that changed")?;
        let full = self.back_up()?;
        self.fly(100)?;
        let report = self.regime.backup().incremental(true).run()?;
        self.say(&format!(
            "{} instead of {}",
            human::bytes(report.archive_bytes),
            human::bytes(full.archive_bytes)
        ));
        let dir = self.place.path("chain");
        Archive::open(&report.archive)?.restore(&dir).run()?;
        self.prove("an incremental archive and its parent", report.lsn, &dir)
    }

    /// Damages an archive that has parity beside it, and repairs it.
    pub(super) fn damage(&mut self) -> Outcome {
        self.headline("A damaged archive with parity beside it")?;
        self.fly(1)?;
        let report = self.a_copy("parity")?.redundancy(Level::Low).run()?;
        let promise = Archive::open(&report.archive)?.promise();
        overwrite(&report.archive, report.archive_bytes / 3, &[0xA5; 3000])?;
        self.say(&format!("3,000 bytes of {} overwritten", name(&report.archive)));
        let repaired = Archive::repair(&report.archive, |_| self.stop.flow())?;
        self.say(&format!("repaired: {} of 64 KiB", human::counted(repaired.repaired, "block")));
        if promise.is_none() {
            return Err(broken("an archive with parity promises nothing").into());
        }
        let dir = self.place.path("repaired");
        Archive::open(&report.archive)?.restore(&dir).run()?;
        self.prove("an archive that was damaged and repaired", report.lsn, &dir)
    }

    /// An archive that opens with its passphrase and with no other.
    pub(super) fn encryption(&mut self) -> Outcome {
        self.headline("An encrypted archive, in segments")?;
        self.fly(1)?;
        let report = self
            .a_copy("encrypted")?
            .encrypt(Recipients::passphrase(PASSPHRASE)?)
            .segment_size(256 << 10)
            .run()?;
        let wrong = Keys::none().with_passphrase("another one");
        match Archive::open_with(&report.archive, &wrong) {
            Err(error) if error.code() == code::KEY => {
                self.say(&format!("the wrong passphrase: error {}", error.code()));
            }
            Err(error) => return Err(error.into()),
            Ok(_) => return Err(broken("a wrong passphrase opens the archive").into()),
        }
        let dir = self.place.path("decrypted");
        let keys = Keys::none().with_passphrase(PASSPHRASE);
        Archive::open_with(&report.archive, &keys)?.restore(&dir).run()?;
        self.prove("an encrypted archive in segments", report.lsn, &dir)
    }

    /// What is known of all this afterwards.
    pub(super) fn records(&mut self) -> Outcome {
        self.headline("Drill, coverage, journal")?;
        let drill = self.regime.drill()?;
        self.say(&format!("drill: the newest backup restores to LSN {}", human::count(drill.lsn)));
        let coverage = self.regime.coverage()?;
        let points = (coverage.oldest.as_ref(), coverage.newest.as_ref());
        if let (Some(oldest), Some(newest)) = points {
            self.say(&format!(
                "restorable: every commit from LSN {} to {}, {}",
                human::count(oldest.lsn),
                human::count(newest.lsn),
                human::counted(coverage.gaps.len() as u64, "gap"),
            ));
        }
        let disk = stillpoint::disk::RealDisk::new();
        let mut journal = JournalReader::open(disk, self.regime.store().path());
        let lines = journal.next_lines()?;
        self.say(&format!("the journal has {}", human::counted(lines.len() as u64, "line")));
        self.narrator.say("");
        Ok(())
    }

    /// A backup by the settings.
    fn back_up(&self) -> Outcome<BackupReport> {
        let report = self.regime.backup().run()?;
        self.say(&format!(
            "backup {}: {}, the store at LSN {}, {}",
            report.number,
            name(&report.archive),
            human::count(report.lsn),
            human::bytes(report.archive_bytes),
        ));
        Ok(report)
    }

    fn newest_archive(&self) -> Outcome<PathBuf> {
        let last = self.regime.last_backup().and_then(|last| last.archive);
        last.ok_or_else(|| broken("the last backup is not known").into())
    }

    /// The last commit of the demo's own account.
    fn last(&self) -> u64 {
        self.ground.history.lock().last()
    }

    /// A backup into a folder that the settings do not name. It stands by itself: the log goes on
    /// where the backups by the settings are.
    fn a_copy(&self, name: &str) -> Outcome<BackupBuilder> {
        let folder = self.place.path(name);
        std::fs::create_dir(&folder)
            .map_err(|cause| Error::io("create the folder", &folder, cause))?;
        Ok(self.regime.store().backup(folder).log_archive(false))
    }

    /// Deletes the airports whose codes begin with `prefix`; the commit that did it.
    fn delete_airports(&self, prefix: &str) -> Outcome<u64> {
        let write = self.regime.store().begin_write()?;
        let mut changes = Vec::new();
        for code in self.ground.airports.iter().filter(|code| code.starts_with(prefix)) {
            write.table(AIRPORTS)?.delete(code.as_str())?;
            changes.push(Change { table: AIRPORTS.name(), key: code.clone(), value: None });
        }
        let lsn = write.commit()?.lsn;
        self.ground.history.lock().record(lsn, changes);
        Ok(lsn)
    }

    /// Compares the store in `dir` with the account of the commit `lsn`.
    fn prove(&mut self, way: &'static str, lsn: u64, dir: &Path) -> Outcome {
        let found = contents(&Store::open(dir)?)?;
        let compared = |lsn: u64| -> Outcome<Comparison> {
            let expected: Result<State, u64> = self.ground.history.lock().at(lsn);
            let expected =
                expected.map_err(|lsn| broken(&format!("nobody committed LSN {lsn}")))?;
            Ok(Comparison::of(&expected, &found))
        };
        let proof = Proof { way, lsn, found: compared(lsn)?, one_before: compared(lsn - 1)? };
        let verdict = if proof.is_right() { "equals" } else { "DIFFERS FROM" };
        self.say(&format!("{way}: {verdict} the store at LSN {}", human::count(lsn)));
        self.proofs.push(proof);
        Ok(())
    }
}

fn broken(why: &str) -> Error {
    Error::new(ErrorKind::BackupFailed, why)
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn overwrite(path: &Path, at: u64, bytes: &[u8]) -> Outcome {
    let written = std::fs::OpenOptions::new().write(true).open(path).and_then(|mut file| {
        file.seek(SeekFrom::Start(at))?;
        file.write_all(bytes)
    });
    Ok(written.map_err(|cause| Error::io("damage the archive", path, cause))?)
}
