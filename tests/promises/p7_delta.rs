//! Delta restores: what is right already is kept, the result is the archive's store, and whatever
//! happens meanwhile is never taken for a store.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use stillpoint::disk::{Call, Disk, Fault, FaultPlan, SimDisk, Survival};
use stillpoint::{Archive, ErrorKind, Mode, RestoreReport, Result};

use crate::scene::{Scene, TO, all, files, open, put, read_file, write_file};

/// A store with an attachment, a chain of two archives of it, and a store that went on since.
fn scene() -> (Scene, Vec<(u64, String)>, PathBuf) {
    let scene = Scene::new(Mode::Server, 400);
    scene.sim.create_dir(Path::new("/web")).unwrap();
    write_file(&scene.sim, Path::new("/web/a.css"), b"body {}");
    scene.store.backup(TO).attachment("/web").run().unwrap();
    put(&scene.store, 7, "in the second archive").unwrap();
    put(&scene.store, 9000, &"big ".repeat(9000)).unwrap();
    let saved = scene.store.backup(TO).attachment("/web").incremental().run().unwrap();
    let expected = all(&scene.store);
    for key in (0..400).step_by(40) {
        put(&scene.store, key, &"of later times ".repeat(30)).unwrap();
    }
    scene.store.checkpoint().unwrap();
    put(&scene.store, 1, "in the log only").unwrap();
    (scene, expected, saved.archive)
}

fn delta(sim: &Arc<SimDisk>, archive: &Path) -> Result<RestoreReport> {
    Archive::open_on(sim.clone(), archive)?
        .restore("/inventory")
        .delta(true)
        .discard_newer(true)
        .run()
}

fn assert_is(sim: &Arc<SimDisk>, expected: &[(u64, String)]) {
    let store = open(sim, "/inventory").unwrap();
    store.verify().unwrap();
    assert!(all(&store) == expected);
    put(&store, 3, "it goes on").unwrap();
    store.close().unwrap();
}

#[test]
fn a_delta_restore_keeps_what_is_right_and_sets_the_old_log_aside() {
    let (scene, expected, archive) = scene();
    scene.store.close().unwrap();
    let sim = &scene.sim;
    let report = delta(sim, &archive).unwrap();
    let len = read_file(sim, Path::new("/inventory/store.data")).len() as u64;
    let web = b"body {}".len() as u64;
    assert!(report.kept_bytes > len / 3, "{report:?}");
    assert!(report.bytes > web && report.kept_bytes < len, "{report:?}");
    assert!(!sim.list(Path::new("/inventory/set-aside/before-restore/log")).unwrap().is_empty());
    assert_eq!(read_file(sim, Path::new("/inventory/attachments/web/a.css")), b"body {}");
    // It is the very file that a restore into a new folder makes.
    scene.archive(&archive).restore("/copy").run().unwrap();
    let data = |dir: &str| read_file(sim, &Path::new(dir).join("store.data"));
    assert!(data("/inventory") == data("/copy"));
    assert_is(sim, &expected);
    // A second one finds little to do: two metas, and what the store did to itself.
    let again = delta(sim, &archive).unwrap();
    assert!(again.bytes < report.bytes);
    assert_is(sim, &expected);
    assert!(sim.metadata(Path::new("/inventory/set-aside/before-restore-2/attachments")).is_ok());
}

type Records = Vec<(u64, String)>;

/// A store with its log on another disk, an archive of it, and logs beyond: `(disk, what the archive
/// holds, what the log archive leads to, archive, log archive)`. It went on after both.
fn with_logs() -> (Arc<SimDisk>, [Records; 3], PathBuf, PathBuf) {
    let scene = Scene::with(300, |builder| builder.log_folder(ELSEWHERE));
    let saved = scene.store.backup(TO).log_archive(true).run().unwrap();
    let archived = all(&scene.store);
    for key in (0..300).step_by(30) {
        put(&scene.store, key, &"later ".repeat(40)).unwrap();
    }
    let next = scene.store.backup(TO).log_archive(true).run().unwrap();
    let rolled = all(&scene.store);
    put(&scene.store, 1, "in the log only").unwrap();
    let old = all(&scene.store);
    scene.store.close().unwrap();
    let start = scene.sim.reboot(Survival::Everything);
    (start, [archived, rolled, old], saved.archive, next.log_archive.unwrap().path)
}

