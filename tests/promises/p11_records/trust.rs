//! Retention believes nobody alone: an archive goes only where the history, its name and its header say
//! the same. People edit, lose and copy histories, and move, rename and bring archives.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value, json};
use stillpoint::archive::{ArchiveFile, Keys, list_archives};
use stillpoint::disk::{Disk, SimDisk};
use stillpoint::regime::{HISTORY_FILE, History, RetentionRule};
use stillpoint::{BackupHeader, LogHeader, Lsn};

use super::{SET, Shop, TO, archives, ground, listed, read, write};

const KEEP: fn(u32) -> RetentionRule = |keep| RetentionRule { keep, room: 0 };

fn history_file() -> PathBuf {
    Path::new(TO).join(HISTORY_FILE)
}

fn put_history(sim: &SimDisk, list: &[Value]) {
    write(sim, history_file(), json!({ SET: list }).to_string().as_bytes());
}

/// Five sets: the first with an incremental archive, and each backup with its log archive.
fn five() -> (Arc<SimDisk>, Shop) {
    let sim = ground(31);
    let mut shop = Shop::create(&sim, "/store");
    shop.recorded(None);
    let report = shop.increment();
    shop.record(&report, None);
    for _ in 0..4 {
        shop.recorded(None);
    }
    (sim, shop)
}

/// How far the logs of the destination lead from commit `from` without a gap.
fn reach(sim: &SimDisk, from: Lsn) -> Lsn {
    let mut reached = from;
    for listed in list_archives(sim, Path::new(TO), None).unwrap() {
        let file = ArchiveFile::open(sim, listed.path(), &Keys::none()).unwrap();
        let Ok(log) = serde_json::from_value::<LogHeader>(file.header().app.clone()) else {
            continue;
        };
        if log.after <= reached {
            reached = reached.max(log.last);
        }
    }
    reached
}

fn header(sim: &SimDisk, path: &Path) -> BackupHeader {
    let file = ArchiveFile::open(sim, path, &Keys::none()).unwrap();
    serde_json::from_value(file.header().app.clone()).unwrap()
}

