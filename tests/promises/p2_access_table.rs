//! P2: the access table, cell by cell, at the store.
//!
//! What waits in each cell is written here by hand, from the words of the README and not from the
//! table in the lock manager.

use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};
use stillpoint::{Access, Contents, Mode, Store, StructureHandle, TableDef, TicketState};

use crate::scene::{ITEMS, Scene, Still, TO, aside, end, get, until};

const STRUCTURE: Contents = Contents { structure: true, data: false };
const DATA: Contents = Contents { structure: false, data: true };
const BOTH: Contents = Contents { structure: true, data: true };

/// One cell: what is saved, how the store is opened, what is asked for, and what waits then.
struct Cell {
    contents: Contents,
    mode: Mode,
    asked: Option<Access>,
    structure_waits: bool,
    reads_wait: bool,
    writes_wait: bool,
}

#[rustfmt::skip]
fn cells() -> Vec<Cell> {
    use Access::{Frozen, Live, ReadOnly};
    use Mode::{Server, SingleUser};
    let cell = |contents, mode, asked, structure, reads, writes| Cell {
        contents, mode, asked,
        structure_waits: structure == "waits",
        reads_wait: reads == "wait",
        writes_wait: writes == "wait",
    };
    vec![
        //   contents   mode        asked for       structure  reads    writes
        cell(STRUCTURE, SingleUser, None,           "waits",   "go on", "go on"),
        cell(STRUCTURE, SingleUser, Some(Frozen),   "waits",   "go on", "go on"),
        cell(STRUCTURE, SingleUser, Some(ReadOnly), "waits",   "go on", "go on"),
        cell(STRUCTURE, SingleUser, Some(Live),     "goes on", "go on", "go on"),
        cell(STRUCTURE, Server,     None,           "waits",   "go on", "go on"),
        cell(STRUCTURE, Server,     Some(Frozen),   "waits",   "go on", "go on"),
        cell(STRUCTURE, Server,     Some(ReadOnly), "waits",   "go on", "go on"),
        cell(STRUCTURE, Server,     Some(Live),     "goes on", "go on", "go on"),
        cell(DATA,      SingleUser, None,           "waits",   "wait",  "wait"),
        cell(DATA,      SingleUser, Some(Frozen),   "waits",   "wait",  "wait"),
        cell(DATA,      SingleUser, Some(ReadOnly), "goes on", "go on", "wait"),
        cell(DATA,      SingleUser, Some(Live),     "goes on", "go on", "go on"),
        cell(DATA,      Server,     None,           "goes on", "go on", "wait"),
        cell(DATA,      Server,     Some(Frozen),   "waits",   "wait",  "wait"),
        cell(DATA,      Server,     Some(ReadOnly), "goes on", "go on", "wait"),
        cell(DATA,      Server,     Some(Live),     "goes on", "go on", "go on"),
        cell(BOTH,      SingleUser, None,           "waits",   "wait",  "wait"),
        cell(BOTH,      SingleUser, Some(Frozen),   "waits",   "wait",  "wait"),
        cell(BOTH,      SingleUser, Some(ReadOnly), "waits",   "go on", "wait"),
        cell(BOTH,      SingleUser, Some(Live),     "goes on", "go on", "go on"),
        cell(BOTH,      Server,     None,           "waits",   "go on", "wait"),
        cell(BOTH,      Server,     Some(Frozen),   "waits",   "wait",  "wait"),
        cell(BOTH,      Server,     Some(ReadOnly), "waits",   "go on", "wait"),
        cell(BOTH,      Server,     Some(Live),     "goes on", "go on", "go on"),
    ]
}

const NEW: TableDef<u64, String> = TableDef::new("made during the backup");

fn make_table(store: &Store) -> stillpoint::Result<()> {
    let structure: StructureHandle = store.begin_structure()?;
    structure.create(NEW)?;
    structure.commit().map(drop)
}

