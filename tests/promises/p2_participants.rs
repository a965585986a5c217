//! Promise 2, for what is not the store: participants stand still at the instant of the backup and at
//! no other time, in order, and go on whatever happens.

mod hanging;

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};
use parking_lot::Mutex;
use stillpoint::disk::{Call, Disk, Fault, FaultPlan};
use stillpoint::{
    Access, AtLimit, BackupBuilder, BackupStatus, ErrorKind, HoldUntil, Lsn, Mode, Participant,
    ParticipantLimits, ParticipantTerms, Participation, Stage, Store,
};

use crate::scene::{Scene, TO, aside, end, put, read_file, until, write_file};

/// What was called, by whom, and the newest commit at that time.
type Calls = Arc<Mutex<Vec<(String, &'static str, Lsn)>>>;

/// What a call of a probe does beside being noted.
type Act = Box<dyn FnMut(&str) -> Participation + Send>;

/// A participant that notes its calls.
struct Probe {
    name: String,
    calls: Calls,
    store: Store,
    terms: ParticipantTerms,
    act: Act,
}

impl Probe {
    fn new(name: &str, calls: &Calls, scene: &Scene) -> Probe {
        Probe {
            name: name.to_owned(),
            calls: calls.clone(),
            store: scene.store.clone(),
            terms: ParticipantTerms::default(),
            act: Box::new(|_| Ok(())),
        }
    }

    fn doing(self, act: impl FnMut(&str) -> Participation + Send + 'static) -> Probe {
        Probe { act: Box::new(act), ..self }
    }

    fn on(self, terms: ParticipantTerms) -> Probe {
        Probe { terms, ..self }
    }

    fn called(&mut self, what: &'static str) -> Participation {
        self.calls.lock().push((self.name.clone(), what, self.store.lsn()));
        (self.act)(what)
    }
}

impl Participant for Probe {
    fn terms(&self) -> ParticipantTerms {
        self.terms.clone()
    }

    fn prepare(&mut self, number: u32) -> Participation {
        assert!(number > 0);
        self.called("prepare")
    }

    fn freeze(&mut self) -> Participation {
        self.called("freeze")
    }

    fn thaw(&mut self) -> Participation {
        self.called("thaw")
    }

    fn abort(&mut self) {
        let _ = self.called("abort");
    }
}

fn said(calls: &Calls) -> Vec<String> {
    calls.lock().iter().map(|(name, what, _)| format!("{name} {what}")).collect()
}

fn count(calls: &Calls, name: &str, what: &str) -> usize {
    calls.lock().iter().filter(|call| call.0 == name && call.1 == what).count()
}

/// The rules that hold whatever happens: a thaw for each freeze, an abort for each prepare of a backup
/// that failed, after the thaw.
#[track_caller]
fn check_rules(calls: &Calls, names: &[&str], failed: bool) {
    for name in names {
        assert_eq!(count(calls, name, "thaw"), count(calls, name, "freeze"), "{:?}", said(calls));
        let aborts = if failed { count(calls, name, "prepare") } else { 0 };
        assert_eq!(count(calls, name, "abort"), aborts, "{name}: {:?}", said(calls));
        let last = calls.lock().iter().rev().find(|call| call.0 == *name).map(|call| call.1);
        assert!(!failed || last.is_none_or(|last| last == "abort"), "{:?}", said(calls));
    }
}

#[test]
fn participants_are_called_in_order_around_the_instant_in_every_access() {
    for access in [Access::Live, Access::ReadOnly, Access::Frozen] {
        let scene = Scene::new(Mode::Server, 100);
        let calls = Calls::default();
        scene.store.register_participant("a", Probe::new("a", &calls, &scene)).unwrap();
        scene.store.register_participant("b", Probe::new("b", &calls, &scene)).unwrap();
        let store = scene.store.clone();
        let writes = aside(move || {
            (0..300).for_each(|key| put(&store, key, "meanwhile").unwrap());
        });
        let backup = scene.store.backup(TO).access(access);
        let report = backup.participant("c", Probe::new("c", &calls, &scene)).run().unwrap();
        end(&writes);
        let expected = [
            "a prepare",
            "b prepare",
            "c prepare",
            "a freeze",
            "b freeze",
            "c freeze",
            "c thaw",
            "b thaw",
            "a thaw",
        ];
        assert_eq!(said(&calls), expected, "{access:?}");
        let calls = calls.lock();
        assert!(calls.iter().filter(|c| c.1 == "freeze").all(|c| c.2 <= report.lsn));
        assert!(calls.iter().filter(|c| c.1 == "thaw").all(|c| c.2 >= report.lsn));
        let names: Vec<_> = report.participants.iter().map(|one| one.name.as_str()).collect();
        assert_eq!(names, ["a", "b", "c"]);
        assert!(report.participants.iter().all(|one| one.frozen > Duration::ZERO));
        assert!(report.participants[0].frozen >= report.participants[2].frozen);
        let papers = scene.archive(&report.archive).results().participants.clone();
        assert_eq!(papers.len(), 3);
        assert_eq!(report.status, BackupStatus::Complete);
    }
}

#[test]
fn nobody_is_frozen_before_everybody_is_prepared_and_nobody_held_before() {
    let scene = Scene::new(Mode::Server, 10);
    let calls = Calls::default();
    let store = scene.store.clone();
    let probe = Probe::new("a", &calls, &scene).doing(move |what| {
        // Under `ReadOnly` others wait from the quiescence on, not while a participant prepares.
        assert_eq!(store.locked(), what == "freeze" || what == "thaw");
        Ok(())
    });
    scene.store.backup(TO).participant("a", probe).run().unwrap();
    check_rules(&calls, &["a"], false);
}

/// Makes a backup fail in its way.
type Failure = Box<dyn Fn(&Scene, BackupBuilder) -> BackupBuilder>;

/// Ways in which a backup with two participants, a and b, fails, each with the code that it gives.
fn failures() -> Vec<(&'static str, i32, Failure)> {
    fn stop_at(stage: Stage) -> Failure {
        Box::new(move |_, backup| {
            backup.on_progress(move |progress| match progress.stage == stage {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            })
        })
    }
    fn fault(call: Call) -> Failure {
        Box::new(move |scene, backup| {
            scene.sim.fail(FaultPlan::once(call, ".tar.zst.", Fault::IO));
            backup
        })
    }
    vec![
        ("hook", -5, Box::new(|_, backup| backup.on_startup(|_| Err(-5)))),
        ("stop at quiesce", 1406, stop_at(Stage::Quiesce)),
        ("stop at pin", 1406, stop_at(Stage::Pin)),
        ("stop at copy", 1406, stop_at(Stage::Copy)),
        ("stop at verify", 1406, stop_at(Stage::Verify)),
        ("stop at seal", 1406, stop_at(Stage::Seal)),
        (
            "panic at copy",
            2006,
            Box::new(|_, backup| {
                backup.on_progress(|progress| {
                    assert!(progress.stage != Stage::Copy, "a bug of the application's");
                    ControlFlow::Continue(())
                })
            }),
        ),
        ("create", 1409, fault(Call::Create)),
        ("write", 1409, fault(Call::Write)),
        ("sync", 1409, fault(Call::Sync)),
        ("read back", 1411, fault(Call::Read)),
        ("rename", 1409, fault(Call::Rename)),
        (
            "folder",
            1409,
            Box::new(|scene, backup| {
                scene.sim.fail(FaultPlan::once(Call::SyncDir, TO, Fault::IO));
                backup
            }),
        ),
    ]
}

#[test]
fn whatever_fails_everybody_is_thawed_and_told_exactly_once() {
    for hold in [HoldUntil::Pin, HoldUntil::Copied] {
        for (what, code, failure) in failures() {
            let scene = Scene::new(Mode::Server, 50);
            let calls = Calls::default();
            let terms = ParticipantTerms { hold, ..ParticipantTerms::default() };
            let probe = |name| Probe::new(name, &calls, &scene).on(terms.clone());
            scene.store.register_participant("a", probe("a")).unwrap();
            let backup = scene.store.backup(TO).participant("b", probe("b"));
            let error = failure(&scene, backup).run().unwrap_err();
            assert_eq!(error.code(), code, "{what}: {error}");
            check_rules(&calls, &["a", "b"], true);
            assert!(scene.destination().is_empty(), "{what}: {:?}", scene.destination());
            put(&scene.store, 1, "afterwards").unwrap();
            calls.lock().clear();
            scene.store.backup(TO).run().unwrap();
            check_rules(&calls, &["a"], false);
        }
    }
}

#[test]
fn a_participant_that_fails_or_panics_at_any_step_fails_the_backup_and_the_others_are_released() {
    for who in ["a", "b", "c"] {
        for (step, panics) in
            [("prepare", false), ("prepare", true), ("freeze", false), ("freeze", true)]
        {
            let scene = Scene::new(Mode::Server, 10);
            let calls = Calls::default();
            let mut backup = scene.store.backup(TO);
            for name in ["a", "b", "c"] {
                let bad = who == name;
                let probe = Probe::new(name, &calls, &scene).doing(move |what| {
                    assert!(!(bad && what == step && panics), "a bug of the application's");
                    if bad && what == step { Err("no room".into()) } else { Ok(()) }
                });
                backup = backup.participant(name, probe);
            }
            let error = backup.run().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::BackupFailed, "{error}");
            assert_eq!(error.code(), if panics { 2006 } else { 2012 }, "{who} {step}: {error}");
            assert!(error.to_string().contains(&format!("\"{who}\"")), "{error}");
            check_rules(&calls, &["a", "b", "c"], true);
            // Nobody after the one that failed was called for that step.
            let after = ["a", "b", "c"].into_iter().skip_while(|name| *name != who).skip(1);
            after.for_each(|name| assert_eq!(count(&calls, name, step), 0));
            put(&scene.store, 1, "afterwards").unwrap();
        }
    }
}

