//! Backups on the simulated disk: what they contain, and how they end.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

use crate::archive::{ArchiveOptions, ArchiveWriter};
use crate::disk::{Call, Disk, Fault, FaultPlan, OpenMode, SimDisk};
use crate::store::{BackupHeader, TablePaper};
use crate::{
    Access, Archive, BackupStatus, Compression, Contents, ErrorKind, Mode, Stage, Store, TableDef,
};

const ITEMS: TableDef<u64, String> = TableDef::new("items");
const TO: &str = "/backups";

struct Bench {
    sim: Arc<SimDisk>,
    store: Store,
}

fn bench(mode: Mode, records: u64) -> Bench {
    let sim = SimDisk::new(7);
    sim.create_dir(Path::new(TO)).unwrap();
    let disk: Arc<dyn Disk> = sim.clone();
    let store = Store::builder("/inventory").mode(mode).disk(disk).create().unwrap();
    let write = store.begin_write().unwrap();
    for i in 0..records {
        write.table(ITEMS).unwrap().put(&i, &format!("item {i}")).unwrap();
    }
    write.commit().unwrap();
    Bench { sim, store }
}

impl Bench {
    fn archives(&self) -> Vec<PathBuf> {
        self.sim.list(Path::new(TO)).unwrap()
    }

    fn open(&self, path: &Path) -> Archive {
        let disk: Arc<dyn Disk> = self.sim.clone();
        Archive::open_on(disk, path).unwrap()
    }
}

fn read_all(read: &crate::ReadHandle) -> Vec<(u64, String)> {
    let table = read.table(ITEMS).unwrap();
    table.iter().unwrap().map(Result::unwrap).collect()
}

#[test]
fn an_archive_equals_the_store_and_can_be_read_in_place_and_restored() {
    for access in [Access::Live, Access::ReadOnly, Access::Frozen] {
        for compression in [Compression::None, Compression::Fast, Compression::Compact] {
            let bench = bench(Mode::Server, 2000);
            let before = read_all(&bench.store.begin_read().unwrap());
            let report =
                bench.store.backup(TO).access(access).compression(compression).run().unwrap();
            assert_eq!(report.archive, Path::new(TO).join("inventory[0001].tar.zst"));
            assert!(report.verified && report.status == BackupStatus::Complete);
            assert_eq!(report.lsn, bench.store.begin_read().unwrap().lsn());
            let archive = bench.open(&report.archive);
            archive.verify().unwrap();
            assert_eq!(archive.header().tables[0].records, 2000);
            assert_eq!(read_all(&archive.read().unwrap()), before);
            let restored = archive.restore("/copy").run().unwrap();
            assert_eq!(restored.lsn, report.lsn);
            let disk: Arc<dyn Disk> = bench.sim.clone();
            let copy = Store::builder("/copy").disk(disk).open().unwrap();
            assert_eq!(read_all(&copy.begin_read().unwrap()), before);
            copy.verify().unwrap();
        }
    }
}

#[test]
fn numbers_go_up_and_a_dead_runs_partial_file_is_removed() {
    let bench = bench(Mode::Server, 10);
    let first = bench.store.backup(TO).run().unwrap();
    let id = first.store_id;
    let dead = format!("{TO}/inventory[0002].tar.zst.{id:032x}.partial");
    let foreign = format!("{TO}/inventory[0001].tar.zst.{:032x}.partial", id ^ 1);
    for path in [&dead, &foreign] {
        bench.sim.open(Path::new(path), OpenMode::CreateNew).unwrap();
    }
    let second = bench.store.backup(TO).run().unwrap();
    assert!(second.number > first.number);
    assert!(bench.sim.metadata(Path::new(&dead)).is_err());
    assert!(bench.sim.metadata(Path::new(&foreign)).is_ok());
}

#[test]
fn stop_ends_the_backup_with_1406_and_leaves_nothing_behind() {
    for stage in [Stage::Quiesce, Stage::Pin, Stage::Copy, Stage::Verify, Stage::Seal] {
        let bench = bench(Mode::Server, 500);
        let told = Arc::new(AtomicI32::new(-1));
        let heard = told.clone();
        let error = bench
            .store
            .backup(TO)
            .on_progress(move |progress| match progress.stage == stage {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            })
            .on_shutdown(move |code| heard.store(code, Ordering::SeqCst))
            .run()
            .unwrap_err();
        assert_eq!((error.kind(), error.code()), (ErrorKind::Stopped, 1406), "{stage:?}");
        assert_eq!(told.load(Ordering::SeqCst), 1406);
        assert_eq!(bench.archives(), Vec::<PathBuf>::new(), "{stage:?}");
        bench.store.begin_write().unwrap().commit().unwrap();
        bench.store.backup(TO).run().unwrap();
    }
}

