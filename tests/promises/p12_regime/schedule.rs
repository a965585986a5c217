//! What is due is done once: missed runs, postponed and overlapping ones, settings that change meanwhile.

use super::*;
use stillpoint::LogCapPolicy;

#[test]
fn a_run_that_was_missed_counts_as_a_failed_backup_and_is_made_up_for_after_the_wait() {
    let sim = shop(&with(&DAILY, &[RETRY, RETRY_LATER])).closed();
    sim.advance(3 * DAY);
    let shop = Shop::open(sim);
    assert_eq!(shop.status(), code::MISSED_RUN);
    assert!(matches!(shop.heard()[..], [RegimeEvent::Missed { .. }]), "three dates, one failure");
    assert!(shop.journal().contains("\tmissed\t"));
    shop.after(Duration::from_secs(301));
    assert!(matches!(shop.heard()[..], [RegimeEvent::BackupDone { .. }]));
    let shop = shop.again();
    assert_eq!(shop.status(), 0, "it is not missed a second time");
}

#[test]
fn a_schedule_that_is_new_has_missed_nothing() {
    let sim = shop(&[]).closed();
    sim.advance(3 * DAY);
    write_settings(&sim, &DAILY);
    let shop = Shop::open(sim);
    assert!(shop.regime.last_backup().is_none());
    assert!(shop.heard().is_empty());
}

#[test]
fn without_a_changed_record_a_run_is_postponed_and_no_error() {
    let shop = shop(&with(&DAILY, &[("Advanced/BackupIfDataChange", "True")]));
    shop.at("2026-01-01T02:30:00Z");
    assert_eq!(shop.archives().len(), 1);
    shop.heard();
    shop.at("2026-01-02T02:30:00Z");
    assert!(matches!(shop.heard()[..], [RegimeEvent::Postponed { .. }]));
    assert_eq!((shop.archives().len(), shop.status()), (1, 0));
    assert!(shop.journal().contains("\tpostponed\t"));
    const OTHER: TableDef<u64, String> = TableDef::new("other");
    let structure = shop.regime.store().begin_structure().unwrap();
    structure.create(OTHER).unwrap();
    structure.commit().unwrap();
    shop.at("2026-01-03T02:30:00Z");
    assert!(
        matches!(shop.heard()[..], [RegimeEvent::Postponed { .. }]),
        "the structure is no data"
    );
    shop.put(2);
    shop.at("2026-01-04T02:30:00Z");
    assert!(matches!(shop.heard()[..], [RegimeEvent::BackupDone { .. }]));
    shop.regime.backup().run().unwrap();
    assert_eq!(shop.archives().len(), 3, "who asks for a backup gets one");
}

#[test]
fn a_run_that_is_due_while_another_backup_is_made_is_left_out() {
    let shop = shop(&DAILY);
    let (go, wait) = unbounded::<()>();
    let (began, begins) = unbounded::<()>();
    let slow = shop.regime.backup().on_progress(move |_| {
        let _listening = began.send(());
        let _told = wait.recv();
        std::ops::ControlFlow::Continue(())
    });
    let running = slow.start().unwrap();
    begins.recv().unwrap();
    shop.at("2026-01-01T02:31:00Z");
    drop(go);
    running.wait().unwrap();
    assert_eq!(shop.archives().len(), 1);
    assert!(shop.journal().contains("\tskipped\t"), "{}", shop.journal());
    let heard = shop.heard();
    assert!(matches!(heard[..], [RegimeEvent::Skipped { .. }, RegimeEvent::BackupDone { .. }]));
    assert_eq!(shop.regime.next_attempt(), None, "it is no failure");
}

