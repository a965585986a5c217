//! Chosen contents of an archive: some tables, the structure, the attachments; a table or a record
//! into an open store.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use stillpoint::disk::{Disk, SimDisk};
use stillpoint::{Archive, Contents, ErrorKind, Mode, Store, TableDef, code};

use crate::scene::{ITEMS, Scene, TO, all, files, get, open, put, read_file, records, write_file};

const ORDERS: TableDef<(u32, u32), String> = TableDef::new("orders");

/// A store of two tables with an attachment, and a chain of two archives of it.
fn scene() -> (Scene, Archive) {
    let scene = Scene::with(300, |builder| builder.mode(Mode::Server).page_size(8192));
    scene.sim.create_dir(Path::new("/web")).unwrap();
    write_file(&scene.sim, Path::new("/web/a.css"), b"body {}");
    order(&scene.store, 1);
    scene.store.backup(TO).run().unwrap();
    order(&scene.store, 2);
    let saved = scene.store.backup(TO).attachment("/web").incremental().run().unwrap();
    let archive = scene.archive(&saved.archive);
    (scene, archive)
}

fn order(store: &Store, day: u32) {
    store
        .transact(|write| {
            let orders = write.table(ORDERS)?;
            (0..200).try_for_each(|n| orders.put(&(day, n), &"one of these ".repeat(9)))
        })
        .unwrap();
}

fn orders(store: &Store) -> usize {
    store.begin_read().unwrap().table(ORDERS).unwrap().len().unwrap() as usize
}

fn tables(store: &Store) -> Vec<String> {
    store.begin_read().unwrap().tables().unwrap().into_iter().map(|table| table.name).collect()
}

#[test]
fn chosen_tables_make_a_store_of_their_own() {
    let (scene, archive) = scene();
    let plan = archive.restore("/part").only_tables(["orders"]).plan().unwrap();
    assert_eq!((plan.tables.len(), plan.chain.len()), (1, 2));
    archive.restore("/part").only_tables(["orders"]).run().unwrap();
    let store = open(&scene.sim, "/part").unwrap();
    store.verify().unwrap();
    assert_eq!((tables(&store), orders(&store)), (vec!["orders".to_owned()], 400));
    let data = read_file(&scene.sim, Path::new("/part/store.data"));
    assert_eq!(data[12..16], 8192u32.to_le_bytes(), "the page size of the archive");
    assert!(!data.windows(8).any(|bytes| bytes == b"item 123"), "nothing of what was not chosen");
    let attached = Path::new("/part/attachments/web/a.css");
    assert_eq!(read_file(&scene.sim, attached), b"body {}");
    // It is another store: nothing of the first one's is ever applied to it.
    let made = store.backup(TO).name("part").run().unwrap();
    assert_ne!(made.store_id, archive.header().store_id);

    let error = archive.restore("/no").only_tables(["nothing"]).run().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    assert!(error.advice().unwrap().contains("items, orders"), "{error}");
    assert!(scene.sim.metadata(Path::new("/no")).is_err());
}

#[test]
fn structure_data_and_attachments_are_restored_each_by_itself() {
    let (scene, archive) = scene();
    let sim = &scene.sim;
    let there = |path: &str| sim.metadata(Path::new(path)).is_ok();
    let structure = Contents { structure: true, data: false };
    archive.restore("/structure").contents(structure).attachments(false).run().unwrap();
    let store = open(sim, "/structure").unwrap();
    assert_eq!((tables(&store).len(), orders(&store), all(&store).len()), (2, 0, 0));
    assert!(!there("/structure/catalogue.json") && !there("/structure/attachments"));
    assert_eq!(read_file(sim, Path::new("/structure/store.data"))[12..16], 8192u32.to_le_bytes());

    let data = Contents { structure: false, data: true };
    archive.restore("/data").contents(data).attachments(false).run().unwrap();
    assert_eq!(orders(&open(sim, "/data").unwrap()), 400);
    assert!(!there("/data/attachments"));

    let nothing = Contents { structure: false, data: false };
    archive.restore("/attachments").contents(nothing).run().unwrap();
    let names: Vec<_> = files(sim, "/attachments").into_keys().collect();
    assert!(names.iter().all(|name| name.starts_with("/attachments/attachments")), "{names:?}");
    assert_eq!(read_file(sim, Path::new("/attachments/attachments/web/a.css")), b"body {}");
}

