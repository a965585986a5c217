//! Integration into a store that is open: strict and repairing, stopped and crashed.

use super::*;

#[test]
fn integration_goes_on_where_the_store_is_and_passes_over_what_it_has() {
    let (scene, archives) = with_backups();
    let logs = log_archives(&scene);
    scene.archive(&archives[0]).restore("/copy").run().unwrap();
    let copy = scene.open("/copy").unwrap();
    let reader = copy.begin_read().unwrap();
    let report = copy.integrate(&logs[..2], IntegrateOptions::default()).unwrap();
    assert_eq!((report.after, report.lsn, report.commits), (1, 7, 6));
    assert_eq!(reader.lsn(), 1, "a handle stays where it is");
    drop(reader);
    let again = copy.integrate(&logs, IntegrateOptions::default()).unwrap();
    assert_eq!((again.after, again.lsn, again.commits), (7, 10, 3));
    // The rest is in the segments of the store itself, which is in use.
    let own = [format!("{STORE}/log")];
    let last = copy.integrate(&own, IntegrateOptions::default()).unwrap();
    assert_eq!(last.lsn, scene.store.lsn());
    assert_eq!(now(&copy), now(&scene.store));
    // It is at its source's history until it commits on its own.
    copy.close().unwrap();
    let copy = scene.open("/copy").unwrap();
    let saved = copy.backup(TO).run().unwrap();
    let theirs = scene.store.backup(TO).run().unwrap();
    assert_eq!((saved.timeline, saved.lsn), (theirs.timeline, theirs.lsn));
    put(&copy, 1, "promoted").unwrap();
    let promoted = copy.backup(TO).run().unwrap();
    assert_eq!(promoted.timeline.parent, theirs.timeline.id);
}

#[test]
fn writes_wait_for_an_integration_and_open_handles_hold_it_up() {
    let (scene, archives) = with_backups();
    let logs = log_archives(&scene);
    scene.archive(&archives[0]).restore("/copy").run().unwrap();
    let copy = scene.open("/copy").unwrap();
    let (held, release) = (crossbeam_channel::bounded(0), crossbeam_channel::bounded::<()>(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let write = copy.begin_write().unwrap();
            held.0.send(()).unwrap();
            release.1.recv().unwrap();
            drop(write);
        });
        held.1.recv().unwrap();
        let options = IntegrateOptions {
            transaction_timeout: std::time::Duration::ZERO,
            ..IntegrateOptions::default()
        };
        let refused = copy.integrate(&logs, options);
        assert_eq!(code(refused), (ErrorKind::Timeout, 1420));
        assert_eq!(copy.lsn(), 1);
        // While one waits for the handle, it excludes backups and others of its kind.
        let waiting = scope.spawn(|| {
            loop {
                match copy.integrate(&logs, IntegrateOptions::default()) {
                    Err(error) if error.kind() == ErrorKind::BackupInProgress => {}
                    ended => break ended,
                }
            }
        });
        // A backup that would go nowhere, so that its turn is short.
        let busy = loop {
            match copy.backup("/nowhere").access(stillpoint::Access::Live).run() {
                Err(error) if error.code() == 1417 => break error,
                _ => std::thread::yield_now(),
            }
        };
        assert_eq!((busy.kind(), busy.code()), (ErrorKind::Busy, 1417));
        assert!(busy.is_retryable());
        release.0.send(()).unwrap();
        assert_eq!(waiting.join().unwrap().unwrap().lsn, 10);
    });
    copy.integrate(&logs, IntegrateOptions::default()).unwrap();
}

#[test]
fn a_crash_at_any_call_of_an_integration_leaves_a_prefix_that_can_be_gone_on_from() {
    let (scene, archives) = with_backups();
    let logs = log_archives(&scene);
    scene.archive(&archives[0]).restore("/copy").run().unwrap();
    scene.store.close().unwrap();
    let history: Vec<_> = {
        let archive = scene.archive(&archives[0]);
        (1..=10)
            .map(|lsn| {
                let dir = format!("/model-{lsn}");
                archive.restore(&dir).logs_in(TO).to(RestorePoint::Lsn(lsn)).run().unwrap();
                now(&scene.open(&dir).unwrap())
            })
            .collect()
    };
    let mut finished = false;
    for call in 1..300 {
        let sim = scene.sim.image();
        let copy = open(&sim, "/copy").unwrap();
        sim.crash_at(call);
        let done = copy.integrate(&logs, IntegrateOptions::default());
        finished = !sim.crashed();
        assert!(finished || done.is_err() || call > 1);
        sim.crash_now();
        let _crashed = copy.close();
        drop(copy);
        let survivals = [Survival::Nothing, Survival::Everything, Survival::Random(call)];
        let sim = sim.reboot(survivals[call as usize % 3]);
        let copy = open(&sim, "/copy").unwrap();
        let lsn = copy.lsn();
        assert_eq!(now(&copy), history[lsn as usize - 1], "call {call}");
        let rest = copy.integrate(&logs, IntegrateOptions::default()).unwrap();
        assert_eq!((rest.after, rest.lsn), (lsn, 10), "call {call}");
        assert_eq!(now(&copy), history[9], "call {call}");
        if finished {
            break;
        }
    }
    assert!(finished, "the integration was never let through");
}

