//! A backup whose process ended while it was made is reported by whoever opens the store next.

use super::*;
use stillpoint::regime::{OperationStatus, Origin};
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
