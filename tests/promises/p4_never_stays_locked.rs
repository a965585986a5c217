//! P4: a store never stays locked. Whatever a backup meets, at any stage and at any call of the disk,
//! a write is granted afterwards, and meanwhile where the lease says so.

mod callbacks;
mod limits;

use std::future::Future;
use std::ops::ControlFlow;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::task::{Context, Wake, Waker};

use stillpoint::disk::{Call, Fault, FaultPlan};
use stillpoint::{Access, Error, ErrorKind, Mode, Stage, StoreEvent, TicketState};

use crate::scene::{STORE, Scene, Still, TO, all, aside, end, get, open, put, until};

const STAGES: [Stage; 6] =
    [Stage::StartupHook, Stage::Quiesce, Stage::Pin, Stage::Copy, Stage::Verify, Stage::Seal];

/// A write is granted, a read goes on, and nothing is held.
#[track_caller]
fn assert_free(scene: &Scene, what: &str) {
    let store = scene.store.clone();
    assert!(!store.locked(), "{what}: locked");
    assert!(store.pending_writes().is_empty(), "{what}: writes wait");
    let ticket = store.request_write().unwrap();
    assert_eq!(ticket.state(), TicketState::Granted, "{what}");
    drop(ticket);
    let read = aside(move || {
        drop(store.begin_write().unwrap());
        drop(store.begin_structure().unwrap());
        all(&store).len()
    });
    assert!(end(&read) > 0, "{what}");
}

#[test]
fn a_fault_at_any_disk_call_of_a_backup_ends_it_and_thaws() {
    let faults = [Fault::IO, Fault::FULL, Fault::DENIED];
    for (access, step) in [(Access::ReadOnly, 1), (Access::Frozen, 3), (Access::Live, 3)] {
        let mut call = 0;
        loop {
            let scene = Scene::new(Mode::Server, 300);
            let before = all(&scene.store);
            let fault = faults[call as usize % faults.len()];
            scene.sim.fail(FaultPlan::once(Call::Read, "", fault).any_call().skip(call));
            let result = scene.store.backup(TO).access(access).run();
            let spent = !scene.sim.has_faults();
            scene.sim.heal();
            let what = format!("{access:?}, {fault:?} at call {call}: {result:?}");
            assert_free(&scene, &what);
            assert_eq!(all(&scene.store), before, "{what}");
            check_end(&scene, result.as_ref().err(), &what);
            if !spent {
                assert!(result.is_ok(), "{what}");
                break;
            }
            call += step;
        }
        assert!(call > 40, "{access:?}: a backup makes more calls than {call}");
    }
}

/// A failed backup says why, and the next one succeeds: at once, or, where the fault met the store's
/// own files, after it was opened anew.
fn check_end(scene: &Scene, error: Option<&Error>, what: &str) {
    if let Some(error) = error {
        assert!(error.code() != 0 && !error.message().is_empty(), "{what}");
        let partial = |path: &std::path::PathBuf| path.to_string_lossy().ends_with(".partial");
        assert!(!scene.destination().iter().any(partial), "{what}: a partial file stayed");
    }
    match put(&scene.store, 0, "item 0") {
        Ok(()) => {
            let report = scene.store.backup(TO).run().unwrap_or_else(|e| panic!("{what}: {e}"));
            scene.archive(&report.archive).verify().unwrap();
        }
        Err(latched) => {
            assert_eq!(latched.kind(), ErrorKind::ReadOnly, "{what}: {latched}");
            let before = all(&scene.store);
            let _latched = scene.store.close();
            let again = open(&scene.sim, STORE).unwrap_or_else(|e| panic!("{what}: {e}"));
            assert_eq!(all(&again), before, "{what}");
            put(&again, 0, "item 0").unwrap();
            again.backup(TO).run().unwrap();
        }
    }
}

