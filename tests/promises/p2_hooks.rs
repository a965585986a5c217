//! Promise 2 around a backup: the hooks are called once for each attempt, and cannot stand in its way.

mod order;

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use parking_lot::Mutex;
use stillpoint::{Access, BackupBuilder, ErrorKind, Mode, Result, Stage, TicketState, WriteHandle};

use crate::scene::{ITEMS, PATIENCE, Scene, Still, TO, get, until};

/// What the hooks of a backup heard.
#[derive(Default)]
struct Heard {
    startups: AtomicU32,
    ends: Mutex<Vec<i32>>,
}

fn listen(backup: BackupBuilder) -> (BackupBuilder, Arc<Heard>) {
    let heard = Arc::new(Heard::default());
    let (at_start, at_end) = (heard.clone(), heard.clone());
    let backup = backup
        .on_startup(move |_| {
            at_start.startups.fetch_add(1, Ordering::SeqCst);
            Ok(())
        })
        .on_shutdown(move |code| at_end.ends.lock().push(code));
    (backup, heard)
}

impl Heard {
    #[track_caller]
    fn check(&self, startups: u32, ends: &[i32]) {
        assert_eq!(self.startups.load(Ordering::SeqCst), startups);
        assert_eq!(*self.ends.lock(), ends);
    }
}

#[test]
fn both_hooks_are_called_once_for_each_attempt() {
    let scene = Scene::new(Mode::Server, 10);
    let (backup, heard) = listen(scene.store.backup(TO));
    backup.run().unwrap();
    heard.check(1, &[0]);
    let (backup, heard) = listen(scene.store.backup(TO));
    let stop = backup.on_progress(|progress| match progress.stage == Stage::Copy {
        true => ControlFlow::Break(()),
        false => ControlFlow::Continue(()),
    });
    stop.run().unwrap_err();
    heard.check(1, &[1406]);
    let (backup, heard) = listen(scene.store.backup(TO));
    backup.attachment("/missing").run().unwrap();
    heard.check(1, &[2001]);
}

#[test]
fn the_shutdown_hook_hears_of_a_backup_that_ends_before_its_locks() {
    let scene = Scene::new(Mode::Server, 10);
    let (backup, heard) = listen(scene.store.backup("/nowhere"));
    let backup = backup.start().unwrap();
    assert_eq!(backup.wait().unwrap_err().code(), 1407);
    heard.check(1, &[1407]);
    let write = scene.store.begin_write().unwrap();
    let (backup, heard) = listen(scene.store.backup(TO));
    assert_eq!(backup.run().unwrap_err().code(), 1404);
    heard.check(0, &[1404]);
    drop(write);
    let (backup, heard) = listen(scene.store.backup(TO));
    let code = backup.attachment("/").run().unwrap_err().code();
    heard.check(1, &[code]);
}

#[test]
fn a_start_that_got_no_turn_is_no_backup_and_its_hooks_are_silent() {
    let scene = Scene::new(Mode::Server, 10);
    let (backup, still) = Still::at(Stage::Copy, scene.store.backup(TO));
    let running = backup.start().unwrap();
    still.reached();
    let (second, heard) = listen(scene.store.backup(TO));
    assert_eq!(second.run().unwrap_err().code(), 2004);
    heard.check(0, &[]);
    still.go_on();
    running.wait().unwrap();
    scene.store.close().unwrap();
    let (late, heard) = listen(scene.store.backup(TO));
    assert_eq!(late.run().unwrap_err().kind(), ErrorKind::Closed);
    heard.check(0, &[]);
}

#[test]
fn a_backup_from_inside_either_hook_is_refused() {
    let scene = Scene::new(Mode::Server, 10);
    let found = Arc::new(Mutex::new(Vec::new()));
    let inner = Arc::new(Heard::default());
    let again = || {
        let (store, found, inner) = (scene.store.clone(), found.clone(), inner.clone());
        move || {
            let backup = store.backup(TO).access(Access::Live);
            let backup = backup.on_shutdown(move |code| inner.ends.lock().push(code));
            let error = backup.run().unwrap_err();
            found.lock().push((error.kind(), error.code()));
        }
    };
    let (before, after, late) = (again(), again(), again());
    let backup = scene.store.backup(TO).on_startup(move |_| {
        before();
        Ok(())
    });
    backup.on_shutdown(move |_| after()).run().unwrap();
    // A failed start calls the shutdown hook too, and that one may not start one either.
    scene.store.backup("/nowhere").on_shutdown(move |_| late()).run().unwrap_err();
    assert_eq!(*found.lock(), [(ErrorKind::BackupInProgress, 2005); 3]);
    inner.check(0, &[]);
}

#[test]
fn a_ticket_polled_from_inside_a_callback_is_refused_like_a_wait() {
    let scene = Scene::new(Mode::Server, 10);
    let store = scene.store.clone();
    let found = Arc::new(Mutex::new(None));
    let codes = found.clone();
    let backup = scene.store.backup(TO).on_progress(move |progress| {
        if progress.stage == Stage::Copy {
            let mut ticket = std::pin::pin!(store.request_write().unwrap());
            let mut context = Context::from_waker(Waker::noop());
            let polled = ticket.as_mut().poll(&mut context);
            *codes.lock() = match polled {
                Poll::Ready(Err(error)) => Some(error.code()),
                Poll::Ready(Ok(_)) | Poll::Pending => None,
            };
        }
        ControlFlow::Continue(())
    });
    backup.run().unwrap();
    assert_eq!(*found.lock(), Some(2005));
    assert!(scene.store.pending_writes().is_empty());
    // From outside it waits, and is granted when the backup has ended.
    let (backup, still) = Still::at(Stage::Copy, scene.store.backup(TO));
    let running = backup.start().unwrap();
    still.reached();
    let mut ticket = std::pin::pin!(scene.store.request_write().unwrap());
    let mut context = Context::from_waker(Waker::noop());
    assert!(ticket.as_mut().poll(&mut context).is_pending());
    still.go_on();
    running.wait().unwrap();
    until("it is granted", || ticket.state() == TicketState::Granted);
    assert!(matches!(ticket.as_mut().poll(&mut context), Poll::Ready(Ok(_))));
}