/// One thing that somebody may do to an entry of the history.
type Edit = (&'static str, fn(&mut Value));

const EDITS: [Edit; 14] = [
    ("another store", |o| o["storeId"] = json!("00000000000000000000000000000001")),
    ("an earlier commit", |o| o["lsn"] = json!(1)),
    ("a later commit", |o| o["lsn"] = json!(4_000)),
    ("another kind", |o| {
        let full = o["operation"] == json!("backup");
        o["operation"] = json!(if full { "incremental-backup" } else { "backup" });
    }),
    ("another parent", |o| o["parent"] = json!("00")),
    ("another number", |o| o["backupNumber"] = json!(4_294_967_295u32)),
    ("another timeline", |o| o["timeline"]["id"] = json!("00000000000000000000000000000001")),
    ("another time", |o| o["started"] = json!(1)),
    ("another seal", |o| o["seal"] = json!("00")),
    ("no seal", |o| drop(o.as_object_mut().unwrap().remove("seal"))),
    ("other files", |o| o["backupFiles"][0]["bytes"] = json!(7)),
    ("another path", |o| o["backupPath"] = json!("/elsewhere/shop[0001].tar.zst")),
    ("no data", |o| o["data"] = json!(false)),
    ("nothing at all", |o| o["operation"] = json!("translation")),
];

#[test]
fn what_an_edited_history_contradicts_stays_with_all_that_depends_on_it() {
    let (base, shop) = five();
    let list = listed(&base, SET);
    let paths: Vec<PathBuf> =
        list.iter().map(|o| PathBuf::from(o["backupPath"].as_str().unwrap())).collect();
    for (what, edit) in EDITS {
        for at in 0..5 {
            let sim = base.image();
            let mut edited = list.clone();
            edit(&mut edited[at]);
            put_history(&sim, &edited);
            let before = reach(&sim, header(&sim, &paths[at]).lsn);
            let history = History::at(sim.clone(), Path::new(TO), SET, shop.id);
            history.retire(&KEEP(1)).unwrap();
            let context = format!("{what}, entry {at}: {:?}", archives(&sim));
            assert!(sim.metadata(&paths[at]).is_ok(), "{context}");
            if at < 2 {
                assert!(sim.metadata(&paths[0]).is_ok(), "its set: {context}");
                assert!(sim.metadata(&paths[1]).is_ok(), "its set: {context}");
            }
            assert_eq!(reach(&sim, header(&sim, &paths[at]).lsn), before, "{context}");
            assert!(sim.metadata(&paths[5]).is_ok(), "the newest: {context}");
            history.next_number().unwrap();
        }
    }
}

#[test]
fn a_number_that_somebody_wrote_into_the_history_ends_no_backups() {
    let (sim, shop) = five();
    let mut list = listed(&sim, SET);
    list[0]["backupNumber"] = json!(u32::MAX);
    put_history(&sim, &list);
    assert_eq!(shop.history().next_number().unwrap(), 7);
    write(&sim, "/backups/shop[4294967295].tar.zst", b"junk");
    assert_eq!(shop.history().next_number().unwrap(), 7);
    let history = shop.history();
    history.next_number().unwrap();
    let told = history.take_remarks();
    let junk = |path: &Path| path.ends_with("shop[4294967295].tar.zst");
    assert!(told.iter().any(|item| item.path.as_deref().is_some_and(junk)), "{told:?}");
}

#[test]
fn entries_that_stand_twice_and_marks_that_somebody_set_delete_nothing() {
    let (base, shop) = five();
    let list = listed(&base, SET);
    let sim = base.image();
    let mut twice = list.clone();
    twice.push(list[2].clone());
    put_history(&sim, &twice);
    History::at(sim.clone(), Path::new(TO), SET, shop.id).retire(&KEEP(1)).unwrap();
    assert!(archives(&sim).contains(&"shop[0003].tar.zst".to_owned()), "{:?}", archives(&sim));
    let sim = base.image();
    let mut marked = list;
    for entry in &mut marked {
        entry["deleting"] = json!(true);
        entry["deletingLog"] = json!(true);
    }
    put_history(&sim, &marked);
    History::at(sim.clone(), Path::new(TO), SET, shop.id).retire(&KEEP(9)).unwrap();
    assert_eq!(archives(&sim), archives(&base), "all of them are whole");
}

#[test]
fn the_history_of_another_store_deletes_nothing() {
    let (sim, shop) = five();
    let before = archives(&sim);
    let mut list = listed(&sim, SET);
    for entry in &mut list {
        entry["storeId"] = json!("00000000000000000000000000000001");
    }
    put_history(&sim, &list);
    for store in [shop.id, 1] {
        let history = History::at(sim.clone(), Path::new(TO), SET, store);
        history.retire(&KEEP(1)).unwrap();
        assert_eq!(archives(&sim), before, "store {store}");
    }
}

#[test]
fn an_older_copy_of_the_history_deletes_nothing_that_is_newer() {
    let sim = ground(32);
    let mut shop = Shop::create(&sim, "/store");
    for _ in 0..3 {
        shop.recorded(None);
    }
    let older = read(&sim, history_file());
    for _ in 0..3 {
        shop.recorded(None);
    }
    write(&sim, history_file(), &older);
    shop.history().retire(&KEEP(2)).unwrap();
    let left = archives(&sim);
    for number in 4..=6 {
        assert!(left.contains(&format!("shop[{number:04}].tar.zst")), "{left:?}");
    }
    // The store remembers that it made those, too.
    shop.history().with_store(Path::new("/store")).retire(&KEEP(2)).unwrap();
    let left: Vec<String> =
        archives(&sim).into_iter().filter(|name| name.ends_with("].tar.zst")).collect();
    assert_eq!(left, ["shop[0005].tar.zst", "shop[0006].tar.zst"]);
}

#[test]
fn a_history_that_was_lost_is_made_anew_and_only_what_the_store_made_goes_by_it() {
    let (sim, shop) = five();
    let before = archives(&sim);
    sim.remove_file(&history_file()).unwrap();
    shop.history().retire(&KEEP(1)).unwrap();
    assert_eq!(archives(&sim), before, "nobody but the archives says that they were made here");
    shop.history().with_store(Path::new("/store")).retire(&KEEP(1)).unwrap();
    assert_eq!(archives(&sim), ["shop[0006].tar.zst"]);
}

#[test]
fn an_archive_that_is_brought_back_stays() {
    let (sim, shop) = five();
    let brought = ["shop[0001].tar.zst", "shop[0001].log.zst"];
    let bytes = brought.map(|name| read(&sim, Path::new(TO).join(name)));
    shop.history().with_store(Path::new("/store")).retire(&KEEP(1)).unwrap();
    assert_eq!(archives(&sim), ["shop[0006].tar.zst"]);
    for (name, bytes) in brought.iter().zip(&bytes) {
        write(&sim, Path::new(TO).join(name), bytes);
    }
    for _ in 0..2 {
        shop.history().with_store(Path::new("/store")).retire(&KEEP(1)).unwrap();
        let left = archives(&sim);
        assert!(brought.iter().all(|name| left.contains(&(*name).to_owned())), "{left:?}");
    }
}

#[test]
fn archives_that_were_given_the_name_of_another_set_stay() {
    let (sim, shop) = five();
    let list = read(&sim, history_file());
    for name in archives(&sim) {
        let other = name.replace("shop[", "till[");
        sim.rename(&Path::new(TO).join(&name), &Path::new(TO).join(other)).unwrap();
    }
    let text = String::from_utf8(list).unwrap().replace("shop[", "till[");
    write(&sim, history_file(), text.replace("\"shop\"", "\"till\"").as_bytes());
    let before = archives(&sim);
    let history = History::at(sim.clone(), Path::new(TO), "till", shop.id);
    history.with_store(Path::new("/store")).retire(&KEEP(1)).unwrap();
    assert_eq!(archives(&sim), before);
}

#[test]
fn an_archive_that_cannot_be_read_stays_with_the_ones_that_depend_on_it() {
    let (sim, shop) = five();
    let first = Path::new(TO).join("shop[0001].tar.zst");
    let mut bytes = read(&sim, &first);
    let end = bytes.len() - 40;
    bytes[end..].fill(0);
    write(&sim, &first, &bytes);
    shop.history().retire(&KEEP(1)).unwrap();
    let left = archives(&sim);
    for name in ["shop[0001].tar.zst", "shop[0002].inc.tar.zst"] {
        assert!(left.contains(&name.to_owned()), "{left:?}");
    }
}