#[test]
fn an_archive_of_the_structure_leaves_no_paper_of_its_own_and_keeps_the_page_size() {
    let (scene, _) = scene();
    let structure = Contents { structure: true, data: false };
    let saved = scene.store.backup(TO).contents(structure).run().unwrap();
    scene.archive(&saved.archive).restore("/copy").run().unwrap();
    let store = open(&scene.sim, "/copy").unwrap();
    assert_eq!(tables(&store).len(), 2);
    let data = read_file(&scene.sim, Path::new("/copy/store.data"));
    assert_eq!(data[12..16], 8192u32.to_le_bytes());
    assert!(scene.sim.metadata(Path::new("/copy/catalogue.json")).is_err());
}

#[test]
fn a_plan_changes_nothing_and_finds_what_the_restore_would() {
    let (scene, archive) = scene();
    // The store that it comes from is open, and changes its files at any time.
    let sim = scene.sim.image();
    let archive = Archive::open_on(sim.clone(), archive.path()).unwrap();
    let before = files(&sim, "/");
    let plan = archive.restore("/copy").plan().unwrap();
    assert_eq!((plan.lsn, plan.delta), (archive.header().lsn, false));
    assert_eq!(
        plan.chain.iter().map(|link| link.lsn).collect::<Vec<_>>(),
        [plan.lsn, plan.lsn - 1]
    );
    assert!(plan.bytes_needed > 0 && plan.bytes_free > plan.bytes_needed);
    let error = archive.restore("/inventory").plan().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Exists, "{error}");
    let plan = archive.restore("/inventory").delta(true).plan().unwrap();
    assert!(plan.delta);
    let error = archive.restore("/backups").delta(true).plan().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    assert!(files(&sim, "/") == before);
    sim.remove_file(&Path::new(TO).join("inventory[0001].tar.zst")).unwrap();
    assert_eq!(archive.restore("/copy").plan().unwrap_err().code(), 2009);
    scene.sim.set_capacity(1);
}

#[test]
fn a_table_comes_back_into_an_open_store_whole_or_not_at_all() {
    let (scene, archive) = scene();
    let store = &scene.store;
    let write = store.begin_structure().unwrap();
    write.drop_table("orders").unwrap();
    write.commit().unwrap();
    put(store, 5, "of now").unwrap();
    assert_eq!(archive.copy_table(store, "orders", "orders").run().unwrap(), 400);
    assert_eq!((orders(store), get(store, 5).unwrap()), (400, "of now".to_owned()));

    let error = archive.copy_table(store, "items", "items").run().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Exists, "{error}");
    assert_eq!(get(store, 5).unwrap(), "of now");
    let error = archive.copy_table(store, "nothing", "items").replace(true).run().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    archive.copy_table(store, "items", "items of then").run().unwrap();
    archive.copy_table(store, "items", "items").replace(true).run().unwrap();
    assert_eq!(get(store, 5).unwrap(), "item 5");
    assert_eq!(tables(store), ["items", "items of then", "orders"]);
    assert_eq!(all(store), records(&archive.read().unwrap()));
    store.close().unwrap();
    let store = open(&scene.sim, "/inventory").unwrap();
    store.verify().unwrap();
    assert_eq!(all(&store), records(&archive.read().unwrap()));
}

#[test]
fn a_copy_of_a_table_that_fails_leaves_the_tables_as_they_were() {
    let scene = Scene::new(Mode::Server, 60_000);
    let saved = scene.store.backup(TO).run().unwrap();
    let archive = scene.archive(&saved.archive);
    let mut midway = 0;
    for part in 1..20 {
        let place = archive.bytes() * part / 20;
        scene.sim.corrupt(&saved.archive, place, 3).unwrap();
        let before = scene.store.lsn();
        archive.copy_table(&scene.store, "items", "again").run().unwrap_err();
        midway += u32::from(scene.store.lsn() > before + 2);
        scene.sim.corrupt(&saved.archive, place, 3).unwrap();
        assert_eq!(tables(&scene.store), ["items"]);
    }
    assert!(midway > 0, "some had records already");
    assert_eq!(archive.copy_table(&scene.store, "items", "again").run().unwrap(), 60_000);
}

