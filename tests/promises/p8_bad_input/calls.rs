//! Calls that ask for what cannot be: bounds, types, tables that went, closed stores, destinations.

use super::*;

#[test]
fn keys_and_values_beyond_their_bounds_are_refused_and_the_handle_goes_on() {
    let scene = Scene::new(Mode::Server, 5);
    let names: TableDef<str, [u8]> = TableDef::new("names");
    let write = scene.store.begin_write().unwrap();
    let table = write.table(names).unwrap();
    table.put(&*"k".repeat(1024), &[1]).unwrap();
    assert_clear(&table.put(&*"k".repeat(5000), &[1]).unwrap_err(), ErrorKind::Limit, "", true);
    assert_clear(&table.delete(&*"k".repeat(5000)).unwrap_err(), ErrorKind::Limit, "", true);
    let huge = vec![0; stillpoint::MAX_VALUE_BYTES + 1];
    assert_clear(&table.put("huge", &huge).unwrap_err(), ErrorKind::Limit, "", false);
    drop(huge);
    table.put("small", &[2]).unwrap();
    write.commit().unwrap();
    let read = scene.store.begin_read().unwrap();
    assert_eq!(read.table(names).unwrap().len().unwrap(), 2);
    let long: &'static str = "a name of a table that goes on and on ".repeat(20).leak();
    let structure = scene.store.begin_structure().unwrap();
    let error = structure.create(TableDef::<u64, String>::new(long)).unwrap_err();
    assert_clear(&error, ErrorKind::Limit, "", false);
    let error = structure.create(TableDef::<u64, String>::new("")).unwrap_err();
    assert_clear(&error, ErrorKind::Invalid, "", false);
}

#[test]
fn a_table_opened_with_other_types_is_an_error_that_names_both() {
    let scene = Scene::new(Mode::Server, 5);
    let wrong_key: TableDef<str, String> = TableDef::new("items");
    let wrong_value: TableDef<u64, [u8]> = TableDef::new("items");
    let write = scene.store.begin_write().unwrap();
    let read = scene.store.begin_read().unwrap();
    let errors = [
        write.table(wrong_key).unwrap_err(),
        write.table(wrong_value).unwrap_err(),
        read.table(wrong_key).unwrap_err(),
        read.table(wrong_value).unwrap_err(),
    ];
    for error in errors {
        assert_clear(&error, ErrorKind::Invalid, "", true);
        assert!(error.message().contains("items") && error.message().contains("->"), "{error}");
    }
    // A value that is not of the type that is read is an error of its own, not a panic, nor damage.
    let as_number: TableDef<u64, u64> = TableDef::new("items");
    let error = read.table(as_number).unwrap().get(&1).unwrap_err();
    assert_clear(&error, ErrorKind::Unreadable, "", true);
}

#[test]
fn a_table_dropped_under_a_handle_stays_for_those_who_see_it_and_is_gone_for_others() {
    let scene = Scene::with(50, |builder| builder.lock_timeout(Duration::from_millis(50)));
    let store = &scene.store;
    let old = store.begin_read().unwrap();
    let write = store.begin_write().unwrap();
    write.table(ITEMS).unwrap().put(&1, &"open".into()).unwrap();
    let other = store.clone();
    let clock = scene.sim.clone();
    let refused = aside(move || {
        let structure = other.begin_structure()?;
        structure.drop_table("items")
    });
    let refused = loop {
        clock.advance(Duration::from_millis(60));
        match refused.recv_timeout(Duration::from_millis(5)) {
            Ok(result) => break result.unwrap_err(),
            Err(_) => continue,
        }
    };
    assert_clear(&refused, ErrorKind::Timeout, "", false);
    write.commit().unwrap();
    let structure = store.begin_structure().unwrap();
    structure.drop_table("items").unwrap();
    structure.commit().unwrap();
    assert_eq!(records(&old).len(), 50, "the old view is whole");
    let new = store.begin_read().unwrap();
    assert!(new.table(ITEMS).unwrap().get(&1).unwrap().is_none());
    assert!(new.dyn_table("items").unwrap().is_none());
    let structure = store.begin_structure().unwrap();
    let error = structure.drop_table("items").unwrap_err();
    assert_clear(&error, ErrorKind::NotFound, "", false);
}

#[test]
fn everything_asked_of_a_closed_store_is_refused_and_views_stay() {
    let scene = Scene::new(Mode::Server, 50);
    let store = scene.store.clone();
    let read = store.begin_read().unwrap();
    let write = store.begin_write().unwrap();
    write.table(ITEMS).unwrap().put(&1, &"too late".into()).unwrap();
    let structure = store.begin_structure().unwrap();
    structure.create(TableDef::<u64, String>::new("too late")).unwrap();
    store.close().unwrap();
    store.close().unwrap();
    let submitted = store.submit(|_| Ok(())).map(drop).map_err(|rejected| rejected.error);
    let results = [
        write.commit().map(drop),
        structure.commit().map(drop),
        store.begin_write().map(drop),
        store.begin_read().map(drop),
        store.begin_structure().map(drop),
        store.request_write().map(drop),
        store.transact(|_| Ok(())),
        submitted,
        store.hold_writes(Duration::from_secs(1)).map(drop),
        store.sync(),
        store.checkpoint().map(drop),
        store.verify().map(drop),
        store.backup(TO).run().map(drop),
    ];
    for (nth, result) in results.into_iter().enumerate() {
        let error = result.expect_err(&format!("{nth}"));
        assert_eq!(error.kind(), ErrorKind::Closed, "{nth}: {error}");
    }
    assert_eq!(records(&read).len(), 50, "a view stays readable");
    drop(read);
    let again = open(&scene.sim, STORE).unwrap();
    assert_eq!(get(&again, 1).as_deref(), Some("item 1"));
}

#[test]
fn a_store_in_use_is_refused_with_who_has_it() {
    let scene = Scene::new(Mode::Server, 5);
    let error = open(&scene.sim, STORE).unwrap_err();
    assert_clear(&error, ErrorKind::InUse, STORE, true);
    assert!(error.message().contains(&std::process::id().to_string()), "{error}");
    put(&scene.store, 1, "goes on").unwrap();
}

#[test]
fn a_destination_that_is_missing_or_within_the_store_is_1407() {
    let scene = Scene::new(Mode::Server, 5);
    scene.sim.symlink(Path::new("/inventory/log"), Path::new("/door")).unwrap();
    for path in ["/nowhere", "/nowhere/else", "/inventory", "/inventory/log", "/door"] {
        let error = scene.store.backup(path).run().unwrap_err();
        assert_clear(&error, ErrorKind::BackupFailed, path, true);
        assert_eq!(error.code(), 1407, "{path}: {error}");
    }
    assert!(scene.sim.metadata(Path::new("/nowhere")).is_err(), "it is not made either");
    put(&scene.store, 1, "goes on").unwrap();
}
