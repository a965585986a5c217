//! What is due is done once: missed runs, postponed and overlapping ones, settings that change meanwhile.

use super::*;

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
