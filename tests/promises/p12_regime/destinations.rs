//! Destinations change: by turns, for good, or since somebody moved everything out of one. No backup
//! deletes what it has just written, and no commit between two destinations is lost.

use super::*;
use stillpoint::archive::list_archives;
use stillpoint::{BackupReport, LogFile, RestorePoint};

const FIRST: &str = "/first";
const SECOND: &str = "/second";

fn into(folder: &str) -> [(&str, &str); 2] {
    [("General/DestinationFolder", folder), ("Advanced/SetNumber/Value", "3")]
}

fn between() -> Shop {
    let sim = shop(&[]).closed();
    for folder in [FIRST, SECOND] {
        sim.create_dir(Path::new(folder)).unwrap();
    }
    write_settings(&sim, &into(FIRST));
    Shop::open(sim)
}

fn turned_to(shop: Shop, folder: &str) -> Shop {
    let sim = shop.closed();
    write_settings(&sim, &into(folder));
    Shop::open(sim)
}

/// A commit and a backup; everything that it says it wrote is there when it has ended.
fn backed_up(shop: &Shop, key: u64) -> BackupReport {
    shop.put(key);
    let report = shop.regime.backup().run().unwrap();
    let log = report.log_archive.iter().flat_map(|log| &log.files);
    for file in report.archive_files.iter().chain(log) {
        assert!(shop.sim.metadata(file).is_ok(), "{} was just written", file.display());
    }
    report
}

/// The store as `archive` and the logs of `folders` have it at commit `lsn`.
fn restored(shop: &Shop, archive: &Path, folders: &[&str], lsn: u64) -> BTreeMap<u64, String> {
    let sim = shop.sim.image();
    let archive = Archive::open_on(sim.clone(), archive).unwrap();
    let restore = archive.restore("/copy").to(RestorePoint::Lsn(lsn));
    folders.iter().fold(restore, |restore, folder| restore.logs_in(*folder)).run().unwrap();
    all(&Store::builder("/copy").disk(sim).open().unwrap()).into_iter().collect()
}

#[test]
fn the_commits_between_two_destinations_can_be_restored() {
    let mut shop = between();
    let last = (2..5).map(|key| backed_up(&shop, key)).last().unwrap();
    shop = turned_to(shop, SECOND);
    shop.put(20);
    let then: BTreeMap<u64, String> = all(shop.regime.store()).into_iter().collect();
    let lsn = shop.regime.store().lsn();
    let reports: Vec<BackupReport> = (30..36).map(|key| backed_up(&shop, key)).collect();
    let crossing = reports[0].log_archive.as_ref().unwrap();
    assert_eq!((crossing.after, crossing.last), (last.lsn, reports[0].lsn));
    assert!(shop.sim.metadata(&crossing.path).is_ok(), "what it follows is still there");
    assert_eq!(restored(&shop, &last.archive, &[FIRST, SECOND], lsn), then);
    // Once that has gone, and the backup that it leads to too, it goes with the others.
    for listed in list_archives(&*shop.sim, Path::new(FIRST), None).unwrap() {
        shop.sim.remove_file(listed.path()).unwrap();
    }
    backed_up(&shop, 40);
    assert!(shop.sim.metadata(&crossing.path).is_err(), "something later covers it");
    let coverage = shop.regime.coverage().unwrap();
    assert_eq!(coverage.gaps, []);
    assert_eq!(coverage.archives, 3);
}

