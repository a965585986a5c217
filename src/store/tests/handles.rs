//! What read and write handles promise by themselves, one thread at a time.

use super::{COUNTS, NAMES, builder, get, put, store};
use crate::disk::SimDisk;
use crate::{Durability, ErrorKind, ReadHandle, Store, StructureHandle, WriteHandle, WriteTicket};
use std::thread;

#[test]
fn a_handle_that_is_dropped_or_aborted_leaves_no_trace() {
    let store = store();
    put(&store, "a", 1);
    let before = store.lsn();
    let write = store.begin_write().unwrap();
    write.table(COUNTS).unwrap().put("a", &2).unwrap();
    write.table(NAMES).unwrap().put(&1, "x").unwrap();
    drop(write);
    let write = store.begin_write().unwrap();
    write.table(COUNTS).unwrap().delete("a").unwrap();
    write.abort();
    assert_eq!(get(&store, "a"), Some(1));
    assert_eq!(store.lsn(), before);
    assert_eq!(store.begin_read().unwrap().tables().unwrap().len(), 1);
    put(&store, "a", 3);
    assert_eq!(store.lsn(), before + 1);
}

#[test]
fn two_tables_are_open_in_one_handle_and_commit_as_one() {
    let store = store();
    let write = store.begin_write().unwrap();
    let (counts, names) = (write.table(COUNTS).unwrap(), write.table(NAMES).unwrap());
    counts.put("a", &1).unwrap();
    names.put(&1, "one").unwrap();
    assert_eq!(counts.get("a").unwrap(), Some(1));
    assert_eq!(&*names.get(&1).unwrap().unwrap(), "one");
    assert!(store.begin_read().unwrap().table(NAMES).unwrap().is_empty().unwrap());
    let info = write.commit().unwrap();
    let read = store.begin_read().unwrap();
    assert_eq!(read.lsn(), info.lsn);
    assert_eq!(read.table(COUNTS).unwrap().len().unwrap(), 1);
    assert_eq!(read.table(NAMES).unwrap().len().unwrap(), 1);
}

#[test]
fn a_write_handle_reads_its_own_writes_first() {
    let store = store();
    put(&store, "a", 1);
    put(&store, "b", 2);
    let write = store.begin_write().unwrap();
    let table = write.table(COUNTS).unwrap();
    table.put("a", &10).unwrap();
    table.delete("b").unwrap();
    table.put("c", &3).unwrap();
    table.put("d", &4).unwrap();
    table.delete("d").unwrap();
    assert_eq!(table.get("a").unwrap(), Some(10));
    assert_eq!(table.get("b").unwrap(), None);
    assert_eq!(table.get_for_update("c").unwrap(), Some(3));
    assert_eq!(table.len().unwrap(), 2);
    let all: Vec<_> = table.iter().unwrap().map(Result::unwrap).collect();
    assert_eq!(all, [("a".to_owned(), 10), ("c".to_owned(), 3)]);
    assert_eq!(table.last().unwrap().unwrap().1, 3);
    assert!(!table.is_empty().unwrap());
    write.commit().unwrap();
    assert_eq!((get(&store, "a"), get(&store, "b"), get(&store, "c")), (Some(10), None, Some(3)));
}

#[test]
fn an_iterator_does_not_see_what_is_written_while_it_runs() {
    let store = store();
    let write = store.begin_write().unwrap();
    let table = write.table(COUNTS).unwrap();
    for n in 0..200 {
        table.put(&format!("{n:04}"), &n).unwrap();
    }
    let mut seen = 0;
    for record in table.iter().unwrap() {
        let (key, value) = record.unwrap();
        table.put(&format!("{key}+"), &value).unwrap();
        table.delete(&key).unwrap();
        seen += 1;
    }
    assert_eq!(seen, 200);
    assert_eq!(table.len().unwrap(), 200);
    assert!(table.iter().unwrap().all(|record| record.unwrap().0.ends_with('+')));
}