#[test]
fn a_thaw_that_fails_is_told_and_the_backup_goes_on() {
    for panics in [false, true] {
        let scene = Scene::new(Mode::Server, 10);
        let calls = Calls::default();
        let probe = Probe::new("a", &calls, &scene).doing(move |what| {
            assert!(!(panics && what == "thaw"), "a bug of the application's");
            if what == "thaw" { Err("stuck".into()) } else { Ok(()) }
        });
        let report = scene.store.backup(TO).participant("a", probe).run().unwrap();
        assert_eq!(report.status, BackupStatus::Complete);
        let code = if panics { 2006 } else { 2012 };
        assert_eq!(report.problems.iter().map(|e| e.code()).collect::<Vec<_>>(), [code]);
        assert!(report.participants[0].error.is_some());
        check_rules(&calls, &["a"], false);
        scene.archive(&report.archive).verify().unwrap();
    }
}

/// Stands still in its `step` until told to go on.
fn standing_still(step: &'static str, probe: Probe) -> (Probe, Receiver<()>, Sender<()>) {
    let (tell, reached) = bounded(1);
    let (go_on, wait) = bounded::<()>(0);
    let probe = probe.doing(move |what| {
        if what == step {
            let _gone = tell.send(());
            let _go = wait.recv();
        }
        Ok(())
    });
    (probe, reached, go_on)
}

