//! What a backup holds is a lease: where it stands still or takes too long, the others go on, and it
//! goes on live or fails, as it was told to.

use std::ops::ControlFlow;
use std::time::Duration;

use stillpoint::{AtLimit, BackupBuilder, ErrorKind, Mode, Stage, TicketState};

use super::assert_free;
use crate::scene::{Scene, TO, all, put, until};

/// Lets the destination hang, waits until a writer waits, and moves the clock on.
fn hang_and_pass(
    scene: &Scene,
    backup: BackupBuilder,
    time: Duration,
) -> stillpoint::Result<stillpoint::BackupReport> {
    let hang = scene.sim.hang(".tar.zst.");
    let backup = backup.start().unwrap();
    // Its commit is pinned: a hold that ends before that is no harm, but another commit.
    until("the copy hangs", || !hang.caught().is_empty());
    let ticket = scene.store.request_write().unwrap();
    assert_eq!(ticket.state(), TicketState::Waiting);
    scene.sim.advance(time);
    ticket.wait().unwrap().commit().unwrap();
    put(&scene.store, 1, "while it hangs").unwrap();
    assert!(!scene.store.locked() && !backup.is_finished());
    drop(hang);
    backup.wait()
}

#[test]
fn a_hanging_destination_thaws_by_stall_limit_and_by_hold_limit_with_both_outcomes() {
    type Options = fn(BackupBuilder) -> BackupBuilder;
    let limits: [(Option<AtLimit>, Options, Duration); 4] = [
        (None, |b| b, Duration::from_secs(61)),
        (None, |b| b.stall_limit(Duration::from_secs(5)), Duration::from_secs(6)),
        (
            Some(AtLimit::ContinueLive),
            |b| b.hold_limit(Duration::from_secs(10), AtLimit::ContinueLive),
            Duration::from_secs(11),
        ),
        (
            Some(AtLimit::Abort),
            |b| b.hold_limit(Duration::from_secs(10), AtLimit::Abort),
            Duration::from_secs(11),
        ),
    ];
    for mode in [Mode::Server, Mode::SingleUser] {
        for (outcome, options, time) in limits {
            let scene = Scene::new(mode, 3000);
            let before = all(&scene.store);
            let result = hang_and_pass(&scene, options(scene.store.backup(TO)), time);
            match outcome {
                Some(AtLimit::Abort) => {
                    let error = result.unwrap_err();
                    assert_eq!((error.kind(), error.code()), (ErrorKind::BackupFailed, 2003));
                    assert!(scene.destination().is_empty());
                }
                _ => {
                    let report = result.unwrap();
                    assert!(report.went_live && report.longest_wait > Duration::ZERO);
                    let saved = scene.archive(&report.archive);
                    saved.verify().unwrap();
                    // What came after the thaw is not in it: it went on from the same commit.
                    let read = saved.read().unwrap();
                    assert_eq!(crate::scene::records(&read), before);
                    assert!(saved.results().went_live);
                }
            }
            assert_free(&scene, "after a hanging destination");
        }
    }
}

#[test]
fn a_stalled_backup_that_may_not_go_on_live_fails_with_2003() {
    let scene = Scene::new(Mode::Server, 3000);
    let backup = scene
        .store
        .backup(TO)
        .stall_limit(Duration::from_secs(5))
        .hold_limit(Duration::from_secs(3600), AtLimit::Abort);
    let error = hang_and_pass(&scene, backup, Duration::from_secs(6)).unwrap_err();
    assert_eq!(error.code(), 2003, "{error}");
    assert_free(&scene, "after a stall");
}

#[test]
fn a_hold_that_ends_in_the_last_step_of_the_copy_still_fails_where_it_was_to_abort() {
    let scene = Scene::new(Mode::Server, 100);
    let clock = scene.sim.clone();
    let backup =
        scene.store.backup(TO).hold_limit(Duration::from_secs(10), AtLimit::Abort).on_progress(
            move |progress| {
                clock.advance(Duration::from_millis(60));
                if progress.stage == Stage::Copy && progress.bytes_done == progress.bytes_total {
                    clock.advance(Duration::from_secs(11));
                }
                ControlFlow::Continue(())
            },
        );
    let error = backup.run().unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::BackupFailed, 2003), "{error}");
    assert_free(&scene, "after the limit");
}
