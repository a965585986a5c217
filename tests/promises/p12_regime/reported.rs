//! Every failure reaches the shutdown hook, the journal and the events, each once.

use super::*;

#[test]
fn a_missed_run_and_the_suspension_that_it_causes_reach_the_shutdown_hook() {
    let abort = [
        ("Advanced/BackupFailure/AbortIfBackupFail", "True"),
        ("Advanced/BackupFailure/RetryCountBeforeAbort", "1"),
    ];
    for (more, code) in [(&abort[..0], code::MISSED_RUN), (&abort[..], code::TOO_MANY_ATTEMPTS)] {
        let sim = shop(&with(&DAILY, more)).closed();
        sim.advance(2 * DAY);
        let shop = Shop::open(sim);
        assert_eq!(shop.told(), [code]);
        assert_eq!(shop.status(), code);
        assert_eq!(shop.regime.suspended(), code == code::TOO_MANY_ATTEMPTS);
    }
}

#[test]
fn an_alert_has_its_line_in_the_journal() {
    let shop = shop(&with(&DAILY, &[RETRY, RETRY_LATER]));
    shop.writes_fail();
    shop.at("2026-01-01T02:30:00Z");
    assert_eq!(shop.journal().matches("\talert\t").count(), 0);
    shop.after(Duration::from_secs(301));
    assert_eq!(alerts(&shop.heard()), 1);
    assert_eq!(shop.journal().matches("\talert\t").count(), 1, "{}", shop.journal());
}

#[test]
fn a_missing_destination_is_one_error_and_not_two() {
    let shop = shop(&[]);
    shop.sim.remove_dir(Path::new(TO)).unwrap();
    assert_eq!(shop.regime.backup().run().unwrap_err().code(), code::DESTINATION);
    let events = shop.heard();
    assert!(!events.iter().any(|event| matches!(event, RegimeEvent::Trouble { .. })), "{events:?}");
    assert!(!shop.journal().contains("2109"), "{}", shop.journal());
}

/// A program that looks at a store finds it as it leaves it.
#[test]
fn an_opening_without_catch_up_restores_counts_and_writes_nothing() {
    let sim = shop(&with(&DAILY, &AUTOMATIC)).closed();
    let looking = || builder(&sim).without_catch_up().open();
    sim.advance(2 * DAY);
    let regime = looking().unwrap();
    assert!(regime.last_backup().is_none(), "no missed run is counted");
    regime.close().unwrap();
    let shop = Shop::open(sim.clone());
    assert_eq!(shop.status(), code::MISSED_RUN, "it still is for who attends to it");
    shop.regime.backup().run().unwrap();
    shop.closed();
    ruin(&sim);
    let before = crate::scene::files(&sim, DIR);
    assert!(looking().is_err());
    assert_eq!(crate::scene::files(&sim, DIR), before);
    assert!(Shop::open(sim).regime.restore_info().is_some());
}

#[test]
fn what_a_regime_tells_can_be_serialised() {
    let shop = shop(&[RETRY]);
    shop.regime.backup().run().unwrap();
    shop.writes_fail();
    shop.regime.backup().by_hand().run().unwrap_err();
    let events: Vec<serde_json::Value> =
        shop.heard().iter().map(|event| serde_json::to_value(event).unwrap()).collect();
    let done = events.iter().find(|event| event["event"] == "backup-done").unwrap();
    assert_eq!((&done["number"], &done["partial"]), (&1.into(), &false.into()), "{done}");
    let failed = events.iter().find(|event| event["event"] == "backup-failed").unwrap();
    assert!(failed["error"]["code"].is_i64() && failed["origin"].is_string(), "{failed}");
}