/// What a panic is told as, without the noise of a panic hook.
fn panic_quietly() -> ! {
    std::panic::resume_unwind(Box::new("a bug of the application's"))
}

#[test]
fn a_panic_in_any_hook_at_any_stage_ends_the_backup_and_thaws() {
    for mode in [Mode::Server, Mode::SingleUser] {
        for stage in STAGES {
            let scene = Scene::new(mode, 100);
            let told = Arc::new(AtomicI32::new(0));
            let heard = told.clone();
            let error = scene
                .store
                .backup(TO)
                .on_progress(move |progress| match progress.stage == stage {
                    true => panic_quietly(),
                    false => ControlFlow::Continue(()),
                })
                .on_shutdown(move |code| heard.store(code, Ordering::SeqCst))
                .run()
                .unwrap_err();
            assert_eq!((error.kind(), error.code()), (ErrorKind::BackupFailed, 2006), "{error}");
            assert!(error.message().contains("a bug of the application's"), "{error}");
            assert_eq!(told.load(Ordering::SeqCst), 2006, "the shutdown hook is told");
            assert_free(&scene, &format!("{mode:?}, panic at {stage:?}"));
            assert!(scene.destination().is_empty(), "{stage:?}");
        }
        let scene = Scene::new(mode, 100);
        let error = scene.store.backup(TO).on_startup(|_| panic_quietly()).run().unwrap_err();
        assert_eq!(error.code(), 2006);
        assert_free(&scene, "panic in the startup hook");
        let backup = scene.store.backup(TO).on_shutdown(|_| panic_quietly());
        backup.run().expect("the backup was over when its shutdown hook panicked");
        assert_free(&scene, "panic in the shutdown hook");
        scene.store.backup(TO).run().unwrap();
    }
}

#[test]
fn stop_lets_the_others_go_at_once_while_the_backup_itself_still_stands() {
    for mode in [Mode::Server, Mode::SingleUser] {
        for stage in STAGES {
            let scene = Scene::new(mode, 300);
            let (backup, still) = Still::at(stage, scene.store.backup(TO));
            let backup = backup.start().unwrap();
            still.reached();
            let other = scene.store.clone();
            let write = aside(move || put(&other, 1, "after stop"));
            let other = scene.store.clone();
            let read = aside(move || get(&other, 2));
            backup.stop();
            // The callback has not returned yet.
            end(&write).unwrap();
            end(&read).unwrap();
            assert!(!scene.store.locked(), "{stage:?}");
            still.go_on();
            let error = backup.wait().unwrap_err();
            assert_eq!((error.kind(), error.code()), (ErrorKind::Stopped, 1406), "{stage:?}");
            assert!(scene.destination().is_empty(), "{stage:?}");
            assert_free(&scene, &format!("stop at {stage:?}"));
        }
    }
}

/// A waker is code of the application, and Stop may be what calls it.
#[test]
fn what_stop_wakes_may_press_stop_itself() {
    struct Presses<F>(F);
    impl<F: Fn() + Send + Sync + Clone + 'static> Wake for Presses<F> {
        fn wake(self: Arc<Self>) {
            end(&aside(self.0.clone()));
        }
    }
    let scene = Scene::new(Mode::Server, 10);
    let (backup, still) = Still::at(Stage::Copy, scene.store.backup(TO));
    let backup = backup.start().unwrap();
    still.reached();
    let stop = Arc::new(backup.stopper());
    let waker = Waker::from(Arc::new(Presses(move || stop())));
    let mut waits = scene.store.request_write().unwrap();
    let mut poll = || Pin::new(&mut waits).poll(&mut Context::from_waker(&waker)).map(drop);
    assert!(poll().is_pending());
    backup.stop();
    assert!(poll().is_ready());
    still.go_on();
    assert_eq!(backup.wait().unwrap_err().code(), 1406);
}

