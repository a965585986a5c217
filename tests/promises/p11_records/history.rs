//! The history: what is in it, what happens when it is lost or damaged, and crashes.

use std::path::Path;

use jiff::tz::TimeZone;
use serde_json::{Value, json};
use stillpoint::disk::{Disk, Survival};
use stillpoint::regime::{History, Operation, OperationKind, RetentionRule};
use stillpoint::{Error, ErrorKind};

use super::{SET, Shop, TO, archives, ground, listed, names, operation, read, write};

const FILE: &str = "/backups/backupHistory.json";

#[test]
fn an_operation_tells_all_that_was_done() {
    let sim = ground(1);
    sim.create_dir(Path::new("/web")).unwrap();
    write(&sim, "/web/index.html", b"<h1>");
    let mut shop = Shop::create(&sim, "/store");
    shop.recorded(Some(3));
    shop.commit();
    let backup = shop.store.backup(TO).name(SET).attachment("/web").workers(1);
    let report = backup.run().unwrap();
    shop.record(&report, Some(3));
    let list = listed(&sim, SET);
    assert_eq!(list.len(), 2);
    let last = &list[1];
    assert_eq!(last["operation"], "backup");
    assert_eq!(last["backupNumber"], 2);
    assert_eq!((&last["status"], &last["code"]), (&json!("complete"), &json!(0)));
    assert_eq!(last["access"], "read-only");
    assert_eq!(last["backupPath"], "/backups/shop[0002].tar.zst");
    assert_eq!(last["logPath"], "/backups/shop[0001].log.zst");
    assert_eq!(last["backupFiles"][0]["bytes"], report.archive_bytes);
    assert_eq!(last["seal"], json!(report.seal));
    assert_eq!(last["lsn"], report.lsn);
    assert_eq!(last["started"], report.started);
    assert_eq!(last["durationMicros"], report.duration.as_micros() as u64);
    assert!(last["longestWaitMicros"].is_u64());
    let date = jiff::Timestamp::from_microsecond(report.started).unwrap();
    assert_eq!(last["date"], date.strftime("%Y-%m-%d").to_string());
    let saved = last["savedFiles"].as_array().unwrap();
    let index = saved.iter().find(|f| f["path"].as_str().unwrap().ends_with("index.html"));
    assert_eq!(index.unwrap()["bytes"], 4, "attachments included");
    assert_eq!(saved.len(), report.files.len());
    // And it is read back as what was written.
    assert_eq!(shop.history().read().unwrap()[1], operation(&sim, &report));
}

#[test]
fn restores_and_failures_are_told_too_and_no_more_of_them_than_sets() {
    let sim = ground(2);
    let mut shop = Shop::create(&sim, "/store");
    shop.recorded(Some(2));
    for second in 0..5 {
        let started = 1_000_000 * second;
        let new = Operation::new(OperationKind::Restore, shop.id, started, &TimeZone::UTC);
        let error = Error::new(ErrorKind::Foreign, "another store").with_code(1416);
        shop.history().record(new.failed(&error), Some(2)).unwrap();
    }
    let list = listed(&sim, SET);
    assert_eq!(list.len(), 3, "one set, and the last two of the rest");
    assert_eq!(list[0]["backupNumber"], 1);
    assert_eq!((&list[2]["status"], &list[2]["code"]), (&json!("failed"), &json!(1416)));
    assert_eq!(list[2]["time"], "00:00:04+00:00");
}

#[test]
fn stores_share_a_destination_and_unknown_fields_stay() {
    let sim = ground(3);
    let mut shop = Shop::create(&sim, "/store");
    shop.recorded(None);
    let mut file: Value = serde_json::from_slice(&read(&sim, FILE)).unwrap();
    file["other"] = json!([{"anything": 1}]);
    file[SET][0]["comment"] = json!("before the move");
    write(&sim, FILE, file.to_string().as_bytes());
    shop.recorded(None);
    let other = History::at(sim.clone(), Path::new(TO), "third", shop.id);
    other
        .record(Operation::new(OperationKind::Integration, shop.id, 0, &TimeZone::UTC), None)
        .unwrap();
    let file: Value = serde_json::from_slice(&read(&sim, FILE)).unwrap();
    assert_eq!(file["other"], json!([{"anything": 1}]));
    assert_eq!(file[SET][0]["comment"], "before the move");
    assert_eq!(file[SET].as_array().unwrap().len(), 2);
    assert_eq!(file["third"][0]["operation"], "integration");
}

#[test]
fn a_malformed_history_is_set_aside_and_made_anew_from_the_archives() {
    let deep = "[".repeat(100_000);
    let bad: [&[u8]; 8] = [
        b"",
        b"{\"shop\": [",
        b"[]",
        b"{\"shop\": {}}",
        b"{\"shop\": [{\"backupNumber\": 1}]}",
        b"{\"shop\": [{\"operation\": \"backup\", \"started\": \"yesterday\"}]}",
        b"\xff\xfe",
        deep.as_bytes(),
    ];
    let sim = ground(4);
    let mut shop = Shop::create(&sim, "/store");
    let reports = [shop.recorded(None), shop.recorded(None)];
    for (count, bytes) in bad.into_iter().enumerate() {
        write(&sim, FILE, bytes);
        let history = shop.history();
        let error = history.read().unwrap_err();
        assert_eq!((error.kind(), error.path()), (ErrorKind::Corrupt, Some(Path::new(FILE))));
        assert_eq!(read(&sim, FILE), bytes, "reading changes nothing");
        let operations = history.load().unwrap();
        let aside = format!("{TO}/backupHistory.malformed-{}.json", count + 1);
        assert_eq!(read(&sim, &aside), bytes, "never lost");
        let remarks = history.take_remarks();
        assert_eq!(remarks[0].code, error.code());
        assert!(remarks[0].message.contains(&aside), "{}", remarks[0].message);
        assert_eq!(history.read().unwrap(), operations);
        for (report, made) in reports.iter().zip(&operations) {
            assert!(made.rebuilt);
            assert_eq!(made.backup_number, Some(report.number));
            assert_eq!(made.seal.as_ref(), Some(&report.seal));
            assert_eq!(made.lsn, Some(report.lsn));
            assert_eq!(made.backup_path.as_ref(), Some(&report.archive));
            assert_eq!(made.saved_files.len(), report.files.len());
            for (saved, file) in made.saved_files.iter().zip(&report.files) {
                assert_eq!((&saved.path, saved.bytes), (&file.path, file.bytes));
            }
        }
        assert_eq!(operations[1].log_path, reports[1].log_archive.as_ref().map(|l| l.path.clone()));
    }
}