#[test]
fn two_destinations_by_turns_keep_as_many_sets_each_and_what_leads_from_one_to_the_other() {
    let mut shop = between();
    let mut made: Vec<BackupReport> = Vec::new();
    for turn in 0..10 {
        shop = turned_to(shop, [FIRST, SECOND][turn % 2]);
        made.push(backed_up(&shop, 100 + turn as u64));
        let there: Vec<&BackupReport> =
            made.iter().filter(|one| shop.sim.metadata(&one.archive).is_ok()).collect();
        assert_eq!(there.len(), made.len().min(6), "three in each");
        for pair in there.windows(2) {
            let (from, to) = (pair[0], pair[1]);
            let log = to.log_archive.as_ref().expect("there was a commit");
            assert_eq!(log.after, from.lsn);
            assert!(shop.sim.metadata(&log.path).is_ok(), "{}", log.path.display());
            let log = LogFile::open_on(shop.sim.clone(), &log.path).unwrap();
            assert_eq!(log.check().unwrap().last, to.lsn);
        }
    }
    let logs = [FIRST, SECOND].map(|folder| {
        let listed = list_archives(&*shop.sim, Path::new(folder), None).unwrap();
        listed.iter().filter(|one| one.path().to_string_lossy().ends_with(".log.zst")).count()
    });
    assert!(logs.iter().all(|logs| *logs <= 4), "the others went: {logs:?}");
}

#[test]
fn after_everything_was_moved_out_of_the_destination_the_next_backup_keeps_its_log() {
    let shop = shop(&[("Advanced/SetNumber/Value", "3")]);
    let last = (2..5).map(|key| backed_up(&shop, key)).last().unwrap();
    shop.sim.create_dir(Path::new("/shelf")).unwrap();
    for name in shop.sim.list(Path::new(TO)).unwrap() {
        let (from, to) = (Path::new(TO).join(&name), Path::new("/shelf").join(&name));
        shop.sim.rename(&from, &to).unwrap();
    }
    let reports: Vec<BackupReport> = (30..32).map(|key| backed_up(&shop, key)).collect();
    let log = reports[0].log_archive.as_ref().unwrap();
    assert_eq!((log.after, log.last), (last.lsn, reports[0].lsn));
    assert!(shop.sim.metadata(&log.path).is_ok());
    let shelf = Path::new("/shelf").join(last.archive.file_name().unwrap());
    let lsn = reports[1].lsn;
    let now: BTreeMap<u64, String> = all(shop.regime.store()).into_iter().collect();
    assert_eq!(restored(&shop, &shelf, &[TO], lsn), now);
}

#[test]
fn a_store_id_that_somebody_edited_in_the_history_deletes_nothing() {
    let shop = shop(&[("Advanced/SetNumber/Value", "9")]);
    backed_up(&shop, 2);
    shop.put(3);
    shop.regime.backup().incremental(true).run().unwrap();
    backed_up(&shop, 4);
    let path = Path::new(TO).join("backupHistory.json");
    let text = String::from_utf8(read_file(&shop.sim, &path)).unwrap();
    let at = text.find("\"storeId\": \"").unwrap() + "\"storeId\": \"".len();
    let other = if text.as_bytes()[at] == b'0' { "1" } else { "0" };
    let text = format!("{}{other}{}", &text[..at], &text[at + 1..]);
    shop.sim.remove_file(&path).unwrap();
    write_file(&shop.sim, &path, text.as_bytes());
    let before = shop.sim.list(Path::new(TO)).unwrap();
    backed_up(&shop, 5);
    let after = shop.sim.list(Path::new(TO)).unwrap();
    assert!(before.iter().all(|name| after.contains(name)), "{before:?} {after:?}");
    let coverage = shop.regime.coverage().unwrap();
    assert_eq!((coverage.archives, coverage.gaps.len()), (4, 0), "{coverage:?}");
}

#[test]
fn a_junk_file_with_the_last_of_all_numbers_ends_no_backup() {
    let shop = shop(&[("Advanced/SetNumber/Value", "3")]);
    backed_up(&shop, 2);
    let junk = Path::new(TO).join("shop[4294967295].tar.zst");
    write_file(&shop.sim, &junk, b"junk");
    for (key, number) in [(3, 2), (4, 3), (5, 4)] {
        assert_eq!(backed_up(&shop, key).number, number);
    }
    assert_eq!(read_file(&shop.sim, &junk), b"junk", "and it stays");
    let coverage = shop.regime.coverage().unwrap();
    assert_eq!(coverage.unusable.len(), 1, "{coverage:?}");
    assert!(shop.journal().contains("shop[4294967295].tar.zst"));
    shop.regime.drill().unwrap();
}