#[test]
fn stop_ends_the_wait_for_open_handles() {
    let scene = Scene::new(Mode::Server, 10);
    let other = scene.store.clone();
    let open = end(&aside(move || other.begin_write().unwrap()));
    let backup = scene.store.backup(TO).start().unwrap();
    let waits = scene.store.request_write().unwrap();
    until("the backup waits", || backup.progress().stage == Stage::Quiesce);
    let stop = backup.stopper();
    stop();
    assert_eq!(backup.wait().unwrap_err().code(), 1406);
    waits.wait().unwrap().commit().unwrap();
    open.commit().unwrap();
    assert_free(&scene, "stop while waiting for handles");
}

#[test]
fn a_backup_whose_handle_was_dropped_runs_to_its_end_and_thaws() {
    let scene = Scene::new(Mode::SingleUser, 300);
    let events = scene.store.events();
    let (backup, still) = Still::copying(&scene.sim, scene.store.backup(TO));
    drop(backup.start().unwrap());
    still.reached();
    let ticket = scene.store.request_write().unwrap();
    assert_eq!(ticket.state(), TicketState::Waiting);
    still.go_on();
    ticket.wait().unwrap().commit().unwrap();
    let ended = std::iter::from_fn(|| events.recv_timeout(crate::scene::PATIENCE).ok())
        .find(|event| matches!(event, StoreEvent::BackupEnded { .. }));
    assert!(matches!(ended, Some(StoreEvent::BackupEnded { error: None, .. })), "{ended:?}");
    assert_eq!(scene.destination().len(), 1);
    assert_free(&scene, "the handle was dropped");
}

#[test]
fn a_store_that_is_closed_during_a_backup_refuses_who_waits_and_opens_again() {
    for mode in [Mode::Server, Mode::SingleUser] {
        let scene = Scene::new(mode, 300);
        let before = all(&scene.store);
        let (backup, still) = Still::copying(&scene.sim, scene.store.backup(TO));
        let backup = backup.start().unwrap();
        still.reached();
        let ticket = scene.store.request_write().unwrap();
        let store = scene.store.clone();
        let closing = aside(move || store.close());
        assert_eq!(ticket.wait().unwrap_err().kind(), ErrorKind::Closed);
        still.go_on();
        end(&closing).unwrap();
        let error = backup.wait().unwrap_err();
        assert_eq!((error.kind(), error.code()), (ErrorKind::Stopped, 1406), "{error}");
        assert!(scene.destination().is_empty());
        let again = open(&scene.sim, STORE).unwrap();
        assert_eq!(all(&again), before);
        put(&again, 1, "open again").unwrap();
    }
}

#[test]
fn a_second_backup_is_refused_with_2004_and_the_first_is_not_disturbed() {
    for access in [Access::Live, Access::ReadOnly] {
        let scene = Scene::new(Mode::Server, 300);
        let (backup, still) = Still::copying(&scene.sim, scene.store.backup(TO).access(access));
        let backup = backup.start().unwrap();
        still.reached();
        for second in [Access::Live, Access::ReadOnly, Access::Frozen] {
            let error = scene.store.backup(TO).access(second).run().unwrap_err();
            assert_eq!((error.kind(), error.code()), (ErrorKind::BackupInProgress, 2004));
        }
        still.go_on();
        let report = backup.wait().unwrap();
        scene.archive(&report.archive).verify().unwrap();
        assert_free(&scene, "a second backup");
        scene.store.backup(TO).run().unwrap();
    }
}

#[test]
fn a_crash_of_the_disk_during_a_backup_leaves_nobody_waiting() {
    let scene = Scene::new(Mode::SingleUser, 300);
    let (backup, still) = Still::copying(&scene.sim, scene.store.backup(TO));
    let backup = backup.start().unwrap();
    still.reached();
    let ticket = scene.store.request_write().unwrap();
    scene.sim.crash_now();
    still.go_on();
    backup.wait().unwrap_err();
    drop(ticket.wait().unwrap());
    assert!(!scene.store.locked());
}
