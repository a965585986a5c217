//! P11: what is written down of backups: the journal, the history, and what retention deletes by it.
//!
//! Files are read as a script would read them, by splitting lines and parsing JSON; the library's own
//! readers are used only where they are what is tested.

mod history;
mod journal;
mod retention;
mod trust;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::tz::TimeZone;
use stillpoint::disk::{Disk, OpenMode, SimDisk};
use stillpoint::regime::{History, Operation};
use stillpoint::{Access, BackupReport, Store, StoreId, TableDef};

const TO: &str = "/backups";
const SET: &str = "shop";
const ITEMS: TableDef<u64, u64> = TableDef::new("items");

/// A disk with a destination.
fn ground(seed: u64) -> Arc<SimDisk> {
    let sim = SimDisk::new(seed);
    sim.create_dir(Path::new(TO)).unwrap();
    sim.sync_dir(Path::new("/")).unwrap();
    sim
}

fn read(sim: &SimDisk, path: impl AsRef<Path>) -> Vec<u8> {
    let file = sim.open(path.as_ref(), OpenMode::Read).unwrap();
    let mut bytes = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
    file.read_exact_at(&mut bytes, 0).unwrap();
    bytes
}

fn write(sim: &SimDisk, path: impl AsRef<Path>, bytes: &[u8]) {
    let path = path.as_ref();
    let mode = if sim.metadata(path).is_ok() { OpenMode::Write } else { OpenMode::CreateNew };
    let file = sim.open(path, mode).unwrap();
    file.set_len(0).unwrap();
    file.write_at(bytes, 0).unwrap();
    file.sync().unwrap();
    sim.sync_dir(path.parent().unwrap()).unwrap();
}

fn names(sim: &SimDisk, folder: &str) -> Vec<String> {
    let list = sim.list(Path::new(folder)).unwrap();
    list.into_iter().map(|name| name.to_str().unwrap().to_owned()).collect()
}

/// The archives in the destination.
fn archives(sim: &SimDisk) -> Vec<String> {
    names(sim, TO).into_iter().filter(|name| name.ends_with(".zst")).collect()
}

/// A store whose backups are written down.
struct Shop {
    sim: Arc<SimDisk>,
    store: Store,
    /// Known from the first backup on.
    id: StoreId,
    commits: u64,
}

impl Shop {
    fn create(sim: &Arc<SimDisk>, dir: &str) -> Shop {
        let builder = Store::builder(dir).disk(sim.clone()).segment_size(64 << 10);
        let mut shop =
            Shop { sim: sim.clone(), store: builder.create().unwrap(), id: 0, commits: 0 };
        shop.commit();
        shop
    }

    fn commit(&mut self) {
        self.commits += 1;
        let (at, write) = (self.commits, self.store.begin_write().unwrap());
        write.table(ITEMS).unwrap().put(&at, &at).unwrap();
        write.commit().unwrap();
    }

    fn history(&self) -> History {
        History::at(self.sim.clone(), Path::new(TO), SET, self.id)
    }

    /// Commits and backs up, without writing it down.
    fn back_up(&mut self) -> BackupReport {
        self.commit();
        let report = self.store.backup(TO).name(SET).access(Access::Live).workers(1).run().unwrap();
        self.id = report.store_id;
        report
    }

    fn increment(&mut self) -> BackupReport {
        self.commit();
        let backup = self.store.backup(TO).name(SET).access(Access::Live).workers(1);
        backup.incremental().run().unwrap()
    }

    fn record(&self, report: &BackupReport, keep: Option<u32>) -> Operation {
        let made = operation(&self.sim, report);
        self.history().record(made.clone(), keep).unwrap();
        made
    }

    /// Commits, backs up and writes it down.
    fn recorded(&mut self, keep: Option<u32>) -> BackupReport {
        let report = self.back_up();
        self.record(&report, keep);
        report
    }
}

fn operation(sim: &SimDisk, report: &BackupReport) -> Operation {
    Operation::backup(report, true, sim, &TimeZone::UTC).unwrap()
}

/// The list of a set in the file of the history.
fn listed(sim: &SimDisk, set: &str) -> Vec<serde_json::Value> {
    let file = read(sim, PathBuf::from(TO).join("backupHistory.json"));
    let value: serde_json::Value = serde_json::from_slice(&file).unwrap();
    value[set].as_array().expect("a list").clone()
}