#[test]
fn a_startup_hook_refuses_with_its_own_code_and_the_shutdown_hook_gets_it() {
    let bench = bench(Mode::Server, 10);
    let told = Arc::new(AtomicI32::new(0));
    let heard = told.clone();
    let backup = bench.store.backup(TO).on_startup(|_| Err(-99));
    let error =
        backup.on_shutdown(move |code| heard.store(code, Ordering::SeqCst)).run().unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::Refused, -99));
    assert_eq!(told.load(Ordering::SeqCst), -99);
    assert!(bench.archives().is_empty());
}

#[test]
fn a_panicking_hook_ends_the_backup_and_nobody_stays_locked() {
    let bench = bench(Mode::SingleUser, 10);
    let backup = bench.store.backup(TO).on_progress(|progress| {
        assert!(progress.stage != Stage::Copy, "a bug of the application's");
        ControlFlow::Continue(())
    });
    let error = backup.run().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BackupFailed, "{error}");
    bench.store.begin_write().unwrap().commit().unwrap();
    bench.store.begin_read().unwrap();
    assert!(bench.archives().is_empty());
}

#[test]
fn every_failing_call_on_the_destination_ends_the_backup_and_thaws() {
    for call in [Call::Create, Call::Write, Call::Sync, Call::Read, Call::Rename, Call::SyncDir] {
        let bench = bench(Mode::Server, 300);
        bench.sim.fail(FaultPlan::once(call, TO, Fault::IO));
        let error = bench.store.backup(TO).run().unwrap_err();
        assert!(matches!(error.code(), 1407 | 1409 | 1411), "{call:?}: {error}");
        bench.store.begin_write().unwrap().commit().unwrap();
        let report = bench.store.backup(TO).run().unwrap();
        bench.open(&report.archive).verify().unwrap();
    }
}

#[test]
fn a_missing_attachment_makes_the_backup_partial_and_says_so() {
    let bench = bench(Mode::Server, 10);
    bench.sim.create_dir(Path::new("/web")).unwrap();
    bench.sim.create_dir(Path::new("/web/css")).unwrap();
    let file = bench.sim.open(Path::new("/web/css/a.css"), OpenMode::CreateNew).unwrap();
    file.write_at(b"body {}", 0).unwrap();
    let told = Arc::new(AtomicI32::new(0));
    let heard = told.clone();
    let backup = bench.store.backup(TO).attachment("/web").attachment("/gone.pdf");
    let report = backup.on_shutdown(move |c| heard.store(c, Ordering::SeqCst)).run().unwrap();
    assert_eq!(report.status, BackupStatus::Partial);
    assert_eq!(report.problems.len(), 1);
    assert_eq!(told.load(Ordering::SeqCst), 2001);
    let archive = bench.open(&report.archive);
    assert_eq!(archive.results().status, BackupStatus::Partial);
    archive.restore("/copy").run().unwrap();
    let copied = Path::new("/copy/attachments/web/css/a.css");
    let bytes = crate::disk::atomic::read_whole(&*bench.sim, copied, 100).unwrap();
    assert_eq!(bytes, b"body {}");
}

#[test]
fn the_stores_own_files_are_refused_as_attachments_and_as_destination() {
    let bench = bench(Mode::Server, 10);
    for path in ["/inventory", "/inventory/log", "/"] {
        let error = bench.store.backup(TO).attachment(path).run().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{path}: {error}");
    }
    for path in ["/inventory", "/inventory/log", "/nowhere"] {
        let error = bench.store.backup(path).run().unwrap_err();
        assert_eq!(error.code(), 1407, "{path}: {error}");
    }
}

#[test]
fn structure_alone_restores_to_empty_tables_while_writes_go_on() {
    let bench = bench(Mode::Server, 10);
    let store = bench.store.clone();
    let contents = Contents { structure: true, data: false };
    let backup = bench.store.backup(TO).contents(contents).on_progress(move |progress| {
        if progress.stage == Stage::Copy {
            let write = store.begin_write().unwrap();
            write.table(ITEMS).unwrap().put(&99, &"meanwhile".to_owned()).unwrap();
            write.commit().unwrap();
        }
        ControlFlow::Continue(())
    });
    let report = backup.run().unwrap();
    let archive = bench.open(&report.archive);
    assert_eq!(archive.read().err().unwrap().kind(), ErrorKind::Invalid);
    archive.restore("/copy").run().unwrap();
    let disk: Arc<dyn Disk> = bench.sim.clone();
    let copy = Store::builder("/copy").disk(disk).open().unwrap();
    let read = copy.begin_read().unwrap();
    assert_eq!(read.tables().unwrap()[0].name, "items");
    assert!(read_all(&read).is_empty());
}

