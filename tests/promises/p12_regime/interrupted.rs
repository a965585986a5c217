//! A backup whose process ended while it was made is reported by whoever opens the store next.

use super::*;
use stillpoint::regime::{OperationStatus, Origin, report_interrupted};
use stillpoint::{Participant, Participation};

/// Takes an image of the disk in the middle of a backup.
struct Camera(Arc<SimDisk>, Arc<Mutex<Option<Arc<SimDisk>>>>);

impl Participant for Camera {
    fn freeze(&mut self) -> Participation {
        *self.1.lock() = Some(self.0.image());
        Ok(())
    }

    fn thaw(&mut self) -> Participation {
        Ok(())
    }
}

/// A store whose process is killed while its first backup is made: the disk as it is then.
fn killed() -> Arc<SimDisk> {
    let image = Arc::new(Mutex::new(None));
    let sim = shop(&[]).closed();
    let camera = Camera(sim.clone(), image.clone());
    let shop = Shop::open_with(sim, |builder| builder.participant("camera", camera));
    shop.regime.backup().by_hand().run().unwrap();
    image.lock().take().expect("the store was frozen")
}

fn history(sim: &Arc<SimDisk>) -> Vec<(OperationStatus, i32)> {
    let operations = History::list(&**sim, Path::new(TO), "shop").unwrap_or_default();
    operations.iter().map(|operation| (operation.status, operation.code)).collect()
}

#[test]
fn a_backup_whose_process_was_killed_is_reported_at_the_next_opening() {
    let killed = killed();
    assert_eq!(history(&killed), []);
    let shop = Shop::open(killed);
    assert_eq!(failures(&shop.heard()), [(code::INTERRUPTED, false)]);
    let last = shop.regime.last_backup().unwrap();
    assert_eq!((last.status.code, last.number, last.archive), (code::INTERRUPTED, Some(1), None));
    let coverage = shop.regime.coverage().unwrap();
    assert_eq!(coverage.last_backup.unwrap().status.code, code::INTERRUPTED);
    assert_eq!(history(&shop.sim), [(OperationStatus::Failed, code::INTERRUPTED)]);
    let journal = shop.journal();
    let line = journal.lines().find(|line| line.contains("2030")).expect("the journal has it");
    assert!(line.contains(Origin::Manual.name()) && line.contains(TO), "{line}");
    // Once, and the next backup goes as ever.
    let shop = shop.again();
    assert_eq!((shop.heard().len(), history(&shop.sim).len()), (0, 1));
    assert_eq!(shop.regime.backup().run().unwrap().number, 1);
    let shop = shop.again();
    let told = shop.journal().lines().filter(|line| line.contains("2030")).count();
    assert_eq!((shop.status(), told), (0, 1));
}

#[test]
fn an_archive_that_had_its_name_when_the_process_was_killed_is_no_failed_backup() {
    let shop = shop(&[]);
    shop.regime.backup().run().unwrap();
    let sim = shop.closed();
    let state = Path::new(DIR).join("regime-state.json");
    let text = String::from_utf8(read_file(&sim, &state)).unwrap();
    let mut object: serde_json::Value = serde_json::from_str(&text).unwrap();
    object["running"] = serde_json::json!({
        "started": 1, "number": 1, "origin": "manual", "destination": TO, "set": "shop",
    });
    sim.remove_file(&state).unwrap();
    write_file(&sim, &state, object.to_string().as_bytes());
    let shop = Shop::open(sim);
    assert_eq!((shop.heard().len(), shop.status()), (0, 0));
    assert!(shop.journal().contains("before backup 1 was recorded"), "{}", shop.journal());
}

#[test]
fn a_backup_that_failed_is_reported_once_only() {
    let shop = shop(&[]);
    shop.writes_fail();
    shop.regime.backup().run().unwrap_err();
    shop.sim.heal();
    let before = history(&shop.sim);
    let shop = shop.again();
    assert_eq!(history(&shop.sim), before);
    assert!(!shop.journal().contains("2030"));
}

fn open(sim: &Arc<SimDisk>) -> Store {
    Store::builder(DIR).disk(sim.clone()).segment_size(1 << 16).open().unwrap()
}

