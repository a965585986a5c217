//! What fails is met as the settings say: second attempts, alerts, suspension, what is never tried again.

use super::*;

#[test]
fn a_full_disk_gets_a_second_attempt_then_an_alert_and_the_next_date_is_kept() {
    let shop = shop(&with(&DAILY, &[RETRY, RETRY_LATER]));
    shop.writes_fail();
    shop.at("2026-01-01T02:30:00Z");
    let first = shop.heard();
    assert_eq!(failures(&first), [(code::DESTINATION, true)]);
    assert_eq!(alerts(&first), 0);
    let again = shop.regime.next_attempt().unwrap();
    assert_eq!(again.duration_since(shop.now()).as_mins(), 4, "five minutes from the failure");
    shop.after(Duration::from_secs(299));
    assert!(shop.heard().is_empty(), "not before its time");
    shop.after(Duration::from_secs(2));
    let second = shop.heard();
    assert_eq!((failures(&second), alerts(&second)), (vec![(code::DESTINATION, false)], 1));
    shop.after(HOUR);
    assert!(shop.heard().is_empty(), "no third attempt");
    assert_eq!(shop.told(), [code::DESTINATION, code::DESTINATION]);
    assert_eq!(shop.status(), code::DESTINATION);
    shop.sim.heal();
    shop.at("2026-01-02T02:30:00Z");
    assert_eq!((shop.told(), shop.status()), (vec![0], 0));
    assert_eq!(shop.archives().len(), 1);
}

#[test]
fn where_the_settings_say_so_a_failed_backup_waits_for_the_next_date() {
    let next_date = ("Advanced/BackupFailure/TryBackupAtTheNextScheduledDate", "True");
    let shop = shop(&with(&DAILY, &[RETRY, next_date]));
    shop.writes_fail();
    shop.at("2026-01-01T02:30:00Z");
    shop.after(HOUR);
    assert_eq!(failures(&shop.heard()), [(code::DESTINATION, false)]);
    shop.at("2026-01-02T02:30:00Z");
    let second = shop.heard();
    assert_eq!((failures(&second).len(), alerts(&second)), (1, 1));
}

#[test]
fn a_destination_that_is_gone_is_told_before_anybody_waits_and_comes_back_at_the_second_attempt() {
    let shop = shop(&with(&DAILY, &[RETRY, RETRY_LATER]));
    shop.sim.rename(Path::new(TO), Path::new("/unmounted")).unwrap();
    shop.at("2026-01-01T02:30:00Z");
    assert_eq!(failures(&shop.heard()), [(code::DESTINATION, true)]);
    assert!(shop.sim.metadata(Path::new(TO)).is_err(), "a folder that was named is not made");
    shop.sim.rename(Path::new("/unmounted"), Path::new(TO)).unwrap();
    shop.after(Duration::from_secs(301));
    assert!(matches!(shop.heard()[..], [RegimeEvent::BackupDone { number: 1, .. }]));
}

#[test]
fn a_second_attempt_keeps_as_many_sets_as_the_settings_say_by_then() {
    let keep = |sets| with(&[("Advanced/SetNumber/Value", sets)], &[RETRY, RETRY_LATER]);
    let shop = shop(&keep("1"));
    shop.regime.backup().run().unwrap();
    shop.writes_fail();
    shop.regime.backup().run().unwrap_err();
    shop.sim.heal();
    write_settings(&shop.sim, &keep("2"));
    shop.after(Duration::from_secs(301));
    let done = |event: &RegimeEvent| matches!(event, RegimeEvent::BackupDone { .. });
    assert_eq!(shop.heard().iter().filter(|event| done(event)).count(), 2);
    assert_eq!(shop.archives().len(), 2, "the first is not deleted by the rule of before");
}

#[test]
fn paths_in_the_form_of_another_system_are_told_with_the_key_to_change() {
    for folder in ["C:\\Backups\\", "\\\\server\\share", "Macintosh HD:Backups:"] {
        let shop = shop(&[("General/DestinationFolder", folder)]);
        let error = shop.regime.backup().run().unwrap_err();
        assert_eq!(error.code(), code::DESTINATION, "{error}");
        let advice = error.advice().unwrap();
        assert!(advice.contains("settings DIR set DestinationFolder"), "{folder}: {advice}");
        // Likewise where it does not come from the settings.
        let error = shop.regime.store().backup(folder).run().unwrap_err();
        assert!(error.advice().unwrap().contains("has the form of a path on"), "{error:?}");
    }
    let files = "General/IncludesFiles";
    let (count, item) = (format!("{files}/ItemsCount"), format!("{files}/Item1"));
    let shop = shop(&[(&*count, "1"), (&*item, "D:\\web\\")]);
    let report = shop.regime.backup().run().unwrap();
    let [problem] = &report.problems[..] else { panic!("{:?}", report.problems) };
    assert_eq!(problem.code(), code::ATTACHMENT_MISSING);
    assert!(problem.advice().unwrap().contains("settings DIR set IncludesFiles"), "{problem:?}");
}

