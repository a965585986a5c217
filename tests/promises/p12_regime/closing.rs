//! Closing a store with its regime: every backup that runs is stopped, and its books are written, before
//! it returns; then the folder is free.

use super::*;
use crate::scene::{aside, end};

/// A regime backup that stands still in its copy until it is told to go on.
fn standing(
    shop: &Shop,
) -> (stillpoint::regime::RegimeBackupHandle, crossbeam_channel::Sender<()>) {
    let (tell, reached) = crossbeam_channel::bounded(1);
    let (go_on, wait) = crossbeam_channel::bounded::<()>(0);
    let backup = shop.regime.backup().on_progress(move |progress| {
        if progress.stage == Stage::Copy && tell.try_send(()).is_ok() {
            let _go = wait.recv();
        }
        std::ops::ControlFlow::Continue(())
    });
    let backup = backup.start().unwrap();
    reached.recv_timeout(crate::scene::PATIENCE).expect("the backup copies");
    (backup, go_on)
}

#[test]
fn closing_stops_a_backup_of_the_application_and_the_folder_is_free_then() {
    let shop = shop(&[]);
    shop.sim.create_dir(Path::new("/shop backups")).ok();
    let (backup, go_on) = standing(&shop);
    let sim = shop.sim.clone();
    let closing = aside(move || shop.regime.close().map(|()| shop));
    until("the backup is told to stop", || closing.is_empty());
    std::thread::sleep(Duration::from_millis(30));
    assert!(closing.is_empty(), "close waits for the backup");
    drop(go_on);
    let shop = end(&closing).unwrap();
    // The journal, the history and the hook have it; nothing of it is under way.
    assert!(backup.is_finished());
    assert_eq!(shop.ends.try_iter().collect::<Vec<_>>(), [1406]);
    let error = backup.wait().unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::Stopped, 1406), "{error}");
    assert!(error.message().contains("closed"), "{error}");
    let again = Store::builder(DIR).disk(sim).segment_size(1 << 16).open().unwrap();
    assert_eq!(all(&again).len(), 1);
}

#[test]
fn closing_a_store_stops_its_backup_and_a_backup_after_that_is_refused() {
    let scene = crate::scene::Scene::new(stillpoint::Mode::Server, 300);
    let (backup, still) = crate::scene::Still::copying(&scene.sim, scene.store.backup(TO));
    let backup = backup.start().unwrap();
    still.reached();
    let store = scene.store.clone();
    let closing = aside(move || store.close());
    until("writes are refused", || put(&scene.store, 1, "x").is_err());
    still.go_on();
    end(&closing).unwrap();
    assert!(backup.is_finished());
    assert_eq!(backup.wait().unwrap_err().code(), 1406);
    assert!(scene.destination().is_empty());
    let again = scene.open(crate::scene::STORE).unwrap();
    assert_eq!(all(&again).len(), 300);
    assert_eq!(scene.store.backup(TO).run().unwrap_err().kind(), ErrorKind::Closed);
}

#[test]
fn closing_from_a_callback_of_the_backup_stops_it_and_does_not_wait_for_it() {
    let scene = crate::scene::Scene::new(stillpoint::Mode::Server, 300);
    let store = scene.store.clone();
    let backup = scene.store.backup(TO).on_progress(move |_| {
        store.close().unwrap();
        std::ops::ControlFlow::Continue(())
    });
    let error = end(&aside(move || backup.run())).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Stopped | ErrorKind::Closed), "{error:?}");
    assert_eq!(all(&scene.open(crate::scene::STORE).unwrap()).len(), 300);
}

#[test]
fn a_drill_from_inside_a_drill_is_refused() {
    let shop = shop(&[]);
    shop.regime.backup().run().unwrap();
    let regime = &shop.regime;
    let mut nested = None;
    let drilled = regime.drill_with(|_| {
        nested.get_or_insert_with(|| regime.drill().map(drop).unwrap_err().code());
        std::ops::ControlFlow::Continue(())
    });
    drilled.unwrap();
    assert_eq!(nested, Some(1404));
}
