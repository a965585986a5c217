//! Delta restores: what is right already is kept, the result is the archive's store, and whatever
//! happens meanwhile is never taken for a store.

use std::path::Path;
use std::sync::Arc;

use stillpoint::disk::{Call, Disk, Fault, FaultPlan, SimDisk, Survival};
use stillpoint::{Archive, ErrorKind, Mode, RestoreReport, Result};

use crate::scene::{Scene, TO, all, files, open, put, read_file, write_file};

/// A store with an attachment, a chain of two archives of it, and a store that went on since.
fn scene() -> (Scene, Vec<(u64, String)>, std::path::PathBuf) {
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
    Archive::open_on(sim.clone(), archive)?.restore("/inventory").delta(true).run()
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
    assert!(!sim.list(Path::new("/inventory/log.before-restore")).unwrap().is_empty());
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
    assert!(sim.metadata(Path::new("/inventory/attachments.before-restore")).is_ok());
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
            assert!(sim.metadata(Path::new("/inventory/restoring")).is_err());
        }
        assert!(failed > 0, "{call:?}");
    }
}
