//! Parents that are missing, foreign, divergent or damaged, and chains that have a hole.

use super::*;

fn refused(error: &Error, kind: ErrorKind) {
    assert_eq!((error.kind(), error.code()), (kind, 2009), "{error}");
    assert!(error.advice().is_some(), "{error}");
}

/// Tries an incremental backup that must be refused with nothing touched.
#[track_caller]
fn refuses(scene: &Scene, backup: BackupBuilder, kind: ErrorKind) -> Error {
    let state = || read_file(&scene.sim, Path::new("/inventory/store.data"));
    let before = (files(&scene.sim, TO), state());
    let error = backup.run().unwrap_err();
    refused(&error, kind);
    assert!((files(&scene.sim, TO), state()) == before);
    put(&scene.store, 1, "nobody waits").unwrap();
    error
}

#[test]
fn without_a_parent_an_incremental_backup_is_refused() {
    let scene = Scene::new(Mode::Server, 10);
    refuses(&scene, scene.store.backup(TO).incremental(), ErrorKind::NotFound);
    let structure = Contents { structure: true, data: false };
    scene.store.backup(TO).contents(structure).run().unwrap();
    refuses(&scene, scene.store.backup(TO).incremental(), ErrorKind::NotFound);
    let gone = scene.store.backup(TO).incremental_from("/backups/gone.tar.zst");
    refuses(&scene, gone, ErrorKind::NotFound);
    let error = scene.store.backup(TO).contents(structure).incremental().run().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
}

#[test]
fn a_parent_that_is_gone_or_was_replaced_is_refused_or_passed_over_and_told() {
    let scene = Scene::new(Mode::Server, 100);
    let first = full(&scene.store);
    let mut made = Vec::new();
    for round in 0..2 {
        put(&scene.store, round, "more").unwrap();
        made.push(incremental(&scene.store));
    }
    let aside = PathBuf::from("/aside");
    scene.sim.rename(&made[1].archive, &aside).unwrap();
    let by_name = scene.store.backup(TO).incremental_from(&made[1].archive);
    refuses(&scene, by_name, ErrorKind::NotFound);
    let next = incremental(&scene.store);
    assert_eq!(next.parent.as_ref().unwrap().number, made[0].number);
    assert_eq!((next.passed_over.len(), next.passed_over[0].code()), (1, 2009));
    assert_eq!(restored(&scene.sim, &next.archive, "/copy"), all(&scene.store));
    // Moved, it can still be named.
    let moved = scene.store.backup(TO).incremental_from(&aside);
    refuses(&scene, moved, ErrorKind::NotFound);
    scene.sim.rename(&aside, &made[1].archive).unwrap();
    let named = scene.store.backup(TO).incremental_from(&made[1].archive).run().unwrap();
    assert_eq!(named.parent.unwrap().seal, made[1].seal);

    // Another archive takes the place of the full one: nothing goes on from any of them.
    scene.sim.rename(&first.archive, &aside).unwrap();
    scene.sim.rename(&made[0].archive, &first.archive).unwrap();
    let swapped = scene.store.backup(TO).incremental();
    let error = refuses(&scene, swapped, ErrorKind::NotFound);
    assert!(std::error::Error::source(&error).is_some(), "{error}");
}

#[test]
fn an_archive_of_another_store_or_of_another_history_is_refused_as_parent() {
    let scene = Scene::new(Mode::Server, 100);
    let saved = full(&scene.store);
    let other = Store::builder("/other").disk(scene.sim.clone()).create().unwrap();
    put(&other, 1, "other").unwrap();
    let foreign = other.backup(TO).run().unwrap();
    let backup = scene.store.backup(TO).incremental_from(&foreign.archive);
    refuses(&scene, backup, ErrorKind::Foreign);

    // A twin has the same identity, the same past, and its pages elsewhere.
    scene.archive(&saved.archive).restore("/twin").run().unwrap();
    let twin = open(&scene.sim, "/twin").unwrap();
    put(&twin, 1, "of the twin").unwrap();
    let divergent = twin.backup(TO).name("twin").run().unwrap();
    assert_eq!(divergent.store_id, saved.store_id);
    let backup = scene.store.backup(TO).incremental_from(&divergent.archive);
    refuses(&scene, backup, ErrorKind::Foreign);
    // Both go on from what they have in common, and each archive restores to its own store.
    put(&scene.store, 2, "of the first").unwrap();
    let ours = scene.store.backup(TO).incremental_from(&saved.archive).run().unwrap();
    let theirs = twin.backup(TO).name("twin").incremental_from(&saved.archive).run().unwrap();
    assert_eq!(restored(&scene.sim, &ours.archive, "/ours"), all(&scene.store));
    assert_eq!(restored(&scene.sim, &theirs.archive, "/theirs"), all(&twin));
}