#[test]
fn settings_that_change_while_the_store_is_open_are_taken_up_and_broken_ones_are_not() {
    let shop = shop(&[]);
    assert_eq!(shop.regime.tick(), None, "no schedule");
    write_settings(&shop.sim, &DAILY);
    assert!(shop.regime.tick().is_some());
    assert!(matches!(shop.heard()[..], [RegimeEvent::SettingsChanged]));
    let due = shop.regime.next_backup().unwrap();
    write_settings(&shop.sim, &[("Scheduler/Frequency", "Sometimes")]);
    shop.regime.tick();
    shop.regime.tick();
    let heard = shop.heard();
    let [RegimeEvent::SettingsRefused { error }] = &heard[..] else { panic!("{heard:?}") };
    assert_eq!(error.code(), code::SETTINGS);
    assert_eq!(shop.regime.next_backup(), Some(due), "the last good ones stay in force");
    assert_eq!(shop.regime.settings_error().unwrap().code(), code::SETTINGS);
    assert_eq!(shop.journal().matches("\tsettings\t").count(), 2, "each told once");
    write_settings(&shop.sim, &[]);
    shop.regime.tick();
    assert!(shop.regime.settings_error().is_none());
    assert_eq!(shop.regime.next_backup(), None);
}

/// What cannot be looked at is not the same as no settings, whose schedule is empty.
#[test]
fn settings_that_cannot_be_looked_at_stay_in_force() {
    let shop = shop(&DAILY);
    let due = shop.regime.next_backup();
    let path = Path::new(DIR).join("Settings/Backup.4DSettings");
    shop.sim.fail(FaultPlan::always(Call::Look, path.to_str().unwrap(), Fault::DENIED));
    shop.regime.tick();
    shop.regime.tick();
    let heard = shop.heard();
    let [RegimeEvent::SettingsRefused { error }] = &heard[..] else { panic!("{heard:?}") };
    assert_eq!(error.code(), code::SETTINGS);
    assert_eq!(shop.regime.next_backup(), due);
    shop.sim.heal();
    shop.regime.tick();
    assert!(shop.regime.settings_error().is_none());
    // A link that leads nowhere: the disk with the settings is not there.
    shop.sim.remove_file(&path).unwrap();
    shop.sim.symlink(Path::new("/elsewhere/settings"), &path).unwrap();
    shop.regime.tick();
    assert_eq!(shop.regime.settings_error().unwrap().code(), code::SETTINGS);
    assert_eq!(shop.regime.next_backup(), due);
    assert_eq!(builder(&shop.closed()).open().unwrap_err().code(), code::SETTINGS);
}

#[test]
fn settings_that_are_mended_while_the_wrong_ones_are_read_come_into_force() {
    let shop = shop(&[]);
    for round in 0..30 {
        std::thread::scope(|scope| {
            scope.spawn(|| {
                write_settings(&shop.sim, &[("Scheduler/Frequency", "Sometimes")]);
                write_settings(&shop.sim, &DAILY);
            });
            for _ in 0..4 {
                shop.regime.tick();
            }
        });
        shop.regime.tick();
        let refused = shop.regime.settings_error();
        assert!(refused.is_none(), "round {round}: {refused:?}");
    }
}

#[test]
fn a_clock_that_was_set_back_by_far_does_not_end_the_backups() {
    let shop = shop(&with(&DAILY, &[("Stillpoint/Drill/Every", "1")]));
    shop.at("2026-01-01T02:30:00Z");
    shop.sim.set_now("2025-01-01T00:00:00Z".parse::<Timestamp>().unwrap().as_microsecond());
    let next = shop.regime.tick().unwrap();
    assert!(next.to_string().starts_with("2025-01-01T"), "{next}");
    shop.at("2025-01-01T02:30:00Z");
    assert_eq!(shop.archives().len(), 2);
    shop.at("2025-01-01T02:31:00Z");
    assert_eq!(shop.archives().len(), 2);
}