#[test]
fn a_backup_of_ones_own_open_write_is_refused_at_once_with_1404() {
    let bench = bench(Mode::Server, 10);
    let write = bench.store.begin_write().unwrap();
    let error = bench.store.backup(TO).run().unwrap_err();
    assert_eq!(error.code(), 1404, "{error}");
    bench.store.backup(TO).access(Access::Live).run().unwrap();
    write.commit().unwrap();
    bench.store.backup(TO).run().unwrap();
}

#[test]
fn an_open_write_of_another_thread_gives_1405_and_then_writes_go_on() {
    let bench = bench(Mode::Server, 10);
    let store = bench.store.clone();
    let write = std::thread::spawn(move || store.begin_write().unwrap()).join().unwrap();
    let backup = bench.store.backup(TO).transaction_timeout(Duration::from_millis(1));
    let handle = backup.start().unwrap();
    while !handle.is_finished() {
        bench.sim.advance(Duration::from_millis(10));
        std::thread::yield_now();
    }
    assert_eq!(handle.wait().unwrap_err().code(), 1405);
    drop(write);
    bench.store.begin_write().unwrap().commit().unwrap();
}

#[test]
fn a_hanging_destination_lets_the_writers_go_when_its_lease_ends() {
    let bench = bench(Mode::Server, 3000);
    let hang = bench.sim.hang(".tar.zst.");
    let backup = bench.store.backup(TO).stall_limit(Duration::from_secs(60));
    let handle = backup.start().unwrap();
    while hang.caught().is_empty() {
        std::thread::yield_now();
    }
    let ticket = bench.store.request_write().unwrap();
    assert_eq!(ticket.state(), crate::TicketState::Waiting);
    bench.sim.advance(Duration::from_secs(61));
    ticket.wait().unwrap().commit().unwrap();
    assert!(!handle.is_finished());
    drop(hang);
    let report = handle.wait().unwrap();
    assert!(report.went_live);
    bench.open(&report.archive).verify().unwrap();
}

/// An archive of the structure alone, whose header lists `tables`, as an enemy may write it.
fn forge(bench: &Bench, tables: &[TablePaper]) -> Archive {
    let contents = Contents { structure: true, data: false };
    let report = bench.store.backup(TO).contents(contents).run().unwrap();
    let honest = bench.open(&report.archive);
    let header = BackupHeader { tables: tables.to_vec(), ..honest.header().clone() };
    let path = Path::new("/forged");
    let header = serde_json::to_value(header).unwrap();
    let options = ArchiveOptions::default();
    let writer = ArchiveWriter::create(&*bench.sim, path, &options, header).unwrap();
    writer.finish(|_| Ok(serde_json::to_value(honest.results()).unwrap())).unwrap();
    bench.open(path)
}

#[test]
fn a_forged_list_of_tables_is_refused_and_nothing_is_left_behind() {
    let bench = bench(Mode::Server, 1);
    let items = crate::engine::TableInfo::clone(
        bench.store.inner().engine.catalogue().by_name("items").unwrap(),
    );
    let paper = |name: &str, key: &str| TablePaper {
        id: 1,
        name: name.into(),
        key_encoding: key.into(),
        value_encoding: items.value_encoding.clone(),
        records: 0,
    };
    let (key, long) = (&items.key_encoding, "x".repeat(70_000));
    let lists = [
        vec![paper(&long, key)],
        vec![paper("a", &long)],
        vec![paper("a", key), paper("a", key)],
        vec![paper("", key)],
    ];
    for tables in lists {
        let archive = forge(&bench, &tables);
        archive.restore("/copy").run().unwrap_err();
        let left = bench.sim.list(Path::new("/")).unwrap();
        let copies = left.iter().filter(|name| name.to_string_lossy().starts_with("copy"));
        assert_eq!(copies.count(), 0, "{left:?}");
        bench.sim.remove_file(Path::new("/forged")).unwrap();
    }
    forge(&bench, &[paper("a", key)]).restore("/copy").run().unwrap();
}

#[test]
fn a_restore_of_the_structure_touches_no_folder_beside_its_target() {
    let bench = bench(Mode::Server, 1);
    let neighbour = Path::new("/copy.structure");
    bench.sim.create_dir(neighbour).unwrap();
    let file = neighbour.join("mine");
    bench.sim.open(&file, OpenMode::CreateNew).unwrap();
    let contents = Contents { structure: true, data: false };
    let report = bench.store.backup(TO).contents(contents).run().unwrap();
    bench.open(&report.archive).restore("/copy").run().unwrap();
    assert!(bench.sim.metadata(&file).is_ok());
    assert!(bench.sim.metadata(Path::new("/copy/structure.partial")).is_err());
}