fn held_until_copied(file: &str) -> ParticipantTerms {
    let files = vec![file.into()];
    ParticipantTerms { hold: HoldUntil::Copied, files, ..ParticipantTerms::default() }
}

#[test]
fn files_of_a_participant_are_saved_as_they_were_when_it_was_frozen() {
    for (hold, expected) in [(HoldUntil::Copied, b"frozen"), (HoldUntil::Pin, b"thawed")] {
        let scene = Scene::new(Mode::Server, 10);
        let path = Path::new("/mine.db");
        write_file(&scene.sim, path, b"before");
        let calls = Calls::default();
        let disk = scene.sim.clone();
        let terms = ParticipantTerms { hold, ..held_until_copied("/mine.db") };
        let probe = Probe::new("a", &calls, &scene).on(terms).doing(move |what| {
            match what {
                "freeze" => write_file(&disk, path, b"frozen"),
                "thaw" => write_file(&disk, path, b"thawed"),
                _ => {}
            }
            Ok(())
        });
        let backup = scene.store.backup(TO).access(Access::Live).participant("a", probe);
        let report = backup.run().unwrap();
        assert_eq!(report.status, BackupStatus::Complete, "{:?}", report.problems);
        let saved = report.files.iter().find(|file| file.path == "attachments/mine.db").unwrap();
        assert_eq!(saved.source.as_deref(), Some(path));
        scene.archive(&report.archive).restore("/copy").run().unwrap();
        assert_eq!(read_file(&scene.sim, Path::new("/copy/attachments/mine.db")), expected);
        scene.sim.remove_file(path).unwrap();
    }
}

