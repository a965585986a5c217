//! P2: reads that wait because a backup freezes them can be awaited, and limited in time.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use stillpoint::{BackupHandle, ErrorKind, Mode};

use crate::scene::{ITEMS, Scene, Still, TO, aside, end, records, until};

fn frozen(scene: &Scene) -> (BackupHandle, Still) {
    let (backup, still) = Still::copying(&scene.sim, scene.store.backup(TO));
    let backup = backup.start().unwrap();
    still.reached();
    (backup, still)
}

#[derive(Default)]
struct Bell(AtomicU32);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn a_frozen_read_is_a_future_that_is_woken_when_reads_go_on() {
    let scene = Scene::new(Mode::SingleUser, 300);
    let (backup, still) = frozen(&scene);
    let mut ticket = pin!(scene.store.request_read().unwrap());
    let bell = Arc::new(Bell::default());
    let waker = Waker::from(bell.clone());
    let mut context = Context::from_waker(&waker);
    assert!(ticket.as_mut().poll(&mut context).is_pending());
    assert_eq!(Some(ticket.waits_for().unwrap().number), backup.number());
    assert_eq!(scene.store.locks().waiting_reads, 1);
    assert_eq!(bell.0.load(Ordering::SeqCst), 0);
    still.go_on();
    backup.wait().unwrap();
    assert!(bell.0.load(Ordering::SeqCst) > 0, "it is woken");
    let Poll::Ready(read) = ticket.as_mut().poll(&mut context) else { panic!("reads go on") };
    assert_eq!(records(&read.unwrap()).len(), 300);
    assert_eq!(scene.store.locks().waiting_reads, 0);
    // Without a backup it is ready at once.
    let mut ticket = pin!(scene.store.request_read().unwrap());
    assert!(ticket.as_mut().poll(&mut context).is_ready());
}

#[test]
fn a_frozen_read_is_waited_for_with_a_limit_and_given_up() {
    let scene = Scene::new(Mode::SingleUser, 300);
    let (backup, still) = frozen(&scene);
    let ticket = scene.store.request_read().unwrap();
    assert!(ticket.wait_timeout(Duration::ZERO).unwrap().is_none());
    assert_eq!(scene.store.locks().waiting_reads, 0, "only who waits counts");
    let waiting = aside(move || ticket.wait().map(|read| records(&read).len()));
    let dropped = scene.store.request_read().unwrap();
    drop(dropped);
    until("one waits", || scene.store.locks().waiting_reads == 1);
    still.go_on();
    assert_eq!(end(&waiting).unwrap(), 300);
    backup.wait().unwrap();
}

#[test]
fn the_read_timeout_ends_the_wait_of_every_read_and_names_the_backup() {
    let limit = Duration::from_secs(5);
    let options =
        |builder: stillpoint::StoreBuilder| builder.mode(Mode::SingleUser).read_timeout(limit);
    let scene = Scene::with(300, options);
    let old = scene.store.begin_read().unwrap();
    let (backup, still) = frozen(&scene);
    let store = scene.store.clone();
    let new = aside(move || store.begin_read().map(drop));
    let old = aside(move || old.table(ITEMS)?.get(&1).map(drop));
    until("both wait", || scene.store.locks().waiting_reads == 2);
    scene.sim.advance(limit);
    for read in [new, old] {
        let error = end(&read).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
        assert!(error.is_retryable() && error.advice().is_some());
        assert!(
            error.message().contains(&format!("backup {}", backup.number().unwrap())),
            "{error}"
        );
    }
    still.go_on();
    backup.wait().unwrap();
    scene.store.begin_read().unwrap();
}

#[test]
fn closing_ends_a_frozen_read_that_is_awaited() {
    let scene = Scene::new(Mode::SingleUser, 300);
    let (_backup, still) = frozen(&scene);
    let bell = Arc::new(Bell::default());
    let waker = Waker::from(bell.clone());
    let mut ticket = pin!(scene.store.request_read().unwrap());
    assert!(ticket.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    let store = scene.store.clone();
    let closing = aside(move || store.close());
    until("it is woken", || bell.0.load(Ordering::SeqCst) > 0);
    let end_of_it = ticket.as_mut().poll(&mut Context::from_waker(&waker));
    assert!(matches!(end_of_it, Poll::Ready(Err(error)) if error.kind() == ErrorKind::Closed));
    still.go_on();
    end(&closing).unwrap();
}