#[test]
fn every_cell_of_the_access_table_is_as_the_readme_says() {
    for cell in cells() {
        let name = format!("{:?} {:?} {:?}", cell.contents, cell.mode, cell.asked);
        play(&cell, &name);
    }
}

fn play(cell: &Cell, name: &str) {
    let scene = Scene::new(cell.mode, 500);
    let store = &scene.store;
    let read_before = store.begin_read().unwrap();
    let (step, walk) = walk_that_began(store);
    let mut backup = store.backup(TO).contents(cell.contents);
    if let Some(access) = cell.asked {
        backup = backup.access(access);
    }
    let (backup, still) = Still::copying(&scene.sim, backup);
    let backup = backup.start().unwrap();
    still.reached();
    let holds = cell.structure_waits || cell.reads_wait || cell.writes_wait;
    assert_eq!(store.locked(), holds, "{name}: locked()");

    let other = store.clone();
    let reads = [
        aside(move || get(&other, 7)),
        aside(move || read_before.table(ITEMS).unwrap().get(&7).unwrap()),
        walk,
    ];
    step.send(()).unwrap();
    if cell.reads_wait {
        until(&format!("{name}: three reads wait"), || store.locks().waiting_reads == 3);
        assert!(reads.iter().all(|read| read.is_empty()), "{name}: a read went on");
    } else {
        reads.iter().for_each(|read| drop(end(read)));
    }

    let ticket = store.request_write().unwrap();
    let expected = if cell.writes_wait { TicketState::Waiting } else { TicketState::Granted };
    assert_eq!(ticket.state(), expected, "{name}: write");
    let write = aside(move || {
        let write = ticket.wait().unwrap();
        write.table(ITEMS).unwrap().put(&7, &"written meanwhile".into()).unwrap();
        write.commit().unwrap();
    });
    if !cell.writes_wait {
        end(&write);
    }

    let other = store.clone();
    let structure = aside(move || make_table(&other));
    if cell.structure_waits {
        let waiting = usize::from(cell.writes_wait) + 1;
        until(&format!("{name}: the structure waits"), || {
            store.pending_writes().iter().filter(|write| !write.granted).count() == waiting
        });
        assert!(structure.is_empty(), "{name}: the structure went on");
    } else {
        end(&structure).unwrap();
    }

    assert!(!backup.is_finished());
    still.go_on();
    let report = backup.wait().unwrap();
    if cell.writes_wait {
        end(&write);
    }
    if cell.structure_waits {
        end(&structure).unwrap();
    }
    if cell.reads_wait {
        reads.iter().for_each(|read| drop(end(read)));
    }
    assert_eq!(report.hold > Duration::ZERO, holds, "{name}: {report:?}");
    assert_eq!(report.longest_wait > Duration::ZERO, holds, "{name}: {report:?}");
    assert!(!report.went_live, "{name}");
    assert_eq!(get(store, 7).as_deref(), Some("written meanwhile"), "{name}");
    assert_eq!(store.begin_read().unwrap().tables().unwrap().len(), 2, "{name}");
    assert!(!store.locked() && store.pending_writes().is_empty(), "{name}");
    if cell.contents.data {
        // What came during the backup is not in it, whether it waited or went on.
        let saved = scene.archive(&report.archive).read().unwrap();
        assert_eq!(saved.table(ITEMS).unwrap().get(&7).unwrap().as_deref(), Some("item 7"));
        assert_eq!(saved.tables().unwrap().len(), 1, "{name}");
    }
}

/// A walk over the table that has made its first step; it makes the second when it is told to.
fn walk_that_began(store: &Store) -> (Sender<()>, Receiver<Option<String>>) {
    let (began, begins) = bounded(1);
    let (step, told) = bounded(1);
    let handle = store.begin_read().unwrap();
    let walk = aside(move || {
        let mut walk = handle.table(ITEMS).unwrap().iter().unwrap();
        walk.next().unwrap().unwrap();
        began.send(()).unwrap();
        told.recv().unwrap();
        walk.next().map(|record| record.unwrap().1)
    });
    end(&begins);
    (step, walk)
}