const ELSEWHERE: &str = "/fast/log";

fn delta_with_log(sim: &Arc<SimDisk>, archive: &Path, log: &Path) -> Result<RestoreReport> {
    let archive = Archive::open_on(sim.clone(), archive)?;
    archive.restore("/inventory").delta(true).discard_newer(true).log(log).run()
}

#[test]
fn a_log_on_another_disk_stays_there_and_what_was_in_it_is_set_aside() {
    let (sim, [archived, ..], archive, _) = with_logs();
    let names = |dir: &str| sim.list(Path::new(dir)).unwrap();
    let old = names(ELSEWHERE);
    assert!(!old.is_empty());
    delta(&sim, &archive).unwrap();
    assert_eq!(sim.read_link(Path::new("/inventory/log")).unwrap(), Path::new(ELSEWHERE));
    assert_eq!(names(ELSEWHERE), [PathBuf::from("before-restore")]);
    assert_eq!(names("/fast/log/before-restore"), old);
    assert_is(&sim, &archived);
    let new = names(ELSEWHERE).len();
    assert!(new > 1, "the log goes on there");
    // A second one sets aside what came since, and not what is aside already.
    delta(&sim, &archive).unwrap();
    assert_eq!(names(ELSEWHERE), ["before-restore", "before-restore-2"].map(PathBuf::from));
    assert_eq!(names("/fast/log/before-restore-2").len(), new - 1);
    assert_is(&sim, &archived);
}

/// After a crash at any call: the old store, or the one at the end of the logs, or none. One at the
/// archive's commit would be a store that nobody asked for.
#[test]
fn a_delta_restore_with_logs_leaves_the_store_at_their_end_or_none() {
    let (start, [archived, rolled, old], archive, log) = with_logs();
    assert!(archived != rolled && rolled != old);
    let measured = start.image();
    let report = delta_with_log(&measured, &archive, &log).unwrap();
    assert!(report.commits >= 10 && report.lsn > report.archive_lsn, "{report:?}");
    let calls = measured.calls();
    assert_is(&measured, &rolled);
    let mut seen = [0; 3];
    // The store that is rolled forward has threads, so that the number of calls varies a little.
    for call in 1..=calls + 10 {
        let sim = start.image();
        sim.crash_at(call);
        let outcome = delta_with_log(&sim, &archive, &log);
        for survival in [Survival::Random(call), Survival::Everything] {
            let sim = sim.reboot(survival);
            match open(&sim, "/inventory") {
                Ok(store) => {
                    let found = all(&store);
                    assert!(found == old || found == rolled, "call {call}");
                    assert!(outcome.is_err() || found == rolled);
                    seen[usize::from(found == rolled)] += 1;
                    store.close().unwrap();
                }
                Err(error) => {
                    assert!(error.message().contains("interrupted"), "call {call}: {error}");
                    seen[2] += 1;
                }
            }
            delta_with_log(&sim, &archive, &log)
                .unwrap_or_else(|error| panic!("call {call}: {error}"));
            assert_is(&sim, &rolled);
        }
    }
    assert!(seen.iter().all(|times| *times > 0), "{seen:?}");
}

#[test]
fn a_log_that_is_damaged_is_found_before_a_delta_restore_touches_anything() {
    let (sim, [_, _, old], archive, log) = with_logs();
    let names = sim.list(Path::new(ELSEWHERE)).unwrap();
    let newest = names.iter().rfind(|name| name.extension().is_some_and(|end| end == "log"));
    let newest = Path::new(ELSEWHERE).join(newest.unwrap());
    let copy = Path::new("/copy.log");
    let bytes = read_file(&sim, &newest);
    write_file(&sim, copy, &bytes);
    let restore = || {
        let archive = Archive::open_on(sim.clone(), &archive)?;
        archive.restore("/inventory").delta(true).log(&log).log(copy).run()
    };
    let record = b"in the log only";
    let place = bytes.windows(record.len()).position(|some| some == record).unwrap();
    sim.corrupt(copy, place as u64, 1).unwrap();
    let before = [files(&sim, "/inventory"), files(&sim, ELSEWHERE)];
    let error = restore().unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::Corrupt, 1413), "{error}");
    assert!([files(&sim, "/inventory"), files(&sim, ELSEWHERE)] == before);
    sim.corrupt(copy, place as u64, 1).unwrap();
    restore().unwrap();
    assert_is(&sim, &old);
}