#[test]
fn a_data_file_that_was_put_back_is_no_continuation_of_later_archives() {
    let scene = Scene::new(Mode::Server, 500);
    full(&scene.store);
    put(&scene.store, 1, "between").unwrap();
    scene.store.close().unwrap();
    let data = Path::new("/inventory/store.data");
    let earlier = read_file(&scene.sim, data);
    let store = open(&scene.sim, "/inventory").unwrap();
    for key in 0..100 {
        put(&store, key, "later").unwrap();
    }
    let late = incremental(&store);
    store.close().unwrap();
    // The file as it was, with the whole log: no commit is lost, but other pages get these numbers.
    write_file(&scene.sim, data, &earlier);
    let store = open(&scene.sim, "/inventory").unwrap();
    for key in 200..400 {
        put(&store, key, "otherwise").unwrap();
        if key % 50 == 0 {
            store.checkpoint().unwrap();
        }
    }
    let error = store.backup(TO).incremental_from(&late.archive).run().unwrap_err();
    refused(&error, ErrorKind::Foreign);
    let next = incremental(&store);
    assert_eq!(next.parent.as_ref().unwrap().number, 1);
    assert_eq!(restored(&scene.sim, &next.archive, "/copy"), all(&store));
}

#[test]
fn a_chain_with_a_missing_or_swapped_link_restores_to_nothing_and_says_which() {
    let scene = Scene::new(Mode::Server, 100);
    let mut made = vec![full(&scene.store)];
    for round in 0..2 {
        put(&scene.store, round, "more").unwrap();
        made.push(incremental(&scene.store));
    }
    let last = scene.archive(&made[2].archive);
    let aside = PathBuf::from("/aside[0001].tar.zst");
    for (link, name) in [(0, "inventory[0001]"), (1, "inventory[0002]")] {
        scene.sim.rename(&made[link].archive, &aside).unwrap();
        last.verify().unwrap();
        for error in [
            last.restore("/copy").run().unwrap_err(),
            last.restore("/copy").plan().unwrap_err(),
            last.read().unwrap_err(),
            last.verify_chain().unwrap_err(),
        ] {
            assert_eq!((error.kind(), error.code()), (ErrorKind::NotFound, 2009), "{error}");
            assert!(error.message().contains(name), "{error}");
        }
        assert!(scene.sim.metadata(Path::new("/copy")).is_err());
        let told = scene.archive(&made[2].archive).with_parent(&aside);
        assert_eq!(told.chain().unwrap().len(), 3);
        told.verify_chain().unwrap();
        scene.sim.rename(&aside, &made[link].archive).unwrap();
    }
    // A name means nothing: the seal does.
    let renamed = PathBuf::from(TO).join("something else[0077].tar.zst");
    scene.sim.rename(&made[0].archive, &renamed).unwrap();
    assert_eq!(restored(&scene.sim, &made[2].archive, "/copy"), all(&scene.store));
    scene.sim.rename(&made[1].archive, &made[0].archive).unwrap();
    assert_eq!(restored(&scene.sim, &made[2].archive, "/again"), all(&scene.store));
}

#[test]
fn damage_in_any_archive_of_a_chain_is_found() {
    let scene = Scene::new(Mode::Server, 2000);
    let first = full(&scene.store);
    put(&scene.store, 7, "more").unwrap();
    let second = incremental(&scene.store);
    let archive = scene.archive(&second.archive);
    for path in [&first.archive, &second.archive] {
        let bytes = read_file(&scene.sim, path).len() as u64;
        for part in 1..12 {
            let place = bytes * part / 12;
            scene.sim.corrupt(path, place, 2).unwrap();
            let error = archive.verify_chain().unwrap_err();
            assert_eq!((error.kind(), error.code()), (ErrorKind::Corrupt, 1411), "{error}");
            // What the restore does not need may be damaged; what it gives is right.
            match archive.restore("/copy").run() {
                Ok(_) => {
                    let copy = open(&scene.sim, "/copy").unwrap();
                    copy.verify().unwrap();
                    assert!(all(&copy) == all(&scene.store));
                    copy.close().unwrap();
                    remove_tree(&*scene.sim, Path::new("/copy")).unwrap();
                }
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
                    assert!(scene.sim.metadata(Path::new("/copy")).is_err());
                }
            }
            scene.sim.corrupt(path, place, 2).unwrap();
        }
    }
}

#[test]
fn an_incremental_backup_that_fails_leaves_the_chain_as_it_was() {
    let scene = Scene::new(Mode::Server, 500);
    full(&scene.store);
    for call in [Call::Create, Call::Write, Call::Sync, Call::Rename] {
        put(&scene.store, 3, &format!("{call:?}")).unwrap();
        scene.sim.fail(FaultPlan::once(call, TO, Fault::IO));
        scene.store.backup(TO).incremental().log_archive(false).run().unwrap_err();
        scene.sim.heal();
        let next = incremental(&scene.store);
        assert_eq!(restored(&scene.sim, &next.archive, &format!("/{call:?}")), all(&scene.store));
    }
}
