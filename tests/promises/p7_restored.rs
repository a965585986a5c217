//! After a rollback or an automatic restore the application knows where its store is: participants are
//! told, attachments are brought back where that is asked for, and the reports say what became of them.

use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;
use stillpoint::disk::{Disk, SimDisk, Survival};
use stillpoint::regime::Regime;
use stillpoint::{
    ErrorKind, Lsn, Mode, Participant, Participation, RestorePoint, RestoredCommit, Rollback, Store,
};

use crate::scene::{STORE, Scene, TO, open, put, read_file, spoil, write_file};
use crate::support::settings::settings;

/// Notes what it is told, and refuses where that is asked for.
struct Told(Arc<Mutex<Vec<Lsn>>>, bool);

impl Participant for Told {
    fn freeze(&mut self) -> Participation {
        Ok(())
    }

    fn thaw(&mut self) -> Participation {
        Ok(())
    }

    fn restored(&mut self, to: &RestoredCommit) -> Participation {
        self.0.lock().push(to.lsn);
        if self.1 { Err("it cannot go back".into()) } else { Ok(()) }
    }
}

/// A closed store at LSN 4 with a backup at LSN 1 that has an attachment, which has changed since.
fn scene() -> Arc<SimDisk> {
    let scene = Scene::new(Mode::Server, 20);
    let folder = Path::new(STORE).join("Settings");
    scene.sim.create_dir(&folder).unwrap();
    let automatic = settings(&[("Advanced/AutomaticRestore", "True")]);
    write_file(&scene.sim, &folder.join("Backup.4DSettings"), automatic.as_bytes());
    scene.sim.create_dir(Path::new("/web")).unwrap();
    write_file(&scene.sim, Path::new("/web/a.css"), b"then");
    scene.store.backup(TO).attachment("/web").run().unwrap();
    (0..3).for_each(|key| put(&scene.store, key, "later").unwrap());
    write_file(&scene.sim, Path::new("/web/a.css"), b"now");
    scene.store.close().unwrap();
    scene.sim.reboot(Survival::Everything)
}

fn rollback(sim: &Arc<SimDisk>) -> Rollback {
    Rollback::new(STORE, RestorePoint::Lsn(2)).archives(TO).disk(sim.clone())
}

const BACK: &str = "/inventory/attachments/web/a.css";

#[test]
fn participants_are_told_once_to_which_commit_their_store_was_brought() {
    let sim = scene();
    let register = |store: &Store, name: &str, refuses| {
        let told = Arc::new(Mutex::new(Vec::new()));
        let registered = store.register_participant(name, Told(told.clone(), refuses));
        let told = told.lock().clone();
        (registered, told)
    };
    let store = open(&sim, STORE).unwrap();
    let (registered, told) = register(&store, "cache", false);
    registered.unwrap();
    assert_eq!(told, [0; 0], "nothing has happened to the store");
    store.close().unwrap();
    drop(store);
    rollback(&sim).run().unwrap();
    for (refuses, expected) in [(true, &[2][..]), (false, &[2]), (false, &[])] {
        let store = open(&sim, STORE).unwrap();
        let (registered, told) = register(&store, "cache", refuses);
        assert_eq!(told, expected);
        match registered {
            Ok(()) => assert!(!refuses),
            Err(error) => {
                assert!(refuses);
                assert_eq!((error.kind(), error.code()), (ErrorKind::Refused, 2012), "{error}");
                assert!(!store.unregister_participant("cache"), "it takes part in nothing");
            }
        }
        store.close().unwrap();
    }
}

#[test]
fn a_rollback_says_what_becomes_of_attachments_and_brings_them_back_where_it_is_asked_to() {
    let sim = scene();
    let without = sim.image();
    let report = rollback(&without).run().unwrap();
    assert_eq!((report.attachments, report.attachments_restored), (1, false));
    assert!(without.metadata(Path::new(BACK)).is_err());
    let report = rollback(&sim).attachments(true).run().unwrap();
    assert_eq!((report.attachments, report.attachments_restored), (1, true));
    assert_eq!((report.restored.archive_lsn, report.restored.lsn), (1, 2));
    assert_eq!(read_file(&sim, Path::new(BACK)), b"then");
    assert_eq!(read_file(&sim, Path::new("/web/a.css")), b"now", "what is in use is not touched");
}

#[test]
fn an_automatic_restore_tells_participants_and_brings_attachments_back_where_it_is_asked_to() {
    for wanted in [false, true] {
        let sim = scene();
        spoil(&sim, Path::new("/inventory/store.data"));
        let told = Arc::new(Mutex::new(Vec::new()));
        let store = Store::builder(STORE).disk(sim.clone()).segment_size(1 << 20);
        let builder = Regime::builder(store).without_thread().restore_attachments(wanted);
        let regime = builder.participant("cache", Told(told.clone(), false)).open().unwrap();
        assert_eq!(*told.lock(), [4], "the logs led to the last commit");
        let info = regime.restore_info().unwrap();
        assert_eq!((info.attachments, info.attachments_restored), (1, wanted));
        assert_eq!(sim.metadata(Path::new(BACK)).is_ok(), wanted);
        let journal = Path::new("/inventory/Logs/Backup Journal[001].txt");
        let journal = String::from_utf8(read_file(&sim, journal)).unwrap();
        assert_eq!(journal.contains("were not brought back"), !wanted, "{journal}");
        regime.close().unwrap();
    }
}