#[test]
fn auto_repair_goes_past_a_gap_and_tells_every_operation() {
    let scene = Scene::new(Mode::Server, 3);
    let first = scene.store.backup(TO).run().unwrap().archive;
    put(&scene.store, 50, "lost with its log archive").unwrap();
    scene.store.backup(TO).run().unwrap();
    put(&scene.store, 50, "changed").unwrap();
    put(&scene.store, 1, "changed").unwrap();
    let write = scene.store.begin_write().unwrap();
    write.table(ITEMS).unwrap().delete(&2).unwrap();
    write.table(ITEMS).unwrap().delete(&50).unwrap();
    write.table(stillpoint::TableDef::<str, u64>::new("counts")).unwrap().put("a", &1).unwrap();
    write.commit().unwrap();
    let write = scene.store.begin_write().unwrap();
    write.table(ITEMS).unwrap().put(&51, &"added".into()).unwrap();
    write.commit().unwrap();
    scene.store.backup(TO).run().unwrap();
    let logs = log_archives(&scene);
    scene.archive(&first).restore("/copy").run().unwrap();
    let copy = scene.open("/copy").unwrap();
    let strict = copy.integrate(&logs[1..], IntegrateOptions::default());
    assert_eq!(code(strict), (ErrorKind::Invalid, 2010));
    let options =
        IntegrateOptions { strictness: Strictness::AutoRepair, ..IntegrateOptions::default() };
    let report = copy.integrate(&logs[1..], options.clone()).unwrap();
    assert_eq!(report.commits, 0);
    assert_eq!(report.problems.len(), 1);
    assert_eq!(now(&copy), now(&scene.store));
    let told: Vec<_> = report
        .repairs
        .iter()
        .map(|repair| (repair.table.as_str(), repair.key.to_string(), repair.done))
        .collect();
    let expected = [
        ("items", "50", Repaired::Added),
        ("items", "1", Repaired::Updated),
        ("counts", "null", Repaired::Structure),
        ("items", "2", Repaired::Deleted),
        ("items", "50", Repaired::Deleted),
        ("counts", "\"a\"", Repaired::Added),
        ("items", "51", Repaired::Added),
    ];
    let mut told_sorted: Vec<_> =
        told.iter().map(|(table, key, done)| (*table, key.as_str(), format!("{done:?}"))).collect();
    let mut expected: Vec<_> =
        expected.iter().map(|(table, key, done)| (*table, *key, format!("{done:?}"))).collect();
    told_sorted.sort();
    expected.sort();
    assert_eq!(told_sorted, expected);
    assert_eq!(report.repaired, expected.len() as u64);
    // It is a history of its own now.
    assert_ne!(report.timeline.id, scene.archive(&first).header().timeline.id);
    // The log of another store is no damage.
    let other = Store::builder("/other").disk(scene.sim.clone()).create().unwrap();
    let refused = other.integrate(&logs, options);
    assert_eq!(code(refused), (ErrorKind::Foreign, 1416));
}

#[test]
fn auto_repair_puts_no_older_value_over_a_newer_one_of_the_store_s_own_past() {
    let scene = Scene::new(Mode::Server, 3);
    let mut archive = scene.store.backup(TO).run().unwrap().archive;
    put(&scene.store, 1, "of the first timeline").unwrap();
    scene.store.backup(TO).run().unwrap();
    let oldest = log_archives(&scene);
    let first = scene.destination();
    let mut store = scene.store.clone();
    // Twice another history begins where the last one was.
    for (copy, value) in [("/second", "of the second"), ("/third", "of the third")] {
        archive = store.backup(TO).run().unwrap().archive;
        scene.archive(&archive).restore(copy).run().unwrap();
        store = scene.open(copy).unwrap();
        put(&store, 1, value).unwrap();
    }
    assert!(scene.destination().len() > first.len(), "{}", archive.display());
    let before = now(&store);
    let options =
        IntegrateOptions { strictness: Strictness::AutoRepair, ..IntegrateOptions::default() };
    let report = store.integrate(&oldest, options).unwrap();
    assert_eq!((report.commits, report.repaired), (0, 0), "{report:?}");
    assert_eq!(now(&store), before);
    assert_eq!(crate::scene::get(&store, 1).as_deref(), Some("of the third"));
}

#[test]
fn an_integration_that_is_stopped_leaves_a_prefix() {
    let (scene, archives) = with_backups();
    let logs = log_archives(&scene);
    for strictness in [Strictness::Strict, Strictness::AutoRepair] {
        let dir = format!("/{strictness:?}");
        scene.archive(&archives[0]).restore(&dir).run().unwrap();
        let copy = scene.open(&dir).unwrap();
        let (before, stop) = (copy.lsn(), Some(Arc::new(AtomicBool::new(true))));
        let options = IntegrateOptions { strictness, stop, ..IntegrateOptions::default() };
        let stopped = copy.integrate(&logs, options);
        assert_eq!(code(stopped), (ErrorKind::Stopped, 1406));
        let after = copy.lsn();
        assert!(before < after && after < scene.store.lsn(), "LSN {after}");
        // The store knows where it is, for whoever has nothing left but that to go by.
        let state = read_file(&scene.sim, &Path::new(&dir).join("backup-state.json"));
        let state: serde_json::Value = serde_json::from_slice(&state).unwrap();
        assert_eq!(state["restored_to"]["lsn"], after);
        assert!(copy.integrate(&logs, IntegrateOptions::default()).unwrap().commits > 0);
    }
}