#[test]
fn a_copy_of_a_table_that_is_stopped_leaves_the_tables_as_they_were() {
    let scene = Scene::new(Mode::Server, 25_000);
    let saved = scene.store.backup(TO).run().unwrap();
    let archive = scene.archive(&saved.archive);
    let mut told = Vec::new();
    let copy = archive.copy_table(&scene.store, "items", "whole");
    let copy = copy.on_progress(|progress| {
        told.push((progress.done, progress.total));
        ControlFlow::Continue(())
    });
    assert_eq!(copy.run().unwrap(), 25_000);
    assert!(told.len() > 2 && told.iter().is_sorted(), "{told:?}");
    assert_eq!(told.last(), Some(&(25_000, 25_000)));
    for last in 1..=told.len() {
        let mut step = 0;
        let copy = archive.copy_table(&scene.store, "items", "again").on_progress(|_| {
            step += 1;
            if step == last { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        assert_eq!(copy.run().unwrap_err().code(), code::STOPPED);
        assert_eq!(tables(&scene.store), ["items", "whole"]);
    }
}

#[test]
fn a_record_comes_back_into_an_open_store() {
    let (scene, archive) = scene();
    let store = &scene.store;
    put(store, 5, "of now").unwrap();
    put(store, 6, "of now").unwrap();
    archive.copy_record(store, "items", "5").unwrap();
    assert_eq!(
        (get(store, 5).unwrap(), get(store, 6).unwrap()),
        ("item 5".into(), "of now".into())
    );
    for (table, key, kind) in [
        ("items", "77777", ErrorKind::NotFound),
        ("items", "no number", ErrorKind::Invalid),
        ("nothing", "5", ErrorKind::NotFound),
    ] {
        let error = archive.copy_record(store, table, key).unwrap_err();
        assert_eq!(error.kind(), kind, "{table} {key}: {error}");
    }
    let other = Store::builder("/other").disk(scene.sim.clone()).create().unwrap();
    let error = archive.copy_record(&other, "items", "5").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    let structure = other.begin_structure().unwrap();
    structure.create(TableDef::<str, u64>::new("items")).unwrap();
    structure.commit().unwrap();
    let error = archive.copy_record(&other, "items", "5").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    archive.copy_table(&other, "orders", "orders").run().unwrap();
    assert_eq!(orders(&other), 400);
}

#[test]
fn attachments_get_their_permissions_and_times_back() {
    let sim: Arc<SimDisk> = SimDisk::new(5);
    for dir in [TO, "/web", "/web/css"] {
        sim.create_dir(Path::new(dir)).unwrap();
    }
    write_file(&sim, Path::new("/web/css/a.css"), b"body {}");
    sim.set_attributes(Path::new("/web/css/a.css"), 0o4751, 1_234_567_890_123_456).unwrap();
    sim.set_attributes(Path::new("/web/css"), 0o700, 1_000_000_000_000_000).unwrap();
    let store = Store::builder("/inventory").disk(sim.clone()).create().unwrap();
    store.transact(|write| write.table(ITEMS)?.put(&1, &"one".to_owned())).unwrap();
    let saved = store.backup(TO).attachment("/web").run().unwrap();
    Archive::open_on(sim.clone(), &saved.archive).unwrap().restore("/copy").run().unwrap();
    let found = |path: &str| {
        let found = sim.metadata(&Path::new("/copy/attachments/web").join(path)).unwrap();
        (found.mode, found.modified)
    };
    // What would give somebody the rights of another is not given back.
    assert_eq!(found("css/a.css"), (0o751, 1_234_567_890_123_456));
    let (mode, modified) = found("css");
    assert_eq!(modified, 1_000_000_000_000_000);
    assert!(mode == 0o700 || mode == 0o755, "{mode:o}");
}
