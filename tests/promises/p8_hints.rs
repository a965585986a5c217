//! P8: what an error about damage advises, works. Each test damages one file, reads the advice, and
//! follows it to the letter. Those of a damaged log segment are in `p8_log_damage`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use stillpoint::disk::{Disk, SimDisk, Survival};
use stillpoint::{Archive, Compact, Error, ErrorKind, Mode, Store};

use crate::scene::{STORE, Scene, TO, all, open, put, read_file, spoil, write_file};

type Records = Vec<(u64, String)>;

/// A closed store with a backup of all that it holds.
fn ground() -> (Arc<SimDisk>, PathBuf, Records) {
    let scene = Scene::new(Mode::Server, 200);
    put(&scene.store, 3, "before the backup").unwrap();
    let archive = scene.store.backup(TO).run().unwrap().archive;
    let records = all(&scene.store);
    scene.store.close().unwrap();
    (scene.sim.reboot(Survival::Everything), archive, records)
}

fn path(name: &str) -> PathBuf {
    Path::new(STORE).join(name)
}

#[track_caller]
fn advises(error: &Error, words: &str) {
    let advice = error.advice().unwrap_or_default();
    assert!(advice.contains(words), "{words:?} in {}", error.report());
}

/// "Restore": the last archive, into a new folder.
fn restores(sim: &Arc<SimDisk>, archive: &Path, records: &Records) {
    Archive::open_on(sim.clone(), archive).unwrap().restore("/new").run().unwrap();
    let store = open(sim, "/new").unwrap();
    store.verify().unwrap();
    assert_eq!(&all(&store), records);
    put(&store, 9, "it goes on").unwrap();
    store.close().unwrap();
}

#[test]
fn a_data_file_that_was_cut_short_is_restored_from_the_last_backup() {
    let (sim, archive, records) = ground();
    let data = read_file(&sim, &path("store.data"));
    write_file(&sim, &path("store.data"), &data[..3 * 4096]);
    let error = open(&sim, STORE).map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    advises(&error, "Restore the store from its last backup");
    restores(&sim, &archive, &records);
}

#[test]
fn a_damaged_note_of_backups_is_written_anew_by_a_backup() {
    let (sim, _, records) = ground();
    write_file(&sim, &path("backup-state.json"), b"{\"format\": 1, \"base\": []}");
    let error = Compact::new(STORE).disk(sim.clone()).run().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    advises(&error, "Make a backup: it writes the file anew");
    let store = open(&sim, STORE).unwrap();
    assert!(store.stats().backup_state_damage.is_some());
    store.backup(TO).run().unwrap();
    assert_eq!(store.stats().backup_state_damage, None);
    store.close().unwrap();
    Compact::new(STORE).disk(sim.clone()).run().unwrap();
    assert_eq!(all(&open(&sim, STORE).unwrap()), records);
}

#[test]
fn a_damaged_record_of_a_replacement_is_got_round_by_a_restore_into_a_new_folder() {
    let (sim, archive, records) = ground();
    sim.create_dir(&path("replacement")).unwrap();
    write_file(&sim, &path("replacement/intent.json"), b"{\"state\": \"moving");
    let before = read_file(&sim, &path("store.data"));
    let error = open(&sim, STORE).map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    advises(&error, "Restore an archive into a new folder");
    assert_eq!(read_file(&sim, &path("store.data")), before);
    restores(&sim, &archive, &records);
}

#[test]
fn a_damaged_archive_is_told_by_its_path_and_an_older_one_does() {
    let (sim, archive, records) = ground();
    let store = open(&sim, STORE).unwrap();
    put(&store, 4, "after the backup").unwrap();
    let newer = store.backup(TO).run().unwrap().archive;
    store.close().unwrap();
    spoil(&sim, &newer);
    let opened = Archive::open_on(sim.clone(), &newer);
    let error = opened.and_then(|archive| archive.verify()).map(drop).unwrap_err();
    assert_eq!(error.path(), Some(&*newer), "{error}");
    restores(&sim, &archive, &records);
}

#[test]
fn a_damaged_ancestry_keeps_no_store_with_one_timeline_from_opening_and_is_written_anew() {
    let (sim, archive, records) = ground();
    write_file(&sim, &path("ancestry"), b"STILLANC, but no more");
    let store = open(&sim, STORE).unwrap();
    assert_eq!(all(&store), records);
    put(&store, 9, "it goes on").unwrap();
    store.backup(TO).run().unwrap();
    store.close().unwrap();
    restores(&sim, &archive, &records);
}

#[test]
fn a_log_that_is_missing_is_put_back_or_given_up_as_advised() {
    let (sim, archive, records) = ground();
    let store = open(&sim, STORE).unwrap();
    put(&store, 4, "in the log only").unwrap();
    let newer = all(&store);
    store.close().unwrap();
    let log = path("log");
    let names = sim.list(&log).unwrap().into_iter().filter(|name| name.extension().is_some());
    let segments: Vec<PathBuf> = names.map(|name| log.join(name)).collect();
    let kept: Vec<Vec<u8>> = segments.iter().map(|path| read_file(&sim, path)).collect();
    segments.iter().for_each(|path| sim.remove_file(path).unwrap());
    sim.sync_dir(&log).unwrap();
    let error = open(&sim, STORE).map(drop).unwrap_err();
    advises(&error, "Put the store's own log segments back");
    advises(&error, "restore the last backup");
    advises(&error, "accept_lost_log()");
    let back = sim.image();
    segments.iter().zip(&kept).for_each(|(path, bytes)| write_file(&back, path, bytes));
    assert_eq!(all(&open(&back, STORE).unwrap()), newer);
    restores(&sim.image(), &archive, &records);
    let given_up = Store::builder(STORE).disk(sim.clone()).accept_lost_log().open().unwrap();
    given_up.verify().unwrap();
    // Which of the two the checkpoint has, it decides itself.
    assert!([&newer, &records].contains(&&all(&given_up)));
}