#[test]
fn a_clock_that_was_set_back_a_little_makes_no_run_come_twice_at_a_new_opening_either() {
    let shop = shop(&DAILY);
    shop.at("2026-01-01T02:30:00Z");
    shop.sim.set_now("2026-01-01T01:00:00Z".parse::<Timestamp>().unwrap().as_microsecond());
    let shop = shop.again();
    shop.at("2026-01-01T02:31:00Z");
    assert_eq!(shop.archives().len(), 1);
    shop.at("2026-01-02T02:30:00Z");
    assert_eq!(shop.archives().len(), 2);
}

/// The last of what is remembered is what a new opening finds, whoever wrote at the same time.
#[test]
fn what_is_remembered_by_several_at_once_is_remembered_on_the_disk_too() {
    let shop = shop(&[("General/DestinationFolder", "/gone")]);
    for round in 0..20 {
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| shop.regime.backup().run().unwrap_err());
            }
        });
        let state = read_file(&shop.sim, &Path::new(DIR).join("regime-state.json"));
        let state: serde_json::Value = serde_json::from_slice(&state).unwrap();
        let last = shop.regime.last_backup().unwrap();
        assert_eq!(state["last_backup"]["started"], last.started, "round {round}");
    }
}

#[test]
fn a_regime_that_is_dropped_in_a_hook_does_not_wait_for_the_backup_that_calls_it() {
    let sim = shop(&DAILY).closed();
    let kept: Arc<Mutex<Option<Regime>>> = Arc::default();
    let (theirs, (told, ends)) = (kept.clone(), unbounded());
    let store = Store::builder(DIR).disk(sim.clone()).segment_size(1 << 16);
    let regime = Regime::builder(store)
        .on_startup(move |_| {
            drop(theirs.lock().take());
            Ok(())
        })
        .on_shutdown(move |code| {
            let _listening = told.send(code);
        });
    *kept.lock() = Some(regime.open().unwrap());
    sim.advance(3 * HOUR);
    assert_eq!(ends.recv_timeout(crate::scene::PATIENCE), Ok(code::STOPPED));
}

#[test]
fn a_run_that_is_due_while_a_hook_ticks_is_made_after_it() {
    let sim = shop(&DAILY).closed();
    let known: Arc<Mutex<Weak<Regime>>> = Arc::default();
    let theirs = known.clone();
    let regime = builder(&sim).on_startup(move |_| {
        let regime = theirs.lock().upgrade();
        let _next = regime.and_then(|regime| regime.tick());
        Ok(())
    });
    let regime = Arc::new(regime.open().unwrap());
    *known.lock() = Arc::downgrade(&regime);
    sim.advance(3 * HOUR);
    assert_eq!(regime.backup().run().unwrap().number, 1);
    regime.tick();
    assert_eq!(sim.list(Path::new(TO)).unwrap().iter().filter(|name| is_archive(name)).count(), 2);
}

/// A backup that somebody asked for goes on when the regime is closed, and its books are the store's.
#[test]
fn a_store_is_not_opened_anew_before_the_books_of_its_last_backup_are_written() {
    let shop = shop(&[]);
    let (go, wait) = unbounded::<()>();
    let (began, begins) = unbounded::<()>();
    let slow = shop.regime.backup().on_progress(move |progress| {
        if progress.stage == Stage::Verify {
            let _listening = began.send(());
            let _told = wait.recv();
        }
        std::ops::ControlFlow::Continue(())
    });
    let running = slow.start().unwrap();
    begins.recv().unwrap();
    let sim = shop.sim.clone();
    let books = sim.hang("backupHistory");
    let closing = crate::scene::aside(move || shop.closed());
    drop(go);
    until("the books are written", || books.caught().contains(&Call::Lock));
    assert_eq!(builder(&sim).open().unwrap_err().kind(), ErrorKind::InUse);
    assert!(closing.is_empty(), "closing waits for the books");
    drop(books);
    crate::scene::end(&closing);
    assert!(running.is_finished());
    assert_eq!(running.wait().unwrap_err().code(), 1406);
    let regime = builder(&sim).open().unwrap();
    assert_eq!(regime.last_backup().unwrap().status.code, 1406);
}