#[test]
fn an_insert_of_what_exists_is_refused_and_the_handle_lives_on() {
    let store = store();
    put(&store, "a", 1);
    let write = store.begin_write().unwrap();
    let table = write.table(COUNTS).unwrap();
    let error = table.insert("a", &2).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Exists);
    assert!(error.message().contains("key a"), "{error}");
    table.insert("b", &2).unwrap();
    assert_eq!(table.insert("b", &3).unwrap_err().kind(), ErrorKind::Exists);
    table.delete("a").unwrap();
    table.insert("a", &4).unwrap();
    write.commit().unwrap();
    assert_eq!((get(&store, "a"), get(&store, "b")), (Some(4), Some(2)));
}

#[test]
fn a_read_handle_sees_one_commit_for_ever() {
    let store = store();
    put(&store, "a", 1);
    let old = store.begin_read().unwrap();
    put(&store, "a", 2);
    store.checkpoint().unwrap();
    put(&store, "b", 3);
    let structure = store.begin_structure().unwrap();
    structure.drop_table("counts").unwrap();
    structure.commit().unwrap();
    store.checkpoint().unwrap();
    let table = old.table(COUNTS).unwrap();
    assert_eq!(table.get("a").unwrap(), Some(1));
    assert_eq!(table.len().unwrap(), 1);
    assert_eq!(old.clone().tables().unwrap().len(), 1);
    assert!(store.begin_read().unwrap().table(COUNTS).unwrap().is_empty().unwrap());
}

#[test]
fn handles_are_send_and_outlive_the_store_value() {
    fn send<T: Send>() {}
    fn sync<T: Sync>() {}
    send::<WriteHandle>();
    send::<WriteTicket>();
    send::<StructureHandle>();
    send::<ReadHandle>();
    sync::<ReadHandle>();
    send::<Store>();
    sync::<Store>();

    let disk = SimDisk::new(3);
    let store = builder(&disk).create().unwrap();
    put(&store, "a", 1);
    let (read, write) = (store.begin_read().unwrap(), store.begin_write().unwrap());
    write.table(COUNTS).unwrap().put("a", &2).unwrap();
    drop(store);
    // The last handle goes on another thread: it closes the store there.
    thread::spawn(move || write.commit().unwrap()).join().unwrap();
    assert_eq!(read.table(COUNTS).unwrap().get("a").unwrap(), Some(1));
    // Its pages are its own until it goes.
    assert_eq!(builder(&disk).open().unwrap_err().kind(), ErrorKind::InUse);
    drop(read);
    let store = builder(&disk).open().unwrap();
    assert_eq!(get(&store, "a"), Some(2));
}

#[test]
fn a_closed_store_says_so_to_everybody() {
    let store = store();
    put(&store, "a", 1);
    let (read, write) = (store.begin_read().unwrap(), store.begin_write().unwrap());
    let other = store.clone();
    write.table(COUNTS).unwrap().put("a", &2).unwrap();
    store.close().unwrap();
    store.close().unwrap();
    let closed = |kind| assert_eq!(kind, ErrorKind::Closed);
    closed(write.commit().unwrap_err().kind());
    closed(other.begin_read().unwrap_err().kind());
    closed(other.begin_write().unwrap_err().kind());
    closed(other.request_write().unwrap_err().kind());
    closed(other.begin_structure().unwrap_err().kind());
    closed(other.transact(|_| Ok(())).unwrap_err().kind());
    closed(other.submit(|_| Ok(())).unwrap_err().error.kind());
    closed(other.sync().unwrap_err().kind());
    closed(other.checkpoint().unwrap_err().kind());
    assert_eq!(read.table(COUNTS).unwrap().get("a").unwrap(), Some(1));
}

#[test]
fn durability_is_chosen_by_store_and_by_handle() {
    let disk = SimDisk::new(5);
    let store = builder(&disk).durability(Durability::Eventual).create().unwrap();
    put(&store, "a", 1);
    let write = store.begin_write().unwrap();
    write.set_durability(Durability::Immediate);
    write.table(COUNTS).unwrap().put("b", &2).unwrap();
    let info = write.commit().unwrap();
    let stats = store.stats();
    assert!(stats.engine.durable_lsn >= info.lsn, "{stats:?}");
    assert_eq!((stats.tables, stats.pending_writes, stats.locked), (1, 0, false));
}