#[test]
fn the_second_attempt_of_a_scheduled_backup_goes_by_settings_that_were_mended_meanwhile() {
    let gone = ("General/DestinationFolder", "/gone");
    let shop = shop(&with(&DAILY, &[RETRY, RETRY_LATER, gone]));
    shop.at("2026-01-01T02:30:00Z");
    assert_eq!(failures(&shop.heard()), [(code::DESTINATION, true)]);
    write_settings(&shop.sim, &with(&DAILY, &[RETRY, RETRY_LATER]));
    shop.after(Duration::from_secs(301));
    assert_eq!((shop.status(), shop.archives().len()), (0, 1));
}

/// What the history found and what retention did can be told nowhere, and the backups are made.
#[test]
fn a_journal_that_cannot_be_written_fails_no_backup() {
    let erase = ("Advanced/EraseOldBackupBefore", "True");
    let shop = shop(&[erase, ("Advanced/SetNumber/Value", "1")]);
    shop.regime.backup().run().unwrap();
    shop.sim.remove_file(&Path::new(TO).join("backupHistory.json")).unwrap();
    shop.sim.fail(FaultPlan::always(Call::Write, "Backup Journal", Fault::FULL));
    shop.regime.backup().run().unwrap();
    let heard = shop.heard();
    assert!(heard.iter().any(|event| matches!(event, RegimeEvent::Trouble { .. })), "{heard:?}");
    assert_eq!(shop.archives().len(), 1);
}

#[test]
fn a_hook_that_refuses_is_not_asked_again_before_the_next_date() {
    let sim = shop(&with(&DAILY, &[RETRY, RETRY_LATER])).closed();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let places = asked.clone();
    let shop = Shop::open_with(sim, |builder| {
        builder.on_startup(move |start| {
            places.lock().push(start.destination.clone());
            if places.lock().len() == 1 { Err(-3) } else { Ok(()) }
        })
    });
    shop.at("2026-01-01T02:30:00Z");
    assert_eq!(failures(&shop.heard()), [(-3, false)]);
    shop.after(HOUR);
    shop.at("2026-01-02T02:30:00Z");
    assert_eq!(*asked.lock(), [Path::new(TO); 2], "hooks run for every attempt");
    assert_eq!(shop.regime.last_backup().unwrap().number, Some(1), "a refusal takes no number");
    assert_eq!(shop.told(), [-3, 0], "its own value comes through");
    assert!(shop.journal().contains("\trefused\t"));
}

#[test]
fn an_open_transaction_of_another_fails_the_backup_and_the_second_attempt_succeeds() {
    let at_once = ("Advanced/Transaction/WaitForEndOfTransaction", "False");
    let shop = shop(&with(&DAILY, &[RETRY, RETRY_LATER, at_once]));
    let open = shop.regime.store().begin_write().unwrap();
    let store = shop.regime.store().clone();
    open.table(ITEMS).unwrap().put(&7, &"open".to_owned()).unwrap();
    let sim = shop.sim.clone();
    std::thread::scope(|scope| {
        scope.spawn(|| shop.at("2026-01-01T02:30:00Z")).join().unwrap();
        assert_eq!(failures(&shop.heard()), [(code::TRANSACTION_TIMEOUT, true)]);
        open.commit().unwrap();
        scope.spawn(|| shop.after(Duration::from_secs(301))).join().unwrap();
    });
    assert_eq!(shop.status(), 0);
    let archive = shop.regime.last_backup().unwrap().archive.unwrap();
    let archive = Archive::open_on(sim, archive).unwrap();
    assert_eq!(crate::scene::records(&archive.read().unwrap()), all(&store));
}

#[test]
fn ones_own_open_transaction_is_refused_and_not_tried_again() {
    let shop = shop(&with(&DAILY, &[RETRY, RETRY_LATER]));
    let own = shop.regime.store().begin_write().unwrap();
    let error = shop.regime.backup().run().unwrap_err();
    assert_eq!(error.code(), code::OWN_TRANSACTION);
    assert_eq!(failures(&shop.heard()), [(code::OWN_TRANSACTION, false)]);
    drop(own);
}

fn gives_up_after(attempts: &str) -> Shop {
    shop(&with(
        &DAILY,
        &[
            RETRY,
            RETRY_LATER,
            ("Advanced/BackupFailure/AbortIfBackupFail", "True"),
            ("Advanced/BackupFailure/RetryCountBeforeAbort", attempts),
        ],
    ))
}