#[test]
fn an_incremental_backup_goes_on_from_the_archive_of_a_delta_restore() {
    let (scene, _, archive) = scene();
    scene.store.close().unwrap();
    delta(&scene.sim, &archive).unwrap();
    let store = open(&scene.sim, "/inventory").unwrap();
    put(&store, 5, "after the restore").unwrap();
    let next = store.backup(TO).incremental().run().unwrap();
    let expected = all(&store);
    assert_eq!(scene.archive(&next.archive).chain().unwrap().len(), 3);
    scene.archive(&next.archive).restore("/copy").run().unwrap();
    assert!(all(&open(&scene.sim, "/copy").unwrap()) == expected);
}

#[test]
fn a_delta_restore_refuses_what_is_not_an_older_copy_and_touches_nothing() {
    let (scene, _, archive) = scene();
    let sim = &scene.sim;
    let error = delta(sim, &archive).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InUse, "{error}");
    scene.store.close().unwrap();
    let other = stillpoint::Store::builder("/other").disk(sim.clone()).create().unwrap();
    other.close().unwrap();
    sim.create_dir(Path::new("/empty")).unwrap();
    let before = files(sim, "/");
    for (dir, kind) in [
        ("/other", ErrorKind::Foreign),
        ("/empty", ErrorKind::NotFound),
        ("/no", ErrorKind::NotFound),
    ] {
        let error = scene.archive(&archive).restore(dir).delta(true).run().unwrap_err();
        assert_eq!(error.kind(), kind, "{dir}: {error}");
    }
    let opened = scene.archive(&archive);
    let error = opened.restore("/inventory").delta(true).only_tables(["items"]).run().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    // Damage in any archive of the chain is found before anything is touched.
    let full = Path::new(TO).join("inventory[0001].tar.zst");
    let place = read_file(sim, &full).len() as u64 / 2;
    sim.corrupt(&full, place, 1).unwrap();
    let error = delta(sim, &archive).unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::Corrupt, 1411), "{error}");
    sim.corrupt(&full, place, 1).unwrap();
    assert!(files(sim, "/") == before);
}

/// After a crash at any call: the store is the old one or the new one, or there is none, and the same
/// restore run again makes the new one.
#[test]
fn a_delta_restore_that_crashes_anywhere_is_finished_by_the_next() {
    let (scene, expected, archive) = scene();
    let old = all(&scene.store);
    scene.store.close().unwrap();
    let start = scene.sim.reboot(Survival::Everything);
    let measured = start.image();
    let before = measured.calls();
    delta(&measured, &archive).unwrap();
    let calls = measured.calls() - before;
    assert!(calls > 60, "{calls}");
    let mut seen = [0; 3];
    for call in 1..=calls {
        let sim = start.image();
        sim.crash_at(sim.calls() + call);
        let outcome = delta(&sim, &archive);
        for survival in [Survival::Nothing, Survival::Random(call), Survival::Everything] {
            let sim = sim.reboot(survival);
            match open(&sim, "/inventory") {
                Ok(store) => {
                    store.verify().unwrap();
                    let found = all(&store);
                    assert!(found == old || found == expected, "call {call}");
                    assert!(outcome.is_err() || found == expected);
                    seen[usize::from(found == expected)] += 1;
                    store.close().unwrap();
                }
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::NotFound, "call {call}: {error}");
                    assert!(error.message().contains("interrupted"), "{error}");
                    seen[2] += 1;
                }
            }
            delta(&sim, &archive).unwrap_or_else(|error| panic!("call {call}: {error}"));
            assert_is(&sim, &expected);
        }
    }
    assert!(seen.iter().all(|times| *times > 0), "{seen:?}");
}