/// The same for a backup that the application makes without a regime, after `backups` of the regime.
fn killed_without_a_regime(backups: usize) -> Arc<SimDisk> {
    let image = Arc::new(Mutex::new(None));
    let shop = shop(&[]);
    (0..backups).for_each(|_| drop(shop.regime.backup().run().unwrap()));
    let sim = shop.closed();
    let camera = Camera(sim.clone(), image.clone());
    let store = open(&sim);
    store.register_participant("camera", camera).unwrap();
    store.backup(TO).run().unwrap();
    image.lock().take().expect("the store was frozen")
}

#[test]
fn a_store_says_which_backup_was_interrupted_until_one_succeeds() {
    let sim = killed_without_a_regime(0);
    let store = open(&sim);
    let told = store.stats().unfinished_backup.expect("it was interrupted");
    assert_eq!((told.number, &*told.destination, &*told.set), (1, Path::new(TO), "shop"));
    store.close().unwrap();
    let store = open(&sim);
    assert_eq!(store.stats().unfinished_backup, Some(told.clone()), "nobody has reported it");
    sim.create_dir(Path::new("/elsewhere")).unwrap();
    store.backup("/nowhere").run().unwrap_err();
    assert_eq!(store.stats().unfinished_backup, Some(told), "that one did not even begin");
    store.backup("/elsewhere").run().unwrap();
    assert_eq!(store.stats().unfinished_backup, None);
    store.close().unwrap();
    assert_eq!(open(&sim).stats().unfinished_backup, None);
}

#[test]
fn a_backup_that_ends_in_its_process_leaves_no_unfinished_one() {
    let shop = shop(&[]);
    shop.regime.store().backup(TO).run().unwrap();
    shop.regime.store().backup(TO).on_startup(|_| Err(7)).run().unwrap_err();
    shop.writes_fail();
    shop.regime.store().backup(TO).run().unwrap_err();
    shop.sim.heal();
    let store = open(&shop.closed());
    assert_eq!(store.stats().unfinished_backup, None);
}

#[test]
fn a_regime_reports_an_interrupted_backup_that_another_made() {
    let sim = killed_without_a_regime(0);
    let shop = Shop::open(sim);
    assert_eq!(failures(&shop.heard()), [(code::INTERRUPTED, false)]);
    assert_eq!((shop.status(), shop.regime.last_backup().unwrap().number), (2030, Some(1)));
    let line = shop.journal().lines().find(|line| line.contains("2030")).unwrap().to_owned();
    assert!(line.contains(Origin::Command.name()) && line.contains(TO), "{line}");
    assert_eq!(shop.regime.store().stats().unfinished_backup, None);
    let history = Path::new(TO).join("backupHistory.json");
    assert!(shop.sim.metadata(&history).is_err(), "there was none, and none is begun");
    let shop = shop.again();
    assert_eq!(lines_of(&shop), 1);
}

#[test]
fn an_opening_that_does_one_thing_reports_it_too_and_in_the_history_that_there_is() {
    let sim = killed_without_a_regime(1);
    let regime = builder(&sim).without_thread().without_catch_up().open().unwrap();
    let last = regime.coverage().unwrap().last_backup.unwrap();
    assert_eq!((last.status.code, last.number), (code::INTERRUPTED, Some(2)));
    let failed = (OperationStatus::Failed, code::INTERRUPTED);
    assert_eq!(history(&sim), [(OperationStatus::Complete, 0), failed]);
}

#[test]
fn it_can_be_reported_for_a_store_that_is_open_without_a_regime() {
    let sim = killed_without_a_regime(1);
    let store = open(&sim);
    for _ in 0..2 {
        report_interrupted(&store).unwrap();
        assert_eq!(store.stats().unfinished_backup, None);
        assert_eq!(history(&sim).len(), 2);
    }
    store.close().unwrap();
    let shop = Shop::open(sim);
    assert_eq!((shop.status(), lines_of(&shop)), (code::INTERRUPTED, 1));
}

/// How many lines of the journal report it.
fn lines_of(shop: &Shop) -> usize {
    shop.journal().lines().filter(|line| line.contains("2030")).count()
}