#[test]
fn a_lost_history_resets_the_number_but_never_onto_a_file() {
    let sim = ground(5);
    let mut shop = Shop::create(&sim, "/store");
    for _ in 0..3 {
        shop.recorded(None);
    }
    assert_eq!(shop.history().next_number().unwrap(), 4);
    for name in ["shop[0003].tar.zst", "shop[0002].log.zst"] {
        sim.remove_file(&Path::new(TO).join(name)).unwrap();
    }
    assert_eq!(shop.history().next_number().unwrap(), 4, "the history remembers");
    sim.remove_file(Path::new(FILE)).unwrap();
    assert_eq!(shop.history().next_number().unwrap(), 3);
    // A file of another kind has its number all the same.
    write(&sim, "/backups/shop[0007].parity", b"parity");
    assert_eq!(shop.history().next_number().unwrap(), 8);
}

#[test]
fn archives_that_are_not_of_this_store_and_name_are_not_listed() {
    let sim = ground(6);
    let mut shop = Shop::create(&sim, "/store");
    let first = shop.recorded(None);
    let bytes = read(&sim, &first.archive);
    // Somebody's copy, and a file that is no archive.
    write(&sim, "/backups/shop[0009].tar.zst", &bytes);
    write(&sim, "/backups/shop[0008].tar.zst", b"not an archive");
    let mut other = Shop::create(&sim, "/other");
    other.back_up();
    assert_eq!(archives(&sim).len(), 4);
    sim.remove_file(Path::new(FILE)).unwrap();
    let numbers: Vec<_> =
        shop.history().load().unwrap().into_iter().map(|o| o.backup_number).collect();
    assert_eq!(numbers, [Some(1)]);
}

/// The crash between the name of an archive and its line in the history, and any other.
#[test]
fn no_crash_loses_what_the_history_told_of_or_an_archive() {
    let sim = ground(7);
    let mut shop = Shop::create(&sim, "/store");
    let first = shop.recorded(Some(3));
    let second = shop.back_up();
    let made = operation(&sim, &second);
    let base = sim.image();
    for survival in [Survival::Nothing, Survival::Everything] {
        for call in 1.. {
            let sim = base.image();
            sim.crash_at(call);
            let history = History::at(sim.clone(), Path::new(TO), SET, shop.id);
            let recorded = history.record(made.clone(), Some(3));
            let crashed = sim.crashed();
            assert_eq!(recorded.is_err(), crashed);
            let after = sim.reboot(survival);
            let history = History::at(after.clone(), Path::new(TO), SET, shop.id);
            let seals: Vec<_> =
                history.load().unwrap().into_iter().filter_map(|o| o.seal).collect();
            assert_eq!(seals, [first.seal.clone(), second.seal.clone()], "call {call}");
            assert!(names(&after, TO).iter().all(|name| !name.contains("malformed")));
            // What was listed from the archive becomes what the backup itself says.
            if history.read().unwrap().iter().any(|o| o.rebuilt) {
                history.record(made.clone(), Some(3)).unwrap();
            }
            let list = history.read().unwrap();
            assert_eq!(list.len(), 2, "call {call}");
            assert_eq!(list[1], made, "call {call}");
            if !crashed {
                break;
            }
        }
    }
}

#[test]
fn what_another_version_did_is_kept_and_owns_no_archive() {
    let sim = ground(9);
    let mut shop = Shop::create(&sim, "/store");
    let first = shop.recorded(None);
    // It names the archive of a backup as its own, with its seal, and stands before it.
    let mut file: Value = serde_json::from_slice(&read(&sim, FILE)).unwrap();
    let mut strange = file[SET][0].clone();
    strange["operation"] = json!("translation");
    strange["backupNumber"] = json!(40);
    file[SET].as_array_mut().unwrap().insert(0, strange.clone());
    write(&sim, FILE, file.to_string().as_bytes());
    let known = OperationKind::Other("translation".to_owned());
    assert_eq!(shop.history().read().unwrap()[0].operation, known);
    let second = shop.increment();
    shop.record(&second, Some(2));
    assert_eq!(archives(&sim).len(), 3, "two archives and a log");
    let rule = RetentionRule { keep: 1, room: 0 };
    assert!(shop.history().retire(&rule).unwrap().is_empty(), "the two are one set");
    shop.recorded(Some(2));
    shop.history().retire(&rule).unwrap();
    let left = archives(&sim);
    assert!(!left.iter().any(|name| first.archive.ends_with(name)), "{left:?}");
    assert_eq!(listed(&sim, SET)[0], strange, "as it was");
    assert_eq!(shop.history().next_number().unwrap(), 4);
    assert!(!names(&sim, TO).iter().any(|name| name.contains("malformed")));
}