#[test]
fn wrong_settings_at_the_opening_are_an_error_that_names_the_file() {
    let sim = shop(&[]).closed();
    write_settings(&sim, &[("Scheduler/Frequency", "Sometimes")]);
    let error = builder(&sim).open().unwrap_err();
    assert_eq!(error.code(), code::SETTINGS);
    assert!(error.path().unwrap().ends_with("Settings/Backup.4DSettings"), "{error}");
}

#[test]
fn the_thread_makes_the_backup_that_is_due_and_ends_with_the_regime() {
    let sim = shop(&DAILY).closed();
    let store = Store::builder(DIR).disk(sim.clone()).segment_size(1 << 16);
    let regime = Regime::builder(store).open().unwrap();
    let events = regime.events();
    sim.advance(3 * HOUR);
    let heard = events.recv_timeout(crate::scene::PATIENCE).unwrap();
    assert!(matches!(heard, RegimeEvent::BackupDone { number: 1, .. }), "{heard:?}");
    let store = regime.store().clone();
    drop(regime);
    put(&store, 9, "the store stays open").unwrap();
    until("the events end with the regime", || events.try_recv().is_err());
    store.close().unwrap();
}

#[test]
fn a_log_cap_of_the_settings_holds_and_goes_while_the_store_is_open() {
    const CAP: u64 = 200_000;
    let shop = shop(&[]);
    let store = shop.regime.store();
    let stats = || store.stats().engine;
    let take_up = |values: &[(&str, &str)]| {
        write_settings(&shop.sim, values);
        shop.regime.tick();
    };
    let fill = || (0..150).try_for_each(|key| put(store, key, &"x".repeat(2000)));
    shop.regime.backup().run().unwrap();
    fill().unwrap();
    assert!(stats().log_cap_bytes.is_none() && stats().log_kept_bytes > CAP);
    take_up(&[("Stillpoint/LogCap", "200000"), ("Stillpoint/LogPolicy", "Refuse")]);
    assert_eq!(stats().log_cap_bytes, Some(CAP));
    assert_eq!(put(store, 1, "refused").unwrap_err().code(), code::LOG_UNAVAILABLE);
    let report = shop.regime.backup().run().unwrap();
    assert_eq!(report.log_archive.unwrap().last, store.lsn(), "nothing was lost");
    assert_eq!(fill().unwrap_err().code(), code::LOG_UNAVAILABLE);
    // The other policy makes room by itself, with what a checkpoint holds.
    let refused_at = store.lsn();
    take_up(&[("Stillpoint/LogCap", "200000"), ("Stillpoint/LogPolicy", "DropOldest")]);
    fill().unwrap();
    store.checkpoint().unwrap();
    assert!(stats().log_kept_bytes <= CAP, "{:?}", stats());
    assert!(stats().log_kept_from.unwrap() > report.lsn && store.lsn() > refused_at);
    // And without a cap nothing goes any more.
    take_up(&[]);
    let from = stats().log_kept_from;
    (0..3).for_each(|_| fill().unwrap());
    store.checkpoint().unwrap();
    assert_eq!((stats().log_cap_bytes, stats().log_kept_from), (None, from));
    assert!(stats().log_kept_bytes > CAP);
}

#[test]
fn the_log_cap_of_the_application_holds_where_the_settings_say_none() {
    let sim = shop(&[("Stillpoint/LogCap", "200000")]).closed();
    let store = Store::builder(DIR).disk(sim.clone()).log_cap(70_000, LogCapPolicy::DropOldest);
    let regime = Regime::builder(store).without_thread().open().unwrap();
    let cap = || regime.store().stats().engine.log_cap_bytes;
    assert_eq!(cap(), Some(200_000));
    write_settings(&sim, &[]);
    regime.tick();
    assert_eq!(cap(), Some(70_000));
}