#[test]
fn a_delta_restore_that_is_stopped_leaves_the_store_or_says_that_it_has_to_be_run_again() {
    let (scene, expected, path) = scene();
    let old = all(&scene.store);
    scene.store.close().unwrap();
    let archive = scene.archive(&path);
    let stop_at = |done: u64| {
        let restore = archive.restore("/inventory").delta(true).discard_newer(true);
        let restore = restore.on_progress(move |progress| {
            if progress.done >= done { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        let error = restore.run().unwrap_err();
        assert_eq!((error.kind(), error.code()), (ErrorKind::Stopped, 1406));
        error
    };
    // While nothing but the attachment is unpacked, the store is as it was.
    stop_at(1);
    let store = open(&scene.sim, "/inventory").unwrap();
    assert!(all(&store) == old);
    store.close().unwrap();
    let error = stop_at(4096);
    assert!(error.advice().is_some_and(|advice| advice.contains("again")), "{error}");
    assert_eq!(open(&scene.sim, "/inventory").unwrap_err().kind(), ErrorKind::NotFound);
    delta(&scene.sim, &path).unwrap();
    assert_is(&scene.sim, &expected);
}

#[test]
fn a_delta_restore_that_fails_is_finished_by_the_next() {
    let (scene, expected, archive) = scene();
    scene.store.close().unwrap();
    let start = scene.sim.reboot(Survival::Everything);
    for call in [Call::Write, Call::Sync, Call::Rename, Call::SyncDir, Call::Create, Call::Read] {
        let mut failed = 0;
        for skipped in 0..5 {
            let sim = start.image();
            sim.fail(FaultPlan::once(call, "/inventory", Fault::IO).skip(skipped));
            failed += u32::from(delta(&sim, &archive).is_err());
            sim.heal();
            delta(&sim, &archive).unwrap();
            assert_is(&sim, &expected);
            assert!(sim.metadata(Path::new("/inventory/replacement")).is_err());
        }
        assert!(failed > 0, "{call:?}");
    }
}

/// Which commits go is told before, and nothing goes that nobody agreed to.
#[test]
fn a_delta_restore_throws_newer_commits_away_only_where_it_is_told_to() {
    let (scene, expected, archive) = scene();
    let (lsn, old) = (scene.store.lsn(), all(&scene.store));
    scene.store.close().unwrap();
    let sim = &scene.sim;
    let opened = scene.archive(&archive);
    let from = opened.header().lsn;
    let restore = || opened.restore("/inventory").delta(true);
    let gone = restore().plan().unwrap().discards.unwrap();
    assert_eq!((gone.after, gone.last), (Some(from), Some(lsn)));
    let before = files(sim, "/");
    let error = restore().run().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    let told = format!("commits {} to {lsn}", from + 1);
    assert!(error.message().contains(&told), "{error}");
    assert!(error.advice().is_some_and(|advice| advice.contains("discard_newer")), "{error}");
    let mut after = files(sim, "/");
    let lock = Path::new("/inventory/lock");
    after.insert(lock.to_path_buf(), before[lock].clone());
    assert!(after == before, "nothing was touched");
    let store = open(sim, "/inventory").unwrap();
    assert!(all(&store) == old);
    store.close().unwrap();
    let report = restore().discard_newer(true).run().unwrap();
    assert_eq!(report.discarded, Some(gone));
    assert_is(sim, &expected);
    // The store has made a commit of its own since: that is one more that would go.
    let error = restore().run().unwrap_err();
    assert!(error.message().contains(&format!("has commit {}", from + 1)), "{error}");
    // An older copy of the same history loses nothing, and nobody has to agree.
    let first = Path::new(TO).join("inventory[0001].tar.zst");
    scene.archive(&first).restore("/older").run().unwrap();
    let report = opened.restore("/older").delta(true).run().unwrap();
    assert_eq!((report.discarded, report.lsn), (None, from));
    // Of a damaged copy nobody knows.
    let data = read_file(sim, Path::new("/older/store.data"));
    for page in (2 * 4096..data.len() as u64).step_by(4096) {
        sim.corrupt("/older/store.data", page, 1).unwrap();
    }
    let gone = opened.restore("/older").delta(true).plan().unwrap().discards.unwrap();
    assert_eq!((gone.after, gone.last), (None, None));
    opened.restore("/older").delta(true).discard_newer(true).run().unwrap();
    assert!(all(&open(sim, "/older").unwrap()) == expected);
}