#[test]
fn what_would_wait_for_the_backup_is_refused_from_inside_a_participant() {
    for access in [Access::ReadOnly, Access::Frozen] {
        let scene = Scene::new(Mode::Server, 10);
        let calls = Calls::default();
        let store = scene.store.clone();
        let found = Arc::new(Mutex::new(Vec::new()));
        let codes = found.clone();
        let probe = Probe::new("a", &calls, &scene).doing(move |what| {
            if what != "prepare" {
                codes.lock().push(store.begin_write().err().map(|e| e.code()));
            }
            codes.lock().push(store.backup(TO).run().err().map(|e| e.code()));
            if access == Access::Frozen && what != "prepare" {
                codes.lock().push(store.begin_read().err().map(|e| e.code()));
            }
            let _never_wait = (store.stats(), store.locks(), store.pending_writes());
            Ok(())
        });
        scene.store.backup(TO).access(access).participant("a", probe).run().unwrap();
        let found = found.lock();
        assert!(found.len() >= 5 && found.iter().all(|code| *code == Some(2005)), "{found:?}");
    }
    let scene = Scene::new(Mode::Server, 10);
    let calls = Calls::default();
    let store = scene.store.clone();
    let probe = Probe::new("a", &calls, &scene).doing(move |what| match what {
        "freeze" => Ok(put(&store, 5, "just before the instant")?),
        _ => Ok(()),
    });
    let backup = scene.store.backup(TO).access(Access::Live).participant("a", probe);
    let report = backup.run().unwrap();
    let archive = scene.archive(&report.archive);
    let read = archive.read().unwrap();
    let found = read.table(crate::scene::ITEMS).unwrap().get(&5).unwrap();
    assert_eq!(found.as_deref(), Some("just before the instant"));
}

#[test]
fn names_are_unique_and_a_registration_can_be_ended() {
    let scene = Scene::new(Mode::Server, 10);
    let calls = Calls::default();
    let probe = || Probe::new("a", &calls, &scene);
    scene.store.register_participant("a", probe()).unwrap();
    let error = scene.store.register_participant("a", probe()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Exists);
    let error = scene.store.backup(TO).participant("a", probe()).run().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    assert!(scene.store.unregister_participant("a"));
    assert!(!scene.store.unregister_participant("a"));
    scene.store.backup(TO).run().unwrap();
    assert!(said(&calls).is_empty());
}

#[test]
fn a_broken_hold_with_abort_before_the_instant_releases_the_participants() {
    let scene = Scene::new(Mode::Server, 10);
    let calls = Calls::default();
    let (probe, reached, go_on) = standing_still("freeze", Probe::new("a", &calls, &scene));
    let backup = scene.store.backup(TO).hold_limit(Duration::from_secs(1), AtLimit::Abort);
    let running = backup.participant("a", probe).start().unwrap();
    end(&reached);
    scene.sim.advance(Duration::from_secs(2));
    // Whoever waits goes on at once, though the participant still hangs.
    put(&scene.store, 1, "goes on").unwrap();
    drop(go_on);
    assert_eq!(running.wait().unwrap_err().code(), 2003);
    check_rules(&calls, &["a"], true);
}
