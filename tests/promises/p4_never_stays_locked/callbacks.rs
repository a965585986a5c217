//! Calls from inside the callbacks of a backup: what would wait for that very backup is refused, and
//! nothing waits for itself.

use std::ops::ControlFlow;
use std::time::Duration;

use crossbeam_channel::bounded;
use stillpoint::{Error, Mode, Stage};

use super::assert_free;
use crate::scene::{ITEMS, Scene, TO, aside, end, get, put};

/// What an operation from inside a callback is answered with.
type Answer = (&'static str, Result<(), i32>);

/// Does everything that would wait for the backup.
fn try_all(store: &stillpoint::Store, read: &stillpoint::ReadHandle) -> Vec<Answer> {
    let code = |error: Error| error.code();
    let submitted = store
        .submit(|write| write.table(ITEMS)?.put(&1, &"submitted".into()))
        .map_err(|rejected| rejected.error)
        .and_then(|ticket| ticket.wait().map_err(|rejected| rejected.error));
    vec![
        ("begin_write", store.begin_write().map(drop).map_err(code)),
        ("put", put(store, 1, "x").map_err(code)),
        ("request_write", store.request_write().and_then(|t| t.wait()).map(drop).map_err(code)),
        ("transact", store.transact(|_| Ok(())).map_err(code)),
        ("submit", submitted.map_err(code)),
        ("begin_structure", store.begin_structure().map(drop).map_err(code)),
        ("hold_writes", store.hold_writes(Duration::from_secs(1)).map(drop).map_err(code)),
        ("begin_read", store.begin_read().map(drop).map_err(code)),
        ("old handle", read.table(ITEMS).unwrap().get(&1).map(drop).map_err(code)),
        ("backup", store.backup(TO).run().map(drop).map_err(code)),
    ]
}

#[test]
fn an_operation_from_inside_a_callback_that_would_wait_for_the_backup_is_refused_with_2005() {
    for mode in [Mode::Server, Mode::SingleUser] {
        let scene = Scene::new(mode, 300);
        let store = scene.store.clone();
        let read = store.begin_read().unwrap();
        let (tell, told) = bounded(1);
        let (inside, seen) = (store.clone(), tell.clone());
        let backup = scene.store.backup(TO).on_progress(move |progress| {
            if progress.stage == Stage::Copy {
                let _ = seen.try_send(try_all(&inside, &read));
                // What never waits is let through.
                assert!(inside.locked() && inside.stats().locked);
                assert!(inside.pending_writes().is_empty());
                assert!(!inside.locks().owners.is_empty());
            }
            ControlFlow::Continue(())
        });
        let done = end(&aside(move || backup.run()));
        done.unwrap();
        let waits_too = mode == Mode::SingleUser;
        for (what, answer) in told.try_recv().unwrap() {
            let reads = matches!(what, "begin_read" | "old handle");
            let expected = if reads && !waits_too { Ok(()) } else { Err(2005) };
            assert_eq!(answer, expected, "{mode:?}: {what}");
        }
        drop(tell);
        assert_free(&scene, "callbacks");
        assert_eq!(get(&store, 1).as_deref(), Some("item 1"), "nothing was performed");
    }
}

#[test]
fn a_backup_from_inside_any_hook_is_refused_with_2005() {
    let scene = Scene::new(Mode::Server, 50);
    let (tell, told) = bounded(3);
    let again = |tell: &crossbeam_channel::Sender<i32>| {
        let (store, tell) = (scene.store.clone(), tell.clone());
        move || {
            let code = store.backup(TO).run().map_or_else(|error| error.code(), |_| 0);
            let _full = tell.try_send(code);
        }
    };
    let (first, second, last) = (again(&tell), again(&tell), again(&tell));
    let backup = scene
        .store
        .backup(TO)
        .on_startup(move |_| {
            first();
            Ok(())
        })
        .on_progress(move |progress| {
            if progress.stage == Stage::Seal {
                second();
            }
            ControlFlow::Continue(())
        })
        .on_shutdown(move |_| last());
    backup.run().unwrap();
    assert_eq!(told.try_iter().collect::<Vec<_>>(), [2005; 3]);
    assert_free(&scene, "backups in hooks");
    scene.store.backup(TO).run().unwrap();
}