#[test]
fn after_so_many_attempts_backups_are_suspended_until_one_by_hand_succeeds() {
    let shop = gives_up_after("3");
    shop.writes_fail();
    shop.at("2026-01-01T02:30:00Z");
    shop.after(Duration::from_secs(301));
    assert!(!shop.regime.suspended());
    shop.at("2026-01-02T02:30:00Z");
    assert!(shop.regime.suspended());
    let codes: Vec<i32> = failures(&shop.heard()).iter().map(|(code, _)| *code).collect();
    assert_eq!(codes, [code::DESTINATION, code::DESTINATION, code::TOO_MANY_ATTEMPTS]);
    assert_eq!(shop.status(), code::TOO_MANY_ATTEMPTS);
    assert_eq!(shop.regime.next_backup(), None);
    shop.sim.heal();
    shop.at("2026-01-03T03:00:00Z");
    assert!(shop.archives().is_empty(), "nothing runs by itself");
    assert_eq!(shop.told().len(), 3);
    shop.regime.backup().by_hand().run().unwrap();
    assert!(!shop.regime.suspended());
    assert_eq!(shop.journal().matches("automatic backups go on").count(), 1);
    shop.at("2026-01-04T02:30:00Z");
    assert_eq!(shop.archives().len(), 2);
}

#[test]
fn after_so_many_attempts_backups_are_suspended_until_the_store_is_opened_anew() {
    let shop = gives_up_after("1");
    shop.writes_fail();
    shop.at("2026-01-01T02:30:00Z");
    assert!(shop.regime.suspended());
    shop.sim.heal();
    let shop = shop.again();
    assert!(!shop.regime.suspended());
    shop.at("2026-01-02T02:30:00Z");
    assert_eq!(shop.archives().len(), 1);
}

#[test]
fn a_missing_attachment_makes_a_partial_backup_with_an_error_and_no_second_attempt() {
    let shop = shop(&[
        ("General/IncludesFiles/ItemsCount", "2"),
        ("General/IncludesFiles/Item1", "/there"),
        ("General/IncludesFiles/Item2", "/gone"),
        RETRY,
        RETRY_LATER,
    ]);
    write_file(&shop.sim, Path::new("/there"), b"saved");
    let report = shop.regime.backup().run().unwrap();
    assert_eq!(report.problems.len(), 1);
    assert_eq!((shop.status(), shop.told()), (code::ATTACHMENT_MISSING, vec![2001]));
    assert!(matches!(shop.heard()[..], [RegimeEvent::BackupDone { partial: true, .. }]));
    assert_eq!(shop.regime.next_attempt(), None);
    assert_eq!(shop.regime.coverage().unwrap().archives, 1, "it counts: the store is whole");
}

#[test]
fn a_backup_from_inside_a_hook_is_refused() {
    let sim = shop(&[]).closed();
    let inner: Arc<Mutex<Option<Arc<Regime>>>> = Arc::default();
    let codes = Arc::new(Mutex::new(Vec::new()));
    let (theirs, told, told_too) = (inner.clone(), codes.clone(), codes.clone());
    let also = inner.clone();
    let regime = builder(&sim)
        .on_startup(move |_| {
            let regime = theirs.lock().clone().unwrap();
            told.lock().push(regime.backup().run().unwrap_err().code());
            Ok(())
        })
        .on_shutdown(move |_| {
            let regime = also.lock().clone().unwrap();
            told_too.lock().push(regime.backup().run().unwrap_err().code());
        })
        .open()
        .unwrap();
    *inner.lock() = Some(Arc::new(regime));
    let regime = inner.lock().clone().unwrap();
    regime.backup().run().unwrap();
    assert_eq!(*codes.lock(), [code::FROM_CALLBACK; 2]);
    assert_eq!(regime.last_backup().unwrap().status.code, 0);
    inner.lock().take();
}

/// Whoever made the folder may have been killed before its name was durable.
#[test]
fn a_backup_in_the_folder_beside_the_store_is_durable_also_where_its_name_was_not() {
    let shop = shop(&[]);
    let path = Path::new(DIR).join("Settings/Backup.4DSettings");
    let text = String::from_utf8(read_file(&shop.sim, &path)).unwrap();
    write_file(&shop.sim, &path, text.replace(TO, "").as_bytes());
    let shop = shop.again();
    // The first segment of the log is made: from now on nothing else syncs the folder above.
    shop.put(2);
    let beside = Path::new("/shop backups");
    shop.sim.create_dir(beside).unwrap();
    let made = shop.regime.backup().run().unwrap();
    assert!(made.archive.starts_with(beside), "{made:?}");
    let after = shop.sim.reboot(Survival::Nothing);
    Archive::open_on(after, made.archive).unwrap().verify().unwrap();
}