fn put_in(write: &WriteHandle, key: u64) -> Result<()> {
    write.table(ITEMS)?.put(&key, &"submitted".to_owned())
}

#[test]
fn a_submission_polled_or_waited_for_from_inside_a_callback_is_rejected_with_its_closure() {
    let scene = Scene::new(Mode::Server, 10);
    let store = scene.store.clone();
    let found = Arc::new(Mutex::new(Vec::new()));
    let codes = found.clone();
    let backup = scene.store.backup(TO).on_progress(move |progress| {
        if progress.stage == Stage::Copy && codes.lock().is_empty() {
            let submit = || store.submit(|write| put_in(write, 77)).unwrap();
            let mut ticket = std::pin::pin!(submit());
            let mut context = Context::from_waker(Waker::noop());
            let polled = match ticket.as_mut().poll(&mut context) {
                Poll::Ready(Err(rejected)) => Some(rejected),
                Poll::Ready(Ok(())) | Poll::Pending => None,
            };
            for rejected in [polled, submit().wait().err()] {
                let rejected = rejected.map(|one| (one.error.code(), one.work.is_some()));
                codes.lock().push(rejected);
            }
        }
        ControlFlow::Continue(())
    });
    backup.run().unwrap();
    assert_eq!(*found.lock(), [Some((2005, true)); 2]);
    assert!(scene.store.pending_writes().is_empty());
    assert_eq!(get(&scene.store, 77), None, "neither was performed");
    // From outside it waits, and is performed when the backup has ended.
    let (backup, still) = Still::at(Stage::Copy, scene.store.backup(TO));
    let running = backup.start().unwrap();
    still.reached();
    let mut ticket = std::pin::pin!(scene.store.submit(|write| put_in(write, 78)).unwrap());
    let mut context = Context::from_waker(Waker::noop());
    assert!(ticket.as_mut().poll(&mut context).is_pending());
    still.go_on();
    running.wait().unwrap();
    until("it is performed", || matches!(ticket.as_mut().poll(&mut context), Poll::Ready(Ok(()))));
    assert!(get(&scene.store, 78).is_some());
}

#[test]
fn a_hold_for_attachments_is_counted_renewed_by_progress_and_let_go_by_stop() {
    let scene = Scene::new(Mode::Server, 10);
    for file in 0..40 {
        let path = format!("/web{file}");
        crate::scene::write_file(&scene.sim, path.as_ref(), &[file; 300_000]);
    }
    let with_files = || {
        let backup = scene.store.backup(TO).access(Access::Live);
        (0..40).fold(backup, |backup, file| backup.attachment(format!("/web{file}")))
    };
    // Renewed: each piece takes ten seconds, all of them far more than the stall limit.
    let clock = scene.sim.clone();
    let store = scene.store.clone();
    let held = Arc::new(AtomicU32::new(0));
    let times = held.clone();
    let backup = with_files()
        .hold_for_attachments(Duration::from_secs(3600))
        .stall_limit(Duration::from_secs(60))
        .on_progress(move |progress| {
            if progress.stage == Stage::Copy {
                clock.advance(Duration::from_secs(10));
                times.fetch_add(u32::from(store.locked()), Ordering::SeqCst);
            }
            ControlFlow::Continue(())
        });
    let report = backup.run().unwrap();
    assert!(!report.went_live, "the lease was renewed");
    assert!(held.load(Ordering::SeqCst) > 10);
    assert!(report.hold >= Duration::from_secs(100), "{:?}", report.hold);
    // From the copy on, when the plan is made, one of the files hangs.
    let hanging = |limit| {
        let (tell, guard) = crossbeam_channel::bounded(1);
        let disk = scene.sim.clone();
        let mut once = true;
        let backup = with_files().hold_for_attachments(limit).on_progress(move |progress| {
            if progress.stage == Stage::Copy && std::mem::take(&mut once) {
                let _gone = tell.send(disk.hang("/web7"));
            }
            ControlFlow::Continue(())
        });
        let running = backup.start().unwrap();
        let hang = guard.recv_timeout(PATIENCE).unwrap();
        until("the copy hangs", || !hang.caught().is_empty());
        assert!(scene.store.locked(), "writers are held");
        (running, hang)
    };
    // Stop: at once, though the copy hangs.
    let (running, hang) = hanging(PATIENCE);
    running.stop();
    until("writers go on", || !scene.store.locked());
    assert!(!running.is_finished());
    drop(hang);
    assert_eq!(running.wait().unwrap_err().code(), 1406);
    // The limit: the backup goes on without the hold, and says so.
    let (running, hang) = hanging(Duration::from_secs(30));
    scene.sim.advance(Duration::from_secs(31));
    scene.store.begin_write().unwrap().commit().unwrap();
    drop(hang);
    assert!(running.wait().unwrap().went_live);
}
