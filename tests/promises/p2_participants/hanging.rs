//! Participants that hang, and participants while others hang: everybody goes on within the limits.

use super::*;

fn limits(limit: Duration) -> ParticipantTerms {
    let limits =
        ParticipantLimits { prepare: limit, freeze: limit, ..ParticipantLimits::default() };
    ParticipantTerms { limits, ..ParticipantTerms::default() }
}

#[test]
fn a_call_that_hangs_fails_the_backup_at_its_limit_and_lets_everybody_go() {
    for step in ["prepare", "freeze"] {
        let scene = Scene::new(Mode::Server, 10);
        let calls = Calls::default();
        let probe = Probe::new("b", &calls, &scene).on(limits(Duration::from_secs(5)));
        let (probe, reached, go_on) = standing_still(step, probe);
        scene.store.register_participant("b", probe).unwrap();
        let first = Probe::new("a", &calls, &scene);
        let running = scene.store.backup(TO).participant("a", first).start().unwrap();
        end(&reached);
        scene.sim.advance(Duration::from_secs(4));
        assert!(!running.is_finished());
        scene.sim.advance(Duration::from_secs(2));
        let clock = scene.sim.clone();
        // What nobody can end is waited for no longer than the limits of thaw and abort.
        let late = aside(move || running.wait());
        until("the backup ends", || {
            clock.advance(Duration::from_secs(5));
            !late.is_empty()
        });
        let error = end(&late).unwrap_err();
        assert_eq!(error.code(), 2012, "{error}");
        assert!(error.to_string().contains("\"b\""), "{error}");
        check_rules(&calls, &["a"], true);
        put(&scene.store, 1, "afterwards").unwrap();
        // It is still within its call: it cannot be called again, nor waited for.
        let error = scene.store.backup(TO).run().unwrap_err();
        assert_eq!(error.code(), 2012, "{error}");
        drop(go_on);
        until("the thread ends", || count(&calls, "b", "abort") == 1);
        check_rules(&calls, &["b"], true);
        calls.lock().clear();
        until("it takes part again", || scene.store.backup(TO).run().is_ok());
        assert_eq!(count(&calls, "b", "thaw"), 1);
    }
}

#[test]
fn a_thaw_that_hangs_holds_up_nobody_beyond_its_limit() {
    let scene = Scene::new(Mode::Server, 10);
    let calls = Calls::default();
    let (probe, reached, go_on) = standing_still("thaw", Probe::new("a", &calls, &scene));
    let running = scene.store.backup(TO).participant("a", probe).start().unwrap();
    end(&reached);
    let clock = scene.sim.clone();
    let done = aside(move || running.wait());
    until("the backup ends", || {
        clock.advance(Duration::from_secs(5));
        !done.is_empty()
    });
    let report = end(&done).unwrap();
    assert_eq!((report.problems.len(), report.problems[0].code()), (1, 2012));
    scene.archive(&report.archive).verify().unwrap();
    drop(go_on);
    check_rules(&calls, &["a"], false);
}

#[test]
fn a_hanging_destination_and_stop_let_a_participant_go() {
    for stop in [false, true] {
        let scene = Scene::new(Mode::Server, 10);
        write_file(&scene.sim, Path::new("/mine.db"), &[7; 100_000]);
        let calls = Calls::default();
        let probe = Probe::new("a", &calls, &scene).on(held_until_copied("/mine.db"));
        let hang = scene.sim.hang(".tar.zst.");
        let backup = scene.store.backup(TO).access(Access::Live).participant("a", probe);
        let running = backup.start().unwrap();
        until("the copy hangs", || !hang.caught().is_empty());
        if stop {
            running.stop();
        } else {
            // The limit of the frozen time, which the participant's own thread keeps.
            until("it is thawed", || {
                scene.sim.advance(Duration::from_secs(10));
                count(&calls, "a", "thaw") == 1
            });
        }
        until("it is thawed", || count(&calls, "a", "thaw") == 1);
        assert!(!running.is_finished());
        drop(hang);
        match running.wait() {
            Err(error) => assert!(stop && error.code() == 1406, "{error}"),
            Ok(report) => {
                assert!(!stop);
                assert_eq!(report.status, BackupStatus::Partial);
                assert_eq!(report.problems[0].code(), 2012);
            }
        }
        check_rules(&calls, &["a"], stop);
    }
}

#[test]
fn who_was_thawed_before_the_instant_fails_the_backup() {
    let scene = Scene::new(Mode::Server, 10);
    let calls = Calls::default();
    let frozen = Duration::from_secs(1);
    let limits = ParticipantLimits { frozen, ..ParticipantLimits::default() };
    let first = Probe::new("a", &calls, &scene)
        .on(ParticipantTerms { limits, ..ParticipantTerms::default() });
    let (second, reached, go_on) = standing_still("freeze", Probe::new("b", &calls, &scene));
    let backup = scene.store.backup(TO).participant("a", first).participant("b", second);
    let running = backup.start().unwrap();
    end(&reached);
    scene.sim.advance(Duration::from_secs(2));
    until("the first is thawed", || count(&calls, "a", "thaw") == 1);
    drop(go_on);
    let error = running.wait().unwrap_err();
    assert_eq!(error.code(), 2012, "{error}");
    assert!(error.to_string().contains("\"a\""), "{error}");
    check_rules(&calls, &["a", "b"], true);
}
