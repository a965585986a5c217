//! Tables that are made, renamed and dropped.

use super::{COUNTS, NAMES, builder, get, put, store, until, waiting_for_locks};
use crate::disk::SimDisk;
use crate::{ErrorKind, Store, TableDef};
use std::sync::Barrier;
use std::thread;

fn names(store: &Store) -> Vec<String> {
    let tables = store.begin_read().unwrap().tables().unwrap();
    tables.into_iter().map(|table| table.name).collect()
}

#[test]
fn tables_are_made_renamed_and_dropped_as_one_commit() {
    const RENAMED: TableDef<str, u64> = TableDef::new("renamed");
    let disk = SimDisk::new(1);
    let store = builder(&disk).create().unwrap();
    put(&store, "a", 1);
    let structure = store.begin_structure().unwrap();
    structure.create(NAMES).unwrap();
    structure.rename("counts", "renamed").unwrap();
    assert_eq!(structure.tables().unwrap().len(), 2);
    assert_eq!(names(&store), ["counts"]);
    structure.commit().unwrap();
    assert_eq!(names(&store), ["names", "renamed"]);
    let read = store.begin_read().unwrap();
    assert_eq!(read.table(RENAMED).unwrap().get("a").unwrap(), Some(1));
    drop(read);

    let structure = store.begin_structure().unwrap();
    structure.drop_table("renamed").unwrap();
    structure.create(RENAMED).unwrap();
    structure.commit().unwrap();
    assert!(store.begin_read().unwrap().table(RENAMED).unwrap().is_empty().unwrap());
    store.close().unwrap();
    let store = builder(&disk).open().unwrap();
    assert_eq!(names(&store), ["names", "renamed"]);
    assert!(store.begin_read().unwrap().table(RENAMED).unwrap().is_empty().unwrap());
}

#[test]
fn a_name_that_was_freed_can_be_taken_in_the_same_commit() {
    let store = store();
    put(&store, "a", 1);
    put(&store, "b", 1);
    let write = store.begin_write().unwrap();
    write.table(NAMES).unwrap().put(&1, "one").unwrap();
    write.commit().unwrap();
    // The one with the greater number is dropped and its name given to the other.
    let structure = store.begin_structure().unwrap();
    structure.drop_table("names").unwrap();
    structure.rename("counts", "names").unwrap();
    structure.commit().unwrap();
    assert_eq!(names(&store), ["names"]);
    const TAKEN: TableDef<str, u64> = TableDef::new("names");
    assert_eq!(store.begin_read().unwrap().table(TAKEN).unwrap().len().unwrap(), 2);
}

#[test]
fn a_structure_handle_that_is_dropped_changes_nothing() {
    let store = store();
    put(&store, "a", 1);
    let structure = store.begin_structure().unwrap();
    structure.drop_table("counts").unwrap();
    structure.create(NAMES).unwrap();
    drop(structure);
    assert_eq!(names(&store), ["counts"]);
    assert_eq!(get(&store, "a"), Some(1));
}

#[test]
fn what_is_missing_or_taken_is_refused() {
    let store = store();
    put(&store, "a", 1);
    let structure = store.begin_structure().unwrap();
    assert_eq!(structure.create(COUNTS).unwrap_err().kind(), ErrorKind::Exists);
    assert_eq!(structure.rename("nothing", "x").unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(structure.drop_table("nothing").unwrap_err().kind(), ErrorKind::NotFound);
    structure.create(NAMES).unwrap();
    assert_eq!(structure.create(NAMES).unwrap_err().kind(), ErrorKind::Exists);
    assert_eq!(structure.rename("counts", "names").unwrap_err().kind(), ErrorKind::Exists);
    assert_eq!(structure.rename("counts", "").unwrap_err().kind(), ErrorKind::Invalid);
    structure.drop_table("names").unwrap();
    assert_eq!(structure.drop_table("names").unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn a_drop_waits_for_handles_that_have_the_table_open() {
    let store = store();
    put(&store, "a", 1);
    let write = store.begin_write().unwrap();
    write.table(COUNTS).unwrap().put("a", &2).unwrap();
    let other = store.clone();
    let dropper = thread::spawn(move || {
        let structure = other.begin_structure().unwrap();
        structure.drop_table("counts").unwrap();
        structure.commit().unwrap().lsn
    });
    until(|| waiting_for_locks(&store) == 1);
    let committed = write.commit().unwrap().lsn;
    assert!(committed < dropper.join().unwrap());
    assert!(names(&store).is_empty());
    // A handle that opens it afterwards makes it anew.
    put(&store, "b", 3);
    assert_eq!((get(&store, "a"), get(&store, "b")), (None, Some(3)));
}

#[test]
fn a_table_that_is_renamed_while_one_waits_to_open_it_is_not_that_table_any_more() {
    let store = store();
    put(&store, "a", 1);
    let structure = store.begin_structure().unwrap();
    structure.rename("counts", "old").unwrap();
    let other = store.clone();
    let writer = thread::spawn(move || put(&other, "b", 2));
    until(|| waiting_for_locks(&store) == 1);
    structure.commit().unwrap();
    writer.join().unwrap();
    assert_eq!(names(&store), ["counts", "old"]);
    assert_eq!((get(&store, "a"), get(&store, "b")), (None, Some(2)));
}

#[test]
fn two_that_make_one_table_make_one_table() {
    let store = store();
    let barrier = Barrier::new(4);
    thread::scope(|scope| {
        for n in 0..4_u64 {
            let (store, barrier) = (&store, &barrier);
            scope.spawn(move || {
                barrier.wait();
                store.transact(|write| write.table(COUNTS)?.put(&format!("{n}"), &n)).unwrap();
            });
        }
    });
    assert_eq!(names(&store), ["counts"]);
    assert_eq!(store.begin_read().unwrap().table(COUNTS).unwrap().len().unwrap(), 4);
}
